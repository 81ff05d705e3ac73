/* api.h -- the daemon's admin API as the commands use it: requests with a bearer token, problems
 * turned into messages and exit codes.
 * Threads: a struct api belongs to one. */
#ifndef CLI_API_H
#define CLI_API_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define API_BODY_MAX (64 << 20)

struct api;

struct api_options {
	const char *server;	/* "http://127.0.0.1:8081" */
	const char *token_file; /* NULL: none */
	int64_t timeout_s;	/* of a request without a large body; 0: 30 */
	bool verbose;		/* each request as a line on stderr */
	/* Told, in a line without its end, that an answer is long in coming or that a request is made
	 * again, once a request; by any thread that has a clone.  May be NULL. */
	void (*waits)(void *arg, const char *text);
	void *waits_arg;
};

/* ERR_INVALID for a bad URL, ERR_UNAUTHORIZED for a token file that cannot be read. */
int api_open(struct api **ret_api, const struct api_options *options, struct err *err) CHECKED;
/* Another connection to the same daemon with the same token, for another thread. */
int api_clone(struct api **ret_api, const struct api *like, struct err *err) CHECKED;
void api_close(struct api *api); /* NULL is fine */
DEFINE_AUTO(struct api, api_close)

struct api_request {
	const char *method, *path;  /* path from "/": already percent-encoded where needed */
	const json_t *json;	    /* body; or: */
	const void *bytes;	    /* body of octets */
	size_t len;
	FILE *file;		    /* or: body of file_len octets from offset file_at of this */
	int64_t file_at, file_len;
	const char *headers[4];	    /* "If-Match: \"v3\"", NULL-terminated when fewer */
	const char *idempotency;    /* key for a POST that must not happen twice; may be NULL */
	void (*progress)(void *arg, int64_t sent); /* may be NULL */
	void *progress_arg;
	int64_t timeout_s; /* when it may take longer than others; 0: api_options' */
	int64_t patience_s; /* of a request that may be made again: after a broken connection, 502,
			       503, 504, or a 429 that ends soon, go on for so long; 0: see below */
};
struct api_reply {
	long code;
	struct buf body;   /* owned: api_reply_done() */
	char etag[128];	   /* "" when none */
	char offset[32];   /* Upload-Offset; "" when none */
};

/* One request.  -1 with ERR_NETWORK when the daemon cannot be reached; with the problem's own
 * status and detail for 4xx and 5xx (503 and 429 are tried again, five times, as Retry-After
 * says unless that is more than a minute).  ret_reply must be released when 0 was returned. */
int api_call(struct api *api, const struct api_request *request, struct api_reply *ret_reply,
	     struct err *err) CHECKED;
void api_reply_done(struct api_reply *reply);

/* The last answer was 401 or 403: the token is not good for what was asked, or not sent. */
bool api_refused(const struct api *api) CHECKED;

/* Shorthands for JSON in and out; *ret is the caller's, may be NULL when not wanted. */
int api_get(struct api *api, const char *path, json_t **ret, struct err *err) CHECKED;
int api_send(struct api *api, const char *method, const char *path, const json_t *body,
	     json_t **ret, struct err *err) CHECKED;

/* text with everything but unreserved characters percent-encoded, the caller's. */
char *api_escape(const char *text) CHECKED;

/* The exit code that belongs to an error. */
int api_exit(const struct err *err);

#endif
