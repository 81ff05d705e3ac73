/* Who runs what, over days of usage reports: counts, adoption, drift, and what is not told. */
#include "base/json.h"
#include "rollout/act.h"
#include "rollout/drift.h"
#include "telemetry/census.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define DAY CENSUS_DAY_S
#define T0 ((int64_t)20454 * DAY) /* 2026-01-01 */
#define MIN_COHORT 50

/* So many devices of a class used a variant on a day. */
struct use {
	int day;
	const char *class, *variant;
	int devices;
	unsigned os;
	const char *runtime; /* NULL: not told */
};
struct scene {
	struct house house;
	const struct use *uses;
	unsigned count;
	enum lane_state end; /* how the rollout ends */
};

static int report(struct scene *s, struct db *db, const struct use *u, bool first, struct err *err)
{
	bool known;
	struct report r = {.kind = REPORT_USAGE, .channel = "stable", .class = u->class,
			   .os_major = u->os, .runtime = u->runtime ? u->runtime : "",
			   .at = T0 + u->day * DAY, .day_first = first, .entry_len = 1};
	r.entries[0] = (struct report_entry){.model = "assistant", .variant = u->variant, .rollout = "",
					     .via = "", .load_ms = -1, .ttft_ms = -1, .probe_pm = -1,
					     .used = 1};
	return cells_add(s->house.cells, db, &r, &known, err);
}

/* Each device reports twice; only its first report of the day counts. */
static int report_all(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	for (unsigned i = 0; i < s->count; i++)
		for (int k = 0; k < s->uses[i].devices; k++)
			if (report(s, db, &s->uses[i], true, err) ||
			    report(s, db, &s->uses[i], false, err))
				return -1;
	return cells_flush(s->house.cells, db, err);
}

static void open_scene(struct scene *s, const struct use *uses, unsigned count)
{
	*s = (struct scene){.uses = uses, .count = count};
	house_open(&s->house, 1);
	house_run(&s->house, report_all, s);
}

static int64_t number(const json_t *item, const char *name)
{
	ck_assert_msg(json_is_integer(json_object_get(item, name)), "%s", name);
	return json_integer_value(json_object_get(item, name));
}

static const char *text(const json_t *item, const char *name)
{
	const char *value = json_string_value(json_object_get(item, name));
	return value ? value : "(none)";
}

static json_t *count(struct scene *s, unsigned by, int from, int to, int64_t *ret_hidden)
{
	struct err err;
	json_t *items = NULL;
	const struct census_query query = {.from = T0 + from * DAY, .to = T0 + to * DAY, .by = by,
					   .min_cohort = MIN_COHORT};
	ck_assert_msg(!census_count(s->house.db, &query, &items, ret_hidden, &err), "%s", err.text);
	return items;
}

#define OLD "assistant@1.0.0/q4_0"
#define NEW "assistant@2.0.0/q4_0"

static const struct use two_days[] = {
	{0, "mid", OLD, 300, 15, NULL},	 {0, "mid", NEW, 100, 15, NULL}, {0, "budget", OLD, 60, 15, NULL}, {0, "budget", NEW, 30, 15, NULL},
	{0, "flagship", NEW, 25, 15, NULL}, {1, "mid", OLD, 90, 15, NULL},
};

START_TEST(test_census_tells_apart_what_is_asked)
{
	struct scene s;
	int64_t hidden;
	open_scene(&s, two_days, COUNT_OF(two_days));
	json_t *all = count(&s, CENSUS_ALL, 0, 1, &hidden);
	ck_assert_int_eq(json_array_size(all), 3);
	ck_assert_str_eq(text(json_array_get(all, 0), "class"), "budget");
	ck_assert_int_eq(number(json_array_get(all, 0), "share_ppm"), 1000000); /* of what is shown */
	ck_assert_str_eq(text(json_array_get(all, 1), "variant"), OLD);
	ck_assert_int_eq(number(json_array_get(all, 1), "devices"), 300);
	ck_assert_int_eq(number(json_array_get(all, 1), "share_ppm"), 750000);
	ck_assert_str_eq(text(json_array_get(all, 1), "date"), "2026-01-01");
	ck_assert_int_eq(hidden, 55);
	json_decref(all);
	/* Small groups count where they are not told apart. */
	json_t *releases = count(&s, CENSUS_RELEASE, 0, 1, &hidden);
	ck_assert_int_eq(json_array_size(releases), 2);
	ck_assert_int_eq(number(json_array_get(releases, 0), "devices"), 360);
	ck_assert_int_eq(number(json_array_get(releases, 1), "devices"), 155);
	ck_assert_str_eq(text(json_array_get(releases, 1), "release"), "2.0.0");
	ck_assert_str_eq(text(json_array_get(releases, 1), "class"), "(none)");
	ck_assert_int_eq(hidden, 0);
	json_decref(releases);
	json_t *days = count(&s, CENSUS_CLASS, 0, 2, &hidden);
	ck_assert_int_eq(json_array_size(days), 3);
	ck_assert_int_eq(number(json_array_get(days, 2), "day"), 20455);
	ck_assert_int_eq(hidden, -1); /* 25 devices: not told */
	json_decref(days);
	house_close(&s.house);
}
END_TEST

