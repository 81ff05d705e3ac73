/* One closed time into the gates and guards.  Pure. */
#include "rollout/evidence_internal.h"

#include <string.h>

#define SHIFT_FIRST 5 /* promotion: buckets a candidate's p95 may be slower, 1.2763 ... */
#define SHIFT_LATER 2 /* ... and 1.1025 */

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

static struct gate_counts counts(const int64_t n[ARMS], const int64_t k[ARMS])
{
	return (struct gate_counts){(double)n[0], (double)k[0], (double)n[1], (double)k[1]};
}

/* ---- rollback ---- */

static void feed_gate(struct rollback *g, unsigned stage, const struct gate_counts *raw)
{
	struct gate_counts n;
	add_total(&g->total, raw);
	if (!both_arms(&g->pending[stage], raw, &n))
		return;
	n = gate_deflate(&n, g->phi);
	gate_bet_indicator(&g->bet, gate_mean_mu(&g->mean), &n);
	gate_sequence_add(&g->sequence, &n);
	gate_mean_add(&g->mean, n.n_c, n.k_c, n.k_c);
}

/* Units at and above control's p95, the candidate's at and above shift buckets more. */
static struct gate_counts tail_counts(const struct stratum *s, enum policy_hist hist,
				      unsigned edge, unsigned shift)
{
	const double *t = s->hist[hist][EVIDENCE_CANDIDATE], *c = s->hist[hist][EVIDENCE_CONTROL];
	return (struct gate_counts){gate_tail(t, SKETCH_BUCKETS, 0),
				    gate_tail(t, SKETCH_BUCKETS, edge + shift),
				    gate_tail(c, SKETCH_BUCKETS, 0),
				    gate_tail(c, SKETCH_BUCKETS, edge)};
}

/* The first control windows say where control's quantiles lie; what came with them
 * is not bet on. */
static void burn_in(struct evidence *e, enum policy_hist hist, const struct stratum *s)
{
	for (unsigned b = 0; b < policy_hists[hist].len; b++)
		e->before[hist][b] += s->hist[hist][EVIDENCE_CONTROL][b];
	if (gate_tail(e->before[hist], policy_hists[hist].len, 0) >= EVIDENCE_BURN_IN)
		evidence_freeze(e, hist, s->at);
}

static void feed_views(struct evidence *e, unsigned gate, const struct stratum *s)
{
	const struct policy_gate *info = &policy_gates[gate];
	struct rollback *g = &e->gates[gate];
	if (!e->frozen[info->hist])
		return;
	gate_views_add(&g->views, s->hist[info->hist][EVIDENCE_CANDIDATE],
		       s->hist[info->hist][EVIDENCE_CONTROL], policy_hists[info->hist].len, g->phi);
	/* What is shown: the view of p95. */
	const struct gate_counts raw = tail_counts(s, info->hist, g->views.edge[2], g->views.shift);
	const struct gate_counts n = gate_deflate(&raw, g->phi);
	add_total(&g->total, &raw);
	gate_sequence_add(&g->sequence, &n);
}

/* A bounded score: x from 0, the best, to 1. */
static void feed_mean(struct rollback *g, enum policy_hist hist, const struct stratum *s)
{
	const unsigned len = policy_hists[hist].len;
	double n[ARMS] = {0}, sum[ARMS] = {0}, squares = 0;
	for (unsigned a = 0; a < ARMS; a++)
		for (unsigned b = 0; b < len; b++) {
			const double x = (double)b / (len - 1), count = s->hist[hist][a][b];
			n[a] += count;
			sum[a] += count * x;
			squares += a == EVIDENCE_CONTROL ? count * x * x : 0;
		}
	const struct gate_counts shown = {n[0], sum[0], n[1], sum[1]};
	gate_bet_values(&g->bet, gate_mean_mu(&g->mean), gate_mean_var(&g->mean), s->hist[hist][0],
			s->hist[hist][1], len);
	add_total(&g->total, &shown);
	gate_sequence_add(&g->sequence, &shown);
	gate_mean_add(&g->mean, n[1], sum[1], squares);
}

/* ---- promotion ---- */

/* One stratum at every margin; counts may differ by margin (shifted quantiles). */
static void feed_guard(struct evidence *e, struct promote *p, unsigned stage,
		       const struct gate_counts raw[GUARD_SHIFTS])
{
	const double mu = gate_mean_mu(&p->mean);
	struct gate_counts n[GUARD_SHIFTS];
	bool both = true;
	for (unsigned i = 0; i < GUARD_SHIFTS; i++)
		both &= both_arms(&p->pending[stage][i], &raw[i], &n[i]);
	for (unsigned m = 0; both && m < e->policy.stage_count; m++)
		gate_bet_indicator(&p->bets[m], mu, &n[m ? 1 : 0]);
	if (both) /* control's part is of all margins the same; a bet never knows its own */
		gate_mean_add(&p->mean, n[0].n_c, n[0].k_c, n[0].k_c);
}

static void note_guard(struct promote *p, const struct gate_counts *n)
{
	add_total(&p->total, n);
	gate_sequence_add(&p->sequence, n);
}

