/* Starting a rollout: which classes it is about, what stands in its way, one lane each. */
#include "base/hex.h"
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/publisher_store.h"
#include "rollout/act_internal.h"
#include "rollout/evidence.h"
#include "rollout/group.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SALT_BYTES 12
#define SLOT_S 600

/* A class that is about to get a lane. */
struct entrant {
	const struct offer *offer;
	bool fits;
	int group; /* group_of() */
	const char *lead;
	struct clockwork clock;
	const char *baseline;
};

/* One start under way. */
struct starting {
	struct db *db;
	const struct act *act;
	const struct act_order *order;
	const char *id;
	struct arena *arena;
	struct entrant *entrants;
	unsigned count;
	json_t *left; /* who leaves what is superseded, as act_order tells */
};

static bool listed(const json_t *classes, const char *class)
{
	size_t i;
	const json_t *item;
	json_array_foreach (classes, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), class))
			return true;
	return false;
}

/* ---- what stands in the way ---- */

static int refuse_busy(const struct starting *s, const struct lane *old, struct err *err)
{
	return err_set(err, ERR_CONFLICT,
		       "class %s: rollout %s (%s@%s, stage %u) is under way there; wait for it, end it"
		       " (flotilla rollout abort %s --class %s), or replace it there (--supersede"
		       " --class %s)",
		       old->class, old->rollout, s->order->model, old->release, old->stage,
		       old->rollout, old->class, old->class);
}

