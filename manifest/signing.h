/* signing.h -- the server's side of a ceremony (ceremony.h): what awaits an offline signature, what
 * came back signed, and the rotation of the online seed.
 * Threads: writing functions only inside ledger functions; the others any, each with its own db. */
#ifndef MANIFEST_SIGNING_H
#define MANIFEST_SIGNING_H

#include "base/cc.h"
#include "base/err.h"
#include "manifest/publish.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>

struct signing_options {
	int64_t holders, threshold; /* of roots that are new */
	bool all; /* every root anew, by these holders: when one joins or leaves */
};

/* The file to send round: roots of repositories that have none, or whose online seed is not the
 * newest, or that end within a year; and the index's targets when they would say something new.
 * ERR_NOT_FOUND: nothing awaits a signature.  ERR_CONFLICT with development keys, which sign at
 * once.  The caller's.  Only inside a ledger function, though it writes nothing: it reads the keys. */
int signing_request(struct publisher *publisher, struct db *db,
		    const struct signing_options *options, json_t **ret_file,
		    struct err *err) CHECKED;

/* Take the file back, all of it or nothing: verify, store, and publish what it allows.
 * ERR_UNTRUSTED when signatures are lacking, ERR_STALE when it was made before something changed.
 * *ret_done: {"roots":n,"index":bool}, the caller's. */
int signing_adopt(struct publisher *publisher, struct db *db, const json_t *file,
		  json_t **ret_done, struct err *err) CHECKED;

/* Whether every class that rules lead to has a root on every channel: ERR_CONFLICT names the first
 * that has none, and what to do.  With development keys they always do. */
int signing_ready(struct publisher *publisher, struct db *db, struct err *err) CHECKED;

/* Make the next online seed.  With development keys all roots follow at once; else they await
 * signatures, and the old seed goes on signing until they are in.  ERR_CONFLICT. */
int signing_rotate(struct publisher *publisher, struct db *db, struct err *err) CHECKED;

/* {"development":bool,"rotating":bool,"seed":id,"index_pending":bool,
 *  "repos":[{repo, channel, class, root, expires, holders, threshold, state}]}: state is "signed",
 * "pending" (no root yet), "rotating" (its root names the seed that goes), or "stranded" (its root
 * names a seed that is not here).  Only inside a ledger function, as signing_request(). */
int signing_list(struct publisher *publisher, struct db *db, json_t **ret_list,
		 struct err *err) CHECKED;

#endif
