/* census.h -- who runs what, counted without ids: from daily usage reports, each device's first of
 * a UTC day.
 * Threads: any, each with its own struct db. */
#ifndef TELEMETRY_CENSUS_H
#define TELEMETRY_CENSUS_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

extern const struct sql_set census_sql;

struct census_query {
	const char *channel, *class, *model; /* NULL: all */
	int64_t day;			     /* start of a UTC day, seconds */
	int64_t min_cohort;		     /* groups below are left out and only counted together */
};

/* [{channel, class, model, variant, devices, share_ppm}], largest first; share of the model's
 * devices in that channel and class.  *ret_hidden: devices of groups that were left out, told only
 * when they are min_cohort or more together (else -1). */
int census_count(struct db *db, const struct census_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err) CHECKED;

#endif
