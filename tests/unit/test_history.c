/* A metric over time, before and after its cells became daily ones. */
#include "telemetry/census.h"
#include "telemetry/days.h"
#include "telemetry/history.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"
#include "tests/support/failing_calls.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <dlfcn.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define DAY ((int64_t)HISTORY_DAY_S)
#define T0 ((int64_t)20454 * DAY) /* 2026-01-01 */
#define MIN_COHORT 50
#define USERS 60

/* ---- telling ---- */

struct use {
	struct house *h;
	int64_t at;
	enum report_kind kind;
	unsigned devices, stage;
};

static int tell(const struct use *u, struct db *db, unsigned device, struct err *err)
{
	bool known;
	static const uint16_t one = 1;
	const bool usage = u->kind == REPORT_USAGE;
	const struct metric *ttft = metric_find("ttft_ms");
	struct report r = {.kind = u->kind, .channel = "stable", .class = "mid", .runtime = "", .at = u->at,
			   .day_first = true, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	*e = (struct report_entry){.model = "assistant", .variant = "assistant@1.0.0/q4_0",
				   .rollout = usage ? "" : "r1", .stage = usage ? 0 : u->stage,
				   .arm = usage ? REPORT_ARM_NONE : REPORT_ARM_CONTROL, .via = "",
				   .load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .used = 2};
	if (device % 4 == 0)
		e->counts[e->count_len++] = (struct report_count){
			(uint8_t)metric_index(metric_find("crash")), 2, 1};
	e->hists[e->hist_len++] = (struct report_hist){(uint8_t)metric_index(ttft),
						       (uint16_t)sketch_bucket(ttft, 100 + device), 1, &one};
	if (cells_add(u->h->cells, db, &r, &known, err))
		return -1;
	ck_assert(known);
	return 0;
}

static int use_all(struct db *db, void *arg, struct err *err)
{
	const struct use *u = arg;
	const int64_t open[CELLS_MARKS] = {0};
	if (cells_lane_set(u->h->cells, "r1", "mid", open, err))
		return -1;
	for (unsigned i = 0; i < u->devices; i++)
		if (tell(u, db, i, err))
			return -1;
	return cells_flush(u->h->cells, db, err);
}

static void use_in_stage(struct house *h, enum report_kind kind, int64_t at, unsigned devices,
			 unsigned stage)
{
	struct use u = {h, at, kind, devices, stage};
	house_run(h, use_all, &u);
}

static void use(struct house *h, enum report_kind kind, int64_t at, unsigned devices)
{
	use_in_stage(h, kind, at, devices, 1);
}

/* ---- asking ---- */

static json_t *ask(struct house *h, const char *metric, const char *kind, int64_t from, int64_t to,
		   int64_t step, int64_t *ret_hidden)
{
	struct err err;
	json_t *items;
	const struct history_query q = {.model = "assistant", .metric = metric, .kind = kind,
					.class = "mid", .from = from, .to = to, .step = step,
					.min_cohort = MIN_COHORT};
	ck_assert_msg(!history_check(&q, T0, &err) &&
			      !history_read(h->db, &q, &items, ret_hidden, &err), "%s", err.text);
	return items;
}

static double number(const json_t *items, size_t index, const char *name)
{
	const json_t *value = json_object_get(json_array_get(items, index), name);
	ck_assert_msg(json_is_number(value), "%s of %zu", name, index);
	return json_number_value(value);
}

struct folding {
	int64_t before;
	unsigned limit, folded;
	struct days_walk walk;
};

static int fold(struct db *db, void *arg, struct err *err)
{
	struct folding *f = arg;
	return days_fold(db, &f->walk, f->before, f->limit, &f->folded, err);
}

/* From the oldest on. */
static unsigned fold_all(struct house *h, int64_t before, unsigned limit)
{
	struct folding f = {before, limit, limit, {.cells = {.done = 0}}};
	unsigned all = 0;
	while (f.folded == limit) {
		house_run(h, fold, &f);
		ck_assert_uint_le(f.folded, limit);
		all += f.folded;
	}
	return all;
}

static int64_t rows(struct house *h, const char *sql)
{
	char path[600];
	sqlite3 *raw;
	sqlite3_stmt *q;
	snprintf(path, sizeof(path), "%s/flotilla.db", h->scratch.dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &raw, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(raw, sql, -1, &q, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(q), SQLITE_ROW);
	const int64_t count = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	sqlite3_close(raw);
	return count;
}

#define FINE_ROWS "SELECT (SELECT COUNT(*) FROM cells) + (SELECT COUNT(*) FROM cell_buckets)"

/* ---- tests ---- */

static void check_usage(struct house *h)
{
	int64_t hidden;
	json_t *crash = ask(h, "crash", "usage", T0, T0 + 3 * DAY, DAY, &hidden);
	ck_assert_uint_eq(json_array_size(crash), 2);
	ck_assert_int_eq(hidden, 1);
	ck_assert_double_eq(number(crash, 1, "at"), (double)(T0 + 2 * DAY));
	ck_assert_double_eq(number(crash, 0, "devices"), USERS);
	ck_assert_double_eq(number(crash, 0, "events"), USERS / 2);
	ck_assert_double_eq(number(crash, 0, "rate"), 0.25);
	ck_assert_double_eq(number(crash, 0, "mean"), 0.5);
	json_decref(crash);
	json_t *ttft = ask(h, "ttft_ms", "usage", T0, T0 + 3 * DAY, DAY, &hidden);
	const json_t *p50 = json_object_get(json_array_get(ttft, 0), "p50");
	ck_assert_double_eq(number(ttft, 0, "n"), USERS);
	ck_assert_double_eq_tol(number(ttft, 0, "mean"), 129.5, 129.5 * 0.022);
	ck_assert_double_eq_tol(json_number_value(json_object_get(p50, "value")), 129.5, 4);
	/* Ranks 22 to 38 of 60. */
	ck_assert_double_le(json_number_value(json_object_get(p50, "low")), 122);
	ck_assert_double_ge(json_number_value(json_object_get(p50, "low")), 114);
	ck_assert_double_ge(json_number_value(json_object_get(p50, "high")), 137);
	ck_assert_double_le(json_number_value(json_object_get(p50, "high")), 146);
	json_decref(ttft);
}

START_TEST(test_history_is_the_same_once_days_are_folded)
{
	struct house h;
	house_open(&h, 1);
	use(&h, REPORT_USAGE, T0, USERS);
	use(&h, REPORT_USAGE, T0 + DAY, MIN_COHORT - 1);
	use(&h, REPORT_USAGE, T0 + 2 * DAY, USERS);
	check_usage(&h);
	ck_assert_uint_gt(fold_all(&h, T0 + 2 * DAY, 2), 4);
	check_usage(&h);
	ck_assert_int_eq(rows(&h, "SELECT COUNT(*) FROM cells WHERE at < 1767398400"), 0);
	ck_assert_int_eq(rows(&h, "SELECT COUNT(*) FROM cell_buckets WHERE at < 1767398400"), 0);
	ck_assert_int_gt(rows(&h, FINE_ROWS), 0);
	ck_assert_uint_eq(fold_all(&h, T0 + 2 * DAY, 2), 0);
	/* The census of folded days too, and what comes after a day was folded. */
	struct err err;
	json_t *items;
	int64_t hidden;
	const struct census_query q = {.from = T0, .to = T0 + DAY, .by = CENSUS_CLASS,
				       .min_cohort = MIN_COHORT};
	use(&h, REPORT_USAGE, T0, 4);
	ck_assert(!census_count(h.db, &q, &items, &hidden, &err));
	ck_assert_double_eq(number(items, 0, "devices"), USERS + 4);
	json_decref(items);
	fold_all(&h, T0 + 2 * DAY, 100);
	items = ask(&h, "ttft_ms", "usage", T0, T0 + DAY, DAY, &hidden);
	ck_assert_double_eq(number(items, 0, "n"), USERS + 4);
	json_decref(items);
	house_close(&h);
}
END_TEST

/* Twenty-four windows of a device are one device. */
START_TEST(test_history_of_windows_counts_devices_once)
{
	struct house h;
	int64_t hidden;
	house_open(&h, 1);
	for (int64_t hour = 0; hour < 24; hour++)
		use(&h, REPORT_WINDOW, T0 + hour * 3600, 10);
	use(&h, REPORT_WINDOW, T0 + DAY, USERS);
	use(&h, REPORT_WINDOW, T0 + DAY + 3600, USERS / 2);
	for (unsigned folded = 0; folded < 2; folded++) {
		json_t *items = ask(&h, "crash", "window", T0, T0 + 2 * DAY, DAY, &hidden);
		ck_assert_uint_eq(json_array_size(items), 1);
		ck_assert_int_eq(hidden, 1);
		ck_assert_double_eq(number(items, 0, "devices"), USERS);
		ck_assert_double_eq(number(items, 0, "units"), USERS + USERS / 2);
		ck_assert_double_eq(number(items, 0, "events"), 30 + 16);
		json_decref(items);
		if (!folded) {
			items = ask(&h, "crash", "window", T0 + DAY, T0 + DAY + 7200, 3600, &hidden);
			ck_assert_uint_eq(json_array_size(items), 1);
			ck_assert_int_eq(hidden, 1);
			json_decref(items);
		}
		fold_all(&h, T0 + 2 * DAY, 64);
	}
	house_close(&h);
}
END_TEST

/* ---- a fold in between ---- */

static int (*step_of_sqlite)(sqlite3_stmt *q);
static struct house *folded_between; /* once the first statement of a history is done */

int sqlite3_step(sqlite3_stmt *q)
{
	const int got = step_of_sqlite(q);
	struct house *h = folded_between;
	if (got == SQLITE_DONE && h && strstr(sqlite3_sql(q), "cells c")) {
		folded_between = NULL;
		ck_assert_uint_gt(fold_all(h, T0 + 3 * DAY, 64), 0);
	}
	return got;
}

START_TEST(test_history_is_of_one_moment)
{
	struct house h;
	int64_t hidden;
	house_open(&h, 1);
	use(&h, REPORT_USAGE, T0, USERS);
	folded_between = &h;
	json_t *items = ask(&h, "crash", "usage", T0, T0 + DAY, DAY, &hidden);
	ck_assert_ptr_null(folded_between);
	ck_assert_double_eq(number(items, 0, "devices"), USERS);
	ck_assert_double_eq(number(items, 0, "events"), USERS / 2);
	json_decref(items);
	ck_assert_int_eq(rows(&h, FINE_ROWS), 0);
	items = ask(&h, "crash", "usage", T0, T0 + DAY, DAY, &hidden);
	ck_assert_double_eq(number(items, 0, "devices"), USERS);
	json_decref(items);
	house_close(&h);
}
END_TEST

/* Those who went from one stage to the next within the day are no more devices for it. */
START_TEST(test_history_of_windows_counts_devices_once_over_stages)
{
	struct house h;
	int64_t hidden;
	house_open(&h, 1);
	use_in_stage(&h, REPORT_WINDOW, T0, MIN_COHORT - 1, 1);
	use_in_stage(&h, REPORT_WINDOW, T0 + 3600, MIN_COHORT - 1, 2);
	use_in_stage(&h, REPORT_WINDOW, T0 + DAY, MIN_COHORT - 1, 1);
	use_in_stage(&h, REPORT_WINDOW, T0 + DAY + 3600, USERS, 2);
	for (unsigned folded = 0; folded < 2; folded++) {
		json_t *items = ask(&h, "crash", "window", T0, T0 + 2 * DAY, DAY, &hidden);
		ck_assert_uint_eq(json_array_size(items), 1);
		ck_assert_int_eq(hidden, 1);
		ck_assert_double_eq(number(items, 0, "devices"), USERS);
		ck_assert_double_eq(number(items, 0, "units"), USERS + MIN_COHORT - 1);
		json_decref(items);
		fold_all(&h, T0 + 2 * DAY, 64);
	}
	/* Nor is who comes after the day was folded. */
	use_in_stage(&h, REPORT_WINDOW, T0, MIN_COHORT - 1, 3);
	json_t *items = ask(&h, "crash", "window", T0, T0 + DAY, DAY, &hidden);
	ck_assert_uint_eq(json_array_size(items), 0);
	json_decref(items);
	house_close(&h);
}
END_TEST

static void write_sql(struct house *h, const char *sql)
{
	char path[600];
	sqlite3 *raw;
	snprintf(path, sizeof(path), "%s/flotilla.db", h->scratch.dir);
	ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(raw, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(raw));
	sqlite3_close(raw);
}

static int64_t windows_of(struct house *h, int64_t to)
{
	struct err err;
	struct cell sum;
	const struct cells_key key = {.channel = "stable", .class = "mid", .model = "assistant",
				      .rollout = "r1", .stage = 1, .arm = REPORT_ARM_CONTROL,
				      .kind = "window", .metric = "window"};
	ck_assert_msg(!cells_sum(h->db, &key, 0, to, true, &sum, &err), "%s", err.text);
	return sum.n;
}

/* What operators read of a rollout stays what it was, also while half of it is folded. */
START_TEST(test_history_sums_are_the_same_once_days_are_folded)
{
	struct house h;
	house_open(&h, 1);
	use(&h, REPORT_WINDOW, T0, 10);
	use(&h, REPORT_WINDOW, T0 + DAY, 20);
	use(&h, REPORT_WINDOW, T0 + 2 * DAY, 40);
	for (int64_t folded = 0; folded <= 3; folded++) {
		fold_all(&h, T0 + folded * DAY, 64);
		ck_assert_int_eq(windows_of(&h, INT64_MAX), 70);
		ck_assert_int_eq(windows_of(&h, T0 + 2 * DAY), 30);
	}
	ck_assert_int_eq(rows(&h, FINE_ROWS), 0);
	house_close(&h);
}
END_TEST

#define ROLLOUT_UNDER_WAY                                                                          \
	"INSERT INTO rollouts (id, model, release, channel, state, spec, actor, created, version)" \
	" VALUES ('r1', 'assistant', '2.0.0', 'stable', 'active', '{}', 'test', 0, 1)"
#define LANE_THAT_HOLDS                                                                            \
	"INSERT INTO lanes VALUES ('r1', 'mid', 'stable', 'assistant', '2.0.0', 'holding', 1, 0, 0, ''," \
	" '1.0.0', '', '{}', '{}', 0, 0, 0, 0, 1, '')"

/* Evidence is replayed from the cells of a rollout with an active lane. */
START_TEST(test_history_leaves_active_rollouts_as_they_are)
{
	struct house h;
	house_open(&h, 1);
	use(&h, REPORT_WINDOW, T0, 10);
	use(&h, REPORT_USAGE, T0, 10);
	write_sql(&h, ROLLOUT_UNDER_WAY);
	write_sql(&h, LANE_THAT_HOLDS);
	const int64_t before = rows(&h, "SELECT COUNT(*) FROM cells c JOIN series s ON s.id = c.series"
					" WHERE s.rollout = 'r1'");
	ck_assert_int_gt(before, 0);
	ck_assert_uint_gt(fold_all(&h, T0 + DAY, 3), 0);
	ck_assert_int_eq(rows(&h, "SELECT COUNT(*) FROM cells"), before);
	write_sql(&h, "UPDATE rollouts SET state = 'complete'");
	fold_all(&h, T0 + DAY, 3);
	ck_assert_int_eq(rows(&h, FINE_ROWS), 0);
	house_close(&h);
}
END_TEST

#define OLD_CELLS (2 * DAYS_ROWS + 10)

/* So many cells of an active lane in one day, and one that is nobody's behind them. */
static void fill_lane(struct house *h)
{
	char sql[400];
	write_sql(h, ROLLOUT_UNDER_WAY);
	write_sql(h, LANE_THAT_HOLDS);
	write_sql(h, "INSERT INTO series VALUES (1001, 'stable', 'mid', 'assistant', 'r1', 1, 'control', '',"
		     " 'window', 'crash'), (1002, 'stable', 'mid', 'assistant', '', 0, '', '', 'usage', 'crash')");
	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d) INSERT INTO"
		 " cells SELECT %lld + i, 1001 + (i >= %d), 0, 1, 1, 1, 1, 0, 0, 0 FROM c", OLD_CELLS,
		 (long long)T0, OLD_CELLS);
	write_sql(h, sql);
}

