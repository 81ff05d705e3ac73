#include "manifest/tuf.h"

#include "base/json.h"
#include "tests/support/tuf_repo.h"

#include <stdlib.h>
#include <string.h>

START_TEST(test_tuf_refresh_accepts_a_good_repository)
{
	struct tuf_target target;
	struct tuf_meta meta;
	struct digest weights;
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	ck_assert(tuf_expires(&trust) == INT64_MIN);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	ck_assert_int_eq(tuf_expires(&trust), LATER);
	ck_assert_int_eq(tuf_meta_get(&trust, TUF_TARGETS, &meta, &err), 0);
	ck_assert_int_eq(meta.version, 1);
	ck_assert_int_eq(meta.length, (int64_t)repo.doc[TUF_TARGETS].len);
	ck_assert_int_eq(
		tuf_target_find(&trust, "assistant/2.0.0/q8_0/model.gguf", &target, &err), 0);
	digest_of(&weights, "weights", 7);
	ck_assert(digest_eq(&target.sha256, &weights));
	ck_assert_str_eq(json_string_value(json_object_get(target.custom, "tier")), "q8_0");
	ck_assert_int_lt(tuf_target_find(&trust, "nothing", &target, &err), 0);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(json_object_get(trust.body[TUF_TARGETS], "flotilla"));
}
END_TEST

START_TEST(test_tuf_delegated_rules_serve_only_their_path)
{
	struct tuf_target target;
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "index", true);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	ck_assert_int_lt(tuf_target_find(&trust, "rules.json", &target, &err), 0);
	ck_assert(tuf_expires(&trust) == INT64_MIN);
	repo_accept(&trust, &repo, TUF_RULES, TUF_RULES, NOW);
	ck_assert_int_eq(tuf_expires(&trust), LATER);
	ck_assert_int_eq(tuf_target_find(&trust, "rules.json", &target, &err), 0);
	ck_assert_ptr_null(target.custom);
	ck_assert_int_lt(tuf_target_find(&trust, "other.json", &target, &err), 0);
}
END_TEST

START_TEST(test_tuf_rules_need_the_delegated_key)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "index", true);
	/* A new rules document by another key, and a snapshot that names it. */
	repo_sign(&repo.doc[TUF_RULES], repo_rules_body(1, LATER), &repo.keys, KEY_TARGETS, 0, 1);
	repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 1, 1, true, LATER),
		  &repo.keys, KEY_SNAPSHOT, 0, 1);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 1, 1, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_SNAPSHOT, NOW);
	repo_refuse(&trust, TUF_RULES, &repo.doc[TUF_RULES], NOW, TUF_ORDER);
	repo_accept(&trust, &repo, TUF_TARGETS, TUF_TARGETS, NOW);
	repo_refuse(&trust, TUF_RULES, &repo.doc[TUF_RULES], NOW, TUF_UNSIGNED);
}
END_TEST

START_TEST(test_tuf_rules_without_delegation_are_not_listed)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	repo_sign(&repo.doc[TUF_RULES], repo_rules_body(1, LATER), &repo.keys, KEY_RULES, 0, 1);
	repo_refuse(&trust, TUF_RULES, &repo.doc[TUF_RULES], NOW, TUF_NOT_LISTED);
}
END_TEST

START_TEST(test_tuf_documents_come_in_order)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	for (unsigned role = TUF_TIMESTAMP; role <= TUF_RULES; role++) {
		struct buf *doc = role == TUF_RULES ? &repo.doc[TUF_TARGETS] : &repo.doc[role];
		repo_refuse(&trust, (enum tuf_role)role, doc, NOW, TUF_ORDER);
	}
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TIMESTAMP, NOW);
	repo_refuse(&trust, TUF_TARGETS, &repo.doc[TUF_TARGETS], NOW, TUF_ORDER);
	repo_accept(&trust, &repo, TUF_SNAPSHOT, TUF_TARGETS, NOW);
	/* After a new timestamp the snapshot comes first, also for the targets of the old one. */
	AUTO_BUF struct buf old = BUF_INIT(65536);
	buf_add(&old, repo.doc[TUF_TARGETS].data, repo.doc[TUF_TARGETS].len);
	repo_publish(&repo, 2, 0, false, LATER);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TIMESTAMP, NOW);
	ck_assert(tuf_expires(&trust) == INT64_MIN);
	repo_refuse(&trust, TUF_TARGETS, &old, NOW, TUF_ORDER);
	repo_accept(&trust, &repo, TUF_SNAPSHOT, TUF_TARGETS, NOW);
	ck_assert_int_eq(trust.version[TUF_TARGETS], 2);
}
END_TEST

