#include "rollout/engine.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "rollout/act.h"
#include "rollout/decide.h"
#include "rollout/evidence.h"
#include "rollout/lane.h"
#include "telemetry/intake.h"

#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TICK_MS 200	      /* real time between looks */
#define SIGN_EVERY_MS 1000    /* real time between looks at what must be signed anew */
#define CLEAN_EVERY_MS 10000  /* real time between forgetting what is too old */
#define SIGN_AT_ONCE 256      /* repositories in one transaction */
#define FORGET_AT_ONCE 20000  /* rows in one transaction */
#define CELLS_LIFE_S ((int64_t)400 * 86400)
#define TICK_ARENA (64 << 20)
#define SLOT_GRACE_S 600      /* outcome slots close so long after end + jitter */

/* A lane and what is known about it, between ticks. */
struct watched {
	struct evidence *evidence;
	struct policy policy;
	unsigned lanes; /* of its rollout */
	uint64_t seen;	/* tick that last met it */
};

struct engine {
	struct engine_options options;
	pthread_t thread;
	struct map *watched; /* "rollout/class" -> struct watched *; the thread's */
	int64_t started;     /* own time */
	int64_t signed_ms, cleaned_ms;

	pthread_mutex_t lock; /* guards stopping, stats */
	pthread_cond_t wake;
	bool stopping;
	struct engine_stats stats;
};

static void watched_free(void *arg)
{
	struct watched *w = arg;
	evidence_free(w->evidence);
	free(w);
}

static struct act act_of(const struct engine *e)
{
	return (struct act){e->options.publisher, e->options.cells, clock_s(e->options.clock),
			    "engine", ""};
}

/* ---- closing ---- */

static int64_t floor_to(int64_t t, int64_t step)
{
	return t - ((t % step) + step) % step;
}

/* Up to where each mark may be closed at now; both arms alike. */
static void due_marks(const struct clockwork *c, int64_t now, int64_t due[static CELLS_MARKS])
{
	const int64_t slot = now - c->jitter_s - SLOT_GRACE_S;
	const int64_t window = now - c->jitter_s - c->report_grace_s;
	due[CELLS_SLOT] = floor_to(slot, REPORT_SLOT_S);
	due[CELLS_WINDOW] = floor_to(window, c->window_s);
	/* A device's windows begin with the first whole one after it entered. */
	due[CELLS_SUMMARY] = floor_to(window - (c->windows + 1) * c->window_s, REPORT_SLOT_S);
	due[CELLS_MISSING] = floor_to(slot - c->outcome_deadline_s, REPORT_SLOT_S);
}

struct closing {
	struct engine *engine;
	struct lane *lanes;
	unsigned count;
	bool *moved; /* one a lane */
};

static int close_marks(struct db *db, void *arg, struct err *err)
{
	const struct closing *c = arg;
	for (unsigned i = 0; i < c->count; i++) {
		const struct lane *lane = &c->lanes[i];
		if (c->moved[i] &&
		    (lane_close(db, lane, err) ||
		     cells_lane_set(c->engine->options.cells, lane->rollout, lane->class,
				    lane->closed, err)))
			return -1;
	}
	return 0;
}

/* Raise the watermarks of all lanes in one transaction. */
static int close_due(struct engine *e, struct lane *lanes, unsigned count, struct arena *arena,
		     struct err *err)
{
	const int64_t now = clock_s(e->options.clock);
	struct closing closing = {e, lanes, count, arena_alloc(arena, count + 1)};
	bool any = false;
	if (!closing.moved)
		return err_nomem(err);
	if (now < e->started + ENGINE_GRACE_S)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		int64_t due[CELLS_MARKS];
		due_marks(&lanes[i].clock, now, due);
		for (unsigned m = 0; m < CELLS_MARKS; m++)
			if (due[m] > lanes[i].closed[m]) {
				lanes[i].closed[m] = due[m];
				closing.moved[i] = any = true;
			}
	}
	return any ? ledger_run(e->options.ledger, close_marks, &closing, err) : 0;
}

