#include "base/clock.h"
#include "base/file.h"
#include "store/gc.h"
#include "tests/support/shop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct shop shop;
static struct goods goods;
static struct recipe_info info;
static struct err err;

static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
	goods_make(&goods, 5, 70000, "a");
}

static void end(void)
{
	goods_done(&goods);
	shop_stop(&shop);
	shop_remove(&shop);
}

static void refused(int result, enum status status, const char *word)
{
	ck_assert_int_eq(result, -1);
	ck_assert_msg(err.status == status && strstr(err.text, word), "%s: %s",
		      err_name(err.status), err.text);
}

static void blob_path(enum blob_kind kind, const struct digest *name, char out[static 400])
{
	static const char *const dirs[] = {"packs", "recipes", "maps"};
	char hex[DIGEST_HEX];

	digest_hex(name, hex);
	snprintf(out, 400, "%s/%s/%.2s/%s", shop.dir, dirs[kind], hex, hex);
}

/* ---- Packs and recipes going in. ---- */

START_TEST(test_blob_push_is_readable_and_survives_a_restart)
{
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	ck_assert(digest_eq(&info.recipe, &goods.recipe_name));
	ck_assert(digest_eq(&info.sha256, &goods.sha256));
	ck_assert_int_eq(info.length, 5 * 70000);
	ck_assert_int_gt(info.stored, 0);
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
	shop_stop(&shop);
	shop_start(&shop);
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	shop_sound(&shop);
}
END_TEST

START_TEST(test_blob_push_twice_changes_nothing)
{
	struct recipe_info again;
	struct inventory_sums before, after;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(inventory_sum(shop.db, &before, &err));
	SHOP_OK(shop_push(&shop, &goods, &again, &err));
	refused(shop_put_pack(&shop, &goods.pack_name, "other bytes", 11, &err), ERR_UNTRUSTED,
		"not its name");
	SHOP_OK(inventory_sum(shop.db, &after, &err));
	ck_assert(!memcmp(&before, &after, sizeof(before)));
	ck_assert_int_eq(info.stored, again.stored);
}
END_TEST

START_TEST(test_blob_file_is_found_by_its_sha256)
{
	struct digest other = {{1}};

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(inventory_file(shop.db, &goods.sha256, &info, &err));
	ck_assert(digest_eq(&info.recipe, &goods.recipe_name));
	refused(inventory_file(shop.db, &other, &info, &err), ERR_NOT_FOUND, "no such");
}
END_TEST

static void nothing_stored(void)
{
	struct inventory_sums sums;

	SHOP_OK(inventory_sum(shop.db, &sums, &err));
	ck_assert_int_eq(sums.packs + sums.chunks + sums.recipes, 0);
	ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
}

START_TEST(test_blob_pack_truncated_is_refused)
{
	for (size_t cut = 1; cut < goods.pack.len; cut = cut * 3 + 1)
		refused(shop_put_pack(&shop, &goods.pack_name, goods.pack.data,
				      goods.pack.len - cut, &err),
			ERR_UNTRUSTED, "not its name");
	nothing_stored();
}
END_TEST

START_TEST(test_blob_pack_with_a_lying_chunk_is_refused)
{
	struct digest name;

	goods.pack.data[PACK_HEAD + 1000] ^= 1;
	digest_of(&name, goods.pack.data, goods.pack.len);
	ck_assert_int_eq(shop_put_pack(&shop, &name, goods.pack.data, goods.pack.len, &err), -1);
	ck_assert_msg(strstr(err.text, "chunk 0"), "%s", err.text);
	ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &name));
	nothing_stored();
}
END_TEST

START_TEST(test_blob_pack_reordered_is_refused)
{
	struct digest name;
	char *a = goods.pack.data + PACK_HEAD, *b = a + 70000, keep[512];

	memcpy(keep, a, sizeof(keep));
	memcpy(a, b, sizeof(keep));
	memcpy(b, keep, sizeof(keep));
	digest_of(&name, goods.pack.data, goods.pack.len);
	ck_assert_int_eq(shop_put_pack(&shop, &name, goods.pack.data, goods.pack.len, &err), -1);
	nothing_stored();
}
END_TEST

