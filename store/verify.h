/* verify.h -- does the store hold what its rows say?  For fsck on demand and for the scrub.
 * Threads: any; reads while others write.  What vanishes meanwhile through gc.h is no damage. */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

#include "base/cc.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

struct verify_damage {
	enum blob_kind kind; /* BLOB_RECIPE: it, its map, or a pack that it needs; BLOB_DELTA: a part */
	struct digest name;
	const struct err *why;
};

struct verify_options {
	bool deep; /* hash every pack, make every chunk of every delta */
	bool mend; /* see below */
	void (*damaged)(void *arg, const struct verify_damage *damage); /* of each; NULL: none */
	/* Asked after each pack, and each part of a delta, of so many bytes: false ends the walk.  May sleep, for a scrub that
	 * leaves the machine to others.  NULL: go on. */
	bool (*go_on)(void *arg, uint64_t bytes);
	void *arg;
};

struct verify_report {
	bool ended; /* by go_on: what follows counts what was looked at */
	uint64_t packs, recipes, deltas, bytes; /* looked at */
	uint64_t damaged; /* packs and deltas that are missing or wrong, recipes that are, or lack
			     their map or a good pack */
	struct err first;		/* the first of them; status ERR_NONE: none */
};

/* Every pack of the rows is there with its length and, when deep, with the bytes its name says;
 * every recipe is there with the right bytes, and its map fits and names only packs that are there; deltas:
 * verify_delta.h.
 * mend: damaged packs are moved to quarantine/ and their rows removed, so that a client that pushes
 * again is asked for the chunks and the recipe gets a new map.  -1 only when looking itself fails. */
int verify_store(struct blobs *blobs, struct db *db, const struct verify_options *options,
		 struct verify_report *ret_report, struct err *err) CHECKED;

/* Counts and tells of what is damaged; why gets its name. */
void verify_damaged(const struct verify_options *options, struct verify_report *report,
		    enum blob_kind kind, const struct digest *name, struct err *why);

#endif
