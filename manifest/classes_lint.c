/* Which rules can no device reach?  An alternative is a conjunction; it lies within another when
 * it implies each of the other's conditions.  What it implies about an attribute is decided from
 * its own conditions on that attribute alone, which is exact: attributes are independent. */
#include "manifest/classes_internal.h"

#include <string.h>

#define FEW_VALUES CLASS_VALUES /* small integer ranges are listed rather than reasoned about */

/* The finitely many values that an alternative leaves to an attribute. */
struct choices {
	bool finite;
	unsigned count;
	struct attr_value value[FEW_VALUES];
};

static bool allowed(const struct class_alternative *a, enum attr attr,
		    const struct attr_value *value)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->all[i].attr == attr && !classes_holds(&a->all[i], value))
			return false;
	return true;
}

/* The tightest of a's conditions with this operator on attr; NULL: none. */
static const struct attr_value *bound(const struct class_alternative *a, enum attr attr,
				      enum class_op op)
{
	const struct attr_value *tightest = NULL;
	for (unsigned i = 0; i < a->count; i++) {
		const struct class_condition *c = &a->all[i];
		if (c->attr != attr || c->op != op)
			continue;
		int order = tightest ? classes_order(attr_type(attr), c->values, tightest) : 0;
		if (!tightest || (op == OP_GE ? order > 0 : order < 0))
			tightest = c->values;
	}
	return tightest;
}

static void choices_add(struct choices *choices, const struct class_alternative *a,
			enum attr attr, const struct attr_value *value)
{
	if (allowed(a, attr, value))
		choices->value[choices->count++] = *value;
}

/* From a range whose ends are given: all its integers when they are few, one version when the ends
 * meet, none when the ends cross. */
static void choices_range(struct choices *choices, const struct class_alternative *a,
			  enum attr attr, const struct attr_value *lo, const struct attr_value *hi)
{
	int order = classes_order(attr_type(attr), lo, hi);
	bool integers = attr_type(attr) == ATTR_INT;
	if (order >= 0) {
		choices->finite = true;
		choices_add(choices, a, attr, lo);
	} else if (integers && (uint64_t)hi->number - (uint64_t)lo->number < FEW_VALUES) {
		struct attr_value at = *lo;
		choices->finite = true;
		for (; at.number < hi->number; at.number++)
			choices_add(choices, a, attr, &at);
		choices_add(choices, a, attr, hi);
	}
}

static void choices_find(struct choices *choices, const struct class_alternative *a,
			 enum attr attr)
{
	choices->finite = false;
	choices->count = 0;
	for (unsigned i = 0; i < a->count; i++) {
		const struct class_condition *c = &a->all[i];
		if (c->attr != attr || (c->op != OP_EQ && c->op != OP_IN))
			continue;
		choices->finite = true;
		for (unsigned v = 0; v < c->count; v++)
			choices_add(choices, a, attr, &c->values[v]);
		return;
	}
	const struct attr_value *lo = bound(a, attr, OP_GE), *hi = bound(a, attr, OP_LE);
	if (lo && hi)
		choices_range(choices, a, attr, lo, hi);
}

/* Whether every set that a allows has (lacks) the member. */
static bool implies_member(const struct class_alternative *a, const struct class_condition *b)
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct class_condition *c = &a->all[i];
		if (c->attr == b->attr && c->op == b->op &&
		    classes_order(ATTR_TEXT, c->values, b->values) == 0)
			return true;
	}
	return false;
}

static bool implies(const struct class_alternative *a, const struct class_condition *b)
{
	struct choices choices;
	if (b->op == OP_HAS || b->op == OP_LACKS)
		return implies_member(a, b);
	choices_find(&choices, a, b->attr);
	if (choices.finite) {
		for (unsigned i = 0; i < choices.count; i++)
			if (!classes_holds(b, &choices.value[i]))
				return false;
		return true;
	}
	if (b->op == OP_GE || b->op == OP_LE) {
		const struct attr_value *end = bound(a, b->attr, b->op);
		return end && classes_holds(b, end);
	}
	if (b->op == OP_EQ || b->op == OP_IN)
		return false;
	/* ne, not_in: a must exclude each of the values, and speak of the attribute at all. */
	for (unsigned i = 0; i < b->count; i++)
		if (allowed(a, b->attr, &b->values[i]))
			return false;
	return true;
}

static bool speaks_of(const struct class_alternative *a, enum attr attr)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->all[i].attr == attr)
			return true;
	return false;
}

bool classes_within(const struct class_alternative *a, const struct class_alternative *b)
{
	for (unsigned i = 0; i < b->count; i++)
		if (!speaks_of(a, b->all[i].attr) || !implies(a, &b->all[i]))
			return false;
	return true;
}

static bool contradicts(const struct class_condition *c, const struct class_condition *d)
{
	return c->attr == d->attr && c->op == OP_HAS && d->op == OP_LACKS &&
	       classes_order(ATTR_TEXT, c->values, d->values) == 0;
}

/* Whether no device can match a. */
static bool impossible(const struct class_alternative *a)
{
	struct choices choices;
	for (unsigned i = 0; i < a->count; i++) {
		const struct class_condition *c = &a->all[i];
		for (unsigned k = 0; k < a->count; k++)
			if (contradicts(c, &a->all[k]))
				return true;
		if (attr_type(c->attr) == ATTR_SETS)
			continue;
		choices_find(&choices, a, c->attr);
		if (choices.finite && choices.count == 0)
			return true;
	}
	return false;
}

bool classes_disjoint(const struct class_alternative *a, const struct class_alternative *b)
{
	struct class_condition all[2 * CLASS_CONDITIONS];
	if (a->count)
		memcpy(all, a->all, a->count * sizeof(all[0]));
	if (b->count)
		memcpy(all + a->count, b->all, b->count * sizeof(all[0]));
	return impossible(&(struct class_alternative){a->count + b->count, all});
}

/* The earlier rule that takes all that a would match; end if there is none. */
static unsigned covered_by(const struct class_rules *rules, unsigned end,
			   const struct class_alternative *a)
{
	for (unsigned r = 0; r < end; r++)
		for (unsigned i = 0; i < rules->rules[r].count; i++)
			if (classes_within(a, &rules->rules[r].any[i]))
				return r;
	return end;
}

static int rule_lint(const struct class_rules *rules, unsigned at, struct err *err)
{
	const struct class_rule *rule = &rules->rules[at];
	unsigned by = at, covered = 0;
	if (rule->always && at + 1 < rules->count)
		return err_set(err, ERR_INVALID,
			       "matches all, so the rules after it are unreachable; give it an "
			       "\"any\" or put it last");
	for (unsigned i = 0; i < rule->count; i++) {
		if (impossible(&rule->any[i]))
			return err_set(err, ERR_INVALID,
				       "any[%u]: contradicts itself: no device can match it", i);
		by = covered_by(rules, at, &rule->any[i]);
		covered += by < at;
	}
	if (rule->count > 0 && covered == rule->count)
		return err_set(err, ERR_INVALID,
			       "unreachable: rules[%u] (class %s) takes every device that it "
			       "would match; put it earlier or narrow the other",
			       by, rules->rules[by].class);
	return 0;
}

int classes_lint(struct class_rules *rules, const json_t *document, struct arena *arena,
		 struct err *err)
{
	struct class_rules out;
	if (classes_parse_strict(&out, document, arena, err) < 0)
		return -1;
	for (unsigned i = 0; i < out.count; i++)
		if (rule_lint(&out, i, err) < 0)
			return err_in(err, "rules[%u] (class %s)", i, out.rules[i].class);
	*rules = out;
	return 0;
}
