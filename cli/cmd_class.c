/* Device classes: the ordered rules that make them, and each one's settings. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "manifest/classes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1 << 20)
#define MATCH_ROOM 160
#define RULES "/admin/v1/class-rules"

/* A JSON document from a file, "-" for standard input; NULL and a message otherwise. */
static json_t *read_document(const char *path)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(FILE_MAX);
	if (file_read(strcmp(path, "-") ? path : "/dev/stdin", &text, &err)) {
		cli_fail(&err);
		return NULL;
	}
	json_t *doc = json_parse(text.data ? text.data : "", text.len, path, &err);
	if (!doc)
		cli_fail(&err);
	return doc;
}

static int reply_read(struct api_reply *reply, json_t **ret, struct err *err)
{
	json_t *doc = json_parse(reply->body.data ? reply->body.data : "", reply->body.len,
				 "the daemon's reply", err);
	api_reply_done(reply);
	if (!doc)
		return -1;
	*ret = doc;
	return 0;
}

/* A document that is there, and what its next version must match: this one, or --if-version. */
static int get_matched(const struct cli *cli, struct api *api, const char *path, json_t **ret,
		       char match[static MATCH_ROOM], struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {.method = "GET", .path = path};
	if (api_call(api, &q, &reply, err))
		return -1;
	if (cli->if_version)
		snprintf(match, MATCH_ROOM, "If-Match: \"v%s\"", cli->if_version);
	else
		snprintf(match, MATCH_ROOM, "If-Match: %s", reply.etag);
	return reply_read(&reply, ret, err);
}

static int put_matched(struct api *api, const char *path, const json_t *body, const char *match,
		       json_t **ret, struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {
		.method = "PUT", .path = path, .json = body, .headers = {match}};
	return api_call(api, &q, &reply, err) ? -1 : reply_read(&reply, ret, err);
}

static int class_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"CLASS", "name", COL_TEXT},	  {"TIERS", "settings.tiers", COL_TEXT},
		{"POLL S", "settings.poll_s", COL_INT}, {"DEVICES", "settings.devices", COL_INT},
		{"STATE", "state", COL_TEXT}};
	(void)args;
	return cli_list(cli, "/admin/v1/classes", columns, COUNT_OF(columns));
}

static int class_show(struct cli *cli, const struct args *args)
{
	char path[256];
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	snprintf(path, sizeof(path), "/admin/v1/classes/%s", args->positional[0]);
	if (api_get(api, path, &doc, &err))
		return cli_fail(&err);
	out_json(doc);
	return EXIT_DONE;
}

/* What changes names stays as it is otherwise; null is what a new class has. */
static int settings_merge(json_t *settings, const json_t *changes, struct err *err)
{
	const char *name;
	json_t *value;
	if (!json_is_object(changes))
		return err_set(err, ERR_INVALID, "settings: must be an object, as {\"poll_s\": 3600}");
	json_object_foreach((json_t *)(uintptr_t)changes, name, value) {
		if (json_is_null(value))
			json_object_del(settings, name);
		else if (json_object_set(settings, name, value))
			return err_nomem(err);
	}
	return 0;
}

static void warn_of_tiers(const struct cli *cli, const json_t *class)
{
	size_t i;
	const json_t *tier;
	json_array_foreach (json_object_get(class, "unknown_tiers"), i, tier)
		cli_say(cli, "warning: no release has a tier %s yet; devices are offered the others of the"
			     " list, if it has any",
			json_string_value(tier));
}

static int settings_set(struct cli *cli, struct api *api, const struct args *args, const json_t *changes,
			struct err *err)
{
	char path[256], match[MATCH_ROOM];
	json_auto_t *before = NULL, *after = NULL;
	snprintf(path, sizeof(path), "/admin/v1/classes/%s", args->positional[0]);
	if (get_matched(cli, api, path, &before, match, err))
		return -1;
	json_t *settings = json_object_get(before, "settings");
	if (settings_merge(settings, changes, err))
		return -1;
	if (args_flag(args, "strict"))
		strcat(path, "?strict=1");
	if (put_matched(api, path, settings, match, &after, err))
		return -1;
	warn_of_tiers(cli, after);
	return 0;
}

static int class_set(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	json_auto_t *changes = read_document(args->positional[1]);
	struct api *api = changes ? cli_api(cli, &code) : NULL;
	if (!changes)
		return EXIT_FAILED;
	if (!api)
		return code;
	if (settings_set(cli, api, args, changes, &err))
		return cli_fail(&err);
	cli_say(cli, "class %s is set; its manifests are published anew", args->positional[0]);
	return EXIT_DONE;
}

static int rules_get(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	(void)args;
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/class-rules", &doc, &err))
		return cli_fail(&err);
	out_json(doc);
	return EXIT_DONE;
}