/* A call looks at a bounded number of rows, and none is looked at twice before the next day. */
START_TEST(test_history_folds_step_by_step)
{
	struct house h;
	struct folding f = {.before = T0 + DAY, .limit = 64};
	house_open(&h, 1);
	fill_lane(&h);
	for (int64_t step = 1; step <= 2; step++) {
		house_run(&h, fold, &f);
		ck_assert_uint_eq(f.folded, 0);
		ck_assert_int_eq(f.walk.cells.at, T0 + step * DAYS_ROWS - 1);
		ck_assert_int_eq(f.walk.cells.done, 0);
	}
	house_run(&h, fold, &f);
	ck_assert_uint_eq(f.folded, 1);
	ck_assert_int_eq(f.walk.cells.done, f.before);
	ck_assert_int_eq(f.walk.buckets.done, f.before);
	ck_assert_int_eq(rows(&h, "SELECT COUNT(*) FROM cells"), OLD_CELLS);
	/* What comes behind it waits for the day after, and so does a rollout that ended. */
	use(&h, REPORT_USAGE, T0, 1);
	write_sql(&h, "UPDATE rollouts SET state = 'complete'");
	house_run(&h, fold, &f);
	ck_assert_uint_eq(f.folded, 0);
	f.before += DAY;
	house_run(&h, fold, &f);
	ck_assert_uint_gt(f.folded, 1);
	ck_assert_int_eq(rows(&h, FINE_ROWS), 0);
	house_close(&h);
}
END_TEST

