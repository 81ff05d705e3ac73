#include "rollout/plan.h"

#include "rollout/stage.h"

#include <math.h>
#include <string.h>

#define DAY_S 86400.0
#define SLOT_GRACE_S 600 /* outcome slots close so long after end + jitter */
#define MOST_UNITS 1e12
#define GUESS_RATE 0.005   /* without a baseline, as the gates guess */
#define GUESS_MISSING 0.02
#define GUESS_USED 0.05	   /* share of windows in which a device is used */
#define GUESS_PHI 3
#define TAIL_SHARE 0.05	   /* p95 */
#define SHIFT_FIRST 5	   /* buckets by which the p95 guard lets a candidate be slower, at first */
#define SHIFT_LATER 2
#define MOST_STEPS 96	   /* ratios looked at: 2^(1/16) .. 2^6 */

/* ---- what is known ---- */

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static struct plan_rate rate_of(const json_t *object)
{
	return (struct plan_rate){number(object, "n"), number(object, "k")};
}

void plan_usage_read(struct plan_usage *u, const json_t *baseline)
{
	const json_t *window = json_object_get(json_object_get(baseline, "window"), "crash");
	const json_t *days = json_object_get(baseline, "summary");
	*u = (struct plan_usage){.crash = rate_of(window), .phi = number(window, "phi")};
	u->device_days = number(json_object_get(days, "crash"), "n");
	u->windows = u->crash.n;
	u->squares = u->windows * number(baseline, "windows_per_device");
	for (unsigned i = 0; i < policy_guard_count && i < PLAN_GUARDS; i++)
		if (policy_guards[i].source == GUARD_SUMMARY)
			u->guards[i] = rate_of(json_object_get(days, policy_guards[i].metric));
}

static void join_rate(struct plan_rate *to, const struct plan_rate *more)
{
	to->n += more->n;
	to->k += more->k;
}

void plan_join(struct plan_lane *to, const struct plan_lane *more)
{
	struct plan_usage *u = &to->usage;
	const double devices = to->devices + more->devices;
	if (devices > 0)
		to->active = (to->active * to->devices + more->active * more->devices) / devices;
	to->devices = devices;
	to->clock.devices += more->clock.devices;
	u->device_days += more->usage.device_days;
	u->windows += more->usage.windows;
	u->squares += more->usage.squares;
	u->phi = fmax(u->phi, more->usage.phi);
	join_rate(&u->crash, &more->usage.crash);
	for (unsigned i = 0; i < PLAN_GUARDS; i++)
		join_rate(&u->guards[i], &more->usage.guards[i]);
	for (unsigned b = 0; b < SKETCH_BUCKETS; b++)
		u->ttft[b] += more->usage.ttft[b];
}

static double rate_or(const struct plan_rate *rate, double guess)
{
	return rate->n >= PLAN_KNOWN ? fmax(rate->k, 0.5) / rate->n : guess;
}

/* ---- the formula ---- */

static void grow(double log_w[static GATE_BETS], const struct gate_margin *margin,
		 const struct plan_rates *r, double units)
{
	const struct gate_counts one = {1, r->candidate, r->ratio, r->ratio * r->control};
	for (unsigned j = 0; j < GATE_BETS; j++) {
		struct gate_component c;
		gate_bet_component(margin, j, r->control, &one, &c);
		log_w[j] += units * c.log_w;
	}
}

static double log_e_after(const struct gate_margin *margin, const struct plan_rates *rates,
			  const double *base, double units)
{
	double log_w[GATE_BETS] = {0};
	if (base)
		memcpy(log_w, base, sizeof(log_w));
	grow(log_w, margin, rates, units);
	return gate_log_mean(log_w, GATE_BETS);
}

double plan_units(const struct gate_margin *margin, const struct plan_rates *rates,
		  const double *base, double needs)
{
	double low = 0, high = 1;
	if (log_e_after(margin, rates, base, 0) >= needs)
		return 0;
	while (log_e_after(margin, rates, base, high) < needs) {
		high *= 2;
		if (high > MOST_UNITS)
			return INFINITY;
	}
	while (high - low > 0.5 && high - low > high * 1e-6) {
		const double middle = (low + high) / 2;
		if (log_e_after(margin, rates, base, middle) < needs)
			low = middle;
		else
			high = middle;
	}
	return ceil(high);
}

/* ---- one lane ---- */

/* A lane while its stages are gone through; the guards' bets go on from stage to stage. */
struct planning {
	const struct plan_lane *lane;
	const struct policy *policy;
	unsigned lanes;
	unsigned edge; /* bucket of stable's p95; SKETCH_BUCKETS: not known */
	double used;   /* share of windows in which a device is used */
	double log_w[PLAN_GUARDS][POLICY_STAGES][GATE_BETS]; /* [guard][margin of stage] */
};

static double share_from(const struct planning *p, unsigned bucket)
{
	const double *ttft = p->lane->usage.ttft;
	return gate_tail(ttft, SKETCH_BUCKETS, bucket) / gate_tail(ttft, SKETCH_BUCKETS, 0);
}

