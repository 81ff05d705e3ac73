#include "manifest/ceremony.h"

#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/publishers.h"
#include "manifest/tuf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPOS_MAX 100000
#define FILE_MAX TUF_TARGETS_MAX
#define UNSIGNED "missing; sign-root has not been run"
#define CHANGED "not what the file says; export it again"

/* One member of "repos", read. */
struct repo {
	json_t *object; /* borrowed */
	const char *channel, *class;
	int64_t version, expires, holders, threshold;
	struct public_key online[3]; /* timestamp, snapshot, targets */
	struct public_key root[CEREMONY_HOLDERS], targets[CEREMONY_HOLDERS];
	unsigned root_count, targets_count;
	json_t *previous, *document; /* borrowed; NULL: none */
};

/* ---- reading ---- */

int ceremony_check(const json_t *file, struct err *err)
{
	const char *kind = "";
	int64_t schema = 0;
	json_t *repos = NULL, *index = NULL;
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1),
		FIELD_TEXT("kind", &kind),
		FIELD_ARRAY("repos", &repos, .max = REPOS_MAX),
		FIELD_OBJECT("index", &index, .optional = true),
	};
	if (json_read(file, fields, COUNT_OF(fields), err))
		return -1;
	if (strcmp(kind, CEREMONY_KIND) != 0)
		return err_set(err, ERR_INVALID, "kind: must be \"%s\"; `flotilla keys export` "
						 "makes such a file", CEREMONY_KIND);
	return 0;
}

static int read_keys(struct public_key *keys, unsigned *count, const json_t *list,
		     const char *what, struct err *err)
{
	const size_t n = json_array_size(list);
	if (n > CEREMONY_HOLDERS)
		return err_set(err, ERR_INVALID, "%s: at most %d keys", what, CEREMONY_HOLDERS);
	for (size_t i = 0; i < n; i++)
		if (key_parse(&keys[i], json_array_get(list, i), err))
			return err_in(err, "%s[%zu]", what, i);
	*count = (unsigned)n;
	return 0;
}

static int read_online(struct repo *r, const json_t *online, struct err *err)
{
	static const char *const names[] = {"timestamp", "snapshot", "targets"};
	for (unsigned i = 0; i < (r->channel ? 3 : 2); i++)
		if (key_parse(&r->online[i], json_object_get(online, names[i]), err))
			return err_in(err, "online.%s", names[i]);
	return 0;
}

static int repo_fields(struct repo *r, json_t *object, struct err *err)
{
	json_t *online = NULL, *offline = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("channel", &r->channel, .optional = true),
		FIELD_NAME("class", &r->class, .optional = true),
		FIELD_INT("version", &r->version, .min = 1),
		FIELD_INT("expires", &r->expires, .min = 1),
		FIELD_OBJECT("online", &online),
		FIELD_OBJECT("offline", &offline),
		FIELD_INT("holders", &r->holders, .min = 1, .max = CEREMONY_HOLDERS),
		FIELD_INT("threshold", &r->threshold, .min = 1, .max = CEREMONY_HOLDERS),
		FIELD_OBJECT("previous", &r->previous, .optional = true),
		FIELD_OBJECT("document", &r->document, .optional = true),
	};
	r->object = object;
	if (json_read(object, fields, COUNT_OF(fields), err))
		return -1;
	if (!r->channel != !r->class)
		return err_set(err, ERR_INVALID, "channel, class: both, or neither for the index");
	if (r->threshold > r->holders)
		return err_set(err, ERR_INVALID, "threshold: at most the %lld holders",
			       (long long)r->holders);
	if (r->previous ? r->version < 2 : r->version != 1)
		return err_set(err, ERR_INVALID, "version: 1 without a root before it, else above");
	return read_online(r, online, err) ||
			       read_keys(r->root, &r->root_count, json_object_get(offline, "root"),
					 "offline.root", err) ||
			       read_keys(r->targets, &r->targets_count,
					 json_object_get(offline, "targets"), "offline.targets", err)
		       ? -1
		       : 0;
}

