/* engine_internal.h -- the engine's thread, for engine*.c only.
 *   engine.c         the thread: its ticks, signing, forgetting
 *   engine_lanes.c   which lanes there are, and what of them closes
 *   engine_decide.c  what follows from that, and doing it
 * Threads: all of it is the engine's thread's; what a crew does (begin_span(), finish_span(),
 * decide_lane()) is done while that one waits. */
#ifndef ROLLOUT_ENGINE_INTERNAL_H
#define ROLLOUT_ENGINE_INTERNAL_H

#include "base/arena.h"
#include "base/map.h"
#include "rollout/engine.h"
#include "rollout/lane.h"
#include "rollout/outages.h"
#include "telemetry/days.h"
#include "telemetry/span.h"

#include <pthread.h>

#define TICK_ARENA (64 << 20)

/* The active lanes as they were read last.  They are read again only when one was changed, and looked at
 * only when something closed, or when it is time. */
struct roll {
	struct arena *arena; /* all of it */
	struct lane *lanes;  /* in order of rollout and class */
	int64_t *again;	     /* of each: own time at which to decide anew */
	unsigned count;
	int64_t changes; /* lane_changes() when it was read */
	bool fresh;	 /* read in this tick */
};

#define ENGINE_WORKERS (1 + ENGINE_READERS)

struct engine {
	struct engine_options options;
	struct db *dbs[ENGINE_WORKERS]; /* of each worker of a crew: the options' */
	unsigned workers;
	pthread_t thread;
	struct map *watched; /* rollout -> struct watched *; the thread's, as all up to the lock */
	struct roll roll;
	struct series_known *series;
	struct span *spans[CELLS_MARKS]; /* what closed in this tick */
	struct deciding *decided;	 /* in this tick */
	uint64_t read, considered;	 /* for stats */
	int64_t next_due;	  /* own time at which something closes */
	int64_t looked;		  /* own time: the last tick began */
	int64_t started;	  /* own time */
	int64_t alive;		  /* own time: last noted that it lives */
	struct outages outages;	  /* up to the start */
	int64_t signed_ms, cleaned_ms;
	struct days_walk walk;	  /* of old cells, day by day */
	int64_t tell_ms; /* when failures are logged again */

	pthread_mutex_t lock; /* guards stopping, stats, under_way */
	pthread_cond_t wake, told;
	bool stopping;
	unsigned under_way; /* decisions in the ledger */
	struct engine_stats stats;
};

/* What failed in a tick. */
struct failures {
	unsigned count;
	bool told; /* is logged */
	struct err first;
};
void engine_note_failure(struct failures *failures, const struct err *err);

/* ---- engine_lanes.c ---- */

/* Read the active lanes if any was changed. */
int engine_read_lanes(struct engine *e, struct err *err) CHECKED;
void engine_forget_lanes(struct engine *e); /* they are read in the next tick */
/* Raise the watermarks of all lanes in one transaction, and read what closed.  When that fails, what is
 * known of lanes is wrong. */
int engine_close(struct engine *e, bool *ret_any, struct err *err) CHECKED;
void engine_forget_closed(struct engine *e); /* what was read of it */

/* ---- engine_decide.c ---- */

void engine_watched_free(void *watched);
/* Decide about the active lanes of one rollout, those about which something is new, or for which it is
 * time.  closed: something did in this tick. */
int engine_consider(struct engine *e, struct lane *lanes, unsigned count, bool closed,
		    struct err *err) CHECKED;
/* Do what was decided in this tick, and wait until it is done. */
void engine_act(struct engine *e, struct failures *failures);
void engine_sweep(struct engine *e); /* forget rollouts that are over */

#endif
