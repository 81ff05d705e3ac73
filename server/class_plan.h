/* class_plan.h -- what other class rules would do: which devices may move to another class, how many
 * that are, and which lanes they would leave or join half-way.
 * Threads: any, each with its own struct db. */
#ifndef SERVER_CLASS_PLAN_H
#define SERVER_CLASS_PLAN_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "rollout/lane.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct class_plan {
	struct class_moves *moves; /* classes_diff.h */
	unsigned count;
	struct lane *lanes; /* active ones of classes that devices may leave or join */
	unsigned lane_count;
};

/* Compare document, the rules as they would be (ERR_INVALID names what a device could not read), with
 * those in force.  All in the arena. */
int class_plan(struct db *db, const json_t *document, struct arena *arena, struct class_plan *plan,
	       struct err *err) CHECKED;
/* {classes: [{class, devices, share_ppm, some_stay, may_move_to: [...]}], devices, may_move,
 * may_move_ppm, lanes: ["r1/mid"]}; devices are yesterday's (day: its start, UTC seconds), of
 * groups of min_cohort and more, the largest model of each class and channel; null: not known. */
int class_plan_json(struct db *db, const struct class_plan *plan, int64_t day, int64_t min_cohort,
		    json_t **ret, struct err *err) CHECKED;

#endif
