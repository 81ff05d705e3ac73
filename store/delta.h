/* delta.h -- a file as what it takes to make it from an older one: chunk by chunk a copy, a difference
 * (diff.h), a frame against a piece of the old file, or the chunk itself.  Tensors are paired by their
 * chunks' digests first, then by name, then by type and size in order.  Byte by byte: FORMAT.md.
 * A delta carries the new file's recipe, so every chunk is verified before it is written, and the whole
 * at the end.  A delta is hostile input: what it says is read within limits.
 * Memory: about 30 MiB to make, 12 MiB to apply, and 200 bytes a chunk of each file.
 * Threads: any. */
#ifndef STORE_DELTA_H
#define STORE_DELTA_H

#include "base/cc.h"
#include "base/err.h"
#include "store/recipe.h"
#include "store/source.h"

#include <stdint.h>

/* How a chunk is made; on the wire, never renumber. */
enum delta_kind {
	DELTA_DATA = 0,	  /* by itself: codec.h */
	DELTA_COPY = 1,	  /* the old file's bytes */
	DELTA_DIFF = 2,	  /* a difference from as many of them: diff.h */
	DELTA_PREFIX = 3, /* a zstd frame that refers to some of them */
	DELTA_KINDS
};

struct delta_stats {
	uint64_t chunks[DELTA_KINDS];
	uint64_t raw[DELTA_KINDS];    /* bytes of the new file made that way */
	uint64_t stored[DELTA_KINDS]; /* bytes of the delta for them */
	uint64_t head;		      /* bytes of the delta before the first chunk */
	uint64_t old_len, new_len;
};

/* at (may be NULL) is told bytes of work done, of old and new file each read and the new encoded. */
struct delta_progress {
	void (*at)(void *arg, uint64_t done);
	void *arg;
};

/* Write the delta from old to new. */
int delta_make(const struct source *old, const struct source *new, const struct sink *out,
	       const struct delta_progress *progress, struct delta_stats *ret_stats,
	       struct err *err) CHECKED;
/* Write the new file.  ERR_INVALID for a delta that breaks the rules, ERR_UNTRUSTED when a chunk is not
 * the recipe's, which is so when old is not the file that the delta was made from. */
int delta_apply(const struct source *old, const struct source *delta, const struct sink *out,
		const struct delta_progress *progress, struct err *err) CHECKED;

#endif
