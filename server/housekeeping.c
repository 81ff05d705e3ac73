#include "server/housekeeping.h"

#include "base/cond.h"
#include "base/json.h"
#include "base/log.h"
#include "server/findings.h"
#include "store/delta_job.h"
#include "store/gc.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/upload.h"
#include "store/verify.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS 60000			     /* between two looks */
#define COLLECT_MS ((int64_t)3600 * 1000)    /* between two collections */
#define SCRUB_S ((int64_t)30 * 86400)	     /* between two scrubs; real time */
#define SCRUB_BYTES_MS ((int64_t)256 * 1024) /* scrubbed a millisecond, unless asked for */
#define LAST_MAX ((size_t)512 * 1024)	     /* bytes of what a run found */

/* One of the chores: guarded by the lock. */
struct state {
	int64_t run;	     /* number of the run under way, or the last */
	bool asked, running; /* asked: somebody waits for it */
	bool dry_run;
	bool gently;   /* leaves the machine to others; who asks for it does not want to wait a day */
	int64_t since; /* real UTC seconds */
	uint64_t packs, bytes;	     /* looked at: packs and parts of deltas */
	int64_t packs_all, bytes_all; /* of the store; 0: not told */
	json_t *last;		     /* what the last run found; NULL: none */
};

struct keeper {
	struct housekeeping *keeping;
	struct db *db; /* reading */
	pthread_t thread;
	bool started;
};

struct housekeeping {
	struct blobs *blobs;
	const struct clock *clock;
	int64_t collect_at; /* monotonic ms; the collector's */
	struct keeper collector, scrubber;
	pthread_mutex_t lock; /* guards stopping and states */
	pthread_cond_t wake;
	bool stopping;
	struct state states[CHORES];
};

const char *chore_name(enum chore chore)
{
	static const char *const names[CHORES] = {"gc", "verify", "scrub"};

	return names[chore];
}

/* ---- Waiting. ---- */

static bool any_asked(const struct housekeeping *keeping, enum chore first, enum chore last)
{
	for (unsigned i = first; i <= last; i++)
		if (keeping->states[i].asked)
			return true;
	return false;
}

/* Sleep, but no longer than until one of these chores is asked for; false: stop. */
static bool rest(struct housekeeping *keeping, int64_t ms, enum chore first, enum chore last)
{
	const int64_t until = clock_monotonic_ms() + ms;

	pthread_mutex_lock(&keeping->lock);
	while (!keeping->stopping && !any_asked(keeping, first, last) &&
	       cond_wait_until(&keeping->wake, &keeping->lock, until))
		;
	bool go_on = !keeping->stopping;
	pthread_mutex_unlock(&keeping->lock);
	return go_on;
}

/* ---- A run's state. ---- */

static char *last_key(enum chore chore, char out[static 32])
{
	snprintf(out, 32, "store.last.%s", chore_name(chore));
	return out;
}

/* true: it is to be done, and is running now; *ret_dry_run as it was asked. */
static bool run_begin(struct keeper *keeper, enum chore chore, bool due, bool *ret_dry_run)
{
	struct state *state = &keeper->keeping->states[chore];
	struct inventory_sums sums;
	struct delta_job_sums deltas;
	struct blobs_stats kept;
	struct err err;

	pthread_mutex_lock(&keeper->keeping->lock);
	const bool begins = due || state->asked;
	*ret_dry_run = state->asked && state->dry_run;
	if (begins) {
		state->run += !state->asked;
		state->gently = !state->asked;
		state->asked = false;
		state->running = true;
		state->since = clock_wall_ms() / 1000;
		state->packs = state->bytes = 0;
	}
	pthread_mutex_unlock(&keeper->keeping->lock);
	if (begins && inventory_sum(keeper->db, &sums, &err) == 0 &&
	    delta_job_sum(keeper->db, &deltas, &err) == 0) {
		blobs_stats(keeper->keeping->blobs, &kept);
		pthread_mutex_lock(&keeper->keeping->lock);
		state->packs_all = sums.packs + (int64_t)kept.count[BLOB_DELTA];
		state->bytes_all = sums.pack_bytes + deltas.bytes;
		pthread_mutex_unlock(&keeper->keeping->lock);
	}
	return begins;
}

