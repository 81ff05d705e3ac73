/* upload_internal.h -- an upload's row and file from inside, for upload*.c only.
 *   upload.c         rows and files; creating, asking
 *   upload_append.c  what arrives, and what of it counts against quotas before and after
 *   upload_end.c     finishing, dropping, the lease's end
 * Threads: any; the ledger's too, with its own db. */
#ifndef STORE_UPLOAD_INTERNAL_H
#define STORE_UPLOAD_INTERNAL_H

#include "store/upload.h"

enum upload_statement {
	UQ_ADD,
	UQ_GET,
	UQ_SAME,
	UQ_OPEN_COUNT,
	UQ_RENEW,
	UQ_RECEIVED,
	UQ_UNSTATED,
	UQ_FINISH,
	UQ_DROP,
	UQ_EXPIRED,
	UQ_COUNT
};

#define UPLOAD_PATH 600 /* bytes of a file's path */

/* ---- upload.c ---- */

/* Whether id has an id's form: only then may it be part of a path. */
bool upload_id_ok(const char *id);
int upload_unknown(struct err *err); /* -1 with ERR_NOT_FOUND */
/* A text column, cut to room bytes; "": NULL. */
void upload_text_read(struct stmt *q, int col, char *out, size_t room);
/* All of an upload but its offset, which the file tells.  Another token's is ERR_NOT_FOUND
 * (token NULL: anyone). */
int upload_row_get(struct db *db, const char *id, const char *token, struct upload *ret_upload,
		   struct err *err) CHECKED;

void upload_path(struct blobs *blobs, const char *id, char out[static UPLOAD_PATH]);
/* The upload's file, for this caller alone until it is closed; ERR_BUSY: another has it. */
int upload_file_claim(struct blobs *blobs, const char *id, struct err *err) CHECKED;
/* The end of the file, and all before it durable. */
int upload_durable_end(int fd, int64_t *ret_end, struct err *err) CHECKED;

/* ---- upload_append.c ---- */

/* Give back what was reserved by requests that broke off, or that a crash ended. */
int upload_reserves_settle(struct blobs *blobs, struct db *db, struct err *err) CHECKED;

#endif
