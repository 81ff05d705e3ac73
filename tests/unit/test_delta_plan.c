/* Which deltas a release is worth, and that they are queued once. */
#include "manifest/catalog.h"
#include "manifest/delta_plan.h"
#include "manifest/delta_queue.h"
#include "store/delta_job.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <jansson.h>

#define NOW 1800000000

/* Pairs as text: "3<2 " is a delta to recipe 3 from recipe 2. */
struct pairs {
	char text[512];
};

static int note(void *arg, const struct plan_pair *pair, struct err *err)
{
	struct pairs *pairs = arg;
	const size_t len = strlen(pairs->text);

	(void)err;
	snprintf(pairs->text + len, sizeof(pairs->text) - len, "%u<%u ",
		 pair->new->recipe.bytes[0], pair->old->recipe.bytes[0]);
	return 0;
}

#define FILE_OF(t, n, r, s) {.tier = (t), .format = "gguf", .name = (n), .recipe = {{(r)}}, .stored = (s)}
#define RELEASE(name, list) {.release = (name), .files = (list), .count = COUNT_OF(list)}

static void expect(const struct plan_release *releases, unsigned count, const char *wanted)
{
	struct pairs pairs = {""};
	struct err err;

	ck_assert_int_eq(delta_plan(releases, count, note, &pairs, &err), 0);
	ck_assert_str_eq(pairs.text, wanted);
}

START_TEST(test_delta_plan_first_release_has_nothing_before)
{
	const struct plan_file files[] = {FILE_OF("q4", "model.gguf", 1, 100)};
	const struct plan_release releases[] = {RELEASE("1", files)};

	expect(releases, 1, "");
	expect(NULL, 0, "");
}
END_TEST

START_TEST(test_delta_plan_from_the_last_three)
{
	const struct plan_file e[] = {FILE_OF("q4", "model.gguf", 5, 100)};
	const struct plan_file d[] = {FILE_OF("q4", "model.gguf", 4, 100)};
	const struct plan_file c[] = {FILE_OF("q4", "model.gguf", 3, 100)};
	const struct plan_file b[] = {FILE_OF("q4", "model.gguf", 2, 100)};
	const struct plan_file a[] = {FILE_OF("q4", "model.gguf", 1, 100)};
	const struct plan_release releases[] = {RELEASE("5", e), RELEASE("4", d), RELEASE("3", c),
						RELEASE("2", b), RELEASE("1", a)};

	expect(releases, 5, "5<4 5<3 5<2 ");
	expect(releases, 2, "5<4 ");
}
END_TEST

START_TEST(test_delta_plan_keeps_tiers_apart_but_for_neighbours)
{
	const struct plan_file new[] = {FILE_OF("f16", "model.gguf", 13, 900),
					FILE_OF("q4", "model.gguf", 11, 300),
					FILE_OF("q8", "model.gguf", 12, 500)};
	const struct plan_file old[] = {FILE_OF("q4", "model.gguf", 1, 300),
					FILE_OF("q8", "model.gguf", 2, 500)};
	const struct plan_release releases[] = {RELEASE("2", new), RELEASE("1", old)};

	/* f16 is new; then q4 -> q8 -> f16 by size, never down and never two steps. */
	expect(releases, 2, "11<1 12<2 12<11 13<12 ");
}
END_TEST

START_TEST(test_delta_plan_formats_are_no_neighbours)
{
	struct plan_file new[] = {FILE_OF("a", "model.gguf", 1, 100),
				  FILE_OF("b", "model.safetensors", 2, 200),
				  FILE_OF("c", "model.gguf", 3, 300)};
	const struct plan_release releases[] = {RELEASE("1", new)};

	new[1].format = "safetensors";
	expect(releases, 1, "3<1 ");
}
END_TEST

