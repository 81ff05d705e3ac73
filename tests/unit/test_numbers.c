/* Planes by rANS: every type comes back, the same with vectors as without; what quantizers do is found; hostile
 * bytes are refused. */
#include "store/numbers.h"

#include "store/codec.h"
#include "store/codec_internal.h"
#include "store/element.h"
#include "store/planes.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#define ROOM (1 << 20)

static uint8_t raw[ROOM], planes[ROOM], back[ROOM + 1], stored[ROOM + CHUNK_STORED_EXTRA];
static struct numbers *numbers, *plain;

static void set_up(void)
{
	if (numbers)
		return;
	numbers = numbers_new();
	plain = numbers_new();
	ck_assert(numbers && plain);
	numbers_plain(plain);
}

static void split(uint8_t type, size_t len)
{
	size_t ends[PLANES_MAX];
	(void)planes_split(type, PLANES_TURNED, raw, len, planes, ends);
}

static size_t encode(struct numbers *k, uint8_t type, size_t len, uint8_t *out, size_t room)
{
	struct err err;
	size_t n;
	ck_assert_msg(!numbers_encode(k, type, planes, len, out, room, &n, &err), "%s", err.text);
	ck_assert_uint_le(n, room);
	return n;
}

static int decode(struct numbers *k, uint8_t type, const uint8_t *bytes, size_t n, size_t len)
{
	struct err err;
	memset(back, 0x55, len + 1);
	const int bad = numbers_decode(k, type, bytes, n, back, len, &err);
	ck_assert(!bad || err.status == ERR_INVALID);
	ck_assert_uint_eq(back[len], 0x55);
	return bad;
}

/* The same bytes with vectors as without, and each reads what the other wrote. */
static size_t round_trip(uint8_t type, size_t len)
{
	static uint8_t other[ROOM + CHUNK_STORED_EXTRA];
	split(type, len);
	const size_t n = encode(numbers, type, len, stored, len + 100);
	ck_assert_uint_eq(encode(plain, type, len, other, len + 100), n);
	ck_assert_msg(n > 0 && !memcmp(stored, other, n), "%s, %zu bytes", element_name(type), len);
	ck_assert_msg(!decode(numbers, type, stored, n, len) && !memcmp(back, planes, len), "%s, %zu bytes",
		      element_name(type), len);
	ck_assert_msg(!decode(plain, type, stored, n, len) && !memcmp(back, planes, len), "%s, %zu bytes",
		      element_name(type), len);
	return n;
}

