/* Rollouts: start, look, explain, and the operator's hand. */
#include "base/json.h"
#include "manifest/journal.h"
#include "rollout/act.h"
#include "rollout/decide.h"
#include "rollout/engine.h"
#include "rollout/evidence.h"
#include "rollout/lane.h"
#include "rollout/outages.h"
#include "rollout/slice.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "server/rollout_order.h"
#include "server/rollout_plan.h"
#include "server/write.h"
#include "telemetry/days.h"

#include <string.h>

#define LANES_ARENA (16 << 20)

static struct act act_of(const struct request *rq)
{
	return (struct act){rq->app->publisher, engine_cells(rq->app->engine), write_now(rq),
			    rq->who.name, rq->id};
}

/* ---- start ---- */

struct starting {
	struct request *rq;
	struct act_order order;
	char id[65];
};

int rollout_order(struct request *rq, struct act_order *order, struct err *err)
{
	json_t *body, *unused = NULL;
	const char *note = NULL;
	int64_t ignored = 0;
	const struct json_field fields[] = {
		FIELD_NAME("model", &order->model),
		FIELD_NAME("release", &order->release),
		FIELD_NAME("channel", &order->channel),
		FIELD_ARRAY("classes", &order->classes, .optional = true, .min = 1),
		FIELD_ARRAY("groups", &order->groups, .optional = true),
		FIELD_BOOL("retry", &order->retry, .optional = true),
		FIELD_BOOL("supersede", &order->supersede, .optional = true),
		FIELD_BOOL("confirm", &order->confirmed, .optional = true),
		FIELD_TEXT("note", &note, .optional = true, .max = 1000),
		/* the policy's own, read by policy_read() */
		FIELD_ARRAY("stages", &unused, .optional = true),
		FIELD_ARRAY("gates", &unused, .optional = true),
		FIELD_INT("alpha_ppm", &ignored, .optional = true),
		FIELD_INT("promote_alpha_ppm", &ignored, .optional = true),
		FIELD_INT("abort_after_lanes", &ignored, .optional = true),
		FIELD_INT("min_units", &ignored, .optional = true),
		FIELD_INT("min_candidate", &ignored, .optional = true),
	};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err) ||
	    policy_read(&order->policy, body, err))
		return -1;
	return request_may(rq, order->model, err);
}

static int start(struct db *db, void *arg, struct err *err)
{
	struct starting *s = arg;
	const struct act act = act_of(s->rq);
	return act_start(db, &act, &s->order, s->id, err);
}

static int rollout_whole(struct request *rq, const char *id, json_t **ret, struct err *err);

int api_rollout_start(struct request *rq, struct reply *reply, struct err *err)
{
	struct starting s = {.rq = rq};
	json_auto_t *left = json_array();
	json_t *body;
	if (rollout_order(rq, &s.order, err))
		return -1;
	s.order.left = left;
	if (write_run(rq, "rollout.start", s.order.model, rq->body, start, &s, err) ||
	    rollout_whole(rq, s.id, &body, err))
		return -1;
	json_object_set(body, "superseded", left);
	return reply_json(reply, 201, body, err);
}

int api_rollout_plan(struct request *rq, struct reply *reply, struct err *err)
{
	struct act_order order = {.model = NULL};
	json_t *answer;
	AUTO(arena_free) struct arena *arena = arena_new(ROLLOUT_PLAN_ARENA);
	if (!arena)
		return err_nomem(err);
	if (rollout_order(rq, &order, err))
		return -1;
	const struct rollout_plan plan = {rq->db,	    rq->app->blobs, rq->app->publisher, &order,
					  write_now(rq), rq->app->config->min_cohort};
	return rollout_plan(&plan, arena, &answer, err) ? -1 : reply_json(reply, 200, answer, err);
}

/* ---- look ---- */

static json_t *rollout_json(const struct rollout *r)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o}", "id", r->id, "model", r->model,
			 "release", r->release, "channel", r->channel, "state", r->state, "actor",
			 r->actor, "created", (json_int_t)r->created, "spec",
			 policy_json(&r->policy));
}

struct listing {
	struct request *rq;
	json_t *items;
};

/* A token for some models sees theirs. */
static int append_rollout(void *arg, const struct rollout *rollout, struct err *err)
{
	const struct listing *listing = arg;
	struct err refused;
	if (request_may(listing->rq, rollout->model, &refused))
		return 0;
	return json_array_append_new(listing->items, rollout_json(rollout)) ? err_nomem(err) : 0;
}