/* Nor does SQLite look at what lies behind: it begins where the walk is. */
START_TEST(test_history_folding_begins_where_it_was)
{
	struct house h;
	char path[600];
	sqlite3 *raw;
	sqlite3_stmt *q;
	house_open(&h, 1);
	fill_lane(&h);
	snprintf(path, sizeof(path), "%s/flotilla.db", h.scratch.dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &raw, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(raw, days_sql.sql[0], -1, &q, NULL), SQLITE_OK);
	sqlite3_bind_int64(q, sqlite3_bind_parameter_index(q, "$at"), T0 + OLD_CELLS - 1);
	sqlite3_bind_int64(q, sqlite3_bind_parameter_index(q, "$series"), 1001);
	sqlite3_bind_int64(q, sqlite3_bind_parameter_index(q, "$before"), T0 + DAY);
	ck_assert_int_eq(sqlite3_step(q), SQLITE_ROW);
	ck_assert_int_eq(sqlite3_column_int64(q, 0), T0 + OLD_CELLS);
	ck_assert_int_lt(sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, 0), 100);
	sqlite3_finalize(q);
	sqlite3_close(raw);
	house_close(&h);
}
END_TEST

/* Whichever write of it fails: nothing is lost or counted twice, and the next turn does it. */
START_TEST(test_history_folds_once_whatever_fails)
{
	struct house h;
	unsigned failed = 0;
	house_open(&h, 1);
	use(&h, REPORT_USAGE, T0, USERS);
	use(&h, REPORT_USAGE, T0 + DAY, MIN_COHORT - 1);
	use(&h, REPORT_USAGE, T0 + 2 * DAY, USERS);
	atomic_store(&error_number, EIO);
	for (int call = 1; call < 40; call++) {
		struct err err;
		struct folding f = {.before = T0 + 2 * DAY, .limit = 1};
		atomic_store(&countdown, call % 8 + 1);
		failed += ledger_run(h.ledger, fold, &f, &err) != 0;
		atomic_store(&countdown, 0);
		house_restart(&h);
		check_usage(&h);
	}
	ck_assert_uint_gt(failed, 0);
	fold_all(&h, T0 + 2 * DAY, 64);
	check_usage(&h);
	house_close(&h);
}
END_TEST

