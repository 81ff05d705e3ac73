/* ingest_internal.h -- taking in from inside, for ingest*.c only.
 *   ingest.c         packs; which chunks are missing
 *   ingest_recipe.c  recipes: their rows, what is there already, what was collected meanwhile
 *   ingest_file.c    a recipe's file: where its chunks lie, what they make
 * Threads: any. */
#ifndef STORE_INGEST_INTERNAL_H
#define STORE_INGEST_INTERNAL_H

#include "store/ingest.h"

/* How often is begun anew what a collection interfered with: each time it would have to remove just
 * what is being pushed. */
#define INGEST_TRIES 8

/* ---- ingest.c ---- */

/* -1 with ERR_CONFLICT.  *again becomes true: the same once more may succeed.  Not told by the
 * status: a conflict may be the caller's. */
int ingest_collected(const char *what, bool *again, struct err *err);

/* ---- ingest_file.c ---- */

/* The map of recipe, named name, from the rows; ERR_CONFLICT when chunks are not stored. */
int ingest_layout(struct db *db, const struct recipe *recipe, const struct digest *name,
		  const struct map *places, struct chunkmap **ret_map, struct err *err) CHECKED;
/* Decode and hash recipe's file: ERR_UNTRUSTED when it is not what the recipe states, ERR_CORRUPT when a
 * pack of map is damaged, ERR_NOT_FOUND when one is gone. */
int ingest_check_file(struct blobs *blobs, const struct recipe *recipe, const struct chunkmap *map,
		      struct err *err) CHECKED;

#endif
