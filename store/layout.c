#include "store/layout.h"

#include "base/cc.h"
#include "store/element.h"

#include <stddef.h>

#define HALF {FIELD_FLOAT16, 2}
#define BYTES(n) {FIELD_BYTES, n}
#define NIBBLES(n) {FIELD_NIBBLES, n}
#define SIXES {FIELD_SIXES, 12}
#define BITS(n) {FIELD_BITS, n}

static const struct field layouts[][LAYOUT_FIELDS] = {
	[ELEMENT_F32] = {{FIELD_FLOAT32, 4}},
	[ELEMENT_F16] = {HALF},
	[ELEMENT_BF16] = {HALF},
	[ELEMENT_Q8_0] = {HALF, BYTES(32)},
	[ELEMENT_Q4_0] = {HALF, NIBBLES(16)},
	[ELEMENT_Q4_K] = {HALF, HALF, SIXES, NIBBLES(128)},
	[ELEMENT_Q4_1] = {HALF, HALF, NIBBLES(16)},
	[ELEMENT_Q5_0] = {HALF, BITS(4), NIBBLES(16)},
	[ELEMENT_Q5_1] = {HALF, HALF, BITS(4), NIBBLES(16)},
	[ELEMENT_Q8_1] = {HALF, HALF, BYTES(32)},
	[ELEMENT_Q2_K] = {NIBBLES(16), BITS(64), HALF, HALF},
	[ELEMENT_Q3_K] = {BITS(32), BITS(64), BITS(12), HALF},
	[ELEMENT_Q5_K] = {HALF, HALF, SIXES, BITS(32), NIBBLES(128)},
	[ELEMENT_Q6_K] = {NIBBLES(128), BITS(64), BYTES(16), HALF},
	[ELEMENT_Q8_K] = {{FIELD_FLOAT32, 4}, BYTES(256), {FIELD_INT16, 32}},
	[ELEMENT_IQ2_XXS] = {HALF, BITS(64)},
	[ELEMENT_IQ2_XS] = {HALF, BITS(64), NIBBLES(8)},
	[ELEMENT_IQ3_XXS] = {HALF, BITS(64), BITS(32)},
	[ELEMENT_IQ1_S] = {HALF, BITS(32), BITS(16)},
	[ELEMENT_IQ4_NL] = {HALF, NIBBLES(16)},
	[ELEMENT_IQ3_S] = {HALF, BITS(64), BITS(8), BITS(32), NIBBLES(4)},
	[ELEMENT_IQ2_S] = {HALF, BITS(64), BITS(8), NIBBLES(8)},
	[ELEMENT_IQ4_XS] = {HALF, BITS(2), NIBBLES(4), NIBBLES(128)},
	[ELEMENT_IQ1_M] = {BITS(32), BITS(16), BITS(8)},
	[ELEMENT_TQ1_0] = {BITS(48), BITS(4), HALF},
	[ELEMENT_TQ2_0] = {BITS(64), HALF},
	[ELEMENT_MXFP4] = {BYTES(1), NIBBLES(16)},
	[ELEMENT_I8] = {BYTES(1)},
	[ELEMENT_I16] = {{FIELD_INT16, 2}},
	[ELEMENT_I32] = {{FIELD_INT32, 4}},
	[ELEMENT_I64] = {{FIELD_INT64, 8}},
	[ELEMENT_U8] = {BYTES(1)},
	[ELEMENT_U16] = {{FIELD_INT16, 2}},
	[ELEMENT_U32] = {{FIELD_INT32, 4}},
	[ELEMENT_U64] = {{FIELD_INT64, 8}},
	[ELEMENT_F64] = {{FIELD_FLOAT64, 8}},
	[ELEMENT_F8_E4M3] = {BYTES(1)},
	[ELEMENT_F8_E5M2] = {BYTES(1)},
	[ELEMENT_BOOL] = {BITS(1)},
};

const struct field *layout_of(uint8_t type)
{
	return type < COUNT_OF(layouts) && layouts[type][0].kind != FIELD_NONE ? layouts[type] : NULL;
}

unsigned field_width(uint8_t kind)
{
	switch ((enum field_kind)kind) {
	case FIELD_INT16:
	case FIELD_FLOAT16:
		return 2;
	case FIELD_INT32:
	case FIELD_FLOAT32:
		return 4;
	case FIELD_INT64:
	case FIELD_FLOAT64:
		return 8;
	default:
		return 1;
	}
}