START_TEST(test_blob_pack_oversized_is_refused)
{
	struct ingest_result result;
	int fd = shop_spool(&shop, "x", 1);

	ck_assert_int_eq(ftruncate(fd, (off_t)PACK_MAX + 1), 0);
	refused(ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, (uint64_t)PACK_MAX + 1,
			    SHOP_NOW, NULL, &result, &err),
		ERR_TOO_LARGE, "longer");
	close(fd);
}
END_TEST

START_TEST(test_blob_pack_copies_what_it_cannot_link)
{
	struct ingest_result result;
	char path[300];

	snprintf(path, sizeof(path), "%s/named", shop.dir);
	SHOP_OK(file_write(path, goods.pack.data, goods.pack.len, 0600, &err));
	AUTO_FD int fd = open(path, O_RDONLY);
	SHOP_OK(ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, goods.pack.len, SHOP_NOW,
			    NULL, &result, &err));
	ck_assert_uint_eq(result.chunks, 5);
	ck_assert(!result.known);
	ck_assert_int_eq(access(path, F_OK), 0);
	shop_sound(&shop);
}
END_TEST

START_TEST(test_blob_recipe_without_chunks_is_refused)
{
	refused(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL, SHOP_NOW,
			      NULL, &info, &err),
		ERR_CONFLICT, "5 of 5 chunks");
	nothing_stored();
}
END_TEST

START_TEST(test_blob_recipe_that_lies_is_refused)
{
	SHOP_OK(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err));
	goods.recipe.data[16] ^= 1; /* the file's SHA-256 */
	refused(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL, SHOP_NOW,
			      NULL, &info, &err),
		ERR_UNTRUSTED, "not of what it states");
	refused(inventory_file(shop.db, &goods.sha256, &info, &err), ERR_NOT_FOUND, "");
}
END_TEST

START_TEST(test_blob_recipe_with_swapped_chunks_is_refused)
{
	char *a = goods.recipe.data + RECIPE_HEAD, *b = a + RECIPE_ENTRY, keep[RECIPE_ENTRY];

	SHOP_OK(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err));
	memcpy(keep, a, sizeof(keep));
	memcpy(a, b, sizeof(keep));
	memcpy(b, keep, sizeof(keep));
	refused(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL, SHOP_NOW,
			      NULL, &info, &err),
		ERR_UNTRUSTED, "not of what it states");
}
END_TEST

START_TEST(test_blob_empty_file_has_a_recipe)
{
	AUTO(recipe_free) struct recipe *recipe = recipe_new();
	AUTO_BUF struct buf bytes = BUF_INIT(1000), empty = BUF_INIT(1);
	struct digest name;

	digest_of(&recipe->sha256, "", 0);
	SHOP_OK(recipe_encode(recipe, &bytes, &name, &err));
	SHOP_OK(ingest_recipe(shop.blobs, shop.db, bytes.data, bytes.len, NULL, SHOP_NOW, NULL, &info,
			      &err));
	shop_expect(&shop, &name, &empty);
}
END_TEST

static int also_fails(struct db *db, void *arg, const struct recipe_info *given, struct err *why)
{
	(void)db;
	*(int *)arg += 1;
	ck_assert_ptr_null(given);
	return err_set(why, ERR_DENIED, "the audit is shut");
}

START_TEST(test_blob_also_shares_the_transaction)
{
	int calls = 0;
	struct also also = {.fn = also_fails, .arg = &calls};
	struct ingest_result result;
	int fd = shop_spool(&shop, goods.pack.data, goods.pack.len);

	refused(ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, goods.pack.len, SHOP_NOW,
			    &also, &result, &err),
		ERR_DENIED, "shut");
	close(fd);
	ck_assert_int_eq(calls, 1);
	ck_assert_int_eq(inventory_pack(shop.db, &goods.pack_name, &err), 0);
	SHOP_OK(shop_push(&shop, &goods, &info, &err)); /* the file that stayed is in nobody's way */
	shop_sound(&shop);
}
END_TEST

