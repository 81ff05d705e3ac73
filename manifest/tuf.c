/* Who vouches for what: signatures and the client's workflow. */
#include "manifest/tuf.h"

#include "manifest/tuf_internal.h"

#include "base/clock.h"
#include "base/hex.h"

#include <stdbool.h>
#include <string.h>

void tuf_init(struct tuf_trust *trust)
{
	*trust = (struct tuf_trust){0};
}

static void forget(struct tuf_trust *trust, enum tuf_role role)
{
	json_decref(trust->body[role]);
	trust->body[role] = NULL;
	trust->version[role] = 0;
	trust->expires[role] = 0;
}

static void forget_from(struct tuf_trust *trust, enum tuf_role first)
{
	for (unsigned role = first; role < TUF_ROLES; role++)
		forget(trust, (enum tuf_role)role);
}

void tuf_done(struct tuf_trust *trust)
{
	forget_from(trust, TUF_ROOT);
}

static bool signature_valid(const json_t *entry, const struct buf *canon,
			    const struct public_key *key)
{
	uint8_t signature[KEY_SIGNATURE_LEN];
	const char *hex = tuf_text(entry, "sig");
	return hex && strlen(hex) == 2 * sizeof signature &&
	       hex_decode(signature, sizeof signature, hex) == 0 &&
	       key_verify(key, canon->data, canon->len, signature);
}

bool tuf_signed_by(const json_t *signatures, const struct buf *canon,
		   const struct public_key *key)
{
	char id[DIGEST_HEX];
	digest_hex(&key->id, id);
	for (size_t i = 0; i < json_array_size(signatures); i++) {
		const json_t *entry = json_array_get(signatures, i);
		const char *by = tuf_text(entry, "keyid");
		if (by && strcmp(by, id) == 0 && signature_valid(entry, canon, key))
			return true;
	}
	return false;
}

/* Whether the key has signed.  One of a type we do not know has not. */
static bool signed_by(const struct tuf_doc *doc, const json_t *key_object)
{
	struct public_key key;
	struct err ignored;
	return key_parse(&key, key_object, &ignored) == 0 &&
	       tuf_signed_by(doc->signatures, &doc->canon, &key);
}

/* Whether a threshold of the authority's keys signed.  authority and keys have been checked: ids
 * are distinct and belong to their keys, so counting ids counts keys. */
static int signatures_check(struct tuf_trust *trust, const struct tuf_doc *doc,
			    const json_t *authority, const json_t *keys, const char *whose,
			    struct err *err)
{
	const json_t *ids = json_object_get(authority, "keyids");
	json_int_t need = json_integer_value(json_object_get(authority, "threshold")), valid = 0;
	for (size_t i = 0; i < json_array_size(ids) && valid < need; i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		valid += id && signed_by(doc, json_object_get(keys, id));
	}
	if (need >= 1 && valid >= need)
		return 0;
	return tuf_refuse(trust, valid ? TUF_THRESHOLD : TUF_UNSIGNED, doc->role, err,
			  "%lld of %lld valid signatures by the keys of %s", (long long)valid,
			  (long long)need, whose);
}

static int signatures_by_root(struct tuf_trust *trust, const struct tuf_doc *doc,
			      const json_t *root, const char *whose, struct err *err)
{
	return signatures_check(
	    trust, doc, json_object_get(json_object_get(root, "roles"), tuf_role_name(doc->role)),
	    json_object_get(root, "keys"), whose, err);
}

static void accept(struct tuf_trust *trust, const struct tuf_doc *doc)
{
	json_t *body = json_incref(doc->body);
	forget(trust, doc->role);
	trust->body[doc->role] = body;
	trust->version[doc->role] = doc->version;
	trust->expires[doc->role] = doc->expires;
	trust->refusal = TUF_ACCEPTED;
}

static int fresh_check(struct tuf_trust *trust, enum tuf_role role, int64_t expires, int64_t now,
		       struct err *err)
{
	char text[CLOCK_TEXT];
	if (now == TUF_STORED || now < expires)
		return 0;
	clock_text(expires, text);
	return tuf_refuse(trust, TUF_EXPIRED, role, err, "expired at %s", text);
}

