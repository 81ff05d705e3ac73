/* From what closed to what is done about it. */
#include "rollout/engine_internal.h"

#include "base/crew.h"
#include "base/log.h"
#include "rollout/act.h"
#include "rollout/decide.h"
#include "rollout/family.h"
#include "rollout/slice.h"

#include <stdlib.h>
#include <string.h>

/* A rollout with active lanes, and what is known about all of its lanes, between ticks. */
struct watched {
	struct family *family;
	unsigned active; /* lanes at the last tick */
	uint64_t seen;	 /* tick that last met it */
};

void engine_watched_free(void *arg)
{
	struct watched *w = arg;
	family_free(w->family);
	free(w);
}

static struct act act_of(const struct engine *e)
{
	return (struct act){e->options.publisher, e->options.cells, clock_s(e->options.clock),
			    "engine", ""};
}

/* A decision on its way into the ledger, which takes all of a tick into one transaction. */
struct deciding {
	struct deciding *next;
	struct engine *engine;
	struct lane lane;
	int64_t *again; /* the lane's */
	struct decision decision;
	json_t *evidence;
	struct ledger_op op;
	struct err err; /* ERR_NONE: durable */
};

static int carry_out(struct db *db, void *arg, struct err *err)
{
	struct deciding *d = arg;
	const struct act act = act_of(d->engine);
	switch (d->decision.kind) {
	case DECIDE_ADVANCE:
		return act_advance(db, &act, &d->lane, d->decision.reason, d->evidence, err);
	case DECIDE_HOLD:
		return act_hold(db, &act, &d->lane, d->decision.reason, d->evidence, err);
	case DECIDE_ROLL_BACK:
		return act_take_back(db, &act, &d->lane, LANE_ROLLED_BACK, d->decision.reason,
				     d->evidence, err) ||
				       act_abort_rest(db, &act, d->lane.rollout, err)
			       ? -1
			       : 0;
	case DECIDE_ROLL_BACK_ALL:
		return act_take_back_all(db, &act, d->lane.rollout, d->decision.reason, d->evidence,
					 err);
	case DECIDE_NOTHING:
		break;
	}
	return 0;
}

static void log_decision(const struct deciding *d)
{
	static const char *const events[] = {
		[DECIDE_NOTHING] = "lane.nothing", [DECIDE_ADVANCE] = "lane.advanced",
		[DECIDE_HOLD] = "lane.held", [DECIDE_ROLL_BACK] = "lane.rolled_back",
		[DECIDE_ROLL_BACK_ALL] = "rollout.rolled_back"};
	const bool complete = d->lane.state == LANE_COMPLETE;
	log_event(LOG_INFO, complete ? "lane.completed" : events[d->decision.kind],
		  F_TEXT("rollout", d->lane.rollout), F_TEXT("class", d->lane.class),
		  F_INT("stage", d->lane.stage), F_TEXT("reason", d->decision.reason));
}

/* Of all lanes of the rollout, also those that are over: pooled evidence is of all of them. */
static int watch_new(struct engine *e, const char *id, struct watched **ret_watched,
		     struct err *err)
{
	struct rollout rollout;
	struct lane *lanes;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(TICK_ARENA);
	struct watched *w = calloc(1, sizeof(*w));
	if (!w || !arena) {
		free(w);
		return err_nomem(err);
	}
	if (rollout_get(e->options.db, id, arena, &rollout, err) ||
	    lane_list(e->options.db, id, arena, &lanes, &count, err) ||
	    family_new(&w->family, &rollout.policy, lanes, count, !e->options.authentic, err)) {
		engine_watched_free(w);
		return -1;
	}
	if (map_puts(e->watched, id, w))
		return err_nomem(err);
	*ret_watched = w;
	return 0;
}

/* Bring in what closed.  After a failure its family has some of it, and is of no use.  When lanes were
 * changed, those that are over are asked too. */
static int learn(struct engine *e, struct watched *w, struct lane *lanes, unsigned count,
		 bool *ret_news, struct err *err)
{
	struct lane *all = lanes;
	unsigned n = count;
	AUTO(arena_free) struct arena *arena = NULL;
	if (w->active != count || e->roll.fresh) {
		arena = arena_new(TICK_ARENA);
		if (!arena)
			return err_nomem(err);
		if (lane_list(e->options.db, lanes[0].rollout, arena, &all, &n, err))
			return -1;
	}
	struct evidence_source sources[ENGINE_WORKERS];
	for (unsigned i = 0; i < e->workers; i++) {
		sources[i] = (struct evidence_source){.db = e->dbs[i], .down = &e->outages};
		for (unsigned m = 0; m < CELLS_MARKS; m++)
			sources[i].spans[m] = e->spans[m];
	}
	const struct family_news closed = {all, n, sources, e->workers};
	if (family_update(w->family, &closed, ret_news, err))
		return -1;
	w->active = count;
	return 0;
}

