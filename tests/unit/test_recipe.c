#include "store/recipe.h"

#include "store/codec.h"
#include "store/format.h"
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

static struct recipe *sample(unsigned chunks)
{
	struct recipe *recipe = recipe_new();
	ck_assert_ptr_nonnull(recipe);
	recipe->format = FORMAT_GGUF;
	recipe->sha256 = digest_number(~0u);
	for (unsigned i = 0; i < chunks; i++) {
		struct digest digest = digest_number(i);
		ck_assert_int_eq(recipe_add(recipe, &digest, 1000 + i, (uint8_t)i, &err), 0);
	}
	return recipe;
}

static void encode(const struct recipe *recipe, struct buf *out, struct digest *name)
{
	ck_assert_msg(recipe_encode(recipe, out, name, &err) == 0, "%s", err.text);
}

static void expect_refused(const struct buf *buf, size_t len, enum status status)
{
	/* From the heap, so that a sanitizer sees reads beyond the end. */
	void *copy = malloc(len + !len);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, buf->data, len);
	struct recipe *recipe = NULL;
	ck_assert_int_eq(recipe_parse(&recipe, copy, len, &err), -1);
	ck_assert_int_eq(err.status, status);
	ck_assert_ptr_null(recipe);
	free(copy);
}

START_TEST(test_recipe_brings_back_what_was_encoded)
{
	static const unsigned counts[] = {0, 1, 2, 63, 64, 65, 3000};
	for (size_t c = 0; c < COUNT_OF(counts); c++) {
		AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX), again = BUF_INIT(RECIPE_BYTES_MAX);
		AUTO(recipe_free) struct recipe *recipe = sample(counts[c]), *back = NULL;
		struct digest name, hash, again_name;
		encode(recipe, &buf, &name);
		ck_assert_uint_eq(buf.len, RECIPE_HEAD + counts[c] * RECIPE_ENTRY);
		digest_of(&hash, buf.data, buf.len);
		ck_assert(digest_eq(&name, &hash));
		ck_assert_msg(recipe_parse(&back, buf.data, buf.len, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(back->count, recipe->count);
		ck_assert_uint_eq(back->length, recipe->length);
		for (uint32_t i = 0; i < back->count; i++) {
			ck_assert(digest_eq(&back->chunks[i].digest, &recipe->chunks[i].digest));
			ck_assert_uint_eq(back->chunks[i].at, recipe->chunks[i].at);
		}
		encode(back, &again, &again_name);
		ck_assert(digest_eq(&name, &again_name));
	}
}
END_TEST

START_TEST(test_recipe_refuses_every_other_length)
{
	AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(recipe_free) struct recipe *recipe = sample(3);
	struct digest name;
	encode(recipe, &buf, &name);
	for (size_t len = 0; len < buf.len; len++)
		expect_refused(&buf, len, ERR_INVALID);
	buf_addc(&buf, 0);
	expect_refused(&buf, buf.len, ERR_INVALID);
	for (int i = 1; i < RECIPE_ENTRY; i++)
		buf_addc(&buf, 1);
	expect_refused(&buf, buf.len, ERR_INVALID);
}
END_TEST

START_TEST(test_recipe_refuses_what_contradicts_itself)
{
	/* offset, byte, status */
	static const struct {
		size_t at;
		uint8_t byte;
		enum status status;
	} wrong[] = {
		{0, 'X', ERR_INVALID},	 {4, 2, ERR_INVALID},  {6, 1, ERR_INVALID},
		{7, 1, ERR_INVALID},	 {8, 1, ERR_INVALID},  {15, 1, ERR_INVALID},
		{48, 2, ERR_INVALID},	 {51, 1, ERR_TOO_LARGE}, {52 + 32, 1, ERR_INVALID},
		{52 + 34, 0x41, ERR_INVALID}, {52 + 35, 0x80, ERR_INVALID},
	};
	AUTO(recipe_free) struct recipe *recipe = sample(3);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX);
		struct digest name;
		encode(recipe, &buf, &name);
		buf.data[wrong[i].at] = (char)wrong[i].byte;
		expect_refused(&buf, buf.len, wrong[i].status);
	}
	AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX);
	struct digest name;
	encode(recipe, &buf, &name);
	memset(buf.data + 52 + 32, 0, 4); /* an empty chunk */
	expect_refused(&buf, buf.len, ERR_INVALID);
}
END_TEST

