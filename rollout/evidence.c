#include "rollout/evidence.h"

#include "base/json.h"
#include "rollout/silence.h"
#include "telemetry/sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GATES_MAX POLICY_GATES
#define GUARDS_MAX 8
#define BURN_IN 300	    /* control units that freeze a quantile's edge without a baseline */
#define TAIL_SHARE 0.05	    /* p95 */
#define WEAK_N 50	    /* weight of a guess, where no baseline is known */
#define MOST_N 1000	    /* weight of a baseline: the past may have drifted */
#define GUESS_RATE 0.005
#define GUESS_MISSING 0.02
#define PHI_UNKNOWN 3	    /* overdispersion where usage has not told it */
#define CONFIDENCE 0.025    /* each side of what is shown */
#define SHIFT_FIRST 5	    /* promotion: buckets a candidate's p95 may be slower, 1.2763 ... */
#define SHIFT_LATER 2	    /* ... and 1.1025 */
#define GUESS_USED 0.05	    /* share of windows in which a device is used */
#define ARMS EVIDENCE_ARMS

/* One gate of the rollback family. */
struct rollback {
	struct gate_mean mean;
	struct gate_bet bet;
	struct gate_sequence sequence;
	struct gate_counts total;
	struct gate_counts pending[POLICY_STAGES]; /* until both arms have units */
	double phi;
};
/* One guard, at every stage's margin. */
struct promote {
	struct gate_mean mean;
	struct gate_bet bets[POLICY_STAGES];
	struct gate_counts total;
	struct gate_counts pending[POLICY_STAGES][POLICY_STAGES]; /* [seen in][margin of] */
};
struct stage_state {
	struct evidence_stage seen;
	struct gate_srm srm;
};

/* What one time of one stage adds up to while its rows are read. */
struct stratum {
	int64_t n[ARMS]; /* units: outcomes, windows or summaries */
	int64_t entered[ARMS], arrived[ARMS];
	int64_t gates[GATES_MAX][ARMS], guards[GUARDS_MAX][ARMS];
	double hist[ARMS][SKETCH_BUCKETS];
	bool any;
};

struct evidence {
	struct policy policy;
	struct clockwork clock;
	struct stage_slices slices[POLICY_STAGES];
	char rollout[65], class[65];
	int64_t closed[CELLS_MARKS];
	struct stage_state stages[POLICY_STAGES];
	struct rollback gates[GATES_MAX];
	struct promote guards[GUARDS_MAX];
	unsigned edge; /* bucket of control's p95; SKETCH_BUCKETS: not known yet */
	double burned[SKETCH_BUCKETS];
	struct silence silence;
};

/* Rows of one mark on their way into strata. */
struct reading {
	struct evidence *e;
	enum cells_mark mark;
	int64_t at; /* of the strata */
	struct stratum *strata; /* one a stage */
};

/* ---- starting ---- */

static double number(const json_t *object, const char *name, double otherwise)
{
	const json_t *value = json_object_get(object, name);
	return json_is_number(value) ? json_number_value(value) : otherwise;
}

static void start_mean(struct gate_mean *mean, const json_t *base, double guess)
{
	const double n = number(base, "n", 0), k = number(base, "k", 0);
	if (n >= BURN_IN)
		gate_mean_init(mean, fmin(n, MOST_N), fmax(k, 0.5) / n, 0);
	else
		gate_mean_init(mean, WEAK_N, guess, 0);
}

static void start_gate(struct evidence *e, unsigned i, const json_t *baseline)
{
	const struct policy_gate *gate = &policy_gates[i];
	struct rollback *g = &e->gates[i];
	const json_t *base = json_object_get(json_object_get(baseline, "window"), gate->metric);
	gate_bet_init(&g->bet, GATE_ROLLBACK, gate->rho, gate->delta);
	gate_sequence_init(&g->sequence);
	g->phi = 1;
	if (gate->source == GATE_WINDOW) {
		start_mean(&g->mean, base, GUESS_RATE);
		g->phi = number(base, "phi", PHI_UNKNOWN);
	} else if (gate->source == GATE_WINDOW_P95) {
		gate_mean_init(&g->mean, WEAK_N, TAIL_SHARE, 0);
		/* A device's speed is its own: its windows say little more than one of them. */
		g->phi = number(baseline, "windows_per_device", (double)e->clock.windows / 2);
	} else {
		start_mean(&g->mean, NULL,
			   gate->source == GATE_MISSING ? GUESS_MISSING : GUESS_RATE);
	}
}

