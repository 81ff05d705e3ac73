/* The file itself: its members read, whose signatures it asks for, what it says told to people. */
#include "manifest/ceremony_internal.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPOS_MAX 100000

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

static int read_online(struct ceremony_repo *r, const json_t *online, struct err *err)
{
	static const char *const names[] = {"timestamp", "snapshot", "targets"};
	for (unsigned i = 0; i < (r->channel ? 3 : 2); i++)
		if (key_parse(&r->online[i], json_object_get(online, names[i]), err))
			return err_in(err, "online.%s", names[i]);
	return 0;
}

static int repo_fields(struct ceremony_repo *r, json_t *object, struct err *err)
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

int ceremony_read_repo(struct ceremony_repo *r, const json_t *file, size_t i, struct err *err)
{
	*r = (struct ceremony_repo){0};
	json_t *object = json_array_get(json_object_get(file, "repos"), i);
	return repo_fields(r, object, err) ? err_in(err, "repos[%zu]", i) : 0;
}

size_t ceremony_repo_total(const json_t *file)
{
	return json_array_size(json_object_get(file, "repos"));
}

/* ---- whose signatures ---- */

bool ceremony_among(const struct public_key *key, const struct public_key *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (digest_eq(&key->id, &list[i].id))
			return true;
	return false;
}

int ceremony_role_keys(const json_t *root, const char *role,
		       struct public_key keys[CEREMONY_HOLDERS], struct ceremony_signers *ret,
		       struct err *err)
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
	*ret = (struct ceremony_signers){
		keys, (unsigned)n,
		(unsigned)json_integer_value(json_object_get(entry, "threshold"))};
	return 0;
}

int ceremony_index_signers(const json_t *file, struct public_key keys[CEREMONY_HOLDERS],
			   struct ceremony_signers *ret, struct err *err)
{
	struct ceremony_repo r;
	const json_t *given = json_object_get(json_object_get(file, "index"), "signers");
	unsigned count;
	for (size_t i = 0; i < ceremony_repo_total(file); i++) {
		if (ceremony_read_repo(&r, file, i, err))
			return -1;
		if (r.channel)
			continue;
		memcpy(keys, r.targets, sizeof(r.targets));
		*ret = (struct ceremony_signers){keys, r.targets_count, (unsigned)r.threshold};
		return 0;
	}
	const json_int_t threshold = json_integer_value(json_object_get(given, "threshold"));
	if (read_keys(keys, &count, json_object_get(given, "keys"), "index.signers.keys", err))
		return -1;
	if (threshold < 1 || threshold > count)
		return err_set(err, ERR_INVALID, "index.signers.threshold: from 1 to its %u keys", count);
	*ret = (struct ceremony_signers){keys, count, (unsigned)threshold};
	return 0;
}

/* ---- telling ---- */

static void repo_text(const struct ceremony_repo *r, char out[static 160])
{
	if (r->channel)
		snprintf(out, 160, "%s/%s", r->channel, r->class);
	else
		snprintf(out, 160, "index");
}

static void describe_key(const char *mark, const struct public_key *key, struct buf *out)
{
	char id[DIGEST_HEX];
	digest_hex(&key->id, id);
	buf_addf(out, "%s root key %.16s...\n", mark, id);
}

/* Who may sign roots: the line that an attacker would want changed. */
static void describe_keys(const struct ceremony_repo *r, struct buf *out)
{
	struct public_key before[CEREMONY_HOLDERS];
	struct ceremony_signers old = {0};
	struct err ignored;
	if (!r->previous ||
	    ceremony_role_keys(json_object_get(r->previous, "signed"), "root", before, &old,
			       &ignored))
		return;
	for (unsigned i = 0; i < old.count; i++)
		if (!ceremony_among(&before[i], r->root, r->root_count))
			describe_key("  -", &before[i], out);
	for (unsigned i = 0; i < r->root_count; i++)
		if (!ceremony_among(&r->root[i], before, old.count))
			describe_key("  +", &r->root[i], out);
}

static void describe_repo(const struct ceremony_repo *r, struct buf *out)
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
	struct ceremony_repo r;
	for (size_t i = 0; i < ceremony_repo_total(file); i++) {
		if (ceremony_read_repo(&r, file, i, err))
			return -1;
		describe_repo(&r, out);
	}
	if (json_object_get(file, "index"))
		describe_index(json_object_get(file, "index"), out);
	return buf_ok(out, "description", err);
}
