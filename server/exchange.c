/* A request's stages, from the first callback to its end, and its answer. */
#include "server/exchange_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "server/app.h"
#include "server/auth.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 75000	/* between two requests */
#define BODY_MS 30000	/* a body: this, and a millisecond for so many bytes */
#define ANSWER_MS 60000 /* an answer likewise */

struct exchange *exchange_open(struct loop *loop, struct MHD_Connection *connection, int socket)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->connection = connection;
	x->loop = loop;
	x->socket = socket;
	reply_init(&x->reply);
	x->rq.body_fd = -1;
	buf_init(&x->body, JSON_MAX);
	exchange_deadline(x, loop->head_ms);
	metrics_add(&loop->counters->connections, 1);
	pthread_mutex_lock(&loop->lock);
	x->next = loop->exchanges;
	x->prev = &loop->exchanges;
	if (x->next)
		x->next->prev = &x->next;
	loop->exchanges = x;
	pthread_mutex_unlock(&loop->lock);
	return x;
}

void exchange_close(struct exchange *x)
{
	pthread_mutex_lock(&x->loop->lock);
	*x->prev = x->next;
	if (x->next)
		x->next->prev = x->prev;
	pthread_mutex_unlock(&x->loop->lock);
	buf_done(&x->body);
	reply_done(&x->reply);
	free(x);
}

void exchange_body(struct exchange *x, char **ret_bytes, size_t *ret_len)
{
	*ret_bytes = x->body.data; /* NULL only when there is none of it */
	*ret_len = x->body.len;
}

struct loop *exchange_loop(const struct exchange *x)
{
	return x->loop;
}

/* ---- Answers. ---- */

static void id_make(struct exchange *x)
{
	if (!x->rq.id[0])
		snprintf(x->rq.id, sizeof(x->rq.id), "%08llx%02x%010llx",
			 (unsigned long long)x->loop->app->started_ms & 0xffffffff,
			 x->loop->index & 0xff,
			 (unsigned long long)x->number & 0xffffffffff);
}

static void date_add(struct exchange *x, struct MHD_Response *response)
{
	time_t now = (time_t)clock_s(&x->loop->app->clock);
	char text[64];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	MHD_add_response_header(response, MHD_HTTP_HEADER_DATE, text);
}

/* The reply as a response of its own; NULL without memory. */
static struct MHD_Response *response_make(struct exchange *x)
{
	struct reply *reply = &x->reply;
	struct MHD_Response *response;

	if (reply->fd >= 0) {
		response = MHD_create_response_from_fd_at_offset64(
			(uint64_t)reply->len, reply->fd, (uint64_t)reply->offset);
		if (response)
			reply->fd = -1;
	} else {
		response = MHD_create_response_from_buffer((size_t)reply->len, reply->bytes,
							   MHD_RESPMEM_MUST_FREE);
		if (response)
			reply->bytes = NULL;
	}
	return response;
}

