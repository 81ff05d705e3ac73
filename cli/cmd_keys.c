/* Keys of publishers, who may publish what, and what is taken back. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "manifest/keys.h"
#include "manifest/keystore.h"

#include <stdlib.h>
#include <string.h>

#define KEY_FILE_MAX 4096

static void public_name(char out[static 1024], const char *path)
{
	snprintf(out, 1024, "%s.pub", path);
}

static int write_public(const char *path, const struct public_key *key, struct err *err)
{
	json_auto_t *object = key_json(key);
	char *text = object ? json_text(object) : NULL;
	if (!text)
		return err_nomem(err);
	const int bad = file_write(path, text, strlen(text), 0644, err);
	free(text);
	return bad;
}

static int keys_new(struct cli *cli, const struct args *args)
{
	const char *path = args->positional[0];
	char public[1024], id[DIGEST_HEX];
	struct err err;
	AUTO_KEY_SEED struct key_seed seed;
	AUTO_SIGN_KEY struct sign_key key;
	if (keystore_seed_make(path, &err) || keystore_seed_read(path, &seed, &err))
		return cli_fail(&err);
	key_from_seed(&key, &seed);
	public_name(public, path);
	if (write_public(public, &key.public, &err))
		return cli_fail(&err);
	digest_hex(&key.public.id, id);
	printf("%s\n", id);
	cli_say(cli,
		"%s is secret: give it to CI alone.  %s is public: flotilla keys publisher NAME "
		"--key %s --model MODEL",
		path, public, public);
	return EXIT_DONE;
}

/* NULL, and a message, unless it is a public key's file. */
static json_t *read_public(const char *path)
{
	struct err err;
	struct public_key key;
	AUTO_BUF struct buf text = BUF_INIT(KEY_FILE_MAX);
	json_auto_t *object = NULL;
	if (file_read(path, &text, &err) == 0)
		object = json_parse(text.data ? text.data : "", text.len, path, &err);
	if (!object || key_parse(&key, object, &err)) {
		err_in_text(&err, "%s", path);
		cli_fail(&err);
		return NULL;
	}
	return TAKE(object);
}

static int keys_publisher(struct cli *cli, const struct args *args)
{
	char path[256];
	const char *name = args->positional[0], *file = args_text(args, "key");
	if (!json_name_ok(name))
		return cli_usage("%s is not a name of lower-case letters, digits, '.', '_', '-'", name);
	if (!file || !args_count(args, "model"))
		return cli_usage("--key FILE.pub and --model MODEL (or \"*\") are required");
	json_auto_t *key = read_public(file);
	json_auto_t *models = json_array();
	if (!key)
		return EXIT_FAILED;
	for (unsigned i = 0; i < args_count(args, "model"); i++)
		json_array_append_new(models, json_string(args_nth(args, "model", i)));
	json_auto_t *body = json_pack("{s:O, s:O}", "key", key, "models", models);
	snprintf(path, sizeof(path), "/admin/v1/publishers/%s", name);
	return cli_send(cli, "PUT", path, body,
			"publisher %s is named by the next index; \"flotilla keys list\" says whether "
			"that is signed yet",
			name);
}

/* "assistant=7" into floors. */
static int add_floor(json_t *floors, const char *text)
{
	char model[65];
	char *end;
	const char *equals = strchr(text, '=');
	const long long floor = equals ? strtoll(equals + 1, &end, 10) : -1;
	if (!equals || (size_t)(equals - text) >= sizeof(model) || floor < 0 || *end) {
		cli_usage("--floor: %s is not MODEL=COUNTER, like assistant=7", text);
		return -1;
	}
	snprintf(model, sizeof(model), "%.*s", (int)(equals - text), text);
	return json_object_set_new(floors, model, json_integer(floor));
}

static int keys_policy(struct cli *cli, const struct args *args)
{
	const char *required = args_text(args, "required");
	json_auto_t *body = json_object(), *floors = json_object();
	if (required && strcmp(required, "on") != 0 && strcmp(required, "off") != 0)
		return cli_usage("--required: say on or off");
	if (!required && !args_count(args, "floor"))
		return cli_usage("say --required on|off, --floor MODEL=COUNTER, or both");
	if (required)
		json_object_set_new(body, "required", json_boolean(!strcmp(required, "on")));
	for (unsigned i = 0; i < args_count(args, "floor"); i++)
		if (add_floor(floors, args_nth(args, "floor", i)))
			return EXIT_USAGE;
	json_object_set(body, "floors", floors);
	return cli_send(cli, "PUT", "/admin/v1/publisher-policy", body,
			"the policy is part of the next index");
}

static int keys_revoke(struct cli *cli, const struct args *args)
{
	char path[600];
	const char *name = args->positional[0], *reason = args_text(args, "reason");
	if (!json_name_ok(name))
		return cli_usage("%s is not a publisher's name", name);
	if (!cli_confirm(cli, "Revoke the key of publisher %s? It can never be used again.", name))
		return EXIT_FAILED;
	char *escaped = api_escape(reason ? reason : "");
	snprintf(path, sizeof(path), "/admin/v1/publishers/%s?reason=%.400s", name,
		 escaped ? escaped : "");
	free(escaped);
	return cli_send(cli, "DELETE", path, NULL,
			"nothing that %s signed is published from now on, and devices install none of "
			"it after their next poll",
			name);
}

