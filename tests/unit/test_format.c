#include "store/format.h"

#include "tests/support/model.h"

#include <check.h>
#include <stdlib.h>

static struct err err;

/* Feed all of buf in portions of step bytes. */
static struct format *fed(const struct buf *buf, size_t step)
{
	struct format *format = format_new();
	ck_assert_ptr_nonnull(format);
	for (size_t at = 0; at < buf->len; at += step)
		format_feed(format, buf->data + at, buf->len - at < step ? buf->len - at : step);
	return format;
}

static void expect_unknown(const struct buf *buf)
{
	struct format *format = fed(buf, buf->len);
	ck_assert_int_eq(format_state(format), FORMAT_UNKNOWN);
	ck_assert_int_eq(format_id(format), FORMAT_OPAQUE);
	uint64_t failed_at = format_failed_at(format);
	ck_assert_uint_le(failed_at, buf->len);
	format_free(format);
	/* It is the same byte that decides, however the bytes are dealt out. */
	format = fed(buf, 1);
	ck_assert_int_eq(format_state(format), FORMAT_UNKNOWN);
	ck_assert_uint_eq(format_failed_at(format), failed_at);
	uint32_t count;
	format_segments(format, &count);
	ck_assert_uint_eq(count, 0);
	format_free(format);
}

static void expect_segment(const struct format *format, uint32_t i, const char *name, uint64_t at,
			   uint64_t len, uint32_t pad, uint8_t type)
{
	uint32_t count;
	const struct segment *segments = format_segments(format, &count);
	ck_assert_uint_lt(i, count);
	ck_assert_str_eq(format_name(format, &segments[i]), name);
	ck_assert_uint_eq(segments[i].at, at);
	ck_assert_uint_eq(segments[i].len, len);
	ck_assert_uint_eq(segments[i].pad, pad);
	ck_assert_uint_eq(segments[i].type, type);
}

static uint32_t segment_count(const struct format *format)
{
	uint32_t count;
	format_segments(format, &count);
	return count;
}

/* Two tensors, the second named first; every kind of value. */
static void make_gguf(struct buf *buf, uint32_t version, uint32_t align)
{
	gguf_begin(buf, version, 3, 5);
	gguf_pair_text(buf, "general.name", "tiny");
	gguf_pair_words(buf, "tokenizer.ggml.tokens", 40);
	gguf_pair_u32(buf, "general.alignment", align);
	gguf_text(buf, "scores");
	buf_add_le32(buf, 9);
	buf_add_le32(buf, 6);
	buf_add_le64(buf, 3);
	buf_add(buf, "abcdabcdabcd", 12);
	gguf_text(buf, "");
	buf_add_le32(buf, 7);
	buf_addc(buf, 1);
	gguf_tensor(buf, "second", 96, 8, align * 4); /* q8_0: 3 blocks, 102 bytes */
	gguf_tensor(buf, "first", 5, 0, 0);	      /* f32: 20 bytes */
	gguf_tensor(buf, "empty", 0, 1, align);
	model_pad(buf, align);
}

static void check_gguf(uint32_t version, uint32_t align, size_t step)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	make_gguf(&buf, version, align);
	struct format *format = fed(&buf, step);
	ck_assert_int_eq(format_state(format), FORMAT_KNOWN);
	ck_assert_int_eq(format_id(format), FORMAT_GGUF);
	uint64_t data = format_data_at(format);
	ck_assert_uint_eq(data, buf.len);
	ck_assert_uint_eq(segment_count(format), 2);
	uint32_t pad = align > 20 ? align - 20 : (align - 20 % align) % align;
	expect_segment(format, 0, "first", data, 20, pad, ELEMENT_F32);
	expect_segment(format, 1, "second", data + align * 4, 102,
		       (align - 102 % align) % align, ELEMENT_Q8_0);
	format_free(format);
}

START_TEST(test_format_reads_gguf)
{
	const uint32_t aligns[] = {8, 32, 64, 4096, 65536};
	const size_t steps[] = {1, 3, 64, 1 << 20};
	for (uint32_t version = 2; version <= 3; version++)
		for (size_t a = 0; a < COUNT_OF(aligns); a++)
			for (size_t s = 0; s < COUNT_OF(steps); s++)
				check_gguf(version, aligns[a], steps[s]);
}
END_TEST

