#include "rollout/engine_internal.h"

#include "base/cond.h"
#include "base/log.h"
#include "rollout/outages.h"
#include "telemetry/nonces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 200	     /* real time between looks */
#define SIGN_EVERY_MS 1000   /* real time between looks at what must be signed anew */
#define CLEAN_EVERY_MS 10000 /* real time between forgetting what is too old */
#define ALIVE_EVERY_S 60     /* own time */
#define TELL_EVERY_MS 60000  /* real time between logging the failures of a tick */
#define SIGN_AT_ONCE 256     /* repositories in one transaction */
#define FORGET_AT_ONCE 20000 /* rows in one transaction */
#define FOLD_AT_ONCE 64      /* series' days */
#define CELLS_LIFE_S ((int64_t)DAYS_KEPT * 86400)

void engine_note_failure(struct failures *failures, const struct err *err)
{
	if (!failures->count++)
		failures->first = *err;
	if (failures->told)
		log_event(LOG_ERROR, "engine.failed", F_ERR(err));
}

/* A rollout that fails is noted, and keeps none of the others from being considered. */
static int move_lanes(struct engine *e, struct failures *failures, struct err *err)
{
	bool closed;
	if (publisher_withheld(e->options.publisher))
		return 0;
	if (engine_read_lanes(e, err))
		return -1;
	if (engine_close(e, &closed, err)) {
		engine_forget_closed(e);
		engine_forget_lanes(e);
		return -1;
	}
	for (unsigned i = 0, n; i < e->roll.count; i += n) {
		struct lane *lanes = &e->roll.lanes[i];
		for (n = 1; i + n < e->roll.count && !strcmp(lanes[n].rollout, lanes->rollout);)
			n++;
		if (engine_consider(e, lanes, n, closed, err))
			engine_note_failure(failures, err);
	}
	engine_forget_closed(e);
	engine_act(e, failures);
	pthread_mutex_lock(&e->lock);
	e->stats.lanes = e->roll.count;
	e->stats.lanes_read = e->read;
	e->stats.considered = e->considered;
	pthread_mutex_unlock(&e->lock);
	if (e->roll.fresh)
		engine_sweep(e);
	return 0;
}

/* ---- housekeeping ---- */

struct upkeep {
	struct engine *engine;
	int64_t count;
	struct days_walk walk; /* the engine's, a step on */
};

static int note_alive(struct db *db, void *arg, struct err *err)
{
	const struct engine *e = arg;
	return outages_alive(db, clock_s(e->options.clock), err);
}

/* By itself: who cannot sign is alive, and who cannot note that may sign. */
static int live(struct engine *e, struct err *err)
{
	const int64_t now = clock_s(e->options.clock);
	if (now - e->alive < ALIVE_EVERY_S)
		return 0;
	if (ledger_run(e->options.ledger, note_alive, e, err))
		return -1;
	e->alive = now;
	return 0;
}

static int sign_due(struct db *db, void *arg, struct err *err)
{
	struct upkeep *u = arg;
	return publish_due(u->engine->options.publisher, db, SIGN_AT_ONCE, &u->count, err);
}

static int forget(struct db *db, void *arg, struct err *err)
{
	struct upkeep *u = arg;
	const int64_t now = clock_s(u->engine->options.clock);
	unsigned folded;
	u->walk = u->engine->walk;
	return nonces_delete(db, now, err) ||
			       cells_expire(db, now - CELLS_LIFE_S, FORGET_AT_ONCE, &u->count, err) ||
			       days_fold(db, &u->walk, days_fine_from(now), FOLD_AT_ONCE, &folded,
					 err)
		       ? -1
		       : 0;
}

static int keep_house(struct engine *e, struct err *err)
{
	const int64_t now = clock_monotonic_ms();
	struct upkeep u = {.engine = e};
	if (now - e->signed_ms >= SIGN_EVERY_MS) {
		e->signed_ms = now;
		do {
			if (ledger_run(e->options.ledger, sign_due, &u, err))
				return err_in(err, "signing");
		} while (u.count == SIGN_AT_ONCE);
	}
	if (now - e->cleaned_ms < CLEAN_EVERY_MS)
		return 0;
	e->cleaned_ms = now;
	if (ledger_run(e->options.ledger, forget, &u, err))
		return -1;
	e->walk = u.walk;
	return 0;
}

/* ---- the thread ---- */

/* How long until something closes, at the most a tick.  What became due during the last look is not
 * waited for; what that one met and could not do, is. */
static int64_t pause_ms(const struct engine *e)
{
	if (e->next_due == INT64_MAX || e->next_due <= e->looked)
		return TICK_MS;
	const int64_t own_ms = e->next_due * 1000 - clock_ms(e->options.clock);
	if (own_ms <= 0)
		return 0;
	return own_ms < TICK_MS * e->options.clock->speed ? clock_wait_ms(e->options.clock, own_ms)
							   : TICK_MS;
}