START_TEST(test_census_by_names_what_there_is)
{
	unsigned by = 0;
	struct err err;
	ck_assert(!census_by("class,tier", &by, &err) && by == (CENSUS_CLASS | CENSUS_TIER));
	ck_assert(!census_by("", &by, &err) && by == 0);
	ck_assert_int_eq(census_by("class,cpu", &by, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "by: cpu: there are channel"));
	ck_assert_int_eq(census_by("cla", &by, &err), -1);
	ck_assert(!census_by("class,runtime", &by, &err) && by == (CENSUS_CLASS | CENSUS_RUNTIME));
	ck_assert_int_eq(census_by("os,runtime", &by, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "ask for one of them"));
}
END_TEST

static const struct use runtimes[] = {
	{0, "mid", OLD, 300, 15, "llama.cpp/4000"}, {0, "mid", NEW, 100, 15, "llama.cpp/4100"},
	{0, "mid", OLD, 60, 14, "llama.cpp/4100"},  {0, "mid", OLD, 30, 9, "mlc/1"},
	{0, "mid", OLD, 70, 0, NULL},		     {1, "mid", OLD, 90, 15, "mlc/1"},
};

START_TEST(test_census_by_runtime_and_os)
{
	struct scene s;
	int64_t hidden;
	open_scene(&s, runtimes, COUNT_OF(runtimes));
	json_t *items = count(&s, CENSUS_RUNTIME, 0, 1, &hidden);
	ck_assert_uint_eq(json_array_size(items), 3);
	ck_assert_str_eq(text(json_array_get(items, 0), "runtime"), "llama.cpp/4000");
	ck_assert_str_eq(text(json_array_get(items, 0), "os"), "(none)");
	ck_assert_int_eq(number(json_array_get(items, 1), "devices"), 160);
	ck_assert_str_eq(text(json_array_get(items, 2), "runtime"), "unknown");
	ck_assert_int_eq(hidden, -1); /* 30 devices: not told */
	json_decref(items);
	items = count(&s, CENSUS_RUNTIME | CENSUS_RELEASE, 0, 2, &hidden);
	ck_assert_uint_eq(json_array_size(items), 5);
	ck_assert_str_eq(text(json_array_get(items, 1), "runtime"), "llama.cpp/4100");
	ck_assert_str_eq(text(json_array_get(items, 1), "release"), "2.0.0");
	ck_assert_int_eq(number(json_array_get(items, 4), "day"), 20455);
	json_decref(items);
	items = count(&s, CENSUS_OS, 0, 1, &hidden);
	ck_assert_uint_eq(json_array_size(items), 3);
	ck_assert_str_eq(text(json_array_get(items, 0), "os"), "15");
	ck_assert_int_eq(number(json_array_get(items, 0), "devices"), 400);
	json_decref(items);
	house_close(&s.house);
}
END_TEST

static const struct use spread[] = {
	{0, "mid", OLD, 1000, 15, NULL}, {1, "mid", OLD, 970, 15, NULL}, {1, "mid", NEW, 30, 15, NULL},  {2, "mid", OLD, 900, 15, NULL},
	{2, "mid", NEW, 100, 15, NULL},  {3, "mid", OLD, 480, 15, NULL}, {3, "mid", NEW, 520, 15, NULL}, {5, "mid", OLD, 90, 15, NULL},
	{5, "mid", NEW, 910, 15, NULL},  {8, "mid", OLD, 10, 15, NULL},  {8, "mid", NEW, 990, 15, NULL}, {8, "budget", OLD, 200, 15, NULL},
};

static json_t *adoption(struct scene *s, unsigned by, int to)
{
	struct err err;
	json_t *items = NULL;
	const struct census_query query = {.from = T0, .to = T0 + to * DAY, .by = by,
					   .min_cohort = MIN_COHORT};
	ck_assert_msg(!census_adoption(s->house.db, &query, &items, &err), "%s", err.text);
	return items;
}