START_TEST(test_tuf_another_class_does_not_verify)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo a, b;
	tuf_init(&trust);
	repo_init(&a, "a", false);
	repo_init(&b, "b", false);
	repo_accept(&trust, &a, TUF_ROOT, TUF_ROOT, NOW);
	repo_refuse(&trust, TUF_TIMESTAMP, &b.doc[TUF_TIMESTAMP], NOW, TUF_UNSIGNED);
	repo_sign(&b.doc[TUF_ROOT], repo_root_body(&b.keys, 2, LATER, 0, 0), &b.keys, KEY_ROOT, 0,
		  2);
	repo_refuse(&trust, TUF_ROOT, &b.doc[TUF_ROOT], NOW, TUF_UNSIGNED);
}
END_TEST

START_TEST(test_tuf_expired_documents_are_refused)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	repo_init(&repo, "a", false);
	/* One second before the end all is well, at the end nothing is. */
	for (unsigned role = TUF_TIMESTAMP; role <= TUF_TARGETS; role++) {
		tuf_init(&trust);
		if (role > TUF_TIMESTAMP)
			repo_accept(&trust, &repo, TUF_ROOT, (enum tuf_role)(role - 1), LATER - 1);
		else
			repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, LATER - 1);
		repo_refuse(&trust, (enum tuf_role)role, &repo.doc[role], LATER, TUF_EXPIRED);
		repo_accept(&trust, &repo, (enum tuf_role)role, (enum tuf_role)role, LATER - 1);
		tuf_done(&trust);
	}
	/* Each document by itself, under parents that live longer. */
	repo_publish(&repo, 1, 0, false, NOW);
	tuf_init(&trust);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_EXPIRED);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 1, 1, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TIMESTAMP, NOW);
	repo_refuse(&trust, TUF_SNAPSHOT, &repo.doc[TUF_SNAPSHOT], NOW, TUF_EXPIRED);
	tuf_done(&trust);
	repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 1, 1, false, LATER),
		  &repo.keys, KEY_SNAPSHOT, 0, 1);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 1, 1, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_SNAPSHOT, NOW);
	repo_refuse(&trust, TUF_TARGETS, &repo.doc[TUF_TARGETS], NOW, TUF_EXPIRED);
}
END_TEST

START_TEST(test_tuf_stored_documents_are_taken_back_though_expired)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_publish(&repo, 5, 0, false, NOW - 1000);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, TUF_STORED);
	ck_assert_int_eq(tuf_expires(&trust), NOW - 1000);
	/* ... and still guard against going back. */
	repo_publish(&repo, 4, 0, false, LATER);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_ROLLBACK);
	repo_publish(&repo, 6, 0, false, LATER);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TARGETS, NOW);
}
END_TEST

START_TEST(test_tuf_rollbacks_are_refused)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_publish(&repo, 5, 0, false, LATER);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	/* An older timestamp. */
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 4, 5, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_ROLLBACK);
	/* A newer timestamp with an older snapshot. */
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 6, 4, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_ROLLBACK);
	/* A newer snapshot with older targets. */
	repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 6, 4, false, LATER),
		  &repo.keys, KEY_SNAPSHOT, 0, 1);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 6, 6, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TIMESTAMP, NOW);
	repo_refuse(&trust, TUF_SNAPSHOT, &repo.doc[TUF_SNAPSHOT], NOW, TUF_ROLLBACK);
}
END_TEST

START_TEST(test_tuf_a_file_may_not_vanish_from_the_snapshot)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "index", true);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_RULES, NOW);
	repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 2, 1, false, LATER),
		  &repo.keys, KEY_SNAPSHOT, 0, 1);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 2, 2, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TIMESTAMP, NOW);
	repo_refuse(&trust, TUF_SNAPSHOT, &repo.doc[TUF_SNAPSHOT], NOW, TUF_ROLLBACK);
}
END_TEST

