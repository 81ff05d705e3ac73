/* Rollouts: start, look, explain, and the operator's hand. */
#include "base/json.h"
#include "manifest/journal.h"
#include "rollout/act.h"
#include "rollout/decide.h"
#include "rollout/engine.h"
#include "rollout/evidence.h"
#include "rollout/lane.h"
#include "server/api.h"
#include "server/app.h"
#include "server/write.h"

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

static int read_order(struct request *rq, struct act_order *order, struct err *err)
{
	json_t *body, *unused = NULL;
	const char *note = NULL;
	int64_t ignored = 0;
	const struct json_field fields[] = {
		FIELD_NAME("model", &order->model),
		FIELD_NAME("release", &order->release),
		FIELD_NAME("channel", &order->channel),
		FIELD_ARRAY("classes", &order->classes, .optional = true, .min = 1),
		FIELD_BOOL("retry", &order->retry, .optional = true),
		FIELD_TEXT("note", &note, .optional = true, .max = 1000),
		/* the policy's own, read by policy_read() */
		FIELD_ARRAY("stages", &unused, .optional = true),
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

static int reply_rollout(struct request *rq, struct reply *reply, const char *id, unsigned code,
			 struct err *err);

int api_rollout_start(struct request *rq, struct reply *reply, struct err *err)
{
	struct starting s = {.rq = rq};
	if (read_order(rq, &s.order, err) ||
	    write_run(rq, "rollout.start", s.order.model, rq->body, start, &s, err))
		return -1;
	return reply_rollout(rq, reply, s.id, 201, err);
}

/* ---- look ---- */

static json_t *rollout_json(const struct rollout *r)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o}", "id", r->id, "model", r->model,
			 "release", r->release, "channel", r->channel, "state", r->state, "actor",
			 r->actor, "created", (json_int_t)r->created, "spec",
			 policy_json(&r->policy));
}

static int append_rollout(void *arg, const struct rollout *rollout, struct err *err)
{
	return json_array_append_new(arg, rollout_json(rollout)) ? err_nomem(err) : 0;
}

int api_rollout_list(struct request *rq, struct reply *reply, struct err *err)
{
	const char *state = NULL;
	json_t *items = json_array();
	if (request_query_text(rq, "state", &state, err) ||
	    rollout_each(rq->db, state, rq->arena, append_rollout, items, err)) {
		json_decref(items);
		return -1;
	}
	return reply_list(reply, rq, items, NULL, err);
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

static int reply_rollout(struct request *rq, struct reply *reply, const char *id, unsigned code,
			 struct err *err)
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
	return reply_json(reply, code, body, err);
}

int api_rollout_get(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_rollout(rq, reply, rq->params[0], 200, err);
}

/* ---- explain ---- */

/* Evidence is a pure function of rows: it is made anew for whoever asks. */
static int explain_lane(struct request *rq, const struct rollout *r, const struct lane *lane,
			unsigned lanes, json_t *list, struct err *err)
{
	AUTO(evidence_free) struct evidence *evidence = NULL;
	const struct circumstances c = {lane, &r->policy, lanes, engine_authentic(rq->app->engine),
					write_now(rq)};
	if (evidence_new(&evidence, lane, &r->policy, err) ||
	    evidence_update(evidence, rq->db, lane, err))
		return -1;
	return json_array_append_new(list, decide_explain(evidence, &c)) ? err_nomem(err) : 0;
}

int api_rollout_gates(struct request *rq, struct reply *reply, struct err *err)
{
	const char *class = NULL;
	struct rollout rollout;
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (request_query_text(rq, "class", &class, err) ||
	    load(rq, rq->params[0], arena, &rollout, &lanes, &count, err))
		return -1;
	json_auto_t *list = json_array();
	for (unsigned i = 0; i < count; i++)
		if ((!class || !strcmp(class, lanes[i].class)) &&
		    explain_lane(rq, &rollout, &lanes[i], count, list, err))
			return -1;
	if (class && !json_array_size(list))
		return err_set(err, ERR_NOT_FOUND, "rollout %s has no lane %s", rq->params[0],
			       class);
	return reply_json(reply, 200, json_pack("{s:s, s:O}", "id", rollout.id, "lanes", list), err);
}

int api_rollout_events(struct request *rq, struct reply *reply, struct err *err)
{
	struct rollout rollout;
	int64_t limit, after;
	json_t *items;
	if (rollout_get(rq->db, rq->params[0], rq->arena, &rollout, err) ||
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
	case HAND_APPROVE:
		return lane->state == LANE_HOLDING;
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

static int approve(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		   struct err *err)
{
	if (lane->state != LANE_HOLDING || strncmp(lane->reason, "approval", 8) != 0)
		return err_set(err, ERR_CONFLICT, "lane %s/%s does not wait for approval",
			       lane->rollout, lane->class);
	return act_advance(db, act, lane, reason, NULL, err);
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
		return approve(db, &act, lane, reason, err);
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
	size_t i;
	const json_t *item;
	json_array_foreach (h->classes, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), lane->class))
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
	for (unsigned i = 0; i < count; i++) {
		if (h->classes ? !named(h, &lanes[i]) : !meant(h->hand, &lanes[i]))
			continue;
		if (handle_lane(db, h, &lanes[i], err))
			return -1;
		h->done++;
	}
	if (h->classes && h->done < json_array_size(h->classes))
		return err_set(err, ERR_INVALID, "classes: not all of them are lanes of rollout %s",
			       h->rq->params[0]);
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
	return reply_rollout(rq, reply, rollout.id, 200, err);
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