START_TEST(test_history_refuses_with_a_remedy)
{
	struct err err;
	struct history_query q = {.model = "assistant", .metric = "crash", .kind = "usage", .from = T0,
				  .to = T0 + DAY, .step = DAY};
	ck_assert(!history_check(&q, T0, &err));
	q.step = HISTORY_HOUR_S;
	ck_assert(history_check(&q, T0, &err) && strstr(err.text, "step=day"));
	q.kind = "window";
	ck_assert(!history_check(&q, T0, &err));
	ck_assert(history_check(&q, T0 + DAY, &err) && strstr(err.text, "hours are kept 30 days"));
	q.to = T0 + 100 * DAY;
	ck_assert(history_check(&q, T0, &err) && strstr(err.text, "ask for less time"));
	q.to = T0;
	ck_assert(history_check(&q, T0, &err) && strstr(err.text, "not after from"));
	q.metric = "crush";
	ck_assert(history_check(&q, T0, &err) && strstr(err.text, "there is no crush"));
}
END_TEST

START_TEST(test_history_reads_no_broken_histogram)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool good;
	} cases[] = {{"", 0, true},
		     {"\x05\x01", 2, true},
		     {"\x05", 1, false},
		     {"\x05\x80", 2, false},
		     {"\xdf\x03\x01", 3, true},	 /* 479 */
		     {"\xe0\x03\x01", 3, false}, /* 480 */
		     {"\xdf\x03\x01\x01\x01", 5, false},
		     {"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, false}};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct err err;
		uint64_t counts[SKETCH_BUCKETS] = {0};
		ck_assert_msg(!days_buckets_read(cases[i].bytes, cases[i].len, counts, SKETCH_BUCKETS,
						 &err) == cases[i].good, "case %u", i);
	}
}
END_TEST

