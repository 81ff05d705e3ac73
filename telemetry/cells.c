#include "telemetry/cells.h"

#include "base/map.h"
#include "telemetry/days.h"
#include "telemetry/metric.h"
#include "telemetry/series.h"
#include "telemetry/sketch.h"
#include "telemetry/slices.h"
#include "telemetry/sums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_EVENTS 3	 /* events of a unit that a count gate sees */
#define SUMS_MAX 65536	 /* then they are written, within the same transaction */
#define LANE_KEY_ROOM 140
#define SLICED_CANDIDATES 4 /* of so many device-windows one has its p95s counted by slice */
#define SLICED_CONTROLS 16
#define ARRIVAL_S ((int64_t)DAYS_FINE * REPORT_DAY_S) /* so late an outcome makes no row there */

enum {
	Q_CELL_ADD, Q_BUCKET_ADD, Q_SLICE_ADD,
	Q_EXPIRE_CELLS, Q_EXPIRE_BUCKETS, Q_EXPIRE_SLICES, Q_EXPIRE_DAYS, Q_COUNT
};

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_CELL_ADD] =
		"INSERT INTO cells (at, series, late, n, k, x, total, nn, kk, nk)"
		" VALUES ($at, $series, $late, $n, $k, $x, $total, $nn, $kk, $nk)"
		" ON CONFLICT (at, series, late) DO UPDATE SET n = cells.n + excluded.n,"
		" k = cells.k + excluded.k, x = cells.x + excluded.x,"
		" total = cells.total + excluded.total, nn = cells.nn + excluded.nn,"
		" kk = cells.kk + excluded.kk, nk = cells.nk + excluded.nk",
	[Q_BUCKET_ADD] =
		"INSERT INTO cell_buckets (at, series, late, bucket, n)"
		" VALUES ($at, $series, $late, $bucket, $n)"
		" ON CONFLICT (at, series, late, bucket) DO UPDATE SET"
		" n = cell_buckets.n + excluded.n",
	[Q_SLICE_ADD] =
		"INSERT INTO cell_slices (series, at, what, value, n, k, nn)"
		" VALUES ($series, $at, $what, $value, $n, $k, $nn)"
		" ON CONFLICT (series, at, what, value) DO UPDATE SET n = cell_slices.n + excluded.n,"
		" k = cell_slices.k + excluded.k, nn = cell_slices.nn + excluded.nn",
	[Q_EXPIRE_CELLS] =
		"DELETE FROM cells WHERE (at, series, late) IN"
		" (SELECT at, series, late FROM cells WHERE at < $before LIMIT $limit)",
	[Q_EXPIRE_BUCKETS] =
		"DELETE FROM cell_buckets WHERE (at, series, late, bucket) IN"
		" (SELECT at, series, late, bucket FROM cell_buckets WHERE at < $before LIMIT $limit)",
	[Q_EXPIRE_SLICES] =
		"DELETE FROM cell_slices WHERE (series, at, what, value) IN"
		" (SELECT series, at, what, value FROM cell_slices WHERE at < $before LIMIT $limit)",
	[Q_EXPIRE_DAYS] =
		"DELETE FROM cell_days WHERE (series, at) IN"
		" (SELECT series, at FROM cell_days WHERE at < $before LIMIT $limit)",
};
/* clang-format on */
const struct sql_set cells_sql = {"cells", sql, Q_COUNT};

struct lane {
	int64_t closed[CELLS_MARKS];
};

struct cells {
	struct series *series;
	struct map *lanes; /* "rollout/class" -> struct lane * */
	struct slices *slices;
	struct sums *sums; /* what cells_flush() will write */
};

struct cells *cells_new(void)
{
	AUTO(cells_free) struct cells *cells = calloc(1, sizeof(*cells));
	if (!cells)
		return NULL;
	cells->series = series_new();
	cells->lanes = map_new(free);
	cells->slices = slices_new();
	cells->sums = sums_new();
	return cells->series && cells->lanes && cells->slices && cells->sums ? TAKE(cells) : NULL;
}

