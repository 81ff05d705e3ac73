#include "store/lift.h"

#include "store/element.h"
#include "store/expect.h"
#include "store/le.h"

#include <endian.h>
#include <float.h>
#include <string.h>

/* Wider intermediate results would be other numbers. */
_Static_assert(FLT_EVAL_METHOD == 0, "single precision is what it is");

#define VALUES 2048u	  /* at once; whole blocks of every type */
#define BYTES_MAX (4 * VALUES) /* of them, in the widest type */
#define BLOCK 32u	  /* values of a q8_0 or q4_0 block */
#define NO_NUMBER 0x7fc00000u

/* ---- single numbers; without branches, so that loops become vector instructions ---- */

#define INLINE static inline __attribute__((always_inline))
#define SIZE 0x7fffffffu     /* bits of a float without its sign */
#define INFINITE 0x7f800000u

INLINE float float_of_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

INLINE uint32_t bits_of_float(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return bits;
}

/* Which of those that are no number an operation makes differs between machines. */
INLINE float one_nan(float f)
{
	return float_of_bits((bits_of_float(f) & SIZE) > INFINITE ? NO_NUMBER : bits_of_float(f));
}

INLINE uint32_t half_at(const uint8_t *p)
{
	uint16_t half;
	memcpy(&half, p, sizeof half);
	return le16toh(half);
}

INLINE void put_at(uint8_t *p, uint32_t v)
{
	const uint16_t half = htole16((uint16_t)v);
	memcpy(p, &half, sizeof half);
}

INLINE float float_of_half(uint32_t half)
{
	const uint32_t sign = (half & 0x8000) << 16, size = (half & 0x7fff) << 13;
	/* The exponents' zeros are 112 apart; the product is exact. */
	const uint32_t number = bits_of_float(float_of_bits(size) * 0x1p112f);
	return float_of_bits(sign | (size >= 0x7c00u << 13 ? size | INFINITE : number));
}

/* Drop the lowest bits, to the nearest, the even one of two. */
INLINE uint32_t drop_bits(uint32_t v, unsigned count)
{
	return (v + (1u << (count - 1)) - 1 + (v >> count & 1)) >> count;
}

INLINE uint32_t half_of_float(float f)
{
	const uint32_t bits = bits_of_float(f), sign = bits >> 16 & 0x8000, size = bits & SIZE;
	const uint32_t normal = drop_bits(size - (112u << 23), 13); /* may round up to infinity */
	/* The last bit of one half is 2^-24, as that of the smallest halves. */
	const uint32_t small = bits_of_float(float_of_bits(size) + 0.5f) - 0x3f000000;
	uint32_t half = size < 0x38800000 ? small : normal;
	half = size >= 0x47800000 ? 0x7c00 : half; /* 65536 and more */
	return sign | (size > INFINITE ? 0x7e00 : half);
}

INLINE uint32_t bf16_of_float(float f)
{
	const uint32_t bits = bits_of_float(f);
	return (bits & SIZE) > INFINITE ? bits >> 16 | 64 : drop_bits(bits, 16);
}