START_TEST(test_tuf_the_same_timestamp_changes_nothing)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	/* The same version with a later expiry: ignored, and no error. */
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 1, 1, LATER + 500),
		  &repo.keys, KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TIMESTAMP, NOW);
	ck_assert_int_eq(trust.expires[TUF_TIMESTAMP], LATER);
}
END_TEST

START_TEST(test_tuf_bytes_must_be_those_named)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo, other;
	AUTO_BUF struct buf longer = BUF_INIT(65536), changed = BUF_INIT(65536);
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_init(&other, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TIMESTAMP, NOW);
	buf_add(&longer, repo.doc[TUF_SNAPSHOT].data, repo.doc[TUF_SNAPSHOT].len);
	buf_addc(&longer, '\n');
	repo_refuse(&trust, TUF_SNAPSHOT, &longer, NOW, TUF_LENGTH);
	buf_add(&changed, repo.doc[TUF_SNAPSHOT].data, repo.doc[TUF_SNAPSHOT].len);
	changed.data[changed.len - 2] = ' ';
	repo_refuse(&trust, TUF_SNAPSHOT, &changed, NOW, TUF_HASH);
	/* The right hash, but another version inside than the timestamp says. */
	repo_sign(&other.doc[TUF_TIMESTAMP], repo_timestamp_body(&other, 2, 9, LATER), &other.keys,
		  KEY_TIMESTAMP, 0, 1);
	ck_assert_int_eq(
		repo_offer(&trust, TUF_TIMESTAMP, &other.doc[TUF_TIMESTAMP], NOW, &err), 0);
	repo_refuse(&trust, TUF_SNAPSHOT, &other.doc[TUF_SNAPSHOT], NOW, TUF_VERSION);
}
END_TEST

START_TEST(test_tuf_roots_chain_and_rotate_every_key)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	const struct repo_keys *keys = &repo.keys;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	/* v2 replaces one root key and all online keys: keys 0 and 1 of v1, 1 and 2 of v2. */
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(keys, 2, NOW - 5, 1, 1), keys, KEY_ROOT, 1,
		  2);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_THRESHOLD); /* new only */
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(keys, 2, NOW - 5, 1, 1), keys, KEY_ROOT, 0,
		  2);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_THRESHOLD); /* old only */
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(keys, 2, NOW - 5, 1, 1), keys, KEY_ROOT, 0,
		  3);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW); /* expired on the way: no matter */
	ck_assert_ptr_null(trust.body[TUF_TIMESTAMP]);
	ck_assert_ptr_null(trust.body[TUF_TARGETS]);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_EXPIRED);
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(keys, 3, LATER, 1, 1), keys, KEY_ROOT, 1, 2);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_UNSIGNED);
	repo_publish(&repo, 1, 1, false, LATER); /* fast-forward recovery: back to version 1 */
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TARGETS, NOW);
}
END_TEST

START_TEST(test_tuf_a_root_that_changes_no_key_forgets_nothing)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_publish(&repo, 7, 0, false, LATER);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(&repo.keys, 2, LATER + 9, 0, 0), &repo.keys,
		  KEY_ROOT, 0, 2);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	ck_assert_ptr_nonnull(trust.body[TUF_TARGETS]);
	repo_publish(&repo, 6, 0, false, LATER);
	repo_refuse(&trust, TUF_TIMESTAMP, &repo.doc[TUF_TIMESTAMP], NOW, TUF_ROLLBACK);
}
END_TEST

