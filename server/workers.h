/* workers.h -- a bounded pool of threads for everything that may block: admin handlers, decoding.
 * Each worker owns one reading database connection.
 * Threads: any thread posts; a job runs on one worker. */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <stdint.h>

struct workers;

/* Embedded in the caller's own struct, the caller's until it has run. */
struct job {
	void (*run)(void *arg, struct db *db);
	void *arg;
	struct job *next; /* the pool's */
};

struct workers_options {
	unsigned count;	     /* threads, 1..64 */
	unsigned max_queued; /* jobs waiting at the most */
	int nice;	     /* what others run before: thread_nice() */
	const char *path;    /* each has a DB_READ connection to it; NULL: none, for tests */
	const struct sql_set *const *sets;
	unsigned set_count;
};
int workers_new(struct workers **ret_workers, const struct workers_options *options,
		struct err *err) CHECKED;
/* Runs what is queued, then ends the threads.  NULL is fine. */
void workers_free(struct workers *workers);

/* 0: job->run will be called once.  ERR_BUSY when too many wait. */
int workers_post(struct workers *workers, struct job *job, struct err *err) CHECKED;

struct workers_stats {
	uint64_t jobs, refused;
	unsigned queued, busy, threads;
};
void workers_stats(struct workers *workers, struct workers_stats *ret_stats);

#endif
