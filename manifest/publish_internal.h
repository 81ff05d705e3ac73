/* publish_internal.h -- one publication under way, for the files publish*.c and signing.c only.
 *   publisher.c     the publisher: clock guard, snapshot, loading
 *   publish_change.c  documents made, on their way into rows and snapshot
 *   publish_rows.c  rows of repositories and documents; from begin to commit
 *   publish_sign.c  the roles' documents, signed
 *   publish_index.c the index, and publishers' envelopes
 *   publish.c       classes; many at once
 *   publish_due.c   signing anew
 *   publish_restored.c  what was published against what the database knows
 * Threads: the ledger's, but for publisher's lock, and for what publish_due.c signs on several: all
 * that making_timestamp(), _snapshot() and _store_targets() use works on one making only. */
#ifndef MANIFEST_PUBLISH_INTERNAL_H
#define MANIFEST_PUBLISH_INTERNAL_H

#include "base/digest.h"
#include "base/map.h"
#include "manifest/publish.h"
#include "manifest/tuf_build.h"

#include <pthread.h>

#define DAY_S 86400
#define TIMESTAMP_LIFE_S DAY_S
#define MANIFEST_LIFE_S (3 * DAY_S)
#define ROOT_LIFE_S (3650 * DAY_S)
#define KEEP_S (7 * DAY_S)	   /* numbered documents after their life began to end */
#define REPO_NAME 160
#define DOC_MAX TUF_TARGETS_MAX
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
	PQ_REPO_ANEW,
	PQ_COUNT
};

struct publisher {
	struct keystore keys;
	const struct clock *clock;
	int64_t wall_ms, monotonic_ms; /* when it was made: the clock guard's origin */
	void (*on_doc)(void *arg, struct doc *doc);
	void *on_doc_arg;
	int64_t last_signed; /* the ledger thread's */
	int64_t publication, committed; /* the last that was given out, that is durable; the ledger
					   thread's */
	bool restored;	     /* nothing may be signed; the ledger thread's */
	atomic_bool withheld; /* ... nor served */
	struct digest online_id, next_id; /* of keys' seeds; the ledger thread's */

	pthread_mutex_t lock; /* guards current, stats, doubt, derived */
	struct map *derived;  /* online keys by repository and role */
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

/* A document, and the row that keeps it. */
struct made {
	struct doc *doc;
	char *role;  /* owned; NULL: no row, it is served under a second name */
	int64_t row; /* the row's version */
	int64_t expires;
};

/* Documents made in this transaction, on their way into rows and the snapshot. */
struct change {
	struct publisher *publisher;
	char repo[REPO_NAME];
	int64_t now;
	int64_t publication; /* 0: not known */
	struct made *made;
	unsigned count, room;
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
/* Time that jumped must not be signed, nor what a restored backup says: ERR_CONFLICT. */
int publisher_may_sign(struct publisher *p, int64_t now, struct err *err);

void publisher_name_seeds(struct publisher *p); /* after its keys changed */
/* Into the stats; after keys or roots changed. */
int publisher_count_stranded(struct publisher *p, struct db *db, struct err *err);
/* When no repository needs the old seed any more. */
int publisher_settle_seed(struct publisher *p, struct db *db, struct err *err);

/* ---- publish_restored.c ---- */
/* At start: whether the database is older than what was published. */
int publisher_compare(struct publisher *p, struct db *db, struct err *err);
/* After a commit: so far it has come, for the next start to compare. */
void publisher_came_to(struct publisher *p, int64_t publication);
void publisher_note(struct publisher *p); /* ... if that could not be written then */

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
/* The same from the current row of PQ_REPO_DUE, whose texts it borrows. */
int making_begin_due(struct making *m, struct publisher *p, struct db *db, struct stmt *due,
		     struct err *err);
/* Ends making_begin(): bad, or the row is written and the swap arranged. */
int making_finish(struct making *m, int bad);
/* The same for one of many; publish_remember() once for all of them. */
int making_store(struct making *m, int bad);
/* That something was signed at now, as the next publication. */
int publish_remember(struct publisher *p, struct db *db, int64_t now, int64_t *ret_publication,
		     struct err *err);
int making_put_documents(struct making *m); /* their rows */

/* ---- publish_change.c: any thread, each with a making of its own ---- */
int making_change_new(struct making *m);
/* Serve bytes at path, and keep them as the row (role, row). */
int making_keep(struct making *m, const char *role, int64_t row, const char *path,
		const void *bytes, size_t len, enum doc_cache cache, int64_t expires);
/* Only serve them: they are kept under another path. */
int making_serve(struct making *m, const char *path, const void *bytes, size_t len,
		 enum doc_cache cache, int64_t expires);
void making_drop(struct making *m, const char *path); /* out of the change again */
void change_free(void *change);	 /* NULL is fine */
void change_apply(void *change); /* after the commit; the ledger's thread */

/* ---- publish_sign.c ---- */
void publish_derived_free(void *derived);
void making_derive(const struct making *m, enum key_role role, struct sign_key *key);
/* Sign body with the role's key, store it, and tell what its parent must say of it. */
int making_sign(struct making *m, enum tuf_role role, enum key_role key_role,
		const struct buf *body, int64_t version, int64_t expires, struct tuf_meta *ret);
/* The same of a role whose body is made of content, which is taken over. */
int making_sign_targets(struct making *m, enum tuf_role role, enum key_role key_role,
			json_t *content, int64_t version, int64_t expires, struct tuf_meta *ret);
/* Whether there is a root to sign under; development keys make it. */
int making_need_root(struct making *m, bool *ret_pending);
/* Whether what the root names can be signed as it is. */
bool making_has_seed(const struct making *m);
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