START_TEST(test_tuf_new_targets_keys_forget_only_targets)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_TARGETS, NOW);
	const struct repo_keys *keys = &repo.keys;
	const struct public_key root[2] = {keys->key[KEY_ROOT][0].public,
					   keys->key[KEY_ROOT][1].public};
	const struct tuf_root_spec spec = {
		.version = 2,
		.expires = LATER,
		.roles = {{root, 2, 2},
			  {&keys->key[KEY_TIMESTAMP][0].public, 1, 1},
			  {&keys->key[KEY_SNAPSHOT][0].public, 1, 1},
			  {&keys->key[KEY_TARGETS][1].public, 1, 1}},
	};
	repo_sign(&repo.doc[TUF_ROOT], tuf_root_body(&spec, &err), keys, KEY_ROOT, 0, 2);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	ck_assert_ptr_null(trust.body[TUF_TARGETS]);
	ck_assert_ptr_nonnull(trust.body[TUF_SNAPSHOT]);
	repo_refuse(&trust, TUF_TARGETS, &repo.doc[TUF_TARGETS], NOW, TUF_UNSIGNED);
}
END_TEST

START_TEST(test_tuf_rules_go_when_their_delegation_changes)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "index", true);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_RULES, NOW);
	repo_publish(&repo, 2, 0, true, LATER);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TARGETS, NOW);
	ck_assert_ptr_nonnull(trust.body[TUF_RULES]);
	ck_assert(tuf_expires(&trust) == INT64_MIN); /* those of version 1 still */
	/* Version 3 hands the rules to another key; rules.json itself stays. */
	json_t *content = repo_content(&repo.keys, false);
	const struct tuf_key_set other = {&repo.keys.key[KEY_RULES][1].public, 1, 1};
	json_object_set_new(content, "delegations",
			    tuf_delegations_json(&other, "rules.json", &err));
	repo_sign(&repo.doc[TUF_TARGETS], tuf_targets_body(3, LATER, content, &err), &repo.keys,
		  KEY_TARGETS, 0, 1);
	repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 3, 3, true, LATER),
		  &repo.keys, KEY_SNAPSHOT, 0, 1);
	repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 3, 3, LATER), &repo.keys,
		  KEY_TIMESTAMP, 0, 1);
	repo_accept(&trust, &repo, TUF_TIMESTAMP, TUF_TARGETS, NOW);
	ck_assert_ptr_null(trust.body[TUF_RULES]);
}
END_TEST

START_TEST(test_tuf_thresholds_can_be_reached)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	for (int threshold = 0; threshold <= 3; threshold += 3) {
		json_t *body = repo_root_body(&repo.keys, 1, LATER, 0, 0);
		json_t *role = json_object_get(json_object_get(body, "roles"), "targets");
		json_object_set_new(role, "threshold", json_integer(threshold));
		repo_sign(&repo.doc[TUF_ROOT], body, &repo.keys, KEY_ROOT, 0, 2);
		repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_MALFORMED);
	}
}
END_TEST

START_TEST(test_tuf_root_versions_go_up_by_one)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_ROLLBACK);
	repo_sign(&repo.doc[TUF_ROOT], repo_root_body(&repo.keys, 3, LATER, 0, 0), &repo.keys,
		  KEY_ROOT, 0, 2);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_VERSION_JUMP);
}
END_TEST

START_TEST(test_tuf_thresholds_count_distinct_keys)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	struct buf *root = &repo.doc[TUF_ROOT];
	repo_sign(root, repo_root_body(&repo.keys, 1, LATER, 0, 0), &repo.keys, KEY_ROOT, 0, 1);
	repo_refuse(&trust, TUF_ROOT, root, NOW, TUF_THRESHOLD);
	/* The one signature twice. */
	json_auto_t *whole = json_parse(root->data, root->len, "root", &err);
	json_t *signatures = json_object_get(whole, "signatures");
	json_array_append(signatures, json_array_get(signatures, 0));
	char *text = json_text(whole);
	struct buf twice = {.data = text, .len = strlen(text)};
	repo_refuse(&trust, TUF_ROOT, &twice, NOW, TUF_THRESHOLD);
	free(text);
	/* A key outside the role signs as well. */
	repo_sign(root, repo_root_body(&repo.keys, 1, LATER, 0, 0), &repo.keys, KEY_ROOT, 1, 2);
	repo_refuse(&trust, TUF_ROOT, root, NOW, TUF_THRESHOLD);
	repo_sign(root, repo_root_body(&repo.keys, 1, LATER, 0, 0), &repo.keys, KEY_ROOT, 0, 3);
	repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
}
END_TEST

