/* The file that goes round: keys, signatures, thresholds, and what was changed on the way. */
#include "manifest/ceremony.h"

#include "base/file.h"
#include "manifest/canon.h"
#include "manifest/tuf.h"
#include "manifest/vault.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"
#include "tests/support/vectors.h"

#include <stdlib.h>
#include <sys/stat.h>

#define ENDS 2000000000

static json_t *online(const char *channel, const char *class, enum key_role role)
{
	struct sign_key key;
	key_derive(&key, &(struct key_seed){{99}}, &(struct key_use){channel, class, role, 0});
	return key_json(&key.public);
}

static json_t *ask(const char *class, int holders, int threshold)
{
	const char *channel = class ? "stable" : NULL;
	json_t *keys = json_pack("{s:o, s:o}", "timestamp", online(channel, class, KEY_TIMESTAMP),
				 "snapshot", online(channel, class, KEY_SNAPSHOT));
	json_t *repo = json_pack("{s:i, s:i, s:o, s:{}, s:i, s:i}", "version", 1, "expires", ENDS,
				 "online", keys, "offline", "holders", holders, "threshold",
				 threshold);
	if (class) {
		json_object_set_new(keys, "targets", online(channel, class, KEY_TARGETS));
		json_object_set_new(repo, "channel", json_string(channel));
		json_object_set_new(repo, "class", json_string(class));
	}
	return repo;
}

/* The index and one class, both new. */
static json_t *file_of(int holders, int threshold)
{
	return json_pack("{s:i, s:s, s:[o, o], s:{s:i, s:i, s:o, s:{s:i, s:[]}, s:{s:{}}}}", "schema",
			 1, "kind", CEREMONY_KIND, "repos", ask(NULL, holders, threshold),
			 ask("phone", holders, threshold), "index", "version", 7, "expires", ENDS,
			 "rules", online(NULL, NULL, KEY_RULES), "publishers", "schema", 1,
			 "publishers", "channels", "stable");
}

static struct key_seed holder(uint8_t n)
{
	return (struct key_seed){{n}};
}

static void derives(json_t *file, uint8_t n)
{
	struct err err;
	unsigned added;
	const struct key_seed seed = holder(n);
	ck_assert_msg(!ceremony_derive(file, &seed, &added, &err), "%s", err.text);
}

static struct ceremony_count signs(json_t *file, uint8_t n)
{
	struct err err;
	struct ceremony_count count = {0};
	const struct key_seed seed = holder(n);
	ck_assert_msg(!ceremony_sign(file, &seed, &count, &err), "%s", err.text);
	return count;
}

static json_t *repo_at(const json_t *file, size_t i)
{
	return json_array_get(json_object_get(file, "repos"), i);
}

static void adopts(const json_t *file, size_t i, const char *refusal)
{
	struct err err = {0};
	AUTO_CEREMONY_ROOT struct ceremony_root root = {.version = 0};
	const int code = ceremony_root(file, i, &root, &err);
	ck_assert_msg(!code == !refusal, "root %zu: %s", i, err.text);
	if (refusal)
		ck_assert_msg(strstr(err.text, refusal) != NULL, "'%s' does not say '%s'", err.text,
			      refusal);
}

START_TEST(test_ceremony_one_holder_signs_all_at_once)
{
	struct err err;
	json_auto_t *file = file_of(1, 1);
	AUTO_CEREMONY_INDEX struct ceremony_index index = {0};
	adopts(file, 0, "sign-root has not been run");
	derives(file, 1);
	const struct ceremony_count count = signs(file, 1);
	ck_assert_uint_eq(count.documents, 3);
	ck_assert_uint_eq(count.complete, 3);
	ck_assert_uint_eq(count.mine, 3);
	adopts(file, 0, NULL);
	adopts(file, 1, NULL);
	const json_t *root =
		json_object_get(json_object_get(repo_at(file, 0), "document"), "signed");
	ck_assert_msg(!ceremony_index(file, root, &index, &err), "%s", err.text);
	ck_assert_uint_eq(index.file_count, 2);
	ck_assert_str_eq(index.files[0].path, "publishers.json");
	ck_assert_str_eq(index.files[1].path, "roots/stable.json");
}
END_TEST

