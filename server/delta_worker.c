#include "server/delta_worker.h"

#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "manifest/delta_queue.h"
#include "manifest/journal.h"
#include "store/delta_build.h"
#include "store/delta_job.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NICE 10
#define PAUSE_MS 60000 /* between two looks, at the most */
#define AGAIN_MS 5000  /* before the ledger is asked again */

struct delta_worker {
	struct blobs *blobs;
	struct db *db;
	const struct clock *clock;
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;
	bool stopping, woken;
	struct delta_running running;
};

/* ---- Waiting. ---- */

static bool stopping(struct delta_worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	bool stop = worker->stopping;
	pthread_mutex_unlock(&worker->lock);
	return stop;
}

/* Sleep, or until woken; false: stop. */
static bool rest(struct delta_worker *worker, int64_t ms)
{
	const int64_t until = clock_monotonic_ms() + ms;

	pthread_mutex_lock(&worker->lock);
	while (!worker->stopping && !worker->woken &&
	       cond_wait_until(&worker->wake, &worker->lock, until))
		;
	worker->woken = false;
	bool go_on = !worker->stopping;
	pthread_mutex_unlock(&worker->lock);
	return go_on;
}

void delta_worker_wake(struct delta_worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->woken = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
}

void delta_worker_running(struct delta_worker *worker, struct delta_running *ret_running)
{
	pthread_mutex_lock(&worker->lock);
	*ret_running = worker->running;
	pthread_mutex_unlock(&worker->lock);
}

/* How long until a job is due; own time may run fast. */
static int64_t pause_ms(struct delta_worker *worker)
{
	int64_t due, ms;
	struct err err;
	int row = delta_job_due(worker->db, &due, &err);

	if (row < 0)
		log_event(LOG_ERROR, "delta.queue_unread", F_ERR(&err));
	if (row <= 0)
		return PAUSE_MS;
	due -= clock_s(worker->clock);
	if (due <= 0)
		return 0;
	ms = clock_wait_ms(worker->clock, due * 1000);
	return ms < PAUSE_MS ? ms : PAUSE_MS;
}

/* ---- How a job ended: row, event, log. ---- */

enum outcome { MADE, NOT_WORTH, INTERRUPTED, MISSED };

struct ending {
	struct delta_job job;
	enum outcome outcome;
	int64_t now;
	bool failed; /* MISSED: for good */
};

static int event_write(struct db *db, const struct ending *e, struct err *err)
{
	const struct delta_job *job = &e->job;
	json_auto_t *data = json_pack("{s:I, s:s, s:s, s:I, s:I}", "job", (json_int_t)job->id,
				      "what", job->what, "base", job->base, "bytes",
				      (json_int_t)job->bytes, "whole", (json_int_t)job->whole);
	const struct journal_event event = {
		.t = e->now, .kind = "delta.ready", .actor = "deltas", .data = data};

	return data ? journal_event(db, &event, err) : err_nomem(err);
}

static int ending_write(struct db *db, void *arg, struct err *err)
{
	struct ending *e = arg;

	switch (e->outcome) {
	case MADE:
		if (delta_job_done(db, &e->job, e->now, err) < 0)
			return -1;
		return event_write(db, e, err);
	case NOT_WORTH:
		return delta_job_dropped(db, &e->job, e->now, err);
	case INTERRUPTED:
		return delta_job_release(db, &e->job, e->now, err);
	case MISSED:
		return delta_job_again(db, &e->job, e->now, &e->failed, err);
	}
	return -1;
}

static void ending_log(const struct ending *e)
{
	const struct delta_job *job = &e->job;
	const struct log_field what = F_TEXT("what", job->what), base = F_TEXT("base", job->base);

	switch (e->outcome) {
	case MADE:
		log_event(LOG_INFO, "delta.ready", what, base, F_INT("bytes", job->bytes),
			  F_INT("whole", job->whole));
		break;
	case NOT_WORTH:
		log_event(LOG_INFO, "delta.dropped", what, base, F_TEXT("reason", job->reason));
		break;
	case INTERRUPTED:
		log_event(LOG_INFO, "delta.interrupted", what, base);
		break;
	case MISSED:
		log_event(e->failed ? LOG_ERROR : LOG_WARN,
			  e->failed ? "delta.failed" : "delta.missed", what, base,
			  F_INT("tries", job->tries), F_TEXT("error", job->reason));
		break;
	}
}

/* Until it is written, or the daemon stops: then the next start finds the job running. */
static void end(struct delta_worker *worker, struct ending *e)
{
	struct err err;

	e->now = clock_s(worker->clock);
	while (ledger_run(blobs_ledger(worker->blobs), ending_write, e, &err) < 0) {
		log_event(LOG_ERROR, "delta.not_noted", F_INT("job", e->job.id), F_ERR(&err));
		if (err.status == ERR_CONFLICT || stopping(worker) || !rest(worker, AGAIN_MS))
			return;
	}
	ending_log(e);
}

/* ---- A job. ---- */

struct taking {
	struct delta_job job;
	int64_t now;
	int row;
};

static int take(struct db *db, void *arg, struct err *err)
{
	struct taking *taking = arg;

	taking->row = delta_job_take(db, taking->now, &taking->job, err);
	return taking->row < 0 ? -1 : 0;
}

static void running_set(struct delta_worker *worker, const struct delta_running *running)
{
	pthread_mutex_lock(&worker->lock);
	worker->running = *running;
	pthread_mutex_unlock(&worker->lock);
}

