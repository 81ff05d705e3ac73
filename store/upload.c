#include "store/upload_internal.h"

#include "base/file.h"
#include "base/hex.h"
#include "store/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_RETRY_S 600 /* for those who have too many open: uploads take their time */

static const char *const sql[] = {
	[UQ_ADD] = "INSERT INTO uploads (id, token, name, length, sha256, state, created, expires)"
		   " VALUES ($id, $token, $name, $length, $sha256, 'open', $now, $expires)",
	[UQ_GET] = "SELECT token, name, length, sha256, state, recipe, expires, received"
		   " FROM uploads WHERE id = $id",
	[UQ_SAME] = "SELECT id FROM uploads WHERE token = $token AND sha256 = $sha256"
		    " AND length = $length ORDER BY state, created DESC LIMIT 1",
	[UQ_OPEN_COUNT] = "SELECT count(*) FROM uploads WHERE token = $token AND state = 'open'",
	[UQ_RENEW] = "UPDATE uploads SET expires = $expires, received = $received"
		     " WHERE id = $id AND state = 'open'",
	[UQ_RECEIVED] = "UPDATE uploads SET received = $received WHERE id = $id AND state = 'open'",
	[UQ_UNSTATED] = "SELECT id FROM uploads WHERE state = 'open' AND length IS NULL"
			" AND id > $id ORDER BY id LIMIT $limit",
	[UQ_FINISH] = "UPDATE uploads SET state = 'finished', recipe = $recipe, length = $length,"
		      " expires = $expires WHERE id = $id AND state = 'open'",
	[UQ_DROP] = "DELETE FROM uploads WHERE id = $id",
	[UQ_EXPIRED] = "SELECT id FROM uploads WHERE expires < $now ORDER BY id LIMIT $limit",
};
const struct sql_set upload_sql = {"upload", sql, UQ_COUNT};

void upload_path(struct blobs *blobs, const char *id, char out[static UPLOAD_PATH])
{
	snprintf(out, UPLOAD_PATH, "%s/upload-%s", blobs_tmp(blobs), id);
}

/* "u" and 32 hex digits: an id never names another file. */
bool upload_id_ok(const char *id)
{
	return id[0] == 'u' && strlen(id) == UPLOAD_ID - 1 &&
	       strspn(id + 1, "0123456789abcdef") == UPLOAD_ID - 2;
}

int upload_unknown(struct err *err)
{
	return err_set(err, ERR_NOT_FOUND,
		       "there is no such upload: it was finished long ago, dropped, or its lease is"
		       " over; create a new one");
}

/* ---- Rows. ---- */

void upload_text_read(struct stmt *q, int col, char *out, size_t room)
{
	const char *text = stmt_col_text(q, col);

	snprintf(out, room, "%s", text ? text : "");
}

int upload_row_get(struct db *db, const char *id, const char *token, struct upload *ret_upload,
		   struct err *err)
{
	struct upload upload = {.length = -1};
	STMT(q, db, &upload_sql, UQ_GET);

	stmt_text(q, "$id", id);
	int row = stmt_step(q, err);
	if (row < 0)
		return -1;
	if (!row)
		return upload_unknown(err);
	snprintf(upload.id, sizeof(upload.id), "%s", id);
	upload_text_read(q, 0, upload.token, sizeof(upload.token));
	if (token && strcmp(token, upload.token))
		return upload_unknown(err);
	upload_text_read(q, 1, upload.name, sizeof(upload.name));
	if (!stmt_col_null(q, 2))
		upload.length = stmt_col_int(q, 2);
	upload.has_sha256 = !stmt_col_null(q, 3);
	if (upload.has_sha256 && stmt_col_digest(q, 3, &upload.sha256, err) < 0)
		return -1;
	upload.finished = !stmt_col_null(q, 5);
	if (upload.finished && stmt_col_digest(q, 5, &upload.recipe, err) < 0)
		return -1;
	upload.expires = stmt_col_int(q, 6);
	upload.received = stmt_col_int(q, 7);
	*ret_upload = upload;
	return 0;
}

struct creation {
	const struct upload_spec *spec;
	const struct upload *upload;
	int64_t now;
	const struct also *also;
};

static int open_room(struct db *db, const struct taker *taker, struct err *err)
{
	const int64_t max = taker->uploads ? taker->uploads : UPLOADS_A_TOKEN;
	STMT(count, db, &upload_sql, UQ_OPEN_COUNT);

	stmt_text(count, "$token", taker->token);
	int row = stmt_step(count, err);
	if (row < 0)
		return -1;
	if (stmt_col_int(count, 0) < max)
		return 0;
	err_set_text(err, ERR_QUOTA,
		     "uploads: this token may have %lld unfinished uploads and has them: finish or"
		     " delete some",
		     (long long)max);
	err->retry_s = OPEN_RETRY_S;
	return -1;
}

