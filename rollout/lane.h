/* lane.h -- rollouts and their lanes as rows: reading, and changing by compare-and-set.
 * A lane is a rollout's part in one class: the unit that advances, holds and rolls back.
 * Threads: any, each with its own struct db; writes only inside a ledger function. */
#ifndef ROLLOUT_LANE_H
#define ROLLOUT_LANE_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "rollout/policy.h"
#include "store/db.h"
#include "telemetry/cells.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set lane_sql;

enum lane_state {
	LANE_RUNNING,
	LANE_HOLDING,
	LANE_COMPLETE,
	LANE_ROLLED_BACK,
	LANE_ABORTED,
	LANE_SKIPPED,
	LANE_STATES
};
extern const char *const lane_state_names[LANE_STATES];
bool lane_active(enum lane_state state); /* running or holding */

/* When a class's devices report; copied from the class when the lane starts. */
struct clockwork {
	int64_t window_s, windows, jitter_s, outcome_deadline_s, report_grace_s;
	int64_t devices; /* the lane's, estimated; sets the promotion margins */
};

struct rollout {
	const char *id, *model, *release, *channel, *state, *actor;
	struct policy policy;
	int64_t created, version;
};
struct lane {
	const char *rollout, *class, *channel, *model, *release;
	enum lane_state state;
	unsigned stage;		/* 1.. */
	int64_t since, started; /* of the stage, of the lane */
	const char *reason;	/* of a hold, rollback or abort; "" none */
	const char *stable;	/* the release it is compared with */
	const char *salt;
	struct clockwork clock;
	const char *baseline; /* JSON, see evidence.h */
	int64_t closed[CELLS_MARKS];
	int64_t version;
};

/* All results live in arena. */
int rollout_get(struct db *db, const char *id, struct arena *arena, struct rollout *rollout,
		struct err *err) CHECKED; /* ERR_NOT_FOUND */
int rollout_each(struct db *db, const char *state, struct arena *arena,
		 int (*fn)(void *arg, const struct rollout *rollout, struct err *err), void *arg,
		 struct err *err) CHECKED; /* state NULL: all; newest first */
int rollout_insert(struct db *db, const struct rollout *rollout, struct err *err) CHECKED;
int rollout_set_state(struct db *db, const char *id, const char *state, struct err *err) CHECKED;

int lane_get(struct db *db, const char *rollout, const char *class, struct arena *arena,
	     struct lane *lane, struct err *err) CHECKED; /* ERR_NOT_FOUND */
/* Of one rollout, or (rollout NULL) all active ones. */
int lane_list(struct db *db, const char *rollout, struct arena *arena, struct lane **ret_lanes,
	      unsigned *ret_count, struct err *err) CHECKED;
int lane_insert(struct db *db, const struct lane *lane, struct err *err) CHECKED;
/* Whether (channel, class, model) has an active lane; its rollout into id. */
int lane_busy(struct db *db, const char *channel, const char *class, const char *model,
	      bool *ret_busy, char id[65], struct err *err) CHECKED;
/* Whether this release was rolled back in that class before. */
int lane_was_rolled_back(struct db *db, const char *channel, const char *class,
			 const char *model, const char *release, bool *ret_was,
			 struct err *err) CHECKED;

/* Write state, stage, since, reason if the row still has lane's version; lane->version rises.
 * ERR_CONFLICT when somebody was faster. */
int lane_update(struct db *db, struct lane *lane, struct err *err) CHECKED;
/* Write the watermarks; they are not part of what operators race for. */
int lane_close(struct db *db, const struct lane *lane, struct err *err) CHECKED;

json_t *clockwork_json(const struct clockwork *clock) CHECKED;

#endif
