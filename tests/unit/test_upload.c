#include "base/file.h"
#include "store/chop.h"
#include "store/gc.h"
#include "tests/support/shop.h"

#include <sys/stat.h>
#include <sys/wait.h>

static struct shop shop;
static struct upload upload;
static struct err err;

#define MAX (1ll << 30)
#define TOKEN "t7"
static struct taker taker; /* TOKEN, and the quota a test gives it */

static void begin(void)
{
	taker = (struct taker){.token = TOKEN};
	shop_dir(&shop);
	shop_start(&shop);
}

static void end(void)
{
	shop_stop(&shop);
	shop_remove(&shop);
}

static void refused(int result, enum status status, const char *word)
{
	ck_assert_int_eq(result, -1);
	ck_assert_msg(err.status == status && strstr(err.text, word), "%s: %s",
		      err_name(err.status), err.text);
}

static void create(int64_t length, const struct digest *sha256)
{
	struct upload_spec spec = {.taker = {.token = TOKEN},
				   .name = "model.gguf",
				   .length = length,
				   .max_length = MAX,
				   .sha256 = sha256};

	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
}

static int append_at(int64_t offset, const void *bytes, size_t len)
{
	int64_t max, end_at;
	AUTO_FD int fd = -1;

	const struct upload_part part = {offset, (int64_t)len, MAX};

	if (upload_append(shop.blobs, shop.db, upload.id, &taker, &part, SHOP_NOW, &fd, &max,
			  &err) < 0)
		return -1;
	ck_assert_int_ge(max, (int64_t)len);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	if (upload_appended(shop.blobs, upload.id, fd, SHOP_NOW + 5, &end_at, &err) < 0)
		return -1;
	ck_assert_int_eq(end_at, offset + (int64_t)len);
	return 0;
}

static int finish(const struct digest *sha256, struct recipe_info *ret_info)
{
	return upload_finish(shop.blobs, shop.db, upload.id, TOKEN, NULL, sha256, SHOP_NOW + 9, NULL,
			     ret_info, &err);
}

static void random_bytes(struct buf *raw, size_t len, const char *seed)
{
	buf_init(raw, 512u << 20);
	model_stream(buf_grow(raw, len), len, seed);
	buf_grown(raw, len);
}

START_TEST(test_upload_in_parts_becomes_a_file)
{
	AUTO_BUF struct buf raw = BUF_INIT(0);
	struct recipe_info info;
	struct digest sha256;

	random_bytes(&raw, 3000000, "parts");
	digest_of(&sha256, raw.data, raw.len);
	create(3000000, &sha256);
	ck_assert_int_eq(upload.offset, 0);
	ck_assert_int_eq(append_at(0, raw.data, 1), 0);
	ck_assert_int_eq(append_at(1, raw.data + 1, 1999999), 0);
	SHOP_OK(upload_get(shop.blobs, shop.db, upload.id, TOKEN, &upload, &err));
	ck_assert_int_eq(upload.offset, 2000000);
	ck_assert_int_eq(upload.length, 3000000);
	ck_assert_str_eq(upload.name, "model.gguf");
	ck_assert_int_eq(append_at(2000000, raw.data + 2000000, 1000000), 0);
	SHOP_OK(finish(NULL, &info));
	ck_assert(digest_eq(&info.sha256, &sha256));
	shop_expect(&shop, &info.recipe, &raw);
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
	shop_sound(&shop);
	/* Asked again: the same answer. */
	struct recipe_info again;
	SHOP_OK(finish(&sha256, &again));
	ck_assert(digest_eq(&info.recipe, &again.recipe));
	SHOP_OK(upload_get(shop.blobs, shop.db, upload.id, TOKEN, &upload, &err));
	ck_assert(upload.finished);
	ck_assert_int_eq(upload.offset, 3000000);
	refused(append_at(3000000, "x", 1), ERR_CONFLICT, "finished");
}
END_TEST

