/* days.h -- old cells become daily ones: one row for a series and UTC day, with its histogram in it, so
 * that a year of a series is a few hundred rows that stand together.
 * A histogram is bytes: for each bucket that is not empty, in order, its distance from the one before
 * (the first: from 0) and its count, each a little-endian base-128 number.
 * Cells of a rollout with a lane that is active stay: its evidence is replayed from them.
 * Threads: folding inside a ledger function; the rest is pure. */
#ifndef TELEMETRY_DAYS_H
#define TELEMETRY_DAYS_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set days_sql;

#define DAYS_FINE 30 /* days of cells that are kept as they came */
#define DAYS_KEPT 400

/* The first second that is still fine at now. */
int64_t days_fine_from(int64_t now);

#define DAYS_ROWS 1024 /* of a table that a call looks at, at most */

/* How far folding came in each table; zeros: it begins with the oldest.  What lies behind it is not
 * looked at again before the next day: cells that stay, of active lanes, and those that came later. */
struct days_place {
	int64_t at, series; /* the last that was looked at */
	int64_t done;	    /* until when all were; 0: not yet */
};
struct days_walk {
	struct days_place cells, buckets;
};

/* Go on folding what lies before a day's start: at most limit series' days.  Rows are taken and made in
 * the caller's transaction, so that it is done once, whenever it ends; *walk is to be kept only when that
 * is committed.  *ret_folded: how many; both places are done when nothing is left. */
int days_fold(struct db *db, struct days_walk *walk, int64_t before, unsigned limit,
	      unsigned *ret_folded, struct err *err) CHECKED;

void days_buckets_write(struct buf *out, const uint64_t *counts, unsigned len);
/* Add to counts.  ERR_CORRUPT for bytes that are no histogram of len buckets. */
int days_buckets_read(const void *bytes, size_t size, uint64_t *counts, unsigned len,
		      struct err *err) CHECKED;

#endif
