/* Signed manifests: list, show, and verify as a device would. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "manifest/ceremony.h"
#include "manifest/doc.h"
#include "manifest/tuf.h"

#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 512

static int manifest_list(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"REPOSITORY", "repo", COL_TEXT}, {"ROOT", "root", COL_INT},
		{"MANIFEST", "targets", COL_INT}, {"TIMESTAMP", "timestamp", COL_INT},
		{"SIGNED ANEW", "resign_at", COL_TIME}};
	(void)args;
	return cli_list(cli, "/admin/v1/manifests", columns, COUNT_OF(columns));
}

static int manifest_show(struct cli *cli, const struct args *args)
{
	char path[PATH_BYTES];
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	snprintf(path, sizeof(path), "/admin/v1/manifests/%s/%s", args->positional[0],
		 args->positional[1]);
	if (api_get(api, path, &doc, &err))
		return cli_fail(&err);
	out_json(doc);
	return EXIT_DONE;
}

/* ---- verify ---- */

struct checking {
	struct api *device;
	int64_t now;
};

static int get(struct checking *c, const char *path, struct api_reply *reply, struct err *err)
{
	const struct api_request q = {.method = "GET", .path = path};
	return api_call(c->device, &q, reply, err);
}

static int get_role(struct checking *c, const char *base, const char *role, int64_t version,
		    struct api_reply *reply, struct err *err)
{
	char path[PATH_BYTES];
	if (version)
		snprintf(path, sizeof(path), "%s/tuf/%lld.%s.json", base, (long long)version, role);
	else
		snprintf(path, sizeof(path), "%s/tuf/%s.json", base, role);
	return get(c, path, reply, err);
}

static int climb(struct checking *c, const char *base, struct tuf_trust *t, struct err *err)
{
	for (unsigned step = 0; step < TUF_ROOT_STEPS; step++) {
		struct api_reply reply;
		if (get_role(c, base, "root", t->version[TUF_ROOT] + 1, &reply, err))
			return err->status == ERR_NOT_FOUND ? 0 : -1;
		int bad = tuf_update_root(t, reply.body.data, reply.body.len, err);
		api_reply_done(&reply);
		if (bad)
			return err_in(err, "root");
	}
	return 0;
}

typedef int update_fn(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		      struct err *err);

static int update(struct checking *c, const char *base, struct tuf_trust *t, enum tuf_role role,
		  update_fn *fn, struct err *err)
{
	struct tuf_meta meta = {.version = 0};
	struct api_reply reply;
	if (role != TUF_TIMESTAMP && tuf_meta_get(t, role, &meta, err))
		return -1;
	if (get_role(c, base, tuf_role_name(role), meta.version, &reply, err))
		return -1;
	int bad = fn(t, reply.body.data ? reply.body.data : "", reply.body.len, c->now, err);
	api_reply_done(&reply);
	return bad ? err_in(err, "%s", tuf_role_name(role)) : 0;
}

static int follow(struct checking *c, const char *base, struct tuf_trust *t, bool rules,
		  struct err *err)
{
	if (climb(c, base, t, err) || update(c, base, t, TUF_TIMESTAMP, tuf_update_timestamp, err) ||
	    update(c, base, t, TUF_SNAPSHOT, tuf_update_snapshot, err) ||
	    update(c, base, t, TUF_TARGETS, tuf_update_targets, err))
		return err_in(err, "%s", base);
	return rules && update(c, base, t, TUF_RULES, tuf_update_rules, err) ? err_in(err, "%s", base)
									     : 0;
}

/* The class's first root, as the index names it. */
static int first_root(struct checking *c, const struct tuf_trust *index, const char *channel,
		      const char *class, struct tuf_trust *t, struct err *err)
{
	char target[128], path[PATH_BYTES], hex[DIGEST_HEX];
	struct tuf_target found;
	struct api_reply reply;
	struct digest want, have;
	snprintf(target, sizeof(target), "roots/%.100s.json", channel);
	if (tuf_target_find(index, target, &found, err))
		return -1;
	digest_hex(&found.sha256, hex);
	snprintf(path, sizeof(path), "/v1/index/targets/roots/%s.%s.json", hex, channel);
	if (get(c, path, &reply, err))
		return -1;
	json_auto_t *doc = json_parse(reply.body.data, reply.body.len, target, err);
	digest_of(&have, reply.body.data, reply.body.len);
	api_reply_done(&reply);
	const char *root = json_string_value(json_object_get(json_object_get(doc, "roots"), class));
	if (!doc || !digest_eq(&have, &found.sha256))
		return err_set(err, ERR_UNTRUSTED, "%s: not the bytes that were signed", target);
	if (!root || digest_parse(&want, root))
		return err_set(err, ERR_NOT_FOUND, "class %s has no signed root on channel %s", class,
			       channel);
	snprintf(path, sizeof(path), "/v1/c/%s/%s/tuf/1.root.json", channel, class);
	if (get(c, path, &reply, err))
		return -1;
	int bad = ceremony_root_digest(reply.body.data, reply.body.len, &have, err) ||
		  tuf_trust_root(t, reply.body.data, reply.body.len, err);
	api_reply_done(&reply);
	if (!bad && !digest_eq(&want, &have))
		bad = err_set(err, ERR_UNTRUSTED, "1.root.json is not the one the index names");
	return bad ? -1 : 0;
}

