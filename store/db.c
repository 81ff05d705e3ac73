#include "store/db_internal.h"

#include "base/grow.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { META_GET, META_SET, META_NEXT, META_COUNT };

static const char *const meta_statements[] = {
	[META_GET] = DB_META_GET,
	[META_SET] = "INSERT INTO meta (key, value) VALUES ($key, $value)"
		     " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
	[META_NEXT] = "INSERT INTO meta (key, value) VALUES ($key, '1') ON CONFLICT (key)"
		      " DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)"
		      " RETURNING CAST(value AS BIGINT)",
};
static const struct sql_set meta_sql = {"meta", meta_statements, META_COUNT};

/* ---- Errors. ---- */

static enum status status_of(sqlite3 *handle, int code)
{
	switch (code & 0xff) {
	case SQLITE_CONSTRAINT:
		return ERR_CONFLICT;
	case SQLITE_FULL:
		return ERR_FULL;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_CORRUPT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_BUSY;
	case SQLITE_IOERR:
		return sqlite3_system_errno(handle) == ENOSPC ? ERR_FULL : ERR_SYSTEM;
	default:
		return ERR_SYSTEM;
	}
}

int db_err(struct db *db, const char *what, struct err *err)
{
	int code = sqlite3_extended_errcode(db->handle);

	return err_set(err, status_of(db->handle, code), "database: %s: %s", what,
		       sqlite3_errmsg(db->handle));
}

int db_exec(struct db *db, const char *sql, const char *what, struct err *err)
{
	if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return db_err(db, what, err);
}

/* ---- Statements. ---- */

static int prepare(struct db *db, const struct sql_set *set, unsigned id, struct stmt *stmt,
		   struct err *err)
{
	const char *sql = set->sql[id], *tail = NULL;

	if (!sql)
		return err_set(err, ERR_SYSTEM, "database: set %s lacks statement %u", set->name,
			       id);
	if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->raw, &tail) !=
	    SQLITE_OK) {
		db_err(db, "cannot prepare", err);
		return err_in(err, "statement %u of set %s", id, set->name);
	}
	if (!stmt->raw || tail[strspn(tail, " \t\n;")])
		return err_set(err, ERR_SYSTEM, "database: statement %u of set %s is not exactly one",
			       id, set->name);
	stmt->set = set;
	stmt->id = id;
	return 0;
}

static int prepare_set(struct db *db, const struct sql_set *set, struct err *err)
{
	struct prepared *prepared = &db->sets[db->set_count];

	prepared->set = set;
	prepared->stmts = calloc(set->count, sizeof(*prepared->stmts));
	if (!prepared->stmts)
		return err_nomem(err);
	db->set_count++;
	for (unsigned i = 0; i < set->count; i++)
		if (prepare(db, set, i, &prepared->stmts[i], err) < 0)
			return -1;
	return 0;
}

static int prepare_all(struct db *db, const struct sql_set *const *sets, unsigned count,
		       struct err *err)
{
	db->sets = calloc(count + 1, sizeof(*db->sets));
	if (!db->sets)
		return err_nomem(err);
	if (prepare_set(db, &meta_sql, err) < 0)
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (prepare_set(db, sets[i], err) < 0)
			return -1;
	return 0;
}

int db_open(struct db **ret_db, const char *path, enum db_mode mode,
	    const struct sql_set *const *sets, unsigned set_count, struct err *err)
{
	AUTO(db_close) struct db *db = calloc(1, sizeof(*db));
	/* Readers too: after a crash the first to open replays the log.  query_only binds them. */
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
		    (mode == DB_WRITE ? SQLITE_OPEN_CREATE : 0);

	if (!db)
		return err_nomem(err);
	db->mode = mode;
	if (sqlite3_open_v2(path, &db->handle, flags, NULL) != SQLITE_OK) {
		if (!db->handle)
			return err_nomem(err);
		return err_set(err, ERR_SYSTEM, "cannot open the database %s: %s", path,
			       sqlite3_errmsg(db->handle));
	}
	if (db_configure(db, path, err) < 0 || prepare_all(db, sets, set_count, err) < 0)
		return -1;
	*ret_db = TAKE(db);
	return 0;
}

static void hooks_drop(struct db *db, unsigned from)
{
	for (unsigned i = from; i < db->hook_count; i++)
		if (db->hooks[i].drop)
			db->hooks[i].drop(db->hooks[i].arg);
	db->hook_count = from;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	hooks_drop(db, 0);
	free(db->hooks);
	for (unsigned i = 0; i < db->set_count; i++) {
		for (unsigned j = 0; j < db->sets[i].set->count; j++)
			sqlite3_finalize(db->sets[i].stmts[j].raw);
		free(db->sets[i].stmts);
	}
	free(db->sets);
	sqlite3_close(db->handle);
	free(db);
}

