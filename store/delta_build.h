/* delta_build.h -- make the delta between two stored files, keep its parts and list it in the new
 * recipe's map, in this order and each durable before the next: what a map lists can be fetched.
 * Interrupted anywhere, it is built again from the start; parts that no map lists are gc.h's.
 * Memory: about 45 MiB (delta.h and twice stored.h), and 400 bytes a chunk of each file.
 * Threads: one at a time for a pair; any otherwise. */
#ifndef STORE_DELTA_BUILD_H
#define STORE_DELTA_BUILD_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/delta.h"

#include <stdbool.h>
#include <stdint.h>

#define DELTA_WORTH 70 /* percent of a full download that a delta may have */

struct delta_built {
	uint64_t whole;	    /* bytes of a full download */
	uint64_t bytes;	    /* of the delta; when dropped, those at which it was given up */
	uint64_t at, length; /* of the new file: how far it came */
	bool dropped;	    /* more than DELTA_WORTH percent: nothing is kept */
};

/* From the recipe old to the recipe new.  Already listed and there: nothing is made.  progress (may be
 * NULL) as delta_make()'s: not 0 ends it with ERR_BUSY.  ERR_NOT_FOUND when a recipe is gone,
 * ERR_CORRUPT for damage in the store, ERR_FULL, ERR_SYSTEM. */
int delta_build(struct blobs *blobs, const struct digest *new, const struct digest *old,
		const struct delta_progress *progress, struct delta_built *ret_built,
		struct err *err) CHECKED;

/* Have the map of recipe new no longer list the delta from old; there may be no such map. */
int delta_unlist(struct blobs *blobs, const struct digest *new, const struct digest *old,
		 struct err *err) CHECKED;

#endif
