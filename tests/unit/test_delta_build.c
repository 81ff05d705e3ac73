/* Deltas between stored files: made, listed, given up, interrupted, and collected. */
#include "base/file.h"
#include "store/chop.h"
#include "store/delta.h"
#include "store/delta_build.h"
#include "store/gc.h"
#include "store/gc_delta.h"
#include "store/le.h"
#include "store/parts.h"
#include "store/remap.h"
#include "store/stored.h"
#include "store/survey.h"
#include "tests/support/failing_calls.h"
#include "tests/support/shop.h"

#include <time.h>
#include <utime.h>

#define OLD_LEN ((size_t)2 << 20)
#define GRACE 1000

static struct shop shop;
static struct buf old_raw, new_raw;
static struct recipe_info old, new;
static struct err err;

static void push_raw(const struct buf *raw, struct recipe_info *ret_info)
{
	AUTO_FD int fd = shop_spool(&shop, raw->data, raw->len);

	SHOP_OK(chop_file(shop.blobs, shop.db, fd, raw->len, NULL, NULL, SHOP_NOW,
			  ret_info, &err));
}

/* Two files that differ in a few bytes, and in length. */
static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
	buf_init(&old_raw, 64u << 20);
	buf_init(&new_raw, 64u << 20);
	model_stream((uint8_t *)buf_grow(&old_raw, OLD_LEN), OLD_LEN, "old");
	buf_grown(&old_raw, OLD_LEN);
	buf_add(&new_raw, old_raw.data, OLD_LEN);
	memset(new_raw.data + OLD_LEN / 2, 7, 100);
	buf_adds(&new_raw, "and a little more");
	push_raw(&old_raw, &old);
	push_raw(&new_raw, &new);
}

static void end(void)
{
	buf_done(&old_raw);
	buf_done(&new_raw);
	shop_stop(&shop);
	shop_remove(&shop);
}

static struct chunkmap *map_of(const struct digest *recipe)
{
	struct recipe *unused = NULL;
	struct chunkmap *map = NULL;

	SHOP_OK(stored_load(shop.blobs, recipe, &unused, &map, &err));
	recipe_free(unused);
	return map;
}

static uint32_t listed(void)
{
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&new.recipe);

	return map->delta_count;
}

static uint64_t parts_kept(void)
{
	struct blobs_stats stats;

	blobs_stats(shop.blobs, &stats);
	return stats.count[BLOB_DELTA];
}

static struct blob *part(uint32_t n)
{
	struct digest name;

	part_name(&new.recipe, &old.recipe, n, &name);
	struct blob *blob = blob_get(shop.blobs, BLOB_DELTA, &name, &err);
	ck_assert_msg(blob != NULL, "%s", err.text);
	return blob;
}

static void first_part_remove(void)
{
	struct digest name;

	part_name(&new.recipe, &old.recipe, 0, &name);
	SHOP_OK(part_remove(shop.blobs, &name, &err));
}

static void build(struct delta_built *built)
{
	SHOP_OK(delta_build(shop.blobs, &new.recipe, &old.recipe, NULL, built, &err));
}

/* What the map lists makes the new file of the old one. */
static void delta_works(void)
{
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&new.recipe);
	AUTO_BUF struct buf made = BUF_INIT(new_raw.len + 1);
	struct memory old_slot, delta_slot;

	ck_assert_uint_eq(map->delta_count, 1);
	ck_assert(digest_eq(&map->deltas[0].from, &old.recipe));
	ck_assert_uint_eq(map->deltas[0].parts, 1);
	AUTO(blob_unref) struct blob *blob = part(0);
	ck_assert_uint_eq(blob->len, map->deltas[0].bytes);
	const struct source from = source_memory(&old_slot, old_raw.data, old_raw.len);
	const struct source delta = source_memory(&delta_slot, blob->bytes, blob->len);
	const struct sink out = sink_buf(&made);
	SHOP_OK(delta_apply(&from, &delta, &out, NULL, &err));
	ck_assert_uint_eq(made.len, new_raw.len);
	ck_assert(!memcmp(made.data, new_raw.data, made.len));
}

/* ---- Reading what is stored. ---- */

