#include "store/ledger.h"

#include "base/clock.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADD, COUNT, SQL_COUNT };
static const char *const statements[] = {
	[ADD] = "INSERT INTO models (name, created) VALUES ($name, 1)",
	[COUNT] = "SELECT count(*) FROM models",
};
static const struct sql_set set = {"test", statements, SQL_COUNT};
static const struct sql_set *const sets[] = {&set};

static char dir[256], path[300];
static struct ledger *ledger;

static struct db *open_db(enum db_mode mode)
{
	struct db *db = NULL;
	struct err err;

	if (db_open(&db, path, mode, sets, 1, &err) < 0)
		ck_abort_msg("%s", err.text);
	return db;
}

static void begin(void)
{
	const char *tmp = getenv("TMPDIR");
	struct err err;

	snprintf(dir, sizeof(dir), "%s/flotilla-ledger-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
	ck_assert_int_eq(ledger_new(&ledger, open_db(DB_WRITE), 4096, &err), 0);
}

static void end(void)
{
	char command[400];

	ledger_free(ledger);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static int64_t count_rows(void)
{
	struct db *db = open_db(DB_READ);
	struct err err;
	int64_t n;
	{
		STMT(q, db, &set, COUNT);
		ck_assert_int_eq(stmt_step(q, &err), 1);
		n = stmt_col_int(q, 0);
	}
	db_close(db);
	return n;
}

static int add_name(struct db *db, void *arg, struct err *err)
{
	STMT(q, db, &set, ADD);

	stmt_text(q, "$name", arg);
	return stmt_run(q, err);
}

static int add_and_fail(struct db *db, void *arg, struct err *err)
{
	if (add_name(db, arg, err) < 0)
		return -1;
	return err_set(err, ERR_DENIED, "not you");
}

/* Operations that the ledger finds together: the first holds it until all are queued. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool entered, open;
};

static int gate_fn(struct db *db, void *arg, struct err *err)
{
	struct gate *gate = arg;

	(void)db;
	(void)err;
	pthread_mutex_lock(&gate->lock);
	gate->entered = true;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
	return 0;
}

static void ignore(void *arg, const struct err *err)
{
	(void)arg;
	(void)err;
}

static void gate_close(struct gate *gate, struct ledger_op *op)
{
	struct err err;

	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->changed, NULL);
	*op = (struct ledger_op){.fn = gate_fn, .done = ignore, .arg = gate};
	ck_assert_int_eq(ledger_post(ledger, op, &err), 0);
	pthread_mutex_lock(&gate->lock);
	while (!gate->entered)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

/* What happened, in order; written on the ledger's thread, read after a ledger_run(). */
static char story[256];

static void note(char c)
{
	size_t n = strlen(story);

	story[n] = c;
	story[n + 1] = 0;
}

struct part {
	struct ledger_op op;
	const char *name;
	char letter; /* in the story: upper case when durable, lower case when not */
	bool fails;
	struct err err;
};

static void part_durable(void *arg)
{
	note(((struct part *)arg)->letter - 'A' + '1');
}

static void part_dropped(void *arg)
{
	(void)arg;
	note('-');
}

static int part_fn(struct db *db, void *arg, struct err *err)
{
	struct part *part = arg;

	if (db_after_commit(db, part_durable, part_dropped, part, err) < 0 ||
	    add_name(db, (void *)(uintptr_t)part->name, err) < 0)
		return -1;
	return part->fails ? err_set(err, ERR_DENIED, "part %c fails", part->letter) : 0;
}

static void part_done(void *arg, const struct err *err)
{
	struct part *part = arg;

	if (err)
		part->err = *err;
	note(err ? part->letter - 'A' + 'a' : part->letter);
}

static void parts_post(struct part *parts, unsigned count)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	struct err err;

	for (unsigned i = 0; i < count; i++) {
		parts[i].name = names[i];
		parts[i].letter = (char)('A' + i);
		parts[i].op = (struct ledger_op){.fn = part_fn, .done = part_done, .arg = &parts[i]};
		ck_assert_int_eq(ledger_post(ledger, &parts[i].op, &err), 0);
	}
}

static int nothing(struct db *db, void *arg, struct err *err)
{
	(void)db;
	(void)arg;
	(void)err;
	return 0;
}

START_TEST(test_ledger_run_is_durable)
{
	char name[] = "a";
	struct err err;

	ck_assert_int_eq(ledger_run(ledger, add_name, name, &err), 0);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(test_ledger_run_tells_why_it_failed)
{
	char name[] = "a";
	struct err err;

	ck_assert_int_eq(ledger_run(ledger, add_and_fail, name, &err), -1);
	ck_assert_int_eq(err.status, ERR_DENIED);
	ck_assert_str_eq(err.text, "not you");
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(ledger_run(ledger, add_name, name, &err), 0);
	ck_assert_int_eq(ledger_run(ledger, add_name, name, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
}
END_TEST

START_TEST(test_ledger_groups_and_a_failure_undoes_only_itself)
{
	struct gate gate = {0};
	struct ledger_op op;
	struct part parts[4] = {{.fails = false}, {.fails = true}};
	struct ledger_stats before, after;
	struct err err;

	story[0] = 0;
	gate_close(&gate, &op);
	parts_post(parts, 4);
	ledger_stats(ledger, &before);
	ck_assert_uint_eq(before.queued, 4);
	gate_open(&gate);
	ck_assert_int_eq(ledger_run(ledger, nothing, NULL, &err), 0);
	/* b undone at once; then, the commit being durable, 1 3 4; only then all are told. */
	ck_assert_str_eq(story, "-134AbCD");
	ck_assert_int_eq(parts[1].err.status, ERR_DENIED);
	ck_assert_int_eq(count_rows(), 3);
	ledger_stats(ledger, &after);
	ck_assert_uint_le(after.commits - before.commits, 3);
	ck_assert_uint_eq(after.failures, 1);
	ck_assert_uint_eq(after.queued, 0);
}
END_TEST

/* SQLite's own seam for faults: its system calls can be replaced. */
static atomic_int write_fails;

static ssize_t fail_pwrite(int fd, const void *bytes, size_t len, off64_t at)
{
	if (!atomic_load(&write_fails))
		return pwrite64(fd, bytes, len, at);
	errno = ENOSPC;
	return -1;
}

static void faults_install(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)(void *)fail_pwrite);
	vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)(void *)fail_pwrite);
}

