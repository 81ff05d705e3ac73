/* decide.h -- what a lane should do now, and why, in one place and without side effects.
 * Also the sentences with which decisions and waiting are explained.
 * Threads: pure. */
#ifndef ROLLOUT_DECIDE_H
#define ROLLOUT_DECIDE_H

#include "base/cc.h"
#include "rollout/evidence.h"
#include "rollout/lane.h"
#include "rollout/policy.h"

#include <jansson.h>

enum decision_kind { DECIDE_NOTHING, DECIDE_ADVANCE, DECIDE_HOLD, DECIDE_ROLL_BACK };

struct decision {
	enum decision_kind kind;
	char reason[200]; /* one sentence; for holds it starts with the reason's name and a colon */
};

struct circumstances {
	const struct lane *lane;
	const struct policy *policy;
	unsigned lanes;	     /* of the rollout: they share alpha */
	bool authentic;	     /* reports carry an ingest token or attestation */
	int64_t now;
};

#define DECIDE_FORGERY_PPM 250000 /* without authenticity a human decides beyond this share */

void decide(const struct evidence *evidence, const struct circumstances *c,
	    struct decision *ret_decision);

/* {class, stage, state, gates:[{metric, role, candidate:{n,k}, control:{n,k}, ratio, lower, upper,
 *  log_e, threshold, state, sentence}], exposure:{...}}: the evidence of an event and the answer of
 * the gates route.  NULL without memory; the caller's. */
json_t *decide_explain(const struct evidence *evidence, const struct circumstances *c) CHECKED;

#endif