void cells_free(struct cells *cells)
{
	if (!cells)
		return;
	series_free(cells->series);
	map_free(cells->lanes);
	slices_free(cells->slices);
	sums_free(cells->sums);
	free(cells);
}

enum cells_mark cells_mark_of(enum report_kind kind)
{
	switch (kind) {
	case REPORT_WINDOW:
		return CELLS_WINDOW;
	case REPORT_SUMMARY:
		return CELLS_SUMMARY;
	default:
		return CELLS_SLOT;
	}
}

/* ---- lanes ---- */

static size_t lane_key(char *out, size_t room, const char *rollout, const char *class)
{
	int len = snprintf(out, room, "%s/%s", rollout, class);
	return len < 0 || (size_t)len >= room ? 0 : (size_t)len;
}

int cells_lane_set(struct cells *cells, const char *rollout, const char *class,
		   const int64_t closed[static CELLS_MARKS], struct err *err)
{
	char key[LANE_KEY_ROOM];
	size_t len = lane_key(key, sizeof(key), rollout, class);
	struct lane *old = map_get(cells->lanes, key, len);
	struct lane *lane = calloc(1, sizeof(*lane));
	if (!lane)
		return err_nomem(err);
	for (unsigned i = 0; i < CELLS_MARKS; i++)
		lane->closed[i] = old && old->closed[i] > closed[i] ? old->closed[i] : closed[i];
	if (map_put(cells->lanes, key, len, lane))
		return err_nomem(err);
	return 0;
}

struct ending {
	struct cells *cells;
	size_t len;
	char key[LANE_KEY_ROOM];
};

static void end_lane(void *arg)
{
	struct ending *e = arg;
	map_remove(e->cells->lanes, e->key, e->len);
	free(e);
}

int cells_lane_end(struct cells *cells, struct db *db, const char *rollout, const char *class,
		   struct err *err)
{
	struct ending *e = malloc(sizeof(*e));
	if (!e)
		return err_nomem(err);
	e->cells = cells;
	e->len = lane_key(e->key, sizeof(e->key), rollout, class);
	return db_after_commit(db, end_lane, free, e, err);
}

static const struct lane *lane_find(const struct cells *cells, const char *rollout,
				    const char *class)
{
	char key[LANE_KEY_ROOM];
	return map_get(cells->lanes, key, lane_key(key, sizeof(key), rollout, class));
}

/* ---- adding ---- */

/* One report on its way into cells, an entry at a time. */
struct adding {
	struct cells *cells;
	struct db *db;
	struct series_ref ref;
	struct group *group;	     /* ref's */
	bool known;		     /* of the report: an entry of it had a group */
	uint32_t slices[SLICE_WAYS]; /* of the report, once it is known */
	int64_t at;
	bool late;
	struct err *err;
};

static struct cell *sum_at(struct adding *add, int64_t series, int32_t bucket)
{
	const struct sum_key key = {add->at, series, add->late, bucket};
	struct cell *sum = sums_at(add->cells->sums, &key);
	if (!sum)
		err_nomem(add->err);
	return sum;
}

static int add_cell(struct adding *add, unsigned slot, const struct cell *more)
{
	int64_t id;
	if (series_id(add->cells->series, add->db, &add->ref, add->group, slot, &id, add->err))
		return -1;
	struct cell *sum = sum_at(add, id, SUM_NO_BUCKET);
	if (!sum)
		return -1;
	sum->n += more->n;
	sum->k += more->k;
	sum->x += more->x;
	sum->total += more->total;
	sum->nn += more->nn;
	sum->kk += more->kk;
	sum->nk += more->nk;
	return 0;
}

/* The same of the slices, a day at a time and late or not: they explain, and decide nothing.  Of the
 * units only devices are counted so: a row more for each would cost the intake a quarter of its speed. */
static int add_slices(struct adding *add, unsigned slot, const struct cell *more)
{
	struct sum_key key = {.at = add->at - add->at % REPORT_DAY_S};
	if (series_id(add->cells->series, add->db, &add->ref, add->group, slot, &key.series, add->err))
		return -1;
	for (unsigned w = 0; w < SLICE_WAYS; w++) {
		key.bucket = SUM_SLICE(add->slices[w]);
		struct cell *sum = sums_at(add->cells->sums, &key);
		if (!sum)
			return err_nomem(add->err);
		sum->n += more->n;
		sum->k += more->k;
		sum->nn += more->nn;
	}
	return 0;
}

