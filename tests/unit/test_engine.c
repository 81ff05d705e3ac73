/* A whole rollout without a network: telemetry of two stages is laid down beforehand, at times to
 * come, and the engine lives through three days in seconds. */
#include "manifest/journal.h"
#include "rollout/act.h"
#include "rollout/engine.h"
#include "rollout/stage.h"
#include "server/app.h"
#include "telemetry/metric.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define SPEED 100000 /* own seconds a real one */
#define STAGES 2
#define HOUR 3600
#define PATIENCE_MS 60000
#define MAX_S (90 * 86400) /* of a stage: the usual week is over in six seconds, which a busy machine
			      may take to lay the telemetry down */
#define ARENA (8 << 20)

static const int64_t ppm[STAGES] = {200000, 500000};

/* A house with a rollout in it. */
struct trial {
	struct house house;
	struct engine *engine;
	char rollout[65];
	const char *bad; /* class whose candidate crashes; NULL: none; "all" */
	int64_t devices; /* of each class */
	bool grouped;	 /* all classes share one lane */
	bool spoilt;	 /* another rollout cannot be read: the engine tells so in each tick */
	unsigned stages; /* 0: STAGES */
	unsigned abort_after; /* lanes that went back; 0: never */
	unsigned weak;	 /* per cent of windows in which every candidate crashes; 0: as control */
	uint64_t random;
	int64_t start;
};

static bool chance(struct trial *t, unsigned percent)
{
	t->random = t->random * 6364136223846793005U + 1442695040888963407U;
	return (t->random >> 33) % 100 < percent;
}

/* ---- telemetry ---- */

struct device {
	const char *class;
	unsigned stage;
	enum report_arm arm;
	int64_t entered;
	bool bad;
};