START_TEST(test_census_adoption_counts_days)
{
	struct scene s;
	open_scene(&s, spread, COUNT_OF(spread));
	json_t *items = adoption(&s, CENSUS_CLASS, 9);
	ck_assert_int_eq(json_array_size(items), 3);
	const json_t *new = json_array_get(items, 2);
	ck_assert_str_eq(text(new, "release"), "2.0.0");
	/* 30 devices of the day before are not told. */
	ck_assert_str_eq(text(new, "first"), "2026-01-03");
	ck_assert_int_eq(number(new, "days_to_50"), 1);
	ck_assert_int_eq(number(new, "days_to_90"), 3);
	ck_assert_int_eq(number(new, "days_to_99"), 6);
	ck_assert_str_eq(text(new, "date"), "2026-01-09");
	json_decref(items);
	/* With the other class in the whole, 99 % is not reached; nor before. */
	items = adoption(&s, 0, 9);
	ck_assert(json_is_null(json_object_get(json_array_get(items, 1), "days_to_99")));
	json_decref(items);
	items = adoption(&s, CENSUS_CLASS, 4);
	ck_assert(json_is_null(json_object_get(json_array_get(items, 1), "days_to_90")));
	ck_assert_int_eq(number(json_array_get(items, 1), "share_ppm"), 520000);
	json_decref(items);
	house_close(&s.house);
}
END_TEST

/* ---- drift ---- */

static int run_rollout(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	char id[65];
	struct lane lane;
	const struct act act = {s->house.publisher, s->house.cells, clock_s(&s->house.clock), "test", ""};
	json_auto_t *classes = json_pack("[s]", "mid");
	struct act_order order = {.model = "assistant", .release = "2.0.0", .channel = "stable",
				  .classes = classes};
	AUTO(arena_free) struct arena *arena = arena_new(1 << 20);
	policy_default(&order.policy);
	order.policy.stage_count = 1;
	if (act_start(db, &act, &order, id, err) || lane_get(db, id, "mid", arena, &lane, err))
		return -1;
	if (s->end == LANE_RUNNING)
		return 0;
	return s->end == LANE_COMPLETE
		       ? act_advance(db, &act, &lane, "", NULL, err)
		       : act_take_back(db, &act, &lane, s->end, "bad", NULL, err);
}

static json_t *drift(struct scene *s, int64_t *ret_hidden)
{
	struct err err;
	json_t *items = NULL;
	const struct drift_query query = {.day = T0, .min_cohort = MIN_COHORT};
	ck_assert_msg(!drift_count(s->house.db, &query, &items, ret_hidden, &err), "%s", err.text);
	return items;
}

static void check_drift(struct scene *s, const char *variant, const char *why)
{
	int64_t hidden;
	json_t *items = drift(s, &hidden);
	ck_assert_int_eq(json_array_size(items), why ? 1 : 0);
	if (why) {
		ck_assert_str_eq(text(json_array_get(items, 0), "why"), why);
		ck_assert_str_eq(text(json_array_get(items, 0), "variant"), variant);
		ck_assert_str_eq(text(json_array_get(items, 0), "class"), "mid");
	}
	json_decref(items);
}

static const struct use both[] = {{0, "mid", OLD, 80, 15, NULL}, {0, "mid", NEW, 120, 15, NULL}, {0, "budget", NEW, 10, 15, NULL}};

START_TEST(test_drift_is_what_no_manifest_names)
{
	static const struct {
		enum lane_state end;
		const char *variant, *why;
	} cases[] = {{LANE_RUNNING, NULL, NULL},
		     {LANE_COMPLETE, OLD, "straggler"},
		     {LANE_ROLLED_BACK, NEW, "withdrawn"},
		     {LANE_ABORTED, NEW, "withdrawn"}};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct scene s;
		open_scene(&s, both, COUNT_OF(both));
		check_drift(&s, NEW, "unknown"); /* before any rollout */
		s.end = cases[i].end;
		house_run(&s.house, run_rollout, &s);
		check_drift(&s, cases[i].variant, cases[i].why);
		house_close(&s.house);
	}
}
END_TEST

static const struct use gone[] = {{0, "default", OLD, 70, 15, NULL}};

START_TEST(test_drift_of_a_class_without_a_manifest)
{
	struct scene s;
	int64_t hidden;
	open_scene(&s, gone, COUNT_OF(gone));
	json_t *items = drift(&s, &hidden);
	ck_assert_int_eq(json_array_size(items), 1);
	ck_assert_str_eq(text(json_array_get(items, 0), "why"), "no-manifest");
	json_decref(items);
	house_close(&s.house);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_census_tells_apart_what_is_asked, test_census_by_names_what_there_is,
		test_census_by_runtime_and_os,
		test_census_adoption_counts_days,      test_drift_is_what_no_manifest_names,
		test_drift_of_a_class_without_a_manifest,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("census", tests, COUNT_OF(tests));
}