static int add_sliced(struct adding *add, unsigned slot, const struct cell *more)
{
	return add_cell(add, slot, more) || add_slices(add, slot, more) ? -1 : 0;
}

/* A unit's own bucket, as a number of which means are taken. */
static int slice_bucket(struct adding *add, unsigned slot, unsigned bucket)
{
	const struct cell one = {.n = 1, .k = bucket, .nn = (int64_t)bucket * bucket};
	return add_slices(add, slot, &one);
}

static int add_buckets(struct adding *add, unsigned slot, const uint16_t *counts, unsigned first,
		       unsigned len)
{
	int64_t id;
	if (series_id(add->cells->series, add->db, &add->ref, add->group, slot, &id, add->err))
		return -1;
	for (unsigned i = 0; i < len; i++) {
		struct cell *sum = counts[i] ? sum_at(add, id, (int32_t)(first + i)) : NULL;
		if (sum)
			sum->n += counts[i];
		else if (counts[i])
			return -1;
	}
	return 0;
}

static int add_value(struct adding *add, const char *metric_name, int64_t value)
{
	if (value < 0)
		return 0;
	const struct metric *metric = metric_find(metric_name);
	const uint16_t one = 1;
	return add_buckets(add, metric_index(metric), &one, sketch_bucket(metric, value), 1);
}

static int add_score(struct adding *add, int64_t per_mille)
{
	const struct cell score = {.n = 1, .x = per_mille, .nn = per_mille * per_mille};
	const unsigned bucket = (unsigned)(per_mille / CELLS_PROBE_STEP);
	const uint16_t one = 1;
	if (per_mille < 0)
		return 0;
	if (add_cell(add, SLOT_PROBE, &score) || slice_bucket(add, SLOT_PROBE, bucket))
		return -1;
	return add_buckets(add, SLOT_PROBE, &one, bucket, 1);
}

static int add_outcome(struct adding *add)
{
	const struct report_entry *e = add->ref.entry;
	const struct cell event = {.k = 1};
	if (add_cell(add, SLOT_UNITS, &(struct cell){.n = 1}) ||
	    add_cell(add, SLOT_RESULT + e->result, &event) ||
	    (e->result != REPORT_OK && add_slices(add, SLOT_RESULT + e->result, &event)) ||
	    add_value(add, "load_ms", e->load_ms) || add_value(add, "ttft_ms", e->ttft_ms))
		return -1;
	return add_score(add, e->probe_pm);
}

/* A unit's counters: in a window or summary each is one indicator and a clipped count. */
static int add_unit_counts(struct adding *add)
{
	const struct report_entry *e = add->ref.entry;
	for (unsigned i = 0; i < e->count_len; i++) {
		const struct report_count *c = &e->counts[i];
		if (!c->n)
			continue;
		const struct cell more = {
			.k = 1, .x = c->n < CLIP_EVENTS ? c->n : CLIP_EVENTS, .total = c->n};
		if (add_cell(add, c->metric, &more) ||
		    (metric_at(c->metric)->higher_is_worse && add_slices(add, c->metric, &more)))
			return -1;
	}
	return 0;
}

/* A device-day's counters, with the squares that the overdispersion estimate needs. */
static int add_usage_counts(struct adding *add)
{
	const struct report_entry *e = add->ref.entry;
	for (unsigned i = 0; i < e->count_len; i++) {
		const struct report_count *c = &e->counts[i];
		if (!c->n && !c->hit)
			continue;
		const int64_t hit = c->hit < e->used ? c->hit : e->used;
		const struct cell more = {.n = e->used, .k = hit, .x = 1, .total = c->n,
					  .kk = hit * hit, .nk = hit * e->used};
		if (add_cell(add, c->metric, &more))
			return -1;
	}
	return 0;
}

