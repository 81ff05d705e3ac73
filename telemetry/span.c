#include "telemetry/span.h"

#include "base/grow.h"
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANE_NAME 160

enum { Q_CELLS, Q_BUCKETS, Q_SERIES, Q_COUNT };

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_CELLS] =
		"SELECT at, series, n, k FROM cells WHERE at >= $from AND at < $to AND late = 0"
		" ORDER BY at",
	/* BETWEEN: or SQLite goes through the index of series, and from there to each row. */
	[Q_BUCKETS] =
		"SELECT at, series, n, bucket FROM cell_buckets"
		" WHERE at = $at AND series BETWEEN $series AND $series AND late = 0",
	/* Of lanes that are under way, under the name of who leads them: rollout's rows, read only.  (CROSS
	 * tells SQLite to begin with the series, of which few are new.) */
	[Q_SERIES] =
		"SELECT s.id, s.rollout, CASE WHEN l.lead <> '' THEN l.lead ELSE l.class END, s.stage,"
		" s.arm, s.kind, s.metric FROM series s CROSS JOIN lanes l"
		" WHERE s.id > $after AND l.rollout = s.rollout AND l.class = s.class"
		" AND l.state IN ('running', 'holding') ORDER BY s.id",
};
/* clang-format on */
const struct sql_set span_sql = {"span", sql, Q_COUNT};

/* ---- series ---- */

struct series_info {
	unsigned lane; /* number; 0: none that matters */
	unsigned stage;
	enum report_arm arm;
	const char *kind, *metric; /* of names */
};

struct series_known {
	struct series_info *list; /* by id */
	size_t room;
	int64_t last;	    /* id that was read */
	struct map *lanes; /* "rollout leader" -> number, as a pointer */
	struct map *names; /* text -> its own copy */
};

struct series_known *series_known_new(void)
{
	struct series_known *known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	known->lanes = map_new(NULL);
	known->names = map_new(free);
	if (!known->lanes || !known->names) {
		series_known_free(known);
		return NULL;
	}
	return known;
}

void series_known_free(struct series_known *known)
{
	if (!known)
		return;
	map_free(known->lanes);
	map_free(known->names);
	free(known->list);
	free(known);
}

/* NULL without memory. */
static const char *name_of(struct series_known *known, const char *text)
{
	const char *name = map_gets(known->names, text);
	if (name)
		return name;
	char *copy = strdup(text);
	return copy && !map_puts(known->names, text, copy) ? copy : NULL;
}

static size_t lane_name(char out[static LANE_NAME], const char *rollout, const char *leader)
{
	return (size_t)snprintf(out, LANE_NAME, "%s %s", rollout, leader);
}

/* 0: it has none. */
static unsigned lane_number(const struct series_known *known, const char *rollout,
			    const char *leader)
{
	char name[LANE_NAME];
	const size_t len = lane_name(name, rollout, leader);
	return (unsigned)(uintptr_t)map_get(known->lanes, name, len);
}

/* 0 without memory. */
static unsigned lane_number_new(struct series_known *known, const char *rollout,
				const char *leader)
{
	char name[LANE_NAME];
	const unsigned number = lane_number(known, rollout, leader);
	if (number)
		return number;
	const uintptr_t next = map_count(known->lanes) + 1;
	const size_t len = lane_name(name, rollout, leader);
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a number, never followed */
	return map_put(known->lanes, name, len, (void *)next) ? 0 : (unsigned)next;
}

static int make_room(struct series_known *known, int64_t id)
{
	if ((size_t)id < known->room)
		return 0;
	const size_t room = (size_t)id + (size_t)id / 2 + 256;
	struct series_info *list = reallocarray(known->list, room, sizeof(*list));
	if (!list)
		return -1;
	memset(list + known->room, 0, (room - known->room) * sizeof(*list));
	known->list = list;
	known->room = room;
	return 0;
}

static int know_one(struct series_known *known, struct stmt *q, struct err *err)
{
	const int64_t id = stmt_col_int(q, 0);
	const struct series_info info = {
		.lane = lane_number_new(known, stmt_col_text(q, 1), stmt_col_text(q, 2)),
		.stage = (unsigned)stmt_col_int(q, 3),
		.arm = cells_arm(stmt_col_text(q, 4)),
		.kind = name_of(known, stmt_col_text(q, 5)),
		.metric = name_of(known, stmt_col_text(q, 6))};
	if (!info.lane || !info.kind || !info.metric || make_room(known, id))
		return err_nomem(err);
	known->list[id] = info;
	known->last = id;
	return 0;
}

