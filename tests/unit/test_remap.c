/* The one way to write a map: nobody's change is lost, and none half made is seen. */
#include "store/remap.h"
#include "tests/support/shop.h"

#include <pthread.h>
#include <sys/stat.h>

#define EACH 60u /* changes of one thread */

static struct shop shop;
static struct goods goods;
static struct recipe_info info;
static struct err err;

static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
	goods_make(&goods, 5, 20000, "remap");
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
}

static void end(void)
{
	goods_done(&goods);
	shop_stop(&shop);
	shop_remove(&shop);
}

static struct chunkmap *map_now(void)
{
	struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(shop.blobs, BLOB_MAP, &info.recipe, &err);

	ck_assert_ptr_nonnull(blob);
	SHOP_OK(chunkmap_parse(&map, blob->bytes, blob->len, &err));
	return map;
}

static uint32_t deltas_now(void)
{
	AUTO(chunkmap_free) struct chunkmap *map = map_now();

	return map->delta_count;
}

/* Adds a delta whose old recipe begins with these two bytes. */
static int add_delta(void *arg, struct chunkmap *map, struct err *why)
{
	const uint8_t *who = arg;
	const struct chunkmap_delta delta = {.from = {{who[0], who[1]}}, .parts = 1, .bytes = 9};

	return chunkmap_add_delta(map, &delta, why) < 0 ? -1 : 1;
}

/* Another pack of the same content takes the first one's place, as repacking does. */
static int move_chunks(void *arg, struct chunkmap *map, struct err *why)
{
	const struct digest *pack = arg;
	uint32_t index;

	if (chunkmap_add_pack(map, pack, map->packs[map->chunks[0].pack].bytes, &index, why) < 0)
		return -1;
	for (uint32_t i = 0; i < map->count; i++)
		map->chunks[i].pack = index;
	return 1;
}

START_TEST(test_remap_publishes_a_change_that_survives_a_restart)
{
	uint8_t who[2] = {1, 2};

	SHOP_OK(remap(shop.blobs, &info.recipe, add_delta, who, &err));
	shop_stop(&shop);
	shop_start(&shop);
	AUTO(chunkmap_free) struct chunkmap *map = map_now();
	ck_assert_uint_eq(map->delta_count, 1);
	ck_assert_uint_eq(map->deltas[0].from.bytes[1], 2);
	ck_assert_uint_eq(map->deltas[0].bytes, 9);
	shop_sound(&shop);
	shop_expect(&shop, &info.recipe, &goods.raw);
}
END_TEST

static void *adder(void *arg)
{
	const uint8_t *first = arg;
	struct err why;

	for (unsigned i = 0; i < EACH; i++) {
		uint8_t who[2] = {*first, (uint8_t)i};
		if (remap(shop.blobs, &info.recipe, add_delta, who, &why) < 0)
			return arg;
	}
	return NULL;
}

static void *mover(void *arg)
{
	struct err why;

	for (unsigned i = 0; i < EACH; i++) {
		struct digest pack = {{9, (uint8_t)i}};
		if (remap(shop.blobs, &info.recipe, move_chunks, &pack, &why) < 0)
			return arg;
	}
	return NULL;
}

START_TEST(test_remap_loses_no_change_of_several_threads)
{
	uint8_t names[2] = {1, 2};
	pthread_t threads[3];
	void *failed;

	ck_assert(!pthread_create(&threads[0], NULL, adder, &names[0]));
	ck_assert(!pthread_create(&threads[1], NULL, adder, &names[1]));
	ck_assert(!pthread_create(&threads[2], NULL, mover, names));
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	AUTO(chunkmap_free) struct chunkmap *map = map_now();
	ck_assert_uint_eq(map->delta_count, 2 * EACH);
	ck_assert_uint_eq(map->pack_count, 1 + EACH);
}
END_TEST

static int leave(void *arg, struct chunkmap *map, struct err *why)
{
	(void)arg;
	(void)why;
	map->count = 0; /* is not even looked at */
	return 0;
}

static int refuse(void *arg, struct chunkmap *map, struct err *why)
{
	map->count = 0;
	(void)arg;
	return err_set(why, ERR_BUSY, "not now");
}

static int shorten(void *arg, struct chunkmap *map, struct err *why)
{
	(void)arg;
	(void)why;
	map->count--;
	return 1;
}

START_TEST(test_remap_publishes_nothing_unless_told)
{
	AUTO(blob_unref) struct blob *before = blob_get(shop.blobs, BLOB_MAP, &info.recipe, &err);

	SHOP_OK(remap(shop.blobs, &info.recipe, leave, NULL, &err));
	ck_assert_int_eq(remap(shop.blobs, &info.recipe, refuse, NULL, &err), -1);
	ck_assert_int_eq(err.status, ERR_BUSY);
	ck_assert_int_eq(remap(shop.blobs, &info.recipe, shorten, NULL, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	AUTO(blob_unref) struct blob *after = blob_get(shop.blobs, BLOB_MAP, &info.recipe, &err);
	ck_assert_ptr_eq(before, after); /* the same mapping: not replaced */
}
END_TEST

START_TEST(test_remap_wants_a_map_that_can_be_read)
{
	const struct digest other = {{3}};
	uint8_t who[2] = {0};

	ck_assert_int_eq(remap(shop.blobs, &other, add_delta, who, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	SHOP_OK(blob_put(shop.blobs, BLOB_MAP, &other, "FLMP nonsense", 13, &err));
	ck_assert_int_eq(remap(shop.blobs, &other, add_delta, who, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
	AUTO(blob_unref) struct blob *map = blob_get(shop.blobs, BLOB_MAP, &info.recipe, &err);
	SHOP_OK(blob_put(shop.blobs, BLOB_MAP, &other, map->bytes, map->len, &err));
	ck_assert_int_eq(remap(shop.blobs, &other, add_delta, who, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
}
END_TEST

/* A pack is damaged and set aside; the push that mends the recipe writes a new map. */
START_TEST(test_remap_keeps_deltas_when_a_recipe_is_pushed_again)
{
	const struct verify_options options = {.deep = true, .mend = true};
	struct verify_report report;
	uint8_t who[2] = {7, 7};
	char hex[DIGEST_HEX], path[400];

	SHOP_OK(remap(shop.blobs, &info.recipe, add_delta, who, &err));
	digest_hex(&goods.pack_name, hex);
	snprintf(path, sizeof(path), "%s/packs/%.2s/%s", shop.dir, hex, hex);
	ck_assert_int_eq(truncate(path, 100), 0);
	SHOP_OK(verify_store(shop.blobs, shop.db, &options, &report, &err));
	ck_assert_uint_ge(report.damaged, 1);
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_expect(&shop, &info.recipe, &goods.raw);
	ck_assert_uint_eq(deltas_now(), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("remap");
	TCase *tests = tcase_create("all");

	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, test_remap_publishes_a_change_that_survives_a_restart);
	tcase_add_test(tests, test_remap_loses_no_change_of_several_threads);
	tcase_add_test(tests, test_remap_publishes_nothing_unless_told);
	tcase_add_test(tests, test_remap_wants_a_map_that_can_be_read);
	tcase_add_test(tests, test_remap_keeps_deltas_when_a_recipe_is_pushed_again);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