struct note {
	enum chore chore;
	const char *text;
};

static int last_write(struct db *db, void *arg, struct err *err)
{
	const struct note *note = arg;
	char key[32];

	return db_meta_set(db, last_key(note->chore, key), note->text, err);
}

/* Keep what was found (taken over; NULL without memory) or why there is nothing. */
static void run_end(struct keeper *keeper, enum chore chore, json_t *found, const struct err *why)
{
	struct housekeeping *keeping = keeper->keeping;
	struct state *state = &keeping->states[chore];
	struct err err;

	if (!found)
		found = json_object();
	json_object_set_new(found, "error", why ? json_string(why->text) : json_null());
	json_object_set_new(found, "ended", json_integer(clock_wall_ms() / 1000));
	pthread_mutex_lock(&keeping->lock);
	json_object_set_new(found, "run", json_integer(state->run));
	json_object_set_new(found, "began", json_integer(state->since));
	json_decref(state->last);
	state->last = found;
	state->running = false;
	char *text = json_dumps(found, JSON_COMPACT);
	pthread_mutex_unlock(&keeping->lock);
	struct note note = {chore, text};
	if (!text || ledger_run(blobs_ledger(keeping->blobs), last_write, &note, &err) < 0)
		log_event(LOG_WARN, "store.chore_not_noted", F_TEXT("chore", chore_name(chore)));
	free(text);
}

static void last_load(struct keeper *keeper, enum chore chore)
{
	struct state *state = &keeper->keeping->states[chore];
	char key[32], *text = malloc(LAST_MAX);
	struct err err;

	if (text && db_meta_get(keeper->db, last_key(chore, key), text, LAST_MAX, &err) == 0)
		state->last = json_parse(text, strlen(text), key, &err);
	state->run = json_integer_value(json_object_get(state->last, "run"));
	free(text);
}

int64_t housekeeping_last(struct housekeeping *keeping, enum chore chore)
{
	pthread_mutex_lock(&keeping->lock);
	const json_t *last = keeping->states[chore].last;
	const int64_t ended = json_is_null(json_object_get(last, "error"))
				      ? json_integer_value(json_object_get(last, "ended"))
				      : 0;
	pthread_mutex_unlock(&keeping->lock);
	return ended;
}

int64_t housekeeping_damaged(struct housekeeping *keeping)
{
	pthread_mutex_lock(&keeping->lock);
	const int64_t damaged = json_integer_value(
		json_object_get(keeping->states[CHORE_SCRUB].last, "damaged"));
	pthread_mutex_unlock(&keeping->lock);
	return damaged;
}

/* ---- The collector. ---- */

static void expire(struct keeper *keeper)
{
	struct housekeeping *keeping = keeper->keeping;
	unsigned dropped = 0;
	struct err err;

	if (upload_expire(keeping->blobs, keeper->db, clock_s(keeping->clock), &dropped, &err) < 0)
		log_event(LOG_ERROR, "upload.expiry_failed", F_ERR(&err));
	else if (dropped)
		log_event(LOG_INFO, "upload.expired", F_INT("uploads", dropped));
}

static bool not_stopping(void *arg)
{
	struct housekeeping *keeping = arg;

	pthread_mutex_lock(&keeping->lock);
	bool go_on = !keeping->stopping;
	pthread_mutex_unlock(&keeping->lock);
	return go_on;
}

static void collected_log(const struct gc_report *report)
{
	const struct repack_report *repacked = &report->repacked;

	if (report->recipes + report->packs + report->deltas + report->orphans)
		log_event(LOG_INFO, "store.collected", F_INT("recipes", report->recipes),
			  F_INT("packs", report->packs), F_INT("deltas", report->deltas),
			  F_INT("orphans", report->orphans),
			  F_INT("bytes", report->bytes));
	if (repacked->packs + repacked->left)
		log_event(LOG_INFO, "store.repacked", F_INT("packs", repacked->packs),
			  F_INT("left", repacked->left), F_INT("bytes", repacked->bytes),
			  F_INT("made", repacked->made), F_INT("maps", repacked->maps));
}