static bool wait_tick(struct engine *e)
{
	const int64_t until = clock_monotonic_ms() + pause_ms(e);
	pthread_mutex_lock(&e->lock);
	while (!e->stopping && cond_wait_until(&e->wake, &e->lock, until))
		;
	const bool go_on = !e->stopping;
	pthread_mutex_unlock(&e->lock);
	return go_on;
}

static void tick(struct engine *e)
{
	struct err err;
	const int64_t start = clock_monotonic_ms();
	struct failures failures = {.told = start >= e->tell_ms};
	e->looked = clock_s(e->options.clock);
	if (move_lanes(e, &failures, &err))
		engine_note_failure(&failures, &err);
	if (live(e, &err))
		engine_note_failure(&failures, &err);
	if (keep_house(e, &err)) /* whatever became of the lanes: what is not signed anew expires */
		engine_note_failure(&failures, &err);
	const int64_t us = (clock_monotonic_ms() - start) * 1000;
	if (failures.told && failures.count)
		e->tell_ms = start + TELL_EVERY_MS;
	pthread_mutex_lock(&e->lock);
	e->stats.ticks++;
	e->stats.failures += failures.count > 0;
	e->stats.last_tick = clock_s(e->options.clock);
	if (us > e->stats.tick_us_max)
		e->stats.tick_us_max = us;
	snprintf(e->stats.last_error, sizeof(e->stats.last_error), "%.199s",
		 failures.count ? failures.first.text : "");
	pthread_mutex_unlock(&e->lock);
}

static void *engine_main(void *arg)
{
	struct engine *e = arg;
	do
		tick(e);
	while (wait_tick(e));
	return NULL;
}

/* Lanes of before the restart take reports again, from the first one on. */
static int open_lanes(struct db *db, void *arg, struct err *err)
{
	const struct engine *e = arg;
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(TICK_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_list(db, NULL, arena, &lanes, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (cells_lane_set(e->options.cells, lanes[i].rollout, lanes[i].class,
				   lanes[i].closed, err))
			return -1;
	return 0;
}

static int look_back(struct db *db, void *arg, struct err *err)
{
	struct engine *e = arg;
	return outages_start(db, e->started, err) || outages_read(db, &e->outages, err) ? -1 : 0;
}

static int start(struct engine *e, struct err *err)
{
	e->watched = map_new(engine_watched_free);
	e->series = series_known_new();
	e->roll.changes = -1;
	e->next_due = INT64_MAX;
	if (!e->watched || !e->series)
		return err_nomem(err);
	e->started = clock_s(e->options.clock);
	if (ledger_run(e->options.ledger, open_lanes, e, err) ||
	    ledger_run(e->options.ledger, look_back, e, err))
		return -1;
	if (pthread_create(&e->thread, NULL, engine_main, e))
		return err_set(err, ERR_SYSTEM, "cannot start the engine thread");
	return 0;
}

static void destroy(struct engine *e)
{
	map_free(e->watched);
	series_known_free(e->series);
	engine_forget_lanes(e);
	for (unsigned i = 0; i < e->workers; i++)
		db_close(e->dbs[i]);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->wake);
	pthread_cond_destroy(&e->told);
	free(e);
}

static void take_connections(struct engine *e)
{
	e->dbs[e->workers++] = e->options.db;
	for (unsigned i = 0; i < ENGINE_READERS && e->options.readers[i]; i++)
		e->dbs[e->workers++] = e->options.readers[i];
}

int engine_new(struct engine **ret_engine, const struct engine_options *options, struct err *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	if (!e) {
		db_close(options->db);
		for (unsigned i = 0; i < ENGINE_READERS; i++)
			db_close(options->readers[i]);
		return err_nomem(err);
	}
	e->options = *options;
	take_connections(e);
	pthread_mutex_init(&e->lock, NULL);
	cond_init(&e->wake);
	pthread_cond_init(&e->told, NULL);
	if (start(e, err)) {
		destroy(e);
		return -1;
	}
	*ret_engine = e;
	return 0;
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	pthread_mutex_lock(&engine->lock);
	engine->stopping = true;
	pthread_cond_signal(&engine->wake);
	pthread_mutex_unlock(&engine->lock);
	pthread_join(engine->thread, NULL);
	struct err err;
	if (ledger_run(engine->options.ledger, note_alive, engine, &err))
		log_event(LOG_WARN, "engine.end_not_noted", F_ERR(&err)); /* the outage is a minute longer */
	destroy(engine);
}

void engine_stats(struct engine *engine, struct engine_stats *ret_stats)
{
	pthread_mutex_lock(&engine->lock);
	*ret_stats = engine->stats;
	pthread_mutex_unlock(&engine->lock);
}

bool engine_authentic(const struct engine *engine)
{
	return engine->options.authentic;
}

struct cells *engine_cells(const struct engine *engine)
{
	return engine->options.cells;
}
