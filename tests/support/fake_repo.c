/* Publishing: keys and TUF repositories, as the real server makes them.  Their content is
 * fake_content.c. */
#include "base/digest.h"
#include "base/json.h"
#include "manifest/ceremony.h"
#include "manifest/tuf_build.h"
#include "tests/support/tuf_bodies.h"
#include "tests/support/fake_server.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA (16 << 20)
#define DOC_MAX (8 << 20)
#define LIFE_S (3 * FAKE_DAY)
#define RULES                                                                             \
	"{\"schema\":1,\"rules\":[{\"class\":\"phone\",\"any\":[{\"all\":["               \
	"{\"attr\":\"ram_mib\",\"op\":\"ge\",\"value\":4096}]}]},{\"class\":\"small\"}]}"

/* ---- signing ---- */

static void derive(const struct fake_server *s, const struct fake_repo *repo, enum key_role role,
		   unsigned generation, struct sign_key *key)
{
	key_derive(key, &s->seed,
		   &(struct key_use){repo->channel, repo->class, role, generation});
}

static void put_role(struct fake_server *s, struct fake_repo *repo, enum tuf_role role)
{
	char path[256];
	const struct buf *doc = &repo->doc[role];
	if (role == TUF_TIMESTAMP)
		snprintf(path, sizeof(path), "%s/tuf/timestamp.json", repo->base);
	else
		snprintf(path, sizeof(path), "%s/tuf/%lld.%s.json", repo->base,
			 (long long)repo->version[role], tuf_role_name(role));
	fake_put(s, path, doc->data, doc->len);
}

/* body is taken over. */
static void sign(struct fake_server *s, struct fake_repo *repo, enum tuf_role role, json_t *body,
		 const struct sign_key *const *keys, unsigned count)
{
	struct err err = {0};
	buf_done(&repo->doc[role]);
	buf_init(&repo->doc[role], DOC_MAX);
	fake_must(body && !tuf_sign(body, keys, count, &repo->doc[role], &err), tuf_role_name(role),
	     &err);
	json_decref(body);
	put_role(s, repo, role);
}

static void sign_online(struct fake_server *s, struct fake_repo *repo, enum tuf_role role,
			enum key_role key_role, json_t *body)
{
	AUTO_SIGN_KEY struct sign_key key;
	const struct sign_key *const keys[] = {&key};
	derive(s, repo, key_role, repo->generation[key_role], &key);
	sign(s, repo, role, body, keys, 1);
}

static void sign_root(struct fake_server *s, struct fake_repo *repo, unsigned old_generation)
{
	static const enum key_role of[TUF_RULES] = {KEY_ROOT, KEY_TIMESTAMP, KEY_SNAPSHOT,
						    KEY_TARGETS};
	struct sign_key keys[TUF_RULES], old;
	struct err err = {0};
	struct tuf_root_spec spec = {.version = repo->version[TUF_ROOT],
				     .expires = s->now + 3650LL * FAKE_DAY};
	for (unsigned i = 0; i < TUF_RULES; i++) {
		derive(s, repo, of[i], repo->generation[of[i]], &keys[i]);
		spec.roles[i] = (struct tuf_key_set){&keys[i].public, 1, 1};
	}
	derive(s, repo, KEY_ROOT, old_generation, &old);
	const struct sign_key *const signers[] = {&keys[0], &old};
	sign(s, repo, TUF_ROOT, tuf_root_body(&spec, &err), signers,
	     old_generation == repo->generation[KEY_ROOT] ? 1 : 2);
}

void fake_rotate(struct fake_server *s, struct fake_repo *repo, unsigned mask)
{
	const unsigned old = repo->generation[KEY_ROOT];
	for (unsigned role = 0; role < KEY_ROLES; role++)
		repo->generation[role] += mask >> role & 1;
	repo->version[TUF_ROOT]++;
	sign_root(s, repo, old);
}

static void meta_of(const struct fake_repo *repo, enum tuf_role role, struct tuf_meta *ret)
{
	tuf_meta_of(ret, repo->version[role], repo->doc[role].data, repo->doc[role].len);
}

void fake_sign_snapshot(struct fake_server *s, struct fake_repo *repo)
{
	struct tuf_meta targets, rules;
	struct err err = {0};
	meta_of(repo, TUF_TARGETS, &targets);
	if (!repo->class)
		meta_of(repo, TUF_RULES, &rules);
	sign_online(s, repo, TUF_SNAPSHOT, KEY_SNAPSHOT,
		    snapshot_body(repo->version[TUF_SNAPSHOT], s->now + repo->life_s, &targets,
				      repo->class ? NULL : &rules, &err));
}

void fake_sign_timestamp(struct fake_server *s, struct fake_repo *repo)
{
	struct tuf_meta snapshot;
	struct err err = {0};
	meta_of(repo, TUF_SNAPSHOT, &snapshot);
	sign_online(s, repo, TUF_TIMESTAMP, KEY_TIMESTAMP,
		    timestamp_body(repo->version[TUF_TIMESTAMP], s->now + repo->life_s,
				       &snapshot, &err));
}

