/* chop.h -- turning a raw file on disk into packs and a recipe: cut, hash, look up, encode, pack.
 * One pass; chunks that are stored already are not stored again.
 * Memory: about 10 MiB and 100 bytes a chunk, whatever the file's length; with places 300 bytes a chunk
 * more.
 * Threads: any; waits for the ledger once a pack. */
#ifndef STORE_CHOP_H
#define STORE_CHOP_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/map.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/inventory.h"

#include <stdint.h>

/* The first len bytes of fd.  places: the chunks that need not be stored again (scope.h), to which
 * those stored now are added; NULL: all that there are.  sha256 (NULL: not known) is what they must
 * have, else ERR_UNTRUSTED and no recipe; packs made until then are left to gc.h.  0: everything is durable. */
int chop_file(struct blobs *blobs, struct db *db, int fd, uint64_t len, struct map *places,
	      const struct digest *sha256, int64_t now, struct recipe_info *ret_info,
	      struct err *err) CHECKED;

#endif
