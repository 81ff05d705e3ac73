/* publisher_store.h -- who may publish, the envelopes they signed, and what is revoked, as rows.
 * What counts is the list that the index names, signed offline; the rows are what the next one
 * will say.
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef MANIFEST_PUBLISHER_STORE_H
#define MANIFEST_PUBLISHER_STORE_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/publishers.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set publisher_sql;

#define REVOCATIONS 256 /* a manifest carries them all */

/* ---- the list ---- */

/* publishers.json as the rows want it; the caller's. */
int publisher_wanted(struct db *db, json_t **ret_document, struct err *err) CHECKED;
/* publishers.json as it is published, read into the arena; without an index, an empty list. */
int publisher_published(struct db *db, struct arena *arena, struct publisher_list *ret_list,
			struct err *err) CHECKED;

/* body: {"key":{"keytype":...},"models":[...]}.  Replaces the publisher of that name.
 * ERR_CONFLICT when another one has the key, or it is revoked. */
int publisher_put(struct db *db, const char *name, const json_t *body, int64_t now,
		  struct err *err) CHECKED;
/* Take the publisher out and revoke the key, which counts at once; *ret_key: its id.
 * ERR_NOT_FOUND. */
int publisher_revoke(struct db *db, const char *name, const char *reason, const char *actor,
		     int64_t now, struct digest *ret_key, struct err *err) CHECKED;
/* body: {"required":bool?,"floors":{model:counter}?}; floors only rise (ERR_CONFLICT). */
int publisher_policy_put(struct db *db, const json_t *body, struct err *err) CHECKED;

/* ---- envelopes ---- */

/* Keep the envelope (a JSON object) of a draft's variant: it must be about exactly that variant.
 * Who signed it is asked when the release is published. */
int publisher_envelope_put(struct db *db, const char *model, const char *release,
			   const char *tier, const json_t *envelope, struct err *err) CHECKED;
/* Whether every variant of the release is signed as the published list wants it.  ERR_UNTRUSTED
 * names the tier and what to do. */
int publisher_release_check(struct db *db, const char *model, const char *release,
			    struct err *err) CHECKED;
/* fn(arg, digest, bytes, len) for each envelope of the release. */
int publisher_envelopes(struct db *db, const char *model, const char *release,
			int (*fn)(void *arg, const struct digest *digest, const void *bytes,
				  size_t len, struct err *err),
			void *arg, struct err *err) CHECKED;

/* The least counter and the greatest floor among a release's envelopes; 0 without any. */
int publisher_counters(struct db *db, const char *model, const char *release,
		       int64_t *ret_counter, int64_t *ret_floor, struct err *err) CHECKED;

/* Whether devices that have settled on the release `held` would install `release`: its counter must not
 * be below held's floor, nor below the model's on the published list.  ERR_CONFLICT says what to do. */
int publisher_floor_check(struct db *db, const char *model, const char *release, const char *held,
			  struct err *err) CHECKED;

/* ---- revocations ---- */

/* ERR_TOO_LARGE beyond REVOCATIONS; again is fine. */
int publisher_revocation_add(struct db *db, const struct digest *digest, const char *what,
			     const char *reason, const char *actor, int64_t now,
			     struct err *err) CHECKED;
/* ERR_NOT_FOUND. */
int publisher_revocation_end(struct db *db, const struct digest *digest, struct err *err) CHECKED;
/* [{digest, what, reason, actor, created}], oldest first. */
int publisher_revocations(struct db *db, json_t **ret_items, struct err *err) CHECKED;
/* All of them, into the arena. */
int publisher_revoked(struct db *db, struct arena *arena, struct digest **ret_digests,
		      unsigned *ret_count, struct err *err) CHECKED;

#endif
