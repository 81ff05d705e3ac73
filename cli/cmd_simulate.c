/* flotilla simulate: rehearse a rollout with a fleet that does not exist. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/simulate.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT_MAX (1 << 20)
#define TOKEN_MAX 512
#define DEVICE_URL "http://127.0.0.1:8080"
#define SHOW_MS 1000

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

/* Everything of one run. */
struct rehearsal {
	struct cli *cli;
	const struct args *args;
	struct arena *arena;
	struct profile profile;
	struct sim_world world;
	struct buf root, token;
	char made_dir[64]; /* to be removed; "" when the user named one */
	int64_t days, threads, first_s, edge_s;
};

/* ---- what is needed before it starts ---- */

static int read_profile(struct rehearsal *r, struct err *err)
{
	const char *path = r->args->positional[0];
	AUTO_BUF struct buf text = BUF_INIT(PROFILE_BYTES);
	if (file_read(path, &text, err))
		return -1;
	json_auto_t *document = json_parse(text.data ? text.data : "", text.len, path, err);
	if (!document)
		return -1;
	return profile_read(&r->profile, document, r->arena, err) ? err_in(err, "%s", path) : 0;
}

/* The index's root from a file, or, for a rehearsal only, on first use from the daemon itself. */
static int read_root(struct rehearsal *r, struct err *err)
{
	const char *path = args_text(r->args, "root");
	AUTO(api_close) struct api *device = NULL;
	struct api_reply reply;
	const struct api_options options = {.server = r->world.url, .timeout_s = 30,
					    .verbose = r->cli->verbose};
	const struct api_request q = {.method = "GET", .path = "/v1/index/tuf/1.root.json"};
	buf_init(&r->root, ROOT_MAX);
	if (path)
		return file_read(path, &r->root, err);
	if (api_open(&device, &options, err) || api_call(device, &q, &reply, err))
		return err_in(err, "device listener");
	buf_add(&r->root, reply.body.data, reply.body.len);
	api_reply_done(&reply);
	return r->root.failed ? err_nomem(err) : 0;
}

static int read_token(struct rehearsal *r, struct err *err)
{
	const char *path = args_text(r->args, "ingest-token-file");
	buf_init(&r->token, TOKEN_MAX);
	if (!path)
		return 0;
	if (file_read(path, &r->token, err))
		return -1;
	buf_add(&r->token, "", 1);
	if (r->token.failed)
		return err_set(err, ERR_INVALID, "%s: not a token", path);
	r->token.data[strcspn(r->token.data, "\r\n")] = 0;
	r->world.ingest_token = r->token.data;
	return 0;
}

/* The daemon's clock, so that the devices live as fast as it does. */
static int read_clock(struct rehearsal *r, struct err *err)
{
	json_auto_t *status = NULL;
	if (api_get(r->cli->api, "/admin/v1/status", &status, err))
		return -1;
	const json_t *clock = json_object_get(status, "clock");
	const int64_t wall = clock_wall_ms();
	r->world.mono_ms = clock_monotonic_ms();
	r->world.speed = json_integer_value(json_object_get(clock, "speed"));
	/* Machines' clocks may differ; the daemon's own time at its own instant counts. */
	r->world.own_ms = json_integer_value(json_object_get(clock, "own_ms")) +
			  (wall - json_integer_value(json_object_get(clock, "real_ms"))) *
				  (r->world.speed > 1 ? r->world.speed : 0);
	if (r->world.speed < 1)
		return err_set(err, ERR_INVALID, "the daemon does not tell its clock");
	return 0;
}

