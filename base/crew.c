#include "base/crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

struct crew {
	const struct crew_job *job;
	atomic_uint next; /* item that nobody has taken */
	pthread_mutex_t lock;
	bool failed; /* under the lock, with err */
	struct err err;
};

struct worker {
	struct crew *crew;
	unsigned number;
	pthread_t thread;
};

static void fail(struct crew *crew, const struct err *err)
{
	pthread_mutex_lock(&crew->lock);
	if (!crew->failed)
		crew->err = *err;
	crew->failed = true;
	pthread_mutex_unlock(&crew->lock);
	atomic_store(&crew->next, crew->job->items); /* the rest is not begun */
}

static void *work(void *arg)
{
	struct err err;
	const struct worker *w = arg;
	const struct crew_job *job = w->crew->job;
	unsigned item;
	while ((item = atomic_fetch_add(&w->crew->next, 1)) < job->items)
		if (job->fn(job->arg, item, w->number, &err)) {
			fail(w->crew, &err);
			break;
		}
	return NULL;
}

static unsigned worth(unsigned workers, unsigned items)
{
	unsigned most = workers < CREW_MOST ? workers : CREW_MOST;
	most = most < items ? most : items;
	if (most < 2) /* asking for cores reads a file */
		return most;
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores > 0 && (unsigned)cores < most ? (unsigned)cores : most;
}

int crew_run(const struct crew_job *job, unsigned workers, struct err *err)
{
	struct crew crew = {.job = job, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct worker others[CREW_MOST], self = {.crew = &crew};
	const unsigned wanted = worth(workers, job->items);
	unsigned started = 1; /* self */
	for (; started < wanted; started++) {
		others[started] = (struct worker){.crew = &crew, .number = started};
		if (pthread_create(&others[started].thread, NULL, work, &others[started]))
			break;
	}
	work(&self);
	while (--started)
		pthread_join(others[started].thread, NULL);
	pthread_mutex_destroy(&crew.lock);
	if (crew.failed)
		*err = crew.err;
	return crew.failed ? -1 : 0;
}
