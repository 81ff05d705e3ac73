/* group.h -- small classes that share a lane: which of them belong together, and what the lane starts
 * from.
 * Threads: pure. */
#ifndef ROLLOUT_GROUP_H
#define ROLLOUT_GROUP_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/lane.h"

#include <jansson.h>
#include <stdbool.h>

#define GROUP_NONE (-1)

/* groups: [[class, ...], ...], two names and more each, no name twice; NULL is fine.  ERR_INVALID names
 * the member. */
int group_check(const json_t *groups, struct err *err) CHECKED;
/* Index of the group that the class is in, or GROUP_NONE. */
int group_of(const json_t *groups, const char *class);

/* Whether devices of both report by the same clock, so that one watermark closes both. */
bool group_same_clock(const struct clockwork *a, const struct clockwork *b);
/* Add a baseline (evidence.h) to another: counts add up, the larger clustering counts, and what cannot be
 * added, such as a histogram, stays that of the one with more devices, which is to be `to`. */
int group_join_baseline(json_t *to, json_t *more, struct err *err) CHECKED;

#endif
