#include "telemetry/cells.h"

#include "base/map.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_EVENTS 3	/* events of a unit that a count gate sees */
#define NO_BUCKET (-1)
#define KEY_ROOM 640

enum {
	Q_SERIES_GET,
	Q_SERIES_PUT,
	Q_CELL_ADD,
	Q_BUCKET_ADD,
	Q_EXPIRE_CELLS,
	Q_EXPIRE_BUCKETS,
	Q_COUNT
};

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_SERIES_GET] =
		"SELECT id FROM series WHERE rollout = $rollout AND class = $class"
		" AND stage = $stage AND arm = $arm AND channel = $channel AND model = $model"
		" AND variant = $variant AND kind = $kind AND metric = $metric",
	[Q_SERIES_PUT] =
		"INSERT INTO series (id, channel, class, model, rollout, stage, arm, variant, kind,"
		" metric) VALUES ($id, $channel, $class, $model, $rollout, $stage, $arm, $variant,"
		" $kind, $metric)",
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
	[Q_EXPIRE_CELLS] =
		"DELETE FROM cells WHERE (at, series, late) IN"
		" (SELECT at, series, late FROM cells WHERE at < $before LIMIT $limit)",
	[Q_EXPIRE_BUCKETS] =
		"DELETE FROM cell_buckets WHERE (at, series, late, bucket) IN"
		" (SELECT at, series, late, bucket FROM cell_buckets WHERE at < $before LIMIT $limit)",
};
/* clang-format on */
const struct sql_set cells_sql = {"cells", sql, Q_COUNT};

struct lane {
	int64_t closed[CELLS_MARKS];
};

/* What one flush will add to one cell, or to one of its buckets. */
struct sum_key {
	int64_t at, series;
	int32_t late, bucket;
};
struct sum {
	struct cell cell;
};

struct cells {
	struct map *series;  /* text key → int64_t * */
	struct map *lanes;   /* "rollout/class" → struct lane * */
	struct map *pending; /* struct sum_key → struct sum * */
	struct map *known;   /* names that were found in the catalog; they never leave it */
};

struct cells *cells_new(void)
{
	struct cells *cells = calloc(1, sizeof(*cells));
	if (!cells)
		return NULL;
	cells->series = map_new(free);
	cells->lanes = map_new(free);
	cells->pending = map_new(free);
	cells->known = map_new(NULL);
	if (cells->series && cells->lanes && cells->pending && cells->known)
		return cells;
	cells_free(cells);
	return NULL;
}

