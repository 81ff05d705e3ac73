/* Opening a database: whose file it is, how far its migrations are, and the rest of them. */
#include "store/db_internal.h"

#include <stdio.h>
#include <string.h>

#define APPLICATION_ID 0x464c4f54 /* "FLOT", in the file's header: tells ours from others' */
#define BUSY_MS 5000	 /* wait for another process's lock */

static int query_int(struct db *db, const char *sql, int64_t *ret_value, struct err *err)
{
	sqlite3_stmt *raw = NULL;
	int code = sqlite3_prepare_v2(db->handle, sql, -1, &raw, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(raw);
	if (code == SQLITE_ROW)
		*ret_value = sqlite3_column_int64(raw, 0);
	else
		db_err(db, "cannot read its header", err);
	sqlite3_finalize(raw);
	return code == SQLITE_ROW ? 0 : -1;
}

static int version_get(struct db *db, const char *path, unsigned *ret_version, struct err *err)
{
	int64_t id, version, tables;

	if (query_int(db, "PRAGMA application_id", &id, err) < 0 ||
	    query_int(db, "PRAGMA user_version", &version, err) < 0 ||
	    query_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0) {
		if (err->status != ERR_CORRUPT)
			return -1;
		return err_set(err, ERR_CORRUPT,
			       "%s is damaged or no database: restore a backup, or move it away",
			       path);
	}
	if (id != APPLICATION_ID && (id || version || tables))
		return err_set(err, ERR_CORRUPT,
			       "%s belongs to another program: move it away, or choose another"
			       " data directory",
			       path);
	if (version < 0 || version > migration_count)
		return err_set(err, ERR_CORRUPT,
			       "%s has schema version %lld and this program knows %u: run the"
			       " newer program, or restore a backup",
			       path, (long long)version, migration_count);
	*ret_version = (unsigned)version;
	return 0;
}

static void migration_digest(const struct migration *migration, char out[static DIGEST_HEX])
{
	struct digest digest;

	digest_of(&digest, migration->sql, strlen(migration->sql));
	digest_hex(&digest, out);
}

/* The meta key under which a migration's digest is kept. */
static void migration_key(const struct migration *migration, char out[static 80])
{
	snprintf(out, 80, "migration.%s", migration->name);
}

/* Read without the prepared statements, which need the last schema. */
static int migration_check(struct db *db, const struct migration *migration, struct err *err)
{
	char key[80], wanted[DIGEST_HEX];
	sqlite3_stmt *raw = NULL;
	bool same = false;

	migration_key(migration, key);
	migration_digest(migration, wanted);
	if (sqlite3_prepare_v2(db->handle, DB_META_GET, -1, &raw, NULL) != SQLITE_OK)
		return db_err(db, "cannot read its migrations", err);
	sqlite3_bind_text(raw, 1, key, -1, SQLITE_STATIC);
	if (sqlite3_step(raw) == SQLITE_ROW) {
		const unsigned char *found = sqlite3_column_text(raw, 0);
		same = found && !strcmp((const char *)found, wanted);
	}
	sqlite3_finalize(raw);
	if (same)
		return 0;
	return err_set(err, ERR_CORRUPT,
		       "database: migration %s is not the one that made this file: run the program"
		       " that made it, or restore a backup",
		       migration->name);
}

static int migration_run(struct db *db, unsigned number, struct err *err)
{
	const struct migration *migration = &migrations[number];
	char key[80], digest[DIGEST_HEX], sql[400];

	migration_key(migration, key);
	migration_digest(migration, digest);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO meta (key, value) VALUES ('%s', '%s');"
		 "PRAGMA application_id = %d; PRAGMA user_version = %u;",
		 key, digest, APPLICATION_ID, number + 1);
	if (db_exec(db, migration->sql, migration->name, err) < 0)
		return -1;
	return db_exec(db, sql, migration->name, err);
}

/* All that is missing, in one transaction: a start that fails leaves the file as it was. */
static int migrate(struct db *db, unsigned from, struct err *err)
{
	if (from == migration_count)
		return 0;
	if (db_begin(db, err) < 0)
		return -1;
	for (unsigned i = from; i < migration_count; i++)
		if (migration_run(db, i, err) < 0) {
			db_rollback(db);
			return err_in(err, "cannot migrate");
		}
	return db_commit(db, err);
}

static int schema_ready(struct db *db, const char *path, struct err *err)
{
	unsigned version;

	if (version_get(db, path, &version, err) < 0)
		return -1;
	for (unsigned i = 0; i < version; i++)
		if (migration_check(db, &migrations[i], err) < 0)
			return -1;
	if (db->mode == DB_WRITE)
		return migrate(db, version, err);
	if (version == migration_count)
		return 0;
	return err_set(err, ERR_CORRUPT, "%s has an older schema: start flotillad once to migrate it",
		       path);
}

int db_configure(struct db *db, const char *path, struct err *err)
{
	unsigned version;

	sqlite3_extended_result_codes(db->handle, 1);
	sqlite3_busy_timeout(db->handle, BUSY_MS);
	/* Before anything is written: a foreign file must stay as it is. */
	if (version_get(db, path, &version, err) < 0)
		return -1;
	/* Nonces are random, so a commit of many reports dirties as many pages: let 32 MiB of them gather
	 * before each is written to its place once. */
	if (db_exec(db,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		    "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
		    "PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 8192;",
		    "cannot be set up", err) < 0)
		return -1;
	if (schema_ready(db, path, err) < 0)
		return -1;
	if (db->mode == DB_WRITE)
		return 0;
	return db_exec(db, "PRAGMA query_only = ON", "cannot be set to reading", err);
}
