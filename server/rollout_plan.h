/* rollout_plan.h -- what an order for a rollout would mean, class by class: who enters when, how long
 * that should take, what it moves, and what an operator should know before.
 * Threads: any, each with its own struct db. */
#ifndef SERVER_ROLLOUT_PLAN_H
#define SERVER_ROLLOUT_PLAN_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/publish.h"
#include "rollout/act.h"
#include "store/blob.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

#define ROLLOUT_PLAN_ARENA (256u << 20) /* grows as it is used */

struct rollout_plan {
	struct db *db;
	struct blobs *blobs;	     /* borrowed, as the next two */
	struct publisher *publisher; /* whose snapshot tells which classes have a manifest */
	const struct act_order *order;
	int64_t now, min_cohort;
};
/* {model, release, channel, nights, bytes, lanes: [{class, group: [class], stable, state, devices, devices_from,
 *  active_ppm, device_days, tier, bytes_per_device, via, bytes, nights, stages: [{stage, ppm,
 *  candidates, control, bytes, needs, slowest, expected_s, nights, max_s, in_time, crash_ratio,
 *  ttft_p95_ratio}]}], groups: [[class]], warnings: [{class, kind, text}]}
 * Null stands for what is not known or never comes.  Nothing is changed.  ERR_NOT_FOUND and
 * ERR_CONFLICT as for starting, but for what only stands in the way now: that is a warning. */
int rollout_plan(const struct rollout_plan *plan, struct arena *arena, json_t **ret,
		 struct err *err) CHECKED;

#endif
