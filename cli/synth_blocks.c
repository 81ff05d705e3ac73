/* Rows in the block formats of ggml (ggml-common.h), quantized as its reference code does. */
#include "cli/synth.h"

#include <math.h>

#define BLOCK 32
#define SUPER 256

static void put_u16(uint8_t *out, uint16_t value)
{
	out[0] = (uint8_t)value;
	out[1] = (uint8_t)(value >> 8);
}

/* IEEE 754 binary16, ties to even; weights are far from its largest. */
static uint16_t half_of(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	const uint32_t sign = bits >> 16 & 0x8000;
	const int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
	const uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
	if (exponent >= 31)
		return (uint16_t)(sign | 0x7c00);
	if (exponent < -10)
		return (uint16_t)sign;
	/* Below the least normal number the hidden bit becomes one of the mantissa's. */
	const unsigned drop = exponent > 0 ? 13 : (unsigned)(14 - exponent);
	const uint32_t kept = mantissa >> drop, rest = mantissa & ((1u << drop) - 1);
	const uint32_t half = 1u << (drop - 1);
	const uint32_t round = rest > half || (rest == half && (kept & 1));
	const uint32_t base = exponent > 0 ? (uint32_t)(exponent - 1) << 10 : 0;
	return (uint16_t)(sign | (base + kept + round));
}

static float float_of_half(uint16_t bits)
{
	const float mantissa = (float)(bits & 0x3ff) / 1024;
	const int exponent = bits >> 10 & 0x1f;
	const float value = exponent ? ldexpf(1 + mantissa, exponent - 15) : ldexpf(mantissa, -14);
	return bits & 0x8000 ? -value : value;
}

/* To the nearest integer, ties to even; |value| is below 2^22.  The sum's last bits are the integer. */
static int nearest(float value)
{
	const float sum = value + 12582912.0f;
	uint32_t bits;
	memcpy(&bits, &sum, sizeof(bits));
	return (int)(bits & 0x7fffff) - 0x400000;
}

static int clamped(int value, int max)
{
	return value < 0 ? 0 : value > max ? max : value;
}

static void put_f16(const float *row, unsigned cols, uint8_t *out)
{
	for (unsigned i = 0; i < cols; i++)
		put_u16(out + (size_t)i * 2, half_of(row[i]));
}

/* The numbers are bf16's: nothing is lost. */
static void put_bf16(const float *row, unsigned cols, uint8_t *out)
{
	for (unsigned i = 0; i < cols; i++) {
		uint32_t bits;
		memcpy(&bits, &row[i], sizeof(bits));
		put_u16(out + (size_t)i * 2, (uint16_t)(bits >> 16));
	}
}

/* f16 scale d = max|x| / 127, then 32 signed bytes round(x / d). */
static void put_q8_0(const float *row, uint8_t *out)
{
	float max = 0;
	for (unsigned i = 0; i < BLOCK; i++)
		max = fmaxf(max, fabsf(row[i]));
	const float d = max / 127, inverse = d > 0 ? 1 / d : 0;
	put_u16(out, half_of(d));
	for (unsigned i = 0; i < BLOCK; i++)
		out[2 + i] = (uint8_t)nearest(row[i] * inverse);
}

/* f16 scale d = (the value of largest magnitude) / -8, then 16 bytes: value i in the low, value i + 16 in
 * the high nibble, each (x / d + 8.5) cut off. */
static void put_q4_0(const float *row, uint8_t *out)
{
	float far = 0;
	for (unsigned i = 0; i < BLOCK; i++)
		if (fabsf(row[i]) > fabsf(far))
			far = row[i];
	const float d = far / -8, inverse = d != 0 ? 1 / d : 0;
	put_u16(out, half_of(d));
	for (unsigned i = 0; i < BLOCK / 2; i++) {
		const int low = clamped((int)(row[i] * inverse + 8.5f), 15);
		const int high = clamped((int)(row[BLOCK / 2 + i] * inverse + 8.5f), 15);
		out[2 + i] = (uint8_t)(low | high << 4);
	}
}

