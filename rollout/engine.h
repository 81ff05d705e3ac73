/* engine.h -- the thread that closes windows, weighs evidence, moves lanes and keeps signatures
 * fresh.
 * It wakes when something closes, and five times a second to see whether anybody changed a lane.  Lanes
 * are read again only then, and considered only when something about them is new or when it is time.
 * A restart changes nothing: evidence is replayed from closed cells, and nothing is closed until
 * ENGINE_GRACE_S after the start, so that downtime is not taken for silence.
 * Threads: engine_new() and engine_free() from main; the rest from any. */
#ifndef ROLLOUT_ENGINE_H
#define ROLLOUT_ENGINE_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "manifest/publish.h"
#include "store/ledger.h"
#include "telemetry/cells.h"

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_GRACE_S 2400 /* own seconds after a start before anything is closed */

struct engine;

#define ENGINE_READERS 3

struct engine_options {
	struct ledger *ledger;	     /* borrowed */
	struct publisher *publisher; /* borrowed */
	struct cells *cells;	     /* borrowed; touched on the ledger thread only */
	const struct clock *clock;   /* borrowed */
	struct db *db;		     /* a reading connection, taken over, also on failure */
	/* More of them, with span_sql and cells_read_sql, so that as many cores read what closed; taken
	 * over as well.  NULL: no more, none behind it. */
	struct db *readers[ENGINE_READERS];
	bool authentic;		     /* reports carry an ingest token */
	int64_t min_cohort;	     /* devices below which no slice is named */
};

/* Opens the lanes for telemetry, then starts the thread. */
int engine_new(struct engine **ret_engine, const struct engine_options *options,
	       struct err *err) CHECKED;
void engine_free(struct engine *engine); /* stops the thread; NULL is fine */

struct engine_stats {
	uint64_t ticks, failures, decisions;
	uint64_t lanes_read, considered; /* rows of lanes that were read; lanes decided about, or not */
	unsigned lanes;	       /* active */
	int64_t tick_us_max;   /* longest tick */
	int64_t last_tick;     /* own time, UTC seconds */
	char last_error[200];  /* the first of the last tick; "" none */
};
void engine_stats(struct engine *engine, struct engine_stats *ret_stats);
bool engine_authentic(const struct engine *engine);
struct cells *engine_cells(const struct engine *engine); /* for ledger functions */

#endif
