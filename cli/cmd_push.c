/* flotilla push: a file becomes a tier of a release. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/push.h"
#include "cli/sign.h"

#include <stdlib.h>
#include <string.h>

/* "llama.cpp=4000" into requires.runtime. */
static int add_runtime(json_t *requires, const char *text)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text || !equals[1]) {
		cli_usage("--runtime: %s is not NAME=VERSION, like llama.cpp=4000", text);
		return -1;
	}
	char *name = strndup(text, (size_t)(equals - text));
	json_t *runtime = json_object_get(requires, "runtime");
	if (!runtime) {
		runtime = json_object();
		json_object_set_new(requires, "runtime", runtime);
	}
	json_object_set_new(runtime, name, json_string(equals + 1));
	free(name);
	return 0;
}

/* What a device must have; NULL and a message otherwise. */
static json_t *read_requires(const struct args *args)
{
	json_t *requires = json_object();
	int64_t ram, disk;
	int bad = args_int(args, "ram-mib", 1, 1 << 24, 0, &ram) ||
		  args_int(args, "disk-mib", 1, 1 << 30, 0, &disk);
	if (!bad && ram)
		json_object_set_new(requires, "ram_mib", json_integer(ram));
	if (!bad && disk)
		json_object_set_new(requires, "disk_free_mib", json_integer(disk));
	for (unsigned i = 0; !bad && i < args_count(args, "runtime"); i++)
		bad = add_runtime(requires, args_nth(args, "runtime", i));
	if (bad) {
		json_decref(requires);
		return NULL;
	}
	return requires;
}

static int need_release(struct api *api, const char *model, const char *release, struct err *err)
{
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s", model, release);
	if (!api_get(api, path, NULL, err))
		return 0;
	if (err->status != ERR_NOT_FOUND)
		return -1;
	json_auto_t *body = json_pack("{s:s}", "release", release);
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases", model);
	if (!api_send(api, "POST", path, body, NULL, err))
		return 0;
	if (err->status == ERR_NOT_FOUND)
		err_set(err, ERR_NOT_FOUND, "model %s does not exist; make it: flotilla model create %s",
			model, model);
	return -1;
}

/* One push of a command line. */
struct pushing {
	const char *path, *name, *tier, *format;
	char *model, *release;
	json_t *requires;
	struct signing signing;
};

static int put_variant(struct api *api, const struct pushing *p, const struct push_result *r,
		       struct err *err)
{
	char path[400], recipe[DIGEST_HEX];
	digest_hex(&r->recipe, recipe);
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s/variants/%s", p->model,
		 p->release, p->tier);
	json_auto_t *body = json_pack("{s:s, s:[{s:s, s:s}], s:O}", "format",
				      p->format ? p->format : r->format, "files", "name", p->name,
				      "recipe", recipe, "requires", p->requires);
	if (!body)
		return err_nomem(err);
	if (p->signing.key_file) {
		const struct sign_subject subject = {p->model, p->release, p->tier,
						     p->format ? p->format : r->format, p->name,
						     r->sha256, p->requires};
		json_t *envelope = sign_variant(api, &p->signing, &subject, err);
		if (!envelope || json_object_set_new(body, "envelope", envelope))
			return envelope ? err_nomem(err) : err_in(err, "--sign");
	}
	return api_send(api, "PUT", path, body, NULL, err);
}

static void show(const struct cli *cli, const struct pushing *p, const struct push_result *r)
{
	char length[24], sent[24], stored[24], recipe[DIGEST_HEX], sha256[DIGEST_HEX];
	digest_hex(&r->recipe, recipe);
	digest_hex(&r->sha256, sha256);
	out_bytes(r->length, length);
	out_bytes(r->sent, sent);
	out_bytes(r->stored, stored);
	if (cli->output == OUTPUT_JSON) {
		json_auto_t *doc = json_pack(
			"{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "recipe", recipe, "sha256", sha256,
			"length", (json_int_t)r->length, "stored", (json_int_t)r->stored, "sent",
			(json_int_t)r->sent, "chunks", (json_int_t)r->chunks, "missing",
			(json_int_t)r->missing);
		out_json(doc);
		return;
	}
	printf("%s@%s/%s  %s %s, %s stored, %s sent\n", p->model, p->release, p->tier, p->name,
	       length, stored, sent);
}

