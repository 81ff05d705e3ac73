/* Packs that are mostly dead: what lives moves, nothing is lost, whatever fails. */
#include "base/file.h"
#include "store/gc.h"
#include "store/remap.h"
#include "tests/support/failing_calls.h"
#include "tests/support/shop.h"

#define CHUNKS 6
#define CHUNK_BYTES 20000
#define LATE (SHOP_NOW + 5000) /* long after the pushes */

static struct shop shop;
static struct goods goods;
static struct err err;

/* The first chunks of goods as a file of their own. */
struct part {
	struct buf recipe, raw;
	struct recipe_info info;
};

static void part_push(struct part *part, unsigned count, int64_t now)
{
	struct recipe *recipe = recipe_new();
	struct digest name;

	buf_init(&part->recipe, 1 << 20);
	buf_init(&part->raw, 1 << 20);
	for (unsigned i = 0; i < count; i++)
		SHOP_OK(recipe_add(recipe, &goods.chunks[i], CHUNK_BYTES, ELEMENT_OPAQUE, &err));
	buf_add(&part->raw, goods.raw.data, (size_t)count * CHUNK_BYTES);
	digest_of(&recipe->sha256, part->raw.data, part->raw.len);
	SHOP_OK(recipe_encode(recipe, &part->recipe, &name, &err));
	SHOP_OK(ingest_recipe(shop.blobs, shop.db, part->recipe.data, part->recipe.len, NULL, now, NULL,
			      &part->info, &err));
	recipe_free(recipe);
}

static void part_done(struct part *part)
{
	buf_done(&part->recipe);
	buf_done(&part->raw);
}

/* Somebody pushes it again: it lives, and its pack is as old as before. */
static void part_keep(struct part *part, int64_t now)
{
	SHOP_OK(ingest_recipe(shop.blobs, shop.db, part->recipe.data, part->recipe.len, NULL, now, NULL,
			      &part->info, &err));
}

static void begin(void)
{
	struct recipe_info info;

	shop_dir(&shop);
	shop_start(&shop);
	goods_make(&goods, CHUNKS, CHUNK_BYTES, "repack");
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
}

static void end(void)
{
	goods_done(&goods);
	shop_stop(&shop);
	shop_remove(&shop);
}

static struct gc_report collected(int64_t now, bool dry_run)
{
	const struct gc_options options = {.now = now, .grace_s = 1000, .dry_run = dry_run};
	struct gc_report report;

	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &report, &err));
	return report;
}

static struct chunkmap *map_of(const struct digest *recipe)
{
	struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(shop.blobs, BLOB_MAP, recipe, &err);

	ck_assert_ptr_nonnull(blob);
	SHOP_OK(chunkmap_parse(&map, blob->bytes, blob->len, &err));
	return map;
}

static bool names_old(const struct digest *recipe)
{
	AUTO(chunkmap_free) struct chunkmap *map = map_of(recipe);

	for (uint32_t i = 0; i < map->pack_count; i++)
		if (digest_eq(&map->packs[i].digest, &goods.pack_name))
			return true;
	return false;
}

/* Which of the goods' chunks must be sent. */
static unsigned missing(int64_t now)
{
	uint8_t bitmap = 0;

	SHOP_OK(ingest_missing(shop.blobs, shop.db, goods.chunks, CHUNKS, NULL, now, &bitmap,
			       &err));
	return bitmap;
}

