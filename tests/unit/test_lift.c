/* Numbers of one type as those of another: against plain definitions of the formats, value by value. */
#include "store/lift.h"

#include "store/element.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST (1 << 20)

static uint8_t in[MOST], out[MOST], again[MOST];

/* How many bytes came out. */
static size_t lift(const uint8_t *bytes, size_t len, uint8_t from, uint8_t to, uint8_t *ret)
{
	struct err err;
	struct memory memory;
	const struct source source = source_memory(&memory, bytes, len);
	ck_assert(lift_possible(from, to));
	ck_assert_msg(!lift_read(&source, 0, len, from, to, ret, &err), "%s", err.text);
	return (size_t)lift_len(from, to, len);
}

static double half_value(unsigned bits)
{
	const int exponent = bits >> 10 & 31, fraction = bits & 1023;
	const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
			    : exponent	   ? ldexp(1024 + fraction, exponent - 25)
					   : ldexp(fraction, -24);
	return bits & 0x8000 ? -size : size;
}

static float float_at(const uint8_t *p)
{
	float f;
	memcpy(&f, p, sizeof(f));
	return f;
}

static unsigned u16_at(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

START_TEST(test_lift_every_half)
{
	for (unsigned i = 0; i < 65536; i++) {
		in[2 * i] = (uint8_t)i;
		in[2 * i + 1] = (uint8_t)(i >> 8);
	}
	ck_assert_uint_eq(lift(in, 131072, ELEMENT_F16, ELEMENT_F32, out), 262144);
	for (unsigned i = 0; i < 65536; i++) {
		const double is = float_at(out + 4 * (size_t)i), should = half_value(i);
		ck_assert_msg(isnan(should) ? isnan(is) : is == should && !signbit(is) == !signbit(should),
			      "%04x: %g instead of %g", i, is, should);
	}
	/* And back: the same but for what is no number. */
	ck_assert_uint_eq(lift(out, 262144, ELEMENT_F32, ELEMENT_F16, again), 131072);
	for (unsigned i = 0; i < 65536; i++)
		if (!isnan(half_value(i)))
			ck_assert_uint_eq(u16_at(again + 2 * (size_t)i), i);
		else
			ck_assert_uint_eq(u16_at(again + 2 * (size_t)i), (i & 0x8000) | 0x7e00);
	lift(in, 131072, ELEMENT_BF16, ELEMENT_F32, out);
	lift(out, 262144, ELEMENT_F32, ELEMENT_BF16, again);
	for (unsigned i = 0; i < 65536; i++)
		ck_assert_uint_eq(u16_at(again + 2 * (size_t)i),
				  (i & 0x7fff) > 0x7f80 ? i | 64 : i);
}
END_TEST

/* Of all floats whose bits are these: no half is nearer than the one given, and an even one is taken of two. */
static void check_half(uint32_t bits, unsigned half)
{
	float f;
	memcpy(&f, &bits, sizeof(f));
	if (isnan(f))
		return;
	const unsigned size = half & 0x7fff;
	const double is = half_value(size), v = fabs((double)f);
	ck_assert_uint_eq(half >> 15, bits >> 31);
	if (size == 0x7c00) {
		ck_assert_msg(v >= 65520, "%g is not infinite", v);
		return;
	}
	const double above = size + 1 == 0x7c00 ? 65536 : half_value(size + 1);
	ck_assert_msg(v - is <= above - v, "%g is nearer to %g than to %g", v, above, is);
	if (v - is == above - v)
		ck_assert_uint_eq(size % 2, 0);
	if (!size)
		return;
	const double below = half_value(size - 1);
	ck_assert_msg(is - v <= v - below, "%g is nearer to %g than to %g", v, below, is);
	if (is - v == v - below)
		ck_assert_uint_eq(size % 2, 0);
}

START_TEST(test_lift_rounds_to_the_nearest)
{
	const unsigned count = MOST / 16;
	uint32_t state = 7;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < count; i++) {
			state = state * 1664525 + 1013904223;
			/* Of all sizes; near those of halves; halfway between two. */
			uint32_t bits = state;
			if (round % 4)
				bits = (state & 0x80000000) | (0x32000000 + state % 0x16000000);
			if (round % 4 == 2)
				bits = (bits & ~0x1fffu) | 0x1000;
			if (round % 4 == 3)
				bits &= 0xffff0000;
			memcpy(in + 4 * (size_t)i, &bits, 4);
		}
		lift(in, 4 * (size_t)count, ELEMENT_F32, ELEMENT_F16, out);
		for (unsigned i = 0; i < count; i++) {
			uint32_t bits;
			memcpy(&bits, in + 4 * (size_t)i, 4);
			check_half(bits, u16_at(out + 2 * (size_t)i));
		}
	}
}
END_TEST

/* ---- blocks, by ggml's definition of them ---- */

static void fill_floats(float *to, unsigned count, float sigma)
{
	uint64_t state = count;
	for (unsigned i = 0; i < count; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		to[i] = sigma * ((float)(int32_t)(state >> 32) / 2147483648.0f);
		if (i % 97 == 0)
			to[i] = 0;
	}
}

