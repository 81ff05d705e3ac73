/* What the daemon does in the background: deltas. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#define WATCH_MS 1000

static const struct column columns[] = {
	{"ID", "id", COL_INT},	      {"STATE", "state", COL_TEXT}, {"DELTA TO", "what", COL_TEXT},
	{"FROM", "base", COL_TEXT},   {"BYTES", "bytes", COL_BYTES}, {"", "note", COL_TEXT},
};

static const char *text(const json_t *row, const char *name)
{
	const char *value = json_string_value(json_object_get(row, name));
	return value ? value : "";
}

static bool is(const json_t *row, const char *state)
{
	return !strcmp(text(row, "state"), state);
}

static bool unfinished(const json_t *row)
{
	return is(row, "queued") || is(row, "running");
}

/* In a few words how it stands, as member "note". */
static void add_note(json_t *row)
{
	const json_t *progress = json_object_get(row, "progress");
	const json_t *percent = json_object_get(row, "percent");
	char note[440];
	if (json_is_number(progress))
		snprintf(note, sizeof(note), "%.0f %% made", 100 * json_number_value(progress));
	else if (json_is_number(percent))
		snprintf(note, sizeof(note), "%.3g %% of a full download",
			 json_number_value(percent));
	else if (is(row, "queued") && *text(row, "reason"))
		snprintf(note, sizeof(note), "tried %lld times: %s",
			 (long long)json_integer_value(json_object_get(row, "tries")),
			 text(row, "reason"));
	else
		snprintf(note, sizeof(note), "%s", text(row, "reason"));
	json_object_set_new(row, "note", json_string(note));
}

/* Page by page into all.  state NULL: any. */
static int get_jobs(struct api *api, const char *state, json_t *all, struct err *err)
{
	char path[200], after[32] = "0";
	const char *next = after;
	while (next) {
		json_auto_t *page = NULL;
		snprintf(path, sizeof(path), "/admin/v1/jobs?limit=1000&after=%s%s%s", after,
			 state ? "&state=" : "", state ? state : "");
		if (api_get(api, path, &page, err))
			return -1;
		json_array_extend(all, json_object_get(page, "items"));
		next = json_string_value(json_object_get(page, "next"));
		if (next)
			snprintf(after, sizeof(after), "%s", next);
	}
	return 0;
}

/* ---- watching ---- */

static json_t *find(const json_t *rows, json_int_t id)
{
	size_t i;
	json_t *row;
	json_array_foreach (rows, i, row)
		if (json_integer_value(json_object_get(row, "id")) == id)
			return row;
	return NULL;
}

static void tell(const struct cli *cli, const json_t *row)
{
	char bytes[24];
	out_bytes(json_integer_value(json_object_get(row, "bytes")), bytes);
	if (is(row, "done"))
		cli_say(cli, "%s from %s: %s, %s", text(row, "what"), text(row, "base"), bytes,
			text(row, "note"));
	else
		cli_say(cli, "%s from %s: %s: %s", text(row, "what"), text(row, "base"),
			text(row, "state"), text(row, "note"));
}

struct watch {
	struct cli *cli;
	struct progress bar;
	char label[330];
	json_int_t running; /* the job that the bar shows; 0: none */
};

static void show_bar(struct watch *w, const json_t *row)
{
	const json_int_t id = row ? json_integer_value(json_object_get(row, "id")) : 0;
	if (w->running && w->running != id)
		progress_end(&w->bar);
	const json_int_t length = json_integer_value(json_object_get(row, "length"));
	if (id && w->running != id) {
		snprintf(w->label, sizeof(w->label), "%s", text(row, "what"));
		progress_start(&w->bar, w->cli, w->label, length);
	}
	w->running = id;
	if (id)
		progress_set(&w->bar, (int64_t)((double)length * json_number_value(json_object_get(
									  row, "progress"))));
}

/* Say what ended since; how many are left, and how many of those seen have failed. */
static void compare(struct watch *w, const json_t *before, json_t *now, unsigned *left,
		    unsigned *failed)
{
	size_t i;
	json_t *row, *running = NULL;
	*left = *failed = 0;
	json_array_foreach (now, i, row) {
		const json_t *was =
			find(before, json_integer_value(json_object_get(row, "id")));
		add_note(row);
		*left += unfinished(row);
		*failed += is(row, "failed");
		if (is(row, "running"))
			running = row;
		if (was && unfinished(was) && !unfinished(row)) {
			show_bar(w, NULL);
			tell(w->cli, row);
		}
	}
	show_bar(w, running);
}

static int watch_jobs(struct cli *cli, struct api *api)
{
	const int64_t end = clock_monotonic_ms() + cli->timeout_s * 1000;
	struct watch w = {.cli = cli};
	json_auto_t *before = json_array();
	struct err err;
	unsigned left = 1, failed;
	while (left) {
		json_t *now = json_array();
		if (get_jobs(api, NULL, now, &err)) {
			json_decref(now);
			return cli_fail(&err);
		}
		compare(&w, before, now, &left, &failed);
		json_decref(before);
		before = now;
		if (left && cli->timeout_s && clock_monotonic_ms() > end) {
			show_bar(&w, NULL);
			cli_say(cli, "%u are not made after %lld s", left, (long long)cli->timeout_s);
			return EXIT_TIMEOUT;
		}
		if (left)
			clock_sleep_ms(WATCH_MS);
	}
	return out_rows(cli, before, columns, COUNT_OF(columns)) || failed ? EXIT_FAILED : EXIT_DONE;
}

static int store_jobs(struct cli *cli, const struct args *args)
{
	json_auto_t *rows = json_array();
	struct err err;
	int code;
	size_t i;
	json_t *row;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (args_flag(args, "watch"))
		return watch_jobs(cli, api);
	if (get_jobs(api, args_text(args, "state"), rows, &err))
		return cli_fail(&err);
	json_array_foreach (rows, i, row)
		add_note(row);
	return out_rows(cli, rows, columns, COUNT_OF(columns));
}

static const struct cli_option options[] = {
	{"state", "STATE", "only those queued, running, done, dropped, failed or unlisted", false},
	{"watch", NULL, "until all are made; exit code 1 when some have failed", false},
};

/* clang-format off */
const struct command job_commands[JOB_COMMANDS] = {
	{"store", "jobs", "", 0, 0, "Show which deltas are made, waiting, dropped or failed",
	 "A published release is queued by itself: each file from the same file of the three releases\n"
	 "before it, and from a tier to the next larger one.  A delta above 70 % of a full download is\n"
	 "dropped; one that fails is tried five times, and again when the daemon starts.",
	 options, COUNT_OF(options), store_jobs},
};
