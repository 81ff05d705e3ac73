#include "manifest/tuf_build.h"

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "manifest/canon.h"

#include <string.h>

#define DOCUMENT_MAX (2 * TUF_TARGETS_MAX)

/* The members common to all roles, added to body, which is taken over. */
static json_t *with_header(json_t *body, enum tuf_role role, int64_t version, int64_t expires,
			   struct err *err)
{
	json_auto_t *own = body;
	char text[CLOCK_TEXT];
	clock_text(expires, text);
	if (version < 1) {
		err_set(err, ERR_INVALID, "%s: version must be positive", tuf_role_name(role));
		return NULL;
	}
	int failed = !own;
	failed |= json_object_set_new(own, "_type",
				      json_string(tuf_role_name(role))) < 0;
	failed |= json_object_set_new(own, "spec_version", json_string(TUF_SPEC_VERSION)) < 0;
	failed |= json_object_set_new(own, "version", json_integer(version)) < 0;
	failed |= json_object_set_new(own, "expires", json_string(text)) < 0;
	if (failed) {
		err_nomem(err);
		return NULL;
	}
	return TAKE(own);
}

/* {"keyids":[...],"threshold":n}, and the keys themselves into keys. */
static json_t *authority_json(const struct tuf_key_set *set, json_t *keys)
{
	json_auto_t *ids = json_array();
	for (unsigned i = 0; i < set->count; i++) {
		char id[DIGEST_HEX];
		digest_hex(&set->keys[i].id, id);
		if (json_array_append_new(ids, json_string(id)) < 0 ||
		    json_object_set_new(keys, id, key_json(&set->keys[i])) < 0)
			return NULL;
	}
	return json_pack("{s:O, s:i}", "keyids", ids, "threshold", (int)set->threshold);
}

static int set_check(const struct tuf_key_set *set, const char *whose, struct err *err)
{
	if (set->threshold < 1 || set->threshold > set->count)
		return err_set(err, ERR_INVALID,
			       "%s: threshold %u must be from 1 to the %u keys", whose,
			       set->threshold, set->count);
	for (unsigned i = 0; i < set->count; i++)
		for (unsigned k = 0; k < i; k++)
			if (digest_eq(&set->keys[i].id, &set->keys[k].id))
				return err_set(err, ERR_INVALID, "%s: a key is listed twice",
					       whose);
	return 0;
}

json_t *tuf_root_body(const struct tuf_root_spec *spec, struct err *err)
{
	json_auto_t *keys = json_object(), *table = json_object();
	for (unsigned role = TUF_ROOT; role < TUF_RULES; role++) {
		const char *name = tuf_role_name((enum tuf_role)role);
		if (set_check(&spec->roles[role], name, err) < 0)
			return NULL;
		if (json_object_set_new(table, name, authority_json(&spec->roles[role], keys)) <
		    0) {
			err_nomem(err);
			return NULL;
		}
	}
	return with_header(json_pack("{s:b, s:O, s:O}", "consistent_snapshot", 1, "keys", keys,
				     "roles", table),
			   TUF_ROOT, spec->version, spec->expires, err);
}

static void meta_text(struct buf *out, const char *name, const struct tuf_meta *meta)
{
	char hex[DIGEST_HEX];
	digest_hex(&meta->sha256, hex);
	buf_addf(out, "\"%s\":{\"hashes\":{\"sha256\":\"%s\"},\"length\":%lld,\"version\":%lld}", name,
		 hex, (long long)meta->length, (long long)meta->version);
}

/* These two are signed for every class every day, so they are written as they are signed. */
static void begin_text(struct buf *out, enum tuf_role role, int64_t expires)
{
	char text[CLOCK_TEXT];
	clock_text(expires, text);
	buf_addf(out, "{\"_type\":\"%s\",\"expires\":\"%s\",\"meta\":{", tuf_role_name(role), text);
}

