/* reply.h -- what a handler answers, before it becomes HTTP.
 * Exactly one of reply_json, reply_empty, reply_bytes, reply_file, reply_problem fills it; the last
 * call wins.  Headers may be added before or after.
 * Threads: a reply belongs to one at a time. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "base/cc.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct request;

#define REPLY_HEADERS 12

struct reply {
	unsigned code;	  /* HTTP status; 0: not answered yet */
	char *bytes;	  /* owned (malloc); NULL: no body */
	int64_t len;	  /* bytes of the body */
	int fd;		  /* or a file whose bytes offset..offset+len are the body; owned; -1 */
	int64_t offset;
	const void *ready; /* or a finished response (struct MHD_Response), borrowed: only rows of
			      the device listener use it, see api_device.c */
	void *own;	  /* or one of its own, owned (struct MHD_Response) */
	bool fed;	  /* own is made while it is sent, see feed.h */
	const char *type; /* Content-Type, static; NULL: none */
	unsigned header_count;
	struct {
		const char *name; /* static */
		char *value;	  /* owned */
	} headers[REPLY_HEADERS];
};

void reply_init(struct reply *reply);
void reply_done(struct reply *reply); /* frees; as reply_init() afterwards */

/* All return 0, so that a handler ends with `return reply_json(...)`, or -1 with ERR_SYSTEM
 * when memory is short. */
int reply_json(struct reply *reply, unsigned code, json_t *value, struct err *err)
	CHECKED; /* value is stolen, also on failure; NULL (jansson out of memory) is an error */
int reply_empty(struct reply *reply, unsigned code);
/* bytes are copied; type is static, e.g. "application/octet-stream". */
int reply_bytes(struct reply *reply, unsigned code, const char *type, const void *bytes,
		size_t len, struct err *err) CHECKED;
/* bytes (malloc) become the reply's. */
void reply_take(struct reply *reply, unsigned code, const char *type, char *bytes, size_t len);
/* len bytes of fd from offset; fd becomes the reply's. */
void reply_file(struct reply *reply, unsigned code, const char *type, int fd, int64_t offset,
		int64_t len);
/* {"items":[...],"next":cursor|null} and, when there is a next page, Link: <...>; rel="next" with
 * the request's own query.  items is stolen; next is NULL on the last page. */
int reply_list(struct reply *reply, struct request *rq, json_t *items, const char *next,
	       struct err *err) CHECKED;

/* name is static, value is copied; CR, LF and other control bytes are refused.  Beyond
 * REPLY_HEADERS or without memory the header is dropped and -1 returned. */
int reply_header(struct reply *reply, const char *name, const char *value);
/* ETag: "v12" of a row's version, for request_if_match(). */
int reply_etag(struct reply *reply, int64_t version);

/* RFC 9457: {"type":"https://flotilla.dev/problems/not-found","title":...,"status":404,
 * "detail":text,"request_id":id}.  Of ERR_CORRUPT, ERR_SYSTEM and ERR_NONE no detail is told: the
 * caller logs it.  429 and 503 carry Retry-After, err->retry_s or 5 s. */
void reply_problem(struct reply *reply, const struct err *err, const char *request_id);
/* 405 with Allow; allow as in struct route_match (route.h). */
void reply_method(struct reply *reply, unsigned allow, const char *request_id);
unsigned reply_code(enum status status); /* the HTTP status of an error */

#endif
