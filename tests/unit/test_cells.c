#include "telemetry/metric.h"
#include "telemetry/sketch.h"
#include "telemetry/slices.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define T0 1767225600
#define LANE "r1"

static struct report report_of(enum report_kind kind, int64_t at)
{
	struct report r = {.kind = kind, .channel = "stable", .class = "mid", .runtime = "", .at = at,
			   .entry_len = 1};
	r.entries[0] = (struct report_entry){.model = "assistant", .variant = "assistant@1.0.0/q4_0",
					     .rollout = LANE, .stage = 1,
					     .arm = REPORT_ARM_CONTROL, .via = "none",
					     .load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	return r;
}

static void add_count(struct report *r, const char *metric, uint32_t n)
{
	struct report_entry *e = &r->entries[0];
	e->counts[e->count_len++] =
		(struct report_count){metric_index(metric_find(metric)), n, n > 0};
}

/* Reports to be added and flushed in one transaction; known: of the last one. */
struct batch {
	struct house *h;
	struct report *reports;
	unsigned count;
	bool known;
};

static int add_batch(struct db *db, void *arg, struct err *err)
{
	struct batch *b = arg;
	for (unsigned i = 0; i < b->count; i++)
		if (cells_add(b->h->cells, db, &b->reports[i], &b->known, err))
			return -1;
	return cells_flush(b->h->cells, db, err);
}

static bool add(struct house *h, struct report *reports, unsigned count)
{
	struct batch b = {h, reports, count, false};
	house_run(h, add_batch, &b);
	return b.known;
}

static int open_lane(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const int64_t closed[CELLS_MARKS] = {T0, T0, T0, T0};
	(void)db;
	return cells_lane_set(h->cells, LANE, "mid", closed, err);
}

static int close_windows(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const int64_t closed[CELLS_MARKS] = {T0, T0 + 3600, T0, T0};
	(void)db;
	return cells_lane_set(h->cells, LANE, "mid", closed, err);
}

static struct cell sum_of(struct house *h, const char *kind, const char *metric, bool with_late)
{
	struct err err;
	struct cell sum;
	const struct cells_key key = {.channel = "stable", .class = "mid", .model = "assistant",
				      .rollout = strcmp(kind, "usage") ? LANE : "",
				      .stage = strcmp(kind, "usage") ? 1 : 0,
				      .arm = strcmp(kind, "usage") ? REPORT_ARM_CONTROL
								   : REPORT_ARM_NONE,
				      .kind = kind, .metric = metric};
	ck_assert_msg(!cells_sum(h->db, &key, 0, INT64_MAX, with_late, &sum, &err), "%s", err.text);
	return sum;
}

/* Entries of control in one kind's slices of an OS. */
struct slicing {
	const char *kind, *value;
	int64_t n;
};

static int count_slice(void *arg, const struct cells_slice *slice, struct err *err)
{
	struct slicing *s = arg;
	(void)err;
	if (slice->what == SLICE_OS && !strcmp(slice->kind, s->kind) && !strcmp(slice->value, s->value))
		s->n += slice->n[1];
	return 0;
}

static int64_t sliced(struct house *h, const char *kind, const char *os)
{
	struct err err;
	struct slicing s = {kind, os, 0};
	ck_assert_msg(!cells_read_slices(h->db, LANE, "mid", count_slice, &s, &err), "%s", err.text);
	return s.n;
}

START_TEST(test_cells_merge_units_with_events_clipped)
{
	struct house h;
	struct report r[2] = {report_of(REPORT_WINDOW, T0), report_of(REPORT_WINDOW, T0)};
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	add_count(&r[0], "crash", 10);
	add_count(&r[1], "crash", 1);
	ck_assert(add(&h, r, 2));
	ck_assert(add(&h, r, 1));
	const struct cell crash = sum_of(&h, "window", "crash", false);
	ck_assert_int_eq(sum_of(&h, "window", "window", false).n, 3);
	ck_assert_int_eq(crash.k, 3);
	ck_assert_int_eq(crash.x, 7); /* 3 + 1 + 3: a unit's events count up to three */
	ck_assert_int_eq(crash.total, 21);
	house_close(&h);
}
END_TEST

START_TEST(test_cells_what_comes_after_the_close_is_late)
{
	struct house h;
	struct report early = report_of(REPORT_WINDOW, T0), later = report_of(REPORT_WINDOW, T0 + 3600);
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	ck_assert(add(&h, &early, 1));
	house_run(&h, close_windows, &h);
	ck_assert(add(&h, &early, 1)); /* known, but late */
	ck_assert(add(&h, &later, 1));
	ck_assert_int_eq(sum_of(&h, "window", "window", false).n, 2);
	ck_assert_int_eq(sum_of(&h, "window", "window", true).n, 3);
	/* A watermark never falls. */
	house_run(&h, open_lane, &h);
	ck_assert(add(&h, &early, 1));
	ck_assert_int_eq(sum_of(&h, "window", "window", false).n, 2);
	house_close(&h);
}
END_TEST

START_TEST(test_cells_take_nothing_of_what_nobody_gave)
{
	struct house h;
	static const struct {
		const char *channel, *class, *model, *variant, *rollout;
	} cases[] = {
		{"beta", "mid", "assistant", "assistant@1.0.0/q4_0", LANE},
		{"stable", "huge", "assistant", "assistant@1.0.0/q4_0", LANE},
		{"stable", "mid", "vision", "", LANE},
		{"stable", "mid", "assistant", "assistant@9.0.0/q4_0", LANE},
		{"stable", "mid", "assistant", "assistant@1.0.0/q9_9", LANE},
		{"stable", "mid", "assistant", "assistant@1.0.0/q4_0", "r2"},
	};
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct report r = report_of(REPORT_WINDOW, T0);
		r.channel = cases[i].channel;
		r.class = cases[i].class;
		r.entries[0].model = cases[i].model;
		r.entries[0].variant = cases[i].variant;
		r.entries[0].rollout = cases[i].rollout;
		ck_assert_msg(!add(&h, &r, 1), "case %u was taken", i);
	}
	ck_assert_int_eq(sum_of(&h, "window", "window", true).n, 0);
	house_close(&h);
}
END_TEST

