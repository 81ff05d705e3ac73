#include "server/app.h"

#include "base/file.h"
#include "base/log.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/delta_queue.h"
#include "manifest/journal.h"
#include "manifest/keystore.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "manifest/publisher_store.h"
#include "rollout/engine.h"
#include "rollout/lane.h"
#include "server/auth.h"
#include "server/config.h"
#include "server/delta_worker.h"
#include "server/device.h"
#include "server/feed.h"
#include "server/housekeeping.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/quota.h"
#include "server/share.h"
#include "server/workers.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/delta_job.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/upload.h"
#include "telemetry/cells.h"
#include "telemetry/census.h"
#include "telemetry/days.h"
#include "telemetry/history.h"
#include "telemetry/intake.h"
#include "telemetry/nonces.h"
#include "telemetry/series.h"
#include "telemetry/span.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PATH_MAX_BYTES 1200
#define DEVICE_MEMORY 8192  /* bytes of head and buffers a connection; cleared for every request */
#define ADMIN_MEMORY 131072 /* larger pieces of uploads */
#define ADMIN_CONNECTIONS 512
#define LOOPS_MOST 8
#define BULK_NICE 5 /* polls go before downloads that must be unpacked */
#define PEM_MAX ((size_t)1024 * 1024)

/* ---- The database. ---- */

/* Every room's statements, prepared by every connection. */
static const struct sql_set *const sets[] = {
	&auth_sql,    &catalog_sql,   &class_sql,  &journal_sql, &offer_sql, &publish_sql, &publisher_sql,
	&inventory_sql, &upload_sql, &taken_sql, &delta_job_sql, &delta_queue_sql, &cells_sql,
	&cells_read_sql, &span_sql, &series_sql, &nonces_sql, &lane_sql, &census_sql,
	&days_sql,    &history_sql,
};

/* What devices and relays ask: their workers' connections keep no more prepared, which is most of
 * what a connection takes. */
static const struct sql_set *const device_sets[] = {&auth_sql, &inventory_sql};
/* And what the engine's helpers read. */
static const struct sql_set *const evidence_sets[] = {&span_sql, &cells_read_sql};

static void db_path(char out[static PATH_MAX_BYTES], const char *data_dir)
{
	snprintf(out, PATH_MAX_BYTES, "%s/flotilla.db", data_dir);
}

int app_db_open(struct db **ret_db, const char *data_dir, bool write, struct err *err)
{
	char path[PATH_MAX_BYTES];

	db_path(path, data_dir);
	return db_open(ret_db, path, write ? DB_WRITE : DB_READ, sets, COUNT_OF(sets), err);
}

int app_lock(const char *data_dir, int *ret_fd, struct err *err)
{
	char path[PATH_MAX_BYTES];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", data_dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND,
			       "%s: there is no data directory; make one with: flotillad init "
			       "--data-dir %s",
			       data_dir, data_dir);
	if (fd < 0)
		return err_sys(err, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return err_set(err, ERR_CONFLICT,
			       "%s is in use by another flotillad; stop that one first", data_dir);
	}
	*ret_fd = fd;
	return 0;
}

/* ---- Time. ---- */

int app_clock_load(struct db *db, struct clock *ret_clock, bool *ret_own, struct err *err)
{
	struct clock clock;
	char text[96];

	clock_real(&clock);
	*ret_own = db_meta_get(db, "clock", text, sizeof(text), err) == 0;
	if (!*ret_own && err->status != ERR_NOT_FOUND)
		return -1;
	if (*ret_own && sscanf(text, "%" SCNd64 " %" SCNd64 " %" SCNd64, &clock.real_ms,
			       &clock.own_ms, &clock.speed) != 3)
		return err_set(err, ERR_CORRUPT, "meta: the row clock cannot be read");
	*ret_clock = clock;
	return 0;
}

/* A fast clock goes on from where it was set: the origin is a row, so that a restart, at whatever
 * speed, never turns time back. */
