/* Rollouts: what one would need, and starting it. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is asked for ---- */

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

static int add_limit(json_t *body, const struct args *args)
{
	int64_t lanes;
	if (args_int(args, "abort-after", 1, 1000, 0, &lanes))
		return -1;
	if (lanes)
		json_object_set_new(body, "abort_after_lanes", json_integer(lanes));
	return 0;
}

/* "a,b,c" as one group of the body. */
static void add_group(json_t *body, const char *text)
{
	char *copy = strdup(text), *rest = copy, *part;
	json_t *group = json_array();
	while (copy && (part = strsep(&rest, ",")))
		json_array_append_new(group, json_string(part));
	if (!json_object_get(body, "groups"))
		json_object_set_new(body, "groups", json_array());
	json_array_append_new(json_object_get(body, "groups"), group);
	free(copy);
}

static bool wants_auto(const struct args *args)
{
	return args_count(args, "group") == 1 && !strcmp(args_text(args, "group"), "auto");
}

static int add_groups(json_t *body, const struct args *args)
{
	for (unsigned i = 0; !wants_auto(args) && i < args_count(args, "group"); i++) {
		const char *text = args_nth(args, "group", i);
		if (!strcmp(text, "auto") || !strchr(text, ',')) {
			cli_usage("--group: %s is not a list like a,b,c; auto stands alone", text);
			return -1;
		}
		add_group(body, text);
	}
	return 0;
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
	if (add_groups(body, args))
		return -1;
	if (args_flag(args, "retry"))
		json_object_set_new(body, "retry", json_true());
	if (args_flag(args, "supersede"))
		json_object_set_new(body, "supersede", json_true());
	return add_limit(body, args);
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

/* ---- start ---- */

static void tell_superseded(const struct cli *cli, const json_t *reply)
{
	size_t i;
	const json_t *item;
	json_array_foreach (json_object_get(reply, "superseded"), i, item)
		cli_say(cli, "%s: about %lld devices (%.4g %%) leave %s of rollout %s",
			json_string_value(json_object_get(item, "class")),
			(long long)json_integer_value(json_object_get(item, "devices")),
			(double)json_integer_value(json_object_get(item, "candidate_ppm")) / 1e4,
			json_string_value(json_object_get(item, "release")),
			json_string_value(json_object_get(item, "rollout")));
}

static int send_start(struct cli *cli, json_t *body)
{
	int code;
	struct err err;
	json_auto_t *reply = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (cli->yes)
		json_object_set_new(body, "confirm", json_true());
	if (api_send(api, "POST", "/admin/v1/rollouts", body, &reply, &err))
		return cli_fail(&err);
	tell_superseded(cli, reply);
	const char *id = json_string_value(json_object_get(reply, "id"));
	if (cli->output == OUTPUT_JSON)
		out_json(reply);
	else
		puts(id ? id : "");
	cli_say(cli, "rollout %s is running; watch it: flotilla rollout status %s --watch", id, id);
	return EXIT_DONE;
}

/* ---- plan ---- */

static void put_classes(const json_t *lane)
{
	size_t i;
	const json_t *item, *group = json_object_get(lane, "group");
	if (!json_is_array(group))
		fputs(json_string_value(json_object_get(lane, "class")), stdout);
	json_array_foreach (group, i, item)
		printf("%s%s", i ? "," : "", json_string_value(item));
}

static void show_lane(const json_t *lane)
{
	static const struct column columns[] = {
		{"STAGE", "stage", COL_INT},	   {"SHARE", "ppm", COL_PPM},
		{"CANDIDATES", "candidates", COL_INT}, {"CONTROL", "control", COL_INT},
		{"NEEDS", "needs", COL_INT},	   {"FOR", "slowest", COL_TEXT},
		{"NIGHTS", "nights", COL_INT},	   {"IN TIME", "in_time", COL_TEXT},
		{"SEES CRASH X", "crash_ratio", COL_REAL},
		{"SEES P95 X", "ttft_p95_ratio", COL_REAL},
		{"BYTES", "bytes", COL_BYTES}};
	char each[24];
	const char *stable = json_string_value(json_object_get(lane, "stable"));
	const char *via = json_string_value(json_object_get(lane, "via"));
	const bool counted = !strcmp(json_string_value(json_object_get(lane, "devices_from")), "census");
	const json_t *stages = json_object_get(lane, "stages");
	if (!json_array_size(stages))
		return;
	out_bytes(json_integer_value(json_object_get(lane, "bytes_per_device")), each);
	put_classes(lane);
	printf(", from %s: %lld devices (%s), %s each (%s)\n", stable,
	       (long long)json_integer_value(json_object_get(lane, "devices")),
	       counted ? "counted" : "as the class says", each, via);
	out_table(stages, columns, COUNT_OF(columns));
	putchar('\n');
}

static void show_plan(const json_t *doc)
{
	char bytes[24];
	size_t i;
	const json_t *item, *nights = json_object_get(doc, "nights");
	json_array_foreach (json_object_get(doc, "lanes"), i, item)
		show_lane(item);
	json_array_foreach (json_object_get(doc, "warnings"), i, item) {
		const char *class = json_string_value(json_object_get(item, "class"));
		printf("%s%s%s\n", class ? class : "", class ? ": " : "",
		       json_string_value(json_object_get(item, "text")));
	}
	out_bytes(json_integer_value(json_object_get(doc, "bytes")), bytes);
	if (json_is_integer(nights))
		printf("All lanes: about %lld nights, %s.\n", (long long)json_integer_value(nights), bytes);
	else
		printf("Not all lanes would complete; %s in all if they did.\n", bytes);
}

static int send_plan(struct cli *cli, json_t *body)
{
	int code;
	struct err err;
	json_auto_t *reply = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/rollout-plan", body, &reply, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		out_json(reply);
	else
		show_plan(reply);
	return EXIT_DONE;
}

/* ---- both ---- */

/* What a plan says should share a lane, taken over. */
static int apply_groups(struct cli *cli, json_t *body)
{
	int code;
	struct err err;
	size_t i;
	json_t *group;
	json_auto_t *plan = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/rollout-plan", body, &plan, &err))
		return cli_fail(&err);
	json_t *groups = json_object_get(plan, "groups");
	json_array_foreach (groups, i, group)
		cli_say(cli, "%zu classes share a lane", json_array_size(group));
	if (json_array_size(groups))
		json_object_set(body, "groups", groups);
	return EXIT_DONE;
}

static int with_body(struct cli *cli, const struct args *args,
		     int (*send)(struct cli *cli, json_t *body))
{
	char *model = NULL, *release = NULL;
	int code = EXIT_USAGE;
	if (!cli_release(args->positional[0], &model, &release)) {
		json_auto_t *body = start_body(args, model, release);
		if (body)
			code = wants_auto(args) ? apply_groups(cli, body) : EXIT_DONE;
		if (body && code == EXIT_DONE)
			code = send(cli, body);
	}
	free(model);
	free(release);
	return code;
}

static int rollout_start(struct cli *cli, const struct args *args)
{
	return with_body(cli, args, send_start);
}

static int rollout_plan(struct cli *cli, const struct args *args)
{
	return with_body(cli, args, send_plan);
}

static const struct cli_option start_options[] = {
	{"channel", "NAME", "channel (stable)", false},
	{"class", "NAME", "only this device class", true},
	{"stages", "LIST", "shares of the fleet (1%,5%,20%,50%,95%)", false},
	{"soak", "SECONDS", "shortest time in a stage (86400)", false},
	{"max", "SECONDS", "longest time before a stage holds as inconclusive (604800)", false},
	{"margin", "RATIO+DIFF", "what counts as no worse, for promotion (2.0, 1.5, 1.25 ... by stage)", false},
	{"group", "A,B,C|auto", "classes that share one lane; auto: those that are too small", true},
	{"retry", NULL, "also where this release was rolled back before", false},
	{"supersede", NULL, "end what is under way in the classes named; --yes beyond 10 % of one", false},
	{"abort-after", "LANES", "abort the rest once gates took so many lanes back (never)", false},
};

/* clang-format off */
const struct command start_commands[START_COMMANDS] = {
	{"rollout", "plan", "MODEL@RELEASE", 1, 1,
	 "Show what a rollout would need: devices, nights, bytes, and what it could see",
	 "NEEDS is how many candidates must report for the slowest guard, at the traffic of the last two\n"
	 "weeks; SEES is the least ratio to stable that a gate would find before the stage's time is over.\n"
	 "Averages: one run in twenty takes two to three times as long.  Nothing is changed.\n"
	 "  flotilla rollout plan assistant@2.1.0 --stages 5%,50% --margin 2.0+0.05",
	 start_options, COUNT_OF(start_options), rollout_plan},
	{"rollout", "start", "MODEL@RELEASE", 1, 1, "Roll a release out, class by class",
	 "Each device class is a lane of its own: it advances on evidence, holds when unsure, and\n"
	 "goes back by itself when the candidate is worse.  Nothing named means safe defaults.\n"
	 "See first what it would need: flotilla rollout plan.",
	 start_options, COUNT_OF(start_options), rollout_start},
};
