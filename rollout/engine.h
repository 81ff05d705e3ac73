/* engine.h -- the thread that closes windows, weighs evidence, moves lanes and keeps signatures
 * fresh.
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

struct engine_options {
	struct ledger *ledger;	     /* borrowed */
	struct publisher *publisher; /* borrowed */
	struct cells *cells;	     /* borrowed; touched on the ledger thread only */
	const struct clock *clock;   /* borrowed */
	struct db *db;		     /* a reading connection, taken over, also on failure */
	bool authentic;		     /* reports carry an ingest token */
};

/* Opens the lanes for telemetry, then starts the thread. */
int engine_new(struct engine **ret_engine, const struct engine_options *options,
	       struct err *err) CHECKED;
void engine_free(struct engine *engine); /* stops the thread; NULL is fine */

struct engine_stats {
	uint64_t ticks, failures, decisions;
	unsigned lanes;	       /* active */
	int64_t tick_us_max;   /* longest tick */
	int64_t last_tick;     /* own time, UTC seconds */
	char last_error[200];  /* of the last failed tick; "" none */
};
void engine_stats(struct engine *engine, struct engine_stats *ret_stats);
bool engine_authentic(const struct engine *engine);
struct cells *engine_cells(const struct engine *engine); /* for ledger functions */

#endif
