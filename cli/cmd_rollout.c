/* Rollouts: watch, explain, and the operator's hand. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#define WATCH_MS 1000

/* ---- status ---- */

static int get_rollout(struct cli *cli, const char *id, const char *tail, json_t **ret, int *code)
{
	char path[256];
	struct err err;
	struct api *api = cli_api(cli, code);
	if (!api)
		return -1;
	snprintf(path, sizeof(path), "/admin/v1/rollouts/%s%s", id, tail);
	if (!api_get(api, path, ret, &err))
		return 0;
	*code = cli_fail(&err);
	return -1;
}

static bool any_group(const json_t *lanes)
{
	size_t i;
	const json_t *lane;
	json_array_foreach (lanes, i, lane)
		if (json_object_get(lane, "lead"))
			return true;
	return false;
}

/* Who leads is shown where a lane is shared. */
static void show_lanes(const json_t *lanes)
{
	static const struct column columns[] = {
		{"LED BY", "lead", COL_TEXT},	     {"CLASS", "class", COL_TEXT},
		{"STATE", "state", COL_TEXT},	     {"STAGE", "stage", COL_INT},
		{"OF", "stages", COL_INT},	     {"SHARE", "candidate_ppm", COL_PPM},
		{"CANDIDATES", "entered.candidate", COL_INT},
		{"CONTROL", "entered.control", COL_INT}, {"SINCE", "since", COL_TIME},
		{"WHY", "reason", COL_TEXT},
	};
	const unsigned skip = any_group(lanes) ? 0 : 1;
	out_table(lanes, columns + skip, COUNT_OF(columns) - skip);
}

static void show_status(const struct cli *cli, const json_t *doc)
{
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return;
	}
	printf("%s  %s@%s on %s: %s\n", json_string_value(json_object_get(doc, "id")),
	       json_string_value(json_object_get(doc, "model")),
	       json_string_value(json_object_get(doc, "release")),
	       json_string_value(json_object_get(doc, "channel")),
	       json_string_value(json_object_get(doc, "state")));
	show_lanes(json_object_get(doc, "lanes"));
}

/* 0 while a lane is still moving, else the exit code that tells how it ended. */
static int verdict(const json_t *doc, bool *ret_over)
{
	size_t i;
	json_t *lane;
	int code = EXIT_DONE;
	*ret_over = true;
	json_array_foreach (json_object_get(doc, "lanes"), i, lane) {
		const char *state = json_string_value(json_object_get(lane, "state"));
		if (!state || !strcmp(state, "running") || !strcmp(state, "holding"))
			*ret_over = false;
		else if (!strcmp(state, "rolled_back") || !strcmp(state, "aborted"))
			code = EXIT_ROLLED_BACK;
	}
	return code;
}

/* Tell each change of a lane once. */
static void tell_changes(const json_t *before, const json_t *now)
{
	size_t i;
	json_t *lane;
	json_array_foreach (json_object_get(now, "lanes"), i, lane) {
		const json_t *old = json_array_get(json_object_get(before, "lanes"), i);
		json_t *state = json_object_get(lane, "state"), *stage = json_object_get(lane, "stage");
		if (json_equal(state, json_object_get(old, "state")) &&
		    json_equal(stage, json_object_get(old, "stage")))
			continue;
		const char *reason = json_string_value(json_object_get(lane, "reason"));
		printf("%-20s %s, stage %lld of %lld%s%s\n",
		       json_string_value(json_object_get(lane, "class")), json_string_value(state),
		       (long long)json_integer_value(stage),
		       (long long)json_integer_value(json_object_get(lane, "stages")),
		       reason && *reason ? ": " : "", reason ? reason : "");
		fflush(stdout);
	}
}

static int watch(struct cli *cli, const char *id)
{
	const int64_t end = clock_monotonic_ms() + cli->timeout_s * 1000;
	json_t *before = NULL;
	int code;
	bool over = false;
	while (!over) {
		json_t *now = NULL;
		if (get_rollout(cli, id, "", &now, &code))
			break;
		tell_changes(before, now);
		json_decref(before);
		before = now;
		code = verdict(now, &over);
		if (!over && cli->timeout_s && clock_monotonic_ms() > end) {
			cli_say(cli, "not over after %lld s", (long long)cli->timeout_s);
			code = EXIT_TIMEOUT;
			break;
		}
		if (!over)
			clock_sleep_ms(WATCH_MS);
	}
	if (over)
		show_status(cli, before);
	json_decref(before);
	return code;
}

static int rollout_status(struct cli *cli, const struct args *args)
{
	int code;
	bool over;
	json_auto_t *doc = NULL;
	if (args_flag(args, "watch"))
		return watch(cli, args->positional[0]);
	if (get_rollout(cli, args->positional[0], "", &doc, &code))
		return code;
	show_status(cli, doc);
	code = verdict(doc, &over);
	return over ? code : EXIT_DONE;
}

static int rollout_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"ID", "id", COL_TEXT},		  {"MODEL", "model", COL_TEXT},
		{"RELEASE", "release", COL_TEXT}, {"CHANNEL", "channel", COL_TEXT},
		{"STATE", "state", COL_TEXT},	  {"STARTED", "created", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/rollouts", columns, COUNT_OF(columns));
}

/* ---- why ---- */

