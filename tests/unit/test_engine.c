/* A whole rollout without a network: telemetry of two stages is laid down beforehand, at times to
 * come, and the engine lives through three days in seconds. */
#include "base/clock.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/journal.h"
#include "manifest/keystore.h"
#include "manifest/offer.h"
#include "manifest/snapshot.h"
#include "rollout/act.h"
#include "rollout/engine.h"
#include "rollout/stage.h"
#include "server/app.h"
#include "telemetry/metric.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define SPEED 100000 /* own seconds a real one */
#define DEVICES 1200
#define STAGES 2
#define HOUR 3600
#define PATIENCE_MS 60000
#define ARENA (8 << 20)

static const char *const classes[] = {"flagship", "mid", "budget"};
static const int64_t ppm[STAGES] = {200000, 500000};

struct house {
	struct scratch scratch;
	struct clock clock;
	struct keystore keys;
	struct ledger *ledger;
	struct publisher *publisher;
	struct cells *cells;
	struct engine *engine;
	struct db *db; /* reads */
	char rollout[65];
	const char *bad; /* class whose candidate crashes; NULL: none */
	uint64_t random;
	int64_t start;
};

static bool chance(struct house *h, unsigned percent)
{
	h->random = h->random * 6364136223846793005U + 1442695040888963407U;
	return (h->random >> 33) % 100 < percent;
}

/* ---- catalog ---- */

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){1000, 900, *recipe};
	return 0;
}

static int add_release(struct db *db, const char *release, int64_t now, struct err *err)
{
	const struct release_spec spec = {.model = "assistant", .release = release};
	json_auto_t *body = json_pack(
		"{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "model.gguf", "recipe",
		"00000000000000000000000000000000000000000000000000000000000000aa");
	return catalog_release_add(db, &spec, now, err) ||
			       catalog_variant_put(db, "assistant", release, "q4_0", body, lookup,
						   NULL, now, err) ||
			       catalog_release_publish(db, "assistant", release, now, err)
		       ? -1
		       : 0;
}

static json_t *rules(void)
{
	return json_pack("{s:i, s:[{s:s, s:[{s:[{s:s, s:s, s:i}]}]}, {s:s, s:[{s:[{s:s, s:s, s:i}]}]},"
			 " {s:s}]}",
			 "schema", 1, "rules", "class", classes[0], "any", "all", "attr", "ram_mib",
			 "op", "ge", "value", 10000, "class", classes[1], "any", "all", "attr",
			 "ram_mib", "op", "ge", "value", 6000, "class", classes[2]);
}

static int fill(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const int64_t now = clock_s(&h->clock);
	int64_t version;
	json_auto_t *document = rules();
	json_auto_t *settings = json_pack("{s:i}", "devices", DEVICES);
	if (class_init(db, now, err) || catalog_channel_add(db, "stable", now, err) ||
	    class_rules_put(db, document, -1, "test", now, &version, err) ||
	    catalog_model_add(db, "assistant", now, err) || add_release(db, "1.0.0", now, err) ||
	    add_release(db, "2.0.0", now, err))
		return -1;
	for (unsigned i = 0; i < COUNT_OF(classes); i++)
		if (class_put(db, classes[i], settings, 1, err) ||
		    offer_bootstrap(db, "stable", classes[i], "assistant", "1.0.0", now, err))
			return -1;
	return publish_all(h->publisher, db, err);
}

/* ---- telemetry ---- */

struct device {
	const char *class;
	unsigned stage;
	enum report_arm arm;
	int64_t entered;
	bool bad;
};