/* To the nearest whole number, away from 0 when between two; 0 for what is none or beyond. */
INLINE int nearest(float f)
{
	const float g = (bits_of_float(f) & SIZE) < 0x43010000 ? f : 0; /* 129 */
	const int whole = (int)g;
	const float rest = g - (float)whole; /* exact */
	return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* The largest in size, as bits, of those that are numbers. */
INLINE uint32_t largest(const float *values)
{
	uint32_t most = 0;
	for (unsigned i = 0; i < BLOCK; i++) {
		const uint32_t size = bits_of_float(values[i]) & SIZE;
		most = size > most && size <= INFINITE ? size : most;
	}
	return most;
}

/* Moved by 8 and a half and cut: 0 .. 15, and 0 for what is no number. */
INLINE uint8_t nibble(float scaled)
{
	/* By way of a double, which no machine contracts with the product; rounding twice is harmless. */
	const float moved = (float)((double)scaled + 8.5);
	const float most = moved < 15 ? moved : 15;
	return (uint8_t)(int)(moved > 0 ? most : 0);
}

/* ---- blocks to values ---- */

static void from_f32(const uint8_t *p, size_t blocks, float *to)
{
	for (size_t i = 0; i < blocks; i++)
		to[i] = float_of_bits(le_u32(p + 4 * i));
}

static void from_bf16(const uint8_t *p, size_t blocks, float *to)
{
	for (size_t i = 0; i < blocks; i++)
		to[i] = float_of_bits(half_at(p + 2 * i) << 16);
}

static void from_f16(const uint8_t *p, size_t blocks, float *to)
{
	for (size_t i = 0; i < blocks; i++)
		to[i] = float_of_half(half_at(p + 2 * i));
}

static void from_q8_0(const uint8_t *p, size_t blocks, float *to)
{
	for (; blocks--; p += 2 + BLOCK, to += BLOCK) {
		const float d = float_of_half(half_at(p));
		for (unsigned i = 0; i < BLOCK; i++)
			to[i] = one_nan((float)(int8_t)p[2 + i] * d);
	}
}

static void from_q4_0(const uint8_t *p, size_t blocks, float *to)
{
	for (; blocks--; p += 2 + BLOCK / 2, to += BLOCK) {
		const float d = float_of_half(half_at(p));
		for (unsigned i = 0; i < BLOCK / 2; i++) {
			to[i] = one_nan((float)((p[2 + i] & 15) - 8) * d);
			to[BLOCK / 2 + i] = one_nan((float)((p[2 + i] >> 4) - 8) * d);
		}
	}
}

/* Thirty-two bytes are two sub-blocks, the first in their lower nibbles. */
static void from_part(const uint8_t *p, unsigned shift, float unit, float minimum, float *to)
{
	/* Unit and minimum are exact, and so is each product: there is one rounding, of the difference. */
	for (unsigned i = 0; i < BLOCK; i++)
		to[i] = one_nan(unit * (float)(p[i] >> shift & 15) - minimum);
}

static void from_q4_K(const uint8_t *p, size_t blocks, float *to)
{
	for (; blocks--; p += 144) {
		const float d = float_of_half(half_at(p)), least = float_of_half(half_at(p + 2));
		uint8_t sixes[16];
		sixes_part(p + 4, sixes);
		for (unsigned j = 0; j < 8; j++, to += BLOCK)
			from_part(p + 16 + j / 2 * BLOCK, j % 2 * 4, d * (float)sixes[j],
				  least * (float)sixes[8 + j], to);
	}
}

/* ---- values to blocks ---- */

static void to_f32(const float *from, size_t blocks, uint8_t *p)
{
	for (size_t i = 0; i < blocks; i++) {
		const uint32_t bits = htole32(bits_of_float(from[i]));
		memcpy(p + 4 * i, &bits, sizeof bits);
	}
}

static void to_bf16(const float *from, size_t blocks, uint8_t *p)
{
	for (size_t i = 0; i < blocks; i++)
		put_at(p + 2 * i, bf16_of_float(from[i]));
}

static void to_f16(const float *from, size_t blocks, uint8_t *p)
{
	for (size_t i = 0; i < blocks; i++)
		put_at(p + 2 * i, half_of_float(from[i]));
}

static void to_q8_0(const float *from, size_t blocks, uint8_t *p)
{
	for (; blocks--; p += 2 + BLOCK, from += BLOCK) {
		const float d = float_of_bits(largest(from)) / 127, inverse = d != 0 ? 1 / d : 0;
		put_at(p, half_of_float(d));
		for (unsigned i = 0; i < BLOCK; i++)
			p[2 + i] = (uint8_t)nearest(from[i] * inverse);
	}
}

static void to_q4_0(const float *from, size_t blocks, uint8_t *p)
{
	for (; blocks--; p += 2 + BLOCK / 2, from += BLOCK) {
		const uint32_t most = largest(from);
		unsigned k = 0;
		while (k < BLOCK - 1 && (bits_of_float(from[k]) & SIZE) != most)
			k++;
		const float far = most ? from[k] : 0, d = far / -8, inverse = d != 0 ? 1 / d : 0;
		put_at(p, half_of_float(d));
		for (unsigned i = 0; i < BLOCK / 2; i++)
			p[2 + i] = (uint8_t)(nibble(from[i] * inverse) |
					     nibble(from[BLOCK / 2 + i] * inverse) << 4);
	}
}

/* ---- all of them ---- */

static const struct {
	void (*from)(const uint8_t *bytes, size_t blocks, float *values);
	void (*to)(const float *values, size_t blocks, uint8_t *bytes); /* NULL: nobody quantizes alike */
} ways[] = {
	[ELEMENT_F32] = {from_f32, to_f32},    [ELEMENT_F16] = {from_f16, to_f16},
	[ELEMENT_BF16] = {from_bf16, to_bf16}, [ELEMENT_Q8_0] = {from_q8_0, to_q8_0},
	[ELEMENT_Q4_0] = {from_q4_0, to_q4_0}, [ELEMENT_Q4_K] = {from_q4_K, NULL},
};

bool lift_possible(uint8_t from, uint8_t to)
{
	return from != to && from < COUNT_OF(ways) && to < COUNT_OF(ways) && ways[from].from && ways[to].to;
}

uint64_t lift_len(uint8_t from, uint8_t to, uint64_t len)
{
	return len / element_block(from) * element_values(from) / element_values(to) * element_block(to);
}

int lift_read(const struct source *source, uint64_t at, uint64_t len, uint8_t from, uint8_t to,
	      uint8_t *out, struct err *err)
{
	uint8_t bytes[BYTES_MAX];
	float values[VALUES];
	const size_t most = VALUES / element_values(from) * element_block(from);
	while (len) {
		const size_t n = len < most ? (size_t)len : most, blocks = n / element_block(from);
		if (source->read(source->arg, at, bytes, n, err))
			return -1;
		ways[from].from(bytes, blocks, values);
		ways[to].to(values, blocks * element_values(from) / element_values(to), out);
		out += lift_len(from, to, n);
		at += n;
		len -= n;
	}
	return 0;
}