START_TEST(test_lift_to_blocks)
{
	const unsigned count = 32 * 1000;
	float *values = (float *)(void *)in;
	fill_floats(values, count, 0.03f);
	ck_assert_uint_eq(lift(in, 4 * count, ELEMENT_F32, ELEMENT_Q8_0, out), 34 * 1000);
	ck_assert_uint_eq(lift(in, 4 * count, ELEMENT_F32, ELEMENT_Q4_0, again), 18 * 1000);
	for (unsigned b = 0; b < 1000; b++) {
		const float *v = values + 32 * b;
		float far = 0;
		for (unsigned i = 0; i < 32; i++)
			far = fabsf(v[i]) > fabsf(far) ? v[i] : far;
		volatile float d8 = fabsf(far) / 127.0f, d4 = far / -8.0f;
		volatile float id8 = 1.0f / d8, id4 = 1.0f / d4;
		for (unsigned i = 0; i < 32; i++) {
			volatile float x = v[i] * id8, y = v[i] * id4, z = y + 8.5f;
			ck_assert_int_eq((int8_t)out[34 * b + 2 + i], (int)roundf(x));
			const unsigned q = again[18 * b + 2 + i % 16] >> (i / 16 * 4) & 15;
			ck_assert_uint_eq(q, z > 15 ? 15 : (unsigned)z);
		}
		uint32_t bits;
		memcpy(&bits, (const void *)(uintptr_t)&d8, 4);
		check_half(bits, u16_at(out + (size_t)34 * b));
		memcpy(&bits, (const void *)(uintptr_t)&d4, 4);
		check_half(bits, u16_at(again + (size_t)18 * b));
	}
}
END_TEST

START_TEST(test_lift_from_blocks)
{
	/* 0.5 and -3 as q8_0 and q4_0; of q4_K unit 0.25 * 5, minimum 2 * 3, and a sub-block of large sixes. */
	static const uint8_t q8[34] = {0x00, 0x38, 0xfd, 0x7f, 0x80};
	lift(q8, 34, ELEMENT_Q8_0, ELEMENT_F32, out);
	ck_assert(float_at(out) == -1.5f && float_at(out + 4) == 63.5f && float_at(out + 8) == -64.0f);
	static const uint8_t q4[18] = {0x00, 0x38, 0x5f};
	lift(q4, 18, ELEMENT_Q4_0, ELEMENT_F32, out);
	ck_assert(float_at(out) == 3.5f && float_at(out + 64) == -1.5f && float_at(out + 4) == -4.0f);
	uint8_t k[144] = {0x00, 0x34, 0x00, 0x40};
	k[4] = 5;		/* scale 0 */
	k[8] = 3;		/* minimum 0 */
	k[4 + 3] |= 3 << 6;	/* scale 7, upper bits */
	k[8 + 3] |= 2 << 6;	/* minimum 7, upper bits */
	k[12 + 3] = 1 << 4 | 2; /* minimum 7 and scale 7, lower bits */
	k[16] = 0x09;
	k[16 + 96 + 31] = 0xf0;
	ck_assert_uint_eq(lift(k, 144, ELEMENT_Q4_K, ELEMENT_F32, out), 1024);
	ck_assert(float_at(out) == 0.25f * 5 * 9 - 2.0f * 3);
	ck_assert(float_at(out + 4) == -6.0f);
	ck_assert(float_at(out + 4 * 255) == 0.25f * 50 * 15 - 2.0f * 33);
}
END_TEST

/* Whatever the bytes: all is written, nothing beyond, the same each time, and no operation is undefined. */
START_TEST(test_lift_of_anything)
{
	static const uint8_t types[] = {ELEMENT_F32,  ELEMENT_F16,  ELEMENT_BF16,
					ELEMENT_Q8_0, ELEMENT_Q4_0, ELEMENT_Q4_K};
	for (size_t a = 0; a < COUNT_OF(types); a++)
		for (size_t b = 0; b < COUNT_OF(types); b++) {
			if (!lift_possible(types[a], types[b]))
				continue;
			const size_t len = 144 * 64 * 8, block = element_block(types[a]);
			model_stream(in, len, "anything");
			memset(in + len / 2, 0xff, 4000);
			memset(in + len / 4, 0x7c, 4000);
			const size_t whole = len / block * block;
			memset(out, 0x55, sizeof(out));
			memset(again, 0xaa, sizeof(again));
			const size_t n = lift(in, whole, types[a], types[b], out);
			ck_assert_uint_eq(lift(in, whole, types[a], types[b], again), n);
			ck_assert(!memcmp(out, again, n) && out[n] == 0x55 && again[n] == 0xaa);
		}
	ck_assert(!lift_possible(ELEMENT_F16, ELEMENT_F16) && !lift_possible(ELEMENT_F16, ELEMENT_Q4_K));
	ck_assert(!lift_possible(ELEMENT_OPAQUE, ELEMENT_F16) && !lift_possible(255, ELEMENT_F16));
	ck_assert(!lift_possible(ELEMENT_F16, ELEMENT_OPAQUE) && !lift_possible(ELEMENT_F16, 255));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_lift_every_half,
		test_lift_rounds_to_the_nearest,
		test_lift_to_blocks,
		test_lift_from_blocks,
		test_lift_of_anything,
	};
	return suite_run("lift", tests, COUNT_OF(tests));
}
