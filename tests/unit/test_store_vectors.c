/* The store's published vectors (schema/vectors/store.json), made by another implementation of
 * store/FORMAT.md. */
#include "base/hex.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/cut.h"
#include "store/diff.h"
#include "store/lift.h"
#include "store/pack.h"
#include "store/recipe.h"

#include "tests/support/model.h"
#include "tests/support/vectors.h"

#include <check.h>
#include <stdlib.h>

static struct err err;
static json_t *vectors;

static void set_up(void)
{
	vectors = vectors_load("store.json");
}

static void tear_down(void)
{
	json_decref(vectors);
}

static void bytes_in(const json_t *object, const char *name, struct buf *out)
{
	const char *text = text_in(object, name);
	size_t len = strlen(text) / 2;
	uint8_t *bytes = buf_grow(out, len);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(hex_decode(bytes, len, text), 0);
	buf_grown(out, len);
}

static void expect_digest(const json_t *object, const char *name, const struct digest *digest)
{
	char hex[DIGEST_HEX];
	digest_hex(digest, hex);
	ck_assert_str_eq(hex, text_in(object, name));
}

static void expect_same(const struct buf *a, const struct buf *b)
{
	ck_assert_uint_eq(a->len, b->len);
	ck_assert_int_eq(memcmp(a->data, b->data, a->len), 0);
}

static void check_cuts(const json_t *row)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	AUTO(cutter_free) struct cutter *cutter = cutter_new();
	bytes_in(row, "head", &buf);
	model_data(&buf, (size_t)int_in(row, "length") - buf.len, text_in(row, "stream"));
	struct digest digest;
	digest_of(&digest, buf.data, buf.len);
	expect_digest(row, "sha256", &digest);
	const json_t *cuts = json_object_get(row, "cuts");
	struct cut cut;
	size_t count = 0, n;
	for (size_t at = 0; at < buf.len; at += n) {
		bool ended = false;
		n = cutter_take(cutter, buf.data + at, buf.len - at, &ended, &cut);
		if (!ended && (at + n < buf.len || !cutter_end(cutter, &cut)))
			continue;
		const json_t *expected = json_array_get(cuts, count++);
		ck_assert_int_eq(cut.len, json_integer_value(json_array_get(expected, 0)));
		ck_assert_int_eq(cut.type, json_integer_value(json_array_get(expected, 1)));
	}
	ck_assert_uint_eq(count, json_array_size(cuts));
	ck_assert_int_eq(cutter_format(cutter), int_in(row, "format"));
}

START_TEST(test_store_vectors_of_cuts)
{
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(vectors, "cuts"), i, row)
		check_cuts(row);
	ck_assert_uint_eq(i, 5);
}
END_TEST

START_TEST(test_store_vectors_of_codecs)
{
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	static uint8_t raw[8192];
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(vectors, "codec"), i, row) {
		AUTO_BUF struct buf buf = BUF_INIT(8192);
		bytes_in(row, "stored", &buf);
		struct coded coded = {(const uint8_t *)buf.data, (uint32_t)buf.len,
				      (uint8_t)int_in(row, "codec"), 0};
		struct digest digest;
		ck_assert_int_eq(digest_parse(&digest, text_in(row, "sha256")), 0);
		ck_assert_msg(codec_open(decoder, &coded, &digest, raw,
					 (size_t)int_in(row, "raw_length"), &err) == 0,
			      "%s", err.text);
	}
	ck_assert_uint_gt(i, 0);
	json_array_foreach(json_object_get(vectors, "codec_refused"), i, row) {
		AUTO_BUF struct buf buf = BUF_INIT(8192);
		bytes_in(row, "stored", &buf);
		struct coded coded = {(const uint8_t *)buf.data, (uint32_t)buf.len,
				      (uint8_t)int_in(row, "codec"), 0};
		ck_assert_msg(codec_decode(decoder, &coded, raw, (size_t)int_in(row, "raw_length"),
					   &err) == -1,
			      "%s", text_in(row, "why"));
	}
	ck_assert_uint_gt(i, 0);
}
END_TEST

static struct coded coded_in(const json_t *row, struct buf *stored)
{
	bytes_in(row, "stored", stored);
	return (struct coded){(const uint8_t *)stored->data, (uint32_t)stored->len, CODEC_DELTA, 0};
}

