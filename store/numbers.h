/* numbers.h -- a chunk's planes (planes.h), each number coded by rANS in a context that the chunk itself
 * gives (codec 5): floats' exponents in one that tells how large their neighbours are, lower bytes in one
 * of the byte above, quants in one of their scale (alone.h).  Beside Huffman's codes it saves parts of bits,
 * and what those cannot see.  Byte by byte: FORMAT.md.
 * Stored bytes are hostile input to the reader, as codec.h says.
 * Threads: a struct belongs to one; it may be used again after an error. */
#ifndef STORE_NUMBERS_H
#define STORE_NUMBERS_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct numbers; /* opaque; 256 KiB, at most half the longest chunk and, to encode, four times it */

struct numbers *numbers_new(void) CHECKED; /* NULL without memory */
void numbers_free(struct numbers *numbers); /* NULL is fine */
DEFINE_AUTO(struct numbers, numbers_free)
/* Use no vector instructions beyond the machine's common ones; what comes out is the same. */
void numbers_plain(struct numbers *numbers);

/* Whether there is more to gain in planes of the type than Huffman's codes do. */
bool numbers_pay(uint8_t type);

/* Code the planes of a chunk of len bytes (1..CHUNK_RAW_MAX) of element type, for which planes_known(), to
 * at most room bytes.  ret_len is how many those are, 0 when they do not suffice.  -1 without memory. */
int numbers_encode(struct numbers *numbers, uint8_t type, const uint8_t *planes, size_t len, uint8_t *out,
		   size_t room, size_t *ret_len, struct err *err) CHECKED;

/* The reverse: len bytes of planes.  ERR_INVALID for bytes that break the rules. */
int numbers_decode(struct numbers *numbers, uint8_t type, const uint8_t *bytes, size_t bytes_len,
		   uint8_t *planes, size_t len, struct err *err) CHECKED;

#endif
