/* ingest.h -- taking in packs and recipes, believing nothing: every chunk is decoded and hashed
 * against its footer before a pack is kept, and a recipe is kept only when its chunks, decoded,
 * have the SHA-256 it states.
 * What returns 0 is durable.  Everything may be repeated: the second time changes nothing, and also
 * (NULL: nothing) is not run again, unless it is blind (inventory.h).
 * Memory: about 10 MiB for a pack; for a recipe 10 MiB and 100 bytes a chunk.
 * Errors: ERR_INVALID and ERR_TOO_LARGE for what breaks the format, ERR_UNTRUSTED for bytes that are
 * not what their name or footer says, ERR_CONFLICT for a recipe over chunks that are not stored,
 * ERR_FULL.
 * What gc.h removed in the very moment is begun anew; ERR_CONFLICT after eight times.
 * Threads: any; each call waits for the ledger.  db is a reading connection of the caller's. */
#ifndef STORE_INGEST_H
#define STORE_INGEST_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/map.h"
#include "store/blob.h"
#include "store/chunkmap.h"
#include "store/db.h"
#include "store/inventory.h"
#include "store/recipe.h"

#include <stdbool.h>
#include <stdint.h>

struct ingest_result {
	uint32_t chunks; /* in the pack */
	bool known;	 /* it was there already */
};

/* The pack in the first len bytes of fd, which must have the SHA-256 name.  fd may be an unlinked
 * file in blobs_tmp(), which then becomes the pack without a copy. */
int ingest_pack(struct blobs *blobs, struct db *db, const struct digest *name, int fd,
		uint64_t len, int64_t now, const struct also *also,
		struct ingest_result *ret_result, struct err *err) CHECKED;
/* As ingest_pack() for a pack made here, of which index and name are known to be right.  file becomes
 * the store's.  ERR_CONFLICT also when it was collected meanwhile: make it again. */
int ingest_made_pack(struct blobs *blobs, const struct digest *name, uint32_t bytes,
		     const struct pack_index *index, struct blob_file *file, int64_t now,
		     struct err *err) CHECKED;

/* The recipe in len bytes.  places: the chunks that it may consist of (scope.h); what lies elsewhere
 * counts as not stored, and that the recipe is there already saves no work and is not told: also runs
 * as for a new one, and info's stored is of the map that the places make.  NULL: all chunks. */
int ingest_recipe(struct blobs *blobs, struct db *db, const void *bytes, size_t len,
		  const struct map *places, int64_t now, const struct also *also,
		  struct recipe_info *ret_info, struct err *err) CHECKED;
/* As ingest_recipe() for a recipe made here from bytes that were hashed: nothing is decoded. */
int ingest_made_recipe(struct blobs *blobs, struct db *db, const struct recipe *recipe,
		       const struct map *places, int64_t now, struct recipe_info *ret_info,
		       struct err *err) CHECKED;

/* Which of count digests must be sent: sets their bits in bitmap and clears the others' (bit i is bit
 * i % 8 of byte i / 8).  What need not be sent is safe from gc.h for its grace, counted from
 * now.  places: what the asker may know about (scope.h); NULL: all. */
int ingest_missing(struct blobs *blobs, struct db *db, const struct digest *digests, size_t count,
		   const struct map *places, int64_t now, uint8_t *bitmap,
		   struct err *err) CHECKED;

#endif
