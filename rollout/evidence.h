/* evidence.h -- what one lane's closed cells say: every gate and guard, fed in order of event time.
 * A pure function of the lane's row and its closed cells: replayed after a restart, it is the same.
 * Rollback gates run over the lane's whole life (each closed time of each stage is a stratum);
 * guards are kept for every stage's margin from the start, so that looking early costs nothing.
 * Threads: a struct evidence belongs to one. */
#ifndef ROLLOUT_EVIDENCE_H
#define ROLLOUT_EVIDENCE_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/lane.h"
#include "rollout/policy.h"
#include "rollout/stage.h"
#include "store/db.h"
#include "telemetry/gate.h"
#include "telemetry/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { EVIDENCE_CANDIDATE, EVIDENCE_CONTROL, EVIDENCE_ARMS };

/* How many were seen so far in one stage, per arm. */
struct evidence_stage {
	int64_t entered[EVIDENCE_ARMS];	  /* closed slots */
	int64_t due[EVIDENCE_ARMS];	  /* of them, whose summary is due */
	int64_t summaries[EVIDENCE_ARMS]; /* strict units */
	int64_t windows[EVIDENCE_ARMS];	  /* device-windows */
	int64_t last_entered;		  /* start of the last slot with an enter; 0: none */
	double srm_log_e;
};
struct evidence_bounds { /* of the ratio of rates: a confidence sequence, 95 % in all */
	bool has_lower, has_upper;
	double lower, upper;
};
struct evidence_gate {
	const struct policy_gate *gate;
	struct gate_counts total; /* units as reported; of views: at and above control's p95 */
	double phi;		  /* by which they are deflated */
	double log_e;
	struct evidence_bounds bounds;
};
struct evidence_guard {
	const struct policy_guard *guard;
	struct gate_counts total;
	double log_e;	   /* at the stage's margin */
	double rho, delta; /* the margin */
	struct evidence_bounds bounds;
	bool not_reported; /* see evidence_guard_silent() */
};

struct evidence;
struct stratum; /* see evidence_internal.h */
struct outages; /* rollout/outages.h */

/* lane, policy and slices are copied.  ERR_CORRUPT for a baseline that cannot be read. */
int evidence_new(struct evidence **ret_evidence, const struct lane *lane,
		 const struct policy *policy, struct err *err) CHECKED;
void evidence_free(struct evidence *evidence); /* NULL is fine */
DEFINE_AUTO(struct evidence, evidence_free)

/* Where closed cells are read. */
struct evidence_source {
	struct db *db;
	/* What closed in all lanes at once, of each mark: of what it covers, db is only asked for buckets.
	 * NULL: none. */
	const struct span *spans[CELLS_MARKS];
	const struct outages *down; /* when nobody could report; NULL: never */
	struct stratum *strata; /* the policy's stages of them, all zero; NULL: made for the call */
};
/* Take in what closed since the last call, if anything did: lane->closed must not go back. */
int evidence_update(struct evidence *evidence, const struct evidence_source *source,
		    const struct lane *lane, bool *ret_news, struct err *err) CHECKED;
const char *evidence_class(const struct evidence *evidence);

void evidence_stage(const struct evidence *evidence, unsigned stage,
		    struct evidence_stage *ret_stage); /* stage 1.. */
/* gate < policy_gate_count.  robust: as if the most telling candidate units, two or one in a
 * thousand, had not been sent; for reports that nobody vouches for. */
double evidence_log_e(const struct evidence *evidence, unsigned gate, bool robust);
void evidence_gate(const struct evidence *evidence, unsigned gate, bool robust,
		   struct evidence_gate *ret_gate);
/* The log capital of a gate's bets, for gate_pool(); how many. */
#define EVIDENCE_CAPITAL (GATE_VIEWS * GATE_BETS)
unsigned evidence_capital(const struct evidence *evidence, unsigned gate, bool robust,
			  double ret[EVIDENCE_CAPITAL]);
double evidence_guard_log_e(const struct evidence *evidence, unsigned guard, unsigned stage);
/* Nobody reports the metric, though enough devices were summed up: nothing to compare. */
bool evidence_guard_silent(const struct evidence *evidence, unsigned guard, unsigned stage);
void evidence_guard(const struct evidence *evidence, unsigned guard, unsigned stage,
		    struct evidence_guard *ret_guard); /* < policy_guard_count */
/* Consecutive closed windows, up to the newest, in which devices that should report did not. */
unsigned evidence_silent_windows(const struct evidence *evidence);

/* The baseline of a lane that starts now, from the usage of what runs there: JSON for lane->baseline,
 * the caller's (free()). */
int evidence_baseline(struct db *db, const char *channel, const char *class, const char *model,
		      int64_t now, char **ret_text, struct err *err) CHECKED;

#endif
