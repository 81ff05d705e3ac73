/* diff.h -- a chunk as its difference from another one, taken in the arithmetic of its element type
 * (codec 3).  A fine-tune moves most weights by a little: the difference of two floats' bit patterns,
 * of two quants, is small or zero where XOR and byte-wise deltas see noise.
 * Field by field of the type's blocks (layout.h) each number is guessed from the old ones (expect.h), and by
 * how much the guess is wrong is coded in a context that tells how wrong it may be (rans.h); differences
 * of words pass through tokens.h.  Byte by byte: FORMAT.md.
 * Stored bytes are hostile input to the decoder, as codec.h says.
 * Threads: a differ belongs to one; it may be used again after an error. */
#ifndef STORE_DIFF_H
#define STORE_DIFF_H

#include "base/cc.h"
#include "base/err.h"
#include "store/codec.h"

#include <stddef.h>
#include <stdint.h>

struct differ; /* opaque; 256 KiB; once it has encoded chunks of n bytes, 112 KiB and 6 n more */

struct differ *differ_new(void) CHECKED; /* NULL without memory */
void differ_free(struct differ *differ); /* NULL is fine */
DEFINE_AUTO(struct differ, differ_free)
/* Use no vector instructions beyond the machine's common ones; what comes out is the same. */
void differ_plain(struct differ *differ);

/* Encode raw (len bytes, 1..CHUNK_RAW_MAX, of element type, for which planes_known()) against old, as
 * many bytes.  ret_coded->bytes is the differ's until its next call; ret_coded->len is 0 when that
 * would not save anything. */
int diff_encode(struct differ *differ, uint8_t type, const void *old, const void *raw, size_t len,
		struct coded *ret_coded, struct err *err) CHECKED;

/* The reverse: raw_len bytes at raw.  ERR_INVALID for bytes that break the rules. */
int diff_decode(struct differ *differ, const struct coded *coded, const void *old, void *raw,
		size_t raw_len, struct err *err) CHECKED;

#endif
