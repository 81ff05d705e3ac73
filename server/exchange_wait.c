/* Deadlines, and exchanges that wait: for a worker, or for whoever will resume them. */
#include "server/exchange_internal.h"

#include <microhttpd.h>
#include <time.h>

#define SAVED_MS 60000		    /* of its time, what a fast client keeps for later */
#define ARENA_MAX (4 * 1024 * 1024) /* of a worker's request */

/* The coarse clock is good to 4 ms and costs a few nanoseconds. */
static int64_t coarse_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void exchange_deadline(struct exchange *x, int64_t ms)
{
	atomic_store_explicit(&x->deadline, ms ? coarse_ms() + ms : 0, memory_order_relaxed);
}

/* Until the deadline, at least 1; 0: there is none. */
static int64_t deadline_left(const struct exchange *x)
{
	int64_t deadline = atomic_load_explicit(&x->deadline, memory_order_relaxed);
	int64_t left = deadline - coarse_ms();

	return !deadline ? 0 : left > 0 ? left : 1;
}

void exchange_allow(struct exchange *x, size_t bytes)
{
	int64_t left = deadline_left(x);

	if (left) /* else it is ended already */
		exchange_deadline(x, (left < SAVED_MS ? left : SAVED_MS) +
					     (int64_t)(bytes / SLOWEST_BYTES_MS));
}

/* ---- Suspended. ---- */

/* Counts first and looks at ending then, while listener_drain() does it the other way round: one
 * of the two sees the other, so that nothing is suspended when the loop is stopped. */
int exchange_pause(struct exchange *x, struct err *err)
{
	atomic_fetch_add(&x->loop->suspended, 1);
	if (atomic_load(&x->loop->ending)) {
		atomic_fetch_sub(&x->loop->suspended, 1);
		return err_set(err, ERR_BUSY, "the server is shutting down; try again shortly");
	}
	x->left_ms = deadline_left(x); /* it waits for us: that is not taken from its time */
	exchange_deadline(x, 0);
	MHD_suspend_connection(x->connection);
	return 0;
}

int exchange_suspend(struct exchange *x, route_handler *then, void (*drop)(void *then_arg),
		     void *then_arg, struct err *err)
{
	if (exchange_pause(x, err) < 0)
		return -1;
	x->then = then;
	x->then_drop = drop;
	x->then_arg = then_arg;
	x->stage = STAGE_WORK;
	return 0;
}

void *exchange_then_arg(const struct exchange *x)
{
	return x->then_arg;
}

void exchange_resume(struct exchange *x)
{
	struct loop *loop = x->loop; /* x may be gone once the loop has it back */

	exchange_deadline(x, x->left_ms);
	MHD_resume_connection(x->connection);
	atomic_fetch_sub(&loop->suspended, 1);
}

void exchange_land(struct exchange *x)
{
	struct loop *loop = x->loop;
	struct exchange *before = atomic_load_explicit(&loop->landed, memory_order_relaxed);

	do {
		x->landed_next = before;
		x->lands_first = !before;
	} while (!atomic_compare_exchange_weak_explicit(&loop->landed, &before, x,
							memory_order_release,
							memory_order_relaxed));
	if (!before)
		exchange_resume(x); /* else x may be gone: whoever takes the list resumes it */
}

void exchange_resume_landed(struct loop *loop)
{
	struct exchange *x = NULL;

	if (atomic_load_explicit(&loop->landed, memory_order_relaxed))
		x = atomic_exchange_explicit(&loop->landed, NULL, memory_order_acquire);
	while (x) {
		struct exchange *next = x->landed_next;

		if (!x->lands_first)
			exchange_resume(x);
		x = next;
	}
}

/* ---- On a worker. ---- */

static void begin_run(void *arg, struct db *db)
{
	struct exchange *x = arg;

	x->rq.db = db;
	x->rq.arena = arena_new(ARENA_MAX);
	if (!x->rq.arena)
		err_nomem(&x->err);
	else if (x->route->begin(&x->rq, &x->rq.body_fd, &x->max_body, &x->err) < 0)
		x->drop = true;
	if (!x->rq.arena)
		x->drop = true;
	arena_free(TAKE(x->rq.arena));
	x->rq.db = NULL;
	exchange_resume(x);
}

int exchange_post_begin(struct exchange *x, struct err *err)
{
	x->job = (struct job){.run = begin_run, .arg = x};
	if (exchange_pause(x, err) < 0)
		return -1;
	x->stage = STAGE_BEGIN;
	if (workers_post(x->loop->workers, &x->job, &x->err) < 0) {
		x->drop = true;
		exchange_resume(x);
	}
	return 0;
}

static void work_run(void *arg, struct db *db)
{
	struct exchange *x = arg;

	dispatch_run(x, db);
	exchange_resume(x);
}

int exchange_post_work(struct exchange *x)
{
	struct err err;

	x->then = NULL;
	x->job = (struct job){.run = work_run, .arg = x};
	if (exchange_pause(x, &err) < 0) {
		exchange_problem(x, &err);
		return exchange_answer(x);
	}
	x->stage = STAGE_WORK;
	if (workers_post(x->loop->workers, &x->job, &err) < 0) {
		exchange_problem(x, &err);
		exchange_resume(x);
	}
	return 0;
}
