/* auth.h -- who may do what: bearer tokens, and Idempotency-Key.  Owns the tables tokens and
 * idempotency.
 * A token is "flt_" + 43 characters of random (256 bits) + 6 of checksum, all base64url; only its
 * SHA-256 is stored.  Requests are checked against a copy in memory, replaced whenever a
 * transaction that changed tokens is durable.
 * Threads: auth_check() from any; functions that take a struct db, from that connection's thread. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "server/request.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set auth_sql;

struct auth;

/* Load the tokens through db (borrowed for this call).  clock is borrowed for ever. */
int auth_new(struct auth **ret_auth, struct db *db, const struct clock *clock,
	     struct err *err) CHECKED;
void auth_free(struct auth *auth); /* NULL is fine */
DEFINE_AUTO(struct auth, auth_free)

/* The token of an Authorization header ("Bearer flt_...").  ERR_UNAUTHORIZED without one, or when
 * it is unknown, mistyped, revoked or expired.  Release *ret_who with auth_done(). */
int auth_check(struct auth *auth, const char *header, struct token *ret_who,
	       struct err *err) CHECKED;
void auth_done(struct token *who);
/* Whether who's role suffices for a route's; ERR_DENIED otherwise. */
int auth_role(const struct token *who, enum role wanted, struct err *err) CHECKED;

#define TOKEN_SECRET 54 /* "flt_" + 49 characters and a NUL */

struct token_spec {
	const char *name;
	enum role role;
	const json_t *models; /* array of names; NULL or empty: all */
	int64_t expires_s;    /* from now; 0: never */
	int64_t quota_bytes;  /* that it may bring a day (taken.h); 0: no bound */
	int64_t uploads;      /* open ones at the most; 0: UPLOADS_A_TOKEN */
};
struct token_made {
	char id[TOKEN_ID];
	char secret[TOKEN_SECRET]; /* told once, never stored */
};

/* Inside a ledger function: make and store a token.  ERR_INVALID names the wrong field. */
int auth_insert(struct auth *auth, struct db *db, const struct token_spec *spec,
		struct token_made *ret_made, struct err *err) CHECKED;
/* Inside a ledger function: end a token.  ERR_NOT_FOUND; ending it again is fine. */
int auth_revoke(struct auth *auth, struct db *db, const char *id, struct err *err) CHECKED;
/* All tokens, by id: [{id, name, role, models, created, expires, revoked, quota_bytes, uploads}]. */
int auth_list(struct db *db, json_t **ret_items, struct err *err) CHECKED;

/* Idempotency-Key (POST): an answer below 500 is kept for 24 hours under (token, key).  The same
 * request again is answered from there; another request under the same key is ERR_CONFLICT. */
struct idem {
	const char *token, *key;   /* borrowed */
	struct digest fingerprint; /* of method, path and body */
};
struct idem_answer {
	unsigned code;
	char *body; /* owned (malloc); JSON text */
};
/* 1: *ret_answer is what was answered before; 0: new; -1: error. */
int idem_find(struct db *db, const struct idem *idem, int64_t now,
	      struct idem_answer *ret_answer, struct err *err) CHECKED;
/* Inside a ledger function: keep the answer, and forget expired ones. */
int idem_store(struct db *db, const struct idem *idem, int64_t now, unsigned code,
	       const char *body, struct err *err) CHECKED;

/* Around all of it: ERR_CONFLICT while the same key is being worked on by another request. */
int idem_enter(struct auth *auth, const struct idem *idem, struct err *err) CHECKED;
void idem_leave(struct auth *auth, const struct idem *idem);

#endif
