#include "telemetry/intake.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define BATCH_MAX 2000 /* reports merged in one ledger function, so that others get their turn */

enum { Q_NONCE_PUT, Q_NONCE_EXPIRE, Q_COUNT };
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_NONCE_PUT] =
		"INSERT INTO nonces (expires, nonce) VALUES ($expires, $nonce)"
		" ON CONFLICT DO NOTHING",
	[Q_NONCE_EXPIRE] =
		"DELETE FROM nonces WHERE (expires, nonce) IN"
		" (SELECT expires, nonce FROM nonces WHERE expires < $now LIMIT $limit)",
};
/* clang-format on */
const struct sql_set intake_sql = {"intake", sql, Q_COUNT};

struct intake {
	struct ledger *ledger;
	struct cells *cells; /* the ledger thread's */
	unsigned max_queued;

	pthread_mutex_t lock; /* guards first, last, queued, posted, stats */
	struct intake_item *first, **last;
	unsigned queued; /* waiting or in a batch */
	bool posted;	 /* an op that will take what waits is in the ledger */
	struct intake_stats stats;
};

/* What one ledger function took. */
struct batch {
	struct ledger_op op;
	struct intake *intake;
	struct intake_item *items;
	unsigned count;
};

int intake_new(struct intake **ret_intake, struct ledger *ledger, struct cells *cells,
	       unsigned max_queued, struct err *err)
{
	struct intake *intake = calloc(1, sizeof(*intake));
	if (!intake)
		return err_nomem(err);
	intake->ledger = ledger;
	intake->cells = cells;
	intake->max_queued = max_queued;
	intake->last = &intake->first;
	pthread_mutex_init(&intake->lock, NULL);
	*ret_intake = intake;
	return 0;
}

void intake_free(struct intake *intake)
{
	if (!intake)
		return;
	pthread_mutex_destroy(&intake->lock);
	free(intake);
}

static void take_waiting(struct batch *batch)
{
	struct intake *intake = batch->intake;
	pthread_mutex_lock(&intake->lock);
	struct intake_item **end = &intake->first;
	while (*end && batch->count < BATCH_MAX) {
		end = &(*end)->next;
		batch->count++;
	}
	batch->items = batch->count ? intake->first : NULL;
	intake->first = *end;
	*end = NULL;
	if (!intake->first)
		intake->last = &intake->first;
	pthread_mutex_unlock(&intake->lock);
}

static int nonce_fresh(struct db *db, const struct report *report, bool *ret_fresh,
		       struct err *err)
{
	int64_t changed;
	STMT(q, db, &intake_sql, Q_NONCE_PUT);
	stmt_int(q, "$expires", report_nonce_expiry(report));
	stmt_blob(q, "$nonce", report->nonce, sizeof(report->nonce));
	if (stmt_changes(q, &changed, err))
		return -1;
	*ret_fresh = changed == 1;
	return 0;
}

static int merge_item(struct intake *intake, struct db *db, struct intake_item *item,
		      struct err *err)
{
	bool fresh, known = false;
	item->verdict = INTAKE_DUPLICATE;
	if (nonce_fresh(db, item->report, &fresh, err))
		return -1;
	if (!fresh)
		return 0;
	if (cells_add(intake->cells, db, item->report, &known, err))
		return -1;
	item->verdict = known ? INTAKE_MERGED : INTAKE_UNKNOWN;
	return 0;
}

/* On the ledger thread: everything that waits, in one savepoint. */
static int merge_batch(struct db *db, void *arg, struct err *err)
{
	struct batch *batch = arg;
	struct intake *intake = batch->intake;
	take_waiting(batch);
	for (struct intake_item *item = batch->items; item; item = item->next)
		if (merge_item(intake, db, item, err)) {
			cells_undo(intake->cells);
			return -1;
		}
	if (cells_flush(intake->cells, db, err)) {
		cells_undo(intake->cells);
		return -1;
	}
	return 0;
}

static void count_verdicts(struct batch *batch, bool ok)
{
	struct intake_stats *stats = &batch->intake->stats;
	for (const struct intake_item *item = batch->items; item; item = item->next) {
		stats->merged += ok && item->verdict == INTAKE_MERGED;
		stats->duplicate += ok && item->verdict == INTAKE_DUPLICATE;
		stats->unknown += ok && item->verdict == INTAKE_UNKNOWN;
		stats->failed += !ok;
	}
	batch->intake->queued -= batch->count;
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
	struct intake_item *item = intake->first;
	intake->first = NULL;
	intake->last = &intake->first;
	intake->posted = false;
	for (const struct intake_item *i = item; i; i = i->next) {
		intake->queued--;
		intake->stats.failed++;
	}
	pthread_mutex_unlock(&intake->lock);
	while (item) {
		struct intake_item *next = item->next;
		item->done(item, INTAKE_UNKNOWN, &err);
		item = next;
	}
}

static void batch_done(void *arg, const struct err *err)
{
	struct batch *batch = arg;
	struct intake *intake = batch->intake;
	if (err)
		cells_undo(intake->cells);
	pthread_mutex_lock(&intake->lock);
	count_verdicts(batch, !err);
	pthread_mutex_unlock(&intake->lock);
	for (struct intake_item *item = batch->items, *next; item; item = next) {
		next = item->next; /* done may free the item */
		item->done(item, item->verdict, err);
	}
	free(batch);
	post_or_fail_rest(intake);
}

static int post_batch(struct intake *intake, struct err *err)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	if (!batch)
		return err_nomem(err);
	batch->intake = intake;
	batch->op = (struct ledger_op){.fn = merge_batch, .done = batch_done, .arg = batch};
	if (ledger_post(intake->ledger, &batch->op, err)) {
		free(batch);
		return -1;
	}
	return 0;
}

/* Queue the item; *ret_first: nobody has asked the ledger yet. */
static int enqueue(struct intake *intake, struct intake_item *item, bool *ret_first,
		   struct err *err)
{
	int bad = 0;
	item->next = NULL;
	pthread_mutex_lock(&intake->lock);
	if (intake->queued >= intake->max_queued) {
		intake->stats.refused++;
		bad = err_set(err, ERR_BUSY, "%u reports are waiting to be stored; send it again later",
			      intake->queued);
	} else {
		*ret_first = !intake->posted;
		intake->posted = true;
		*intake->last = item;
		intake->last = &item->next;
		intake->queued++;
	}
	pthread_mutex_unlock(&intake->lock);
	return bad;
}

int intake_post(struct intake *intake, struct intake_item *item, struct err *err)
{
	bool first;
	if (enqueue(intake, item, &first, err))
		return -1;
	if (first && post_batch(intake, err))
		post_or_fail_rest(intake);
	return 0;
}

void intake_stats(struct intake *intake, struct intake_stats *ret_stats)
{
	pthread_mutex_lock(&intake->lock);
	*ret_stats = intake->stats;
	ret_stats->queued = intake->queued;
	pthread_mutex_unlock(&intake->lock);
}

int intake_expire(struct db *db, int64_t now, int64_t limit, struct err *err)
{
	int64_t gone;
	STMT(q, db, &intake_sql, Q_NONCE_EXPIRE);
	stmt_int(q, "$now", now);
	stmt_int(q, "$limit", limit);
	return stmt_changes(q, &gone, err);
}
