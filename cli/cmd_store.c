/* The store as operators look after it: sizes, collecting, looking over, scrubbing, exporting. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/export.h"
#include "cli/push.h"
#include "manifest/ceremony.h"
#include "manifest/tuf.h"

#include <stdlib.h>
#include <string.h>

#define ASK_MS 200 /* between two looks at a run */

static int64_t number(const json_t *doc, const char *name)
{
	return json_integer_value(json_object_get(doc, name));
}

/* ---- stat ---- */

static void row(json_t *rows, const char *what, const char *value)
{
	json_array_append_new(rows, json_pack("{s:s, s:s}", "what", what, "value", value));
}

static void row_count(json_t *rows, const char *what, const json_t *doc, const char *name)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", (long long)number(doc, name));
	row(rows, what, text);
}

static void row_bytes(json_t *rows, const char *what, const json_t *doc, const char *name)
{
	char text[24];
	if (!json_object_get(doc, name))
		return;
	out_bytes(number(doc, name), text);
	row(rows, what, text);
}

static void row_time(json_t *rows, const char *what, const json_t *doc, const char *name)
{
	char text[CLOCK_TEXT] = "never";
	if (number(doc, name))
		clock_text(number(doc, name), text);
	row(rows, what, text);
}

static void row_ratio(json_t *rows, const json_t *doc)
{
	char text[24] = "-";
	const int64_t packed = number(doc, "pack_bytes");
	if (packed)
		snprintf(text, sizeof(text), "%.3f", (double)number(doc, "file_bytes") / (double)packed);
	row(rows, "files / packs", text);
}

static int store_stat(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"WHAT", "what", COL_TEXT},
						{"IS", "value", COL_TEXT}};
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	(void)args;
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/store", &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	json_auto_t *rows = json_array();
	row_count(rows, "files", doc, "recipes");
	row_bytes(rows, "  raw", doc, "file_bytes");
	row_count(rows, "packs", doc, "packs");
	row_bytes(rows, "  stored", doc, "pack_bytes");
	row_ratio(rows, doc);
	row_bytes(rows, "  live", doc, "live_bytes");
	row_bytes(rows, "  dead", doc, "dead_bytes");
	row_count(rows, "chunks", doc, "chunks");
	row_count(rows, "deltas", doc, "deltas");
	row_bytes(rows, "  stored", doc, "delta_bytes");
	row_bytes(rows, "disk free", doc, "disk_free");
	row_bytes(rows, "  reserved", doc, "disk_reserve");
	row_time(rows, "collected", doc, "last_gc");
	row_time(rows, "scrubbed", doc, "last_scrub");
	out_table(rows, columns, COUNT_OF(columns));
	if (json_object_get(doc, "damage"))
		cli_say(cli, "%s; flotilla store verify names it",
			json_string_value(json_object_get(doc, "damage")));
	return EXIT_DONE;
}

/* ---- a run in the background ---- */

struct run {
	struct cli *cli;
	struct api *api;
	const char *task;
	int64_t number;
	json_t *last; /* out: what it found; owned */
};

static int run_ask(struct run *run, bool dry_run, struct err *err)
{
	json_auto_t *reply = NULL;
	json_auto_t *body = json_pack("{s:s}", "task", run->task);
	if (dry_run)
		json_object_set_new(body, "dry_run", json_true());
	if (api_send(run->api, "POST", "/admin/v1/store/care", body, &reply, err))
		return -1;
	run->number = number(reply, "run");
	return 0;
}

/* 1: over, and run->last is there; 0: not yet; -1: error.  *ret_state is the caller's. */
static int run_look(struct run *run, json_t **ret_state, struct err *err)
{
	json_auto_t *doc = NULL;
	if (api_get(run->api, "/admin/v1/store/care", &doc, err))
		return -1;
	json_t *state = json_object_get(doc, run->task);
	json_t *last = json_object_get(state, "last");
	*ret_state = json_incref(state);
	if (number(last, "run") < run->number)
		return 0;
	run->last = json_incref(last);
	return 1;
}

/* As run_look(), until it is over; 0 also when --timeout is: then run->last is NULL. */
static int run_wait(struct run *run, struct progress *bar, struct err *err)
{
	const int64_t begun = clock_monotonic_ms(), most = 1000 * run->cli->timeout_s;
	for (;;) {
		json_auto_t *state = NULL;
		const int over = run_look(run, &state, err);
		if (over)
			return over < 0 ? -1 : 0;
		if (number(state, "bytes_all") && number(state, "run") == run->number) {
			bar->total = number(state, "bytes_all");
			progress_set(bar, number(state, "bytes"));
		}
		if (most && clock_monotonic_ms() - begun > most)
			return 0;
		clock_sleep_ms(ASK_MS);
	}
}