static void start_guard(struct evidence *e, unsigned i, const json_t *baseline)
{
	const struct policy_guard *guard = &policy_guards[i];
	struct promote *p = &e->guards[i];
	const json_t *base = json_object_get(json_object_get(baseline, "summary"), guard->metric);
	if (guard->source == GUARD_P95)
		gate_mean_init(&p->mean, WEAK_N, TAIL_SHARE, 0);
	else
		start_mean(&p->mean, guard->source == GUARD_SUMMARY ? base : NULL,
			   guard->source == GUARD_MISSING ? GUESS_MISSING : GUESS_RATE);
	for (unsigned s = 0; s < e->policy.stage_count; s++) {
		const double delta = policy_delta(&e->policy, s + 1, e->clock.devices);
		const double rho = guard->source == GUARD_P95
					   ? 1
					   : (double)e->policy.stages[s].ratio_pm / 1000;
		gate_bet_init(&p->bets[s], GATE_PROMOTE, rho, delta);
	}
}

/* Windows used of all the windows of the device-days before. */
static double used_share(const struct evidence *e, const json_t *baseline)
{
	const json_t *windows = json_object_get(json_object_get(baseline, "window"), "crash");
	const json_t *days = json_object_get(json_object_get(baseline, "summary"), "crash");
	const double n = number(days, "n", 0) * 86400 / (double)e->clock.window_s;
	return n > 0 ? number(windows, "n", 0) / n : GUESS_USED;
}

static int start(struct evidence *e, const struct lane *lane, struct err *err)
{
	int64_t ppm[POLICY_STAGES];
	json_auto_t *baseline = json_parse(lane->baseline, strlen(lane->baseline), "baseline", err);
	for (unsigned s = 0; s < e->policy.stage_count; s++)
		ppm[s] = e->policy.stages[s].ppm;
	if (!baseline || stage_allocate(ppm, e->policy.stage_count, e->slices, err)) {
		err->status = ERR_CORRUPT;
		return err_in(err, "lane %s/%s", lane->rollout, lane->class);
	}
	for (unsigned i = 0; i < policy_gate_count; i++)
		start_gate(e, i, baseline);
	for (unsigned i = 0; i < policy_guard_count; i++)
		start_guard(e, i, baseline);
	for (unsigned s = 0; s < e->policy.stage_count; s++)
		gate_srm_init(&e->stages[s].srm);
	e->edge = (unsigned)number(baseline, "edge", SKETCH_BUCKETS);
	silence_init(&e->silence, e->closed[CELLS_WINDOW], e->clock.window_s, e->clock.windows,
		     used_share(e, baseline));
	return 0;
}

int evidence_new(struct evidence **ret_evidence, const struct lane *lane,
		 const struct policy *policy, struct err *err)
{
	AUTO(evidence_free) struct evidence *e = calloc(1, sizeof(*e));
	if (!e)
		return err_nomem(err);
	e->policy = *policy;
	e->clock = lane->clock;
	strncpy(e->rollout, lane->rollout, sizeof(e->rollout) - 1);
	strncpy(e->class, lane->class, sizeof(e->class) - 1);
	/* Nothing of this lane can be older than a slot or window in which it started. */
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		e->closed[m] = lane->started - 2 * lane->clock.window_s - REPORT_SLOT_S;
	if (start(e, lane, err))
		return -1;
	*ret_evidence = TAKE(e);
	return 0;
}

void evidence_free(struct evidence *evidence)
{
	if (evidence)
		silence_done(&evidence->silence);
	free(evidence);
}

/* ---- one stratum into the gates ---- */

