/* ceremony_internal.h -- a ceremony's file from inside, for ceremony*.c only.
 *   ceremony.c            the file: its members read, and told to people
 *   ceremony_documents.c  the documents it stands for: made, verified, taken back
 *   ceremony_sign.c       a holder's part: keys and signatures added, and counted
 * Threads: pure. */
#ifndef MANIFEST_CEREMONY_INTERNAL_H
#define MANIFEST_CEREMONY_INTERNAL_H

#include "manifest/ceremony.h"
#include "manifest/tuf.h"

#define FILE_MAX TUF_TARGETS_MAX /* of a document, or of a file that the index names */

/* One member of "repos", read. */
struct ceremony_repo {
	json_t *object; /* borrowed */
	const char *channel, *class;
	int64_t version, expires, holders, threshold;
	struct public_key online[3]; /* timestamp, snapshot, targets */
	struct public_key root[CEREMONY_HOLDERS], targets[CEREMONY_HOLDERS];
	unsigned root_count, targets_count;
	json_t *previous, *document; /* borrowed; NULL: none */
};

/* What a document's signatures must come from. */
struct ceremony_signers {
	const struct public_key *keys;
	unsigned count, threshold;
};

/* ---- ceremony.c ---- */
/* The i-th member of "repos". */
int ceremony_read_repo(struct ceremony_repo *r, const json_t *file, size_t i,
		       struct err *err) CHECKED;
size_t ceremony_repo_total(const json_t *file); /* how many there are */
/* Whether key is in the list. */
bool ceremony_among(const struct public_key *key, const struct public_key *list, unsigned count);
/* The keys of one of a root's roles. */
int ceremony_role_keys(const json_t *root, const char *role,
		       struct public_key keys[CEREMONY_HOLDERS], struct ceremony_signers *ret,
		       struct err *err) CHECKED;
/* Who signs the index's targets, by what the file says. */
int ceremony_index_signers(const json_t *file, struct public_key keys[CEREMONY_HOLDERS],
			   struct ceremony_signers *ret, struct err *err) CHECKED;

/* ---- ceremony_documents.c ---- */
/* The root that the file asks for, to be signed; NULL. */
json_t *ceremony_root_body(const struct ceremony_repo *r, struct err *err);
/* The index's part of the file into *index, all but the document; NULL or its body. */
json_t *ceremony_index_body(const json_t *file, struct ceremony_index *index, struct err *err);
/* Whether a threshold of the signers has signed document, which may be NULL. */
bool ceremony_enough(const json_t *document, const struct ceremony_signers *signers);

#endif
