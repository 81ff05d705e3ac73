#include "store/cut.h"

#include "tests/support/model.h"

#include <check.h>
#include <stdlib.h>

struct cuts {
	struct cut items[4096];
	size_t count;
	enum format_id format;
};

/* Cut buf, dealt out in portions of step bytes (0: of changing sizes). */
static struct cuts *cuts_of(const void *bytes, size_t len, size_t step)
{
	struct cuts *cuts = calloc(1, sizeof *cuts);
	struct cutter *cutter = cutter_new();
	ck_assert(cuts && cutter);
	const char *p = bytes;
	size_t have = 0, total = 0, turn = 0;
	while (total < len) {
		size_t want = step ? step : 1 + (turn++ * 7919) % 100003;
		size_t give = len - total < want ? len - total : want;
		for (size_t n; give; give -= n, total += n) {
			bool ended = false;
			n = cutter_take(cutter, p + total, give, &ended, &cuts->items[cuts->count]);
			have += n;
			if (n == 0 || n > give || have > CUT_MAX)
				ck_abort_msg("%zu of %zu bytes taken, %zu so far", n, give, have);
			if (!ended)
				continue;
			ck_assert_uint_eq(cuts->items[cuts->count].len, have);
			have = 0;
			cuts->count++;
			ck_assert_uint_lt(cuts->count, COUNT_OF(cuts->items));
		}
	}
	ck_assert_uint_eq(cutter_at(cutter), len);
	if (cutter_end(cutter, &cuts->items[cuts->count]))
		ck_assert_uint_eq(cuts->items[cuts->count++].len, have);
	else
		ck_assert_uint_eq(have, 0);
	cuts->format = cutter_format(cutter);
	cutter_free(cutter);
	return cuts;
}

static void expect_same_however_dealt(const struct buf *buf)
{
	static const size_t steps[] = {0, 1, 1000, 65536, 1 << 20};
	struct cuts *whole = cuts_of(buf->data, buf->len, buf->len);
	for (size_t s = 0; s < COUNT_OF(steps); s++) {
		struct cuts *cuts = cuts_of(buf->data, buf->len, steps[s]);
		ck_assert_int_eq(cuts->format, whole->format);
		ck_assert_uint_eq(cuts->count, whole->count);
		for (size_t i = 0; i < cuts->count; i++) {
			ck_assert_uint_eq(cuts->items[i].len, whole->items[i].len);
			ck_assert_uint_eq(cuts->items[i].type, whole->items[i].type);
		}
		free(cuts);
	}
	free(whole);
}

/* A vocabulary of words, then q8_0 with 1,542,006 bytes, f32 with 2 MiB, bf16 with 10 bytes, and a
 * tail of 100,000 bytes behind them. */
static void make_gguf(struct buf *buf, uint64_t words)
{
	gguf_begin(buf, 3, 3, 1);
	gguf_pair_words(buf, "tokenizer.ggml.tokens", words);
	gguf_tensor(buf, "q", 45353 * 32, 8, 0);
	gguf_tensor(buf, "f", 1 << 19, 0, 1542016);
	gguf_tensor(buf, "b", 5, 30, 1542016 + (2 << 20) + 1024);
	model_pad(buf, 32);
	model_data(buf, 1542016 + (2 << 20) + 1024 + 32 + 100000, "weights");
}

START_TEST(test_cut_does_not_depend_on_how_bytes_are_dealt)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	make_gguf(&buf, 40000);
	expect_same_however_dealt(&buf);
	buf_reset(&buf);
	model_data(&buf, 3 << 20, "noise");
	expect_same_however_dealt(&buf);
	buf_reset(&buf);
	safetensors_header(&buf, "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[4,2000004]}}");
	model_data(&buf, 2500000, "weights");
	expect_same_however_dealt(&buf);
}
END_TEST

/* The header breaks off in the middle of a chunk: only bytes up to the decision may matter. */
START_TEST(test_cut_does_not_depend_on_when_a_header_turns_out_broken)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	for (uint64_t words = 0; words < 20000; words += 1777) {
		buf_reset(&buf);
		gguf_begin(&buf, 3, 3, 2);
		gguf_pair_words(&buf, "tokenizer.ggml.tokens", words);
		gguf_text(&buf, "broken");
		buf_add_le32(&buf, 99);
		model_data(&buf, 2 << 20, "rest");
		expect_same_however_dealt(&buf);
	}
}
END_TEST

