/* The active lanes, and what of them closes. */
#include "rollout/engine_internal.h"

#include "base/crew.h"
#include "rollout/evidence.h"
#include "telemetry/cells.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_MOST_S 86400 /* more than this is read lane by lane, after a restart */
#define SLOT_GRACE_S 600  /* outcome slots close so long after end + jitter */

/* ---- lanes ---- */

void engine_forget_lanes(struct engine *e)
{
	arena_free(e->roll.arena);
	e->roll = (struct roll){.changes = -1};
}

static int same_lane(const struct lane *a, const struct lane *b)
{
	const int order = strcmp(a->rollout, b->rollout);
	return order ? order : strcmp(a->class, b->class);
}

/* A lane that is as it was need not be decided about before it was time. */
static void keep_again(struct roll *to, const struct roll *from)
{
	for (unsigned i = 0, k = 0; i < to->count; i++) {
		while (k < from->count && same_lane(&from->lanes[k], &to->lanes[i]) < 0)
			k++;
		if (k < from->count && !same_lane(&from->lanes[k], &to->lanes[i]) &&
		    from->lanes[k].version == to->lanes[i].version)
			to->again[i] = from->again[k];
	}
}

int engine_read_lanes(struct engine *e, struct err *err)
{
	struct roll next = {.fresh = true};
	if (lane_changes(e->options.db, &next.changes, err))
		return -1;
	e->roll.fresh = false;
	if (next.changes == e->roll.changes)
		return 0;
	next.arena = arena_new(TICK_ARENA);
	if (!next.arena)
		return err_nomem(err);
	if (lane_list(e->options.db, NULL, next.arena, &next.lanes, &next.count, err)) {
		arena_free(next.arena);
		return -1;
	}
	next.again = arena_array(next.arena, next.count + 1, sizeof(*next.again));
	if (!next.again) {
		arena_free(next.arena);
		return err_nomem(err);
	}
	memset(next.again, 0, (next.count + 1) * sizeof(*next.again));
	keep_again(&next, &e->roll);
	engine_forget_lanes(e);
	e->roll = next;
	e->read += next.count;
	return 0;
}

/* ---- closing ---- */

static int64_t floor_to(int64_t t, int64_t step)
{
	return t - ((t % step) + step) % step;
}

/* A mark is closed up to the last multiple of step that is lag seconds ago; both arms alike. */
struct pace {
	int64_t lag, step;
};

static void paces(const struct clockwork *c, struct pace p[static CELLS_MARKS])
{
	const int64_t slot = c->jitter_s + SLOT_GRACE_S, window = c->jitter_s + c->report_grace_s;
	p[CELLS_SLOT] = (struct pace){slot, REPORT_SLOT_S};
	p[CELLS_WINDOW] = (struct pace){window, c->window_s};
	/* A device's windows begin with the first whole one after it entered. */
	p[CELLS_SUMMARY] = (struct pace){window + (c->windows + 1) * c->window_s, REPORT_SLOT_S};
	p[CELLS_MISSING] = (struct pace){slot + c->outcome_deadline_s, REPORT_SLOT_S};
}

struct closing {
	struct engine *engine;
	bool *moved; /* one a lane */
	int64_t from[CELLS_MARKS], to[CELLS_MARKS]; /* of those that moved */
};

static int close_marks(struct db *db, void *arg, struct err *err)
{
	const struct closing *c = arg;
	for (unsigned i = 0; i < c->engine->roll.count; i++) {
		const struct lane *lane = &c->engine->roll.lanes[i];
		bool active = false; /* somebody may have ended it since it was read */
		if (c->moved[i] && lane_close(db, lane, &active, err))
			return -1;
		if (active && cells_lane_set(c->engine->options.cells, lane->rollout, lane->class,
					     lane->closed, err))
			return -1;
	}
	return 0;
}

/* Whether any mark moves; when the next one will, if that is before *next. */
static bool raise_marks(struct closing *c, struct lane *lane, int64_t now, int64_t *next)
{
	struct pace p[CELLS_MARKS];
	bool moved = false;
	paces(&lane->clock, p);
	for (unsigned m = 0; m < CELLS_MARKS; m++) {
		const int64_t due = floor_to(now - p[m].lag, p[m].step);
		if (due > lane->closed[m]) {
			if (c->from[m] > lane->closed[m])
				c->from[m] = lane->closed[m];
			if (c->to[m] < due)
				c->to[m] = due;
			lane->closed[m] = due;
			moved = true;
		}
		if (due + p[m].step + p[m].lag < *next)
			*next = due + p[m].step + p[m].lag;
	}
	return moved;
}

/* What closed just now, for all lanes: a span a mark that moved. */
struct span_plan {
	struct engine *engine;
	const struct closing *closing;
	enum cells_mark marks[CELLS_MARKS];
	unsigned count;
};

static int begin_span(void *arg, unsigned item, unsigned worker, struct err *err)
{
	const struct span_plan *p = arg;
	const enum cells_mark mark = p->marks[item];
	return span_begin(&p->engine->spans[mark], p->engine->dbs[worker], p->closing->from[mark],
			  p->closing->to[mark], err);
}

static int finish_span(void *arg, unsigned item, unsigned worker, struct err *err)
{
	const struct span_plan *p = arg;
	(void)worker;
	return span_finish(p->engine->spans[p->marks[item]], p->engine->series, err);
}

static int read_spans(struct engine *e, const struct closing *c, struct err *err)
{
	struct span_plan plan = {.engine = e, .closing = c};
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		if (c->to[m] > c->from[m] && c->to[m] - c->from[m] <= SPAN_MOST_S)
			plan.marks[plan.count++] = (enum cells_mark)m;
	const struct crew_job begin = {plan.count, begin_span, &plan},
			      finish = {plan.count, finish_span, &plan};
	return crew_run(&begin, e->workers, err) ||
			       series_known_update(e->series, e->options.db, err) ||
			       crew_run(&finish, e->workers, err)
		       ? -1
		       : 0;
}

void engine_forget_closed(struct engine *e)
{
	for (unsigned m = 0; m < CELLS_MARKS; m++) {
		span_free(e->spans[m]);
		e->spans[m] = NULL;
	}
}

int engine_close(struct engine *e, bool *ret_any, struct err *err)
{
	const int64_t now = clock_s(e->options.clock);
	const unsigned count = e->roll.count;
	AUTO_FREE bool *moved = calloc(count + 1, sizeof(*moved));
	struct closing closing = {.engine = e, .moved = moved};
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		closing.from[m] = INT64_MAX;
	*ret_any = false;
	if (!moved)
		return err_nomem(err);
	if (!e->roll.fresh && now < e->next_due)
		return 0;
	e->next_due = INT64_MAX;
	if (now < e->started + ENGINE_GRACE_S) {
		e->next_due = e->started + ENGINE_GRACE_S;
		return 0;
	}
	for (unsigned i = 0; i < count; i++) {
		moved[i] = raise_marks(&closing, &e->roll.lanes[i], now, &e->next_due);
		*ret_any |= moved[i];
	}
	if (!*ret_any)
		return 0;
	return ledger_run(e->options.ledger, close_marks, &closing, err) ||
			       read_spans(e, &closing, err)
		       ? -1
		       : 0;
}