/* A lane is superseded whole: all classes that share it, or none. */
static int check_whole(struct starting *s, const struct lane *old, struct err *err)
{
	struct lane *lanes;
	unsigned count;
	if (!*old->lead)
		return 0;
	if (lane_group(s->db, old->rollout, old->lead, s->arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (!listed(s->order->classes, lanes[i].class))
			return err_set(err, ERR_CONFLICT,
				       "class %s shares its lane of rollout %s with %s: name them all"
				       " (--class %s)",
				       old->class, old->rollout, lanes[i].class, lanes[i].class);
	return 0;
}

static int check_leaving(struct starting *s, const struct lane *old, struct err *err)
{
	struct rollout rollout;
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	if (check_whole(s, old, err) ||
	    rollout_get(s->db, old->rollout, s->arena, &rollout, err) ||
	    class_get(s->db, old->class, &settings, &object, &version, err))
		return -1;
	const int64_t ppm = rollout.policy.stages[old->stage - 1].ppm;
	const int64_t devices = settings.devices * ppm / STAGE_BUCKETS;
	if (ppm > ACT_SUPERSEDE_PPM && !s->order->confirmed)
		return err_set(err, ERR_CONFLICT,
			       "class %s: about %lld devices (%.4g %%) leave %s@%s of rollout %s; say"
			       " --yes to do so",
			       old->class, (long long)devices, (double)ppm / 1e4, s->order->model,
			       old->release, old->rollout);
	json_t *left = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "class", old->class, "rollout",
				 old->rollout, "release", old->release, "by", s->id,
				 "candidate_ppm", (json_int_t)ppm, "devices", (json_int_t)devices);
	return json_array_append_new(s->left, left) ? err_nomem(err) : 0;
}

/* The lane that is under way in the class; *ret_busy tells whether there is one. */
static int busy_lane(struct starting *s, const char *class, bool *ret_busy, struct lane *old,
		     struct err *err)
{
	char id[65];
	if (lane_busy(s->db, s->order->channel, class, s->order->model, ret_busy, id, err))
		return -1;
	return *ret_busy ? lane_get(s->db, id, class, s->arena, old, err) : 0;
}

static int check_class(struct starting *s, const char *class, struct err *err)
{
	const struct act_order *o = s->order;
	struct lane old;
	bool busy, was;
	if (busy_lane(s, class, &busy, &old, err) ||
	    lane_was_rolled_back(s->db, o->channel, class, o->model, o->release, &was, err))
		return -1;
	if (was && !o->retry)
		return err_set(err, ERR_CONFLICT,
			       "class %s: %s@%s was rolled back there before; say --retry to try again",
			       class, o->model, o->release);
	if (!busy)
		return 0;
	return o->supersede ? check_leaving(s, &old, err) : refuse_busy(s, &old, err);
}

/* ---- one lane ---- */

static void clockwork_of(const struct class_settings *s, struct clockwork *clock)
{
	*clock = (struct clockwork){s->window_s, s->windows, s->jitter_s, s->outcome_deadline_s,
				    s->report_grace_s, s->devices};
}

int act_variants(struct db *db, const struct class_settings *settings, const char *model,
		 const char *release, struct arena *arena, struct manifest_variant **ret_list,
		 unsigned *ret_count, struct err *err)
{
	return catalog_variants(db, model, release, settings->tiers, settings->tier_count,
				!settings->tier_count, arena, ret_list, ret_count, err);
}

/* Whether any tier of the release fits the class; ERR_CONFLICT when one that does is revoked. */
static int fits(struct starting *s, const struct class_settings *settings, bool *ret_fits,
		struct err *err)
{
	struct manifest_variant *list;
	unsigned count, revoked_count;
	struct digest *revoked;
	if (act_variants(s->db, settings, s->order->model, s->order->release, s->arena, &list,
			 &count, err) ||
	    publisher_revoked(s->db, s->arena, &revoked, &revoked_count, err))
		return -1;
	if (act_names(list, count, revoked, revoked_count))
		return err_set(err, ERR_CONFLICT,
			       "%s@%s is revoked; see flotilla revocations", s->order->model,
			       s->order->release);
	*ret_fits = count > 0;
	return 0;
}

static int insert_lane(struct starting *s, struct lane *lane, struct err *err)
{
	char salt[2 * SALT_BYTES + 1];
	uint8_t bytes[SALT_BYTES];
	randombytes_buf(bytes, sizeof(bytes));
	hex_encode(salt, bytes, sizeof(bytes));
	lane->salt = salt;
	/* Nothing of this lane lies before the window in which it starts. */
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		lane->closed[m] = s->act->now - 2 * lane->clock.window_s - SLOT_S;
	if (lane_insert(s->db, lane, err))
		return -1;
	if (lane->state != LANE_RUNNING)
		return 0;
	return act_offer(s->db, lane, &s->order->policy, err) ||
			       cells_lane_set(s->act->cells, lane->rollout, lane->class,
					      lane->closed, err) ||
			       act_publish(s->db, s->act, lane, err)
		       ? -1
		       : 0;
}

/* End what is under way in the class in favour of this rollout. */
static int supersede(struct starting *s, const char *class, struct err *err)
{
	char reason[120];
	struct lane old;
	size_t i;
	json_t *left, *mine = NULL;
	bool busy;
	if (busy_lane(s, class, &busy, &old, err))
		return -1;
	if (!busy)
		return 0;
	json_array_foreach (s->left, i, left)
		if (!strcmp(json_string_value(json_object_get(left, "class")), class))
			mine = left;
	snprintf(reason, sizeof(reason), "superseded by %s (%.60s)", s->id, s->order->release);
	return act_withdraw(s->db, s->act, &old, LANE_ABORTED, "lane.superseded", reason, mine, err);
}

static int start_lane(struct starting *s, const struct entrant *e, struct err *err)
{
	const struct offer *f = e->offer;
	struct lane lane = {.rollout = s->id, .class = f->class, .channel = f->channel,
			    .model = f->model, .release = s->order->release, .stage = 1,
			    .since = s->act->now, .started = s->act->now, .stable = f->stable,
			    .lead = e->lead, .clock = e->clock, .baseline = e->baseline};
	lane.state = e->fits ? LANE_RUNNING : LANE_SKIPPED;
	lane.reason = e->fits ? "" : "no tier of the release fits this class";
	if ((e->fits && supersede(s, f->class, err)) || insert_lane(s, &lane, err))
		return err_in(err, "class %s", f->class);
	return act_record(s->db, s->act, &lane, e->fits ? "lane.started" : "lane.skipped",
			  lane.reason, NULL, err);
}

/* ---- before anything is done: a refusal must leave no lane half-way ---- */

static int read_baseline(struct starting *s, struct entrant *e, struct err *err)
{
	char *text;
	const struct offer *f = e->offer;
	if (evidence_baseline(s->db, f->channel, f->class, f->model, s->act->now, &text, err))
		return -1;
	e->baseline = arena_strdup(s->arena, text);
	free(text);
	return e->baseline ? 0 : err_nomem(err);
}

static int enter(struct starting *s, struct entrant *e, struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	const struct offer *f = e->offer;
	e->lead = "";
	e->group = group_of(s->order->groups, f->class);
	if (check_class(s, f->class, err) ||
	    publisher_floor_check(s->db, f->model, s->order->release, f->stable, err) ||
	    class_get(s->db, f->class, &settings, &object, &version, err) ||
	    fits(s, &settings, &e->fits, err) || read_baseline(s, e, err))
		return -1;
	clockwork_of(&settings, &e->clock);
	return 0;
}

/* The classes of one group that the release fits, from the first on. */
static unsigned members(const struct starting *s, int group, struct entrant **list)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->count; i++)
		if (s->entrants[i].group == group && s->entrants[i].fits)
			list[n++] = &s->entrants[i];
	return n;
}