static int clock_continue(struct app *app, struct db *db, struct err *err)
{
	int64_t wanted = app->config->clock_speed;
	struct clock before;
	bool own;
	char text[96];

	clock_real(&app->clock);
	if (app_clock_load(db, &before, &own, err) < 0)
		return -1;
	if (!own && wanted == 1)
		return 0;
	clock_fast(&app->clock, own ? clock_ms(&before) : clock_wall_ms(), wanted);
	app->own_time = true;
	snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64, app->clock.real_ms,
		 app->clock.own_ms, app->clock.speed);
	return db_meta_set(db, "clock", text, err);
}

/* ---- Start, part by part. ---- */

/* What development keys forbid and allow. */
static int development_check(const struct app *app, struct err *err)
{
	const struct config *config = app->config;
	int loopback = listen_is_loopback(config->device_listen, "device_listen", err);

	if (loopback < 0)
		return -1;
	if (!app->development && config->clock_speed != 1)
		return err_set(err, ERR_INVALID,
			       "clock_speed: only development keys may run the clock fast; set 1");
	if (app->development && !loopback && !config->insecure_dev)
		return err_set(err, ERR_INVALID,
			       "device_listen: %s is not loopback, and development keys sign here; "
			       "use a loopback address, or --insecure-dev if nothing matters",
			       config->device_listen);
	return 0;
}

static int publisher_start(struct app *app, const struct keystore *keys, struct db *db,
			   struct err *err)
{
	app->replies = device_replies_new();
	if (!app->replies)
		return err_nomem(err);
	if (publisher_new(&app->publisher, keys, &app->clock, err) < 0)
		return -1;
	publisher_on_doc(app->publisher, device_doc_ready, NULL);
	return publisher_load(app->publisher, db, err);
}

/* All that reads or writes the database, up to the ledger, which takes the connection over. */
static int data_start(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	const char *seed = *config->online_seed_file ? config->online_seed_file : NULL;
	AUTO_KEYSTORE struct keystore keys = {0};
	AUTO(db_close) struct db *db = NULL;

	if (keystore_load(&keys, config->data_dir, seed, err) < 0)
		return -1;
	app->development = keys.development;
	if (development_check(app, err) < 0 ||
	    app_db_open(&db, config->data_dir, true, err) < 0 ||
	    clock_continue(app, db, err) < 0 ||
	    auth_new(&app->auth, db, &app->clock, err) < 0 ||
	    publisher_start(app, &keys, db, err) < 0)
		return -1;
	return ledger_new(&app->ledger, TAKE(db), (unsigned)config->ledger_queue, err);
}

/* The first line of ingest_token_file. */
static int ingest_token_read(struct app *app, struct err *err)
{
	const char *path = app->config->ingest_token_file;
	AUTO_BUF struct buf text = BUF_INIT(sizeof(app->ingest_token) - 1);

	if (!*path)
		return 0;
	if (file_read(path, &text, err) < 0)
		return err_in(err, "ingest_token_file");
	if (text.len)
		text.data[strcspn(text.data, "\r\n")] = 0;
	if (!text.len || strlen(text.data) < 16)
		return err_set(err, ERR_INVALID,
			       "ingest_token_file: %s: at least 16 characters are wanted", path);
	snprintf(app->ingest_token, sizeof(app->ingest_token), "%s", text.data);
	sodium_memzero(text.data, text.len);
	return 0;
}

static int engine_connect(struct app *app, struct engine_options *options, struct err *err)
{
	char path[PATH_MAX_BYTES];

	db_path(path, app->config->data_dir);
	if (app_db_open(&options->db, app->config->data_dir, false, err) < 0)
		return -1;
	for (unsigned i = 0; i < ENGINE_READERS; i++)
		if (db_open(&options->readers[i], path, DB_READ, evidence_sets,
			    COUNT_OF(evidence_sets), err) < 0)
			return -1;
	return 0;
}

static int engine_start(struct app *app, struct err *err)
{
	struct engine_options options = {.ledger = app->ledger,
					 .publisher = app->publisher,
					 .cells = app->cells,
					 .clock = &app->clock,
					 .authentic = app->ingest_token[0] != 0,
					 .min_cohort = app->config->min_cohort};

	if (engine_connect(app, &options, err)) {
		db_close(options.db);
		for (unsigned i = 0; i < ENGINE_READERS; i++)
			db_close(options.readers[i]);
		return -1;
	}
	return engine_new(&app->engine, &options, err);
}