/* The index names a first root before it is signed by all. */
START_TEST(test_ceremony_index_names_the_roots_of_the_same_round)
{
	struct err err;
	struct digest digest;
	char hex[DIGEST_HEX];
	json_auto_t *file = file_of(1, 1);
	AUTO_CEREMONY_INDEX struct ceremony_index index = {0};
	AUTO_CEREMONY_ROOT struct ceremony_root root = {.version = 0};
	derives(file, 1);
	signs(file, 1);
	ck_assert(!ceremony_root(file, 1, &root, &err));
	ck_assert(!ceremony_root_digest(root.document.data, root.document.len, &digest, &err));
	digest_hex(&digest, hex);
	ck_assert(!ceremony_index(
		file, json_object_get(json_object_get(repo_at(file, 0), "document"), "signed"),
		&index, &err));
	ck_assert_ptr_nonnull(strstr(index.files[1].bytes.data, hex));
}
END_TEST

START_TEST(test_ceremony_two_of_three)
{
	struct err err;
	struct ceremony_count count;
	const struct key_seed first = holder(1);
	json_auto_t *file = file_of(3, 2);
	derives(file, 1);
	derives(file, 1);
	ck_assert(ceremony_sign(file, &first, &count, &err));
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	derives(file, 2);
	derives(file, 3);
	derives(file, 4); /* one too many is no holder */
	ck_assert_uint_eq(json_array_size(json_object_get(
				  json_object_get(repo_at(file, 0), "offline"), "root")),
			  3);
	ck_assert_uint_eq(signs(file, 4).mine, 0);
	ck_assert_uint_eq(signs(file, 1).complete, 0);
	ck_assert_uint_eq(signs(file, 1).complete, 0); /* the same holder again */
	adopts(file, 0, "threshold");
	ck_assert_uint_eq(signs(file, 3).complete, 3);
	adopts(file, 0, NULL);
	adopts(file, 1, NULL);
}
END_TEST

/* ---- what was changed on the way ---- */

START_TEST(test_ceremony_changes_after_a_signature_are_seen)
{
	struct err err;
	struct ceremony_count count;
	const struct key_seed second = holder(2);
	json_auto_t *file = file_of(2, 2);
	derives(file, 1);
	derives(file, 2);
	signs(file, 1);
	json_auto_t *version = json_deep_copy(file);
	json_object_set_new(repo_at(version, 1), "expires", json_integer(ENDS + 1));
	ck_assert(ceremony_sign(version, &second, &count, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "changed after somebody signed"));
	json_auto_t *keys = json_deep_copy(file);
	json_object_set_new(json_object_get(repo_at(keys, 1), "online"), "targets",
			    online("stable", "phone", KEY_RULES));
	ck_assert(ceremony_sign(keys, &second, &count, &err));
	json_auto_t *publishers = json_deep_copy(file);
	json_object_set_new(json_object_get(json_object_get(publishers, "index"), "publishers"),
			    "required", json_true());
	ck_assert(ceremony_sign(publishers, &second, &count, &err));
	signs(file, 2);
	json_object_set_new(repo_at(file, 1), "expires", json_integer(ENDS + 1));
	adopts(file, 1, "not what the file says");
}
END_TEST

static json_t *next_round(const json_t *first, int holders, int threshold)
{
	json_t *file = file_of(holders, threshold);
	json_object_del(file, "index");
	json_array_remove(json_object_get(file, "repos"), 1);
	json_t *repo = repo_at(file, 0);
	json_object_set_new(repo, "version", json_integer(2));
	json_object_set(repo, "previous", json_object_get(repo_at(first, 0), "document"));
	return file;
}

START_TEST(test_ceremony_new_holders_need_the_old_ones)
{
	AUTO_BUF struct buf text = BUF_INIT(65536);
	struct err err;
	json_auto_t *first = file_of(1, 1);
	derives(first, 1);
	signs(first, 1);
	json_auto_t *file = next_round(first, 1, 1);
	derives(file, 2);
	ck_assert(!ceremony_describe(file, &text, &err));
	ck_assert_ptr_nonnull(strstr(text.data, "- root key"));
	ck_assert_ptr_nonnull(strstr(text.data, "+ root key"));
	ck_assert_uint_eq(signs(file, 2).complete, 0);
	adopts(file, 0, "root before it");
	ck_assert_uint_eq(signs(file, 1).complete, 1);
	adopts(file, 0, NULL);
}
END_TEST

