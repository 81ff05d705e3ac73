/* Documents from the published snapshot, and telemetry: the rows that run on the loops. */
#include "base/clock.h"
#include "manifest/publish.h"
#include "server/api.h"
#include "server/app.h"
#include "server/conditional.h"
#include "server/device.h"
#include "server/exchange.h"
#include "server/quota.h"
#include "telemetry/intake.h"
#include "telemetry/report.h"

#include <sodium.h>
#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FOREVER "public, max-age=31536000, immutable"
#define A_MINUTE "public, max-age=60"

/* ---- Ready answers. ---- */

/* A document's two answers, made before it is published and shared by all loops. */
struct ready {
	struct MHD_Response *whole, *not_modified;
};

static void ready_free(void *arg)
{
	struct ready *ready = arg;

	if (ready->whole)
		MHD_destroy_response(ready->whole);
	if (ready->not_modified)
		MHD_destroy_response(ready->not_modified);
	free(ready);
}

static struct MHD_Response *response_new(const void *bytes, size_t len, const char *type,
					 const char *etag, const char *cache)
{
	void *body = __extension__(void *)(uintptr_t)bytes;
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, body, MHD_RESPMEM_PERSISTENT);

	if (!response)
		return NULL;
	if (type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (etag)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, etag);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, cache);
	return response;
}

static const char *cache_of(const struct doc *doc)
{
	return doc->cache == DOC_IMMUTABLE ? FOREVER : A_MINUTE;
}

void device_doc_ready(void *arg, struct doc *doc)
{
	struct ready *ready = calloc(1, sizeof(*ready));

	(void)arg;
	if (!ready)
		return;
	ready->whole = response_new(doc->bytes, doc->len, "application/json", doc->etag,
				    cache_of(doc));
	/* The library writes a Content-Length into every 304.  A zero is what all clients and caches
	 * we know of ignore; the true length makes some of them wait for a body. */
	ready->not_modified = response_new("", 0, NULL, doc->etag, cache_of(doc));
	if (!ready->whole || !ready->not_modified) {
		ready_free(ready);
		return;
	}
	doc->reply = ready;
	doc->reply_free = ready_free;
}

/* Answers that are the same for everyone. */
struct device_replies {
	struct MHD_Response *missing, *withheld, *accepted;
};

static const char missing_text[] =
	"{\"type\":\"https://flotilla.dev/problems/not-found\",\"title\":\"Not found\","
	"\"status\":404,\"detail\":\"there is no such document\"}";

static const char withheld_text[] =
	"{\"type\":\"https://flotilla.dev/problems/busy\",\"title\":\"Busy\",\"status\":503,"
	"\"detail\":\"nothing is served until an operator has looked at the restored database\"}";

struct device_replies *device_replies_new(void)
{
	struct device_replies *replies = calloc(1, sizeof(*replies));

	if (!replies)
		return NULL;
	replies->missing = response_new(missing_text, sizeof(missing_text) - 1,
					"application/problem+json", NULL, A_MINUTE);
	replies->accepted = response_new("", 0, NULL, NULL, "no-store");
	replies->withheld = response_new(withheld_text, sizeof(withheld_text) - 1,
					 "application/problem+json", NULL, "no-store");
	if (!replies->missing || !replies->withheld || !replies->accepted) {
		device_replies_free(replies);
		return NULL;
	}
	return replies;
}

void device_replies_free(struct device_replies *replies)
{
	if (!replies)
		return;
	if (replies->missing)
		MHD_destroy_response(replies->missing);
	if (replies->withheld)
		MHD_destroy_response(replies->withheld);
	if (replies->accepted)
		MHD_destroy_response(replies->accepted);
	free(replies);
}

static int ready_reply(struct reply *reply, unsigned code, const struct MHD_Response *response,
		       size_t len)
{
	reply->code = code;
	reply->ready = response;
	reply->len = (int64_t)len;
	return 0;
}

/* ---- Documents. ---- */

/* The loop's own reference to the snapshot; takes the publisher's lock only when there is a newer
 * one. */
static const struct snapshot *snapshot_of(struct loop *loop)
{
	uint64_t generation = publisher_generation(loop->app->publisher);

	if (!loop->snapshot || loop->generation != generation) {
		snapshot_unref(loop->snapshot);
		loop->snapshot = publisher_snapshot(loop->app->publisher);
		loop->generation = generation;
	}
	return loop->snapshot;
}

/* With a clock of its own every answer needs its own Date, so none can be shared; nor is there one
 * to share when memory was short.  The bytes are copied: the snapshot may go before they are
 * sent. */
static int own_reply(struct request *rq, struct reply *reply, const struct doc *doc,
		     struct err *err)
{
	reply_header(reply, "ETag", doc->etag);
	reply_header(reply, "Cache-Control", cache_of(doc));
	if (etag_listed(request_header(rq, "If-None-Match"), doc->etag))
		return reply_empty(reply, 304);
	return reply_bytes(reply, 200, "application/json", doc->bytes, doc->len, err);
}

