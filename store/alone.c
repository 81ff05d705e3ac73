#include "store/alone.h"

#include "base/cc.h"
#include "store/element.h"
#include "store/expect.h"
#include "store/half.h"
#include "store/layout.h"
#include "store/rans.h"

#include <stdbool.h>
#include <string.h>

#define UNIT_MAX (1u << 24) /* larger ones, which are scales of 1 and more, count as this */

static const struct alone alones[] = {
	{ELEMENT_Q8_0, FIELD_BYTES, 1, 1, {0x7f}, {3}}, /* 127, -128, -127 */
	{ELEMENT_Q4_0, FIELD_NIBBLES, 1, 1, {0}, {1}},
	{ELEMENT_Q4_K, FIELD_NIBBLES, SIXES_PARTS, 2, {0, 15}, {1, 1}},
};

const struct alone *alone_of(uint8_t type, uint8_t kind)
{
	for (size_t i = 0; i < COUNT_OF(alones); i++)
		if (alones[i].type == type && alones[i].kind == kind)
			return &alones[i];
	return NULL;
}

static inline uint32_t limited(int64_t unit)
{
	return unit < UNIT_MAX ? (uint32_t)unit : UNIT_MAX;
}

/* Halves that were turned and parted: the size of number k of n, limited. */
static uint32_t half_at(const uint8_t *planes, size_t n, size_t k)
{
	return limited(half_size((planes[k] << 8 | planes[n + k]) >> 1));
}

static void ends_repeat(uint32_t *units, size_t n)
{
	for (size_t i = 0; i < ALONE_NEIGHBOURS; i++) {
		units[i] = units[ALONE_NEIGHBOURS];
		units[ALONE_NEIGHBOURS + n + i] = units[ALONE_NEIGHBOURS + n - 1];
	}
}

/* How many of the limits, in sixteenths, a unit exceeds beside the mean of its neighbours: at is theirs
 * that is farthest before. */
static inline unsigned above(const uint32_t *at, const uint8_t *limits, unsigned count)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i <= 2 * ALONE_NEIGHBOURS; i++)
		sum += at[i];
	const uint32_t own = at[ALONE_NEIGHBOURS], mine = 16 * 2 * ALONE_NEIGHBOURS * own;
	unsigned n = 0;
	for (unsigned i = 0; i < count; i++)
		n += mine > limits[i] * (sum - own);
	return n;
}

static void contexts_by_unit(const uint8_t *planes, size_t n, uint32_t *units, uint8_t *ret)
{
	static const uint8_t limits[] = {13, 15, 17, 20};
	for (size_t k = 0; k < n; k++)
		units[ALONE_NEIGHBOURS + k] = half_at(planes, n, k);
	ends_repeat(units, n);
	for (size_t k = 0; k < n; k++)
		ret[k] = (uint8_t)above(units + k, limits, COUNT_OF(limits));
}

/* Zero is number m / u.  Which of four regions that is, and whether it is nearer to the upper end. */
static inline uint8_t zero_at(int32_t u, int32_t m, uint8_t *ret_turned)
{
	const bool turned = 2 * m > 15 * u;
	const int32_t from = 8 * (turned ? 15 * u - m : m); /* in eighths */
	*ret_turned = turned ? 15 : 0;
	return (uint8_t)((from > 49 * u) + (from > 54 * u) + (from > 58 * u));
}

static void contexts_by_parts(const uint8_t *planes, size_t blocks, uint32_t *units, uint8_t *ret,
			      uint8_t *ret_turned)
{
	static const uint8_t limits[] = {14, 18};
	const uint8_t *sixes = planes + 4 * blocks;
	const size_t n = blocks * SIXES_PARTS;
	for (size_t b = 0; b < blocks; b++) {
		uint8_t six[2 * SIXES_PARTS];
		const uint32_t scale = half_at(planes, blocks, b);
		const uint32_t minimum = half_at(planes + 2 * blocks, blocks, b);
		sixes_part(sixes + b * SIXES_LEN, six);
		for (size_t i = 0, k = b * SIXES_PARTS; i < SIXES_PARTS; i++, k++) {
			const uint32_t unit = limited(scale * six[i]);
			const uint32_t least = limited(minimum * six[SIXES_PARTS + i]);
			units[ALONE_NEIGHBOURS + k] = unit;
			ret[k] = zero_at((int32_t)unit, (int32_t)least, &ret_turned[k]);
		}
	}
	ends_repeat(units, n);
	for (size_t k = 0; k < n; k++)
		ret[k] = (uint8_t)(ret[k] * (COUNT_OF(limits) + 1) + above(units + k, limits, COUNT_OF(limits)));
}

void alone_contexts(const struct alone *alone, const uint8_t *planes, size_t blocks, uint32_t *units,
		    uint8_t *ret_context, uint8_t *ret_turned)
{
	if (alone->type == ELEMENT_Q4_K) {
		contexts_by_parts(planes, blocks, units, ret_context, ret_turned);
		return;
	}
	memset(ret_turned, 0, blocks);
	/* Of eight bits tables cost more than they save. */
	if (alone->type == ELEMENT_Q8_0)
		memset(ret_context, 0, blocks);
	else
		contexts_by_unit(planes, blocks, units, ret_context);
}

void alone_places(const struct alone *alone, const uint8_t *numbers, uint8_t *ret_places)
{
	for (unsigned e = 0; e < alone->extremes; e++) {
		const uint8_t first = alone->first[e], span = alone->span[e];
		uint8_t place = ALONE_GROUP;
		for (unsigned i = 0; i < ALONE_GROUP; i++) {
			const uint8_t here = (uint8_t)(numbers[i] - first) < span ? (uint8_t)i : ALONE_GROUP;
			place = here < place ? here : place;
		}
		ret_places[e] = place;
	}
}

void alone_spread(const struct alone *alone, const uint8_t *context, const uint8_t *places, size_t groups,
		  uint8_t *ret_contexts)
{
	for (size_t g = 0; g < groups; g++, ret_contexts += ALONE_GROUP) {
		memset(ret_contexts, context[g], ALONE_GROUP);
		for (unsigned e = 0; e < alone->extremes; e++, places++)
			if (*places < ALONE_GROUP)
				ret_contexts[*places] = (uint8_t)(RANS_CONTEXTS - 1 - e);
	}
}
