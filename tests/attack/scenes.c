/* attack_scenes DIR: the attack suite's repositories as trees of files, one directory a scene:
 *   DIR/NAME/root.json     what a TUF client trusts before
 *   DIR/NAME/index.json    what an app embeds: the root of the index
 *   DIR/NAME/1 2 3 ...     what a server offers, one state after another, by URL path
 *   DIR/NAME/plan          a line a state:
 *        ok TARGET
 *        refused TARGET WHY CODE WORDS
 * TARGET is what is downloaded; WHY is what attack_tuf_client says, CODE what flotilla_poll() returns,
 * WORDS what tuf-js says.  "OK" as CODE: the library never asks for such a thing. */
#include "base/file.h"
#include "base/json.h"
#include "manifest/tuf_build.h"
#include "tests/support/fake_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECES "abc"
#define VARIANT "assistant@1.0.0/q8_0"
#define MODEL_FILE "assistant/1.0.0/q8_0/model.gguf"
#define BASE "/v1/c/stable/phone"
#define INDEX "/v1/index"
#define LONG_S (3650LL * FAKE_DAY)
#define ALL_ONLINE (1u << KEY_TIMESTAMP | 1u << KEY_SNAPSHOT | 1u << KEY_TARGETS)

struct scene {
	char dir[600];
	const char *base; /* of the repository that is attacked */
	unsigned states;
	FILE *plan;
	struct fake_server *s;
	struct fake_class *phone;
	struct fake_repo *repo;
};

static void must(bool well, const char *what, const struct err *err)
{
	if (well)
		return;
	fprintf(stderr, "attack_scenes: %s: %s\n", what, err ? err->text : "");
	exit(1);
}

static void write_under(const char *dir, const char *path, const void *bytes, size_t len)
{
	char full[1200];
	struct err err;
	snprintf(full, sizeof full, "%s%s", dir, path);
	char *slash = strrchr(full, '/');
	*slash = 0;
	must(!file_mkdirs(full, 0755, &err), full, &err);
	*slash = '/';
	FILE *file = fopen(full, "wb");
	must(file && fwrite(bytes, 1, len, file) == len && !fclose(file), full, NULL);
}

/* The raw file as TUF clients ask for it. */
static void put_target(struct scene *c)
{
	char path[400], hex[DIGEST_HEX];
	static uint8_t raw[sizeof PIECES * FAKE_PIECE];
	const struct manifest_file *file = &c->s->variants[0].files[0];
	fake_content(PIECES, raw);
	digest_hex(&file->sha256, hex);
	snprintf(path, sizeof path, BASE "/targets/assistant/1.0.0/q8_0/%s.%s", hex, file->name);
	fake_put(c->s, path, raw, (size_t)file->length);
}

static void begin(struct scene *c, const char *dir, const char *name)
{
	char path[700];
	struct err err;
	*c = (struct scene){.s = fake_server_new()};
	snprintf(c->dir, sizeof c->dir, "%s/%s", dir, name);
	must(!file_mkdirs(c->dir, 0755, &err), c->dir, &err);
	snprintf(path, sizeof path, "%s/plan", c->dir);
	c->plan = fopen(path, "w");
	must(c->plan != NULL, path, NULL);
	c->base = BASE;
	c->s->now = time(NULL);
	c->phone = &c->s->classes[0];
	c->repo = &c->phone->repo;
	fake_offer(c->phone, fake_variant(c->s, VARIANT, PIECES), NULL);
	put_target(c);
	fake_publish_index(c->s);
	fake_publish(c->s, c->phone);
}

/* What the server offers now is the next state. */
static void state_files(struct scene *c)
{
	char dir[700];
	snprintf(dir, sizeof dir, "%s/%u", c->dir, ++c->states);
	for (unsigned i = 0; i < c->s->doc_count; i++)
		write_under(dir, c->s->docs[i].path, c->s->docs[i].bytes, c->s->docs[i].len);
}