void cells_free(struct cells *cells)
{
	if (!cells)
		return;
	map_free(cells->series);
	map_free(cells->lanes);
	map_free(cells->pending);
	map_free(cells->known);
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
	char key[KEY_ROOM];
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

void cells_lane_end(struct cells *cells, const char *rollout, const char *class)
{
	char key[KEY_ROOM];
	size_t len = lane_key(key, sizeof(key), rollout, class);
	map_remove(cells->lanes, key, len);
}

/* ---- series ---- */

struct series_ref {
	const struct report *report;
	const struct report_entry *entry;
	const char *kind;
};

static void forget_series(void *arg)
{
	struct cells *cells = arg;
	map_clear(cells->series);
}

static void keep_series(void *arg)
{
	(void)arg;
}

static void bind_series(struct stmt *q, const struct series_ref *ref, const char *metric)
{
	stmt_text(q, "$channel", ref->report->channel);
	stmt_text(q, "$class", ref->report->class);
	stmt_text(q, "$model", ref->entry->model);
	stmt_text(q, "$rollout", ref->entry->rollout);
	stmt_int(q, "$stage", ref->entry->stage);
	stmt_text(q, "$arm", report_arm_names[ref->entry->arm]);
	stmt_text(q, "$variant", ref->entry->variant);
	stmt_text(q, "$kind", ref->kind);
	stmt_text(q, "$metric", metric);
}

static int series_insert(struct db *db, const struct series_ref *ref, const char *metric,
			 int64_t *ret_id, struct err *err)
{
	int64_t id;
	if (db_meta_next(db, "series", &id, err))
		return -1;
	STMT(q, db, &cells_sql, Q_SERIES_PUT);
	bind_series(q, ref, metric);
	stmt_int(q, "$id", id);
	if (stmt_run(q, err))
		return -1;
	*ret_id = id;
	return 0;
}

static int series_load(struct cells *cells, struct db *db, const struct series_ref *ref,
		       const char *metric, int64_t *ret_id, struct err *err)
{
	STMT(q, db, &cells_sql, Q_SERIES_GET);
	bind_series(q, ref, metric);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (got) {
		*ret_id = stmt_col_int(q, 0);
		return 0;
	}
	if (series_insert(db, ref, metric, ret_id, err))
		return -1;
	return db_after_commit(db, keep_series, forget_series, cells, err);
}

static int series_id(struct cells *cells, struct db *db, const struct series_ref *ref,
		     const char *metric, int64_t *ret_id, struct err *err)
{
	const struct report_entry *e = ref->entry;
	char key[KEY_ROOM];
	int len = snprintf(key, sizeof(key), "%s|%s|%s|%s|%u|%d|%s|%s|%s", ref->report->channel,
			   ref->report->class, e->model, e->rollout, e->stage, (int)e->arm,
			   e->variant, ref->kind, metric);
	if (len < 0 || (size_t)len >= sizeof(key))
		return err_set(err, ERR_INVALID, "the report's names are too long");
	const int64_t *known = map_get(cells->series, key, (size_t)len);
	if (known) {
		*ret_id = *known;
		return 0;
	}
	int64_t *id = malloc(sizeof(*id));
	if (!id)
		return err_nomem(err);
	if (series_load(cells, db, ref, metric, id, err)) {
		free(id);
		return -1;
	}
	*ret_id = *id;
	return map_put(cells->series, key, (size_t)len, id) ? err_nomem(err) : 0;
}

/* ---- adding ---- */

/* One entry on its way into cells. */
struct adding {
	struct cells *cells;
	struct db *db;
	struct series_ref ref;
	int64_t at;
	bool late;
	struct err *err;
};

static struct sum *pending_sum(struct adding *add, int64_t series, int32_t bucket)
{
	const struct sum_key key = {add->at, series, add->late, bucket};
	struct sum *sum = map_get(add->cells->pending, &key, sizeof(key));
	if (sum)
		return sum;
	sum = calloc(1, sizeof(*sum));
	if (!sum || map_put(add->cells->pending, &key, sizeof(key), sum))
		return NULL;
	return sum;
}

static int add_cell(struct adding *add, const char *metric, const struct cell *more)
{
	int64_t id;
	if (series_id(add->cells, add->db, &add->ref, metric, &id, add->err))
		return -1;
	struct sum *sum = pending_sum(add, id, NO_BUCKET);
	if (!sum)
		return err_nomem(add->err);
	sum->cell.n += more->n;
	sum->cell.k += more->k;
	sum->cell.x += more->x;
	sum->cell.total += more->total;
	sum->cell.nn += more->nn;
	sum->cell.kk += more->kk;
	sum->cell.nk += more->nk;
	return 0;
}

static int add_buckets(struct adding *add, const char *metric, const uint32_t *counts,
		       unsigned first, unsigned len)
{
	int64_t id;
	if (series_id(add->cells, add->db, &add->ref, metric, &id, add->err))
		return -1;
	for (unsigned i = 0; i < len; i++) {
		if (!counts[i])
			continue;
		struct sum *sum = pending_sum(add, id, (int32_t)(first + i));
		if (!sum)
			return err_nomem(add->err);
		sum->cell.n += counts[i];
	}
	return 0;
}

static int add_value(struct adding *add, const char *metric_name, int64_t value)
{
	if (value < 0)
		return 0;
	const struct metric *metric = metric_find(metric_name);
	const uint32_t one = 1;
	return add_buckets(add, metric_name, &one, sketch_bucket(metric, value), 1);
}

static int add_outcome(struct adding *add)
{
	const struct report_entry *e = add->ref.entry;
	char result[32];
	snprintf(result, sizeof(result), "result.%s", report_result_names[e->result]);
	if (add_cell(add, "outcome", &(struct cell){.n = 1}) ||
	    add_cell(add, result, &(struct cell){.k = 1}) ||
	    add_value(add, "load_ms", e->load_ms) || add_value(add, "ttft_ms", e->ttft_ms))
		return -1;
	if (e->probe_pm >= 0 &&
	    add_cell(add, "probe", &(struct cell){.n = 1, .x = e->probe_pm,
						  .nn = e->probe_pm * e->probe_pm}))
		return -1;
	return 0;
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
		if (add_cell(add, metric_at(c->metric)->name, &more))
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
		if (add_cell(add, metric_at(c->metric)->name, &more))
			return -1;
	}
	return 0;
}

static int add_hists(struct adding *add, bool display)
{
	const struct report_entry *e = add->ref.entry;
	for (unsigned i = 0; i < e->hist_len; i++) {
		const struct report_hist *h = &e->hists[i];
		const char *name = metric_at(h->metric)->name;
		char own[64];
		snprintf(own, sizeof(own), "%s.p95", name);
		const uint32_t one = 1;
		unsigned bucket;
		if (display && add_buckets(add, name, h->counts, h->first, h->len))
			return -1;
		if (!sketch_p95_bucket(h->counts, h->first, h->len, &bucket) &&
		    add_buckets(add, own, &one, bucket, 1))
			return -1;
	}
	return 0;
}

static int add_unit(struct adding *add)
{
	const bool window = add->ref.report->kind == REPORT_WINDOW;
	const struct cell one = {.n = 1};
	if (add_cell(add, add->ref.kind, &one) || add_unit_counts(add))
		return -1;
	return add_hists(add, window);
}

