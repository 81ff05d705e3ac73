/* Evidence from its start to its answers.  evidence_feed.c takes strata in, evidence_read.c makes
 * them of cells. */
#include "rollout/evidence_internal.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_N 1000	 /* weight of a baseline: the past may have drifted */
#define GUESS_RATE 0.005
#define GUESS_MISSING 0.02
#define GUESS_BADNESS 0.1  /* mean of what a probe score lacks to the best */
#define GUESS_SPREAD 0.02  /* its variance */
#define PHI_UNKNOWN 3	   /* overdispersion where usage has not told it */
#define CONFIDENCE 0.025   /* each side of what is shown */
#define GUESS_USED 0.05	   /* share of windows in which a device is used */
#define TAIL_SHARE 0.05	   /* p95 */
#define LEAST_LIES 2	   /* candidate units that may lie in the flood-robust form, */
#define LIES_SHARE 0.001   /* or this share of them */

/* ---- starting ---- */

static double number(const json_t *object, const char *name, double otherwise)
{
	const json_t *value = json_object_get(object, name);
	return json_is_number(value) ? json_number_value(value) : otherwise;
}

static void start_mean(struct gate_mean *mean, const json_t *base, double guess)
{
	const double n = number(base, "n", 0), k = number(base, "k", 0);
	if (n >= EVIDENCE_BURN_IN)
		gate_mean_init(mean, fmin(n, MOST_N), fmax(k, 0.5) / n, 0);
	else
		gate_mean_init(mean, EVIDENCE_WEAK_N, guess, 0);
}

static void start_gate(struct evidence *e, unsigned i, const json_t *baseline)
{
	const struct policy_gate *gate = &policy_gates[i];
	struct rollback *g = &e->gates[i];
	const json_t *base = json_object_get(json_object_get(baseline, "window"), gate->metric);
	gate_bet_init(&g->bet, GATE_ROLLBACK, e->policy.gates[i].rho, e->policy.gates[i].delta);
	gate_sequence_init(&g->sequence);
	g->phi = 1;
	switch (gate->source) {
	case GATE_WINDOW:
		start_mean(&g->mean, base, GUESS_RATE);
		g->phi = number(base, "phi", PHI_UNKNOWN);
		break;
	case GATE_WINDOW_VIEWS:
		/* A device's speed is its own: its windows say little more than one of them. */
		g->phi = number(baseline, "windows_per_device", (double)e->clock.windows / 2);
		break;
	case GATE_OUTCOME_MEAN:
		gate_mean_init(&g->mean, EVIDENCE_WEAK_N, GUESS_BADNESS, GUESS_SPREAD);
		break;
	case GATE_MISSING:
		start_mean(&g->mean, NULL, GUESS_MISSING);
		break;
	case GATE_OUTCOME:
		start_mean(&g->mean, NULL, GUESS_RATE);
		break;
	}
}

static void start_guard(struct evidence *e, unsigned i, const json_t *baseline)
{
	const struct policy_guard *guard = &policy_guards[i];
	struct promote *p = &e->guards[i];
	gate_sequence_init(&p->sequence);
	const json_t *base = json_object_get(json_object_get(baseline, "summary"), guard->metric);
	if (guard->source == GUARD_P95)
		gate_mean_init(&p->mean, EVIDENCE_WEAK_N, TAIL_SHARE, 0);
	else
		start_mean(&p->mean, guard->source == GUARD_SUMMARY ? base : NULL,
			   guard->source == GUARD_MISSING ? GUESS_MISSING : GUESS_RATE);
	for (unsigned s = 0; s < e->policy.stage_count; s++) {
		const double delta = policy_delta(&e->policy, s + 1, e->clock.devices);
		const double ratio = (double)e->policy.stages[s].ratio_pm / 1000;
		const double rho = guard->source == GUARD_P95 ? 1 : fmax(guard->least_ratio, ratio);
		gate_bet_init(&p->bets[s], GATE_PROMOTE, rho, delta);
	}
}

void evidence_freeze(struct evidence *e, enum policy_hist hist, int64_t at)
{
	const struct policy_hist_info *info = &policy_hists[hist];
	e->frozen[hist] = true;
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (policy_gates[i].source == GATE_WINDOW_VIEWS && policy_gates[i].hist == hist)
			gate_views_init(&e->gates[i].views, e->before[hist], info->len,
					e->policy.gates[i].shift, EVIDENCE_WEAK_N);
	if (hist == HIST_TTFT && !e->edge_known) {
		e->edge = gate_edge(e->before[hist], info->len, TAIL_SHARE);
		e->edge_known = true;
		e->edge_at = at;
	}
}