static bool both_arms(struct gate_counts *pending, const struct gate_counts *more,
		      struct gate_counts *ret)
{
	pending->n_t += more->n_t;
	pending->k_t += more->k_t;
	pending->n_c += more->n_c;
	pending->k_c += more->k_c;
	if (pending->n_t <= 0 || pending->n_c <= 0)
		return false;
	*ret = *pending;
	*pending = (struct gate_counts){0};
	return true;
}

static void add_total(struct gate_counts *total, const struct gate_counts *more)
{
	total->n_t += more->n_t;
	total->k_t += more->k_t;
	total->n_c += more->n_c;
	total->k_c += more->k_c;
}

static void feed_gate(struct rollback *g, unsigned stage, const struct gate_counts *raw)
{
	struct gate_counts n;
	add_total(&g->total, raw);
	if (!both_arms(&g->pending[stage], raw, &n))
		return;
	n = (struct gate_counts){n.n_t / g->phi, n.k_t / g->phi, n.n_c / g->phi, n.k_c / g->phi};
	gate_bet_indicator(&g->bet, gate_mean_mu(&g->mean), &n);
	gate_sequence_add(&g->sequence, &n);
	gate_mean_add(&g->mean, n.n_c, n.k_c, n.k_c);
}

/* One stratum at the margin of one stage; counts may differ by margin (shifted quantiles). */
static void feed_guard(struct promote *p, unsigned seen, unsigned margin, double mu,
		       const struct gate_counts *raw)
{
	struct gate_counts n;
	if (both_arms(&p->pending[seen][margin], raw, &n))
		gate_bet_indicator(&p->bets[margin], mu, &n);
}

static struct gate_counts tail_counts(const struct stratum *s, unsigned edge, unsigned shift)
{
	const double *t = s->hist[EVIDENCE_CANDIDATE], *c = s->hist[EVIDENCE_CONTROL];
	return (struct gate_counts){gate_tail(t, SKETCH_BUCKETS, 0),
				    gate_tail(t, SKETCH_BUCKETS, edge + shift),
				    gate_tail(c, SKETCH_BUCKETS, 0),
				    gate_tail(c, SKETCH_BUCKETS, edge)};
}

static struct gate_counts counts(const int64_t n[ARMS], const int64_t k[ARMS])
{
	return (struct gate_counts){(double)n[0], (double)k[0], (double)n[1], (double)k[1]};
}

static void feed_all_margins(struct evidence *e, unsigned guard, unsigned stage,
			     const struct gate_counts *n)
{
	struct promote *p = &e->guards[guard];
	const double mu = gate_mean_mu(&p->mean);
	for (unsigned m = 0; m < e->policy.stage_count; m++)
		feed_guard(p, stage, m, mu, n);
	add_total(&p->total, n);
	gate_mean_add(&p->mean, n->n_c, n->k_c, n->k_c);
}

static void feed_p95_guard(struct evidence *e, unsigned guard, unsigned stage,
			   const struct stratum *s)
{
	struct promote *p = &e->guards[guard];
	const double mu = gate_mean_mu(&p->mean);
	if (e->edge >= SKETCH_BUCKETS)
		return;
	for (unsigned m = 0; m < e->policy.stage_count; m++) {
		const struct gate_counts n = tail_counts(s, e->edge, m ? SHIFT_LATER : SHIFT_FIRST);
		feed_guard(p, stage, m, mu, &n);
	}
	const struct gate_counts plain = tail_counts(s, e->edge, 0);
	add_total(&p->total, &plain);
	gate_mean_add(&p->mean, plain.n_c, plain.k_c, plain.k_c);
}

/* Without a baseline the first control units say where p95 lies; they are not bet on. */
static void burn_in(struct evidence *e, const struct stratum *s)
{
	for (unsigned b = 0; b < SKETCH_BUCKETS; b++)
		e->burned[b] += s->hist[EVIDENCE_CONTROL][b];
	if (gate_tail(e->burned, SKETCH_BUCKETS, 0) >= BURN_IN)
		e->edge = gate_edge(e->burned, SKETCH_BUCKETS, TAIL_SHARE);
}

