/* exchange.h -- one request's life between the HTTP library and its handler: limits, route, token,
 * body, handler, answer, in that order.
 * Each connection has one struct exchange for as long as it lives, so that a request costs no
 * allocation.  The first callback of the library decides and may only refuse (it closes the
 * connection then); answers are queued once the body is complete.
 * Threads: a connection's loop, or, while it is suspended, whoever it was handed to. */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "server/client.h"
#include "server/metrics.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/route.h"
#include "server/workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct MHD_Connection;
struct MHD_Daemon;
struct snapshot;

/* One event loop: a single-thread daemon of the library on its own listening socket. */
struct loop {
	struct app *app;
	const struct route_table *table;
	const struct route *rows; /* the table's rows; a row's place is its counter's */
	struct workers *workers; /* the pool for ON_WORKER rows and feeds */
	unsigned index;	  /* among the loops of this process, for ids and counters */
	unsigned listener; /* LISTENER_DEVICE or LISTENER_ADMIN */
	bool own_date;	  /* the clock runs fast: answers carry our own Date */
	bool access_log;  /* a line for every request */
	bool guard_host;  /* admin: Host and Origin are checked */
	unsigned head_ms; /* deadline of a request's head */
	const char *spool_dir;
	struct loop_counters *counters;
	struct MHD_Daemon *daemon;
	int quiesced; /* the socket that listener_drain() took back; -1 before */
	struct snapshot *snapshot; /* the loop's reference to the published documents ... */
	uint64_t generation;	   /* ... and which it is; see manifest/publish.h */
	uint64_t requests;	/* begun so far; the loop's */
	atomic_uint active;	/* requests between their first callback and completion */
	atomic_uint suspended;	/* those that wait for a worker or the ledger */
	struct exchange *_Atomic landed; /* those that exchange_land() brought, newest first */
	atomic_bool draining;	/* new requests are sent away */
	atomic_bool ending;	/* nothing may be suspended any more; listener_drain()'s */
	atomic_ullong swept;	/* connections ended by a deadline; the sweeper's */
	pthread_mutex_t lock;	/* guards exchanges, the list */
	struct exchange *exchanges; /* of all open connections */
};

enum stage {
	STAGE_IDLE,	/* between requests */
	STAGE_BEGIN,	/* .begin runs on a worker */
	STAGE_BODY,	/* the body arrives */
	STAGE_WORK,	/* suspended: a worker, or whoever will call exchange_resume() */
	STAGE_ANSWER	/* the reply is filled and waits to be queued */
};

struct exchange {
	struct MHD_Connection *connection;
	struct loop *loop;
	struct exchange *next, **prev; /* in loop->exchanges */
	int socket;
	/* Monotonic ms after which the sweeper ends the connection; 0: none. */
	_Atomic int64_t deadline;
	int64_t left_ms; /* until then, when it was suspended; 0: none */
	enum stage stage;
	const struct route *route; /* NULL: refused before it was found */
	unsigned allow;		   /* as in struct route_match, when the method is wrong */
	uint64_t number; /* of the request, among its loop's; who answers on a worker may read it */
	struct request rq;
	struct reply reply;
	struct buf body;  /* what is kept in memory of it */
	int64_t max_body; /* bytes of the body at the most */
	bool drop;	  /* the body is refused already: read and forget the rest */
	struct err err;	  /* why, and what .begin or a later step reported */
	struct job job;
	/* ON_LOOP handlers that wait: runs on the loop after exchange_resume(). */
	route_handler *then;
	void (*then_drop)(void *then_arg); /* runs instead when the client is gone by then */
	void *then_arg;
	struct exchange *landed_next; /* exchange_land()'s ... */
	bool lands_first;	      /* ... that it came to an empty list and wakes the loop */
};

/* listen.c's: a connection opened (NULL without memory), and closed. */
struct exchange *exchange_open(struct loop *loop, struct MHD_Connection *connection, int socket);
void exchange_close(struct exchange *exchange);
/* listen.c's: the library's access handler, for exchange in any of its stages.  0: go on; -1: end
 * the connection. */
int exchange_step(struct exchange *exchange, const char *path, const char *method,
		  const char *bytes, size_t *len);
/* listen.c's: the request is over, answered or not. */
void exchange_end(struct exchange *exchange);

/* For handlers ON_LOOP with BODY_MEMORY: the body, theirs to change until the answer is queued. */
void exchange_body(struct exchange *exchange, char **ret_bytes, size_t *ret_len);
/* For handlers ON_LOOP: suspend, and run then(rq, reply, err) on the loop after exchange_resume(),
 * which any thread may call once; or drop(then_arg) there, when the client is gone by then.  The
 * handler returns 0 with the reply still empty.  ERR_BUSY when shutting down: not suspended. */
int exchange_suspend(struct exchange *exchange, route_handler *then, void (*drop)(void *then_arg),
		     void *then_arg, struct err *err) CHECKED;
void exchange_resume(struct exchange *exchange);
/* The same for one of many: the first wakes the loop, which resumes those that landed by then, so that
 * whoever brings a hundred does not wake it a hundred times. */
void exchange_land(struct exchange *exchange);
void *exchange_then_arg(const struct exchange *exchange);
struct loop *exchange_loop(const struct exchange *exchange);
/* The network that the request comes from; false: from this machine itself. */
bool exchange_network(const struct exchange *exchange, struct network *ret_network);
/* feed.c's: as exchange_suspend() while an answer is being sent. */
int exchange_pause(struct exchange *exchange, struct err *err) CHECKED;
/* On the loop: so many bytes of a body came, or of a fed answer went, and the client gets time for
 * as many more.  What it did not need before counts up to a minute. */
void exchange_allow(struct exchange *exchange, size_t bytes);

/* For request.h. */
const char *exchange_header(const struct exchange *exchange, const char *name);
const char *exchange_query(const struct exchange *exchange, const char *name); /* raw */

/* Run handler, its error becoming the reply; logs what the client is not told. */
void exchange_handle(struct exchange *exchange, route_handler *handler);
/* The whole of a worker's part: parse the body, honour Idempotency-Key, run the handler. */
void dispatch_run(struct exchange *exchange, struct db *db);

#endif
