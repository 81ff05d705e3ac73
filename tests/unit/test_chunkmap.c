#include "store/chunkmap.h"

#include "store/codec.h"
#include "store/pack.h"
#include "tests/support/model.h"

#include <check.h>
#include <stdlib.h>

static struct err err;

static struct digest digest_number(unsigned n)
{
	struct digest digest;
	digest_of(&digest, &n, sizeof n);
	return digest;
}

static void add(struct chunkmap *map, uint32_t pack, uint32_t at, uint32_t stored)
{
	struct chunkmap_chunk chunk = {pack, at, stored, CODEC_ZSTD};
	ck_assert_msg(chunkmap_add(map, &chunk, &err) == 0, "%s", err.text);
}

/* Two packs, four chunks of which two are the same, one delta. */
static struct chunkmap *sample(void)
{
	struct digest recipe = digest_number(1), one = digest_number(2), two = digest_number(3);
	struct chunkmap *map = chunkmap_new(&recipe);
	struct chunkmap_delta delta = {digest_number(4), 2, 5000};
	uint32_t index;
	ck_assert_ptr_nonnull(map);
	ck_assert_int_eq(chunkmap_add_pack(map, &one, 10000, &index, &err), 0);
	ck_assert_uint_eq(index, 0);
	ck_assert_int_eq(chunkmap_add_pack(map, &two, 2000, &index, &err), 0);
	ck_assert_uint_eq(index, 1);
	add(map, 0, 108, 700);
	add(map, 1, 8, 300);
	add(map, 0, 8, 100);
	add(map, 1, 8, 300);
	ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), 0);
	return map;
}

static void expect_refused(const void *bytes, size_t len, enum status status)
{
	/* From the heap, so that a sanitizer sees reads beyond the end. */
	void *copy = malloc(len + !len);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, len);
	struct chunkmap *map = NULL;
	ck_assert_int_eq(chunkmap_parse(&map, copy, len, &err), -1);
	ck_assert_int_eq(err.status, status);
	ck_assert_ptr_null(map);
	free(copy);
}

