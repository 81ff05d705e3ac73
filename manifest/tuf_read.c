/* The form of TUF documents: what can be checked before any signature. */
#include "manifest/tuf_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "manifest/canon.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEYS_MAX 64      /* in one document */
#define ROLE_KEYS_MAX 32 /* of one role */

static const struct {
	const char *name, *type;
	size_t max_bytes;
} roles[TUF_ROLES] = {
    [TUF_ROOT] = {"root", "root", TUF_ROOT_MAX},
    [TUF_TIMESTAMP] = {"timestamp", "timestamp", TUF_TIMESTAMP_MAX},
    [TUF_SNAPSHOT] = {"snapshot", "snapshot", TUF_SNAPSHOT_MAX},
    [TUF_TARGETS] = {"targets", "targets", TUF_TARGETS_MAX},
    [TUF_RULES] = {"rules", "targets", TUF_TARGETS_MAX},
};

size_t tuf_max_bytes(enum tuf_role role)
{
	return roles[role].max_bytes;
}

const char *tuf_role_name(enum tuf_role role)
{
	return roles[role].name;
}

const char *tuf_refusal_name(enum tuf_refusal refusal)
{
	static const char *const names[TUF_REFUSALS] = {
	    [TUF_ACCEPTED] = "accepted",
	    [TUF_TOO_LARGE] = "too-large",
	    [TUF_MALFORMED] = "malformed",
	    [TUF_TYPE] = "type",
	    [TUF_SPEC] = "spec-version",
	    [TUF_KEY_ID] = "key-id",
	    [TUF_UNSIGNED] = "unsigned",
	    [TUF_THRESHOLD] = "threshold",
	    [TUF_ROLLBACK] = "rollback",
	    [TUF_VERSION_JUMP] = "version-jump",
	    [TUF_VERSION] = "version",
	    [TUF_LENGTH] = "length",
	    [TUF_HASH] = "hash",
	    [TUF_EXPIRED] = "expired",
	    [TUF_ORDER] = "order",
	    [TUF_NOT_LISTED] = "not-listed",
	};
	return names[refusal];
}

void tuf_doc_done(struct tuf_doc *doc)
{
	json_decref(doc->whole);
	buf_done(&doc->canon);
}

int tuf_refuse(struct tuf_trust *trust, enum tuf_refusal refusal, enum tuf_role role,
	       struct err *err, const char *fmt, ...)
{
	char why[300];
	va_list args;
	va_start(args, fmt);
	vsnprintf(why, sizeof why, fmt, args);
	va_end(args);
	trust->refusal = refusal;
	return err_set(err, ERR_UNTRUSTED, "%s: %s: %s", tuf_role_name(role),
		       tuf_refusal_name(refusal), why);
}

int tuf_malformed(struct tuf_trust *trust, enum tuf_role role, struct err *err)
{
	char why[sizeof err->text];
	if (err->status == ERR_SYSTEM)
		return -1;
	memcpy(why, err->text, sizeof why);
	return tuf_refuse(trust, TUF_MALFORMED, role, err, "%s", why);
}

int tuf_meta_read(struct tuf_meta *meta, const json_t *object, struct err *err)
{
	json_t *hashes = NULL;
	const struct json_field fields[] = {
	    FIELD_INT("version", &meta->version, .min = 1),
	    FIELD_INT("length", &meta->length, .min = 1),
	    FIELD_OBJECT("hashes", &hashes),
	};
	const struct json_field hash[] = {FIELD_DIGEST("sha256", &meta->sha256)};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0 ||
	    json_read_loose(hashes, hash, COUNT_OF(hash), err) < 0)
		return -1;
	return 0;
}

static int keys_check(struct tuf_trust *trust, enum tuf_role role, const json_t *keys,
		      struct err *err)
{
	const char *listed;
	json_t *key;
	if (!json_is_object(keys) || json_object_size(keys) > KEYS_MAX)
		return tuf_refuse(trust, TUF_MALFORMED, role, err,
				  "keys: must be an object of at most %d keys", KEYS_MAX);
	json_object_foreach((json_t *)(uintptr_t)keys, listed, key)
	{
		struct digest id, own;
		if (key_id_of(&own, key, err) < 0)
			return tuf_malformed(trust, role, err);
		if (digest_parse(&id, listed) < 0 || !digest_eq(&id, &own))
			return tuf_refuse(trust, TUF_KEY_ID, role, err,
					  "keys: %.64s is not the id of the key listed under it",
					  listed);
	}
	return 0;
}