static int publish(struct api *api, const struct pushing *p, struct err *err)
{
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s/publish", p->model,
		 p->release);
	return api_send(api, "POST", path, NULL, NULL, err);
}

static int run(struct cli *cli, const struct args *args, const struct pushing *p)
{
	struct push_result r;
	struct err err;
	int code;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (need_release(api, p->model, p->release, &err) ||
	    (args_flag(args, "raw") ? push_raw(cli, api, p->path, &r, &err)
				    : push_file(cli, api, p->path, &r, &err)) ||
	    put_variant(api, p, &r, &err))
		return cli_fail(&err);
	show(cli, p, &r);
	if (!args_flag(args, "publish")) {
		cli_say(cli, "a draft still; when all tiers are there: flotilla release publish %s@%s",
			p->model, p->release);
		return EXIT_DONE;
	}
	if (publish(api, p, &err))
		return cli_fail(&err);
	cli_say(cli, "published; roll it out: flotilla rollout start %s@%s", p->model, p->release);
	return EXIT_DONE;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int read_signing(const struct args *args, struct signing *s)
{
	s->key_file = args_text(args, "sign");
	s->channel_count = args_count(args, "channel");
	for (unsigned i = 0; i < s->channel_count; i++)
		s->channels[i] = args_nth(args, "channel", i);
	if (!s->key_file &&
	    (s->channel_count || args_text(args, "counter") || args_text(args, "floor")))
		return cli_usage("--channel, --counter and --floor are signed: say --sign KEYFILE too");
	return args_int(args, "counter", 1, SIGN_COUNTER_MAX, -1, &s->counter) ||
	       args_int(args, "floor", 0, SIGN_COUNTER_MAX, -1, &s->floor);
}

static int push(struct cli *cli, const struct args *args)
{
	struct pushing p = {.path = args->positional[0], .tier = args_text(args, "tier"),
			    .format = args_text(args, "format"),
			    .name = args_text(args, "name")};
	const char *release = args_text(args, "release");
	int code = EXIT_USAGE;
	if (!release || !p.tier)
		return cli_usage("push: --release MODEL@RELEASE and --tier TIER are required");
	if (!p.name)
		p.name = base_name(p.path);
	if (read_signing(args, &p.signing))
		return EXIT_USAGE;
	p.requires = read_requires(args);
	if (p.requires && !cli_release(release, &p.model, &p.release))
		code = run(cli, args, &p);
	json_decref(p.requires);
	free(p.model);
	free(p.release);
	return code;
}

static const struct cli_option options[] = {
	{"release", "MODEL@RELEASE", "where it belongs; a draft is made when it is absent", false},
	{"tier", "NAME", "its quantization tier, like q4_k_m", false},
	{"format", "NAME", "gguf, safetensors ... (what the file turns out to be)", false},
	{"name", "FILE", "its name on devices (the file's own)", false},
	{"runtime", "NAME=VERSION", "least runtime version it needs", true},
	{"ram-mib", "N", "RAM it needs at its peak", false},
	{"disk-mib", "N", "disk a device must have free", false},
	{"sign", "KEYFILE", "sign it as a publisher (flotilla keys new)", false},
	{"channel", "NAME", "sign it for this channel only (any)", true},
	{"counter", "N", "release counter to sign (one above the model's highest)", false},
	{"floor", "N", "never go back below this counter (the lowest now in use)", false},
	{"raw", NULL, "send one resumable stream and let the daemon cut it", false},
	{"publish", NULL, "publish the release afterwards: immutable from then on", false},
};

/* clang-format off */
const struct command push_commands[PUSH_COMMANDS] = {
	{"push", NULL, "FILE", 1, 1, "Push a file as a tier of a release",
	 "Only chunks that the daemon does not have are sent; run it again after a break and it goes\n"
	 "on where it was.  For example\n"
	 "  flotilla push model-q4.gguf --release assistant@2.1.0 --tier q4_0 --runtime llama.cpp=4000",
	 options, COUNT_OF(options), push},
};
