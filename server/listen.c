#include "server/listen.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "manifest/publish.h"
#include "server/app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPS_MAX 64
#define IDLE_S 75  /* the library closes idle connections after this */
#define BACKLOG 1024
#define SWEEP_MS 500
#define HEAD_MS 15000

struct listener {
	struct app *app;
	struct listener_spec spec;
	struct route_table *table;
	int sockets[LOOPS_MAX]; /* bound and listening; -1 once a loop has it */
	unsigned socket_count;
	struct loop loops[LOOPS_MAX];
	atomic_uint loop_count; /* started; handlers of the first may ask before the last is */
	unsigned port;
	pthread_t sweeper;
	bool sweeping;	      /* the thread was started */
	pthread_mutex_t lock; /* guards stopping */
	pthread_cond_t wake;  /* of the sweeper */
	bool stopping;	      /* tells it to end */
};

/* ---- Addresses. ---- */

struct address {
	struct sockaddr_storage bytes;
	socklen_t len;
};

/* Cut "host:port" at its last colon; brackets around an IPv6 host go. */
static int address_split(const char *text, char host[static 64], char port[static 8])
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (!colon || len >= 64 || strlen(colon + 1) >= 8 || !colon[1])
		return -1;
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -1;
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	memcpy(host, text, len);
	host[len] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

static int address_parse(struct address *address, const char *text, const char *key,
			 struct err *err)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
				       .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char host[64], port[8];

	if (address_split(text, host, port) < 0 ||
	    getaddrinfo(*host ? host : NULL, port, &hints, &found) != 0)
		return err_set(err, ERR_INVALID,
			       "%s: \"%s\" is no address; write 127.0.0.1:8080, [::1]:8080 or :8080",
			       key, text);
	memcpy(&address->bytes, found->ai_addr, found->ai_addrlen);
	address->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static in_port_t *address_port(struct address *address)
{
	return address->bytes.ss_family == AF_INET6
		       ? &((struct sockaddr_in6 *)&address->bytes)->sin6_port
		       : &((struct sockaddr_in *)&address->bytes)->sin_port;
}

int listen_is_loopback(const char *text, const char *key, struct err *err)
{
	struct address address;

	if (address_parse(&address, text, key, err) < 0)
		return -1;
	if (address.bytes.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&address.bytes)->sin6_addr);
	return ntohl(((struct sockaddr_in *)&address.bytes)->sin_addr.s_addr) >> 24 == 127;
}

/* ---- Sockets. ---- */

static int bind_error(const struct listener_spec *spec, struct err *err)
{
	if (errno == EADDRINUSE)
		return err_set(err, ERR_CONFLICT,
			       "%s: %s is in use by another process; stop that one (ss -ltnp shows "
			       "it) or set another address with --%s",
			       spec->key, spec->address,
			       spec->listener == LISTENER_ADMIN ? "admin-listen"
								: "device-listen");
	return err_sys(err, "%s: cannot listen on %s", spec->key, spec->address);
}

/* A socket bound to address; shared: others may bind there too. */
static int socket_bind(const struct address *address, bool shared,
		       const struct listener_spec *spec, struct err *err)
{
	int fd = socket(address->bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return bind_error(spec, err);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (shared)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&address->bytes, address->len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		bind_error(spec, err);
		close(fd);
		return -1;
	}
	return fd;
}

/* SO_REUSEPORT would let two daemons of one user share a port unnoticed, so the first bind is done
 * without it.  Also turns port 0 into the port the kernel chose. */
static int port_claim(struct address *address, const struct listener_spec *spec, struct err *err)
{
	int fd = socket_bind(address, false, spec, err);

	if (fd < 0)
		return -1;
	getsockname(fd, (struct sockaddr *)&address->bytes, &address->len);
	close(fd);
	return 0;
}

/* ---- The library's callbacks. ---- */

static struct exchange *exchange_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*socket_context = exchange_open(cls, connection, info ? info->connect_fd : -1);
	} else if (*socket_context) {
		exchange_close(*socket_context);
		*socket_context = NULL;
	}
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *bytes,
				  size_t *len, void **state)
{
	struct exchange *exchange = *state ? *state : exchange_of(connection);

	(void)cls;
	(void)version;
	if (!exchange)
		return MHD_NO;
	*state = exchange;
	return exchange_step(exchange, url, method, bytes, len) == 0 ? MHD_YES : MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	(void)cls;
	(void)connection;
	(void)code;
	if (*state)
		exchange_end(*state);
	*state = NULL;
}