static const char *target_of(const struct scene *c)
{
	return c->repo == &c->s->index ? "rules.json" : MODEL_FILE;
}

static void good(struct scene *c)
{
	state_files(c);
	fprintf(c->plan, "ok %s\n", target_of(c));
}

static void bad(struct scene *c, const char *why, const char *code, const char *words)
{
	state_files(c);
	fprintf(c->plan, "refused %s %s %s %s\n", target_of(c), why, code, words);
}

static void end(struct scene *c)
{
	char path[256];
	snprintf(path, sizeof path, "%s/tuf/1.root.json", c->base);
	const struct fake_doc *root = fake_get(c->s, path);
	write_under(c->dir, "/root.json", root->bytes, root->len);
	root = fake_get(c->s, INDEX "/tuf/1.root.json");
	write_under(c->dir, "/index.json", root->bytes, root->len);
	must(!fclose(c->plan), "plan", NULL);
	fake_server_free(c->s);
}

static void publish(struct scene *c)
{
	fake_publish(c->s, c->phone);
}

/* ---- pieces of attacks ---- */

static void meta_path(const struct scene *c, enum tuf_role role, char out[static 256])
{
	if (role == TUF_TIMESTAMP)
		snprintf(out, 256, BASE "/tuf/timestamp.json");
	else
		snprintf(out, 256, BASE "/tuf/%lld.%s.json", (long long)c->repo->version[role],
			 tuf_role_name(role));
}

struct copy {
	char *bytes;
	size_t len;
};

static struct copy copy_of(const struct scene *c, enum tuf_role role)
{
	char path[256];
	meta_path(c, role, path);
	const struct fake_doc *doc = fake_get(c->s, path);
	struct copy copy = {malloc(doc->len), doc->len};
	memcpy(copy.bytes, doc->bytes, doc->len);
	return copy;
}

static void put_copy(struct scene *c, enum tuf_role role, struct copy copy)
{
	char path[256];
	meta_path(c, role, path);
	fake_put(c->s, path, copy.bytes, copy.len);
	free(copy.bytes);
}

static void key_of(const struct scene *c, enum key_role role, unsigned generation,
		   struct sign_key *key)
{
	key_derive(key, &c->s->seed, &(struct key_use){"stable", "phone", role, generation});
}

/* The next root with these root keys, of that threshold, signed by those; at version's path. */
static void put_root(struct scene *c, int64_t version, int64_t path_version, unsigned first,
		     unsigned count, unsigned threshold, const unsigned *signers, unsigned signed_by)
{
	struct sign_key keys[4], online[3];
	struct public_key public[4];
	const struct sign_key *by[4];
	struct err err;
	char path[256];
	AUTO_BUF struct buf out = BUF_INIT(TUF_ROOT_MAX);
	for (unsigned i = 0; i < 4; i++)
		key_of(c, KEY_ROOT, i, &keys[i]);
	for (unsigned i = 0; i < count; i++)
		public[i] = keys[first + i].public;
	for (unsigned i = 0; i < 3; i++)
		key_of(c, (enum key_role)(KEY_TIMESTAMP + i), 0, &online[i]);
	const struct tuf_root_spec spec = {
		.version = version, .expires = c->s->now + LONG_S,
		.roles = {{public, count, threshold}, {&online[0].public, 1, 1},
			  {&online[1].public, 1, 1}, {&online[2].public, 1, 1}}};
	for (unsigned i = 0; i < signed_by; i++)
		by[i] = &keys[signers[i]];
	json_auto_t *body = tuf_root_body(&spec, &err);
	must(body && !tuf_sign(body, by, signed_by, &out, &err), "root", &err);
	snprintf(path, sizeof path, BASE "/tuf/%lld.root.json", (long long)path_version);
	fake_put(c->s, path, out.data, out.len);
}