/* ---- Using statements. ---- */

static void misuse(const char *what, const char *set, unsigned id)
{
	fprintf(stderr, "database: %s (statement %u of set %s)\n", what, id, set);
	abort();
}

struct stmt *db_stmt(struct db *db, const struct sql_set *set, unsigned id)
{
	for (unsigned i = 0; i < db->set_count; i++) {
		if (db->sets[i].set != set)
			continue;
		if (id >= set->count)
			break;
		struct stmt *stmt = &db->sets[i].stmts[id];
		if (sqlite3_stmt_busy(stmt->raw))
			misuse("already in use", set->name, id);
		stmt_reset(stmt);
		return stmt;
	}
	misuse("no such statement was prepared", set->name, id);
	return NULL;
}

void stmt_reset(struct stmt *stmt)
{
	if (!stmt)
		return;
	sqlite3_reset(stmt->raw);
	sqlite3_clear_bindings(stmt->raw);
	stmt->failed = false;
}

static int bind_index(struct stmt *stmt, const char *name)
{
	int index = sqlite3_bind_parameter_index(stmt->raw, name);

	if (!index)
		misuse(name, stmt->set->name, stmt->id);
	return index;
}

/* Told by the next step, which would otherwise run with NULL in its place. */
static void bind_check(struct stmt *stmt, int code)
{
	if (code != SQLITE_OK)
		stmt->failed = true;
}

void stmt_text(struct stmt *stmt, const char *name, const char *text)
{
	bind_check(stmt, sqlite3_bind_text(stmt->raw, bind_index(stmt, name), text, -1,
					   SQLITE_TRANSIENT));
}

void stmt_int(struct stmt *stmt, const char *name, int64_t value)
{
	bind_check(stmt, sqlite3_bind_int64(stmt->raw, bind_index(stmt, name), value));
}

void stmt_null(struct stmt *stmt, const char *name)
{
	bind_check(stmt, sqlite3_bind_null(stmt->raw, bind_index(stmt, name)));
}

void stmt_blob(struct stmt *stmt, const char *name, const void *bytes, size_t len)
{
	bind_check(stmt, sqlite3_bind_blob64(stmt->raw, bind_index(stmt, name), bytes, len,
					     SQLITE_TRANSIENT));
}

void stmt_digest(struct stmt *stmt, const char *name, const struct digest *digest)
{
	stmt_blob(stmt, name, digest->bytes, sizeof(digest->bytes));
}

static int step_err(struct stmt *stmt, struct err *err)
{
	sqlite3 *handle = sqlite3_db_handle(stmt->raw);
	int code = sqlite3_extended_errcode(handle);

	err_set(err, status_of(handle, code), "database: statement %u of set %s: %s", stmt->id,
		stmt->set->name, sqlite3_errmsg(handle));
	sqlite3_reset(stmt->raw);
	return -1;
}

int stmt_step(struct stmt *stmt, struct err *err)
{
	if (stmt->failed)
		return err_set(err, ERR_SYSTEM,
			       "database: statement %u of set %s: a value is too long, or memory"
			       " is short",
			       stmt->id, stmt->set->name);
	switch (sqlite3_step(stmt->raw)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		sqlite3_reset(stmt->raw);
		return 0;
	default:
		return step_err(stmt, err);
	}
}

int stmt_run(struct stmt *stmt, struct err *err)
{
	int row = stmt_step(stmt, err);

	if (row <= 0)
		return row;
	sqlite3_reset(stmt->raw);
	return err_set(err, ERR_SYSTEM, "database: statement %u of set %s answered a row", stmt->id,
		       stmt->set->name);
}

int stmt_changes(struct stmt *stmt, int64_t *ret_changed, struct err *err)
{
	if (stmt_run(stmt, err) < 0)
		return -1;
	*ret_changed = sqlite3_changes64(sqlite3_db_handle(stmt->raw));
	return 0;
}

int64_t stmt_col_int(struct stmt *stmt, int col)
{
	return sqlite3_column_int64(stmt->raw, col);
}

const char *stmt_col_text(struct stmt *stmt, int col)
{
	return (const char *)sqlite3_column_text(stmt->raw, col);
}