static void feed_outcomes(struct evidence *e, unsigned stage, const struct stratum *s)
{
	struct stage_state *st = &e->stages[stage];
	const struct stage_slices *slice = &e->slices[stage];
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (policy_gates[i].source == GATE_OUTCOME) {
			const struct gate_counts n = counts(s->n, s->gates[i]);
			feed_gate(&e->gates[i], stage, &n);
		}
	for (unsigned a = 0; a < ARMS; a++)
		st->seen.entered[a] += s->entered[a];
	if (s->entered[0] + s->entered[1])
		gate_srm_add(&st->srm, (double)(slice->enter_high - slice->enter_low),
			     (double)s->entered[0],
			     (double)(slice->control_high - slice->control_low),
			     (double)s->entered[1]);
}

static void feed_missing(struct evidence *e, unsigned stage, const struct stratum *s)
{
	int64_t missing[ARMS];
	for (unsigned a = 0; a < ARMS; a++)
		missing[a] = s->entered[a] > s->arrived[a] ? s->entered[a] - s->arrived[a] : 0;
	const struct gate_counts n = counts(s->entered, missing);
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (policy_gates[i].source == GATE_MISSING)
			feed_gate(&e->gates[i], stage, &n);
	for (unsigned i = 0; i < policy_guard_count; i++)
		if (policy_guards[i].source == GUARD_MISSING)
			feed_all_margins(e, i, stage, &n);
}

static void feed_windows(struct evidence *e, unsigned stage, const struct stratum *s)
{
	for (unsigned a = 0; a < ARMS; a++)
		e->stages[stage].seen.windows[a] += s->n[a];
	for (unsigned i = 0; i < policy_gate_count; i++) {
		struct gate_counts n = counts(s->n, s->gates[i]);
		if (policy_gates[i].source == GATE_WINDOW)
			feed_gate(&e->gates[i], stage, &n);
		if (policy_gates[i].source != GATE_WINDOW_P95 || e->edge >= SKETCH_BUCKETS)
			continue;
		n = tail_counts(s, e->edge, policy_gates[i].shift);
		feed_gate(&e->gates[i], stage, &n);
	}
	if (e->edge >= SKETCH_BUCKETS)
		burn_in(e, s);
}

static void feed_summaries(struct evidence *e, unsigned stage, const struct stratum *s)
{
	for (unsigned a = 0; a < ARMS; a++) {
		e->stages[stage].seen.summaries[a] += s->n[a];
		e->stages[stage].seen.due[a] += s->entered[a];
	}
	for (unsigned i = 0; i < policy_guard_count; i++) {
		const struct gate_counts n = counts(s->n, s->guards[i]);
		if (policy_guards[i].source == GUARD_SUMMARY)
			feed_all_margins(e, i, stage, &n);
		else if (policy_guards[i].source == GUARD_P95)
			feed_p95_guard(e, i, stage, s);
	}
}

/* What the time as a whole tells, whatever the stage. */
static int feed_time(struct reading *r, struct err *err)
{
	int64_t n = 0;
	for (unsigned s = 0; s < r->e->policy.stage_count; s++)
		n += r->strata[s].n[0] + r->strata[s].n[1];
	if (n && r->mark == CELLS_SLOT)
		return silence_outcomes(&r->e->silence, r->at, n, err);
	if (n && r->mark == CELLS_WINDOW)
		silence_reported(&r->e->silence, r->at);
	return 0;
}

static int feed(struct reading *r, struct err *err)
{
	static void (*const feeders[CELLS_MARKS])(struct evidence *, unsigned,
						  const struct stratum *) = {
		[CELLS_SLOT] = feed_outcomes,
		[CELLS_WINDOW] = feed_windows,
		[CELLS_SUMMARY] = feed_summaries,
		[CELLS_MISSING] = feed_missing,
	};
	if (feed_time(r, err))
		return -1;
	for (unsigned s = 0; s < r->e->policy.stage_count; s++)
		if (r->strata[s].any) {
			feeders[r->mark](r->e, s, &r->strata[s]);
			memset(&r->strata[s], 0, sizeof(r->strata[s]));
		}
	return 0;
}

