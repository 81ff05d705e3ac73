/* gc_delta.h -- which deltas go.  One is no longer listed once its new or its old recipe is gone; from
 * then on it is kept for the grace, because maps that list it are about in caches, and then its row
 * goes.  Parts that nothing names go when they are older than the grace, and rows of deltas that are not
 * made when a recipe of theirs is gone.
 * Threads: one at a time; waits for the ledger.  What is being built is left alone. */
#ifndef STORE_GC_DELTA_H
#define STORE_GC_DELTA_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

struct gc_delta_options {
	int64_t now; /* own time, as in the rows */
	int64_t grace_s;
	bool dry_run; /* remove nothing, tell what would go */
};

struct gc_delta_report {
	uint64_t unlisted, removed; /* deltas */
	uint64_t parts, bytes;	    /* removed, of deltas that went or never came about */
};

/* Removes nothing when a living recipe's map cannot be read: ERR_CORRUPT then. */
int gc_deltas(struct blobs *blobs, struct db *db, const struct gc_delta_options *options,
	      struct gc_delta_report *ret_report, struct err *err) CHECKED;

#endif