START_TEST(test_stored_reads_any_range)
{
	AUTO(stored_free) struct stored *stored = NULL;
	uint8_t *bytes = malloc(OLD_LEN);

	SHOP_OK(stored_open(&stored, shop.blobs, &old.recipe, &err));
	const struct source source = stored_source(stored);
	ck_assert_uint_eq(source.size, OLD_LEN);
	ck_assert_uint_gt(stored_recipe(stored)->count, 3);
	for (size_t i = 0; i < 300; i++) {
		const size_t at = i * 104729 * 31 % OLD_LEN;
		size_t len = i * 7919 * 13 % 500000;
		if (len > OLD_LEN - at)
			len = OLD_LEN - at;
		SHOP_OK(source.read(source.arg, at, bytes, len, &err));
		ck_assert(!memcmp(bytes, old_raw.data + at, len));
	}
	SHOP_OK(source.read(source.arg, 0, bytes, OLD_LEN, &err));
	ck_assert(!memcmp(bytes, old_raw.data, OLD_LEN));
	free(bytes);
}
END_TEST

static void refuses(const struct source *source, uint64_t at, size_t len)
{
	uint8_t bytes[8];

	ck_assert_uint_le(len, sizeof(bytes));
	ck_assert_int_eq(source->read(source->arg, at, bytes, len, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
}

/* Who is told a wrong length by others must not read what lies behind a chunk in memory. */
START_TEST(test_stored_refuses_what_lies_beyond)
{
	AUTO(stored_free) struct stored *stored = NULL;
	AUTO(stored_free) struct stored *nothing = NULL;
	AUTO_BUF struct buf empty = BUF_INIT(1);
	struct recipe_info empty_info;
	uint8_t byte;

	SHOP_OK(stored_open(&stored, shop.blobs, &old.recipe, &err));
	const struct source source = stored_source(stored);
	refuses(&source, OLD_LEN + 2 * (uint64_t)CHUNK_RAW_MAX, 8);
	refuses(&source, OLD_LEN - 1, 2);
	refuses(&source, OLD_LEN, 1);
	refuses(&source, UINT64_MAX, 8);
	SHOP_OK(source.read(source.arg, OLD_LEN - 1, &byte, 1, &err));
	SHOP_OK(source.read(source.arg, OLD_LEN, &byte, 0, &err));

	push_raw(&empty, &empty_info);
	SHOP_OK(stored_open(&nothing, shop.blobs, &empty_info.recipe, &err));
	const struct source none = stored_source(nothing);
	ck_assert_uint_eq(none.size, 0);
	refuses(&none, 0, 1);
}
END_TEST

START_TEST(test_stored_tells_damage)
{
	AUTO(stored_free) struct stored *stored = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&old.recipe);
	char hex[DIGEST_HEX], path[400];
	uint8_t byte;

	digest_hex(&map->packs[map->chunks[0].pack].digest, hex);
	snprintf(path, sizeof(path), "%s/packs/%.2s/%s", shop.dir, hex, hex);
	AUTO_FD int fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	SHOP_OK(file_pread_all(fd, &byte, 1, map->chunks[0].at + 9, &err));
	byte ^= 1;
	SHOP_OK(file_pwrite_all(fd, &byte, 1, map->chunks[0].at + 9, &err));
	SHOP_OK(stored_open(&stored, shop.blobs, &old.recipe, &err));
	const struct source source = stored_source(stored);
	ck_assert_int_eq(source.read(source.arg, 0, &byte, 1, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
	/* The others are as good as ever. */
	const struct recipe_chunk *next = &stored_recipe(stored)->chunks[1];
	SHOP_OK(source.read(source.arg, next->at, &byte, 1, &err));
	ck_assert_uint_eq(byte, (uint8_t)old_raw.data[next->at]);
}
END_TEST

/* ---- Parts. ---- */

START_TEST(test_parts_are_cut_at_64_mib)
{
	AUTO(parts_free) struct parts *parts = NULL;
	const uint64_t bytes = 2ull * DELTA_PART + 5;

	SHOP_OK(parts_new(&parts, shop.blobs, &new.recipe, &old.recipe, bytes, &err));
	const struct sink_at sink = parts_sink(parts);
	SHOP_OK(sink.write(sink.arg, 4, "first", 5, &err));
	SHOP_OK(sink.write(sink.arg, DELTA_PART, "second", 6, &err));
	SHOP_OK(sink.write(sink.arg, 2ull * DELTA_PART, "third", 5, &err));
	SHOP_OK(sink.write(sink.arg, 0, "head", 4, &err));
	ck_assert(!parts_exist(shop.blobs, &new.recipe, &old.recipe, bytes));
	SHOP_OK(parts_finish(parts, bytes, &err));
	ck_assert(parts_exist(shop.blobs, &new.recipe, &old.recipe, bytes));
	ck_assert_uint_eq(parts_kept(), 3);
	AUTO(blob_unref) struct blob *first = part(0);
	AUTO(blob_unref) struct blob *second = part(1);
	AUTO(blob_unref) struct blob *third = part(2);
	ck_assert_uint_eq(first->len, DELTA_PART);
	ck_assert(!memcmp(first->bytes, "headfirst", 10));
	ck_assert_uint_eq(second->len, DELTA_PART);
	ck_assert(!memcmp(second->bytes, "second", 7));
	ck_assert_uint_eq(third->len, 5);
	ck_assert_uint_eq(part_count(bytes), 3);
	ck_assert_uint_eq(part_count(DELTA_PART), 1);
}
END_TEST

struct twice {
	uint8_t *whole;
	struct sink_at parts;
};

static int write_twice(void *arg, uint64_t at, const void *bytes, size_t len, struct err *why)
{
	const struct twice *to = arg;

	memcpy(to->whole + at, bytes, len);
	return to->parts.write(to->parts.arg, at, bytes, len, why);
}

/* A delta of two parts is, part after part, what it is in one piece. */
START_TEST(test_parts_are_the_delta)
{
	const size_t len = DELTA_PART + ((size_t)3 << 20);
	uint8_t *raw = malloc(len), *whole = calloc(1, 2 * (size_t)DELTA_PART);
	struct recipe *from_recipe, *to_recipe;
	struct memory from_slot, to_slot;
	struct parts *parts;
	struct delta_stats stats;

	model_stream(raw, len, "two parts");
	const struct source from = source_memory(&from_slot, old_raw.data, old_raw.len);
	const struct source to = source_memory(&to_slot, raw, len);
	SHOP_OK(survey_source(&from, NULL, NULL, &from_recipe, &err));
	SHOP_OK(survey_source(&to, NULL, NULL, &to_recipe, &err));
	const struct delta_side sides[2] = {{&from, from_recipe}, {&to, to_recipe}};
	SHOP_OK(parts_new(&parts, shop.blobs, &new.recipe, &old.recipe, 2 * len, &err));
	struct twice twice = {whole, parts_sink(parts)};
	const struct sink_at sink = {.write = write_twice, .arg = &twice};
	SHOP_OK(delta_make(&sides[0], &sides[1], &sink, NULL, &stats, &err));
	SHOP_OK(parts_finish(parts, stats.bytes, &err));
	AUTO(blob_unref) struct blob *first = part(0);
	AUTO(blob_unref) struct blob *second = part(1);
	ck_assert_uint_eq(first->len, DELTA_PART);
	ck_assert_uint_eq(first->len + second->len, stats.bytes);
	ck_assert(!memcmp(first->bytes, whole, first->len));
	ck_assert(!memcmp(second->bytes, whole + DELTA_PART, second->len));
	parts_free(parts);
	recipe_free(from_recipe);
	recipe_free(to_recipe);
	free(raw);
	free(whole);
}
END_TEST

START_TEST(test_parts_given_up_leave_nothing)
{
	struct parts *parts = NULL;

	SHOP_OK(parts_new(&parts, shop.blobs, &new.recipe, &old.recipe, DELTA_PART * 3ull, &err));
	const struct sink_at sink = parts_sink(parts);
	SHOP_OK(sink.write(sink.arg, DELTA_PART, "second", 6, &err));
	SHOP_OK(sink.write(sink.arg, DELTA_PART * 2ull, "third", 5, &err));
	ck_assert_uint_eq(parts_kept(), 1); /* the second */
	ck_assert_int_eq(sink.write(sink.arg, DELTA_PART * 3ull - 1, "ab", 2, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	ck_assert(parts_too_large(parts));
	parts_free(parts);
	ck_assert_uint_eq(parts_kept(), 0);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
}
END_TEST

/* ---- Building. ---- */

START_TEST(test_delta_build_lists_what_it_made)
{
	struct delta_built built, again;

	build(&built);
	ck_assert(!built.dropped);
	ck_assert_uint_gt(built.bytes, 0);
	ck_assert_uint_lt(built.bytes, built.whole / 2);
	ck_assert_uint_eq(built.whole, (uint64_t)new.stored);
	ck_assert_uint_eq(built.at, new_raw.len);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
	shop_stop(&shop);
	shop_start(&shop);
	delta_works();
	shop_sound(&shop);

	/* What is there is not made again. */
	AUTO(blob_unref) struct blob *before = part(0);
	build(&again);
	AUTO(blob_unref) struct blob *after = part(0);
	ck_assert_ptr_eq(before, after);
	ck_assert_uint_eq(again.bytes, built.bytes);

	/* But what is listed and lost is. */
	first_part_remove();
	build(&again);
	delta_works();
}
END_TEST

/* Files that have nothing in common: a delta would be as long as the file. */
START_TEST(test_delta_build_drops_what_saves_too_little)
{
	AUTO_BUF struct buf raw = BUF_INIT(64u << 20);
	struct delta_built built;
	struct recipe_info strange;

	model_stream((uint8_t *)buf_grow(&raw, OLD_LEN), OLD_LEN, "strange");
	buf_grown(&raw, OLD_LEN);
	push_raw(&raw, &strange);
	SHOP_OK(delta_build(shop.blobs, &new.recipe, &strange.recipe, NULL, &built, &err));
	ck_assert(built.dropped);
	ck_assert_uint_eq(built.bytes, built.whole * DELTA_WORTH / 100);
	ck_assert_uint_lt(built.at, built.length); /* it was not made to the end */
	ck_assert_uint_gt(built.at, 0);
	ck_assert_uint_eq(listed(), 0);
	ck_assert_uint_eq(parts_kept(), 0);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
}
END_TEST

/* Where the line is drawn: parts of the file are the old one's, as much as asked for. */
static void build_with_new_share(unsigned percent, struct delta_built *built)
{
	AUTO_BUF struct buf raw = BUF_INIT(64u << 20);
	const size_t own = OLD_LEN / 100 * percent;
	struct recipe_info mixed;
	char seed[20];

	snprintf(seed, sizeof(seed), "share %u", percent);
	model_stream((uint8_t *)buf_grow(&raw, own), own, seed);
	buf_grown(&raw, own);
	buf_add(&raw, old_raw.data + own, OLD_LEN - own);
	push_raw(&raw, &mixed);
	SHOP_OK(delta_build(shop.blobs, &mixed.recipe, &old.recipe, NULL, built, &err));
}

START_TEST(test_delta_build_keeps_up_to_70_percent)
{
	struct delta_built built;

	build_with_new_share(40, &built);
	ck_assert(!built.dropped);
	ck_assert_uint_le(built.bytes * 100, built.whole * DELTA_WORTH);
	build_with_new_share(80, &built);
	ck_assert(built.dropped);
}
END_TEST

static int enough(void *arg, uint64_t done)
{
	return done > *(const uint64_t *)arg;
}

START_TEST(test_delta_build_ends_when_told)
{
	uint64_t limit = OLD_LEN / 3;
	const struct delta_progress progress = {.at = enough, .arg = &limit};
	struct delta_built built;

	ck_assert_int_eq(delta_build(shop.blobs, &new.recipe, &old.recipe, &progress, &built, &err),
			 -1);
	ck_assert_int_eq(err.status, ERR_BUSY);
	ck_assert_uint_eq(listed(), 0);
	ck_assert_uint_eq(parts_kept(), 0);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
}
END_TEST

START_TEST(test_delta_build_wants_both_files)
{
	const struct digest nobody = {{5}};
	struct delta_built built;

	ck_assert_int_eq(delta_build(shop.blobs, &nobody, &old.recipe, NULL, &built, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert_int_eq(delta_build(shop.blobs, &new.recipe, &nobody, NULL, &built, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(err.text, "old"));
}
END_TEST

/* Every writing call fails once.  What the map lists then is whole, and a later try goes through. */
static void fail_each(int number, bool for_good)
{
	struct delta_built built;
	unsigned refused = 0;

	for (int nth = 1;; nth++) {
		ck_assert_int_lt(nth, 100);
		atomic_store(&failures, 0);
		atomic_store(&error_number, number);
		atomic_store(&sticky, for_good);
		atomic_store(&countdown, nth);
		int result =
			delta_build(shop.blobs, &new.recipe, &old.recipe, NULL, &built, &err);
		bool met = atomic_load(&failures) > 0;
		atomic_store(&countdown, 0);
		atomic_store(&sticky, false);
		ck_assert(met ? result < 0 : result == 0);
		if (!met)
			break;
		refused++;
		ck_assert_msg(err.status == ERR_SYSTEM || err.status == ERR_FULL, "%s", err.text);
		shop_stop(&shop);
		shop_start(&shop);
		ck_assert_uint_eq(shop_tmp_count(&shop), 0);
		if (listed())
			delta_works();
		build(&built);
		delta_works();
		SHOP_OK(delta_unlist(shop.blobs, &new.recipe, &old.recipe, &err));
		first_part_remove();
	}
	ck_assert_uint_gt(refused, 5);
}

START_TEST(test_delta_build_survives_failing_calls)
{
	fail_each(EIO, false);
}
END_TEST

START_TEST(test_delta_build_survives_a_full_disk)
{
	fail_each(ENOSPC, true);
}
END_TEST

/* ---- Collecting. ---- */

/* As the daemon does, with a row that says so. */
static int row_done(struct db *db, void *arg, struct err *why)
{
	struct delta_job job, *wanted = arg;

	if (delta_job_add(db, wanted, SHOP_NOW, NULL, why) < 0 ||
	    delta_job_take(db, SHOP_NOW, &job, why) < 0)
		return -1;
	job.bytes = wanted->bytes;
	job.whole = wanted->whole;
	return delta_job_done(db, &job, SHOP_NOW, why);
}

/* As if its parts were made long ago. */
static void parts_age(void)
{
	const struct utimbuf long_ago = {.modtime = time(NULL) - GRACE - 100};
	char hex[DIGEST_HEX], path[400];
	struct digest name;

	part_name(&new.recipe, &old.recipe, 0, &name);
	digest_hex(&name, hex);
	snprintf(path, sizeof(path), "%s/deltas/%.2s/%s", shop.dir, hex, hex);
	ck_assert_int_eq(utime(path, &long_ago), 0);
}

static void build_with_row(void)
{
	struct delta_job job = {
		.new = new.recipe, .old = old.recipe, .what = "m@2/t/f", .base = "m@1/t/f"};
	struct delta_built built;

	build(&built);
	job.bytes = (int64_t)built.bytes;
	job.whole = (int64_t)built.whole;
	SHOP_OK(ledger_run(shop.ledger, row_done, &job, &err));
	parts_age();
}

static struct gc_report collect(int64_t now)
{
	const struct gc_options options = {.now = now, .grace_s = GRACE};
	struct gc_report report;

	SHOP_OK(gc_run(shop.blobs, shop.db, &options, &report, &err));
	return report;
}

static int want_again(struct db *db, void *arg, struct err *why)
{
	const int64_t *now = arg;

	return inventory_recipe_add(db, &new, *now, why);
}

/* The new recipe was wanted just now; the old one was not for long. */
static void keep_new(int64_t now)
{
	SHOP_OK(ledger_run(shop.ledger, want_again, &now, &err));
}

static int forget_old(struct db *db, void *arg, struct err *why)
{
	bool removed;

	(void)arg;
	return inventory_recipe_drop(db, &old.recipe, INT64_MAX, &removed, why);
}

static int64_t rows_of(enum delta_state state)
{
	struct delta_job_sums sums;

	SHOP_OK(delta_job_sum(shop.db, &sums, &err));
	return sums.count[state];
}

START_TEST(test_gc_delta_keeps_what_is_listed)
{
	build_with_row();
	ck_assert_uint_eq(collect(SHOP_NOW + GRACE / 2).deltas, 0);
	ck_assert_uint_eq(parts_kept(), 1);
	ck_assert_int_eq(rows_of(DELTA_DONE), 1);
	delta_works();
}
END_TEST

START_TEST(test_gc_delta_goes_a_grace_after_its_old_recipe)
{
	int64_t now = SHOP_NOW + GRACE + 5;

	build_with_row();
	keep_new(now);
	ck_assert_uint_eq(collect(now).recipes, 1);
	ck_assert_uint_eq(listed(), 0);
	ck_assert_uint_eq(parts_kept(), 1); /* maps that list it are about */
	ck_assert_int_eq(rows_of(DELTA_UNLISTED), 1);
	now += GRACE;
	keep_new(now);
	ck_assert_uint_eq(collect(now).deltas, 0); /* not longer than the grace */
	ck_assert_uint_eq(parts_kept(), 1);
	now++;
	ck_assert_uint_eq(collect(now).deltas, 1);
	ck_assert_uint_eq(parts_kept(), 0);
	ck_assert_int_eq(rows_of(DELTA_UNLISTED), 0);
}
END_TEST

START_TEST(test_gc_delta_goes_with_its_new_recipe)
{
	build_with_row();
	collect(SHOP_NOW + GRACE + 5);
	ck_assert(!blob_exists(shop.blobs, BLOB_MAP, &new.recipe));
	ck_assert_uint_eq(parts_kept(), 1);
	ck_assert_uint_eq(collect(SHOP_NOW + 2 * GRACE + 6).deltas, 1);
	ck_assert_uint_eq(parts_kept(), 0);
}
END_TEST

/* The database was lost and made anew from the files. */
START_TEST(test_gc_delta_dry_run_changes_nothing)
{
	const struct gc_delta_options options = {SHOP_NOW + 9 * GRACE, GRACE, true};
	struct gc_delta_report report;

	build_with_row();
	SHOP_OK(ledger_run(shop.ledger, forget_old, NULL, &err));
	SHOP_OK(gc_deltas(shop.blobs, shop.db, &options, &report, &err));
	ck_assert_uint_eq(report.unlisted, 1);
	ck_assert_uint_eq(listed(), 1);
	ck_assert_int_eq(rows_of(DELTA_DONE), 1);
	ck_assert_uint_eq(parts_kept(), 1);
}
END_TEST

START_TEST(test_gc_delta_learns_what_maps_list)
{
	struct delta_built built;

	build(&built);
	collect(SHOP_NOW + 1);
	ck_assert_int_eq(rows_of(DELTA_DONE), 1);
	ck_assert_uint_eq(parts_kept(), 1);
	delta_works();
}
END_TEST

START_TEST(test_gc_delta_removes_old_parts_without_a_name)
{
	const struct digest name = {{0xab, 1}};
	const struct utimbuf long_ago = {.modtime = time(NULL) - GRACE - 100};
	char hex[DIGEST_HEX], path[400];

	SHOP_OK(blob_put(shop.blobs, BLOB_DELTA, &name, "left over", 9, &err));
	ck_assert_uint_eq(collect(SHOP_NOW + 1).orphans, 0); /* it may be just being made */
	digest_hex(&name, hex);
	snprintf(path, sizeof(path), "%s/deltas/ab/%s", shop.dir, hex);
	ck_assert_int_eq(utime(path, &long_ago), 0);
	shop_stop(&shop);
	shop_start(&shop);
	ck_assert_uint_eq(parts_kept(), 1); /* learnt at the start */
	struct gc_report report = collect(SHOP_NOW + 1);
	ck_assert_uint_eq(report.orphans, 1);
	ck_assert_uint_eq(report.bytes, 9);
	ck_assert_uint_eq(parts_kept(), 0);
}
END_TEST

/* ---- Looking over. ---- */

/* A made delta with its row. */
static void build_known(struct delta_built *built)
{
	build_with_row();
	build(built);
}

static void first_part_path(char out[static 400])
{
	struct digest name;
	char hex[DIGEST_HEX];

	part_name(&new.recipe, &old.recipe, 0, &name);
	digest_hex(&name, hex);
	snprintf(out, 400, "%s/deltas/%.2s/%s", shop.dir, hex, hex);
}

static void spoil(const char *path, int64_t at)
{
	uint8_t byte;
	AUTO_FD int fd = open(path, O_RDWR);

	ck_assert_int_ge(fd, 0);
	SHOP_OK(file_pread_all(fd, &byte, 1, at, &err));
	byte ^= 1;
	SHOP_OK(file_pwrite_all(fd, &byte, 1, at, &err));
}

static void first_part_spoil(int64_t at)
{
	char path[400];

	first_part_path(path);
	spoil(path, at);
}

static struct verify_report look_over(bool deep, bool mend)
{
	const struct verify_options options = {.deep = deep, .mend = mend};
	struct verify_report report;

	SHOP_OK(verify_store(shop.blobs, shop.db, &options, &report, &err));
	return report;
}

START_TEST(test_verify_tells_of_damaged_deltas)
{
	struct delta_built built;
	struct verify_report report;
	char path[400];

	build_known(&built);
	report = look_over(true, false);
	ck_assert_msg(!report.damaged, "%s", report.first.text);
	ck_assert_uint_eq(report.deltas, 1);
	/* A chunk's bytes: who only looks does not see it. */
	first_part_spoil((int64_t)built.bytes - 3);
	ck_assert_uint_eq(look_over(false, false).damaged, 0);
	report = look_over(true, false);
	ck_assert_uint_eq(report.damaged, 1);
	ck_assert_ptr_nonnull(strstr(report.first.text, "part 0 of m@2/t/f from m@1/t/f"));
	first_part_spoil((int64_t)built.bytes - 3);
	/* The table. */
	first_part_spoil(DELTA_HEAD + 1);
	ck_assert_uint_eq(look_over(false, false).damaged, 1);
	first_part_spoil(DELTA_HEAD + 1);
	ck_assert_uint_eq(look_over(true, false).damaged, 0);
	/* The length. */
	first_part_path(path);
	ck_assert_int_eq(truncate(path, (off_t)built.bytes - 1), 0);
	ck_assert_uint_eq(look_over(false, false).damaged, 1);
	ck_assert_int_eq(rows_of(DELTA_DONE), 1); /* nobody said that it should be mended */
	ck_assert_uint_eq(listed(), 1);
}
END_TEST

/* Whoever only looks sees it, and sees none once it is mended. */
static void sees_damage_at(int64_t at)
{
	first_part_spoil(at);
	ck_assert_uint_eq(look_over(false, false).damaged, 1);
	ck_assert_uint_eq(look_over(true, false).damaged, 1);
	first_part_spoil(at);
	ck_assert_uint_eq(look_over(true, false).damaged, 0);
}

START_TEST(test_verify_compares_the_head_with_the_old_file)
{
	struct delta_built built;

	build_known(&built);
	sees_damage_at(8);  /* its SHA-256 */
	sees_damage_at(39);
	sees_damage_at(40); /* its length */
	sees_damage_at(47);
}
END_TEST

/* Who applies a delta reads the recipe that is in it. */
START_TEST(test_verify_compares_the_recipe_in_a_delta)
{
	struct delta_built built;
	struct delta_head head;

	build_known(&built);
	AUTO(blob_unref) struct blob *blob = part(0);
	SHOP_OK(delta_head_parse(&head, blob->bytes, &err));
	ck_assert_uint_gt(blob->len, head.len);
	sees_damage_at((int64_t)head.table_len);	       /* how it begins */
	sees_damage_at((int64_t)head.table_len + RECIPE_HEAD); /* a chunk's digest */
	sees_damage_at((int64_t)head.len - 1);		       /* the last one's element type */
}
END_TEST

/* A table asks for what lies behind the old file, and the head says that the file is so long. */
START_TEST(test_verify_reads_nothing_behind_the_old_file)
{
	const uint64_t far = OLD_LEN + 2 * (uint64_t)CHUNK_RAW_MAX;
	struct delta_built built;
	char path[400];
	uint8_t kind, value[8];

	build_known(&built);
	first_part_path(path);
	AUTO_FD int fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	SHOP_OK(file_pread_all(fd, &kind, 1, DELTA_HEAD, &err));
	ck_assert_uint_eq(kind, DELTA_COPY);
	le_put(value, 2 * far, 8);
	SHOP_OK(file_pwrite_all(fd, value, 8, 40, &err));
	le_put(value, far, 8);
	SHOP_OK(file_pwrite_all(fd, value, 8, DELTA_HEAD + 8, &err));
	ck_assert_uint_eq(look_over(false, false).damaged, 1);
	ck_assert_uint_eq(look_over(true, true).damaged, 1);
	ck_assert_int_eq(rows_of(DELTA_QUEUED), 1);
	build(&built);
	delta_works();
}
END_TEST

START_TEST(test_verify_has_damaged_deltas_made_again)
{
	struct delta_built built;
	char path[500], hex[DIGEST_HEX];
	struct digest name;

	build_known(&built);
	first_part_spoil((int64_t)built.bytes - 3);
	ck_assert_uint_eq(look_over(true, true).damaged, 1);
	ck_assert_int_eq(rows_of(DELTA_QUEUED), 1);
	ck_assert_uint_eq(listed(), 0);
	ck_assert_uint_eq(parts_kept(), 0);
	part_name(&new.recipe, &old.recipe, 0, &name);
	digest_hex(&name, hex);
	snprintf(path, sizeof(path), "%s/quarantine/delta-%s", shop.dir, hex);
	ck_assert_int_eq(access(path, R_OK), 0);
	build(&built);
	delta_works();
	/* One that is gone altogether. */
	SHOP_OK(delta_unlist(shop.blobs, &new.recipe, &old.recipe, &err));
	first_part_remove();
	ck_assert_uint_eq(look_over(true, true).damaged, 0); /* queued, not made */
}
END_TEST

/* What a damaged pack spoils is the pack's, and stays: devices have the old file. */
START_TEST(test_verify_blames_no_delta_for_the_old_file)
{
	AUTO(chunkmap_free) struct chunkmap *map = map_of(&old.recipe);
	struct delta_built built;
	char hex[DIGEST_HEX], path[400];
	struct verify_report report;

	build_known(&built);
	digest_hex(&map->packs[map->chunks[0].pack].digest, hex);
	snprintf(path, sizeof(path), "%s/packs/%.2s/%s", shop.dir, hex, hex);
	AUTO_FD int fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	SHOP_OK(file_pwrite_all(fd, "damage", 6, map->chunks[0].at + 9, &err));
	report = look_over(true, true);
	ck_assert_uint_gt(report.damaged, 0);
	ck_assert_uint_eq(report.deltas, 1);
	ck_assert_int_eq(rows_of(DELTA_DONE), 1);
	ck_assert_uint_eq(listed(), 1);
}
END_TEST

/* A recipe's digest of its file, where the head has the same. */
START_TEST(test_verify_blames_no_delta_for_a_recipe)
{
	const struct digest *recipes[2] = {&old.recipe, &new.recipe};
	struct delta_built built;
	char hex[DIGEST_HEX], path[400];

	build_known(&built);
	for (int i = 0; i < 2; i++) {
		digest_hex(recipes[i], hex);
		snprintf(path, sizeof(path), "%s/recipes/%.2s/%s", shop.dir, hex, hex);
		spoil(path, 16);
		ck_assert_uint_eq(look_over(true, true).damaged, 1);
		ck_assert_int_eq(rows_of(DELTA_DONE), 1);
		ck_assert_uint_eq(listed(), 1);
		spoil(path, 16);
	}
	ck_assert_uint_eq(look_over(true, true).damaged, 0);
	delta_works();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("delta_build");
	TCase *tc = tcase_create("delta_build");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_stored_reads_any_range);
	tcase_add_test(tc, test_stored_refuses_what_lies_beyond);
	tcase_add_test(tc, test_stored_tells_damage);
	tcase_add_test(tc, test_parts_are_cut_at_64_mib);
	tcase_add_test(tc, test_parts_are_the_delta);
	tcase_add_test(tc, test_parts_given_up_leave_nothing);
	tcase_add_test(tc, test_delta_build_lists_what_it_made);
	tcase_add_test(tc, test_delta_build_drops_what_saves_too_little);
	tcase_add_test(tc, test_delta_build_keeps_up_to_70_percent);
	tcase_add_test(tc, test_delta_build_ends_when_told);
	tcase_add_test(tc, test_delta_build_wants_both_files);
	tcase_add_test(tc, test_delta_build_survives_failing_calls);
	tcase_add_test(tc, test_delta_build_survives_a_full_disk);
	tcase_add_test(tc, test_gc_delta_keeps_what_is_listed);
	tcase_add_test(tc, test_gc_delta_goes_a_grace_after_its_old_recipe);
	tcase_add_test(tc, test_gc_delta_goes_with_its_new_recipe);
	tcase_add_test(tc, test_gc_delta_dry_run_changes_nothing);
	tcase_add_test(tc, test_gc_delta_learns_what_maps_list);
	tcase_add_test(tc, test_gc_delta_removes_old_parts_without_a_name);
	suite_add_tcase(suite, tc);
	tc = tcase_create("verify");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_verify_tells_of_damaged_deltas);
	tcase_add_test(tc, test_verify_compares_the_head_with_the_old_file);
	tcase_add_test(tc, test_verify_compares_the_recipe_in_a_delta);
	tcase_add_test(tc, test_verify_reads_nothing_behind_the_old_file);
	tcase_add_test(tc, test_verify_has_damaged_deltas_made_again);
	tcase_add_test(tc, test_verify_blames_no_delta_for_the_old_file);
	tcase_add_test(tc, test_verify_blames_no_delta_for_a_recipe);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
