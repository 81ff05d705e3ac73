/* housekeeping.h -- the thread that keeps the store in order: drops uploads whose lease is over,
 * collects what nothing names, and re-hashes every pack now and then, slowly.  Logs what it did.
 * Threads: its own; housekeeping_new() and housekeeping_free() from the one that starts and stops. */
#ifndef SERVER_HOUSEKEEPING_H
#define SERVER_HOUSEKEEPING_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

struct housekeeping;

/* Takes over db (reading), also on failure; clock and blobs are borrowed. */
int housekeeping_new(struct housekeeping **ret_keeping, struct blobs *blobs, struct db *db,
		     const struct clock *clock, struct err *err) CHECKED;
/* Ends what it is at, before ledger and blobs are freed.  NULL is fine. */
void housekeeping_free(struct housekeeping *keeping);

#endif
