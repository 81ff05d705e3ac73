/* delta_pair.h -- which bytes of an old file belong to which of a new one: tensors by their chunks' digests,
 * by name, by what their numbers look like (likeness.h), by type and length in order.
 * The answer costs or saves bytes; it never decides what is right.
 * Memory: 200 bytes a tensor of each file, 100 bytes an old chunk.
 * Threads: many readers. */
#ifndef STORE_DELTA_PAIR_H
#define STORE_DELTA_PAIR_H

#include "base/cc.h"
#include "store/delta.h"

#include <stdbool.h>

struct pairing; /* opaque */

/* Borrows both sides.  Errors are those of reading the files' headers, or want of memory. */
int pairing_new(struct pairing **ret_pairing, const struct delta_side *old,
		const struct delta_side *new, struct err *err) CHECKED;
void pairing_free(struct pairing *pairing); /* NULL is fine */
DEFINE_AUTO(struct pairing, pairing_free)

/* The old chunk that has the same bytes, or NULL. */
const struct recipe_chunk *pairing_same(const struct pairing *pairing,
					const struct recipe_chunk *chunk);

/* Where the numbers that a chunk of a tensor was made from lie in the old file. */
struct counterpart {
	uint64_t at;
	uint32_t len; /* at most the chunk's: of a tensor that has grown the new part has none */
	uint8_t type; /* the chunk's, or one that it can be lifted from (lift.h): of another tier */
};

/* False: nowhere. */
bool pairing_counterpart(const struct pairing *pairing, const struct recipe_chunk *chunk,
			 struct counterpart *ret_old) CHECKED;

#endif