static int keys_publishers(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"PUBLISHER", "name", COL_TEXT},
						{"PUBLIC KEY", "key.keyval.public", COL_TEXT},
						{"MODELS", "models", COL_TEXT}};
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	(void)args;
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/publishers", &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	out_table(json_object_get(doc, "publishers"), columns, COUNT_OF(columns));
	if (json_is_true(json_object_get(doc, "pending")))
		cli_say(cli, "devices do not know this list yet: it waits to be signed offline "
			     "(flotilla keys export)");
	return EXIT_DONE;
}

/* ---- what is taken back ---- */

static int send_revocation(struct cli *cli, const json_t *body)
{
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, "POST", "/admin/v1/revocations", body, &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		out_json(doc);
	const json_int_t lanes = json_integer_value(json_object_get(doc, "lanes"));
	if (lanes)
		cli_say(cli, "%lld lanes had it as their candidate and are aborted", (long long)lanes);
	cli_say(cli, "every manifest says so now; a device hears it at its next poll");
	return EXIT_DONE;
}

/* Each digest that is revoked because of that variant. */
static int allow_variant(struct cli *cli, const char *what)
{
	int code, found = 0;
	size_t i;
	json_t *row;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/revocations", &doc, &err))
		return cli_fail(&err);
	json_array_foreach (json_object_get(doc, "items"), i, row) {
		char path[200];
		const char *of = json_string_value(json_object_get(row, "what"));
		const char *digest = json_string_value(json_object_get(row, "digest"));
		if (!of || !digest || strcmp(of, what) != 0)
			continue;
		snprintf(path, sizeof(path), "/admin/v1/revocations/%.100s", digest);
		if (api_send(api, "DELETE", path, NULL, NULL, &err))
			return cli_fail(&err);
		found++;
	}
	if (!found) {
		err_set(&err, ERR_NOT_FOUND, "%s is not revoked; see flotilla revocations", what);
		return cli_fail(&err);
	}
	cli_say(cli, "%s may be used again", what);
	return EXIT_DONE;
}

static int revoke(struct cli *cli, const struct args *args)
{
	const char *what = args->positional[0], *reason = args_text(args, "reason");
	json_auto_t *body = json_pack("{s:s}", strchr(what, '@') ? "variant" : "digest", what);
	if (reason)
		json_object_set_new(body, "reason", json_string(reason));
	if (args_flag(args, "undo") && strchr(what, '@'))
		return allow_variant(cli, what);
	if (args_flag(args, "undo")) {
		char path[200];
		snprintf(path, sizeof(path), "/admin/v1/revocations/%.100s", what);
		return cli_send(cli, "DELETE", path, NULL, "%s may be used again", what);
	}
	if (!cli_confirm(cli, "Stop %s on every device, and every rollout of it?", what))
		return EXIT_FAILED;
	return send_revocation(cli, body);
}

static int revocations(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"DIGEST", "digest", COL_TEXT}, {"WHAT", "what", COL_TEXT},
		{"WHEN", "created", COL_TIME},	{"WHO", "actor", COL_TEXT},
		{"REASON", "reason", COL_TEXT}};
	(void)args;
	return cli_list(cli, "/admin/v1/revocations", columns, COUNT_OF(columns));
}

static const struct cli_option publisher_options[] = {
	{"key", "FILE.pub", "the public key that `keys new` made", false},
	{"model", "NAME", "a model it may publish; \"*\" is every model", true},
};
static const struct cli_option policy_options[] = {
	{"required", "on|off", "whether every model must be signed by a publisher", false},
	{"floor", "MODEL=COUNTER", "nothing below this release counter is installed any more", true},
};
static const struct cli_option reason_options[] = {
	{"reason", "TEXT", "for those who read about it later", false},
};
static const struct cli_option revoke_options[] = {
	{"reason", "TEXT", "for those who read about it later", false},
	{"undo", NULL, "allow it again", false},
};

/* clang-format off */
const struct command keys_commands[KEYS_COMMANDS] = {
	{"keys", "new", "FILE", 1, 1, "Make a publisher's key pair: FILE and FILE.pub",
	 "CI signs what it pushes with FILE (flotilla push --sign FILE); no server ever has it.\n"
	 "  flotilla keys new ci.key\n"
	 "  flotilla keys publisher ci --key ci.key.pub --model assistant",
	 NULL, 0, keys_new},
	{"keys", "publisher", "NAME", 1, 1, "Name a publisher's key and the models it may publish",
	 NULL, publisher_options, COUNT_OF(publisher_options), keys_publisher},
	{"keys", "publishers", "", 0, 0, "List publishers", NULL, NULL, 0, keys_publishers},
	{"keys", "policy", "", 0, 0, "Say whether publishers are required, and raise floors",
	 "A floor only rises: devices remember it.\n"
	 "  flotilla keys policy --required on\n"
	 "  flotilla keys policy --floor assistant=7",
	 policy_options, COUNT_OF(policy_options), keys_policy},
	{"keys", "revoke", "PUBLISHER", 1, 1, "Revoke a publisher's key, at once", NULL,
	 reason_options, COUNT_OF(reason_options), keys_revoke},
	{"revoke", NULL, "DIGEST|MODEL@RELEASE/TIER", 1, 1, "Stop a file or a variant everywhere",
	 "Devices stop loading it at their next poll and go back to what they ran before.  Rollouts that\n"
	 "have it as their candidate are aborted in those classes, in the same step.\n"
	 "  flotilla revoke assistant@2.1.0/q4_0 --reason \"wrong weights\"",
	 revoke_options, COUNT_OF(revoke_options), revoke},
	{"revocations", NULL, "", 0, 0, "List what is revoked", NULL, NULL, 0, revocations},
};
