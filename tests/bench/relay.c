/* relay daemon URL TOKEN_FILE SECONDS | relay count URL TOKEN_FILE REPORTS | relay sqlite DIR SECONDS --
 * usage reports, 1,000 a batch: sent as a relay sends them, from 4 connections, for so long or so many,
 * or inserted raw into SQLite (WAL, synchronous=FULL) a transaction a batch.  Prints reports a second.
 * Batches that are sent for a time are made beforehand. */
#include "base/buf.h"
#include "base/clock.h"
#include "cli/api.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define REPORTS 1000
#define CONNECTIONS 4
#define BATCHES 1000 /* made beforehand; more are not needed in the seconds given */

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "relay: %s\n", what);
	exit(1);
}

static void add_report(struct buf *out)
{
	uint8_t nonce[16];
	char text[32];
	randombytes_buf(nonce, sizeof(nonce));
	sodium_bin2base64(text, sizeof(text), nonce, sizeof(nonce), sodium_base64_VARIANT_ORIGINAL);
	buf_addf(out,
		 "{\"schema\":1,\"kind\":\"usage\",\"nonce\":\"%s\",\"channel\":\"stable\",\"class\":"
		 "\"default\",\"os_major\":15,\"runtime\":\"llama.cpp/4000\",\"day\":%lld,\"day_first\":"
		 "true,\"entries\":[{\"model\":\"assistant\",\"variant\":\"assistant@1.0.0/q8_0\",\"used\":"
		 "4,\"hit\":{\"crash\":1},\"n\":{\"sessions\":4,\"requests\":30,\"ok\":29,\"crash\":1},"
		 "\"h\":{\"ttft_ms\":{\"o\":136,\"c\":[9,14,18]}}}]}\n",
		 text, (long long)(clock_wall_ms() / 86400000 - 1));
}

/* ---- the daemon ---- */

struct body {
	void *bytes;
	size_t len;
};
static struct {
	const char *url, *token;
	struct body bodies[BATCHES];
	unsigned next; /* atomic */
	unsigned done; /* atomic */
	unsigned most; /* batches that are made when they are sent */
	int64_t until;
} load;

static struct body make_body(void)
{
	AUTO_BUF struct buf plain = BUF_INIT(1 << 20);
	for (unsigned i = 0; i < REPORTS; i++)
		add_report(&plain);
	const size_t room = ZSTD_compressBound(plain.len);
	struct body body = {malloc(room), 0};
	body.len = body.bytes ? ZSTD_compress(body.bytes, room, plain.data, plain.len, 3) : 0;
	if (!body.bytes || ZSTD_isError(body.len))
		die("cannot compress");
	return body;
}

static void send_one(struct api *api, const struct body *body)
{
	struct err err;
	struct api_reply reply;
	const struct api_request q = {.method = "POST", .path = "/v1/telemetry/batch",
				      .bytes = body->bytes, .len = body->len,
				      .headers = {"Content-Encoding: zstd"}, .patience_s = 60};
	if (api_call(api, &q, &reply, &err))
		die(err.text);
	api_reply_done(&reply);
	__atomic_fetch_add(&load.done, 1, __ATOMIC_RELAXED);
}

static struct api *open_api(void)
{
	struct api *api;
	struct err err;
	const struct api_options options = {.server = load.url, .token_file = load.token, .timeout_s = 60};
	if (api_open(&api, &options, &err))
		die(err.text);
	return api;
}

static void *send_for_a_time(void *arg)
{
	struct api *api = open_api();
	(void)arg;
	while (clock_monotonic_ms() < load.until) {
		const unsigned i = __atomic_fetch_add(&load.next, 1, __ATOMIC_RELAXED);
		if (i >= BATCHES)
			die("too few batches were made");
		send_one(api, &load.bodies[i]);
	}
	api_close(api);
	return NULL;
}

static void *send_so_many(void *arg)
{
	struct api *api = open_api();
	(void)arg;
	while (__atomic_fetch_add(&load.next, 1, __ATOMIC_RELAXED) < load.most) {
		struct body body = make_body();
		send_one(api, &body);
		free(body.bytes);
	}
	api_close(api);
	return NULL;
}

static double run(void *(*how)(void *arg), int64_t start)
{
	pthread_t threads[CONNECTIONS];
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (pthread_create(&threads[i], NULL, how, NULL))
			die("cannot start a thread");
	for (unsigned i = 0; i < CONNECTIONS; i++)
		pthread_join(threads[i], NULL);
	return load.done * (double)REPORTS * 1000 / (double)(clock_monotonic_ms() - start);
}

static double to_daemon(int64_t ms)
{
	for (unsigned i = 0; i < BATCHES; i++)
		load.bodies[i] = make_body();
	const int64_t start = clock_monotonic_ms();
	load.until = start + ms;
	return run(send_for_a_time, start);
}

static double to_count(int64_t reports)
{
	load.most = (unsigned)(reports / REPORTS);
	return run(send_so_many, clock_monotonic_ms());
}

/* ---- SQLite ---- */

static void run_sql(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		die(sqlite3_errmsg(db));
}

static void insert_batch(sqlite3 *db, sqlite3_stmt *insert)
{
	AUTO_BUF struct buf report = BUF_INIT(4096);
	run_sql(db, "BEGIN IMMEDIATE");
	for (unsigned i = 0; i < REPORTS; i++) {
		buf_reset(&report);
		add_report(&report);
		sqlite3_bind_text(insert, 1, report.data, (int)report.len, SQLITE_STATIC);
		if (sqlite3_step(insert) != SQLITE_DONE)
			die(sqlite3_errmsg(db));
		sqlite3_reset(insert);
	}
	run_sql(db, "COMMIT");
}

static double to_sqlite(const char *dir, int64_t ms)
{
	char path[600];
	sqlite3 *db;
	sqlite3_stmt *insert;
	unsigned batches = 0;
	snprintf(path, sizeof(path), "%s/raw.db", dir);
	remove(path);
	if (sqlite3_open(path, &db))
		die(path);
	run_sql(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		    "CREATE TABLE raw (id INTEGER PRIMARY KEY, report TEXT NOT NULL)");
	if (sqlite3_prepare_v2(db, "INSERT INTO raw (report) VALUES (?)", -1, &insert, NULL))
		die(sqlite3_errmsg(db));
	const int64_t start = clock_monotonic_ms();
	for (; clock_monotonic_ms() < start + ms; batches++)
		insert_batch(db, insert);
	const double rate = batches * (double)REPORTS * 1000 / (double)(clock_monotonic_ms() - start);
	sqlite3_finalize(insert);
	sqlite3_close(db);
	remove(path);
	return rate;
}

int main(int argc, char **argv)
{
	double rate;
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT))
		die("cannot start");
	const bool count = argc == 5 && !strcmp(argv[1], "count");
	if (count || (argc == 5 && !strcmp(argv[1], "daemon"))) {
		load.url = argv[2];
		load.token = argv[3];
		rate = count ? to_count(atoll(argv[4])) : to_daemon(atoll(argv[4]) * 1000);
	} else if (argc == 4 && !strcmp(argv[1], "sqlite")) {
		rate = to_sqlite(argv[2], atoll(argv[3]) * 1000);
	} else {
		die("usage: relay daemon URL TOKEN_FILE SECONDS | relay count URL TOKEN_FILE REPORTS |"
		    " relay sqlite DIR SECONDS");
	}
	printf("%.1f 0 0\n", rate);
	return 0;
}
