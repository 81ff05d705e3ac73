#include "server/rollout_plan.h"

#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/publisher_store.h"
#include "manifest/snapshot.h"
#include "rollout/cost.h"
#include "rollout/group.h"
#include "rollout/plan.h"
#include "rollout/traffic.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S 86400
#define ODD 2 /* times by which a class's estimate may differ from the census before we say so */

struct forecast {
	const struct offer *offer;
	struct forecast *lead; /* of its group; itself without one */
	char names[400];       /* classes of the group, joined by commas; of the leader */
	struct plan_lane lane;
	struct plan_stage stages[POLICY_STAGES];
	bool fits, counted;
	const char *tier;
	struct cost cost;
};
struct planner {
	const struct rollout_plan *in;
	const struct policy *policy;
	struct arena *arena;
	struct forecast *lanes;
	unsigned count, leaders;
	json_t *warnings, *groups;
	const char *from, *to; /* variants that were priced last: most classes have the same */
	struct cost cost;
	struct err *err;
};

/* class NULL: of the whole. */
static int warn(struct planner *p, const char *class, const char *kind, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
static int warn(struct planner *p, const char *class, const char *kind, const char *fmt, ...)
{
	char text[700];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_t *item = json_pack("{s:s?, s:s, s:s}", "class", class, "kind", kind, "text", text);
	return json_array_append_new(p->warnings, item) ? err_nomem(p->err) : 0;
}

/* ---- what stands in the way now ---- */

static int warn_rows(struct planner *p, const struct offer *f)
{
	const struct act_order *o = p->in->order;
	char other[65];
	bool busy, was;
	if (lane_busy(p->in->db, o->channel, f->class, o->model, &busy, other, p->err) ||
	    lane_was_rolled_back(p->in->db, o->channel, f->class, o->model, o->release, &was, p->err))
		return -1;
	if (busy && warn(p, f->class, "busy",
			 "rollout %s is under way there: wait for it, or replace it in this class with"
			 " --supersede --class %s",
			 other, f->class))
		return -1;
	return was ? warn(p, f->class, "retry",
			  "%s@%s was taken back there before: starting it again needs --retry", o->model,
			  o->release)
		   : 0;
}

static int warn_floor(struct planner *p, const struct offer *f)
{
	struct err err;
	if (!publisher_floor_check(p->in->db, f->model, p->in->order->release, f->stable, &err))
		return 0;
	if (err.status == ERR_CONFLICT)
		return warn(p, f->class, "floor", "%s", err.text);
	*p->err = err;
	return -1;
}

static int warn_pending(struct planner *p, const struct offer *f)
{
	char path[300];
	struct snapshot *snapshot = publisher_snapshot(p->in->publisher);
	snprintf(path, sizeof(path), "/v1/c/%s/%s/manifest.json", f->channel, f->class);
	const bool published = snapshot_find(snapshot, path) != NULL;
	snapshot_unref(snapshot);
	return published ? 0
			 : warn(p, f->class, "pending",
				"its roots wait to be signed offline: no device hears of the rollout"
				" before (flotilla keys export)");
}

/* ---- what it costs ---- */

static const struct manifest_variant *same_tier(const struct manifest_variant *list, unsigned count,
						const char *tier)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(list[i].ref.tier, tier))
			return &list[i];
	return count ? list : NULL;
}

static int price_pair(struct planner *p, const struct manifest_variant *from,
		      const struct manifest_variant *to)
{
	const char *name = from ? from->ref.text : "";
	if (p->to && !strcmp(p->to, to->ref.text) && !strcmp(p->from, name))
		return 0;
	if (cost_of(p->in->blobs, from, to, &p->cost, p->err))
		return -1;
	p->from = name;
	p->to = to->ref.text;
	return 0;
}

/* Of the tier that the class prefers; devices with less room step down to cheaper ones. */
static int price(struct planner *p, struct forecast *f)
{
	struct class_settings settings;
	struct manifest_variant *new, *old;
	unsigned new_count, old_count;
	int64_t version;
	struct db *db = p->in->db;
	json_auto_t *object = NULL;
	const struct act_order *o = p->in->order;
	if (class_get(db, f->offer->class, &settings, &object, &version, p->err) ||
	    act_variants(db, &settings, o->model, o->release, p->arena, &new, &new_count, p->err) ||
	    act_variants(db, &settings, o->model, f->offer->stable, p->arena, &old, &old_count,
			 p->err))
		return -1;
	f->fits = new_count > 0;
	if (!f->fits)
		return warn(p, f->offer->class, "skipped",
			    "no tier of the release fits this class: the rollout leaves it out");
	f->tier = new->ref.tier;
	if (price_pair(p, same_tier(old, old_count, f->tier), new))
		return -1;
	f->cost = p->cost;
	return 0;
}