static void collect(struct keeper *keeper)
{
	struct housekeeping *keeping = keeper->keeping;
	struct gc_options options = {.now = clock_s(keeping->clock),
				     .grace_s = GC_GRACE_S,
				     .go_on = not_stopping,
				     .arg = keeping};
	struct gc_report report;
	struct err err;

	if (!run_begin(keeper, CHORE_GC, clock_monotonic_ms() >= keeping->collect_at,
		       &options.dry_run))
		return;
	if (!options.dry_run)
		keeping->collect_at = clock_monotonic_ms() + COLLECT_MS;
	if (gc_run(keeping->blobs, keeper->db, &options, &report, &err) < 0) {
		log_event(LOG_ERROR, "store.collection_failed", F_ERR(&err));
		run_end(keeper, CHORE_GC, NULL, &err);
		return;
	}
	if (!options.dry_run)
		collected_log(&report);
	run_end(keeper, CHORE_GC, findings_gc_json(&report, options.dry_run), NULL);
}

/* ---- Looking over. ---- */

struct looking {
	struct findings findings; /* first: verify_options has one argument for both */
	struct keeper *keeper;
	enum chore chore;
};

static bool looked(void *arg, uint64_t bytes)
{
	const struct looking *looking = arg;
	struct housekeeping *keeping = looking->keeper->keeping;
	struct state *state = &keeping->states[looking->chore];

	pthread_mutex_lock(&keeping->lock);
	state->packs++;
	state->bytes += bytes;
	const bool gently = state->gently, go_on = !keeping->stopping;
	pthread_mutex_unlock(&keeping->lock);
	if (!go_on || !gently || looking->chore != CHORE_SCRUB)
		return go_on;
	return rest(keeping, (int64_t)bytes / SCRUB_BYTES_MS + 1, CHORE_SCRUB, CHORE_SCRUB);
}

static void found_log(const struct looking *looking, const struct verify_report *report)
{
	if (report->damaged)
		log_event(LOG_ERROR, "store.damaged", F_INT("count", report->damaged),
			  F_INT("files", looking->findings.files), F_ERR(&report->first));
	if (!report->ended && looking->chore == CHORE_SCRUB)
		log_event(LOG_INFO, "store.scrubbed", F_INT("packs", report->packs),
			  F_INT("recipes", report->recipes), F_INT("deltas", report->deltas),
			  F_INT("bytes", report->bytes));
}

static void look_over(struct looking *looking)
{
	const bool scrubs = looking->chore == CHORE_SCRUB;
	const struct verify_options options = {.deep = scrubs,
					       .mend = scrubs,
					       .damaged = findings_note,
					       .go_on = looked,
					       .arg = looking};
	struct keeper *keeper = looking->keeper;
	struct verify_report report;
	struct err err;

	if (verify_store(keeper->keeping->blobs, keeper->db, &options, &report, &err) < 0) {
		log_event(LOG_ERROR, "store.scrub_failed", F_ERR(&err));
		run_end(keeper, looking->chore, NULL, &err);
		return;
	}
	found_log(looking, &report);
	if (!report.ended) /* else: stopping */
		run_end(keeper, looking->chore, findings_json(&looking->findings, &report), NULL);
}

static void look(struct keeper *keeper, enum chore chore, bool due)
{
	struct looking looking = {.keeper = keeper, .chore = chore};
	bool dry_run;

	if (!run_begin(keeper, chore, due, &dry_run))
		return;
	findings_init(&looking.findings, keeper->db);
	look_over(&looking);
	findings_done(&looking.findings);
}

/* ---- The threads. ---- */

static void *collector_main(void *arg)
{
	struct keeper *keeper = arg;

	while (rest(keeper->keeping, TURN_MS, CHORE_GC, CHORE_VERIFY)) {
		expire(keeper);
		collect(keeper);
		look(keeper, CHORE_VERIFY, false);
	}
	return NULL;
}

static void *scrubber_main(void *arg)
{
	struct keeper *keeper = arg;

	while (rest(keeper->keeping, TURN_MS, CHORE_SCRUB, CHORE_SCRUB))
		look(keeper, CHORE_SCRUB,
		     housekeeping_last(keeper->keeping, CHORE_SCRUB) + SCRUB_S <=
			     clock_wall_ms() / 1000);
	return NULL;
}

