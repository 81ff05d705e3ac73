/* recipe.h -- what a file is made of: its chunks' digests in order.  A recipe is named by the
 * SHA-256 of its encoding, which signed manifests quote; where the chunks lie is the chunkmap's
 * business (chunkmap.h).  Encoding: FORMAT.md.  One content has exactly one encoding.
 * Errors: ERR_INVALID for bytes that break the rules, ERR_TOO_LARGE beyond a limit.
 * Threads: a struct recipe belongs to one while it is built, to any once it is not changed. */
#ifndef STORE_RECIPE_H
#define STORE_RECIPE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdint.h>

#define RECIPE_VERSION 1
#define RECIPE_CHUNKS_MAX (1u << 20)
#define RECIPE_FILE_MAX (64ull << 30) /* bytes of the file described */
#define RECIPE_BYTES_MAX (64u << 20)  /* bytes of an encoding */
#define RECIPE_HEAD 52		      /* bytes before the first chunk */
#define RECIPE_ENTRY 37		      /* bytes of a chunk */

struct recipe_chunk {
	struct digest digest; /* of the raw bytes */
	uint32_t len;	      /* raw bytes, 1..CHUNK_RAW_MAX */
	uint8_t type;	      /* enum element; any number is accepted */
	uint64_t at;	      /* offset in the file: the sum of the lengths before */
};

struct recipe {
	uint8_t format; /* enum format_id; any number is accepted */
	uint64_t length; /* of the file: the sum of all lengths; 0 has no chunks */
	struct digest sha256; /* of the whole file */
	uint32_t count;
	uint32_t room; /* chunks allocated */
	struct recipe_chunk *chunks; /* owned */
};

/* An empty recipe; NULL without memory.  Set format and sha256 before encoding. */
struct recipe *recipe_new(void) CHECKED;
void recipe_free(struct recipe *recipe); /* NULL is fine */
DEFINE_AUTO(struct recipe, recipe_free)

/* Append a chunk; length grows with it. */
int recipe_add(struct recipe *recipe, const struct digest *digest, uint32_t len, uint8_t type,
	       struct err *err) CHECKED;

/* Append the encoding to out (whose max should be RECIPE_BYTES_MAX) and tell its name. */
int recipe_encode(const struct recipe *recipe, struct buf *out, struct digest *ret_name,
		  struct err *err) CHECKED;

/* The reverse, refusing anything recipe_encode() would not have written, but for format and type
 * numbers of later versions. */
int recipe_parse(struct recipe **ret_recipe, const void *bytes, size_t len,
		 struct err *err) CHECKED;

/* The index of the chunk that holds the file's byte at (below length). */
uint32_t recipe_find(const struct recipe *recipe, uint64_t at);

#endif
