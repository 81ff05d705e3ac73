#include "telemetry/span.h"

#include "base/grow.h"
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANE_NAME 160

enum { Q_CELLS, Q_BUCKETS, Q_SERIES, Q_LAST, Q_COUNT };

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_CELLS] =
		"SELECT at, series, n, k FROM cells WHERE at >= $from AND at < $to AND late = 0"
		" ORDER BY at",
	/* BETWEEN: or SQLite goes through the index of series, and from there to each row. */
	[Q_BUCKETS] =
		"SELECT n, bucket FROM cell_buckets"
		" WHERE at = $at AND series BETWEEN $series AND $series AND late = 0",
	/* Of lanes that are under way, under the name of who leads them: rollout's rows, read only.  (CROSS
	 * tells SQLite to begin with the series, of which few are new.) */
	[Q_SERIES] =
		"SELECT s.id, s.rollout, CASE WHEN l.lead <> '' THEN l.lead ELSE l.class END, s.stage,"
		" s.arm, s.kind, s.metric FROM series s CROSS JOIN lanes l"
		" WHERE s.id > $after AND s.id <= $last AND l.rollout = s.rollout AND l.class = s.class"
		" AND l.state IN ('running', 'holding') ORDER BY s.id",
	[Q_LAST] = "SELECT COALESCE(MAX(id), 0) FROM series",
};
/* clang-format on */
const struct sql_set span_sql = {"span", sql, Q_COUNT};

/* ---- series ---- */

struct series_info {
	unsigned lane; /* number; 0: none that matters */
	unsigned stage;
	enum report_arm arm;
	const char *kind, *metric; /* of names */
	int64_t next;		   /* id of another of its lane; 0: none */
};