/* One signature of a document once more. */
static void double_signature(struct scene *c, const char *path)
{
	const struct fake_doc *doc = fake_get(c->s, path);
	json_auto_t *whole = json_loadb(doc->bytes, doc->len, 0, NULL);
	json_t *list = json_object_get(whole, "signatures");
	json_array_append(list, json_array_get(list, 0));
	char *text = json_dumps(whole, JSON_COMPACT | JSON_SORT_KEYS);
	fake_put(c->s, path, text, strlen(text));
	free(text);
}

static void flip(struct scene *c, const char *path, size_t at)
{
	const struct fake_doc *doc = fake_get(c->s, path);
	struct copy copy = {malloc(doc->len), doc->len};
	memcpy(copy.bytes, doc->bytes, doc->len);
	copy.bytes[at] ^= 1;
	fake_put(c->s, path, copy.bytes, copy.len);
	free(copy.bytes);
}

/* ---- the scenes ---- */

/* Somebody else's keys, for one role. */
static void foreign(const char *dir, const char *name, enum key_role role)
{
	struct scene c;
	begin(&c, dir, name);
	good(&c);
	c.repo->generation[role]++;
	publish(&c);
	bad(&c, "unsigned", "E_SIGNATURE", "was signed by 0/1 keys");
	c.repo->generation[role]--;
	publish(&c);
	good(&c);
	end(&c);
}

static void arbitrary_software(const char *dir)
{
	foreign(dir, "arbitrary-software", KEY_TARGETS);
}

static void rollback_timestamp(const char *dir)
{
	struct scene c;
	begin(&c, dir, "rollback-timestamp");
	const struct copy old = copy_of(&c, TUF_TIMESTAMP);
	publish(&c);
	good(&c);
	put_copy(&c, TUF_TIMESTAMP, old);
	bad(&c, "rollback", "E_ROLLBACK", "New timestamp version");
	publish(&c);
	good(&c);
	end(&c);
}

/* The timestamp's key is the attacker's: it names an older snapshot. */
static void rollback_snapshot(const char *dir)
{
	struct scene c;
	begin(&c, dir, "rollback-snapshot");
	publish(&c);
	good(&c);
	const int64_t version = c.repo->version[TUF_SNAPSHOT];
	c.repo->version[TUF_SNAPSHOT] = 2;
	c.repo->version[TUF_TIMESTAMP]++;
	fake_sign_snapshot(c.s, c.repo);
	fake_sign_timestamp(c.s, c.repo);
	bad(&c, "rollback", "E_ROLLBACK", "New snapshot version");
	c.repo->version[TUF_SNAPSHOT] = version;
	publish(&c);
	good(&c);
	end(&c);
}

/* The snapshot's key too: it names older targets. */
static void rollback_targets(const char *dir)
{
	struct scene c;
	begin(&c, dir, "rollback-targets");
	const struct copy old = copy_of(&c, TUF_TARGETS);
	const int64_t version = c.repo->version[TUF_TARGETS];
	publish(&c);
	good(&c);
	const int64_t newest = c.repo->version[TUF_TARGETS];
	c.repo->version[TUF_TARGETS] = version;
	put_copy(&c, TUF_TARGETS, old);
	c.repo->version[TUF_SNAPSHOT]++;
	c.repo->version[TUF_TIMESTAMP]++;
	fake_sign_snapshot(c.s, c.repo);
	fake_sign_timestamp(c.s, c.repo);
	bad(&c, "rollback", "E_ROLLBACK", "of targets.json is less than");
	c.repo->version[TUF_TARGETS] = newest;
	publish(&c);
	good(&c);
	end(&c);
}

/* What the server has is old, and it has nothing newer. */
static void indefinite_freeze(const char *dir)
{
	struct scene c;
	begin(&c, dir, "indefinite-freeze");
	good(&c);
	c.s->now -= 30 * FAKE_DAY;
	publish(&c);
	bad(&c, "expired", "E_EXPIRED", "timestamp.json is expired");
	c.s->now += 30 * FAKE_DAY;
	publish(&c);
	good(&c);
	end(&c);
}

