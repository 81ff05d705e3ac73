/* planes.h -- a chunk's bytes sorted by what they mean: all high bytes of its numbers together, all
 * scales, all quants.  Like bytes have like frequencies, and there an entropy coder finds what there
 * is to find in weights; nothing repeats in them.
 * A floating point number is first turned left by one bit, so that its exponent fills a byte and the
 * sign, which is noise, goes with the lowest bits.
 * Byte by byte: FORMAT.md.  Threads: pure. */
#ifndef STORE_PLANES_H
#define STORE_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLANES_MAX 12 /* of any type, with the bytes after the last whole block */

/* Whether the element type (element.h) has a layout.  Opaque has none. */
bool planes_known(uint8_t type);
enum planes_turn { PLANES_PLAIN, PLANES_TURNED }; /* whether floats are turned */
/* Where each plane of len bytes ends; how many there are (empty ones are left out).  The type is one
 * that is known. */
unsigned planes_ends(uint8_t type, size_t len, size_t ret_ends[static PLANES_MAX]);
/* Sort len bytes of raw into out, which has room for as many; ret_ends as above. */
unsigned planes_split(uint8_t type, enum planes_turn turn, const uint8_t *raw, size_t len,
		      uint8_t *out, size_t ret_ends[static PLANES_MAX]);
/* The reverse. */
void planes_join(uint8_t type, enum planes_turn turn, const uint8_t *planes, size_t len,
		 uint8_t *out);

#endif
