#include "store/expect.h"

#include "base/cc.h"
#include "store/element.h"
#include "store/expect_internal.h"
#include "store/half.h"
#include "store/rans.h"

#include <endian.h>
#include <string.h>

#define EXACT (INT64_C(1) << 52) /* whole numbers below it are doubles */
#define ALIKE 4096u /* numbers that make a good piece: they stay in the first cache */
#define GROUP 32u   /* bytes whose low nibbles come before their high ones */
#define SIXES (2 * SIXES_PARTS) /* numbers */
#define RARE 256u   /* one word in so many */

unsigned place_numbers(const struct place *p)
{
	if (p->kind == FIELD_SIXES)
		return SIXES;
	return (unsigned)p->len / field_width(p->kind) * (p->kind == FIELD_NIBBLES ? 2 : 1);
}

size_t place_blocks(const struct place *p)
{
	const size_t blocks = ALIKE / place_numbers(p) / RANS_LANES * RANS_LANES;
	return blocks ? blocks : RANS_LANES;
}

/* ---- numbers of a byte or less; inlined with constant lengths ---- */

#define INLINE static inline __attribute__((always_inline))

INLINE void nibbles_part(const uint8_t *restrict bytes, size_t len, uint8_t *restrict numbers)
{
	for (size_t i = 0; i < len; i++) {
		numbers[i] = bytes[i] & 15;
		numbers[len + i] = bytes[i] >> 4;
	}
}

INLINE void nibbles_join(const uint8_t *restrict numbers, size_t len, uint8_t *restrict bytes)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(numbers[i] | numbers[len + i] << 4);
}

INLINE void take_nibbles(const uint8_t *at, size_t block, size_t len, size_t count, uint8_t *numbers)
{
	const size_t group = len < GROUP ? len : GROUP;
	for (; count--; at += block)
		for (size_t g = 0; g < len; g += group, numbers += 2 * group)
			nibbles_part(at + g, group, numbers);
}

INLINE void put_nibbles(uint8_t *at, size_t block, size_t len, size_t count, const uint8_t *numbers)
{
	const size_t group = len < GROUP ? len : GROUP;
	for (; count--; at += block)
		for (size_t g = 0; g < len; g += group, numbers += 2 * group)
			nibbles_join(numbers, group, at + g);
}

INLINE void take_bytes(const uint8_t *at, size_t block, size_t len, size_t count, uint8_t *out)
{
	for (size_t k = 0; k < count; k++)
		memcpy(out + k * len, at + k * block, len);
}

INLINE void put_bytes(uint8_t *at, size_t block, size_t len, size_t count, const uint8_t *in)
{
	for (size_t k = 0; k < count; k++)
		memcpy(at + k * block, in + k * len, len);
}

void bytes_take(const struct place *p, size_t block, const uint8_t *blocks, size_t count, uint8_t *out)
{
	if (p->len == 2)
		take_bytes(blocks + p->from, block, 2, count, out);
	else if (p->len == 32)
		take_bytes(blocks + p->from, block, 32, count, out);
	else
		take_bytes(blocks + p->from, block, p->len, count, out);
}

void bytes_put(const struct place *p, size_t block, const uint8_t *in, size_t count, uint8_t *blocks)
{
	if (p->len == 2)
		put_bytes(blocks + p->from, block, 2, count, in);
	else if (p->len == 32)
		put_bytes(blocks + p->from, block, 32, count, in);
	else
		put_bytes(blocks + p->from, block, p->len, count, in);
}

/* Twelve bytes hold eight scales of sub-blocks, then eight minimums, of six bits each. */
void sixes_part(const uint8_t *bytes, uint8_t *numbers)
{
	for (unsigned i = 0; i < 4; i++) {
		numbers[i] = bytes[i] & 63;
		numbers[4 + i] = (uint8_t)((bytes[8 + i] & 15) | bytes[i] >> 6 << 4);
		numbers[8 + i] = bytes[4 + i] & 63;
		numbers[12 + i] = (uint8_t)(bytes[8 + i] >> 4 | bytes[4 + i] >> 6 << 4);
	}
}

void sixes_join(const uint8_t *numbers, uint8_t *bytes)
{
	for (unsigned i = 0; i < 4; i++) {
		bytes[i] = (uint8_t)(numbers[i] | numbers[4 + i] >> 4 << 6);
		bytes[4 + i] = (uint8_t)(numbers[8 + i] | numbers[12 + i] >> 4 << 6);
		bytes[8 + i] = (uint8_t)((numbers[4 + i] & 15) | numbers[12 + i] << 4);
	}
}

void numbers_take(const struct place *p, size_t block, const uint8_t *blocks, size_t count,
		  uint8_t *numbers)
{
	if (p->kind == FIELD_SIXES)
		for (const uint8_t *at = blocks + p->from; count--; at += block, numbers += SIXES)
			sixes_part(at, numbers);
	else if (p->kind != FIELD_NIBBLES)
		bytes_take(p, block, blocks, count, numbers);
	else if (p->len == 16)
		take_nibbles(blocks + p->from, block, 16, count, numbers);
	else
		take_nibbles(blocks + p->from, block, p->len, count, numbers);
}

