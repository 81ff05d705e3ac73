/* delta_queue.h -- the deltas of published releases (delta_plan.h) into the store's queue
 * (store/delta_job.h).
 * Threads: inside a ledger function. */
#ifndef MANIFEST_DELTA_QUEUE_H
#define MANIFEST_DELTA_QUEUE_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <stdint.h>

extern const struct sql_set delta_queue_sql;

/* Those of a release that is published; what is queued, made or dropped already stays so.
 * *ret_added (may be NULL): how many are new. */
int delta_queue_release(struct db *db, const char *model, const char *release, int64_t now,
			unsigned *ret_added, struct err *err) CHECKED;
/* Those of each model's newest published release. */
int delta_queue_missing(struct db *db, int64_t now, unsigned *ret_added, struct err *err) CHECKED;

#endif