START_TEST(test_blob_missing_tells_what_to_send)
{
	struct digest asked[11];
	uint8_t bitmap[2] = {0xff, 0xff};
	AUTO(map_free) struct map *places = map_new(free);
	struct chunk_place *place = malloc(sizeof(*place));

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	for (unsigned i = 0; i < 11; i++)
		asked[i] = i % 2 ? goods.chunks[i / 2] : (struct digest){{(uint8_t)i, 7}};
	SHOP_OK(ingest_missing(shop.blobs, shop.db, asked, 11, NULL, SHOP_NOW, bitmap, &err));
	ck_assert_uint_eq(bitmap[0], 0x55);
	ck_assert_uint_eq(bitmap[1] & 7, 0x5);
	/* Who may know one of them only learns of that one. */
	ck_assert_int_eq(inventory_chunk(shop.db, &asked[3], place, &err), 1);
	ck_assert_int_eq(map_put(places, asked[3].bytes, DIGEST_LEN, place), 0);
	bitmap[0] = bitmap[1] = 0xff;
	SHOP_OK(ingest_missing(shop.blobs, shop.db, asked, 11, places, SHOP_NOW, bitmap, &err));
	ck_assert_uint_eq(bitmap[0], 0xf7);
	ck_assert_uint_eq(bitmap[1], 0xff);
}
END_TEST

START_TEST(test_blob_reserve_is_kept)
{
	shop_stop(&shop);
	shop.reserve = 1ull << 60;
	shop_start(&shop);
	refused(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err),
		ERR_FULL, "reserved");
}
END_TEST

/* ---- Mappings. ---- */

START_TEST(test_blob_get_is_shared_and_outlives_its_name)
{
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	struct blob *a = blob_get(shop.blobs, BLOB_PACK, &goods.pack_name, &err);
	struct blob *b = blob_get(shop.blobs, BLOB_PACK, &goods.pack_name, &err);
	ck_assert_ptr_eq(a, b);
	ck_assert_uint_eq(a->len, goods.pack.len);
	ck_assert(!memcmp(a->bytes, goods.pack.data, goods.pack.len));
	SHOP_OK(blob_remove(shop.blobs, BLOB_PACK, &goods.pack_name, &err));
	ck_assert_ptr_null(blob_get(shop.blobs, BLOB_PACK, &goods.pack_name, &err));
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert(!memcmp(a->bytes, goods.pack.data, goods.pack.len));
	blob_unref(a);
	blob_unref(b);
}
END_TEST

START_TEST(test_blob_mappings_are_bounded)
{
	struct blobs_stats stats;
	struct digest names[40];
	struct blob *held = NULL;

	shop_stop(&shop);
	shop.mapped_max = 10000;
	shop_start(&shop);
	for (unsigned i = 0; i < 40; i++) {
		char bytes[1000];
		memset(bytes, (int)i, sizeof(bytes));
		digest_of(&names[i], bytes, sizeof(bytes));
		SHOP_OK(blob_put(shop.blobs, BLOB_PACK, &names[i], bytes, sizeof(bytes), &err));
	}
	for (unsigned i = 0; i < 40; i++) {
		struct blob *blob = blob_get(shop.blobs, BLOB_PACK, &names[i], &err);
		ck_assert_ptr_nonnull(blob);
		if (i == 3)
			held = blob_ref(blob);
		blob_unref(blob);
		blobs_stats(shop.blobs, &stats);
		ck_assert_uint_le(stats.mapped_bytes, 10000);
	}
	ck_assert_uint_eq(stats.mapped, 10);
	ck_assert_int_eq(((const char *)held->bytes)[999], 3);
	blob_unref(held);
}
END_TEST

