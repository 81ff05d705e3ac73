/* Reports that a relay gathered: one a line (NDJSON), at most RELAY_REPORTS, compressed with zstd or not.
 * The answer comes when all of them are durable; a line that cannot be read is named and stops no
 * other.  Runs on a worker, which waits for the ledger: many reports, one commit. */
#include "base/buf.h"
#include "base/file.h"
#include "server/api.h"
#include "server/app.h"
#include "telemetry/intake.h"
#include "telemetry/report.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zstd.h>

#define RELAY_REPORTS 1000
#define DECODED_MAX ((size_t)RELAY_REPORTS * REPORT_MAX_BYTES)
#define WINDOW_LOG_MAX 24 /* memory that a frame may ask for: 16 MiB */
#define NAMED 20	  /* refused lines that the answer names */

/* One relayed body; left is what the ledger still has. */
struct batch {
	struct request *rq;
	pthread_mutex_t lock;
	pthread_cond_t none_left;
	unsigned left;
	struct intake_item items[RELAY_REPORTS];
	unsigned count, line;
	int64_t verdicts[3]; /* by enum intake_verdict */
	bool failed;
	struct err why; /* when failed */
	json_t *refused;
	unsigned refused_count;
};

static void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	pthread_mutex_destroy(&batch->lock);
	pthread_cond_destroy(&batch->none_left);
	json_decref(batch->refused);
	free(batch);
}
DEFINE_AUTO(struct batch, batch_free)

static struct batch *batch_new(struct request *rq)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->rq = rq;
	batch->refused = json_array();
	pthread_mutex_init(&batch->lock, NULL);
	pthread_cond_init(&batch->none_left, NULL);
	return batch;
}

/* ---- The body. ---- */

static int frames_decode(const struct buf *in, struct buf *out, ZSTD_DStream *stream,
			 struct err *err)
{
	ZSTD_inBuffer from = {in->data, in->len, 0};
	size_t left = 1;

	while (from.pos < from.size) {
		const size_t step = ZSTD_DStreamOutSize();
		void *room = buf_grow(out, step);

		if (!room)
			return buf_ok(out, "decoded", err);
		ZSTD_outBuffer to = {room, step, 0};
		left = ZSTD_decompressStream(stream, &to, &from);
		if (ZSTD_isError(left))
			return err_set(err, ERR_INVALID, "body: not zstd: %s",
				       ZSTD_getErrorName(left));
		buf_grown(out, to.pos);
	}
	return left ? err_set(err, ERR_INVALID, "body: the zstd frame is cut short") : 0;
}

static int body_decode(const struct buf *in, struct buf *out, struct err *err)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	int result;

	if (!stream)
		return err_nomem(err);
	ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	result = frames_decode(in, out, stream, err);
	ZSTD_freeDStream(stream);
	return result;
}

static int body_read(struct request *rq, struct buf *out, struct err *err)
{
	const char *encoding = request_header(rq, "Content-Encoding");
	AUTO_BUF struct buf in = BUF_INIT(DECODED_MAX);
	void *room = buf_grow(&in, (size_t)rq->body_len);

	if (!room)
		return buf_ok(&in, "body", err);
	if (file_pread_all(rq->body_fd, room, (size_t)rq->body_len, 0, err) < 0)
		return -1;
	buf_grown(&in, (size_t)rq->body_len);
	if (!encoding || strcasecmp(encoding, "identity") == 0) {
		buf_add(out, in.data, in.len);
		return buf_ok(out, "body", err);
	}
	if (strcasecmp(encoding, "zstd") != 0)
		return err_set(err, ERR_INVALID,
			       "Content-Encoding: %s is not understood; send zstd or nothing", encoding);
	return body_decode(&in, out, err);
}

/* ---- Its lines. ---- */

