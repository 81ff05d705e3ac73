#include "rollout/act.h"

#include "base/json.h"
#include "manifest/class_store.h"
#include "manifest/journal.h"
#include "manifest/offer.h"
#include "manifest/publisher_store.h"
#include "manifest/withdrawn.h"
#include "rollout/act_internal.h"

#include <stdio.h>
#include <string.h>


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

int act_record(struct db *db, const struct act *act, const struct lane *lane, const char *kind,
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

int act_slices(const struct policy *policy, struct stage_slices *slices, struct err *err)
{
	int64_t ppm[POLICY_STAGES];
	for (unsigned s = 0; s < policy->stage_count; s++)
		ppm[s] = policy->stages[s].ppm;
	return stage_allocate(ppm, policy->stage_count, slices, err);
}

int act_offer(struct db *db, const struct lane *lane, const struct policy *policy, struct err *err)
{
	struct stage_slices slices[STAGE_MAX];
	if (act_slices(policy, slices, err))
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

int act_publish(struct db *db, const struct act *act, const struct lane *lane, struct err *err)
{
	return publish_repo(act->publisher, db, lane->channel, lane->class, err);
}

/* When no lane is active any more, the rollout is over. */
static int settle_rollout(struct db *db, const char *id, struct err *err)
{
	bool active, complete;
	if (lane_any(db, id, &active, &complete, err))
		return -1;
	return active ? 0 : rollout_set_state(db, id, complete ? "complete" : "ended", err);
}

static int leave(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_publish(db, act, lane, err) || settle_rollout(db, lane->rollout, err) ||
			       cells_lane_end(act->cells, db, lane->rollout, lane->class, err)
		       ? -1
		       : 0;
}

/* ---- groups ---- */

/* One transition as it is asked for; steps do it to one row. */
struct move {
	enum lane_state state;
	const char *kind, *reason;
	json_t *evidence;
};
typedef int step(struct db *db, const struct act *act, struct lane *lane, const struct move *move,
		 struct err *err);

/* To the lane and to all that share it; only the event of the one that was decided about has the
 * evidence. */
static int move_group(struct db *db, const struct act *act, struct lane *lane, step *one,
		      const struct move *move, struct err *err)
{
	struct lane *lanes;
	unsigned count;
	struct move other = *move;
	if (one(db, act, lane, move, err))
		return -1;
	if (!*lane->lead)
		return 0;
	AUTO(arena_free) struct arena *arena = arena_new(ACT_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_group(db, lane->rollout, lane->lead, arena, &lanes, &count, err))
		return -1;
	other.evidence = NULL;
	for (unsigned i = 0; i < count; i++)
		if (strcmp(lanes[i].class, lane->class) != 0 &&
		    one(db, act, &lanes[i], &other, err))
			return -1;
	return 0;
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

static int complete(struct db *db, const struct act *act, struct lane *lane,
		    const struct move *move, struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	int64_t version;
	lane->state = LANE_COMPLETE;
	if (class_get(db, lane->class, &settings, &object, &version, err) ||
	    lane_update(db, lane, err) ||
	    offer_complete(db, lane->channel, lane->class, lane->model, lane->rollout,
			   settings.spread_s, act->now, err) ||
	    act_record(db, act, lane, "lane.completed", move->reason, move->evidence, err))
		return -1;
	return leave(db, act, lane, err);
}

static int advance(struct db *db, const struct act *act, struct lane *lane,
		   const struct move *move, struct err *err)
{
	struct policy policy;
	if (need_active(lane, err) || policy_of(db, lane, &policy, err))
		return -1;
	lane->since = act->now;
	lane->reason = "";
	if (lane->stage >= policy.stage_count)
		return complete(db, act, lane, move, err);
	lane->stage++;
	lane->state = LANE_RUNNING;
	if (lane_update(db, lane, err) || act_offer(db, lane, &policy, err) ||
	    act_record(db, act, lane, "lane.advanced", move->reason, move->evidence, err))
		return -1;
	return act_publish(db, act, lane, err);
}

int act_advance(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		json_t *evidence, struct err *err)
{
	const struct move move = {LANE_RUNNING, NULL, reason, evidence};
	return move_group(db, act, lane, advance, &move, err);
}

static int hold_or_resume(struct db *db, const struct act *act, struct lane *lane,
			  const struct move *move, struct err *err)
{
	struct policy policy;
	if (need_active(lane, err) || policy_of(db, lane, &policy, err))
		return -1;
	lane->state = move->state;
	lane->reason = move->state == LANE_RUNNING ? "" : move->reason;
	if (move->state == LANE_RUNNING)
		lane->since = act->now; /* the stage's time begins anew, or it would hold at once */
	if (lane_update(db, lane, err) || act_offer(db, lane, &policy, err) ||
	    act_record(db, act, lane, move->kind, move->reason, move->evidence, err))
		return -1;
	return act_publish(db, act, lane, err);
}

int act_hold(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     json_t *evidence, struct err *err)
{
	const struct move move = {LANE_HOLDING, "lane.held", reason, evidence};
	return move_group(db, act, lane, hold_or_resume, &move, err);
}

int act_resume(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	       struct err *err)
{
	const struct move move = {LANE_RUNNING, "lane.resumed", reason, NULL};
	if (lane->state != LANE_HOLDING)
		return err_set(err, ERR_CONFLICT, "lane %s/%s is not held: %s", lane->rollout,
			       lane->class, lane_state_names[lane->state]);
	return move_group(db, act, lane, hold_or_resume, &move, err);
}

bool act_waits_for_approval(const struct lane *lane)
{
	return lane->state == LANE_HOLDING && !strncmp(lane->reason, "approval", 8);
}

int act_approve(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		struct err *err)
{
	if (!act_waits_for_approval(lane))
		return err_set(err, ERR_CONFLICT, "lane %s/%s does not wait for approval",
			       lane->rollout, lane->class);
	return act_advance(db, act, lane, reason, NULL, err);
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

static int withdraw(struct db *db, const struct act *act, struct lane *lane,
		    const struct move *move, struct err *err)
{
	if (need_active(lane, err))
		return -1;
	lane->state = move->state;
	lane->since = act->now;
	lane->reason = move->reason;
	if (lane_update(db, lane, err) ||
	    offer_clear_candidate(db, lane->channel, lane->class, lane->model, lane->rollout,
				  err) ||
	    act_record(db, act, lane, move->kind, move->reason, move->evidence, err))
		return -1;
	return leave(db, act, lane, err) || remember(db, act, lane, err) ? -1 : 0;
}

int act_withdraw(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		 const char *kind, const char *reason, json_t *evidence, struct err *err)
{
	const struct move move = {state, kind, reason, evidence};
	return move_group(db, act, lane, withdraw, &move, err);
}

int act_take_back(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		  const char *reason, json_t *evidence, struct err *err)
{
	return act_withdraw(db, act, lane, state,
			    state == LANE_ABORTED ? "lane.aborted" : "lane.rolled_back", reason,
			    evidence, err);
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
	    act_record(db, act, lane, "lane.undone", lane->reason, NULL, err))
		return -1;
	return act_publish(db, act, lane, err) || remember(db, act, lane, err) ? -1 : 0;
}

/* How many lanes of the list gates took back; a group is one. */
static int taken_back(struct db *db, const struct lane *lanes, unsigned count, int64_t *ret_count,
		      struct err *err)
{
	int64_t back = 0;
	for (unsigned i = 0; i < count; i++) {
		int64_t undone;
		if (lanes[i].state != LANE_ROLLED_BACK || !lane_leads(&lanes[i]))
			continue;
		if (journal_count(db, lanes[i].rollout, lanes[i].class, "lane.undone", &undone, err))
			return -1;
		back += !undone;
	}
	*ret_count = back;
	return 0;
}

static int take_all(struct db *db, const struct act *act, const char *id, enum lane_state state,
		    const char *reason, json_t *evidence, struct err *err)
{
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(ACT_LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_list(db, id, arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (lane_active(lanes[i].state) && lane_leads(&lanes[i]) &&
		    act_take_back(db, act, &lanes[i], state, reason, evidence, err))
			return -1;
	return 0;
}

int act_take_back_all(struct db *db, const struct act *act, const char *rollout,
		      const char *reason, json_t *evidence, struct err *err)
{
	return take_all(db, act, rollout, LANE_ROLLED_BACK, reason, evidence, err);
}

int act_abort_rest(struct db *db, const struct act *act, const char *id, struct err *err)
{
	struct lane *lanes;
	struct rollout rollout;
	unsigned count;
	int64_t back;
	char reason[120];
	AUTO(arena_free) struct arena *arena = arena_new(ACT_LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (rollout_get(db, id, arena, &rollout, err))
		return -1;
	const int64_t limit = rollout.policy.abort_after_lanes;
	if (!limit)
		return 0;
	if (lane_list(db, id, arena, &lanes, &count, err) ||
	    taken_back(db, lanes, count, &back, err))
		return -1;
	if (back < limit)
		return 0;
	snprintf(reason, sizeof(reason), "gates took %lld lanes of this rollout back, the limit is %lld",
		 (long long)back, (long long)limit);
	return take_all(db, act, id, LANE_ABORTED, reason, NULL, err);
}

/* ---- revoked ---- */

static bool among(const struct digest *digest, const struct digest *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!digest_cmp(digest, &list[i]))
			return true;
	return false;
}

bool act_names(const struct manifest_variant *list, unsigned count, const struct digest *files,
	       unsigned file_count)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < list[i].file_count; k++)
			if (among(&list[i].files[k].sha256, files, file_count))
				return true;
	return false;
}

/* Whether the lane's class is offered one of the files by the lane's release. */
static int offers(struct db *db, const struct lane *lane, const struct digest *files,
		  unsigned file_count, bool *ret_offers, struct err *err)
{
	struct class_settings settings;
	struct manifest_variant *list;
	unsigned count;
	int64_t version;
	json_auto_t *object = NULL;
	AUTO(arena_free) struct arena *arena = arena_new(ACT_ARENA);
	if (!arena)
		return err_nomem(err);
	if (class_get(db, lane->class, &settings, &object, &version, err) ||
	    act_variants(db, &settings, lane->model, lane->release, arena, &list, &count, err))
		return -1;
	*ret_offers = act_names(list, count, files, file_count);
	return 0;
}

/* Take back the lane, and in the list too what went with it. */
static int revoke_lane(struct db *db, const struct act *act, struct lane *lanes, unsigned count,
		       struct lane *lane, struct err *err)
{
	if (act_take_back(db, act, lane, LANE_ABORTED,
			  "revoked: a file of the candidate must not be loaded", NULL, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (lane_same_group(&lanes[i], lane))
			lanes[i].state = LANE_ABORTED;
	return 0;
}

int act_revoke(struct db *db, const struct act *act, const struct digest *files,
	       unsigned file_count, unsigned *ret_count, struct err *err)
{
	struct lane *lanes;
	unsigned count, done = 0;
	AUTO(arena_free) struct arena *arena = arena_new(ACT_LANES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_list(db, NULL, arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		bool hit = false;
		if (lane_active(lanes[i].state) &&
		    (offers(db, &lanes[i], files, file_count, &hit, err) ||
		     (hit && revoke_lane(db, act, lanes, count, &lanes[i], err))))
			return -1;
		done += hit;
	}
	*ret_count = done;
	return 0;
}