static int intake_start(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	const struct intake_options options = {
		.ledger = app->ledger,
		.cells = app->cells,
		.clock = &app->clock,
		.max_queued = (unsigned)config->intake_queue,
		.max_nonces = (uint64_t)config->max_nonces,
		.tmp = blobs_tmp(app->blobs),
	};

	return intake_new(&app->intake, &options, err);
}

static int quotas_start(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	const uint32_t relay = (uint32_t)config->relay_rate;
	const uint32_t relay_burst = relay > INTAKE_ITEM_MAX ? 2 * relay : 2 * INTAKE_ITEM_MAX;

	if (proxies_parse(&app->proxies, config->proxies, err) < 0)
		return -1;
	app->networks =
		quota_new((uint32_t)config->network_rate, (uint32_t)config->network_burst);
	app->relays = quota_new(relay, relay_burst);
	app->feeds = shares_new(FEEDS_MAX);
	return app->networks && app->relays && app->feeds ? 0 : err_nomem(err);
}

static int rooms_start(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	const struct blobs_options options = {.dir = config->data_dir,
					      .reserve = (uint64_t)config->reserve_mib << 20,
					      .ledger = app->ledger};

	app->cells = cells_new();
	if (!app->cells)
		return err_nomem(err);
	if (blobs_open(&app->blobs, &options, err) < 0)
		return -1;
	if (intake_start(app, err) < 0 || quotas_start(app, err) < 0)
		return -1;
	return ingest_token_read(app, err);
}

static int housekeeping_start(struct app *app, struct err *err)
{
	struct db *dbs[2];

	if (app_db_open(&dbs[0], app->config->data_dir, false, err) < 0)
		return -1;
	if (app_db_open(&dbs[1], app->config->data_dir, false, err) < 0) {
		db_close(dbs[0]);
		return -1;
	}
	return housekeeping_new(&app->housekeeping, app->blobs, dbs, &app->clock, err);
}

static int deltas_start(struct app *app, struct err *err)
{
	struct db *db = NULL;

	if (app_db_open(&db, app->config->data_dir, false, err) < 0)
		return -1;
	return delta_worker_new(&app->deltas, app->blobs, db, &app->clock, err);
}

static unsigned cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (unsigned)n;
}

static unsigned loop_count(const struct config *config)
{
	unsigned n = config->loops ? (unsigned)config->loops : cores();

	return !config->loops && n > LOOPS_MOST ? LOOPS_MOST : n;
}

static int workers_start(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	unsigned n = config->workers ? (unsigned)config->workers : cores();
	char path[PATH_MAX_BYTES];
	struct workers_options options = {.count = n < 2 ? 2 : n > 64 ? 64 : n,
					  .max_queued = (unsigned)config->job_queue,
					  .path = path,
					  .sets = sets,
					  .set_count = COUNT_OF(sets)};

	db_path(path, config->data_dir);
	if (workers_new(&app->workers, &options, err) < 0)
		return -1;
	options.nice = BULK_NICE;
	options.sets = device_sets;
	options.set_count = COUNT_OF(device_sets);
	return workers_new(&app->bulk, &options, err);
}

static int tls_read(struct app *app, struct err *err)
{
	const struct config *config = app->config;

	buf_init(&app->tls_cert, PEM_MAX);
	buf_init(&app->tls_key, PEM_MAX);
	if (!*config->tls_cert_file)
		return 0;
	if (file_read(config->tls_cert_file, &app->tls_cert, err) < 0)
		return err_in(err, "tls_cert_file");
	if (file_read(config->tls_key_file, &app->tls_key, err) < 0)
		return err_in(err, "tls_key_file");
	return 0;
}

/* The control plane's reserve: telemetry stops before the disk is quite full. */
static void disk_look(struct app *app)
{
	struct statvfs fs;

	if (statvfs(app->config->data_dir, &fs) == 0)
		atomic_store(&app->disk_low,
			     (uint64_t)fs.f_bavail * fs.f_frsize <
				     (uint64_t)app->config->reserve_mib << 20);
}