static void response_dress(struct exchange *x, struct MHD_Response *response)
{
	struct reply *reply = &x->reply;

	for (unsigned i = 0; i < reply->header_count; i++)
		MHD_add_response_header(response, reply->headers[i].name,
					reply->headers[i].value);
	if (reply->type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
	id_make(x);
	MHD_add_response_header(response, "X-Request-Id", x->rq.id);
	if (x->loop->own_date)
		date_add(x, response);
}

int exchange_answer(struct exchange *x)
{
	struct reply *reply = &x->reply;
	struct MHD_Response *response = reply->own;
	enum MHD_Result result;

	/* Feeds are few, so each has to move: feed.c allows it more as it does. */
	exchange_deadline(x, ANSWER_MS + (reply->fed ? 0 : reply->len / SLOWEST_BYTES_MS));
	metrics_add(&x->loop->counters->body_out, (uint64_t)reply->len);
	if (reply->ready) {
		response = __extension__(struct MHD_Response *)(uintptr_t)reply->ready;
		return MHD_queue_response(x->connection, reply->code, response) == MHD_YES ? 0 : -1;
	}
	reply->own = NULL;
	if (!response)
		response = response_make(x);
	if (!response)
		return -1;
	response_dress(x, response);
	result = MHD_queue_response(x->connection, reply->code, response);
	MHD_destroy_response(response);
	return result == MHD_YES ? 0 : -1;
}

void exchange_problem(struct exchange *x, const struct err *err)
{
	id_make(x);
	if (reply_code(err->status) == 500)
		log_event(LOG_ERROR, "request.failed", F_TEXT("request_id", x->rq.id),
			  F_TEXT("method", method_name(x->rq.method)), F_TEXT("path", x->rq.path),
			  F_ERR(err));
	reply_problem(&x->reply, err, x->rq.id);
}

void exchange_handle(struct exchange *x, route_handler *handler)
{
	struct err err = {0};

	if (handler(&x->rq, &x->reply, &err) < 0)
		exchange_problem(x, &err);
}

/* ---- The beginning. ---- */

static int body_spool(struct exchange *x, struct err *err)
{
	if (x->route->body != BODY_SPOOL)
		return 0;
	x->rq.body_fd = open(x->loop->spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return x->rq.body_fd < 0 ? err_sys(err, "cannot make a file in %s", x->loop->spool_dir)
				 : 0;
}

/* A refusal: now and closing the connection if a body would follow, else in its turn. */
static int refuse(struct exchange *x, const struct err *err, int64_t len)
{
	exchange_problem(x, err);
	if (x->allow)
		reply_method(&x->reply, x->allow, x->rq.id);
	x->stage = STAGE_ANSWER;
	return len ? exchange_answer(x) : 0;
}

/* Shutting down: what is in flight goes on; who comes now is told, and the connection closed. */
static int leave(struct exchange *x)
{
	struct err err;

	err_set(&err, ERR_BUSY, "the server is shutting down; try again shortly");
	exchange_problem(x, &err);
	x->stage = STAGE_ANSWER;
	return exchange_answer(x);
}

static int exchange_first(struct exchange *x, const char *path, const char *method)
{
	int64_t len = 0;
	struct err err;

	atomic_fetch_add_explicit(&x->loop->active, 1, memory_order_relaxed);
	x->number = ++x->loop->requests;
	x->rq.app = x->loop->app;
	x->rq.exchange = x;
	x->rq.path = path;
	x->rq.method = method_parse(method);
	if (atomic_load_explicit(&x->loop->draining, memory_order_relaxed))
		return leave(x);
	if (exchange_head(x, &len, &err) < 0 || body_spool(x, &err) < 0)
		return refuse(x, &err, len);
	/* And more with each chunk: what it says it will send is no sign. */
	exchange_deadline(x, BODY_MS);
	x->stage = STAGE_BODY;
	if (x->route->body == BODY_APPEND && exchange_post_begin(x, &err) < 0)
		return refuse(x, &err, len);
	return 0;
}

/* ---- The body. ---- */

static int chunk_keep(struct exchange *x, const char *bytes, size_t len, struct err *err)
{
	if ((int64_t)len > x->max_body - x->rq.body_len)
		return err_set(err, ERR_TOO_LARGE, "the body may have %lld bytes at the most",
			       (long long)x->max_body);
	x->rq.body_len += (int64_t)len;
	if (x->rq.body_fd >= 0)
		return file_write_all(x->rq.body_fd, bytes, len, err);
	buf_add(&x->body, bytes, len);
	return buf_ok(&x->body, "body", err);
}

/* All that is offered is consumed: after a refusal it is forgotten, since an answer can only be
 * queued once the body is over. */
static void chunk_take(struct exchange *x, const char *bytes, size_t len)
{
	metrics_add(&x->loop->counters->body_in, len);
	exchange_allow(x, len);
	if (!x->drop && chunk_keep(x, bytes, len, &x->err) < 0)
		x->drop = true;
}

/* ---- The work. ---- */

static int body_over(struct exchange *x)
{
	if (x->drop) {
		exchange_problem(x, &x->err);
		return exchange_answer(x);
	}
	if (x->rq.body_fd >= 0 && x->route->body == BODY_SPOOL)
		lseek(x->rq.body_fd, 0, SEEK_SET);
	if (x->route->where == ON_WORKER)
		return exchange_post_work(x);
	exchange_handle(x, x->route->handler);
	return x->stage == STAGE_WORK ? 0 : exchange_answer(x);
}

/* Resumed: the worker is done, or the loop's own handler goes on. */
static int work_over(struct exchange *x)
{
	route_handler *then = x->then;

	exchange_resume_landed(x->loop);
	if (then) {
		x->then = NULL;
		x->stage = STAGE_BODY;
		exchange_handle(x, then);
		if (x->stage == STAGE_WORK)
			return 0;
	}
	return exchange_answer(x);
}

int exchange_step(struct exchange *x, const char *path, const char *method, const char *bytes,
		  size_t *len)
{
	if (*len > 0) {
		if (x->stage == STAGE_BODY)
			chunk_take(x, bytes, *len);
		*len = 0;
		return 0;
	}
	switch (x->stage) {
	case STAGE_IDLE:
		return exchange_first(x, path, method);
	case STAGE_BEGIN:
		x->stage = x->drop ? STAGE_ANSWER : STAGE_BODY;
		if (x->drop)
			exchange_problem(x, &x->err);
		return x->drop ? exchange_answer(x) : 0;
	case STAGE_BODY:
		return body_over(x);
	case STAGE_WORK:
		return work_over(x);
	case STAGE_ANSWER:
		return exchange_answer(x);
	}
	return -1;
}

/* ---- The end. ---- */

static void access_log(struct exchange *x)
{
	/* 503 and 507 come in floods when they come; they are counted instead. */
	enum log_level level = x->reply.code == 500 ? LOG_WARN : LOG_DEBUG;

	if (level == LOG_DEBUG && !x->loop->access_log)
		return;
	id_make(x);
	log_event(level, "request", F_TEXT("request_id", x->rq.id),
		  F_TEXT("method", method_name(x->rq.method)),
		  F_TEXT("route", x->route ? x->route->pattern : NULL),
		  F_TEXT("actor", x->rq.who.name), F_INT("code", x->reply.code),
		  F_INT("in", x->rq.body_len), F_INT("out", x->reply.len));
}

/* The client went while we worked: what was to be sent or done next. */
static void drop_pending(struct exchange *x)
{
	if (x->then && x->then_drop)
		x->then_drop(x->then_arg);
	x->then = NULL;
	if (x->reply.own)
		MHD_destroy_response(x->reply.own);
	x->reply.own = NULL;
}

static void request_reset(struct exchange *x)
{
	struct request *rq = &x->rq;

	if (rq->body_fd >= 0)
		close(rq->body_fd);
	json_decref(rq->body);
	arena_free(rq->arena);
	auth_done(&rq->who);
	rq->body_fd = -1;
	rq->body_len = 0;
	rq->body = NULL;
	rq->arena = NULL;
	rq->db = NULL;
	rq->id[0] = '\0';
	memset(rq->params, 0, sizeof(rq->params));
	if (x->body.room > 65536)
		buf_done(&x->body);
	else
		buf_reset(&x->body);
}

void exchange_end(struct exchange *x)
{
	size_t place = x->route ? (size_t)(x->route - x->loop->rows) + 1 : 0;
	unsigned hundreds = x->reply.code / 100 % METRIC_CODES;

	if (x->stage == STAGE_IDLE)
		return;
	exchange_resume_landed(x->loop);
	metrics_add(&x->loop->counters->answers[place % METRIC_ROUTES][hundreds], 1);
	access_log(x);
	drop_pending(x);
	request_reset(x);
	reply_done(&x->reply);
	x->route = NULL;
	x->allow = 0;
	x->drop = false;
	x->err.status = ERR_NONE;
	x->stage = STAGE_IDLE;
	atomic_fetch_sub_explicit(&x->loop->active, 1, memory_order_relaxed);
	exchange_deadline(x, IDLE_MS + x->loop->head_ms);
}
