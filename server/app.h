/* app.h -- the whole daemon, assembled: what handlers reach through rq->app.
 * Threads: const after app_start() but for the atomics; each part says itself who may call it. */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

struct auth;	  /* server/auth.h */
struct blobs;	  /* store/blob.h */
struct device_replies;
struct config;	  /* server/config.h */
struct engine;	  /* rollout/engine.h */
struct intake;	  /* telemetry/intake.h */
struct ledger;	  /* store/ledger.h */
struct listener;  /* server/listen.h */
struct metrics;	  /* server/metrics.h */
struct publisher; /* manifest/publish.h */
struct workers;	  /* server/workers.h */

struct app {
	const struct config *config;
	struct clock clock; /* own time; development keys may run it fast */
	bool development;   /* roots are signed by keys in the data directory */
	struct ledger *ledger;
	struct publisher *publisher;
	struct blobs *blobs;
	struct intake *intake;
	struct engine *engine;
	struct auth *auth;
	struct metrics *metrics;
	struct workers *workers; /* the admin listener's */
	struct workers *bulk;	 /* the device listener's, so that neither starves the other */
	struct device_replies *replies; /* server/device.h */
	atomic_bool disk_low;	 /* less than reserve_mib is free; looked at twice a second */
	struct listener *device, *admin;
	atomic_uint feeds;	/* answers being fed; feed.c */
	int lock_fd;		/* the data directory's lock */
	int64_t started_ms;	/* wall */
	bool access_log;	/* a line for every request */
};

/* Assemble in order: lock, database, ledger, keys, publisher, store, intake, engine, workers,
 * listeners.  config is borrowed.  On failure nothing is left running. */
int app_start(struct app **ret_app, const struct config *config, struct err *err) CHECKED;
/* In reverse: stop listening, finish what is in flight, stop.  NULL is fine. */
void app_stop(struct app *app);

/* flotillad init: the data directory, keys, first admin token, channel "stable", a catch-all class.
 * Prints what was made to stdout.  ERR_CONFLICT when there is one already. */
int app_init(const struct config *config, bool development, struct err *err) CHECKED;

#endif