/* ---- 400 days of a few hundred series ---- */

#define YEAR_CLASSES 30
#define YEAR_METRICS 10
#define YEAR_DAYS 400

static void fill_year(struct house *h)
{
	char sql[1200];
	write_sql(h, "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 29),"
		    " m(name) AS (VALUES ('usage'), ('crash'), ('err.oom'), ('requests'), ('ok'), ('cancel'),"
		    " ('ttft_ms'), ('ttft_ms.p95'), ('load_ms'), ('decode_mtps'))"
		    " INSERT INTO series SELECT 1000 + i * 100 + row_number() OVER (PARTITION BY i), 'stable',"
		    " CASE i WHEN 0 THEN 'mid' ELSE 'class-' || i END, 'assistant', '', 0, '',"
		    " 'assistant@1.0.0/q4_0', 'usage', name FROM c, m");
	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d WHERE i < %d)"
		 " INSERT INTO cell_days SELECT s.id, %lld + i * 86400, 1000, 100, 100, 300, 0, 0, 0,"
		 " CASE WHEN metric LIKE '%%ms' THEN x'640a'||x'01320114012001100108' ELSE x'' END"
		 " FROM series s, d WHERE s.id > 1000", YEAR_DAYS - 1, (long long)T0);
	write_sql(h, sql);
}