START_TEST(test_cells_outcomes_arrive_at_their_entry)
{
	struct house h;
	struct err err;
	struct cell arrived;
	struct report r = report_of(REPORT_OUTCOME, T0 + 7200);
	r.entries[0].entered = T0 + 600;
	r.entries[0].result = REPORT_OOM;
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	ck_assert(add(&h, &r, 1));
	ck_assert_int_eq(sum_of(&h, "outcome", "result.oom", false).k, 1);
	const struct cells_key key = {.channel = "stable", .class = "mid", .model = "assistant",
				      .rollout = LANE, .stage = 1, .arm = REPORT_ARM_CONTROL,
				      .kind = "arrived", .metric = "outcome"};
	ck_assert(!cells_sum(h.db, &key, T0 + 600, T0 + 1200, false, &arrived, &err));
	ck_assert_int_eq(arrived.n, 1);
	house_close(&h);
}
END_TEST

/* Devices say when they entered: a month back it is taken, and makes no rows beyond. */
START_TEST(test_cells_outcomes_arrive_within_a_month)
{
	static const struct {
		int64_t entered;
		unsigned arrived;
	} cases[] = {{T0 - 30 * REPORT_DAY_S, 1}, {T0 - 30 * REPORT_DAY_S - REPORT_SLOT_S, 1}, {600, 1},
		     {0, 1}, {T0 - REPORT_SLOT_S, 2}};
	struct house h;
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct report r = report_of(REPORT_OUTCOME, T0);
		r.entries[0].entered = cases[i].entered;
		ck_assert(add(&h, &r, 1));
		ck_assert_int_eq(sum_of(&h, "outcome", "outcome", false).n, i + 1);
		ck_assert_int_eq(sum_of(&h, "arrived", "outcome", true).n, cases[i].arrived);
		ck_assert_int_eq(sliced(&h, "arrived", SLICE_UNKNOWN), cases[i].arrived);
	}
	house_close(&h);
}
END_TEST