int series_known_update(struct series_known *known, struct db *db, struct err *err)
{
	int got;
	STMT(q, db, &span_sql, Q_SERIES);
	stmt_int(q, "$after", known->last);
	while ((got = stmt_step(q, err)) > 0)
		if (know_one(known, q, err))
			return -1;
	return got;
}

/* ---- rows ---- */

struct span_row {
	int64_t at, series, n, x; /* k of a cell, the number of a bucket */
};

/* Rows by lane, and of each in order of their time. */
struct rows {
	struct span_row *list;
	uint32_t count, room;
	size_t *ends; /* of each lane, by number */
};

struct span {
	const struct series_known *known;
	struct span_order order;
	unsigned lanes; /* that were known */
	struct rows cells, buckets;
};

/* What a query that was bound gives. */
static int rows_take(struct rows *rows, struct stmt *q, struct err *err)
{
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct span_row *list =
			grow_array(rows->list, &rows->room, rows->count, sizeof(*list));
		if (!list)
			return err_nomem(err);
		rows->list = list;
		list[rows->count++] =
			(struct span_row){stmt_col_int(q, 0), stmt_col_int(q, 1),
					  stmt_col_int(q, 2), stmt_col_int(q, 3)};
	}
	return got;
}

static const struct series_info *info_of(const struct series_known *known, int64_t series)
{
	static const struct series_info none;
	return series >= 0 && (size_t)series < known->room ? &known->list[series] : &none;
}

/* Rows came in order of their time: counted by lane they keep it.  Those of no lane go. */
static int rows_by_lane(struct rows *rows, const struct series_known *known, unsigned lanes,
			struct err *err)
{
	struct span_row *sorted = calloc((size_t)rows->count + 1, sizeof(*sorted));
	rows->ends = calloc(lanes + 2, sizeof(*rows->ends));
	if (!sorted || !rows->ends) {
		free(sorted);
		return err_nomem(err);
	}
	size_t *at = rows->ends; /* at[n]: where the next row of lane n goes */
	for (size_t i = 0; i < rows->count; i++)
		at[info_of(known, rows->list[i].series)->lane + 1]++;
	at[1] = 0; /* those of no lane */
	for (unsigned lane = 1; lane <= lanes; lane++)
		at[lane + 1] += at[lane];
	for (size_t i = 0; i < rows->count; i++) {
		const unsigned lane = info_of(known, rows->list[i].series)->lane;
		if (lane)
			sorted[at[lane]++] = rows->list[i];
	}
	rows->count = (uint32_t)at[lanes];
	free(rows->list);
	rows->list = sorted;
	return 0;
}

static void rows_done(struct rows *rows)
{
	free(rows->list);
	free(rows->ends);
}

void span_free(struct span *span)
{
	if (!span)
		return;
	rows_done(&span->cells);
	rows_done(&span->buckets);
	free(span);
}

/* ---- histograms ---- */

/* Most buckets of a time are of other kinds, and of histograms that nobody decides by: the few that are
 * wanted are found one by one instead, of those who told something. */
struct hunt {
	const char *kind, *metrics[SPAN_HISTS]; /* of names; NULL: no series has it */
	uint64_t *told;				/* at one time, of each lane by number: its arms */
};

/* A stage's arm as a bit; all of many stages share one, and are asked for in vain. */
static uint64_t arm_bit(const struct series_info *info)
{
	const unsigned stage = info->stage < 20 ? info->stage : 20;
	return UINT64_C(1) << (stage * 3 + (unsigned)info->arm);
}

static bool is_hunted(const struct hunt *h, const struct series_info *info)
{
	if (!info->lane || info->kind != h->kind || !(h->told[info->lane] & arm_bit(info)))
		return false;
	for (unsigned i = 0; i < SPAN_HISTS; i++)
		if (info->metric == h->metrics[i])
			return true;
	return false;
}

/* Who told something of kind at the time of row i: a histogram never comes without its unit's cell.
 * Returns the first row of a later time. */
static size_t hunt_told(struct hunt *h, const struct span *span, size_t i, bool *ret_any)
{
	const int64_t at = span->cells.list[i].at;
	*ret_any = false;
	for (; i < span->cells.count && span->cells.list[i].at == at; i++) {
		const struct series_info *info = info_of(span->known, span->cells.list[i].series);
		if (info->kind != h->kind || !info->lane)
			continue;
		h->told[info->lane] |= arm_bit(info);
		*ret_any = true;
	}
	return i;
}

static int read_bucket(struct span *span, struct db *db, int64_t at, int64_t series,
		       struct err *err)
{
	STMT(q, db, &span_sql, Q_BUCKETS);
	stmt_int(q, "$at", at);
	stmt_int(q, "$series", series);
	return rows_take(&span->buckets, q, err);
}

