#include "store/upload_internal.h"

#include "base/file.h"
#include "store/chop.h"
#include "store/ledger.h"
#include "store/recipe.h"
#include "store/source.h"
#include "store/survey.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPIRE_BATCH 64 /* dropped in one ledger function */

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
	STMT(q, db, &upload_sql, UQ_FINISH);

	stmt_text(q, "$id", finishing->id);
	stmt_digest(q, "$recipe", &finishing->info->recipe);
	stmt_int(q, "$length", finishing->info->length);
	stmt_int(q, "$expires", finishing->expires);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? also_run(finishing->also, db, finishing->info, err) : upload_unknown(err);
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

/* Which of the chunks of fd's first len bytes the scope has already: the file is read once more. */
static int file_places(struct blobs *blobs, struct db *db, const struct scope *scope, int fd,
		       uint64_t len, struct map **ret_places, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	const struct source source = source_fd(&fd, len);

	if (survey_source(&source, NULL, NULL, &recipe, err) < 0)
		return -1;
	return scope_recipe_places(blobs, db, scope, recipe, ret_places, err);
}

static int finish_open(struct blobs *blobs, struct db *db, const struct upload *upload,
		       const struct scope *scope, const struct digest *sha256, int64_t now,
		       const struct also *also, struct recipe_info *ret_info, struct err *err)
{
	AUTO(map_free) struct map *places = NULL;
	char path[UPLOAD_PATH];
	int64_t end;
	struct recipe_info info;
	struct finishing finishing = {upload->id, &info, now + UPLOAD_LEASE_S, also};
	struct upload latest;
	AUTO_FD int fd = upload_file_claim(blobs, upload->id, err);

	if (fd < 0 && err->status != ERR_NOT_FOUND)
		return -1;
	/* Another request may have finished it until we had it for us alone. */
	if (upload_row_get(db, upload->id, NULL, &latest, err) < 0)
		return -1;
	if (latest.finished)
		return finish_again(db, &latest, sha256, ret_info, err);
	if (fd < 0)
		return upload_unknown(err);
	if (upload_durable_end(fd, &end, err) < 0)
		return -1;
	if (upload->length >= 0 && end != upload->length)
		return err_set(err, ERR_CONFLICT,
			       "the upload has %lld of %lld bytes: send the rest first",
			       (long long)end, (long long)upload->length);
	if (scope && file_places(blobs, db, scope, fd, (uint64_t)end, &places, err) < 0)
		return -1;
	if (chop_file(blobs, db, fd, (uint64_t)end, places, sha256, now, &info, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_finish, &finishing, err) < 0)
		return -1;
	upload_path(blobs, upload->id, path);
	unlink(path); /* if this is lost, upload_expire() removes it */
	*ret_info = info;
	return 0;
}

int upload_finish(struct blobs *blobs, struct db *db, const char *id, const char *token,
		  const struct scope *scope, const struct digest *sha256, int64_t now,
		  const struct also *also, struct recipe_info *ret_info, struct err *err)
{
	struct upload upload;
	const struct digest *wanted;

	if (!upload_id_ok(id))
		return upload_unknown(err);
	if (upload_row_get(db, id, token, &upload, err) < 0 ||
	    sha256_choose(&upload, sha256, &wanted, err) < 0)
		return -1;
	if (upload.finished)
		return finish_again(db, &upload, wanted, ret_info, err);
	return finish_open(blobs, db, &upload, scope, wanted, now, also, ret_info, err);
}

/* ---- Dropping. ---- */

static int row_drop(struct db *db, const char *id, struct err *err)
{
	STMT(q, db, &upload_sql, UQ_DROP);

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
	char path[UPLOAD_PATH];

	if (!upload_id_ok(id))
		return upload_unknown(err);
	if (upload_row_get(db, id, token, &upload, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_drop_one, &dropping, err) < 0)
		return -1;
	upload_path(blobs, id, path);
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
		STMT(q, db, &upload_sql, UQ_EXPIRED);
		stmt_int(q, "$now", expiry->now);
		stmt_int(q, "$limit", EXPIRE_BATCH);
		while ((row = stmt_step(q, err)) == 1)
			upload_text_read(q, 0, expiry->ids[expiry->count++], UPLOAD_ID);
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
		if (strncmp(item->d_name, "upload-", 7) || !upload_id_ok(id) ||
		    fstatat(dirfd(dir), item->d_name, &st, 0) < 0 || st.st_mtime > old)
			continue;
		int row = upload_row_get(db, id, NULL, &upload, &lookup);
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
	char path[UPLOAD_PATH];

	do {
		if (ledger_run(blobs_ledger(blobs), rows_expire, &expiry, err) < 0)
			return -1;
		for (unsigned i = 0; i < expiry.count; i++) {
			upload_path(blobs, expiry.ids[i], path);
			unlink(path);
		}
		dropped += expiry.count;
	} while (expiry.count == EXPIRE_BATCH);
	*ret_dropped = dropped;
	return upload_reserves_settle(blobs, db, err) < 0 ? -1 : files_sweep(blobs, db, err);
}
