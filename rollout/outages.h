/* outages.h -- when the daemon was down: nobody could report then, so it is no silence, and no part of a
 * stage's time.  Kept as small facts in the database; the last OUTAGES_MAX of those that matter.
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef ROLLOUT_OUTAGES_H
#define ROLLOUT_OUTAGES_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

#define OUTAGES_MAX 64
#define OUTAGE_LEAST_S 600 /* shorter ones no window notices */

struct outages {
	struct {
		int64_t from, to; /* own UTC seconds */
	} list[OUTAGES_MAX];	  /* the oldest first */
	unsigned count;
};

/* None are known in a new database. */
int outages_read(struct db *db, struct outages *ret_outages, struct err *err) CHECKED;
/* The daemon lives at now. */
int outages_alive(struct db *db, int64_t now, struct err *err) CHECKED;
/* It starts at now: what passed since it last lived is an outage. */
int outages_start(struct db *db, int64_t now, struct err *err) CHECKED;

/* Seconds of from..to in which it was down.  outages NULL: never. */
int64_t outages_within(const struct outages *outages, int64_t from, int64_t to);

#endif
