/* act_internal.h -- what the transitions in act.c and starting in act_start.c share.
 * Threads: inside ledger functions only. */
#ifndef ROLLOUT_ACT_INTERNAL_H
#define ROLLOUT_ACT_INTERNAL_H

#include "manifest/offer.h"
#include "rollout/act.h"
#include "rollout/stage.h"

#define ACT_ARENA (8 << 20)
#define ACT_LANES_ARENA (64 << 20) /* lanes of all rollouts, or all classes */

/* Event, with its evidence, and audit row. */
int act_record(struct db *db, const struct act *act, const struct lane *lane, const char *kind,
	       const char *reason, json_t *evidence, struct err *err) CHECKED;
int act_slices(const struct policy *policy, struct stage_slices *slices, struct err *err) CHECKED;
/* The offer as the lane's state and stage want it. */
int act_offer(struct db *db, const struct lane *lane, const struct policy *policy,
	      struct err *err) CHECKED;
int act_publish(struct db *db, const struct act *act, const struct lane *lane,
		struct err *err) CHECKED;

/* act_take_back() under another kind of event. */
int act_withdraw(struct db *db, const struct act *act, struct lane *lane, enum lane_state state,
		 const char *kind, const char *reason, json_t *evidence, struct err *err) CHECKED;
/* Whether any of the variants has any of the files. */
bool act_names(const struct manifest_variant *list, unsigned count, const struct digest *files,
	       unsigned file_count);

#endif