START_TEST(test_recipe_accepts_formats_and_types_of_later_versions)
{
	AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(recipe_free) struct recipe *recipe = sample(1), *back = NULL;
	struct digest name;
	encode(recipe, &buf, &name);
	buf.data[5] = (char)200;
	buf.data[52 + 36] = (char)201;
	ck_assert_int_eq(recipe_parse(&back, buf.data, buf.len, &err), 0);
	ck_assert_uint_eq(back->format, 200);
	ck_assert_uint_eq(back->chunks[0].type, 201);
}
END_TEST

START_TEST(test_recipe_has_limits)
{
	AUTO(recipe_free) struct recipe *recipe = sample(0);
	struct digest digest = digest_number(1);
	ck_assert_int_eq(recipe_add(recipe, &digest, 0, 0, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_int_eq(recipe_add(recipe, &digest, CHUNK_RAW_MAX + 1, 0, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_uint_eq(recipe->length, 0);
	for (uint64_t at = 0; at < RECIPE_FILE_MAX; at += CHUNK_RAW_MAX)
		if (recipe_add(recipe, &digest, CHUNK_RAW_MAX, 0, &err))
			ck_abort_msg("%s", err.text);
	ck_assert_uint_eq(recipe->length, RECIPE_FILE_MAX);
	ck_assert_int_eq(recipe_add(recipe, &digest, 1, 0, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	ck_assert_uint_eq(recipe->length, RECIPE_FILE_MAX);
}
END_TEST

START_TEST(test_recipe_has_a_limit_of_chunks)
{
	AUTO(recipe_free) struct recipe *recipe = sample(0), *back = NULL;
	struct digest digest = digest_number(1), name;
	for (uint32_t i = 0; i < RECIPE_CHUNKS_MAX; i++)
		if (recipe_add(recipe, &digest, 1, 0, &err))
			ck_abort_msg("%s", err.text);
	ck_assert_int_eq(recipe_add(recipe, &digest, 1, 0, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	AUTO_BUF struct buf buf = BUF_INIT(RECIPE_BYTES_MAX);
	encode(recipe, &buf, &name);
	ck_assert_int_eq(recipe_parse(&back, buf.data, buf.len, &err), 0);
	ck_assert_uint_eq(back->count, RECIPE_CHUNKS_MAX);
}
END_TEST

START_TEST(test_recipe_finds_the_chunk_of_an_offset)
{
	AUTO(recipe_free) struct recipe *recipe = sample(100);
	for (uint32_t i = 0; i < 100; i++) {
		uint64_t at = recipe->chunks[i].at;
		ck_assert_uint_eq(recipe_find(recipe, at), i);
		ck_assert_uint_eq(recipe_find(recipe, at + recipe->chunks[i].len - 1), i);
	}
}
END_TEST

START_TEST(test_recipe_reports_a_full_buffer)
{
	AUTO_BUF struct buf buf = BUF_INIT(60);
	AUTO(recipe_free) struct recipe *recipe = sample(1);
	struct digest name;
	ck_assert_int_eq(recipe_encode(recipe, &buf, &name, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recipe");
	TCase *tc = tcase_create("recipe");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_recipe_brings_back_what_was_encoded);
	tcase_add_test(tc, test_recipe_refuses_every_other_length);
	tcase_add_test(tc, test_recipe_refuses_what_contradicts_itself);
	tcase_add_test(tc, test_recipe_accepts_formats_and_types_of_later_versions);
	tcase_add_test(tc, test_recipe_has_limits);
	tcase_add_test(tc, test_recipe_has_a_limit_of_chunks);
	tcase_add_test(tc, test_recipe_finds_the_chunk_of_an_offset);
	tcase_add_test(tc, test_recipe_reports_a_full_buffer);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
