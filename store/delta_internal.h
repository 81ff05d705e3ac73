/* delta_internal.h -- what the making of deltas and their reading share.
 * Threads: any. */
#ifndef STORE_DELTA_INTERNAL_H
#define STORE_DELTA_INTERNAL_H

#include "store/delta.h"

#define DELTA_MAGIC "FLDL"
#define DELTA_VERSION 1

/* Where a chunk's stored bytes go that would begin at `at`: there, or in the next part. */
uint64_t delta_place(uint64_t at, uint32_t stored);
/* The chunk is made.  Not 0: the caller has had enough. */
int delta_tell(const struct delta_progress *progress, const struct recipe_chunk *c,
	       struct err *err) CHECKED;

#endif
