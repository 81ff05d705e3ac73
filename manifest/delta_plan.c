#include "manifest/delta_plan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The files of a tier: a run of a release's. */
struct tier {
	const struct plan_file *files;
	unsigned count;
	int64_t stored;
};

struct plan {
	int (*each)(void *arg, const struct plan_pair *pair, struct err *err);
	void *arg;
	struct err *err;
};

/* The tier whose first file is files[0]. */
static struct tier tier_at(const struct plan_file *files, unsigned count)
{
	struct tier tier = {.files = files};
	while (tier.count < count && !strcmp(files[tier.count].tier, files->tier))
		tier.stored += files[tier.count++].stored;
	return tier;
}

static struct tier tier_find(const struct plan_release *release, const char *name)
{
	for (unsigned i = 0; i < release->count; i++)
		if (!strcmp(release->files[i].tier, name))
			return tier_at(&release->files[i], release->count - i);
	return (struct tier){.files = NULL};
}

static const struct plan_file *same_file(const struct tier *tier, const struct plan_file *file,
					 bool alone)
{
	for (unsigned i = 0; i < tier->count; i++)
		if (!strcmp(tier->files[i].name, file->name))
			return &tier->files[i];
	return alone && tier->count == 1 ? tier->files : NULL;
}

static int pair_tiers(const struct plan *plan, const struct plan_release *new_release,
		      const struct tier *new, const struct plan_release *old_release,
		      const struct tier *old)
{
	struct plan_pair pair = {.new_release = new_release, .old_release = old_release};
	for (unsigned i = 0; i < new->count; i++) {
		pair.new = &new->files[i];
		pair.old = same_file(old, pair.new, new->count == 1);
		if (pair.old && !digest_eq(&pair.old->recipe, &pair.new->recipe) &&
		    plan->each(plan->arg, &pair, plan->err))
			return -1;
	}
	return 0;
}

static int from_before(const struct plan *plan, const struct plan_release *releases, unsigned count,
		       const struct tier *tier)
{
	for (unsigned i = 1; i < count && i <= DELTA_RELEASES; i++) {
		const struct tier old = tier_find(&releases[i], tier->files->tier);
		if (pair_tiers(plan, releases, tier, &releases[i], &old))
			return -1;
	}
	return 0;
}

/* By format, then size; names decide between equals, so that the order is always the same. */
static int tier_cmp(const void *a, const void *b)
{
	const struct tier *x = a, *y = b;
	const int format = strcmp(x->files->format, y->files->format);
	if (format)
		return format;
	if (x->stored != y->stored)
		return x->stored < y->stored ? -1 : 1;
	return strcmp(x->files->tier, y->files->tier);
}

static int from_neighbours(const struct plan *plan, const struct plan_release *release,
			   struct tier *tiers, unsigned count)
{
	if (count)
		qsort(tiers, count, sizeof(*tiers), tier_cmp);
	for (unsigned i = 1; i < count; i++)
		if (!strcmp(tiers[i - 1].files->format, tiers[i].files->format) &&
		    pair_tiers(plan, release, &tiers[i], release, &tiers[i - 1]))
			return -1;
	return 0;
}

int delta_plan(const struct plan_release *releases, unsigned count,
	       int (*each)(void *arg, const struct plan_pair *pair, struct err *err), void *arg,
	       struct err *err)
{
	const struct plan plan = {each, arg, err};
	const struct plan_release *new = releases;
	unsigned tier_count = 0;
	if (!count)
		return 0;
	AUTO_FREE struct tier *tiers = calloc(new->count + 1, sizeof(*tiers));
	if (!tiers)
		return err_nomem(err);
	for (unsigned i = 0; i < new->count; i += tiers[tier_count++].count) {
		tiers[tier_count] = tier_at(&new->files[i], new->count - i);
		if (from_before(&plan, releases, count, &tiers[tier_count]))
			return -1;
	}
	return from_neighbours(&plan, new, tiers, tier_count);
}
