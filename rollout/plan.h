/* plan.h -- what a rollout will need, before it starts: how many devices enter each stage, how many
 * units and nights its guards need, and which regression its gates could see in time.
 *
 * Formula.  A gate is a mixture of GATE_BETS bets, each a product over strata of counts.  For
 * rates p_T, p_C and r control units for each candidate unit, bet j grows by
 *   g_j = p_T log1p(g_T(1-q_T)) + (1-p_T) log1p(-g_T q_T) + r (the same of control)
 * a candidate unit on average: it is gate_bet_component() of the counts 1, p_T, r, r p_C.  So after n
 * units log E is about ln mean_j exp(n g_j), and the units needed are those at which that reaches
 * the threshold.  It is Wald's expected sample number (Wald 1945) with the price of not knowing the
 * effect beforehand in it: about 1.2 times the bound of the best single bet.  Against simulated means
 * (tests/unit/test_plan.c has them) it is right within 20 %.  Means: one run in twenty takes two to
 * three times as long.
 * Threads: pure. */
#ifndef ROLLOUT_PLAN_H
#define ROLLOUT_PLAN_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/lane.h"
#include "rollout/policy.h"
#include "telemetry/gate.h"
#include "telemetry/sketch.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define PLAN_GUARDS 16
#define PLAN_KNOWN 300 /* device-days below which a baseline is not one */

struct plan_rate {
	double n, k;
};
/* What `usage` says about stable; all zero: nothing.  Sums, so that classes can be added. */
struct plan_usage {
	double device_days, windows, squares; /* windows used, and the sum of their squares */
	struct plan_rate crash; /* windows with a crash */
	double phi;		/* their clustering; 0: not known */
	struct plan_rate guards[PLAN_GUARDS]; /* device-days with the event, as policy_guards */
	double ttft[SKETCH_BUCKETS];	      /* device-days by their p95 */
};
/* From a lane's baseline (evidence.h); ttft stays for the caller to fill. */
void plan_usage_read(struct plan_usage *usage, const json_t *baseline);

struct plan_lane {
	double devices; /* that run stable */
	double active;	/* share of them that is used on a day, 0..1 */
	struct clockwork clock;
	struct plan_usage usage;
};
/* As one lane: devices, traffic and baselines together; to's clock stays, but for its devices. */
void plan_join(struct plan_lane *to, const struct plan_lane *more);

#define PLAN_NEVER (-1)

struct plan_stage {
	int64_t candidates, control; /* devices that enter */
	int64_t takes;		     /* devices that take the candidate, entering or not */
	int64_t needs; /* candidates' reports that the slowest condition needs; PLAN_NEVER: not with
			  any number */
	const char *slowest; /* "exposure", or the guard's name; static */
	int64_t seconds;     /* until that is there; PLAN_NEVER: too few devices enter */
	bool in_time;	     /* within the stage's max_s */
	double crash;	     /* least ratio of crashes that is seen within max_s; 0: none */
	double ttft;	     /* least ratio of p95 time to first token that is; 0: none */
};
/* Each stage in turn; lanes: of the rollout.  ERR_INVALID for stages that cannot be allocated. */
int plan_stages(const struct plan_lane *lane, const struct policy *policy, unsigned lanes,
		struct plan_stage ret_stages[static POLICY_STAGES], struct err *err) CHECKED;

/* Candidate units until log E of a gate with this margin reaches needs, with so many control units
 * for each; base[GATE_BETS] (NULL: zero): log of what the bets already won.  INFINITY: never. */
struct plan_rates {
	double candidate, control, ratio;
};
double plan_units(const struct gate_margin *margin, const struct plan_rates *rates,
		  const double *base, double needs);

#endif
