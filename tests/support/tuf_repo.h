/* tuf_repo.h -- for unit tests: a small TUF repository made in memory, and ways to spoil it. */
#ifndef TESTS_SUPPORT_TUF_REPO_H
#define TESTS_SUPPORT_TUF_REPO_H

#include "base/buf.h"
#include "manifest/tuf_build.h"
#include "tests/support/tuf_bodies.h"

#include <check.h>

#define NOW 1800000000LL
#define LATER (NOW + 86400)

/* Two keys of each role, so that thresholds and rotations can be played. */
struct repo_keys {
	struct sign_key key[KEY_ROLES][3];
};

static inline void repo_keys_init(struct repo_keys *keys, const char *class)
{
	const struct key_seed seed = {{7}};
	for (unsigned role = 0; role < KEY_ROLES; role++)
		for (unsigned i = 0; i < 3; i++)
			key_derive(&keys->key[role][i], &seed,
				   &(struct key_use){"stable", class, (enum key_role)role, i});
}

struct repo {
	struct repo_keys keys;
	struct buf doc[TUF_ROLES];
};

/* Sign body (taken over) with count keys of the role, from the first'th on, into out. */
static inline void repo_sign(struct buf *out, json_t *body, const struct repo_keys *keys,
			     enum key_role role, unsigned first, unsigned count)
{
	const struct sign_key *signers[3];
	struct err err;
	for (unsigned i = 0; i < count; i++)
		signers[i] = &keys->key[role][(first + i) % 3];
	buf_done(out);
	buf_init(out, 8 * 1024 * 1024);
	ck_assert_msg(tuf_sign(body, signers, count, out, &err) == 0, "%s", err.text);
	json_decref(body);
}

/* A root with two root keys (threshold 2, from root_first on) and one key of each other role, of
 * the generation online. */
static inline json_t *repo_root_body(const struct repo_keys *keys, int64_t version,
				     int64_t expires, unsigned root_first, unsigned online)
{
	struct public_key root[2] = {keys->key[KEY_ROOT][root_first % 3].public,
				     keys->key[KEY_ROOT][(root_first + 1) % 3].public};
	const struct public_key *timestamp = &keys->key[KEY_TIMESTAMP][online].public;
	const struct public_key *snapshot = &keys->key[KEY_SNAPSHOT][online].public;
	const struct public_key *targets = &keys->key[KEY_TARGETS][online].public;
	const struct tuf_root_spec spec = {
		.version = version,
		.expires = expires,
		.roles = {[TUF_ROOT] = {root, 2, 2},
			  [TUF_TIMESTAMP] = {timestamp, 1, 1},
			  [TUF_SNAPSHOT] = {snapshot, 1, 1},
			  [TUF_TARGETS] = {targets, 1, 1}},
	};
	struct err err;
	json_t *body = tuf_root_body(&spec, &err);
	ck_assert_msg(body != NULL, "%s", err.text);
	return body;
}

static inline json_t *repo_content(const struct repo_keys *keys, bool delegates)
{
	struct digest digest;
	struct err err;
	digest_of(&digest, "weights", 7);
	json_t *content = json_pack(
		"{s:{s:o}, s:{s:i}}", "targets", "assistant/2.0.0/q8_0/model.gguf",
		tuf_target_json(7, &digest, json_pack("{s:s}", "tier", "q8_0")), "flotilla",
		"schema", 1);
	ck_assert_ptr_nonnull(content);
	if (delegates)
		json_object_set_new(
			content, "delegations",
			tuf_delegations_json(
				&(struct tuf_key_set){&keys->key[KEY_RULES][0].public, 1, 1},
				"rules.json", &err));
	return content;
}

static inline json_t *repo_timestamp_body(const struct repo *repo, int64_t version,
					  int64_t snapshot_version, int64_t expires)
{
	struct tuf_meta meta;
	struct err err;
	tuf_meta_of(&meta, snapshot_version, repo->doc[TUF_SNAPSHOT].data,
		    repo->doc[TUF_SNAPSHOT].len);
	return timestamp_body(version, expires, &meta, &err);
}

static inline json_t *repo_snapshot_body(const struct repo *repo, int64_t version,
					 int64_t targets_version, bool with_rules,
					 int64_t expires)
{
	struct tuf_meta targets, rules;
	struct err err;
	tuf_meta_of(&targets, targets_version, repo->doc[TUF_TARGETS].data,
		    repo->doc[TUF_TARGETS].len);
	if (with_rules)
		tuf_meta_of(&rules, targets_version, repo->doc[TUF_RULES].data,
			    repo->doc[TUF_RULES].len);
	return snapshot_body(version, expires, &targets, with_rules ? &rules : NULL, &err);
}

