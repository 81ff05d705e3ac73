/* drift.h -- devices that run what no manifest of theirs names, and why that may be.
 * Threads: any, each with its own struct db. */
#ifndef ROLLOUT_DRIFT_H
#define ROLLOUT_DRIFT_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

struct drift_query {
	const char *channel, *class, *model; /* NULL: all */
	int64_t day;			     /* start of a UTC day, seconds */
	int64_t min_cohort;		     /* groups below are left out */
};
/* [{channel, class, model, variant, devices, share_ppm, why, text}], by channel, class, model, largest
 * first.  why:
 *   straggler   it was stable there before: has not polled, or not installed, since
 *   withdrawn   it was taken back there
 *   tier        the release is named, but not in this tier
 *   no-manifest the class has no manifest with this model
 *   unknown     it was never offered there: another class or channel before, or an app's own doing
 * *ret_hidden as census_count(). */
int drift_count(struct db *db, const struct drift_query *query, json_t **ret_items,
		int64_t *ret_hidden, struct err *err) CHECKED;

#endif
