/* intake.h -- reports from the listening loops to durable cells.
 * Reports are handed over with a callback; one ledger function merges all that wait: duplicates are
 * dropped by nonce (nonces.h), the rest is summed by cell (cells.h), and the transaction writes each
 * cell once and the new nonces as one row.  The callbacks run once it is durable.
 * Why every acknowledged report counts exactly once, whenever the process dies: its nonce and what
 * it adds are in one transaction.  Committed, a copy sent again finds the nonce; not committed, there is neither, and nobody was told 202.
 * Bounded: beyond max_queued reports, or max_nonces remembered ones, ERR_QUOTA before memory grows.
 * Threads: any thread posts; callbacks run on the ledger thread and must not wait for it. */
#ifndef TELEMETRY_INTAKE_H
#define TELEMETRY_INTAKE_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/ledger.h"
#include "telemetry/cells.h"
#include "telemetry/report.h"

struct intake;

enum intake_verdict {
	INTAKE_MERGED,	  /* counted */
	INTAKE_DUPLICATE, /* seen before: counted once, then */
	INTAKE_UNKNOWN,	  /* about a lane, class or variant that is not: dropped */
	INTAKE_VERDICTS
};

#define INTAKE_ITEM_MAX 1000 /* reports of one item */

/* Reports on their way, of which all or none become durable; the caller's, and what it points to,
 * until intake_post() succeeds, then the intake's until done. */
struct intake_item {
	const struct report *const *reports;
	unsigned count; /* 1..INTAKE_ITEM_MAX */
	/* err NULL: durable, with the verdicts; else nothing of them was kept. */
	void (*done)(struct intake_item *item, const struct err *err);
	void *arg;			    /* the caller's */
	unsigned verdicts[INTAKE_VERDICTS]; /* how many reports met which */
	struct intake_item *next;	    /* the intake's */
};

struct intake_options {
	struct ledger *ledger;	   /* borrowed */
	struct cells *cells;	   /* borrowed; used on the ledger thread only */
	const struct clock *clock; /* borrowed */
	unsigned max_queued;	   /* reports that wait */
	uint64_t max_nonces;	   /* that are remembered */
	const char *tmp;	   /* directory for files without names; copied */
};

/* Reads the nonces that still matter.  Not from the ledger's thread. */
int intake_new(struct intake **ret_intake, const struct intake_options *options,
	       struct err *err) CHECKED;
void intake_free(struct intake *intake); /* after the ledger has stopped; NULL is fine */
DEFINE_AUTO(struct intake, intake_free)

/* Queue item; 0: done will be called once. */
int intake_post(struct intake *intake, struct intake_item *item, struct err *err) CHECKED;

struct intake_stats {
	uint64_t verdicts[INTAKE_VERDICTS], failed, refused;
	uint64_t nonces; /* remembered now */
	unsigned queued;
};
void intake_stats(struct intake *intake, struct intake_stats *ret_stats);

#endif