/* {"keyids":[...],"threshold":n}: distinct ids that exist in keys. */
static int authority_check(struct tuf_trust *trust, enum tuf_role role, const json_t *entry,
			   const json_t *keys, struct err *err)
{
	const json_t *ids = json_object_get(entry, "keyids");
	const json_t *threshold = json_object_get(entry, "threshold");
	size_t count = json_array_size(ids);
	if (count < 1 || count > ROLE_KEYS_MAX)
		return tuf_refuse(trust, TUF_MALFORMED, role, err, "keyids: must be 1 to %d texts",
				  ROLE_KEYS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		if (!id || !json_object_get(keys, id))
			return tuf_refuse(trust, TUF_MALFORMED, role, err,
					  "keyids: %zu is not the id of a listed key", i);
		for (size_t k = 0; k < i; k++)
			if (json_equal(json_array_get(ids, i), json_array_get(ids, k)))
				return tuf_refuse(trust, TUF_MALFORMED, role, err,
						  "keyids: %.64s twice", id);
	}
	json_int_t n = json_integer_value(threshold);
	if (n < 1 || n > (json_int_t)count)
		return tuf_refuse(trust, TUF_MALFORMED, role, err,
				  "threshold: must be 1 to the number of keys");
	return 0;
}

static int root_check(struct tuf_trust *trust, const json_t *body, struct err *err)
{
	const json_t *keys = json_object_get(body, "keys"), *table = json_object_get(body, "roles");
	if (!json_is_true(json_object_get(body, "consistent_snapshot")))
		return tuf_refuse(trust, TUF_MALFORMED, TUF_ROOT, err,
				  "consistent_snapshot: must be true");
	if (keys_check(trust, TUF_ROOT, keys, err) < 0)
		return -1;
	if (json_object_size(table) != TUF_RULES)
		return tuf_refuse(trust, TUF_MALFORMED, TUF_ROOT, err,
				  "roles: must be root, timestamp, snapshot and targets");
	for (unsigned role = TUF_ROOT; role < TUF_RULES; role++)
		if (authority_check(trust, TUF_ROOT, json_object_get(table, roles[role].name), keys,
				    err) < 0)
			return -1;
	return 0;
}

static int timestamp_check(struct tuf_trust *trust, const json_t *body, struct err *err)
{
	const json_t *meta = json_object_get(body, "meta");
	struct tuf_meta snapshot;
	if (json_object_size(meta) != 1)
		return tuf_refuse(trust, TUF_MALFORMED, TUF_TIMESTAMP, err,
				  "meta: must name snapshot.json and nothing else");
	if (tuf_meta_read(&snapshot, json_object_get(meta, "snapshot.json"), err) < 0)
		return tuf_malformed(trust, TUF_TIMESTAMP, err);
	return 0;
}

static int snapshot_check(struct tuf_trust *trust, const json_t *body, struct err *err)
{
	const json_t *meta = json_object_get(body, "meta");
	const char *name;
	json_t *entry;
	struct tuf_meta any;
	if (!json_object_get(meta, "targets.json"))
		return tuf_refuse(trust, TUF_MALFORMED, TUF_SNAPSHOT, err,
				  "meta: must name targets.json");
	json_object_foreach((json_t *)(uintptr_t)meta, name,
			    entry) if (tuf_meta_read(&any, entry, err) < 0)
	{
		err_in(err, "meta: %.64s", name);
		return tuf_malformed(trust, TUF_SNAPSHOT, err);
	}
	return 0;
}

int tuf_target_read(struct tuf_target *target, const json_t *object, struct err *err)
{
	json_t *hashes = NULL, *custom = NULL;
	const struct json_field fields[] = {
	    FIELD_INT("length", &target->length),
	    FIELD_OBJECT("hashes", &hashes),
	    FIELD_OBJECT("custom", &custom, .optional = true),
	};
	const struct json_field hash[] = {FIELD_DIGEST("sha256", &target->sha256)};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0 ||
	    json_read_loose(hashes, hash, COUNT_OF(hash), err) < 0)
		return -1;
	target->custom = custom;
	return 0;
}

