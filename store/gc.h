/* gc.h -- mark and sweep of what nothing names any more, and repack.h for what is mostly dead, while
 * pushes and downloads go on.
 *
 * What lives.  A recipe: while a variant's file or an upload names it (every release that was
 * published, so each lane's stable, previous stable and candidate, and what deltas are made from), or
 * somebody wanted it within the grace (pushed it, again or first).  A pack: while the map of a living
 * recipe names it, or somebody relied on it within the grace: sent it, was told that its chunks need
 * not be sent, or made a map of it (repacking included: devices keep old maps).  Deltas stand in the maps, which
 * keep them when they are replaced.
 *
 * Why no lock is needed.  All rows are written by the ledger thread, one function after the other.
 *  - A run begins with a ledger function that notes `than`, before which things must have been wanted
 *    to go.  Whoever wants something after that, however old his idea of the time, is written down as
 *    later than `than` (blobs_wanted()).
 *  - Marks are read after that.  A recipe whose row came before is in them; one that comes later
 *    wants, in the function that inserts its row, all packs of its map.
 *  - A row is deleted only if it was not wanted since `than`, and that is asked in the function that
 *    deletes it.  So a pack goes only if it is in no mark and nobody wanted it since.  Who comes after
 *    that finds no row: ingest.h answers ERR_CONFLICT to itself and begins anew, or asks the client
 *    for the chunks.
 *  - When the deletion is durable, a second function takes the files' names away, unless the row has
 *    come back; whoever inserts a row makes sure, in that function, that the file has its name.  So
 *    a row without a file is impossible, and a crash leaves files without rows: the next run removes
 *    those once they are older than the grace.
 *  - Repacking publishes new packs with rows first, which are then wanted as of now, moves the rows of
 *    chunks in one function that also wants the old packs, and replaces maps last.  Who read a chunk's
 *    old row finds the old pack's row still there, and its file.
 * Readers hold mappings, which outlive names.
 *
 * The grace must be longer than a push takes and than clients keep maps.
 * Threads: one at a time; waits for the ledger. */
#ifndef STORE_GC_H
#define STORE_GC_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/repack.h"

#include <stdbool.h>
#include <stdint.h>

#define GC_GRACE_S (7 * 86400)

struct gc_options {
	int64_t now; /* own time, as in the rows */
	int64_t grace_s;
	bool dry_run; /* remove nothing, tell what would go */
	bool (*go_on)(void *arg); /* false: leave packs for the next run; NULL: go on */
	void *arg;
};

struct gc_report {
	uint64_t recipes, packs, deltas, orphans; /* removed; orphans: files without rows */
	uint64_t bytes;			  /* freed */
	struct repack_report repacked; /* what is freed by that goes after the grace */
};

/* One run.  Removes no pack when a living recipe's map cannot be read: ERR_CORRUPT then. */
int gc_run(struct blobs *blobs, struct db *db, const struct gc_options *options,
	   struct gc_report *ret_report, struct err *err) CHECKED;

#endif