static int end_text(struct buf *out, enum tuf_role role, int64_t version, struct err *err)
{
	if (version < 1)
		return err_set(err, ERR_INVALID, "%s: version must be positive",
			       tuf_role_name(role));
	buf_addf(out, "},\"spec_version\":\"" TUF_SPEC_VERSION "\",\"version\":%lld}",
		 (long long)version);
	return buf_ok(out, tuf_role_name(role), err);
}

int tuf_timestamp_text(int64_t version, int64_t expires, const struct tuf_meta *snapshot,
		       struct buf *out, struct err *err)
{
	begin_text(out, TUF_TIMESTAMP, expires);
	meta_text(out, "snapshot.json", snapshot);
	return end_text(out, TUF_TIMESTAMP, version, err);
}

int tuf_snapshot_text(int64_t version, int64_t expires, const struct tuf_meta *targets,
		      const struct tuf_meta *rules, struct buf *out, struct err *err)
{
	begin_text(out, TUF_SNAPSHOT, expires);
	if (rules) {
		meta_text(out, "rules.json", rules);
		buf_addc(out, ',');
	}
	meta_text(out, "targets.json", targets);
	return end_text(out, TUF_SNAPSHOT, version, err);
}

json_t *tuf_targets_body(int64_t version, int64_t expires, json_t *content, struct err *err)
{
	json_auto_t *own = content;
	if (!own)
		return NULL;
	if (!json_is_object(json_object_get(own, "targets"))) {
		err_set(err, ERR_INVALID, "targets: the content must have them");
		return NULL;
	}
	/* A shallow copy: the content may still be the caller's through another reference. */
	return with_header(json_copy(own), TUF_TARGETS, version, expires, err);
}

json_t *tuf_target_json(int64_t length, const struct digest *sha256, json_t *custom)
{
	json_auto_t *own = custom;
	char hex[DIGEST_HEX];
	digest_hex(sha256, hex);
	/* An empty custom is left out: some clients drop it, and then the signature fails. */
	if (json_object_size(own) == 0)
		return json_pack("{s:I, s:{s:s}}", "length", (json_int_t)length, "hashes",
				 "sha256", hex);
	return json_pack("{s:I, s:{s:s}, s:O}", "length", (json_int_t)length, "hashes", "sha256",
			 hex, "custom", own);
}

json_t *tuf_delegations_json(const struct tuf_key_set *set, const char *path, struct err *err)
{
	json_auto_t *keys = json_object();
	const char *name = tuf_role_name(TUF_RULES);
	if (set_check(set, name, err) < 0)
		return NULL;
	json_auto_t *role = authority_json(set, keys);
	int failed = !role;
	failed |= json_object_set_new(role, "name", json_string(name)) < 0;
	failed |= json_object_set_new(role, "terminating", json_true()) < 0;
	failed |= json_object_set_new(role, "paths", json_pack("[s]", path)) < 0;
	json_t *out = failed ? NULL : json_pack("{s:O, s:[O]}", "keys", keys, "roles", role);
	if (!out)
		err_nomem(err);
	return out;
}

void tuf_meta_of(struct tuf_meta *ret_meta, int64_t version, const char *bytes, size_t len)
{
	ret_meta->version = version;
	ret_meta->length = (int64_t)len;
	digest_of(&ret_meta->sha256, bytes, len);
}

static void signature_write(struct buf *out, const char *keyid, const char *sig, bool first)
{
	buf_addf(out, "%s{\"keyid\":\"%s\",\"sig\":\"%s\"}", first ? "" : ",", keyid, sig);
}

static void sign_into(struct buf *out, const struct sign_key *key, const struct buf *canon,
		      bool first)
{
	uint8_t signature[KEY_SIGNATURE_LEN];
	char id[DIGEST_HEX], sig[2 * KEY_SIGNATURE_LEN + 1];
	key_sign(key, canon->data, canon->len, signature);
	digest_hex(&key->public.id, id);
	hex_encode(sig, signature, sizeof signature);
	signature_write(out, id, sig, first);
}

static int end_document(struct buf *out, const struct buf *canon, struct err *err)
{
	buf_adds(out, "],\"signed\":");
	buf_add(out, canon->data, canon->len);
	buf_addc(out, '}');
	return buf_ok(out, "signed document", err);
}