static int rules_set(struct cli *cli, const struct args *args)
{
	int code;
	char match[MATCH_ROOM];
	struct err err;
	json_auto_t *body = read_document(args->positional[0]), *before = NULL, *after = NULL;
	struct api *api = body ? cli_api(cli, &code) : NULL;
	if (!body)
		return EXIT_FAILED;
	if (!api)
		return code;
	if (get_matched(cli, api, RULES, &before, match, &err) ||
	    put_matched(api, args_flag(args, "hold") ? RULES "?hold=1" : RULES, body, match, &after,
			&err))
		return cli_fail(&err);
	cli_say(cli, "the rules are published; devices see them at their next poll");
	return EXIT_DONE;
}

/* ---- plan: who would move ---- */

static void say_moves(const struct cli *cli, const json_t *doc)
{
	static const struct column columns[] = {{"CLASS", "class", COL_TEXT},
						{"DEVICES", "devices", COL_INT},
						{"SHARE", "share_ppm", COL_PPM},
						{"MAY MOVE TO", "to", COL_TEXT}};
	json_t *rows = json_object_get(doc, "classes"), *row, *name;
	size_t i, k;
	json_array_foreach (rows, i, row) {
		char to[400] = "";
		json_array_foreach (json_object_get(row, "may_move_to"), k, name)
			snprintf(to + strlen(to), sizeof(to) - strlen(to), "%s%s", k ? ", " : "",
				 json_string_value(name));
		if (to[0] && !json_is_true(json_object_get(row, "some_stay")))
			snprintf(to + strlen(to), sizeof(to) - strlen(to), " (all)");
		json_object_set_new(row, "to", json_string(to));
	}
	out_table(rows, columns, COUNT_OF(columns));
	cli_say(cli, "at most %lld of %lld devices would move (%.1f %%)",
		(long long)json_integer_value(json_object_get(doc, "may_move")),
		(long long)json_integer_value(json_object_get(doc, "devices")),
		(double)json_integer_value(json_object_get(doc, "may_move_ppm")) / 1e4);
	json_array_foreach (json_object_get(doc, "lanes"), i, name)
		cli_say(cli, "a rollout is under way that this touches: %s; rules-set needs --hold",
			json_string_value(name));
}

static int class_plan(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	json_auto_t *body = read_document(args->positional[0]), *doc = NULL;
	struct api *api = body ? cli_api(cli, &code) : NULL;
	if (!body)
		return EXIT_FAILED;
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/class-plan", body, &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		out_json(doc);
	else
		say_moves(cli, doc);
	return EXIT_DONE;
}

/* ---- test: devices as they are meant to be classed ---- */

/* The rules of --rules, which need no server, or those in force. */
static json_t *rules_of(struct cli *cli, const struct args *args, int *ret_code)
{
	struct err err;
	json_t *doc = NULL;
	*ret_code = EXIT_FAILED;
	if (args_text(args, "rules"))
		return read_document(args_text(args, "rules"));
	struct api *api = cli_api(cli, ret_code);
	if (api && api_get(api, RULES, &doc, &err))
		*ret_code = cli_fail(&err);
	return doc;
}

/* One device: a row of the table.  -1: *err says what is wrong with it. */
static int test_one(const struct class_rules *rules, json_t *device, struct arena *arena,
		    json_t *rows, bool *ret_failed, struct err *err)
{
	struct attrs attrs;
	const char *want = NULL, *name = "";
	json_t *attributes = NULL;
	const struct json_field fields[] = {
		FIELD_OBJECT("attributes", &attributes),
		FIELD_TEXT("class", &want, .optional = true),
		FIELD_TEXT("name", &name, .optional = true),
	};
	if (json_read(device, fields, COUNT_OF(fields), err) ||
	    attrs_parse(&attrs, attributes, arena, err))
		return -1;
	json_auto_t *why = classes_explain(rules, &attrs, err);
	if (!why)
		return -1;
	const char *class = json_string_value(json_object_get(why, "class"));
	const bool failed = want && strcmp(want, class) != 0;
	json_t *row = json_pack("{s:s, s:s, s:s, s:O, s:s, s:O}", "name", name, "class", class,
				"expected", want ? want : "", "rule", json_object_get(why, "rule"),
				"result", !want ? "" : failed ? "FAIL" : "ok", "explained", why);
	if (json_array_append_new(rows, row))
		return err_nomem(err);
	*ret_failed = *ret_failed || failed;
	return 0;
}

