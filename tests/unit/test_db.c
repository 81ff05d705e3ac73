#include "store/db.h"

#include <check.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ADD, GET, RAISE, SQL_COUNT };
static const char *const statements[] = {
	[ADD] = "INSERT INTO packs (pack, bytes, created) VALUES ($pack, $bytes, $created)",
	[GET] = "SELECT pack, bytes, created FROM packs WHERE pack = $pack",
	[RAISE] = "UPDATE packs SET bytes = bytes + 1",
};
static const struct sql_set set = {"test", statements, SQL_COUNT};
static const struct sql_set *const sets[] = {&set};

static char dir[256], path[300];

static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/flotilla-db-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
}

static void remove_dir(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct db *open_ok(enum db_mode mode)
{
	struct db *db = NULL;
	struct err err;

	if (db_open(&db, path, mode, sets, 1, &err) < 0)
		ck_abort_msg("%s", err.text);
	return db;
}

static void open_refused(enum db_mode mode, enum status status, const char *word)
{
	struct db *db = NULL;
	struct err err = {0};

	ck_assert_int_eq(db_open(&db, path, mode, sets, 1, &err), -1);
	ck_assert_ptr_null(db);
	ck_assert_msg(err.status == status, "%s: %s", err_name(err.status), err.text);
	ck_assert_msg(strstr(err.text, word) != NULL, "%s", err.text);
}

static void meddle(const char *sql)
{
	sqlite3 *raw = NULL;

	ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
}

static void add(struct db *db, uint8_t n)
{
	struct digest digest = {{n}};
	struct err err;
	STMT(q, db, &set, ADD);

	stmt_digest(q, "$pack", &digest);
	stmt_int(q, "$bytes", 100 + n);
	stmt_int(q, "$created", 7);
	ck_assert_int_eq(stmt_run(q, &err), 0);
}

static int get(struct db *db, uint8_t n)
{
	struct digest digest = {{n}}, found;
	struct err err;
	STMT(q, db, &set, GET);

	stmt_digest(q, "$pack", &digest);
	int row = stmt_step(q, &err);
	ck_assert_int_ge(row, 0);
	if (!row)
		return 0;
	ck_assert_int_eq(stmt_col_digest(q, 0, &found, &err), 0);
	ck_assert(digest_eq(&digest, &found));
	return (int)stmt_col_int(q, 1);
}

START_TEST(test_db_keeps_rows_over_reopen)
{
	struct db *db = open_ok(DB_WRITE);
	add(db, 1);
	db_close(db);
	db = open_ok(DB_WRITE);
	ck_assert_int_eq(get(db, 1), 101);
	ck_assert_int_eq(get(db, 2), 0);
	db_close(db);
}
END_TEST

START_TEST(test_db_readers_see_commits_and_cannot_write)
{
	AUTO(db_close) struct db *writer = open_ok(DB_WRITE);
	AUTO(db_close) struct db *reader = open_ok(DB_READ);
	struct err err;

	ck_assert_int_eq(db_begin(writer, &err), 0);
	add(writer, 1);
	ck_assert_int_eq(get(reader, 1), 0);
	ck_assert_int_eq(db_commit(writer, &err), 0);
	ck_assert_int_eq(get(reader, 1), 101);
	STMT(q, reader, &set, RAISE);
	ck_assert_int_eq(stmt_run(q, &err), -1);
}
END_TEST

START_TEST(test_db_reader_needs_the_file)
{
	open_refused(DB_READ, ERR_SYSTEM, path);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_db_refuses_a_changed_migration)
{
	db_close(open_ok(DB_WRITE));
	meddle("UPDATE meta SET value = 'x' WHERE key LIKE 'migration.001%'");
	open_refused(DB_WRITE, ERR_CORRUPT, "001_flotilla");
	open_refused(DB_READ, ERR_CORRUPT, "001_flotilla");
	meddle("DELETE FROM meta WHERE key LIKE 'migration.001%'");
	open_refused(DB_WRITE, ERR_CORRUPT, "001_flotilla");
}
END_TEST

START_TEST(test_db_refuses_a_newer_schema)
{
	db_close(open_ok(DB_WRITE));
	meddle("PRAGMA user_version = 99");
	open_refused(DB_WRITE, ERR_CORRUPT, "newer");
}
END_TEST

START_TEST(test_db_refuses_a_foreign_file_and_leaves_it_alone)
{
	struct stat before, after;

	meddle("CREATE TABLE theirs (x)");
	ck_assert_int_eq(stat(path, &before), 0);
	open_refused(DB_WRITE, ERR_CORRUPT, "another program");
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_size, after.st_size);
	meddle("SELECT x FROM theirs");
}
END_TEST

