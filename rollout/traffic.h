/* traffic.h -- what a class's devices do, as far as their `usage` reports of two weeks tell: the input of
 * a plan (plan.h).
 * Threads: any, each with its own struct db. */
#ifndef ROLLOUT_TRAFFIC_H
#define ROLLOUT_TRAFFIC_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/plan.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

#define TRAFFIC_DAYS 14

struct traffic_query {
	const char *channel, *class, *model;
	int64_t now;	    /* own time, UTC seconds */
	int64_t min_cohort; /* fewer devices than that are not told */
};
/* *ret_counted: devices are the most that were active on one day; else the class's own estimate, and
 * TRAFFIC_ACTIVE of them a day.  lane->clock.devices is always that estimate, for margins follow it. */
#define TRAFFIC_ACTIVE 0.5
int traffic_read(struct db *db, const struct traffic_query *query, struct plan_lane *ret_lane,
		 bool *ret_counted, struct err *err) CHECKED;

#endif
