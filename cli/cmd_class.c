/* Device classes: the ordered rules that make them, and each one's settings. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1 << 20)

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

/* PUT with If-Match: the version named, or the one that is there now. */
static int put_matched(struct cli *cli, const char *path, const json_t *body)
{
	char match[160];
	int code;
	struct err err;
	struct api_reply reply;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	struct api_request q = {.method = "GET", .path = path};
	if (cli->if_version) {
		snprintf(match, sizeof(match), "If-Match: \"v%s\"", cli->if_version);
	} else {
		if (api_call(api, &q, &reply, &err))
			return cli_fail(&err);
		snprintf(match, sizeof(match), "If-Match: %s", reply.etag);
		api_reply_done(&reply);
	}
	q = (struct api_request){.method = "PUT", .path = path, .json = body, .headers = {match}};
	if (api_call(api, &q, &reply, &err))
		return cli_fail(&err);
	api_reply_done(&reply);
	return EXIT_DONE;
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

static int class_set(struct cli *cli, const struct args *args)
{
	char path[256];
	json_auto_t *body = read_document(args->positional[1]);
	if (!body)
		return EXIT_FAILED;
	snprintf(path, sizeof(path), "/admin/v1/classes/%s", args->positional[0]);
	const int code = put_matched(cli, path, body);
	if (code == EXIT_DONE)
		cli_say(cli, "class %s is set; its manifests are published anew",
			args->positional[0]);
	return code;
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
	json_auto_t *body = read_document(args->positional[0]);
	if (!body)
		return EXIT_FAILED;
	const int code = put_matched(cli, "/admin/v1/class-rules", body);
	if (code == EXIT_DONE)
		cli_say(cli, "the rules are published; devices see them at their next poll");
	return code;
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

/* clang-format off */
const struct command class_commands[CLASS_COMMANDS] = {
	{"class", "list", "", 0, 0, "List device classes", NULL, NULL, 0, class_list},
	{"class", "show", "CLASS", 1, 1, "Show a class's settings", NULL, NULL, 0, class_show},
	{"class", "set", "CLASS FILE", 2, 2, "Set a class's tiers, polling, windows and budgets",
	 "FILE is JSON (`-` reads standard input), for example\n"
	 "  {\"tiers\": [\"q8_0\", \"q4_0\"], \"poll_s\": 3600, \"devices\": 20000}",
	 NULL, 0, class_set},
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
	 "    {\"class\": \"default\"}]}",
	 NULL, 0, rules_set},
	{"class", "explain", "FILE", 1, 1, "Say which class a device's attributes lead to, and why",
	 "FILE is JSON: {\"os\": \"android\", \"ram_mib\": 8192, \"os_version\": [15]}", NULL, 0,
	 class_explain},
};
