/* Planes: the layouts cover their blocks, and every byte is somewhere once. */
#include "store/planes.h"

#include "base/cc.h"
#include "store/element.h"
#include "tests/support/suite.h"

#include <string.h>

#define ROOM 4096

static uint8_t raw[ROOM], split[ROOM], back[ROOM + 1];

START_TEST(test_planes_come_back)
{
	size_t ends[PLANES_MAX];
	for (unsigned type = 0; type < 256; type++) {
		const size_t block = element_block((uint8_t)type);
		if (!planes_known((uint8_t)type))
			continue;
		for (size_t len = 1; len <= 3 * block + 2; len++) {
			for (size_t i = 0; i < len; i++)
				raw[i] = (uint8_t)(i * 37 + (i >> 8) * 11 + type);
			const unsigned count = planes_split((uint8_t)type, PLANES_TURNED, raw, len, split, ends);
			ck_assert_uint_ge(count, 1);
			ck_assert_uint_le(count, PLANES_MAX);
			for (unsigned i = 1; i < count; i++)
				ck_assert_uint_gt(ends[i], ends[i - 1]);
			ck_assert_msg(ends[count - 1] == len, "%s: %zu of %zu bytes",
				      element_name((uint8_t)type), ends[count - 1], len);
			back[len] = 0x55;
			planes_join((uint8_t)type, PLANES_TURNED, split, len, back);
			ck_assert_msg(!memcmp(raw, back, len), "%s, %zu bytes",
				      element_name((uint8_t)type), len);
			ck_assert_uint_eq(back[len], 0x55);
		}
	}
}
END_TEST

/* The fields of a layout are as long as its block: with one block nothing is left over. */
START_TEST(test_planes_cover_their_blocks)
{
	size_t one[PLANES_MAX], more[PLANES_MAX];
	for (unsigned type = 0; type < 256; type++) {
		const size_t block = element_block((uint8_t)type);
		if (!planes_known((uint8_t)type))
			continue;
		const unsigned count = planes_split((uint8_t)type, PLANES_TURNED, raw, block, split, one);
		ck_assert_uint_eq(planes_split((uint8_t)type, PLANES_TURNED, raw, block + 1, split, more),
				  block == 1 ? count : count + 1);
	}
	ck_assert(!planes_known(ELEMENT_OPAQUE));
	ck_assert(planes_known(ELEMENT_BF16) && planes_known(ELEMENT_BOOL));
	ck_assert(!planes_known(31) && !planes_known(255));
}
END_TEST

START_TEST(test_planes_are_as_the_format_says)
{
	size_t ends[PLANES_MAX];
	/* 1.0 and -0.5 as bf16: 3f80, bf00; turned left 7f00, 7e01. */
	static const uint8_t halves[] = {0x80, 0x3f, 0x00, 0xbf, 0x99};
	ck_assert_uint_eq(planes_split(ELEMENT_BF16, PLANES_TURNED, halves, sizeof halves, split, ends), 3);
	ck_assert_mem_eq(split, "\x7f\x7e\x00\x01\x99", 5);
	ck_assert(ends[0] == 2 && ends[1] == 4 && ends[2] == 5);
	/* Two blocks of q4_0: scales first, their high bytes before their low ones. */
	uint8_t blocks[36];
	for (unsigned i = 0; i < sizeof blocks; i++)
		blocks[i] = (uint8_t)i;
	ck_assert_uint_eq(planes_split(ELEMENT_Q4_0, PLANES_TURNED, blocks, sizeof blocks, split, ends), 3);
	ck_assert(ends[0] == 2 && ends[1] == 4 && ends[2] == 36);
	ck_assert_mem_eq(split, "\x02\x26\x00\x24", 4); /* 0100 and 1312, turned */
	ck_assert_mem_eq(split + 4, blocks + 2, 16);
	ck_assert_mem_eq(split + 20, blocks + 20, 16);
	/* Integers are not turned. */
	static const uint8_t words[] = {1, 2, 3, 4, 5, 6, 7, 8};
	ck_assert_uint_eq(planes_split(ELEMENT_I32, PLANES_TURNED, words, sizeof words, split, ends), 4);
	ck_assert_mem_eq(split, "\4\10\3\7\2\6\1\5", 8);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_planes_come_back,
		test_planes_cover_their_blocks,
		test_planes_are_as_the_format_says,
	};
	return suite_run("planes", tests, COUNT_OF(tests));
}
