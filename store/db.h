/* db.h -- SQLite, kept to what PostgreSQL also takes, with statements prepared at open.
 * A room that owns tables publishes its statements as one struct sql_set; every connection
 * prepares all sets when it opens, so that a typo stops the daemon.  Parameters are $named.
 * WAL, synchronous=FULL; one writing connection (see ledger.h), any number of readers.
 * Threads: a struct db belongs to one. */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct db;   /* a connection */
struct stmt; /* a prepared statement of a connection */

struct migration {
	const char *name; /* "001_flotilla" */
	const char *sql;
};
extern const struct migration migrations[]; /* made from schema/ by the build */
extern const unsigned migration_count;

struct sql_set {
	const char *name;	/* "catalog", for messages */
	const char *const *sql; /* indexed by the room's enum */
	unsigned count;
};

enum db_mode { DB_WRITE, DB_READ };

/* Open path; DB_WRITE creates it and applies migrations (numbered, forward only; each one's digest
 * is stored and compared).  sets: prepared now.  ERR_CORRUPT for a damaged file, a foreign file,
 * a changed or unknown migration; the text says what to do. */
int db_open(struct db **ret_db, const char *path, enum db_mode mode,
	    const struct sql_set *const *sets, unsigned set_count, struct err *err) CHECKED;
void db_close(struct db *db); /* NULL is fine */
DEFINE_AUTO(struct db, db_close)

/* The statement, reset and unbound.  It must not be in use: finish or reset it first.
 * Owned by db.  STMT(q, db, &set, ID) declares it and resets it at scope exit. */
struct stmt *db_stmt(struct db *db, const struct sql_set *set, unsigned id);
void stmt_reset(struct stmt *stmt); /* NULL is fine */
DEFINE_AUTO(struct stmt, stmt_reset)
#define STMT(q, db, set, id) AUTO(stmt_reset) struct stmt *q = db_stmt((db), (set), (id))

/* Bind by name; an unknown name is a programming error (abort).  Text and blobs are copied.
 * NULL text or blob binds SQL NULL. */
void stmt_text(struct stmt *stmt, const char *name, const char *text);
void stmt_int(struct stmt *stmt, const char *name, int64_t value);
void stmt_null(struct stmt *stmt, const char *name);
void stmt_blob(struct stmt *stmt, const char *name, const void *bytes, size_t len);
void stmt_digest(struct stmt *stmt, const char *name, const struct digest *digest);

/* 1: a row is there; 0: done; -1: error (ERR_CONFLICT for a constraint, ERR_FULL for no space,
 * ERR_CORRUPT, ERR_SYSTEM). */
int stmt_step(struct stmt *stmt, struct err *err) CHECKED;
/* Run to the end.  -1 also if a row came back that was not expected. */
int stmt_run(struct stmt *stmt, struct err *err) CHECKED;
/* Run to the end and tell how many rows changed. */
int stmt_changes(struct stmt *stmt, int64_t *ret_changed, struct err *err) CHECKED;

/* Columns of the current row, from 0.  Text and blob are borrowed until the next step or reset. */
int64_t stmt_col_int(struct stmt *stmt, int col);
const char *stmt_col_text(struct stmt *stmt, int col); /* NULL for SQL NULL */
const void *stmt_col_blob(struct stmt *stmt, int col, size_t *ret_len);
bool stmt_col_null(struct stmt *stmt, int col);
/* -1 with ERR_CORRUPT unless the column is a 32-byte blob. */
int stmt_col_digest(struct stmt *stmt, int col, struct digest *ret_digest,
		    struct err *err) CHECKED;

/* Transactions; the ledger's business.  Readers may use them for a consistent view. */
int db_begin(struct db *db, struct err *err) CHECKED; /* IMMEDIATE on a writing connection */
int db_commit(struct db *db, struct err *err) CHECKED;
void db_rollback(struct db *db);
/* False after an error that made SQLite give up the whole transaction by itself (a full disk, an
 * I/O error): nothing done since db_begin() stands, and db_commit() will refuse. */
bool db_in_transaction(const struct db *db);
int db_savepoint(struct db *db, struct err *err) CHECKED;
int db_release(struct db *db, struct err *err) CHECKED;
void db_undo(struct db *db); /* back to the savepoint, and release it */

/* Inside a ledger function: run fn(arg) on the ledger thread once this transaction is durable,
 * in order of registration, before waiters are told.  If it is not committed (error, rollback),
 * drop(arg) is called instead (may be NULL).  -1 without memory (drop is then called). */
int db_after_commit(struct db *db, void (*fn)(void *arg), void (*drop)(void *arg), void *arg,
		    struct err *err) CHECKED;

/* meta table: small facts by key. */
int db_meta_get(struct db *db, const char *key, char *out, size_t room, struct err *err)
	CHECKED; /* ERR_NOT_FOUND */
int db_meta_set(struct db *db, const char *key, const char *value, struct err *err) CHECKED;
int db_meta_next(struct db *db, const char *key, int64_t *ret_value,
		 struct err *err) CHECKED; /* counter: 1, 2, 3 ... */

#endif