START_TEST(test_format_waits_for_the_rest_of_a_header)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	make_gguf(&buf, 3, 32);
	size_t whole = buf.len;
	for (buf.len = 0; buf.len < whole - 32; buf.len++) {
		struct format *format = fed(&buf, 4096);
		ck_assert_int_eq(format_state(format), FORMAT_READING);
		ck_assert_int_eq(format_id(format), FORMAT_OPAQUE);
		format_free(format);
	}
}
END_TEST

START_TEST(test_format_calls_a_file_that_ends_in_its_header_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	make_gguf(&buf, 3, 32);
	struct memory memory;
	struct source source = source_memory(&memory, buf.data, buf.len - 40);
	struct format *format;
	ck_assert_int_eq(format_parse(&format, &source, &err), 0);
	ck_assert_int_eq(format_state(format), FORMAT_UNKNOWN);
	ck_assert_uint_eq(format_failed_at(format), buf.len - 40);
	format_free(format);
	source = source_memory(&memory, NULL, 0);
	ck_assert_int_eq(format_parse(&format, &source, &err), 0);
	ck_assert_int_eq(format_state(format), FORMAT_UNKNOWN);
	format_free(format);
}
END_TEST

START_TEST(test_format_lets_unknown_types_reach_to_the_next_tensor)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	gguf_begin(&buf, 3, 3, 0);
	gguf_tensor(&buf, "a", 1000, 99, 0);
	gguf_tensor(&buf, "b", 4, 0, 640);
	gguf_tensor(&buf, "c", 4, 99, 1024);
	model_pad(&buf, 32);
	struct format *format = fed(&buf, buf.len);
	ck_assert_int_eq(format_state(format), FORMAT_KNOWN);
	ck_assert_uint_eq(segment_count(format), 2);
	expect_segment(format, 0, "a", buf.len, 640, 0, ELEMENT_OPAQUE);
	expect_segment(format, 1, "b", buf.len + 640, 16, 16, ELEMENT_F32);
	format_free(format);
}
END_TEST

static void gguf_one(struct buf *buf, uint64_t values, uint32_t type, uint64_t offset)
{
	buf_reset(buf);
	gguf_begin(buf, 3, 2, 0);
	gguf_tensor(buf, "a", 32, 0, 0); /* 128 bytes */
	gguf_tensor(buf, "b", values, type, offset);
	model_pad(buf, 32);
}

START_TEST(test_format_calls_impossible_tensors_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	gguf_one(&buf, 32, 0, 128);
	struct format *format = fed(&buf, buf.len);
	ck_assert_int_eq(format_state(format), FORMAT_KNOWN);
	format_free(format);
	gguf_one(&buf, 32, 0, 96); /* overlaps */
	expect_unknown(&buf);
	gguf_one(&buf, 32, 0, 0); /* the same place */
	expect_unknown(&buf);
	gguf_one(&buf, 32, 0, 130); /* not aligned */
	expect_unknown(&buf);
	gguf_one(&buf, 33, 8, 128); /* half a block */
	expect_unknown(&buf);
	gguf_one(&buf, 1ull << 62, 28, 128); /* length overflows */
	expect_unknown(&buf);
	gguf_one(&buf, 32, 0, FORMAT_FILE_MAX); /* too far out */
	expect_unknown(&buf);
	gguf_one(&buf, 32, 0, UINT64_MAX - 31);
	expect_unknown(&buf);
	gguf_one(&buf, FORMAT_FILE_MAX / 4, 0, 128); /* too long */
	expect_unknown(&buf);
}
END_TEST

START_TEST(test_format_calls_gguf_beyond_limits_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	gguf_begin(&buf, 1, 0, 0);
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 4, 0, 0);
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 0x03000000, 0, 0); /* big-endian */
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, FORMAT_SEGMENTS_MAX + 1, 0);
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 0, 1ull << 40);
	expect_unknown(&buf);
	const uint32_t aligns[] = {0, 24, 1u << 17};
	for (size_t i = 0; i < COUNT_OF(aligns); i++) {
		buf_reset(&buf);
		gguf_begin(&buf, 3, 0, 1);
		gguf_pair_u32(&buf, "general.alignment", aligns[i]);
		expect_unknown(&buf);
	}
	buf_reset(&buf);
	gguf_begin(&buf, 3, 0, 1);
	gguf_pair_text(&buf, "general.alignment", "32");
	expect_unknown(&buf);
}
END_TEST

