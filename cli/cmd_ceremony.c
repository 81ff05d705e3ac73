/* Roots: made and signed offline, by one holder or several. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/passphrase.h"
#include "manifest/canon.h"
#include "manifest/ceremony.h"
#include "manifest/vault.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (64 << 20)

/* ---- the file that goes round ---- */

static json_t *read_file(const char *path)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(CEREMONY_BYTES);
	json_t *file = NULL;
	if (file_read(path, &text, &err) == 0)
		file = json_parse(text.data ? text.data : "", text.len, path, &err);
	if (file && ceremony_check(file, &err)) {
		err_in_text(&err, "%s", path);
		json_decref(file);
		file = NULL;
	}
	if (!file)
		cli_fail(&err);
	return file;
}

static int write_file(const char *path, const json_t *file)
{
	struct err err;
	char *text = json_dumps(file, JSON_INDENT(1) | JSON_SORT_KEYS);
	int bad = text ? file_write(path, text, strlen(text), 0644, &err) : err_nomem(&err);
	free(text);
	return bad ? cli_fail(&err) : EXIT_DONE;
}

/* ---- offline: the holder ---- */

static int unlock(const struct args *args, struct key_seed *seed)
{
	char name[VAULT_NAME];
	struct err err;
	const char *dir = args_text(args, "root");
	AUTO_PASSPHRASE struct passphrase passphrase = {.len = 0};
	if (!dir)
		return cli_usage("--root DIR: the directory that `keys init` made is required");
	if (passphrase_get(&passphrase, args_text(args, "passphrase-file"), false, &err) ||
	    vault_open(dir, passphrase.bytes, passphrase.len, seed, name, &err))
		return cli_fail(&err);
	return EXIT_DONE;
}

static int keys_init(struct cli *cli, const struct args *args)
{
	struct err err;
	const char *dir = args->positional[0], *name = args_text(args, "name");
	AUTO_PASSPHRASE struct passphrase passphrase = {.len = 0};
	if (passphrase_get(&passphrase, args_text(args, "passphrase-file"), true, &err) ||
	    vault_make(dir, name ? name : "root", passphrase.bytes, passphrase.len, &err))
		return cli_fail(&err);
	cli_say(cli, "%s/root.vault holds a root seed.  Keep it offline, and a copy elsewhere: without "
		     "it and its passphrase no root can be signed.  Next: flotilla keys export FILE",
		dir);
	return EXIT_DONE;
}

static int keys_derive(struct cli *cli, const struct args *args)
{
	struct err err;
	unsigned added;
	const char *path = args->positional[0];
	AUTO_KEY_SEED struct key_seed seed = {{0}};
	json_auto_t *file = read_file(path);
	if (!file)
		return EXIT_FAILED;
	int code = unlock(args, &seed);
	if (code)
		return code;
	if (ceremony_derive(file, &seed, &added, &err))
		return cli_fail(&err);
	code = write_file(path, file);
	if (!code)
		cli_say(cli, "your public keys were added to %u repositories", added);
	return code;
}

/* What signing would change, on stdout, before it is asked. */
static int show(const json_t *file)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);
	if (ceremony_describe(file, &text, &err))
		return cli_fail(&err);
	fwrite(text.data ? text.data : "", 1, text.len, stdout);
	fflush(stdout);
	return EXIT_DONE;
}

static int save_index_root(struct cli *cli, const json_t *file, const char *path)
{
	struct err err;
	AUTO_CEREMONY_ROOT struct ceremony_root root = {.version = 0};
	for (size_t i = 0; i < json_array_size(json_object_get(file, "repos")); i++) {
		if (json_object_get(json_array_get(json_object_get(file, "repos"), i), "channel"))
			continue;
		if (ceremony_root(file, i, &root, &err) ||
		    file_write(path, root.document.data, root.document.len, 0644, &err))
			return cli_fail(&err);
		cli_say(cli, "%s is the index root: embed it in the app", path);
		return EXIT_DONE;
	}
	cli_say(cli, "the file has no new root of the index; %s stays as it is", path);
	return EXIT_DONE;
}

static int sign(struct cli *cli, json_t *file, const struct key_seed *seed, const char *path,
		const char *index_root)
{
	struct err err;
	unsigned added;
	struct ceremony_count count;
	if (ceremony_derive(file, seed, &added, &err) || ceremony_sign(file, seed, &count, &err))
		return cli_fail(&err);
	const int code = write_file(path, file);
	if (code)
		return code;
	if (!count.mine)
		cli_say(cli, "nothing here is yours to sign");
	cli_say(cli, "%u of %u documents are signed by enough holders%s", count.complete,
		count.documents,
		count.complete == count.documents ? "; next: flotilla keys import FILE"
						  : "; another holder signs next");
	if (index_root && count.complete == count.documents)
		return save_index_root(cli, file, index_root);
	return EXIT_DONE;
}

static int keys_sign_root(struct cli *cli, const struct args *args)
{
	const char *path = args->positional[0];
	AUTO_KEY_SEED struct key_seed seed = {{0}};
	json_auto_t *file = read_file(path);
	if (!file || show(file))
		return EXIT_FAILED;
	if (!cli_confirm(cli, "Sign all of this?"))
		return EXIT_FAILED;
	const int code = unlock(args, &seed);
	return code ? code : sign(cli, file, &seed, path, args_text(args, "index-root"));
}

/* ---- online: the server ---- */