/* ---- q4_K: eight blocks of 32 with a scale and a minimum of 6 bits each, in units of two f16 ---- */

struct range {
	float scale, min; /* x = scale * q - min */
};

static struct range range_of(const float *x)
{
	float low = 0, high = x[0];
	for (unsigned i = 0; i < BLOCK; i++) {
		low = fminf(low, x[i]);
		high = fmaxf(high, x[i]);
	}
	return (struct range){(high - low) / 15, -low};
}

/* Six bits each: of the first four in a byte, of the last four spread over what that leaves. */
static void put_scales(uint8_t *out, const uint8_t scales[static 8], const uint8_t mins[static 8])
{
	for (unsigned i = 0; i < 4; i++) {
		out[i] = (uint8_t)(scales[i] | scales[i + 4] >> 4 << 6);
		out[i + 4] = (uint8_t)(mins[i] | mins[i + 4] >> 4 << 6);
		out[i + 8] = (uint8_t)((scales[i + 4] & 15) | (mins[i + 4] & 15) << 4);
	}
}

static void put_q4_K(const float *row, uint8_t *out)
{
	struct range ranges[8], most = {0, 0};
	uint8_t scales[8], mins[8];
	for (unsigned b = 0; b < 8; b++) {
		ranges[b] = range_of(row + (size_t)b * BLOCK);
		most.scale = fmaxf(most.scale, ranges[b].scale);
		most.min = fmaxf(most.min, ranges[b].min);
	}
	const uint16_t d = half_of(most.scale / 63), dmin = half_of(most.min / 63);
	for (unsigned b = 0; b < 8; b++) {
		scales[b] = (uint8_t)(most.scale > 0 ? nearest(63 * ranges[b].scale / most.scale) : 0);
		mins[b] = (uint8_t)(most.min > 0 ? nearest(63 * ranges[b].min / most.min) : 0);
	}
	put_u16(out, d);
	put_u16(out + 2, dmin);
	put_scales(out + 4, scales, mins);
	for (unsigned b = 0; b < 8; b++) {
		const float scale = float_of_half(d) * (float)scales[b];
		const float min = float_of_half(dmin) * (float)mins[b];
		uint8_t *q = out + 16 + (size_t)(b / 2) * BLOCK;
		for (unsigned i = 0; i < BLOCK; i++) {
			const float x = row[b * BLOCK + i] + min;
			const int quant = scale > 0 ? clamped(nearest(x / scale), 15) : 0;
			q[i] = (uint8_t)(b % 2 ? q[i] | quant << 4 : quant);
		}
	}
}

/* ---- any ---- */

static const struct {
	unsigned values, bytes; /* of a block */
	void (*put)(const float *block, uint8_t *out);
} formats[TIERS] = {
	[TIER_F16] = {1, 2, NULL},
	[TIER_BF16] = {1, 2, NULL},
	[TIER_Q8_0] = {BLOCK, 2 + BLOCK, put_q8_0},
	[TIER_Q4_0] = {BLOCK, 2 + BLOCK / 2, put_q4_0},
	[TIER_Q4_K] = {SUPER, 16 + SUPER / 2, put_q4_K},
};

size_t blocks_bytes(enum tier tier, unsigned cols)
{
	return cols % formats[tier].values ? 0 : (size_t)cols / formats[tier].values * formats[tier].bytes;
}

void blocks_put(enum tier tier, const float *row, unsigned cols, uint8_t *out)
{
	if (tier == TIER_F16)
		put_f16(row, cols, out);
	else if (tier == TIER_BF16)
		put_bf16(row, cols, out);
	for (unsigned at = 0; formats[tier].put && at < cols; at += formats[tier].values) {
		formats[tier].put(row + at, out);
		out += formats[tier].bytes;
	}
}