START_TEST(test_upload_survives_a_restart)
{
	AUTO_BUF struct buf raw = BUF_INIT(0);
	struct recipe_info info;

	random_bytes(&raw, 400000, "restart");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, raw.data, 300000), 0);
	shop_stop(&shop);
	shop_start(&shop);
	SHOP_OK(upload_get(shop.blobs, shop.db, upload.id, TOKEN, &upload, &err));
	ck_assert_int_eq(upload.offset, 300000);
	ck_assert_int_eq(append_at(300000, raw.data + 300000, 100000), 0);
	SHOP_OK(finish(NULL, &info));
	shop_expect(&shop, &info.recipe, &raw);
}
END_TEST

START_TEST(test_upload_at_another_offset_is_refused)
{
	create(100, NULL);
	ck_assert_int_eq(append_at(0, "0123456789", 10), 0);
	refused(append_at(0, "0123456789", 10), ERR_CONFLICT, "stands at 10");
	refused(append_at(11, "x", 1), ERR_CONFLICT, "stands at 10");
}
END_TEST

START_TEST(test_upload_oversized_is_refused)
{
	struct upload_spec spec = {.taker = {.token = TOKEN}, .length = MAX + 1, .max_length = MAX};

	refused(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err), ERR_TOO_LARGE,
		"length");
	create(10, NULL);
	refused(append_at(0, "0123456789a", 11), ERR_TOO_LARGE, "10 bytes");
	ck_assert_int_eq(append_at(0, "0123456789", 10), 0);
	refused(append_at(10, "a", 1), ERR_TOO_LARGE, "10 bytes");
}
END_TEST

START_TEST(test_upload_truncated_is_refused)
{
	struct recipe_info info;

	create(10, NULL);
	ck_assert_int_eq(append_at(0, "01234", 5), 0);
	refused(finish(NULL, &info), ERR_CONFLICT, "5 of 10 bytes");
	ck_assert_int_eq(append_at(5, "56789", 5), 0);
	SHOP_OK(finish(NULL, &info));
}
END_TEST

START_TEST(test_upload_that_lies_is_refused)
{
	struct digest stated, real;
	struct recipe_info info;

	digest_of(&stated, "what was promised", 17);
	digest_of(&real, "something else", 14);
	create(-1, &stated);
	ck_assert_int_eq(append_at(0, "something else", 14), 0);
	refused(finish(NULL, &info), ERR_UNTRUSTED, "upload it again");
	refused(finish(&real, &info), ERR_INVALID, "another one was stated");
	refused(inventory_file(shop.db, &real, &info, &err), ERR_NOT_FOUND, "");
	ck_assert_uint_eq(shop_tmp_count(&shop), 1); /* the upload alone */
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, "something else", 14), 0);
	refused(finish(&stated, &info), ERR_UNTRUSTED, "");
	SHOP_OK(finish(&real, &info));
	refused(finish(&stated, &info), ERR_CONFLICT, "another sha256");
}
END_TEST

START_TEST(test_upload_belongs_to_its_token)
{
	struct upload other;
	int64_t max;
	int fd = -1;

	create(10, NULL);
	refused(upload_get(shop.blobs, shop.db, upload.id, "t8", &other, &err), ERR_NOT_FOUND, "");
	refused(upload_append(shop.blobs, shop.db, upload.id, &(struct taker){.token = "t8"},
			      &(struct upload_part){0, 1, MAX}, SHOP_NOW, &fd, &max, &err),
		ERR_NOT_FOUND, "");
	refused(upload_drop(shop.blobs, shop.db, upload.id, "t8", NULL, &err), ERR_NOT_FOUND, "");
	SHOP_OK(upload_get(shop.blobs, shop.db, upload.id, NULL, &other, &err));
}
END_TEST

START_TEST(test_upload_ids_never_leave_tmp)
{
	static const char *const ids[] = {"", "u", "../flotilla.db", "u../../../../etc/passwd",
					  "u0123456789abcdef0123456789ABCDEF",
					  "u0123456789abcdef0123456789abcdef0"};

	for (unsigned i = 0; i < COUNT_OF(ids); i++)
		refused(upload_get(shop.blobs, shop.db, ids[i], TOKEN, &upload, &err),
			ERR_NOT_FOUND, "");
}
END_TEST