/* ---- how long it takes ---- */

static int warn_traffic(struct planner *p, const struct forecast *f)
{
	const char *class = f->offer->class;
	const struct plan_usage *u = &f->lane.usage;
	const double told = (double)f->lane.clock.devices, counted = f->lane.devices;
	if (u->device_days < PLAN_KNOWN &&
	    warn(p, class, "baseline",
		 "%.0f device-days of usage are known, %d are needed: rates are guesses and gates start"
		 " from them; let stable run for a day or two first",
		 u->device_days, PLAN_KNOWN))
		return -1;
	if (f->counted && (told > counted * ODD || counted > told * ODD))
		return warn(p, class, "estimate",
			    "the census counts %.0f devices a day, the class says %.0f: margins follow"
			    " what the class says (echo '{\"devices\": %.0f}' | flotilla class set %s -)",
			    counted, told, counted, class);
	return 0;
}

/* The first stage that is not in time; NULL: all are. */
static const struct plan_stage *late_stage(const struct planner *p, const struct plan_stage *stages,
					   unsigned *ret_stage)
{
	for (unsigned s = 0; s < p->policy->stage_count; s++)
		if (!stages[s].in_time) {
			*ret_stage = s;
			return &stages[s];
		}
	return NULL;
}

static bool leads(const struct forecast *f)
{
	return f->fits && f->lead == f;
}

static bool late(const struct planner *p, const struct forecast *f)
{
	unsigned stage;
	return leads(f) && late_stage(p, f->stages, &stage);
}

static int warn_late(struct planner *p, const struct forecast *f)
{
	unsigned i;
	const struct plan_stage *s = late_stage(p, f->stages, &i);
	if (!s)
		return 0;
	const struct policy_stage *asked = &p->policy->stages[i];
	if (s->needs == PLAN_NEVER)
		return warn(p, f->names, "forecast",
			    "stage %u cannot be passed: %s of stable alone lies beyond its margin", i + 1,
			    s->slowest);
	if (s->seconds == PLAN_NEVER)
		return warn(p, f->names, "forecast",
			    "stage %u needs the reports of %lld candidates for %s, and %lld enter: it will"
			    " hold",
			    i + 1, (long long)s->needs, s->slowest, (long long)s->candidates);
	return warn(p, f->names, "forecast",
		    "stage %u needs about %lld days for %s, and may take %lld: it will hold", i + 1,
		    (long long)((s->seconds + DAY_S - 1) / DAY_S), s->slowest,
		    (long long)(asked->max_s / DAY_S));
}

/* What is known of one class. */
static int look(struct planner *p, struct forecast *f)
{
	const struct traffic_query query = {f->offer->channel, f->offer->class, f->offer->model,
					    p->in->now, p->in->min_cohort};
	f->lead = f;
	snprintf(f->names, sizeof(f->names), "%s", f->offer->class);
	return warn_rows(p, f->offer) || warn_floor(p, f->offer) || warn_pending(p, f->offer) ||
			       price(p, f) ||
			       traffic_read(p->in->db, &query, &f->lane, &f->counted, p->err) ||
			       (f->fits && warn_traffic(p, f))
		       ? -1
		       : 0;
}

/* Add a class to its group's leader. */
static int join(struct planner *p, struct forecast *lead, struct forecast *f)
{
	const size_t len = strlen(lead->names);
	const double bytes = lead->lane.devices * (double)lead->cost.bytes +
			     f->lane.devices * (double)f->cost.bytes;
	if (!group_same_clock(&lead->lane.clock, &f->lane.clock) &&
	    warn(p, f->offer->class, "group",
		 "its devices report by another clock than those of %s: a start will refuse the group",
		 lead->offer->class))
		return -1;
	snprintf(lead->names + len, sizeof(lead->names) - len, ",%s", f->offer->class);
	plan_join(&lead->lane, &f->lane);
	lead->cost.bytes = (int64_t)(bytes / lead->lane.devices);
	lead->counted = lead->counted && f->counted;
	f->lead = lead;
	return 0;
}

