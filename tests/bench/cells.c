/* bench_cells DIR: what a report costs on its way into cells: ten lanes in a fleet of eight OS majors and
 * three runtimes, a day of windows, a hundred reports a commit, in a new database in DIR.  Prints the
 * processor time and the writes a report, and rows and bytes that are there at the end. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "server/app.h"
#include "telemetry/cells.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define LANES 10
#define DEVICES 2000 /* of each lane; a tenth of them candidates */
#define HOURS 24
#define AT_ONCE 100
#define T0 ((int64_t)1767225600)

static uint64_t state = 1;
static const char *const runtimes[] = {"llama.cpp/4000", "llama.cpp/4100", "mlc/0.15"};
static const unsigned majors[] = {15, 15, 15, 15, 14, 14, 14, 14, 13, 13, 13, 12, 12, 11, 10, 9};
static char classes[LANES][16];

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005U + 1442695040888963407U;
	return (unsigned)(state >> 33) % n;
}

static void die(const struct err *err)
{
	fprintf(stderr, "bench_cells: %s\n", err->text);
	exit(1);
}

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){1000, 900, *recipe};
	return 0;
}

static int fill(struct db *db, struct err *err)
{
	const struct release_spec spec = {.model = "assistant", .release = "1.0.0"};
	int64_t version;
	json_auto_t *rules = json_array();
	json_auto_t *body = json_pack(
		"{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "model.gguf", "recipe",
		"00000000000000000000000000000000000000000000000000000000000000aa");
	for (unsigned i = 0; i < LANES; i++) {
		snprintf(classes[i], sizeof(classes[i]), "class-%u", i);
		json_array_append_new(rules, i + 1 < LANES
			? json_pack("{s:s, s:[{s:[{s:s, s:s, s:i}]}]}", "class", classes[i], "any", "all",
				    "attr", "ram_mib", "op", "ge", "value", (int)(LANES - i) * 1000)
			: json_pack("{s:s}", "class", classes[i]));
	}
	json_auto_t *document = json_pack("{s:i, s:O}", "schema", 1, "rules", rules);
	return class_init(db, T0, err) || catalog_channel_add(db, "stable", T0, err) ||
	       class_rules_put(db, document, -1, "bench", T0, &version, err) ||
	       catalog_model_add(db, "assistant", T0, err) || catalog_release_add(db, &spec, T0, err) ||
	       catalog_variant_put(db, "assistant", "1.0.0", "q4_0", body, lookup, NULL, T0, err) ||
	       catalog_release_publish(db, "assistant", "1.0.0", T0, err);
}

/* One device's hour: used in a third of them, and once a day it tells its use. */
static void device_hour(struct report *r, unsigned lane, unsigned device, unsigned hour)
{
	static const uint16_t counts[2][3] = {{1, 4, 1}, {2, 1, 3}};
	const bool usage = hour == 23;
	struct report_entry *e = &r->entries[0];
	*r = (struct report){.kind = usage ? REPORT_USAGE : REPORT_WINDOW, .channel = "stable",
			     .class = classes[lane], .os_major = majors[device % 16],
			     .runtime = runtimes[device % 3], .at = usage ? T0 : T0 + hour * 3600,
			     .day_first = true, .entry_len = 1};
	r->nonce[0] = (uint8_t)below(256);
	*e = (struct report_entry){.model = "assistant", .variant = "assistant@1.0.0/q4_0",
				   .rollout = usage ? "" : "r1", .stage = usage ? 0 : 1,
				   .arm = usage		     ? REPORT_ARM_NONE
					  : device % 10 == 0 ? REPORT_ARM_CANDIDATE
							     : REPORT_ARM_CONTROL,
				   .via = "", .load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .used = 8};
	static const char *const names[] = {"sessions", "requests", "ok", "crash"};
	for (unsigned i = 0; i < (below(100) ? 3 : 4); i++)
		e->counts[e->count_len++] = (struct report_count){
			(uint8_t)metric_index(metric_find(names[i])), 3, 1};
	e->hists[e->hist_len++] = (struct report_hist){(uint8_t)metric_index(metric_find("ttft_ms")),
						       (uint16_t)(130 + below(20)), 3, counts[0]};
	e->hists[e->hist_len++] = (struct report_hist){
		(uint8_t)metric_index(metric_find("decode_mtps")), (uint16_t)(210 + below(12)), 3, counts[1]};
}

static unsigned long send_all(struct db *db, struct cells *cells, struct err *err)
{
	unsigned long sent = 0;
	struct report r;
	bool known;
	for (unsigned hour = 0; hour < HOURS; hour++)
		for (unsigned device = 0; device < DEVICES; device++)
			for (unsigned lane = 0; lane < LANES; lane++) {
				if (hour != 23 && below(3))
					continue;
				if (sent % AT_ONCE == 0 && db_begin(db, err))
					die(err);
				device_hour(&r, lane, device, hour);
				if (cells_add(cells, db, &r, &known, err) || !known)
					die(err);
				if (++sent % AT_ONCE == 0 &&
				    (cells_flush(cells, db, err) || db_commit(db, err)))
					die(err);
			}
	if (sent % AT_ONCE && (cells_flush(cells, db, err) || db_commit(db, err)))
		die(err);
	return sent;
}

static double number(const char *dir, const char *sql)
{
	char path[4096];
	sqlite3 *raw;
	sqlite3_stmt *q;
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
	double value = 0;
	if (sqlite3_open(path, &raw) == SQLITE_OK && sqlite3_prepare_v2(raw, sql, -1, &q, NULL) == SQLITE_OK) {
		if (sqlite3_step(q) == SQLITE_ROW)
			value = sqlite3_column_double(q, 0);
		sqlite3_finalize(q);
	}
	sqlite3_close(raw);
	return value;
}

int main(int argc, char **argv)
{
	struct err err;
	struct db *db;
	struct cells *cells;
	static const int64_t closed[CELLS_MARKS];
	if (argc != 2 || sodium_init() < 0) {
		fputs("usage: bench_cells DIR\n", stderr);
		return 2;
	}
	if (file_mkdirs(argv[1], 0700, &err) || app_db_open(&db, argv[1], true, &err) ||
	    db_begin(db, &err) || fill(db, &err) || db_commit(db, &err) || !(cells = cells_new()))
		die(&err);
	for (unsigned i = 0; i < LANES; i++)
		if (cells_lane_set(cells, "r1", classes[i], closed, &err))
			die(&err);
	const clock_t begun = clock();
	const unsigned long sent = send_all(db, cells, &err);
	const double us = (double)(clock() - begun) / CLOCKS_PER_SEC * 1e6;
	cells_free(cells);
	db_close(db);
	const double rows = number(argv[1], "SELECT COUNT(*) FROM cells"),
		     buckets = number(argv[1], "SELECT COUNT(*) FROM cell_buckets"),
		     slices = number(argv[1], "SELECT COUNT(*) FROM cell_slices"),
		     bytes = number(argv[1], "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
	printf("%lu reports: %.2f us of processor each; %.0f cells, %.0f buckets, %.0f slices; %.1f bytes"
	       " of database a report\n", sent, us / (double)sent, rows, buckets, slices, bytes / (double)sent);
	return 0;
}