int api_rollout_list(struct request *rq, struct reply *reply, struct err *err)
{
	const char *state = NULL;
	json_auto_t *items = json_array();
	struct listing listing = {rq, items};
	if (request_query_text(rq, "state", &state, err) ||
	    rollout_each(rq->db, state, rq->arena, append_rollout, &listing, err))
		return -1;
	return reply_list(reply, rq, json_incref(items), NULL, err);
}

/* How many entered, in all stages; late reports count too. */
static int entered(struct request *rq, const struct lane *lane, enum report_arm arm,
		   int64_t *ret, struct err *err)
{
	struct cells_key key = {.channel = lane->channel, .class = lane->class,
				.model = lane->model, .rollout = lane->rollout, .arm = arm,
				.kind = "enter", .metric = "enter"};
	*ret = 0;
	for (key.stage = 1; key.stage <= lane->stage; key.stage++) {
		struct cell sum;
		if (cells_sum(rq->db, &key, 0, INT64_MAX, true, &sum, err))
			return -1;
		*ret += sum.n;
	}
	return 0;
}

static int append_lane(struct request *rq, const struct rollout *r, const struct lane *lane,
		       json_t *list, struct err *err)
{
	int64_t candidate, control;
	if (entered(rq, lane, REPORT_ARM_CANDIDATE, &candidate, err) ||
	    entered(rq, lane, REPORT_ARM_CONTROL, &control, err))
		return -1;
	const bool on = lane_active(lane->state);
	const int64_t ppm = on ? r->policy.stages[lane->stage - 1].ppm
			       : lane->state == LANE_COMPLETE ? 1000000 : 0;
	json_t *item = json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:I, s:{s:I, s:I}}", "class",
		lane->class, "state", lane_state_names[lane->state], "stage",
		(json_int_t)lane->stage, "stages", (json_int_t)r->policy.stage_count, "since",
		(json_int_t)lane->since, "started", (json_int_t)lane->started, "reason",
		lane->reason, "release", lane->release, "stable", lane->stable, "candidate_ppm",
		(json_int_t)ppm, "entered", "candidate", (json_int_t)candidate, "control",
		(json_int_t)control);
	if (item && *lane->lead)
		json_object_set_new(item, "lead", json_string(lane->lead));
	return json_array_append_new(list, item) ? err_nomem(err) : 0;
}

/* The rollout and its lanes, in arena. */
static int load(struct request *rq, const char *id, struct arena *arena, struct rollout *rollout,
		struct lane **ret_lanes, unsigned *ret_count, struct err *err)
{
	if (rollout_get(rq->db, id, arena, rollout, err) ||
	    request_may(rq, rollout->model, err))
		return -1;
	return lane_list(rq->db, id, arena, ret_lanes, ret_count, err);
}

static int rollout_whole(struct request *rq, const char *id, json_t **ret, struct err *err)
{
	struct rollout rollout;
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (load(rq, id, arena, &rollout, &lanes, &count, err))
		return -1;
	json_auto_t *list = json_array();
	for (unsigned i = 0; i < count; i++)
		if (append_lane(rq, &rollout, &lanes[i], list, err))
			return -1;
	json_t *body = rollout_json(&rollout);
	json_object_set(body, "lanes", list);
	*ret = body;
	return body ? 0 : err_nomem(err);
}

static int reply_rollout(struct request *rq, struct reply *reply, const char *id, struct err *err)
{
	json_t *body;
	return rollout_whole(rq, id, &body, err) ? -1 : reply_json(reply, 200, body, err);
}

int api_rollout_get(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_rollout(rq, reply, rq->params[0], err);
}

/* ---- explain ---- */

/* What is read for one answer. */
struct explaining {
	struct request *rq;
	struct rollout rollout;
	struct lane *lanes;
	unsigned count;
	struct family *family;
	struct outages down;
};

/* The classes of the lane's group; NULL: it is by itself. */
static json_t *group_json(const struct explaining *x, const struct lane *lane)
{
	json_t *list = *lane->lead ? json_array() : NULL;
	for (unsigned i = 0; list && i < x->count; i++)
		if (lane_same_group(&x->lanes[i], lane))
			json_array_append_new(list, json_string(x->lanes[i].class));
	return list;
}

/* Without a lane that is active, and so old that its cells may have become daily ones. */
static bool is_past(const struct explaining *x, const struct lane *lane)
{
	for (unsigned i = 0; i < x->count; i++)
		if (lane_active(x->lanes[i].state))
			return false;
	return lane->started - 2 * lane->clock.window_s < days_fine_from(write_now(x->rq));
}