START_TEST(test_blob_put_replaces_a_map_for_new_readers)
{
	struct digest name = {{5}};

	SHOP_OK(blob_put(shop.blobs, BLOB_MAP, &name, "old", 3, &err));
	struct blob *old = blob_get(shop.blobs, BLOB_MAP, &name, &err);
	SHOP_OK(blob_put(shop.blobs, BLOB_MAP, &name, "newer", 5, &err));
	struct blob *new = blob_get(shop.blobs, BLOB_MAP, &name, &err);
	ck_assert(!memcmp(old->bytes, "old", 3));
	ck_assert_uint_eq(new->len, 5);
	ck_assert(!memcmp(new->bytes, "newer", 5));
	blob_unref(old);
	blob_unref(new);
}
END_TEST

static atomic_bool over;

static void *reads(void *arg)
{
	struct err why;

	while (!atomic_load(&over)) {
		struct blob *blob = blob_get(shop.blobs, BLOB_PACK, &goods.pack_name, &why);
		if (blob && memcmp(blob->bytes, goods.pack.data, blob->len))
			return arg;
		blob_unref(blob);
	}
	return NULL;
}

START_TEST(test_blob_readers_and_writers_get_along)
{
	pthread_t threads[2];
	void *bad;

	atomic_store(&over, false);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reads, &over), 0);
	for (int i = 0; i < 30; i++) {
		SHOP_OK(blob_put(shop.blobs, BLOB_PACK, &goods.pack_name, goods.pack.data,
				 goods.pack.len, &err));
		SHOP_OK(blob_remove(shop.blobs, BLOB_PACK, &goods.pack_name, &err));
	}
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &bad);
		ck_assert_ptr_null(bad);
	}
}
END_TEST

/* ---- Damage. ---- */

static struct verify_report verified(bool mend)
{
	const struct verify_options options = {.deep = true, .mend = mend};
	struct verify_report report;

	SHOP_OK(verify_store(shop.blobs, shop.db, &options, &report, &err));
	return report;
}

START_TEST(test_blob_verify_finds_rot_and_a_new_push_mends_it)
{
	char path[400];

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	blob_path(BLOB_PACK, &goods.pack_name, path);
	AUTO_FD int fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "rot", 3, 5000), 3);
	struct verify_report report = verified(false);
	ck_assert_uint_eq(report.damaged, 2); /* the pack, and the recipe that needs it */
	ck_assert_int_eq(report.first.status, ERR_CORRUPT);
	verified(true);
	ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
	ck_assert_uint_eq(verified(false).damaged, 1); /* the recipe lacks its pack */
	uint8_t bitmap = 0xff;
	SHOP_OK(ingest_missing(shop.blobs, shop.db, goods.chunks, 5, NULL, SHOP_NOW, &bitmap,
			       &err));
	ck_assert_uint_eq(bitmap, 0xff);
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	shop_sound(&shop);
}
END_TEST

START_TEST(test_blob_verify_finds_what_is_missing)
{
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(blob_remove(shop.blobs, BLOB_MAP, &goods.recipe_name, &err));
	ck_assert_uint_eq(verified(false).damaged, 1);
	SHOP_OK(blob_remove(shop.blobs, BLOB_PACK, &goods.pack_name, &err));
	ck_assert_uint_eq(verified(false).damaged, 2);
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_sound(&shop);
}
END_TEST

static int forget_rows(struct db *db, void *arg, struct err *why)
{
	bool removed;

	(void)arg;
	return inventory_pack_drop(db, &goods.pack_name, INT64_MAX, &removed, why);
}

/* Killed between the removal of a damaged pack's row and of its name: neither is the pack taken for
 * nobody's, nor the recipe for whole. */
