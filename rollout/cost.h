/* cost.h -- how many bytes a device fetches to go from one variant to another.
 * Threads: as blob.h. */
#ifndef ROLLOUT_COST_H
#define ROLLOUT_COST_H

#include "base/cc.h"
#include "base/err.h"
#include "manifest/doc.h"
#include "store/blob.h"

#include <stdint.h>

struct cost {
	int64_t bytes;
	const char *via; /* "same", "delta", "chunks" it lacks, "full"; the dearest of its files; static */
};
/* from NULL: a first installation.  What the store cannot tell (a map is gone) counts in full. */
int cost_of(struct blobs *blobs, const struct manifest_variant *from,
	    const struct manifest_variant *to, struct cost *ret_cost, struct err *err) CHECKED;

/* The same of two recipes with the new one's map; from NULL: all of it.  Pure. */
struct recipe;
struct chunkmap;
int cost_of_recipe(const struct recipe *from, const struct digest *from_name,
		   const struct recipe *to, const struct chunkmap *map, struct cost *ret_cost,
		   struct err *err) CHECKED;

#endif