START_TEST(test_format_calls_gguf_with_odd_values_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	gguf_begin(&buf, 3, 0, 1);
	gguf_text(&buf, "x");
	buf_add_le32(&buf, 13); /* no such kind */
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 0, 1);
	gguf_text(&buf, "x");
	buf_add_le32(&buf, 9);
	buf_add_le32(&buf, 9); /* an array of arrays */
	buf_add_le64(&buf, 1);
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 0, 1);
	gguf_text(&buf, "x");
	buf_add_le32(&buf, 8);
	buf_add_le64(&buf, FORMAT_HEADER_MAX); /* a text beyond the header's limit */
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 0, 1);
	gguf_text(&buf, "x");
	buf_add_le32(&buf, 9);
	buf_add_le32(&buf, 12);
	buf_add_le64(&buf, 1ull << 61); /* 2^64 bytes of doubles */
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 1, 0);
	buf_add_le64(&buf, FORMAT_NAME_MAX + 1);
	expect_unknown(&buf);
	buf_reset(&buf);
	gguf_begin(&buf, 3, 1, 0);
	gguf_text(&buf, "t");
	buf_add_le32(&buf, 9); /* nine dimensions */
	expect_unknown(&buf);
}
END_TEST

#define ST_A "\"a\":{\"dtype\":\"F16\",\"shape\":[2,4],\"data_offsets\":[0,16]}"
#define ST_B "\"b\":{\"data_offsets\":[16, 28],\"shape\":[3],\"dtype\":\"F32\"}"

START_TEST(test_format_reads_safetensors)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	safetensors_header(&buf, "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\\"}{\"}," ST_B
				 ",\n" ST_A
				 ",\"e\":{\"dtype\":\"F8_NEW\",\"shape\":[],\"data_offsets\":[28,31],"
				 "\"more\":[{\"x\":[1.5e-3,true,null]}]}}   ");
	for (size_t step = 1; step < 40; step += 13) {
		struct format *format = fed(&buf, step);
		ck_assert_int_eq(format_state(format), FORMAT_KNOWN);
		ck_assert_int_eq(format_id(format), FORMAT_SAFETENSORS);
		ck_assert_uint_eq(format_data_at(format), buf.len);
		ck_assert_uint_eq(segment_count(format), 3);
		expect_segment(format, 0, "a", buf.len, 16, 0, ELEMENT_F16);
		expect_segment(format, 1, "b", buf.len + 16, 12, 0, ELEMENT_F32);
		expect_segment(format, 2, "e", buf.len + 28, 3, 0, ELEMENT_OPAQUE);
		format_free(format);
	}
}
END_TEST

START_TEST(test_format_calls_odd_safetensors_opaque)
{
	static const char *const bad[] = {
		" {}",
		"[]",
		"{}x",
		"{} {}",
		"{\"a\":1}",
		"{\"a\":\"b\"}",
		"{\"a\":[]}",
		"{\"a\":{}}",
		"{\"a\" {}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,2,4]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[4,2]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,3]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[-2,2]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,1e3]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,9999999999999999999]}}",
		"{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,99999999999999998]}}",
		"{" ST_A "," ST_A "}",
		"{" ST_A ",}",
		"{" ST_A ST_B "}",
		"{" ST_A "]",
		("{" ST_A),
		"{\"\x01\":{}}",
		"{\"a\":{\"x\":[[[[[[[[[]]]]]]]]]}}",
	};
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		buf_reset(&buf);
		safetensors_header(&buf, bad[i]);
		expect_unknown(&buf);
	}
	buf_reset(&buf);
	buf_add_le64(&buf, FORMAT_HEADER_MAX);
	expect_unknown(&buf);
	buf_reset(&buf);
	buf_add_le64(&buf, 1);
	expect_unknown(&buf);
}
END_TEST

START_TEST(test_format_calls_other_files_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	model_data(&buf, 100000, "noise");
	expect_unknown(&buf);
	buf_reset(&buf);
	buf_adds(&buf, "plain text, nothing else");
	expect_unknown(&buf);
}
END_TEST