static void sign_targets(struct fake_server *s, struct fake_repo *repo, json_t *content)
{
	struct err err = {0};
	sign_online(s, repo, TUF_TARGETS, KEY_TARGETS,
		    tuf_targets_body(repo->version[TUF_TARGETS], s->now + repo->life_s, content,
				     &err));
}

static void next_versions(struct fake_repo *repo)
{
	for (unsigned role = TUF_TIMESTAMP; role < TUF_ROLES; role++)
		repo->version[role]++;
}

/* ---- the index ---- */

static void add_target(struct fake_server *s, json_t *targets, const char *target, json_t *file)
{
	char path[256], hex[DIGEST_HEX];
	struct digest digest;
	const char *slash = strrchr(target, '/'), *base = slash ? slash + 1 : target;
	char *text = json_dumps(file, JSON_COMPACT);
	digest_of(&digest, text, strlen(text));
	digest_hex(&digest, hex);
	snprintf(path, sizeof(path), "/v1/index/targets/%.*s%s.%s", (int)(base - target), target,
		 hex, base);
	fake_put(s, path, text, strlen(text));
	json_object_set_new(targets, target,
			    tuf_target_json((int64_t)strlen(text), &digest, NULL));
	json_decref(file);
	free(text);
}

static json_t *roots_json(const struct fake_server *s)
{
	struct err err = {0};
	json_t *roots = json_object();
	for (unsigned i = 0; i < s->class_count; i++) {
		char hex[DIGEST_HEX], path[256];
		struct digest digest;
		snprintf(path, sizeof(path), "%s/tuf/1.root.json", s->classes[i].repo.base);
		const struct fake_doc *first = fake_get(s, path);
		fake_must(!ceremony_root_digest(first->bytes, first->len, &digest, &err), path, &err);
		digest_hex(&digest, hex);
		json_object_set_new(roots, s->classes[i].repo.class, json_string(hex));
	}
	return json_pack("{s:i, s:s, s:o}", "schema", 1, "channel", "stable", "roots", roots);
}

static json_t *index_content(struct fake_server *s)
{
	AUTO_SIGN_KEY struct sign_key rules;
	struct err err = {0};
	json_t *targets = json_object();
	derive(s, &s->index, KEY_RULES, s->index.generation[KEY_RULES], &rules);
	json_t *publishers = json_parse(s->publishers, strlen(s->publishers), "publishers", &err);
	fake_must(publishers != NULL, "publishers", &err);
	add_target(s, targets, "publishers.json", publishers);
	add_target(s, targets, "roots/stable.json", roots_json(s));
	return json_pack("{s:o, s:o}", "targets", targets, "delegations",
			 tuf_delegations_json(&(struct tuf_key_set){&rules.public, 1, 1},
					      "rules.json", &err));
}

static json_t *rules_body(struct fake_server *s)
{
	struct err err = {0};
	json_t *targets = json_object();
	json_t *rules = json_parse(s->rules, strlen(s->rules), "rules", &err);
	fake_must(rules != NULL, "rules", &err);
	json_object_set_new(rules, "version", json_integer(s->rules_version));
	add_target(s, targets, "rules.json", rules);
	return tuf_targets_body(s->index.version[TUF_RULES], s->now + s->index.life_s,
				json_pack("{s:o}", "targets", targets), &err);
}

void fake_publish_index(struct fake_server *s)
{
	next_versions(&s->index);
	sign_targets(s, &s->index, index_content(s));
	sign_online(s, &s->index, TUF_RULES, KEY_RULES, rules_body(s));
	fake_sign_snapshot(s, &s->index);
	fake_sign_timestamp(s, &s->index);
}

/* ---- classes ---- */

static void add_root(struct fake_server *s, struct fake_repo *repo, const char *class)
{
	if (class)
		snprintf(repo->base, sizeof(repo->base), "/v1/c/stable/%s", class);
	else
		snprintf(repo->base, sizeof(repo->base), "/v1/index");
	repo->channel = class ? "stable" : NULL;
	repo->class = class;
	repo->life_s = LIFE_S;
	repo->version[TUF_ROOT] = 1;
	sign_root(s, repo, 0);
}

struct fake_class *fake_class_add(struct fake_server *s, const char *name)
{
	struct fake_class *c = &s->classes[s->class_count++];
	add_root(s, &c->repo, name);
	manifest_init(&c->manifest);
	c->manifest.channel = "stable";
	c->manifest.class = name;
	c->manifest.development = true;
	c->manifest.index_version = s->rules_version;
	c->model = (struct manifest_model){.name = FAKE_MODEL, .stable = c->stable,
					   .candidate = c->candidate};
	c->manifest.models = &c->model;
	fake_publish(s, c);
	return c;
}

