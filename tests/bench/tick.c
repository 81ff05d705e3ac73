/* bench_tick fill DIR LANES ROUNDS BAD | bench_tick watch DIR URL START ROUNDS BAD -- from a
 * window's close to the manifest that follows from it.
 * fill: into a new data directory a rollout of LANES classes with the usual gates, and telemetry of them
 * all for windows to come, and prints when they start; in each of ROUNDS windows BAD lanes have candidates that crash.
 * watch: while the daemon lives through them fast, polls those lanes' manifests from the instant of
 * each window's close until they have changed.  A line a round: how many, milliseconds after the
 * close at p50, p99 and most; then the longest poll meanwhile.  The last line is of all rounds. */
#include "base/clock.h"
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "rollout/act.h"
#include "rollout/lane.h"
#include "server/app.h"
#include "store/ledger.h"
#include "telemetry/cells.h"
#include "telemetry/metric.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_S 1200
#define GRACE_S 600 /* of reports, and of slots */
#define FIRST 4	    /* windows before those that are measured: the daemon closes nothing for a while */
#define LEAD_S 60   /* own seconds before a close, when watching begins */
#define PAUSE_MS 10  /* between two rounds of polls: what is measured is so much too long at the most */
#define UNITS 15    /* device-windows of an arm */
#define UNITS_BAD 150
#define ENTERED 5 /* candidates of a slot; of control four times as many, as stage 1 has them */

static struct {
	int lanes, rounds, bad;
	int64_t start; /* of the first window */
	struct clock clock;
	struct keystore keys;
	struct publisher *publisher;
	struct cells *cells;
	struct ledger *ledger;
	char rollout[65];
} b;

static void must(int bad, const struct err *err)
{
	if (!bad)
		return;
	fprintf(stderr, "bench_tick: %s\n", err->text);
	exit(1);
}

static void class_name(int i, char out[static 32])
{
	snprintf(out, 32, "class-%04d", i);
}

/* ---- fill: a server with many lanes ---- */

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){1000, 900, *recipe};
	return 0;
}

static int add_release(struct db *db, const char *release, int64_t now, struct err *err)
{
	static const char *const tiers[] = {"q8_0", "q4_0"};
	const struct release_spec spec = {.model = "assistant", .release = release};
	json_auto_t *body = json_pack(
		"{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "model.gguf", "recipe",
		"00000000000000000000000000000000000000000000000000000000000000aa");
	if (catalog_release_add(db, &spec, now, err))
		return -1;
	for (size_t i = 0; i < COUNT_OF(tiers); i++)
		if (catalog_variant_put(db, "assistant", release, tiers[i], body, lookup, NULL, now,
					err))
			return -1;
	return catalog_release_publish(db, "assistant", release, now, err);
}

static json_t *rules(void)
{
	json_t *list = json_array();
	for (int i = 0; i < b.lanes; i++) {
		char name[32];
		class_name(i, name);
		json_t *rule = json_pack("{s:s}", "class", name);
		if (i + 1 < b.lanes)
			json_object_set_new(rule, "any",
					    json_pack("[{s:[{s:s, s:s, s:i}]}]", "all", "attr", "ram_mib",
						      "op", "ge", "value", 100000 - i));
		json_array_append_new(list, rule);
	}
	return json_pack("{s:i, s:o}", "schema", 1, "rules", list);
}

static int fill_classes(struct db *db, int64_t now, struct err *err)
{
	int64_t version;
	json_auto_t *document = rules();
	json_auto_t *settings = json_pack("{s:i, s:i, s:i, s:i, s:i}", "devices", 20000, "window_s",
					  WINDOW_S, "windows", 2, "jitter_s", 0, "report_grace_s",
					  GRACE_S);
	if (class_rules_put(db, document, -1, "bench", now, &version, err))
		return -1;
	for (int i = 0; i < b.lanes; i++) {
		char class[32];
		class_name(i, class);
		if (class_put(db, class, settings, 1, err) ||
		    offer_bootstrap(db, "stable", class, "assistant", "1.0.0", now, err))
			return -1;
	}
	return publish_all(b.publisher, db, err);
}

static int fill(struct db *db, void *arg, struct err *err)
{
	const int64_t now = clock_s(&b.clock);
	const struct act act = {b.publisher, b.cells, now, "bench", ""};
	struct act_order order = {.model = "assistant", .release = "2.0.0", .channel = "stable"};
	(void)arg;
	policy_default(&order.policy);
	order.policy.abort_after_lanes = 0;
	return catalog_model_add(db, "assistant", now, err) || add_release(db, "1.0.0", now, err) ||
			       add_release(db, "2.0.0", now, err) || fill_classes(db, now, err) ||
			       act_start(db, &act, &order, b.rollout, err)
		       ? -1
		       : 0;
}

/* ---- fill: telemetry ---- */

struct told {
	const char *class;
	enum report_arm arm;
	enum report_kind kind;
	int64_t at;
	bool crash;
};