static uint32_t chance(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* Around zero, the farther the rarer. */
static int bell(uint64_t *state, int most)
{
	int sum = 0;
	for (unsigned i = 0; i < 4; i++)
		sum += (int)(chance(state) % (unsigned)(most + 1)) - most / 2;
	return sum / 2;
}

enum fill { NOISE, ZEROS, ONES, BELL, ENDS, FILLS };

static void fill(enum fill how, size_t len)
{
	static const uint16_t ends[] = {0x7f80, 0xff80, 0x7fc0, 0x7c00, 0xfc01, 0x0000, 0x8000, 0xffff, 0x0001,
					0x7bff, 0x8081, 0x7f7f, 0x0400, 0x88ff};
	uint64_t state = len;
	model_stream(raw, len, "noise");
	for (size_t i = 0; i < len; i++)
		if (how == BELL)
			raw[i] = (uint8_t)bell(&state, 60);
		else if (how == ENDS)
			raw[i] = (uint8_t)(ends[i / 2 * 7 % COUNT_OF(ends)] >> 8 * (i % 2));
		else if (how != NOISE)
			raw[i] = how == ONES ? 255 : 0;
}

START_TEST(test_numbers_every_type_comes_back)
{
	set_up();
	for (unsigned type = 0; type < 256; type++)
		for (size_t len = 1; planes_known((uint8_t)type) && len < 9000; len += len < 40 ? 1 : 1777)
			for (enum fill how = 0; how < FILLS; how++) {
				fill(how, len);
				round_trip((uint8_t)type, len);
			}
}
END_TEST

/* A piece, a run and a round, and a number more or less; with half a block behind them. */
START_TEST(test_numbers_at_borders)
{
	static const uint8_t types[] = {ELEMENT_F16, ELEMENT_F32, ELEMENT_Q8_0, ELEMENT_Q4_0, ELEMENT_Q4_K};
	static const size_t blocks[] = {31, 32, 33, 128, 129, 511, 512, 513, 1024, 4095, 4096, 4097};
	set_up();
	for (size_t t = 0; t < COUNT_OF(types); t++)
		for (size_t b = 0; b < COUNT_OF(blocks); b++) {
			const size_t block = element_block(types[t]);
			fill(BELL, blocks[b] * block + block / 2);
			round_trip(types[t], blocks[b] * block);
			round_trip(types[t], blocks[b] * block + block / 2);
		}
}
END_TEST

static void put_half(uint8_t *out, unsigned half)
{
	out[0] = (uint8_t)half;
	out[1] = (uint8_t)(half >> 8);
}

/* As quantizers do it: in each group the largest is an extreme. */
static void fill_q8_0(size_t blocks)
{
	uint64_t state = 7;
	for (size_t b = 0; b < blocks; b++) {
		uint8_t *p = raw + b * 34;
		put_half(p, 0x1800 | (chance(&state) & 0x3ff));
		for (unsigned i = 0; i < 32; i++)
			p[2 + i] = (uint8_t)bell(&state, 60);
		p[2 + chance(&state) % 32] = chance(&state) & 1 ? 127 : 129;
	}
}

static void fill_q4_0(size_t blocks)
{
	uint64_t state = 8;
	for (size_t b = 0; b < blocks; b++) {
		uint8_t *p = raw + b * 18;
		put_half(p, 0x1800 | (chance(&state) & 0x3f8));
		for (unsigned i = 0; i < 16; i++)
			p[2 + i] = (uint8_t)((8 + bell(&state, 6)) | (8 + bell(&state, 6)) << 4);
		const unsigned at = chance(&state) % 32;
		p[2 + at % 16] &= at < 16 ? 0xf0 : 0x0f;
	}
}

static size_t by_huffman(uint8_t type, size_t len)
{
	ZSTD_CCtx *zstd = codec_huffman_new();
	ck_assert_ptr_nonnull(zstd);
	split(type, len);
	const size_t n = ZSTD_compress2(zstd, stored, sizeof stored, planes, len);
	ck_assert(!ZSTD_isError(n));
	ZSTD_freeCCtx(zstd);
	return n;
}

START_TEST(test_numbers_places_of_extremes_are_cheap)
{
	const size_t q8_0 = ROOM / 34 * 34, q4_0 = ROOM / 18 * 18;
	set_up();
	fill_q8_0(ROOM / 34);
	const size_t bytes = by_huffman(ELEMENT_Q8_0, q8_0);
	ck_assert_uint_lt(round_trip(ELEMENT_Q8_0, q8_0), bytes - bytes / 200);
	fill_q4_0(ROOM / 18);
	const size_t nibbles = by_huffman(ELEMENT_Q4_0, q4_0);
	ck_assert_uint_lt(round_trip(ELEMENT_Q4_0, q4_0), nibbles - nibbles / 200);
}
END_TEST

/* Rows of other sizes: the exponents of one tell of its next. */
START_TEST(test_numbers_rows_differ)
{
	uint64_t state = 9;
	set_up();
	for (size_t i = 0; i < ROOM / 2; i++) {
		const unsigned row = (unsigned)(i / 1024 * 7 % 5);
		const unsigned exponent = 110 + 3 * row + (unsigned)__builtin_ctz(chance(&state) | 16);
		put_half(raw + 2 * i, (exponent << 7 | (chance(&state) & 0x7f)) ^ (chance(&state) & 1) << 15);
	}
	const size_t huffman = by_huffman(ELEMENT_BF16, ROOM);
	ck_assert_uint_lt(round_trip(ELEMENT_BF16, ROOM), huffman - huffman / 20);
}
END_TEST

/* What is not worth it is as it was, and a few bytes more; without room for it there is none. */
START_TEST(test_numbers_never_grow)
{
	set_up();
	for (unsigned type = 0; type < 256; type++) {
		if (!planes_known((uint8_t)type))
			continue;
		fill(NOISE, 200000);
		const size_t n = round_trip((uint8_t)type, 200000);
		ck_assert_msg(n <= 200000 + PLANES_MAX, "%s: %zu", element_name((uint8_t)type), n);
		fill(BELL, 9999);
		const size_t least = round_trip((uint8_t)type, 9999);
		for (size_t room = 0; room < least; room += 97)
			ck_assert_uint_eq(encode(numbers, (uint8_t)type, 9999, stored, room), 0);
	}
}
END_TEST

/* Two i16 0x0100 0x0201 and a byte: a plane as it is, then one of two symbols in contexts 1 and 2, each for sure;
 * the coders are where they began, and no word was needed. */
START_TEST(test_numbers_are_as_the_format_says)
{
	uint8_t bytes[256] = {0, 1, 2, 1, 11, 0, 0, 0};
	static const uint8_t tables[] = {6, 0, 0, 0x88, 0, 1, 0, 0, 0x88, 0};
	static const uint8_t expected[] = {1, 2, 0, 1, 9};
	set_up();
	memcpy(bytes + 8, tables, sizeof tables);
	size_t n = 8 + sizeof tables;
	for (unsigned i = 0; i < 32; i++, n += 4)
		put_half(bytes + n, 0x8000);
	bytes[4] = (uint8_t)(n - 8);
	bytes[n++] = 9;
	struct err err;
	ck_assert_msg(!numbers_decode(numbers, ELEMENT_I16, bytes, n, back, 5, &err), "%s", err.text);
	ck_assert_mem_eq(back, expected, 5);
}
END_TEST

START_TEST(test_numbers_refuse_what_is_none)
{
	static const struct {
		uint8_t type;
		const char *bytes;
		uint32_t len;
		const char *why;
	} cases[] = {
		{ELEMENT_I8, "", 0, "end early"},
		{ELEMENT_I8, "\x02", 1, "not known"},
		{ELEMENT_I8, "\x00" "1234567", 8, "end early"},
		{ELEMENT_I8, "\x00" "123456789", 10, "behind"},
		{ELEMENT_I8, "\x01\x00\x00", 3, "end early"},
		{ELEMENT_I8, "\x01\xff\xff\xff\xff", 5, "end early"},
		{ELEMENT_I8, "\x01\x00\x00\x00\x00", 5, "tables"},
		{ELEMENT_I8, "\x01\x02\x00\x00\x00\x00\x00", 7, "tables"},
		{ELEMENT_I8, "\x01\x05\x00\x00\x00\x01\x00\x00\x88\x00", 10, "tables"},
		{ELEMENT_F16, "\x01", 1, "end early"},
		{ELEMENT_F16, "\x01\x00\x00\x00\x00\x00", 6, "tables"},
	};
	set_up();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err;
		ck_assert_msg(numbers_decode(numbers, cases[i].type, (const uint8_t *)cases[i].bytes, cases[i].len,
					     back, 8, &err),
			      "case %zu", i);
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, cases[i].why) != NULL, "case %zu: %s", i, err.text);
	}
}
END_TEST

