/* chunkmap.h -- where a recipe's chunks lie: in which pack, at which offset, under which codec; and
 * from which older recipes a delta leads here.  Not signed and replaceable (repacking writes a new
 * one under the same name, the recipe's), so it is hostile input to a device: what it fetches is
 * bounded by the signed cap and judged by the recipe's digests.  Encoding: FORMAT.md.
 * Errors: ERR_INVALID for bytes that break the rules, ERR_TOO_LARGE beyond a limit.
 * Threads: a struct chunkmap belongs to one while it is built, to any once it is not changed. */
#ifndef STORE_CHUNKMAP_H
#define STORE_CHUNKMAP_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/recipe.h"

#include <stdint.h>

#define CHUNKMAP_VERSION 1
#define CHUNKMAP_BYTES_MAX (64u << 20) /* bytes of an encoding */
#define CHUNKMAP_DELTAS_MAX 256u
#define CHUNKMAP_PARTS_MAX 1024u /* of a delta, each at most PACK_MAX (pack.h) */

struct chunkmap_pack {
	struct digest digest;
	uint32_t bytes; /* of the whole pack, 1..PACK_MAX */
};

/* The i-th belongs to the recipe's i-th chunk.  Equal chunks share one place. */
struct chunkmap_chunk {
	uint32_t pack;	 /* index into packs */
	uint32_t at;	 /* in the pack */
	uint32_t stored; /* bytes there, 1..CHUNK_STORED_MAX */
	uint8_t codec;	 /* enum codec; numbers not known here are accepted */
};

struct chunkmap_delta {
	struct digest from; /* the older recipe */
	uint32_t parts;	    /* 1..CHUNKMAP_PARTS_MAX */
	uint64_t bytes;	    /* of all parts */
};

struct chunkmap {
	struct digest recipe; /* the name of the recipe it belongs to */
	uint64_t stored; /* bytes of all places, each counted once: what a first install fetches;
			    kept by chunkmap_encode() and chunkmap_parse() */
	uint32_t pack_count, count, delta_count;
	uint32_t pack_room, room, delta_room; /* allocated */
	struct chunkmap_pack *packs;   /* owned, as the next two */
	struct chunkmap_chunk *chunks;
	struct chunkmap_delta *deltas;
};

struct chunkmap *chunkmap_new(const struct digest *recipe) CHECKED; /* NULL without memory */
void chunkmap_free(struct chunkmap *map);			     /* NULL is fine */
DEFINE_AUTO(struct chunkmap, chunkmap_free)

/* Append a pack and tell its index.  The caller keeps packs distinct. */
int chunkmap_add_pack(struct chunkmap *map, const struct digest *digest, uint32_t bytes,
		      uint32_t *ret_index, struct err *err) CHECKED;
/* Append the place of the next chunk, in the recipe's order. */
int chunkmap_add(struct chunkmap *map, const struct chunkmap_chunk *chunk,
		 struct err *err) CHECKED;
int chunkmap_add_delta(struct chunkmap *map, const struct chunkmap_delta *delta,
		       struct err *err) CHECKED;

/* What map->stored will be, of a map that is not encoded yet.  ERR_INVALID as chunkmap_encode(). */
int chunkmap_sum(const struct chunkmap *map, uint64_t *ret_sum, struct err *err) CHECKED;
/* Sum up map->stored and append the encoding to out (max CHUNKMAP_BYTES_MAX).  ERR_INVALID also for
 * places that overlap without being the same. */
int chunkmap_encode(struct chunkmap *map, struct buf *out, struct err *err) CHECKED;
/* The reverse; refuses places outside their pack, overlapping places, a wrong sum, bytes left
 * over. */
int chunkmap_parse(struct chunkmap **ret_map, const void *bytes, size_t len,
		   struct err *err) CHECKED;

/* Whether map can belong to recipe, named name: same name and number of chunks, no chunk stored
 * longer than its raw length + CHUNK_STORED_EXTRA.  ERR_INVALID otherwise. */
int chunkmap_fits(const struct chunkmap *map, const struct recipe *recipe,
		  const struct digest *name, struct err *err) CHECKED;

#endif
