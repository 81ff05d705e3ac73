/* marks.h -- what living recipes' maps name: in each pack, which places.  For gc.h, and for telling how
 * much of the store is of use.
 * Memory: 8 to 16 bytes a living chunk, and 150 a pack.
 * Threads: a struct marks belongs to one. */
#ifndef STORE_MARKS_H
#define STORE_MARKS_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/map.h"
#include "store/blob.h"
#include "store/chunkmap.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

struct mark {
	uint64_t live;	/* stored bytes that are named, each place counted once */
	uint32_t count; /* places */
	uint32_t room;
	uint32_t *places; /* a hash set of offsets; 0: none, since chunks begin behind a head */
};

struct marks {
	struct map *packs;	/* digest -> struct mark *, owned */
	uint64_t live;		/* of all packs */
	uint64_t deltas, delta_bytes; /* that the maps list */
};

/* Read the maps of all recipes that have a row but those in skip (may be NULL; a set of digests).
 * ERR_CORRUPT when a map cannot be read: then it is not known what lives. */
int marks_make(struct marks **ret_marks, struct blobs *blobs, struct db *db,
	       const struct map *skip, struct err *err) CHECKED;
void marks_free(struct marks *marks); /* NULL is fine */
DEFINE_AUTO(struct marks, marks_free)

/* NULL: no living map names the pack. */
const struct mark *marks_pack(const struct marks *marks, const struct digest *pack);
bool mark_has(const struct mark *mark, uint32_t at); /* a chunk at that offset is named */

#endif
