#include "store/element.h"

#include "base/cc.h"

/* Block sizes of the quantized types: ggml's block_* structures. */
static const struct {
	const char *name;
	uint16_t block; /* bytes */
	uint16_t values;
} elements[] = {
	[ELEMENT_OPAQUE] = {"opaque", 1, 1},
	[ELEMENT_F32] = {"f32", 4, 1},
	[ELEMENT_F16] = {"f16", 2, 1},
	[ELEMENT_BF16] = {"bf16", 2, 1},
	[ELEMENT_Q8_0] = {"q8_0", 34, 32},
	[ELEMENT_Q4_0] = {"q4_0", 18, 32},
	[ELEMENT_Q4_K] = {"q4_K", 144, 256},
	[ELEMENT_Q4_1] = {"q4_1", 20, 32},
	[ELEMENT_Q5_0] = {"q5_0", 22, 32},
	[ELEMENT_Q5_1] = {"q5_1", 24, 32},
	[ELEMENT_Q8_1] = {"q8_1", 36, 32},
	[ELEMENT_Q2_K] = {"q2_K", 84, 256},
	[ELEMENT_Q3_K] = {"q3_K", 110, 256},
	[ELEMENT_Q5_K] = {"q5_K", 176, 256},
	[ELEMENT_Q6_K] = {"q6_K", 210, 256},
	[ELEMENT_Q8_K] = {"q8_K", 292, 256},
	[ELEMENT_IQ2_XXS] = {"iq2_xxs", 66, 256},
	[ELEMENT_IQ2_XS] = {"iq2_xs", 74, 256},
	[ELEMENT_IQ3_XXS] = {"iq3_xxs", 98, 256},
	[ELEMENT_IQ1_S] = {"iq1_s", 50, 256},
	[ELEMENT_IQ4_NL] = {"iq4_nl", 18, 32},
	[ELEMENT_IQ3_S] = {"iq3_s", 110, 256},
	[ELEMENT_IQ2_S] = {"iq2_s", 82, 256},
	[ELEMENT_IQ4_XS] = {"iq4_xs", 136, 256},
	[ELEMENT_IQ1_M] = {"iq1_m", 56, 256},
	[ELEMENT_TQ1_0] = {"tq1_0", 54, 256},
	[ELEMENT_TQ2_0] = {"tq2_0", 66, 256},
	[ELEMENT_MXFP4] = {"mxfp4", 17, 32},
	[ELEMENT_I8] = {"i8", 1, 1},
	[ELEMENT_I16] = {"i16", 2, 1},
	[ELEMENT_I32] = {"i32", 4, 1},
	[ELEMENT_I64] = {"i64", 8, 1},
	[ELEMENT_U8] = {"u8", 1, 1},
	[ELEMENT_U16] = {"u16", 2, 1},
	[ELEMENT_U32] = {"u32", 4, 1},
	[ELEMENT_U64] = {"u64", 8, 1},
	[ELEMENT_F64] = {"f64", 8, 1},
	[ELEMENT_F8_E4M3] = {"f8_e4m3", 1, 1},
	[ELEMENT_F8_E5M2] = {"f8_e5m2", 1, 1},
	[ELEMENT_BOOL] = {"bool", 1, 1},
};

/* Numbers of later versions, and those left free, count as opaque. */
static uint8_t element_row(uint8_t type)
{
	return type < COUNT_OF(elements) && elements[type].name ? type
										: ELEMENT_OPAQUE;
}

uint32_t element_block(uint8_t type)
{
	return elements[element_row(type)].block;
}

uint32_t element_values(uint8_t type)
{
	return elements[element_row(type)].values;
}

const char *element_name(uint8_t type)
{
	return elements[element_row(type)].name;
}
