/* Models, releases, what runs as stable. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

static int model_create(struct cli *cli, const struct args *args)
{
	const char *name = args->positional[0];
	json_auto_t *body = json_pack("{s:s}", "name", name);
	return cli_send(cli, "POST", "/admin/v1/models", body,
			"model %s exists; push a variant: flotilla push FILE --release %s@1.0.0"
			" --tier TIER",
			name, name);
}

static int model_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"MODEL", "name", COL_TEXT},
						{"CREATED", "created", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/models", columns, COUNT_OF(columns));
}

static int channel_create(struct cli *cli, const struct args *args)
{
	const char *name = args->positional[0];
	json_auto_t *body = json_pack("{s:s}", "name", name);
	return cli_send(cli, "POST", "/admin/v1/channels", body,
			"channel %s exists; next: flotilla release bootstrap MODEL@RELEASE --channel %s",
			name, name);
}

static int channel_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"CHANNEL", "name", COL_TEXT},
						{"CREATED", "created", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/channels", columns, COUNT_OF(columns));
}

static int release_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"RELEASE", "release", COL_TEXT},
						{"STATE", "state", COL_TEXT},
						{"PUBLISHED", "published", COL_TIME},
						{"CHECKPOINT", "checkpoint", COL_TEXT}};
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases", args->positional[0]);
	return cli_list(cli, path, columns, COUNT_OF(columns));
}

/* One row a file of every variant. */
static json_t *file_rows(const json_t *release)
{
	json_t *rows = json_array();
	size_t i, j;
	json_t *variant, *file;
	json_array_foreach (json_object_get(release, "variants"), i, variant)
		json_array_foreach (json_object_get(variant, "files"), j, file) {
			json_t *row = json_deep_copy(file);
			json_object_set(row, "tier", json_object_get(variant, "tier"));
			json_object_set(row, "format", json_object_get(variant, "format"));
			json_array_append_new(rows, row);
		}
	return rows;
}

static int show_release(struct cli *cli, const char *model, const char *release)
{
	static const struct column columns[] = {
		{"TIER", "tier", COL_TEXT},	{"FORMAT", "format", COL_TEXT},
		{"FILE", "name", COL_TEXT},	{"BYTES", "length", COL_BYTES},
		{"STORED", "stored", COL_BYTES}, {"SHA256", "sha256", COL_TEXT}};
	char path[256];
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s", model, release);
	if (api_get(api, path, &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	json_auto_t *rows = file_rows(doc);
	printf("%s@%s  %s\n", model, release,
	       json_string_value(json_object_get(doc, "state")));
	out_table(rows, columns, COUNT_OF(columns));
	return EXIT_DONE;
}

static int release_show(struct cli *cli, const struct args *args)
{
	char *model = NULL, *release = NULL;
	int code = EXIT_USAGE;
	if (!cli_release(args->positional[0], &model, &release))
		code = show_release(cli, model, release);
	free(model);
	free(release);
	return code;
}

static int release_publish(struct cli *cli, const struct args *args)
{
	char path[256], *model = NULL, *release = NULL;
	int code = EXIT_USAGE;
	if (!cli_release(args->positional[0], &model, &release)) {
		snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s/publish", model,
			 release);
		code = cli_send(cli, "POST", path, NULL,
				"%s is published and immutable; roll it out: flotilla rollout start %s (a "
				"model's first release: flotilla release bootstrap)",
				args->positional[0], args->positional[0]);
	}
	free(model);
	free(release);
	return code;
}

static json_t *class_list_of(const struct args *args)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < args_count(args, "class"); i++)
		json_array_append_new(list, json_string(args_nth(args, "class", i)));
	return list;
}

static int release_bootstrap(struct cli *cli, const struct args *args)
{
	char path[256], *model = NULL, *release = NULL;
	const char *channel = args_text(args, "channel");
	int code = EXIT_USAGE;
	if (!cli_release(args->positional[0], &model, &release)) {
		json_auto_t *body = json_pack("{s:s, s:s}", "release", release, "channel",
					      channel ? channel : "stable");
		if (args_count(args, "class"))
			json_object_set_new(body, "classes", class_list_of(args));
		snprintf(path, sizeof(path), "/admin/v1/models/%s/bootstrap", model);
		code = cli_send(cli, "POST", path, body,
				"%s is now what channel %s runs; manifests are published",
				args->positional[0], channel ? channel : "stable");
	}
	free(model);
	free(release);
	return code;
}

static int release_stable(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"CHANNEL", "channel", COL_TEXT}, {"CLASS", "class", COL_TEXT},
		{"MODEL", "model", COL_TEXT},	  {"STABLE", "stable", COL_TEXT},
		{"CANDIDATE", "candidate", COL_TEXT}, {"ROLLOUT", "rollout", COL_TEXT},
		{"SINCE", "stable_since", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/stable", columns, COUNT_OF(columns));
}

static const struct cli_option bootstrap_options[] = {
	{"channel", "NAME", "channel (stable)", false},
	{"class", "NAME", "only this device class", true},
};

/* clang-format off */
const struct command release_commands[RELEASE_COMMANDS] = {
	{"model", "create", "NAME", 1, 1, "Make a model, the name that apps ask for", NULL, NULL, 0,
	 model_create},
	{"model", "list", "", 0, 0, "List models", NULL, NULL, 0, model_list},
	{"channel", "create", "NAME", 1, 1, "Make a channel: a fleet of its own, such as beta",
	 "Apps name their channel.  There is always one: stable.", NULL, 0, channel_create},
	{"channel", "list", "", 0, 0, "List channels", NULL, NULL, 0, channel_list},
	{"release", "list", "MODEL", 1, 1, "List a model's releases", NULL, NULL, 0, release_list},
	{"release", "show", "MODEL@RELEASE", 1, 1, "Show a release's variants and files", NULL,
	 NULL, 0, release_show},
	{"release", "publish", "MODEL@RELEASE", 1, 1, "Make a release immutable, ready to roll out",
	 NULL, NULL, 0, release_publish},
	{"release", "bootstrap", "MODEL@RELEASE", 1, 1,
	 "Set the first stable release of a model, without a rollout",
	 "Only for the first one: later releases go out by `flotilla rollout start`.",
	 bootstrap_options, COUNT_OF(bootstrap_options), release_bootstrap},
	{"release", "stable", "", 0, 0, "Show what each channel and class runs now", NULL, NULL, 0,
	 release_stable},
};