START_TEST(test_upload_of_the_same_file_goes_on)
{
	struct digest sha256, other;

	digest_of(&sha256, "0123456789", 10);
	digest_of(&other, "9876543210", 10);
	create(10, &sha256);
	struct upload first = upload;
	ck_assert(!upload.resumed);
	ck_assert_int_eq(append_at(0, "01234", 5), 0);
	create(10, &sha256);
	ck_assert(upload.resumed);
	ck_assert_str_eq(upload.id, first.id);
	ck_assert_int_eq(upload.offset, 5);
	create(10, &other);
	ck_assert_str_ne(upload.id, first.id);
	create(11, &sha256);
	ck_assert_str_ne(upload.id, first.id);
	struct upload_spec spec = {
		.taker = {.token = "t8"}, .length = 10, .max_length = MAX, .sha256 = &sha256};
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	ck_assert(!upload.resumed); /* another token's is none of its business */
	create(10, &sha256);
	ck_assert_int_eq(append_at(5, "56789", 5), 0);
	struct recipe_info info, again;
	SHOP_OK(finish(NULL, &info));
	create(10, &sha256); /* killed before it was told: nothing is sent again */
	ck_assert(upload.resumed && upload.finished);
	ck_assert_int_eq(upload.offset, 10);
	SHOP_OK(finish(NULL, &again));
	ck_assert(digest_eq(&again.recipe, &info.recipe));
}
END_TEST

START_TEST(test_upload_has_one_writer)
{
	int64_t max;
	AUTO_FD int fd = -1;
	struct recipe_info info;

	create(10, NULL);
	SHOP_OK(upload_append(shop.blobs, shop.db, upload.id, &taker,
			      &(struct upload_part){0, -1, MAX}, SHOP_NOW, &fd, &max, &err));
	ck_assert_int_eq(max, 10);
	refused(append_at(0, "x", 1), ERR_BUSY, "another request");
	refused(finish(NULL, &info), ERR_BUSY, "another request");
}
END_TEST

START_TEST(test_upload_broken_off_keeps_its_bytes)
{
	int64_t max;

	create(10, NULL);
	{
		AUTO_FD int fd = -1;
		SHOP_OK(upload_append(shop.blobs, shop.db, upload.id, &taker,
				      &(struct upload_part){0, 10, MAX}, SHOP_NOW, &fd, &max,
				      &err));
		ck_assert_int_eq(write(fd, "0123", 4), 4);
	}
	SHOP_OK(upload_get(shop.blobs, shop.db, upload.id, TOKEN, &upload, &err));
	ck_assert_int_eq(upload.offset, 4);
	ck_assert_int_eq(append_at(4, "456789", 6), 0);
}
END_TEST

START_TEST(test_upload_dropped_is_gone)
{
	create(10, NULL);
	SHOP_OK(upload_drop(shop.blobs, shop.db, upload.id, TOKEN, NULL, &err));
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
	refused(append_at(0, "x", 1), ERR_NOT_FOUND, "lease");
	refused(upload_drop(shop.blobs, shop.db, upload.id, TOKEN, NULL, &err), ERR_NOT_FOUND, "");
}
END_TEST

START_TEST(test_upload_quota_is_kept)
{
	struct upload_spec spec = {.taker = {.token = TOKEN}, .length = -1, .max_length = MAX};

	for (int i = 0; i < UPLOADS_A_TOKEN; i++)
		create(-1, NULL);
	refused(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err), ERR_QUOTA,
		"unfinished");
	ck_assert_uint_eq(shop_tmp_count(&shop), UPLOADS_A_TOKEN);
	spec.taker.token = "t8";
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
}
END_TEST