START_TEST(test_delta_plan_same_file_is_of_the_same_name_or_the_only_one)
{
	const struct plan_file new[] = {FILE_OF("q4", "model-2.0.gguf", 11, 300)};
	const struct plan_file old[] = {FILE_OF("q4", "model-1.0.gguf", 1, 300)};
	const struct plan_file two[] = {FILE_OF("q4", "model-1.0.gguf", 2, 300),
					FILE_OF("q4", "vocab.json", 3, 5)};
	const struct plan_file more[] = {FILE_OF("q4", "tokens.json", 12, 5),
					 FILE_OF("q4", "vocab.json", 13, 5)};
	const struct plan_release only[] = {RELEASE("2", new), RELEASE("1", old)};
	const struct plan_release mixed[] = {RELEASE("2", new), RELEASE("1", two)};
	const struct plan_release named[] = {RELEASE("2", more), RELEASE("1", two)};

	expect(only, 2, "11<1 ");
	expect(mixed, 2, "");
	expect(named, 2, "13<3 ");
}
END_TEST

START_TEST(test_delta_plan_nothing_from_a_file_to_itself)
{
	const struct plan_file new[] = {FILE_OF("q4", "model.gguf", 7, 300),
					FILE_OF("q4", "vocab.json", 9, 5)};
	const struct plan_file old[] = {FILE_OF("q4", "model.gguf", 6, 300),
					FILE_OF("q4", "vocab.json", 9, 5)};
	const struct plan_release releases[] = {RELEASE("2", new), RELEASE("1", old)};

	expect(releases, 2, "7<6 ");
}
END_TEST

START_TEST(test_delta_plan_equal_sizes_have_an_order)
{
	const struct plan_file new[] = {FILE_OF("b", "m", 2, 100), FILE_OF("a", "m", 1, 100)};
	const struct plan_file turned[] = {FILE_OF("a", "m", 1, 100), FILE_OF("b", "m", 2, 100)};
	const struct plan_release one[] = {RELEASE("1", new)}, other[] = {RELEASE("1", turned)};

	expect(one, 1, "2<1 ");
	expect(other, 1, "2<1 ");
}
END_TEST

/* ---- into the queue ---- */

static struct db *db_start(const struct scratch *scratch)
{
	static const struct sql_set *const sets[] = {&catalog_sql, &delta_queue_sql,
						     &delta_job_sql};
	char path[300];
	struct db *db = NULL;
	struct err err;

	snprintf(path, sizeof(path), "%s/flotilla.db", scratch->dir);
	if (db_open(&db, path, DB_WRITE, sets, COUNT_OF(sets), &err) < 0)
		ck_abort_msg("%s", err.text);
	return db;
}

#define OK(call)                                                                               \
	do {                                                                                   \
		if ((call) < 0)                                                                \
			ck_abort_msg("%s: %s", #call, err.text);                               \
	} while (0)

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){.length = 1000, .stored = 100 * recipe->bytes[0]};
	return 0;
}

/* A draft whose tiers q4 and q8 have recipes that begin with these two bytes. */
static void release_make(struct db *db, const char *release, unsigned q4, unsigned q8, int64_t now)
{
	const struct release_spec spec = {.model = "m", .release = release};
	const unsigned first[] = {q4, q8};
	const char *const tiers[] = {"q4", "q8"};
	struct err err;

	OK(catalog_release_add(db, &spec, now, &err));
	for (unsigned i = 0; i < 2; i++) {
		char hex[DIGEST_HEX] = "";
		struct digest recipe = {{(uint8_t)first[i]}};
		digest_hex(&recipe, hex);
		json_auto_t *body = json_pack("{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files",
					      "name", "model.gguf", "recipe", hex);
		OK(catalog_variant_put(db, "m", release, tiers[i], body, lookup, NULL, now, &err));
	}
}

static int note_job(void *arg, const struct delta_job *job, struct err *err)
{
	struct pairs *pairs = arg;
	const size_t len = strlen(pairs->text);

	(void)err;
	snprintf(pairs->text + len, sizeof(pairs->text) - len, "%u<%u ", job->new.bytes[0],
		 job->old.bytes[0]);
	return 0;
}

