/* taken.h -- what each token brought into the store lately: what its quota counts, and what it may
 * go on using although no model of its names it yet.  Owns the table taken; counts in uploads too.
 * The quota of bytes is for a rolling day: packs by their bytes, raw files by their length, each
 * once; open uploads count with what was announced, or has arrived and is under way (upload.h),
 * whichever is more.
 * Threads: as the struct db given; functions that write run inside the ledger. */
#ifndef STORE_TAKEN_H
#define STORE_TAKEN_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/db.h"
#include "store/inventory.h"

#include <stdint.h>

extern const struct sql_set taken_sql;

#define TAKEN_DAY_S 86400	 /* how far back the quota counts */
#define TAKEN_KEPT_S (7 * 86400) /* how long a row is kept: a push is finished by then */

enum taken_what { TAKEN_PACK = 0, TAKEN_RECIPE = 1 };

/* Who brings something, and how much it may. */
struct taker {
	const char *token;   /* id */
	int64_t quota_bytes; /* in TAKEN_DAY_S; 0: no bound */
	int64_t uploads;     /* open ones at the most; 0: UPLOADS_A_TOKEN (upload.h) */
};

/* Bytes that taker may still bring at now: below 0 when it has more than its quota already;
 * INT64_MAX without one. */
int taken_left(struct db *db, const struct taker *taker, int64_t now, int64_t *ret_left,
	       struct err *err) CHECKED;
/* Whether it may bring bytes more; ERR_QUOTA names the quota, and err->retry_s when there will be
 * room. */
int taken_room(struct db *db, const struct taker *taker, int64_t bytes, int64_t now,
	       struct err *err) CHECKED;
/* It brought this; again: nothing changes.  Forgets what is older than TAKEN_KEPT_S. */
int taken_add(struct db *db, const char *token, enum taken_what what, const struct digest *digest,
	      int64_t bytes, int64_t now, struct err *err) CHECKED;

/* 1: token brought it; 0: not, or long ago; -1: error. */
int taken_has(struct db *db, const char *token, const struct digest *digest,
	      struct err *err) CHECKED;
/* Call each for all that token brought of a kind. */
int taken_each(struct db *db, const char *token, enum taken_what what, inventory_each *each,
	       void *arg, struct err *err) CHECKED;

#endif