/* Work, not time: what a query may visit is told by the steps of SQLite's machine. */
START_TEST(test_history_of_a_year_visits_its_own_rows)
{
	struct house h;
	int64_t hidden;
	house_open(&h, 1);
	fill_year(&h);
	ck_assert_int_eq(rows(&h, "SELECT COUNT(*) FROM cell_days"),
			 YEAR_CLASSES * YEAR_METRICS * YEAR_DAYS);
	json_decref(ask(&h, "ttft_ms", "usage", T0, T0 + DAY, DAY, &hidden));
	const int64_t begun = clock_monotonic_ms();
	json_t *items = ask(&h, "ttft_ms", "usage", T0, T0 + YEAR_DAYS * DAY, DAY, &hidden);
	printf("a chart of 400 days, of 300 series: %lld ms\n",
	       (long long)(clock_monotonic_ms() - begun));
	ck_assert_uint_eq(json_array_size(items), YEAR_DAYS);
	ck_assert_double_eq(number(items, 0, "n"), 10 + 50 + 20 + 32 + 16 + 8);
	json_decref(items);
	house_close(&h);
}
END_TEST

/* No query of it goes through a table. */
START_TEST(test_history_never_scans)
{
	struct house h;
	house_open(&h, 1);
	house_never_scans(&h, &history_sql, true);
	house_never_scans(&h, &days_sql, true);
	house_close(&h);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_history_is_the_same_once_days_are_folded,
		test_history_of_windows_counts_devices_once,
		test_history_is_of_one_moment,
		test_history_of_windows_counts_devices_once_over_stages,
		test_history_sums_are_the_same_once_days_are_folded,
		test_history_leaves_active_rollouts_as_they_are,
		test_history_folds_step_by_step,
		test_history_folding_begins_where_it_was,
		test_history_folds_once_whatever_fails,
		test_history_refuses_with_a_remedy,
		test_history_reads_no_broken_histogram,
		test_history_of_a_year_visits_its_own_rows,
		test_history_never_scans,
	};
	*(void **)&step_of_sqlite = dlsym(RTLD_NEXT, "sqlite3_step");
	if (sodium_init() < 0 || !step_of_sqlite)
		return 1;
	return suite_run("history", tests, COUNT_OF(tests));
}
