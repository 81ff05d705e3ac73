/* rans.h -- an entropy coder for symbols of a byte, each in a context that both sides know: range asymmetric
 * numeral systems (Duda 2013) with a fixed table of likelihoods for each context.  Unlike Huffman's codes
 * it loses nothing on symbols that are nearly certain.
 * Thirty-two coders take turns, symbol i is coder i % 32's, so that a processor works at many at once:
 * with AVX2 where there is, else plainly, with the same result.  Byte by byte: FORMAT.md.
 * Coded bytes are hostile input to the reader.
 * Threads: a struct belongs to one. */
#ifndef STORE_RANS_H
#define STORE_RANS_H

#include "base/cc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANS_LANES 32u
#define RANS_CONTEXTS 16u
#define RANS_BITS 11u /* likelihoods are given in 2048ths */
#define RANS_SCALE (1u << RANS_BITS)
#define RANS_PAD 48u /* so that counts of the same symbol do not lie in the same places of pages */
#define RANS_STATES (4 * RANS_LANES) /* bytes of the coders' states, before the words */

/* ---- writing ---- */

/* What it takes to code one symbol in one context. */
struct rans_code {
	uint32_t inverse; /* of its count: x / count is x * inverse >> 32 >> shift for states x */
	uint32_t step;	  /* what to add, its count << 12, shift << 24 */
};

struct rans_writer {
	uint32_t counts[RANS_CONTEXTS][256]; /* filled by the caller, by rans_count() or else */
	uint32_t apart[3][RANS_CONTEXTS * 256 + RANS_PAD]; /* rans_count()'s own */
	struct rans_code codes[RANS_CONTEXTS][256];
	bool plain; /* never use AVX2: for tests */
};

/* Count n symbols, in addition to those counted before. */
void rans_count(struct rans_writer *writer, const uint8_t *symbols, const uint8_t *contexts, size_t n);
/* Counts become 2048ths, of which every symbol that occurred has at least one, and are written to out.
 * Gives bytes written, or 0 when there is not room for them. */
size_t rans_tables_write(struct rans_writer *writer, uint8_t *out, size_t room) CHECKED;
/* Code n symbols, which were among those counted.  As above. */
size_t rans_encode(const struct rans_writer *writer, const uint8_t *symbols, const uint8_t *contexts,
		   size_t n, uint8_t *out, size_t room) CHECKED;

/* ---- reading ---- */

struct rans_reader {
	uint32_t state[RANS_LANES];
	const uint8_t *at, *end; /* words not yet read */
	/* What each slot means: symbol, its count << 8, which of its slots this is << 20.  In a context
	 * without table they mean nothing, but reading is harmless. */
	uint32_t slots[RANS_CONTEXTS][RANS_SCALE];
	bool plain; /* never use AVX2: for tests */
};

/* Read tables from at most len bytes at in.  Gives how many bytes they were, 0 for what is none. */
size_t rans_tables_read(struct rans_reader *reader, const uint8_t *in, size_t len) CHECKED;
/* Begin to read symbols from exactly len bytes; false when they are too few. */
bool rans_begin(struct rans_reader *reader, const uint8_t *in, size_t len) CHECKED;
/* The next n symbols; n is a multiple of RANS_LANES but for the last time.  Contexts are below
 * RANS_CONTEXTS.  Of damaged bytes it makes something; rans_done() tells. */
void rans_decode(struct rans_reader *reader, const uint8_t *contexts, size_t n, uint8_t *symbols);
/* Whether all words were read and every coder is where encoding began. */
bool rans_done(const struct rans_reader *reader) CHECKED;

#endif
