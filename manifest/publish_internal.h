/* publish_internal.h -- one publication under way, for the files publish*.c and signing.c only.
 *   publisher.c     the publisher: clock guard, snapshot, loading
 *   publish_rows.c  rows of repositories and documents; from begin to commit and swap
 *   publish_sign.c  the roles' documents, signed
 *   publish_index.c the index, and publishers' envelopes
 *   publish.c       classes; many at once
 * Threads: the ledger's, but for publisher's lock. */
#ifndef MANIFEST_PUBLISH_INTERNAL_H
#define MANIFEST_PUBLISH_INTERNAL_H

#include "base/digest.h"
#include "manifest/publish.h"
#include "manifest/tuf_build.h"

#include <pthread.h>

#define DAY_S 86400
#define TIMESTAMP_LIFE_S DAY_S
#define MANIFEST_LIFE_S (3 * DAY_S)
#define ROOT_LIFE_S (3650 * DAY_S)
#define KEEP_S (7 * DAY_S)	   /* numbered documents after their life began to end */
#define REPO_NAME 160
#define CHANGE_DOCS 160 /* of one repository at once: the index's files and roles */
#define INDEX_REPO "index"
#define ATTEST_REPO "attest" /* publishers' envelopes: no TUF repository, but served alike */

enum publish_statement {
	PQ_REPO_GET,
	PQ_REPO_PUT,
	PQ_REPO_DUE,
	PQ_REPO_LIST,
	PQ_DOC_PUT,
	PQ_DOC_ALL,
	PQ_DOC_FORGET,
	PQ_FIRST_ROOT,
	PQ_DOC_GET,
	PQ_SEED_USED,
	PQ_STRANDED,
	PQ_COUNT
};

struct publisher {
	struct keystore keys;
	const struct clock *clock;
	int64_t wall_ms, monotonic_ms; /* when it was made: the clock guard's origin */
	void (*on_doc)(void *arg, struct doc *doc);
	void *on_doc_arg;
	int64_t last_signed; /* the ledger thread's */
	struct digest online_id, next_id; /* of keys' seeds; the ledger thread's */

	pthread_mutex_t lock; /* guards current, stats, doubt */
	struct snapshot *current;
	struct publisher_stats stats;
	char doubt[200];
	_Atomic uint64_t generation;
};

/* What a repository's row says; versions without a document are 0. */
struct repo {
	char name[REPO_NAME];
	const char *channel, *class; /* NULL: the index */
	int64_t root, targets, snapshot, timestamp;
	struct digest content;
	struct digest seed;	  /* the id of the seed that its root names */
	struct digest first_root; /* of its first root's `signed` */
	int64_t resign_targets, resign_timestamp;
};

/* Documents made in this transaction, on their way into the snapshot. */
struct change {
	struct publisher *publisher;
	char repo[REPO_NAME];
	int64_t now;
	struct doc *docs[CHANGE_DOCS];
	unsigned count;
};

/* One publication under way. */
struct making {
	struct publisher *p;
	struct db *db;
	struct repo repo;
	struct change *change;
	int64_t now;
	struct err *err;
};

/* ---- publisher.c ---- */
/* Time that jumped must not be signed: ERR_CONFLICT. */
int publisher_check_clock(struct publisher *p, int64_t now, struct err *err);

void publisher_name_seeds(struct publisher *p); /* after its keys changed */
/* Into the stats; after keys or roots changed. */
int publisher_count_stranded(struct publisher *p, struct db *db, struct err *err);
/* When no repository needs the old seed any more. */
int publisher_settle_seed(struct publisher *p, struct db *db, struct err *err);

/* ---- publish_rows.c ---- */
/* Append a stored document; ERR_CORRUPT when it is not there. */
int publish_doc_get(struct db *db, const char *repo, enum tuf_role role, int64_t version,
		    struct buf *out, struct err *err);
/* How the index names the first root of repo: q's column, or for rows of older versions, where that
 * is NULL, from the document. */
int publish_first_root(struct db *db, const char *repo, struct stmt *q, int column,
		       struct digest *ret, struct err *err);
/* channel and class NULL: the index. */
int making_begin(struct making *m, struct publisher *p, struct db *db, const char *channel,
		 const char *class, struct err *err);
/* Ends making_begin(): bad, or the row is written and the swap arranged. */
int making_finish(struct making *m, int bad);
int making_change_new(struct making *m);
int making_doc_put(struct making *m, const char *role, int64_t version, const char *path,
		   const void *bytes, size_t len, int64_t expires);
int making_add_doc(struct making *m, const char *path, const void *bytes, size_t len,
		   enum doc_cache cache, int64_t expires);
void change_free(void *change);
void change_apply(void *change); /* after the commit */

/* ---- publish_sign.c ---- */
void making_derive(const struct making *m, enum key_role role, struct sign_key *key);
/* Sign body with the role's key, store it, and tell what its parent must say of it. */
int making_sign(struct making *m, enum tuf_role role, enum key_role key_role, const json_t *body,
		int64_t version, int64_t expires, struct tuf_meta *ret);
/* Whether there is a root to sign under; development keys make it. */
int making_need_root(struct making *m, bool *ret_pending);
/* Take in a root, signed by whoever must: what other roles sign is made anew with the newest seed. */
int making_store_root(struct making *m, int64_t version, const void *bytes, size_t len,
		      int64_t expires);
const struct digest *making_newest_seed(const struct making *m);
int making_timestamp(struct making *m, const struct tuf_meta *snapshot);
int making_snapshot(struct making *m, const struct tuf_meta *targets, const struct tuf_meta *rules);
int making_targets(struct making *m, json_t *content, struct tuf_meta *ret); /* takes content */
/* An index's targets that were signed offline. */
int making_store_targets(struct making *m, int64_t version, const void *bytes, size_t len,
			 int64_t expires, struct tuf_meta *ret);
/* What a parent must say of role's stored document. */
int making_read_meta(struct making *m, enum tuf_role role, int64_t version, struct tuf_meta *ret);
int making_resign_timestamp(struct making *m); /* when it is due */
int64_t making_next_version(const struct publisher *p, int64_t version);

/* ---- publish_index.c ---- */
int publish_index(struct publisher *p, struct db *db, struct err *err);
/* Rules, snapshot and timestamp of an index whose targets are there. */
int making_index_online(struct making *m, const struct tuf_meta *targets);
/* A file that the index names, served until forget. */
int making_index_file(struct making *m, const char *name, const void *bytes, size_t len,
		      int64_t forget);

#endif
