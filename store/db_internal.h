/* db_internal.h -- a connection from inside, for db.c and db_configure.c.
 * Threads: a struct db belongs to one. */
#ifndef STORE_DB_INTERNAL_H
#define STORE_DB_INTERNAL_H

#include "store/db.h"

#include <sqlite3.h>

#define SAVEPOINTS 4 /* nested at the most */

struct stmt {
	sqlite3_stmt *raw;
	const struct sql_set *set;
	unsigned id;
	bool failed; /* a value could not be bound: too long, or no memory */
};

struct prepared {
	const struct sql_set *set;
	struct stmt *stmts; /* set->count of them */
};

struct hook {
	void (*fn)(void *arg);
	void (*drop)(void *arg);
	void *arg;
};

struct db {
	sqlite3 *handle;
	enum db_mode mode;
	struct prepared *sets;
	unsigned set_count;
	struct hook *hooks; /* for after the commit */
	uint32_t hook_count, hook_room;
	unsigned marks[SAVEPOINTS]; /* hook_count when each open savepoint began */
	unsigned depth;		    /* open savepoints */
};

/* db_err: SQLite's last error on db, as ours; db_exec: statements without rows. */
int db_err(struct db *db, const char *what, struct err *err);
int db_exec(struct db *db, const char *sql, const char *what, struct err *err) CHECKED;

#define DB_META_GET "SELECT value FROM meta WHERE key = $key" /* before all is prepared */

/* A fresh connection becomes ours: settings, whose file it is, migrations. */
int db_configure(struct db *db, const char *path, struct err *err) CHECKED;

#endif