/* ---- deciding ---- */

struct deciding {
	struct engine *engine;
	struct lane *lane;
	struct decision decision;
	json_t *evidence;
};

static int carry_out(struct db *db, void *arg, struct err *err)
{
	const struct deciding *d = arg;
	const struct act act = act_of(d->engine);
	switch (d->decision.kind) {
	case DECIDE_ADVANCE:
		return act_advance(db, &act, d->lane, d->decision.reason, d->evidence, err);
	case DECIDE_HOLD:
		return act_hold(db, &act, d->lane, d->decision.reason, d->evidence, err);
	case DECIDE_ROLL_BACK:
		return act_take_back(db, &act, d->lane, LANE_ROLLED_BACK, d->decision.reason,
				     d->evidence, err) ||
				       act_abort_rest(db, &act, d->lane->rollout, err)
			       ? -1
			       : 0;
	case DECIDE_NOTHING:
		break;
	}
	return 0;
}

static void log_decision(const struct deciding *d)
{
	static const char *const events[] = {
		[DECIDE_NOTHING] = "lane.nothing", [DECIDE_ADVANCE] = "lane.advanced",
		[DECIDE_HOLD] = "lane.held", [DECIDE_ROLL_BACK] = "lane.rolled_back"};
	const bool complete = d->lane->state == LANE_COMPLETE;
	log_event(LOG_INFO, complete ? "lane.completed" : events[d->decision.kind],
		  F_TEXT("rollout", d->lane->rollout), F_TEXT("class", d->lane->class),
		  F_INT("stage", d->lane->stage), F_TEXT("reason", d->decision.reason));
}

static struct watched *watch(struct engine *e, const struct lane *lane, struct arena *arena,
			     struct err *err)
{
	char key[200];
	struct rollout rollout;
	struct lane *siblings;
	snprintf(key, sizeof(key), "%s/%s", lane->rollout, lane->class);
	struct watched *w = map_gets(e->watched, key);
	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w) {
		err_nomem(err);
		return NULL;
	}
	if (rollout_get(e->options.db, lane->rollout, arena, &rollout, err) ||
	    lane_list(e->options.db, lane->rollout, arena, &siblings, &w->lanes, err) ||
	    evidence_new(&w->evidence, lane, &rollout.policy, err)) {
		watched_free(w);
		return NULL;
	}
	w->policy = rollout.policy;
	if (map_puts(e->watched, key, w)) {
		err_nomem(err);
		return NULL;
	}
	return w;
}

static int consider(struct engine *e, struct lane *lane, struct arena *arena, struct err *err)
{
	struct watched *w = watch(e, lane, arena, err);
	if (!w || evidence_update(w->evidence, e->options.db, lane, err))
		return -1;
	w->seen = e->stats.ticks;
	const struct circumstances c = {lane, &w->policy, w->lanes, e->options.authentic,
					clock_s(e->options.clock)};
	struct deciding d = {.engine = e, .lane = lane};
	decide(w->evidence, &c, &d.decision);
	if (d.decision.kind == DECIDE_NOTHING)
		return 0;
	json_auto_t *evidence = decide_explain(w->evidence, &c);
	d.evidence = evidence;
	if (ledger_run(e->options.ledger, carry_out, &d, err))
		return err->status == ERR_CONFLICT ? 0 : -1; /* an operator was faster */
	log_decision(&d);
	pthread_mutex_lock(&e->lock);
	e->stats.decisions++;
	pthread_mutex_unlock(&e->lock);
	return 0;
}

/* Forget lanes that are over. */
static void sweep(struct engine *e)
{
	bool again = true;
	while (again) {
		size_t at = 0, len;
		const void *key;
		void *value;
		again = false;
		while (!again && map_next(e->watched, &at, &key, &len, &value))
			if (((struct watched *)value)->seen != e->stats.ticks) {
				char copy[200];
				memcpy(copy, key, len);
				again = map_remove(e->watched, copy, len);
			}
	}
}