static int tell(struct house *h, struct db *db, const struct device *d, enum report_kind kind,
		int64_t at, unsigned crashes, unsigned used, struct err *err)
{
	bool known;
	struct report r = {.kind = kind, .channel = "stable", .class = d->class, .os_major = 15,
			   .runtime = "", .at = at, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	*e = (struct report_entry){.model = "assistant", .rollout = h->rollout, .stage = d->stage,
				   .arm = d->arm, .entered = d->entered, .via = "chunks",
				   .load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .used = used};
	e->variant = kind == REPORT_ENTER ? ""
		     : d->arm == REPORT_ARM_CANDIDATE ? "assistant@2.0.0/q4_0"
						      : "assistant@1.0.0/q4_0";
	if (crashes)
		e->counts[e->count_len++] = (struct report_count){
			metric_index(metric_find("crash")), crashes, crashes};
	if (cells_add(h->cells, db, &r, &known, err))
		return -1;
	ck_assert(known);
	return 0;
}

/* One device's life in the rollout: enters, loads, is used in three windows of ten, is summed up. */
static int live(struct house *h, struct db *db, const struct device *d, struct err *err)
{
	unsigned crashes = 0, used = 0;
	const int64_t first = d->entered - d->entered % HOUR + HOUR;
	if (tell(h, db, d, REPORT_ENTER, d->entered, 0, 0, err) ||
	    tell(h, db, d, REPORT_OUTCOME, d->entered + 600, 0, 0, err))
		return -1;
	for (int64_t w = 0; w < 24; w++) {
		if (!chance(h, 30))
			continue;
		const unsigned crash = chance(h, d->bad ? 25 : 1);
		used++;
		crashes += crash;
		if (tell(h, db, d, REPORT_WINDOW, first + w * HOUR, crash, 0, err))
			return -1;
	}
	return tell(h, db, d, REPORT_SUMMARY, d->entered, crashes, used, err);
}

static int arm_lives(struct house *h, struct db *db, const char *class, unsigned stage,
		     enum report_arm arm, int64_t slice, struct err *err)
{
	const int64_t count = slice * DEVICES / 1000000;
	const int64_t from = h->start - h->start % 600 + 600 + (stage - 1) * 45 * HOUR;
	for (int64_t i = 0; i < count; i++) {
		const struct device d = {class, stage, arm, from + i % 12 * 600,
					 arm == REPORT_ARM_CANDIDATE && h->bad &&
						 !strcmp(h->bad, class)};
		if (live(h, db, &d, err))
			return -1;
	}
	return 0;
}

static int lives(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	struct stage_slices s[STAGE_MAX];
	if (stage_allocate(ppm, STAGES, s, err))
		return -1;
	for (unsigned c = 0; c < COUNT_OF(classes); c++)
		for (unsigned k = 0; k < STAGES; k++)
			if (arm_lives(h, db, classes[c], k + 1, REPORT_ARM_CANDIDATE,
				      s[k].enter_high - s[k].enter_low, err) ||
			    arm_lives(h, db, classes[c], k + 1, REPORT_ARM_CONTROL,
				      s[k].control_high - s[k].control_low, err))
				return -1;
	return cells_flush(h->cells, db, err);
}

/* ---- the house ---- */

static struct act act_of(const struct house *h)
{
	return (struct act){h->publisher, h->cells, clock_s(&h->clock), "test", ""};
}

static int start_rollout(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const struct act act = act_of(h);
	struct act_order order = {.model = "assistant", .release = "2.0.0", .channel = "stable"};
	policy_default(&order.policy);
	order.policy.stage_count = STAGES;
	for (unsigned i = 0; i < STAGES; i++) {
		order.policy.stages[i].ppm = ppm[i];
		order.policy.stages[i].ratio_pm = 2000;
		order.policy.stages[i].delta_ppm = 100000;
	}
	h->start = act.now;
	return act_start(db, &act, &order, h->rollout, err);
}

static void run(struct house *h, int (*fn)(struct db *db, void *arg, struct err *err))
{
	struct err err;
	ck_assert_msg(!ledger_run(h->ledger, fn, h, &err), "%s", err.text);
}

static void open_house(struct house *h)
{
	struct err err;
	struct db *db;
	const char *dir;
	scratch_make(&h->scratch);
	dir = h->scratch.dir;
	clock_fast(&h->clock, clock_wall_ms(), SPEED);
	ck_assert_msg(!keystore_init(dir, true, &err) && !keystore_load(&h->keys, dir, NULL, &err) &&
			      !app_db_open(&db, dir, true, &err),
		      "%s", err.text);
	ck_assert_msg(!publisher_new(&h->publisher, &h->keys, &h->clock, &err) &&
			      !publisher_load(h->publisher, db, &err) &&
			      !ledger_new(&h->ledger, db, 1024, &err) &&
			      !app_db_open(&h->db, dir, false, &err),
		      "%s", err.text);
	h->cells = cells_new();
	h->random = 1;
	run(h, fill);
	run(h, start_rollout);
	run(h, lives);
}

static void start_engine(struct house *h)
{
	struct err err;
	struct engine_options options = {.ledger = h->ledger, .publisher = h->publisher,
					 .cells = h->cells, .clock = &h->clock, .authentic = true};
	ck_assert_msg(!app_db_open(&options.db, h->scratch.dir, false, &err) &&
			      !engine_new(&h->engine, &options, &err),
		      "%s", err.text);
}

static void close_house(struct house *h)
{
	engine_free(h->engine);
	ledger_free(h->ledger);
	publisher_free(h->publisher);
	cells_free(h->cells);
	db_close(h->db);
	keystore_done(&h->keys);
	scratch_remove(&h->scratch);
}

/* ---- looking ---- */

static enum lane_state state_of(struct house *h, const char *class, unsigned *ret_stage)
{
	struct err err;
	struct lane lane;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!lane_get(h->db, h->rollout, class, arena, &lane, &err), "%s", err.text);
	*ret_stage = lane.stage;
	return lane.state;
}

static bool all_over(struct house *h)
{
	unsigned stage;
	for (unsigned i = 0; i < COUNT_OF(classes); i++)
		if (lane_active(state_of(h, classes[i], &stage)))
			return false;
	return true;
}

