#include "manifest/keys.h"

#include "base/hex.h"
#include "manifest/canon.h"
#include "tests/support/vectors.h"

#include <stdlib.h>

static void seed_of(struct key_seed *seed, const char *hex)
{
	ck_assert_int_eq(hex_decode(seed->bytes, sizeof seed->bytes, hex), 0);
}

static enum key_role role_of(const char *name)
{
	for (unsigned i = 0; i < KEY_ROLES; i++)
		if (strcmp(key_role_name((enum key_role)i), name) == 0)
			return (enum key_role)i;
	ck_abort_msg("role %s", name);
}

static void check_public(const struct public_key *key, const json_t *vector)
{
	char hex[DIGEST_HEX];
	digest_hex(&key->id, hex);
	ck_assert_str_eq(hex, text_in(vector, "keyid"));
	if (!text_in(vector, "public"))
		return;
	hex_encode(hex, key->bytes, sizeof key->bytes);
	ck_assert_str_eq(hex, text_in(vector, "public"));
}

START_TEST(test_keys_ids_are_those_of_the_vectors)
{
	json_auto_t *vectors = vectors_load("keys.json");
	const json_t *list = json_object_get(vectors, "keyids");
	ck_assert_uint_ge(json_array_size(list), 3);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		uint8_t bytes[KEY_PUBLIC_LEN];
		struct public_key key, parsed;
		struct digest id;
		struct err err;
		ck_assert_int_eq(hex_decode(bytes, sizeof bytes, text_in(v, "public")), 0);
		key_public(&key, bytes);
		check_public(&key, v);
		json_auto_t *object = key_json(&key);
		ck_assert_int_eq(key_parse(&parsed, object, &err), 0);
		check_public(&parsed, v);
		ck_assert_int_eq(key_id_of(&id, object, &err), 0);
		ck_assert(digest_eq(&id, &key.id));
	}
}
END_TEST

START_TEST(test_keys_derive_as_the_vectors)
{
	json_auto_t *vectors = vectors_load("keys.json");
	const json_t *list = json_object_get(vectors, "derive");
	ck_assert_uint_ge(json_array_size(list), 10);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		struct key_seed seed;
		AUTO_SIGN_KEY struct sign_key key;
		seed_of(&seed, text_in(v, "seed"));
		key_derive(&key, &seed,
			   &(struct key_use){.channel = text_in(v, "channel"),
					     .class = text_in(v, "class"),
					     .role = role_of(text_in(v, "role")),
					     .generation = (unsigned)int_in(v, "generation")});
		check_public(&key.public, v);
	}
}
END_TEST

START_TEST(test_keys_sign_as_the_vectors)
{
	json_auto_t *vectors = vectors_load("keys.json");
	const json_t *list = json_object_get(vectors, "sign");
	ck_assert_uint_ge(json_array_size(list), 2);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		uint8_t signature[KEY_SIGNATURE_LEN];
		char hex[2 * KEY_SIGNATURE_LEN + 1];
		struct key_seed seed;
		struct err err;
		AUTO_SIGN_KEY struct sign_key key;
		AUTO_BUF struct buf text = BUF_INIT(4096);
		seed_of(&seed, text_in(v, "seed"));
		key_from_seed(&key, &seed);
		check_public(&key.public, v);
		ck_assert_int_eq(canon_write(json_object_get(v, "signed"), &text, &err), 0);
		key_sign(&key, text.data, text.len, signature);
		hex_encode(hex, signature, sizeof signature);
		ck_assert_str_eq(hex, text_in(v, "sig"));
		ck_assert(key_verify(&key.public, text.data, text.len, signature));
		signature[i] ^= 1;
		ck_assert(!key_verify(&key.public, text.data, text.len, signature));
		signature[i] ^= 1;
		ck_assert(!key_verify(&key.public, text.data, text.len - 1, signature));
	}
}
END_TEST