/* Escapes stay: an encoded slash must not split segments, an encoded NUL not end the path. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static void on_log(void *cls, const char *fmt, va_list args)
{
	char text[512];
	size_t len;

	(void)cls;
	/* The format is the library's, not ours to check. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(text, sizeof(text), fmt, args);
#pragma GCC diagnostic pop
	len = strlen(text);
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	log_event(LOG_DEBUG, "http.library", F_TEXT("text", text));
}

/* ---- The sweeper. ---- */

static void loop_sweep(struct loop *loop, int64_t now)
{
	pthread_mutex_lock(&loop->lock);
	for (struct exchange *x = loop->exchanges; x; x = x->next) {
		int64_t deadline = atomic_load_explicit(&x->deadline, memory_order_relaxed);

		if (!deadline || now < deadline)
			continue;
		/* The socket stays open until exchange_close(), which needs the lock we hold. */
		shutdown(x->socket, SHUT_RDWR);
		atomic_store_explicit(&x->deadline, 0, memory_order_relaxed);
		atomic_fetch_add_explicit(&loop->swept, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&loop->lock);
}

/* Waits between two sweeps; whether there will be another. */
static bool sweeper_wait(struct listener *listener)
{
	const int64_t until = clock_monotonic_ms() + SWEEP_MS;
	bool more;

	pthread_mutex_lock(&listener->lock);
	while (!listener->stopping && cond_wait_until(&listener->wake, &listener->lock, until))
		;
	more = !listener->stopping;
	pthread_mutex_unlock(&listener->lock);
	return more;
}

static void *sweeper_main(void *arg)
{
	struct listener *listener = arg;

	while (sweeper_wait(listener)) {
		if (listener->spec.tick)
			listener->spec.tick(listener->app);
		for (unsigned i = 0; i < listener->loop_count; i++)
			loop_sweep(&listener->loops[i], clock_monotonic_ms());
	}
	return NULL;
}

static void sweeper_stop(struct listener *listener)
{
	pthread_mutex_lock(&listener->lock);
	listener->stopping = true;
	pthread_cond_signal(&listener->wake);
	pthread_mutex_unlock(&listener->lock);
	if (listener->sweeping)
		pthread_join(listener->sweeper, NULL);
	pthread_cond_destroy(&listener->wake);
	pthread_mutex_destroy(&listener->lock);
}

static void sweeper_init(struct listener *listener)
{
	cond_init(&listener->wake);
	pthread_mutex_init(&listener->lock, NULL);
}

/* ---- Start. ---- */

#define OPTIONS_MAX 16

static void loop_options(struct loop *loop, const struct listener_spec *spec, int fd,
			     struct MHD_OptionItem *items)
{
	unsigned n = 0;

#define OPTION(id, number, pointer)                                                                \
	items[n++] = (struct MHD_OptionItem){(id), (intptr_t)(number), (pointer)}
	OPTION(MHD_OPTION_LISTEN_SOCKET, fd, NULL);
	OPTION(MHD_OPTION_CONNECTION_LIMIT, spec->max_connections / spec->loops + 1, NULL);
	OPTION(MHD_OPTION_CONNECTION_MEMORY_LIMIT, spec->memory, NULL);
	OPTION(MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL);
	OPTION(MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL);
	OPTION(MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, loop);
	OPTION(MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, loop);
	OPTION(MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL);
	if (spec->tls_cert) {
		OPTION(MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)spec->tls_cert);
		OPTION(MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)spec->tls_key);
	}
	OPTION(MHD_OPTION_END, 0, NULL);
#undef OPTION
}

static int loop_start(struct loop *loop, const struct listener_spec *spec, int fd,
		      struct err *err)
{
	struct MHD_OptionItem items[OPTIONS_MAX];
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_ERROR_LOG;

	if (loop->own_date)
		flags |= MHD_USE_SUPPRESS_DATE_NO_CLOCK;
	if (spec->tls_cert)
		flags |= MHD_USE_TLS;
	loop_options(loop, spec, fd, items);
	loop->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, loop,
					MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
					MHD_OPTION_ARRAY, items, MHD_OPTION_END);
	if (loop->daemon)
		return 0;
	close(fd);
	return err_set(err, ERR_SYSTEM, "%s: cannot start an event loop on %s%s", spec->key,
		       spec->address,
		       spec->tls_cert ? "; check tls_cert_file and tls_key_file" : "");
}

