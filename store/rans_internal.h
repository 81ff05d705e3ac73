/* rans_internal.h -- what the kinds of the reader's loop share.  Threads: see rans.h. */
#ifndef STORE_RANS_INTERNAL_H
#define STORE_RANS_INTERNAL_H

#include "store/rans.h"

#define RANS_LOW (1u << 15) /* a state below it takes in a word of 16 bits; it begins there */

#define RANS_STATE_BITS 31u /* a writer's states stay below 2^31 */
#define RANS_STEP_BITS 12u  /* of a code's step, for each of two numbers */

/* Coders, and the words they gave, which begin at at and grow towards out. */
struct rans_output {
	uint32_t state[RANS_LANES];
	const uint8_t *out;
	uint8_t *at;
};

static inline bool rans_output_full(const struct rans_output *o)
{
	return (size_t)(o->at - o->out) < RANS_STATES + 2 * RANS_LANES;
}

#if defined(__x86_64__)
#define RANS_HAS_AVX2 1
/* As rans_decode(), whole rounds of RANS_LANES symbols, as long as words for one are left for sure.
 * Gives how many symbols that were.  Only where the processor has AVX2. */
size_t rans_decode_avx2(struct rans_reader *reader, const uint8_t *contexts, size_t n,
			uint8_t *symbols);
/* The reverse for n symbols, whole rounds, last first, as long as there is room.  Gives how many are left. */
size_t rans_encode_avx2(const struct rans_writer *writer, const uint8_t *symbols, const uint8_t *contexts,
			size_t n, struct rans_output *output) CHECKED;
#endif

#endif
