/* stage.h -- which buckets enter which arm at which stage: allocated once, at the start.
 * Buckets are 0..999,999.  Let p_1 < ... < p_S be the stages' shares and e_k = p_k - p_(k-1).
 *   last stage   control [H, 10^6) with H = 10^6 - max(50,000, (10^6 - p_S)/2)
 *   earlier ones share B = 2/3 (H - p_(S-1)) for control: equal shares, none above 4 e_k (what
 *                one cannot take goes to the others), each rounded down to 1,000, stacked
 *                downwards from H in the order of stages
 *   candidates   [p_(k-1), min(p_k, bottom of the stack)) enter; the rest up to p_k takes the
 *                candidate without entering, for it has been control
 *   S = 1        control [max(p, 10^6 - 4p), 10^6)
 * Nobody enters twice, so every device is in at most one cohort.
 * Threads: pure. */
#ifndef ROLLOUT_STAGE_H
#define ROLLOUT_STAGE_H

#include "base/cc.h"
#include "base/err.h"

#include <stdint.h>

#define STAGE_BUCKETS 1000000
#define STAGE_MAX 16

struct stage_slices { /* half-open ranges of buckets; empty when low == high */
	int64_t candidate_ppm; /* buckets below it take the candidate */
	int64_t enter_low, enter_high;
	int64_t control_low, control_high;
};

/* ppm[count]: strictly rising, 1,000..950,000.  ERR_INVALID names the stage, also when a stage
 * would be left without candidates or without control. */
int stage_allocate(const int64_t *ppm, unsigned count, struct stage_slices *ret_slices,
		   struct err *err) CHECKED;

#endif
