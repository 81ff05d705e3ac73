/* evidence_internal.h -- how evidence is kept, and how closed strata come into it; for evidence_*.c
 * and for simulations that feed it without a database. */
#ifndef ROLLOUT_EVIDENCE_INTERNAL_H
#define ROLLOUT_EVIDENCE_INTERNAL_H

#include "rollout/evidence.h"
#include "rollout/silence.h"
#include "telemetry/sketch.h"

#define ARMS EVIDENCE_ARMS
#define GUARDS_MAX 8
#define GUARD_SHIFTS 2 /* of the first stage, of later ones */
#define EVIDENCE_BURN_IN 300 /* control units that fix edges */
#define EVIDENCE_WEAK_N 50   /* weight of a guess, where no baseline is known */

/* One gate of the rollback family. */
struct rollback {
	double phi; /* overdispersion; 1 for strict units */
	struct gate_counts total;
	struct gate_counts pending[POLICY_STAGES]; /* until both arms have units */
	struct gate_sequence sequence;
	struct gate_mean mean; /* of control; views have their own */
	struct gate_bet bet;
	struct gate_views views;
};
/* One guard, at every stage's margin. */
struct promote {
	struct gate_mean mean;
	struct gate_bet bets[POLICY_STAGES];
	struct gate_sequence sequence;
	struct gate_counts total;
	double told; /* GUARD_P95: units with a histogram, compared or not */
	struct gate_counts pending[POLICY_STAGES][GUARD_SHIFTS]; /* of the stage seen in */
};
struct stage_state {
	struct evidence_stage seen;
	struct gate_srm srm;
};

/* What one closed time of one stage adds up to. */
struct stratum {
	bool any;
	int64_t at;
	int64_t n[ARMS]; /* units: outcomes, windows or summaries */
	int64_t entered[ARMS], arrived[ARMS];
	int64_t gates[POLICY_GATES][ARMS], guards[GUARDS_MAX][ARMS]; /* units with the event */
	double hist[POLICY_HISTS][ARMS][SKETCH_BUCKETS];
};

struct evidence {
	struct policy policy;
	struct clockwork clock;
	struct stage_slices slices[POLICY_STAGES];
	char rollout[65], class[65];
	int64_t closed[CELLS_MARKS];
	struct stage_state stages[POLICY_STAGES];
	struct rollback gates[POLICY_GATES];
	struct promote guards[GUARDS_MAX];
	/* The first control windows, which fix the edges of the gates that look at a histogram. */
	double before[POLICY_HISTS][SKETCH_BUCKETS];
	bool frozen[POLICY_HISTS];
	unsigned edge; /* of the strict guard: bucket of control's p95 to the first token, once known */
	bool edge_known;
	int64_t edge_at; /* time of the windows that told it; INT64_MIN: usage did */
	int64_t since;	 /* of the lane and its stage, as it was seen last */
	unsigned stage;
	struct silence silence;
};

/* before[hist] is enough with windows of that time: fix the edges of the gates that read it; and the guard's,
 * if usage knew none. */
void evidence_freeze(struct evidence *evidence, enum policy_hist hist, int64_t at);
/* One closed time: strata[s] of stage s + 1.  Those with any are cleared. */
int evidence_feed(struct evidence *evidence, enum cells_mark mark, int64_t at,
		  struct stratum *strata, struct err *err) CHECKED;

#endif
