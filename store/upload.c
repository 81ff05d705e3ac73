#include "store/upload.h"

#include "base/file.h"
#include "base/hex.h"
#include "store/chop.h"
#include "store/ledger.h"
#include "store/recipe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPIRE_BATCH 64 /* dropped in one ledger function */

enum { ADD, GET, OPEN_COUNT, RENEW, FINISH, DROP, EXPIRED, SQL_COUNT };

static const char *const sql[] = {
	[ADD] = "INSERT INTO uploads (id, token, name, length, sha256, state, created, expires)"
		" VALUES ($id, $token, $name, $length, $sha256, 'open', $now, $expires)",
	[GET] = "SELECT token, name, length, sha256, state, recipe, expires FROM uploads"
		" WHERE id = $id",
	[OPEN_COUNT] = "SELECT count(*) FROM uploads WHERE token = $token AND state = 'open'",
	[RENEW] = "UPDATE uploads SET expires = $expires WHERE id = $id AND state = 'open'",
	[FINISH] = "UPDATE uploads SET state = 'finished', recipe = $recipe, length = $length,"
		   " expires = $expires WHERE id = $id",
	[DROP] = "DELETE FROM uploads WHERE id = $id",
	[EXPIRED] = "SELECT id FROM uploads WHERE expires < $now ORDER BY id LIMIT $limit",
};
const struct sql_set upload_sql = {"upload", sql, SQL_COUNT};

#define PATH_ROOM 600

static void path_of(struct blobs *blobs, const char *id, char out[static PATH_ROOM])
{
	snprintf(out, PATH_ROOM, "%s/upload-%s", blobs_tmp(blobs), id);
}

/* "u" and 32 hex digits: an id never names another file. */
static bool id_ok(const char *id)
{
	return id[0] == 'u' && strlen(id) == UPLOAD_ID - 1 &&
	       strspn(id + 1, "0123456789abcdef") == UPLOAD_ID - 2;
}

static int unknown(struct err *err)
{
	return err_set(err, ERR_NOT_FOUND,
		       "there is no such upload: it was finished long ago, dropped, or its lease is"
		       " over; create a new one");
}

/* ---- Rows. ---- */

static void text_read(struct stmt *q, int col, char *out, size_t room)
{
	const char *text = stmt_col_text(q, col);

	snprintf(out, room, "%s", text ? text : "");
}

/* Without the offset, which the file tells. */
static int row_get(struct db *db, const char *id, const char *token, struct upload *ret_upload,
		   struct err *err)
{
	struct upload upload = {.length = -1};
	STMT(q, db, &upload_sql, GET);

	stmt_text(q, "$id", id);
	int row = stmt_step(q, err);
	if (row < 0)
		return -1;
	if (!row)
		return unknown(err);
	snprintf(upload.id, sizeof(upload.id), "%s", id);
	text_read(q, 0, upload.token, sizeof(upload.token));
	if (token && strcmp(token, upload.token))
		return unknown(err);
	text_read(q, 1, upload.name, sizeof(upload.name));
	if (!stmt_col_null(q, 2))
		upload.length = stmt_col_int(q, 2);
	upload.has_sha256 = !stmt_col_null(q, 3);
	if (upload.has_sha256 && stmt_col_digest(q, 3, &upload.sha256, err) < 0)
		return -1;
	upload.finished = !stmt_col_null(q, 5);
	if (upload.finished && stmt_col_digest(q, 5, &upload.recipe, err) < 0)
		return -1;
	upload.expires = stmt_col_int(q, 6);
	*ret_upload = upload;
	return 0;
}

struct creation {
	const struct upload_spec *spec;
	const struct upload *upload;
	int64_t now;
	const struct also *also;
};