/* Rates of a guard when the candidate is as good as stable; false: nothing to compare. */
static bool guard_rates(const struct planning *p, unsigned guard, unsigned margin,
			struct plan_rates *rates)
{
	double rate = GUESS_MISSING;
	if (policy_guards[guard].source == GUARD_P95) {
		if (p->edge >= SKETCH_BUCKETS)
			return false;
		rates->control = share_from(p, p->edge);
		rates->candidate = share_from(p, p->edge + (margin ? SHIFT_LATER : SHIFT_FIRST));
		return true;
	}
	if (policy_guards[guard].source == GUARD_SUMMARY)
		rate = rate_or(&p->lane->usage.guards[guard], GUESS_RATE);
	rates->candidate = rates->control = rate;
	return true;
}

static struct gate_margin guard_margin(const struct planning *p, unsigned guard, unsigned stage)
{
	const struct policy_guard *g = &policy_guards[guard];
	const double rho = fmax(g->least_ratio, (double)p->policy->stages[stage].ratio_pm / 1000);
	return (struct gate_margin){
		GATE_PROMOTE, g->source == GUARD_P95 ? 1 : rho,
		policy_delta(p->policy, stage + 1, p->lane->clock.devices)};
}

/* Share of a cohort that has entered after so many seconds: a device enters when it is first used. */
static double entered(const struct plan_lane *lane, double seconds)
{
	const double days = seconds / DAY_S;
	if (days <= 0)
		return 0;
	return days < 1 ? lane->active * days : 1 - pow(1 - lane->active, days);
}

/* The reverse; INFINITY: never. */
static double time_until(const struct plan_lane *lane, double share)
{
	if (share > 1 || lane->active <= 0)
		return INFINITY;
	if (share <= lane->active)
		return DAY_S * share / lane->active;
	return lane->active < 1 && share < 1 ? DAY_S * log1p(-share) / log1p(-lane->active)
					     : INFINITY;
}

/* How long after entering a report of the guard's kind counts. */
static double delay(const struct clockwork *c, unsigned guard)
{
	if (guard < policy_guard_count && policy_guards[guard].source == GUARD_MISSING)
		return (double)(c->outcome_deadline_s + c->jitter_s + SLOT_GRACE_S);
	return (double)((c->windows + 1) * c->window_s + c->jitter_s + c->report_grace_s);
}

/* The condition needs so many candidates: is it the slowest so far? */
static void consider(const struct planning *p, struct plan_stage *s, unsigned guard, double units)
{
	const char *name = guard < policy_guard_count ? policy_guards[guard].name : "exposure";
	const double t = s->candidates > 0 ? time_until(p->lane, units / (double)s->candidates) +
						     delay(&p->lane->clock, guard)
					   : INFINITY;
	const bool never = s->seconds == PLAN_NEVER;
	if (s->slowest && (never || (isfinite(t) && t <= (double)s->seconds)))
		return;
	s->slowest = name;
	s->needs = isfinite(units) ? (int64_t)units : PLAN_NEVER;
	s->seconds = isfinite(t) ? (int64_t)ceil(t) : PLAN_NEVER;
}

static void consider_guard(const struct planning *p, struct plan_stage *s, unsigned stage,
			   unsigned guard, struct plan_rates *rates)
{
	const struct gate_margin margin = guard_margin(p, guard, stage);
	if (guard_rates(p, guard, stage, rates))
		consider(p, s, guard,
			 plan_units(&margin, rates, p->log_w[guard][stage],
				    policy_promote_threshold(p->policy)));
}

/* What this stage's units win for the margins of the stages after it. */
static void carry_on(struct planning *p, const struct plan_stage *s, unsigned stage, unsigned guard,
		     struct plan_rates *rates)
{
	const double until = s->seconds == PLAN_NEVER ? (double)p->policy->stages[stage].max_s
						      : (double)s->seconds;
	const double units = (double)s->candidates *
			     entered(p->lane, until - delay(&p->lane->clock, guard));
	for (unsigned m = stage + 1; m < p->policy->stage_count; m++) {
		const struct gate_margin margin = guard_margin(p, guard, m);
		if (guard_rates(p, guard, m, rates))
			grow(p->log_w[guard][m], &margin, rates, units);
	}
}

/* Units of both arms that a stage is not passed without, in candidates. */
static double exposure(const struct policy *policy, double ratio)
{
	return ceil(fmax((double)policy->min_units / (1 + ratio), (double)policy->min_candidate));
}

/* ---- which regression would be seen ---- */

/* Its number; policy_gate_count when there is none. */
static unsigned gate_named(const char *name)
{
	unsigned i = 0;
	while (i < policy_gate_count && strcmp(policy_gates[i].name, name) != 0)
		i++;
	return i;
}

/* Candidates' device-windows of a stage's longest time. */
static double windows_by_then(const struct planning *p, const struct plan_stage *s, unsigned stage)
{
	const struct clockwork *c = &p->lane->clock;
	const double days = (double)(c->windows * c->window_s) / 2; /* half of them are over */
	const double last = (double)p->policy->stages[stage].max_s - days;
	return (double)s->candidates * entered(p->lane, last) * (double)c->windows * p->used;
}

