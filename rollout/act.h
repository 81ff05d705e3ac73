/* act.h -- a lane's transitions, each one transaction: the row by compare-and-set, the event with
 * its evidence, the offer, the signed manifest.  So a crash at any instant leaves either all of it
 * or nothing, and doing it again changes nothing.
 *
 *   running -> running(next stage) | holding | complete | rolled_back | aborted
 *   holding -> running | complete | rolled_back | aborted
 *
 * Threads: inside ledger functions only. */
#ifndef ROLLOUT_ACT_H
#define ROLLOUT_ACT_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/publish.h"
#include "rollout/lane.h"
#include "store/db.h"
#include "telemetry/cells.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct act {
	struct publisher *publisher;
	struct cells *cells;
	int64_t now;
	const char *actor;     /* token name, or "engine" */
	const char *request;   /* request id; "" for the engine */
};

struct act_order { /* what an operator asks for */
	const char *model, *release, *channel;
	json_t *classes; /* array of names, NULL: all of the channel that run the model */
	struct policy policy;
	bool retry;	 /* also where this release was rolled back before */
};
/* Start: one rollout, one lane for each class; id is "r" and a number.  ERR_CONFLICT names the class
 * with an active rollout, or where the release was rolled back before. */
int act_start(struct db *db, const struct act *act, const struct act_order *order, char id[65],
	      struct err *err) CHECKED;

/* To the next stage, or from the last one to completion.  evidence (borrowed) goes into the event. */
int act_advance(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		json_t *evidence, struct err *err) CHECKED;
int act_hold(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     json_t *evidence, struct err *err) CHECKED;
int act_resume(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	       struct err *err) CHECKED;
/* state: LANE_ROLLED_BACK or LANE_ABORTED. */
int act_take_back(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		  const char *reason, json_t *evidence, struct err *err) CHECKED;
/* The release before it becomes stable again where the lane completed. */
int act_undo(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     struct err *err) CHECKED;
/* Abort every active lane of the rollout when as many as the policy says were rolled back. */
int act_abort_rest(struct db *db, const struct act *act, const char *rollout,
		   struct err *err) CHECKED;

#endif
