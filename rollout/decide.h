/* decide.h -- what a lane should do now, and why, in one place and without side effects.
 * Also the sentences with which decisions and waiting are explained.
 * Threads: pure. */
#ifndef ROLLOUT_DECIDE_H
#define ROLLOUT_DECIDE_H

#include "base/cc.h"
#include "rollout/evidence.h"
#include "rollout/family.h"
#include "rollout/lane.h"
#include "rollout/policy.h"
#include "rollout/slice.h"

#include <jansson.h>

enum decision_kind {
	DECIDE_NOTHING,
	DECIDE_ADVANCE,
	DECIDE_HOLD,
	DECIDE_ROLL_BACK,
	DECIDE_ROLL_BACK_ALL /* every active lane of the rollout */
};

struct decision {
	enum decision_kind kind;
	char reason[240]; /* one sentence; for holds it starts with the reason's name and a colon */
	const struct policy_gate *gate;	  /* that fires, or is suspicious; NULL */
	const struct policy_guard *guard; /* that is undecided; NULL */
	double phi;			  /* by which the gate's units are deflated */
};

struct circumstances {
	const struct lane *lane;
	const struct policy *policy;
	unsigned lanes;	     /* of the rollout: they share alpha */
	bool authentic;	     /* reports carry an ingest token or attestation */
	int64_t now;
	const struct family *family; /* the lane's; NULL: it stands alone */
	const struct slice_table *slices; /* decide() does not look at it; NULL: no slice is named */
	int64_t down_s; /* of the lane's stage, in which the daemon was down */
};

#define DECIDE_FORGERY_PPM 250000 /* without authenticity a human decides beyond this share */

void decide(const struct evidence *evidence, const struct circumstances *c,
	    struct decision *ret_decision);

/* Add to the reason in which slice the fault is, when there is one. */
void decide_locate(const struct slice_table *slices, struct decision *decision);
/* When time alone, without news or a change of the lane, may lead to another decision; INT64_MAX: never. */
int64_t decide_again(const struct evidence *evidence, const struct circumstances *c);

/* {class, stage, state, gates:[{metric, role, candidate:{n,k}, control:{n,k}, ratio, lower, upper,
 *  log_e, e_value, threshold, pooled_log_e, pooled_threshold, state, slice, sentence}], exposure:{...}}: the
 * evidence of an event and the answer of the gates route.  NULL without memory; the caller's. */
json_t *decide_explain(const struct evidence *evidence, const struct circumstances *c) CHECKED;

#endif