static int64_t device_days(const json_t *baseline)
{
	const json_t *days = json_object_get(json_object_get(baseline, "summary"), "crash");
	return json_integer_value(json_object_get(days, "n"));
}

/* What the leader starts from: all their baselines, added to the largest. */
static int join_baselines(struct starting *s, struct entrant **list, unsigned count,
			  const char **ret_text, struct err *err)
{
	json_auto_t *all = json_object();
	for (unsigned i = 0; i < count; i++) {
		json_auto_t *next = json_parse(list[i]->baseline, strlen(list[i]->baseline),
					       "baseline", err);
		if (!next)
			return -1;
		if (device_days(next) > device_days(all)) {
			json_t *larger = next;
			next = all;
			all = larger;
		}
		if (group_join_baseline(all, next, err))
			return -1;
	}
	char *text = json_text(all);
	*ret_text = text ? arena_strdup(s->arena, text) : NULL;
	free(text);
	return *ret_text ? 0 : err_nomem(err);
}

static int form_group(struct starting *s, int group, struct err *err)
{
	struct entrant **list = arena_array(s->arena, s->count + 1, sizeof(*list));
	const char *baseline;
	int64_t devices = 0;
	if (!list)
		return err_nomem(err);
	const unsigned n = members(s, group, list);
	if (n < 2)
		return 0; /* who is left needs no group */
	if (join_baselines(s, list, n, &baseline, err))
		return -1;
	for (unsigned i = 0; i < n; i++) {
		if (!group_same_clock(&list[i]->clock, &list[0]->clock))
			return err_set(err, ERR_INVALID,
				       "groups[%d]: devices of %s and %s report by different clocks"
				       " (window_s, windows, jitter_s, outcome_deadline_s,"
				       " report_grace_s): make them alike first",
				       group, list[0]->offer->class, list[i]->offer->class);
		devices += list[i]->clock.devices;
	}
	for (unsigned i = 0; i < n; i++) {
		list[i]->lead = list[0]->offer->class;
		list[i]->clock.devices = devices; /* margins follow the lane's size */
		list[i]->baseline = baseline;
	}
	return 0;
}

static int prepare(struct starting *s, const struct offer *offers, struct err *err)
{
	s->entrants = arena_array(s->arena, s->count + 1, sizeof(*s->entrants));
	if (!s->entrants)
		return err_nomem(err);
	for (unsigned i = 0; i < s->count; i++) {
		s->entrants[i].offer = &offers[i];
		if (enter(s, &s->entrants[i], err))
			return -1;
	}
	for (int g = 0; g < (int)json_array_size(s->order->groups); g++)
		if (form_group(s, g, err))
			return -1;
	return 0;
}

/* ---- which classes ---- */

