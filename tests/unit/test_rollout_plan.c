/* A plan over what devices reported and what the store holds: the rows behind plan.h's arithmetic. */
#include "base/json.h"
#include "rollout/cost.h"
#include "server/rollout_plan.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/recipe.h"
#include "telemetry/metric.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define DAY 86400

/* Devices of each class that report a day of use; as house_classes. */
static const int population[HOUSE_CLASSES] = {22000, 3000, 2000};

struct scene {
	struct house house;
	struct blobs *blobs;
	struct arena *arena;
	struct act_order order;
	json_t *plan;
	int divide; /* of the population, how many report */
};

static int use(struct scene *s, struct db *db, const char *class, int64_t day, bool crash,
	       struct err *err)
{
	bool known;
	const uint16_t counts[1] = {3};
	struct report r = {.kind = REPORT_USAGE, .channel = "stable", .class = class, .runtime = "",
			   .at = day, .day_first = true, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	*e = (struct report_entry){.model = "assistant", .variant = "assistant@1.0.0/q4_0",
				   .rollout = "", .via = "", .load_ms = -1, .ttft_ms = -1,
				   .probe_pm = -1, .used = 4};
	if (crash)
		e->counts[e->count_len++] =
			(struct report_count){metric_index(metric_find("crash")), 1, 1};
	e->hists[e->hist_len++] =
		(struct report_hist){metric_index(metric_find("ttft_ms")), 130 + (crash ? 8 : 0), 1, counts};
	return cells_add(s->house.cells, db, &r, &known, err);
}

static int day_of_use(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	const int64_t today = clock_s(&s->house.clock) / DAY * DAY;
	for (unsigned c = 0; c < HOUSE_CLASSES; c++)
		for (int i = 0; i < population[c] / s->divide; i++)
			if (use(s, db, house_classes[c], today - DAY, i % 100 == 0, err))
				return -1;
	return cells_flush(s->house.cells, db, err);
}

static int start(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	char id[65];
	const struct act act = {s->house.publisher, s->house.cells, clock_s(&s->house.clock), "test", ""};
	return act_start(db, &act, &s->order, id, err);
}

static void open_scene(struct scene *s)
{
	struct err err;
	*s = (struct scene){.order = {.model = "assistant", .release = "2.0.0", .channel = "stable"},
			    .divide = 1};
	policy_default(&s->order.policy);
	house_open(&s->house, 1);
	const struct blobs_options options = {.dir = s->house.scratch.dir, .ledger = s->house.ledger};
	s->arena = arena_new(64 << 20);
	ck_assert_msg(s->arena && !blobs_open(&s->blobs, &options, &err), "%s", err.text);
}

static void close_scene(struct scene *s)
{
	json_decref(s->plan);
	blobs_free(s->blobs);
	arena_free(s->arena);
	house_close(&s->house);
}

static void plan(struct scene *s)
{
	struct err err;
	const struct rollout_plan in = {s->house.db, s->blobs, s->house.publisher, &s->order,
					clock_s(&s->house.clock), 50};
	json_decref(s->plan);
	ck_assert_msg(!rollout_plan(&in, s->arena, &s->plan, &err), "%s", err.text);
}

static const json_t *lane(const struct scene *s, const char *class)
{
	size_t i;
	const json_t *item;
	json_array_foreach (json_object_get(s->plan, "lanes"), i, item)
		if (!strcmp(json_string_value(json_object_get(item, "class")), class))
			return item;
	ck_abort_msg("no lane %s", class);
	return NULL;
}

static int64_t number(const json_t *object, const char *name)
{
	ck_assert_msg(json_is_integer(json_object_get(object, name)), "%s", name);
	return json_integer_value(json_object_get(object, name));
}

/* The text of a warning; NULL: there is none of that kind about the class. */
static const char *warned(const struct scene *s, const char *class, const char *kind)
{
	size_t i;
	const json_t *item;
	json_array_foreach (json_object_get(s->plan, "warnings"), i, item) {
		const char *about = json_string_value(json_object_get(item, "class"));
		if (!strcmp(json_string_value(json_object_get(item, "kind")), kind) &&
		    (class ? about && !strcmp(about, class) : !about))
			return json_string_value(json_object_get(item, "text"));
	}
	return NULL;
}

START_TEST(test_rollout_plan_counts_what_was_active)
{
	struct scene s;
	open_scene(&s);
	house_run(&s.house, day_of_use, &s);
	plan(&s);
	const json_t *big = lane(&s, "flagship");
	const json_t *first = json_array_get(json_object_get(big, "stages"), 0);
	ck_assert_int_eq(number(big, "devices"), 22000);
	ck_assert_str_eq(json_string_value(json_object_get(big, "devices_from")), "census");
	ck_assert_int_eq(number(big, "device_days"), 22000);
	ck_assert_int_eq(number(first, "candidates"), 220);
	ck_assert(json_is_true(json_object_get(first, "in_time")));
	ck_assert(json_is_real(json_object_get(first, "crash_ratio")));
	ck_assert(json_is_real(json_object_get(first, "ttft_p95_ratio")));
	ck_assert_int_ge(number(big, "nights"), 10);
	ck_assert_ptr_null(warned(&s, "flagship", "baseline"));
	ck_assert_ptr_null(warned(&s, "flagship", "forecast"));
	/* The class says 1,200. */
	ck_assert_ptr_nonnull(strstr(warned(&s, "flagship", "estimate"), "\"devices\": 22000"));
	close_scene(&s);
}
END_TEST

START_TEST(test_rollout_plan_groups_classes_that_are_too_small)
{
	struct scene s;
	open_scene(&s);
	house_run(&s.house, day_of_use, &s);
	plan(&s);
	ck_assert_ptr_nonnull(strstr(warned(&s, "mid", "forecast"), "stage 1 needs the reports of 100"));
	ck_assert_ptr_nonnull(warned(&s, "budget", "forecast"));
	ck_assert(json_is_null(json_object_get(s.plan, "nights")));
	const json_t *group = json_array_get(json_object_get(s.plan, "groups"), 0);
	ck_assert_int_eq(json_array_size(group), 3);
	ck_assert_str_eq(json_string_value(json_array_get(group, 0)), "budget");
	ck_assert_str_eq(json_string_value(json_array_get(group, 1)), "mid");
	/* Taken over, it is one lane that is in time. */
	json_auto_t *groups = json_incref(json_object_get(s.plan, "groups"));
	s.order.groups = groups;
	plan(&s);
	const json_t *only = json_array_get(json_object_get(s.plan, "lanes"), 0);
	ck_assert_int_eq(json_array_size(json_object_get(s.plan, "lanes")), 1);
	ck_assert_int_eq(json_array_size(json_object_get(only, "group")), 3);
	ck_assert_int_eq(number(only, "devices"), 27000);
	ck_assert_int_gt(number(s.plan, "nights"), 0);
	ck_assert_int_eq(json_array_size(json_object_get(s.plan, "groups")), 0);
	s.order.groups = NULL;
	/* With fewer stages each is large enough alone. */
	s.order.policy.stages[0].ppm = 200000;
	s.order.policy.stage_count = 1;
	plan(&s);
	ck_assert_ptr_null(warned(&s, "budget", "forecast"));
	ck_assert_int_eq(json_array_size(json_object_get(s.plan, "groups")), 0);
	ck_assert_int_gt(number(s.plan, "nights"), 0);
	close_scene(&s);
}
END_TEST

START_TEST(test_rollout_plan_says_what_it_does_not_know)
{
	struct scene s;
	open_scene(&s);
	plan(&s);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		ck_assert_ptr_nonnull(strstr(warned(&s, house_classes[i], "baseline"), "0 device-days"));
		ck_assert_int_eq(number(lane(&s, house_classes[i]), "devices"), HOUSE_DEVICES);
		ck_assert_str_eq(
			json_string_value(json_object_get(lane(&s, house_classes[i]), "devices_from")),
			"class");
	}
	/* Fewer than min_cohort are not told either. */
	s.divide = 100;
	house_run(&s.house, day_of_use, &s);
	plan(&s);
	ck_assert_int_eq(number(lane(&s, "budget"), "devices"), HOUSE_DEVICES);
	ck_assert_int_eq(number(lane(&s, "flagship"), "devices"), 220);
	close_scene(&s);
}
END_TEST