int tuf_trust_root(struct tuf_trust *trust, const char *bytes, size_t len, struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_ROOT};
	if (tuf_doc_read(trust, &doc, bytes, len, err) < 0 ||
	    signatures_by_root(trust, &doc, doc.body, "its own root", err) < 0)
		return -1;
	forget_from(trust, TUF_ROOT);
	accept(trust, &doc);
	return 0;
}

static bool authority_changed(const json_t *before, const json_t *after, enum tuf_role role)
{
	return !json_equal(json_object_get(json_object_get(before, "roles"), tuf_role_name(role)),
			   json_object_get(json_object_get(after, "roles"), tuf_role_name(role)));
}

int tuf_update_root(struct tuf_trust *trust, const char *bytes, size_t len, struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_ROOT};
	const json_t *before = trust->body[TUF_ROOT];
	if (!before)
		return tuf_refuse(trust, TUF_ORDER, TUF_ROOT, err, "no root is trusted yet");
	if (tuf_doc_read(trust, &doc, bytes, len, err) < 0)
		return -1;
	if (doc.version != trust->version[TUF_ROOT] + 1)
		return tuf_refuse(
		    trust, doc.version > trust->version[TUF_ROOT] ? TUF_VERSION_JUMP : TUF_ROLLBACK,
		    TUF_ROOT, err, "version %lld does not follow %lld", (long long)doc.version,
		    (long long)trust->version[TUF_ROOT]);
	if (signatures_by_root(trust, &doc, before, "the root before it", err) < 0 ||
	    signatures_by_root(trust, &doc, doc.body, "its own root", err) < 0)
		return -1;
	if (authority_changed(before, doc.body, TUF_TIMESTAMP) ||
	    authority_changed(before, doc.body, TUF_SNAPSHOT))
		forget_from(trust, TUF_TIMESTAMP);
	else if (authority_changed(before, doc.body, TUF_TARGETS))
		forget_from(trust, TUF_TARGETS);
	accept(trust, &doc);
	return 0;
}

static const json_t *meta_find(const struct tuf_trust *trust, enum tuf_role role)
{
	enum tuf_role parent = role == TUF_SNAPSHOT ? TUF_TIMESTAMP : TUF_SNAPSHOT;
	const json_t *meta = json_object_get(trust->body[parent], "meta");
	return json_object_get(meta, role == TUF_SNAPSHOT  ? "snapshot.json"
				     : role == TUF_TARGETS ? "targets.json"
							   : "rules.json");
}

int tuf_meta_get(struct tuf_trust *trust, enum tuf_role role, struct tuf_meta *ret_meta,
		 struct err *err)
{
	enum tuf_role parent = role == TUF_SNAPSHOT ? TUF_TIMESTAMP : TUF_SNAPSHOT;
	const json_t *entry = meta_find(trust, role);
	struct tuf_meta meta = {0};
	if (!trust->body[parent])
		return tuf_refuse(trust, TUF_ORDER, role, err, "needs a trusted %s first",
				  tuf_role_name(parent));
	if (!entry)
		return tuf_refuse(trust, TUF_NOT_LISTED, role, err, "the %s does not name it",
				  tuf_role_name(parent));
	if (tuf_meta_read(&meta, entry, err) < 0)
		return tuf_malformed(trust, parent, err);
	*ret_meta = meta;
	trust->refusal = TUF_ACCEPTED;
	return 0;
}

/* Whether the trusted document of role is the one that its parent names now. */
static bool current(const struct tuf_trust *trust, enum tuf_role role)
{
	const json_t *entry = meta_find(trust, role);
	return trust->body[role] && entry &&
	       json_integer_value(json_object_get(entry, "version")) == trust->version[role];
}

static int timestamp_rollback(struct tuf_trust *trust, const struct tuf_doc *doc, struct err *err)
{
	struct tuf_meta before = {0}, after = {0};
	const json_t *meta = json_object_get(doc->body, "meta");
	if (doc->version < trust->version[TUF_TIMESTAMP])
		return tuf_refuse(trust, TUF_ROLLBACK, TUF_TIMESTAMP, err,
				  "version %lld after %lld", (long long)doc->version,
				  (long long)trust->version[TUF_TIMESTAMP]);
	if (tuf_meta_get(trust, TUF_SNAPSHOT, &before, err) < 0)
		return -1;
	if (tuf_meta_read(&after, json_object_get(meta, "snapshot.json"), err) < 0)
		return tuf_malformed(trust, TUF_TIMESTAMP, err);
	if (after.version < before.version)
		return tuf_refuse(trust, TUF_ROLLBACK, TUF_TIMESTAMP, err,
				  "names snapshot version %lld after %lld",
				  (long long)after.version, (long long)before.version);
	return 0;
}

