#include "telemetry/intake.h"

#include "telemetry/nonces.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 4000 /* reports merged in one ledger function, so that others get their turn */
/* A commit costs as much as a hundred reports: the first waits so long for so many to come. */
#define PATIENCE_US 2000
#define GATHERED 160
#define HOUR_S 3600
#define OPEN_PART 32 /* of max_nonces are open at the most: they are forgotten last */

/* What one ledger function took; the intake's only one, since the next is posted when it is done. */
struct batch {
	struct ledger_op op;
	struct intake_item *items;
	unsigned reports;
	/* Nonces that it added, and when the last of them may be forgotten. */
	uint8_t fresh[BATCH_MAX][REPORT_NONCE_LEN];
	unsigned fresh_count;
	int64_t expires;
};

struct intake {
	struct intake_options options;
	struct batch batch;    /* the ledger thread's, as all up to the lock; its op closes nonces too */
	struct nonces *nonces; /* but nonces_count() */

	pthread_mutex_t lock; /* guards all below */
	int64_t expired; /* the hour in which nonces were forgotten last */
	struct intake_item *first, **last;
	unsigned queued, waiting; /* reports, with and without the batch's */
	bool posted;	 /* the batch is in the ledger */
	bool hurried;	 /* and was told not to wait any more */
	struct intake_stats stats;
};

/* ---- start ---- */

static int load(struct db *db, void *arg, struct err *err)
{
	struct intake *intake = arg;
	return nonces_load(intake->nonces, db, err);
}

int intake_new(struct intake **ret_intake, const struct intake_options *options, struct err *err)
{
	AUTO(intake_free) struct intake *intake = calloc(1, sizeof(*intake));
	if (!intake)
		return err_nomem(err);
	pthread_mutex_init(&intake->lock, NULL);
	intake->options = *options;
	intake->last = &intake->first;
	if (nonces_new(&intake->nonces, options->tmp, options->max_nonces / OPEN_PART, err) ||
	    ledger_run(options->ledger, load, intake, err))
		return err_in(err, "nonces");
	*ret_intake = TAKE(intake);
	return 0;
}

void intake_free(struct intake *intake)
{
	if (!intake)
		return;
	nonces_free(intake->nonces);
	pthread_mutex_destroy(&intake->lock);
	free(intake);
}

/* ---- merging ---- */

static void take_waiting(struct intake *intake)
{
	struct batch *batch = &intake->batch;
	pthread_mutex_lock(&intake->lock);
	struct intake_item **end = &intake->first;
	while (*end && batch->reports + (*end)->count <= BATCH_MAX) {
		batch->reports += (*end)->count;
		end = &(*end)->next;
	}
	batch->items = end == &intake->first ? NULL : intake->first;
	intake->first = *end;
	*end = NULL;
	if (!intake->first)
		intake->last = &intake->first;
	intake->waiting -= batch->reports;
	intake->hurried = false;
	pthread_mutex_unlock(&intake->lock);
}

static int merge_report(struct intake *intake, struct db *db, const struct report *report,
			enum intake_verdict *ret_verdict, struct err *err)
{
	struct batch *batch = &intake->batch;
	const int64_t expires = report_nonce_expiry(report);
	bool known = false;
	const int added = nonces_add(intake->nonces, db, report->nonce, err);
	*ret_verdict = INTAKE_DUPLICATE;
	if (added <= 0)
		return added;
	memcpy(batch->fresh[batch->fresh_count++], report->nonce, REPORT_NONCE_LEN);
	if (expires > batch->expires)
		batch->expires = expires;
	if (cells_add(intake->options.cells, db, report, &known, err))
		return -1;
	*ret_verdict = known ? INTAKE_MERGED : INTAKE_UNKNOWN;
	return 0;
}

static int merge_item(struct intake *intake, struct db *db, struct intake_item *item,
		      struct err *err)
{
	memset(item->verdicts, 0, sizeof(item->verdicts));
	for (unsigned i = 0; i < item->count; i++) {
		enum intake_verdict verdict;
		if (merge_report(intake, db, item->reports[i], &verdict, err))
			return -1;
		item->verdicts[verdict]++;
	}
	return 0;
}

static int keep_nonces(struct intake *intake, struct db *db, struct err *err)
{
	const struct batch *batch = &intake->batch;
	return batch->fresh_count ? nonces_keep(intake->nonces, db, batch->fresh[0],
						batch->fresh_count, batch->expires, err)
				  : 0;
}

static void expire(struct intake *intake)
{
	const int64_t now = clock_s(intake->options.clock);
	pthread_mutex_lock(&intake->lock);
	const bool due = now / HOUR_S != intake->expired;
	intake->expired = now / HOUR_S;
	pthread_mutex_unlock(&intake->lock);
	if (due)
		nonces_expire(intake->nonces, now);
}

/* On the ledger thread: everything that waits, in one savepoint. */
static int merge_batch(struct db *db, void *arg, struct err *err)
{
	struct intake *intake = arg;
	take_waiting(intake);
	expire(intake);
	for (struct intake_item *item = intake->batch.items; item; item = item->next)
		if (merge_item(intake, db, item, err))
			return -1;
	return keep_nonces(intake, db, err) || cells_flush(intake->options.cells, db, err) ? -1 : 0;
}

/* ---- telling ---- */

/* What the transaction did not keep must not stay in memory either. */
static void undo(struct intake *intake)
{
	const struct batch *batch = &intake->batch;
	for (unsigned i = 0; i < batch->fresh_count; i++)
		nonces_remove(intake->nonces, batch->fresh[i]);
	cells_undo(intake->options.cells);
}