START_TEST(test_ceremony_refuses_what_is_no_such_file)
{
	static const char *const bad[] = {
		"{}", "{'schema':1,'kind':'other','repos':[]}", "{'schema':2,'kind':'" CEREMONY_KIND
								"','repos':[]}",
		"{'schema':1,'kind':'" CEREMONY_KIND "'}"};
	struct err err;
	struct ceremony_count count;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_auto_t *file = json_of(bad[i]);
		ck_assert_msg(ceremony_check(file, &err) < 0, "%s", bad[i]);
	}
	json_auto_t *file = file_of(1, 1);
	json_object_set_new(repo_at(file, 0), "threshold", json_integer(2));
	ck_assert(ceremony_count(file, &count, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "repos[0]: threshold"));
}
END_TEST

/* ---- vaults ---- */

START_TEST(test_ceremony_vault_opens_with_its_passphrase_alone)
{
	SCRATCH(dir);
	char path[600], name[VAULT_NAME];
	struct err err;
	struct key_seed seed, again;
	struct stat st;
	snprintf(path, sizeof path, "%s/v/root.vault", dir.dir);
	char *vault = strdup(path);
	*strrchr(vault, '/') = 0;
	ck_assert_msg(!vault_make(vault, "alice", "correct horse", 13, &err), "%s", err.text);
	ck_assert(!stat(path, &st));
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert(!vault_open(vault, "correct horse", 13, &seed, name, &err));
	ck_assert_str_eq(name, "alice");
	ck_assert(!vault_open(vault, "correct horse", 13, &again, name, &err));
	ck_assert_mem_eq(&seed, &again, sizeof seed);
	ck_assert(vault_open(vault, "correct horsf", 13, &again, name, &err));
	ck_assert_int_eq(err.status, ERR_DENIED);
	ck_assert(vault_make(vault, "alice", "correct horse", 13, &err));
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert(!chmod(path, 0644));
	ck_assert(vault_open(vault, "correct horse", 13, &again, name, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "chmod 600"));
	free(vault);
}
END_TEST

/* Name, costs and box are bound together. */
START_TEST(test_ceremony_vault_notices_changes)
{
	SCRATCH(dir);
	char path[600], name[VAULT_NAME];
	struct err err;
	struct key_seed seed;
	AUTO_BUF struct buf text = BUF_INIT(4096);
	snprintf(path, sizeof path, "%s/root.vault", dir.dir);
	ck_assert(!vault_make(dir.dir, "alice", "correct horse", 13, &err));
	ck_assert(!file_read(path, &text, &err));
	char *at = strstr(text.data, "alice");
	at[0] = 'b';
	ck_assert(!file_write(path, text.data, text.len, 0600, &err));
	ck_assert(vault_open(dir.dir, "correct horse", 13, &seed, name, &err));
	ck_assert_int_eq(err.status, ERR_DENIED);
	static const char *const bad[] = {
		"{}", "{\"schema\":1,\"kind\":\"flotilla-root\",\"name\":\"a\",\"kdf\":{\"alg\":"
		      "\"argon2id13\",\"ops\":3,\"mem\":99999999999,\"salt\":\"00\"},\"nonce\":\"\","
		      "\"box\":\"\"}"};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		ck_assert(!file_write(path, bad[i], strlen(bad[i]), 0600, &err));
		ck_assert(vault_open(dir.dir, "correct horse", 13, &seed, name, &err));
		ck_assert_int_eq(err.status, ERR_INVALID);
	}
	ck_assert(vault_make("/nonexistent/x", "A b", "correct horse", 13, &err));
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert(vault_make(dir.dir, "bob", "short", 5, &err));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_ceremony_one_holder_signs_all_at_once,
		test_ceremony_index_names_the_roots_of_the_same_round,
		test_ceremony_two_of_three,
		test_ceremony_changes_after_a_signature_are_seen,
		test_ceremony_new_holders_need_the_old_ones,
		test_ceremony_refuses_what_is_no_such_file,
		test_ceremony_vault_opens_with_its_passphrase_alone,
		test_ceremony_vault_notices_changes,
	};
	return suite_run("ceremony", tests, COUNT_OF(tests));
}