static int listeners_bind(struct app *app, struct err *err)
{
	const struct config *config = app->config;
	const char *tmp = blobs_tmp(app->blobs);
	unsigned loops = loop_count(config);
	const struct listener_spec device = {
		.address = config->device_listen,
		.key = "device_listen",
		.listener = LISTENER_DEVICE,
		.rows = routes,
		.row_count = route_count,
		.loops = loops,
		.max_connections = (unsigned)config->max_connections,
		.memory = DEVICE_MEMORY,
		.workers = app->bulk,
		.tick = disk_look,
		.spool_dir = tmp,
		.tls_cert = app->tls_cert.data,
		.tls_key = app->tls_key.data,
	};
	struct listener_spec admin = device;

	admin.address = config->admin_listen;
	admin.key = "admin_listen";
	admin.listener = LISTENER_ADMIN;
	admin.loops = 1;
	admin.first_loop = loops;
	admin.max_connections = ADMIN_CONNECTIONS;
	admin.memory = ADMIN_MEMORY;
	admin.workers = app->workers;
	admin.tick = NULL;
	admin.guard_host = true;
	app->metrics = metrics_new(loops + 1);
	if (!app->metrics)
		return err_nomem(err);
	if (listener_new(&app->device, app, &device, err) < 0)
		return -1;
	return listener_new(&app->admin, app, &admin, err);
}

static void started_log(const struct app *app)
{
	log_event(LOG_INFO, "server.started", F_TEXT("version", FLOTILLA_VERSION),
		  F_TEXT("data_dir", app->config->data_dir),
		  F_TEXT("device_listen", app->config->device_listen),
		  F_INT("device_port", listener_port(app->device)),
		  F_TEXT("admin_listen", app->config->admin_listen),
		  F_INT("admin_port", listener_port(app->admin)),
		  F_INT("took_ms", clock_wall_ms() - app->started_ms));
	if (app->development)
		log_event(LOG_WARN, "keys.development",
			  F_TEXT("text", "roots are signed with keys in the data directory; do not "
					 "ship an app that trusts them"));
	if (app->own_time)
		log_event(LOG_WARN, "clock.own", F_INT("speed", app->clock.speed),
			  F_INT("own_s", clock_s(&app->clock)));
}

int app_start(struct app **ret_app, const struct config *config, struct err *err)
{
	AUTO(app_stop) struct app *app = calloc(1, sizeof(*app));

	if (!app)
		return err_nomem(err);
	app->config = config;
	app->lock_fd = -1;
	app->started_ms = clock_wall_ms();
	app->access_log = strcmp(config->log_level, "debug") == 0;
	if (app_lock(config->data_dir, &app->lock_fd, err) < 0 || tls_read(app, err) < 0 ||
	    data_start(app, err) < 0 || rooms_start(app, err) < 0 ||
	    workers_start(app, err) < 0 || listeners_bind(app, err) < 0)
		return -1;
	disk_look(app);
	/* Only now, when the ports are ours: nothing is decided by a daemon that cannot serve. */
	if (engine_start(app, err) < 0 || housekeeping_start(app, err) < 0 ||
	    deltas_start(app, err) < 0)
		return -1;
	/* The admin's last: it tells how the other fares. */
	if (listener_start(app->device, err) < 0 || listener_start(app->admin, err) < 0)
		return -1;
	started_log(app);
	*ret_app = TAKE(app);
	return 0;
}

void app_stop(struct app *app)
{
	int64_t ms;

	if (!app)
		return;
	ms = app->config->drain_s * 1000;
	if (app->device)
		listener_drain(app->device, ms);
	if (app->admin)
		listener_drain(app->admin, ms);
	listener_free(app->device);
	listener_free(app->admin);
	workers_free(app->workers);
	workers_free(app->bulk);
	engine_free(app->engine);
	housekeeping_free(app->housekeeping);
	delta_worker_free(app->deltas);
	ledger_free(app->ledger);
	intake_free(app->intake);
	quota_free(app->networks);
	quota_free(app->relays);
	shares_free(app->feeds);
	cells_free(app->cells);
	blobs_free(app->blobs);
	publisher_free(app->publisher);
	device_replies_free(app->replies);
	auth_free(app->auth);
	metrics_free(app->metrics);
	buf_done(&app->tls_cert);
	buf_done(&app->tls_key);
	if (app->lock_fd >= 0)
		close(app->lock_fd);
	free(app);
}