static int form_groups(struct planner *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		struct forecast *f = &p->lanes[i];
		const int group = group_of(p->in->order->groups, f->offer->class);
		for (unsigned k = 0; group != GROUP_NONE && f->fits && k < i; k++)
			if (leads(&p->lanes[k]) &&
			    group_of(p->in->order->groups, p->lanes[k].offer->class) == group) {
				if (join(p, &p->lanes[k], f))
					return -1;
				break;
			}
	}
	for (unsigned i = 0; i < p->count; i++)
		p->leaders += leads(&p->lanes[i]);
	return 0;
}

static int reckon(struct planner *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		struct forecast *f = &p->lanes[i];
		if (leads(f) && (plan_stages(&f->lane, p->policy, p->leaders, f->stages, p->err) ||
				 warn_late(p, f)))
			return -1;
	}
	return 0;
}

/* ---- which classes should share a lane ---- */

static int by_devices(const void *a, const void *b)
{
	const struct forecast *const *x = a, *const *y = b;
	return ((*x)->lane.devices > (*y)->lane.devices) - ((*x)->lane.devices < (*y)->lane.devices);
}

/* All that are late first, then the others, each from the smallest; of those whose devices report by the
 * clock of the first one.  How many are late. */
static unsigned in_order(const struct planner *p, struct forecast **list, unsigned *ret_count)
{
	unsigned n = 0, late_count = 0;
	for (unsigned turn = 0; turn < 2; turn++) {
		const unsigned from = n;
		for (unsigned i = 0; i < p->count; i++) {
			struct forecast *f = &p->lanes[i];
			if (leads(f) && late(p, f) == !turn &&
			    (!n || group_same_clock(&f->lane.clock, &list[0]->lane.clock)))
				list[n++] = f;
		}
		qsort(list + from, n - from, sizeof(*list), by_devices);
		late_count = turn ? late_count : n;
	}
	*ret_count = n;
	return late_count;
}

static int tell_group(struct planner *p, struct forecast **list, unsigned count)
{
	char names[500] = "";
	size_t len = 0;
	json_t *group = json_array();
	for (unsigned i = 0; i < count; i++) {
		const int n = snprintf(names + len, sizeof(names) - len, "%s%s", i ? "," : "",
				       list[i]->names);
		len = n > 0 && len + (size_t)n < sizeof(names) ? len + (size_t)n : sizeof(names) - 1;
		for (unsigned k = 0; k < p->count; k++)
			if (p->lanes[k].lead == list[i])
				json_array_append_new(group, json_string(p->lanes[k].offer->class));
	}
	if (json_array_append_new(p->groups, group))
		return err_nomem(p->err);
	return warn(p, NULL, "group", "in one lane these would be in time: --group %s (or --group auto)",
		    names);
}

/* Join the late lanes, and as many of the others as it takes. */
static int suggest_group(struct planner *p)
{
	unsigned n = 0, stage, count;
	struct plan_stage stages[POLICY_STAGES];
	struct plan_lane joined = {0};
	struct forecast **list = arena_array(p->arena, p->count + 1, sizeof(*list));
	if (!list)
		return err_nomem(p->err);
	const unsigned must = in_order(p, list, &count);
	if (!must)
		return 0;
	while (n < count) {
		const struct plan_lane *next = &list[n]->lane;
		if (!n)
			joined = *next;
		else
			plan_join(&joined, next);
		if (++n < must || n < 2)
			continue;
		if (plan_stages(&joined, p->policy, p->leaders - n + 1, stages, p->err))
			return -1;
		if (!late_stage(p, stages, &stage))
			return tell_group(p, list, n);
	}
	return warn(p, NULL, "group",
		    "all these devices in one lane are still too few: take fewer or larger stages"
		    " (--stages), wider margins (--margin), or more time (--max)");
}

/* ---- telling ---- */

static json_t *ratio(double value)
{
	return value > 0 ? json_real(value) : json_null();
}

static json_t *count_or_null(int64_t value)
{
	return value == PLAN_NEVER ? json_null() : json_integer(value);
}

static int64_t nights(const struct plan_stage *s)
{
	return s->seconds == PLAN_NEVER ? PLAN_NEVER : (s->seconds + DAY_S - 1) / DAY_S;
}

static json_t *stage_json(const struct policy_stage *asked, const struct plan_stage *s, unsigned i,
			  const struct cost *cost)
{
	return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:s, s:o, s:o, s:I, s:b, s:o, s:o}", "stage",
			 (int)i + 1, "ppm", (json_int_t)asked->ppm, "candidates",
			 (json_int_t)s->candidates, "control", (json_int_t)s->control, "bytes",
			 (json_int_t)s->takes * cost->bytes, "needs", count_or_null(s->needs),
			 "slowest", s->slowest, "expected_s", count_or_null(s->seconds), "nights",
			 count_or_null(nights(s)), "max_s", (json_int_t)asked->max_s, "in_time",
			 (int)s->in_time, "crash_ratio", ratio(s->crash), "ttft_p95_ratio",
			 ratio(s->ttft));
}

