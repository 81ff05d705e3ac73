/* Reports that a relay gathered: one a line (NDJSON), at most INTAKE_ITEM_MAX, compressed or not.
 * The answer comes when all of them are durable, in one commit; a line that cannot be read is named
 * and stops no other.  Runs on a worker, which waits for the ledger. */
#include "base/buf.h"
#include "base/file.h"
#include "server/api.h"
#include "server/app.h"
#include "server/decode.h"
#include "server/quota.h"
#include "telemetry/intake.h"
#include "telemetry/report.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_MAX ((size_t)INTAKE_ITEM_MAX * REPORT_MAX_BYTES)
#define ARENA_MAX ((size_t)INTAKE_ITEM_MAX * (sizeof(struct report) + 16))
#define NAMED 20 /* refused lines that the answer names */

/* One relayed body. */
struct batch {
	struct request *rq;
	struct arena *arena; /* of the reports; their texts are in the body */
	struct intake_item item;
	const struct report *reports[INTAKE_ITEM_MAX];
	unsigned line;
	json_t *refused;
	unsigned refused_count;

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t told;
	bool over, failed;
	struct err why; /* when failed */
};

static void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	pthread_mutex_destroy(&batch->lock);
	pthread_cond_destroy(&batch->told);
	json_decref(batch->refused);
	arena_free(batch->arena);
	free(batch);
}
DEFINE_AUTO(struct batch, batch_free)

static struct batch *batch_new(struct request *rq)
{
	AUTO(batch_free) struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	pthread_mutex_init(&batch->lock, NULL);
	pthread_cond_init(&batch->told, NULL);
	batch->rq = rq;
	batch->refused = json_array();
	batch->arena = arena_new(ARENA_MAX);
	return batch->refused && batch->arena ? TAKE(batch) : NULL;
}

/* ---- The body. ---- */

static int body_read(struct request *rq, struct buf *out, struct err *err)
{
	AUTO_BUF struct buf in = BUF_INIT(DECODED_MAX);
	void *room = buf_grow(&in, (size_t)rq->body_len);

	if (!room)
		return buf_ok(&in, "body", err);
	if (file_pread_all(rq->body_fd, room, (size_t)rq->body_len, 0, err) < 0)
		return -1;
	buf_grown(&in, (size_t)rq->body_len);
	return decode_body(request_header(rq, "Content-Encoding"), in.data, in.len, out, err);
}

static void line_refused(struct batch *batch, const struct err *why)
{
	if (batch->refused_count++ < NAMED)
		json_array_append_new(batch->refused,
				      json_pack("{s:I, s:s}", "line", (json_int_t)batch->line,
						"detail", why->text));
}

/* Read one report; -1 only for what concerns the whole. */
static int line_take(struct batch *batch, char *bytes, size_t len, struct err *err)
{
	UNINITIALIZED struct report report;
	struct report *copy;
	struct err why;

	if (report_read(bytes, len, clock_s(&batch->rq->app->clock), &report, &why) < 0) {
		line_refused(batch, &why);
		return 0;
	}
	copy = arena_alloc(batch->arena, report_size(&report));
	if (!copy)
		return err_nomem(err);
	memcpy(copy, &report, report_size(&report));
	batch->reports[batch->item.count++] = copy;
	return 0;
}

static int lines_take(struct batch *batch, const struct buf *body, struct err *err)
{
	char *at = body->data, *end = at + body->len;

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		const size_t len = (size_t)((stop ? stop : end) - at);

		batch->line++;
		if (batch->line > INTAKE_ITEM_MAX)
			return err_set(err, ERR_TOO_LARGE, "body: at most %d reports, one a line",
				       INTAKE_ITEM_MAX);
		if (len && line_take(batch, at, len, err) < 0)
			return -1;
		at += len + 1;
	}
	return 0;
}

/* ---- The answer. ---- */

static int relay_allowed(const struct batch *batch, struct err *err)
{
	const struct request *rq = batch->rq;

	if (quota_take(rq->app->relays, rq->who.id, strlen(rq->who.id), batch->item.count,
		       clock_monotonic_ms()))
		return 0;
	return err_set(err, ERR_QUOTA, "too many reports come with this token; try again later");
}

static void item_done(struct intake_item *item, const struct err *err)
{
	struct batch *batch = item->arg;

	pthread_mutex_lock(&batch->lock);
	batch->over = true;
	batch->failed = err != NULL;
	if (err)
		batch->why = *err;
	pthread_cond_signal(&batch->told);
	pthread_mutex_unlock(&batch->lock);
}

static int store(struct batch *batch, struct err *err)
{
	if (!batch->item.count)
		return 0;
	batch->item.reports = batch->reports;
	batch->item.done = item_done;
	batch->item.arg = batch;
	if (intake_post(batch->rq->app->intake, &batch->item, err) < 0)
		return -1;
	pthread_mutex_lock(&batch->lock);
	while (!batch->over)
		pthread_cond_wait(&batch->told, &batch->lock);
	pthread_mutex_unlock(&batch->lock);
	if (!batch->failed)
		return 0;
	*err = batch->why;
	return -1;
}

static json_t *answer(const struct batch *batch)
{
	const unsigned *verdicts = batch->item.verdicts;

	return json_pack("{s:I, s:I, s:I, s:I, s:O}", "merged",
			 (json_int_t)verdicts[INTAKE_MERGED], "duplicate",
			 (json_int_t)verdicts[INTAKE_DUPLICATE], "unknown",
			 (json_int_t)verdicts[INTAKE_UNKNOWN], "refused",
			 (json_int_t)batch->refused_count, "lines", batch->refused);
}

int api_relay_post(struct request *rq, struct reply *reply, struct err *err)
{
	AUTO_BUF struct buf body = BUF_INIT(DECODED_MAX);
	AUTO(batch_free) struct batch *batch = batch_new(rq);

	if (!batch)
		return err_nomem(err);
	if (atomic_load_explicit(&rq->app->disk_low, memory_order_relaxed))
		return err_set(err, ERR_FULL, "the server's disk is full; keep the reports");
	if (body_read(rq, &body, err) < 0)
		return -1;
	if (!body.len)
		return err_set(err, ERR_INVALID, "body: empty; send reports, one a line");
	if (lines_take(batch, &body, err) < 0 || relay_allowed(batch, err) < 0 ||
	    store(batch, err) < 0)
		return -1;
	return reply_json(reply, 202, answer(batch), err);
}