/* As many tensors as there may be, in falling order, with names of len bytes. */
static enum format_state crowded(size_t len)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	char name[FORMAT_NAME_MAX] = {0};
	memset(name, 'n', len);
	gguf_begin(&buf, 3, FORMAT_SEGMENTS_MAX, 0);
	for (uint64_t i = FORMAT_SEGMENTS_MAX; i-- > 0;)
		gguf_tensor(&buf, name, 8, 0, i * 32);
	struct format *format = fed(&buf, 65536);
	enum format_state state = format_state(format);
	if (state == FORMAT_KNOWN)
		ck_assert_uint_eq(segment_count(format), FORMAT_SEGMENTS_MAX);
	format_free(format);
	return state;
}

START_TEST(test_format_bounds_tensors_and_names)
{
	const size_t each = FORMAT_NAMES_MAX / FORMAT_SEGMENTS_MAX; /* with the NUL */
	ck_assert_int_eq(crowded(each - 1), FORMAT_KNOWN);
	ck_assert_int_eq(crowded(each), FORMAT_UNKNOWN);
}
END_TEST

struct huge {
	const struct buf *head;
	uint64_t furthest;
};

static int huge_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *e)
{
	struct huge *huge = arg;
	(void)e;
	if (at + len > huge->furthest)
		huge->furthest = at + len;
	memset(bytes, 0, len);
	if (at < huge->head->len)
		memcpy(bytes, huge->head->data + at,
		       huge->head->len - at < len ? huge->head->len - at : len);
	return 0;
}

START_TEST(test_format_reads_no_more_than_the_header)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	make_gguf(&buf, 3, 32);
	struct huge huge = {&buf, 0};
	struct source source = {huge_read, &huge, 10ull << 30};
	struct format *format;
	ck_assert_int_eq(format_parse(&format, &source, &err), 0);
	ck_assert_int_eq(format_state(format), FORMAT_KNOWN);
	ck_assert_uint_le(huge.furthest, 64 << 10);
	format_free(format);
}
END_TEST

static int failing_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *e)
{
	(void)arg, (void)at, (void)bytes, (void)len;
	return err_set(e, ERR_NETWORK, "gone");
}

START_TEST(test_format_reports_a_source_that_fails)
{
	struct source source = {failing_read, NULL, 100};
	struct format *format = NULL;
	ck_assert_int_eq(format_parse(&format, &source, &err), -1);
	ck_assert_int_eq(err.status, ERR_NETWORK);
	ck_assert_ptr_null(format);
}
END_TEST

START_TEST(test_format_names_itself)
{
	uint8_t id = 77;
	ck_assert_str_eq(format_id_name(FORMAT_GGUF), "gguf");
	ck_assert_str_eq(format_id_name(200), "opaque");
	ck_assert_int_eq(format_id_parse(&id, "onnx"), -1);
	ck_assert_uint_eq(id, 77);
	ck_assert_int_eq(format_id_parse(&id, "safetensors"), 0);
	ck_assert_uint_eq(id, FORMAT_SAFETENSORS);
	ck_assert_uint_eq(element_block(ELEMENT_Q4_K), 144);
	ck_assert_uint_eq(element_values(ELEMENT_Q4_K), 256);
	ck_assert_str_eq(element_name(ELEMENT_Q4_K), "q4_K");
	ck_assert_uint_eq(element_block(30), 1);
	ck_assert_uint_eq(element_block(255), 1);
	ck_assert_str_eq(element_name(255), "opaque");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("format");
	TCase *tc = tcase_create("format");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_format_reads_gguf);
	tcase_add_test(tc, test_format_waits_for_the_rest_of_a_header);
	tcase_add_test(tc, test_format_calls_a_file_that_ends_in_its_header_opaque);
	tcase_add_test(tc, test_format_lets_unknown_types_reach_to_the_next_tensor);
	tcase_add_test(tc, test_format_calls_impossible_tensors_opaque);
	tcase_add_test(tc, test_format_calls_gguf_beyond_limits_opaque);
	tcase_add_test(tc, test_format_calls_gguf_with_odd_values_opaque);
	tcase_add_test(tc, test_format_reads_safetensors);
	tcase_add_test(tc, test_format_calls_odd_safetensors_opaque);
	tcase_add_test(tc, test_format_calls_other_files_opaque);
	tcase_add_test(tc, test_format_bounds_tensors_and_names);
	tcase_add_test(tc, test_format_reads_no_more_than_the_header);
	tcase_add_test(tc, test_format_reports_a_source_that_fails);
	tcase_add_test(tc, test_format_names_itself);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
