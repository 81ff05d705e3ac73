/* Every write, sync, link and rename that a push makes fails once, the store's own and SQLite's, one
 * after the other.  Whatever then was acknowledged is there, what was not can be repeated, and nothing
 * torn is left. */
#include "base/file.h"
#include "store/gc.h"
#include "tests/support/failing_calls.h"
#include "tests/support/shop.h"

#include <errno.h>

static struct shop shop;
static struct goods goods;
static struct recipe_info info;

static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
	goods_make(&goods, 3, 20000, "faults");
}

static void end(void)
{
	goods_done(&goods);
	shop_stop(&shop);
	shop_remove(&shop);
}

/* ---- What is done while calls fail: 0 means acknowledged. ---- */

static int push_pack(struct err *err)
{
	int fd = open(blobs_tmp(shop.blobs), O_TMPFILE | O_RDWR, 0600);
	struct ingest_result result;

	/* Arrived before: the body is the server's business. */
	ck_assert_int_eq(syscall(SYS_write, fd, goods.pack.data, goods.pack.len),
			 (long)goods.pack.len);
	int failed = ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, goods.pack.len,
				 SHOP_NOW, NULL, &result, err);
	close(fd);
	return failed;
}

static int push(struct err *err)
{
	if (push_pack(err) < 0)
		return -1;
	return ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL,
			     SHOP_NOW, NULL, &info, err);
}

/* As push(), by a token that may not learn what is there. */
static int brought(struct db *db, void *arg, const struct recipe_info *made, struct err *err)
{
	(void)arg;
	return taken_add(db, "t2", made ? TAKEN_RECIPE : TAKEN_PACK,
			 made ? &made->recipe : &goods.pack_name, 1, SHOP_NOW, err);
}

static int push_scoped(struct err *err)
{
	const struct scope scope = {"\nmine\n", "t2"};
	const struct also also = {.fn = brought, .blind = true};
	AUTO(map_free) struct map *places = NULL;
	struct ingest_result result;
	AUTO_FD int fd = open(blobs_tmp(shop.blobs), O_TMPFILE | O_RDWR, 0600);

	ck_assert_int_eq(syscall(SYS_write, fd, goods.pack.data, goods.pack.len),
			 (long)goods.pack.len);
	if (ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, goods.pack.len, SHOP_NOW, &also,
			&result, err) < 0 ||
	    scope_places(shop.blobs, shop.db, &scope, goods.chunks, goods.count, &places, err) < 0)
		return -1;
	return ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, places,
			     SHOP_NOW, &also, &info, err);
}

static int send_file(struct err *err)
{
	struct upload_spec spec = {.taker = {.token = "t1"}, .length = -1, .max_length = 1 << 30};
	const struct upload_part part = {.len = -1, .max_length = 1 << 30};
	struct upload upload;
	int64_t max, offset;
	AUTO_FD int fd = -1;

	if (upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, err) < 0 ||
	    upload_append(shop.blobs, shop.db, upload.id, &spec.taker, &part, SHOP_NOW, &fd, &max,
			  err) < 0)
		return -1;
	if (write(fd, goods.raw.data, goods.raw.len) != (ssize_t)goods.raw.len)
		return err_set(err, ERR_FULL, "the body");
	if (upload_appended(shop.blobs, upload.id, fd, SHOP_NOW, &offset, err) < 0)
		return -1;
	close(fd);
	fd = -1;
	return upload_finish(shop.blobs, shop.db, upload.id, "t1", NULL, NULL, SHOP_NOW, NULL,
			     &info, err);
}

static int collect(struct err *err)
{
	const struct gc_options late = {.now = SHOP_NOW + 5000, .grace_s = 1000};
	struct gc_report report;

	return gc_run(shop.blobs, shop.db, &late, &report, err);
}

/* ---- One run: the nth call fails. ---- */

static int run_failing(int (*act)(struct err *err), int nth, int number, struct err *err)
{
	atomic_store(&failures, 0);
	atomic_store(&error_number, number);
	atomic_store(&countdown, nth);
	int result = act(err);
	atomic_store(&countdown, 0);
	atomic_store(&sticky, false);
	return result;
}

static void check_after(int (*act)(struct err *err), int result, const struct err *why)
{
	struct err err;

	if (result < 0)
		ck_assert_msg(why->status == ERR_SYSTEM || why->status == ERR_FULL ||
				      why->status == ERR_CORRUPT || why->status == ERR_BUSY,
			      "%s: %s", err_name(why->status), why->text);
	shop_sound(&shop);
	shop_stop(&shop);
	shop_start(&shop);
	shop_sound(&shop);
	if (!result && act != collect)
		shop_expect(&shop, &info.recipe, &goods.raw);
	SHOP_OK(act(&err));
	if (act != collect)
		shop_expect(&shop, &info.recipe, &goods.raw);
}

/* Fail the first call, the second, ... until the action meets no failure any more. */
static void fail_each(int (*act)(struct err *err), int number, bool for_good)
{
	struct err err;
	unsigned refused = 0;

	for (int nth = 1;; nth++) {
		ck_assert_int_lt(nth, 400);
		if (act == collect)
			SHOP_OK(push(&err));
		atomic_store(&sticky, for_good);
		int result = run_failing(act, nth, number, &err);
		bool met = atomic_load(&failures) > 0;
		refused += result < 0;
		check_after(act, result, &err);
		if (!met)
			break;
		/* Other goods: what is stored already is not written again. */
		char seed[20];
		snprintf(seed, sizeof(seed), "f%d", nth);
		goods_done(&goods);
		goods_make(&goods, 3, 20000, seed);
	}
	ck_assert_uint_gt(refused, 0);
}

START_TEST(test_store_faults_push)
{
	fail_each(push, EIO, false);
}
END_TEST

START_TEST(test_store_faults_push_on_a_full_disk)
{
	fail_each(push, ENOSPC, true);
}
END_TEST

START_TEST(test_store_faults_push_in_a_scope)
{
	fail_each(push_scoped, EIO, false);
}
END_TEST

START_TEST(test_store_faults_upload)
{
	fail_each(send_file, EIO, false);
}
END_TEST

START_TEST(test_store_faults_upload_on_a_full_disk)
{
	fail_each(send_file, ENOSPC, true);
}
END_TEST

START_TEST(test_store_faults_collecting)
{
	fail_each(collect, EIO, false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_faults");
	TCase *tc = tcase_create("store_faults");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_store_faults_push);
	tcase_add_test(tc, test_store_faults_push_on_a_full_disk);
	tcase_add_test(tc, test_store_faults_push_in_a_scope);
	tcase_add_test(tc, test_store_faults_upload);
	tcase_add_test(tc, test_store_faults_upload_on_a_full_disk);
	tcase_add_test(tc, test_store_faults_collecting);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