struct series_known {
	struct series_info *list; /* by id */
	size_t room;
	int64_t *heads; /* of each lane by number: its series known last */
	uint32_t heads_room;
	int64_t last;	    /* id up to which all were looked at, also those of no lane */
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
	free(known->heads);
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

/* Room for the next lane's head, if there will be one. */
static int make_head(struct series_known *known)
{
	const uint32_t lanes = (uint32_t)map_count(known->lanes) + 1, room = known->heads_room;
	int64_t *heads = grow_array(known->heads, &known->heads_room, lanes, sizeof(*heads));
	if (!heads)
		return -1;
	memset(heads + room, 0, (known->heads_room - room) * sizeof(*heads));
	known->heads = heads;
	return 0;
}

static int know_one(struct series_known *known, struct stmt *q, struct err *err)
{
	const int64_t id = stmt_col_int(q, 0);
	if (make_head(known) || make_room(known, id))
		return err_nomem(err);
	if (known->list[id].lane) /* of a try that failed later */
		return 0;
	const struct series_info info = {
		.lane = lane_number_new(known, stmt_col_text(q, 1), stmt_col_text(q, 2)),
		.stage = (unsigned)stmt_col_int(q, 3),
		.arm = cells_arm(stmt_col_text(q, 4)),
		.kind = name_of(known, stmt_col_text(q, 5)),
		.metric = name_of(known, stmt_col_text(q, 6))};
	if (!info.lane || !info.kind || !info.metric)
		return err_nomem(err);
	known->list[id] = info;
	known->list[id].next = known->heads[info.lane];
	known->heads[info.lane] = id;
	return 0;
}

static int last_series(struct db *db, int64_t *ret_last, struct err *err)
{
	STMT(q, db, &span_sql, Q_LAST);
	const int got = stmt_step(q, err);
	*ret_last = got > 0 ? stmt_col_int(q, 0) : 0;
	return got < 0 ? -1 : 0;
}

static int know_up_to(struct series_known *known, struct db *db, int64_t last, struct err *err)
{
	int got;
	STMT(q, db, &span_sql, Q_SERIES);
	stmt_int(q, "$after", known->last);
	stmt_int(q, "$last", last);
	while ((got = stmt_step(q, err)) > 0)
		if (know_one(known, q, err))
			return -1;
	return got;
}

/* A series of a lane comes after it: those of no lane, as usage's, are never asked for again. */
int series_known_update(struct series_known *known, struct db *db, struct err *err)
{
	int64_t last;
	if (last_series(db, &last, err))
		return -1;
	if (last <= known->last)
		return 0;
	if (know_up_to(known, db, last, err))
		return -1;
	known->last = last;
	return 0;
}

/* ---- rows ---- */

struct span_row {
	int64_t at, series, n, k;
};

struct span {
	const struct series_known *known;
	int64_t from, to;
	unsigned lanes; /* that were known */
	struct span_row *rows; /* by lane, and of each in order of their time */
	uint32_t count, room;
	size_t *ends; /* of each lane, by number */
};

/* What a query that was bound gives. */
static int rows_take(struct span *span, struct stmt *q, struct err *err)
{
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct span_row *rows =
			grow_array(span->rows, &span->room, span->count, sizeof(*rows));
		if (!rows)
			return err_nomem(err);
		span->rows = rows;
		rows[span->count++] = (struct span_row){stmt_col_int(q, 0), stmt_col_int(q, 1),
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
static int rows_by_lane(struct span *span, struct err *err)
{
	struct span_row *sorted = calloc((size_t)span->count + 1, sizeof(*sorted));
	span->ends = calloc(span->lanes + 2, sizeof(*span->ends));
	if (!sorted || !span->ends) {
		free(sorted);
		return err_nomem(err);
	}
	size_t *at = span->ends; /* at[n]: where the next row of lane n goes */
	for (size_t i = 0; i < span->count; i++)
		at[info_of(span->known, span->rows[i].series)->lane + 1]++;
	at[1] = 0; /* those of no lane */
	for (unsigned lane = 1; lane <= span->lanes; lane++)
		at[lane + 1] += at[lane];
	for (size_t i = 0; i < span->count; i++) {
		const unsigned lane = info_of(span->known, span->rows[i].series)->lane;
		if (lane)
			sorted[at[lane]++] = span->rows[i];
	}
	span->count = (uint32_t)at[span->lanes];
	free(span->rows);
	span->rows = sorted;
	return 0;
}

/* ---- a span ---- */

int span_begin(struct span **ret_span, struct db *db, int64_t from, int64_t to, struct err *err)
{
	AUTO(span_free) struct span *span = calloc(1, sizeof(*span));
	if (!span)
		return err_nomem(err);
	span->from = from;
	span->to = to;
	STMT(q, db, &span_sql, Q_CELLS);
	stmt_int(q, "$from", from);
	stmt_int(q, "$to", to);
	if (rows_take(span, q, err))
		return -1;
	*ret_span = TAKE(span);
	return 0;
}

int span_finish(struct span *span, const struct series_known *known, struct err *err)
{
	span->known = known;
	span->lanes = (unsigned)map_count(known->lanes);
	return rows_by_lane(span, err);
}

void span_free(struct span *span)
{
	if (!span)
		return;
	free(span->rows);
	free(span->ends);
	free(span);
}

bool span_covers(const struct span *span, int64_t from, int64_t to)
{
	return span && span->from <= from && to <= span->to;
}

uint64_t span_rows(const struct span *span)
{
	return span->count;
}

/* ---- lanes ---- */

/* A lane's rows of a time. */
struct lane_rows {
	const struct span_row *at, *end;
	unsigned lane; /* number */
};

static struct lane_rows rows_of(const struct span *span, const struct cells_lane *lane, int64_t from,
				int64_t to)
{
	const unsigned number = lane_number(span->known, lane->rollout, lane->class);
	if (!number || number > span->lanes)
		return (struct lane_rows){0};
	struct lane_rows rows = {span->rows + (number > 1 ? span->ends[number - 1] : 0),
				 span->rows + span->ends[number], number};
	while (rows.at < rows.end && rows.at->at < from)
		rows.at++;
	while (rows.at < rows.end && rows.end[-1].at >= to)
		rows.end--;
	return rows;
}

static bool is_kind(const struct series_info *info, const struct cells_lane *lane)
{
	return !strcmp(info->kind, lane->kind) || (lane->other && !strcmp(info->kind, lane->other));
}

static struct cells_row row_of(const struct series_info *info, int64_t at, int64_t n)
{
	return (struct cells_row){.at = at, .stage = info->stage, .arm = info->arm,
				  .kind = info->kind, .metric = info->metric,
				  .cell = {.at = at, .n = n}};
}

int span_lane(const struct span *span, const struct cells_lane *lane, int64_t from, int64_t to,
	      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
	      struct err *err)
{
	for (struct lane_rows rows = rows_of(span, lane, from, to); rows.at < rows.end; rows.at++) {
		const struct series_info *info = info_of(span->known, rows.at->series);
		struct cells_row row = row_of(info, rows.at->at, rows.at->n);
		row.cell.k = rows.at->k;
		if (is_kind(info, lane) && fn(arg, &row, err))
			return -1;
	}
	return 0;
}

/* ---- histograms ---- */

/* Who told something at one time: a histogram never comes without its unit's cell. */
struct told {
	const char *kind, *metric; /* of names; NULL: no series has it */
	int64_t at;
	uint64_t arms;
};

_Static_assert((REPORT_STAGES + 1) * 3 <= 64, "a bit for each stage's arm");

static uint64_t arm_bit(const struct series_info *info)
{
	return info->stage > REPORT_STAGES ? 0 : UINT64_C(1) << (info->stage * 3 + (unsigned)info->arm);
}

/* The rows of the first time there is. */
static void next_told(const struct span *span, struct lane_rows *rows, struct told *told)
{
	told->at = rows->at->at;
	told->arms = 0;
	for (; rows->at < rows->end && rows->at->at == told->at; rows->at++) {
		const struct series_info *info = info_of(span->known, rows->at->series);
		if (info->kind == told->kind)
			told->arms |= arm_bit(info);
	}
}

static int read_buckets(const struct series_info *info, struct db *db, int64_t at, int64_t series,
			int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
			struct err *err)
{
	int got;
	STMT(q, db, &span_sql, Q_BUCKETS);
	stmt_int(q, "$at", at);
	stmt_int(q, "$series", series);
	while ((got = stmt_step(q, err)) > 0) {
		struct cells_row row = row_of(info, at, stmt_col_int(q, 0));
		row.bucket = (unsigned)stmt_col_int(q, 1);
		if (fn(arg, &row, err))
			return -1;
	}
	return got;
}

int span_lane_buckets(const struct span *span, struct db *db, const struct cells_lane *lane,
		      const char *metric, int64_t from, int64_t to,
		      int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		      struct err *err)
{
	const struct series_known *known = span->known;
	struct told told = {map_gets(known->names, lane->kind), map_gets(known->names, metric), 0, 0};
	struct lane_rows rows = rows_of(span, lane, from, to);
	if (!told.kind || !told.metric)
		return 0;
	while (rows.at < rows.end) {
		next_told(span, &rows, &told);
		for (int64_t id = told.arms ? known->heads[rows.lane] : 0; id; id = known->list[id].next) {
			const struct series_info *info = &known->list[id];
			if (info->kind == told.kind && info->metric == told.metric &&
			    (told.arms & arm_bit(info)) &&
			    read_buckets(info, db, told.at, id, fn, arg, err))
				return -1;
		}
	}
	return 0;
}
