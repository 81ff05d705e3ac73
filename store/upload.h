/* upload.h -- raw files sent by plain clients: append, resume at the durable offset, finish.
 * An upload is a row and a file tmp/upload-<id>; finishing cuts the file into packs and a recipe
 * (chop.h), after which the row holds the recipe until its lease ends.  The lease is renewed by
 * every append.
 * An upload belongs to the token that created it; others get ERR_NOT_FOUND (token NULL: anyone).
 * What is open counts against the token's quota (taken.h): its length from the creation on, or,
 * where none was stated, what has arrived and what a request under way may still bring.
 * Threads: any; writers wait for the ledger.  db is a reading connection of the caller's.  Two
 * appends, or an append and the finish, exclude each other by a lock on the file: ERR_BUSY. */
#ifndef STORE_UPLOAD_H
#define STORE_UPLOAD_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/inventory.h"
#include "store/scope.h"
#include "store/taken.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set upload_sql;

#define UPLOAD_ID 34	     /* "u", 32 hex digits, and a NUL */
#define UPLOAD_NAME 128	     /* bytes of a name, with its NUL */
#define UPLOAD_TOKEN 64
#define UPLOAD_LEASE_S 86400 /* an upload that nobody touches for so long is dropped */
#define UPLOADS_A_TOKEN 64   /* open ones at the most, unless its quota says; ERR_QUOTA beyond */

struct upload {
	char id[UPLOAD_ID];
	char token[UPLOAD_TOKEN]; /* id of the token that created it */
	char name[UPLOAD_NAME];	  /* for people; "": none */
	int64_t length;		  /* of the whole file; -1: not stated */
	bool has_sha256;	  /* stated */
	struct digest sha256;
	bool finished;
	struct digest recipe; /* once finished */
	int64_t offset;	      /* bytes that are durable; length once finished */
	int64_t received;     /* what the quota counts; during an append more than offset */
	bool resumed;	      /* by upload_create(): it was there */
	int64_t expires;
};

struct upload_spec {
	struct taker taker;	     /* whose it will be, and its quota */
	const char *name;	     /* NULL: none */
	int64_t length;		     /* -1: not stated */
	int64_t max_length;	     /* of any file */
	const struct digest *sha256; /* NULL: not stated */
};

/* also (NULL: nothing) here and below: see inventory.h.  Where length and sha256 are stated, and the
 * token has an upload of the same, open or finished, that one is the answer: who was killed goes on
 * with it. */
int upload_create(struct blobs *blobs, struct db *db, const struct upload_spec *spec, int64_t now,
		  const struct also *also, struct upload *ret_upload, struct err *err) CHECKED;
int upload_get(struct blobs *blobs, struct db *db, const char *id, const char *token,
	       struct upload *ret_upload, struct err *err) CHECKED;

struct upload_part {
	int64_t offset;	    /* must be the file's end (ERR_CONFLICT names it) */
	int64_t len;	    /* bytes announced; -1: unknown */
	int64_t max_length; /* of any file */
};
/* Open for appending part.  ERR_FULL unless it fits on the disk, ERR_QUOTA unless in the quota.
 * *ret_max: bytes that may be appended at the most.  Closing *ret_fd releases the upload; what was
 * written stays.  With a quota and no stated length, what may come counts from now on (without
 * part->len: all that is left), until upload_appended(), or upload_expire() after it broke off. */
int upload_append(struct blobs *blobs, struct db *db, const char *id, const struct taker *taker,
		  const struct upload_part *part, int64_t now, int *ret_fd, int64_t *ret_max,
		  struct err *err) CHECKED;
/* Make what was written to fd durable and renew the lease; tells the new end. */
int upload_appended(struct blobs *blobs, const char *id, int fd, int64_t now,
		    int64_t *ret_offset, struct err *err) CHECKED;

/* The whole file is there: check, cut, store.  sha256 (NULL: as stated at creation, or none).
 * scope (NULL: none): chunks are shared within it only.  Repeated: the same answer. */
int upload_finish(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  const struct scope *scope, const struct digest *sha256, int64_t now,
		  const struct also *also, struct recipe_info *ret_info, struct err *err) CHECKED;
int upload_drop(struct blobs *blobs, struct db *db, const char *id, const char *token,
		const struct also *also, struct err *err) CHECKED;

/* Drop those whose lease is over, and files in tmp/ that no row names; tells how many.  Gives back to
 * quotas what was reserved for appends that broke off. */
int upload_expire(struct blobs *blobs, struct db *db, int64_t now, unsigned *ret_dropped,
		  struct err *err) CHECKED;

#endif
