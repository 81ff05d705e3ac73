/* alone.h -- what quants that have a scale are likely to be, from nothing but the fields before them.  Whoever
 * quantized a group chose its scale such that its farthest number is an extreme of the type: there is one for
 * sure, and only its place is news.  A group whose scale is large beside its neighbours' has an outlier, and
 * its other numbers are small; where a minimum and a scale say that zero lies, numbers are frequent.
 * Planes are as planes.h sorts them, floats turned.  Byte by byte: FORMAT.md.
 * All in integers, the same on every machine.  Threads: pure. */
#ifndef STORE_ALONE_H
#define STORE_ALONE_H

#include <stddef.h>
#include <stdint.h>

#define ALONE_GROUP 32u	   /* numbers of a group */
#define ALONE_EXTREMES 2u  /* kinds of them, at most */
#define ALONE_NEIGHBOURS 4u /* on either side */

/* Which quants are treated so. */
struct alone {
	uint8_t type, kind; /* element; field_kind */
	uint8_t groups;	    /* of a block */
	uint8_t extremes;   /* kinds of them */
	uint8_t first[ALONE_EXTREMES], span[ALONE_EXTREMES]; /* these are the numbers first .. first + span - 1 */
};

/* NULL if the field is none of them. */
const struct alone *alone_of(uint8_t type, uint8_t kind);

/* What the scales of all groups say: contexts of their numbers, and whether those are reckoned from the
 * other end (numbers are XORed with turned, 0 or 15).  units has room for a number a group, and
 * ALONE_NEIGHBOURS more on both sides. */
void alone_contexts(const struct alone *alone, const uint8_t *planes, size_t blocks, uint32_t *units,
		    uint8_t *ret_context, uint8_t *ret_turned);
/* Where a group's first extreme of each kind is; ALONE_GROUP: it has none. */
void alone_places(const struct alone *alone, const uint8_t *numbers, uint8_t *ret_places);
/* The contexts of some groups' numbers. */
void alone_spread(const struct alone *alone, const uint8_t *context, const uint8_t *places, size_t groups,
		  uint8_t *ret_contexts);

#endif