const void *stmt_col_blob(struct stmt *stmt, int col, size_t *ret_len)
{
	const void *bytes = sqlite3_column_blob(stmt->raw, col);

	*ret_len = (size_t)sqlite3_column_bytes(stmt->raw, col);
	return bytes || stmt_col_null(stmt, col) ? bytes : "";
}

bool stmt_col_null(struct stmt *stmt, int col)
{
	return sqlite3_column_type(stmt->raw, col) == SQLITE_NULL;
}

int stmt_col_digest(struct stmt *stmt, int col, struct digest *ret_digest, struct err *err)
{
	size_t len;
	const void *bytes = stmt_col_blob(stmt, col, &len);

	if (!bytes || len != DIGEST_LEN)
		return err_set(err, ERR_CORRUPT,
			       "database: statement %u of set %s: column %d is no digest",
			       stmt->id, stmt->set->name, col);
	memcpy(ret_digest->bytes, bytes, DIGEST_LEN);
	return 0;
}

/* ---- Transactions. ---- */

int db_begin(struct db *db, struct err *err)
{
	return db_exec(db, db->mode == DB_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", "cannot begin", err);
}

bool db_in_transaction(const struct db *db)
{
	return !sqlite3_get_autocommit(db->handle);
}

int db_commit(struct db *db, struct err *err)
{
	/* A lost transaction (see db_in_transaction()) must not pass for a commit of nothing. */
	if (db_exec(db, "COMMIT", "cannot commit", err) < 0) {
		db_rollback(db);
		return -1;
	}
	struct hook *hooks = TAKE(db->hooks);
	unsigned count = db->hook_count;

	db->hook_count = db->hook_room = db->depth = 0;
	for (unsigned i = 0; i < count; i++)
		hooks[i].fn(hooks[i].arg);
	free(hooks);
	return 0;
}

void db_rollback(struct db *db)
{
	if (db_in_transaction(db))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
	db->depth = 0;
	hooks_drop(db, 0);
}

int db_savepoint(struct db *db, struct err *err)
{
	assert(db->depth < SAVEPOINTS);
	if (db_exec(db, "SAVEPOINT op", "cannot begin an operation", err) < 0)
		return -1;
	db->marks[db->depth++] = db->hook_count;
	return 0;
}

int db_release(struct db *db, struct err *err)
{
	if (db_exec(db, "RELEASE op", "cannot end an operation", err) < 0)
		return -1;
	db->depth--;
	return 0;
}

void db_undo(struct db *db)
{
	if (!db->depth)
		return;
	db->depth--;
	hooks_drop(db, db->marks[db->depth]);
	if (db_in_transaction(db))
		sqlite3_exec(db->handle, "ROLLBACK TO op; RELEASE op", NULL, NULL, NULL);
}

int db_after_commit(struct db *db, void (*fn)(void *arg), void (*drop)(void *arg), void *arg,
		    struct err *err)
{
	struct hook *hooks =
		grow_array(db->hooks, &db->hook_room, db->hook_count, sizeof(*hooks));

	if (!hooks) {
		if (drop)
			drop(arg);
		return err_nomem(err);
	}
	db->hooks = hooks;
	hooks[db->hook_count++] = (struct hook){fn, drop, arg};
	return 0;
}

/* ---- Meta. ---- */

int db_meta_get(struct db *db, const char *key, char *out, size_t room, struct err *err)
{
	STMT(q, db, &meta_sql, META_GET);

	stmt_text(q, "$key", key);
	int row = stmt_step(q, err);
	if (row < 0)
		return -1;
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "database: there is no fact %s", key);
	const char *value = stmt_col_text(q, 0);
	if (!value || strlen(value) >= room)
		return err_set(err, ERR_CORRUPT, "database: fact %s is too long", key);
	strcpy(out, value);
	return 0;
}

int db_meta_set(struct db *db, const char *key, const char *value, struct err *err)
{
	STMT(q, db, &meta_sql, META_SET);

	stmt_text(q, "$key", key);
	stmt_text(q, "$value", value);
	return stmt_run(q, err);
}

int db_meta_next(struct db *db, const char *key, int64_t *ret_value, struct err *err)
{
	STMT(q, db, &meta_sql, META_NEXT);

	stmt_text(q, "$key", key);
	int row = stmt_step(q, err);
	if (row < 0)
		return -1;
	if (!row)
		return err_set(err, ERR_CORRUPT, "database: counter %s gave no number", key);
	int64_t value = stmt_col_int(q, 0);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_value = value;
	return 0;
}
