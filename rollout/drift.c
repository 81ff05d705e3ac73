#include "rollout/drift.h"

#include "base/arena.h"
#include "base/json.h"
#include "manifest/class_store.h"
#include "manifest/offer.h"
#include "rollout/act.h"
#include "rollout/lane.h"
#include "telemetry/census.h"

#include <string.h>

enum why { WHY_NAMED, WHY_STRAGGLER, WHY_WITHDRAWN, WHY_TIER, WHY_NO_MANIFEST, WHY_UNKNOWN };
static const struct {
	const char *name, *text;
} whys[] = {
	[WHY_NAMED] = {"named", ""},
	[WHY_STRAGGLER] = {"straggler", "was stable there before; they have not polled or installed since"},
	[WHY_WITHDRAWN] = {"withdrawn", "was taken back there; they have not polled since, or run it on"},
	[WHY_TIER] = {"tier", "the release is offered there, but not in this tier"},
	[WHY_NO_MANIFEST] = {"no-manifest", "no manifest there offers this model"},
	[WHY_UNKNOWN] = {"unknown", "was never offered there"},
};

struct drift {
	struct db *db;
	struct arena *arena;
	struct err *err;
};

static const char *text_of(const json_t *row, const char *name)
{
	return json_string_value(json_object_get(row, name));
}

static int names_tier(struct drift *d, const char *class, const char *model, const char *release,
		      const char *tier, bool *ret_named)
{
	struct class_settings settings;
	struct manifest_variant *list;
	unsigned count;
	int64_t version;
	json_auto_t *object = NULL;
	if (class_get(d->db, class, &settings, &object, &version, d->err) ||
	    act_variants(d->db, &settings, model, release, d->arena, &list, &count, d->err))
		return -1;
	*ret_named = false;
	for (unsigned i = 0; i < count; i++)
		*ret_named |= !strcmp(list[i].ref.tier, tier);
	return 0;
}

/* Of a release that the offer does not name now. */
static int past(struct drift *d, const struct offer *f, const char *release, enum why *ret_why)
{
	enum lane_state state;
	bool was;
	if (lane_last(d->db, f->channel, f->class, f->model, release, &was, &state, d->err))
		return -1;
	if (was && (state == LANE_ROLLED_BACK || state == LANE_ABORTED))
		*ret_why = WHY_WITHDRAWN;
	else if ((was && state == LANE_COMPLETE) || (f->previous && !strcmp(f->previous, release)))
		*ret_why = WHY_STRAGGLER;
	else
		*ret_why = WHY_UNKNOWN;
	return 0;
}

static int why_of(struct drift *d, const json_t *row, enum why *ret_why)
{
	struct offer f;
	struct err err;
	bool named;
	const char *class = text_of(row, "class"), *model = text_of(row, "model");
	const char *release = text_of(row, "release");
	if (offer_get(d->db, text_of(row, "channel"), class, model, d->arena, &f, &err)) {
		*ret_why = WHY_NO_MANIFEST;
		if (err.status == ERR_NOT_FOUND)
			return 0;
		*d->err = err;
		return -1;
	}
	if ((!f.stable || strcmp(f.stable, release) != 0) &&
	    (!f.candidate || strcmp(f.candidate, release) != 0))
		return past(d, &f, release, ret_why);
	if (names_tier(d, class, model, release, text_of(row, "tier"), &named))
		return -1;
	*ret_why = named ? WHY_NAMED : WHY_TIER;
	return 0;
}

static int tell(json_t *items, json_t *row, enum why why, struct err *err)
{
	return json_object_set_new(row, "why", json_string(whys[why].name)) ||
			       json_object_set_new(row, "text", json_string(whys[why].text)) ||
			       json_array_append(items, row)
		       ? err_nomem(err)
		       : 0;
}

int drift_count(struct db *db, const struct drift_query *query, json_t **ret_items,
		int64_t *ret_hidden, struct err *err)
{
	const struct census_query census = {query->channel, query->class, query->model, query->day,
					    query->day + CENSUS_DAY_S, CENSUS_ALL, query->min_cohort};
	json_auto_t *all = NULL, *items = json_array();
	size_t i;
	json_t *row;
	AUTO(arena_free) struct arena *arena = arena_new(CENSUS_ARENA);
	struct drift d = {db, arena, err};
	if (!arena)
		return err_nomem(err);
	if (census_count(db, &census, &all, ret_hidden, err))
		return -1;
	json_array_foreach (all, i, row) {
		enum why why;
		if (why_of(&d, row, &why) || (why != WHY_NAMED && tell(items, row, why, err)))
			return -1;
	}
	*ret_items = json_incref(items);
	return 0;
}