/* views: of how many the gate's e-value is the average, when one of them has this log E. */
static bool seen(const struct planning *p, unsigned gate, const struct plan_rates *rates,
		 double units, unsigned views)
{
	const struct policy_weighing *w = &p->policy->gates[gate];
	const struct gate_margin margin = {GATE_ROLLBACK, w->rho, w->delta};
	return log_e_after(&margin, rates, NULL, units) - log(views) >=
	       policy_gate_threshold(p->policy, gate, p->lanes);
}

static double least_crash(const struct planning *p, double units, double ratio)
{
	const struct plan_usage *u = &p->lane->usage;
	const unsigned gate = gate_named("window.crash");
	const double rate = rate_or(&u->crash, GUESS_RATE);
	const double phi = u->phi > 0 ? u->phi : GUESS_PHI;
	for (int g = 1; gate < policy_gate_count && g <= MOST_STEPS; g++) {
		const double times = gate_grid_ratio(g);
		const struct plan_rates rates = {fmin(rate * times, 1), rate, ratio};
		if (seen(p, gate, &rates, units / phi, 1))
			return times;
	}
	return 0;
}

/* By the view at p95 alone: the others can only make it sooner. */
static double least_ttft(const struct planning *p, double units, double ratio)
{
	const struct plan_usage *u = &p->lane->usage;
	const unsigned gate = gate_named("window.ttft_ms.p95");
	const double phi = u->windows > 0 ? fmax(u->squares / u->windows, 1)
					  : (double)p->lane->clock.windows / 2;
	if (gate == policy_gate_count || p->edge >= SKETCH_BUCKETS)
		return 0;
	const unsigned shift = p->policy->gates[gate].shift;
	for (unsigned slower = shift + 1; slower <= MOST_STEPS; slower++) {
		const unsigned up = slower - shift;
		const struct plan_rates rates = {share_from(p, p->edge > up ? p->edge - up : 0),
						 share_from(p, p->edge), ratio};
		if (seen(p, gate, &rates, units / phi, GATE_VIEWS))
			return gate_grid_ratio((int)slower);
	}
	return 0;
}

/* ---- all stages ---- */

static void plan_stage(struct planning *p, const struct stage_slices *slice, unsigned stage,
		       struct plan_stage *s)
{
	const double devices = p->lane->devices / STAGE_BUCKETS;
	const int64_t before = stage ? p->policy->stages[stage - 1].ppm : 0;
	const double candidates = (double)(slice->enter_high - slice->enter_low);
	const double control = (double)(slice->control_high - slice->control_low);
	struct plan_rates rates = {.ratio = control / candidates};
	*s = (struct plan_stage){.candidates = (int64_t)(devices * candidates),
				 .control = (int64_t)(devices * control),
				 .takes = (int64_t)(devices * (double)(slice->candidate_ppm - before))};
	consider(p, s, policy_guard_count, exposure(p->policy, rates.ratio));
	for (unsigned g = 0; g < policy_guard_count && g < PLAN_GUARDS; g++)
		consider_guard(p, s, stage, g, &rates);
	if (s->seconds != PLAN_NEVER && s->seconds < p->policy->stages[stage].min_soak_s)
		s->seconds = p->policy->stages[stage].min_soak_s;
	s->in_time = s->seconds != PLAN_NEVER && s->seconds <= p->policy->stages[stage].max_s;
	for (unsigned g = 0; g < policy_guard_count && g < PLAN_GUARDS; g++)
		carry_on(p, s, stage, g, &rates);
	const double units = windows_by_then(p, s, stage);
	s->crash = least_crash(p, units, rates.ratio);
	s->ttft = least_ttft(p, units, rates.ratio);
}

int plan_stages(const struct plan_lane *lane, const struct policy *policy, unsigned lanes,
		struct plan_stage ret_stages[static POLICY_STAGES], struct err *err)
{
	const struct plan_usage *u = &lane->usage;
	struct stage_slices slices[STAGE_MAX];
	int64_t ppm[POLICY_STAGES];
	struct planning p = {lane, policy, lanes, .edge = SKETCH_BUCKETS, .used = GUESS_USED};
	for (unsigned i = 0; i < policy->stage_count; i++)
		ppm[i] = policy->stages[i].ppm;
	if (stage_allocate(ppm, policy->stage_count, slices, err))
		return -1;
	if (gate_tail(u->ttft, SKETCH_BUCKETS, 0) >= PLAN_KNOWN)
		p.edge = gate_edge(u->ttft, SKETCH_BUCKETS, TAIL_SHARE);
	if (u->device_days > 0)
		p.used = fmin(1, u->windows / u->device_days * (double)lane->clock.window_s / DAY_S);
	for (unsigned i = 0; i < policy->stage_count; i++)
		plan_stage(&p, &slices[i], i, &ret_stages[i]);
	return 0;
}