/* Nights of all stages; PLAN_NEVER when one never comes. */
static int64_t all_nights(const struct planner *p, const struct forecast *f)
{
	int64_t sum = 0;
	for (unsigned s = 0; s < p->policy->stage_count; s++) {
		if (f->stages[s].seconds == PLAN_NEVER)
			return PLAN_NEVER;
		sum += nights(&f->stages[s]);
	}
	return sum;
}

static json_t *stages_json(const struct planner *p, const struct forecast *f)
{
	json_t *list = json_array();
	for (unsigned s = 0; f->fits && s < p->policy->stage_count; s++)
		json_array_append_new(list, stage_json(&p->policy->stages[s], &f->stages[s], s, &f->cost));
	return list;
}

/* The classes of the lane; null: only its own. */
static json_t *group_json(const struct planner *p, const struct forecast *f)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < p->count; i++)
		if (p->lanes[i].lead == f)
			json_array_append_new(list, json_string(p->lanes[i].offer->class));
	if (json_array_size(list) > 1)
		return list;
	json_decref(list);
	return json_null();
}

static json_t *lane_json(const struct planner *p, const struct forecast *f)
{
	const double bytes = f->lane.devices * (double)f->cost.bytes;
	return json_pack(
		"{s:s, s:o, s:s, s:s, s:I, s:s, s:I, s:I, s:s?, s:I, s:s?, s:I, s:o, s:o}", "class",
		f->offer->class, "group", group_json(p, f), "stable", f->offer->stable, "state", f->fits ? "planned" : "skipped",
		"devices", (json_int_t)f->lane.devices, "devices_from", f->counted ? "census" : "class",
		"active_ppm", (json_int_t)(f->lane.active * 1e6), "device_days",
		(json_int_t)f->lane.usage.device_days, "tier", f->tier, "bytes_per_device",
		(json_int_t)f->cost.bytes, "via", f->cost.via, "bytes", (json_int_t)bytes, "nights",
		f->fits ? count_or_null(all_nights(p, f)) : json_null(), "stages", stages_json(p, f));
}

static json_t *plan_json(const struct planner *p)
{
	const struct act_order *o = p->in->order;
	json_t *list = json_array();
	int64_t most = 0, bytes = 0;
	for (unsigned i = 0; i < p->count; i++) {
		const struct forecast *f = &p->lanes[i];
		if (f->lead != f)
			continue;
		const int64_t own = f->fits ? all_nights(p, f) : 0;
		most = most == PLAN_NEVER || own == PLAN_NEVER ? PLAN_NEVER : own > most ? own : most;
		bytes += (int64_t)(f->lane.devices * (double)f->cost.bytes);
		json_array_append_new(list, lane_json(p, f));
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:O, s:O}", "model", o->model, "release",
			 o->release, "channel", o->channel, "nights", count_or_null(most), "bytes",
			 (json_int_t)bytes, "lanes", list, "groups", p->groups, "warnings", p->warnings);
}

int rollout_plan(const struct rollout_plan *in, struct arena *arena, json_t **ret, struct err *err)
{
	struct offer *offers;
	json_auto_t *warnings = json_array(), *groups = json_array();
	struct planner p = {.in = in, .policy = &in->order->policy, .arena = arena,
			    .warnings = warnings, .groups = groups, .err = err};
	if (catalog_release_need(in->db, in->order->model, in->order->release, err) ||
	    act_targets(in->db, in->order, arena, &offers, &p.count, err))
		return -1;
	p.lanes = arena_array(arena, p.count + 1, sizeof(*p.lanes));
	if (!p.lanes)
		return err_nomem(err);
	if (!p.count && warn(&p, NULL, "nobody",
			     "no class of channel %s would take it: none runs %s, or each runs this release"
			     " already",
			     in->order->channel, in->order->model))
		return -1;
	for (unsigned i = 0; i < p.count; i++) {
		p.lanes[i] = (struct forecast){.offer = &offers[i]};
		if (look(&p, &p.lanes[i]))
			return err_in(err, "class %s", offers[i].class);
	}
	if (form_groups(&p) || reckon(&p) || suggest_group(&p))
		return -1;
	*ret = plan_json(&p);
	return *ret ? 0 : err_nomem(err);
}