/* sliced: p95s are counted by slice too. */
static int add_hists(struct adding *add, bool display, bool sliced)
{
	const struct report_entry *e = add->ref.entry;
	for (unsigned i = 0; i < e->hist_len; i++) {
		const struct report_hist *h = &e->hists[i];
		const uint16_t one = 1;
		unsigned bucket;
		if (display && add_buckets(add, h->metric, h->counts, h->first, h->len))
			return -1;
		if (sketch_p95_bucket(h->counts, h->first, h->len, &bucket))
			continue;
		if (add_buckets(add, SLOT_P95 + h->metric, &one, bucket, 1) ||
		    (sliced && slice_bucket(add, SLOT_P95 + h->metric, bucket)))
			return -1;
	}
	return 0;
}

static int add_unit(struct adding *add)
{
	const bool window = add->ref.report->kind == REPORT_WINDOW;
	const struct cell one = {.n = 1}, device = {.n = 1, .x = 1};
	if (add_cell(add, SLOT_UNITS, window ? &device : &one) || add_unit_counts(add))
		return -1;
	/* Windows repeat a device, whose speed is its own: some of them tell a slice's mean as well. */
	const unsigned one_of = add->ref.entry->arm == REPORT_ARM_CANDIDATE ? SLICED_CANDIDATES
									      : SLICED_CONTROLS;
	return add_hists(add, window, !window || add->ref.report->nonce[0] % one_of == 0);
}

static int add_usage(struct adding *add)
{
	const int64_t used = add->ref.entry->used;
	const struct cell day = {
		.n = 1, .k = add->ref.report->day_first, .x = used, .nn = used * used};
	const struct cell devices = {.n = 1, .k = day.k};
	if (add_cell(add, SLOT_UNITS, &day) || add_slices(add, SLOT_UNITS, &devices) ||
	    add_usage_counts(add))
		return -1;
	return add_hists(add, true, false);
}

static int add_entry(struct adding *add)
{
	switch (add->ref.report->kind) {
	case REPORT_ENTER:
		return add_sliced(add, SLOT_UNITS, &(struct cell){.n = 1});
	case REPORT_OUTCOME:
		return add_outcome(add);
	case REPORT_USAGE:
		return add_usage(add);
	default:
		return add_unit(add);
	}
}

/* The outcome once more, at the slot in which its device entered: enters minus these are missing.
 * Devices choose that slot, so it makes rows in a month alone; who is so late was missed long ago. */
static int add_arrival(struct adding *add, const struct lane *lane)
{
	struct adding arrival = *add;
	if (add->ref.entry->entered < add->at - ARRIVAL_S)
		return 0;
	arrival.ref.kind = KIND_ARRIVED;
	arrival.at = add->ref.entry->entered;
	arrival.late = lane && arrival.at < lane->closed[CELLS_MISSING];
	if (series_group(add->cells->series, add->db, &arrival.ref, &arrival.group, add->err))
		return -1;
	return arrival.group ? add_sliced(&arrival, SLOT_UNITS, &(struct cell){.n = 1}) : 0;
}

/* A report has its slices once, however many models it tells of. */
static int know_report(struct adding *add)
{
	if (!add->known && slices_of(add->cells->slices, add->ref.report, add->slices, add->err))
		return -1;
	add->known = true;
	return 0;
}

static int add_known_entry(struct adding *add)
{
	const struct report *report = add->ref.report;
	const struct lane *lane = NULL;
	if (report->kind != REPORT_USAGE &&
	    !(lane = lane_find(add->cells, add->ref.entry->rollout, report->class)))
		return 0;
	if (series_group(add->cells->series, add->db, &add->ref, &add->group, add->err))
		return -1;
	if (!add->group)
		return 0;
	if (know_report(add))
		return -1;
	add->late = lane && report->at < lane->closed[cells_mark_of(report->kind)];
	if (add_entry(add))
		return -1;
	return report->kind == REPORT_OUTCOME ? add_arrival(add, lane) : 0;
}

int cells_add(struct cells *cells, struct db *db, const struct report *report, bool *ret_known,
	      struct err *err)
{
	struct adding add = {.cells = cells, .db = db, .at = report->at, .err = err};
	if (sums_count(cells->sums) >= SUMS_MAX && cells_flush(cells, db, err))
		return -1;
	for (unsigned i = 0; i < report->entry_len; i++) {
		add.ref = (struct series_ref){report, &report->entries[i], report->kind};
		if (add_known_entry(&add))
			return -1;
	}
	*ret_known = add.known;
	return 0;
}