/* {"h": {"ttft_ms.p95": {"o": first index, "c": [counts]}}}: what usage knew of days, which are the units
 * of strict guards.  The gates of windows learn their edges from windows: a window's p95 lies lower. */
static void start_edge(struct evidence *e, const json_t *baseline)
{
	const struct policy_hist_info *info = &policy_hists[HIST_TTFT];
	const json_t *h = json_object_get(json_object_get(baseline, "h"), info->metric);
	const double first = number(h, "o", 0);
	double days[SKETCH_BUCKETS] = {0};
	size_t i;
	const json_t *count;
	json_array_foreach (json_object_get(h, "c"), i, count) {
		const double at = first + (double)i;
		if (at >= 0 && at < info->len)
			days[(unsigned)at] += json_number_value(count);
	}
	if (gate_tail(days, info->len, 0) < EVIDENCE_BURN_IN)
		return;
	e->edge = gate_edge(days, info->len, TAIL_SHARE);
	e->edge_known = true;
	e->edge_at = INT64_MIN;
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
	start_edge(e, baseline);
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

/* ---- answers ---- */

const char *evidence_class(const struct evidence *e)
{
	return e->class;
}

unsigned evidence_silent_windows(const struct evidence *e)
{
	return e->silence.silent;
}

void evidence_stage(const struct evidence *e, unsigned stage, struct evidence_stage *ret_stage)
{
	*ret_stage = e->stages[stage - 1].seen;
	ret_stage->srm_log_e = gate_srm_log_e(&e->stages[stage - 1].srm);
}

/* How many candidate units the gate may lose; they are as deflated as the bets. */
static double lies(const struct rollback *g, bool robust)
{
	return robust ? fmax(LEAST_LIES, LIES_SHARE * g->total.n_t / g->phi) : 0;
}

unsigned evidence_capital(const struct evidence *e, unsigned gate, bool robust,
			  double ret[EVIDENCE_CAPITAL])
{
	const struct rollback *g = &e->gates[gate];
	if (policy_gates[gate].source != GATE_WINDOW_VIEWS) {
		gate_bet_capital(&g->bet, lies(g, robust), ret);
		return GATE_BETS;
	}
	gate_views_capital(&g->views, lies(g, robust), ret);
	return GATE_VIEWS * GATE_BETS;
}

double evidence_log_e(const struct evidence *e, unsigned gate, bool robust)
{
	double capital[EVIDENCE_CAPITAL];
	return gate_log_mean(capital, evidence_capital(e, gate, robust, capital));
}

static struct evidence_bounds bounds_of(const struct gate_sequence *sequence)
{
	struct evidence_bounds b;
	int low = 0, high = 0;
	b.has_lower = gate_sequence_lower(sequence, CONFIDENCE, &low);
	b.has_upper = gate_sequence_upper(sequence, CONFIDENCE, &high);
	b.lower = gate_grid_ratio(low);
	b.upper = gate_grid_ratio(high);
	return b;
}

void evidence_gate(const struct evidence *e, unsigned gate, bool robust, struct evidence_gate *ret)
{
	const struct rollback *g = &e->gates[gate];
	*ret = (struct evidence_gate){.gate = &policy_gates[gate], .total = g->total,
				      .phi = g->phi, .log_e = evidence_log_e(e, gate, robust)};
	ret->bounds = bounds_of(&g->sequence);
}

double evidence_guard_log_e(const struct evidence *e, unsigned guard, unsigned stage)
{
	return gate_bet_log_e(&e->guards[guard].bets[stage - 1]);
}

bool evidence_guard_silent(const struct evidence *e, unsigned guard, unsigned stage)
{
	const struct evidence_stage *seen = &e->stages[stage - 1].seen;
	return policy_guards[guard].source == GUARD_P95 && e->guards[guard].told <= 0 &&
	       seen->summaries[0] + seen->summaries[1] >= EVIDENCE_BURN_IN;
}

void evidence_guard(const struct evidence *e, unsigned guard, unsigned stage,
		    struct evidence_guard *ret)
{
	const struct promote *p = &e->guards[guard];
	const struct gate_margin *margin = &p->bets[stage - 1].margin;
	*ret = (struct evidence_guard){.guard = &policy_guards[guard], .total = p->total,
				       .log_e = evidence_guard_log_e(e, guard, stage),
				       .rho = margin->rho, .delta = margin->delta,
				       .bounds = bounds_of(&p->sequence),
				       .not_reported = evidence_guard_silent(e, guard, stage)};
}