static int check_listed(const struct act_order *o, const struct offer *offers, unsigned count,
			struct err *err)
{
	size_t i;
	const json_t *item;
	json_array_foreach (o->classes, i, item) {
		bool found = false;
		const char *class = json_string_value(item);
		for (unsigned k = 0; class && k < count; k++)
			found |= !strcmp(offers[k].class, class) &&
				 !strcmp(offers[k].channel, o->channel) &&
				 !strcmp(offers[k].model, o->model);
		if (!found)
			return err_set(err, ERR_INVALID,
				       "classes[%zu]: %s runs no %s on channel %s; bootstrap it first",
				       i, class ? class : "?", o->model, o->channel);
	}
	return 0;
}

/* Whether the order is about this offer: the classes it names, or all that are not removed. */
static int ordered(struct db *db, const struct act_order *o, const struct offer *f,
		   bool *ret_ordered, struct err *err)
{
	*ret_ordered = false;
	if (strcmp(f->channel, o->channel) || strcmp(f->model, o->model) || !f->stable ||
	    !strcmp(f->stable, o->release))
		return 0;
	if (!o->classes)
		return class_active(db, f->class, ret_ordered, err);
	*ret_ordered = listed(o->classes, f->class);
	return 0;
}

/* Every class that a group names is one of the order's. */
static int check_groups(const struct act_order *o, const struct offer *offers, unsigned count,
			struct err *err)
{
	size_t g, k;
	const json_t *group, *item;
	if (group_check(o->groups, err))
		return -1;
	json_array_foreach (o->groups, g, group)
		json_array_foreach (group, k, item) {
			bool found = false;
			for (unsigned i = 0; i < count; i++)
				found |= !strcmp(offers[i].class, json_string_value(item));
			if (!found)
				return err_set(err, ERR_INVALID,
					       "groups[%zu][%zu]: %s is no class of this rollout", g, k,
					       json_string_value(item));
		}
	return 0;
}

int act_targets(struct db *db, const struct act_order *order, struct arena *arena,
		struct offer **ret_offers, unsigned *ret_count, struct err *err)
{
	struct offer *offers;
	unsigned count, kept = 0;
	if (offer_list(db, NULL, NULL, arena, &offers, &count, err) ||
	    check_listed(order, offers, count, err))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		bool wanted;
		if (ordered(db, order, &offers[i], &wanted, err))
			return -1;
		if (wanted)
			offers[kept++] = offers[i];
	}
	if (check_groups(order, offers, kept, err))
		return -1;
	*ret_offers = offers;
	*ret_count = kept;
	return 0;
}

static int start_lanes(struct starting *s, struct err *err)
{
	const struct act_order *o = s->order;
	struct offer *offers;
	unsigned started = 0;
	if (act_targets(s->db, o, s->arena, &offers, &s->count, err) || prepare(s, offers, err))
		return -1;
	for (unsigned i = 0; i < s->count; i++) {
		if (start_lane(s, &s->entrants[i], err))
			return -1;
		started += s->entrants[i].fits;
	}
	return started ? 0
		       : err_set(err, ERR_CONFLICT,
				 "no class of channel %s can take %s@%s: none runs %s, each runs this"
				 " release already, or no tier fits",
				 o->channel, o->model, o->release, o->model);
}

int act_start(struct db *db, const struct act *act, const struct act_order *order, char id[65],
	      struct err *err)
{
	int64_t number;
	struct stage_slices slices[STAGE_MAX];
	json_auto_t *unasked = json_array();
	AUTO(arena_free) struct arena *arena = arena_new(ACT_LANES_ARENA);
	struct starting s = {.db = db, .act = act, .order = order, .id = id, .arena = arena,
			     .left = order->left ? order->left : unasked};
	if (!arena)
		return err_nomem(err);
	if (order->supersede && !order->classes)
		return err_set(err, ERR_INVALID,
			       "supersede: name the classes whose rollout is to be replaced");
	if (act_slices(&order->policy, slices, err) ||
	    catalog_release_need(db, order->model, order->release, err) ||
	    db_meta_next(db, "rollout", &number, err))
		return -1;
	snprintf(id, 65, "r%lld", (long long)number);
	const struct rollout rollout = {.id = id, .model = order->model, .release = order->release,
					.channel = order->channel, .state = "active",
					.actor = act->actor, .policy = order->policy,
					.created = act->now};
	return rollout_insert(db, &rollout, err) || start_lanes(&s, err) ? -1 : 0;
}