START_TEST(test_cells_usage_keeps_what_overdispersion_needs)
{
	struct house h;
	struct report r = report_of(REPORT_USAGE, (int64_t)20454 * 86400);
	r.day_first = true;
	r.entries[0].rollout = "";
	r.entries[0].stage = 0;
	r.entries[0].arm = REPORT_ARM_NONE;
	r.entries[0].used = 4;
	r.entries[0].counts[r.entries[0].count_len++] =
		(struct report_count){metric_index(metric_find("crash")), 5, 2};
	house_open(&h, 1);
	ck_assert(add(&h, &r, 1));
	const struct cell usage = sum_of(&h, "usage", "usage", false);
	const struct cell crash = sum_of(&h, "usage", "crash", false);
	ck_assert_int_eq(usage.n, 1);
	ck_assert_int_eq(usage.k, 1);
	ck_assert_int_eq(usage.x, 4);
	ck_assert_int_eq(usage.nn, 16);
	ck_assert_int_eq(crash.k, 2);
	ck_assert_int_eq(crash.kk, 4);
	ck_assert_int_eq(crash.nk, 8);
	house_close(&h);
}
END_TEST

/* A new value takes another's place when it came twice as often; the entries of one report are no more
 * than one report. */
START_TEST(test_cells_count_a_report_in_its_slice_once)
{
	struct house h;
	struct report r = report_of(REPORT_ENTER, T0);
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	for (unsigned i = 0; i < 3 * SLICES_MOST; i++) {
		r.os_major = 1 + i % SLICES_MOST;
		ck_assert(add(&h, &r, 1));
	}
	r.os_major = 20;
	r.entry_len = 8;
	for (unsigned i = 1; i < r.entry_len; i++)
		r.entries[i] = r.entries[0];
	ck_assert(add(&h, &r, 1));
	ck_assert_int_eq(sliced(&h, "enter", "20"), 0);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(add(&h, &r, 1));
	ck_assert_int_eq(sliced(&h, "enter", "20"), 8); /* of the sixth */
	house_close(&h);
}
END_TEST

static int expire(struct db *db, void *arg, struct err *err)
{
	int64_t *gone = arg;
	return cells_expire(db, T0 + 1, 1000, gone, err);
}

START_TEST(test_cells_expire)
{
	struct house h;
	int64_t gone = 0;
	struct report old = report_of(REPORT_WINDOW, T0), new = report_of(REPORT_WINDOW, T0 + 3600);
	house_open(&h, 1);
	house_run(&h, open_lane, &h);
	ck_assert(add(&h, &old, 1) && add(&h, &new, 1));
	house_run(&h, expire, &gone);
	ck_assert_int_gt(gone, 0);
	ck_assert_int_eq(sum_of(&h, "window", "window", false).n, 1);
	house_close(&h);
}
END_TEST

/* Bucket i holds (2^(i/16), 2^((i+1)/16)]: its upper edge belongs to it, one more does not. */
START_TEST(test_cells_buckets_have_their_upper_edge)
{
	const struct metric *ttft = metric_find("ttft_ms");
	for (unsigned power = 1; (int64_t)1 << power < ttft->max; power++) {
		ck_assert_uint_eq(sketch_bucket(ttft, (int64_t)1 << power), 16 * power - 1);
		ck_assert_uint_ge(sketch_bucket(ttft, ((int64_t)1 << power) + 1), 16 * power);
	}
	ck_assert_uint_eq(sketch_bucket(ttft, ttft->max), sketch_bucket(ttft, ttft->max * 10));
	ck_assert_uint_eq(sketch_bucket(ttft, ttft->min), sketch_bucket(ttft, -5));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_cells_merge_units_with_events_clipped,
		test_cells_what_comes_after_the_close_is_late,
		test_cells_take_nothing_of_what_nobody_gave,
		test_cells_outcomes_arrive_at_their_entry,
		test_cells_outcomes_arrive_within_a_month,
		test_cells_usage_keeps_what_overdispersion_needs,
		test_cells_count_a_report_in_its_slice_once,
		test_cells_expire,
		test_cells_buckets_have_their_upper_edge,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("cells", tests, COUNT_OF(tests));
}
