/* ledger.h -- the thread that owns the only writing connection and commits in groups.
 * Functions queued by any thread run in order, each in a savepoint of its own, many in one
 * transaction; one that fails undoes only itself.  When the commit itself fails, all of the group
 * fail with that error.  Nobody is told success before the commit is durable.
 * Threads: any thread may queue; functions and done callbacks run on the ledger thread and must
 * not wait for the ledger. */
#ifndef STORE_LEDGER_H
#define STORE_LEDGER_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

struct ledger;

/* An operation in flight; embedded in the caller's own struct, owned by the caller until done. */
struct ledger_op {
	int (*fn)(struct db *db, void *arg, struct err *err); /* 0, or -1 with *err */
	void (*done)(void *arg, const struct err *err);	      /* err NULL: durable */
	void *arg;
	/* Real microseconds that it may wait for others to come, so that fewer commits carry more; 0:
	 * none.  An operation without patience, or ledger_hurry(), takes all along that wait. */
	int64_t patience_us;
	struct ledger_op *next; /* the ledger's */
	struct err err;		/* the ledger's */
	int result;		/* the ledger's */
};

/* Takes over db (a DB_WRITE connection), also on failure, and starts the thread.  max_queued: operations at the
 * most, beyond that posting answers ERR_BUSY. */
int ledger_new(struct ledger **ret_ledger, struct db *db, unsigned max_queued,
	       struct err *err) CHECKED;
/* Runs what is queued, stops the thread, closes the connection.  NULL is fine. */
void ledger_free(struct ledger *ledger);

/* Run fn(db, arg) and wait until it is durable.  0, or -1 with fn's or the commit's error. */
int ledger_run(struct ledger *ledger, int (*fn)(struct db *db, void *arg, struct err *err),
	       void *arg, struct err *err) CHECKED;
/* Queue and return; op->done is called exactly once if this returned 0. */
int ledger_post(struct ledger *ledger, struct ledger_op *op, struct err *err) CHECKED;

/* What waits has waited enough. */
void ledger_hurry(struct ledger *ledger);

struct ledger_stats {
	uint64_t commits, operations, failures;
	unsigned queued;
	int64_t commit_us_max, commit_us_sum;
};
void ledger_stats(struct ledger *ledger, struct ledger_stats *ret_stats);

#endif