START_TEST(test_db_refuses_a_damaged_file)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	ck_assert_int_eq(write(fd, "this is not a database, whatever its name says", 46), 46);
	close(fd);
	open_refused(DB_WRITE, ERR_CORRUPT, "damaged");
}
END_TEST

START_TEST(test_db_refuses_a_typo)
{
	static const char *const typo[] = {"SELECT nothing FROM nowhere"};
	static const char *const two[] = {"DELETE FROM packs; DELETE FROM chunks"};
	static const char *const gap[] = {NULL};
	static const struct sql_set bad[] = {{"typo", typo, 1}, {"two", two, 1}, {"gap", gap, 1}};

	for (unsigned i = 0; i < 3; i++) {
		const struct sql_set *const list[] = {&set, &bad[i]};
		struct db *db = NULL;
		struct err err = {0};
		ck_assert_int_eq(db_open(&db, path, DB_WRITE, list, 2, &err), -1);
		ck_assert_msg(strstr(err.text, bad[i].name) != NULL, "%s", err.text);
	}
}
END_TEST

START_TEST(test_db_constraint_is_a_conflict)
{
	AUTO(db_close) struct db *db = open_ok(DB_WRITE);
	struct digest digest = {{1}};
	struct err err;

	add(db, 1);
	STMT(q, db, &set, ADD);
	stmt_digest(q, "$pack", &digest);
	stmt_int(q, "$bytes", 1);
	stmt_int(q, "$created", 1);
	ck_assert_int_eq(stmt_run(q, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
}
END_TEST

START_TEST(test_db_statement_starts_unbound)
{
	AUTO(db_close) struct db *db = open_ok(DB_WRITE);
	struct err err;

	add(db, 1);
	STMT(q, db, &set, ADD); /* NOT NULL refuses what add() bound, were it still there */
	ck_assert_int_eq(stmt_run(q, &err), -1);
	ck_assert(strstr(err.text, "NOT NULL") != NULL);
}
END_TEST

START_TEST(test_db_changes_counts_rows)
{
	AUTO(db_close) struct db *db = open_ok(DB_WRITE);
	struct err err;
	int64_t changed = -1;

	add(db, 1);
	add(db, 2);
	STMT(q, db, &set, RAISE);
	ck_assert_int_eq(stmt_changes(q, &changed, &err), 0);
	ck_assert_int_eq(changed, 2);
	ck_assert_int_eq(get(db, 2), 103);
}
END_TEST

START_TEST(test_db_columns_tell_null_from_empty)
{
	static const char *const sql[] = {"SELECT $a, $b, $c, x'0102'"};
	static const struct sql_set one = {"one", sql, 1};
	const struct sql_set *const list[] = {&one};
	struct db *db = NULL;
	struct err err;
	struct digest digest = {{9}};
	size_t len = 9;

	ck_assert_int_eq(db_open(&db, path, DB_WRITE, list, 1, &err), 0);
	{
		STMT(q, db, &one, 0);
		stmt_text(q, "$a", NULL);
		stmt_blob(q, "$b", "", 0);
		stmt_blob(q, "$c", NULL, 0);
		ck_assert_int_eq(stmt_step(q, &err), 1);
		ck_assert_ptr_null(stmt_col_text(q, 0));
		ck_assert_ptr_nonnull(stmt_col_blob(q, 1, &len));
		ck_assert_uint_eq(len, 0);
		ck_assert(stmt_col_null(q, 2));
		ck_assert_ptr_null(stmt_col_blob(q, 2, &len));
		ck_assert_int_eq(stmt_col_digest(q, 3, &digest, &err), -1);
		ck_assert_int_eq(err.status, ERR_CORRUPT);
		ck_assert_int_eq(digest.bytes[0], 9);
	}
	db_close(db);
}
END_TEST

static void hook_add(void *arg)
{
	**(char **)arg = 'C';
	++*(char **)arg;
}

static void hook_drop(void *arg)
{
	**(char **)arg = 'd';
	++*(char **)arg;
}

START_TEST(test_db_savepoint_undoes_rows_and_hooks)
{
	struct db *db = open_ok(DB_WRITE);
	struct err err;
	char log[16] = "", *at = log;

	ck_assert_int_eq(db_begin(db, &err), 0);
	add(db, 1);
	ck_assert_int_eq(db_after_commit(db, hook_add, hook_drop, &at, &err), 0);
	ck_assert_int_eq(db_savepoint(db, &err), 0);
	add(db, 2);
	ck_assert_int_eq(db_after_commit(db, hook_add, hook_drop, &at, &err), 0);
	db_undo(db);
	ck_assert_str_eq(log, "d");
	ck_assert_int_eq(db_savepoint(db, &err), 0);
	add(db, 3);
	ck_assert_int_eq(db_after_commit(db, hook_add, NULL, &at, &err), 0);
	ck_assert_int_eq(db_release(db, &err), 0);
	ck_assert_str_eq(log, "d");
	ck_assert_int_eq(db_commit(db, &err), 0);
	ck_assert_str_eq(log, "dCC");
	ck_assert_int_eq(get(db, 1), 101);
	ck_assert_int_eq(get(db, 2), 0);
	ck_assert_int_eq(get(db, 3), 103);
	db_close(db);
}
END_TEST

START_TEST(test_db_rollback_drops_hooks)
{
	struct db *db = open_ok(DB_WRITE);
	struct err err;
	char log[16] = "", *at = log;

	ck_assert_int_eq(db_begin(db, &err), 0);
	ck_assert(db_in_transaction(db));
	add(db, 1);
	ck_assert_int_eq(db_after_commit(db, hook_add, hook_drop, &at, &err), 0);
	db_rollback(db);
	ck_assert(!db_in_transaction(db));
	ck_assert_str_eq(log, "d");
	ck_assert_int_eq(db_commit(db, &err), -1);
	ck_assert_int_eq(get(db, 1), 0);
	db_close(db);
}
END_TEST

START_TEST(test_db_meta_remembers_and_counts)
{
	struct db *db = open_ok(DB_WRITE);
	struct err err;
	char out[8] = "as was";
	int64_t n = 0;

	ck_assert_int_eq(db_meta_get(db, "colour", out, sizeof(out), &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert_str_eq(out, "as was");
	ck_assert_int_eq(db_meta_set(db, "colour", "red", &err), 0);
	ck_assert_int_eq(db_meta_set(db, "colour", "blue", &err), 0);
	ck_assert_int_eq(db_meta_get(db, "colour", out, sizeof(out), &err), 0);
	ck_assert_str_eq(out, "blue");
	ck_assert_int_eq(db_meta_get(db, "colour", out, 4, &err), -1);
	for (int64_t want = 1; want <= 11; want++) {
		ck_assert_int_eq(db_meta_next(db, "rollout", &n, &err), 0);
		ck_assert_int_eq(n, want);
	}
	ck_assert_int_eq(db_meta_next(db, "token", &n, &err), 0);
	ck_assert_int_eq(n, 1);
	db_close(db);
}
END_TEST


int main(void)
{
	Suite *suite = suite_create("db");
	TCase *tc = tcase_create("db");

	tcase_add_checked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, test_db_keeps_rows_over_reopen);
	tcase_add_test(tc, test_db_readers_see_commits_and_cannot_write);
	tcase_add_test(tc, test_db_reader_needs_the_file);
	tcase_add_test(tc, test_db_refuses_a_changed_migration);
	tcase_add_test(tc, test_db_refuses_a_newer_schema);
	tcase_add_test(tc, test_db_refuses_a_foreign_file_and_leaves_it_alone);
	tcase_add_test(tc, test_db_refuses_a_damaged_file);
	tcase_add_test(tc, test_db_refuses_a_typo);
	tcase_add_test(tc, test_db_constraint_is_a_conflict);
	tcase_add_test(tc, test_db_statement_starts_unbound);
	tcase_add_test(tc, test_db_changes_counts_rows);
	tcase_add_test(tc, test_db_columns_tell_null_from_empty);
	tcase_add_test(tc, test_db_savepoint_undoes_rows_and_hooks);
	tcase_add_test(tc, test_db_rollback_drops_hooks);
	tcase_add_test(tc, test_db_meta_remembers_and_counts);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