static void add_hist(struct report_entry *e, const char *name, unsigned bucket)
{
	static const uint16_t counts[] = {3, 4};
	e->hists[e->hist_len++] = (struct report_hist){
		metric_index(metric_find(name)), (uint16_t)bucket, COUNT_OF(counts), counts};
}

static int tell(struct db *db, const struct told *t, struct err *err)
{
	bool known;
	const bool candidate = t->arm == REPORT_ARM_CANDIDATE;
	struct report r = {.kind = t->kind, .channel = "stable", .class = t->class, .os_major = 15,
			   .runtime = "", .at = t->at, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	*e = (struct report_entry){.model = "assistant", .rollout = b.rollout, .stage = 1,
				   .arm = t->arm, .entered = t->at, .via = "chunks", .load_ms = 900,
				   .ttft_ms = 400, .probe_pm = 900, .used = 1};
	e->variant = t->kind == REPORT_ENTER ? ""
		     : candidate	     ? "assistant@2.0.0/q8_0"
					     : "assistant@1.0.0/q8_0";
	if (t->crash)
		e->counts[e->count_len++] =
			(struct report_count){metric_index(metric_find("crash")), 1, 1};
	if (t->kind == REPORT_WINDOW || t->kind == REPORT_SUMMARY) {
		const unsigned wobble = (unsigned)randombytes_uniform(5);
		add_hist(e, "ttft_ms", 130 + wobble);
		add_hist(e, "decode_mtps", 230 + wobble);
		add_hist(e, "energy_mj_1k", 180 + wobble);
	}
	if (cells_add(b.cells, db, &r, &known, err))
		return -1;
	return known ? 0 : err_set(err, ERR_INVALID, "a report was not known");
}

static int tell_many(struct db *db, struct told t, unsigned count, struct err *err)
{
	for (unsigned i = 0; i < count; i++)
		if (tell(db, &t, err))
			return -1;
	return 0;
}

static int fill_slot(struct db *db, struct told t, struct err *err)
{
	static const enum report_kind kinds[] = {REPORT_ENTER, REPORT_OUTCOME, REPORT_SUMMARY};
	for (unsigned k = 0; k < COUNT_OF(kinds); k++) {
		t.kind = kinds[k];
		if (tell_many(db, t, t.arm == REPORT_ARM_CANDIDATE ? ENTERED : 4 * ENTERED, err))
			return -1;
	}
	return 0;
}

/* One window of one lane, and the slots in it. */
static int fill_lane(struct db *db, int lane, int window, struct err *err)
{
	static const enum report_arm arms[] = {REPORT_ARM_CANDIDATE, REPORT_ARM_CONTROL};
	const int round = window - FIRST;
	const bool bad = round >= 0 && round < b.rounds && lane / b.bad == round;
	char class[32];
	class_name(lane, class);
	for (unsigned a = 0; a < COUNT_OF(arms); a++) {
		struct told t = {class, arms[a], REPORT_WINDOW, b.start + window * WINDOW_S,
				 bad && arms[a] == REPORT_ARM_CANDIDATE};
		if (tell_many(db, t, bad ? UNITS_BAD : UNITS, err))
			return -1;
		t.crash = false;
		for (; t.at < b.start + (window + 1) * WINDOW_S; t.at += REPORT_SLOT_S)
			if (fill_slot(db, t, err))
				return -1;
	}
	return 0;
}

static int fill_window(struct db *db, void *arg, struct err *err)
{
	const int window = *(const int *)arg;
	for (int i = 0; i < b.lanes; i++)
		if (fill_lane(db, i, window, err))
			return -1;
	return cells_flush(b.cells, db, err);
}

static void open_house(const char *dir)
{
	struct err err;
	struct db *db;
	must(keystore_load(&b.keys, dir, NULL, &err), &err);
	must(app_db_open(&db, dir, true, &err), &err);
	must(publisher_new(&b.publisher, &b.keys, &b.clock, &err), &err);
	must(publisher_load(b.publisher, db, &err), &err);
	b.cells = cells_new();
	if (!b.cells)
		must(err_nomem(&err), &err);
	must(ledger_new(&b.ledger, db, 1000, &err), &err);
}

static void do_fill(const char *dir)
{
	struct err err;
	clock_real(&b.clock);
	open_house(dir);
	must(ledger_run(b.ledger, fill, NULL, &err), &err);
	b.start = (clock_s(&b.clock) / WINDOW_S + 1) * WINDOW_S;
	for (int window = 0; window < FIRST + b.rounds + 1; window++)
		must(ledger_run(b.ledger, fill_window, &window, &err), &err);
	printf("%lld\n", (long long)b.start);
	ledger_free(b.ledger);
	cells_free(b.cells);
	publisher_free(b.publisher);
}

/* ---- watch ---- */

struct lane_seen {
	char url[300], etag[80], header[120];
	double ms; /* after the close; 0: not yet changed */
};

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static size_t ignore(char *bytes, size_t size, size_t count, void *arg)
{
	(void)bytes;
	(void)arg;
	return size * count;
}

static size_t take_etag(char *bytes, size_t size, size_t count, void *arg)
{
	struct lane_seen *lane = arg;
	if (size * count < sizeof(lane->etag) && !strncasecmp(bytes, "etag: ", 6)) {
		snprintf(lane->etag, sizeof(lane->etag), "%.*s", (int)(size * count - 6), bytes + 6);
		lane->etag[strcspn(lane->etag, "\r\n")] = 0;
	}
	return size * count;
}

/* The status. */
static long poll_lane(CURL *curl, struct lane_seen *lane)
{
	long code = 0;
	struct curl_slist *headers = NULL;
	if (lane->etag[0]) {
		snprintf(lane->header, sizeof(lane->header), "If-None-Match: %s", lane->etag);
		headers = curl_slist_append(NULL, lane->header);
	}
	curl_easy_setopt(curl, CURLOPT_URL, lane->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_etag);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, lane);
	if (curl_easy_perform(curl))
		fprintf(stderr, "bench_tick: a poll failed\n");
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
	curl_slist_free_all(headers);
	return code;
}