static void show_gates(const json_t *doc)
{
	static const struct column columns[] = {
		{"GATE", "metric", COL_TEXT},	     {"FOR", "role", COL_TEXT},
		{"STATE", "state", COL_TEXT},	     {"CAND K", "candidate.k", COL_INT},
		{"OF", "candidate.n", COL_INT},	     {"CTRL K", "control.k", COL_INT},
		{"OF", "control.n", COL_INT},	     {"RATIO", "ratio", COL_REAL},
		{"LOW", "lower", COL_REAL},	     {"HIGH", "upper", COL_REAL},
		{"LOG E", "log_e", COL_REAL},	     {"NEEDS", "threshold", COL_REAL},
		{"POOLED", "pooled_log_e", COL_REAL}};
	size_t i, j;
	json_t *lane, *gate;
	json_array_foreach (json_object_get(doc, "lanes"), i, lane) {
		char when[CLOCK_TEXT];
		const json_int_t as_of = json_integer_value(json_object_get(lane, "as_of"));
		clock_text(as_of, when);
		printf("%s, stage %lld%s%s\n", json_string_value(json_object_get(lane, "class")),
		       (long long)json_integer_value(json_object_get(lane, "stage")),
		       as_of ? ", as it was decided at " : "", as_of ? when : "");
		out_table(json_object_get(lane, "gates"), columns, COUNT_OF(columns));
		json_array_foreach (json_object_get(lane, "gates"), j, gate) {
			const char *text = json_string_value(json_object_get(gate, "sentence"));
			if (text && *text)
				printf("  %s\n", text);
		}
		putchar('\n');
	}
}

static int rollout_gates(struct cli *cli, const struct args *args)
{
	char tail[128] = "/gates";
	int code;
	json_auto_t *doc = NULL;
	if (args_text(args, "class"))
		snprintf(tail, sizeof(tail), "/gates?class=%s", args_text(args, "class"));
	if (get_rollout(cli, args->positional[0], tail, &doc, &code))
		return code;
	if (cli->output == OUTPUT_JSON)
		out_json(doc);
	else
		show_gates(doc);
	return EXIT_DONE;
}

static int rollout_events(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"TIME", "t", COL_TIME},
						{"EVENT", "kind", COL_TEXT},
						{"CLASS", "class", COL_TEXT},
						{"BY", "actor", COL_TEXT},
						{"WHY", "data.reason", COL_TEXT}};
	int code;
	json_auto_t *doc = NULL;
	if (get_rollout(cli, args->positional[0], "/events", &doc, &code))
		return code;
	return out_rows(cli, doc, columns, COUNT_OF(columns));
}

/* ---- the operator's hand ---- */

static int rollout_do(struct cli *cli, const struct args *args)
{
	char path[256];
	const char *verb = args->command->name, *id = args->positional[0];
	const char *reason = args_text(args, "reason");
	const bool takes_back = !strcmp(verb, "abort") || !strcmp(verb, "undo");
	if (takes_back && !cli_confirm(cli, "%s rollout %s: its devices return to the release they"
					    " had before?", verb, id))
		return EXIT_FAILED;
	json_auto_t *body = json_object();
	for (unsigned i = 0; i < args_count(args, "class"); i++) {
		if (!i)
			json_object_set_new(body, "classes", json_array());
		json_array_append_new(json_object_get(body, "classes"),
				      json_string(args_nth(args, "class", i)));
	}
	if (reason)
		json_object_set_new(body, "reason", json_string(reason));
	snprintf(path, sizeof(path), "/admin/v1/rollouts/%s/%s", id, verb);
	return cli_send(cli, "POST", path, body, "done; see flotilla rollout status %s", id);
}

static const struct cli_option status_options[] = {
	{"watch", NULL, "stay until every lane has ended; exit 3 if one was taken back", false}};
static const struct cli_option gates_options[] = {
	{"class", "NAME", "only this lane", false}};
static const struct cli_option do_options[] = {
	{"class", "NAME", "only this lane", true},
	{"reason", "TEXT", "kept in the event and the audit log", false},
};

/* clang-format off */
#define DO(verb, text, more)                                                                       \
	{"rollout", verb, "ID", 1, 1, text, more, do_options, COUNT_OF(do_options), rollout_do}
const struct command rollout_commands[ROLLOUT_COMMANDS] = {
	{"rollout", "status", "ID", 1, 1, "Show a rollout's lanes", NULL, status_options,
	 COUNT_OF(status_options), rollout_status},
	{"rollout", "list", "", 0, 0, "List rollouts, newest first", NULL, NULL, 0, rollout_list},
	{"rollout", "gates", "ID", 1, 1, "Show every gate's evidence, and why it decided or waits",
	 "Of a gate that fired or is suspicious it names the OS major version or runtime in which the fault is\n"
	 "concentrated, if it is in one.  That explains the decision, and is no test by itself.",
	 gates_options, COUNT_OF(gates_options), rollout_gates},
	{"rollout", "events", "ID", 1, 1, "Show what happened, when, by whom and why", NULL, NULL, 0,
	 rollout_events},
	DO("pause", "Hold lanes: no device enters; gates still take them back", NULL),
	DO("resume", "Let held lanes go on", NULL),
	DO("advance", "Go to the next stage now, whatever the evidence", NULL),
	DO("approve", "Let a lane that waits for approval enter its next stage", NULL),
	DO("abort", "Take the candidate back in lanes that still run", NULL),
	DO("undo", "Make the release before this one stable again where the rollout completed", NULL),
};
