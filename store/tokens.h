/* tokens.h -- differences of words as symbols of a byte and, for those that are far off, more bits.  A
 * difference is folded (0, -1, 1, -2 ... become 0, 1, 2, 3).  Below 128 it is its own symbol; from there
 * on a symbol stands for half of an octave, and where in it the difference lies are as many bits as that
 * takes, in a stream of their own.  Byte by byte: FORMAT.md.
 * Threads: a struct belongs to one. */
#ifndef STORE_TOKENS_H
#define STORE_TOKENS_H

#include "base/cc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits, the lowest of the first byte first. */
struct bits_writer {
	uint8_t *at; /* where the next byte goes; the caller's */
	uint64_t kept;
	unsigned count; /* below 8, of bits kept */
};
struct bits_reader {
	const uint8_t *at, *end;
	uint64_t kept;
	unsigned count;
	bool ended; /* more was asked for than there is */
};

/* Symbols of what n words of width bytes differ by.  Of bits at most 8 bytes a word are written. */
void tokens_make(const uint8_t *old, const uint8_t *new, size_t n, unsigned width, uint8_t *symbols,
		 struct bits_writer *bits);
/* The last byte. */
void bits_end(struct bits_writer *bits);

/* The reverse. */
void tokens_add(const uint8_t *old, const uint8_t *symbols, size_t n, unsigned width, uint8_t *new,
		struct bits_reader *bits);
/* Whether all was read, but bits of the last byte that are zero. */
bool bits_done(const struct bits_reader *bits) CHECKED;

#endif