static int tell(struct trial *t, struct db *db, const struct device *d, enum report_kind kind,
		int64_t at, unsigned crashes, unsigned used, struct err *err)
{
	bool known;
	struct report r = {.kind = kind, .channel = "stable", .class = d->class, .os_major = 15,
			   .runtime = "", .at = at, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	*e = (struct report_entry){.model = "assistant", .rollout = t->rollout, .stage = d->stage,
				   .arm = d->arm, .entered = d->entered, .via = "chunks",
				   .load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .used = used};
	e->variant = kind == REPORT_ENTER ? ""
		     : d->arm == REPORT_ARM_CANDIDATE ? "assistant@2.0.0/q4_0"
						      : "assistant@1.0.0/q4_0";
	if (crashes)
		e->counts[e->count_len++] = (struct report_count){
			metric_index(metric_find("crash")), crashes, crashes};
	if (cells_add(t->house.cells, db, &r, &known, err))
		return -1;
	ck_assert(known);
	return 0;
}

/* One device's life in the rollout: enters, loads, is used in three windows of ten, is summed up. */
static int live(struct trial *t, struct db *db, const struct device *d, struct err *err)
{
	unsigned crashes = 0, used = 0;
	const int64_t first = d->entered - d->entered % HOUR + HOUR;
	if (tell(t, db, d, REPORT_ENTER, d->entered, 0, 0, err) ||
	    tell(t, db, d, REPORT_OUTCOME, d->entered + 600, 0, 0, err))
		return -1;
	for (int64_t w = 0; w < 24; w++) {
		if (!chance(t, 30))
			continue;
		const unsigned weak = t->weak && d->arm == REPORT_ARM_CANDIDATE ? t->weak : 1;
		const unsigned crash = chance(t, d->bad ? 25 : weak);
		used++;
		crashes += crash;
		if (tell(t, db, d, REPORT_WINDOW, first + w * HOUR, crash, 0, err))
			return -1;
	}
	return tell(t, db, d, REPORT_SUMMARY, d->entered, crashes, used, err);
}

static int arm_lives(struct trial *t, struct db *db, const char *class, unsigned stage,
		     enum report_arm arm, int64_t slice, struct err *err)
{
	const int64_t count = slice * t->devices / 1000000;
	const int64_t from = t->start - t->start % 600 + 600 + (stage - 1) * 45 * HOUR;
	for (int64_t i = 0; i < count; i++) {
		const struct device d = {class, stage, arm, from + i % 12 * 600,
					 arm == REPORT_ARM_CANDIDATE && t->bad &&
						 (!strcmp(t->bad, class) ||
						  !strcmp(t->bad, "all"))};
		if (live(t, db, &d, err))
			return -1;
	}
	return 0;
}

static int lives(struct db *db, void *arg, struct err *err)
{
	struct trial *t = arg;
	struct stage_slices s[STAGE_MAX];
	if (stage_allocate(ppm, t->stages, s, err))
		return -1;
	for (unsigned c = 0; c < HOUSE_CLASSES; c++)
		for (unsigned k = 0; k < t->stages; k++)
			if (arm_lives(t, db, house_classes[c], k + 1, REPORT_ARM_CANDIDATE,
				      s[k].enter_high - s[k].enter_low, err) ||
			    arm_lives(t, db, house_classes[c], k + 1, REPORT_ARM_CONTROL,
				      s[k].control_high - s[k].control_low, err))
				return -1;
	return cells_flush(t->house.cells, db, err);
}

/* ---- the trial ---- */

static struct act act_of(const struct trial *t)
{
	return (struct act){t->house.publisher, t->house.cells, clock_s(&t->house.clock), "test", ""};
}

static int start_rollout(struct db *db, void *arg, struct err *err)
{
	struct trial *t = arg;
	const struct act act = act_of(t);
	struct act_order order = {.model = "assistant", .release = "2.0.0", .channel = "stable"};
	json_auto_t *groups = json_pack("[[s, s, s]]", house_classes[0], house_classes[1],
					house_classes[2]);
	order.groups = t->grouped ? groups : NULL;
	policy_default(&order.policy);
	order.policy.stage_count = t->stages;
	order.policy.abort_after_lanes = t->abort_after;
	for (unsigned i = 0; i < t->stages; i++) {
		order.policy.stages[i].ppm = ppm[i];
		order.policy.stages[i].ratio_pm = 2000;
		order.policy.stages[i].delta_ppm = 100000;
		order.policy.stages[i].max_s = MAX_S;
	}
	t->start = act.now;
	return act_start(db, &act, &order, t->rollout, err);
}

static void open_with(struct trial *t, struct trial how)
{
	*t = how;
	t->random = 1;
	t->stages = how.stages ? how.stages : STAGES;
	house_open(&t->house, SPEED);
	house_run(&t->house, start_rollout, t);
	house_run(&t->house, lives, t);
}

static void open_trial(struct trial *t, const char *bad)
{
	open_with(t, (struct trial){.bad = bad, .devices = HOUSE_DEVICES});
}

static void start_engine(struct trial *t)
{
	struct err err;
	struct engine_options options = {.ledger = t->house.ledger, .publisher = t->house.publisher,
					 .cells = t->house.cells, .clock = &t->house.clock, .authentic = true};
	ck_assert_msg(!app_db_open(&options.db, t->house.scratch.dir, false, &err), "%s", err.text);
	for (unsigned i = 0; i < ENGINE_READERS; i++)
		ck_assert_msg(!app_db_open(&options.readers[i], t->house.scratch.dir, false, &err),
			      "%s", err.text);
	ck_assert_msg(!engine_new(&t->engine, &options, &err), "%s", err.text);
}

static void close_trial(struct trial *t)
{
	engine_free(t->engine);
	house_close(&t->house);
}

/* ---- looking ---- */

static enum lane_state state_of(struct trial *t, const char *class, unsigned *ret_stage)
{
	struct err err;
	struct lane lane;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!lane_get(t->house.db, t->rollout, class, arena, &lane, &err), "%s", err.text);
	*ret_stage = lane.stage;
	return lane.state;
}

static bool over(enum lane_state state)
{
	return !lane_active(state);
}

static bool held(enum lane_state state)
{
	return state == LANE_HOLDING;
}

static bool all_are(struct trial *t, bool (*what)(enum lane_state state))
{
	unsigned stage;
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		if (!what(state_of(t, house_classes[i], &stage)))
			return false;
	return true;
}

static int nothing(struct db *db, void *arg, struct err *err)
{
	(void)db;
	(void)arg;
	(void)err;
	return 0;
}

static void wait_until(struct trial *t, bool (*what)(enum lane_state state))
{
	const int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	while (!all_are(t, what)) {
		struct engine_stats stats;
		engine_stats(t->engine, &stats);
		ck_assert_msg(t->spoilt || !stats.last_error[0], "%s", stats.last_error);
		ck_assert_msg(clock_monotonic_ms() < end, "the rollout does not end");
		clock_sleep_ms(20);
	}
	house_run(&t->house, nothing, NULL); /* rows can be read before the snapshot is swapped */
}

