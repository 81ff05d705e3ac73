/* census.h -- who runs what, counted without ids: from daily usage reports, each device's first of
 * a UTC day.  A device that uses two models is counted with each.
 * Threads: any, each with its own struct db. */
#ifndef TELEMETRY_CENSUS_H
#define TELEMETRY_CENSUS_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

extern const struct sql_set census_sql;

#define CENSUS_DAY_S 86400
#define CENSUS_DAYS 400	       /* kept */
#define CENSUS_LATE_S (5 * 3600) /* devices tell of a day within so long after its end, but for a few */
#define CENSUS_ARENA (64u << 20) /* for a tally; grows as it is used */

/* The last UTC day, as days since 1970, of which nearly all devices have told. */
int64_t census_last_day(int64_t now);

/* What is told apart, besides day and model. */
enum {
	CENSUS_CHANNEL = 1,
	CENSUS_CLASS = 2,
	CENSUS_RELEASE = 4,
	CENSUS_TIER = 8,
	CENSUS_ALL = 15,
	/* One of these at the most: devices are counted by each of them, not by both (slices.h). */
	CENSUS_OS = 16,
	CENSUS_RUNTIME = 32
};
/* "class,release": ERR_INVALID says what there is. */
int census_by(const char *text, unsigned *ret_by, struct err *err) CHECKED;

struct census_query {
	const char *channel, *class, *model; /* NULL: all */
	int64_t from, to;		     /* starts of UTC days, seconds; from <= day < to */
	unsigned by;			     /* CENSUS_... */
	int64_t min_cohort;		     /* groups below are left out and only counted together */
};

/* What is not told apart is "". */
struct census_row {
	int64_t day;
	const char *channel, *class, *model, *release, *tier;
	const char *slice; /* OS major or runtime; "other", "unknown" */
	int64_t devices;
};
/* By day and then in the order of the members.  Not suppressed: callers must. */
int census_tally(struct db *db, const struct census_query *query, struct arena *arena,
		 struct census_row **ret_rows, unsigned *ret_count, struct err *err) CHECKED;

/* [{day, date, model, devices, share_ppm, and what is told apart: channel, class, release, tier,
 *  variant for the last two, os or runtime}], by day, largest first; share of the devices shown that are equal in
 * day, channel, class and model.  *ret_hidden: devices of groups that were left out, told only when
 * they are min_cohort or more together (else -1). */
int census_count(struct db *db, const struct census_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err) CHECKED;

/* How releases spread, by channel, by class too when query->by says so, and model: [{channel, class,
 * model, release, first: date, days_to_50, days_to_90, days_to_99, devices, share_ppm, date}].  Days
 * count from the first on which min_cohort devices ran it until the first on which that share of the
 * devices shown did; null: not yet.  devices and share are of the last day on which it is shown. */
int census_adoption(struct db *db, const struct census_query *query, json_t **ret_items,
		    struct err *err) CHECKED;

#endif