static int test_all(const json_t *document, const json_t *devices, json_t *rows, bool *ret_failed,
		    struct err *err)
{
	struct class_rules rules;
	size_t i;
	json_t *device;
	AUTO(arena_free) struct arena *arena = arena_new(2 * CLASS_RULES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (!json_is_array(devices))
		return err_set(err, ERR_INVALID,
			       "devices: must be an array of {\"attributes\": {...}, \"class\": "
			       "\"expected\"}");
	if (classes_lint(&rules, document, arena, err))
		return err_in(err, "rules");
	json_array_foreach (devices, i, device)
		if (test_one(&rules, device, arena, rows, ret_failed, err))
			return err_in(err, "devices[%zu]", i);
	return 0;
}

static int class_test(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"DEVICE", "name", COL_TEXT},
						{"CLASS", "class", COL_TEXT},
						{"RULE", "rule", COL_INT},
						{"EXPECTED", "expected", COL_TEXT},
						{"RESULT", "result", COL_TEXT}};
	int code;
	bool failed = false;
	struct err err;
	json_auto_t *devices = read_document(args->positional[0]);
	json_auto_t *document = devices ? rules_of(cli, args, &code) : NULL;
	json_auto_t *rows = json_array();
	if (!devices)
		return EXIT_FAILED;
	if (!document)
		return code;
	if (test_all(document, devices, rows, &failed, &err))
		return cli_fail(&err);
	out_rows(cli, rows, columns, COUNT_OF(columns));
	if (failed)
		cli_say(cli, "some devices are not where they are expected; -o json shows why");
	return failed ? EXIT_FAILED : EXIT_DONE;
}

static int class_explain(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	json_auto_t *attributes = read_document(args->positional[0]);
	json_auto_t *reply = NULL;
	struct api *api = attributes ? cli_api(cli, &code) : NULL;
	if (!attributes)
		return EXIT_FAILED;
	if (!api)
		return code;
	json_auto_t *body = json_pack("{s:O}", "attributes", attributes);
	if (api_send(api, "POST", "/admin/v1/class-explain", body, &reply, &err))
		return cli_fail(&err);
	out_json(reply);
	return EXIT_DONE;
}

static int class_prepare(struct cli *cli, const struct args *args)
{
	const char *name = args->positional[0];
	json_auto_t *body = json_pack("{s:s}", "name", name);
	return cli_send(cli, "POST", "/admin/v1/classes", body,
			"class %s waits for its roots (flotilla keys export); then rules may lead to it",
			name);
}

static const struct cli_option class_options[] = {
	{"strict", NULL, "refuse tiers that no release has (warn of them)", false},
};
static const struct cli_option set_options[] = {
	{"hold", NULL, "hold rollouts whose devices may change class, instead of refusing", false},
};
static const struct cli_option test_options[] = {
	{"rules", "FILE", "these rules, without a server (those in force)", false},
};

/* clang-format off */
const struct command class_commands[CLASS_COMMANDS] = {
	{"class", "list", "", 0, 0, "List device classes", NULL, NULL, 0, class_list},
	{"class", "show", "CLASS", 1, 1, "Show a class's settings", NULL, NULL, 0, class_show},
	{"class", "set", "CLASS FILE", 2, 2, "Set a class's tiers, polling, windows and budgets",
	 "FILE is JSON (`-` reads standard input), for example\n"
	 "  {\"tiers\": [\"q8_0\", \"q4_0\"], \"poll_s\": 3600, \"devices\": 20000}\n"
	 "What it does not name stays as it is; null is what a new class has.",
	 class_options, COUNT_OF(class_options), class_set},
	{"class", "prepare", "CLASS", 1, 1, "Make a class before rules lead to it",
	 "With an offline root its roots must be signed first; with development keys this is not\n"
	 "needed.", NULL, 0, class_prepare},
	{"class", "rules", "", 0, 0, "Show the ordered rules that make classes", NULL, NULL, 0,
	 rules_get},
	{"class", "rules-set", "FILE", 1, 1, "Replace the rules",
	 "FILE is JSON; the first rule that matches wins, the last matches all:\n"
	 "  {\"schema\": 1, \"rules\": [\n"
	 "    {\"class\": \"android-8g\", \"any\": [{\"all\": [\n"
	 "      {\"attr\": \"os\", \"op\": \"eq\", \"value\": \"android\"},\n"
	 "      {\"attr\": \"ram_mib\", \"op\": \"ge\", \"value\": 7168}]}]},\n"
	 "    {\"class\": \"default\"}]}\n"
	 "See first what would move: flotilla class plan FILE.",
	 set_options, COUNT_OF(set_options), rules_set},
	{"class", "plan", "FILE", 1, 1, "Show which devices other rules would move, and which rollouts",
	 "Decided from the rules and yesterday's census: no device moves that is not listed, but some\n"
	 "that are listed may stay.", NULL, 0, class_plan},
	{"class", "test", "FILE", 1, 1, "Check that devices lead to the classes they are meant for",
	 "FILE is JSON; a class is what is expected, and may be left out:\n"
	 "  [{\"name\": \"Pixel 8\", \"attributes\": {\"os\": \"android\", \"ram_mib\": 8192},\n"
	 "    \"class\": \"android-8g\"}]\n"
	 "Exit code 1 when a device leads elsewhere: keep such a file beside the rules, in CI.",
	 test_options, COUNT_OF(test_options), class_test},
	{"class", "explain", "FILE", 1, 1, "Say which class a device's attributes lead to, and why",
	 "FILE is JSON: {\"os\": \"android\", \"ram_mib\": 8192, \"os_version\": [15]}", NULL, 0,
	 class_explain},
};
