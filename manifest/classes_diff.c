#include "manifest/classes_diff.h"

#include "manifest/classes_internal.h"

#include <string.h>

static const struct class_alternative everything = {0, NULL};

struct diff {
	const struct class_rules *before, *after;
	unsigned *same; /* for each rule after: the one before with equal conditions, or before->count */
	struct arena *arena;
	struct class_moves *moves;
	unsigned count;
};

/* An unconditional rule has one alternative, which matches everything. */
static unsigned alternatives(const struct class_rule *rule)
{
	return rule->always ? 1 : rule->count;
}

static const struct class_alternative *alternative(const struct class_rule *rule, unsigned i)
{
	return rule->always ? &everything : &rule->any[i];
}

/* ---- equal rules: most, when rules are edited ---- */

static bool same_conditions(const struct class_rule *a, const struct class_rule *b)
{
	if (alternatives(a) != alternatives(b) || !a->skipped != !b->skipped)
		return false;
	for (unsigned i = 0; i < alternatives(a); i++) {
		const struct class_alternative *x = alternative(a, i), *y = alternative(b, i);
		if (x->count != y->count)
			return false;
		for (unsigned c = 0; c < x->count; c++)
			if (strcmp(x->all[c].text, y->all[c].text))
				return false;
	}
	return true;
}

static void find_same(struct diff *d)
{
	for (unsigned i = 0; i < d->after->count; i++) {
		unsigned k = 0;
		while (k < d->before->count &&
		       !same_conditions(&d->after->rules[i], &d->before->rules[k]))
			k++;
		d->same[i] = k;
	}
}

/* ---- where the devices of one alternative go ---- */

static int may_move(struct class_moves *moves, const char *to, struct arena *arena, struct err *err)
{
	if (!strcmp(moves->from, to)) {
		moves->some_stay = true;
		return 0;
	}
	for (unsigned i = 0; i < moves->count; i++)
		if (!strcmp(moves->to[i], to))
			return 0;
	if (!moves->to)
		moves->to = arena_array(arena, CLASS_RULES, sizeof(moves->to[0]));
	if (!moves->to)
		return err_nomem(err);
	moves->to[moves->count++] = to;
	return 0;
}

/* Whether a rule before the `end`th took all that b matches. */
static bool taken_before(const struct diff *d, unsigned end, const struct class_alternative *b)
{
	for (unsigned k = 0; k < end; k++) {
		const struct class_rule *rule = &d->before->rules[k];
		for (unsigned i = 0; !rule->skipped && i < alternatives(rule); i++)
			if (classes_within(b, alternative(rule, i)))
				return true;
	}
	return false;
}

/* The devices of alternative a of the rule `at` that no earlier rule took. */
static int follow(struct diff *d, unsigned at, const struct class_alternative *a,
		  struct class_moves *moves, struct err *err)
{
	for (unsigned r = 0; r < d->after->count; r++) {
		const struct class_rule *rule = &d->after->rules[r];
		if (rule->skipped || d->same[r] < at)
			continue;
		for (unsigned i = 0; i < alternatives(rule); i++) {
			const struct class_alternative *b = alternative(rule, i);
			if (classes_disjoint(a, b) || taken_before(d, at, b))
				continue;
			if (may_move(moves, rule->class, d->arena, err))
				return -1;
			if (classes_within(a, b))
				return 0;
		}
	}
	return 0;
}

static struct class_moves *moves_of(struct diff *d, const char *class)
{
	unsigned i = 0;
	while (i < d->count && strcmp(d->moves[i].from, class))
		i++;
	if (i == d->count)
		d->moves[d->count++] = (struct class_moves){.from = class};
	return &d->moves[i];
}

int classes_diff(const struct class_rules *before, const struct class_rules *after,
		 struct arena *arena, struct class_moves **ret_moves, unsigned *ret_count,
		 struct err *err)
{
	struct diff d = {.before = before, .after = after, .arena = arena};
	d.same = arena_array(arena, after->count, sizeof(d.same[0]));
	d.moves = arena_array(arena, before->count, sizeof(d.moves[0]));
	if (!d.same || !d.moves)
		return err_nomem(err);
	find_same(&d);
	for (unsigned r = 0; r < before->count; r++) {
		const struct class_rule *rule = &before->rules[r];
		for (unsigned i = 0; !rule->skipped && i < alternatives(rule); i++)
			if (follow(&d, r, alternative(rule, i), moves_of(&d, rule->class), err))
				return -1;
	}
	*ret_moves = d.moves;
	*ret_count = d.count;
	return 0;
}
