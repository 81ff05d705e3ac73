/* Rollouts: start, watch, explain, and the operator's hand. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#define WATCH_MS 1000

/* ---- start ---- */

/* "1%" or "2.5%" as parts per million. */
static int parse_share(const char *text, int64_t *ret_ppm)
{
	char *end;
	const double percent = strtod(text, &end);
	if (end == text || strcmp(end, "%") || !(percent > 0 && percent <= 95))
		return -1;
	*ret_ppm = (int64_t)(percent * 10000 + 0.5);
	return 0;
}

/* "2.0+0.10": a ratio and a difference of rates, for one stage. */
static int add_margin(json_t *stage, const char *text)
{
	char *end = NULL;
	const double ratio = strtod(text, &end);
	const double delta = *end == '+' ? strtod(end + 1, &end) : 0;
	if (*end || !(ratio >= 1 && ratio <= 10) || !(delta >= 0 && delta <= 1))
		return -1;
	json_object_set_new(stage, "ratio_pm", json_integer((json_int_t)(ratio * 1000 + 0.5)));
	json_object_set_new(stage, "delta_ppm", json_integer((json_int_t)(delta * 1e6 + 0.5)));
	return 0;
}

/* "1%,5%,50%"; NULL and a message otherwise. */
static json_t *parse_stages(const char *text)
{
	char *copy = strdup(text), *rest = copy, *part;
	json_t *stages = json_array();
	while (copy && (part = strsep(&rest, ","))) {
		int64_t ppm;
		if (parse_share(part, &ppm)) {
			cli_usage("--stages: %s is not a share like 1%% or 2.5%%, at most 95%%", part);
			json_decref(stages);
			stages = NULL;
			break;
		}
		json_array_append_new(stages, json_pack("{s:I}", "ppm", (json_int_t)ppm));
	}
	free(copy);
	return stages;
}

/* Each stage's soak, longest time and margin; absent ones are the daemon's to choose. */
static int add_stages(json_t *body, const struct args *args)
{
	int64_t soak, max;
	size_t i;
	json_t *stage;
	const char *text = args_text(args, "stages"), *margin = args_text(args, "margin");
	if (args_int(args, "soak", 600, 30 * 86400, 0, &soak) ||
	    args_int(args, "max", 600, 90 * 86400, 0, &max))
		return -1;
	if (!text && !soak && !max && !margin)
		return 0;
	json_t *stages = parse_stages(text ? text : "1%,5%,20%,50%,95%");
	json_object_set_new(body, "stages", stages);
	json_array_foreach (stages, i, stage) {
		if (soak)
			json_object_set_new(stage, "min_soak_s", json_integer(soak));
		if (max)
			json_object_set_new(stage, "max_s", json_integer(max));
		if (margin && add_margin(stage, margin)) {
			cli_usage("--margin: %s is not RATIO+DIFFERENCE, like 2.0+0.10", margin);
			return -1;
		}
	}
	return stages ? 0 : -1;
}

static int add_options(json_t *body, const struct args *args)
{
	if (add_stages(body, args))
		return -1;
	for (unsigned i = 0; i < args_count(args, "class"); i++) {
		if (!i)
			json_object_set_new(body, "classes", json_array());
		json_array_append_new(json_object_get(body, "classes"),
				      json_string(args_nth(args, "class", i)));
	}
	if (args_flag(args, "retry"))
		json_object_set_new(body, "retry", json_true());
	return 0;
}

static json_t *start_body(const struct args *args, const char *model, const char *release)
{
	const char *channel = args_text(args, "channel");
	json_t *body = json_pack("{s:s, s:s, s:s}", "model", model, "release", release, "channel",
				 channel ? channel : "stable");
	if (body && !add_options(body, args))
		return body;
	json_decref(body);
	return NULL;
}

static int send_start(struct cli *cli, const json_t *body)
{
	int code;
	struct err err;
	json_auto_t *reply = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/rollouts", body, &reply, &err))
		return cli_fail(&err);
	const char *id = json_string_value(json_object_get(reply, "id"));
	if (cli->output == OUTPUT_JSON)
		out_json(reply);
	else
		puts(id ? id : "");
	cli_say(cli, "rollout %s is running; watch it: flotilla rollout status %s --watch", id, id);
	return EXIT_DONE;
}

static int rollout_start(struct cli *cli, const struct args *args)
{
	char *model = NULL, *release = NULL;
	int code = EXIT_USAGE;
	if (!cli_release(args->positional[0], &model, &release)) {
		json_auto_t *body = start_body(args, model, release);
		if (body)
			code = send_start(cli, body);
	}
	free(model);
	free(release);
	return code;
}

/* ---- status ---- */

static const struct column lane_columns[] = {
	{"CLASS", "class", COL_TEXT},	     {"STATE", "state", COL_TEXT},
	{"STAGE", "stage", COL_INT},	     {"OF", "stages", COL_INT},
	{"SHARE", "candidate_ppm", COL_PPM}, {"CANDIDATES", "entered.candidate", COL_INT},
	{"CONTROL", "entered.control", COL_INT}, {"SINCE", "since", COL_TIME},
	{"WHY", "reason", COL_TEXT},
};

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
	out_table(json_object_get(doc, "lanes"), lane_columns, COUNT_OF(lane_columns));
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
		{"LOG E", "log_e", COL_REAL},	     {"NEEDS", "threshold", COL_REAL}};
	size_t i, j;
	json_t *lane, *gate;
	json_array_foreach (json_object_get(doc, "lanes"), i, lane) {
		printf("%s, stage %lld\n", json_string_value(json_object_get(lane, "class")),
		       (long long)json_integer_value(json_object_get(lane, "stage")));
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

static const struct cli_option start_options[] = {
	{"channel", "NAME", "channel (stable)", false},
	{"class", "NAME", "only this device class", true},
	{"stages", "LIST", "shares of the fleet (1%,5%,20%,50%,95%)", false},
	{"soak", "SECONDS", "shortest time in a stage (86400)", false},
	{"max", "SECONDS", "longest time before a stage holds as inconclusive (604800)", false},
	{"margin", "RATIO+DIFF", "what counts as no worse, for promotion (2.0, 1.5, 1.25 ... by stage)", false},
	{"retry", NULL, "also where this release was rolled back before", false},
};
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
	{"rollout", "start", "MODEL@RELEASE", 1, 1, "Roll a release out, class by class",
	 "Each device class is a lane of its own: it advances on evidence, holds when unsure, and\n"
	 "goes back by itself when the candidate is worse.  Nothing named means safe defaults.",
	 start_options, COUNT_OF(start_options), rollout_start},
	{"rollout", "status", "ID", 1, 1, "Show a rollout's lanes", NULL, status_options,
	 COUNT_OF(status_options), rollout_status},
	{"rollout", "list", "", 0, 0, "List rollouts, newest first", NULL, NULL, 0, rollout_list},
	{"rollout", "gates", "ID", 1, 1, "Show every gate's evidence, and why it decided or waits",
	 NULL, gates_options, COUNT_OF(gates_options), rollout_gates},
	{"rollout", "events", "ID", 1, 1, "Show what happened, when, by whom and why", NULL, NULL, 0,
	 rollout_events},
	DO("pause", "Hold lanes: no device enters, none is taken back", NULL),
	DO("resume", "Let held lanes go on", NULL),
	DO("advance", "Go to the next stage now, whatever the evidence", NULL),
	DO("approve", "Let a lane that waits for approval enter its next stage", NULL),
	DO("abort", "Take the candidate back in lanes that still run", NULL),
	DO("undo", "Make the release before this one stable again where the rollout completed", NULL),
};