/* One key under two invented ids, each listed for the role and each with a signature. */
START_TEST(test_tuf_key_ids_are_recomputed)
{
	static const char invented[] =
		"1111111111111111111111111111111111111111111111111111111111111111";
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	char own[DIGEST_HEX];
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	json_t *body = repo_root_body(&repo.keys, 1, LATER, 0, 0);
	json_t *keys = json_object_get(body, "keys");
	json_t *role = json_object_get(json_object_get(body, "roles"), "root");
	digest_hex(&repo.keys.key[KEY_ROOT][0].public.id, own);
	json_object_set(keys, invented, json_object_get(keys, own));
	json_object_set_new(role, "keyids", json_pack("[s, s]", own, invented));
	repo_sign(&repo.doc[TUF_ROOT], body, &repo.keys, KEY_ROOT, 0, 1);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_KEY_ID);
	/* One id listed twice. */
	body = repo_root_body(&repo.keys, 1, LATER, 0, 0);
	role = json_object_get(json_object_get(body, "roles"), "root");
	json_object_set_new(role, "keyids", json_pack("[s, s]", own, own));
	repo_sign(&repo.doc[TUF_ROOT], body, &repo.keys, KEY_ROOT, 0, 1);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_MALFORMED);
}
END_TEST

/* One member of `signed` replaced (NULL: removed), then signed properly. */
static const struct {
	enum tuf_role role;
	const char *member, *json;
	enum tuf_refusal refusal;
} spoiled[] = {
	{TUF_ROOT, "_type", "\"targets\"", TUF_TYPE},
	{TUF_ROOT, "_type", NULL, TUF_TYPE},
	{TUF_TIMESTAMP, "_type", "\"snapshot\"", TUF_TYPE},
	{TUF_ROOT, "spec_version", "\"2.0.0\"", TUF_SPEC},
	{TUF_ROOT, "spec_version", NULL, TUF_SPEC},
	{TUF_ROOT, "version", "0", TUF_MALFORMED},
	{TUF_ROOT, "version", "\"1\"", TUF_MALFORMED},
	{TUF_ROOT, "expires", "\"2027-01-01\"", TUF_MALFORMED},
	{TUF_ROOT, "expires", "\"2027-01-01T00:00:00+00:00\"", TUF_MALFORMED},
	{TUF_ROOT, "expires", "\"2027-02-30T00:00:00Z\"", TUF_MALFORMED},
	{TUF_ROOT, "expires", NULL, TUF_MALFORMED},
	{TUF_ROOT, "consistent_snapshot", "false", TUF_MALFORMED},
	{TUF_ROOT, "keys", "[]", TUF_MALFORMED},
	{TUF_ROOT, "keys", "{}", TUF_MALFORMED},
	{TUF_ROOT, "roles", NULL, TUF_MALFORMED},
	{TUF_TIMESTAMP, "meta", "{}", TUF_MALFORMED},
	{TUF_TIMESTAMP, "meta", "{\"snapshot.json\":{\"version\":1}}", TUF_MALFORMED},
	{TUF_TIMESTAMP, "meta", "{\"a\":{},\"snapshot.json\":{}}", TUF_MALFORMED},
	{TUF_TIMESTAMP, "meta", "[]", TUF_MALFORMED},
};

START_TEST(test_tuf_spoiled_documents_are_refused)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	if (spoiled[_i].role == TUF_TIMESTAMP)
		repo_accept(&trust, &repo, TUF_ROOT, TUF_ROOT, NOW);
	json_t *body = spoiled[_i].role == TUF_ROOT ? repo_root_body(&repo.keys, 1, LATER, 0, 0)
						     : repo_timestamp_body(&repo, 1, 1, LATER);
	if (spoiled[_i].json)
		json_object_set_new(body, spoiled[_i].member,
				    json_loads(spoiled[_i].json, JSON_DECODE_ANY, NULL));
	else
		json_object_del(body, spoiled[_i].member);
	repo_sign(&repo.doc[spoiled[_i].role], body, &repo.keys,
		  spoiled[_i].role == TUF_ROOT ? KEY_ROOT : KEY_TIMESTAMP, 0,
		  spoiled[_i].role == TUF_ROOT ? 2 : 1);
	repo_refuse(&trust, spoiled[_i].role, &repo.doc[spoiled[_i].role], NOW,
		    spoiled[_i].refusal);
}
END_TEST