static void repo_text(const struct repo *r, char out[static 160])
{
	if (r->channel)
		snprintf(out, 160, "%s/%s", r->channel, r->class);
	else
		snprintf(out, 160, "index");
}

static int repo_read(struct repo *r, const json_t *file, size_t i, struct err *err)
{
	*r = (struct repo){0};
	json_t *object = json_array_get(json_object_get(file, "repos"), i);
	return repo_fields(r, object, err) ? err_in(err, "repos[%zu]", i) : 0;
}

static size_t repo_total(const json_t *file)
{
	return json_array_size(json_object_get(file, "repos"));
}

static bool repo_lacks_keys(const struct repo *r)
{
	return r->root_count < r->holders || (!r->channel && r->targets_count < r->holders);
}

/* ---- deriving ---- */

static void holder_key(const struct key_seed *holder, const struct repo *r, enum key_role role,
		       struct sign_key *key)
{
	key_derive(key, holder, &(struct key_use){r->channel, r->class, role, 0});
}

static bool among(const struct public_key *key, const struct public_key *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (digest_eq(&key->id, &list[i].id))
			return true;
	return false;
}

/* Whether it was added: neither there already, nor one too many. */
static int add_key(const struct repo *r, const char *name, const struct public_key *list,
		   unsigned count, const struct public_key *key, bool *ret_added, struct err *err)
{
	json_t *offline = json_object_get(r->object, "offline");
	json_t *keys = json_object_get(offline, name);
	if (count >= r->holders || among(key, list, count))
		return 0;
	if (!keys && json_object_set_new(offline, name, keys = json_array()))
		return err_nomem(err);
	if (json_array_append_new(keys, key_json(key)))
		return err_nomem(err);
	*ret_added = true;
	return 0;
}

static int derive_repo(const struct repo *r, const struct key_seed *holder, bool *ret_added,
		       struct err *err)
{
	AUTO_SIGN_KEY struct sign_key root;
	AUTO_SIGN_KEY struct sign_key targets;
	holder_key(holder, r, KEY_ROOT, &root);
	holder_key(holder, r, KEY_TARGETS, &targets);
	if (add_key(r, "root", r->root, r->root_count, &root.public, ret_added, err))
		return -1;
	return r->channel ? 0
			  : add_key(r, "targets", r->targets, r->targets_count, &targets.public,
				    ret_added, err);
}

int ceremony_derive(json_t *file, const struct key_seed *holder, unsigned *ret_added,
		    struct err *err)
{
	unsigned added = 0;
	struct repo r;
	for (size_t i = 0; i < repo_total(file); i++) {
		bool one = false;
		if (repo_read(&r, file, i, err) || derive_repo(&r, holder, &one, err))
			return -1;
		added += one;
	}
	*ret_added = added;
	return 0;
}

/* ---- what the documents say ---- */

static json_t *root_body(const struct repo *r, struct err *err)
{
	const unsigned threshold = (unsigned)r->threshold;
	const struct tuf_key_set offline = {r->root, r->root_count, threshold};
	const struct tuf_root_spec spec = {
		.version = r->version,
		.expires = r->expires,
		.roles = {[TUF_ROOT] = offline,
			  [TUF_TIMESTAMP] = {&r->online[0], 1, 1},
			  [TUF_SNAPSHOT] = {&r->online[1], 1, 1},
			  [TUF_TARGETS] = r->channel ? (struct tuf_key_set){&r->online[2], 1, 1}
						     : (struct tuf_key_set){r->targets,
									    r->targets_count,
									    threshold}},
	};
	return tuf_root_body(&spec, err);
}

