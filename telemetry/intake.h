/* intake.h -- reports from the listening loops to durable cells.
 * A report is handed over with a callback; one ledger function merges all that wait, drops
 * duplicates by nonce, and the callback runs once the commit is durable.  Bounded: beyond
 * max_queued, ERR_BUSY before memory grows.
 * Threads: any thread posts; callbacks run on the ledger thread and must not wait for it. */
#ifndef TELEMETRY_INTAKE_H
#define TELEMETRY_INTAKE_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/ledger.h"
#include "telemetry/cells.h"
#include "telemetry/report.h"

extern const struct sql_set intake_sql;

struct intake;

enum intake_verdict {
	INTAKE_MERGED,	  /* counted */
	INTAKE_DUPLICATE, /* seen before: counted once, then */
	INTAKE_UNKNOWN	  /* about a lane, class or variant that is not: dropped */
};

/* A report on its way; the caller's until intake_post() succeeds, then the intake's until done. */
struct intake_item {
	struct report *report; /* borrowed from arena */
	struct arena *arena;   /* owned by the item's owner */
	/* err NULL: durable, with the verdict; else nothing of it was kept. */
	void (*done)(struct intake_item *item, enum intake_verdict verdict,
		     const struct err *err);
	void *arg;		   /* the caller's */
	struct intake_item *next;  /* the intake's */
	enum intake_verdict verdict; /* the intake's */
};

/* cells is borrowed and used on the ledger thread only. */
int intake_new(struct intake **ret_intake, struct ledger *ledger, struct cells *cells,
	       unsigned max_queued, struct err *err) CHECKED;
void intake_free(struct intake *intake); /* after the ledger has stopped; NULL is fine */
DEFINE_AUTO(struct intake, intake_free)

/* Queue item; 0: done will be called once. */
int intake_post(struct intake *intake, struct intake_item *item, struct err *err) CHECKED;

struct intake_stats {
	uint64_t merged, duplicate, unknown, failed, refused;
	unsigned queued;
};
void intake_stats(struct intake *intake, struct intake_stats *ret_stats);

/* Inside a ledger function: forget nonces that expired before now, at most limit. */
int intake_expire(struct db *db, int64_t now, int64_t limit, struct err *err) CHECKED;

#endif