static int check_manifest(const struct tuf_trust *t, const char *channel, const char *class,
			  struct err *err)
{
	struct manifest manifest;
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	if (!arena)
		return err_nomem(err);
	if (manifest_parse(&manifest, t->body[TUF_TARGETS], arena, err))
		return -1;
	if (strcmp(manifest.channel, channel) || strcmp(manifest.class, class))
		return err_set(err, ERR_UNTRUSTED, "it is the manifest of %s/%s", manifest.channel,
			       manifest.class);
	return 0;
}

static void tell(const struct cli *cli, const char *name, const struct tuf_trust *t, int64_t now)
{
	static const enum tuf_role roles[] = {TUF_ROOT, TUF_TIMESTAMP, TUF_SNAPSHOT, TUF_TARGETS};
	for (unsigned i = 0; i < COUNT_OF(roles); i++) {
		char when[CLOCK_TEXT];
		clock_text(t->expires[roles[i]], when);
		if (cli->output == OUTPUT_TABLE)
			printf("%-24s %-10s version %-10lld expires %s (in %lld h)\n", name,
			       tuf_role_name(roles[i]), (long long)t->version[roles[i]], when,
			       (long long)((t->expires[roles[i]] - now) / 3600));
	}
}

static int verify(struct checking *c, const struct cli *cli, const struct args *args,
		  const struct buf *root, struct err *err)
{
	char base[PATH_BYTES];
	const char *channel = args->positional[0], *class = args->positional[1];
	AUTO_TUF struct tuf_trust index, repo;
	tuf_init(&index);
	tuf_init(&repo);
	snprintf(base, sizeof(base), "/v1/c/%s/%s", channel, class);
	if (tuf_trust_root(&index, root->data ? root->data : "", root->len, err) ||
	    follow(c, "/v1/index", &index, true, err) ||
	    first_root(c, &index, channel, class, &repo, err) ||
	    follow(c, base, &repo, false, err) || check_manifest(&repo, channel, class, err))
		return -1;
	tell(cli, "index", &index, c->now);
	tell(cli, base + 3, &repo, c->now);
	if (cli->output == OUTPUT_JSON) {
		json_auto_t *doc = json_pack("{s:b, s:I, s:I}", "verified", 1, "version",
					     (json_int_t)repo.version[TUF_TARGETS], "expires",
					     (json_int_t)tuf_expires(&repo));
		out_json(doc);
	}
	return 0;
}

/* The daemon's own time when it can be asked (a development clock may run fast), else ours. */
static int64_t daemon_time(struct cli *cli)
{
	int code;
	struct err err;
	json_auto_t *status = NULL;
	struct api *api = cli->token_file ? cli_api(cli, &code) : NULL;
	if (api && !api_get(api, "/admin/v1/status", &status, &err) &&
	    json_is_integer(json_object_get(status, "time")))
		return json_integer_value(json_object_get(status, "time"));
	return clock_wall_ms() / 1000;
}

static int manifest_verify(struct cli *cli, const struct args *args)
{
	struct err err;
	AUTO_BUF struct buf root = BUF_INIT(TUF_ROOT_MAX);
	const char *file = args_text(args, "index-root");
	const char *url = args_text(args, "device-url");
	AUTO(api_close) struct api *device = NULL;
	const struct api_options options = {.server = url ? url : "http://127.0.0.1:8080",
					    .timeout_s = cli->timeout_s, .verbose = cli->verbose};
	if (!file)
		return cli_usage("verify: --index-root FILE is required: the root that apps embed");
	if (file_read(file, &root, &err) || api_open(&device, &options, &err))
		return cli_fail(&err);
	struct checking c = {device, daemon_time(cli)};
	if (verify(&c, cli, args, &root, &err))
		return cli_fail(&err);
	cli_say(cli, "verified: a device with this index root accepts it");
	return EXIT_DONE;
}

static const struct cli_option verify_options[] = {
	{"index-root", "FILE", "the index root that apps embed", false},
	{"device-url", "URL", "device listener or CDN (http://127.0.0.1:8080)", false},
};

/* clang-format off */
const struct command manifest_commands[MANIFEST_COMMANDS] = {
	{"manifest", "list", "", 0, 0, "List the signed repositories", NULL, NULL, 0, manifest_list},
	{"manifest", "show", "CHANNEL CLASS", 2, 2, "Show what a class is told to run", NULL, NULL, 0,
	 manifest_show},
	{"manifest", "verify", "CHANNEL CLASS", 2, 2,
	 "Fetch and verify a class's manifest as a device does", NULL, verify_options,
	 COUNT_OF(verify_options), manifest_verify},
};