START_TEST(test_rollout_plan_says_what_stands_in_the_way)
{
	struct scene s;
	struct err err;
	open_scene(&s);
	json_auto_t *one = json_pack("[s]", "mid");
	s.order.classes = one;
	house_run(&s.house, start, &s);
	s.order.classes = NULL;
	plan(&s);
	ck_assert_ptr_nonnull(strstr(warned(&s, "mid", "busy"), "rollout r1 is under way"));
	ck_assert_ptr_null(warned(&s, "budget", "busy"));
	ck_assert_ptr_null(warned(&s, "budget", "pending"));
	s.order.release = "1.0.0";
	plan(&s);
	ck_assert_ptr_nonnull(warned(&s, NULL, "nobody"));
	s.order.release = "9.0.0";
	const struct rollout_plan in = {s.house.db, s.blobs, s.house.publisher, &s.order, 0, 50};
	json_t *none = NULL;
	ck_assert_int_eq(rollout_plan(&in, s.arena, &none, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	close_scene(&s);
}
END_TEST

/* ---- bytes ---- */

static struct digest named(unsigned n)
{
	struct digest digest;
	digest_of(&digest, &n, sizeof(n));
	return digest;
}

static struct recipe *recipe_with(const unsigned *chunks, unsigned count)
{
	struct err err;
	struct recipe *recipe = recipe_new();
	ck_assert_ptr_nonnull(recipe);
	for (unsigned i = 0; i < count; i++) {
		const struct digest digest = named(chunks[i]);
		ck_assert_int_eq(recipe_add(recipe, &digest, 1000, 0, &err), 0);
	}
	return recipe;
}

/* Chunk n is stored in 100 + n bytes; equal ones share a place. */
static struct chunkmap *map_of(const unsigned *chunks, unsigned count)
{
	struct err err;
	uint32_t index;
	const struct digest name = named(900), pack = named(901);
	struct chunkmap *map = chunkmap_new(&name);
	ck_assert(map && !chunkmap_add_pack(map, &pack, 100000, &index, &err));
	for (unsigned i = 0; i < count; i++) {
		const struct chunkmap_chunk chunk = {0, 100 + 200 * chunks[i], 100 + chunks[i],
						     CODEC_STORED};
		map->stored += 100 + chunks[i];
		ck_assert_int_eq(chunkmap_add(map, &chunk, &err), 0);
	}
	return map;
}

START_TEST(test_cost_is_the_cheapest_way)
{
	struct err err;
	struct cost cost;
	const unsigned before[] = {1, 2, 3}, after[] = {2, 4, 5, 4};
	const struct digest old = named(800);
	AUTO(recipe_free) struct recipe *from = recipe_with(before, 3), *to = recipe_with(after, 4);
	AUTO(chunkmap_free) struct chunkmap *map = map_of(after, 4);
	map->stored -= 104; /* the second 4 is where the first is */
	ck_assert_int_eq(cost_of_recipe(NULL, NULL, to, map, &cost, &err), 0);
	ck_assert_int_eq(cost.bytes, 102 + 104 + 105);
	ck_assert_str_eq(cost.via, "full");
	ck_assert_int_eq(cost_of_recipe(from, &old, to, map, &cost, &err), 0);
	ck_assert_int_eq(cost.bytes, 104 + 105);
	ck_assert_str_eq(cost.via, "chunks");
	/* A delta counts when it leads from here, and is cheaper. */
	struct chunkmap_delta delta = {named(801), 1, 10};
	ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), 0);
	ck_assert_int_eq(cost_of_recipe(from, &old, to, map, &cost, &err), 0);
	ck_assert_str_eq(cost.via, "chunks");
	delta = (struct chunkmap_delta){old, 1, 50};
	ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), 0);
	ck_assert_int_eq(cost_of_recipe(from, &old, to, map, &cost, &err), 0);
	ck_assert_int_eq(cost.bytes, 50);
	ck_assert_str_eq(cost.via, "delta");
}
END_TEST