static const struct manifest_variant *variant_of(const struct fake_server *s,
						 const struct variant_ref *ref)
{
	for (unsigned i = 0; i < s->variant_count; i++)
		if (variant_eq(&s->variants[i].ref, ref))
			return &s->variants[i];
	abort();
}

/* The manifest names the variants that are offered, each once. */
static void name_variants(const struct fake_server *s, struct fake_class *c,
			  struct manifest_variant *list)
{
	c->manifest.variants = list;
	c->manifest.variant_count = 0;
	for (unsigned i = 0; i < c->model.stable_count; i++)
		list[c->manifest.variant_count++] = *variant_of(s, &c->stable[i]);
	for (unsigned i = 0; i < c->model.candidate_count; i++)
		if (!manifest_variant_find(&c->manifest, &c->candidate[i]))
			list[c->manifest.variant_count++] = *variant_of(s, &c->candidate[i]);
	c->manifest.model_count = c->model.stable_count > 0;
}

void fake_publish(struct fake_server *s, struct fake_class *c)
{
	struct manifest_variant list[2 * FAKE_VARIANTS];
	struct err err = {0};
	name_variants(s, c, list);
	json_t *content = manifest_json(&c->manifest, &err);
	c->manifest.variants = NULL;
	fake_must(content != NULL, "manifest", &err);
	next_versions(&c->repo);
	sign_targets(s, &c->repo, content);
	fake_sign_snapshot(s, &c->repo);
	fake_sign_timestamp(s, &c->repo);
}

void fake_offer(struct fake_class *c, const struct manifest_variant *stable,
		const struct manifest_variant *candidate)
{
	struct manifest_model *m = &c->model;
	c->stable[0] = stable->ref;
	m->stable_count = 1;
	m->has_rollout = candidate != NULL;
	m->candidate_count = candidate != NULL;
	if (!candidate)
		return;
	c->candidate[0] = candidate->ref;
	m->rollout = (struct manifest_rollout){.id = "r1", .salt = "salt-1", .stage = 1,
					       .state = MANIFEST_RUNNING, .candidate_ppm = BUCKETS,
					       .candidate = {0, BUCKETS}};
}

void fake_stable_add(struct fake_class *c, const struct manifest_variant *variant)
{
	c->stable[c->model.stable_count++] = variant->ref;
}

/* ---- the whole ---- */

struct fake_server *fake_server_new(void)
{
	struct fake_server *s = calloc(1, sizeof(*s));
	if (!s || sodium_init() < 0 || !(s->arena = arena_new(ARENA)))
		abort();
	s->now = FAKE_NOW;
	memset(s->seed.bytes, 7, sizeof(s->seed.bytes));
	s->rules = RULES;
	s->rules_version = 1;
	s->publishers = "{\"schema\":1,\"publishers\":[]}";
	add_root(s, &s->index, NULL);
	fake_class_add(s, "phone");
	fake_publish_index(s);
	return s;
}

struct flotilla_options fake_options(struct fake_server *s, const char *state_dir)
{
	const struct fake_doc *root = fake_get(s, "/v1/index/tuf/1.root.json");
	return (struct flotilla_options){
		.url = "https://models.example.com",
		.index_root = root->bytes,
		.index_root_len = root->len,
		.channel = "stable",
		.attributes = "{\"os\":\"android\",\"os_version\":[15],\"ram_mib\":8192}",
		.runtimes = "{\"llama.cpp\":\"4000\"}",
		.state_dir = state_dir,
		.os_major = 15,
		.allow_development = 1,
		.transport = fake_transport,
		.transport_arg = s,
		.now = fake_now,
		.now_arg = s,
		.no_delay = 1,
		.enter_after_s = 1,
	};
}

/* ---- publishers ---- */

void fake_envelope(struct fake_server *s, const struct manifest_variant *variant,
		   const struct buf *envelope)
{
	struct manifest_variant *v = &s->variants[variant - s->variants];
	digest_of(&v->attest, envelope->data, envelope->len);
	v->has_attest = true;
	fake_put_named(s, "attest", &v->attest, envelope);
}

void fake_attest(struct fake_server *s, const struct manifest_variant *variant,
		 const struct attest *attest, const struct sign_key *key)
{
	struct attest_file files[FAKE_FILES];
	struct err err = {0};
	struct attest a = *attest;
	struct manifest_variant *v = &s->variants[variant - s->variants];
	AUTO_BUF struct buf envelope = BUF_INIT(DSSE_MAX);
	for (unsigned i = 0; i < v->file_count; i++)
		files[i] = (struct attest_file){v->files[i].name, v->files[i].sha256};
	a.model = v->ref.model;
	a.release = v->ref.release;
	a.tier = v->ref.tier;
	a.format = v->format;
	a.requires = v->requires;
	a.files = files;
	a.file_count = v->file_count;
	fake_must(!attest_sign(&a, key, &envelope, &err), "attest", &err);
	fake_envelope(s, variant, &envelope);
}
