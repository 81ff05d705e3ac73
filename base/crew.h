/* crew.h -- one piece of work for each of many items, on as many threads as there are cores.
 * For work that takes milliseconds: threads are started for the call, and gone after it. */
#ifndef BASE_CREW_H
#define BASE_CREW_H

#include "base/cc.h"
#include "base/err.h"

#define CREW_MOST 8 /* workers */

struct crew_job {
	unsigned items;
	/* Called once for each item, from any thread, but never twice at once with the same worker (0..,
	 * so that a worker may have what it does not share).  -1 ends the whole. */
	int (*fn)(void *arg, unsigned item, unsigned worker, struct err *err);
	void *arg;
};

/* The calling thread is worker 0, up to workers - 1 others help; one that cannot be started is not
 * needed.  What all wrote is seen after it.  Fails as the first that failed, when all have stopped. */
int crew_run(const struct crew_job *job, unsigned workers, struct err *err) CHECKED;

#endif