/* What is open counts: as announced, or, without that, as it has arrived. */
START_TEST(test_upload_quota_of_bytes_counts_what_is_open)
{
	struct upload_spec spec = {.taker = {TOKEN, 100, 0}, .length = 60, .max_length = MAX};
	struct recipe_info info;
	int64_t left;

	taker = spec.taker;
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	SHOP_OK(taken_left(shop.db, &taker, SHOP_NOW, &left, &err));
	ck_assert_int_eq(left, 40);
	struct upload first = upload;
	spec.length = 41;
	refused(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err), ERR_QUOTA,
		"quota_bytes");
	ck_assert_uint_eq(err.retry_s, TAKEN_DAY_S);
	spec.length = -1;
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	refused(append_at(0, upload.id, 41), ERR_QUOTA, "has 40 left");
	ck_assert_int_eq(append_at(0, "0123456789", 10), 0);
	SHOP_OK(taken_left(shop.db, &taker, SHOP_NOW, &left, &err));
	ck_assert_int_eq(left, 30);
	refused(append_at(10, upload.id, 31), ERR_QUOTA, "has 30 left");
	SHOP_OK(finish(NULL, &info));
	SHOP_OK(upload_drop(shop.blobs, shop.db, first.id, TOKEN, NULL, &err));
	/* Finished, it is for the also of the finish to count it. */
	SHOP_OK(taken_left(shop.db, &taker, SHOP_NOW, &left, &err));
	ck_assert_int_eq(left, 100);
	spec.taker.uploads = 1;
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	refused(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err), ERR_QUOTA,
		"may have 1 unfinished");
	ck_assert_uint_gt(err.retry_s, 60);
}
END_TEST

/* Appends at the same time, of a length that nobody stated, share what is left; what broke off gives
 * back what it did not bring. */
START_TEST(test_upload_quota_of_bytes_counts_what_is_under_way)
{
	struct upload_spec spec = {.taker = {TOKEN, 100, 0}, .length = -1, .max_length = MAX};
	const struct upload_part sixty = {0, 60, MAX}, open_end = {0, -1, MAX};
	int64_t max, left;
	unsigned dropped;
	int fd = -1, other = -1;

	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	struct upload first = upload;
	SHOP_OK(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err));
	SHOP_OK(upload_append(shop.blobs, shop.db, first.id, &spec.taker, &sixty, SHOP_NOW, &fd, &max,
			      &err));
	refused(upload_append(shop.blobs, shop.db, upload.id, &spec.taker, &sixty, SHOP_NOW, &other,
			      &max, &err),
		ERR_QUOTA, "has 40 left");
	SHOP_OK(upload_append(shop.blobs, shop.db, upload.id, &spec.taker, &open_end, SHOP_NOW, &other,
			      &max, &err));
	ck_assert_int_eq(max, 40);
	ck_assert_int_eq(write(fd, "01234", 5), 5);
	/* Under way they keep it; then both break off. */
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW, &dropped, &err));
	SHOP_OK(taken_left(shop.db, &spec.taker, SHOP_NOW, &left, &err));
	ck_assert_int_eq(left, 0);
	close(fd);
	close(other);
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW, &dropped, &err));
	SHOP_OK(taken_left(shop.db, &spec.taker, SHOP_NOW, &left, &err));
	ck_assert_int_eq(left, 95);
}
END_TEST

struct bringing {
	const char *token;
	int64_t bytes, now;
	uint8_t name;
};

static int bring(struct db *db, void *arg, struct err *why)
{
	const struct bringing *b = arg;
	const struct digest name = {{b->name}};

	return taken_add(db, b->token, TAKEN_PACK, &name, b->bytes, b->now, why);
}

