/* layout.h -- what a block of an element type consists of, field by field, as ggml lays blocks out
 * (ggml-common.h; element.h has their sizes).  Planes sort by it, differences are taken in its
 * arithmetic.
 * Threads: pure. */
#ifndef STORE_LAYOUT_H
#define STORE_LAYOUT_H

#include <stdint.h>

#define LAYOUT_FIELDS 5

enum field_kind {
	FIELD_NONE,
	FIELD_BYTES,   /* integers of a byte */
	FIELD_NIBBLES, /* two integers of four bits in a byte */
	FIELD_SIXES,   /* sixteen integers of six bits in twelve bytes, as K-quants pack them */
	FIELD_BITS,    /* anything smaller, or packed across bytes */
	FIELD_INT16,   /* integers of 2, 4, 8 bytes, little-endian */
	FIELD_INT32,
	FIELD_INT64,
	FIELD_FLOAT16, /* floats of as many, the sign in the highest bit */
	FIELD_FLOAT32,
	FIELD_FLOAT64
};

struct field {
	uint8_t kind; /* enum field_kind */
	uint16_t len; /* bytes of it in a block */
};

/* The fields, up to the first of FIELD_NONE or LAYOUT_FIELDS of them; NULL for types without a layout,
 * such as opaque.  Together they are as long as element_block(). */
const struct field *layout_of(uint8_t type);
/* Bytes of one number: 1, 2, 4, 8. */
unsigned field_width(uint8_t kind);

#endif
