/* series.h -- the ids of series.  What an entry's report of one kind says belongs to one group:
 * (channel, class, model, rollout, stage, arm, variant, kind); each metric of a group is a series.
 * A group is looked up once an entry, its ids are then at hand by number.
 * Threads: the ledger's. */
#ifndef TELEMETRY_SERIES_H
#define TELEMETRY_SERIES_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"
#include "telemetry/report.h"

#include <stdint.h>

extern const struct sql_set series_sql;

/* A group's metrics by number: those of metric.h under their own, and these. */
enum {
	SLOT_P95 = 32,	/* + a histogram's: "ttft_ms.p95" */
	SLOT_UNITS = 64, /* "enter", "outcome", "window" ...: the units themselves */
	SLOT_RESULT,	/* + enum report_result: "result.ok" ... */
	SLOT_PROBE = SLOT_RESULT + REPORT_RESULTS,
	SLOTS
};

/* The report kinds, and outcomes by the slot in which their device entered. */
#define KIND_ARRIVED REPORT_KINDS

struct series;
struct group;

struct series *series_new(void) CHECKED; /* NULL without memory */
void series_free(struct series *series); /* NULL is fine */
DEFINE_AUTO(struct series, series_free)

struct series_ref {
	const struct report *report;
	const struct report_entry *entry;
	unsigned kind; /* enum report_kind or KIND_ARRIVED */
};

/* Inside a ledger function.  *ret_group NULL: the catalog does not have one of the names.  It is
 * valid until series_forget(). */
int series_group(struct series *series, struct db *db, const struct series_ref *ref,
		 struct group **ret_group, struct err *err) CHECKED;
/* The id of a group's series, made if there is none; ref is what the group was found by. */
int series_id(struct series *series, struct db *db, const struct series_ref *ref,
	      struct group *group, unsigned slot, int64_t *ret_id, struct err *err) CHECKED;
/* Groups and ids of a transaction that was undone must not stay. */
void series_forget(struct series *series);

#endif
