/* lane.h -- rollouts and their lanes as rows: reading, and changing by compare-and-set.
 * A lane is a rollout's part in one class: the unit that advances, holds and rolls back.  Small classes
 * may share one: each has its row, all rows have the same state and stage until the end, and the
 * evidence of all is that of the one that leads.
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
	const char *lead; /* class that leads the group, itself perhaps; "" or NULL without */
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
/* A number that is another one when a lane was added or changed: who knows the rows reads only this. */
int lane_changes(struct db *db, int64_t *ret_changes, struct err *err) CHECKED;
/* All rows of a group, its leader too. */
int lane_group(struct db *db, const char *rollout, const char *lead, struct arena *arena,
	       struct lane **ret_lanes, unsigned *ret_count, struct err *err) CHECKED;
/* Whether any lane of the rollout is active, and whether any is complete. */
int lane_any(struct db *db, const char *rollout, bool *ret_active, bool *ret_complete,
	     struct err *err) CHECKED;
/* Whether evidence is kept and decisions are made here: no group, or its leader. */
bool lane_leads(const struct lane *lane);
unsigned lane_leaders(const struct lane *lanes, unsigned count); /* how many of them do */
bool lane_same_group(const struct lane *a, const struct lane *b);
/* Whether an earlier one in the list is of the same group, so that what was done to it was done here. */
bool lane_repeats(const struct lane *lanes, unsigned index);
int lane_insert(struct db *db, const struct lane *lane, struct err *err) CHECKED;
/* Whether (channel, class, model) has an active lane; its rollout into id. */
int lane_busy(struct db *db, const char *channel, const char *class, const char *model,
	      bool *ret_busy, char id[65], struct err *err) CHECKED;
/* Whether this release was rolled back in that class before. */
int lane_was_rolled_back(struct db *db, const char *channel, const char *class,
			 const char *model, const char *release, bool *ret_was,
			 struct err *err) CHECKED;

/* How the release's newest lane in that class stands; *ret_was: whether there is one. */
int lane_last(struct db *db, const char *channel, const char *class, const char *model,
	      const char *release, bool *ret_was, enum lane_state *ret_state,
	      struct err *err) CHECKED;

/* Write state, stage, since, reason if the row still has lane's version; lane->version rises.
 * ERR_CONFLICT when somebody was faster. */
int lane_update(struct db *db, struct lane *lane, struct err *err) CHECKED;
/* Write the watermarks, unless the lane is over by now (*ret_active); they are not part of what operators race
 * for, and no change of the lane. */
int lane_close(struct db *db, const struct lane *lane, bool *ret_active, struct err *err) CHECKED;

json_t *clockwork_json(const struct clockwork *clock) CHECKED;

#endif
