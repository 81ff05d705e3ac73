#include "cli/sim_edge.h"

#include "base/buf.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_MOST (1 << 20)

/* What the daemon answered to a GET without an ETag. */
struct document {
	struct flotilla_response head;
	int64_t fetched;
	struct buf body;
};

struct edge {
	int64_t life_s;
	pthread_mutex_t lock; /* guards documents */
	struct map *documents; /* by URL */
};

static void document_free(void *arg)
{
	struct document *d = arg;
	buf_done(&d->body);
	free(d);
}

struct edge *edge_new(int64_t life_s)
{
	struct edge *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->life_s = life_s;
	e->documents = map_new(document_free);
	pthread_mutex_init(&e->lock, NULL);
	if (!e->documents) {
		edge_free(e);
		return NULL;
	}
	return e;
}

void edge_free(struct edge *e)
{
	if (!e)
		return;
	map_free(e->documents);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

/* ---- answering ---- */

static void answer(const struct document *d, int64_t now, const struct flotilla_request *q,
		   struct flotilla_response *response)
{
	*response = d->head;
	response->age = now - d->fetched;
	if (d->head.status == 200 && q->etag && !strcmp(q->etag, d->head.etag))
		response->status = 304;
	else
		q->on_body(q->arg, d->body.data,
			   (int64_t)d->body.len < q->max_bytes ? d->body.len : (size_t)q->max_bytes);
}

/* Whether a copy that is fresh enough answered. */
static bool answered(struct edge *e, int64_t now, const struct flotilla_request *q,
		     struct flotilla_response *response)
{
	pthread_mutex_lock(&e->lock);
	const struct document *d = map_gets(e->documents, q->url);
	const bool fresh = d && now < d->fetched + e->life_s;
	if (fresh)
		answer(d, now, q, response);
	pthread_mutex_unlock(&e->lock);
	return fresh;
}

/* ---- asking ---- */

static int keep_bytes(void *arg, const void *bytes, size_t len)
{
	struct buf *body = arg;
	buf_add(body, bytes, len);
	return body->failed;
}

/* The whole of it, as if for a device that has none. */
static struct document *fetch(void *curl, int64_t now, const struct flotilla_request *q,
			      struct flotilla_response *response)
{
	struct document *d = calloc(1, sizeof(*d));
	struct flotilla_request whole = *q;
	if (!d)
		return NULL;
	d->fetched = now;
	buf_init(&d->body, DOCUMENT_MOST);
	whole.etag = NULL;
	whole.max_bytes = DOCUMENT_MOST;
	whole.on_body = keep_bytes;
	whole.arg = &d->body;
	if (!flotilla_transport_curl(curl, &whole, response) && !d->body.failed) {
		d->head = *response;
		return d;
	}
	document_free(d);
	return NULL;
}

static int keep(struct edge *e, const char *url, struct document *d)
{
	pthread_mutex_lock(&e->lock);
	const int bad = map_puts(e->documents, url, d);
	pthread_mutex_unlock(&e->lock);
	return bad;
}

static int fetch_and_answer(struct edge *e, void *curl, int64_t now,
			    const struct flotilla_request *q, struct flotilla_response *response)
{
	struct document *d = fetch(curl, now, q, response);
	if (!d)
		return -1;
	answer(d, now, q, response);
	if (d->head.status == 200 || d->head.status == 404)
		return keep(e, q->url, d);
	document_free(d);
	return 0;
}

int edge_get(struct edge *e, void *curl, int64_t now, const struct flotilla_request *request,
	     struct flotilla_response *response)
{
	const bool document = e->life_s && request->to < 0 &&
			      strstr(request->url, "/tuf/");
	if (!document)
		return flotilla_transport_curl(curl, request, response);
	if (answered(e, now, request, response))
		return 0;
	return fetch_and_answer(e, curl, now, request, response);
}