START_TEST(test_repack_moves_what_lives_and_keeps_the_old_pack_for_the_grace)
{
	struct part part;
	struct inventory_sums sums;

	part_push(&part, 2, SHOP_NOW);
	part_keep(&part, LATE - 500);
	struct gc_report told = collected(LATE, true);
	ck_assert_uint_eq(told.recipes, 1); /* of the whole */
	ck_assert_uint_eq(told.repacked.packs, 1);
	ck_assert_uint_eq(told.repacked.chunks, 2);
	ck_assert(names_old(&part.info.recipe));
	struct gc_report done = collected(LATE, false);
	ck_assert_uint_eq(done.recipes, 1);
	ck_assert_uint_eq(done.packs, 0);
	ck_assert_uint_eq(done.repacked.packs, 1);
	ck_assert_uint_eq(done.repacked.chunks, 2);
	ck_assert_uint_eq(done.repacked.bytes, told.repacked.bytes);
	ck_assert_uint_eq(done.repacked.made, 1);
	ck_assert_uint_eq(done.repacked.maps, 1);
	/* The new map, and the old one that a device may hold. */
	ck_assert(!names_old(&part.info.recipe));
	ck_assert(blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
	shop_expect(&shop, &part.info.recipe, &part.raw);
	shop_sound(&shop);
	part_keep(&part, LATE + 900);
	ck_assert_uint_eq(collected(LATE + 900, false).packs, 0);
	part_keep(&part, LATE + 1001);
	done = collected(LATE + 1001, false);
	ck_assert_uint_eq(done.packs, 1);
	ck_assert_uint_eq(done.repacked.packs, 0);
	ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
	SHOP_OK(inventory_sum(shop.db, &sums, &err));
	ck_assert_int_eq(sums.packs, 1);
	ck_assert_int_eq(sums.chunks, 2);
	ck_assert_uint_eq(missing(LATE + 1001), 0x3c); /* the first two are there */
	shop_stop(&shop);
	shop_start(&shop);
	shop_expect(&shop, &part.info.recipe, &part.raw);
	shop_sound(&shop);
	part_done(&part);
}
END_TEST

START_TEST(test_repack_leaves_packs_that_are_half_live_or_wanted)
{
	struct part part, other;

	part_push(&part, 4, SHOP_NOW);
	part_keep(&part, LATE);
	ck_assert_uint_eq(collected(LATE, false).repacked.packs, 0);
	part_push(&other, 1, LATE + 5000);
	/* Now one chunk of six lives, but somebody has just been told that the pack is there. */
	ck_assert_uint_eq(missing(LATE + 5000), 0);
	struct gc_report report = collected(LATE + 5000, false);
	ck_assert_uint_eq(report.recipes, 1);
	ck_assert_uint_eq(report.repacked.packs, 0);
	shop_expect(&shop, &other.info.recipe, &other.raw);
	part_done(&part);
	part_done(&other);
}
END_TEST

static int add_delta(void *arg, struct chunkmap *map, struct err *why)
{
	const struct chunkmap_delta delta = {.from = {{7}}, .parts = 2, .bytes = 99};

	(void)arg;
	return chunkmap_add_delta(map, &delta, why) < 0 ? -1 : 1;
}

START_TEST(test_repack_keeps_deltas_and_moves_several_recipes)
{
	struct part parts[2];

	part_push(&parts[0], 1, SHOP_NOW);
	part_push(&parts[1], 2, SHOP_NOW);
	SHOP_OK(remap(shop.blobs, &parts[0].info.recipe, add_delta, NULL, &err));
	for (int i = 0; i < 2; i++)
		part_keep(&parts[i], LATE);
	struct gc_report report = collected(LATE, false);
	ck_assert_uint_eq(report.repacked.maps, 2);
	ck_assert_uint_eq(report.repacked.chunks, 2);
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&parts[0].info.recipe);
	ck_assert_uint_eq(map->delta_count, 1);
	ck_assert_uint_eq(map->deltas[0].bytes, 99);
	for (int i = 0; i < 2; i++) {
		shop_expect(&shop, &parts[i].info.recipe, &parts[i].raw);
		part_done(&parts[i]);
	}
}
END_TEST