static int make_work_dir(struct rehearsal *r, struct err *err)
{
	const char *dir = args_text(r->args, "work-dir");
	if (dir) {
		r->world.work_dir = dir;
		return file_mkdirs(dir, 0700, err);
	}
	/* State is written often and worth nothing afterwards: memory, when there is some. */
	snprintf(r->made_dir, sizeof(r->made_dir), "%s/flotilla-sim-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(r->made_dir)) {
		r->made_dir[0] = 0;
		return err_sys(err, "cannot make a work directory; name one with --work-dir");
	}
	r->world.work_dir = r->made_dir;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int prepare(struct rehearsal *r, struct err *err)
{
	if (read_profile(r, err) || read_root(r, err) || read_token(r, err) ||
	    make_work_dir(r, err) || read_clock(r, err))
		return -1;
	r->world.profile = &r->profile;
	r->world.root = r->root.data;
	r->world.root_len = r->root.len;
	r->world.edge = edge_new(r->edge_s);
	if (!r->world.edge)
		return err_nomem(err);
	const char *relay = args_text(r->args, "relay-token-file");
	return relay ? relay_open(&r->world.relay, r->world.url, relay, err) : 0;
}

/* ---- while it runs ---- */

static int write_status(const char *path, const json_t *figures, struct err *err)
{
	char *text = json_text(figures);
	const int code = text ? file_write(path, text, strlen(text), 0644, err) : err_nomem(err);
	free(text);
	return code;
}

static void running_text(const json_t *class, char *out, size_t room)
{
	const char *variant;
	const json_t *n;
	size_t len = 0;
	out[0] = 0;
	json_object_foreach (json_object_get(class, "running"), variant, n) {
		const char *release = strchr(variant, '@');
		if (len < room)
			len += (size_t)snprintf(out + len, room - len, "%s%s %lld",
						len ? ", " : "", release ? release + 1 : variant,
						(long long)json_integer_value(n));
	}
}

static void show(const struct rehearsal *r, const json_t *figures, const json_t *before)
{
	const char *name;
	const json_t *class;
	char when[CLOCK_TEXT];
	const int64_t polls = json_integer_value(json_object_get(figures, "polls")) -
			      json_integer_value(json_object_get(before, "polls"));
	const int64_t reports = json_integer_value(json_object_get(figures, "reports")) -
				json_integer_value(json_object_get(before, "reports"));
	clock_text(sim_now(&r->world), when);
	fprintf(stderr, "%s  %lld polls/s, %lld reports/s, %lld errors", when, (long long)polls,
		(long long)reports,
		(long long)json_integer_value(json_object_get(figures, "errors")));
	json_object_foreach (json_object_get(figures, "classes"), name, class) {
		char text[300];
		running_text(class, text, sizeof(text));
		fprintf(stderr, "  |  %s: %s", name, text);
	}
	fputc('\n', stderr);
}

/* Until the days are over or somebody ends it. */
static int watch(struct rehearsal *r, struct fleet *fleet, struct err *err)
{
	const char *status = args_text(r->args, "status");
	const int64_t end = r->days ? sim_now(&r->world) + r->days * 86400 : INT64_MAX;
	json_t *before = json_object();
	int code = 0;
	while (!code && !interrupted && sim_now(&r->world) < end) {
		clock_sleep_ms(SHOW_MS);
		json_t *figures = fleet_figures(fleet);
		if (!figures) {
			code = err_nomem(err);
			break;
		}
		if (status)
			code = write_status(status, figures, err);
		if (!r->cli->quiet)
			show(r, figures, before);
		json_decref(before);
		before = figures;
	}
	json_decref(before);
	return code;
}

/* ---- afterwards ---- */

static json_t *class_rows(const json_t *figures)
{
	const char *name;
	json_t *class, *rows = json_array();
	json_object_foreach (json_object_get(figures, "classes"), name, class) {
		char text[300];
		json_t *row = json_copy(class);
		running_text(class, text, sizeof(text));
		json_object_set_new(row, "class", json_string(name));
		json_object_set_new(row, "running", json_string(text));
		json_array_append_new(rows, row);
	}
	return rows;
}

static void report(const struct rehearsal *r, const json_t *figures)
{
	static const struct column columns[] = {
		{"CLASS", "class", COL_TEXT},	     {"DEVICES", "devices", COL_INT},
		{"RUNNING", "running", COL_TEXT},    {"SESSIONS", "sessions", COL_INT},
		{"CRASHES", "crashes", COL_INT},     {"LOAD FAILURES", "load_failures", COL_INT},
		{"DOWNLOADS", "downloads", COL_INT}, {"SHARED", "shared", COL_INT},
		{"RETURNED", "returned", COL_INT}};
	if (r->cli->output == OUTPUT_JSON) {
		out_json(figures);
		return;
	}
	json_auto_t *rows = class_rows(figures);
	out_table(rows, columns, COUNT_OF(columns));
	const char *last = json_string_value(json_object_get(figures, "last_error"));
	if (last)
		printf("errors: %lld, the last one: %s\n",
		       (long long)json_integer_value(json_object_get(figures, "errors")), last);
}

static int rehearse(struct rehearsal *r, struct err *err)
{
	struct fleet *fleet;
	int64_t total = 0, full = 0;
	for (unsigned i = 0; i < r->profile.class_count; i++) {
		total += r->profile.classes[i].devices;
		full += r->profile.classes[i].full;
	}
	cli_say(r->cli,
		"%lld devices in %u classes; %lld download everything, the others one range each and"
		" then share what those verified; the clock runs %lld times as fast",
		(long long)total, r->profile.class_count, (long long)full,
		(long long)r->world.speed);
	if (fleet_start(&fleet, &r->world, (unsigned)r->threads, r->first_s, err))
		return -1;
	const int code = watch(r, fleet, err);
	json_auto_t *figures = fleet_figures(fleet);
	fleet_free(fleet);
	if (figures && !code)
		report(r, figures);
	return code;
}

static int read_numbers(struct rehearsal *r)
{
	int64_t seed;
	if (args_int(r->args, "days", 1, 10000, 0, &r->days) ||
	    args_int(r->args, "threads", 1, 256, 64, &r->threads) ||
	    args_int(r->args, "start-s", 1, 864000, 1800, &r->first_s) ||
	    args_int(r->args, "edge-s", 0, 86400, 0, &r->edge_s) ||
	    args_int(r->args, "seed", 0, INT64_MAX, 1, &seed))
		return -1;
	r->world.seed = (uint64_t)seed;
	return 0;
}

static int simulate(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	const struct sigaction stop = {.sa_handler = on_signal};
	const char *url = args_text(args, "url");
	struct rehearsal r = {.cli = cli, .args = args, .arena = arena_new(PROFILE_ARENA)};
	r.world.url = url ? url : DEVICE_URL;
	r.world.trusting = args_flag(args, "trusting");
	if (read_numbers(&r))
		return EXIT_USAGE;
	if (!cli_api(cli, &code))
		return code;
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	const int failed = prepare(&r, &err) || rehearse(&r, &err);
	if (r.made_dir[0])
		nftw(r.made_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	relay_close(r.world.relay);
	edge_free(r.world.edge);
	buf_done(&r.root);
	buf_done(&r.token);
	arena_free(r.arena);
	return failed ? cli_fail(&err) : EXIT_DONE;
}

static const struct cli_option options[] = {
	{"url", "URL", "device listener (" DEVICE_URL ")", false},
	{"root", "FILE", "the index's root document (asked of the daemon, for rehearsals only)",
	 false},
	{"ingest-token-file", "FILE", "token that reports carry", false},
	{"relay-token-file", "FILE", "token of a relay: reports go through one, in batches", false},
	{"days", "N", "end after N days of the daemon's clock (when interrupted)", false},
	{"start-s", "N", "devices wake up first within N seconds of that clock (1800)", false},
	{"threads", "N", "threads, each with one connection (64)", false},
	{"edge-s", "N", "signed documents come through a cache that keeps them N seconds, as a CDN would (0)", false},
	{"trusting", NULL, "one poller a class and thread verifies signed documents for all its devices",
	 false},
	{"seed", "N", "another seed, another fleet (1)", false},
	{"work-dir", "DIR", "where devices keep files (a temporary directory)", false},
	{"status", "FILE", "replace FILE with the figures as JSON, once a second", false},
};

/* clang-format off */
const struct command simulate_commands[SIMULATE_COMMANDS] = {
	{"simulate", NULL, "PROFILE", 1, 1, "Rehearse a rollout with thousands of simulated devices",
	 "Each device polls, verifies, picks its variant and reports with the code of the SDK over\n"
	 "the daemon's own listener.  PROFILE says what the fleet is made of and how variants behave\n"
	 "on it; deploy/profiles/ has one to start from.  With development keys the daemon's clock can\n"
	 "run fast (--clock-speed 3600: an hour a second), and the devices with it.\n"
	 "Ends with Ctrl-C, or after --days, and prints what each class ran and met.",
	 options, COUNT_OF(options), simulate},
};
