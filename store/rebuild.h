/* rebuild.h -- the rows of packs, chunks and recipes again, from the files alone: the packs' footers,
 * the recipes and their maps.  For a database that lost them, or that came from another backup than the
 * files did.
 * Threads: nobody else writes to the store meanwhile. */
#ifndef STORE_REBUILD_H
#define STORE_REBUILD_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <stdint.h>

struct rebuild_report {
	uint64_t packs, chunks, recipes; /* of which there are rows now */
	uint64_t unreadable;		 /* packs without a footer that adds up: set aside */
	uint64_t dropped;		 /* rows of packs that are not there */
	uint64_t hurt;			 /* recipes that are damaged or lack chunks: verify names them */
	struct err first;		 /* the first of what was set aside or is hurt; ERR_NONE: none */
};

/* May be repeated after a failure or a crash.  Bytes of packs are not hashed: scrub afterwards.  All
 * counts as wanted at now, so that gc.h leaves it alone for its grace. */
int store_rebuild(struct blobs *blobs, struct db *db, int64_t now,
		  struct rebuild_report *ret_report, struct err *err) CHECKED;

#endif
