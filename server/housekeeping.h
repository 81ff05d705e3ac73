/* housekeeping.h -- the threads that keep the store in order.  One drops uploads whose lease is over,
 * collects what nothing names, once an hour or when asked, and looks whether all is there when asked;
 * the other hashes every pack again, slowly each 30 days or at once when asked.  They log what they
 * did, and what the last run of each found is kept across restarts (meta rows "store.last.<name>").
 * Threads: two of its own; housekeeping_new() and housekeeping_free() from the one that starts and
 * stops, the others from any. */
#ifndef SERVER_HOUSEKEEPING_H
#define SERVER_HOUSEKEEPING_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum chore {
	CHORE_GC,     /* gc.h */
	CHORE_VERIFY, /* verify.h: neither deep nor mending */
	CHORE_SCRUB,  /* verify.h: both */
	CHORES
};
const char *chore_name(enum chore chore); /* "gc", "verify", "scrub" */

struct housekeeping;

/* Takes over both dbs (reading), also on failure; clock and blobs are borrowed. */
int housekeeping_new(struct housekeeping **ret_keeping, struct blobs *blobs,
		     struct db *const dbs[static 2], const struct clock *clock,
		     struct err *err) CHECKED;
/* Ends what it is at, before ledger and blobs are freed.  NULL is fine. */
void housekeeping_free(struct housekeeping *keeping);

/* Do it as soon as the thread is free; *ret_run is that run's number, which housekeeping_json() tells
 * as "run" of "last" once it is over.  ERR_CONFLICT while it is running or asked for already. */
int housekeeping_ask(struct housekeeping *keeping, enum chore chore, bool dry_run,
		     int64_t *ret_run, struct err *err) CHECKED;

/* What each is at, and what its last run found, by name; the caller's.  NULL without memory. */
json_t *housekeeping_json(struct housekeeping *keeping) CHECKED;
/* When the last run that found no fault of its own ended, real UTC seconds; 0: never. */
int64_t housekeeping_last(struct housekeeping *keeping, enum chore chore);
/* What the last scrub found damaged. */
int64_t housekeeping_damaged(struct housekeeping *keeping);

#endif
