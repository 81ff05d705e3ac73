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

/* With vectors as without them: the same bytes either way, and each reads what the other wrote. */
static void both_ways(struct differ *d, struct differ *plain, uint8_t type, size_t len)
{
	static uint8_t first[ROOM];
	const size_t n = round_trip(d, type, len);
	memcpy(first, stored, n);
	ck_assert_uint_eq(round_trip(plain, type, len), n);
	ck_assert_msg(n == len || !memcmp(first, stored, n), "%s, %zu bytes", element_name(type), len);
	struct err err;
	struct coded coded;
	ck_assert(!diff_encode(d, type, old, new, len, &coded, &err));
	memset(back, 0x55, len);
	if (coded.len)
		ck_assert(!diff_decode(plain, &coded, old, back, len, &err) && !memcmp(back, new, len));
}

/* What numbers are at their ends: infinities, what is no number, zeros of both signs, all ones. */
static void fill_extreme(uint8_t *to, size_t len, unsigned shift)
{
	static const uint16_t ends[] = {0x7f80, 0xff80, 0x7fc0, 0x7c00, 0xfc01, 0x0000, 0x8000, 0xffff, 0x0001,
					0x7bff, 0x8081, 0x7f7f, 0x0400, 0x88ff};
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(ends[(i / 2 * 7 + shift) % COUNT_OF(ends)] >> 8 * (i % 2));
}

START_TEST(test_diff_every_type_comes_back)
{
	AUTO(differ_free) struct differ *d = differ_new();
	AUTO(differ_free) struct differ *plain = differ_new();
	static const unsigned changes[] = {1, 7, 100, 1u << 30};
	differ_plain(plain);
	for (unsigned type = 0; type < 256; type++)
		for (size_t len = 1; planes_known((uint8_t)type) && len < 9000; len += len < 40 ? 1 : 1777)
			for (size_t c = 0; c < COUNT_OF(changes); c++) {
				model_stream(old, len, "old");
				change(len, changes[c]);
				both_ways(d, plain, (uint8_t)type, len);
			}
}
END_TEST

START_TEST(test_diff_numbers_at_their_ends)
{
	AUTO(differ_free) struct differ *d = differ_new();
	AUTO(differ_free) struct differ *plain = differ_new();
	differ_plain(plain);
	for (unsigned type = 0; type < 256; type++)
		for (unsigned how = 0; planes_known((uint8_t)type) && how < 8; how++) {
			const size_t len = 20001 + how;
			fill_extreme(old, len, 0);
			fill_extreme(new, len, how % 4);
			if (how & 4)
				memset(how & 1 ? old : new, how & 2 ? 0 : 0xff, len);
			both_ways(d, plain, (uint8_t)type, len);
		}
}
END_TEST

START_TEST(test_diff_small_changes_are_small)
{
	AUTO(differ_free) struct differ *d = differ_new();
	model_stream(old, ROOM, "old");
	memcpy(new, old, ROOM);
	ck_assert_uint_eq(round_trip(d, ELEMENT_BF16, ROOM), 2);
	change(ROOM, 1000);
	ck_assert_uint_lt(round_trip(d, ELEMENT_Q4_0, ROOM), ROOM / 80);
	change(ROOM, 50);
	ck_assert_uint_lt(round_trip(d, ELEMENT_I8, ROOM), ROOM / 30);
	model_stream(new, ROOM, "something else");
	ck_assert_uint_gt(round_trip(d, ELEMENT_Q8_0, ROOM), ROOM - ROOM / 50);
}
END_TEST

/* 0100 0200 -> 0300 0100 as i16, raw; and as q8_0 whose scale is the same, and so are its quants. */
START_TEST(test_diff_is_as_the_format_says)
{
	static const uint8_t before[] = {1, 0, 2, 0, 9}, after[] = {3, 0, 1, 0, 8};
	static const uint8_t as_coded[] = {ELEMENT_I16, 1, 3, 0, 1, 0, 8};
	AUTO(differ_free) struct differ *d = differ_new();
	struct err err;
	const struct coded coded = {as_coded, sizeof as_coded, CODEC_DELTA, 0};
	ck_assert_msg(!diff_decode(d, &coded, before, back, 5, &err), "%s", err.text);
	ck_assert_mem_eq(back, after, 5);
	/* The scale 1.0 becomes 0.75: quants are expected to grow by a third; 127 made the scale, and stays. */
	static const uint8_t scaled[] = {ELEMENT_Q8_0, 1, 0x00, 0x3a, 0};
	memset(old, 10, 34);
	memcpy(old, "\x00\x3c\x7f\xff", 4);
	const struct coded grown = {scaled, sizeof scaled, CODEC_DELTA, 0};
	ck_assert_msg(!diff_decode(d, &grown, old, back, 34, &err), "%s", err.text);
	ck_assert_mem_eq(back, "\x00\x3a\x7f\xff\x0d\x0d", 6);
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
		{"\x20\x03", 2, "not known"},
		{"\x20\x02\x00", 3, "end early"},
		{"\x20\x02\x00\x00\xff\xff\xff\xff", 8, "end early"},
		{"\x20\x02\x00\x00\x00\x00\x00\x00", 8, "tables"},
		{"\x20\x02\x00\x00\x02\x00\x00\x00\x01\x00", 10, "tables"},
		{"\x20\x02\x00\x00\x06\x00\x00\x00\x01\x00\x01\x88\x00\x01", 14, "tables"},
		{"\x21\x02\x00\x00\x02\x00\x00\x00\x00\x00", 10, "end early"},
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

/* A byte changed: refused, or another chunk; nothing else, and most are refused here. */
START_TEST(test_diff_damage_is_noticed)
{
	AUTO(differ_free) struct differ *d = differ_new();
	const size_t len = 20000;
	unsigned refused = 0;
	model_stream(old, len, "old");
	change(len, 3);
	const size_t n = round_trip(d, ELEMENT_F16, len);
	ck_assert_uint_lt(n, len);
	for (size_t i = 0; i < n; i++) {
		struct err err;
		const struct coded coded = {stored, (uint32_t)n, CODEC_DELTA, 0};
		stored[i] ^= 0x10;
		if (diff_decode(d, &coded, old, back, len, &err)) {
			ck_assert_int_eq(err.status, ERR_INVALID);
			refused++;
		}
		stored[i] ^= 0x10;
	}
	ck_assert_uint_gt(refused, n / 2);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_diff_every_type_comes_back,
		test_diff_numbers_at_their_ends,
		test_diff_small_changes_are_small,
		test_diff_is_as_the_format_says,
		test_diff_refuses_what_is_none,
		test_diff_damage_is_noticed,
	};
	return suite_run("diff", tests, COUNT_OF(tests));
}