START_TEST(test_blob_pack_without_a_row_is_not_relied_on)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	const struct gc_options options = {.now = SHOP_NOW, .grace_s = 1000};
	struct gc_report report;
	char path[400];

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(ledger_run(shop.ledger, forget_rows, NULL, &err));
	ck_assert_uint_eq(verified(false).damaged, 1);
	blob_path(BLOB_PACK, &goods.pack_name, path);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &report, &err));
	ck_assert_uint_eq(report.orphans, 0);
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	refused(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL, SHOP_NOW,
			      NULL, &info, &err),
		ERR_CONFLICT, "5 of 5 chunks are not stored");
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	ck_assert_int_eq(inventory_pack(shop.db, &goods.pack_name, &err), 1);
	shop_sound(&shop);
}
END_TEST

/* A map that can be read but is another recipe's. */
START_TEST(test_blob_map_that_does_not_fit_is_mended_by_a_push)
{
	struct goods other;

	goods_make(&other, 4, 70000, "b");
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(shop_push(&shop, &other, &info, &err));
	{
		AUTO(blob_unref) struct blob *map =
			blob_get(shop.blobs, BLOB_MAP, &other.recipe_name, &err);
		ck_assert_ptr_nonnull(map);
		SHOP_OK(blob_put(shop.blobs, BLOB_MAP, &goods.recipe_name, map->bytes, map->len,
				 &err));
	}
	ck_assert_uint_eq(verified(false).damaged, 1);
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	shop_sound(&shop);
	goods_done(&other);
}
END_TEST

static int always_conflict(struct db *db, void *arg, const struct recipe_info *what, struct err *why)
{
	(void)db;
	(void)what;
	++*(unsigned *)arg;
	return err_set(why, ERR_CONFLICT, "the caller's own");
}

/* Only what a collection interfered with is begun anew. */
START_TEST(test_blob_conflicts_of_the_caller_are_not_repeated)
{
	unsigned runs = 0;
	const struct also also = {.fn = always_conflict, .arg = &runs};

	SHOP_OK(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err));
	refused(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL, SHOP_NOW,
			      &also, &info, &err),
		ERR_CONFLICT, "own");
	ck_assert_uint_eq(runs, 1);
}
END_TEST

/* ---- Collecting. ---- */

static struct gc_report collected(int64_t now)
{
	const struct gc_options options = {.now = now, .grace_s = 1000};
	struct gc_report report;

	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &report, &err));
	return report;
}

START_TEST(test_blob_gc_removes_what_nothing_names)
{
	struct gc_report report;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	report = collected(SHOP_NOW + 1000);
	ck_assert_uint_eq(report.recipes + report.packs, 0); /* within the grace */
	report = collected(SHOP_NOW + 1001);
	ck_assert_uint_eq(report.recipes, 1);
	ck_assert_uint_eq(report.packs, 1);
	ck_assert_uint_gt(report.bytes, goods.pack.len);
	nothing_stored();
	shop_stop(&shop);
	shop_start(&shop);
	nothing_stored();
	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
}
END_TEST

START_TEST(test_blob_gc_keeps_what_was_promised)
{
	uint8_t bitmap = 0xff;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(ingest_missing(shop.blobs, shop.db, goods.chunks, 1, NULL, SHOP_NOW + 900, &bitmap,
			       &err));
	struct gc_report report = collected(SHOP_NOW + 1500);
	ck_assert_uint_eq(report.recipes, 1);
	ck_assert_uint_eq(report.packs, 0);
	SHOP_OK(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL,
			      SHOP_NOW + 1500, NULL, &info, &err));
	shop_sound(&shop);
}
END_TEST

/* Two packs with the same chunks: when the one that the rows point at goes, pushing the other again
 * makes its chunks known. */