static int explain_now(const struct explaining *x, const struct lane *lane, json_t **ret_item,
		       struct err *err)
{
	const struct evidence *evidence = family_evidence(x->family, lane->class);
	AUTO(slice_table_free) struct slice_table *slices = NULL;
	if (slice_table_read(&slices, x->rq->db, lane->rollout, lane->class,
			     x->rq->app->config->min_cohort, err))
		return -1;
	const int64_t now = write_now(x->rq);
	const struct circumstances c = {lane, family_policy(x->family), family_lanes(x->family),
					engine_authentic(x->rq->app->engine), now, x->family, slices,
					outages_within(&x->down, lane->since, now)};
	*ret_item = evidence ? decide_explain(evidence, &c) : NULL;
	return 0;
}

static int explain_lane(const struct explaining *x, const struct lane *lane, json_t *list,
			struct err *err)
{
	json_t *item = NULL;
	if (is_past(x, lane) ? journal_last_evidence(x->rq->db, lane->rollout, lane->class, &item, err)
			     : explain_now(x, lane, &item, err))
		return -1;
	if (!item) /* a skipped lane has no evidence, nor one that operators moved alone */
		item = json_pack("{s:s, s:I, s:s, s:[]}", "class", lane->class, "stage",
				 (json_int_t)lane->stage, "state", lane_state_names[lane->state], "gates");
	json_t *group = group_json(x, lane);
	if (group)
		json_object_set_new(item, "group", group);
	return json_array_append_new(list, item) ? err_nomem(err) : 0;
}

/* Whether the class is the lane's, or one that shares it. */
static bool about(const struct explaining *x, const struct lane *lane, const char *class)
{
	for (unsigned i = 0; i < x->count; i++)
		if (!strcmp(x->lanes[i].class, class))
			return &x->lanes[i] == lane || lane_same_group(&x->lanes[i], lane);
	return false;
}

int api_rollout_gates(struct request *rq, struct reply *reply, struct err *err)
{
	const char *class = NULL;
	struct explaining x = {.rq = rq};
	AUTO(arena_free) struct arena *arena = arena_new(LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (request_query_text(rq, "class", &class, err) ||
	    load(rq, rq->params[0], arena, &x.rollout, &x.lanes, &x.count, err))
		return -1;
	/* Evidence is a pure function of rows: it is made anew for whoever asks, while they are there. */
	AUTO(family_free) struct family *family = NULL;
	const struct evidence_source source = {.db = rq->db, .down = &x.down};
	const struct family_news news = {x.lanes, x.count, &source, 1};
	bool any;
	if (outages_read(rq->db, &x.down, err) ||
	    family_new(&family, &x.rollout.policy, x.lanes, x.count,
		       !engine_authentic(rq->app->engine), err) ||
	    family_update(family, &news, &any, err))
		return -1;
	x.family = family;
	json_auto_t *list = json_array();
	for (unsigned i = 0; i < x.count; i++)
		if (lane_leads(&x.lanes[i]) && (!class || about(&x, &x.lanes[i], class)) &&
		    explain_lane(&x, &x.lanes[i], list, err))
			return -1;
	if (class && !json_array_size(list))
		return err_set(err, ERR_NOT_FOUND, "rollout %s has no lane %s", rq->params[0],
			       class);
	return reply_json(reply, 200,
			  json_pack("{s:s, s:O}", "id", x.rollout.id, "lanes", list), err);
}

int api_rollout_events(struct request *rq, struct reply *reply, struct err *err)
{
	struct rollout rollout;
	int64_t limit, after;
	json_t *items;
	if (rollout_get(rq->db, rq->params[0], rq->arena, &rollout, err) ||
	    request_may(rq, rollout.model, err) ||
	    request_page_seq(rq, &limit, &after, err) ||
	    journal_events(rq->db, rollout.id, after, limit, &items, err))
		return -1;
	return reply_list(reply, rq, items, NULL, err);
}

/* ---- the operator's hand ---- */

enum hand { HAND_PAUSE, HAND_RESUME, HAND_ADVANCE, HAND_APPROVE, HAND_ABORT, HAND_UNDO };

struct handling {
	struct request *rq;
	enum hand hand;
	json_t *classes; /* NULL: every lane that it can mean */
	const char *reason;
	unsigned done;
};

/* Whether the hand means this lane when no class is named. */
static bool meant(enum hand hand, const struct lane *lane)
{
	switch (hand) {
	case HAND_PAUSE:
		return lane->state == LANE_RUNNING;
	case HAND_RESUME:
		return lane->state == LANE_HOLDING;
	case HAND_APPROVE:
		return act_waits_for_approval(lane);
	case HAND_UNDO:
		return lane->state == LANE_COMPLETE;
	case HAND_ADVANCE:
	case HAND_ABORT:
		break;
	}
	return lane_active(lane->state);
}

static int need_running(const struct lane *lane, struct err *err)
{
	return lane->state == LANE_RUNNING
		       ? 0
		       : err_set(err, ERR_CONFLICT, "lane %s/%s is not running: %s", lane->rollout,
				 lane->class, lane_state_names[lane->state]);
}

static int handle_lane(struct db *db, const struct handling *h, struct lane *lane,
		       struct err *err)
{
	const struct act act = act_of(h->rq);
	const char *reason = h->reason;
	switch (h->hand) {
	case HAND_PAUSE:
		if (need_running(lane, err))
			return -1;
		reason = arena_printf(h->rq->arena, "operator: %s", *reason ? reason : "paused");
		return reason ? act_hold(db, &act, lane, reason, NULL, err) : err_nomem(err);
	case HAND_RESUME:
		return act_resume(db, &act, lane, reason, err);
	case HAND_ADVANCE:
		return act_advance(db, &act, lane, reason, NULL, err);
	case HAND_APPROVE:
		return act_approve(db, &act, lane, reason, err);
	case HAND_ABORT:
		return act_take_back(db, &act, lane, LANE_ABORTED,
				     *reason ? reason : "aborted by an operator", NULL, err);
	case HAND_UNDO:
		break;
	}
	return act_undo(db, &act, lane, reason, err);
}

static bool named(const struct handling *h, const struct lane *lane)
{
	if (!h->classes)
		return meant(h->hand, lane);
	size_t i;
	const json_t *item;
	json_array_foreach (h->classes, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), lane->class))
			return true;
	return false;
}