static int row_add(struct db *db, void *arg, struct err *err)
{
	const struct creation *creation = arg;
	const struct upload *upload = creation->upload;
	STMT(count, db, &upload_sql, OPEN_COUNT);

	stmt_text(count, "$token", upload->token);
	int row = stmt_step(count, err);
	if (row < 0)
		return -1;
	if (stmt_col_int(count, 0) >= UPLOADS_A_TOKEN)
		return err_set(err, ERR_QUOTA,
			       "this token has %d unfinished uploads: finish or delete some",
			       UPLOADS_A_TOKEN);
	STMT(q, db, &upload_sql, ADD);
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
	if (strlen(spec->token) >= UPLOAD_TOKEN)
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

int upload_create(struct blobs *blobs, const struct upload_spec *spec, int64_t now,
		  const struct also *also, struct upload *ret_upload, struct err *err)
{
	struct upload upload = {.id = "u",
				.length = spec->length,
				.has_sha256 = spec->sha256,
				.expires = now + UPLOAD_LEASE_S};
	struct creation creation = {spec, &upload, now, also};
	uint8_t random[16];
	char path[PATH_ROOM];

	if (spec_check(blobs, spec, err) < 0)
		return -1;
	randombytes_buf(random, sizeof(random));
	hex_encode(upload.id + 1, random, sizeof(random));
	snprintf(upload.token, sizeof(upload.token), "%s", spec->token);
	snprintf(upload.name, sizeof(upload.name), "%s", spec->name ? spec->name : "");
	if (spec->sha256)
		upload.sha256 = *spec->sha256;
	path_of(blobs, upload.id, path);
	if (file_create(blobs, path, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_add, &creation, err) < 0) {
		unlink(path);
		return -1;
	}
	*ret_upload = upload;
	return 0;
}

/* The end of the file, and all before it durable. */
static int durable_end(int fd, int64_t *ret_end, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || fdatasync(fd) < 0)
		return err_sys(err, "cannot sync an upload");
	*ret_end = st.st_size;
	return 0;
}

static int file_open(struct blobs *blobs, const char *id, struct err *err)
{
	char path[PATH_ROOM];

	path_of(blobs, id, path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT ? unknown(err) : err_sys(err, "cannot open %s", path);
}

int upload_get(struct blobs *blobs, struct db *db, const char *id, const char *token,
	       struct upload *ret_upload, struct err *err)
{
	struct upload upload;

	if (!id_ok(id))
		return unknown(err);
	if (row_get(db, id, token, &upload, err) < 0)
		return -1;
	if (upload.finished) {
		upload.offset = upload.length;
		*ret_upload = upload;
		return 0;
	}
	AUTO_FD int fd = file_open(blobs, id, err);
	if (fd < 0 || durable_end(fd, &upload.offset, err) < 0)
		return -1;
	*ret_upload = upload;
	return 0;
}

/* ---- Appending. ---- */

/* The upload's file, for this caller alone until it is closed. */
static int file_claim(struct blobs *blobs, const char *id, struct err *err)
{
	AUTO_FD int fd = file_open(blobs, id, err);

	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, ERR_BUSY,
			       "another request is writing to this upload: try again later");
	return file_take(&fd);
}

static int append_check(struct blobs *blobs, const struct upload *upload, int64_t end,
			int64_t offset, int64_t len, int64_t max, struct err *err)
{
	if (offset != end)
		return err_set(err, ERR_CONFLICT,
			       "Upload-Offset: the upload stands at %lld: go on there",
			       (long long)end);
	if (max <= 0 || len > max)
		return err_set(err, ERR_TOO_LARGE,
			       upload->length >= 0 ? "the upload was announced with %lld bytes"
						   : "a file may have %lld bytes at the most",
			       (long long)(end + max));
	return blobs_room(blobs, len > 0 ? (uint64_t)len : 0, err);
}

int upload_append(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  int64_t offset, int64_t len, int64_t max_length, int *ret_fd, int64_t *ret_max,
		  struct err *err)
{
	struct upload upload;
	int64_t end;