START_TEST(test_keys_of_different_uses_differ)
{
	static const struct key_use uses[] = {
		{"stable", "a", KEY_TARGETS, 0}, {"stable", "a", KEY_SNAPSHOT, 0},
		{"stable", "b", KEY_TARGETS, 0}, {"stablea", "", KEY_TARGETS, 0},
		{"beta", "a", KEY_TARGETS, 0},	 {"stable", "a", KEY_TARGETS, 1},
		{NULL, NULL, KEY_TARGETS, 0},	 {NULL, NULL, KEY_ROOT, 0},
	};
	struct key_seed seed;
	struct sign_key keys[COUNT_OF(uses)];
	key_seed_new(&seed);
	for (size_t i = 0; i < COUNT_OF(uses); i++) {
		key_derive(&keys[i], &seed, &uses[i]);
		for (size_t k = 0; k < i; k++)
			ck_assert(!digest_eq(&keys[i].public.id, &keys[k].public.id));
	}
}
END_TEST

START_TEST(test_keys_refuse_what_they_cannot_verify)
{
	static const struct {
		const char *json, *why;
	} cases[] = {
		{"{'keytype':'rsa','scheme':'ed25519','keyval':{'public':'00'}}", "keytype"},
		{"{'scheme':'ed25519','keyval':{'public':'00'}}", "keytype"},
		{"{'keytype':'ed25519','scheme':'ed25519ph','keyval':{'public':'00'}}", "scheme"},
		{"{'keytype':'ed25519','scheme':'ed25519','keyval':{'public':'00'}}", "public"},
		{"{'keytype':'ed25519','scheme':'ed25519','keyval':{}}", "public"},
		{"{'keytype':'ed25519','scheme':'ed25519','keyval':{'public':"
		 "'ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB'}}",
		 "lower-case"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct public_key key;
		struct err err;
		json_auto_t *object = json_of(cases[i].json);
		ck_assert_int_lt(key_parse(&key, object, &err), 0);
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, cases[i].why) != NULL, "%s", err.text);
	}
}
END_TEST

START_TEST(test_keys_are_wiped)
{
	static const struct sign_key zero;
	struct key_seed seed;
	struct sign_key key;
	key_seed_new(&seed);
	key_from_seed(&key, &seed);
	key_wipe(&key);
	key_seed_wipe(&seed);
	ck_assert_mem_eq(&key, &zero, sizeof key);
	ck_assert_mem_eq(&seed, &zero, sizeof seed);
}
END_TEST

/* As another implementation signed them. */
START_TEST(test_keys_signatures_are_those_of_the_vectors)
{
	json_auto_t *vectors = vectors_load("signatures.json");
	const json_t *list = json_object_get(vectors, "signatures");
	ck_assert_uint_ge(json_array_size(list), 3);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		struct err err;
		struct key_seed seed;
		struct sign_key key;
		uint8_t signature[KEY_SIGNATURE_LEN];
		char hex[4096];
		AUTO_BUF struct buf canon = BUF_INIT(4096);
		seed_of(&seed, text_in(v, "seed"));
		key_from_seed(&key, &seed);
		check_public(&key.public, v);
		ck_assert(!canon_write(json_object_get(v, "signed"), &canon, &err));
		hex_encode(hex, (const uint8_t *)canon.data, canon.len);
		ck_assert_str_eq(hex, text_in(v, "canonical"));
		key_sign(&key, canon.data, canon.len, signature);
		hex_encode(hex, signature, sizeof signature);
		ck_assert_str_eq(hex, text_in(v, "signature"));
		ck_assert(key_verify(&key.public, canon.data, canon.len, signature));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("keys");
	TCase *all = tcase_create("all");
	tcase_add_test(all, test_keys_ids_are_those_of_the_vectors);
	tcase_add_test(all, test_keys_signatures_are_those_of_the_vectors);
	tcase_add_test(all, test_keys_derive_as_the_vectors);
	tcase_add_test(all, test_keys_sign_as_the_vectors);
	tcase_add_test(all, test_keys_of_different_uses_differ);
	tcase_add_test(all, test_keys_refuse_what_they_cannot_verify);
	tcase_add_test(all, test_keys_are_wiped);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
