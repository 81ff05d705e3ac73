/* cells.h -- merged telemetry: what all devices of one key did in one slot, window or day.
 * Raw reports are never kept.  A series is (channel, class, model, rollout, stage, arm, variant,
 * kind, metric); a cell is a series at a time.  What a cell's columns count:
 *
 *   kind     metric     at            n               k                    x
 *   enter    enter      slot          devices
 *   arrived  outcome    entered slot  devices whose outcome came within 30 days of it
 *   outcome  outcome    slot          devices
 *   outcome  result.R   slot                          devices with result R
 *   outcome  <hist>     slot          buckets: one a device
 *   outcome  probe      slot          devices with a score; x, nn: sums of it and of its square;
 *                                     and buckets of CELLS_PROBE_STEP per mille: one a device
 *   window   window     window        device-windows                   x: the same; of a day, the most
 *                                                                      of one window: devices at least
 *   window   <counter>  window                        device-windows with any  events clipped at 3
 *   window   <hist>     window        buckets: all observations (display)
 *   window   <hist>.p95 window        buckets: one a device-window, its own p95
 *   summary  summary    entered slot  devices
 *   summary  <counter>  entered slot                  devices with any         events clipped at 3
 *   summary  <hist>.p95 entered slot  buckets: one a device, its own p95
 *   usage    usage      day           device-days     devices first seen that day   windows used;
 *                                                                             nn: sum of squares
 *   usage    <counter>  day           windows used    windows with any         device-days with any;
 *                                                     kk, nk: sums for overdispersion
 *   usage    <hist>, <hist>.p95  day  as for window, one a device-day
 *
 * Slices of a class (slices.h) have a table of their own, a day at a time, late or not: n of enter,
 * arrived and usage (with k, as above), k of every bad result and counter, and of probe, a summary's
 * p95s and those of some windows, chosen by chance, n, sum (k) and sum of squares (nn) of the buckets.
 *
 * total is always the number of events, for display.
 * late = 1 marks what arrived after the lane's watermark of that kind had passed: it counts for
 * health, never for a gate.
 * Threads: a struct cells belongs to the ledger thread; the readers take any connection. */
#ifndef TELEMETRY_CELLS_H
#define TELEMETRY_CELLS_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"
#include "telemetry/report.h"

#include <stdbool.h>
#include <stdint.h>

#define CELLS_PROBE_STEP 25

extern const struct sql_set cells_sql, cells_read_sql;

struct cells; /* ids of series, lanes' watermarks and what is not written yet */

struct cells *cells_new(void) CHECKED; /* NULL without memory */
void cells_free(struct cells *cells);  /* NULL is fine */
DEFINE_AUTO(struct cells, cells_free)

/* Which of a lane's watermarks a kind obeys. */
enum cells_mark { CELLS_SLOT, CELLS_WINDOW, CELLS_SUMMARY, CELLS_MISSING, CELLS_MARKS };
enum cells_mark cells_mark_of(enum report_kind kind);

/* Inside a ledger function: the lane takes reports (until it ends), and what lies before
 * closed[mark] is closed.  Watermarks only rise.  Reports of other rollouts are dropped. */
int cells_lane_set(struct cells *cells, const char *rollout, const char *class,
		   const int64_t closed[static CELLS_MARKS], struct err *err) CHECKED;
/* Inside a ledger function of db: the lane takes no more reports once that is durable; an operation that is
 * undone has ended nothing. */
int cells_lane_end(struct cells *cells, struct db *db, const char *rollout, const char *class,
		   struct err *err) CHECKED;

/* Inside a ledger function: add reports to what flush will write; sums of the same cell are merged.
 * ret_known: whether any entry counted (its lane, class and variant are known). */
int cells_add(struct cells *cells, struct db *db, const struct report *report, bool *ret_known,
	      struct err *err) CHECKED;
/* Write what was added.  On failure nothing stays queued. */
int cells_flush(struct cells *cells, struct db *db, struct err *err) CHECKED;
/* Forget what was added, and series ids made in a transaction that was undone. */
void cells_undo(struct cells *cells);

/* One cell's sums, merged over variants. */
struct cell {
	int64_t at;
	int64_t n, k, x, total, nn, kk, nk;
};

/* One series, or with variant NULL those of all its variants. */
struct cells_key {
	const char *channel, *class, *model;
	const char *rollout; /* "" for usage */
	unsigned stage;
	enum report_arm arm;
	const char *variant; /* NULL: all */
	const char *kind, *metric;
};
/* Not late, from <= at < to: n in each of len buckets, added to counts. */
int cells_read_buckets(struct db *db, const struct cells_key *key, int64_t from, int64_t to,
		       uint64_t *counts, unsigned len, struct err *err) CHECKED;
/* All of one lane's cells of either kind (other NULL: one kind) with from <= at < to, not late, merged
 * over variants and over the classes that share the lane with the one that leads it, in order of at:
 * what a gate reads, in one pass.  fn may stop with -1. */
struct cells_row {
	int64_t at;
	unsigned stage;
	enum report_arm arm;
	const char *kind, *metric; /* borrowed until fn returns */
	unsigned bucket;	   /* of cells_read_lane_buckets() */
	struct cell cell;	   /* buckets: only n */
};
struct cells_lane {
	const char *rollout, *class, *kind, *other;
};
int cells_read_lane(struct db *db, const struct cells_lane *lane, int64_t from, int64_t to,
		    int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		    struct err *err) CHECKED;
int cells_read_lane_buckets(struct db *db, const struct cells_lane *lane, const char *metric,
			    int64_t from, int64_t to,
			    int (*fn)(void *arg, const struct cells_row *row, struct err *err),
			    void *arg, struct err *err) CHECKED;

/* What a lane's slices say, of all its days, merged as above and over stages: one metric of one slice
 * with both arms' sums. */
struct cells_slice {
	const char *kind, *metric, *value; /* borrowed until fn returns */
	int64_t what;			   /* enum slice_what */
	int64_t n[2], k[2], nn[2];	   /* candidate, control */
};
int cells_read_slices(struct db *db, const char *rollout, const char *class,
		      int (*fn)(void *arg, const struct cells_slice *slice, struct err *err), void *arg,
		      struct err *err) CHECKED;

/* The arm of a series' row; REPORT_ARM_NONE for any other text, and NULL. */
enum report_arm cells_arm(const char *name);

/* Sum of the cells of a key over a time, from <= at < to.  with_late, as all but tests ask: late ones
 * too, and the days that cells became after a month (days.h), which count where they begin. */
int cells_sum(struct db *db, const struct cells_key *key, int64_t from, int64_t to,
	      bool with_late, struct cell *ret_sum, struct err *err) CHECKED;

/* Delete cells, slices and daily cells before a time (400 days), at most limit rows of each; how many
 * went. */
int cells_expire(struct db *db, int64_t before, int64_t limit, int64_t *ret_deleted,
		 struct err *err) CHECKED;

#endif