/* ---- reading rows ---- */

/* The stratum a row belongs to; NULL: not of an arm. */
static struct stratum *stratum_of(struct reading *r, const struct cells_row *row)
{
	if (!row->stage || row->stage > r->e->policy.stage_count || row->arm == REPORT_ARM_NONE)
		return NULL;
	struct stratum *s = &r->strata[row->stage - 1];
	s->any = true;
	return s;
}

static unsigned arm_index(enum report_arm arm)
{
	return arm == REPORT_ARM_CANDIDATE ? EVIDENCE_CANDIDATE : EVIDENCE_CONTROL;
}

static void note_entered(struct evidence *e, const struct cells_row *row)
{
	int64_t *last = &e->stages[row->stage - 1].seen.last_entered;
	if (row->at > *last)
		*last = row->at;
}

static int take_row(void *arg, const struct cells_row *row, struct err *err)
{
	struct reading *r = arg;
	if (row->at != r->at) { /* those of the time before are whole */
		if (feed(r, err))
			return -1;
		r->at = row->at;
	}
	struct stratum *s = stratum_of(r, row);
	if (!s)
		return 0;
	const unsigned a = arm_index(row->arm);
	if (!strcmp(row->kind, "enter")) {
		s->entered[a] += row->cell.n;
		note_entered(r->e, row);
	} else if (!strcmp(row->kind, "arrived")) {
		s->arrived[a] += row->cell.n;
	} else if (!strcmp(row->metric, row->kind)) {
		s->n[a] += row->cell.n;
	}
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].metric, row->metric))
			s->gates[i][a] += row->cell.k;
	for (unsigned i = 0; i < policy_guard_count; i++)
		if (!strcmp(policy_guards[i].metric, row->metric))
			s->guards[i][a] += row->cell.k;
	return 0;
}

static int read_mark(struct reading *r, struct db *db, int64_t to, struct err *err)
{
	static const struct {
		const char *kind, *other;
	} kinds[CELLS_MARKS] = {
		[CELLS_SLOT] = {"outcome", "enter"},
		[CELLS_WINDOW] = {"window", NULL},
		[CELLS_SUMMARY] = {"summary", "enter"},
		[CELLS_MISSING] = {"arrived", "enter"},
	};
	struct evidence *e = r->e;
	const struct cells_lane lane = {e->rollout, e->class, kinds[r->mark].kind,
					kinds[r->mark].other};
	return cells_read_lane(db, &lane, e->closed[r->mark], to, take_row, r, err);
}

/* Histograms of all times of one mark, so that rows and buckets of one time meet. */
struct buckets {
	struct bucket_row {
		int64_t at;
		unsigned stage, arm, bucket;
		int64_t n;
	} *rows;
	unsigned count, room;
};

static int keep_bucket(void *arg, const struct cells_row *row, struct err *err)
{
	struct buckets *b = arg;
	if (row->arm == REPORT_ARM_NONE || !row->stage || row->stage > POLICY_STAGES ||
	    row->bucket >= SKETCH_BUCKETS)
		return 0;
	if (b->count == b->room) {
		const unsigned room = b->room ? b->room * 2 : 256;
		struct bucket_row *rows = realloc(b->rows, room * sizeof(*rows));
		if (!rows)
			return err_nomem(err);
		b->rows = rows;
		b->room = room;
	}
	b->rows[b->count++] = (struct bucket_row){row->at, row->stage, arm_index(row->arm),
						  row->bucket, row->cell.n};
	return 0;
}

/* Rows of a mark with histograms: the buckets of each time join its strata before they are fed. */
struct joined {
	struct reading reading;
	struct buckets buckets;
	unsigned next;
};