/* Three operations meet a full disk; returns the rows that stand. */
static int64_t group_on_full_disk(void)
{
	struct gate gate = {0};
	struct ledger_op op;
	struct part parts[3] = {{.fails = false}};
	char name[] = "e";
	struct err err;

	story[0] = 0;
	gate_close(&gate, &op);
	parts_post(parts, 3);
	atomic_store(&write_fails, 1);
	gate_open(&gate);
	ck_assert_int_eq(ledger_run(ledger, add_name, name, &err), -1);
	ck_assert_int_eq(err.status, ERR_FULL);
	atomic_store(&write_fails, 0);
	ck_assert_str_eq(story, "---abc");
	for (unsigned i = 0; i < 3; i++)
		ck_assert_msg(parts[i].err.status == ERR_FULL, "%s", parts[i].err.text);
	return count_rows();
}

START_TEST(test_ledger_failed_commit_fails_the_group)
{
	struct part parts[3] = {{.fails = false}};
	struct err err;

	faults_install();
	ck_assert_int_eq(group_on_full_disk(), 0);
	/* The disk has room again: the ledger goes on by itself. */
	story[0] = 0;
	parts_post(parts, 3);
	ck_assert_int_eq(ledger_run(ledger, nothing, NULL, &err), 0);
	ck_assert_int_eq(count_rows(), 3);
}
END_TEST