START_TEST(test_cut_ends_chunks_where_tensors_begin_and_end)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	make_gguf(&buf, 10);
	size_t head = buf.len - (1542016 + (2 << 20) + 1024 + 32 + 100000);
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_int_eq(cuts->format, FORMAT_GGUF);
	const uint32_t piece = (1 << 20) / 34 * 34;
	ck_assert_uint_eq(cuts->items[0].len, head);
	ck_assert_uint_eq(cuts->items[0].type, ELEMENT_OPAQUE);
	ck_assert_uint_eq(cuts->items[1].len, piece);
	ck_assert_uint_eq(cuts->items[1].type, ELEMENT_Q8_0);
	ck_assert_uint_eq(cuts->items[2].len, 1542016 - piece); /* padding included */
	ck_assert_uint_eq(cuts->items[2].type, ELEMENT_Q8_0);
	ck_assert_uint_eq(cuts->items[3].len, 1 << 20);
	ck_assert_uint_eq(cuts->items[3].type, ELEMENT_F32);
	ck_assert_uint_eq(cuts->items[4].len, 1 << 20);
	ck_assert_uint_eq(cuts->items[5].len, 1024); /* a gap */
	ck_assert_uint_eq(cuts->items[5].type, ELEMENT_OPAQUE);
	ck_assert_uint_eq(cuts->items[6].len, 32);
	ck_assert_uint_eq(cuts->items[6].type, ELEMENT_BF16);
	uint64_t tail = 0;
	for (size_t i = 7; i < cuts->count; i++) {
		tail += cuts->items[i].len;
		ck_assert_uint_eq(cuts->items[i].type, ELEMENT_OPAQUE);
	}
	ck_assert_uint_eq(tail, 100000);
	free(cuts);
}
END_TEST

/* A tensor as long as a piece, with padding behind it, is one chunk. */
START_TEST(test_cut_keeps_padding_with_the_last_piece)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	const uint32_t piece = (1 << 20) / 34 * 34;
	gguf_begin(&buf, 3, 2, 1);
	gguf_pair_u32(&buf, "general.alignment", 65536);
	gguf_tensor(&buf, "a", (uint64_t)piece / 34 * 32 * 2, 8, 0);
	gguf_tensor(&buf, "b", 1, 0, 2097152);
	model_pad(&buf, 65536);
	model_data(&buf, 2097152 + 65536, "weights");
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_uint_eq(cuts->count, 4);
	ck_assert_uint_eq(cuts->items[0].len, 65536);
	ck_assert_uint_eq(cuts->items[1].len, piece);
	ck_assert_uint_eq(cuts->items[2].len, 2097152 - piece);
	ck_assert_uint_eq(cuts->items[3].len, 65536);
	free(cuts);
}
END_TEST

START_TEST(test_cut_of_tensors_survives_a_longer_header)
{
	AUTO_BUF struct buf a = BUF_INIT(16 << 20), b = BUF_INIT(16 << 20);
	make_gguf(&a, 30000);
	make_gguf(&b, 30003);
	struct cuts *x = cuts_of(a.data, a.len, 0), *y = cuts_of(b.data, b.len, 0);
	for (size_t back = 1; back <= 6; back++)
		ck_assert_uint_eq(x->items[x->count - back].len, y->items[y->count - back].len);
	free(x);
	free(y);
}
END_TEST

START_TEST(test_cut_of_headers_is_finer)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	make_gguf(&buf, 200000);
	size_t head = buf.len - (1542016 + (2 << 20) + 1024 + 32 + 100000), at = 0, n = 0;
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	for (; at < head; at += cuts->items[n++].len)
		if (at + cuts->items[n].len < head) {
			ck_assert_uint_ge(cuts->items[n].len, 16 << 10);
			ck_assert_uint_le(cuts->items[n].len, 256 << 10);
		}
	ck_assert_uint_eq(at, head);
	ck_assert_uint_gt(n, head / (128 << 10));
	ck_assert_uint_lt(n, head / (32 << 10));
	free(cuts);
}
END_TEST

