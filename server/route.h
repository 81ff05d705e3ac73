/* route.h -- the declarative table of routes and how a raw path finds its row.
 * Patterns are compared segment by segment on the raw path, so an encoded slash never joins or
 * splits segments; only what falls into {braces} is percent-decoded.  "{name*}", as the last
 * segment, takes all that is left, at least one segment.
 * Threads: a table is const after route_table_new(). */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "base/cc.h"
#include "base/err.h"
#include "server/reply.h"
#include "server/request.h"

enum body {
	BODY_NONE,   /* a body is refused with 413 */
	BODY_JSON,   /* an object of at most max_body (1 MiB), parsed before the handler runs */
	BODY_MAYBE,  /* as BODY_JSON, or nothing at all (rq->body NULL) */
	BODY_SPOOL,  /* written to an unlinked file in data_dir/tmp as it arrives: rq->body_fd */
	BODY_APPEND, /* written, as it arrives, to what .begin opened */
	BODY_MEMORY  /* raw bytes for an ON_LOOP row: exchange_body() */
};

enum where {
	ON_WORKER, /* in a worker thread, the connection suspended, with rq->db */
	ON_LOOP	   /* on the event loop: must not block */
};

enum { LISTENER_DEVICE = 1, LISTENER_ADMIN = 2 };

typedef int route_handler(struct request *rq, struct reply *reply, struct err *err);

struct route {
	enum method method; /* GET rows answer HEAD too */
	const char *pattern;
	enum role role;
	route_handler *handler;
	enum body body;
	int64_t max_body; /* bytes; 0: 1 MiB */
	/* BODY_APPEND: runs on a worker before the body is read.  Checks the request (headers,
	 * params; rq->db is there), opens the file and gives the descriptor, positioned where the
	 * first byte goes; it becomes the request's.  *max_body may be lowered.  Bytes are
	 * written as they arrive and stay when the client breaks off; the handler runs only on a
	 * complete body. */
	int (*begin)(struct request *rq, int *ret_fd, int64_t *max_body, struct err *err);
	enum where where;
	unsigned listeners; /* LISTENER_... bits; 0: LISTENER_ADMIN */
	bool all_models; /* what concerns all models: refused to a token that is for some */
	bool secret;	 /* its answer is told once, and kept for no Idempotency-Key */
	const char *summary; /* the sentence of openapi.yaml */
};

/* THE table; routes.c. */
extern const struct route routes[];
extern const unsigned route_count;

struct route_table; /* the rows of one listener, cut into segments */

/* Rows of rows[] that serve listener.  Refuses rows without role, handler or summary, broken
 * patterns, and two rows of equal method and pattern: ERR_INVALID names the row. */
int route_table_new(struct route_table **ret_table, const struct route *rows, unsigned count,
		    unsigned listener, struct err *err) CHECKED;
void route_table_free(struct route_table *table); /* NULL is fine */
DEFINE_AUTO(struct route_table, route_table_free)

struct route_match {
	const struct route *route; /* NULL unless found */
	unsigned allow;		   /* bits 1 << method of the rows whose pattern fits; 0: 404,
				      else without route: 405 */
	bool malformed;		   /* a brace's segment has a broken escape: 400 */
};

/* Literal segments win over braces.  Fills rq->params from the raw path; no allocation. */
void route_find(const struct route_table *table, enum method method, const char *path,
		struct request *rq, struct route_match *match);

#define ROUTE_ALLOW 48
void route_allow(unsigned allow, char out[static ROUTE_ALLOW]); /* "GET, HEAD, PUT" */

#endif