START_TEST(test_cost_of_what_the_store_cannot_tell_is_full)
{
	struct scene s;
	struct err err;
	struct cost cost;
	struct manifest_file file = {"a.gguf", 1000, named(1), named(2), 900};
	struct manifest_file same = file, other = {"b.gguf", 1000, named(3), named(4), 800};
	const struct manifest_variant to = {.files = &file, .file_count = 1};
	const struct manifest_variant from = {.files = &same, .file_count = 1};
	const struct manifest_variant renamed = {.files = &other, .file_count = 1};
	open_scene(&s);
	ck_assert_int_eq(cost_of(s.blobs, &from, &to, &cost, &err), 0);
	ck_assert(cost.bytes == 0 && !strcmp(cost.via, "same"));
	ck_assert_int_eq(cost_of(s.blobs, &renamed, &to, &cost, &err), 0);
	ck_assert(cost.bytes == 900 && !strcmp(cost.via, "full"));
	ck_assert_int_eq(cost_of(s.blobs, NULL, &to, &cost, &err), 0);
	ck_assert(cost.bytes == 900 && !strcmp(cost.via, "full"));
	close_scene(&s);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_rollout_plan_counts_what_was_active,
		test_rollout_plan_groups_classes_that_are_too_small,
		test_rollout_plan_says_what_it_does_not_know,
		test_rollout_plan_says_what_stands_in_the_way,
		test_cost_is_the_cheapest_way,
		test_cost_of_what_the_store_cannot_tell_is_full,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("rollout_plan", tests, COUNT_OF(tests));
}
