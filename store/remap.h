/* remap.h -- the one way to write a recipe's map.  Who adds a delta and who moves chunks to another
 * pack change the same file; each reads it, changes it and publishes it under one lock, so that neither
 * undoes what the other did.
 * Threads: any.  Lock order: the maps' lock, which is held while a map is written, then the locks of
 * blob.h.  Ledger functions take none of them, and whoever is
 * inside a change must not wait for the ledger. */
#ifndef STORE_REMAP_H
#define STORE_REMAP_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/chunkmap.h"

/* Alter *map, whose arrays are its own and may be replaced; recipe and number of chunks stay.
 * 1: it is changed; 0: nothing to change; -1: an error, and nothing is published. */
typedef int remap_change(void *arg, struct chunkmap *map, struct err *err);

/* Let change alter the map of recipe, and publish it, durably; devices see the one or the other.
 * ERR_NOT_FOUND without such a map, ERR_CORRUPT when it cannot be read; change's errors.  It may
 * write the map of a recipe that is being collected: an orphan, which gc.h removes. */
int remap(struct blobs *blobs, const struct digest *recipe, remap_change *change, void *arg,
	  struct err *err) CHECKED;

/* Publish map, made anew from the rows, as its recipe's.  It takes over the deltas of the one that
 * it replaces, if there is one that can be read. */
int remap_anew(struct blobs *blobs, struct chunkmap *map, struct err *err) CHECKED;

/* Nobody writes a map meanwhile: for who takes away what a map might be about to list. */
void remap_hold(struct blobs *blobs);
void remap_release(struct blobs *blobs);

#endif