static void join_until(struct joined *j, int64_t at)
{
	for (; j->next < j->buckets.count && j->buckets.rows[j->next].at <= at; j->next++) {
		const struct bucket_row *b = &j->buckets.rows[j->next];
		if (b->at != at || b->stage > j->reading.e->policy.stage_count)
			continue;
		j->reading.strata[b->stage - 1].hist[b->arm][b->bucket] += (double)b->n;
	}
}

static int take_joined(void *arg, const struct cells_row *row, struct err *err)
{
	struct joined *j = arg;
	const bool fresh = row->at != j->reading.at;
	if (take_row(&j->reading, row, err))
		return -1;
	if (fresh)
		join_until(j, row->at);
	return 0;
}

static int read_joined(struct joined *j, struct db *db, int64_t to, struct err *err)
{
	struct evidence *e = j->reading.e;
	const bool window = j->reading.mark == CELLS_WINDOW;
	const struct cells_lane lane = {e->rollout, e->class, window ? "window" : "summary",
					window ? NULL : "enter"};
	const int64_t from = e->closed[j->reading.mark];
	if (cells_read_lane_buckets(db, &lane, "ttft_ms.p95", from, to, keep_bucket, &j->buckets,
				    err))
		return -1;
	return cells_read_lane(db, &lane, from, to, take_joined, j, err);
}

static int update_mark(struct evidence *e, struct db *db, enum cells_mark mark, int64_t to,
		       struct err *err)
{
	struct joined j = {.reading = {.e = e, .mark = mark, .at = INT64_MIN}};
	const bool hists = mark == CELLS_WINDOW || mark == CELLS_SUMMARY;
	j.reading.strata = calloc(e->policy.stage_count, sizeof(struct stratum));
	if (!j.reading.strata)
		return err_nomem(err);
	int bad = hists ? read_joined(&j, db, to, err) : read_mark(&j.reading, db, to, err);
	bad = bad || feed(&j.reading, err) ? -1 : 0;
	free(j.reading.strata);
	free(j.buckets.rows);
	return bad;
}

int evidence_update(struct evidence *e, struct db *db, const struct lane *lane, struct err *err)
{
	for (unsigned m = 0; m < CELLS_MARKS; m++) {
		if (lane->closed[m] <= e->closed[m])
			continue;
		if (update_mark(e, db, (enum cells_mark)m, lane->closed[m], err))
			return -1;
		if (m == CELLS_WINDOW)
			silence_closed(&e->silence, lane->closed[m]);
		e->closed[m] = lane->closed[m];
	}
	return 0;
}

unsigned evidence_silent_windows(const struct evidence *e)
{
	return e->silence.silent;
}

/* ---- answers ---- */

void evidence_stage(const struct evidence *e, unsigned stage, struct evidence_stage *ret_stage)
{
	*ret_stage = e->stages[stage - 1].seen;
	ret_stage->srm_log_e = gate_srm_log_e(&e->stages[stage - 1].srm);
}

void evidence_gate(const struct evidence *e, unsigned gate, struct evidence_gate *ret)
{
	const struct rollback *g = &e->gates[gate];
	int low = 0, high = 0;
	*ret = (struct evidence_gate){.gate = &policy_gates[gate], .total = g->total,
				      .log_e = gate_bet_log_e(&g->bet)};
	ret->has_lower = gate_sequence_lower(&g->sequence, CONFIDENCE, &low);
	ret->has_upper = gate_sequence_upper(&g->sequence, CONFIDENCE, &high);
	ret->lower = gate_grid_ratio(low);
	ret->upper = gate_grid_ratio(high);
}

void evidence_guard(const struct evidence *e, unsigned guard, unsigned stage,
		    struct evidence_guard *ret)
{
	const struct promote *p = &e->guards[guard];
	const struct evidence_stage *seen = &e->stages[stage - 1].seen;
	const bool silent = p->total.n_c <= 0 && p->total.n_t <= 0;
	*ret = (struct evidence_guard){&policy_guards[guard], p->total,
				       gate_bet_log_e(&p->bets[stage - 1]), false};
	ret->not_reported = policy_guards[guard].source == GUARD_P95 && silent &&
			    seen->summaries[0] + seen->summaries[1] >= BURN_IN;
}