/* Where the fault is: what cannot be read explains nothing, and keeps no decision waiting. */
static struct slice_table *locate(struct engine *e, const struct lane *lane,
				  struct decision *decision)
{
	struct err err;
	struct slice_table *slices;
	if (slice_table_read(&slices, e->options.db, lane->rollout, lane->class,
			     e->options.min_cohort, &err)) {
		log_event(LOG_WARN, "lane.slices_unread", F_TEXT("rollout", lane->rollout),
			  F_TEXT("class", lane->class), F_ERR(&err));
		return NULL;
	}
	decide_locate(slices, decision);
	return slices;
}

static int note_decision(struct engine *e, struct lane *lane, const struct circumstances *c,
			 const struct evidence *known, struct deciding *made)
{
	*made = (struct deciding){.engine = e, .lane = *lane, .decision = made->decision,
				  .evidence = decide_explain(known, c), .next = e->decided,
				  .again = &e->roll.again[lane - e->roll.lanes]};
	e->decided = made;
	return made->evidence ? 0 : -1;
}

/* The lanes of one rollout, and what follows for each. */
struct considering {
	struct engine *engine;
	const struct watched *watched;
	struct lane *lanes;
	unsigned count;
	int64_t now, *again;	   /* of the first lane */
	struct decision *decision; /* one a lane, of those that are due */
	bool *due;
};

static struct circumstances circumstances_of(const struct considering *k, unsigned i)
{
	const struct family *family = k->watched->family;
	return (struct circumstances){
		&k->lanes[i], family_policy(family), family_lanes(family),
		k->engine->options.authentic, k->now, family, NULL,
		outages_within(&k->engine->outages, k->lanes[i].since, k->now)};
}

/* A crew's: it changes nothing but what is the lane's, and does not fail. */
static int decide_lane(void *arg, unsigned i, unsigned worker, struct err *err)
{
	struct considering *k = arg;
	(void)worker;
	(void)err;
	k->due[i] = lane_leads(&k->lanes[i]) && k->again[i] <= k->now;
	if (!k->due[i])
		return 0;
	const struct evidence *known = family_evidence(k->watched->family, k->lanes[i].class);
	if (!known) /* conclude() tells */
		return 0;
	const struct circumstances c = circumstances_of(k, i);
	decide(known, &c, &k->decision[i]);
	k->again[i] = decide_again(known, &c);
	return 0;
}

/* On its way into the ledger. */
static int conclude(const struct considering *k, unsigned i, struct err *err)
{
	struct engine *e = k->engine;
	struct decision *decision = &k->decision[i];
	struct circumstances c = circumstances_of(k, i);
	const struct evidence *known = family_evidence(k->watched->family, k->lanes[i].class);
	if (!known)
		return err_set(err, ERR_CORRUPT, "the lane was not there when its rollout began");
	if (decision->kind == DECIDE_NOTHING)
		return 0;
	AUTO(slice_table_free) struct slice_table *slices = locate(e, &k->lanes[i], decision);
	struct deciding *made = malloc(sizeof(*made));
	if (!made)
		return err_nomem(err);
	c.slices = slices;
	made->decision = *decision;
	return note_decision(e, &k->lanes[i], &c, known, made) ? err_nomem(err) : 0;
}

/* Up to what fails, or takes all others back.  Those behind are due again, whatever becomes of that. */
static int conclude_all(const struct considering *k, struct err *err)
{
	int bad = 0;
	bool over = false;
	for (unsigned i = 0; i < k->count; i++) {
		if (!k->due[i])
			continue;
		if (bad || over) {
			k->again[i] = 0;
			continue;
		}
		k->engine->considered++;
		if (conclude(k, i, err)) {
			bad = err_in(err, "lane %s/%s", k->lanes[i].rollout, k->lanes[i].class);
			k->again[i] = 0;
		}
		over = k->decision[i].kind == DECIDE_ROLL_BACK_ALL;
	}
	return bad;
}

