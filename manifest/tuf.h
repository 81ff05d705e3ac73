/* tuf.h -- TUF metadata (specification 1.0.x) read and verified: the client's workflow of section 5
 * as a pure state machine.  The caller fetches and stores bytes and knows the time.
 *
 * Stricter than the specification where off-the-shelf clients have been fooled: key ids are
 * recomputed, signatures are counted by distinct key, `expires` has exactly one form,
 * consistent_snapshot is required, root.roles has exactly the four roles, and a target's path stays below
 * what it is joined to (file_path_below()).
 *
 * One refresh:  tuf_update_root() with N+1, N+2 ... until the server answers 404, then
 * tuf_update_timestamp(), and if what it names is new tuf_update_snapshot(), tuf_update_targets(),
 * and in the index repository tuf_update_rules().
 * After a restart: tuf_trust_root() with the stored root, then the other stored documents through
 * the same functions with now = TUF_STORED (they were fresh when stored; expiry is not asked), then
 * a refresh.  Store the documents of one refresh together, so that they fit each other.
 *
 * Errors: -1 with ERR_UNTRUSTED and trust->refusal; ERR_SYSTEM without memory.  What was trusted
 * before stays as it was.
 * Threads: a struct tuf_trust belongs to one. */
#ifndef MANIFEST_TUF_H
#define MANIFEST_TUF_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define TUF_ROOT_MAX 512000 /* bytes of a document */
#define TUF_TIMESTAMP_MAX 16384
#define TUF_SNAPSHOT_MAX 2000000
#define TUF_TARGETS_MAX 5000000
#define TUF_ROOT_STEPS 256   /* roots to climb in one refresh: the caller's bound */
#define TUF_SIGNATURES_MAX 32 /* of a document */
#define TUF_STORED INT64_MIN /* as `now`: do not ask for expiry */

/* RULES is the index repository's one delegated role. */
enum tuf_role { TUF_ROOT, TUF_TIMESTAMP, TUF_SNAPSHOT, TUF_TARGETS, TUF_RULES, TUF_ROLES };

enum tuf_refusal {
	TUF_ACCEPTED,
	TUF_TOO_LARGE,	  /* beyond the role's limit */
	TUF_MALFORMED,	  /* not JSON, a member missing or of a wrong form */
	TUF_TYPE,	  /* another role's document */
	TUF_SPEC,	  /* a spec_version that is not 1.x */
	TUF_KEY_ID,	  /* a key listed under an id that is not its own */
	TUF_UNSIGNED,	  /* no valid signature by the role's keys */
	TUF_THRESHOLD,	  /* some, but too few */
	TUF_ROLLBACK,	  /* older than what is trusted, or a file gone from the snapshot */
	TUF_VERSION_JUMP, /* a root that is not the next one */
	TUF_VERSION,	  /* not the version that the parent document names */
	TUF_LENGTH,	  /* not the length that the parent document names */
	TUF_HASH,	  /* not the bytes that the parent document names */
	TUF_EXPIRED,	  /* this document, or one it builds on */
	TUF_ORDER,	  /* a document before the one it builds on */
	TUF_NOT_LISTED,	  /* the parent document does not name it */
	TUF_REFUSALS
};

struct tuf_trust {
	json_t *body[TUF_ROLES]; /* each role's verified `signed`, owned; NULL: none */
	int64_t version[TUF_ROLES];
	int64_t expires[TUF_ROLES];  /* UTC seconds */
	enum tuf_refusal refusal;    /* of the last call */
};

void tuf_init(struct tuf_trust *trust);
void tuf_done(struct tuf_trust *trust); /* empty afterwards */
#define AUTO_TUF __attribute__((cleanup(tuf_done)))

/* The root to begin with: embedded, stored, or named by the index.  It must be signed by a
 * threshold of its own keys; it may be expired.  Forgets everything else. */
int tuf_trust_root(struct tuf_trust *trust, const char *bytes, size_t len,
		   struct err *err) CHECKED;

/* The next root: version + 1, signed by a threshold of the trusted root's keys and of its own.
 * When the timestamp's or the snapshot's keys change, both documents are forgotten and what they
 * vouched for with them (recovery from a fast-forward, section 5.3.11); when those of targets
 * change, targets and rules are. */
int tuf_update_root(struct tuf_trust *trust, const char *bytes, size_t len,
		    struct err *err) CHECKED;

/* The same version as trusted changes nothing and is no error. */
int tuf_update_timestamp(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
			 struct err *err) CHECKED;
int tuf_update_snapshot(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
			struct err *err) CHECKED;
int tuf_update_targets(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		       struct err *err) CHECKED;
/* The role "rules" that targets delegates to. */
int tuf_update_rules(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		     struct err *err) CHECKED;

/* What a parent document says of a child. */
struct tuf_meta {
	int64_t version, length;
	struct digest sha256;
};

/* What the trusted parent says of role (SNAPSHOT: the timestamp; TARGETS, RULES: the snapshot).
 * -1 with TUF_ORDER or TUF_NOT_LISTED. */
int tuf_meta_get(struct tuf_trust *trust, enum tuf_role role, struct tuf_meta *ret_meta,
		 struct err *err) CHECKED;

struct tuf_target {
	int64_t length;
	struct digest sha256;
	const json_t *custom; /* borrowed from the trust; NULL: none */
};

/* A file that the trusted targets name, or the delegated rules where targets permits them that
 * path (compared whole, no patterns).  ERR_NOT_FOUND; no refusal. */
int tuf_target_find(const struct tuf_trust *trust, const char *path,
		    struct tuf_target *ret_target, struct err *err) CHECKED;

/* When the first of root, timestamp, snapshot, targets (and rules, if targets delegates to it)
 * expires.  INT64_MIN unless all are there and each is the one that its parent names. */
int64_t tuf_expires(const struct tuf_trust *trust);

/* Whether one of a document's "signatures" is a valid one by key over canon, the canonical form of
 * its `signed`. */
bool tuf_signed_by(const json_t *signatures, const struct buf *canon,
		   const struct public_key *key);

size_t tuf_max_bytes(enum tuf_role role);
const char *tuf_role_name(enum tuf_role role);	     /* "root" ... "rules" */
const char *tuf_refusal_name(enum tuf_refusal refusal); /* "rollback", "version-jump" ... */

#endif
