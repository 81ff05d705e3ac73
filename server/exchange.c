#include "server/exchange.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "server/app.h"
#include "server/auth.h"
#include "server/host.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 75000		    /* between two requests */
#define BODY_MS 30000		    /* a body: this, and ... */
#define SLOWEST_BYTES_MS 8	    /* ... a millisecond for so many bytes, either way */
#define ANSWER_MS 60000		    /* an answer likewise */
#define JSON_MAX (1024 * 1024)	    /* a body in memory, unless the row says less */
#define ARENA_MAX (4 * 1024 * 1024) /* of a worker's request */

/* The coarse clock is good to 4 ms and costs a few nanoseconds. */
static int64_t coarse_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void deadline_set(struct exchange *x, int64_t ms)
{
	atomic_store_explicit(&x->deadline, ms ? coarse_ms() + ms : 0, memory_order_relaxed);
}

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
	deadline_set(x, loop->head_ms);
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

const char *exchange_header(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *exchange_query(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

void exchange_body(const struct exchange *x, const char **ret_bytes, size_t *ret_len)
{
	*ret_bytes = x->body.data ? x->body.data : "";
	*ret_len = x->body.len;
}

/* Counts first and looks at ending then, while listener_drain() does it the other way round: one
 * of the two sees the other, so that nothing is suspended when the loop is stopped. */
int exchange_pause(struct exchange *x, struct err *err)
{
	atomic_fetch_add(&x->loop->suspended, 1);
	if (atomic_load(&x->loop->ending)) {
		atomic_fetch_sub(&x->loop->suspended, 1);
		return err_set(err, ERR_BUSY, "the server is shutting down; try again shortly");
	}
	deadline_set(x, 0);
	MHD_suspend_connection(x->connection);
	return 0;
}

int exchange_suspend(struct exchange *x, route_handler *then, void (*drop)(void *then_arg),
		     void *then_arg, struct err *err)
{
	if (exchange_pause(x, err) < 0)
		return -1;
	x->then = then;
	x->then_drop = drop;
	x->then_arg = then_arg;
	x->stage = STAGE_WORK;
	return 0;
}

void *exchange_then_arg(const struct exchange *x)
{
	return x->then_arg;
}

struct loop *exchange_loop(const struct exchange *x)
{
	return x->loop;
}

void exchange_resume(struct exchange *x)
{
	struct loop *loop = x->loop; /* x may be gone once the loop has it back */

	MHD_resume_connection(x->connection);
	atomic_fetch_sub(&loop->suspended, 1);
}

/* ---- Answers. ---- */

static void id_make(struct exchange *x)
{
	if (!x->rq.id[0])
		snprintf(x->rq.id, sizeof(x->rq.id), "%08llx%02x%010llx",
			 (unsigned long long)x->loop->app->started_ms & 0xffffffff,
			 x->loop->index & 0xff,
			 (unsigned long long)x->loop->sequence & 0xffffffffff);
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

static int answer_queue(struct exchange *x)
{
	struct reply *reply = &x->reply;
	struct MHD_Response *response = reply->own;
	enum MHD_Result result;

	deadline_set(x, ANSWER_MS + reply->len / SLOWEST_BYTES_MS);
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

static void problem_set(struct exchange *x, const struct err *err)
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
		problem_set(x, &err);
}

/* ---- The head of a request. ---- */

static enum MHD_Result count_lengths(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	(void)kind;
	(void)value;
	if (strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
		++*(int *)cls;
	return MHD_YES;
}

/* What the library lets pass though a proxy may read it otherwise (RFC 9112 section 6.3): two
 * lengths, or a length beside an encoding.  *ret_len: -1 when chunked, 0 without a body. */
static int length_read(struct exchange *x, int64_t *ret_len, struct err *err)
{
	const char *length = exchange_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
	const char *encoding = exchange_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	int lengths = 0;

	*ret_len = encoding ? -1 : 0;
	if (!length)
		return 0;
	MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_lengths, &lengths);
	if (encoding || lengths > 1 || strspn(length, "0123456789") != strlen(length) ||
	    strlen(length) > 18)
		return err_set(err, ERR_INVALID, "send one Content-Length, or Transfer-Encoding");
	*ret_len = strtoll(length, NULL, 10);
	return 0;
}

static int body_limit(struct exchange *x, int64_t len, struct err *err)
{
	const struct route *route = x->route;

	x->max_body = route->max_body ? route->max_body : JSON_MAX;
	if (route->body == BODY_NONE)
		x->max_body = 0;
	if (len < 0 && route->body == BODY_NONE)
		return err_set(err, ERR_TOO_LARGE, "this request takes no body");
	if (len > x->max_body)
		return err_set(err, ERR_TOO_LARGE, "the body may have %lld bytes at the most",
			       (long long)x->max_body);
	return 0;
}

static int body_spool(struct exchange *x, struct err *err)
{
	if (x->route->body != BODY_SPOOL)
		return 0;
	x->rq.body_fd = open(x->loop->spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return x->rq.body_fd < 0 ? err_sys(err, "cannot make a file in %s", x->loop->spool_dir)
				 : 0;
}

static int find_route(struct exchange *x, struct err *err)
{
	struct route_match match;
	char allow[ROUTE_ALLOW];

	route_find(x->loop->table, x->rq.method, x->rq.path, &x->rq, &match);
	x->route = match.route;
	if (match.route)
		return 0;
	if (match.malformed)
		return err_set(err, ERR_INVALID,
			       "the path has a broken percent escape or is not printable UTF-8");
	if (!match.allow)
		return err_set(err, ERR_NOT_FOUND, "there is nothing at this path");
	x->allow = match.allow;
	route_allow(match.allow, allow);
	return err_set(err, ERR_INVALID, "this path takes %s", allow);
}

/* {model} in a path is checked against the token's scope. */
static int scope_check(const struct exchange *x, struct err *err)
{
	const char *at = strstr(x->route->pattern, "{model}");
	unsigned place = 0;

	if (!at || !x->rq.who.models)
		return 0;
	for (const char *p = x->route->pattern; p < at; p++)
		place += *p == '{';
	return request_may(&x->rq, x->rq.params[place], err);
}

static int authorize(struct exchange *x, struct err *err)
{
	if (x->route->role == ROLE_ANYONE)
		return 0;
	if (auth_check(x->loop->app->auth, exchange_header(x, MHD_HTTP_HEADER_AUTHORIZATION),
		       &x->rq.who, err) < 0)
		return -1;
	if (auth_role(&x->rq.who, x->route->role, err) < 0)
		return -1;
	return scope_check(x, err);
}

/* Everything that can be known from the head.  *ret_len as length_read(). */
static int head_check(struct exchange *x, int64_t *ret_len, struct err *err)
{
	if (length_read(x, ret_len, err) < 0)
		return -1;
	if (x->loop->guard_host &&
	    host_check(x->loop->app->config, exchange_header(x, MHD_HTTP_HEADER_HOST),
		       exchange_header(x, MHD_HTTP_HEADER_ORIGIN), err) < 0)
		return -1;
	if (find_route(x, err) < 0 || authorize(x, err) < 0)
		return -1;
	return body_limit(x, *ret_len, err);
}

static void begin_run(void *arg, struct db *db)
{
	struct exchange *x = arg;

	x->rq.db = db;
	x->rq.arena = arena_new(ARENA_MAX);
	if (!x->rq.arena)
		err_nomem(&x->err);
	else if (x->route->begin(&x->rq, &x->rq.body_fd, &x->max_body, &x->err) < 0)
		x->drop = true;
	if (!x->rq.arena)
		x->drop = true;
	arena_free(TAKE(x->rq.arena));
	x->rq.db = NULL;
	exchange_resume(x);
}

/* .begin on a worker, while nothing of the body is read. */
static int begin_post(struct exchange *x, struct err *err)
{
	x->job = (struct job){.run = begin_run, .arg = x};
	if (exchange_pause(x, err) < 0)
		return -1;
	x->stage = STAGE_BEGIN;
	if (workers_post(x->loop->workers, &x->job, &x->err) < 0) {
		x->drop = true;
		exchange_resume(x);
	}
	return 0;
}

/* A refusal: now and closing the connection if a body would follow, else in its turn. */
static int refuse(struct exchange *x, const struct err *err, int64_t len)
{
	problem_set(x, err);
	if (x->allow)
		reply_method(&x->reply, x->allow, x->rq.id);
	x->stage = STAGE_ANSWER;
	return len ? answer_queue(x) : 0;
}

/* Shutting down: what is in flight goes on; who comes now is told, and the connection closed. */
static int leave(struct exchange *x)
{
	struct err err;

	err_set(&err, ERR_BUSY, "the server is shutting down; try again shortly");
	problem_set(x, &err);
	x->stage = STAGE_ANSWER;
	return answer_queue(x);
}

static int exchange_first(struct exchange *x, const char *path, const char *method)
{
	int64_t len = 0;
	struct err err;

	atomic_fetch_add_explicit(&x->loop->active, 1, memory_order_relaxed);
	x->loop->sequence++;
	x->rq.app = x->loop->app;
	x->rq.exchange = x;
	x->rq.path = path;
	x->rq.method = method_parse(method);
	if (atomic_load_explicit(&x->loop->draining, memory_order_relaxed))
		return leave(x);
	if (head_check(x, &len, &err) < 0 || body_spool(x, &err) < 0)
		return refuse(x, &err, len);
	deadline_set(x, BODY_MS + (len > 0 ? len : x->max_body) / SLOWEST_BYTES_MS);
	x->stage = STAGE_BODY;
	if (x->route->body == BODY_APPEND && begin_post(x, &err) < 0)
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
	if (!x->drop && chunk_keep(x, bytes, len, &x->err) < 0)
		x->drop = true;
}

/* ---- The work. ---- */

static void work_run(void *arg, struct db *db)
{
	struct exchange *x = arg;

	dispatch_run(x, db);
	exchange_resume(x);
}

static int work_post(struct exchange *x)
{
	struct err err;

	x->then = NULL;
	x->job = (struct job){.run = work_run, .arg = x};
	if (exchange_pause(x, &err) < 0) {
		problem_set(x, &err);
		return answer_queue(x);
	}
	x->stage = STAGE_WORK;
	if (workers_post(x->loop->workers, &x->job, &err) < 0) {
		problem_set(x, &err);
		exchange_resume(x);
	}
	return 0;
}

static int body_over(struct exchange *x)
{
	if (x->drop) {
		problem_set(x, &x->err);
		return answer_queue(x);
	}
	if (x->rq.body_fd >= 0 && x->route->body == BODY_SPOOL)
		lseek(x->rq.body_fd, 0, SEEK_SET);
	if (x->route->where == ON_WORKER)
		return work_post(x);
	exchange_handle(x, x->route->handler);
	return x->stage == STAGE_WORK ? 0 : answer_queue(x);
}

/* Resumed: the worker is done, or the loop's own handler goes on. */
static int work_over(struct exchange *x)
{
	route_handler *then = x->then;

	if (then) {
		x->then = NULL;
		x->stage = STAGE_BODY;
		exchange_handle(x, then);
		if (x->stage == STAGE_WORK)
			return 0;
	}
	return answer_queue(x);
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
			problem_set(x, &x->err);
		return x->drop ? answer_queue(x) : 0;
	case STAGE_BODY:
		return body_over(x);
	case STAGE_WORK:
		return work_over(x);
	case STAGE_ANSWER:
		return answer_queue(x);
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
	deadline_set(x, IDLE_MS + x->loop->head_ms);
}
