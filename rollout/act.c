#include "rollout/act.h"

#include "base/hex.h"
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/journal.h"
#include "manifest/offer.h"
#include "manifest/publisher_store.h"
#include "manifest/withdrawn.h"
#include "rollout/evidence.h"
#include "rollout/stage.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SALT_BYTES 12
#define ARENA_BYTES (8 << 20)
#define SLOT_S 600

/* ---- what every transition does ---- */

static json_t *event_data(const struct lane *lane, const char *reason, json_t *evidence)
{
	json_t *data = json_pack("{s:s, s:s, s:s, s:I, s:s}", "release", lane->release, "stable",
				 lane->stable, "state", lane_state_names[lane->state], "stage",
				 (json_int_t)lane->stage, "reason", reason ? reason : "");
	if (data && evidence)
		json_object_set(data, "evidence", evidence);
	return data;
}

static int record(struct db *db, const struct act *act, const struct lane *lane, const char *kind,
		  const char *reason, json_t *evidence, struct err *err)
{
	char resource[200];
	json_auto_t *data = event_data(lane, reason, evidence);
	if (!data)
		return err_nomem(err);
	const struct journal_event event = {act->now, kind, lane->rollout, lane->class, act->actor,
					    data};
	snprintf(resource, sizeof(resource), "%s/%s", lane->rollout, lane->class);
	json_auto_t *why = json_pack("{s:s, s:I}", "reason", reason ? reason : "", "stage",
				     (json_int_t)lane->stage);
	const struct journal_entry entry = {act->now, act->actor, kind, resource, act->request,
					    why};
	return journal_event(db, &event, err) || journal_audit(db, &entry, err) ? -1 : 0;
}

static int slices_of(const struct policy *policy, struct stage_slices *slices, struct err *err)
{
	int64_t ppm[POLICY_STAGES];
	for (unsigned s = 0; s < policy->stage_count; s++)
		ppm[s] = policy->stages[s].ppm;
	return stage_allocate(ppm, policy->stage_count, slices, err);
}

/* The offer as the lane's state and stage want it. */
static int set_offer(struct db *db, const struct lane *lane, const struct policy *policy,
		     struct err *err)
{
	struct stage_slices slices[STAGE_MAX];
	if (slices_of(policy, slices, err))
		return -1;
	const struct stage_slices *s = &slices[lane->stage - 1];
	const struct offer offer = {.channel = lane->channel,
				    .class = lane->class,
				    .model = lane->model,
				    .rollout = lane->rollout,
				    .candidate = lane->release,
				    .salt = lane->salt,
				    .state = lane_state_names[lane->state],
				    .stage = lane->stage,
				    .candidate_ppm = s->candidate_ppm,
				    .enter = {s->enter_low, s->enter_high},
				    .control = {s->control_low, s->control_high}};
	return offer_set_candidate(db, &offer, err);
}

static int publish(struct db *db, const struct act *act, const struct lane *lane,
		   struct err *err)
{
	return publish_repo(act->publisher, db, lane->channel, lane->class, err);
}

/* When no lane is active any more, the rollout is over. */
static int settle_rollout(struct db *db, const struct act *act, const char *id, struct err *err)
{
	struct lane *lanes;
	unsigned count, complete = 0, active = 0;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA_BYTES);
	if (!arena)
		return err_nomem(err);
	if (lane_list(db, id, arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		active += lane_active(lanes[i].state);
		complete += lanes[i].state == LANE_COMPLETE;
	}
	(void)act;
	if (active)
		return 0;
	return rollout_set_state(db, id, complete ? "complete" : "ended", err);
}

static int leave(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	cells_lane_end(act->cells, lane->rollout, lane->class);
	return publish(db, act, lane, err) || settle_rollout(db, act, lane->rollout, err) ? -1 : 0;
}

/* ---- starting ---- */