static int row_add(struct db *db, void *arg, struct err *err)
{
	const struct creation *creation = arg;
	const struct upload *upload = creation->upload;

	if (open_room(db, &creation->spec->taker, err) < 0 ||
	    taken_room(db, &creation->spec->taker, upload->length > 0 ? upload->length : 0,
		       creation->now, err) < 0)
		return -1;
	STMT(q, db, &upload_sql, UQ_ADD);
	stmt_text(q, "$id", upload->id);
	stmt_text(q, "$token", upload->token);
	stmt_text(q, "$name", creation->spec->name);
	if (upload->length >= 0)
		stmt_int(q, "$length", upload->length);
	if (upload->has_sha256)
		stmt_digest(q, "$sha256", &upload->sha256);
	stmt_int(q, "$now", creation->now);
	stmt_int(q, "$expires", upload->expires);
	return stmt_run(q, err) < 0 ? -1 : also_run(creation->also, db, NULL, err);
}

/* ---- Creating and asking. ---- */

static int spec_check(struct blobs *blobs, const struct upload_spec *spec, struct err *err)
{
	if (spec->length > spec->max_length)
		return err_set(err, ERR_TOO_LARGE, "length: a file may have %lld bytes at the most",
			       (long long)spec->max_length);
	if (strlen(spec->taker.token) >= UPLOAD_TOKEN)
		return err_set(err, ERR_INVALID, "token: its id is too long");
	if (spec->name && strlen(spec->name) >= UPLOAD_NAME)
		return err_set(err, ERR_INVALID, "name: %d bytes at the most", UPLOAD_NAME - 1);
	/* Raw, and then once more as packs. */
	return blobs_room(blobs, spec->length > 0 ? 2 * (uint64_t)spec->length : 0, err);
}

static int file_create(struct blobs *blobs, const char *path, struct err *err)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(err, "cannot create %s", path);
	return file_sync_dir(blobs_tmp(blobs), err);
}

/* 1: *ret_id is an upload of the same file, a finished one if there is; 0: there is none. */
static int same_find(struct db *db, const struct upload_spec *spec, char ret_id[static UPLOAD_ID],
		     struct err *err)
{
	STMT(q, db, &upload_sql, UQ_SAME);

	if (!spec->sha256 || spec->length < 0)
		return 0;
	stmt_text(q, "$token", spec->taker.token);
	stmt_digest(q, "$sha256", spec->sha256);
	stmt_int(q, "$length", spec->length);
	int row = stmt_step(q, err);
	if (row > 0)
		upload_text_read(q, 0, ret_id, UPLOAD_ID);
	return row;
}

static int create_new(struct blobs *blobs, const struct upload_spec *spec, int64_t now,
		      const struct also *also, struct upload *ret_upload, struct err *err)
{
	struct upload upload = {.id = "u",
				.length = spec->length,
				.has_sha256 = spec->sha256,
				.expires = now + UPLOAD_LEASE_S};
	struct creation creation = {spec, &upload, now, also};
	uint8_t random[16];
	char path[UPLOAD_PATH];

	if (spec_check(blobs, spec, err) < 0)
		return -1;
	randombytes_buf(random, sizeof(random));
	hex_encode(upload.id + 1, random, sizeof(random));
	snprintf(upload.token, sizeof(upload.token), "%s", spec->taker.token);
	snprintf(upload.name, sizeof(upload.name), "%s", spec->name ? spec->name : "");
	if (spec->sha256)
		upload.sha256 = *spec->sha256;
	upload_path(blobs, upload.id, path);
	if (file_create(blobs, path, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_add, &creation, err) < 0) {
		unlink(path);
		return -1;
	}
	*ret_upload = upload;
	return 0;
}

int upload_durable_end(int fd, int64_t *ret_end, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || fdatasync(fd) < 0)
		return err_sys(err, "cannot sync an upload");
	*ret_end = st.st_size;
	return 0;
}

static int file_open(struct blobs *blobs, const char *id, struct err *err)
{
	char path[UPLOAD_PATH];

	upload_path(blobs, id, path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT ? upload_unknown(err) : err_sys(err, "cannot open %s", path);
}

int upload_file_claim(struct blobs *blobs, const char *id, struct err *err)
{
	AUTO_FD int fd = file_open(blobs, id, err);

	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_BUSY,
			       "another request is writing to this upload: try again later");
	return file_take(&fd);
}

int upload_get(struct blobs *blobs, struct db *db, const char *id, const char *token,
	       struct upload *ret_upload, struct err *err)
{
	struct upload upload;

	if (!upload_id_ok(id))
		return upload_unknown(err);
	if (upload_row_get(db, id, token, &upload, err) < 0)
		return -1;
	if (upload.finished) {
		upload.offset = upload.length;
		*ret_upload = upload;
		return 0;
	}
	AUTO_FD int fd = file_open(blobs, id, err);
	if (fd < 0 || upload_durable_end(fd, &upload.offset, err) < 0)
		return -1;
	*ret_upload = upload;
	return 0;
}

int upload_create(struct blobs *blobs, struct db *db, const struct upload_spec *spec, int64_t now,
		  const struct also *also, struct upload *ret_upload, struct err *err)
{
	char id[UPLOAD_ID];
	int same = same_find(db, spec, id, err);

	if (same < 0)
		return -1;
	if (same && !upload_get(blobs, db, id, spec->taker.token, ret_upload, err)) {
		ret_upload->resumed = true;
		return 0;
	}
	if (same && err->status != ERR_NOT_FOUND) /* else it ended just now */
		return -1;
	return create_new(blobs, spec, now, also, ret_upload, err);
}