static int run_task(struct run *run, bool dry_run, bool wait, struct err *err)
{
	struct progress bar;
	if (run_ask(run, dry_run, err))
		return -1;
	if (!wait)
		return 0;
	progress_start(&bar, run->cli, run->task, 0);
	const int bad = run_wait(run, &bar, err);
	progress_end(&bar);
	const char *why = json_string_value(json_object_get(run->last, "error"));
	return bad || !why ? bad : err_set(err, ERR_SYSTEM, "%s: %s", run->task, why);
}

static int begun(const struct run *run, bool wait)
{
	cli_say(run->cli, "%s goes on in the daemon, whose log tells what it finds; so does GET "
		"/admin/v1/store/care", run->task);
	return wait ? EXIT_TIMEOUT : EXIT_DONE;
}

/* ---- gc ---- */

static void gc_show(const struct cli *cli, const json_t *last, bool dry_run)
{
	char bytes[24];
	const json_t *repacked = json_object_get(last, "repacked");
	if (cli->output == OUTPUT_JSON) {
		out_json(last);
		return;
	}
	out_bytes(number(last, "bytes"), bytes);
	printf("%s: %lld recipes, %lld packs, %lld files without rows; %s\n",
	       dry_run ? "would go" : "removed", (long long)number(last, "recipes"),
	       (long long)number(last, "packs"), (long long)number(last, "orphans"), bytes);
	out_bytes(number(repacked, "bytes"), bytes);
	if (number(repacked, "packs"))
		printf("%s: %lld packs that are mostly dead, of which %s live\n",
		       dry_run ? "would be repacked" : "repacked",
		       (long long)number(repacked, "packs"), bytes);
	if (number(repacked, "left"))
		cli_say(cli, "%lld more packs are left for the next run, or for want of room on the disk",
			(long long)number(repacked, "left"));
}

static int store_gc(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	const bool dry_run = args_flag(args, "dry-run"), wait = !args_flag(args, "no-wait");
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	struct run run = {.cli = cli, .api = api, .task = "gc"};
	if (run_task(&run, dry_run, wait, &err))
		code = cli_fail(&err);
	else if (!run.last)
		code = begun(&run, wait);
	else {
		gc_show(cli, run.last, dry_run);
		code = EXIT_DONE;
	}
	json_decref(run.last);
	return code;
}

/* ---- verify, scrub ---- */

static void damage_show(const struct cli *cli, const json_t *last)
{
	static const struct column damage[] = {{"DAMAGED", "kind", COL_TEXT},
					       {"WHY", "why", COL_TEXT}};
	static const struct column files[] = {{"MODEL", "model", COL_TEXT},
					      {"RELEASE", "release", COL_TEXT},
					      {"TIER", "tier", COL_TEXT},
					      {"FILE", "file", COL_TEXT}};
	const json_t *again = json_object_get(last, "push_again");
	out_table(json_object_get(last, "damage"), damage, COUNT_OF(damage));
	if (!json_array_size(again))
		return;
	putchar('\n');
	out_table(again, files, COUNT_OF(files));
	cli_say(cli, "send these files again: flotilla store mend FILE ...; only what is damaged is sent");
}

static int look_show(const struct cli *cli, const json_t *last)
{
	char bytes[24];
	const int64_t damaged = number(last, "damaged");
	out_bytes(number(last, "bytes"), bytes);
	if (cli->output == OUTPUT_JSON)
		out_json(last);
	else if (damaged)
		damage_show(cli, last);
	else
		printf("sound: %lld packs, %lld recipes and %lld deltas, %s\n",
		       (long long)number(last, "packs"), (long long)number(last, "recipes"),
		       (long long)number(last, "deltas"), bytes);
	return damaged ? EXIT_FAILED : EXIT_DONE;
}

static int look(struct cli *cli, const char *task, bool wait)
{
	int code;
	struct err err;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	struct run run = {.cli = cli, .api = api, .task = task};
	if (run_task(&run, false, wait, &err))
		code = cli_fail(&err);
	else
		code = run.last ? look_show(cli, run.last) : begun(&run, wait);
	json_decref(run.last);
	return code;
}

static int store_verify(struct cli *cli, const struct args *args)
{
	(void)args;
	return look(cli, "verify", true);
}

static int store_scrub(struct cli *cli, const struct args *args)
{
	return look(cli, "scrub", !args_flag(args, "no-wait"));
}

/* ---- mend ---- */

static json_t *mended(const char *path, const struct push_result *r)
{
	char sha256[DIGEST_HEX];
	digest_hex(&r->sha256, sha256);
	return json_pack("{s:s, s:s, s:I, s:I, s:I}", "file", path, "sha256", sha256, "chunks",
			 (json_int_t)r->chunks, "missing", (json_int_t)r->missing, "sent",
			 (json_int_t)r->sent);
}

static int store_mend(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"FILE", "file", COL_TEXT},
						{"CHUNKS", "chunks", COL_INT},
						{"MISSING", "missing", COL_INT},
						{"SENT", "sent", COL_BYTES}};
	int code;
	struct err err;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	json_auto_t *rows = json_array();
	for (int i = 0; i < args->positional_count; i++) {
		struct push_result result;
		if (push_chunks(cli, api, args->positional[i], (int64_t)PUSH_PACK_MIB << 20, &result, &err))
			return cli_fail(&err);
		json_array_append_new(rows, mended(args->positional[i], &result));
	}
	return out_rows(cli, rows, columns, COUNT_OF(columns));
}

