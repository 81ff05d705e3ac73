/* A backup that was put back. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>

static const struct column columns[] = {
	{"WHAT", "what", COL_TEXT},
	{"OF", "subject", COL_TEXT},
	{"TAKEN BACK", "t", COL_TIME},
	{"NOW", "outcome", COL_TEXT},
};

static long long number(const json_t *doc, const char *name)
{
	return (long long)json_integer_value(json_object_get(doc, name));
}

static int db_status(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	(void)args;
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/restored", &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	if (!json_is_true(json_object_get(doc, "restored"))) {
		cli_say(cli, "the database knows of all that was published (publication %lld, epoch %lld)",
			number(doc, "publication"), number(doc, "epoch"));
		return EXIT_DONE;
	}
	out_table(json_object_get(doc, "withdrawn"), columns, COUNT_OF(columns) - 1);
	if (number(doc, "published"))
		cli_say(cli, "a restored backup: it knows of publication %lld, and %lld were made",
			number(doc, "publication"), number(doc, "published"));
	else
		cli_say(cli, "the file `epoch` is gone, so this may be a restored backup: give an --epoch "
			"greater than any before");
	cli_say(cli, "nothing is signed or served until you have looked at the above and run: flotilla db "
		"restored");
	return EXIT_DONE;
}

static int show_restored(const struct cli *cli, const json_t *doc)
{
	const json_t *held = json_object_get(doc, "held");
	size_t i;
	json_t *lane;
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	out_table(json_object_get(doc, "withdrawn"), columns, COUNT_OF(columns));
	json_array_foreach (held, i, lane)
		cli_say(cli, "holds: %s", json_string_value(lane));
	cli_say(cli, "epoch %lld; documents are signed and served again.  What was released or completed "
		"after the backup is gone: push it again.  Go on with `flotilla rollout resume` or abort",
		number(doc, "epoch"));
	cli_say(cli, "roots signed offline: devices follow the index again once it is signed anew: flotilla "
		"keys export FILE");
	return EXIT_DONE;
}

static int db_restored(struct cli *cli, const struct args *args)
{
	int code;
	struct err err;
	int64_t epoch = 0;
	json_auto_t *doc = NULL;
	if (args_int(args, "epoch", 1, 1000000, 0, &epoch))
		return EXIT_USAGE;
	if (!cli_confirm(cli, "Go on from the restored database?"))
		return EXIT_FAILED;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	json_auto_t *body = json_pack("{s:b}", "force", args_flag(args, "force"));
	if (epoch)
		json_object_set_new(body, "epoch", json_integer(epoch));
	if (api_send(api, "POST", "/admin/v1/restored", body, &doc, &err))
		return cli_fail(&err);
	return show_restored(cli, doc);
}

static const struct cli_option options[] = {
	{"epoch", "N", "go on with this epoch, greater than any before (the next)", false},
	{"force", NULL, "although the daemon does not see that it was restored", false},
};

/* clang-format off */
const struct command db_commands[DB_COMMANDS] = {
	{"db", "status", "", 0, 0, "Tell whether the database is a restored backup, and what it forgot",
	 NULL, NULL, 0, db_status},
	{"db", "restored", "", 0, 0, "Go on from a restored backup",
	 "What was taken back since the backup is taken back again: revocations, floors, ended tokens,\n"
	 "rollbacks and undone releases.  Every lane holds, and versions go on in a new epoch, so that\n"
	 "devices follow.  Look at flotilla db status first.",
	 options, COUNT_OF(options), db_restored},
};
