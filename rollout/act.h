/* act.h -- a lane's transitions, each one transaction: the row by compare-and-set, the event with
 * its evidence, the offer, the signed manifest.  So a crash at any instant leaves either all of it
 * or nothing, and doing it again changes nothing.
 *
 *   running -> running(next stage) | holding | complete | rolled_back | aborted
 *   holding -> running | complete | rolled_back | aborted
 *
 * What is done to a lane that runs or holds is done to all classes that share it, in the same
 * transaction; once it has completed, each class is by itself again.
 * Threads: inside ledger functions only. */
#ifndef ROLLOUT_ACT_H
#define ROLLOUT_ACT_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/class_store.h"
#include "manifest/doc.h"
#include "manifest/offer.h"
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
	json_t *groups;	 /* [[class, ...]]: classes that share a lane; NULL: none */
	struct policy policy;
	bool retry;	 /* also where this release was rolled back before */
	bool supersede;	 /* end what is under way in the classes, which must be named */
	bool confirmed;	 /* even where more than ACT_SUPERSEDE_PPM leave a candidate */
	json_t *left; /* array to be filled: [{class, rollout, release, by, candidate_ppm, devices}] of
			 what was superseded; NULL: not wanted */
};
#define ACT_SUPERSEDE_PPM 100000 /* of a class's devices */

/* Start: one rollout, one lane for each class; id is "r" and a number.  A group is led by its first
 * class, in their order by name, that the release fits.  ERR_CONFLICT names the class with an active
 * rollout, or where the release was rolled back before, and what to do; ERR_INVALID a group of classes
 * that are not among the order's, or whose devices report by other clocks. */
int act_start(struct db *db, const struct act *act, const struct act_order *order, char id[65],
	      struct err *err) CHECKED;

/* What the order is about: the offers of the classes it names, or of all that are not removed, that do
 * not run the release already.  ERR_INVALID for a class that has none, and for groups of others. */
int act_targets(struct db *db, const struct act_order *order, struct arena *arena,
		struct offer **ret_offers, unsigned *ret_count, struct err *err) CHECKED;
/* What a class with these settings would be offered of a release. */
int act_variants(struct db *db, const struct class_settings *settings, const char *model,
		 const char *release, struct arena *arena, struct manifest_variant **ret_list,
		 unsigned *ret_count, struct err *err) CHECKED;

/* To the next stage, or from the last one to completion.  evidence (borrowed) goes into the event. */
int act_advance(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		json_t *evidence, struct err *err) CHECKED;
int act_hold(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     json_t *evidence, struct err *err) CHECKED;
int act_resume(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	       struct err *err) CHECKED;
bool act_waits_for_approval(const struct lane *lane);
/* As act_advance(), only where the lane is held for an approval. */
int act_approve(struct db *db, const struct act *act, struct lane *lane, const char *reason,
		struct err *err) CHECKED;
/* state: LANE_ROLLED_BACK or LANE_ABORTED. */
int act_take_back(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		  const char *reason, json_t *evidence, struct err *err) CHECKED;
/* As act_take_back(LANE_ROLLED_BACK), every active lane of the rollout. */
int act_take_back_all(struct db *db, const struct act *act, const char *rollout,
		      const char *reason, json_t *evidence, struct err *err) CHECKED;
/* The release before it becomes stable again where the lane completed. */
int act_undo(struct db *db, const struct act *act, struct lane *lane, const char *reason,
	     struct err *err) CHECKED;
/* Take back every active lane whose candidate has one of these files, in any tier that its class is
 * offered; revocations are the caller's to write.  *ret_count lanes. */
int act_revoke(struct db *db, const struct act *act, const struct digest *files, unsigned count,
	       unsigned *ret_count, struct err *err) CHECKED;
/* Abort every active lane of the rollout when gates rolled as many back as the policy says; undone and
 * aborted ones do not count. */
int act_abort_rest(struct db *db, const struct act *act, const char *rollout,
		   struct err *err) CHECKED;

#endif
