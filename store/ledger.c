#include "store/ledger.h"

#include "base/clock.h"
#include "base/cond.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define GROUP_MAX 1024 /* operations in one transaction: bounds how long the first one waits */

struct ledger {
	struct db *db; /* the thread's alone */
	unsigned max_queued;
	pthread_t thread;
	pthread_mutex_t lock;	/* guards all below */
	pthread_cond_t work;	/* something is queued, or stopping */
	pthread_cond_t settled; /* a waiter of ledger_run() was told */
	struct ledger_op *first, **last;
	int64_t due; /* when what is queued must begin, now_us(); of no meaning without first */
	bool stopping;
	struct ledger_stats stats;
};

/* ---- The thread. ---- */

/* A group's outcome as one error; status ERR_NONE while all is well. */
static void group_fail(struct ledger_op *first, const struct ledger_op *end, const struct err *err)
{
	for (struct ledger_op *op = first; op != end; op = op->next)
		if (!op->result) {
			op->err = *err;
			op->result = -1;
		}
}

/* One operation in its savepoint.  -1 when the transaction itself is lost, with op's error. */
static int op_run(struct db *db, struct ledger_op *op)
{
	op->result = db_savepoint(db, &op->err);
	if (op->result < 0)
		return -1;
	op->result = op->fn(db, op->arg, &op->err) < 0 ? -1 : db_release(db, &op->err);
	if (op->result < 0)
		db_undo(db);
	return db_in_transaction(db) ? 0 : -1;
}

/* Run first and those behind it in one transaction; op->result tells each its fate. */
static void group_run(struct db *db, struct ledger_op *first)
{
	struct err err;

	for (struct ledger_op *op = first; op; op = op->next)
		op->result = 0;
	if (db_begin(db, &err) < 0) {
		group_fail(first, NULL, &err);
		return;
	}
	for (struct ledger_op *op = first; op; op = op->next)
		if (op_run(db, op) < 0) {
			/* What ran before is undone with it; what comes after is not tried. */
			err = op->err;
			db_rollback(db);
			group_fail(first, NULL, &err);
			return;
		}
	if (db_commit(db, &err) < 0)
		group_fail(first, NULL, &err);
}

static void group_tell(struct ledger_op *op)
{
	while (op) {
		struct ledger_op *next = op->next; /* op is its owner's again once told */
		op->done(op->arg, op->result < 0 ? &op->err : NULL);
		op = next;
	}
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The lock is held. */
static void wait_until(struct ledger *ledger, int64_t us)
{
	const struct timespec until = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	pthread_cond_timedwait(&ledger->work, &ledger->lock, &until);
}

/* Until something is queued and its patience is over, or the end has come.  The lock is held. */
static void work_wait(struct ledger *ledger)
{
	while (!ledger->stopping) {
		if (!ledger->first)
			pthread_cond_wait(&ledger->work, &ledger->lock);
		else if (ledger->due && now_us() < ledger->due)
			wait_until(ledger, ledger->due);
		else
			return;
	}
}

/* Wait for work and take up to GROUP_MAX of it; NULL: stopping and nothing left. */
static struct ledger_op *group_take(struct ledger *ledger, unsigned *ret_count)
{
	struct ledger_op *first, *op;
	unsigned count = 1;

	pthread_mutex_lock(&ledger->lock);
	work_wait(ledger);
	first = op = ledger->first;
	if (first) {
		while (op->next && count < GROUP_MAX) {
			op = op->next;
			count++;
		}
		ledger->first = TAKE(op->next);
		if (!ledger->first)
			ledger->last = &ledger->first;
		ledger->stats.queued -= count;
	}
	pthread_mutex_unlock(&ledger->lock);
	*ret_count = count;
	return first;
}

static void group_count(struct ledger *ledger, const struct ledger_op *first, unsigned count,
			int64_t us)
{
	unsigned failures = 0;

	for (const struct ledger_op *op = first; op; op = op->next)
		failures += op->result < 0;
	pthread_mutex_lock(&ledger->lock);
	ledger->stats.commits++;
	ledger->stats.operations += count;
	ledger->stats.failures += failures;
	ledger->stats.commit_us_sum += us;
	if (us > ledger->stats.commit_us_max)
		ledger->stats.commit_us_max = us;
	pthread_mutex_unlock(&ledger->lock);
}

static void *ledger_main(void *arg)
{
	struct ledger *ledger = arg;
	struct ledger_op *group;
	unsigned count;

	while ((group = group_take(ledger, &count))) {
		int64_t began = now_us();
		group_run(ledger->db, group);
		group_count(ledger, group, count, now_us() - began);
		group_tell(group);
	}
	return NULL;
}

/* ---- From outside. ---- */

int ledger_new(struct ledger **ret_ledger, struct db *db, unsigned max_queued, struct err *err)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger) {
		db_close(db);
		return err_nomem(err);
	}
	ledger->db = db;
	ledger->max_queued = max_queued;
	ledger->last = &ledger->first;
	pthread_mutex_init(&ledger->lock, NULL);
	cond_init(&ledger->work);
	pthread_cond_init(&ledger->settled, NULL);
	if (pthread_create(&ledger->thread, NULL, ledger_main, ledger)) {
		free(ledger);
		db_close(db);
		return err_set(err, ERR_SYSTEM, "cannot start the ledger's thread");
	}
	*ret_ledger = ledger;
	return 0;
}

void ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return;
	pthread_mutex_lock(&ledger->lock);
	ledger->stopping = true;
	pthread_cond_signal(&ledger->work);
	pthread_mutex_unlock(&ledger->lock);
	pthread_join(ledger->thread, NULL);
	db_close(ledger->db);
	pthread_cond_destroy(&ledger->settled);
	pthread_cond_destroy(&ledger->work);
	pthread_mutex_destroy(&ledger->lock);
	free(ledger);
}

int ledger_post(struct ledger *ledger, struct ledger_op *op, struct err *err)
{
	const int64_t due = op->patience_us ? now_us() + op->patience_us : 0;
	const char *why = NULL;

	op->next = NULL;
	pthread_mutex_lock(&ledger->lock);
	if (ledger->stopping)
		why = "shutting down: try again later";
	else if (ledger->stats.queued >= ledger->max_queued)
		why = "too many writes are waiting: try again later";
	if (!why) {
		if (!ledger->first || due < ledger->due)
			ledger->due = due;
		*ledger->last = op;
		ledger->last = &op->next;
		ledger->stats.queued++;
		pthread_cond_signal(&ledger->work);
	}
	pthread_mutex_unlock(&ledger->lock);
	return why ? err_set(err, ERR_BUSY, "%s", why) : 0;
}

void ledger_hurry(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->lock);
	ledger->due = 0;
	pthread_cond_signal(&ledger->work);
	pthread_mutex_unlock(&ledger->lock);
}

/* A thread that waits in ledger_run(); lives on its stack. */
struct waiter {
	struct ledger *ledger;
	int (*fn)(struct db *db, void *arg, struct err *err);
	void *arg;
	struct ledger_op op;
	bool told; /* guarded by the ledger's lock, as the next two */
	bool failed;
	struct err err;
};

static int waiter_fn(struct db *db, void *arg, struct err *err)
{
	struct waiter *waiter = arg;

	return waiter->fn(db, waiter->arg, err);
}

static void waiter_done(void *arg, const struct err *err)
{
	struct waiter *waiter = arg;
	struct ledger *ledger = waiter->ledger;

	pthread_mutex_lock(&ledger->lock);
	waiter->told = true;
	waiter->failed = err;
	if (err)
		waiter->err = *err;
	pthread_cond_broadcast(&ledger->settled);
	pthread_mutex_unlock(&ledger->lock);
}

int ledger_run(struct ledger *ledger, int (*fn)(struct db *db, void *arg, struct err *err),
	       void *arg, struct err *err)
{
	struct waiter waiter = {.ledger = ledger, .fn = fn, .arg = arg};

	assert(!pthread_equal(pthread_self(), ledger->thread)); /* it would wait for itself */
	waiter.op = (struct ledger_op){.fn = waiter_fn, .done = waiter_done, .arg = &waiter};
	if (ledger_post(ledger, &waiter.op, err) < 0)
		return -1;
	pthread_mutex_lock(&ledger->lock);
	while (!waiter.told)
		pthread_cond_wait(&ledger->settled, &ledger->lock);
	pthread_mutex_unlock(&ledger->lock);
	if (!waiter.failed)
		return 0;
	*err = waiter.err;
	return -1;
}

void ledger_stats(struct ledger *ledger, struct ledger_stats *ret_stats)
{
	pthread_mutex_lock(&ledger->lock);
	*ret_stats = ledger->stats;
	pthread_mutex_unlock(&ledger->lock);
}
