/* delta_worker.h -- the thread that makes deltas: takes the oldest job that is due, one at a time and
 * nicely, and tells the log and the events how it ended.  What a kill interrupts is taken again at the
 * next start, as is what published releases lack.
 * Threads: its own; delta_worker_new() and delta_worker_free() from the one that starts and stops,
 * the others from any. */
#ifndef SERVER_DELTA_WORKER_H
#define SERVER_DELTA_WORKER_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <stdint.h>

struct delta_worker;

/* Takes over db (reading), also on failure; clock and blobs are borrowed. */
int delta_worker_new(struct delta_worker **ret_worker, struct blobs *blobs, struct db *db,
		     const struct clock *clock, struct err *err) CHECKED;
/* Gives up what it is at, before ledger and blobs are freed.  NULL is fine. */
void delta_worker_free(struct delta_worker *worker);

/* There may be something to do. */
void delta_worker_wake(struct delta_worker *worker);

struct delta_running {
	int64_t job;	     /* its id; 0: none */
	uint64_t at, length; /* bytes of the new file */
};
void delta_worker_running(struct delta_worker *worker, struct delta_running *ret_running);

#endif
