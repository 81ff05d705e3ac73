/* gates_fleet.h -- one lane's devices, as sums: who enters, loads, is used, fails and is summed up, hour
 * by hour, fed to the evidence as closed cells would be.  Devices differ for good (CV^2 2), sleep at
 * night, report late or never.
 * Threads: a struct fleet belongs to one. */
#ifndef TESTS_BENCH_GATES_FLEET_H
#define TESTS_BENCH_GATES_FLEET_H

#include "rollout/decide.h"
#include "rollout/evidence_internal.h"
#include "tests/bench/gates_sim.h"

#define FLEET_DAYS 40

/* What is wrong with the candidate; 0 or 1: nothing. */
struct fault {
	const char *gate;   /* whose events come more often, by times */
	double times;
	enum policy_hist hist; /* whose values are worse by so many buckets */
	double buckets;
};
struct fleet {
	struct lane lane;
	const struct policy *policy;
	struct evidence *evidence;
	bool borrowed; /* the evidence is a family's */
	char *baseline;
	struct fault fault;
	struct chance *chance;
	struct stratum *strata;	   /* one a stage, between feeds */
	struct fleet_slot *slots;  /* by time */
	int64_t now;
	int64_t left[EVIDENCE_ARMS]; /* of the stage, not entered yet */
	double luck[POLICY_STAGES][EVIDENCE_ARMS][POLICY_GATES]; /* propensities of those who entered */
	double speed[POLICY_STAGES][EVIDENCE_ARMS][POLICY_HISTS]; /* their mean, in buckets */
	int64_t exposed;	   /* candidates entered */
};

/* devices in the class; lanes of the rollout share alpha. */
void fleet_open(struct fleet *fleet, const struct policy *policy, int64_t devices, bool baseline,
		const struct fault *fault, struct chance *chance);
/* Feed this evidence instead of its own; the caller's. */
void fleet_join(struct fleet *fleet, struct evidence *evidence);
void fleet_close(struct fleet *fleet);
/* One hour passes: devices live, what is due closes and is fed. */
void fleet_hour(struct fleet *fleet);
/* The lane enters its next stage; false: it was the last. */
bool fleet_advance(struct fleet *fleet);

#endif
