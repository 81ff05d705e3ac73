/* gc.h -- mark and sweep of what nothing names any more.
 * A recipe lives while a variant's file or an upload names it, or somebody wanted it within the
 * grace (pushed it, again or first).  A pack lives while the map of a living recipe names it, or
 * somebody was told within the grace that its chunks need not be sent.  Rows go first, durably,
 * then files; so a crash leaves files without rows, which the next run removes once they are older
 * than the grace.
 * The grace must be longer than a push takes and than clients keep maps.
 * Threads: one at a time; waits for the ledger.  Device reads go on: mappings outlive names. */
#ifndef STORE_GC_H
#define STORE_GC_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

#define GC_GRACE_S (7 * 86400)

struct gc_report {
	bool skipped; /* others were at work on the store: try again later */
	uint64_t recipes, packs, orphans; /* removed; orphans: files without rows */
	uint64_t bytes;			  /* freed */
};

/* One run.  now is own time, as in the rows.  Removes nothing when a living recipe's map cannot be
 * read: ERR_CORRUPT then. */
int gc_run(struct blobs *blobs, struct db *db, int64_t now, int64_t grace_s,
	   struct gc_report *ret_report, struct err *err) CHECKED;

#endif