static void wait_over(struct house *h)
{
	const int64_t end = clock_monotonic_ms() + PATIENCE_MS;
	while (!all_over(h)) {
		struct engine_stats stats;
		engine_stats(h->engine, &stats);
		ck_assert_msg(!stats.last_error[0], "%s", stats.last_error);
		ck_assert_msg(clock_monotonic_ms() < end, "the rollout does not end");
		clock_sleep_ms(20);
	}
}

static void check_state(struct house *h, const char *class, enum lane_state want)
{
	unsigned stage;
	const enum lane_state state = state_of(h, class, &stage);
	ck_assert_msg(state == want, "%s is %s at stage %u, not %s", class, lane_state_names[state],
		      stage, lane_state_names[want]);
}

/* Whether the published manifest of class says text. */
static bool published(struct house *h, const char *class, const char *text)
{
	char path[200];
	struct snapshot *snapshot = publisher_snapshot(h->publisher);
	snprintf(path, sizeof(path), "/v1/c/stable/%s/manifest.json", class);
	const struct doc *doc = snapshot_find(snapshot, path);
	ck_assert_ptr_nonnull(doc);
	const bool found = memmem(doc->bytes, doc->len, text, strlen(text)) != NULL;
	snapshot_unref(snapshot);
	return found;
}

static int64_t events(struct house *h, const char *kind)
{
	struct err err;
	int64_t after = 0, count = 0;
	json_t *items;
	size_t i;
	const json_t *item;
	ck_assert_msg(!journal_events(h->db, h->rollout, after, 1000, &items, &err), "%s", err.text);
	json_array_foreach (items, i, item)
		count += !strcmp(json_string_value(json_object_get(item, "kind")), kind);
	json_decref(items);
	return count;
}

/* ---- tests ---- */

START_TEST(test_engine_equal_arms_complete_everywhere)
{
	struct house h = {.bad = NULL};
	open_house(&h);
	ck_assert(published(&h, "mid", h.rollout));
	start_engine(&h);
	wait_over(&h);
	for (unsigned i = 0; i < COUNT_OF(classes); i++) {
		check_state(&h, classes[i], LANE_COMPLETE);
		ck_assert(!published(&h, classes[i], "1.0.0"));
	}
	ck_assert_int_eq(events(&h, "lane.completed"), 3);
	close_house(&h);
}
END_TEST

START_TEST(test_engine_takes_back_the_bad_lane_only)
{
	struct house h = {.bad = "budget"};
	open_house(&h);
	start_engine(&h);
	wait_over(&h);
	check_state(&h, "flagship", LANE_COMPLETE);
	check_state(&h, "mid", LANE_COMPLETE);
	check_state(&h, "budget", LANE_ROLLED_BACK);
	ck_assert(!published(&h, "budget", "2.0.0") && published(&h, "budget", "1.0.0"));
	ck_assert(published(&h, "mid", "2.0.0"));
	ck_assert_int_eq(events(&h, "lane.rolled_back"), 1);
	close_house(&h);
}
END_TEST

/* The engine is ended and started again in the middle, several times. */
START_TEST(test_engine_restarts_change_nothing)
{
	struct house h = {.bad = "mid"};
	open_house(&h);
	for (unsigned i = 0; i < 4; i++) {
		start_engine(&h);
		clock_sleep_ms(300);
		engine_free(h.engine);
	}
	start_engine(&h);
	wait_over(&h);
	check_state(&h, "flagship", LANE_COMPLETE);
	check_state(&h, "mid", LANE_ROLLED_BACK);
	check_state(&h, "budget", LANE_COMPLETE);
	ck_assert_int_eq(events(&h, "lane.rolled_back"), 1);
	ck_assert_int_eq(events(&h, "lane.completed"), 2);
	close_house(&h);
}
END_TEST

static int hold(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	struct lane lane, stale;
	const struct act act = act_of(h);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, h->rollout, "mid", arena, &lane, err))
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
	struct house *h = arg;
	struct lane lane;
	const struct act act = act_of(h);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, h->rollout, "mid", arena, &lane, err))
		return -1;
	return act_take_back(db, &act, &lane, LANE_ABORTED, "enough", NULL, err);
}

START_TEST(test_engine_leaves_a_held_lane_to_the_operator)
{
	struct house h = {.bad = NULL};
	unsigned stage;
	open_house(&h);
	run(&h, hold);
	start_engine(&h);
	while (lane_active(state_of(&h, "flagship", &stage)) ||
	       lane_active(state_of(&h, "budget", &stage)))
		clock_sleep_ms(20);
	check_state(&h, "mid", LANE_HOLDING);
	ck_assert(published(&h, "mid", "holding"));
	run(&h, abort_held);
	check_state(&h, "mid", LANE_ABORTED);
	ck_assert(!published(&h, "mid", "2.0.0"));
	check_state(&h, "flagship", LANE_COMPLETE);
	close_house(&h);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_engine_equal_arms_complete_everywhere,
		test_engine_takes_back_the_bad_lane_only,
		test_engine_restarts_change_nothing,
		test_engine_leaves_a_held_lane_to_the_operator,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("engine", tests, COUNT_OF(tests));
}