static void loop_init(struct loop *loop, const struct listener *listener, unsigned i)
{
	const struct listener_spec *spec = &listener->spec;
	struct app *app = listener->app;

	*loop = (struct loop){.app = app,
			      .table = listener->table,
			      .rows = spec->rows,
			      .workers = spec->workers,
			      .index = spec->first_loop + i,
			      .listener = spec->listener,
			      .own_date = app->own_time,
			      .access_log = app->access_log,
			      .guard_host = spec->guard_host,
			      .head_ms = spec->head_ms ? spec->head_ms : HEAD_MS,
			      .spool_dir = spec->spool_dir,
			      .quiesced = -1,
			      .counters = metrics_loop(app->metrics, spec->first_loop + i)};
	pthread_mutex_init(&loop->lock, NULL);
}

static int sockets_bind(struct listener *listener, struct err *err)
{
	const struct listener_spec *spec = &listener->spec;
	struct address address = {0};

	if (address_parse(&address, spec->address, spec->key, err) < 0 ||
	    port_claim(&address, spec, err) < 0)
		return -1;
	listener->port = ntohs(*address_port(&address));
	while (listener->socket_count < spec->loops) {
		int fd = socket_bind(&address, true, spec, err);

		if (fd < 0)
			return -1;
		listener->sockets[listener->socket_count++] = fd;
	}
	return 0;
}

DEFINE_AUTO(struct listener, listener_free)

int listener_new(struct listener **ret_listener, struct app *app,
		 const struct listener_spec *spec, struct err *err)
{
	AUTO(listener_free) struct listener *listener = NULL;

	if (spec->loops < 1 || spec->loops > LOOPS_MAX)
		return err_set(err, ERR_INVALID, "loops: give 1 to %d", LOOPS_MAX);
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return err_nomem(err);
	sweeper_init(listener);
	listener->app = app;
	listener->spec = *spec;
	if (route_table_new(&listener->table, spec->rows, spec->row_count, spec->listener, err) < 0)
		return -1;
	if (sockets_bind(listener, err) < 0)
		return -1;
	*ret_listener = TAKE(listener);
	return 0;
}

int listener_start(struct listener *listener, struct err *err)
{
	for (unsigned i = 0; i < listener->socket_count; i++) {
		int fd = listener->sockets[i];

		listener->sockets[i] = -1;
		loop_init(&listener->loops[i], listener, i);
		if (loop_start(&listener->loops[i], &listener->spec, fd, err) < 0)
			return -1;
		listener->loop_count++;
	}
	if (pthread_create(&listener->sweeper, NULL, sweeper_main, listener) != 0)
		return err_set(err, ERR_SYSTEM, "cannot start the sweeper's thread");
	listener->sweeping = true;
	return 0;
}

unsigned listener_port(const struct listener *listener)
{
	return listener->port;
}

uint64_t listener_swept(const struct listener *listener)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < listener->loop_count; i++)
		sum += atomic_load_explicit(&listener->loops[i].swept, memory_order_relaxed);
	return sum;
}

/* ---- Stop. ---- */

static unsigned active(const struct listener *listener)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < listener->loop_count; i++)
		sum += atomic_load_explicit(&listener->loops[i].active, memory_order_relaxed);
	return sum;
}

/* Requests that still wait for a worker or the ledger; they must be resumed before the end. */
static bool any_suspended(struct listener *listener)
{
	bool any = false;

	for (unsigned i = 0; i < listener->loop_count; i++)
		any = any || atomic_load(&listener->loops[i].suspended) > 0;
	return any;
}

void listener_drain(struct listener *listener, int64_t ms)
{
	int64_t until = clock_monotonic_ms() + ms;

	for (unsigned i = 0; i < listener->loop_count; i++) {
		struct loop *loop = &listener->loops[i];

		/* Clients are refused from here on; the number of the socket stays taken, since the
		   loop may be about to name it to epoll. */
		loop->quiesced = MHD_quiesce_daemon(loop->daemon);
		if (loop->quiesced >= 0)
			shutdown(loop->quiesced, SHUT_RDWR);
		atomic_store(&listener->loops[i].draining, true);
	}
	while (active(listener) && clock_monotonic_ms() < until)
		clock_sleep_ms(5);
	for (unsigned i = 0; i < listener->loop_count; i++)
		atomic_store(&listener->loops[i].ending, true);
	while (any_suspended(listener))
		clock_sleep_ms(5);
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	sweeper_stop(listener);
	for (unsigned i = 0; i < listener->loop_count; i++) {
		MHD_stop_daemon(listener->loops[i].daemon);
		if (listener->loops[i].quiesced >= 0)
			close(listener->loops[i].quiesced);
		snapshot_unref(listener->loops[i].snapshot);
		pthread_mutex_destroy(&listener->loops[i].lock);
	}
	for (unsigned i = 0; i < listener->socket_count; i++)
		if (listener->sockets[i] >= 0)
			close(listener->sockets[i]);
	route_table_free(listener->table);
	free(listener);
}