static void wait_over(struct trial *t)
{
	wait_until(t, over);
}

/* An engine that lives until it closed hours more than there were, or the first lane is over. */
static void run_engine(struct trial *t, int64_t hours)
{
	const int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	const int64_t far = clock_s(&t->house.clock) + hours * HOUR;
	bool go_on = true;
	start_engine(t);
	while (go_on) {
		struct err err;
		struct lane lane;
		AUTO(arena_free) struct arena *arena = arena_new(ARENA);
		ck_assert_msg(!lane_get(t->house.db, t->rollout, house_classes[0], arena, &lane, &err),
			      "%s", err.text);
		go_on = lane_active(lane.state) && lane.closed[CELLS_SLOT] < far;
		ck_assert_msg(clock_monotonic_ms() < end, "nothing is closed");
		clock_sleep_ms(10);
	}
	engine_free(t->engine);
}

static void check_state(struct trial *t, const char *class, enum lane_state want)
{
	unsigned stage;
	const enum lane_state state = state_of(t, class, &stage);
	ck_assert_msg(state == want, "%s is %s at stage %u, not %s", class, lane_state_names[state],
		      stage, lane_state_names[want]);
}

static int64_t events(struct trial *t, const char *kind)
{
	struct err err;
	int64_t after = 0, count = 0;
	json_t *items;
	size_t i;
	const json_t *item;
	ck_assert_msg(!journal_events(t->house.db, t->rollout, after, 1000, &items, &err), "%s", err.text);
	json_array_foreach (items, i, item)
		count += !strcmp(json_string_value(json_object_get(item, "kind")), kind);
	json_decref(items);
	return count;
}

/* Lanes that went back because of all lanes' evidence. */
static unsigned pooled(struct trial *t)
{
	struct err err;
	struct lane *lanes;
	unsigned count, found = 0;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!lane_list(t->house.db, t->rollout, arena, &lanes, &count, &err), "%s", err.text);
	for (unsigned i = 0; i < count; i++)
		found += strstr(lanes[i].reason, "pooled over 3 lanes") != NULL;
	return found;
}

/* ---- tests ---- */

START_TEST(test_engine_equal_arms_complete_everywhere)
{
	struct trial t;
	open_trial(&t, NULL);
	ck_assert(house_published(&t.house, "mid", t.rollout));
	start_engine(&t);
	wait_over(&t);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		check_state(&t, house_classes[i], LANE_COMPLETE);
		ck_assert(!house_published(&t.house, house_classes[i], "1.0.0"));
	}
	ck_assert_int_eq(events(&t, "lane.completed"), 3);
	close_trial(&t);
}
END_TEST

START_TEST(test_engine_takes_back_the_bad_lane_only)
{
	struct trial t;
	open_trial(&t, "budget");
	start_engine(&t);
	wait_over(&t);
	check_state(&t, "flagship", LANE_COMPLETE);
	check_state(&t, "mid", LANE_COMPLETE);
	check_state(&t, "budget", LANE_ROLLED_BACK);
	ck_assert(!house_published(&t.house, "budget", "2.0.0") && house_published(&t.house, "budget", "1.0.0"));
	ck_assert(house_published(&t.house, "mid", "2.0.0"));
	ck_assert_int_eq(events(&t, "lane.rolled_back"), 1);
	close_trial(&t);
}
END_TEST

/* All closes at once: the lanes that would have completed in that tick are taken along. */
START_TEST(test_engine_who_goes_back_goes_first)
{
	struct trial t;
	open_with(&t, (struct trial){
			      .bad = "budget", .devices = HOUSE_DEVICES, .stages = 1, .abort_after = 1});
	t.house.clock.own_ms += (int64_t)60 * HOUR * 1000;
	start_engine(&t);
	wait_over(&t);
	check_state(&t, "budget", LANE_ROLLED_BACK);
	check_state(&t, "flagship", LANE_ABORTED);
	check_state(&t, "mid", LANE_ABORTED);
	close_trial(&t);
}
END_TEST