/* An attacker with the online keys runs far ahead; new keys bring the versions back. */
static void fast_forward(const char *dir)
{
	struct scene c;
	begin(&c, dir, "fast-forward-recovery");
	const int64_t before[] = {c.repo->version[TUF_TIMESTAMP], c.repo->version[TUF_SNAPSHOT]};
	c.repo->version[TUF_TIMESTAMP] = c.repo->version[TUF_SNAPSHOT] = 2000000000;
	publish(&c);
	good(&c);
	c.repo->version[TUF_TIMESTAMP] = before[0];
	c.repo->version[TUF_SNAPSHOT] = before[1];
	publish(&c);
	bad(&c, "rollback", "E_ROLLBACK", "New timestamp version");
	fake_rotate(c.s, c.repo, 1u << KEY_TIMESTAMP | 1u << KEY_SNAPSHOT);
	publish(&c);
	good(&c);
	end(&c);
}

static void mix_and_match(const char *dir)
{
	struct scene c;
	begin(&c, dir, "mix-and-match");
	struct copy old = copy_of(&c, TUF_TARGETS);
	good(&c);
	c.phone->manifest.poll_s = 1234;
	publish(&c);
	put_copy(&c, TUF_TARGETS, old);
	bad(&c, "hash", "E_HASH", "Expected hash");
	publish(&c);
	good(&c);
	end(&c);
}

static void wrong_class(const char *dir)
{
	static const enum tuf_role roles[] = {TUF_TIMESTAMP, TUF_SNAPSHOT, TUF_TARGETS};
	struct scene c;
	begin(&c, dir, "wrong-class-replay");
	good(&c);
	struct fake_class *small = fake_class_add(c.s, "small");
	fake_offer(small, &c.s->variants[0], NULL);
	for (int i = 0; i < 3; i++)
		fake_publish(c.s, small);
	/* All of it at the class's own paths, newer than what is trusted. */
	memcpy(c.repo->version, small->repo.version, sizeof c.repo->version);
	for (size_t i = 0; i < COUNT_OF(roles); i++) {
		const struct buf *doc = &small->repo.doc[roles[i]];
		char path[256];
		meta_path(&c, roles[i], path);
		fake_put(c.s, path, doc->data, doc->len);
	}
	bad(&c, "unsigned", "E_SIGNATURE", "was signed by 0/1 keys");
	publish(&c);
	good(&c);
	end(&c);
}

/* The key of a role is stolen: after the rotation what it signs is worth nothing. */
static void compromise(const char *dir, const char *name, enum key_role role)
{
	struct scene c;
	begin(&c, dir, name);
	good(&c);
	fake_rotate(c.s, c.repo, 1u << role);
	publish(&c);
	good(&c);
	c.repo->generation[role]--;
	publish(&c);
	bad(&c, "unsigned", "E_SIGNATURE", "was signed by 0/1 keys");
	c.repo->generation[role]++;
	publish(&c);
	good(&c);
	end(&c);
}

/* The old root key is stolen after it was replaced. */
static void compromise_root(const char *dir)
{
	static const unsigned old_key[] = {0};
	struct scene c;
	begin(&c, dir, "key-compromise-root");
	good(&c);
	fake_rotate(c.s, c.repo, 1u << KEY_ROOT);
	publish(&c);
	good(&c);
	put_root(&c, 3, 3, 0, 1, 1, old_key, 1);
	bad(&c, "unsigned", "E_SIGNATURE", "root was signed by 0/1 keys");
	fake_take(c.s, BASE "/tuf/3.root.json");
	good(&c);
	end(&c);
}

static void malicious_mirror(const char *dir)
{
	struct scene c;
	char path[256];
	begin(&c, dir, "malicious-mirror");
	good(&c);
	c.phone->manifest.poll_s = 1234;
	publish(&c);
	meta_path(&c, TUF_TARGETS, path);
	flip(&c, path, 900);
	bad(&c, "hash", "E_HASH", "Expected hash");
	publish(&c);
	good(&c);
	end(&c);
}