	if (!id_ok(id))
		return unknown(err);
	if (row_get(db, id, token, &upload, err) < 0)
		return -1;
	if (upload.finished)
		return err_set(err, ERR_CONFLICT, "the upload is finished: create a new one");
	AUTO_FD int fd = file_claim(blobs, id, err);
	if (fd < 0 || durable_end(fd, &end, err) < 0)
		return -1;
	int64_t max = (upload.length >= 0 ? upload.length : max_length) - end;
	if (append_check(blobs, &upload, end, offset, len, max, err) < 0)
		return -1;
	if (lseek(fd, end, SEEK_SET) < 0)
		return err_sys(err, "cannot append to an upload");
	*ret_fd = file_take(&fd);
	*ret_max = max;
	return 0;
}

struct renewal {
	const char *id;
	int64_t expires;
};

static int row_renew(struct db *db, void *arg, struct err *err)
{
	const struct renewal *renewal = arg;
	int64_t changed;
	STMT(q, db, &upload_sql, RENEW);

	stmt_text(q, "$id", renewal->id);
	stmt_int(q, "$expires", renewal->expires);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? 0 : unknown(err); /* dropped meanwhile */
}

int upload_appended(struct blobs *blobs, const char *id, int fd, int64_t now,
		    int64_t *ret_offset, struct err *err)
{
	struct renewal renewal = {id, now + UPLOAD_LEASE_S};
	int64_t end;

	if (durable_end(fd, &end, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_renew, &renewal, err) < 0)
		return -1;
	*ret_offset = end;
	return 0;
}

/* ---- Finishing. ---- */

struct finishing {
	const char *id;
	const struct recipe_info *info;
	int64_t expires;
	const struct also *also;
};

static int row_finish(struct db *db, void *arg, struct err *err)
{
	const struct finishing *finishing = arg;
	int64_t changed;
	STMT(q, db, &upload_sql, FINISH);

	stmt_text(q, "$id", finishing->id);
	stmt_digest(q, "$recipe", &finishing->info->recipe);
	stmt_int(q, "$length", finishing->info->length);
	stmt_int(q, "$expires", finishing->expires);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? also_run(finishing->also, db, finishing->info, err) : unknown(err);
}

/* What the client says now and what it said at creation must agree. */
static int sha256_choose(const struct upload *upload, const struct digest *given,
			 const struct digest **ret_sha256, struct err *err)
{
	if (given && upload->has_sha256 && !digest_eq(given, &upload->sha256))
		return err_set(err, ERR_INVALID,
			       "sha256: another one was stated when the upload was created");
	*ret_sha256 = given ? given : upload->has_sha256 ? &upload->sha256 : NULL;
	return 0;
}

static int finish_again(struct db *db, const struct upload *upload, const struct digest *sha256,
			struct recipe_info *ret_info, struct err *err)
{
	struct recipe_info info;

	if (inventory_recipe(db, &upload->recipe, &info, err) < 0)
		return -1;
	if (sha256 && !digest_eq(sha256, &info.sha256))
		return err_set(err, ERR_CONFLICT, "the upload was finished with another sha256");
	*ret_info = info;
	return 0;
}

static int finish_open(struct blobs *blobs, struct db *db, const struct upload *upload,
		       const struct digest *sha256, int64_t now, const struct also *also,
		       struct recipe_info *ret_info, struct err *err)
{
	char path[PATH_ROOM];
	int64_t end;
	struct recipe_info info;
	struct finishing finishing = {upload->id, &info, now + UPLOAD_LEASE_S, also};
	AUTO_FD int fd = file_claim(blobs, upload->id, err);

	if (fd < 0 || durable_end(fd, &end, err) < 0)
		return -1;
	if (upload->length >= 0 && end != upload->length)
		return err_set(err, ERR_CONFLICT,
			       "the upload has %lld of %lld bytes: send the rest first",
			       (long long)end, (long long)upload->length);
	if (chop_file(blobs, db, fd, (uint64_t)end, sha256, now, &info, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_finish, &finishing, err) < 0)
		return -1;
	path_of(blobs, upload->id, path);
	unlink(path); /* if this is lost, upload_expire() removes it */
	*ret_info = info;
	return 0;
}

int upload_finish(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  const struct digest *sha256, int64_t now, const struct also *also,
		  struct recipe_info *ret_info, struct err *err)
{
	struct upload upload;
	const struct digest *wanted;