static int add_file(struct ceremony_index *index, json_t *targets, const char *path,
		    const json_t *content, struct err *err)
{
	struct digest digest;
	if (index->file_count == COUNT_OF(index->files))
		return err_set(err, ERR_INVALID, "index.channels: at most %d", CEREMONY_CHANNELS);
	struct ceremony_file *file = &index->files[index->file_count++];
	snprintf(file->path, sizeof(file->path), "%s", path);
	buf_init(&file->bytes, FILE_MAX);
	if (canon_write(content, &file->bytes, err) || buf_ok(&file->bytes, path, err))
		return -1;
	digest_of(&digest, file->bytes.data, file->bytes.len);
	if (json_object_set_new(targets, path,
				tuf_target_json((int64_t)file->bytes.len, &digest, NULL)))
		return err_nomem(err);
	return 0;
}

/* The first roots that this very file makes, into {channel: {class: digest}}. */
static int add_first_roots(const json_t *file, json_t *channels, struct err *err)
{
	struct repo r;
	for (size_t i = 0; i < repo_total(file); i++) {
		struct digest digest;
		char hex[DIGEST_HEX];
		if (repo_read(&r, file, i, err))
			return -1;
		json_t *classes = r.channel ? json_object_get(channels, r.channel) : NULL;
		if (!r.channel || r.version != 1)
			continue;
		json_auto_t *body = root_body(&r, err);
		if (!classes)
			return err_set(err, ERR_INVALID, "index.channels: %s is missing",
				       r.channel);
		if (!body || canon_digest(body, &digest, err))
			return -1;
		digest_hex(&digest, hex);
		if (json_object_set_new(classes, r.class, json_string(hex)))
			return err_nomem(err);
	}
	return 0;
}

static int add_channel_files(const json_t *file, struct ceremony_index *index, json_t *targets,
			     const json_t *wanted, struct err *err)
{
	const char *name;
	json_t *roots;
	json_auto_t *channels = json_deep_copy(wanted);
	if (!channels)
		return err_nomem(err);
	if (add_first_roots(file, channels, err))
		return -1;
	json_object_foreach (channels, name, roots) {
		char path[160];
		if (!json_name_ok(name) || !json_is_object(roots))
			return err_set(err, ERR_INVALID, "index.channels: %.64s: must be {class: digest}",
				       name);
		snprintf(path, sizeof(path), "roots/%s.json", name);
		json_auto_t *content = json_pack("{s:i, s:s, s:O}", "schema", 1, "channel", name,
						 "roots", roots);
		if (!content)
			return err_nomem(err);
		if (add_file(index, targets, path, content, err))
			return -1;
	}
	return 0;
}

/* publishers.json must be one that devices can read. */
static int check_publishers(const json_t *publishers, struct err *err)
{
	struct publisher_list list;
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	if (!arena)
		return err_nomem(err);
	return publishers_parse(&list, publishers, arena, err) ? err_in(err, "index.publishers") : 0;
}

/* The index's part of the file into *index, all but the document; NULL or its body. */
static json_t *index_body(const json_t *file, struct ceremony_index *index, struct err *err)
{
	json_t *rules = NULL, *publishers = NULL, *channels = NULL, *signers = NULL, *known = NULL,
	       *document = NULL;
	const struct json_field fields[] = {
		FIELD_INT("version", &index->version, .min = 1),
		FIELD_INT("expires", &index->expires, .min = 1),
		FIELD_OBJECT("rules", &rules),
		FIELD_OBJECT("signers", &signers, .optional = true),
		FIELD_OBJECT("publishers", &publishers),
		FIELD_OBJECT("published", &known, .optional = true),
		FIELD_OBJECT("channels", &channels),
		FIELD_OBJECT("document", &document, .optional = true),
	};
	json_auto_t *targets = json_object();
	if (json_read(json_object_get(file, "index"), fields, COUNT_OF(fields), err) ||
	    key_parse(&index->rules, rules, err)) {
		err_in(err, "index");
		return NULL;
	}
	if (check_publishers(publishers, err) ||
	    add_file(index, targets, PUBLISHERS_PATH, publishers, err) ||
	    add_channel_files(file, index, targets, channels, err))
		return NULL;
	json_t *delegations =
		tuf_delegations_json(&(struct tuf_key_set){&index->rules, 1, 1}, "rules.json", err);
	if (!delegations)
		return NULL;
	json_t *content =
		json_pack("{s:O, s:o}", "targets", targets, "delegations", delegations);
	if (!content)
		err_nomem(err);
	return tuf_targets_body(index->version, index->expires, content, err);
}

