/* Differences: every type comes back, small changes are small, hostile bytes are refused. */
#include "store/diff.h"

#include "store/element.h"
#include "store/planes.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#define ROOM (1 << 20)

static uint8_t old[ROOM], new[ROOM], back[ROOM + 1], stored[ROOM + CHUNK_STORED_EXTRA];

/* Some of new's bits differ from old's: one in `every` bytes, by a little. */
static void change(size_t len, unsigned every)
{
	uint64_t state = len + every;
	memcpy(new, old, len);
	for (size_t i = 0; i < len; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		if ((state >> 33) % every == 0)
			new[i] = (uint8_t)(new[i] + (state >> 60) % 3 - 1);
	}
}

static size_t round_trip(struct differ *d, uint8_t type, size_t len)
{
	struct err err;
	struct coded coded;
	ck_assert_msg(!diff_encode(d, type, old, new, len, &coded, &err), "%s", err.text);
	ck_assert_uint_eq(coded.codec, CODEC_DELTA);
	if (!coded.len)
		return len;
	ck_assert_uint_le(coded.len, len);
	memcpy(stored, coded.bytes, coded.len);
	coded.bytes = stored;
	memset(back, 0x55, len + 1);
	ck_assert_msg(!diff_decode(d, &coded, old, back, len, &err), "%s, %zu bytes: %s",
		      element_name(type), len, err.text);
	ck_assert_int_eq(memcmp(back, new, len), 0);
	ck_assert_uint_eq(back[len], 0x55);
	return coded.len;
}

START_TEST(test_diff_every_type_comes_back)
{
	AUTO(differ_free) struct differ *d = differ_new();
	static const unsigned changes[] = {1, 7, 100, 1u << 30};
	for (unsigned type = 0; type < 256; type++)
		for (size_t len = 1; planes_known((uint8_t)type) && len < 9000; len += len < 40 ? 1 : 1777)
			for (size_t c = 0; c < COUNT_OF(changes); c++) {
				model_stream(old, len, "old");
				change(len, changes[c]);
				round_trip(d, (uint8_t)type, len);
			}
}
END_TEST

START_TEST(test_diff_small_changes_are_small)
{
	AUTO(differ_free) struct differ *d = differ_new();
	model_stream(old, ROOM, "old");
	memcpy(new, old, ROOM);
	ck_assert_uint_lt(round_trip(d, ELEMENT_BF16, ROOM), 8);
	change(ROOM, 1000);
	ck_assert_uint_lt(round_trip(d, ELEMENT_Q4_0, ROOM), ROOM / 80);
	change(ROOM, 50);
	ck_assert_uint_lt(round_trip(d, ELEMENT_I8, ROOM), ROOM / 30);
	model_stream(new, ROOM, "something else");
	ck_assert_uint_gt(round_trip(d, ELEMENT_Q8_0, ROOM), ROOM - ROOM / 50);
}
END_TEST

/* 0100 0200 -> 0300 0100 as i16: +2, -1; folded 4, 1; high bytes zero, low ones as they are. */
START_TEST(test_diff_is_as_the_format_says)
{
	static const uint8_t before[] = {1, 0, 2, 0}, after[] = {3, 0, 1, 0};
	static const uint8_t as_coded[] = {ELEMENT_I16, 0, 1, 4, 1};
	AUTO(differ_free) struct differ *d = differ_new();
	struct err err;
	const struct coded coded = {as_coded, sizeof as_coded, CODEC_DELTA, 0};
	ck_assert_msg(!diff_decode(d, &coded, before, back, 4, &err), "%s", err.text);
	ck_assert_mem_eq(back, after, 4);
	/* Sixteen bytes of which the second is not zero: a bitmap, raw, and the byte. */
	static const uint8_t sparse[] = {ELEMENT_I8, 3, 1, 2, 0, 1, 9};
	memset(old, 100, 16);
	const struct coded thin = {sparse, sizeof sparse, CODEC_DELTA, 0};
	ck_assert_msg(!diff_decode(d, &thin, old, back, 16, &err), "%s", err.text);
	ck_assert_uint_eq(back[0], 100);
	ck_assert_uint_eq(back[1], 95); /* 9 unfolds to -5 */
	ck_assert_uint_eq(back[2], 100);
}
END_TEST

START_TEST(test_diff_refuses_what_is_none)
{
	static const struct {
		const char *bytes;
		uint32_t len;
		const char *why;
	} cases[] = {
		{"", 0, "not known"},
		{"\x20", 1, "end early"},
		{"\xff\x00", 2, "not known"},
		{"\x00\x00", 2, "not known"},
		{"\x20\x00\x00", 3, "behind"},
		{"\x20\x01" "1234567", 9, "end early"},
		{"\x20\x02\xff\xff\xff\xff", 6, "end early"},
		{"\x20\x02\x01\x00\x00\x00z", 7, "not a zstd frame"},
		{"\x20\x04", 2, "not known"},
		{"\x20\x03\x01\xff\x01zzzzzzzz", 13, "not one"},	 /* more than half */
		{"\x20\x03\x03\x03\x03\x03\x03\x03", 8, "too many"},
	};
	AUTO(differ_free) struct differ *d = differ_new();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err;
		const struct coded coded = {(const uint8_t *)cases[i].bytes, cases[i].len, CODEC_DELTA, 0};
		ck_assert_msg(diff_decode(d, &coded, old, back, 8, &err), "case %zu", i);
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, cases[i].why) != NULL, "case %zu: %s", i, err.text);
	}
	struct err err;
	struct coded coded;
	ck_assert_int_eq(diff_encode(d, ELEMENT_OPAQUE, old, new, 8, &coded, &err), -1);
	ck_assert_int_eq(diff_encode(d, ELEMENT_F16, old, new, 0, &coded, &err), -1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_diff_every_type_comes_back,
		test_diff_small_changes_are_small,
		test_diff_is_as_the_format_says,
		test_diff_refuses_what_is_none,
	};
	return suite_run("diff", tests, COUNT_OF(tests));
}
