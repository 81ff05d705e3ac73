/* blob_internal.h -- the store from inside, for blob.c and blobs.c.
 * Threads: see struct blobs. */
#ifndef STORE_BLOB_INTERNAL_H
#define STORE_BLOB_INTERNAL_H

#include "base/map.h"
#include "store/blob.h"

#include <pthread.h>

/* A mapping; the first member is what callers see. */
struct view {
	struct blob blob;
	struct blobs *blobs;
	unsigned refs;		    /* the cache's own included */
	struct entry *entry;	    /* that keeps it; NULL: not kept */
	struct view *newer, *older; /* among those kept */
};

struct entry {
	struct view *view; /* NULL: not mapped */
	uint64_t stamp;	   /* another one with each file that got the name */
};

struct blobs {
	char *dir, *tmp;
	struct ledger *ledger;
	uint64_t reserve, mapped_max;
	int64_t wanted_least; /* the ledger thread's; see blobs_wanted() */
	pthread_mutex_t maps; /* who writes a map holds it: remap.h */
	pthread_mutex_t naming; /* held while a file and the index's entry get or lose a name, so that
				   both agree; never while the disk is waited for */
	pthread_mutex_t lock; /* guards all below and the views */
	struct map *index[BLOB_KINDS];
	struct view *newest, *oldest;
	uint64_t mapped, mapped_bytes;
	uint64_t sequence; /* of names in tmp/ */
	uint64_t stamps;
	bool made[BLOB_KINDS][256]; /* directories that are durable */
};

/* "packs", "recipes", "maps", "deltas" */
extern const char *const blob_dirs[BLOB_KINDS];

/* name exists: with the lock held, or before there are threads.  -1 without memory. */
int blob_learn(struct blobs *blobs, enum blob_kind kind, const struct digest *name) CHECKED;
/* Nothing is kept mapped any more; nobody may hold a blob. */
void blob_unmap_all(struct blobs *blobs);

#endif