/* One start under way. */
struct starting {
	struct db *db;
	const struct act *act;
	const struct act_order *order;
	const char *id;
	struct arena *arena;
	unsigned lanes;
};

static int check_class(struct starting *s, const char *class, struct err *err)
{
	const struct act_order *o = s->order;
	char other[65];
	bool busy, was;
	if (lane_busy(s->db, o->channel, class, o->model, &busy, other, err) ||
	    lane_was_rolled_back(s->db, o->channel, class, o->model, o->release, &was, err))
		return -1;
	if (busy)
		return err_set(err, ERR_CONFLICT,
			       "class %s: rollout %s is under way there; abort it first", class, other);
	if (was && !o->retry)
		return err_set(err, ERR_CONFLICT,
			       "class %s: %s@%s was rolled back there before; say retry to try again",
			       class, o->model, o->release);
	return 0;
}

static void clockwork_of(const struct class_settings *s, struct clockwork *clock)
{
	*clock = (struct clockwork){s->window_s, s->windows, s->jitter_s, s->outcome_deadline_s,
				    s->report_grace_s, s->devices};
}

/* Whether any tier of the release fits the class. */
static int fits(struct starting *s, const struct class_settings *settings, bool *ret_fits,
		struct err *err)
{
	struct manifest_variant *list;
	unsigned count;
	if (catalog_variants(s->db, s->order->model, s->order->release, settings->tiers,
			     settings->tier_count, !settings->tier_count, s->arena, &list, &count,
			     err))
		return -1;
	*ret_fits = count > 0;
	return 0;
}

static int insert_lane(struct starting *s, struct lane *lane, struct err *err)
{
	char *baseline, salt[2 * SALT_BYTES + 1];
	uint8_t bytes[SALT_BYTES];
	randombytes_buf(bytes, sizeof(bytes));
	hex_encode(salt, bytes, sizeof(bytes));
	if (evidence_baseline(s->db, lane->channel, lane->class, lane->model, s->act->now,
			      &baseline, err))
		return -1;
	lane->salt = salt;
	lane->baseline = baseline;
	/* Nothing of this lane lies before the window in which it starts. */
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		lane->closed[m] = s->act->now - 2 * lane->clock.window_s - SLOT_S;
	int bad = lane_insert(s->db, lane, err);
	if (!bad && lane->state == LANE_RUNNING)
		bad = set_offer(s->db, lane, &s->order->policy, err) ||
		      cells_lane_set(s->act->cells, lane->rollout, lane->class, lane->closed,
				     err) ||
		      publish(s->db, s->act, lane, err);
	free(baseline);
	return bad ? -1 : 0;
}

static int start_lane(struct starting *s, const char *class, const char *stable, struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	bool fit;
	struct lane lane = {.rollout = s->id, .class = class, .channel = s->order->channel,
			    .model = s->order->model, .release = s->order->release, .stage = 1,
			    .since = s->act->now, .started = s->act->now, .stable = stable};
	if (check_class(s, class, err) ||
	    publisher_floor_check(s->db, lane.model, lane.release, stable, err) ||
	    class_get(s->db, class, &settings, &object, &version, err) ||
	    fits(s, &settings, &fit, err))
		return -1;
	clockwork_of(&settings, &lane.clock);
	lane.state = fit ? LANE_RUNNING : LANE_SKIPPED;
	lane.reason = fit ? "" : "no tier of the release fits this class";
	s->lanes += fit;
	if (insert_lane(s, &lane, err))
		return err_in(err, "class %s", class);
	return record(s->db, s->act, &lane, fit ? "lane.started" : "lane.skipped", lane.reason,
		      NULL, err);
}

static bool listed(const json_t *classes, const char *class)
{
	size_t i;
	const json_t *item;
	json_array_foreach (classes, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), class))
			return true;
	return false;
}

