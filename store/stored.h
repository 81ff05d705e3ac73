/* stored.h -- a file that lies in the store, as a struct source: from recipe, map and packs, chunk by
 * chunk, each checked against the recipe.  Packs are read, not mapped: a reader that goes through
 * gigabytes must not push out what devices ask for.
 * Memory: the last two chunks and what decoding takes, about 4 MiB with chunks as our writers cut them,
 * and 90 bytes a chunk of the file.
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT for what does not fit or is damaged, ERR_SYSTEM.
 * Threads: a struct stored belongs to one. */
#ifndef STORE_STORED_H
#define STORE_STORED_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/chunkmap.h"
#include "store/recipe.h"
#include "store/source.h"

/* The recipe and the map of that name, which fit each other; the caller's to free. */
int stored_load(struct blobs *blobs, const struct digest *name, struct recipe **ret_recipe,
		struct chunkmap **ret_map, struct err *err) CHECKED;

struct stored; /* opaque */

int stored_open(struct stored **ret_stored, struct blobs *blobs, const struct digest *name,
		struct err *err) CHECKED;
void stored_free(struct stored *stored); /* NULL is fine */
DEFINE_AUTO(struct stored, stored_free)

/* Borrowed, valid until stored_free(). */
const struct recipe *stored_recipe(const struct stored *stored);
const struct chunkmap *stored_map(const struct stored *stored);
/* Reading beyond its size fails with ERR_CORRUPT. */
struct source stored_source(struct stored *stored);

#endif