static int move_lanes(struct engine *e, struct err *err)
{
	struct lane *lanes;
	unsigned count;
	if (publisher_withheld(e->options.publisher))
		return 0;
	AUTO(arena_free) struct arena *arena = arena_new(TICK_ARENA);
	if (!arena)
		return err_nomem(err);
	if (lane_list(e->options.db, NULL, arena, &lanes, &count, err) ||
	    close_due(e, lanes, count, arena, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (consider(e, &lanes[i], arena, err))
			return err_in(err, "lane %s/%s", lanes[i].rollout, lanes[i].class);
	pthread_mutex_lock(&e->lock);
	e->stats.lanes = count;
	pthread_mutex_unlock(&e->lock);
	sweep(e);
	return 0;
}

/* ---- housekeeping ---- */

struct upkeep {
	struct engine *engine;
	int64_t count;
};

static int sign_due(struct db *db, void *arg, struct err *err)
{
	struct upkeep *u = arg;
	return publish_due(u->engine->options.publisher, db, SIGN_AT_ONCE, &u->count, err);
}

static int forget(struct db *db, void *arg, struct err *err)
{
	struct upkeep *u = arg;
	const int64_t now = clock_s(u->engine->options.clock);
	return intake_expire(db, now, FORGET_AT_ONCE, err) ||
			       cells_expire(db, now - CELLS_LIFE_S, FORGET_AT_ONCE, &u->count, err)
		       ? -1
		       : 0;
}

static int keep_house(struct engine *e, struct err *err)
{
	const int64_t now = clock_monotonic_ms();
	struct upkeep u = {e, 0};
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
	return ledger_run(e->options.ledger, forget, &u, err);
}

/* ---- the thread ---- */

static bool wait_tick(struct engine *e)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)TICK_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&e->lock);
	while (!e->stopping &&
	       !pthread_cond_timedwait(&e->wake, &e->lock, &until))
		;
	const bool go_on = !e->stopping;
	pthread_mutex_unlock(&e->lock);
	return go_on;
}

static void tick(struct engine *e)
{
	struct err err;
	const int64_t start = clock_monotonic_ms();
	const bool bad = move_lanes(e, &err) || keep_house(e, &err);
	const int64_t us = (clock_monotonic_ms() - start) * 1000;
	pthread_mutex_lock(&e->lock);
	const bool news = bad && strncmp(e->stats.last_error, err.text,
					 sizeof(e->stats.last_error) - 1) != 0;
	e->stats.ticks++;
	e->stats.failures += bad;
	e->stats.last_tick = clock_s(e->options.clock);
	if (us > e->stats.tick_us_max)
		e->stats.tick_us_max = us;
	snprintf(e->stats.last_error, sizeof(e->stats.last_error), "%.199s", bad ? err.text : "");
	pthread_mutex_unlock(&e->lock);
	if (news)
		log_event(LOG_ERROR, "engine.failed", F_ERR(&err));
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

static int start(struct engine *e, struct err *err)
{
	e->watched = map_new(watched_free);
	if (!e->watched)
		return err_nomem(err);
	e->started = clock_s(e->options.clock);
	if (ledger_run(e->options.ledger, open_lanes, e, err))
		return -1;
	if (pthread_create(&e->thread, NULL, engine_main, e))
		return err_set(err, ERR_SYSTEM, "cannot start the engine thread");
	return 0;
}

static void destroy(struct engine *e)
{
	map_free(e->watched);
	db_close(e->options.db);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->wake);
	free(e);
}

int engine_new(struct engine **ret_engine, const struct engine_options *options, struct err *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	if (!e) {
		db_close(options->db);
		return err_nomem(err);
	}
	e->options = *options;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->wake, NULL);
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