const json_t *tuf_rules_delegation(const json_t *targets)
{
	const json_t *list = json_object_get(json_object_get(targets, "delegations"), "roles");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		const char *name = tuf_text(entry, "name");
		if (name && strcmp(name, tuf_role_name(TUF_RULES)) == 0)
			return entry;
	}
	return NULL;
}

static int targets_check(struct tuf_trust *trust, enum tuf_role role, const json_t *body,
			 struct err *err)
{
	const json_t *list = json_object_get(body, "targets");
	const json_t *delegations = json_object_get(body, "delegations");
	const json_t *rules = tuf_rules_delegation(body);
	const char *path;
	json_t *entry;
	if (!json_is_object(list))
		return tuf_refuse(trust, TUF_MALFORMED, role, err, "targets: must be an object");
	json_object_foreach((json_t *)(uintptr_t)list, path, entry)
	{
		struct tuf_target any;
		if (!file_path_below(path))
			return tuf_refuse(trust, TUF_MALFORMED, role, err,
					  "targets: a path that leads elsewhere");
		if (tuf_target_read(&any, entry, err) < 0) {
			err_in(err, "targets: %.100s", path);
			return tuf_malformed(trust, role, err);
		}
	}
	if (!delegations)
		return 0;
	const json_t *keys = json_object_get(delegations, "keys");
	if (keys_check(trust, role, keys, err) < 0)
		return -1;
	return rules ? authority_check(trust, role, rules, keys, err) : 0;
}

static int body_check(struct tuf_trust *trust, const struct tuf_doc *doc, struct err *err)
{
	switch (doc->role) {
	case TUF_ROOT:
		return root_check(trust, doc->body, err);
	case TUF_TIMESTAMP:
		return timestamp_check(trust, doc->body, err);
	case TUF_SNAPSHOT:
		return snapshot_check(trust, doc->body, err);
	default:
		return targets_check(trust, doc->role, doc->body, err);
	}
}

/* The members that every role's `signed` has. */
static int header_check(struct tuf_trust *trust, struct tuf_doc *doc, struct err *err)
{
	const char *type = tuf_text(doc->body, "_type"),
		   *spec = tuf_text(doc->body, "spec_version");
	const char *expires = tuf_text(doc->body, "expires");
	const json_t *version = json_object_get(doc->body, "version");
	if (!type || strcmp(type, roles[doc->role].type) != 0)
		return tuf_refuse(trust, TUF_TYPE, doc->role, err, "_type: is \"%.32s\"",
				  type ? type : "");
	if (!spec || strncmp(spec, "1.", 2) != 0)
		return tuf_refuse(trust, TUF_SPEC, doc->role, err,
				  "spec_version: \"%.32s\" is not 1.x", spec ? spec : "");
	doc->version = json_integer_value(version);
	if (doc->version < 1)
		return tuf_refuse(trust, TUF_MALFORMED, doc->role, err,
				  "version: must be a positive integer");
	if (!expires || clock_parse(&doc->expires, expires) < 0)
		return tuf_refuse(trust, TUF_MALFORMED, doc->role, err,
				  "expires: must have the form 2027-01-31T00:00:00Z");
	return 0;
}

int tuf_doc_read(struct tuf_trust *trust, struct tuf_doc *doc, const char *bytes, size_t len,
		 struct err *err)
{
	size_t max = roles[doc->role].max_bytes;
	if (len > max)
		return tuf_refuse(trust, TUF_TOO_LARGE, doc->role, err,
				  "%zu bytes; %zu are allowed", len, max);
	if (!(doc->whole = json_parse(bytes, len, tuf_role_name(doc->role), err)))
		return tuf_malformed(trust, doc->role, err);
	doc->body = json_object_get(doc->whole, "signed");
	doc->signatures = json_object_get(doc->whole, "signatures");
	if (!json_is_object(doc->body) || !json_is_array(doc->signatures) ||
	    json_array_size(doc->signatures) > TUF_SIGNATURES_MAX)
		return tuf_refuse(trust, TUF_MALFORMED, doc->role, err,
				  "must have an object `signed` and at most %d `signatures`",
				  TUF_SIGNATURES_MAX);
	/* The canonical form is never longer than the document. */
	buf_init(&doc->canon, max);
	if (canon_write(doc->body, &doc->canon, err) < 0)
		return tuf_malformed(trust, doc->role, err);
	if (header_check(trust, doc, err) < 0)
		return -1;
	return body_check(trust, doc, err);
}