START_TEST(test_tuf_a_fifth_role_is_refused)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	json_t *body = repo_root_body(&repo.keys, 1, LATER, 0, 0);
	json_t *table = json_object_get(body, "roles");
	json_object_set(table, "mirrors", json_object_get(table, "targets"));
	repo_sign(&repo.doc[TUF_ROOT], body, &repo.keys, KEY_ROOT, 0, 2);
	repo_refuse(&trust, TUF_ROOT, &repo.doc[TUF_ROOT], NOW, TUF_MALFORMED);
}
END_TEST

START_TEST(test_tuf_what_is_not_a_document_is_refused)
{
	static const char *const texts[] = {
		"", "{", "[]", "{}", "{\"signed\":{},\"signatures\":{}}",
		"{\"signed\":[],\"signatures\":[]}",
		"{\"signed\":{\"a\":1.5},\"signatures\":[]}",
		"{\"signed\":{\"a\":1,\"a\":2},\"signatures\":[]}",
	};
	AUTO_TUF struct tuf_trust trust;
	AUTO_BUF struct buf large = BUF_INIT(TUF_ROOT_MAX + 2);
	tuf_init(&trust);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		char copy[128];
		strcpy(copy, texts[i]);
		struct buf doc = {.data = copy, .len = strlen(copy)};
		repo_refuse(&trust, TUF_ROOT, &doc, NOW, TUF_MALFORMED);
	}
	while (large.len <= TUF_ROOT_MAX)
		buf_adds(&large, " ");
	repo_refuse(&trust, TUF_ROOT, &large, NOW, TUF_TOO_LARGE);
}
END_TEST

START_TEST(test_tuf_a_changed_byte_is_noticed)
{
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	struct buf *root = &repo.doc[TUF_ROOT];
	char *at = strstr(root->data, "\"version\":1");
	ck_assert_ptr_nonnull(at);
	at[10] = '2';
	repo_refuse(&trust, TUF_ROOT, root, NOW, TUF_UNSIGNED);
}
END_TEST

START_TEST(test_tuf_holders_sign_one_after_another)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	AUTO_REPO struct repo repo;
	AUTO_BUF struct buf both = BUF_INIT(65536), again = BUF_INIT(65536);
	tuf_init(&trust);
	repo_init(&repo, "a", false);
	struct buf *root = &repo.doc[TUF_ROOT];
	AUTO_BUF struct buf by_both = BUF_INIT(65536);
	buf_add(&by_both, root->data, root->len);
	repo_sign(root, repo_root_body(&repo.keys, 1, LATER, 0, 0), &repo.keys, KEY_ROOT, 0, 1);
	ck_assert_int_eq(tuf_cosign(root->data, root->len, &repo.keys.key[KEY_ROOT][1], &both,
				    &err), 0);
	ck_assert_str_eq(both.data, by_both.data);
	/* Signing again replaces. */
	ck_assert_int_eq(tuf_cosign(both.data, both.len, &repo.keys.key[KEY_ROOT][1], &again,
				    &err), 0);
	ck_assert_str_eq(again.data, both.data);
	ck_assert_int_eq(tuf_trust_root(&trust, both.data, both.len, &err), 0);
}
END_TEST

START_TEST(test_tuf_builders_refuse_nonsense)
{
	struct err err;
	struct repo_keys keys;
	AUTO_BUF struct buf out = BUF_INIT(65536);
	repo_keys_init(&keys, "a");
	const struct public_key *key = &keys.key[KEY_TARGETS][0].public;
	const struct tuf_key_set fine = {key, 1, 1};
	struct public_key two[2] = {*key, *key};
	struct tuf_root_spec spec = {1, LATER, {fine, fine, fine, {key, 1, 2}}};
	ck_assert_ptr_null(tuf_root_body(&spec, &err));
	spec.roles[TUF_TARGETS] = (struct tuf_key_set){two, 2, 2};
	ck_assert_ptr_null(tuf_root_body(&spec, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "targets"));
	spec.roles[TUF_TARGETS] = fine;
	spec.version = 0;
	ck_assert_ptr_null(tuf_root_body(&spec, &err));
	ck_assert_ptr_null(tuf_targets_body(1, LATER, json_object(), &err));
	const struct sign_key *same[2] = {&keys.key[KEY_ROOT][0], &keys.key[KEY_ROOT][0]};
	json_auto_t *body = json_object();
	ck_assert_int_lt(tuf_sign(body, same, 2, &out, &err), 0);
}
END_TEST