static void expect_queued(struct db *db, const char *wanted)
{
	const struct delta_job_query query = {DELTA_QUEUED, 0, 100};
	struct pairs pairs = {""};
	struct err err;

	OK(delta_job_list(db, &query, note_job, &pairs, &err));
	ck_assert_str_eq(pairs.text, wanted);
}

START_TEST(test_delta_queue_of_a_release_that_is_published)
{
	SCRATCH(scratch);
	AUTO(db_close) struct db *db = db_start(&scratch);
	struct err err;
	unsigned added;

	OK(catalog_model_add(db, "m", NOW, &err));
	release_make(db, "1", 1, 2, NOW);
	release_make(db, "draft", 31, 32, NOW);
	release_make(db, "2", 11, 12, NOW);
	OK(catalog_release_publish(db, "m", "1", NOW + 1, &err));
	OK(delta_queue_release(db, "m", "1", NOW + 1, &added, &err));
	ck_assert_uint_eq(added, 1);
	expect_queued(db, "2<1 ");
	OK(catalog_release_publish(db, "m", "2", NOW + 2, &err));
	OK(delta_queue_release(db, "m", "2", NOW + 2, &added, &err));
	expect_queued(db, "2<1 11<1 12<2 12<11 ");
	ck_assert_uint_eq(added, 3);
	OK(delta_queue_release(db, "m", "2", NOW + 3, &added, &err));
	ck_assert_uint_eq(added, 0);
}
END_TEST

START_TEST(test_delta_queue_by_publication_not_by_name)
{
	SCRATCH(scratch);
	AUTO(db_close) struct db *db = db_start(&scratch);
	struct err err;

	OK(catalog_model_add(db, "m", NOW, &err));
	release_make(db, "9", 1, 2, NOW);
	release_make(db, "1", 11, 12, NOW);
	OK(catalog_release_publish(db, "m", "9", NOW + 1, &err));
	OK(catalog_release_publish(db, "m", "1", NOW + 2, &err));
	OK(delta_queue_release(db, "m", "1", NOW, NULL, &err));
	expect_queued(db, "11<1 12<2 12<11 ");
}
END_TEST

/* A daemon of a version without deltas had these. */
START_TEST(test_delta_queue_missing_of_the_newest)
{
	SCRATCH(scratch);
	AUTO(db_close) struct db *db = db_start(&scratch);
	static const char *const names[] = {"1", "2", "3", "4", "5"};
	struct err err;
	unsigned added;

	OK(delta_queue_missing(db, NOW, &added, &err));
	ck_assert_uint_eq(added, 0);
	OK(catalog_model_add(db, "m", NOW, &err));
	for (unsigned i = 0; i < 5; i++) {
		release_make(db, names[i], 10 * i + 1, 10 * i + 2, NOW);
		/* The last two in the same second. */
		OK(catalog_release_publish(db, "m", names[i], NOW + (i < 4 ? i : 3), &err));
	}
	OK(delta_queue_missing(db, NOW + 9, &added, &err));
	expect_queued(db, "41<31 41<21 41<11 42<32 42<22 42<12 42<41 ");
	ck_assert_uint_eq(added, 7);
	OK(delta_queue_missing(db, NOW + 9, &added, &err));
	ck_assert_uint_eq(added, 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_delta_plan_first_release_has_nothing_before,
		test_delta_plan_from_the_last_three,
		test_delta_plan_keeps_tiers_apart_but_for_neighbours,
		test_delta_plan_formats_are_no_neighbours,
		test_delta_plan_same_file_is_of_the_same_name_or_the_only_one,
		test_delta_plan_nothing_from_a_file_to_itself,
		test_delta_plan_equal_sizes_have_an_order,
		test_delta_queue_of_a_release_that_is_published,
		test_delta_queue_by_publication_not_by_name,
		test_delta_queue_missing_of_the_newest,
	};
	return suite_run("delta_plan", tests, COUNT_OF(tests));
}