/* ---- signatures ---- */

/* What a document's signatures must come from. */
struct signers {
	const struct public_key *keys;
	unsigned count, threshold;
};

/* The keys of one of a root's roles. */
static int role_keys(const json_t *root, const char *role, struct public_key keys[CEREMONY_HOLDERS],
		     struct signers *ret, struct err *err)
{
	const json_t *entry = json_object_get(json_object_get(root, "roles"), role);
	const json_t *ids = json_object_get(entry, "keyids"), *table = json_object_get(root, "keys");
	const size_t n = json_array_size(ids);
	if (!n || n > CEREMONY_HOLDERS)
		return err_set(err, ERR_INVALID, "a root with no or too many %s keys", role);
	for (size_t i = 0; i < n; i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		if (key_parse(&keys[i], id ? json_object_get(table, id) : NULL, err))
			return err_in(err, "%s keys of a root", role);
	}
	*ret = (struct signers){keys, (unsigned)n,
				(unsigned)json_integer_value(json_object_get(entry, "threshold"))};
	return 0;
}

/* document with key's signature over body; body must be what the document says already. */
static json_t *cosigned(const json_t *document, const json_t *body, const struct sign_key *key,
			struct err *err)
{
	AUTO_BUF struct buf out = BUF_INIT(2 * FILE_MAX);
	const struct sign_key *const keys[] = {key};
	if (!document)
		return tuf_sign(body, keys, 1, &out, err)
			       ? NULL
			       : json_parse(out.data, out.len, "document", err);
	if (!json_equal(json_object_get(document, "signed"), body)) {
		err_set_text(err, ERR_CONFLICT,
			     "document: not what the file says; it was changed after somebody signed");
		return NULL;
	}
	char *text = json_text(document);
	if (!text) {
		err_nomem(err);
		return NULL;
	}
	const int bad = tuf_cosign(text, strlen(text), key, &out, err);
	free(text);
	return bad ? NULL : json_parse(out.data, out.len, "document", err);
}

/* How many of the signers have signed the document. */
static unsigned valid_signatures(const json_t *document, const struct signers *signers)
{
	unsigned valid = 0;
	struct err ignored;
	AUTO_BUF struct buf canon = BUF_INIT(2 * FILE_MAX);
	const json_t *list = json_object_get(document, "signatures");
	const json_t *body = json_object_get(document, "signed");
	if (!json_is_object(body) || canon_write(body, &canon, &ignored))
		return 0;
	for (unsigned i = 0; i < signers->count; i++)
		valid += tuf_signed_by(list, &canon, &signers->keys[i]);
	return valid;
}

static bool enough(const json_t *document, const struct signers *signers)
{
	return signers->threshold && document &&
	       valid_signatures(document, signers) >= signers->threshold;
}

/* ---- signing ---- */

static int sign_repo(struct repo *r, const struct key_seed *holder, unsigned *ret_signed,
		     struct err *err)
{
	AUTO_SIGN_KEY struct sign_key key;
	struct public_key before[CEREMONY_HOLDERS];
	struct signers old = {0};
	holder_key(holder, r, KEY_ROOT, &key);
	if (r->previous &&
	    role_keys(json_object_get(r->previous, "signed"), "root", before, &old, err))
		return -1;
	if (!among(&key.public, r->root, r->root_count) &&
	    !among(&key.public, before, old.count))
		return 0;
	json_auto_t *body = root_body(r, err);
	json_t *document = body ? cosigned(r->document, body, &key, err) : NULL;
	if (!document)
		return -1;
	if (json_object_set_new(r->object, "document", document))
		return err_nomem(err);
	++*ret_signed;
	return 0;
}