static int check_listed(struct starting *s, const struct offer *offers, unsigned count,
			struct err *err)
{
	size_t i;
	const json_t *item;
	json_array_foreach (s->order->classes, i, item) {
		bool found = false;
		const char *class = json_string_value(item);
		for (unsigned k = 0; class && k < count; k++)
			found |= !strcmp(offers[k].class, class) &&
				 !strcmp(offers[k].channel, s->order->channel) &&
				 !strcmp(offers[k].model, s->order->model);
		if (!found)
			return err_set(err, ERR_INVALID,
				       "classes[%zu]: %s runs no %s on channel %s; bootstrap it first",
				       i, class ? class : "?", s->order->model, s->order->channel);
	}
	return 0;
}

/* Whether the order is about this offer: the classes it names, or all that are not removed. */
static int ordered(struct starting *s, const struct offer *f, bool *ret_ordered, struct err *err)
{
	const struct act_order *o = s->order;
	*ret_ordered = false;
	if (strcmp(f->channel, o->channel) || strcmp(f->model, o->model) || !f->stable ||
	    !strcmp(f->stable, o->release))
		return 0;
	if (!o->classes)
		return class_active(s->db, f->class, ret_ordered, err);
	*ret_ordered = listed(o->classes, f->class);
	return 0;
}

static int start_lanes(struct starting *s, struct err *err)
{
	const struct act_order *o = s->order;
	struct offer *offers;
	unsigned count;
	if (offer_list(s->db, NULL, NULL, s->arena, &offers, &count, err) ||
	    check_listed(s, offers, count, err))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		bool wanted;
		if (ordered(s, &offers[i], &wanted, err) ||
		    (wanted && start_lane(s, offers[i].class, offers[i].stable, err)))
			return -1;
	}
	return s->lanes ? 0
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
	AUTO(arena_free) struct arena *arena = arena_new(ARENA_BYTES);
	struct starting s = {.db = db, .act = act, .order = order, .id = id, .arena = arena};
	if (!arena)
		return err_nomem(err);
	if (slices_of(&order->policy, slices, err) ||
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

/* ---- going on ---- */

static int policy_of(struct db *db, const struct lane *lane, struct policy *policy,
		     struct err *err)
{
	struct rollout rollout;
	AUTO(arena_free) struct arena *arena = arena_new(65536);
	if (!arena)
		return err_nomem(err);
	if (rollout_get(db, lane->rollout, arena, &rollout, err))
		return -1;
	*policy = rollout.policy;
	return 0;
}

static int need_active(const struct lane *lane, struct err *err)
{
	return lane_active(lane->state) ? 0
					: err_set(err, ERR_CONFLICT, "lane %s/%s is over: %s",
						  lane->rollout, lane->class,
						  lane_state_names[lane->state]);
}

static int complete(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		    json_t *evidence, struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	lane->state = LANE_COMPLETE;
	if (class_get(db, lane->class, &settings, &object, &version, err) ||
	    lane_update(db, lane, err) ||
	    offer_complete(db, lane->channel, lane->class, lane->model, lane->rollout,
			   settings.spread_s, act->now, err) ||
	    record(db, act, lane, "lane.completed", reason, evidence, err))
		return -1;
	return leave(db, act, lane, err);
}

int act_advance(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		json_t *evidence, struct err *err)
{
	struct policy policy;
	if (need_active(lane, err) || policy_of(db, lane, &policy, err))
		return -1;
	lane->since = act->now;
	lane->reason = "";
	if (lane->stage >= policy.stage_count)
		return complete(db, act, lane, reason, evidence, err);
	lane->stage++;
	lane->state = LANE_RUNNING;
	if (lane_update(db, lane, err) || set_offer(db, lane, &policy, err) ||
	    record(db, act, lane, "lane.advanced", reason, evidence, err))
		return -1;
	return publish(db, act, lane, err);
}

static int set_state(struct db *db, const struct act *act, struct lane *lane,
		     enum lane_state state, const char *kind, const char *reason,
		     json_t *evidence, struct err *err)
{
	struct policy policy;
	if (need_active(lane, err) || policy_of(db, lane, &policy, err))
		return -1;
	lane->state = state;
	lane->reason = state == LANE_RUNNING ? "" : reason;
	if (lane_update(db, lane, err) || set_offer(db, lane, &policy, err) ||
	    record(db, act, lane, kind, reason, evidence, err))
		return -1;
	return publish(db, act, lane, err);
}

int act_hold(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     json_t *evidence, struct err *err)
{
	return set_state(db, act, lane, LANE_HOLDING, "lane.held", reason, evidence, err);
}

int act_resume(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	       struct err *err)
{
	if (lane->state != LANE_HOLDING)
		return err_set(err, ERR_CONFLICT, "lane %s/%s is not held: %s", lane->rollout,
			       lane->class, lane_state_names[lane->state]);
	lane->since = act->now; /* the stage's time begins anew, or it would hold at once */
	return set_state(db, act, lane, LANE_RUNNING, "lane.resumed", reason, NULL, err);
}

/* ---- taking back ---- */

/* That it was, for whoever puts back a backup from before. */
static int remember(struct db *db, const struct act *act, const struct lane *lane, struct err *err)
{
	return withdrawn_add(act->publisher, db,
			     json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "what", "release",
				       "rollout", lane->rollout, "channel", lane->channel, "class",
				       lane->class, "model", lane->model, "release", lane->release,
				       "state", lane_state_names[lane->state], "reason",
				       lane->reason),
			     err);
}

