#include "server/housekeeping.h"

#include "base/log.h"
#include "store/gc.h"
#include "store/ledger.h"
#include "store/upload.h"
#include "store/verify.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURN_MS 60000			       /* between two looks */
#define COLLECT_MS ((int64_t)3600 * 1000)      /* between two collections */
#define SCRUB_S ((int64_t)30 * 86400)	       /* between two scrubs; real time */
#define SCRUB_BYTES_MS ((int64_t)256 * 1024)   /* scrubbed a millisecond on average */
#define SCRUBBED "store.scrubbed"	       /* meta: when the last one ended */

struct housekeeping {
	struct blobs *blobs;
	struct db *db;
	const struct clock *clock;
	int64_t collect_at; /* monotonic ms; the thread's */
	pthread_t thread;
	pthread_mutex_t lock; /* guards stopping */
	pthread_cond_t wake;
	bool stopping;
};

/* Sleep; false: stop. */
static bool rest(struct housekeeping *keeping, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&keeping->lock);
	while (!keeping->stopping &&
	       pthread_cond_timedwait(&keeping->wake, &keeping->lock, &until) != ETIMEDOUT)
		;
	bool go_on = !keeping->stopping;
	pthread_mutex_unlock(&keeping->lock);
	return go_on;
}

static void expire(struct housekeeping *keeping)
{
	unsigned dropped = 0;
	struct err err;

	if (upload_expire(keeping->blobs, keeping->db, clock_s(keeping->clock), &dropped, &err) < 0)
		log_event(LOG_ERROR, "upload.expiry_failed", F_ERR(&err));
	else if (dropped)
		log_event(LOG_INFO, "upload.expired", F_INT("uploads", dropped));
}

static void collect(struct housekeeping *keeping)
{
	struct gc_report report;
	struct err err;

	if (clock_monotonic_ms() < keeping->collect_at)
		return;
	if (gc_run(keeping->blobs, keeping->db, clock_s(keeping->clock), GC_GRACE_S, &report,
		   &err) < 0) {
		log_event(LOG_ERROR, "store.collection_failed", F_ERR(&err));
		report = (struct gc_report){0};
	}
	if (report.skipped)
		return; /* pushes are under way: at the next turn */
	keeping->collect_at = clock_monotonic_ms() + COLLECT_MS;
	if (report.recipes + report.packs + report.orphans)
		log_event(LOG_INFO, "store.collected", F_INT("recipes", report.recipes),
			  F_INT("packs", report.packs), F_INT("orphans", report.orphans),
			  F_INT("bytes", report.bytes));
}

static bool scrub_due(struct housekeeping *keeping)
{
	char text[24];
	struct err err;
	int64_t now = clock_wall_ms() / 1000;

	if (db_meta_get(keeping->db, SCRUBBED, text, sizeof(text), &err) < 0)
		return err.status == ERR_NOT_FOUND;
	return strtoll(text, NULL, 10) + SCRUB_S <= now;
}

static bool scrub_pause(void *arg, uint64_t bytes)
{
	return rest(arg, (int64_t)bytes / SCRUB_BYTES_MS + 1);
}

static int scrub_note(struct db *db, void *arg, struct err *err)
{
	char text[24];

	(void)arg;
	snprintf(text, sizeof(text), "%lld", (long long)(clock_wall_ms() / 1000));
	return db_meta_set(db, SCRUBBED, text, err);
}

static void scrub(struct housekeeping *keeping)
{
	const struct verify_options options = {
		.deep = true, .mend = true, .go_on = scrub_pause, .arg = keeping};
	struct verify_report report;
	struct err err;

	if (!scrub_due(keeping))
		return;
	if (verify_store(keeping->blobs, keeping->db, &options, &report, &err) < 0) {
		log_event(LOG_ERROR, "store.scrub_failed", F_ERR(&err));
		return;
	}
	if (report.damaged)
		log_event(LOG_ERROR, "store.damaged", F_INT("count", report.damaged),
			  F_ERR(&report.first));
	if (report.ended)
		return;
	log_event(LOG_INFO, "store.scrubbed", F_INT("packs", report.packs),
		  F_INT("recipes", report.recipes), F_INT("bytes", report.bytes));
	if (ledger_run(blobs_ledger(keeping->blobs), scrub_note, NULL, &err) < 0)
		log_event(LOG_WARN, "store.scrub_not_noted", F_ERR(&err));
}

static void *housekeeping_main(void *arg)
{
	struct housekeeping *keeping = arg;

	while (rest(keeping, TURN_MS)) {
		expire(keeping);
		collect(keeping);
		scrub(keeping);
	}
	return NULL;
}

int housekeeping_new(struct housekeeping **ret_keeping, struct blobs *blobs, struct db *db,
		     const struct clock *clock, struct err *err)
{
	struct housekeeping *keeping = calloc(1, sizeof(*keeping));

	if (!keeping) {
		db_close(db);
		return err_nomem(err);
	}
	keeping->blobs = blobs;
	keeping->db = db;
	keeping->clock = clock;
	pthread_mutex_init(&keeping->lock, NULL);
	pthread_cond_init(&keeping->wake, NULL);
	if (pthread_create(&keeping->thread, NULL, housekeeping_main, keeping)) {
		free(keeping);
		db_close(db);
		return err_set(err, ERR_SYSTEM, "cannot start the housekeeping thread");
	}
	*ret_keeping = keeping;
	return 0;
}

void housekeeping_free(struct housekeeping *keeping)
{
	if (!keeping)
		return;
	pthread_mutex_lock(&keeping->lock);
	keeping->stopping = true;
	pthread_cond_signal(&keeping->wake);
	pthread_mutex_unlock(&keeping->lock);
	pthread_join(keeping->thread, NULL);
	pthread_cond_destroy(&keeping->wake);
	pthread_mutex_destroy(&keeping->lock);
	db_close(keeping->db);
	free(keeping);
}