static int told(void *arg, uint64_t done)
{
	struct delta_worker *worker = arg;

	pthread_mutex_lock(&worker->lock);
	worker->running.at = done;
	bool stop = worker->stopping;
	pthread_mutex_unlock(&worker->lock);
	return stop;
}

static void running_start(struct delta_worker *worker, const struct delta_job *job)
{
	struct delta_running running = {.job = job->id};
	struct recipe_info info;
	struct err gone;

	if (inventory_recipe(worker->db, &job->new, &info, &gone) == 0)
		running.length = (uint64_t)info.length;
	running_set(worker, &running);
}

static void built(struct ending *e, const struct delta_built *built)
{
	e->outcome = built->dropped ? NOT_WORTH : MADE;
	e->job.whole = (int64_t)built->whole;
	e->job.bytes = built->dropped ? 0 : (int64_t)built->bytes;
	e->job.reason[0] = 0;
	if (built->dropped)
		snprintf(e->job.reason, sizeof(e->job.reason),
			 "larger than %d %% of a full download: %llu of %llu bytes were reached at"
			 " %llu %% of the file",
			 DELTA_WORTH, (unsigned long long)built->bytes,
			 (unsigned long long)built->whole,
			 (unsigned long long)(built->length ? built->at * 100 / built->length : 100));
}

static void work(struct delta_worker *worker, const struct delta_job *job)
{
	const struct delta_progress progress = {.at = told, .arg = worker};
	struct ending e = {.job = *job};
	struct delta_built result;
	struct err err;

	running_start(worker, job);
	if (delta_build(worker->blobs, &job->new, &job->old, &progress, &result, &err) == 0) {
		built(&e, &result);
	} else {
		e.outcome = err.status == ERR_BUSY && stopping(worker) ? INTERRUPTED : MISSED;
		snprintf(e.job.reason, sizeof(e.job.reason), "%s", err.text);
	}
	end(worker, &e);
	running_set(worker, &(struct delta_running){0});
}

/* False: nothing is due. */
static bool work_next(struct delta_worker *worker)
{
	struct taking taking = {.now = clock_s(worker->clock)};
	struct err err;

	if (pause_ms(worker) > 0)
		return false;
	if (ledger_run(blobs_ledger(worker->blobs), take, &taking, &err) < 0) {
		log_event(LOG_ERROR, "delta.queue_unread", F_ERR(&err));
		return false;
	}
	if (taking.row)
		work(worker, &taking.job);
	return taking.row;
}

/* ---- The thread. ---- */

struct start {
	struct delta_worker *worker;
	struct db *db; /* the ledger's */
	int64_t now;
	unsigned added, lost;
};

/* A backup may come without deltas: its maps list what is not there. */
static int look_after(void *arg, const struct delta_job *job, struct err *err)
{
	struct start *s = arg;

	if (parts_exist(s->worker->blobs, &job->new, &job->old, (uint64_t)job->bytes))
		return 0;
	s->lost++;
	return delta_job_lost(s->db, job->id, s->now, err);
}

static int start(struct db *db, void *arg, struct err *err)
{
	struct start *s = arg;

	const struct delta_job_query done = {.state = DELTA_DONE, .limit = INT64_MAX};

	s->db = db;
	s->added = s->lost = 0;
	if (delta_job_recover(db, s->now, err) < 0 ||
	    delta_job_list(s->worker->db, &done, look_after, s, err) < 0)
		return -1;
	return delta_queue_missing(db, s->now, &s->added, err);
}

/* Once, after the start. */
static bool started(struct delta_worker *worker)
{
	struct start s = {.worker = worker, .now = clock_s(worker->clock)};
	struct err err;

	if (ledger_run(blobs_ledger(worker->blobs), start, &s, &err) < 0) {
		log_event(LOG_ERROR, "delta.queue_unread", F_ERR(&err));
		return false;
	}
	if (s.added + s.lost)
		log_event(LOG_INFO, "delta.queued", F_INT("deltas", s.added),
			  F_INT("lost", s.lost));
	return true;
}

static void *worker_main(void *arg)
{
	struct delta_worker *worker = arg;

	thread_nice(NICE);
	while (!started(worker))
		if (!rest(worker, AGAIN_MS))
			return NULL;
	while (!stopping(worker)) {
		if (work_next(worker))
			continue;
		int64_t ms = pause_ms(worker);
		if (!rest(worker, ms > 0 ? ms : AGAIN_MS))
			break;
	}
	return NULL;
}

int delta_worker_new(struct delta_worker **ret_worker, struct blobs *blobs, struct db *db,
		     const struct clock *clock, struct err *err)
{
	struct delta_worker *worker = calloc(1, sizeof(*worker));

	if (!worker) {
		db_close(db);
		return err_nomem(err);
	}
	worker->blobs = blobs;
	worker->db = db;
	worker->clock = clock;
	pthread_mutex_init(&worker->lock, NULL);
	cond_init(&worker->wake);
	if (pthread_create(&worker->thread, NULL, worker_main, worker)) {
		free(worker);
		db_close(db);
		return err_set(err, ERR_SYSTEM, "cannot start the thread that makes deltas");
	}
	*ret_worker = worker;
	return 0;
}

void delta_worker_free(struct delta_worker *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->stopping = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	db_close(worker->db);
	free(worker);
}