int tuf_update_timestamp(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
			 struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_TIMESTAMP};
	if (!trust->body[TUF_ROOT])
		return tuf_refuse(trust, TUF_ORDER, TUF_TIMESTAMP, err,
				  "needs a trusted root first");
	if (fresh_check(trust, TUF_ROOT, trust->expires[TUF_ROOT], now, err) < 0 ||
	    tuf_doc_read(trust, &doc, bytes, len, err) < 0 ||
	    signatures_by_root(trust, &doc, trust->body[TUF_ROOT], "the root", err) < 0)
		return -1;
	if (trust->body[TUF_TIMESTAMP]) {
		if (timestamp_rollback(trust, &doc, err) < 0)
			return -1;
		if (doc.version == trust->version[TUF_TIMESTAMP])
			return fresh_check(trust, TUF_TIMESTAMP, trust->expires[TUF_TIMESTAMP], now,
					   err);
	}
	if (fresh_check(trust, TUF_TIMESTAMP, doc.expires, now, err) < 0)
		return -1;
	accept(trust, &doc);
	return 0;
}

/* Whether bytes are what the parent says of role; the version is for later, when they are read. */
static int bytes_check(struct tuf_trust *trust, enum tuf_role role, const char *bytes, size_t len,
		       struct tuf_meta *ret_meta, struct err *err)
{
	struct digest digest;
	if (tuf_meta_get(trust, role, ret_meta, err) < 0)
		return -1;
	if (len > tuf_max_bytes(role))
		return tuf_refuse(trust, TUF_TOO_LARGE, role, err, "%zu bytes; %zu are allowed",
				  len, tuf_max_bytes(role));
	if ((int64_t)len != ret_meta->length)
		return tuf_refuse(trust, TUF_LENGTH, role, err, "%zu bytes instead of %lld", len,
				  (long long)ret_meta->length);
	digest_of(&digest, bytes, len);
	if (!digest_eq(&digest, &ret_meta->sha256))
		return tuf_refuse(trust, TUF_HASH, role, err,
				  "its SHA-256 is not the one its parent names");
	return 0;
}

static int version_check(struct tuf_trust *trust, const struct tuf_doc *doc,
			 const struct tuf_meta *meta, struct err *err)
{
	if (doc->version != meta->version)
		return tuf_refuse(trust, TUF_VERSION, doc->role, err,
				  "version %lld instead of %lld", (long long)doc->version,
				  (long long)meta->version);
	return 0;
}

/* No file may vanish from the snapshot or go back. */
static int snapshot_rollback(struct tuf_trust *trust, const struct tuf_doc *doc, struct err *err)
{
	const json_t *before = json_object_get(trust->body[TUF_SNAPSHOT], "meta");
	const json_t *after = json_object_get(doc->body, "meta");
	const char *name;
	json_t *entry;
	json_object_foreach((json_t *)(uintptr_t)before, name, entry)
	{
		json_int_t had = json_integer_value(json_object_get(entry, "version"));
		json_int_t has =
		    json_integer_value(json_object_get(json_object_get(after, name), "version"));
		if (has < had)
			return tuf_refuse(trust, TUF_ROLLBACK, TUF_SNAPSHOT, err,
					  "%.64s: version %lld after %lld", name, (long long)has,
					  (long long)had);
	}
	return 0;
}

int tuf_update_snapshot(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
			struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_SNAPSHOT};
	struct tuf_meta meta = {0};
	if (bytes_check(trust, TUF_SNAPSHOT, bytes, len, &meta, err) < 0 ||
	    fresh_check(trust, TUF_TIMESTAMP, trust->expires[TUF_TIMESTAMP], now, err) < 0 ||
	    tuf_doc_read(trust, &doc, bytes, len, err) < 0 ||
	    signatures_by_root(trust, &doc, trust->body[TUF_ROOT], "the root", err) < 0 ||
	    version_check(trust, &doc, &meta, err) < 0 || snapshot_rollback(trust, &doc, err) < 0 ||
	    fresh_check(trust, TUF_SNAPSHOT, doc.expires, now, err) < 0)
		return -1;
	accept(trust, &doc);
	return 0;
}

