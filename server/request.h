/* request.h -- one request as a handler sees it: routed, authenticated, its body complete.
 * Handlers are  int f(struct request *rq, struct reply *reply, struct err *err)  and see no HTTP
 * library.  They return 0 with the reply filled, or -1 with *err; the caller turns the error into
 * an RFC 9457 problem.  They run on a worker thread with a reading connection of its own (rq->db),
 * except the rows of routes.c marked ON_LOOP, which must not block, allocate or ask the database.
 * A struct request can be filled by hand: tests call handlers without a socket.
 * Threads: a request belongs to one at a time. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct app;
struct exchange; /* the connection's side; listen.c's */

enum method { GET, HEAD, POST, PUT, PATCH, DELETE, METHOD_OTHER };
const char *method_name(enum method method); /* "GET" */
enum method method_parse(const char *text);  /* METHOD_OTHER for all we do not serve */

/* Ordered: a token may do what its role and all before it may; ROLE_RELAY stands apart. */
enum role {
	ROLE_UNSET,  /* a table row that forgot to say; refused at start */
	ROLE_ANYONE, /* no token asked for */
	ROLE_VIEWER,
	ROLE_PUBLISHER,
	ROLE_OPERATOR,
	ROLE_ADMIN,
	ROLE_RELAY
};
const char *role_name(enum role role); /* "viewer" */
int role_parse(enum role *ret_role, const char *text) CHECKED; /* viewer .. relay */

#define TOKEN_ID 20   /* "t" and up to 18 digits, and a NUL */
#define TOKEN_NAME 65 /* a name (see json_name_ok) and a NUL */

/* Who asks.  All empty and ROLE_ANYONE when the route asks for no token. */
struct token {
	char id[TOKEN_ID];
	char name[TOKEN_NAME]; /* the actor in events and audit */
	enum role role;
	const char *models; /* NULL: all; else "\nname\nname\n"; borrowed, lives as the request */
	int64_t quota_bytes, uploads; /* what it may bring: struct taker; 0: no bound */
};

#define REQUEST_PARAMS 4
#define REQUEST_PATH 1024 /* longer ones match nothing */
#define REQUEST_ID 21	  /* and a NUL */

struct request {
	struct app *app;
	enum method method;
	const char *path; /* raw, as sent, without the query */
	/* Segments for the pattern's braces, in their order: percent-decoded, valid UTF-8, not
	 * empty, no control characters, no '/' (but in a last "{name*}"). */
	const char *params[REQUEST_PARAMS];
	json_t *body;	  /* BODY_JSON: an object; borrowed; NULL when there was none */
	int body_fd;	  /* BODY_SPOOL: an unlinked file at offset 0; BODY_APPEND: as begun; else -1;
			     closed by the server unless the handler takes it (sets -1) */
	int64_t body_len; /* bytes received */
	struct token who;
	char id[REQUEST_ID + 1]; /* X-Request-Id of the answer, request_id of problems, log */
	struct arena *arena;	 /* 4 MiB, lives as long as the request; NULL ON_LOOP */
	struct db *db;		 /* reading; NULL ON_LOOP */

	/* Where headers and query come from: the connection, or in tests two lists of
	 * name, value, ..., NULL. */
	struct exchange *exchange;
	const char *const *test_headers, *const *test_query;
	char text[REQUEST_PATH]; /* what params point to */
};

/* A request header (any case) or NULL; borrowed, lives as long as the request. */
const char *request_header(const struct request *rq, const char *name);
/* A query parameter, decoded into rq->arena, or NULL when absent.  Malformed: ERR_INVALID via
 * request_query_text().  Only for worker handlers. */
const char *request_query(struct request *rq, const char *name);
/* As above with the reason: 0 and *ret_value untouched when absent. */
int request_query_text(struct request *rq, const char *name, const char **ret_value,
		       struct err *err) CHECKED;
/* A decimal integer min..max; absent: fallback. */
int request_query_int(struct request *rq, const char *name, int64_t fallback, int64_t min,
		      int64_t max, int64_t *ret_value, struct err *err) CHECKED;

/* Pages of a list: ?limit= (1..1000, 100 when absent) and ?after= the cursor of the page before,
 * NULL on the first.  For cursors that are numbers: request_page_seq(), 0 on the first. */
int request_page(struct request *rq, int64_t *ret_limit, const char **ret_after,
		 struct err *err) CHECKED;
int request_page_seq(struct request *rq, int64_t *ret_limit, int64_t *ret_after,
		     struct err *err) CHECKED;

/* The version named by If-Match: "v12" -> 12 (reply_etag() made it).  ERR_MISSING_PRECONDITION
 * without the header, ERR_INVALID when it is no ETag of ours.  "*" gives -1: any version.
 * The ledger function compares and answers ERR_STALE. */
int request_if_match(struct request *rq, int64_t *ret_version, struct err *err) CHECKED;

/* Whether the token may touch model; ERR_DENIED otherwise.  {model} in a path is checked before
 * the handler runs; this is for models named in bodies. */
int request_may(const struct request *rq, const char *model, struct err *err) CHECKED;

/* The body; ERR_INVALID when there was none. */
int request_body(const struct request *rq, json_t **ret_body, struct err *err) CHECKED;

/* Percent-decode len bytes into out (room len + 1), NUL-terminated.  -1: a broken escape, a
 * control character, a NUL, or no UTF-8. */
int percent_decode(char *out, const char *text, size_t len) CHECKED;

#endif