/* ---- export ---- */

static int root_digest(const char *file, struct digest *ret_digest, struct err *err)
{
	AUTO_BUF struct buf root = BUF_INIT(TUF_ROOT_MAX);
	if (file_read(file, &root, err))
		return -1;
	if (ceremony_root_digest(root.data ? root.data : "", root.len, ret_digest, err))
		return err_in(err, "%s", file);
	return 0;
}

static int store_export(struct cli *cli, const struct args *args)
{
	const char *url = args_text(args, "device-url"), *root = args_text(args, "index-root");
	struct export_options options = {.where = args->positional[0],
					       .device_url = url ? url : "http://127.0.0.1:8080",
					       .targets = args_flag(args, "targets")};
	struct export_report r;
	char bytes[24];
	int code;
	struct err err;
	if (!root)
		return cli_usage("export: --index-root FILE is required: the root that apps embed");
	if (root_digest(root, &options.root, &err))
		return cli_fail(&err);
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (export_run(cli, api, &options, &r, &err))
		return cli_fail(&err);
	out_bytes(r.bytes, bytes);
	if (cli->output == OUTPUT_JSON) {
		json_auto_t *doc = json_pack("{s:I, s:I, s:I, s:I, s:I}", "classes",
					     (json_int_t)r.classes, "files", (json_int_t)r.files,
					     "keys", (json_int_t)r.keys, "written",
					     (json_int_t)r.written, "bytes", (json_int_t)r.bytes);
		out_json(doc);
		return EXIT_DONE;
	}
	printf("%s: %lld classes, %lld files, %lld keys; written now: %lld, %s\n", options.where,
	       (long long)r.classes, (long long)r.files, (long long)r.keys, (long long)r.written,
	       bytes);
	return EXIT_DONE;
}

static const struct cli_option export_options[] = {
	{"index-root", "FILE", "the index's first root, which apps embed", false},
	{"device-url", "URL", "device listener (http://127.0.0.1:8080)", false},
	{"targets", NULL, "also each raw file under TUF's name, for standard clients", false},
};
static const struct cli_option gc_options[] = {
	{"dry-run", NULL, "tell what would go, and remove nothing", false},
	{"no-wait", NULL, "begin, and do not wait for the end", false},
};
static const struct cli_option scrub_options[] = {
	{"no-wait", NULL, "begin, and do not wait for the end", false},
};

/* clang-format off */
const struct command store_commands[STORE_COMMANDS] = {
	{"store", "stat", "", 0, 0, "Show sizes, what sharing saves, live and dead bytes, the disk",
	 NULL, NULL, 0, store_stat},
	{"store", "gc", "", 0, 0, "Remove what nothing names any more, now",
	 "The daemon does so once an hour.  What a release has, and what was pushed or relied on in the\n"
	 "last seven days, stays.  What lives in packs that are mostly dead moves into new ones; the old ones go\n"
	 "seven days later.  Pushes and downloads go on meanwhile.",
	 gc_options, COUNT_OF(gc_options), store_gc},
	{"store", "verify", "", 0, 0, "Look whether all that is stored is there",
	 "Looks at sizes, recipes, maps and deltas' tables, not at the bytes of packs, and changes nothing.  Exits 1 when\n"
	 "something is damaged, and names the files that flotilla store mend takes.",
	 NULL, 0, store_verify},
	{"store", "scrub", "", 0, 0, "Hash every pack again, apply every delta, and set damaged ones aside",
	 "The daemon does so every 30 days, slowly.  Damaged packs go to quarantine/ in the data directory,\n"
	 "so that what they held can be sent again: flotilla store mend.  Damaged deltas are made again.  Exits 1 when something is damaged,\n"
	 "and names the files.",
	 scrub_options, COUNT_OF(scrub_options), store_scrub},
	{"store", "export", "DIR|s3://BUCKET/PREFIX", 1, 1, "Copy all that devices ask for, to be served from there",
	 "Run it after each change, and every hour, since timestamps expire and a rollback must arrive.  What is\n"
	 "there already is not copied again, and nothing is removed.  Documents come last, so that devices may\n"
	 "read all the while.  deploy/nginx-tree.conf serves a directory.  For a bucket the environment has\n"
	 "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and if need be AWS_SESSION_TOKEN, AWS_REGION and\n"
	 "AWS_ENDPOINT_URL.  Raw files are as large as the models themselves: devices with our SDK do not\n"
	 "need --targets.",
	 export_options, COUNT_OF(export_options), store_export},
	{"store", "mend", "FILE ...", 1, 64, "Send files again, of which the store lacks a part",
	 "As flotilla push, but for files of releases that are there already.  What is sound is not sent.",
	 NULL, 0, store_mend},
};
