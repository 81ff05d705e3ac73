/* app.h -- the whole daemon, assembled: what handlers reach through rq->app.
 * Threads: const after app_start() but for the atomics; each part says itself who may call it. */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "server/client.h"

#include <stdatomic.h>
#include <stdbool.h>

struct auth;	  /* server/auth.h */
struct blobs;	  /* store/blob.h */
struct cells;	  /* telemetry/cells.h */
struct config;	  /* server/config.h */
struct db;	  /* store/db.h */
struct delta_worker; /* server/delta_worker.h */
struct device_replies; /* server/device.h */
struct engine;	  /* rollout/engine.h */
struct housekeeping; /* server/housekeeping.h */
struct intake;	  /* telemetry/intake.h */
struct ledger;	  /* store/ledger.h */
struct listener;  /* server/listen.h */
struct metrics;	  /* server/metrics.h */
struct quota;	  /* server/quota.h */
struct publisher; /* manifest/publish.h */
struct shares;	  /* server/share.h */
struct workers;	  /* server/workers.h */

struct app {
	const struct config *config;
	struct clock clock; /* own time; development keys may run it fast */
	bool own_time;	    /* the clock is not real time: Date is ours */
	bool development;   /* roots are signed by keys in the data directory */
	struct ledger *ledger;
	struct publisher *publisher;
	struct blobs *blobs;
	struct cells *cells; /* the ledger thread's */
	struct intake *intake;
	struct engine *engine;
	struct housekeeping *housekeeping;
	struct delta_worker *deltas;
	struct proxies proxies;
	struct quota *networks, *relays; /* telemetry that they may send */
	char ingest_token[128]; /* that telemetry must carry; "" = none asked for */
	struct auth *auth;
	struct metrics *metrics;
	struct workers *workers; /* the admin listener's */
	struct workers *bulk;	 /* the device listener's, so that neither starves the other; nicer */
	struct device_replies *replies;
	struct listener *device, *admin;
	struct buf tls_cert, tls_key; /* PEM; empty: no TLS */
	atomic_bool disk_low; /* less than reserve_mib is free; looked at twice a second */
	struct shares *feeds; /* answers being fed; feed.c */
	int lock_fd;	      /* the data directory's lock */
	int64_t started_ms;   /* wall */
	bool access_log;      /* a line for every request */
};

/* Assemble in order: lock, keys, database, clock, publisher, ledger, store, intake, workers,
 * ports, engine, housekeeping, deltas, listeners.  config is borrowed.  On failure nothing is left running. */
int app_start(struct app **ret_app, const struct config *config, struct err *err) CHECKED;
/* In reverse: stop listening, finish what is in flight, stop.  NULL is fine. */
void app_stop(struct app *app);
DEFINE_AUTO(struct app, app_stop)

/* flotillad init: the data directory, keys, first admin token, channel "stable", a catch-all class,
 * their first documents.  Prints what was made to stdout.  ERR_CONFLICT when there is one already. */
int app_init(const struct config *config, bool development, struct err *err) CHECKED;

/* flotillad rebuild: the store's rows again, from its files (store/rebuild.h).  Prints what there is.
 * ERR_CONFLICT while a daemon runs. */
int app_rebuild(const struct config *config, struct err *err) CHECKED;

/* Parts that all use. */
int app_lock(const char *data_dir, int *ret_fd, struct err *err) CHECKED;
/* A connection to data_dir's database with every room's statements. */
int app_db_open(struct db **ret_db, const char *data_dir, bool write, struct err *err) CHECKED;
/* The daemon's clock as it was set last; *ret_own: it is not real time. */
int app_clock_load(struct db *db, struct clock *ret_clock, bool *ret_own, struct err *err) CHECKED;

#endif