int act_take_back(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		  const char *reason, json_t *evidence, struct err *err)
{
	if (need_active(lane, err))
		return -1;
	lane->state = state;
	lane->since = act->now;
	lane->reason = reason;
	if (lane_update(db, lane, err) ||
	    offer_clear_candidate(db, lane->channel, lane->class, lane->model, lane->rollout,
				  err) ||
	    record(db, act, lane, state == LANE_ABORTED ? "lane.aborted" : "lane.rolled_back",
		   reason, evidence, err))
		return -1;
	return leave(db, act, lane, err) || remember(db, act, lane, err) ? -1 : 0;
}

int act_undo(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	if (lane->state != LANE_COMPLETE)
		return err_set(err, ERR_CONFLICT,
			       "lane %s/%s did not complete (%s); abort takes a running one back",
			       lane->rollout, lane->class, lane_state_names[lane->state]);
	if (publisher_floor_check(db, lane->model, lane->stable, lane->release, err) ||
	    class_get(db, lane->class, &settings, &object, &version, err) ||
	    offer_undo(db, lane->channel, lane->class, lane->model, lane->release,
		       settings.spread_s, act->now, err))
		return -1;
	lane->state = LANE_ROLLED_BACK;
	lane->since = act->now;
	lane->reason = reason && *reason ? reason : "undone by an operator";
	if (lane_update(db, lane, err) ||
	    record(db, act, lane, "lane.undone", lane->reason, NULL, err))
		return -1;
	return publish(db, act, lane, err) || remember(db, act, lane, err) ? -1 : 0;
}

int act_abort_rest(struct db *db, const struct act *act, const char *id, struct err *err)
{
	struct lane *lanes;
	struct rollout rollout;
	unsigned count;
	int64_t back = 0;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA_BYTES);
	if (!arena)
		return err_nomem(err);
	if (rollout_get(db, id, arena, &rollout, err) ||
	    lane_list(db, id, arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		back += lanes[i].state == LANE_ROLLED_BACK;
	if (!rollout.policy.abort_after_lanes || back < rollout.policy.abort_after_lanes)
		return 0;
	for (unsigned i = 0; i < count; i++)
		if (lane_active(lanes[i].state) &&
		    act_take_back(db, act, &lanes[i], LANE_ABORTED,
				  "too many lanes of this rollout were rolled back", NULL, err))
			return -1;
	return 0;
}