void numbers_put(const struct place *p, size_t block, const uint8_t *numbers, size_t count,
		 uint8_t *blocks)
{
	if (p->kind == FIELD_SIXES)
		for (uint8_t *at = blocks + p->from; count--; at += block, numbers += SIXES)
			sixes_join(numbers, at);
	else if (p->kind != FIELD_NIBBLES)
		bytes_put(p, block, numbers, count, blocks);
	else if (p->len == 16)
		put_nibbles(blocks + p->from, block, 16, count, numbers);
	else
		put_nibbles(blocks + p->from, block, p->len, count, numbers);
}

/* ---- quants that have a scale: where do the old values lie on the new one? ---- */

/* Rounded towards zero.  Nearly always a double holds both, and divides in a fraction of the time: a
 * quotient that is not whole lies 1 / b at least from the next whole number, which below 2^52 is more than
 * rounding can bridge, so that cutting it off gives what whole numbers give, on every machine. */
static int64_t quotient(int64_t a, int64_t b)
{
	if (a > -EXACT && a < EXACT && b > -EXACT && b < EXACT)
		return (int64_t)((double)a / (double)b);
	return a / b;
}

/* By what quants grow when their unit was old and is new, and are moved when the value of 0 was so much
 * lower.  What cannot be told, since it is too much, is 1 and 0. */
static struct shift shift_of(int64_t old, int64_t new, int64_t lower)
{
	const int64_t ratio = new ? quotient(old * SHIFT_ONE, new) : INT64_MAX;
	const int64_t by = !new ? INT64_MAX : lower ? quotient(lower * SHIFT_STEPS, new) : 0;
	if (ratio > INT16_MAX || ratio < -INT16_MAX || by > SHIFT_MAX || by < -SHIFT_MAX)
		return (struct shift){SHIFT_ONE, 0};
	return (struct shift){(int16_t)ratio, (int16_t)by};
}

static int64_t half_whole(const uint8_t *p)
{
	const unsigned bits = p[0] | (unsigned)p[1] << 8;
	return bits & 0x8000 ? -half_size(bits) : half_size(bits);
}

/* All of these: the shifts of a block's groups. */

static void shift_by_scale(const uint8_t *old, const uint8_t *new, struct shift *ret)
{
	ret[0] = shift_of(half_whole(old), half_whole(new), 0);
}

/* The scales of sub-blocks, and their minimums, have a scale each. */
static void shift_by_scales(const uint8_t *old, const uint8_t *new, struct shift *ret)
{
	ret[0] = shift_of(half_whole(old), half_whole(new), 0);
	ret[1] = shift_of(half_whole(old + 2), half_whole(new + 2), 0);
}

static void shift_by_parts(const uint8_t *old, const uint8_t *new, struct shift *ret)
{
	uint8_t a[SIXES], b[SIXES];
	sixes_part(old + 4, a);
	sixes_part(new + 4, b);
	const int64_t from = half_whole(old), to = half_whole(new);
	const int64_t least_from = half_whole(old + 2), least_to = half_whole(new + 2);
	for (unsigned i = 0; i < SIXES / 2; i++)
		ret[i] = shift_of(from * a[i], to * b[i],
				  least_to * b[SIXES / 2 + i] - least_from * a[SIXES / 2 + i]);
}

static const struct scale scales[] = {
	{ELEMENT_Q8_0, FIELD_BYTES, 1, 32, 0, -128, 127, -127, 127, shift_by_scale},
	{ELEMENT_Q4_0, FIELD_NIBBLES, 1, 32, 8, -8, 7, -8, 127, shift_by_scale},
	{ELEMENT_Q4_K, FIELD_SIXES, 2, 8, 0, 0, 63, -1, 63, shift_by_scales},
	{ELEMENT_Q4_K, FIELD_NIBBLES, 8, 32, 0, 0, 15, 0, 15, shift_by_parts},
	{ELEMENT_Q5_K, FIELD_SIXES, 2, 8, 0, 0, 63, -1, 63, shift_by_scales},
};

static const struct scale *scale_of(uint8_t type, uint8_t kind)
{
	for (size_t i = 0; i < COUNT_OF(scales); i++)
		if (scales[i].type == type && scales[i].kind == kind)
			return &scales[i];
	return NULL;
}