START_TEST(test_upload_quota_of_bytes_is_for_a_rolling_day)
{
	static struct bringing brought[] = {
		{TOKEN, 30, SHOP_NOW, 1},
		{TOKEN, 30, SHOP_NOW + 3600, 2},
		{TOKEN, 30, SHOP_NOW + 3600, 2}, /* again: counted once */
		{"t8", 1000, SHOP_NOW, 1},
	};
	int64_t left;

	taker.quota_bytes = 100;
	for (unsigned i = 0; i < COUNT_OF(brought); i++)
		SHOP_OK(ledger_run(shop.ledger, bring, &brought[i], &err));
	const int64_t now = SHOP_NOW + 7200;
	SHOP_OK(taken_left(shop.db, &taker, now, &left, &err));
	ck_assert_int_eq(left, 40);
	SHOP_OK(taken_room(shop.db, &taker, 40, now, &err));
	refused(taken_room(shop.db, &taker, 41, now, &err), ERR_QUOTA, "has 40 left");
	ck_assert_uint_eq(err.retry_s, TAKEN_DAY_S - 7200); /* until the first is a day old */
	refused(taken_room(shop.db, &taker, 71, now, &err), ERR_QUOTA, "needs 71");
	ck_assert_uint_eq(err.retry_s, TAKEN_DAY_S - 3600); /* and the second */
	SHOP_OK(taken_room(shop.db, &taker, 70, SHOP_NOW + TAKEN_DAY_S, &err));
	refused(taken_room(shop.db, &taker, 101, SHOP_NOW + 2 * TAKEN_DAY_S, &err), ERR_QUOTA, "");
	/* Old rows go when new ones come. */
	struct bringing late = {TOKEN, 1, SHOP_NOW + TAKEN_KEPT_S + 60, 3};
	SHOP_OK(ledger_run(shop.ledger, bring, &late, &err));
	ck_assert_int_eq(taken_has(shop.db, TOKEN, &(struct digest){{1}}, &err), 0);
	ck_assert_int_eq(taken_has(shop.db, TOKEN, &(struct digest){{2}}, &err), 1);
}
END_TEST

START_TEST(test_upload_reserve_is_kept)
{
	struct upload_spec spec = {.taker = {.token = TOKEN}, .length = 10, .max_length = MAX};

	create(10, NULL);
	shop_stop(&shop);
	shop.reserve = 1ull << 60;
	shop_start(&shop);
	refused(append_at(0, "0123456789", 10), ERR_FULL, "reserved");
	refused(upload_create(shop.blobs, shop.db, &spec, SHOP_NOW, NULL, &upload, &err), ERR_FULL,
		"reserved");
}
END_TEST

START_TEST(test_upload_lease_ends_and_is_renewed)
{
	unsigned dropped;

	for (int i = 0; i < 3; i++)
		create(10, NULL);
	ck_assert_int_eq(append_at(0, "01", 2), 0); /* renews from SHOP_NOW + 5 */
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW + UPLOAD_LEASE_S, &dropped, &err));
	ck_assert_uint_eq(dropped, 0);
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW + UPLOAD_LEASE_S + 1, &dropped, &err));
	ck_assert_uint_eq(dropped, 2);
	ck_assert_uint_eq(shop_tmp_count(&shop), 1);
	ck_assert_int_eq(append_at(2, "23456789", 8), 0);
}
END_TEST

START_TEST(test_upload_files_without_rows_are_swept)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char path[400];
	unsigned dropped;

	snprintf(path, sizeof(path), "%s/upload-u0123456789abcdef0123456789abcdef",
		 blobs_tmp(shop.blobs));
	SHOP_OK(file_write(path, "left", 4, 0600, &err));
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW, &dropped, &err));
	ck_assert_uint_eq(shop_tmp_count(&shop), 1); /* young */
	ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW, &dropped, &err));
	ck_assert_uint_eq(shop_tmp_count(&shop), 0);
}
END_TEST

START_TEST(test_upload_holds_its_recipe_until_the_lease_ends)
{
	struct recipe_info info;
	const struct gc_options late = {.now = SHOP_NOW + 5000, .grace_s = 1000};
	const struct gc_options later = {.now = SHOP_NOW + 2 * UPLOAD_LEASE_S, .grace_s = 1000};
	struct gc_report report;
	unsigned dropped;

	create(-1, NULL);
	ck_assert_int_eq(append_at(0, "0123456789", 10), 0);
	SHOP_OK(finish(NULL, &info));
	SHOP_OK(gc_run(shop.blobs, shop.db, &late, &report, &err));
	ck_assert_uint_eq(report.recipes, 0);
	SHOP_OK(upload_expire(shop.blobs, shop.db, SHOP_NOW + 2 * UPLOAD_LEASE_S, &dropped, &err));
	SHOP_OK(gc_run(shop.blobs, shop.db, &later, &report, &err));
	ck_assert_uint_eq(report.recipes, 1);
	ck_assert_uint_eq(report.packs, 1);
}
END_TEST

START_TEST(test_upload_of_nothing_is_an_empty_file)
{
	AUTO_BUF struct buf empty = BUF_INIT(1);
	struct recipe_info info;

	create(0, NULL);
	SHOP_OK(finish(NULL, &info));
	ck_assert_int_eq(info.length, 0);
	shop_expect(&shop, &info.recipe, &empty);
}
END_TEST

