#include "store/planes.h"

#include "base/cc.h"
#include "store/element.h"

#include <string.h>

#define FIELDS 5

enum kind {
	END,
	BYTES,	 /* one plane */
	WORDS2,	 /* integers of 2, 4, 8 bytes: a plane a byte, the highest first */
	WORDS4,
	WORDS8,
	FLOATS2, /* the same, turned left by a bit */
	FLOATS4,
	FLOATS8
};

/* A part of a block: what it is and how many bytes of it. */
struct field {
	uint8_t kind;
	uint16_t len;
};

/* Blocks as ggml lays them out (ggml-common.h), field by field. */
static const struct field layouts[][FIELDS] = {
	[ELEMENT_F32] = {{FLOATS4, 4}},
	[ELEMENT_F16] = {{FLOATS2, 2}},
	[ELEMENT_BF16] = {{FLOATS2, 2}},
	[ELEMENT_Q8_0] = {{FLOATS2, 2}, {BYTES, 32}},
	[ELEMENT_Q4_0] = {{FLOATS2, 2}, {BYTES, 16}},
	[ELEMENT_Q4_K] = {{FLOATS2, 2}, {FLOATS2, 2}, {BYTES, 12}, {BYTES, 128}},
	[ELEMENT_Q4_1] = {{FLOATS2, 2}, {FLOATS2, 2}, {BYTES, 16}},
	[ELEMENT_Q5_0] = {{FLOATS2, 2}, {BYTES, 4}, {BYTES, 16}},
	[ELEMENT_Q5_1] = {{FLOATS2, 2}, {FLOATS2, 2}, {BYTES, 4}, {BYTES, 16}},
	[ELEMENT_Q8_1] = {{FLOATS2, 2}, {FLOATS2, 2}, {BYTES, 32}},
	[ELEMENT_Q2_K] = {{BYTES, 16}, {BYTES, 64}, {FLOATS2, 2}, {FLOATS2, 2}},
	[ELEMENT_Q3_K] = {{BYTES, 32}, {BYTES, 64}, {BYTES, 12}, {FLOATS2, 2}},
	[ELEMENT_Q5_K] = {{FLOATS2, 2}, {FLOATS2, 2}, {BYTES, 12}, {BYTES, 32}, {BYTES, 128}},
	[ELEMENT_Q6_K] = {{BYTES, 128}, {BYTES, 64}, {BYTES, 16}, {FLOATS2, 2}},
	[ELEMENT_Q8_K] = {{FLOATS4, 4}, {BYTES, 256}, {WORDS2, 32}},
	[ELEMENT_IQ2_XXS] = {{FLOATS2, 2}, {BYTES, 64}},
	[ELEMENT_IQ2_XS] = {{FLOATS2, 2}, {BYTES, 64}, {BYTES, 8}},
	[ELEMENT_IQ3_XXS] = {{FLOATS2, 2}, {BYTES, 64}, {BYTES, 32}},
	[ELEMENT_IQ1_S] = {{FLOATS2, 2}, {BYTES, 32}, {BYTES, 16}},
	[ELEMENT_IQ4_NL] = {{FLOATS2, 2}, {BYTES, 16}},
	[ELEMENT_IQ3_S] = {{FLOATS2, 2}, {BYTES, 64}, {BYTES, 8}, {BYTES, 32}, {BYTES, 4}},
	[ELEMENT_IQ2_S] = {{FLOATS2, 2}, {BYTES, 64}, {BYTES, 8}, {BYTES, 8}},
	[ELEMENT_IQ4_XS] = {{FLOATS2, 2}, {BYTES, 2}, {BYTES, 4}, {BYTES, 128}},
	[ELEMENT_IQ1_M] = {{BYTES, 32}, {BYTES, 16}, {BYTES, 8}},
	[ELEMENT_TQ1_0] = {{BYTES, 48}, {BYTES, 4}, {FLOATS2, 2}},
	[ELEMENT_TQ2_0] = {{BYTES, 64}, {FLOATS2, 2}},
	[ELEMENT_MXFP4] = {{BYTES, 1}, {BYTES, 16}},
	[ELEMENT_I8] = {{BYTES, 1}},
	[ELEMENT_I16] = {{WORDS2, 2}},
	[ELEMENT_I32] = {{WORDS4, 4}},
	[ELEMENT_I64] = {{WORDS8, 8}},
	[ELEMENT_U8] = {{BYTES, 1}},
	[ELEMENT_U16] = {{WORDS2, 2}},
	[ELEMENT_U32] = {{WORDS4, 4}},
	[ELEMENT_U64] = {{WORDS8, 8}},
	[ELEMENT_F64] = {{FLOATS8, 8}},
	[ELEMENT_F8_E4M3] = {{BYTES, 1}},
	[ELEMENT_F8_E5M2] = {{BYTES, 1}},
	[ELEMENT_BOOL] = {{BYTES, 1}},
};