static int index_signers(const json_t *file, struct public_key keys[CEREMONY_HOLDERS],
			 struct signers *ret, struct err *err)
{
	struct repo r;
	const json_t *given = json_object_get(json_object_get(file, "index"), "signers");
	unsigned count;
	for (size_t i = 0; i < repo_total(file); i++) {
		if (repo_read(&r, file, i, err))
			return -1;
		if (r.channel)
			continue;
		memcpy(keys, r.targets, sizeof(r.targets));
		*ret = (struct signers){keys, r.targets_count, (unsigned)r.threshold};
		return 0;
	}
	const json_int_t threshold = json_integer_value(json_object_get(given, "threshold"));
	if (read_keys(keys, &count, json_object_get(given, "keys"), "index.signers.keys", err))
		return -1;
	if (threshold < 1 || threshold > count)
		return err_set(err, ERR_INVALID, "index.signers.threshold: from 1 to its %u keys", count);
	*ret = (struct signers){keys, count, (unsigned)threshold};
	return 0;
}

static int sign_index(json_t *file, const struct key_seed *holder, unsigned *ret_signed,
		      struct err *err)
{
	static const struct repo index_repo = {0};
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_CEREMONY_INDEX struct ceremony_index index = {0};
	struct public_key keys[CEREMONY_HOLDERS];
	struct signers signers;
	json_t *object = json_object_get(file, "index");
	if (!object)
		return 0;
	holder_key(holder, &index_repo, KEY_TARGETS, &key);
	if (index_signers(file, keys, &signers, err))
		return -1;
	if (!among(&key.public, signers.keys, signers.count))
		return 0;
	json_auto_t *body = index_body(file, &index, err);
	json_t *document =
		body ? cosigned(json_object_get(object, "document"), body, &key, err) : NULL;
	if (!document)
		return err_in(err, "index");
	if (json_object_set_new(object, "document", document))
		return err_nomem(err);
	++*ret_signed;
	return 0;
}

int ceremony_sign(json_t *file, const struct key_seed *holder, struct ceremony_count *ret_count,
		  struct err *err)
{
	struct ceremony_count count;
	struct repo r;
	unsigned mine = 0;
	if (ceremony_count(file, &count, err))
		return -1;
	if (count.lacking)
		return err_set(err, ERR_CONFLICT,
			       "%u repositories lack holders' keys; first every holder runs keys derive",
			       count.lacking);
	for (size_t i = 0; i < repo_total(file); i++)
		if (repo_read(&r, file, i, err) || sign_repo(&r, holder, &mine, err))
			return err_in(err, "repos[%zu]", i);
	if (sign_index(file, holder, &mine, err) || ceremony_count(file, &count, err))
		return -1;
	count.mine = mine;
	*ret_count = count;
	return 0;
}

static int repo_complete(const struct repo *r, bool *ret_complete, struct err *err)
{
	struct public_key before[CEREMONY_HOLDERS];
	struct signers old, new = {r->root, r->root_count, (unsigned)r->threshold};
	*ret_complete = enough(r->document, &new);
	if (!r->previous)
		return 0;
	if (role_keys(json_object_get(r->previous, "signed"), "root", before, &old, err))
		return -1;
	*ret_complete &= enough(r->document, &old);
	return 0;
}

int ceremony_count(const json_t *file, struct ceremony_count *ret_count, struct err *err)
{
	struct ceremony_count count = {.documents = (unsigned)repo_total(file)};
	struct public_key keys[CEREMONY_HOLDERS];
	struct signers signers;
	struct repo r;
	const json_t *index = json_object_get(file, "index");
	for (size_t i = 0; i < repo_total(file); i++) {
		bool complete;
		if (repo_read(&r, file, i, err) || repo_complete(&r, &complete, err))
			return -1;
		count.lacking += repo_lacks_keys(&r);
		count.complete += complete && !repo_lacks_keys(&r);
	}
	if (index) {
		if (index_signers(file, keys, &signers, err))
			return -1;
		count.documents++;
		count.complete += enough(json_object_get(index, "document"), &signers);
	}
	*ret_count = count;
	return 0;
}

