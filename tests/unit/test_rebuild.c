/* Rows lost, made again from the files; each writing call of that fails once. */
#include "store/gc.h"
#include "store/rebuild.h"
#include "tests/support/failing_calls.h"
#include "tests/support/shop.h"

#define FILES 5

enum { NO_PACKS, NO_CHUNKS, NO_RECIPES, SQL_COUNT };
static const char *const statements[] = {
	[NO_PACKS] = "DELETE FROM packs",
	[NO_CHUNKS] = "DELETE FROM chunks",
	[NO_RECIPES] = "DELETE FROM recipes",
};
static const struct sql_set losing_sql = {"losing", statements, SQL_COUNT};

static struct shop shop;
static struct goods goods[FILES];
static struct recipe_info infos[FILES];
static struct err err;

static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
	for (unsigned i = 0; i < FILES; i++) {
		char seed[20];
		snprintf(seed, sizeof(seed), "r%u", i);
		goods_make(&goods[i], 3, 20000, seed);
		SHOP_OK(shop_push(&shop, &goods[i], &infos[i], &err));
	}
}

static void end(void)
{
	for (unsigned i = 0; i < FILES; i++)
		goods_done(&goods[i]);
	shop_stop(&shop);
	shop_remove(&shop);
}

static void file_of(const char *dir, const struct digest *name, char out[static 400])
{
	char hex[DIGEST_HEX];

	digest_hex(name, hex);
	snprintf(out, 400, "%s/%s/%.2s/%s", shop.dir, dir, hex, hex);
}

static int rows_lose(struct db *db, void *arg, struct err *why)
{
	(void)arg;
	for (unsigned i = 0; i < SQL_COUNT; i++) {
		STMT(q, db, &losing_sql, i);
		if (stmt_run(q, why) < 0)
			return -1;
	}
	return 0;
}

/* With a connection of its own, since no other knows such statements. */
static void lose_rows(void)
{
	static const struct sql_set *const sets[] = {&losing_sql};
	struct ledger *ledger = NULL;
	struct db *db = NULL;
	char path[300];

	shop_stop(&shop);
	snprintf(path, sizeof(path), "%s/flotilla.db", shop.dir);
	SHOP_OK(db_open(&db, path, DB_WRITE, sets, 1, &err));
	SHOP_OK(ledger_new(&ledger, db, 16, &err));
	SHOP_OK(ledger_run(ledger, rows_lose, NULL, &err));
	ledger_free(ledger);
	shop_start(&shop);
}

static struct rebuild_report rebuilt(void)
{
	struct rebuild_report report;

	SHOP_OK(store_rebuild(shop.blobs, shop.db, SHOP_NOW, &report, &err));
	return report;
}

/* Nothing need be sent, and everything can be read. */
static void all_there(unsigned from)
{
	for (unsigned i = from; i < FILES; i++) {
		uint8_t bitmap = 0xff;
		SHOP_OK(ingest_missing(shop.blobs, shop.db, goods[i].chunks, 3, NULL, SHOP_NOW,
				       &bitmap, &err));
		ck_assert_uint_eq(bitmap & 7, 0);
		shop_expect(&shop, &goods[i].recipe_name, &goods[i].raw);
	}
}

START_TEST(test_rebuild_makes_lost_rows_again)
{
	struct inventory_sums before, after;
	struct recipe_info again;

	SHOP_OK(inventory_sum(shop.db, &before, &err));
	lose_rows();
	SHOP_OK(inventory_sum(shop.db, &after, &err));
	ck_assert_int_eq(after.packs + after.chunks + after.recipes, 0);
	struct rebuild_report report = rebuilt();
	ck_assert_uint_eq(report.packs, FILES);
	ck_assert_uint_eq(report.chunks, 3 * FILES);
	ck_assert_uint_eq(report.recipes, FILES);
	ck_assert_int_eq(report.first.status, ERR_NONE);
	SHOP_OK(inventory_sum(shop.db, &after, &err));
	ck_assert(!memcmp(&before, &after, sizeof(before)));
	for (unsigned i = 0; i < FILES; i++) {
		SHOP_OK(inventory_recipe(shop.db, &infos[i].recipe, &again, &err));
		ck_assert_int_eq(again.stored, infos[i].stored);
		ck_assert_int_eq(again.length, infos[i].length);
		ck_assert_int_eq(again.format, infos[i].format);
	}
	all_there(0);
	shop_sound(&shop);
	/* It is new: nothing goes before the grace. */
	const struct gc_options options = {.now = SHOP_NOW + 900, .grace_s = 1000};
	struct gc_report gone;
	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &gone, &err));
	ck_assert_uint_eq(gone.recipes + gone.packs, 0);
}
END_TEST

START_TEST(test_rebuild_of_what_is_right_changes_nothing)
{
	struct inventory_sums before, after;

	SHOP_OK(inventory_sum(shop.db, &before, &err));
	rebuilt();
	SHOP_OK(inventory_sum(shop.db, &after, &err));
	ck_assert(!memcmp(&before, &after, sizeof(before)));
	all_there(0);
}
END_TEST

START_TEST(test_rebuild_forgets_packs_that_are_gone_and_sets_torn_ones_aside)
{
	char path[400];

	shop_stop(&shop);
	file_of("packs", &goods[0].pack_name, path);
	ck_assert_int_eq(unlink(path), 0);
	file_of("packs", &goods[1].pack_name, path);
	ck_assert_int_eq(truncate(path, 100), 0);
	file_of("maps", &goods[2].recipe_name, path);
	ck_assert_int_eq(unlink(path), 0); /* made anew */
	shop_start(&shop);
	struct rebuild_report report = rebuilt();
	ck_assert_uint_eq(report.dropped, 1);
	ck_assert_uint_eq(report.unreadable, 1);
	ck_assert_uint_eq(report.hurt, 2);
	ck_assert_uint_eq(report.recipes, FILES - 2);
	ck_assert_int_ne(report.first.status, ERR_NONE);
	ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &goods[1].pack_name));
	all_there(2);
	for (unsigned i = 0; i < 2; i++)
		SHOP_OK(shop_push(&shop, &goods[i], &infos[i], &err));
	all_there(0);
	shop_sound(&shop);
}
END_TEST

START_TEST(test_rebuild_can_be_repeated_after_any_failure)
{
	struct rebuild_report report;
	unsigned refused = 0;
	bool met = true;

	for (int nth = 1; met; nth++) {
		lose_rows();
		atomic_store(&failures, 0);
		atomic_store(&error_number, EIO);
		atomic_store(&countdown, nth);
		refused += store_rebuild(shop.blobs, shop.db, SHOP_NOW, &report, &err) < 0;
		atomic_store(&countdown, 0);
		met = atomic_load(&failures) > 0;
		shop_stop(&shop);
		shop_start(&shop);
		rebuilt();
		all_there(0);
		shop_sound(&shop);
	}
	ck_assert_uint_gt(refused, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rebuild");
	TCase *tc = tcase_create("rebuild");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_rebuild_makes_lost_rows_again);
	tcase_add_test(tc, test_rebuild_of_what_is_right_changes_nothing);
	tcase_add_test(tc, test_rebuild_forgets_packs_that_are_gone_and_sets_torn_ones_aside);
	tcase_add_test(tc, test_rebuild_can_be_repeated_after_any_failure);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