int tuf_sign_text(const struct buf *canon, const struct sign_key *const *keys, unsigned count,
		  struct buf *out, struct err *err)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < i; k++)
			if (digest_eq(&keys[i]->public.id, &keys[k]->public.id))
				return err_set(err, ERR_INVALID,
					       "signatures: one key cannot sign twice");
	buf_adds(out, "{\"signatures\":[");
	for (unsigned i = 0; i < count; i++)
		sign_into(out, keys[i], canon, i == 0);
	return end_document(out, canon, err);
}

int tuf_sign(const json_t *body, const struct sign_key *const *keys, unsigned count,
	     struct buf *out, struct err *err)
{
	AUTO_BUF struct buf canon = BUF_INIT(DOCUMENT_MAX);
	if (canon_write(body, &canon, err) < 0)
		return -1;
	return tuf_sign_text(&canon, keys, count, out, err);
}

int tuf_renew(const char *bytes, size_t len, int64_t version, int64_t expires,
	      const struct sign_key *key, struct buf *out, struct err *err)
{
	struct canon_span body, old_expires, old_version;
	char text[CLOCK_TEXT];
	AUTO_BUF struct buf canon = BUF_INIT(DOCUMENT_MAX);
	/* Names are sorted: "expires" comes before "version". */
	if (!canon_member(bytes, len, "signed", &body) ||
	    !canon_member(body.text, body.len, "expires", &old_expires) ||
	    !canon_member(body.text, body.len, "version", &old_version))
		return err_set(err, ERR_CORRUPT, "document: has no \"signed\" that can be renewed");
	clock_text(expires, text);
	const char *between = old_expires.text + old_expires.len;
	const char *rest = old_version.text + old_version.len;
	buf_add(&canon, body.text, (size_t)(old_expires.text - body.text));
	buf_addf(&canon, "\"%s\"", text);
	buf_add(&canon, between, (size_t)(old_version.text - between));
	buf_addf(&canon, "%lld", (long long)version);
	buf_add(&canon, rest, (size_t)(body.text + body.len - rest));
	if (buf_ok(&canon, "renewed document", err))
		return -1;
	return tuf_sign_text(&canon, &key, 1, out, err);
}

/* Copy the signatures of others: those whose form is right and whose key is not own. */
static bool others_write(struct buf *out, const json_t *signatures, const char *own)
{
	bool first = true;
	for (size_t i = 0; i < json_array_size(signatures); i++) {
		const json_t *entry = json_array_get(signatures, i);
		const char *id = json_string_value(json_object_get(entry, "keyid"));
		const char *sig = json_string_value(json_object_get(entry, "sig"));
		uint8_t bytes[KEY_SIGNATURE_LEN];
		struct digest parsed;
		if (!id || !sig || digest_parse(&parsed, id) < 0 || strcmp(id, own) == 0 ||
		    strlen(sig) != 2 * sizeof bytes || hex_decode(bytes, sizeof bytes, sig) < 0)
			continue;
		signature_write(out, id, sig, first);
		first = false;
	}
	return first;
}

int tuf_cosign(const char *bytes, size_t len, const struct sign_key *key, struct buf *out,
	       struct err *err)
{
	AUTO_BUF struct buf canon = BUF_INIT(DOCUMENT_MAX);
	char own[DIGEST_HEX];
	if (len > TUF_TARGETS_MAX)
		return err_set(err, ERR_TOO_LARGE, "document: %zu bytes; %d are allowed", len,
			       TUF_TARGETS_MAX);
	json_auto_t *whole = json_parse(bytes, len, "document", err);
	if (!whole)
		return -1;
	const json_t *body = json_object_get(whole, "signed");
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "signed: missing; give a TUF document");
	if (canon_write(body, &canon, err) < 0)
		return -1;
	digest_hex(&key->public.id, own);
	buf_adds(out, "{\"signatures\":[");
	bool first = others_write(out, json_object_get(whole, "signatures"), own);
	sign_into(out, key, &canon, first);
	return end_document(out, &canon, err);
}