/* ---- telling ---- */

static void describe_key(const char *mark, const struct public_key *key, struct buf *out)
{
	char id[DIGEST_HEX];
	digest_hex(&key->id, id);
	buf_addf(out, "%s root key %.16s...\n", mark, id);
}

/* Who may sign roots: the line that an attacker would want changed. */
static void describe_keys(const struct repo *r, struct buf *out)
{
	struct public_key before[CEREMONY_HOLDERS];
	struct signers old = {0};
	struct err ignored;
	if (!r->previous ||
	    role_keys(json_object_get(r->previous, "signed"), "root", before, &old, &ignored))
		return;
	for (unsigned i = 0; i < old.count; i++)
		if (!among(&before[i], r->root, r->root_count))
			describe_key("  -", &before[i], out);
	for (unsigned i = 0; i < r->root_count; i++)
		if (!among(&r->root[i], before, old.count))
			describe_key("  +", &r->root[i], out);
}

static void describe_repo(const struct repo *r, struct buf *out)
{
	char name[160];
	repo_text(r, name);
	buf_addf(out, "%s: root %lld%s, %lld of %lld holders, online keys %s\n", name,
		 (long long)r->version, r->previous ? "" : " (its first)", (long long)r->threshold,
		 (long long)r->holders, r->previous ? "change" : "are set");
	describe_keys(r, out);
}

static void describe_publisher(const char *mark, const json_t *entry, struct buf *out)
{
	char *models = json_dumps(json_object_get(entry, "models"), JSON_COMPACT);
	const char *name = json_string_value(json_object_get(entry, "name"));
	const char *key = json_string_value(
		json_object_get(json_object_get(json_object_get(entry, "key"), "keyval"), "public"));
	buf_addf(out, "%s publisher %s, key %.16s..., models %s\n", mark, name ? name : "?",
		 key ? key : "?", models ? models : "?");
	free(models);
}

static bool has_entry(const json_t *list, const json_t *entry)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), entry))
			return true;
	return false;
}

static void describe_index(const json_t *index, struct buf *out)
{
	const json_t *wanted = json_object_get(index, "publishers");
	const json_t *known = json_object_get(index, "published");
	const json_t *new = json_object_get(wanted, "publishers");
	const json_t *old = json_object_get(known, "publishers");
	buf_adds(out, "index: publishers and first roots\n");
	for (size_t i = 0; i < json_array_size(old); i++)
		if (!has_entry(new, json_array_get(old, i)))
			describe_publisher("  -", json_array_get(old, i), out);
	for (size_t i = 0; i < json_array_size(new); i++)
		if (!has_entry(old, json_array_get(new, i)))
			describe_publisher("  +", json_array_get(new, i), out);
	if (json_is_true(json_object_get(wanted, "required")) !=
	    json_is_true(json_object_get(known, "required")))
		buf_addf(out, "  %c every model needs a publisher's signature\n",
			 json_is_true(json_object_get(wanted, "required")) ? '+' : '-');
	if (!json_equal(json_object_get(wanted, "floors"), json_object_get(known, "floors")) &&
	    json_object_size(json_object_get(wanted, "floors"))) {
		char *floors = json_dumps(json_object_get(wanted, "floors"), JSON_COMPACT);
		buf_addf(out, "  + floors %s\n", floors ? floors : "?");
		free(floors);
	}
}

int ceremony_describe(const json_t *file, struct buf *out, struct err *err)
{
	struct repo r;
	for (size_t i = 0; i < repo_total(file); i++) {
		if (repo_read(&r, file, i, err))
			return -1;
		describe_repo(&r, out);
	}
	if (json_object_get(file, "index"))
		describe_index(json_object_get(file, "index"), out);
	return buf_ok(out, "description", err);
}

