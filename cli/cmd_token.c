/* Tokens of people and machines. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

static int token_create(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	int64_t days, quota, uploads;
	const char *role = args_text(args, "role");
	json_auto_t *reply = NULL;
	if (!role)
		return cli_usage("--role is missing: viewer, publisher, operator, admin or relay");
	if (args_int(args, "days", 1, 3650, 0, &days) ||
	    args_int(args, "quota-bytes", 1, (int64_t)1 << 53, 0, &quota) ||
	    args_int(args, "uploads", 1, 10000, 0, &uploads))
		return EXIT_USAGE;
	json_auto_t *body = json_pack("{s:s, s:s}", "name", args->positional[0], "role", role);
	if (days)
		json_object_set_new(body, "expires_s", json_integer(days * 86400));
	if (quota)
		json_object_set_new(body, "quota_bytes", json_integer(quota));
	if (uploads)
		json_object_set_new(body, "uploads", json_integer(uploads));
	for (unsigned i = 0; i < args_count(args, "model"); i++) {
		if (!i)
			json_object_set_new(body, "models", json_array());
		json_array_append_new(json_object_get(body, "models"),
				      json_string(args_nth(args, "model", i)));
	}
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/tokens", body, &reply, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		out_json(reply);
	else
		puts(json_string_value(json_object_get(reply, "token")));
	cli_say(cli, "this is the only time the token is shown; keep it in a file with mode 0600");
	return EXIT_DONE;
}

static int token_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"ID", "id", COL_TEXT},		{"NAME", "name", COL_TEXT},
		{"ROLE", "role", COL_TEXT},	{"MODELS", "models", COL_TEXT},
		{"QUOTA/DAY", "quota_bytes", COL_BYTES}, {"UPLOADS", "uploads", COL_INT},
		{"CREATED", "created", COL_TIME}, {"EXPIRES", "expires", COL_TIME},
		{"REVOKED", "revoked", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/tokens", columns, COUNT_OF(columns));
}

static int token_revoke(struct cli *cli, const struct args *args)
{
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/tokens/%s", args->positional[0]);
	return cli_send(cli, "DELETE", path, NULL, "token %s no longer opens anything",
			args->positional[0]);
}

static const struct cli_option create_options[] = {
	{"role", "ROLE", "viewer, publisher, operator, admin, or relay", false},
	{"model", "NAME", "only this model", true},
	{"days", "N", "expire after N days (never)", false},
	{"quota-bytes", "N", "bytes it may bring in any 24 hours (no bound)", false},
	{"uploads", "N", "raw uploads it may have open at a time (64)", false},
};

/* clang-format off */
const struct command token_commands[TOKEN_COMMANDS] = {
	{"token", "create", "NAME", 1, 1, "Make a token and print it once",
	 "What is stored already does not count against --quota-bytes, unless the token is for some\n"
	 "models only: such a token never learns what others have stored.  For example, for CI:\n"
	 "  flotilla token create ci --role publisher --model assistant --quota-bytes 50000000000",
	 create_options,
	 COUNT_OF(create_options), token_create},
	{"token", "list", "", 0, 0, "List tokens, never their secrets", NULL, NULL, 0, token_list},
	{"token", "revoke", "ID", 1, 1, "End a token now", NULL, NULL, 0, token_revoke},
};
