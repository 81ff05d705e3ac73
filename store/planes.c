#include "store/planes.h"

#include "store/element.h"
#include "store/layout.h"

#include <string.h>

bool planes_known(uint8_t type)
{
	return layout_of(type) != NULL;
}

/* ---- one field of all blocks; inlined with constant widths, so that loops over single numbers become
 * vector instructions ---- */

static inline uint64_t load(const uint8_t *p, unsigned width)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < width; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline void store(uint8_t *p, uint64_t v, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t turn_left(uint64_t v, unsigned width)
{
	return v << 1 | v >> (8 * width - 1);
}

static inline uint64_t turn_right(uint64_t v, unsigned width)
{
	return v >> 1 | (v & 1) << (8 * width - 1);
}

struct run {
	const struct field *field;
	size_t blocks, block; /* how many, of how many bytes */
	bool turn;
};

static inline __attribute__((always_inline)) void
split_words(const struct run *r, const uint8_t *raw, uint8_t *out, unsigned width, bool turn)
{
	const size_t each = r->field->len / width, all = each * r->blocks;
	for (size_t b = 0; b < r->blocks; b++)
		for (size_t k = 0; k < each; k++) {
			uint64_t v = load(raw + b * r->block + k * width, width);
			if (turn)
				v = turn_left(v, width);
			for (unsigned i = 0; i < width; i++)
				out[i * all + b * each + k] = (uint8_t)(v >> (8 * (width - 1 - i)));
		}
}

static inline __attribute__((always_inline)) void
join_words(const struct run *r, const uint8_t *planes, uint8_t *out, unsigned width, bool turn)
{
	const size_t each = r->field->len / width, all = each * r->blocks;
	for (size_t b = 0; b < r->blocks; b++)
		for (size_t k = 0; k < each; k++) {
			uint64_t v = 0;
			for (unsigned i = 0; i < width; i++)
				v = v << 8 | planes[i * all + b * each + k];
			store(out + b * r->block + k * width, turn ? turn_right(v, width) : v, width);
		}
}

/* Whole files of these: the loop that matters most, plain enough for the compiler. */
static void split_halves(const uint8_t *restrict raw, size_t count, uint8_t *restrict high,
			 uint8_t *restrict low)
{
	for (size_t i = 0; i < count; i++) {
		const uint16_t v = (uint16_t)(raw[2 * i] | raw[2 * i + 1] << 8);
		const uint16_t t = (uint16_t)(v << 1 | v >> 15);
		high[i] = (uint8_t)(t >> 8);
		low[i] = (uint8_t)t;
	}
}

static void join_halves(const uint8_t *restrict high, const uint8_t *restrict low, size_t count,
			uint8_t *restrict out)
{
	for (size_t i = 0; i < count; i++) {
		const uint16_t t = (uint16_t)(high[i] << 8 | low[i]);
		const uint16_t v = (uint16_t)(t >> 1 | t << 15);
		out[2 * i] = (uint8_t)v;
		out[2 * i + 1] = (uint8_t)(v >> 8);
	}
}

static bool is_float(uint8_t kind)
{
	return kind >= FIELD_FLOAT16;
}

static void split_field(const struct run *r, const uint8_t *raw, uint8_t *out)
{
	const bool turn = r->turn && is_float(r->field->kind);
	switch (field_width(r->field->kind)) {
	case 1:
		for (size_t b = 0; b < r->blocks; b++)
			memcpy(out + b * r->field->len, raw + b * r->block, r->field->len);
		break;
	case 2:
		if (r->block == 2 && turn)
			split_halves(raw, r->blocks, out, out + r->blocks);
		else if (turn)
			split_words(r, raw, out, 2, true);
		else
			split_words(r, raw, out, 2, false);
		break;
	case 4:
		if (turn)
			split_words(r, raw, out, 4, true);
		else
			split_words(r, raw, out, 4, false);
		break;
	default:
		split_words(r, raw, out, 8, turn);
	}
}

static void join_field(const struct run *r, const uint8_t *planes, uint8_t *out)
{
	const bool turn = r->turn && is_float(r->field->kind);
	switch (field_width(r->field->kind)) {
	case 1:
		for (size_t b = 0; b < r->blocks; b++)
			memcpy(out + b * r->block, planes + b * r->field->len, r->field->len);
		break;
	case 2:
		if (r->block == 2 && turn)
			join_halves(planes, planes + r->blocks, r->blocks, out);
		else if (turn)
			join_words(r, planes, out, 2, true);
		else
			join_words(r, planes, out, 2, false);
		break;
	case 4:
		if (turn)
			join_words(r, planes, out, 4, true);
		else
			join_words(r, planes, out, 4, false);
		break;
	default:
		join_words(r, planes, out, 8, turn);
	}
}

/* ---- all of them ---- */

unsigned planes_ends(uint8_t type, size_t len, size_t ret_ends[static PLANES_MAX])
{
	const size_t blocks = len / element_block(type);
	const struct field *fields = layout_of(type);
	size_t at = 0;
	unsigned count = 0;
	for (unsigned f = 0; blocks && f < LAYOUT_FIELDS && fields[f].kind; f++) {
		const unsigned width = field_width(fields[f].kind);
		for (unsigned i = 0; i < width; i++)
			ret_ends[count++] = at += fields[f].len / width * blocks;
	}
	if (at < len)
		ret_ends[count++] = len;
	return count;
}

unsigned planes_split(uint8_t type, enum planes_turn turn, const uint8_t *raw, size_t len,
		      uint8_t *out, size_t ret_ends[static PLANES_MAX])
{
	const size_t block = element_block(type), blocks = len / block;
	const struct field *fields = layout_of(type);
	size_t at = 0, from = 0;
	for (unsigned f = 0; blocks && f < LAYOUT_FIELDS && fields[f].kind; f++) {
		split_field(&(struct run){&fields[f], blocks, block, turn == PLANES_TURNED},
			    raw + from, out + at);
		at += fields[f].len * blocks;
		from += fields[f].len;
	}
	memcpy(out + at, raw + at, len - at);
	return planes_ends(type, len, ret_ends);
}

void planes_join(uint8_t type, enum planes_turn turn, const uint8_t *planes, size_t len,
		 uint8_t *out)
{
	const size_t block = element_block(type), blocks = len / block;
	const struct field *fields = layout_of(type);
	size_t at = 0, from = 0;
	for (unsigned f = 0; blocks && f < LAYOUT_FIELDS && fields[f].kind; f++) {
		join_field(&(struct run){&fields[f], blocks, block, turn == PLANES_TURNED},
			   planes + at, out + from);
		at += fields[f].len * blocks;
		from += fields[f].len;
	}
	memcpy(out + at, planes + at, len - at);
}