static int read_time(const struct hunt *h, struct span *span, struct db *db, int64_t at,
		     struct err *err)
{
	for (int64_t id = 1; id <= span->known->last; id++)
		if (is_hunted(h, &span->known->list[id]) && read_bucket(span, db, at, id, err))
			return -1;
	return 0;
}

static int read_buckets(struct span *span, struct db *db, struct err *err)
{
	const size_t told = ((size_t)span->lanes + 1) * sizeof(uint64_t);
	AUTO_FREE uint64_t *flags = malloc(told);
	struct hunt h = {map_gets(span->known->names, span->order.kind), {NULL}, flags};
	for (unsigned i = 0; i < SPAN_HISTS && span->order.hists[i]; i++)
		h.metrics[i] = map_gets(span->known->names, span->order.hists[i]);
	if (!flags)
		return err_nomem(err);
	for (size_t i = 0, next; i < span->cells.count && h.kind; i = next) {
		bool any;
		memset(flags, 0, told);
		next = hunt_told(&h, span, i, &any);
		if (any && read_time(&h, span, db, span->cells.list[i].at, err))
			return -1;
	}
	return 0;
}

/* In one transaction, or each of many small queries would lock the database anew. */
static int read_all_buckets(struct span *span, struct db *db, struct err *err)
{
	if (db_begin(db, err))
		return -1;
	const int bad = read_buckets(span, db, err);
	db_rollback(db);
	return bad;
}

/* ---- a span ---- */

int span_begin(struct span **ret_span, struct db *db, const struct span_order *order,
	       struct err *err)
{
	AUTO(span_free) struct span *span = calloc(1, sizeof(*span));
	if (!span)
		return err_nomem(err);
	span->order = *order;
	STMT(q, db, &span_sql, Q_CELLS);
	stmt_int(q, "$from", order->from);
	stmt_int(q, "$to", order->to);
	if (rows_take(&span->cells, q, err))
		return -1;
	*ret_span = TAKE(span);
	return 0;
}

int span_finish(struct span *span, const struct series_known *known, struct db *db,
		struct err *err)
{
	span->known = known;
	span->lanes = (unsigned)map_count(known->lanes);
	if (span->order.hists[0] && read_all_buckets(span, db, err))
		return -1;
	return rows_by_lane(&span->cells, known, span->lanes, err) ||
			       rows_by_lane(&span->buckets, known, span->lanes, err)
		       ? -1
		       : 0;
}

bool span_covers(const struct span *span, int64_t from, int64_t to)
{
	return span && span->order.from <= from && to <= span->order.to;
}

uint64_t span_rows(const struct span *span)
{
	return (uint64_t)span->cells.count + span->buckets.count;
}

/* ---- lanes ---- */

static bool is_kind(const struct series_info *info, const struct cells_lane *lane)
{
	return !strcmp(info->kind, lane->kind) || (lane->other && !strcmp(info->kind, lane->other));
}

/* The lane's rows of a time; metric NULL: of all. */
struct wanted {
	const struct cells_lane *lane;
	const char *metric;
	int64_t from, to;
};

static int each(const struct span *span, const struct rows *rows, const struct wanted *wanted,
		int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		struct err *err)
{
	const unsigned lane = lane_number(span->known, wanted->lane->rollout, wanted->lane->class);
	if (!lane || lane > span->lanes)
		return 0;
	for (size_t i = lane > 1 ? rows->ends[lane - 1] : 0; i < rows->ends[lane]; i++) {
		const struct span_row *r = &rows->list[i];
		const struct series_info *info = info_of(span->known, r->series);
		if (r->at < wanted->from || r->at >= wanted->to || !is_kind(info, wanted->lane) ||
		    (wanted->metric && strcmp(info->metric, wanted->metric) != 0))
			continue;
		const struct cells_row row = {.at = r->at, .stage = info->stage, .arm = info->arm,
					      .kind = info->kind, .metric = info->metric,
					      .bucket = wanted->metric ? (unsigned)r->x : 0,
					      .cell = {.at = r->at, .n = r->n,
						       .k = wanted->metric ? 0 : r->x}};
		if (fn(arg, &row, err))
			return -1;
	}
	return 0;
}

int span_lane(const struct span *span, const struct cells_lane *lane, int64_t from, int64_t to,
	      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
	      struct err *err)
{
	const struct wanted wanted = {lane, NULL, from, to};
	return each(span, &span->cells, &wanted, fn, arg, err);
}

int span_lane_buckets(const struct span *span, const struct cells_lane *lane, const char *metric,
		      int64_t from, int64_t to,
		      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		      struct err *err)
{
	const struct wanted wanted = {lane, metric, from, to};
	return each(span, &span->buckets, &wanted, fn, arg, err);
}
