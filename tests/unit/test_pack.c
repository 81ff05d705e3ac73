#include "store/pack.h"

#include "store/element.h"
#include "tests/support/model.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct err err;

static void add(struct pack_writer *writer, const void *raw, uint32_t len, uint32_t *ret_at)
{
	struct coded coded = {raw, len, CODEC_STORED, ELEMENT_Q4_0};
	struct digest digest;
	digest_of(&digest, raw, len);
	ck_assert_msg(pack_writer_add(writer, &digest, len, &coded, ret_at, &err) == 0, "%s",
		      err.text);
}

/* "one", "second", and 1,000 zeros as zstd; the pack's name. */
static struct digest sample(struct sink sink)
{
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink);
	AUTO(encoder_free) struct encoder *encoder = encoder_new();
	ck_assert(writer && encoder);
	uint32_t at = 0, bytes = 0;
	add(writer, "one", 3, &at);
	ck_assert_uint_eq(at, PACK_HEAD);
	add(writer, "second", 6, &at);
	ck_assert_uint_eq(at, PACK_HEAD + 3);
	uint8_t zeros[1000] = {0};
	struct coded coded;
	struct digest digest, name;
	digest_of(&digest, zeros, sizeof zeros);
	ck_assert_int_eq(codec_encode(encoder, 1, zeros, sizeof zeros, &coded, &err), 0);
	ck_assert_int_eq(pack_writer_add(writer, &digest, sizeof zeros, &coded, NULL, &err), 0);
	ck_assert_uint_eq(pack_writer_count(writer), 3);
	uint32_t expected = pack_writer_bytes(writer);
	ck_assert_int_eq(pack_writer_finish(writer, &name, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, expected);
	return name;
}

static struct pack_index *parsed(const void *bytes, size_t len)
{
	struct memory memory;
	struct source source = source_memory(&memory, bytes, len);
	struct pack_index *index = NULL;
	ck_assert_msg(pack_index_parse(&index, &source, &err) == 0, "%s", err.text);
	return index;
}

static void expect_refused(const void *bytes, size_t len, enum status status)
{
	struct memory memory;
	struct source source = source_memory(&memory, bytes, len);
	struct pack_index *index = NULL;
	ck_assert_int_eq(pack_index_parse(&index, &source, &err), -1);
	ck_assert_int_eq(err.status, status);
	ck_assert_ptr_null(index);
}

START_TEST(test_pack_brings_back_what_was_written)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	struct digest name = sample(sink_buf(&buf)), hash;
	digest_of(&hash, buf.data, buf.len);
	ck_assert(digest_eq(&name, &hash));
	AUTO(pack_index_free) struct pack_index *index = parsed(buf.data, buf.len);
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	ck_assert_uint_eq(index->count, 3);
	static const uint32_t raw[] = {3, 6, 1000};
	uint8_t back[1000];
	for (uint32_t i = 0; i < 3; i++) {
		const struct pack_chunk *c = &index->chunks[i];
		struct coded coded = {(uint8_t *)buf.data + c->at, c->stored, c->codec, c->type};
		ck_assert_uint_eq(c->raw, raw[i]);
		ck_assert_int_eq(codec_open(decoder, &coded, &c->digest, back, c->raw, &err), 0);
	}
	ck_assert_uint_eq(index->chunks[0].type, ELEMENT_Q4_0);
	ck_assert_uint_eq(index->chunks[2].codec, CODEC_ZSTD);
}
END_TEST

START_TEST(test_pack_is_the_same_in_a_file)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	struct digest in_memory = sample(sink_buf(&buf));
	const char *dir = getenv("TMPDIR");
	char path[512];
	snprintf(path, sizeof path, "%s/test_pack_XXXXXX", dir ? dir : "/tmp");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	unlink(path);
	struct digest in_file = sample(sink_fd(&fd));
	ck_assert(digest_eq(&in_memory, &in_file));
	struct source source = source_fd(&fd, buf.len);
	struct pack_index *index;
	ck_assert_msg(pack_index_parse(&index, &source, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(index->count, 3);
	pack_index_free(index);
	source.size++;
	ck_assert_int_eq(pack_index_parse(&index, &source, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
	close(fd);
}
END_TEST

START_TEST(test_pack_refuses_every_other_length)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	sample(sink_buf(&buf));
	for (size_t len = 0; len < buf.len; len++)
		expect_refused(buf.data, len, ERR_INVALID);
	for (size_t cut = 1; cut < buf.len; cut++)
		expect_refused(buf.data + cut, buf.len - cut, ERR_INVALID);
	buf_addc(&buf, 0);
	expect_refused(buf.data, buf.len, ERR_INVALID);
}
END_TEST

START_TEST(test_pack_refuses_a_footer_that_does_not_add_up)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	sample(sink_buf(&buf));
	const size_t tail = buf.len - PACK_TAIL, footer = tail - 3 * PACK_ENTRY;
	const struct {
		size_t at;
		uint8_t byte;
	} wrong[] = {
		{0, 'X'},	     {4, 2},	       {7, 1},
		{tail, 0},	     {tail, 2},	       {tail, 4},
		{tail + 3, 1},	     {tail + 7, 'X'},  {footer + 32, 9},
		{footer + 36, 4},    {footer + 36, 0}, {footer + 39, 1},
		{footer + 40, 0},    {footer + 43, 1}, {footer + PACK_ENTRY + 32, 12},
	};
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		char was = buf.data[wrong[i].at];
		buf.data[wrong[i].at] = (char)wrong[i].byte;
		expect_refused(buf.data, buf.len, ERR_INVALID);
		buf.data[wrong[i].at] = was;
	}
	pack_index_free(parsed(buf.data, buf.len));
}
END_TEST

