/* repack.h -- the living chunks of packs that are mostly dead, into new packs.
 * New packs are durable and have rows before any map names them; maps are replaced one by one through
 * remap.h, so that a device sees the old or the new one, and both lead to the same bytes.  The old
 * packs count as wanted from then on: gc.h removes them once nobody has named them for its grace, since
 * devices keep maps.  A crash leaves at most a pack that nobody names, or chunks that lie in two.
 * Chunks are decoded and hashed before they are moved; a damaged one stays where it is, for the scrub.
 * Memory: about 10 MiB, and 250 bytes a moved chunk.
 * Threads: gc.h's; pushes and downloads go on. */
#ifndef STORE_REPACK_H
#define STORE_REPACK_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/marks.h"

#include <stdbool.h>
#include <stdint.h>

#define REPACK_LIVE_PERCENT 50 /* less than this of a pack is live: it is worth it */
#define REPACK_PACKS 256       /* in one run */

struct repack_options {
	int64_t now;
	int64_t than; /* packs that were wanted since are left alone: a push may be under way */
	bool dry_run; /* only count */
	bool (*go_on)(void *arg); /* asked before each pack: false ends it; NULL: go on */
	void *arg;
};

struct repack_report {
	uint64_t packs; /* emptied, or that would be */
	uint64_t left;	/* sparse too, and left for the next run, or because the disk is full */
	uint64_t chunks, bytes; /* moved */
	uint64_t made;		/* packs */
	uint64_t maps;		/* replaced */
};

int repack_run(struct blobs *blobs, struct db *db, const struct marks *marks,
	       const struct repack_options *options, struct repack_report *ret_report,
	       struct err *err) CHECKED;

#endif
