/* span.h -- the cells of a span of time, of all lanes at once: what closed since the last tick, in one pass
 * over rows that lie together, instead of a query a lane and kind; and of histograms, of which far more are
 * kept than anybody decides by, those that are wanted, one by one.
 * A struct series_known remembers whose series are, so that a row needs only its number.
 * Threads: each belongs to one; a span may be read by any that see it whole. */
#ifndef TELEMETRY_SPAN_H
#define TELEMETRY_SPAN_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"
#include "telemetry/cells.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set span_sql;

struct series_known;

struct series_known *series_known_new(void) CHECKED; /* NULL without memory */
void series_known_free(struct series_known *known); /* NULL is fine */
DEFINE_AUTO(struct series_known, series_known_free)

struct span;

/* What is not late and from <= at < to, UTC seconds, in two steps: cells are read, then, once known was
 * brought up to date after that, put in order of their lanes.  db must tell of each time as it will stay. */
int span_begin(struct span **ret_span, struct db *db, int64_t from, int64_t to,
	       struct err *err) CHECKED;
/* Learn of series that are new. */
int series_known_update(struct series_known *known, struct db *db, struct err *err) CHECKED;
/* known: borrowed for the span's life. */
int span_finish(struct span *span, const struct series_known *known, struct err *err) CHECKED;
void span_free(struct span *span); /* NULL is fine */
DEFINE_AUTO(struct span, span_free)
/* Whether all of from..to is in it; not when span is NULL. */
bool span_covers(const struct span *span, int64_t from, int64_t to);

/* As cells_read_lane() and cells_read_lane_buckets(), but that rows of variants, and of the classes that
 * share a lane, come one by one, and that cells have n and k only.  Buckets are asked of db, series by series:
 * best in a transaction, or each question locks the database anew. */
int span_lane(const struct span *span, const struct cells_lane *lane, int64_t from, int64_t to,
	      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
	      struct err *err) CHECKED;
int span_lane_buckets(const struct span *span, struct db *db, const struct cells_lane *lane,
		      const char *metric, int64_t from, int64_t to,
		      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		      struct err *err) CHECKED;
uint64_t span_rows(const struct span *span); /* cells of lanes */

#endif
