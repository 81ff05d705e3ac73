/* policy.h -- what a rollout was asked to do: its stages, error rates, gates; read from the
 * request, kept as JSON with the rollout, the same after every restart.
 * Everything has a default, so that a rollout started with nothing named is already safe.
 * Threads: pure. */
#ifndef ROLLOUT_POLICY_H
#define ROLLOUT_POLICY_H

#include "base/cc.h"
#include "base/err.h"
#include "telemetry/report.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define POLICY_STAGES REPORT_STAGES
#define POLICY_GATES 32

/* Where a gate finds its units, see telemetry/cells.h.  Strict ones are one a device, exact; windows
 * repeat a device and are deflated. */
enum gate_source {
	GATE_OUTCOME,	   /* strict: k of result.R among outcomes */
	GATE_OUTCOME_MEAN, /* strict: mean of a bounded score of outcomes */
	GATE_MISSING,	   /* strict: enters without an outcome by the deadline */
	GATE_WINDOW,	   /* device-windows with any such event */
	GATE_WINDOW_VIEWS  /* five views of the device-windows' own p95 */
};

/* Histograms that gates and guards read. */
enum policy_hist { HIST_TTFT, HIST_ENERGY, HIST_DECODE, HIST_PROBE, POLICY_HISTS };
struct policy_hist_info {
	const char *metric; /* of the cells */
	unsigned len;	    /* buckets */
	bool low_is_bad;    /* read from its upper end: bucket 0 is then the best */
};
extern const struct policy_hist_info policy_hists[POLICY_HISTS];

struct policy_gate {
	const char *name;   /* "window.crash"; static */
	enum gate_source source;
	const char *metric; /* "result.load", "crash"; "" where hist tells; static */
	enum policy_hist hist; /* of GATE_OUTCOME_MEAN and GATE_WINDOW_VIEWS */
	double rho, delta;  /* rollback margin: candidate <= rho * control + delta */
	unsigned shift;	    /* views: buckets by which the candidate may be worse */
	unsigned weight;    /* its share of alpha, beside the others' */
	const char *what;   /* "crash in use", for sentences; static */
};
bool policy_strict(const struct policy_gate *gate);
/* The default rollback gates; index = the gate's number everywhere. */
extern const struct policy_gate policy_gates[];
extern const unsigned policy_gate_count;

/* What must be shown not worse before a stage is passed. */
struct policy_guard {
	const char *name;
	enum { GUARD_SUMMARY, GUARD_MISSING, GUARD_P95 } source;
	const char *metric;
	const char *what;
	double least_ratio; /* of its margin, however narrow the stage's is */
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
struct policy_weighing { /* of one gate; the table's, unless the rollout says otherwise */
	double rho, delta;
	unsigned shift;
	unsigned weight; /* 0: off */
};
struct policy {
	unsigned stage_count;
	struct policy_stage stages[POLICY_STAGES];
	struct policy_weighing gates[POLICY_GATES];
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

/* Half of alpha is for gates of lanes, half for pooled evidence; each half is shared by weight.
 * log E at which a rollback gate of weight 1 in one of so many lanes fires:
 * ln(2 * lanes * all weights / alpha). */
double policy_rollback_threshold(const struct policy *policy, unsigned lanes);
/* The same for a gate: less the log of its weight; infinite when it is off. */
double policy_gate_threshold(const struct policy *policy, unsigned gate, unsigned lanes);
/* log E at which a gate's pooled evidence fires. */
double policy_pool_threshold(const struct policy *policy, unsigned gate);
/* Adjusted log E (gate_closed() over lanes and strict gates, by weight) at which a strict gate
 * fires. */
double policy_strict_threshold(const struct policy *policy);
double policy_promote_threshold(const struct policy *policy);
/* delta of a stage's promotion margin: as asked for, or about 160 additionally failing devices a
 * lane. */
double policy_delta(const struct policy *policy, unsigned stage, int64_t devices);

#endif
