/* ceremony.h -- the file that goes round among the holders of root keys.  The server writes what
 * awaits a signature (flotilla keys export), each holder adds public keys (derive) and signatures
 * (sign-root) on a machine that needs no network, and the server takes it back (import).
 *
 *   {"schema":1,"kind":"flotilla-ceremony",
 *    "repos":[{"channel":"stable","class":"phone",          (neither: the index)
 *              "version":2,"expires":1795000000,
 *              "online":{"timestamp":KEY,"snapshot":KEY,"targets":KEY},   (index: without targets)
 *              "offline":{"root":[KEY...],"targets":[KEY...]},           (targets: index only)
 *              "holders":3,"threshold":2,
 *              "previous":DOCUMENT,                          (the root in force; absent: the first)
 *              "document":DOCUMENT}],                        (made by the first who signs)
 *    "index":{"version":7,"expires":1795000000,"rules":KEY,
 *             "signers":{"keys":[KEY...],"threshold":2},     (absent: those of the index above)
 *             "publishers":{...},"published":{...},          (publishers.json wanted, and in force)
 *             "channels":{"stable":{"phone":DIGEST}},        (classes that have a first root)
 *             "document":DOCUMENT}}                          ("index" absent: nothing new in it)
 *
 * Holders derive their keys from seeds of their own, per (channel, class, role), so a root is signed
 * by threshold of holders different people.  Every document is a function of the file, so that all
 * sign the same bytes: who finds one that is not what the file says refuses to sign.
 * roots/{channel}.json names a first root by the digest of its `signed` in canonical form: by then it
 * is known, whoever signs it in which order.
 * Threads: pure. */
#ifndef MANIFEST_CEREMONY_H
#define MANIFEST_CEREMONY_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CEREMONY_BYTES ((size_t)128 << 20) /* of a file */
#define CEREMONY_KIND "flotilla-ceremony"
#define CEREMONY_HOLDERS 16
#define CEREMONY_CHANNELS 128

/* Whether it is such a file; ERR_INVALID says why not.  Members are checked when they are used. */
int ceremony_check(const json_t *file, struct err *err) CHECKED;

/* Add the holder's public keys where they are still lacking.  *ret_added: repositories. */
int ceremony_derive(json_t *file, const struct key_seed *holder, unsigned *ret_added,
		    struct err *err) CHECKED;

struct ceremony_count {
	unsigned documents; /* that the file asks for */
	unsigned complete;  /* signed by a threshold, of the root before too */
	unsigned lacking;   /* repositories that holders have yet to add keys to */
	unsigned mine;	    /* signatures that ceremony_sign() added */
};

/* Sign whatever this holder may.  ERR_CONFLICT while keys are lacking, or when a document in the
 * file is not what the file says. */
int ceremony_sign(json_t *file, const struct key_seed *holder, struct ceremony_count *ret_count,
		  struct err *err) CHECKED;
int ceremony_count(const json_t *file, struct ceremony_count *ret_count, struct err *err) CHECKED;

/* Append what signing it would change, for people: a line each, "- " before what goes. */
int ceremony_describe(const json_t *file, struct buf *out, struct err *err) CHECKED;

/* ---- for the server that takes it back ---- */

/* One repository's new root, verified: signed by its own threshold and by that of `previous`, and
 * with exactly the keys that the file names. */
struct ceremony_root {
	const char *channel, *class; /* NULL: the index; borrowed from the file */
	int64_t version, expires;
	struct public_key timestamp, snapshot, targets; /* targets: of a class only */
	json_t *previous; /* borrowed; NULL: none */
	struct buf document; /* the caller's: ceremony_root_done() */
};
int ceremony_root(const json_t *file, size_t i, struct ceremony_root *ret_root,
		  struct err *err) CHECKED;
void ceremony_root_done(struct ceremony_root *root);
#define AUTO_CEREMONY_ROOT __attribute__((cleanup(ceremony_root_done)))

/* A file that the index names: "publishers.json", "roots/stable.json". */
struct ceremony_file {
	char path[160];
	struct buf bytes;
};
struct ceremony_index {
	int64_t version, expires;
	struct public_key rules;
	struct buf document;
	struct ceremony_file files[CEREMONY_CHANNELS + 1];
	unsigned file_count;
};
/* The index's targets, verified: signed by a threshold of signers, the targets role of the index's
 * root in force once the file is taken in (a root's `signed`). */
int ceremony_index(const json_t *file, const json_t *index_root, struct ceremony_index *ret_index,
		   struct err *err) CHECKED;
void ceremony_index_done(struct ceremony_index *index);
#define AUTO_CEREMONY_INDEX __attribute__((cleanup(ceremony_index_done)))

/* How the index names a first root: the digest of its `signed`.  ERR_INVALID. */
int ceremony_root_digest(const char *bytes, size_t len, struct digest *ret_digest,
			 struct err *err) CHECKED;

#endif