static void expect_group(const struct scale *s, struct shift shift, uint8_t *restrict number,
			 uint8_t *restrict turned, uint8_t *restrict context)
{
	for (unsigned i = 0; i < s->numbers; i++) {
		const int q = (int)(int8_t)(number[i] - s->zero); /* with its sign */
		const int exact = ((q * shift.ratio + 128) >> 8) + shift.by;
		int guess = (exact + SHIFT_STEPS / 2) >> 6;
		const int off = exact - guess * SHIFT_STEPS, far = off < 0 ? -off : off;
		const int coarse = 6 + (far >> 2);
		const bool extreme = q >= s->high || q <= s->low;
		guess = guess < s->least ? s->least : guess > s->most ? s->most : guess;
		number[i] = (uint8_t)((extreme ? q : guess) + s->zero);
		turned[i] = off < 0 && !extreme ? 255 : 0;
		context[i] = (uint8_t)(extreme ? EXPECT_EXTREME : far < coarse ? far : coarse);
	}
}

static void expect_scaled(const struct scale *s, const struct blocks *b, struct expected *ret, bool plain)
{
	const size_t block = element_block(b->type), groups = b->count * s->groups;
	struct shift shifts[EXPECT_MAX / EXPECT_GROUP_MIN];
	for (size_t k = 0; k < b->count; k++)
		s->shifts(b->old + k * block, b->new + k * block, shifts + k * s->groups);
	size_t k = 0;
#ifdef EXPECT_HAS_AVX2
	if (!plain && __builtin_cpu_supports("avx2"))
		k = expect_scaled_avx2(s, shifts, groups, ret);
#endif
	(void)plain;
	for (size_t at = k * s->numbers; k < groups; k++, at += s->numbers)
		expect_group(s, shifts[k], ret->number + at, ret->turned + at, ret->context + at);
}

/* ---- the others: nothing is known but the old number, and of bits where they lie ---- */

static void contexts_by_number(uint8_t kind, struct expected *ret, size_t n)
{
	const unsigned drop = kind == FIELD_NIBBLES ? 0 : kind == FIELD_SIXES ? 2 : 4;
	for (size_t i = 0; i < n; i++)
		ret->context[i] = ret->number[i] >> drop;
}

static void contexts_by_place(size_t len, struct expected *ret, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ret->context[i] = len <= RANS_CONTEXTS ? (uint8_t)(i % len) : 0;
}

void expect_numbers(const struct blocks *b, const struct place *p, struct expected *ret, bool plain)
{
	const struct scale *scale = scale_of(b->type, p->kind);
	const size_t n = b->count * place_numbers(p);
	numbers_take(p, element_block(b->type), b->old, b->count, ret->number);
	if (scale) {
		expect_scaled(scale, b, ret, plain);
		return;
	}
	memset(ret->turned, 0, n);
	if (p->kind == FIELD_BITS)
		contexts_by_place(p->len, ret, n);
	else
		contexts_by_number(p->kind, ret, n);
}

/* ---- words ---- */

/* Bits of a float behind its exponent. */
static unsigned fraction_bits(uint8_t type, uint8_t kind)
{
	if (kind == FIELD_FLOAT16)
		return type == ELEMENT_BF16 ? 7 : 10;
	return kind == FIELD_FLOAT32 ? 23 : 52;
}

INLINE unsigned exponent(const uint8_t *p, unsigned width, unsigned fraction)
{
	uint16_t high; /* it lies within the highest two bytes */
	memcpy(&high, p + width - 2, 2);
	return (le16toh(high) & 0x7fffu) >> (fraction - 8 * (width - 2));
}

uint16_t expect_top(uint8_t type, uint8_t kind, const uint8_t *words, size_t n)
{
	uint32_t counts[2048] = {0};
	const unsigned width = field_width(kind), fraction = fraction_bits(type, kind);
	if (kind < FIELD_FLOAT16)
		return 0;
	for (size_t i = 0; i < n; i++)
		counts[exponent(words + i * width, width, fraction)]++;
	unsigned top = 2047;
	for (size_t above = counts[top]; top && above <= n / RARE; above += counts[--top])
		;
	return (uint16_t)top;
}

INLINE void
contexts_by_exponent(uint16_t top, const uint8_t *restrict words, size_t n, unsigned width,
		     unsigned fraction, uint8_t *restrict context)
{
	for (size_t i = 0; i < n; i++) {
		const int below = top - (int)exponent(words + i * width, width, fraction);
		const int most = RANS_CONTEXTS - 1;
		context[i] = (uint8_t)(below < 0 ? 0 : below > most ? most : below);
	}
}

void expect_words(uint8_t type, uint8_t kind, uint16_t top, const uint8_t *words, size_t n, uint8_t *context)
{
	if (kind == FIELD_FLOAT16 && type == ELEMENT_BF16)
		contexts_by_exponent(top, words, n, 2, 7, context);
	else if (kind == FIELD_FLOAT16)
		contexts_by_exponent(top, words, n, 2, 10, context);
	else if (kind == FIELD_FLOAT32)
		contexts_by_exponent(top, words, n, 4, 23, context);
	else if (kind == FIELD_FLOAT64)
		contexts_by_exponent(top, words, n, 8, 52, context);
	else
		memset(context, 0, n);
}