/* A sink that only counts. */
static int count_write(void *arg, const void *bytes, size_t len, struct err *e)
{
	uint64_t *total = arg;
	(void)bytes, (void)e;
	*total += len;
	return 0;
}

START_TEST(test_pack_ends_at_64_mib)
{
	uint64_t total = 0;
	struct sink sink = {count_write, &total};
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink);
	const uint32_t len = 1 << 20;
	uint8_t *raw = calloc(1, len);
	struct digest digest = {{0}}, name;
	while (pack_writer_fits(writer, len))
		add(writer, raw, len, NULL);
	ck_assert_uint_eq(pack_writer_count(writer), 63);
	struct coded coded = {raw, len, CODEC_STORED, 0};
	ck_assert_int_eq(pack_writer_add(writer, &digest, len, &coded, NULL, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	uint32_t rest = PACK_MAX - pack_writer_bytes(writer) - PACK_ENTRY, bytes;
	ck_assert(pack_writer_fits(writer, rest) && !pack_writer_fits(writer, rest + 1));
	add(writer, raw, rest, NULL);
	ck_assert_int_eq(pack_writer_finish(writer, &name, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, PACK_MAX);
	ck_assert_uint_eq(total, PACK_MAX);
	free(raw);
}
END_TEST

START_TEST(test_pack_ends_at_its_limit_of_chunks)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink_buf(&buf));
	struct digest digest = {{0}}, name;
	struct coded coded = {(const uint8_t *)"x", 1, CODEC_STORED, 0};
	uint32_t bytes;
	while (pack_writer_fits(writer, 1))
		if (pack_writer_add(writer, &digest, 1, &coded, NULL, &err))
			ck_abort_msg("%s", err.text);
	ck_assert_uint_eq(pack_writer_count(writer), PACK_CHUNKS_MAX);
	ck_assert_int_eq(pack_writer_finish(writer, &name, &bytes, &err), 0);
	AUTO(pack_index_free) struct pack_index *index = parsed(buf.data, buf.len);
	ck_assert_uint_eq(index->count, PACK_CHUNKS_MAX);
}
END_TEST

START_TEST(test_pack_refuses_impossible_chunks)
{
	AUTO_BUF struct buf buf = BUF_INIT(PACK_MAX);
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink_buf(&buf));
	struct digest digest = {{0}};
	struct coded coded = {(const uint8_t *)"", 0, CODEC_STORED, 0};
	ck_assert_int_eq(pack_writer_add(writer, &digest, 5, &coded, NULL, &err), -1);
	coded.len = 5 + CHUNK_STORED_EXTRA + 1;
	ck_assert_int_eq(pack_writer_add(writer, &digest, 5, &coded, NULL, &err), -1);
	coded.len = 1;
	ck_assert_int_eq(pack_writer_add(writer, &digest, 0, &coded, NULL, &err), -1);
	ck_assert_int_eq(pack_writer_add(writer, &digest, CHUNK_RAW_MAX + 1, &coded, NULL, &err),
			 -1);
	uint32_t bytes;
	ck_assert_int_eq(pack_writer_finish(writer, &digest, &bytes, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_uint_eq(buf.len, 0);
}
END_TEST

START_TEST(test_pack_reports_a_sink_that_fails)
{
	AUTO_BUF struct buf buf = BUF_INIT(10);
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink_buf(&buf));
	struct coded coded = {(const uint8_t *)"abc", 3, CODEC_STORED, 0};
	struct digest digest = {{0}};
	ck_assert_int_eq(pack_writer_add(writer, &digest, 3, &coded, NULL, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_pack_refuses_a_longer_one_unread)
{
	struct source source = {NULL, NULL, (uint64_t)PACK_MAX + 1};
	struct pack_index *index = NULL;
	ck_assert_int_eq(pack_index_parse(&index, &source, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pack");
	TCase *tc = tcase_create("pack");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_pack_brings_back_what_was_written);
	tcase_add_test(tc, test_pack_is_the_same_in_a_file);
	tcase_add_test(tc, test_pack_refuses_every_other_length);
	tcase_add_test(tc, test_pack_refuses_a_footer_that_does_not_add_up);
	tcase_add_test(tc, test_pack_ends_at_64_mib);
	tcase_add_test(tc, test_pack_ends_at_its_limit_of_chunks);
	tcase_add_test(tc, test_pack_refuses_impossible_chunks);
	tcase_add_test(tc, test_pack_reports_a_sink_that_fails);
	tcase_add_test(tc, test_pack_refuses_a_longer_one_unread);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
