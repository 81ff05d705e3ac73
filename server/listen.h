/* listen.h -- a listening address served by N event loops, each a daemon of its own with a socket
 * of its own on the same port (SO_REUSEPORT), which spreads connections evenly.
 * A sweeper thread ends connections whose head, body or answer takes longer than its deadline:
 * the library's timeout only measures idleness.
 * Threads: listener_new(), _drain() and _free() from one thread; handlers run on the loops. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "base/cc.h"
#include "base/err.h"
#include "server/exchange.h"
#include "server/route.h"

#include <stdbool.h>
#include <stdint.h>

struct listener;

struct listener_spec {
	const char *address; /* "127.0.0.1:8080", "[::1]:8080", ":8080"; port 0: any free one */
	const char *key;     /* the configuration key it came from, for messages */
	unsigned listener;   /* LISTENER_DEVICE or LISTENER_ADMIN */
	const struct route *rows;
	unsigned row_count;
	unsigned loops;
	unsigned first_loop;	  /* index of its first loop among the process's, see metrics.h */
	unsigned max_connections; /* all loops together; more wait in the backlog */
	unsigned memory;	  /* bytes a connection may use for head and buffers */
	struct workers *workers;  /* for ON_WORKER rows; borrowed */
	bool guard_host;
	void (*tick)(struct app *app); /* called twice a second by the sweeper; may be NULL */
	unsigned head_ms;		 /* a request's head may take this long; 0: 15 s */
	const char *spool_dir;		 /* for BODY_SPOOL */
	const char *tls_cert, *tls_key; /* PEM texts; NULL: no TLS */
};

/* Bind; connections wait in the backlog.  spec's strings are borrowed for ever.  ERR_CONFLICT
 * names the address when the port is taken, and the remedy. */
int listener_new(struct listener **ret_listener, struct app *app,
		 const struct listener_spec *spec, struct err *err) CHECKED;

/* Serve.  app must be complete by now. */
int listener_start(struct listener *listener, struct err *err) CHECKED;

unsigned listener_port(const struct listener *listener);

/* Connections ended by a deadline so far. */
uint64_t listener_swept(const struct listener *listener);

/* No new connections from now on; waits up to ms for requests in flight. */
void listener_drain(struct listener *listener, int64_t ms);
/* Ends all connections.  Nothing may be suspended any more, which listener_drain() sees to as
 * long as workers and ledger still run.  NULL is fine. */
void listener_free(struct listener *listener);

/* Whether an address of that form is loopback; -1 when it cannot be read. */
int listen_is_loopback(const char *address, const char *key, struct err *err) CHECKED;

#endif