static void feed_plain_guard(struct evidence *e, unsigned guard, unsigned stage,
			     const struct gate_counts *n)
{
	struct promote *p = &e->guards[guard];
	feed_guard(e, p, stage, (const struct gate_counts[GUARD_SHIFTS]){*n, *n});
	note_guard(p, n);
}

/* Whether the edge was known when summaries of that time closed.  Later marks may be fed first, in a replay
 * all of them: what counts must not depend on that. */
static bool edge_known_by(const struct evidence *e, int64_t at)
{
	const struct clockwork *k = &e->clock;
	const int64_t windows_closed = at + REPORT_SLOT_S + k->windows * k->window_s;
	return e->edge_known && e->edge_at <= windows_closed;
}

static void feed_p95_guard(struct evidence *e, unsigned guard, unsigned stage,
			   const struct stratum *s)
{
	struct promote *p = &e->guards[guard];
	for (unsigned a = 0; a < ARMS; a++)
		p->told += gate_tail(s->hist[HIST_TTFT][a], SKETCH_BUCKETS, 0);
	if (!edge_known_by(e, s->at))
		return;
	const struct gate_counts shifted[GUARD_SHIFTS] = {
		tail_counts(s, HIST_TTFT, e->edge, SHIFT_FIRST),
		tail_counts(s, HIST_TTFT, e->edge, SHIFT_LATER)};
	const struct gate_counts plain = tail_counts(s, HIST_TTFT, e->edge, 0);
	feed_guard(e, p, stage, shifted);
	note_guard(p, &plain);
}

/* ---- by mark ---- */

/* Who resumes a lane has seen its sample ratio: it is judged by those who enter from then on. */
static bool counts_for_ratio(const struct evidence *e, unsigned stage, int64_t at)
{
	return stage + 1 != e->stage || at + REPORT_SLOT_S > e->since;
}

static void feed_outcomes(struct evidence *e, unsigned stage, const struct stratum *s)
{
	struct stage_state *st = &e->stages[stage];
	const struct stage_slices *slice = &e->slices[stage];
	for (unsigned i = 0; i < policy_gate_count; i++) {
		const struct gate_counts n = counts(s->n, s->gates[i]);
		if (policy_gates[i].source == GATE_OUTCOME)
			feed_gate(&e->gates[i], stage, &n);
		else if (policy_gates[i].source == GATE_OUTCOME_MEAN)
			feed_mean(&e->gates[i], policy_gates[i].hist, s);
	}
	for (unsigned a = 0; a < ARMS; a++)
		st->seen.entered[a] += s->entered[a];
	if (s->entered[0] + s->entered[1] && counts_for_ratio(e, stage, s->at))
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
			feed_plain_guard(e, i, stage, &n);
}

static void feed_windows(struct evidence *e, unsigned stage, const struct stratum *s)
{
	for (unsigned a = 0; a < ARMS; a++)
		e->stages[stage].seen.windows[a] += s->n[a];
	for (unsigned i = 0; i < policy_gate_count; i++) {
		const struct gate_counts n = counts(s->n, s->gates[i]);
		if (policy_gates[i].source == GATE_WINDOW)
			feed_gate(&e->gates[i], stage, &n);
		else if (policy_gates[i].source == GATE_WINDOW_VIEWS)
			feed_views(e, i, s);
	}
	for (unsigned h = 0; h < POLICY_HISTS; h++)
		if (!e->frozen[h])
			burn_in(e, (enum policy_hist)h, s);
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
			feed_plain_guard(e, i, stage, &n);
		else if (policy_guards[i].source == GUARD_P95)
			feed_p95_guard(e, i, stage, s);
	}
}

/* What the time as a whole tells, whatever the stage. */
static int feed_time(struct evidence *e, enum cells_mark mark, int64_t at,
		     const struct stratum *strata, struct err *err)
{
	int64_t n = 0, entered = 0;
	for (unsigned s = 0; s < e->policy.stage_count; s++) {
		n += strata[s].n[0] + strata[s].n[1];
		entered += strata[s].entered[0] + strata[s].entered[1];
	}
	if (n + entered && mark == CELLS_SLOT)
		return silence_devices(&e->silence, at, entered, n, err);
	if (n && mark == CELLS_WINDOW)
		silence_reported(&e->silence, at);
	return 0;
}

int evidence_feed(struct evidence *e, enum cells_mark mark, int64_t at, struct stratum *strata,
		  struct err *err)
{
	static void (*const feeders[CELLS_MARKS])(struct evidence *, unsigned,
						  const struct stratum *) = {
		[CELLS_SLOT] = feed_outcomes,
		[CELLS_WINDOW] = feed_windows,
		[CELLS_SUMMARY] = feed_summaries,
		[CELLS_MISSING] = feed_missing,
	};
	if (feed_time(e, mark, at, strata, err))
		return -1;
	for (unsigned s = 0; s < e->policy.stage_count; s++)
		if (strata[s].any) {
			strata[s].at = at;
			feeders[mark](e, s, &strata[s]);
			memset(&strata[s], 0, sizeof(strata[s]));
		}
	return 0;
}