/* Each is made, with vectors and without; and what we write for it is no other file. */
START_TEST(test_store_vectors_of_differences)
{
	AUTO(differ_free) struct differ *differ = differ_new();
	AUTO(differ_free) struct differ *plain = differ_new();
	uint8_t raw[2000];
	size_t i;
	json_t *row;
	differ_plain(plain);
	json_array_foreach(json_object_get(vectors, "diff"), i, row) {
		AUTO_BUF struct buf old = BUF_INIT(4096), new = BUF_INIT(4096), stored = BUF_INIT(8192);
		bytes_in(row, "old", &old);
		bytes_in(row, "new", &new);
		struct coded coded = coded_in(row, &stored);
		ck_assert_int_eq(coded.bytes[0], int_in(row, "type"));
		for (unsigned k = 0; k < 2; k++) {
			memset(raw, 0x55, sizeof(raw));
			ck_assert_msg(!diff_decode(k ? plain : differ, &coded, old.data, raw, new.len, &err),
				      "%zu: %s", i, err.text);
			ck_assert_msg(!memcmp(raw, new.data, new.len), "%zu", i);
		}
		ck_assert(!diff_encode(differ, coded.bytes[0], old.data, new.data, new.len, &coded, &err));
		ck_assert(!coded.len || (!diff_decode(plain, &coded, old.data, raw, new.len, &err) &&
					 !memcmp(raw, new.data, new.len)));
	}
	ck_assert_uint_ge(i, 12);
	json_array_foreach(json_object_get(vectors, "diff_refused"), i, row) {
		AUTO_BUF struct buf old = BUF_INIT(4096), stored = BUF_INIT(8192);
		bytes_in(row, "old", &old);
		struct coded coded = coded_in(row, &stored);
		ck_assert_msg(diff_decode(differ, &coded, old.data, raw, old.len, &err) == -1, "%s",
			      text_in(row, "why"));
	}
	ck_assert_uint_gt(i, 0);
}
END_TEST

START_TEST(test_store_vectors_of_lifting)
{
	uint8_t out[4096];
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(vectors, "lift"), i, row) {
		AUTO_BUF struct buf bytes = BUF_INIT(4096), lifted = BUF_INIT(4096);
		bytes_in(row, "bytes", &bytes);
		bytes_in(row, "lifted", &lifted);
		struct memory memory;
		const struct source source = source_memory(&memory, bytes.data, bytes.len);
		const uint8_t from = (uint8_t)int_in(row, "from"), to = (uint8_t)int_in(row, "to");
		ck_assert(lift_possible(from, to));
		ck_assert_uint_eq(lift_len(from, to, bytes.len), lifted.len);
		ck_assert(!lift_read(&source, 0, bytes.len, from, to, out, &err));
		ck_assert_msg(!memcmp(out, lifted.data, lifted.len), "%zu: %u to %u", i, from, to);
	}
	ck_assert_uint_ge(i, 16);
}
END_TEST

START_TEST(test_store_vectors_of_recipes)
{
	const json_t *row = json_object_get(vectors, "recipe");
	AUTO_BUF struct buf buf = BUF_INIT(4096), again = BUF_INIT(4096);
	AUTO(recipe_free) struct recipe *recipe = NULL, *empty = NULL;
	struct digest name;
	bytes_in(row, "bytes", &buf);
	ck_assert_msg(recipe_parse(&recipe, buf.data, buf.len, &err) == 0, "%s", err.text);
	ck_assert_int_eq(recipe->format, int_in(row, "format"));
	ck_assert_int_eq((int64_t)recipe->length, int_in(row, "length"));
	expect_digest(row, "sha256", &recipe->sha256);
	size_t i;
	json_t *chunk;
	json_array_foreach(json_object_get(row, "chunks"), i, chunk) {
		expect_digest(chunk, "sha256", &recipe->chunks[i].digest);
		ck_assert_int_eq(recipe->chunks[i].len, int_in(chunk, "length"));
		ck_assert_int_eq(recipe->chunks[i].type, int_in(chunk, "type"));
	}
	ck_assert_uint_eq(i, recipe->count);
	ck_assert_int_eq(recipe_encode(recipe, &again, &name, &err), 0);
	expect_same(&buf, &again);
	expect_digest(row, "name", &name);
	row = json_object_get(vectors, "recipe_empty");
	buf_reset(&buf);
	bytes_in(row, "bytes", &buf);
	ck_assert_int_eq(recipe_parse(&empty, buf.data, buf.len, &err), 0);
	ck_assert_uint_eq(empty->count, 0);
}
END_TEST