START_TEST(test_tuf_target_paths_stay_below)
{
	static const char *const evil[] = {"../../evil", "/etc/evil", "a//b", "a\\b", "a/./b"};
	for (unsigned i = 0; i < COUNT_OF(evil); i++) {
		AUTO_TUF struct tuf_trust trust;
		AUTO_REPO struct repo repo;
		struct digest digest;
		struct err err;
		tuf_init(&trust);
		repo_init(&repo, "a", false);
		digest_of(&digest, "x", 1);
		json_t *content = json_pack("{s:{s:o}}", "targets", evil[i],
					    tuf_target_json(1, &digest, NULL));
		repo_sign(&repo.doc[TUF_TARGETS], tuf_targets_body(1, LATER, content, &err),
			  &repo.keys, KEY_TARGETS, 0, 1);
		repo_sign(&repo.doc[TUF_SNAPSHOT], repo_snapshot_body(&repo, 1, 1, false, LATER),
			  &repo.keys, KEY_SNAPSHOT, 0, 1);
		repo_sign(&repo.doc[TUF_TIMESTAMP], repo_timestamp_body(&repo, 1, 1, LATER),
			  &repo.keys, KEY_TIMESTAMP, 0, 1);
		repo_accept(&trust, &repo, TUF_ROOT, TUF_SNAPSHOT, NOW);
		repo_refuse(&trust, TUF_TARGETS, &repo.doc[TUF_TARGETS], NOW, TUF_MALFORMED);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tuf");
	TCase *all = tcase_create("all");
	tcase_add_test(all, test_tuf_refresh_accepts_a_good_repository);
	tcase_add_test(all, test_tuf_delegated_rules_serve_only_their_path);
	tcase_add_test(all, test_tuf_target_paths_stay_below);
	tcase_add_test(all, test_tuf_rules_need_the_delegated_key);
	tcase_add_test(all, test_tuf_rules_without_delegation_are_not_listed);
	tcase_add_test(all, test_tuf_documents_come_in_order);
	tcase_add_test(all, test_tuf_another_class_does_not_verify);
	tcase_add_test(all, test_tuf_expired_documents_are_refused);
	tcase_add_test(all, test_tuf_stored_documents_are_taken_back_though_expired);
	tcase_add_test(all, test_tuf_rollbacks_are_refused);
	tcase_add_test(all, test_tuf_a_file_may_not_vanish_from_the_snapshot);
	tcase_add_test(all, test_tuf_the_same_timestamp_changes_nothing);
	tcase_add_test(all, test_tuf_bytes_must_be_those_named);
	tcase_add_test(all, test_tuf_roots_chain_and_rotate_every_key);
	tcase_add_test(all, test_tuf_a_root_that_changes_no_key_forgets_nothing);
	tcase_add_test(all, test_tuf_new_targets_keys_forget_only_targets);
	tcase_add_test(all, test_tuf_rules_go_when_their_delegation_changes);
	tcase_add_test(all, test_tuf_thresholds_can_be_reached);
	tcase_add_test(all, test_tuf_root_versions_go_up_by_one);
	tcase_add_test(all, test_tuf_thresholds_count_distinct_keys);
	tcase_add_test(all, test_tuf_key_ids_are_recomputed);
	tcase_add_loop_test(all, test_tuf_spoiled_documents_are_refused, 0,
			    sizeof spoiled / sizeof spoiled[0]);
	tcase_add_test(all, test_tuf_a_fifth_role_is_refused);
	tcase_add_test(all, test_tuf_what_is_not_a_document_is_refused);
	tcase_add_test(all, test_tuf_a_changed_byte_is_noticed);
	tcase_add_test(all, test_tuf_holders_sign_one_after_another);
	tcase_add_test(all, test_tuf_builders_refuse_nonsense);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
