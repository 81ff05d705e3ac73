/* element.h -- what tensors are made of, by number.
 * Threads: pure. */
#ifndef STORE_ELEMENT_H
#define STORE_ELEMENT_H

#include <stdint.h>

/* Element types, on disk and on the wire: never renumber; append.  Readers treat numbers they do
 * not know as ELEMENT_OPAQUE. */
enum element {
	ELEMENT_OPAQUE = 0, /* no tensor, or of a type we do not know */
	ELEMENT_F32 = 1,
	ELEMENT_F16 = 2,
	ELEMENT_BF16 = 3,
	ELEMENT_Q8_0 = 4,
	ELEMENT_Q4_0 = 5,
	ELEMENT_Q4_K = 6,
	ELEMENT_Q4_1 = 7,
	ELEMENT_Q5_0 = 8,
	ELEMENT_Q5_1 = 9,
	ELEMENT_Q8_1 = 10,
	ELEMENT_Q2_K = 11,
	ELEMENT_Q3_K = 12,
	ELEMENT_Q5_K = 13,
	ELEMENT_Q6_K = 14,
	ELEMENT_Q8_K = 15,
	ELEMENT_IQ2_XXS = 16,
	ELEMENT_IQ2_XS = 17,
	ELEMENT_IQ3_XXS = 18,
	ELEMENT_IQ1_S = 19,
	ELEMENT_IQ4_NL = 20,
	ELEMENT_IQ3_S = 21,
	ELEMENT_IQ2_S = 22,
	ELEMENT_IQ4_XS = 23,
	ELEMENT_IQ1_M = 24,
	ELEMENT_TQ1_0 = 25,
	ELEMENT_TQ2_0 = 26,
	ELEMENT_MXFP4 = 27,
	ELEMENT_I8 = 32,
	ELEMENT_I16 = 33,
	ELEMENT_I32 = 34,
	ELEMENT_I64 = 35,
	ELEMENT_U8 = 36,
	ELEMENT_U16 = 37,
	ELEMENT_U32 = 38,
	ELEMENT_U64 = 39,
	ELEMENT_F64 = 40,
	ELEMENT_F8_E4M3 = 41,
	ELEMENT_F8_E5M2 = 42,
	ELEMENT_BOOL = 43
};

/* Bytes of the smallest group that stands for itself (a q8_0 block: 34; an f16: 2); 1 for unknown
 * types. */
uint32_t element_block(uint8_t type);
/* Values in such a block (q8_0: 32; f16: 1). */
uint32_t element_values(uint8_t type);
/* "f16", "q4_K", ...; "opaque" for unknown types. */
const char *element_name(uint8_t type);

#endif