static void item_done(struct intake_item *item, enum intake_verdict verdict,
		      const struct err *err)
{
	struct batch *batch = item->arg;

	arena_free(item->arena);
	pthread_mutex_lock(&batch->lock);
	if (err) {
		batch->failed = true;
		batch->why = *err;
	} else {
		batch->verdicts[verdict]++;
	}
	if (--batch->left == 0)
		pthread_cond_signal(&batch->none_left);
	pthread_mutex_unlock(&batch->lock);
}

static void line_refused(struct batch *batch, const struct err *why)
{
	if (batch->refused_count++ < NAMED)
		json_array_append_new(batch->refused,
				      json_pack("{s:I, s:s}", "line", (json_int_t)batch->line,
						"detail", why->text));
}

/* Read one report and hand it over; -1 only for what concerns the whole. */
static int line_take(struct batch *batch, const char *bytes, size_t len, struct err *err)
{
	struct request *rq = batch->rq;
	struct intake_item *item = &batch->items[batch->count];
	struct report *report;
	struct err why;
	AUTO(arena_free) struct arena *arena = arena_new(REPORT_ARENA_BYTES);

	if (!arena)
		return err_nomem(err);
	if (report_parse(bytes, len, clock_s(&rq->app->clock), arena, &report, &why) < 0) {
		if (why.status == ERR_SYSTEM)
			*err = why;
		else
			line_refused(batch, &why);
		return why.status == ERR_SYSTEM ? -1 : 0;
	}
	*item = (struct intake_item){.report = report, .arena = arena, .done = item_done,
				     .arg = batch};
	pthread_mutex_lock(&batch->lock);
	batch->left++;
	pthread_mutex_unlock(&batch->lock);
	if (intake_post(rq->app->intake, item, err) < 0) {
		pthread_mutex_lock(&batch->lock);
		batch->left--;
		pthread_mutex_unlock(&batch->lock);
		return -1;
	}
	batch->count++;
	TAKE(arena);
	return 0;
}

static int lines_take(struct batch *batch, const struct buf *body, struct err *err)
{
	const char *at = body->data, *end = at + body->len;

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		const size_t len = (size_t)((stop ? stop : end) - at);

		batch->line++;
		if (batch->line > RELAY_REPORTS)
			return err_set(err, ERR_TOO_LARGE, "body: at most %d reports, one a line",
				       RELAY_REPORTS);
		if (len && line_take(batch, at, len, err) < 0)
			return -1;
		at += len + 1;
	}
	return 0;
}

static void wait_durable(struct batch *batch)
{
	pthread_mutex_lock(&batch->lock);
	while (batch->left)
		pthread_cond_wait(&batch->none_left, &batch->lock);
	pthread_mutex_unlock(&batch->lock);
}

int api_relay_post(struct request *rq, struct reply *reply, struct err *err)
{
	AUTO(batch_free) struct batch *batch = batch_new(rq);
	AUTO_BUF struct buf body = BUF_INIT(DECODED_MAX);
	int result;

	if (!batch)
		return err_nomem(err);
	if (atomic_load_explicit(&rq->app->disk_low, memory_order_relaxed))
		return err_set(err, ERR_FULL, "the server's disk is full; keep the reports");
	if (body_read(rq, &body, err) < 0)
		return -1;
	if (!body.len)
		return err_set(err, ERR_INVALID, "body: empty; send reports, one a line");
	result = lines_take(batch, &body, err);
	wait_durable(batch); /* also when the rest could not be taken: the items are here */
	if (result < 0)
		return -1; /* sent again, what was taken is known by its nonces */
	if (batch->failed) {
		*err = batch->why;
		return -1;
	}
	return reply_json(reply, 202,
			  json_pack("{s:I, s:I, s:I, s:I, s:O}", "merged",
				    (json_int_t)batch->verdicts[INTAKE_MERGED], "duplicate",
				    (json_int_t)batch->verdicts[INTAKE_DUPLICATE], "unknown",
				    (json_int_t)batch->verdicts[INTAKE_UNKNOWN], "refused",
				    (json_int_t)batch->refused_count, "lines", batch->refused),
			  err);
}