bool planes_known(uint8_t type)
{
	return type < COUNT_OF(layouts) && layouts[type][0].kind != END;
}

static unsigned width_of(enum kind kind)
{
	static const uint8_t widths[] = {
		[BYTES] = 1,   [WORDS2] = 2,  [WORDS4] = 4,  [WORDS8] = 8,
		[FLOATS2] = 2, [FLOATS4] = 4, [FLOATS8] = 8,
	};
	return widths[kind];
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

static void split_field(const struct run *r, const uint8_t *raw, uint8_t *out)
{
	switch ((enum kind)r->field->kind) {
	case END:
		break;
	case BYTES:
		for (size_t b = 0; b < r->blocks; b++)
			memcpy(out + b * r->field->len, raw + b * r->block, r->field->len);
		break;
	case WORDS2: split_words(r, raw, out, 2, false); break;
	case WORDS4: split_words(r, raw, out, 4, false); break;
	case WORDS8: split_words(r, raw, out, 8, false); break;
	case FLOATS2:
		if (r->block == 2)
			split_halves(raw, r->blocks, out, out + r->blocks);
		else
			split_words(r, raw, out, 2, true);
		break;
	case FLOATS4: split_words(r, raw, out, 4, true); break;
	case FLOATS8: split_words(r, raw, out, 8, true); break;
	}
}

static void join_field(const struct run *r, const uint8_t *planes, uint8_t *out)
{
	switch ((enum kind)r->field->kind) {
	case END:
		break;
	case BYTES:
		for (size_t b = 0; b < r->blocks; b++)
			memcpy(out + b * r->block, planes + b * r->field->len, r->field->len);
		break;
	case WORDS2: join_words(r, planes, out, 2, false); break;
	case WORDS4: join_words(r, planes, out, 4, false); break;
	case WORDS8: join_words(r, planes, out, 8, false); break;
	case FLOATS2:
		if (r->block == 2)
			join_halves(planes, planes + r->blocks, r->blocks, out);
		else
			join_words(r, planes, out, 2, true);
		break;
	case FLOATS4: join_words(r, planes, out, 4, true); break;
	case FLOATS8: join_words(r, planes, out, 8, true); break;
	}
}

/* ---- all of them ---- */

unsigned planes_split(uint8_t type, const uint8_t *raw, size_t len, uint8_t *out,
		      size_t ret_ends[static PLANES_MAX])
{
	const size_t block = element_block(type), blocks = len / block;
	size_t at = 0, from = 0;
	unsigned count = 0;
	for (unsigned f = 0; blocks && f < FIELDS && layouts[type][f].kind != END; f++) {
		const struct field *field = &layouts[type][f];
		const unsigned width = width_of((enum kind)field->kind);
		split_field(&(struct run){field, blocks, block}, raw + from, out + at);
		for (unsigned i = 0; i < width; i++)
			ret_ends[count++] = at += field->len / width * blocks;
		from += field->len;
	}
	if (at < len) {
		memcpy(out + at, raw + at, len - at);
		ret_ends[count++] = len;
	}
	return count;
}

void planes_join(uint8_t type, const uint8_t *planes, size_t len, uint8_t *out)
{
	const size_t block = element_block(type), blocks = len / block;
	size_t at = 0, from = 0;
	for (unsigned f = 0; blocks && f < FIELDS && layouts[type][f].kind != END; f++) {
		const struct field *field = &layouts[type][f];
		join_field(&(struct run){field, blocks, block}, planes + at, out + from);
		at += field->len * blocks;
		from += field->len;
	}
	if (at < len)
		memcpy(out + at, planes + at, len - at);
}
