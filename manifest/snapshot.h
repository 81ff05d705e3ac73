/* snapshot.h -- the published documents as an immutable value: path -> document.
 * A change makes a new snapshot that shares everything it did not touch: repositories lie in shards
 * by a hash of their name, so the work of a change does not grow with the fleet.
 * Threads: a snapshot may be read by any that holds a reference; making one is the ledger thread's. */
#ifndef MANIFEST_SNAPSHOT_H
#define MANIFEST_SNAPSHOT_H

#include "base/cc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How long caches may keep a document. */
enum doc_cache {
	DOC_IMMUTABLE, /* its name is its version or digest */
	DOC_SHORT      /* replaced in place: timestamp.json, manifest.json */
};

/* One document; immutable but for its reference count. */
struct doc {
	atomic_uint refs;
	enum doc_cache cache;
	char *path; /* "/v1/c/stable/android-8g/tuf/timestamp.json" */
	char *bytes;
	size_t len;
	char etag[35];	 /* with its quotes: 128 bits of the SHA-256 */
	int64_t expires; /* UTC seconds: when an immutable one may be forgotten (INT64_MAX: never);
			    when the signature of one that is replaced in place ends */
	void *reply;	 /* a finished response, made by the publisher's hook */
	void (*reply_free)(void *reply);
};

/* path and bytes are copied.  NULL without memory; the caller's reference. */
struct doc *doc_new(const char *path, const void *bytes, size_t len, enum doc_cache cache,
		    int64_t expires) CHECKED;
void doc_unref(struct doc *doc); /* NULL is fine */

struct snapshot;

struct snapshot *snapshot_new(void) CHECKED; /* empty; NULL without memory */
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot); /* NULL is fine */

/* The document at a URL path ("/v1/index/...", "/v1/attest/..." or "/v1/c/{channel}/{class}/...").  No lock, no
 * allocation; borrowed from the snapshot; NULL: none. */
const struct doc *snapshot_find(const struct snapshot *snapshot, const char *path);

/* old with docs in it (replacing those of equal path) and without immutable ones that may be
 * forgotten by now, all of one repository.  The docs' references are taken over, also on failure (NULL without memory). */
struct snapshot *snapshot_with(const struct snapshot *old, const char *repo, struct doc **docs,
			       unsigned count, int64_t now) CHECKED;

unsigned snapshot_documents(const struct snapshot *snapshot);
unsigned snapshot_repositories(const struct snapshot *snapshot);
/* The earliest expiry of a document that is replaced in place; INT64_MAX: none. */
int64_t snapshot_first_expiry(const struct snapshot *snapshot);

#endif