static inline json_t *repo_rules_body(int64_t version, int64_t expires)
{
	struct digest digest;
	struct err err;
	digest_of(&digest, "{}", 2);
	return tuf_targets_body(version, expires,
				json_pack("{s:{s:o, s:o}}", "targets", "rules.json",
					  tuf_target_json(2, &digest, NULL), "other.json",
					  tuf_target_json(2, &digest, NULL)),
				&err);
}

/* Everything but the root, all at one version, signed by keys of one generation. */
static inline void repo_publish(struct repo *repo, int64_t version, unsigned online,
				bool with_rules, int64_t expires)
{
	const struct repo_keys *keys = &repo->keys;
	struct err err;
	repo_sign(&repo->doc[TUF_TARGETS],
		  tuf_targets_body(version, expires, repo_content(keys, with_rules), &err), keys,
		  KEY_TARGETS, online, 1);
	if (with_rules)
		repo_sign(&repo->doc[TUF_RULES], repo_rules_body(version, expires), keys,
			  KEY_RULES, 0, 1);
	repo_sign(&repo->doc[TUF_SNAPSHOT],
		  repo_snapshot_body(repo, version, version, with_rules, expires), keys,
		  KEY_SNAPSHOT, online, 1);
	repo_sign(&repo->doc[TUF_TIMESTAMP], repo_timestamp_body(repo, version, version, expires),
		  keys, KEY_TIMESTAMP, online, 1);
}

static inline void repo_init(struct repo *repo, const char *class, bool with_rules)
{
	*repo = (struct repo){0};
	repo_keys_init(&repo->keys, class);
	repo_sign(&repo->doc[TUF_ROOT], repo_root_body(&repo->keys, 1, LATER, 0, 0), &repo->keys,
		  KEY_ROOT, 0, 2);
	repo_publish(repo, 1, 0, with_rules, LATER);
}

static inline void repo_done(struct repo *repo)
{
	for (unsigned role = 0; role < TUF_ROLES; role++)
		buf_done(&repo->doc[role]);
}
#define AUTO_REPO __attribute__((cleanup(repo_done)))

/* Hand a document to the function that role calls for. */
static inline int repo_offer(struct tuf_trust *trust, enum tuf_role role, const struct buf *doc,
			     int64_t now, struct err *err)
{
	switch (role) {
	case TUF_ROOT:
		return trust->body[TUF_ROOT] ? tuf_update_root(trust, doc->data, doc->len, err)
					     : tuf_trust_root(trust, doc->data, doc->len, err);
	case TUF_TIMESTAMP:
		return tuf_update_timestamp(trust, doc->data, doc->len, now, err);
	case TUF_SNAPSHOT:
		return tuf_update_snapshot(trust, doc->data, doc->len, now, err);
	case TUF_TARGETS:
		return tuf_update_targets(trust, doc->data, doc->len, now, err);
	default:
		return tuf_update_rules(trust, doc->data, doc->len, now, err);
	}
}

/* All documents from first up to and with last must be accepted. */
static inline void repo_accept(struct tuf_trust *trust, const struct repo *repo,
			       enum tuf_role first, enum tuf_role last, int64_t now)
{
	for (unsigned role = first; role <= last; role++) {
		struct err err = {0};
		ck_assert_msg(repo_offer(trust, (enum tuf_role)role, &repo->doc[role], now,
					 &err) == 0,
			      "%s", err.text);
		ck_assert_int_eq(trust->refusal, TUF_ACCEPTED);
	}
}

/* This one must be refused for that reason, and what is trusted must stay as it is. */
static inline void repo_refuse(struct tuf_trust *trust, enum tuf_role role,
			       const struct buf *doc, int64_t now, enum tuf_refusal refusal)
{
	const struct tuf_trust before = *trust;
	struct err err = {0};
	ck_assert_msg(repo_offer(trust, role, doc, now, &err) < 0, "%s accepted",
		      tuf_role_name(role));
	ck_assert_msg(trust->refusal == refusal, "refused as %s instead of %s: %s",
		      tuf_refusal_name(trust->refusal), tuf_refusal_name(refusal), err.text);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	ck_assert_mem_eq(before.body, trust->body, sizeof before.body);
	ck_assert_mem_eq(before.version, trust->version, sizeof before.version);
}

#endif