/* ---- From outside. ---- */

int housekeeping_ask(struct housekeeping *keeping, enum chore chore, bool dry_run,
		     int64_t *ret_run, struct err *err)
{
	struct state *state = &keeping->states[chore];
	int64_t run = 0;

	pthread_mutex_lock(&keeping->lock);
	if (state->running && state->gently && chore == CHORE_SCRUB) {
		state->gently = false;
		run = state->run;
	} else if (!state->asked && !state->running) {
		state->asked = true;
		state->dry_run = dry_run;
		run = ++state->run;
		pthread_cond_broadcast(&keeping->wake);
	}
	pthread_mutex_unlock(&keeping->lock);
	if (!run)
		return err_set(err, ERR_CONFLICT, "a run of %s is under way", chore_name(chore));
	*ret_run = run;
	return 0;
}

static json_t *state_json(const struct state *state)
{
	json_t *last = state->last ? json_deep_copy(state->last) : json_null();

	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "running",
			 state->running, "asked", state->asked, "run", (json_int_t)state->run,
			 "since", (json_int_t)state->since, "packs", (json_int_t)state->packs,
			 "packs_all", (json_int_t)state->packs_all, "bytes",
			 (json_int_t)state->bytes, "bytes_all", (json_int_t)state->bytes_all,
			 "last", last);
}

json_t *housekeeping_json(struct housekeeping *keeping)
{
	json_t *all = json_object();

	pthread_mutex_lock(&keeping->lock);
	for (unsigned i = 0; i < CHORES; i++)
		if (json_object_set_new(all, chore_name(i), state_json(&keeping->states[i])) < 0) {
			json_decref(all);
			all = NULL;
			break;
		}
	pthread_mutex_unlock(&keeping->lock);
	return all;
}

static int keeper_start(struct keeper *keeper, void *(*keeper_main)(void *), struct err *err)
{
	if (pthread_create(&keeper->thread, NULL, keeper_main, keeper))
		return err_set(err, ERR_SYSTEM, "cannot start a housekeeping thread");
	keeper->started = true;
	return 0;
}

int housekeeping_new(struct housekeeping **ret_keeping, struct blobs *blobs,
		     struct db *const dbs[static 2], const struct clock *clock, struct err *err)
{
	struct housekeeping *keeping = calloc(1, sizeof(*keeping));

	if (!keeping) {
		db_close(dbs[0]);
		db_close(dbs[1]);
		return err_nomem(err);
	}
	keeping->blobs = blobs;
	keeping->clock = clock;
	keeping->collector = (struct keeper){.keeping = keeping, .db = dbs[0]};
	keeping->scrubber = (struct keeper){.keeping = keeping, .db = dbs[1]};
	pthread_mutex_init(&keeping->lock, NULL);
	cond_init(&keeping->wake);
	for (unsigned i = 0; i < CHORES; i++)
		last_load(&keeping->collector, i);
	if (keeper_start(&keeping->collector, collector_main, err) < 0 ||
	    keeper_start(&keeping->scrubber, scrubber_main, err) < 0) {
		housekeeping_free(keeping);
		return -1;
	}
	*ret_keeping = keeping;
	return 0;
}

static void keeper_stop(struct keeper *keeper)
{
	if (keeper->started)
		pthread_join(keeper->thread, NULL);
	db_close(keeper->db);
}

void housekeeping_free(struct housekeeping *keeping)
{
	if (!keeping)
		return;
	pthread_mutex_lock(&keeping->lock);
	keeping->stopping = true;
	pthread_cond_broadcast(&keeping->wake);
	pthread_mutex_unlock(&keeping->lock);
	keeper_stop(&keeping->collector);
	keeper_stop(&keeping->scrubber);
	pthread_cond_destroy(&keeping->wake);
	pthread_mutex_destroy(&keeping->lock);
	for (unsigned i = 0; i < CHORES; i++)
		json_decref(keeping->states[i].last);
	free(keeping);
}