/* ---- taking it back ---- */

int ceremony_root_digest(const char *bytes, size_t len, struct digest *ret_digest, struct err *err)
{
	json_auto_t *document = json_parse(bytes, len, "root", err);
	if (!document)
		return -1;
	const json_t *body = json_object_get(document, "signed");
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "signed: missing in a root");
	return canon_digest(body, ret_digest, err);
}

void ceremony_root_done(struct ceremony_root *root)
{
	buf_done(&root->document);
}

/* Through the eyes of a device that trusts the root before it. */
static int verify_root(const struct repo *r, const struct buf *document, struct err *err)
{
	AUTO_TUF struct tuf_trust trust;
	tuf_init(&trust);
	if (!r->previous)
		return tuf_trust_root(&trust, document->data, document->len, err);
	char *text = json_text(r->previous);
	if (!text)
		return err_nomem(err);
	const int bad = tuf_trust_root(&trust, text, strlen(text), err);
	free(text);
	return bad ? -1 : tuf_update_root(&trust, document->data, document->len, err);
}

int ceremony_root(const json_t *file, size_t i, struct ceremony_root *ret_root, struct err *err)
{
	struct repo r;
	AUTO_CEREMONY_ROOT struct ceremony_root root = {.document = BUF_INIT(TUF_ROOT_MAX)};
	if (repo_read(&r, file, i, err))
		return -1;
	if (!r.document)
		return err_set(err, ERR_UNTRUSTED, "repos[%zu].document: " UNSIGNED, i);
	json_auto_t *body = root_body(&r, err);
	if (!body)
		return err_in(err, "repos[%zu]", i);
	if (!json_equal(json_object_get(r.document, "signed"), body))
		return err_set(err, ERR_UNTRUSTED, "repos[%zu].document: " CHANGED, i);
	if (canon_write(r.document, &root.document, err) ||
	    buf_ok(&root.document, "document", err) || verify_root(&r, &root.document, err))
		return err_in(err, "repos[%zu].document", i);
	root.channel = r.channel;
	root.class = r.class;
	root.version = r.version;
	root.expires = r.expires;
	root.timestamp = r.online[0];
	root.snapshot = r.online[1];
	root.targets = r.online[2];
	root.previous = r.previous;
	*ret_root = root;
	root.document = (struct buf)BUF_INIT(0);
	return 0;
}

void ceremony_index_done(struct ceremony_index *index)
{
	buf_done(&index->document);
	for (unsigned i = 0; i < index->file_count; i++)
		buf_done(&index->files[i].bytes);
	index->file_count = 0;
}

int ceremony_index(const json_t *file, const json_t *index_root, struct ceremony_index *ret_index,
		   struct err *err)
{
	struct public_key keys[CEREMONY_HOLDERS];
	struct signers signers;
	*ret_index = (struct ceremony_index){.document = BUF_INIT(TUF_TARGETS_MAX)};
	const json_t *document = json_object_get(json_object_get(file, "index"), "document");
	if (!document)
		return err_set(err, ERR_UNTRUSTED, "index.document: " UNSIGNED);
	json_auto_t *body = index_body(file, ret_index, err);
	if (!body)
		return -1;
	if (!json_equal(json_object_get(document, "signed"), body))
		return err_set(err, ERR_UNTRUSTED, "index.document: " CHANGED);
	if (role_keys(index_root, "targets", keys, &signers, err))
		return -1;
	if (!enough(document, &signers))
		return err_set(err, ERR_UNTRUSTED,
			       "index.document: %u of %u signatures; more holders must run keys "
			       "sign-root",
			       valid_signatures(document, &signers), signers.threshold);
	return canon_write(document, &ret_index->document, err) ||
			       buf_ok(&ret_index->document, "index", err)
		       ? -1
		       : 0;
}