/* An hour's patience: what runs it is another operation, a hurry, or the end. */
START_TEST(test_ledger_patience_ends_with_another)
{
	char name[] = "a";
	struct gate gates[3] = {{.open = true}, {.open = true}, {.open = true}};
	struct ledger_op ops[3];
	struct err err;

	for (unsigned i = 0; i < 3; i++) {
		pthread_mutex_init(&gates[i].lock, NULL);
		pthread_cond_init(&gates[i].changed, NULL);
		ops[i] = (struct ledger_op){.fn = gate_fn, .done = ignore, .arg = &gates[i],
					    .patience_us = (int64_t)3600 * 1000000};
	}
	ck_assert_int_eq(ledger_post(ledger, &ops[0], &err), 0);
	ck_assert_int_eq(ledger_run(ledger, add_name, name, &err), 0);
	ck_assert(gates[0].entered);
	ck_assert_int_eq(ledger_post(ledger, &ops[1], &err), 0);
	ledger_hurry(ledger);
	pthread_mutex_lock(&gates[1].lock);
	while (!gates[1].entered)
		pthread_cond_wait(&gates[1].changed, &gates[1].lock);
	pthread_mutex_unlock(&gates[1].lock);
	ck_assert_int_eq(ledger_post(ledger, &ops[2], &err), 0);
	ledger_free(ledger);
	ck_assert(gates[2].entered);
	ck_assert_int_eq(ledger_new(&ledger, open_db(DB_WRITE), 4096, &err), 0);
}
END_TEST

START_TEST(test_ledger_bounds_its_queue)
{
	struct gate gate = {0};
	struct ledger_op op, ops[4096], more = {.fn = nothing, .done = ignore};
	struct err err;

	gate_close(&gate, &op);
	for (unsigned i = 0; i < 4096; i++) {
		ops[i] = (struct ledger_op){.fn = nothing, .done = ignore};
		ck_assert_int_eq(ledger_post(ledger, &ops[i], &err), 0);
	}
	ck_assert_int_eq(ledger_post(ledger, &more, &err), -1);
	ck_assert_int_eq(err.status, ERR_BUSY);
	gate_open(&gate);
	while (ledger_run(ledger, nothing, NULL, &err) < 0)
		ck_assert_int_eq(err.status, ERR_BUSY);
}
END_TEST

START_TEST(test_ledger_free_runs_what_is_queued)
{
	struct gate gate = {0};
	struct ledger_op op;
	struct part parts[4] = {{.fails = false}};

	story[0] = 0;
	gate_close(&gate, &op);
	parts_post(parts, 4);
	gate_open(&gate);
	ledger_free(TAKE(ledger));
	ck_assert_str_eq(story, "1234ABCD");
	ck_assert_int_eq(count_rows(), 4);
}
END_TEST

#define POSTERS 4
#define EACH 100

static void *poster(void *arg)
{
	struct err err;

	for (int i = 0; i < EACH; i++) {
		char name[32];
		snprintf(name, sizeof(name), "m%d.%d", *(int *)arg, i);
		if (ledger_run(ledger, i % 10 ? add_name : add_and_fail, name, &err) < 0 &&
		    err.status != ERR_DENIED)
			return arg;
	}
	return NULL;
}

START_TEST(test_ledger_serves_many_threads)
{
	pthread_t threads[POSTERS];
	int numbers[POSTERS];
	struct ledger_stats stats;

	for (int i = 0; i < POSTERS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, poster, &numbers[i]), 0);
	}
	for (int i = 0; i < POSTERS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(count_rows(), POSTERS * EACH * 9 / 10);
	ledger_stats(ledger, &stats);
	ck_assert_uint_eq(stats.operations, POSTERS * EACH);
	ck_assert_uint_eq(stats.failures, POSTERS * EACH / 10);
	ck_assert_uint_le(stats.commits, stats.operations);
	ck_assert_int_gt(stats.commit_us_max, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tc = tcase_create("ledger");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_ledger_run_is_durable);
	tcase_add_test(tc, test_ledger_run_tells_why_it_failed);
	tcase_add_test(tc, test_ledger_groups_and_a_failure_undoes_only_itself);
	tcase_add_test(tc, test_ledger_failed_commit_fails_the_group);
	tcase_add_test(tc, test_ledger_patience_ends_with_another);
	tcase_add_test(tc, test_ledger_bounds_its_queue);
	tcase_add_test(tc, test_ledger_free_runs_what_is_queued);
	tcase_add_test(tc, test_ledger_serves_many_threads);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
