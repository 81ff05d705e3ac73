/* tuf_build.h -- TUF metadata made and signed, in the shapes that tuf-js, python-tuf, go-tuf and
 * tough all accept.  Documents come out in canonical form whole, so the same input gives the same
 * bytes.  Times are UTC seconds.
 * Bodies (`signed` objects) are the caller's; NULL with *err when memory is short or an argument is
 * out of range (ERR_INVALID).
 * Threads: pure. */
#ifndef MANIFEST_TUF_BUILD_H
#define MANIFEST_TUF_BUILD_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/keys.h"
#include "manifest/tuf.h"

#include <jansson.h>

#define TUF_SPEC_VERSION "1.0.31"

struct tuf_key_set {
	const struct public_key *keys;
	unsigned count;
	unsigned threshold;
};

struct tuf_root_spec {
	int64_t version, expires;
	struct tuf_key_set roles[TUF_RULES]; /* ROOT, TIMESTAMP, SNAPSHOT, TARGETS */
};

json_t *tuf_root_body(const struct tuf_root_spec *spec, struct err *err) CHECKED;
/* The bodies of timestamp and snapshot, already in canonical form, appended to out.  rules may be NULL:
 * the repository has no delegated role. */
int tuf_timestamp_text(int64_t version, int64_t expires, const struct tuf_meta *snapshot,
		       struct buf *out, struct err *err) CHECKED;
int tuf_snapshot_text(int64_t version, int64_t expires, const struct tuf_meta *targets,
		      const struct tuf_meta *rules, struct buf *out, struct err *err) CHECKED;
/* content: an object with "targets" and whatever goes beside it ("flotilla", "delegations");
 * TUF's own members are added to it.  Taken over, also on failure.  NULL, as a failed maker gives
 * it, is passed on with *err untouched. */
json_t *tuf_targets_body(int64_t version, int64_t expires, json_t *content,
			 struct err *err) CHECKED;

/* One entry of "targets".  custom is taken over; NULL: none.  NULL without memory. */
json_t *tuf_target_json(int64_t length, const struct digest *sha256, json_t *custom) CHECKED;
/* The "delegations" that hand `path` to the role "rules". */
json_t *tuf_delegations_json(const struct tuf_key_set *keys, const char *path,
			     struct err *err) CHECKED;
/* What a parent says of these bytes. */
void tuf_meta_of(struct tuf_meta *ret_meta, int64_t version, const char *bytes, size_t len);

/* Append the document {"signatures":[...],"signed":body}.  Signing twice with one key is an
 * ERR_INVALID. */
int tuf_sign(const json_t *body, const struct sign_key *const *keys, unsigned count,
	     struct buf *out, struct err *err) CHECKED;
/* The same of a body in canonical form. */
int tuf_sign_text(const struct buf *canon, const struct sign_key *const *keys, unsigned count,
		  struct buf *out, struct err *err) CHECKED;
/* Append bytes, a document as tuf_sign() made it, with another version and expiry and signed anew by
 * key alone: the same as signing its body with these again, at the price of the signature.
 * ERR_CORRUPT when bytes are no such document. */
int tuf_renew(const char *bytes, size_t len, int64_t version, int64_t expires,
	      const struct sign_key *key, struct buf *out, struct err *err) CHECKED;
/* Add, or replace, key's signature on a document that others have signed: how several holders of
 * root keys sign one root. */
int tuf_cosign(const char *bytes, size_t len, const struct sign_key *key, struct buf *out,
	       struct err *err) CHECKED;

#endif