static int by_ms(const void *x, const void *y)
{
	const double a = ((const struct lane_seen *)x)->ms, c = ((const struct lane_seen *)y)->ms;
	return (a > c) - (a < c);
}

static void print_line(const char *what, struct lane_seen *lanes, int count, double longest)
{
	qsort(lanes, (size_t)count, sizeof(*lanes), by_ms);
	printf("%s %d %.0f %.0f %.0f %.1f\n", what, count, lanes[count / 2].ms,
	       lanes[count - 1 - count / 100].ms, lanes[count - 1].ms, longest);
	fflush(stdout);
}

/* Poll those that have not changed, until all have.  Returns the longest poll. */
static double watch_close(CURL *curl, struct lane_seen *lanes, double close_ms)
{
	double longest = 0;
	for (int left = b.bad; left;) {
		for (int i = 0; i < b.bad; i++) {
			if (lanes[i].ms > 0)
				continue;
			const double before = now_ms();
			const long code = poll_lane(curl, &lanes[i]);
			const double after = now_ms();
			longest = after - before > longest ? after - before : longest;
			if (code != 200)
				continue;
			lanes[i].ms = after - close_ms;
			left--;
		}
		clock_sleep_ms(PAUSE_MS); /* or polling would take the cores that the decisions need */
		if (now_ms() > close_ms + 30000) {
			fprintf(stderr, "bench_tick: %d lanes did not change\n", left);
			exit(1);
		}
	}
	return longest;
}

/* Own time in real milliseconds. */
static double real_of(int64_t own_s)
{
	return (double)b.clock.real_ms +
	       (double)(own_s * 1000 - b.clock.own_ms) / (double)b.clock.speed;
}

static void read_clock(const char *dir)
{
	struct err err;
	struct db *db;
	bool own;
	must(app_db_open(&db, dir, false, &err), &err);
	must(app_clock_load(db, &b.clock, &own, &err), &err);
	db_close(db);
	if (!own)
		must(err_set(&err, ERR_INVALID, "the daemon's clock is not fast"), &err);
}

static void do_watch(const char *dir, const char *url)
{
	CURL *curl = curl_easy_init();
	struct lane_seen *all = calloc((size_t)(b.bad * b.rounds), sizeof(*all));
	double longest = 0;
	if (!curl || !all)
		exit(1);
	read_clock(dir);
	for (int round = 0; round < b.rounds; round++) {
		struct lane_seen *lanes = &all[round * b.bad];
		const int64_t close_s = b.start + (FIRST + round + 1) * WINDOW_S + GRACE_S;
		char name[32];
		clock_sleep_ms((int64_t)(real_of(close_s - LEAD_S) - now_ms()));
		for (int i = 0; i < b.bad; i++) {
			class_name(round * b.bad + i, name);
			snprintf(lanes[i].url, sizeof(lanes[i].url), "%s/v1/c/stable/%s/manifest.json",
				 url, name);
			if (poll_lane(curl, &lanes[i]) != 200)
				fprintf(stderr, "bench_tick: %s is not there\n", lanes[i].url);
		}
		const double most = watch_close(curl, lanes, real_of(close_s));
		longest = most > longest ? most : longest;
		print_line("round", lanes, b.bad, most);
	}
	print_line("all", all, b.bad * b.rounds, longest);
	free(all);
	curl_easy_cleanup(curl);
}

int main(int argc, char **argv)
{
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT))
		return 1;
	if (argc == 6 && !strcmp(argv[1], "fill")) {
		b.lanes = atoi(argv[3]);
		b.rounds = atoi(argv[4]);
		b.bad = atoi(argv[5]);
		do_fill(argv[2]);
	} else if (argc == 7 && !strcmp(argv[1], "watch")) {
		b.start = atoll(argv[4]);
		b.rounds = atoi(argv[5]);
		b.bad = atoi(argv[6]);
		do_watch(argv[2], argv[3]);
	} else {
		fprintf(stderr, "usage: bench_tick fill DIR LANES ROUNDS BAD\n"
				"       bench_tick watch DIR URL START ROUNDS BAD\n");
		return 2;
	}
	return 0;
}