/* What targets and rules have in common: everything but who must have signed. */
static int targets_read(struct tuf_trust *trust, struct tuf_doc *doc, const char *bytes, size_t len,
			int64_t now, struct err *err)
{
	struct tuf_meta meta = {0};
	if (bytes_check(trust, doc->role, bytes, len, &meta, err) < 0)
		return -1;
	if (!current(trust, TUF_SNAPSHOT))
		return tuf_refuse(trust, TUF_ORDER, doc->role, err,
				  "the snapshot is older than the timestamp; update it first");
	if (fresh_check(trust, TUF_SNAPSHOT, trust->expires[TUF_SNAPSHOT], now, err) < 0 ||
	    tuf_doc_read(trust, doc, bytes, len, err) < 0 ||
	    version_check(trust, doc, &meta, err) < 0)
		return -1;
	return fresh_check(trust, doc->role, doc->expires, now, err);
}

int tuf_update_targets(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		       struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_TARGETS};
	if (targets_read(trust, &doc, bytes, len, now, err) < 0 ||
	    signatures_by_root(trust, &doc, trust->body[TUF_ROOT], "the root", err) < 0)
		return -1;
	if (!json_equal(tuf_rules_delegation(trust->body[TUF_TARGETS]),
			tuf_rules_delegation(doc.body)))
		forget(trust, TUF_RULES);
	accept(trust, &doc);
	return 0;
}

int tuf_update_rules(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		     struct err *err)
{
	AUTO_TUF_DOC struct tuf_doc doc = {.role = TUF_RULES};
	if (!current(trust, TUF_TARGETS))
		return tuf_refuse(trust, TUF_ORDER, TUF_RULES, err,
				  "needs the targets that the snapshot names first");
	const json_t *targets = trust->body[TUF_TARGETS];
	const json_t *keys = json_object_get(json_object_get(targets, "delegations"), "keys");
	const json_t *authority = tuf_rules_delegation(targets);
	if (!authority)
		return tuf_refuse(trust, TUF_NOT_LISTED, TUF_RULES, err,
				  "targets does not delegate to it");
	if (fresh_check(trust, TUF_TARGETS, trust->expires[TUF_TARGETS], now, err) < 0 ||
	    targets_read(trust, &doc, bytes, len, now, err) < 0 ||
	    signatures_check(trust, &doc, authority, keys, "targets' delegation", err) < 0)
		return -1;
	accept(trust, &doc);
	return 0;
}

static bool path_delegated(const json_t *delegation, const char *path)
{
	const json_t *paths = json_object_get(delegation, "paths");
	for (size_t i = 0; i < json_array_size(paths); i++) {
		const char *allowed = json_string_value(json_array_get(paths, i));
		if (allowed && strcmp(allowed, path) == 0)
			return true;
	}
	return false;
}

int tuf_target_find(const struct tuf_trust *trust, const char *path, struct tuf_target *ret_target,
		    struct err *err)
{
	const json_t *targets = trust->body[TUF_TARGETS], *rules = trust->body[TUF_RULES];
	const json_t *entry = json_object_get(json_object_get(targets, "targets"), path);
	struct tuf_target target;
	if (!entry && rules && path_delegated(tuf_rules_delegation(targets), path))
		entry = json_object_get(json_object_get(rules, "targets"), path);
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "targets: no file is called \"%.200s\"", path);
	if (tuf_target_read(&target, entry, err) < 0)
		return -1;
	*ret_target = target;
	return 0;
}

int64_t tuf_expires(const struct tuf_trust *trust)
{
	bool rules = tuf_rules_delegation(trust->body[TUF_TARGETS]) != NULL;
	int64_t first = INT64_MAX;
	if (!trust->body[TUF_ROOT] || !trust->body[TUF_TIMESTAMP] ||
	    !current(trust, TUF_SNAPSHOT) || !current(trust, TUF_TARGETS) ||
	    (rules && !current(trust, TUF_RULES)))
		return INT64_MIN;
	for (unsigned role = TUF_ROOT; role <= (rules ? TUF_RULES : TUF_TARGETS); role++)
		if (trust->expires[role] < first)
			first = trust->expires[role];
	return first;
}