static int keys_export(struct cli *cli, const struct args *args)
{
	char path[200];
	int code;
	int64_t holders, threshold;
	struct err err;
	json_auto_t *file = NULL;
	if (args_int(args, "holders", 1, CEREMONY_HOLDERS, 1, &holders) ||
	    args_int(args, "threshold", 1, CEREMONY_HOLDERS, 1, &threshold))
		return EXIT_USAGE;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	snprintf(path, sizeof(path), "/admin/v1/keys/pending?holders=%lld&threshold=%lld&all=%d",
		 (long long)holders, (long long)threshold, args_flag(args, "all"));
	if (api_get(api, path, &file, &err))
		return cli_fail(&err);
	code = write_file(args->positional[0], file);
	if (!code)
		cli_say(cli, "%s: %zu roots%s await a signature; take it to the offline machine: "
			     "%sflotilla keys sign-root %s --root DIR",
			args->positional[0], json_array_size(json_object_get(file, "repos")),
			json_object_get(file, "index") ? " and the index" : "",
			holders > 1 ? "each holder says flotilla keys derive, then "
				      "threshold of them " : "",
			args->positional[0]);
	return code;
}

static int keys_import(struct cli *cli, const struct args *args)
{
	json_auto_t *file = read_file(args->positional[0]);
	if (!file)
		return EXIT_FAILED;
	return cli_send(cli, "POST", "/admin/v1/keys/roots", file,
			"taken in: devices see it at their next poll");
}

static int keys_rotate(struct cli *cli, const struct args *args)
{
	(void)args;
	if (!cli_confirm(cli, "Make a new online seed? Every root must be signed again."))
		return EXIT_FAILED;
	return cli_send(cli, "POST", "/admin/v1/keys/rotate", NULL,
			"the next online seed is made; the old one signs until the new roots are in: "
			"flotilla keys export FILE");
}

static int keys_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"REPOSITORY", "repo", COL_TEXT}, {"STATE", "state", COL_TEXT},
		{"ROOT", "root", COL_INT},	  {"THRESHOLD", "threshold", COL_INT},
		{"HOLDERS", "holders", COL_INT},  {"ENDS", "expires", COL_TIME}};
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	(void)args;
	if (!api)
		return code;
	if (api_get(api, "/admin/v1/keys", &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON) {
		out_json(doc);
		return EXIT_DONE;
	}
	out_table(json_object_get(doc, "repos"), columns, COUNT_OF(columns));
	if (json_is_true(json_object_get(doc, "development")))
		cli_say(cli, "development keys: roots are signed at once, by the server");
	if (json_is_true(json_object_get(doc, "index_pending")))
		cli_say(cli, "the index awaits a signature: publishers or floors changed, or a backup was "
			"restored");
	return EXIT_DONE;
}

static const struct cli_option init_options[] = {
	{"name", "NAME", "of the holder (root)", false},
	{"passphrase-file", "FILE", "read the passphrase from here, - is standard input", false},
};
static const struct cli_option export_options[] = {
	{"holders", "N", "how many people hold a root key, of roots that are new (1)", false},
	{"threshold", "N", "how many of them must sign (1)", false},
	{"all", NULL, "every root anew, when holders join or leave", false},
};
static const struct cli_option holder_options[] = {
	{"root", "DIR", "directory that `keys init` made", false},
	{"passphrase-file", "FILE", "read the passphrase from here, - is standard input", false},
};
static const struct cli_option sign_options[] = {
	{"root", "DIR", "directory that `keys init` made", false},
	{"passphrase-file", "FILE", "read the passphrase from here, - is standard input", false},
	{"index-root", "FILE", "write the index root here once it is complete, for the app", false},
};

/* clang-format off */
const struct command ceremony_commands[CEREMONY_COMMANDS] = {
	{"keys", "init", "DIR", 1, 1, "Make an offline root seed, encrypted with a passphrase",
	 "On a machine that is never online.  Each holder makes one; no server ever has it.",
	 init_options, COUNT_OF(init_options), keys_init},
	{"keys", "export", "FILE", 1, 1, "Write what awaits offline signatures into a file",
	 "One holder:\n"
	 "  flotilla keys export roots.json\n"
	 "  flotilla keys sign-root roots.json --root DIR --index-root index.root.json\n"
	 "  flotilla keys import roots.json\n"
	 "Two of three: say --holders 3 --threshold 2, carry the file to each holder for\n"
	 "keys derive, then to two of them for keys sign-root.",
	 export_options, COUNT_OF(export_options), keys_export},
	{"keys", "derive", "FILE", 1, 1, "Add a holder's public keys to the file", NULL,
	 holder_options, COUNT_OF(holder_options), keys_derive},
	{"keys", "sign-root", "FILE", 1, 1, "Show what the file changes, and sign it",
	 "Read what is shown: a publisher or a root key that nobody asked for is an attack.",
	 sign_options, COUNT_OF(sign_options), keys_sign_root},
	{"keys", "import", "FILE", 1, 1, "Give the signed file back to the server", NULL, NULL, 0,
	 keys_import},
	{"keys", "rotate", "", 0, 0, "Replace the server's online seed",
	 "Devices follow by themselves once the new roots are signed and imported.", NULL, 0,
	 keys_rotate},
	{"keys", "list", "", 0, 0, "List roots: which are signed, by how many, and until when", NULL,
	 NULL, 0, keys_list},
};