/* No lane alone is sure; together they are, and all go back in one transaction. */
START_TEST(test_engine_takes_all_lanes_back_by_pooled_evidence)
{
	struct trial t;
	open_with(&t, (struct trial){.bad = NULL, .weak = 4, .devices = HOUSE_DEVICES});
	start_engine(&t);
	wait_over(&t);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		check_state(&t, house_classes[i], LANE_ROLLED_BACK);
	ck_assert_int_eq(events(&t, "lane.rolled_back"), HOUSE_CLASSES);
	ck_assert_int_eq(pooled(&t), HOUSE_CLASSES);
	close_trial(&t);
}
END_TEST

/* The engine is ended and started again in the middle, several times. */
START_TEST(test_engine_restarts_change_nothing)
{
	struct trial t;
	open_trial(&t, "mid");
	for (unsigned i = 0; i < 4; i++)
		run_engine(&t, 6);
	start_engine(&t);
	wait_over(&t);
	check_state(&t, "flagship", LANE_COMPLETE);
	check_state(&t, "mid", LANE_ROLLED_BACK);
	check_state(&t, "budget", LANE_COMPLETE);
	ck_assert_int_eq(events(&t, "lane.rolled_back"), 1);
	ck_assert_int_eq(events(&t, "lane.completed"), 2);
	close_trial(&t);
}
END_TEST

static int hold(struct db *db, void *arg, struct err *err)
{
	struct trial *t = arg;
	struct lane lane, stale;
	const struct act act = act_of(t);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, t->rollout, "mid", arena, &lane, err))
		return -1;
	stale = lane;
	if (act_hold(db, &act, &lane, "operator: wait", NULL, err))
		return -1;
	/* Somebody who read the lane before comes too late. */
	ck_assert_int_eq(act_advance(db, &act, &stale, "", NULL, err), -1);
	ck_assert_int_eq(err->status, ERR_CONFLICT);
	return 0;
}

static int abort_held(struct db *db, void *arg, struct err *err)
{
	struct trial *t = arg;
	struct lane lane;
	const struct act act = act_of(t);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, t->rollout, "mid", arena, &lane, err))
		return -1;
	return act_take_back(db, &act, &lane, LANE_ABORTED, "enough", NULL, err);
}

START_TEST(test_engine_leaves_a_held_lane_to_the_operator)
{
	struct trial t;
	unsigned stage;
	open_trial(&t, NULL);
	house_run(&t.house, hold, &t);
	start_engine(&t);
	while (lane_active(state_of(&t, "flagship", &stage)) ||
	       lane_active(state_of(&t, "budget", &stage)))
		clock_sleep_ms(20);
	check_state(&t, "mid", LANE_HOLDING);
	ck_assert(house_published(&t.house, "mid", "holding"));
	house_run(&t.house, abort_held, &t);
	check_state(&t, "mid", LANE_ABORTED);
	ck_assert(!house_published(&t.house, "mid", "2.0.0"));
	check_state(&t, "flagship", LANE_COMPLETE);
	close_trial(&t);
}
END_TEST

/* Ninety candidates of the first stage are too few for a class alone, and enough for three together. */
#define SMALL 450

START_TEST(test_engine_small_classes_alone_hold)
{
	struct trial t;
	unsigned stage;
	open_with(&t, (struct trial){.devices = SMALL});
	start_engine(&t);
	wait_until(&t, held);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		ck_assert(state_of(&t, house_classes[i], &stage) == LANE_HOLDING && stage == 1);
	close_trial(&t);
}
END_TEST

START_TEST(test_engine_small_classes_share_a_lane)
{
	struct trial t;
	open_with(&t, (struct trial){.devices = SMALL, .grouped = true});
	start_engine(&t);
	wait_over(&t);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		check_state(&t, house_classes[i], LANE_COMPLETE);
		ck_assert(!house_published(&t.house, house_classes[i], "1.0.0"));
	}
	ck_assert_int_eq(events(&t, "lane.advanced"), 3);
	ck_assert_int_eq(events(&t, "lane.completed"), 3);
	close_trial(&t);
}
END_TEST

START_TEST(test_engine_a_group_goes_back_whole)
{
	struct trial t;
	open_with(&t, (struct trial){.bad = "all", .devices = SMALL, .grouped = true});
	for (unsigned i = 0; i < 3; i++) /* the group outlives restarts */
		run_engine(&t, 3);
	start_engine(&t);
	wait_over(&t);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		check_state(&t, house_classes[i], LANE_ROLLED_BACK);
		ck_assert(!house_published(&t.house, house_classes[i], "2.0.0"));
	}
	ck_assert_int_eq(events(&t, "lane.rolled_back"), 3);
	close_trial(&t);
}
END_TEST

