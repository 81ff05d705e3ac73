#include "store/likeness.h"

#include "store/element.h"
#include "store/layout.h"

#include <stddef.h>

#define CLOSE (LIKENESS_BITS / 4)
#define TELLING (LIKENESS_BITS / 8) /* fewer bits set, or not set, tell nothing */

/* The field of a block that has most of its numbers, and where. */
struct numbers {
	const struct field *field;
	uint32_t at, count; /* in a block; 0: there is none */
};

static uint32_t numbers_in(const struct field *f)
{
	if (f->kind == FIELD_BITS)
		return 0;
	return f->len / field_width(f->kind) * (f->kind == FIELD_NIBBLES ? 2 : 1);
}

static struct numbers numbers_of(uint8_t type)
{
	struct numbers best = {NULL, 0, 0};
	const struct field *layout = layout_of(type);
	uint32_t at = 0;
	for (unsigned i = 0; layout && i < LAYOUT_FIELDS && layout[i].kind != FIELD_NONE; i++) {
		const uint32_t count = numbers_in(&layout[i]);
		if (count > best.count)
			best = (struct numbers){&layout[i], at, count};
		at += layout[i].len;
	}
	return best;
}

uint32_t likeness_needs(uint8_t type)
{
	const struct numbers n = numbers_of(type);
	if (!n.count)
		return 0;
	const uint32_t bytes = (LIKENESS_BITS + n.count - 1) / n.count * element_block(type);
	return bytes <= LIKENESS_BYTES_MAX ? bytes : 0;
}

/* A little-endian number of width bytes, of the longer ones the upper four, such that greater ones are
 * greater. */
static int64_t ordered(const uint8_t *p, unsigned width, bool is_float)
{
	uint32_t bits = 0;
	for (unsigned i = 0; i < width && i < 4; i++)
		bits |= (uint32_t)p[width - 1 - i] << (24 - 8 * i);
	if (bits < 1u << 31)
		return bits;
	return is_float ? -(int64_t)(bits & 0x7fffffff) : (int64_t)(int32_t)bits;
}

static int64_t number(const struct field *f, const uint8_t *at, uint32_t i)
{
	const unsigned width = field_width(f->kind);
	if (f->kind == FIELD_NIBBLES)
		return i < f->len ? at[i] & 15 : at[i - f->len] >> 4;
	return ordered(at + (size_t)i * width, width,
		       f->kind == FIELD_FLOAT16 || f->kind == FIELD_FLOAT32 ||
			       f->kind == FIELD_FLOAT64);
}

bool likeness_of(struct likeness *ret_likeness, uint8_t type, const uint8_t *bytes)
{
	const struct numbers n = numbers_of(type);
	int64_t values[LIKENESS_BITS], sum = 0;
	struct likeness l = {{0}};
	unsigned set = 0;
	if (!n.count)
		return false;
	for (uint32_t i = 0; i < LIKENESS_BITS; i++) {
		const uint8_t *block = bytes + (size_t)(i / n.count) * element_block(type);
		values[i] = number(n.field, block + n.at, i % n.count);
		sum += values[i];
	}
	for (unsigned i = 0; i < LIKENESS_BITS; i++)
		if (values[i] * (int64_t)LIKENESS_BITS > sum) {
			l.bands[i / 16] |= (uint16_t)(1u << i % 16);
			set++;
		}
	if (set < TELLING || set > LIKENESS_BITS - TELLING)
		return false;
	*ret_likeness = l;
	return true;
}

unsigned likeness_distance(const struct likeness *a, const struct likeness *b)
{
	unsigned bits = 0;
	for (unsigned i = 0; i < LIKENESS_BANDS; i++)
		bits += (unsigned)__builtin_popcount(a->bands[i] ^ b->bands[i]);
	return bits;
}

bool likeness_close(const struct likeness *a, const struct likeness *b)
{
	return likeness_distance(a, b) <= CLOSE;
}