	if (!id_ok(id))
		return unknown(err);
	if (row_get(db, id, token, &upload, err) < 0 ||
	    sha256_choose(&upload, sha256, &wanted, err) < 0)
		return -1;
	if (upload.finished)
		return finish_again(db, &upload, wanted, ret_info, err);
	return finish_open(blobs, db, &upload, wanted, now, also, ret_info, err);
}

/* ---- Dropping. ---- */

static int row_drop(struct db *db, const char *id, struct err *err)
{
	STMT(q, db, &upload_sql, DROP);

	stmt_text(q, "$id", id);
	return stmt_run(q, err);
}

struct dropping {
	const char *id;
	const struct also *also;
};

static int row_drop_one(struct db *db, void *arg, struct err *err)
{
	const struct dropping *dropping = arg;

	if (row_drop(db, dropping->id, err) < 0)
		return -1;
	return also_run(dropping->also, db, NULL, err);
}

int upload_drop(struct blobs *blobs, struct db *db, const char *id, const char *token,
		const struct also *also, struct err *err)
{
	struct dropping dropping = {id, also};
	struct upload upload;
	char path[PATH_ROOM];

	if (!id_ok(id))
		return unknown(err);
	if (row_get(db, id, token, &upload, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_drop_one, &dropping, err) < 0)
		return -1;
	path_of(blobs, id, path);
	unlink(path);
	return 0;
}

struct expiry {
	int64_t now;
	char ids[EXPIRE_BATCH][UPLOAD_ID];
	unsigned count;
};

/* Chosen and dropped in one place, so that a renewal is never overtaken. */
static int rows_expire(struct db *db, void *arg, struct err *err)
{
	struct expiry *expiry = arg;
	int row;

	expiry->count = 0;
	{
		STMT(q, db, &upload_sql, EXPIRED);
		stmt_int(q, "$now", expiry->now);
		stmt_int(q, "$limit", EXPIRE_BATCH);
		while ((row = stmt_step(q, err)) == 1)
			text_read(q, 0, expiry->ids[expiry->count++], UPLOAD_ID);
	}
	if (row < 0)
		return -1;
	for (unsigned i = 0; i < expiry->count; i++)
		if (row_drop(db, expiry->ids[i], err) < 0)
			return -1;
	return 0;
}

/* Files whose row is gone or holds a recipe; a row is made only after its file, so young ones are
 * left alone. */
static int files_sweep(struct blobs *blobs, struct db *db, struct err *err)
{
	DIR *dir = opendir(blobs_tmp(blobs));
	struct dirent *item;
	struct upload upload;
	struct stat st;
	struct err lookup;

	if (!dir)
		return err_sys(err, "cannot read directory %s", blobs_tmp(blobs));
	time_t old = time(NULL) - UPLOAD_LEASE_S;
	while ((item = readdir(dir))) {
		const char *id = item->d_name + strlen("upload-");
		if (strncmp(item->d_name, "upload-", 7) || !id_ok(id) ||
		    fstatat(dirfd(dir), item->d_name, &st, 0) < 0 || st.st_mtime > old)
			continue;
		int row = row_get(db, id, NULL, &upload, &lookup);
		if (row < 0 ? lookup.status == ERR_NOT_FOUND : upload.finished)
			unlinkat(dirfd(dir), item->d_name, 0);
	}
	closedir(dir);
	return 0;
}

int upload_expire(struct blobs *blobs, struct db *db, int64_t now, unsigned *ret_dropped,
		  struct err *err)
{
	struct expiry expiry = {.now = now};
	unsigned dropped = 0;
	char path[PATH_ROOM];

	do {
		if (ledger_run(blobs_ledger(blobs), rows_expire, &expiry, err) < 0)
			return -1;
		for (unsigned i = 0; i < expiry.count; i++) {
			path_of(blobs, expiry.ids[i], path);
			unlink(path);
		}
		dropped += expiry.count;
	} while (expiry.count == EXPIRE_BATCH);
	*ret_dropped = dropped;
	return files_sweep(blobs, db, err);
}