static int add_usage(struct adding *add)
{
	const int64_t used = add->ref.entry->used;
	const struct cell day = {
		.n = 1, .k = add->ref.report->day_first, .x = used, .nn = used * used};
	if (add_cell(add, "usage", &day) || add_usage_counts(add))
		return -1;
	return add_hists(add, true);
}

static int add_entry(struct adding *add)
{
	switch (add->ref.report->kind) {
	case REPORT_ENTER:
		return add_cell(add, "enter", &(struct cell){.n = 1});
	case REPORT_OUTCOME:
		return add_outcome(add);
	case REPORT_USAGE:
		return add_usage(add);
	default:
		return add_unit(add);
	}
}

/* The outcome once more, at the slot in which its device entered: enters minus these are missing. */
static int add_arrival(struct adding *add, const struct lane *lane)
{
	struct adding arrival = *add;
	arrival.ref.kind = "arrived";
	arrival.at = add->ref.entry->entered;
	arrival.late = lane && arrival.at < lane->closed[CELLS_MISSING];
	return add_cell(&arrival, "outcome", &(struct cell){.n = 1});
}

/* ---- what may be spoken of ---- */

typedef int known_query(struct db *db, const char *name, bool *ret_known, struct err *err);

/* Whether the catalog has the name; what it has is asked once. */
static int name_known(struct cells *cells, struct db *db, known_query *query, const char *what,
		      const char *name, bool *ret_known, struct err *err)
{
	char key[KEY_ROOM];
	const int len = snprintf(key, sizeof(key), "%s %s", what, name);
	*ret_known = false;
	if (len < 0 || (size_t)len >= sizeof(key))
		return 0;
	if (map_get(cells->known, key, (size_t)len)) {
		*ret_known = true;
		return 0;
	}
	if (query(db, name, ret_known, err))
		return -1;
	return *ret_known && map_put(cells->known, key, (size_t)len, cells) ? err_nomem(err) : 0;
}

/* Strangers must not make series of names that nobody gave. */
static int names_known(struct cells *cells, struct db *db, const struct report *report,
		       const struct report_entry *e, bool *ret_known, struct err *err)
{
	const struct {
		known_query *query;
		const char *what, *name;
	} names[] = {{catalog_channel_known, "channel", report->channel},
		     {class_known, "class", report->class},
		     {catalog_model_known, "model", e->model},
		     {catalog_variant_known, "variant", e->variant}};
	*ret_known = true;
	for (unsigned i = 0; i < COUNT_OF(names) && *ret_known; i++)
		if (names[i].name[0] && name_known(cells, db, names[i].query, names[i].what,
						   names[i].name, ret_known, err))
			return -1;
	return 0;
}

static int add_known_entry(struct cells *cells, struct db *db, const struct report *report,
			   const struct report_entry *e, bool *ret_known, struct err *err)
{
	char key[KEY_ROOM];
	const size_t len = lane_key(key, sizeof(key), e->rollout, report->class);
	const struct lane *lane = map_get(cells->lanes, key, len);
	struct adding add = {cells, db, {report, e, report_kind_names[report->kind]},
			     report->at, false, err};
	bool known;
	if (report->kind != REPORT_USAGE && !lane)
		return 0;
	if (names_known(cells, db, report, e, &known, err))
		return -1;
	if (!known)
		return 0;
	if (lane)
		add.late = report->at < lane->closed[cells_mark_of(report->kind)];
	if (add_entry(&add))
		return -1;
	if (report->kind == REPORT_OUTCOME && add_arrival(&add, lane))
		return -1;
	*ret_known = true;
	return 0;
}

int cells_add(struct cells *cells, struct db *db, const struct report *report, bool *ret_known,
	      struct err *err)
{
	bool known = false;
	for (unsigned i = 0; i < report->entry_len; i++)
		if (add_known_entry(cells, db, report, &report->entries[i], &known, err))
			return -1;
	*ret_known = known;
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

static int write_pending(struct cells *cells, struct db *db, struct err *err)
{
	size_t at = 0, len;
	const void *bytes;
	void *value;
	while (map_next(cells->pending, &at, &bytes, &len, &value)) {
		struct sum_key key;
		memcpy(&key, bytes, sizeof(key));
		const struct cell *cell = &((const struct sum *)value)->cell;
		if (key.bucket == NO_BUCKET ? write_cell(db, &key, cell, err)
					    : write_bucket(db, &key, cell->n, err))
			return -1;
	}
	return 0;
}

int cells_flush(struct cells *cells, struct db *db, struct err *err)
{
	int bad = write_pending(cells, db, err);
	map_clear(cells->pending);
	return bad;
}

void cells_undo(struct cells *cells)
{
	map_clear(cells->pending);
	map_clear(cells->series);
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
	int64_t cells_gone, buckets_gone;
	if (expire(db, Q_EXPIRE_CELLS, before, limit, &cells_gone, err) ||
	    expire(db, Q_EXPIRE_BUCKETS, before, limit, &buckets_gone, err))
		return -1;
	*ret_deleted = cells_gone + buckets_gone;
	return 0;
}