START_TEST(test_blob_gc_of_one_pack_leaves_the_other_usable)
{
	struct goods both;
	uint8_t bitmap = 0;

	goods_make(&both, 6, 70000, "a"); /* the same five, and one more */
	SHOP_OK(shop_put_pack(&shop, &goods.pack_name, goods.pack.data, goods.pack.len, &err));
	SHOP_OK(shop_put_pack(&shop, &both.pack_name, both.pack.data, both.pack.len, &err));
	SHOP_OK(ingest_missing(shop.blobs, shop.db, &both.chunks[5], 1, NULL, SHOP_NOW + 5000, &bitmap,
			       &err));
	ck_assert_uint_eq(collected(SHOP_NOW + 5500).packs, 1);
	SHOP_OK(ingest_missing(shop.blobs, shop.db, both.chunks, 6, NULL, SHOP_NOW + 5500, &bitmap,
			       &err));
	ck_assert_uint_eq(bitmap, 0x1f);
	SHOP_OK(shop_push(&shop, &both, &info, &err));
	SHOP_OK(ingest_missing(shop.blobs, shop.db, both.chunks, 6, NULL, SHOP_NOW + 5500, &bitmap,
			       &err));
	ck_assert_uint_eq(bitmap, 0);
	shop_expect(&shop, &both.recipe_name, &both.raw);
	shop_sound(&shop);
	goods_done(&both);
}
END_TEST

START_TEST(test_blob_gc_keeps_packs_of_living_recipes)
{
	struct gc_report report;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, NULL,
			      SHOP_NOW + 5000, NULL, &info, &err));
	report = collected(SHOP_NOW + 5500);
	ck_assert_uint_eq(report.recipes + report.packs, 0);
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
}
END_TEST

START_TEST(test_blob_gc_stops_when_it_cannot_tell)
{
	const struct gc_options options = {.now = SHOP_NOW + 500, .grace_s = 1000};
	struct gc_report report;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(blob_remove(shop.blobs, BLOB_MAP, &goods.recipe_name, &err));
	refused(gc_run(shop.blobs, shop.db, &options, &report, &err), ERR_CORRUPT,
		"lacks its map");
	ck_assert(blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
}
END_TEST

START_TEST(test_blob_gc_tells_beforehand_what_would_go)
{
	const struct gc_options options = {.now = SHOP_NOW + 5000, .grace_s = 1000, .dry_run = true};
	struct gc_report told, done;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &told, &err));
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
	shop_sound(&shop);
	done = collected(SHOP_NOW + 5000);
	ck_assert_uint_eq(told.recipes, 1);
	ck_assert_uint_eq(told.packs, 1);
	ck_assert(!memcmp(&told, &done, sizeof(told)));
	nothing_stored();
}
END_TEST

START_TEST(test_blob_gc_removes_old_files_without_rows)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char path[400];

	SHOP_OK(blob_put(shop.blobs, BLOB_PACK, &goods.pack_name, goods.pack.data, goods.pack.len,
			 &err));
	ck_assert_uint_eq(collected(SHOP_NOW).orphans, 0); /* young: a push may be under way */
	blob_path(BLOB_PACK, &goods.pack_name, path);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	ck_assert_uint_eq(collected(SHOP_NOW).orphans, 1);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_blob_start_empties_tmp_and_ignores_strangers)
{
	char path[400];
	struct blobs_stats stats;

	SHOP_OK(shop_push(&shop, &goods, &info, &err));
	shop_stop(&shop);
	snprintf(path, sizeof(path), "%s/tmp/blob-1-1", shop.dir);
	SHOP_OK(file_write(path, "torn", 4, 0600, &err));
	snprintf(path, sizeof(path), "%s/packs/ab", shop.dir);
	SHOP_OK(file_mkdirs(path, 0700, &err));
	strcat(path, "/README");
	SHOP_OK(file_write(path, "?", 1, 0600, &err));
	shop_start(&shop);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
	blobs_stats(shop.blobs, &stats);
	ck_assert_uint_eq(stats.count[BLOB_PACK], 1);
	shop_expect(&shop, &goods.recipe_name, &goods.raw);
}
END_TEST

/* ---- Killed at any instant. ---- */

/* Pushes without end, telling on out which recipes were acknowledged. */
static void push_for_ever(int out)
{
	for (unsigned i = 0;; i++) {
		struct goods made;
		char seed[20];
		snprintf(seed, sizeof(seed), "k%u", i);
		goods_make(&made, 3, 5000, seed);
		SHOP_OK(shop_push(&shop, &made, &info, &err));
		if (write(out, made.recipe_name.bytes, DIGEST_LEN) != DIGEST_LEN)
			_exit(1);
		goods_done(&made);
	}
}

