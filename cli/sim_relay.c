#include "cli/sim_relay.h"

#include "base/buf.h"
#include "base/clock.h"
#include "cli/api.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#define BATCH 1000	     /* reports that the daemon takes at once */
#define BATCH_BYTES (8 << 20)
#define BATCHES 64	     /* that may wait */
#define EVERY_MS 50
#define PATIENCE_S 30

struct batch {
	struct buf lines;
	unsigned count;
};

struct relay {
	struct api *api; /* the thread's */
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	struct batch batches[BATCHES]; /* a ring; that at first is the oldest, the newest grows */
	unsigned first, used;
	bool stopping;
	uint64_t refused, lost;
};

/* ---- taking ---- */

static struct batch *open_batch(struct relay *r, size_t len)
{
	struct batch *last = &r->batches[(r->first + r->used + BATCHES - 1) % BATCHES];
	if (r->used && last->count < BATCH && last->lines.len + len < BATCH_BYTES)
		return last;
	if (r->used == BATCHES)
		return NULL;
	last = &r->batches[(r->first + r->used++) % BATCHES];
	buf_init(&last->lines, BATCH_BYTES);
	last->count = 0;
	return last;
}

bool relay_take(struct relay *r, const void *report, size_t len)
{
	pthread_mutex_lock(&r->lock);
	struct batch *batch = open_batch(r, len + 1);
	if (batch) {
		buf_add(&batch->lines, report, len);
		buf_add(&batch->lines, "\n", 1);
		batch->count++;
	}
	const bool taken = batch && !batch->lines.failed;
	pthread_mutex_unlock(&r->lock);
	return taken;
}

/* ---- passing on ---- */

static bool take_oldest(struct relay *r, struct batch *ret_batch)
{
	pthread_mutex_lock(&r->lock);
	const bool any = r->used > 0;
	if (any) {
		*ret_batch = r->batches[r->first];
		r->first = (r->first + 1) % BATCHES;
		r->used--;
	}
	pthread_mutex_unlock(&r->lock);
	return any;
}

static int send_bytes(struct relay *r, const void *bytes, size_t len, json_t **ret_reply,
		      struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {.method = "POST", .path = "/v1/telemetry/batch", .bytes = bytes,
				      .len = len, .headers = {"Content-Encoding: zstd"},
				      .patience_s = PATIENCE_S};
	if (api_call(r->api, &q, &reply, err))
		return -1;
	*ret_reply = json_loadb(reply.body.data, reply.body.len, 0, NULL);
	api_reply_done(&reply);
	return *ret_reply ? 0 : err_set(err, ERR_CORRUPT, "the relay's answer is no JSON");
}

static int send_batch(struct relay *r, const struct batch *batch, json_t **ret_reply,
		      struct err *err)
{
	const size_t room = ZSTD_compressBound(batch->lines.len);
	void *bytes = malloc(room);
	if (!bytes)
		return err_nomem(err);
	const size_t len = ZSTD_compress(bytes, room, batch->lines.data, batch->lines.len, 1);
	const int bad = ZSTD_isError(len) ? err_set(err, ERR_SYSTEM, "cannot compress reports")
					  : send_bytes(r, bytes, len, ret_reply, err);
	free(bytes);
	return bad;
}

static void pass_on(struct relay *r, struct batch *batch)
{
	struct err err;
	json_auto_t *reply = NULL;
	const int bad = send_batch(r, batch, &reply, &err);
	pthread_mutex_lock(&r->lock);
	r->lost += bad ? batch->count : 0;
	r->refused += (uint64_t)json_integer_value(json_object_get(reply, "refused"));
	pthread_mutex_unlock(&r->lock);
	buf_done(&batch->lines);
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	bool go_on = true;
	while (go_on) {
		struct batch batch;
		clock_sleep_ms(EVERY_MS);
		pthread_mutex_lock(&r->lock);
		go_on = !r->stopping;
		pthread_mutex_unlock(&r->lock);
		while (take_oldest(r, &batch))
			pass_on(r, &batch);
	}
	return NULL;
}

/* ---- opening and closing ---- */

int relay_open(struct relay **ret_relay, const char *url, const char *token_file, struct err *err)
{
	struct relay *r = calloc(1, sizeof(*r));
	const struct api_options options = {
		.server = url, .token_file = token_file, .timeout_s = 30};
	if (!r)
		return err_nomem(err);
	pthread_mutex_init(&r->lock, NULL);
	if (api_open(&r->api, &options, err) ||
	    (pthread_create(&r->thread, NULL, relay_main, r) &&
	     err_set(err, ERR_SYSTEM, "cannot start the relay's thread"))) {
		api_close(r->api);
		pthread_mutex_destroy(&r->lock);
		free(r);
		return -1;
	}
	*ret_relay = r;
	return 0;
}

void relay_close(struct relay *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	api_close(r->api);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void relay_figures(struct relay *r, uint64_t *ret_refused, uint64_t *ret_lost)
{
	pthread_mutex_lock(&r->lock);
	*ret_refused = r->refused;
	*ret_lost = r->lost;
	pthread_mutex_unlock(&r->lock);
}