/* Whether it shares its lane, which is not over, with one that was handled before. */
static bool went_along(const struct lane *lanes, const bool *handled, unsigned index, enum hand hand)
{
	if (hand == HAND_UNDO)
		return false;
	for (unsigned i = 0; i < index; i++)
		if (handled[i] && lane_same_group(&lanes[i], &lanes[index]))
			return true;
	return false;
}

static int handle(struct db *db, void *arg, struct err *err)
{
	struct handling *h = arg;
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_list(db, h->rq->params[0], arena, &lanes, &count, err))
		return -1;
	bool *handled = arena_array(arena, count + 1, sizeof(*handled));
	if (!handled)
		return err_nomem(err);
	h->done = 0;
	for (unsigned i = 0; i < count; i++) {
		handled[i] = named(h, &lanes[i]);
		h->done += handled[i];
	}
	if (h->classes && h->done < json_array_size(h->classes))
		return err_set(err, ERR_INVALID, "classes: not all of them are lanes of rollout %s",
			       h->rq->params[0]);
	for (unsigned i = 0; i < count; i++)
		if (handled[i] && !went_along(lanes, handled, i, h->hand) &&
		    handle_lane(db, h, &lanes[i], err))
			return -1;
	return h->done ? 0
		       : err_set(err, ERR_CONFLICT,
				 "no lane of rollout %s is in a state for this; look at its status",
				 h->rq->params[0]);
}

static int hand(struct request *rq, struct reply *reply, enum hand which, const char *action,
		struct err *err)
{
	struct handling h = {.rq = rq, .hand = which, .reason = ""};
	struct rollout rollout;
	const struct json_field fields[] = {
		FIELD_ARRAY("classes", &h.classes, .optional = true, .min = 1),
		FIELD_TEXT("reason", &h.reason, .optional = true, .max = 180),
	};
	if (rq->body && json_read(rq->body, fields, COUNT_OF(fields), err))
		return -1;
	if (rollout_get(rq->db, rq->params[0], rq->arena, &rollout, err) ||
	    request_may(rq, rollout.model, err) ||
	    write_run(rq, action, rollout.id, rq->body, handle, &h, err))
		return -1;
	return reply_rollout(rq, reply, rollout.id, err);
}

int api_rollout_pause(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_PAUSE, "rollout.pause", err);
}

int api_rollout_resume(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_RESUME, "rollout.resume", err);
}

int api_rollout_advance(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_ADVANCE, "rollout.advance", err);
}

int api_rollout_approve(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_APPROVE, "rollout.approve", err);
}

int api_rollout_abort(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_ABORT, "rollout.abort", err);
}

int api_rollout_undo(struct request *rq, struct reply *reply, struct err *err)
{
	return hand(rq, reply, HAND_UNDO, "rollout.undo", err);
}