START_TEST(test_cut_of_unknown_files_averages_256_kib)
{
	AUTO_BUF struct buf buf = BUF_INIT(64 << 20);
	model_data(&buf, 24 << 20, "noise");
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_int_eq(cuts->format, FORMAT_OPAQUE);
	for (size_t i = 0; i + 1 < cuts->count; i++) {
		ck_assert_uint_ge(cuts->items[i].len, 64 << 10);
		ck_assert_uint_le(cuts->items[i].len, 1 << 20);
	}
	ck_assert_uint_gt(cuts->count, (24 << 20) / (360 << 10));
	ck_assert_uint_lt(cuts->count, (24 << 20) / (190 << 10));
	free(cuts);
}
END_TEST

START_TEST(test_cut_of_zeros_ends_at_the_longest)
{
	AUTO_BUF struct buf buf = BUF_INIT(8 << 20);
	void *bytes = buf_grow(&buf, 5 << 19);
	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 0, 5 << 19);
	buf_grown(&buf, 5 << 19);
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_uint_eq(cuts->count, 3);
	ck_assert_uint_eq(cuts->items[0].len, 1 << 20);
	ck_assert_uint_eq(cuts->items[1].len, 1 << 20);
	ck_assert_uint_eq(cuts->items[2].len, 1 << 19);
	free(cuts);
}
END_TEST

START_TEST(test_cut_finds_its_way_back_after_an_insertion)
{
	AUTO_BUF struct buf a = BUF_INIT(64 << 20), b = BUF_INIT(64 << 20);
	model_data(&a, 8 << 20, "noise");
	buf_add(&b, a.data, 3 << 20);
	buf_adds(&b, "inserted");
	buf_add(&b, a.data + (3 << 20), 5 << 20);
	struct cuts *x = cuts_of(a.data, a.len, 0), *y = cuts_of(b.data, b.len, 0);
	size_t front = 0, back = 0;
	while (x->items[front].len == y->items[front].len)
		front++;
	while (x->items[x->count - 1 - back].len == y->items[y->count - 1 - back].len)
		back++;
	ck_assert_uint_ge(front + back + 3, x->count);
	free(x);
	free(y);
}
END_TEST

START_TEST(test_cut_takes_files_shorter_than_they_say)
{
	AUTO_BUF struct buf buf = BUF_INIT(16 << 20);
	make_gguf(&buf, 10);
	buf.len -= 100000 + 32 + 1024 + (1 << 20) + 5;
	struct cuts *cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_uint_eq(cuts->count, 4);
	ck_assert_uint_eq(cuts->items[3].len, (1 << 20) - 5);
	ck_assert_uint_eq(cuts->items[3].type, ELEMENT_F32);
	free(cuts);
	buf.len = 30; /* in the middle of the header */
	cuts = cuts_of(buf.data, buf.len, 0);
	ck_assert_uint_eq(cuts->count, 1);
	ck_assert_int_eq(cuts->format, FORMAT_OPAQUE);
	free(cuts);
	cuts = cuts_of("", 0, 1);
	ck_assert_uint_eq(cuts->count, 0);
	free(cuts);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cut");
	TCase *tc = tcase_create("cut");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, test_cut_does_not_depend_on_how_bytes_are_dealt);
	tcase_add_test(tc, test_cut_does_not_depend_on_when_a_header_turns_out_broken);
	tcase_add_test(tc, test_cut_ends_chunks_where_tensors_begin_and_end);
	tcase_add_test(tc, test_cut_keeps_padding_with_the_last_piece);
	tcase_add_test(tc, test_cut_of_tensors_survives_a_longer_header);
	tcase_add_test(tc, test_cut_of_headers_is_finer);
	tcase_add_test(tc, test_cut_of_unknown_files_averages_256_kib);
	tcase_add_test(tc, test_cut_of_zeros_ends_at_the_longest);
	tcase_add_test(tc, test_cut_finds_its_way_back_after_an_insertion);
	tcase_add_test(tc, test_cut_takes_files_shorter_than_they_say);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
