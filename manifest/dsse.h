/* dsse.h -- DSSE envelopes (github.com/secure-systems-lab/dsse, protocol.md and envelope.md): a
 * payload of exact bytes, its type, and signatures over both.
 *   {"payload":BASE64,"payloadType":TEXT,"signatures":[{"keyid":HEX,"sig":BASE64}]}
 * What is signed is "DSSEv1 LEN(type) type LEN(payload) payload", lengths in decimal, one space
 * between; so no canonical JSON is needed.  Signatures are Ed25519.
 * Threads: pure. */
#ifndef MANIFEST_DSSE_H
#define MANIFEST_DSSE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define DSSE_MAX 65536	  /* bytes of an envelope */
#define DSSE_SIGNATURES 8 /* in one */

struct dsse {
	json_t *envelope;   /* owned */
	const char *type;   /* borrowed from envelope */
	struct buf payload; /* decoded; not ended by a zero byte */
	struct buf signed_bytes;
};

/* Read an envelope; dsse_done() it, also after a failure.  ERR_INVALID names the member;
 * ERR_TOO_LARGE beyond DSSE_MAX.  No signature has been looked at yet. */
int dsse_open(struct dsse *dsse, const char *bytes, size_t len, struct err *err) CHECKED;
void dsse_done(struct dsse *dsse);
#define AUTO_DSSE __attribute__((cleanup(dsse_done)))

/* Whether one of the signatures is by this key.  The key ids in the envelope are only hints of
 * others and are not believed. */
bool dsse_signed_by(const struct dsse *dsse, const struct public_key *key);

/* Append the envelope of payload, signed by key. */
int dsse_sign(const char *type, const void *payload, size_t len, const struct sign_key *key,
	      struct buf *out, struct err *err) CHECKED;

#endif
