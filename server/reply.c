#include "server/reply.h"

#include "base/buf.h"
#include "base/json.h"
#include "server/request.h"
#include "server/route.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_S 5u /* Retry-After, unless the error knows better */
#define REPLY_MAX ((size_t)64 * 1024 * 1024)

void reply_init(struct reply *reply)
{
	*reply = (struct reply){.fd = -1};
}

/* The body and its kind go; headers stay. */
static void body_drop(struct reply *reply)
{
	free(reply->bytes);
	if (reply->fd >= 0)
		close(reply->fd);
	reply->bytes = NULL;
	reply->fd = -1;
	reply->ready = NULL;
	reply->len = reply->offset = 0;
	reply->type = NULL;
}

static void headers_drop(struct reply *reply)
{
	while (reply->header_count)
		free(reply->headers[--reply->header_count].value);
}

void reply_done(struct reply *reply)
{
	body_drop(reply);
	headers_drop(reply);
	reply_init(reply);
}

void reply_take(struct reply *reply, unsigned code, const char *type, char *bytes, size_t len)
{
	body_drop(reply);
	reply->code = code;
	reply->type = type;
	reply->bytes = bytes;
	reply->len = (int64_t)len;
}

int reply_json(struct reply *reply, unsigned code, json_t *value, struct err *err)
{
	char *text = value ? json_text(value) : NULL;

	json_decref(value);
	if (!text)
		return err_nomem(err);
	reply_take(reply, code, "application/json", text, strlen(text));
	return 0;
}

int reply_empty(struct reply *reply, unsigned code)
{
	body_drop(reply);
	reply->code = code;
	return 0;
}

int reply_bytes(struct reply *reply, unsigned code, const char *type, const void *bytes,
		size_t len, struct err *err)
{
	char *copy = malloc(len ? len : 1);

	if (!copy)
		return err_nomem(err);
	memcpy(copy, bytes, len);
	reply_take(reply, code, type, copy, len);
	return 0;
}

void reply_file(struct reply *reply, unsigned code, const char *type, int fd, int64_t offset,
		int64_t len)
{
	body_drop(reply);
	reply->code = code;
	reply->type = type;
	reply->fd = fd;
	reply->offset = offset;
	reply->len = len;
}

int reply_header(struct reply *reply, const char *name, const char *value)
{
	char *copy;

	for (const char *at = value; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return -1;
	if (reply->header_count == REPLY_HEADERS)
		return -1;
	copy = strdup(value);
	if (!copy)
		return -1;
	reply->headers[reply->header_count].name = name;
	reply->headers[reply->header_count++].value = copy;
	return 0;
}

int reply_etag(struct reply *reply, int64_t version)
{
	char text[32];

	snprintf(text, sizeof(text), "\"v%lld\"", (long long)version);
	return reply_header(reply, "ETag", text);
}

/* value, percent-encoded but for what RFC 3986 calls unreserved. */
static void add_escaped(struct buf *buf, const char *value)
{
	for (; *value; value++) {
		if (isalnum((unsigned char)*value) || strchr("-._~", *value))
			buf_addc(buf, *value);
		else
			buf_addf(buf, "%%%02X", (unsigned char)*value);
	}
}

/* The parameters that shape a list; the next page keeps them. */
static const char *const list_filters[] = {"limit", "state",   "channel", "class",
					   "model", "rollout", "day"};

static void link_next(struct reply *reply, struct request *rq, const char *next)
{
	AUTO_BUF struct buf buf = BUF_INIT(4096);
	struct err ignored;

	buf_addf(&buf, "<%s?after=", rq->path);
	add_escaped(&buf, next);
	for (size_t i = 0; i < COUNT_OF(list_filters); i++) {
		const char *value = request_query(rq, list_filters[i]);

		if (!value)
			continue;
		buf_addf(&buf, "&%s=", list_filters[i]);
		add_escaped(&buf, value);
	}
	buf_adds(&buf, ">; rel=\"next\"");
	/* The body carries the cursor too, so a Link that does not fit may be left out. */
	if (buf_ok(&buf, "Link", &ignored) == 0)
		reply_header(reply, "Link", buf.data);
}

int reply_list(struct reply *reply, struct request *rq, json_t *items, const char *next,
	       struct err *err)
{
	if (next)
		link_next(reply, rq, next);
	if (!items)
		return err_nomem(err);
	return reply_json(reply, 200, json_pack("{s:o, s:s?}", "items", items, "next", next),
			  err);
}

static const struct {
	unsigned code;
	const char *title;
} answers[ERR_STATUSES] = {
	[ERR_NONE] = {500, "Internal error"},
	[ERR_INVALID] = {400, "Invalid request"},
	[ERR_UNAUTHORIZED] = {401, "A valid token is needed"},
	[ERR_DENIED] = {403, "Not allowed"},
	[ERR_NOT_FOUND] = {404, "Not found"},
	[ERR_CONFLICT] = {409, "The current state does not allow it"},
	[ERR_STALE] = {412, "Changed meanwhile"},
	[ERR_MISSING_PRECONDITION] = {428, "If-Match is required"},
	[ERR_TOO_LARGE] = {413, "Too large"},
	[ERR_RANGE] = {416, "Range not satisfiable"},
	[ERR_QUOTA] = {429, "Too many requests"},
	[ERR_BUSY] = {503, "Busy"},
	[ERR_FULL] = {507, "No space left"},
	[ERR_NETWORK] = {502, "Peer not reachable"},
	[ERR_UNTRUSTED] = {422, "Not trusted"},
	[ERR_CORRUPT] = {500, "Internal error"},
	[ERR_SYSTEM] = {500, "Internal error"},
};

unsigned reply_code(enum status status)
{
	return answers[status].code;
}

static void problem_fill(struct reply *reply, unsigned code, const char *name, const char *title,
			 const char *detail, const char *request_id)
{
	char type[96], *text = NULL;
	json_t *problem;

	snprintf(type, sizeof(type), "https://flotilla.dev/problems/%s", name);
	problem = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", title, "status",
			    (int)code, "detail", detail, "request_id", request_id);
	if (problem)
		text = json_text(problem);
	json_decref(problem);
	headers_drop(reply); /* they were of an answer that is not given */
	reply_take(reply, code, text ? "application/problem+json" : NULL, text,
		   text ? strlen(text) : 0);
}

void reply_problem(struct reply *reply, const struct err *err, const char *request_id)
{
	unsigned code = answers[err->status].code;
	bool ours = code == 500;

	problem_fill(reply, code, ours ? "internal" : err_name(err->status),
		     answers[err->status].title,
		     ours ? "The server's log tells more under this request_id." : err->text,
		     request_id);
	if (code == 503 || code == 429) {
		char seconds[16];
		snprintf(seconds, sizeof(seconds), "%u", err->retry_s ? err->retry_s : RETRY_S);
		reply_header(reply, "Retry-After", seconds);
	}
	if (code == 401)
		reply_header(reply, "WWW-Authenticate", "Bearer");
}

void reply_method(struct reply *reply, unsigned allow, const char *request_id)
{
	char methods[ROUTE_ALLOW], detail[ROUTE_ALLOW + 32];

	route_allow(allow, methods);
	snprintf(detail, sizeof(detail), "this path takes %s", methods);
	problem_fill(reply, 405, "method-not-allowed", "Method not allowed", detail, request_id);
	reply_header(reply, "Allow", methods);
}
