/* policy.h -- what a rollout was asked to do: its stages, error rates, gates; read from the
 * request, kept as JSON with the rollout, the same after every restart.
 * Everything has a default, so that a rollout started with nothing named is already safe.
 * Threads: pure. */
#ifndef ROLLOUT_POLICY_H
#define ROLLOUT_POLICY_H

#include "base/cc.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define POLICY_STAGES 16
#define POLICY_GATES 32

/* Where a gate finds its units, see telemetry/cells.h. */
enum gate_source {
	GATE_OUTCOME,	/* k of result.R among outcomes */
	GATE_MISSING,	/* enters without an outcome by the deadline */
	GATE_WINDOW,	/* device-windows with any such event; deflated */
	GATE_WINDOW_P95 /* device-windows whose own p95 lies above control's p95 */
};

struct policy_gate {
	const char *name;   /* "window.crash"; static */
	enum gate_source source;
	const char *metric; /* "result.load", "crash", "ttft_ms"; static */
	double rho, delta;  /* rollback margin: candidate <= rho * control + delta */
	unsigned shift;	    /* P95: buckets by which the candidate may be slower */
	const char *what;   /* "crash in use", for sentences; static */
};
/* The default rollback gates; index = the gate's number everywhere. */
extern const struct policy_gate policy_gates[];
extern const unsigned policy_gate_count;

/* What must be shown not worse before a stage is passed. */
struct policy_guard {
	const char *name;
	enum { GUARD_SUMMARY, GUARD_MISSING, GUARD_P95 } source;
	const char *metric;
	const char *what;
};
extern const struct policy_guard policy_guards[];
extern const unsigned policy_guard_count;

struct policy_stage {
	int64_t ppm;	    /* candidate's share of buckets */
	int64_t min_soak_s; /* before it may be passed */
	int64_t max_s;	    /* after that it is inconclusive */
	int64_t ratio_pm;   /* promotion margin as a ratio, per mille: 1250 = 1.25 */
	int64_t delta_ppm;  /* and as a difference of rates; 0: from the lane's size */
	bool approval;	    /* an operator must approve entering it */
};
struct policy {
	unsigned stage_count;
	struct policy_stage stages[POLICY_STAGES];
	int64_t alpha_ppm;	   /* false rollbacks of the whole rollout */
	int64_t promote_alpha_ppm; /* false promotions of a stage */
	int64_t abort_after_lanes; /* rolled-back lanes that abort the rest; 0: never */
	int64_t min_units;	   /* strict units in both arms before a stage is passed */
	int64_t min_candidate;	   /* ... of them candidate */
};

void policy_default(struct policy *policy);
/* Members of body that belong to the policy (stages, alpha_ppm, ...), over the defaults.
 * ERR_INVALID names the field. */
int policy_read(struct policy *policy, const json_t *body, struct err *err) CHECKED;
json_t *policy_json(const struct policy *policy) CHECKED; /* NULL without memory */

/* log E at which one rollback gate of one of lanes fires: ln(2 * lanes * gates / alpha). */
double policy_rollback_threshold(const struct policy *policy, unsigned lanes);
double policy_promote_threshold(const struct policy *policy);
/* delta of a stage's promotion margin: as asked for, or about 160 additionally failing devices a
 * lane. */
double policy_delta(const struct policy *policy, unsigned stage, int64_t devices);

#endif