/* ---- writing ---- */

static int write_cell(struct db *db, const struct sum_key *key, const struct cell *cell,
		      struct err *err)
{
	STMT(q, db, &cells_sql, Q_CELL_ADD);
	stmt_int(q, "$at", key->at);
	stmt_int(q, "$series", key->series);
	stmt_int(q, "$late", key->late);
	stmt_int(q, "$n", cell->n);
	stmt_int(q, "$k", cell->k);
	stmt_int(q, "$x", cell->x);
	stmt_int(q, "$total", cell->total);
	stmt_int(q, "$nn", cell->nn);
	stmt_int(q, "$kk", cell->kk);
	stmt_int(q, "$nk", cell->nk);
	return stmt_run(q, err);
}

static int write_bucket(struct db *db, const struct sum_key *key, int64_t n, struct err *err)
{
	STMT(q, db, &cells_sql, Q_BUCKET_ADD);
	stmt_int(q, "$at", key->at);
	stmt_int(q, "$series", key->series);
	stmt_int(q, "$late", key->late);
	stmt_int(q, "$bucket", key->bucket);
	stmt_int(q, "$n", n);
	return stmt_run(q, err);
}

static int write_slice(struct db *db, const struct sum_key *key, const struct slice *slice,
		       const struct cell *cell, struct err *err)
{
	STMT(q, db, &cells_sql, Q_SLICE_ADD);
	stmt_int(q, "$series", key->series);
	stmt_int(q, "$at", key->at);
	stmt_int(q, "$what", slice->what);
	stmt_text(q, "$value", slice->value);
	stmt_int(q, "$n", cell->n);
	stmt_int(q, "$k", cell->k);
	stmt_int(q, "$nn", cell->nn);
	return stmt_run(q, err);
}

static int write_sum(const struct cells *cells, struct db *db, const struct sum *sum, struct err *err)
{
	const struct sum_key *key = &sum->key;
	if (key->bucket == SUM_NO_BUCKET)
		return write_cell(db, key, &sum->cell, err);
	if (key->bucket > SUM_NO_BUCKET)
		return write_bucket(db, key, sum->cell.n, err);
	const struct slice *slice = slices_at(cells->slices, SUM_SLICE_NUMBER(key->bucket));
	return write_slice(db, key, slice, &sum->cell, err);
}

static int write_all(const struct cells *cells, struct db *db, struct err *err)
{
	const size_t count = sums_count(cells->sums);
	const struct sum *sums = sums_sorted(cells->sums);
	for (const struct sum *sum = sums; sum < sums + count; sum++)
		if (write_sum(cells, db, sum, err))
			return -1;
	return 0;
}

/* Whether they were written or not, sums begin anew. */
static void clear(struct cells *cells)
{
	sums_clear(cells->sums);
	slices_renumber(cells->slices);
}

int cells_flush(struct cells *cells, struct db *db, struct err *err)
{
	const int bad = write_all(cells, db, err);
	clear(cells);
	return bad;
}

void cells_undo(struct cells *cells)
{
	clear(cells);
	series_forget(cells->series);
}

/* ---- forgetting ---- */

static int expire(struct db *db, unsigned id, int64_t before, int64_t limit, int64_t *ret_deleted,
		  struct err *err)
{
	STMT(q, db, &cells_sql, id);
	stmt_int(q, "$before", before);
	stmt_int(q, "$limit", limit);
	return stmt_changes(q, ret_deleted, err);
}

int cells_expire(struct db *db, int64_t before, int64_t limit, int64_t *ret_deleted,
		 struct err *err)
{
	int64_t all = 0;
	for (unsigned id = Q_EXPIRE_CELLS; id <= Q_EXPIRE_DAYS; id++) {
		int64_t gone;
		if (expire(db, id, before, limit, &gone, err))
			return -1;
		all += gone;
	}
	*ret_deleted = all;
	return 0;
}