/* Every end is refused; every byte changed is, or gives other planes (the digest tells), the same with vectors as
 * without. */
START_TEST(test_numbers_damage_is_noticed)
{
	static const uint8_t types[] = {ELEMENT_F16, ELEMENT_Q8_0, ELEMENT_Q4_0, ELEMENT_Q4_K};
	static uint8_t first[6000];
	set_up();
	for (size_t t = 0; t < COUNT_OF(types); t++) {
		const size_t len = 5003;
		unsigned refused = 0;
		fill(ENDS, len);
		if (types[t] == ELEMENT_Q8_0)
			fill_q8_0(len / 34);
		const size_t n = round_trip(types[t], len);
		ck_assert_uint_lt(n, len);
		for (size_t cut = 0; cut < n; cut++)
			ck_assert(decode(numbers, types[t], stored, cut, len));
		for (size_t i = 0; i < n; i++) {
			stored[i] ^= 0x10;
			const int bad = decode(numbers, types[t], stored, n, len);
			memcpy(first, back, len);
			ck_assert_int_eq(decode(plain, types[t], stored, n, len), bad);
			ck_assert(bad || !memcmp(first, back, len));
			refused += bad != 0;
			stored[i] ^= 0x10;
		}
		ck_assert_msg(refused > n / 8, "%s: %u of %zu", element_name(types[t]), refused, n);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_numbers_every_type_comes_back,
		test_numbers_at_borders,
		test_numbers_places_of_extremes_are_cheap,
		test_numbers_rows_differ,
		test_numbers_never_grow,
		test_numbers_are_as_the_format_says,
		test_numbers_refuse_what_is_none,
		test_numbers_damage_is_noticed,
	};
	return suite_run("numbers", tests, COUNT_OF(tests));
}