/* What the attacker puts in the next root's place. */
struct next_root {
	int64_t version;
	unsigned first, count, threshold; /* of its root keys */
	unsigned signer;
	bool twice; /* the one signature stands there twice */
};

static void root_scene(const char *dir, const char *name, const struct next_root *n,
		       const char *why, const char *code, const char *words)
{
	struct scene c;
	begin(&c, dir, name);
	good(&c);
	put_root(&c, n->version, 2, n->first, n->count, n->threshold, &n->signer, 1);
	if (n->twice)
		double_signature(&c, BASE "/tuf/2.root.json");
	bad(&c, why, code, words);
	fake_take(c.s, BASE "/tuf/2.root.json");
	publish(&c);
	good(&c);
	end(&c);
}

static void roots(const char *dir)
{
	root_scene(dir, "one-key-twice-in-a-threshold", &(struct next_root){2, 0, 2, 2, 0, true},
		   "threshold", "E_THRESHOLD", "multiple signatures found");
	root_scene(dir, "root-signed-by-old-keys-only", &(struct next_root){2, 1, 1, 1, 0, false},
		   "unsigned", "E_SIGNATURE", "root was signed by 0/1 keys");
	root_scene(dir, "root-signed-by-new-keys-only", &(struct next_root){2, 1, 1, 1, 1, false},
		   "unsigned", "E_SIGNATURE", "root was signed by 0/1 keys");
	root_scene(dir, "root-version-jump", &(struct next_root){3, 0, 1, 1, 0, false},
		   "version-jump", "E_ROLLBACK", "Expected version 2, got 3");
}

/* Every online key, and the root key, changed three times while the client slept. */
static void slept(const char *dir)
{
	struct scene c;
	begin(&c, dir, "slept-through-three-rotations");
	good(&c);
	for (int i = 0; i < 3; i++)
		fake_rotate(c.s, c.repo, 1u << KEY_ROOT | ALL_ONLINE);
	publish(&c);
	good(&c);
	end(&c);
}

/* The server's own trouble: files that never end, or come byte by byte; see attack_serve. */
static void hostile_server(const char *dir, const char *name, const char *why, const char *code,
			   const char *words)
{
	struct scene c;
	begin(&c, dir, name);
	good(&c);
	publish(&c);
	bad(&c, why, code, words);
	publish(&c);
	good(&c);
	end(&c);
}

static void tampered_target(const char *dir)
{
	struct scene c;
	char path[400], hex[DIGEST_HEX];
	begin(&c, dir, "tampered-target");
	good(&c);
	digest_hex(&c.s->variants[0].files[0].sha256, hex);
	snprintf(path, sizeof path, BASE "/targets/assistant/1.0.0/q8_0/%s.model.gguf", hex);
	flip(&c, path, 20000);
	bad(&c, "hash", "OK", "Expected hash");
	put_target(&c);
	good(&c);
	end(&c);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: attack_scenes DIR\n");
		return 2;
	}
	const char *dir = argv[1];
	arbitrary_software(dir);
	rollback_timestamp(dir);
	rollback_snapshot(dir);
	rollback_targets(dir);
	indefinite_freeze(dir);
	fast_forward(dir);
	mix_and_match(dir);
	hostile_server(dir, "endless-data", "too-large", "E_TOO_MUCH", "Max length reached");
	hostile_server(dir, "slow-retrieval", "network", "E_NETWORK", "still waiting");
	wrong_class(dir);
	compromise(dir, "key-compromise-timestamp", KEY_TIMESTAMP);
	compromise(dir, "key-compromise-snapshot", KEY_SNAPSHOT);
	compromise(dir, "key-compromise-targets", KEY_TARGETS);
	compromise_root(dir);
	malicious_mirror(dir);
	tampered_target(dir);
	roots(dir);
	slept(dir);
	return 0;
}