START_TEST(test_store_vectors_of_packs)
{
	const json_t *row = json_object_get(vectors, "pack");
	AUTO_BUF struct buf buf = BUF_INIT(4096), again = BUF_INIT(4096);
	bytes_in(row, "bytes", &buf);
	struct memory memory;
	struct source source = source_memory(&memory, buf.data, buf.len);
	AUTO(pack_index_free) struct pack_index *index = NULL;
	ck_assert_msg(pack_index_parse(&index, &source, &err) == 0, "%s", err.text);
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink_buf(&again));
	size_t i;
	json_t *chunk;
	json_array_foreach(json_object_get(row, "chunks"), i, chunk) {
		const struct pack_chunk *c = &index->chunks[i];
		expect_digest(chunk, "sha256", &c->digest);
		ck_assert_int_eq(c->at, int_in(chunk, "at"));
		ck_assert_int_eq(c->stored, int_in(chunk, "stored"));
		ck_assert_int_eq(c->raw, int_in(chunk, "raw"));
		ck_assert_int_eq(c->codec, int_in(chunk, "codec"));
		ck_assert_int_eq(c->type, int_in(chunk, "type"));
		struct coded coded = {(uint8_t *)buf.data + c->at, c->stored, c->codec, c->type};
		ck_assert_int_eq(pack_writer_add(writer, &c->digest, c->raw, &coded, NULL, &err),
				 0);
	}
	ck_assert_uint_eq(i, index->count);
	struct digest name;
	uint32_t bytes;
	ck_assert_int_eq(pack_writer_finish(writer, &name, &bytes, &err), 0);
	expect_same(&buf, &again);
	expect_digest(row, "name", &name);
}
END_TEST

START_TEST(test_store_vectors_of_maps)
{
	const json_t *row = json_object_get(vectors, "map");
	AUTO_BUF struct buf buf = BUF_INIT(4096), again = BUF_INIT(4096);
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	bytes_in(row, "bytes", &buf);
	ck_assert_msg(chunkmap_parse(&map, buf.data, buf.len, &err) == 0, "%s", err.text);
	expect_digest(row, "recipe", &map->recipe);
	ck_assert_int_eq((int64_t)map->stored, int_in(row, "stored"));
	const json_t *pack = json_array_get(json_object_get(row, "packs"), 0);
	expect_digest(pack, "sha256", &map->packs[0].digest);
	ck_assert_int_eq(map->packs[0].bytes, int_in(pack, "bytes"));
	size_t i;
	json_t *chunk;
	json_array_foreach(json_object_get(row, "chunks"), i, chunk) {
		ck_assert_int_eq(map->chunks[i].pack, int_in(chunk, "pack"));
		ck_assert_int_eq(map->chunks[i].at, int_in(chunk, "at"));
		ck_assert_int_eq(map->chunks[i].stored, int_in(chunk, "stored"));
		ck_assert_int_eq(map->chunks[i].codec, int_in(chunk, "codec"));
	}
	ck_assert_uint_eq(i, map->count);
	const json_t *delta = json_array_get(json_object_get(row, "deltas"), 0);
	expect_digest(delta, "from", &map->deltas[0].from);
	ck_assert_int_eq(map->deltas[0].parts, int_in(delta, "parts"));
	ck_assert_int_eq((int64_t)map->deltas[0].bytes, int_in(delta, "bytes"));
	ck_assert_int_eq(chunkmap_encode(map, &again, &err), 0);
	expect_same(&buf, &again);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_vectors");
	TCase *tc = tcase_create("store_vectors");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, test_store_vectors_of_cuts);
	tcase_add_test(tc, test_store_vectors_of_codecs);
	tcase_add_test(tc, test_store_vectors_of_differences);
	tcase_add_test(tc, test_store_vectors_of_lifting);
	tcase_add_test(tc, test_store_vectors_of_recipes);
	tcase_add_test(tc, test_store_vectors_of_packs);
	tcase_add_test(tc, test_store_vectors_of_maps);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