/* There is no such document; caches may remember that for a minute. */
static int missing_reply(struct request *rq, struct reply *reply, struct err *err)
{
	const struct device_replies *replies = rq->app->replies;

	if (exchange_loop(rq->exchange)->own_date) {
		reply_header(reply, "Cache-Control", A_MINUTE);
		return err_set(err, ERR_NOT_FOUND, "there is no such document");
	}
	return ready_reply(reply, 404, replies->missing, sizeof(missing_text) - 1);
}

static int withheld_reply(struct request *rq, struct reply *reply, struct err *err)
{
	if (exchange_loop(rq->exchange)->own_date)
		return err_set(err, ERR_BUSY,
			       "nothing is served until an operator has looked at the restored database");
	return ready_reply(reply, 503, rq->app->replies->withheld, sizeof(withheld_text) - 1);
}

int api_document(struct request *rq, struct reply *reply, struct err *err)
{
	struct loop *loop = exchange_loop(rq->exchange);
	const struct doc *doc;
	const struct ready *ready;

	if (publisher_withheld(rq->app->publisher))
		return withheld_reply(rq, reply, err);
	doc = snapshot_find(snapshot_of(loop), rq->path);
	if (!doc)
		return missing_reply(rq, reply, err);
	ready = doc->reply;
	if (loop->own_date || !ready)
		return own_reply(rq, reply, doc, err);
	if (etag_listed(request_header(rq, "If-None-Match"), doc->etag))
		return ready_reply(reply, 304, ready->not_modified, 0);
	return ready_reply(reply, 200, ready->whole, doc->len);
}

/* ---- Telemetry. ---- */

/* A report on its way to the disk; it points into the exchange's body. */
struct post {
	struct intake_item item;
	const struct report *only; /* the item's list */
	struct exchange *exchange;
	bool refused;
	struct err err;	      /* why, when refused */
	struct report report; /* last: without the entries that it does not have */
};

static void post_done(struct intake_item *item, const struct err *err)
{
	struct post *post = item->arg;

	/* Duplicates and reports about the unknown are accepted alike. */
	if (err) {
		post->refused = true;
		post->err = *err;
	}
	exchange_land(post->exchange);
}

/* Durable, or refused: back on the loop. */
static int post_then(struct request *rq, struct reply *reply, struct err *err)
{
	const struct device_replies *replies = rq->app->replies;
	struct post *post = exchange_then_arg(rq->exchange);
	bool refused = post->refused;

	if (refused)
		*err = post->err;
	free(post);
	if (refused)
		return -1;
	if (exchange_loop(rq->exchange)->own_date)
		return reply_empty(reply, 202);
	return ready_reply(reply, 202, replies->accepted, 0);
}

/* The body as a report, in memory of its own size. */
static int post_read(struct request *rq, struct post **ret_post, struct err *err)
{
	UNINITIALIZED struct report report;
	struct post *post;
	char *bytes;
	size_t len;

	exchange_body(rq->exchange, &bytes, &len);
	if (report_read(bytes, len, clock_s(&rq->app->clock), &report, err) < 0)
		return -1;
	post = malloc(offsetof(struct post, report) + report_size(&report));
	if (!post)
		return err_nomem(err);
	memcpy(&post->report, &report, report_size(&report));
	post->only = &post->report;
	post->exchange = rq->exchange;
	post->refused = false;
	post->item = (struct intake_item){
		.reports = &post->only, .count = 1, .done = post_done, .arg = post};
	*ret_post = post;
	return 0;
}

/* Compared in constant time; the length of the right one is no secret. */
static int ingest_allowed(const struct request *rq, struct err *err)
{
	const char *wanted = rq->app->ingest_token;
	const char *header = *wanted ? request_header(rq, "Authorization") : NULL;
	const size_t len = strlen(wanted);

	if (!*wanted)
		return 0;
	if (header && strncmp(header, "Bearer ", 7) == 0 && strlen(header + 7) == len &&
	    sodium_memcmp(header + 7, wanted, len) == 0)
		return 0;
	return err_set(err, ERR_UNAUTHORIZED,
		       "telemetry needs the ingest token of this fleet in Authorization");
}

static int network_allowed(const struct request *rq, struct err *err)
{
	struct network network;

	if (!exchange_network(rq->exchange, &network) ||
	    quota_take(rq->app->networks, &network, sizeof(network), 1, clock_monotonic_ms()))
		return 0;
	return err_set(err, ERR_QUOTA,
		       "too many reports come from this network; keep the report and try later");
}

int api_telemetry_post(struct request *rq, struct reply *reply, struct err *err)
{
	struct post *post = NULL;

	(void)reply;
	if (ingest_allowed(rq, err) < 0 || network_allowed(rq, err) < 0)
		return -1;
	if (atomic_load_explicit(&rq->app->disk_low, memory_order_relaxed))
		return err_set(err, ERR_FULL, "the server's disk is full; keep the report");
	if (post_read(rq, &post, err) < 0)
		return -1;
	if (exchange_suspend(rq->exchange, post_then, free, post, err) < 0) {
		free(post);
		return -1;
	}
	/* From here on the answer is post_then()'s, also when the queue is full. */
	if (intake_post(rq->app->intake, &post->item, &post->err) < 0) {
		post->refused = true;
		exchange_resume(rq->exchange);
	}
	return 0;
}
