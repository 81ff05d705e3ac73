/* upload.h -- raw files sent by plain clients: append, resume at the durable offset, finish.
 * An upload is a row and a file tmp/upload-<id>; finishing cuts the file into packs and a recipe
 * (chop.h), after which the row holds the recipe until its lease ends.  The lease is renewed by
 * every append.
 * An upload belongs to the token that created it; others get ERR_NOT_FOUND (token NULL: anyone).
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

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set upload_sql;

#define UPLOAD_ID 34	     /* "u", 32 hex digits, and a NUL */
#define UPLOAD_NAME 128	     /* bytes of a name, with its NUL */
#define UPLOAD_TOKEN 64
#define UPLOAD_LEASE_S 86400 /* an upload that nobody touches for so long is dropped */
#define UPLOADS_A_TOKEN 64   /* open ones at the most; ERR_QUOTA beyond */

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
	int64_t expires;
};

struct upload_spec {
	const char *token;
	const char *name;	     /* NULL: none */
	int64_t length;		     /* -1: not stated */
	int64_t max_length;	     /* of any file */
	const struct digest *sha256; /* NULL: not stated */
};

/* also (NULL: nothing) here and below: see inventory.h. */
int upload_create(struct blobs *blobs, const struct upload_spec *spec, int64_t now,
		  const struct also *also, struct upload *ret_upload, struct err *err) CHECKED;
int upload_get(struct blobs *blobs, struct db *db, const char *id, const char *token,
	       struct upload *ret_upload, struct err *err) CHECKED;

/* Open for appending at offset, which must be the file's end (ERR_CONFLICT names it).  len: bytes
 * announced, -1: unknown; ERR_FULL unless they fit on the disk.  *ret_max: bytes that may be
 * appended at the most.  Closing *ret_fd releases the upload; what was written stays. */
int upload_append(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  int64_t offset, int64_t len, int64_t max_length, int *ret_fd, int64_t *ret_max,
		  struct err *err) CHECKED;
/* Make what was written to fd durable and renew the lease; tells the new end. */
int upload_appended(struct blobs *blobs, const char *id, int fd, int64_t now,
		    int64_t *ret_offset, struct err *err) CHECKED;

/* The whole file is there: check, cut, store.  sha256 (NULL: as stated at creation, or none).
 * Repeated: the same answer. */
int upload_finish(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  const struct digest *sha256, int64_t now, const struct also *also,
		  struct recipe_info *ret_info, struct err *err) CHECKED;
int upload_drop(struct blobs *blobs, struct db *db, const char *id, const char *token,
		const struct also *also, struct err *err) CHECKED;

/* Drop those whose lease is over, and files in tmp/ that no row names; tells how many. */
int upload_expire(struct blobs *blobs, struct db *db, int64_t now, unsigned *ret_dropped,
		  struct err *err) CHECKED;

#endif
