#include "server/workers.h"

#include "base/thread.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define WORKERS_MAX 64

struct worker {
	struct workers *pool;
	struct db *db;
	pthread_t thread;
	bool started;
};

struct workers {
	pthread_mutex_t lock; /* guards all below but nice, threads and workers */
	pthread_cond_t wake;
	struct job *first, **last;
	unsigned queued, max_queued, busy;
	bool stopping;
	uint64_t jobs, refused;
	int nice;
	unsigned threads;
	struct worker workers[WORKERS_MAX];
};

/* The next job, or NULL when the pool stops and nothing is left. */
static struct job *job_wait(struct workers *pool)
{
	struct job *job;

	while (!pool->first && !pool->stopping)
		pthread_cond_wait(&pool->wake, &pool->lock);
	job = pool->first;
	if (!job)
		return NULL;
	pool->first = job->next;
	if (!pool->first)
		pool->last = &pool->first;
	pool->queued--;
	pool->busy++;
	pool->jobs++;
	return job;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct workers *pool = worker->pool;
	struct job *job;

	thread_nice(pool->nice);
	pthread_mutex_lock(&pool->lock);
	while ((job = job_wait(pool)) != NULL) {
		pthread_mutex_unlock(&pool->lock);
		job->run(job->arg, worker->db);
		pthread_mutex_lock(&pool->lock);
		pool->busy--;
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

void workers_free(struct workers *workers)
{
	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->stopping = true;
	pthread_cond_broadcast(&workers->wake);
	pthread_mutex_unlock(&workers->lock);
	for (unsigned i = 0; i < workers->threads; i++) {
		if (workers->workers[i].started)
			pthread_join(workers->workers[i].thread, NULL);
		db_close(workers->workers[i].db);
	}
	pthread_cond_destroy(&workers->wake);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
DEFINE_AUTO(struct workers, workers_free)

static int worker_start(struct worker *worker, const struct workers_options *options,
			struct err *err)
{
	if (options->path && db_open(&worker->db, options->path, DB_READ, options->sets,
				     options->set_count, err) < 0)
		return -1;
	if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
		return err_set(err, ERR_SYSTEM, "workers: cannot start a thread");
	worker->started = true;
	return 0;
}

int workers_new(struct workers **ret_workers, const struct workers_options *options,
		struct err *err)
{
	AUTO(workers_free) struct workers *pool = NULL;

	if (options->count < 1 || options->count > WORKERS_MAX)
		return err_set(err, ERR_INVALID, "workers: give 1 to %d", WORKERS_MAX);
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return err_nomem(err);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pool->last = &pool->first;
	pool->max_queued = options->max_queued;
	pool->nice = options->nice;
	for (unsigned i = 0; i < options->count; i++) {
		pool->workers[i].pool = pool;
		pool->threads = i + 1;
		if (worker_start(&pool->workers[i], options, err) < 0)
			return -1;
	}
	*ret_workers = TAKE(pool);
	return 0;
}

int workers_post(struct workers *workers, struct job *job, struct err *err)
{
	bool full;

	job->next = NULL;
	pthread_mutex_lock(&workers->lock);
	full = workers->queued >= workers->max_queued || workers->stopping;
	if (full) {
		workers->refused++;
	} else {
		*workers->last = job;
		workers->last = &job->next;
		workers->queued++;
		pthread_cond_signal(&workers->wake);
	}
	pthread_mutex_unlock(&workers->lock);
	return full ? err_set(err, ERR_BUSY, "too much is waiting for a worker; try again shortly")
		    : 0;
}

void workers_stats(struct workers *workers, struct workers_stats *ret_stats)
{
	pthread_mutex_lock(&workers->lock);
	*ret_stats = (struct workers_stats){.jobs = workers->jobs,
					    .refused = workers->refused,
					    .queued = workers->queued,
					    .busy = workers->busy,
					    .threads = workers->threads};
	pthread_mutex_unlock(&workers->lock);
}