/* A second rollout, whose policy cannot be read, and which comes first. */
static void spoil(struct trial *t)
{
	static const char sql[] =
		"CREATE TEMP TABLE r AS SELECT * FROM rollouts;"
		"CREATE TEMP TABLE l AS SELECT * FROM lanes;"
		"UPDATE r SET id = '0', spec = 'no policy';"
		"UPDATE l SET rollout = '0';"
		"INSERT INTO rollouts SELECT * FROM r; INSERT INTO lanes SELECT * FROM l;";
	char path[300];
	sqlite3 *raw;
	snprintf(path, sizeof(path), "%s/flotilla.db", t->house.scratch.dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &raw, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
	t->spoilt = true;
}

static uint64_t signed_documents(struct trial *t)
{
	struct publisher_stats stats;
	publisher_stats(t->house.publisher, &stats);
	return stats.signed_documents;
}

START_TEST(test_engine_goes_on_beside_a_rollout_that_fails)
{
	struct trial t;
	struct engine_stats stats;
	open_trial(&t, "budget");
	spoil(&t);
	start_engine(&t);
	wait_over(&t);
	check_state(&t, "mid", LANE_COMPLETE);
	check_state(&t, "budget", LANE_ROLLED_BACK);
	engine_stats(t.engine, &stats);
	ck_assert_int_gt(stats.failures, 0);
	ck_assert_ptr_nonnull(strstr(stats.last_error, "rollout 0: "));
	const uint64_t before = signed_documents(&t); /* nobody acts any more: by time alone */
	const int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	while (signed_documents(&t) == before) {
		ck_assert_msg(clock_monotonic_ms() < end, "nothing is signed anew");
		clock_sleep_ms(20);
	}
	close_trial(&t);
}
END_TEST

static void wait_ticks(struct trial *t, uint64_t more, struct engine_stats *ret_stats)
{
	const int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	engine_stats(t->engine, ret_stats);
	const uint64_t until = ret_stats->ticks + more;
	while (ret_stats->ticks < until) {
		ck_assert_msg(clock_monotonic_ms() < end, "the engine stands still");
		clock_sleep_ms(20);
		engine_stats(t->engine, ret_stats);
	}
}

static int hold_first(struct db *db, void *arg, struct err *err)
{
	struct trial *t = arg;
	struct lane lane;
	const struct act act = act_of(t);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_ptr_nonnull(arena);
	return lane_get(db, t->rollout, house_classes[0], arena, &lane, err) ||
			       act_hold(db, &act, &lane, "operator: wait", NULL, err)
		       ? -1
		       : 0;
}

/* Lanes of which nothing is new are neither read nor considered; one that was changed is. */
START_TEST(test_engine_leaves_alone_what_did_not_change)
{
	struct trial t = {.devices = HOUSE_DEVICES, .stages = STAGES};
	struct engine_stats stats;
	house_open(&t.house, 1);
	house_run(&t.house, start_rollout, &t);
	start_engine(&t);
	wait_ticks(&t, 5, &stats);
	ck_assert_uint_eq(stats.lanes, HOUSE_CLASSES);
	ck_assert_uint_eq(stats.lanes_read, HOUSE_CLASSES);
	ck_assert_uint_eq(stats.considered, HOUSE_CLASSES);
	house_run(&t.house, hold_first, &t);
	wait_ticks(&t, 3, &stats);
	ck_assert_uint_eq(stats.lanes_read, 2 * HOUSE_CLASSES);
	ck_assert_uint_eq(stats.considered, HOUSE_CLASSES + 1);
	close_trial(&t);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_engine_equal_arms_complete_everywhere,
		test_engine_takes_back_the_bad_lane_only,
		test_engine_who_goes_back_goes_first,
		test_engine_takes_all_lanes_back_by_pooled_evidence,
		test_engine_restarts_change_nothing,
		test_engine_leaves_a_held_lane_to_the_operator,
		test_engine_small_classes_alone_hold,
		test_engine_small_classes_share_a_lane,
		test_engine_a_group_goes_back_whole,
		test_engine_goes_on_beside_a_rollout_that_fails,
		test_engine_leaves_alone_what_did_not_change,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("engine", tests, COUNT_OF(tests));
}