START_TEST(test_blob_killed_loses_nothing_acknowledged)
{
	struct digest name;
	unsigned acknowledged = 0;
	int ends[2];

	shop_stop(&shop);
	for (int round = 0; round < 6; round++) {
		ck_assert_int_eq(pipe(ends), 0);
		pid_t child = fork();
		if (!child) {
			shop_start(&shop);
			push_for_ever(ends[1]);
		}
		close(ends[1]);
		clock_sleep_ms(60 + round * 37);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		shop_start(&shop);
		shop_sound(&shop);
		while (read(ends[0], name.bytes, DIGEST_LEN) == DIGEST_LEN) {
			AUTO_BUF struct buf found = BUF_INIT(1 << 20);
			SHOP_OK(shop_read(&shop, &name, &found, &err));
			acknowledged++;
		}
		close(ends[0]);
		ck_assert_uint_eq(shop_tmp_count(&shop), 0);
		shop_stop(&shop);
	}
	ck_assert_uint_gt(acknowledged, 0);
	shop_start(&shop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blob");
	TCase *tc = tcase_create("blob");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_blob_push_is_readable_and_survives_a_restart);
	tcase_add_test(tc, test_blob_push_twice_changes_nothing);
	tcase_add_test(tc, test_blob_file_is_found_by_its_sha256);
	tcase_add_test(tc, test_blob_pack_truncated_is_refused);
	tcase_add_test(tc, test_blob_pack_with_a_lying_chunk_is_refused);
	tcase_add_test(tc, test_blob_pack_reordered_is_refused);
	tcase_add_test(tc, test_blob_pack_oversized_is_refused);
	tcase_add_test(tc, test_blob_pack_copies_what_it_cannot_link);
	tcase_add_test(tc, test_blob_recipe_without_chunks_is_refused);
	tcase_add_test(tc, test_blob_recipe_that_lies_is_refused);
	tcase_add_test(tc, test_blob_recipe_with_swapped_chunks_is_refused);
	tcase_add_test(tc, test_blob_empty_file_has_a_recipe);
	tcase_add_test(tc, test_blob_also_shares_the_transaction);
	tcase_add_test(tc, test_blob_missing_tells_what_to_send);
	tcase_add_test(tc, test_blob_reserve_is_kept);
	tcase_add_test(tc, test_blob_get_is_shared_and_outlives_its_name);
	tcase_add_test(tc, test_blob_mappings_are_bounded);
	tcase_add_test(tc, test_blob_put_replaces_a_map_for_new_readers);
	tcase_add_test(tc, test_blob_readers_and_writers_get_along);
	tcase_add_test(tc, test_blob_verify_finds_rot_and_a_new_push_mends_it);
	tcase_add_test(tc, test_blob_verify_finds_what_is_missing);
	tcase_add_test(tc, test_blob_pack_without_a_row_is_not_relied_on);
	tcase_add_test(tc, test_blob_map_that_does_not_fit_is_mended_by_a_push);
	tcase_add_test(tc, test_blob_conflicts_of_the_caller_are_not_repeated);
	tcase_add_test(tc, test_blob_gc_removes_what_nothing_names);
	tcase_add_test(tc, test_blob_gc_keeps_what_was_promised);
	tcase_add_test(tc, test_blob_gc_of_one_pack_leaves_the_other_usable);
	tcase_add_test(tc, test_blob_gc_keeps_packs_of_living_recipes);
	tcase_add_test(tc, test_blob_gc_stops_when_it_cannot_tell);
	tcase_add_test(tc, test_blob_gc_tells_beforehand_what_would_go);
	tcase_add_test(tc, test_blob_gc_removes_old_files_without_rows);
	tcase_add_test(tc, test_blob_start_empties_tmp_and_ignores_strangers);
	tcase_add_test(tc, test_blob_killed_loses_nothing_acknowledged);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