START_TEST(test_repack_leaves_damage_to_the_scrub)
{
	struct part part;
	char hex[DIGEST_HEX], path[400];

	part_push(&part, 2, SHOP_NOW);
	part_keep(&part, LATE);
	digest_hex(&goods.pack_name, hex);
	snprintf(path, sizeof(path), "%s/packs/%.2s/%s", shop.dir, hex, hex);
	AUTO_FD int fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "rot", 3, 100), 3); /* in the first chunk */
	struct gc_report report = collected(LATE, false);
	ck_assert_uint_eq(report.repacked.chunks, 1);
	ck_assert(names_old(&part.info.recipe));
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&part.info.recipe);
	ck_assert_uint_eq(map->pack_count, 2);
	/* The scrub sets the pack aside, and a push mends it. */
	const struct verify_options options = {.deep = true, .mend = true};
	struct verify_report found;
	SHOP_OK(verify_store(shop.blobs, shop.db, &options, &found, &err));
	ck_assert_uint_eq(found.damaged, 2);
	SHOP_OK(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err));
	part_keep(&part, LATE);
	shop_expect(&shop, &part.info.recipe, &part.raw);
	shop_sound(&shop);
	part_done(&part);
}
END_TEST

static bool never(void *arg)
{
	(void)arg;
	return false;
}

START_TEST(test_repack_can_be_put_off)
{
	const struct gc_options options = {.now = LATE, .grace_s = 1000, .go_on = never};
	struct gc_report report;
	struct part part;

	part_push(&part, 2, SHOP_NOW);
	part_keep(&part, LATE);
	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &report, &err));
	ck_assert_uint_eq(report.repacked.packs, 0);
	ck_assert_uint_eq(report.repacked.left, 1);
	ck_assert_uint_eq(collected(LATE, false).repacked.packs, 1);
	shop_expect(&shop, &part.info.recipe, &part.raw);
	part_done(&part);
}
END_TEST

/* Fail the first writing call, the second, ...; each time from a store as it was. */
static void fail_each(int number, bool for_good)
{
	const struct gc_options options = {.now = LATE, .grace_s = 1000};
	struct gc_report report;
	struct err why;
	unsigned refused = 0;
	bool met = true;

	for (int nth = 1; met; nth++) {
		struct part part;
		end();
		begin();
		part_push(&part, 2, SHOP_NOW);
		part_keep(&part, LATE);
		atomic_store(&failures, 0);
		atomic_store(&error_number, number);
		atomic_store(&sticky, for_good);
		atomic_store(&countdown, nth);
		int result = gc_run(shop.blobs, shop.db, &options, &report, &why);
		atomic_store(&countdown, 0);
		atomic_store(&sticky, false);
		met = atomic_load(&failures) > 0;
		refused += result < 0;
		shop_sound(&shop);
		shop_expect(&shop, &part.info.recipe, &part.raw);
		shop_stop(&shop);
		shop_start(&shop);
		shop_sound(&shop);
		shop_expect(&shop, &part.info.recipe, &part.raw);
		/* After the grace, whatever was done until then, it ends as it should. */
		part_keep(&part, LATE + 2000);
		collected(LATE + 2000, false);
		part_keep(&part, LATE + 4000);
		collected(LATE + 4000, false);
		ck_assert(!names_old(&part.info.recipe));
		ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
		shop_sound(&shop);
		shop_expect(&shop, &part.info.recipe, &part.raw);
		part_done(&part);
	}
	ck_assert_uint_gt(refused, 10);
}

START_TEST(test_repack_survives_every_failure)
{
	fail_each(EIO, false);
}
END_TEST

START_TEST(test_repack_survives_a_full_disk)
{
	fail_each(ENOSPC, true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("repack");
	TCase *tc = tcase_create("repack");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_repack_moves_what_lives_and_keeps_the_old_pack_for_the_grace);
	tcase_add_test(tc, test_repack_leaves_packs_that_are_half_live_or_wanted);
	tcase_add_test(tc, test_repack_keeps_deltas_and_moves_several_recipes);
	tcase_add_test(tc, test_repack_leaves_damage_to_the_scrub);
	tcase_add_test(tc, test_repack_can_be_put_off);
	tcase_add_test(tc, test_repack_survives_every_failure);
	tcase_add_test(tc, test_repack_survives_a_full_disk);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