START_TEST(test_upload_stores_equal_chunks_once)
{
	AUTO_BUF struct buf raw = BUF_INIT(0);
	struct inventory_sums before, after;
	struct recipe_info first, second;

	random_bytes(&raw, 2000000, "once");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, raw.data, raw.len), 0);
	SHOP_OK(finish(NULL, &first));
	SHOP_OK(inventory_sum(shop.db, &before, &err));
	/* The same content with a little behind it. */
	buf_adds(&raw, "a little more");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, raw.data, raw.len), 0);
	SHOP_OK(finish(NULL, &second));
	SHOP_OK(inventory_sum(shop.db, &after, &err));
	ck_assert_int_lt(after.pack_bytes - before.pack_bytes, 1200000);
	ck_assert_int_eq(after.recipes, 2);
	shop_expect(&shop, &first.recipe, &(struct buf){.data = raw.data, .len = 2000000});
	shop_expect(&shop, &second.recipe, &raw);
}
END_TEST

static struct chunkmap *map_of(const struct digest *recipe)
{
	AUTO(blob_unref) struct blob *blob = blob_get(shop.blobs, BLOB_MAP, recipe, &err);
	struct chunkmap *map = NULL;

	ck_assert_ptr_nonnull(blob);
	SHOP_OK(chunkmap_parse(&map, blob->bytes, blob->len, &err));
	return map;
}

/* Packs that both maps name. */
static unsigned packs_shared(const struct digest *a, const struct digest *b)
{
	AUTO(chunkmap_free) struct chunkmap *first = map_of(a), *second = map_of(b);
	unsigned shared = 0;

	for (uint32_t i = 0; i < first->pack_count; i++)
		for (uint32_t k = 0; k < second->pack_count; k++)
			shared += digest_eq(&first->packs[i].digest, &second->packs[k].digest);
	return shared;
}

/* What is there already is stored again for who may not learn of it. */
START_TEST(test_upload_in_a_scope_shares_nothing_with_others)
{
	const size_t len = 2000000;
	const struct scope scope = {"\nmine\n", TOKEN};
	AUTO_BUF struct buf raw = BUF_INIT(len + 1);
	struct recipe_info theirs, mine, shared;
	uint8_t *bytes = buf_grow(&raw, len);

	model_stream(bytes, len, "scope");
	buf_grown(&raw, len);
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, bytes, len), 0);
	SHOP_OK(finish(NULL, &theirs));
	model_stream(bytes + len - 10000, 10000, "another end");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, bytes, len), 0);
	SHOP_OK(upload_finish(shop.blobs, shop.db, upload.id, TOKEN, &scope, NULL, SHOP_NOW, NULL,
			      &mine, &err));
	ck_assert_uint_eq(packs_shared(&theirs.recipe, &mine.recipe), 0);
	shop_expect(&shop, &mine.recipe, &raw);
	/* Without a scope the same file's chunks are found where they lay first. */
	model_stream(bytes + len - 10000, 10000, "a third end");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, bytes, len), 0);
	SHOP_OK(finish(NULL, &shared));
	ck_assert_uint_eq(packs_shared(&theirs.recipe, &shared.recipe), 1);
	shop_sound(&shop);
}
END_TEST

START_TEST(test_upload_larger_than_a_pack_becomes_many)
{
	AUTO_BUF struct buf raw = BUF_INIT(0);
	struct inventory_sums sums;
	struct recipe_info info;

	random_bytes(&raw, 70u << 20, "many");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, raw.data, raw.len), 0);
	SHOP_OK(finish(NULL, &info));
	SHOP_OK(inventory_sum(shop.db, &sums, &err));
	ck_assert_int_eq(sums.packs, 2);
	shop_expect(&shop, &info.recipe, &raw);
	shop_sound(&shop);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_FACTOR 20 /* shadow memory, and freed memory held back */
#else
#define SANITIZER_FACTOR 1
#endif