static int consider(struct considering *k, struct err *err)
{
	AUTO_FREE struct decision *decision = calloc(k->count, sizeof(*decision));
	AUTO_FREE bool *due = calloc(k->count, sizeof(*due));
	const struct crew_job job = {k->count, decide_lane, k};
	if (!decision || !due)
		return err_nomem(err);
	k->decision = decision;
	k->due = due;
	return crew_run(&job, k->engine->workers, err) || conclude_all(k, err) ? -1 : 0;
}

/* Whether anything may follow: most ticks ask of many lanes, and nothing is due. */
static bool any_due(const struct considering *k)
{
	for (unsigned i = 0; i < k->count; i++)
		if (k->again[i] <= k->now && lane_leads(&k->lanes[i]))
			return true;
	return false;
}

int engine_consider(struct engine *e, struct lane *lanes, unsigned count, bool closed,
		    struct err *err)
{
	struct watched *w = map_gets(e->watched, lanes[0].rollout);
	bool news = false;
	const bool ask = !w || closed || e->roll.fresh;
	if (!w && watch_new(e, lanes[0].rollout, &w, err))
		return err_in(err, "rollout %s", lanes[0].rollout);
	if (ask && learn(e, w, lanes, count, &news, err)) {
		map_remove(e->watched, lanes[0].rollout, strlen(lanes[0].rollout));
		return err_in(err, "rollout %s", lanes[0].rollout);
	}
	w->seen = e->stats.ticks;
	struct considering k = {.engine = e, .watched = w, .lanes = lanes, .count = count,
				.now = clock_s(e->options.clock),
				.again = e->roll.again + (lanes - e->roll.lanes)};
	if (news)
		memset(k.again, 0, count * sizeof(*k.again));
	return any_due(&k) ? consider(&k, err) : 0;
}

void engine_sweep(struct engine *e)
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

/* ---- decisions, all of a tick at once ---- */

static void decision_done(void *arg, const struct err *err)
{
	struct deciding *d = arg;
	struct engine *e = d->engine;
	if (err)
		d->err = *err;
	pthread_mutex_lock(&e->lock);
	e->stats.decisions += !err;
	e->under_way--;
	pthread_cond_signal(&e->told);
	pthread_mutex_unlock(&e->lock);
}

static void post_decision(struct engine *e, struct deciding *d)
{
	d->op = (struct ledger_op){.fn = carry_out, .done = decision_done, .arg = d};
	pthread_mutex_lock(&e->lock);
	e->under_way++;
	pthread_mutex_unlock(&e->lock);
	if (!ledger_post(e->options.ledger, &d->op, &d->err))
		return;
	pthread_mutex_lock(&e->lock);
	e->under_way--;
	pthread_mutex_unlock(&e->lock);
}

/* Whether somebody was faster: then the lane is not what was decided about.  Another conflict fails. */
static bool overtaken(const struct deciding *d)
{
	struct err err;
	struct lane now;
	AUTO(arena_free) struct arena *arena = arena_new(TICK_ARENA);
	return d->err.status == ERR_CONFLICT && arena &&
	       !lane_get(d->engine->options.db, d->lane.rollout, d->lane.class, arena, &now, &err) &&
	       now.version != d->lane.version;
}

/* What was not done is decided again in the next tick, on what is then. */
static void end_decision(struct deciding *d, struct failures *failures)
{
	if (d->err.status == ERR_NONE)
		log_decision(d);
	else
		*d->again = 0;
	if (d->err.status != ERR_NONE && !overtaken(d)) {
		struct err err = d->err;
		(void)err_in(&err, "lane %s/%s", d->lane.rollout, d->lane.class);
		engine_note_failure(failures, &err);
	}
	json_decref(d->evidence);
	free(d);
}

static bool goes_back(const struct deciding *d)
{
	return d->decision.kind == DECIDE_ROLL_BACK || d->decision.kind == DECIDE_ROLL_BACK_ALL;
}

static void post_decisions(struct engine *e, bool back)
{
	for (struct deciding *d = e->decided; d; d = d->next)
		if (goes_back(d) == back)
			post_decision(e, d);
}

/* Who goes back goes first: it may take others along that would have gone on. */
void engine_act(struct engine *e, struct failures *failures)
{
	post_decisions(e, true);
	post_decisions(e, false);
	pthread_mutex_lock(&e->lock);
	while (e->under_way)
		pthread_cond_wait(&e->told, &e->lock);
	pthread_mutex_unlock(&e->lock);
	while (e->decided) {
		struct deciding *d = e->decided;
		e->decided = d->next;
		end_decision(d, failures);
	}
}
