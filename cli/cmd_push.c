/* flotilla push: a file becomes a tier of a release. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/inspect.h"
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

/* 0 if the release is there and still open; ERR_NOT_FOUND if it is not there. */
static int open_release(struct api *api, const char *model, const char *release, struct err *err)
{
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s", model, release);
	json_auto_t *there = NULL;
	if (api_get(api, path, &there, err))
		return -1;
	const char *state = json_string_value(json_object_get(there, "state"));
	if (!state || strcmp(state, "published") != 0)
		return 0;
	return err_set(err, ERR_CONFLICT,
		       "%s@%s is published and immutable: push it as another release (a damaged "
		       "file of it: flotilla store mend)",
		       model, release);
}

static int need_release(struct api *api, const char *model, const char *release, struct err *err)
{
	if (!open_release(api, model, release, err))
		return 0;
	if (err->status != ERR_NOT_FOUND)
		return -1;
	char path[256];
	json_auto_t *body = json_pack("{s:s}", "release", release);
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases", model);
	if (!api_send(api, "POST", path, body, NULL, err))
		return 0;
	/* Another tier's push made it meanwhile, or one that was killed before its answer came. */
	if (err->status == ERR_CONFLICT)
		return open_release(api, model, release, err);
	if (err->status == ERR_NOT_FOUND)
		err_set(err, ERR_NOT_FOUND, "model %s does not exist; make it: flotilla model create %s",
			model, model);
	return -1;
}

/* One push of a command line. */
struct pushing {
	const char *path, *name, *tier, *format;
	char *model, *release;
	json_t *requires, *meta;
	int64_t pack_mib;
	struct signing signing;
};

static bool ends_with(const char *text, const char *tail)
{
	const size_t len = strlen(text), n = strlen(tail);
	return len >= n && !strcmp(text + len - n, tail);
}

/* Whether the file is whole, and what it is called; else why->text says what is wrong. */
static bool is_what_it_says(const struct pushing *p, const struct inspect *in, struct err *why)
{
	const char *is = format_id_name(in->format), *said = p->format;
	if (!said)
		said = ends_with(p->path, ".gguf")	    ? "gguf"
		       : ends_with(p->path, ".safetensors") ? "safetensors"
							    : is;
	if (in->truncated)
		err_set(why, ERR_INVALID, "%s: cut short: its tensors end beyond its %llu bytes", p->path,
			(unsigned long long)in->bytes);
	else if (in->format != FORMAT_OPAQUE && strcmp(is, said) != 0)
		err_set(why, ERR_INVALID, "%s: it is %s, not %s", p->path, is, said);
	else if (in->format == FORMAT_OPAQUE && (!strcmp(said, "gguf") || !strcmp(said, "safetensors")))
		err_set(why, ERR_INVALID, "%s: no whole %s header can be read in it", p->path, said);
	else
		return inspect_tier_fits(in, p->tier, why);
	return false;
}

/* What the file says of itself; a name or tier that says something else is warned of, or refused. */
static int look(struct cli *cli, struct pushing *p, bool strict, struct err *err)
{
	AUTO(inspect_free) struct inspect *in = NULL;
	struct err why;
	if (inspect_file(p->path, &in, NULL, err))
		return -1;
	p->meta = inspect_meta(in);
	if (is_what_it_says(p, in, &why))
		return 0;
	if (strict)
		return err_set(err, ERR_INVALID, "%s (without --strict it is pushed all the same)",
			       why.text);
	cli_say(cli, "warning: %s", why.text);
	return 0;
}

static int put_variant(struct api *api, const struct pushing *p, const struct push_result *r,
		       struct err *err)
{
	char path[400], recipe[DIGEST_HEX];
	digest_hex(&r->recipe, recipe);
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s/variants/%s", p->model,
		 p->release, p->tier);
	json_auto_t *body = json_pack("{s:s, s:[{s:s, s:s}], s:O, s:O}", "format",
				      p->format ? p->format : r->format, "files", "name", p->name,
				      "recipe", recipe, "requires", p->requires, "meta", p->meta);
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
			"{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "recipe", recipe, "sha256", sha256,
			"length", (json_int_t)r->length, "stored", (json_int_t)r->stored, "sent",
			(json_int_t)r->sent, "known", (json_int_t)r->known, "chunks",
			(json_int_t)r->chunks, "missing",
			(json_int_t)r->missing);
		out_json(doc);
		return;
	}
	printf("%s@%s/%s  %s %s, %s stored, %s sent", p->model, p->release, p->tier, p->name,
	       length, stored, sent);
	if (r->known)
		printf(", %.1f %% need not be sent", 100.0 * (double)r->known / (double)r->length);
	putchar('\n');
}

static int publish(struct api *api, const struct pushing *p, struct err *err)
{
	char path[256];
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases/%s/publish", p->model,
		 p->release);
	return api_send(api, "POST", path, NULL, NULL, err);
}

static int run(struct cli *cli, const struct args *args, struct pushing *p)
{
	struct push_result r;
	struct err err;
	int code;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (look(cli, p, args_flag(args, "strict"), &err) ||
	    need_release(api, p->model, p->release, &err) ||
	    (args_flag(args, "raw") ? push_raw(cli, api, p->path, &r, &err)
				    : push_chunks(cli, api, p->path, p->pack_mib << 20, &r, &err)) ||
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
	cli_say(cli,
		"published; roll it out: flotilla rollout start %s@%s (a model's first release: flotilla "
		"release bootstrap)",
		p->model, p->release);
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
	if (read_signing(args, &p.signing) ||
	    args_int(args, "pack-mib", 1, PUSH_PACK_MIB_MAX, PUSH_PACK_MIB, &p.pack_mib))
		return EXIT_USAGE;
	p.requires = read_requires(args);
	if (p.requires && !cli_release(release, &p.model, &p.release))
		code = run(cli, args, &p);
	json_decref(p.requires);
	json_decref(p.meta);
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
	{"strict", NULL, "refuse a file that is cut short, or another than tier or format say (warn of it)", false},
	{"pack-mib", "N", "MiB a pack; a bad connection loses four of them at most (16)", false},
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