START_TEST(test_chunkmap_brings_back_what_was_encoded)
{
	AUTO_BUF struct buf buf = BUF_INIT(CHUNKMAP_BYTES_MAX), again = BUF_INIT(CHUNKMAP_BYTES_MAX);
	AUTO(chunkmap_free) struct chunkmap *map = sample(), *back = NULL;
	ck_assert_int_eq(chunkmap_encode(map, &buf, &err), 0);
	ck_assert_uint_eq(map->stored, 1100); /* the place used twice counts once */
	ck_assert_uint_eq(buf.len, 60 + 2 * 36 + 4 * 13 + 44);
	ck_assert_msg(chunkmap_parse(&back, buf.data, buf.len, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(back->stored, 1100);
	ck_assert_uint_eq(back->pack_count, 2);
	ck_assert_uint_eq(back->packs[1].bytes, 2000);
	ck_assert_uint_eq(back->count, 4);
	ck_assert_uint_eq(back->chunks[0].at, 108);
	ck_assert_uint_eq(back->chunks[0].codec, CODEC_ZSTD);
	ck_assert_uint_eq(back->delta_count, 1);
	ck_assert_uint_eq(back->deltas[0].parts, 2);
	ck_assert_uint_eq(back->deltas[0].bytes, 5000);
	ck_assert(digest_eq(&back->deltas[0].from, &map->deltas[0].from));
	ck_assert_int_eq(chunkmap_encode(back, &again, &err), 0);
	ck_assert_uint_eq(again.len, buf.len);
	ck_assert_int_eq(memcmp(again.data, buf.data, buf.len), 0);
}
END_TEST

START_TEST(test_chunkmap_of_an_empty_file)
{
	AUTO_BUF struct buf buf = BUF_INIT(CHUNKMAP_BYTES_MAX);
	struct digest recipe = digest_number(1);
	AUTO(chunkmap_free) struct chunkmap *map = chunkmap_new(&recipe), *back = NULL;
	ck_assert_int_eq(chunkmap_encode(map, &buf, &err), 0);
	ck_assert_int_eq(chunkmap_parse(&back, buf.data, buf.len, &err), 0);
	ck_assert_uint_eq(back->stored, 0);
}
END_TEST

START_TEST(test_chunkmap_refuses_every_other_length)
{
	AUTO_BUF struct buf buf = BUF_INIT(CHUNKMAP_BYTES_MAX);
	AUTO(chunkmap_free) struct chunkmap *map = sample();
	ck_assert_int_eq(chunkmap_encode(map, &buf, &err), 0);
	for (size_t len = 0; len < buf.len; len++)
		expect_refused(buf.data, len, ERR_INVALID);
	buf_addc(&buf, 0);
	expect_refused(buf.data, buf.len, ERR_INVALID);
}
END_TEST

START_TEST(test_chunkmap_refuses_what_contradicts_itself)
{
	const size_t packs = 60, chunks = packs + 2 * 36, deltas = chunks + 4 * 13;
	const struct {
		size_t at;
		uint8_t byte;
	} wrong[] = {
		{0, 'X'},	   {4, 2},		{7, 1},
		{40, 1},	   {47, 1},		{48, 3},
		{52, 5},	   {56, 0},		{56, 255},
		{packs + 32 + 3, 5},			/* a pack beyond 64 MiB */
		{chunks, 2},				/* no such pack */
		{chunks + 4, 107},			/* overlaps the third chunk */
		{chunks + 4 + 3, 1},			/* outside the pack */
		{chunks + 8 + 3, 1},			/* too long */
		{chunks + 13 + 8, 0x2d},		/* one place, two lengths */
		{chunks + 13 + 12, 0},			/* one place, two codecs */
		{chunks + 26 + 4, 7},			/* in the pack's head */
		{deltas + 32, 0},			/* no parts */
		{deltas + 33, 4},			/* too many parts */
		{deltas + 36 + 7, 1},			/* more bytes than parts can hold */
	};
	AUTO(chunkmap_free) struct chunkmap *map = sample();
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		AUTO_BUF struct buf buf = BUF_INIT(CHUNKMAP_BYTES_MAX);
		ck_assert_int_eq(chunkmap_encode(map, &buf, &err), 0);
		ck_assert_uint_ne((uint8_t)buf.data[wrong[i].at], wrong[i].byte);
		buf.data[wrong[i].at] = (char)wrong[i].byte;
		expect_refused(buf.data, buf.len, ERR_INVALID);
	}
}
END_TEST

START_TEST(test_chunkmap_builder_has_the_same_limits)
{
	AUTO(chunkmap_free) struct chunkmap *map = sample();
	AUTO_BUF struct buf buf = BUF_INIT(CHUNKMAP_BYTES_MAX);
	struct digest digest = digest_number(9);
	uint32_t index = 77;
	ck_assert_int_eq(chunkmap_add_pack(map, &digest, 0, &index, &err), -1);
	ck_assert_int_eq(chunkmap_add_pack(map, &digest, PACK_MAX + 1, &index, &err), -1);
	ck_assert_uint_eq(index, 77);
	struct chunkmap_chunk chunk = {0, 9999, 2, 0};
	ck_assert_int_eq(chunkmap_add(map, &chunk, &err), -1);
	chunk = (struct chunkmap_chunk){2, 8, 2, 0};
	ck_assert_int_eq(chunkmap_add(map, &chunk, &err), -1);
	chunk = (struct chunkmap_chunk){0, 8, 0, 0};
	ck_assert_int_eq(chunkmap_add(map, &chunk, &err), -1);
	struct chunkmap_delta delta = {digest, 1, (uint64_t)PACK_MAX + 1};
	ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), -1);
	delta.bytes = 1;
	for (unsigned i = 1; i < CHUNKMAP_DELTAS_MAX; i++)
		ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), 0);
	ck_assert_int_eq(chunkmap_add_delta(map, &delta, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	add(map, 0, 109, 1);
	uint64_t before = map->stored;
	ck_assert_int_eq(chunkmap_encode(map, &buf, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_uint_eq(map->stored, before);
}
END_TEST

START_TEST(test_chunkmap_must_fit_its_recipe)
{
	AUTO(chunkmap_free) struct chunkmap *map = sample();
	AUTO(recipe_free) struct recipe *recipe = recipe_new();
	struct digest name = digest_number(1), other = digest_number(2), chunk = digest_number(5);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(recipe_add(recipe, &chunk, 2000, 0, &err), 0);
	ck_assert_int_eq(chunkmap_fits(map, recipe, &name, &err), -1); /* one too few */
	ck_assert_int_eq(recipe_add(recipe, &chunk, 1, 0, &err), 0);
	ck_assert_int_eq(chunkmap_fits(map, recipe, &name, &err), 0);
	ck_assert_int_eq(chunkmap_fits(map, recipe, &other, &err), -1);
	add(map, 1, 308, 1026);
	ck_assert_int_eq(recipe_add(recipe, &chunk, 1, 0, &err), 0);
	ck_assert_int_eq(chunkmap_fits(map, recipe, &name, &err), -1); /* 1,026 for 1 */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chunkmap");
	TCase *tc = tcase_create("chunkmap");
	tcase_add_test(tc, test_chunkmap_brings_back_what_was_encoded);
	tcase_add_test(tc, test_chunkmap_of_an_empty_file);
	tcase_add_test(tc, test_chunkmap_refuses_every_other_length);
	tcase_add_test(tc, test_chunkmap_refuses_what_contradicts_itself);
	tcase_add_test(tc, test_chunkmap_builder_has_the_same_limits);
	tcase_add_test(tc, test_chunkmap_must_fit_its_recipe);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