static void count_items(struct intake *intake, const struct intake_item *items, bool ok)
{
	pthread_mutex_lock(&intake->lock);
	for (const struct intake_item *item = items; item; item = item->next) {
		for (unsigned v = 0; ok && v < INTAKE_VERDICTS; v++)
			intake->stats.verdicts[v] += item->verdicts[v];
		intake->stats.failed += ok ? 0 : item->count;
		intake->queued -= item->count;
	}
	pthread_mutex_unlock(&intake->lock);
}

static void tell_items(struct intake_item *item, const struct err *err)
{
	while (item) {
		struct intake_item *next = item->next; /* done may free the item */
		item->done(item, err);
		item = next;
	}
}

static int post_batch(struct intake *intake, struct err *err);

/* Nobody who waits may be forgotten: when no further batch can be queued, they are told so. */
static void post_or_fail_rest(struct intake *intake)
{
	struct err err;
	pthread_mutex_lock(&intake->lock);
	intake->posted = intake->first != NULL;
	const bool more = intake->posted;
	pthread_mutex_unlock(&intake->lock);
	if (!more || !post_batch(intake, &err))
		return;
	pthread_mutex_lock(&intake->lock);
	struct intake_item *items = TAKE(intake->first);
	intake->last = &intake->first;
	intake->waiting = 0;
	intake->posted = false;
	pthread_mutex_unlock(&intake->lock);
	count_items(intake, items, false);
	tell_items(items, &err);
}

/* ---- closing: between two batches ---- */

static int close_nonces(struct db *db, void *arg, struct err *err)
{
	struct intake *intake = arg;
	return nonces_close(intake->nonces, db, err);
}

static void closing_done(void *arg, const struct err *err)
{
	struct intake *intake = arg;
	nonces_closed(intake->nonces, !err);
	post_or_fail_rest(intake);
}

/* -1: the ledger takes no more, so it is tried again after the next batch. */
static int post_closing(struct intake *intake)
{
	struct err err;
	intake->batch.op =
		(struct ledger_op){.fn = close_nonces, .done = closing_done, .arg = intake};
	return ledger_post(intake->options.ledger, &intake->batch.op, &err);
}

static void batch_done(void *arg, const struct err *err)
{
	struct intake *intake = arg;
	struct batch *batch = &intake->batch;
	if (err && !batch->items)
		take_waiting(intake); /* the transaction could not even begin */
	struct intake_item *items = TAKE(batch->items);
	if (err)
		undo(intake);
	batch->reports = batch->fresh_count = 0;
	batch->expires = 0;
	count_items(intake, items, !err);
	tell_items(items, err);
	if (!nonces_full(intake->nonces) || post_closing(intake))
		post_or_fail_rest(intake);
}

/* Those who came while the batch before was under way need not wait if they are many. */
static int post_batch(struct intake *intake, struct err *err)
{
	pthread_mutex_lock(&intake->lock);
	const bool many = intake->waiting >= GATHERED;
	pthread_mutex_unlock(&intake->lock);
	intake->batch.op = (struct ledger_op){.fn = merge_batch, .done = batch_done, .arg = intake,
					       .patience_us = many ? 0 : PATIENCE_US};
	return ledger_post(intake->options.ledger, &intake->batch.op, err);
}

/* ---- from outside ---- */

static int refuse(struct intake *intake, const struct intake_item *item, struct err *err)
{
	if (intake->queued + item->count > intake->options.max_queued)
		err_set(err, ERR_QUOTA, "%u reports are waiting to be stored; send it again later",
			intake->queued);
	else if (nonces_count(intake->nonces) + intake->queued + item->count >
		 intake->options.max_nonces)
		err_set(err, ERR_QUOTA,
			"as many reports as can be told apart came within six days; send it again"
			" later");
	else
		return 0;
	intake->stats.refused += item->count;
	return -1;
}

/* Queue the item; *ret_first: the ledger must be asked; *ret_enough: it need not wait.  When all are
 * refused nothing comes to the ledger by itself: once an hour it is asked to forget what is too old. */
static int enqueue(struct intake *intake, struct intake_item *item, bool *ret_first,
		   bool *ret_enough, struct err *err)
{
	item->next = NULL;
	pthread_mutex_lock(&intake->lock);
	const int bad = refuse(intake, item, err);
	*ret_first = !intake->posted &&
		     (!bad || clock_s(intake->options.clock) / HOUR_S != intake->expired);
	intake->posted |= *ret_first;
	if (!bad) {
		*intake->last = item;
		intake->last = &item->next;
		intake->queued += item->count;
		intake->waiting += item->count;
		*ret_enough = intake->waiting >= GATHERED && !intake->hurried;
		intake->hurried |= *ret_enough;
	}
	pthread_mutex_unlock(&intake->lock);
	return bad;
}

int intake_post(struct intake *intake, struct intake_item *item, struct err *err)
{
	bool first, enough = false;
	struct err ignored; /* who waits is told by post_or_fail_rest() */
	const int bad = enqueue(intake, item, &first, &enough, err);
	if (first && post_batch(intake, &ignored))
		post_or_fail_rest(intake);
	if (enough)
		ledger_hurry(intake->options.ledger);
	return bad;
}

void intake_stats(struct intake *intake, struct intake_stats *ret_stats)
{
	pthread_mutex_lock(&intake->lock);
	*ret_stats = intake->stats;
	ret_stats->queued = intake->queued;
	pthread_mutex_unlock(&intake->lock);
	ret_stats->nonces = nonces_count(intake->nonces);
}