static long peak_kib(void)
{
	char line[200];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmHWM:", 6))
			kib = atol(line + 6);
	fclose(status);
	return kib;
}

/* 300 MiB of a sparse file: what counts is how much is held, not how fast it is read. */
START_TEST(test_upload_of_any_length_needs_little_memory)
{
	char path[400];
	struct recipe_info info;

	create(-1, NULL);
	snprintf(path, sizeof(path), "%s/upload-%s", blobs_tmp(shop.blobs), upload.id);
	AUTO_FD int fd = open(path, O_RDWR);
	for (int i = 0; i < 300; i++) {
		uint8_t noise[65536];
		char seed[20];
		snprintf(seed, sizeof(seed), "sparse %d", i);
		model_stream(noise, sizeof(noise), seed);
		ck_assert_int_eq(pwrite(fd, noise, sizeof(noise), (off_t)i << 20),
				 sizeof(noise));
	}
	ck_assert_int_eq(ftruncate(fd, 300 << 20), 0);
	long before = peak_kib();
	SHOP_OK(finish(NULL, &info));
	ck_assert_int_eq(info.length, 300 << 20);
	ck_assert_int_le(peak_kib() - before, 32 * 1024 * SANITIZER_FACTOR);
}
END_TEST

START_TEST(test_upload_killed_while_finishing_can_be_finished)
{
	AUTO_BUF struct buf raw = BUF_INIT(0);
	struct recipe_info info;

	random_bytes(&raw, 20u << 20, "killed");
	create(-1, NULL);
	ck_assert_int_eq(append_at(0, raw.data, raw.len), 0);
	shop_stop(&shop);
	for (int round = 0; round < 5; round++) {
		pid_t child = fork();
		if (!child) {
			shop_start(&shop);
			(void)finish(NULL, &info);
			_exit(0);
		}
		usleep(10000 + 25000 * (useconds_t)round);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		shop_start(&shop);
		shop_sound(&shop);
		shop_stop(&shop);
	}
	shop_start(&shop);
	SHOP_OK(finish(NULL, &info));
	shop_expect(&shop, &info.recipe, &raw);
	shop_sound(&shop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("upload");
	TCase *tc = tcase_create("upload");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_upload_in_parts_becomes_a_file);
	tcase_add_test(tc, test_upload_survives_a_restart);
	tcase_add_test(tc, test_upload_at_another_offset_is_refused);
	tcase_add_test(tc, test_upload_oversized_is_refused);
	tcase_add_test(tc, test_upload_truncated_is_refused);
	tcase_add_test(tc, test_upload_that_lies_is_refused);
	tcase_add_test(tc, test_upload_belongs_to_its_token);
	tcase_add_test(tc, test_upload_ids_never_leave_tmp);
	tcase_add_test(tc, test_upload_of_the_same_file_goes_on);
	tcase_add_test(tc, test_upload_has_one_writer);
	tcase_add_test(tc, test_upload_broken_off_keeps_its_bytes);
	tcase_add_test(tc, test_upload_dropped_is_gone);
	tcase_add_test(tc, test_upload_quota_is_kept);
	tcase_add_test(tc, test_upload_quota_of_bytes_counts_what_is_open);
	tcase_add_test(tc, test_upload_quota_of_bytes_counts_what_is_under_way);
	tcase_add_test(tc, test_upload_quota_of_bytes_is_for_a_rolling_day);
	tcase_add_test(tc, test_upload_reserve_is_kept);
	tcase_add_test(tc, test_upload_lease_ends_and_is_renewed);
	tcase_add_test(tc, test_upload_files_without_rows_are_swept);
	tcase_add_test(tc, test_upload_holds_its_recipe_until_the_lease_ends);
	tcase_add_test(tc, test_upload_of_nothing_is_an_empty_file);
	tcase_add_test(tc, test_upload_stores_equal_chunks_once);
	tcase_add_test(tc, test_upload_in_a_scope_shares_nothing_with_others);
	tcase_add_test(tc, test_upload_larger_than_a_pack_becomes_many);
	tcase_add_test(tc, test_upload_of_any_length_needs_little_memory);
	tcase_add_test(tc, test_upload_killed_while_finishing_can_be_finished);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
