/* history.h -- a metric over time, for charts: up to 400 days by the day, and the last DAYS_FINE by the
 * hour.  usage tells of every device, by the day; window of devices in rollouts, by the hour.
 * Threads: any, each with its own struct db, that is in no transaction. */
#ifndef TELEMETRY_HISTORY_H
#define TELEMETRY_HISTORY_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

extern const struct sql_set history_sql;

#define HISTORY_HOUR_S 3600
#define HISTORY_DAY_S 86400
#define HISTORY_POINTS 1000

struct history_query {
	const char *model, *metric;
	const char *kind;			      /* "usage" or "window" */
	const char *channel, *class, *variant, *rollout, *arm; /* NULL: all */
	int64_t from, to, step;			      /* multiples of step, HISTORY_..._S */
	int64_t min_cohort;
};

/* ERR_INVALID names the field, and what to do, for a metric or kind that there is not, hours of usage or
 * of what lies before fine_from, and too many points. */
int history_check(const struct history_query *query, int64_t fine_from, struct err *err) CHECKED;

/* [{at, time, devices, units}, with a counter's {events, rate, mean}: events in all, share of units with
 * any, events a unit; or a histogram's {n, mean, p50, p90, p95, p99}, each quantile {value, low, high}:
 * its bucket's middle, and the bounds within which it lies with 95 % confidence, the buckets' own width
 * included].  devices are at least so many: of windows, the most of one series in one window, because a
 * device may be in several.  Points with fewer than min_cohort are left out, and counted in *ret_hidden. */
int history_read(struct db *db, const struct history_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err) CHECKED;

#endif
