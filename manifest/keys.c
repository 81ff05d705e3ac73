#include "manifest/keys.h"

#include "base/hex.h"
#include "manifest/canon.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

void key_seed_new(struct key_seed *seed)
{
	randombytes_buf(seed->bytes, sizeof seed->bytes);
}

void key_seed_wipe(struct key_seed *seed)
{
	sodium_memzero(seed, sizeof *seed);
}

void key_wipe(struct sign_key *key)
{
	sodium_memzero(key, sizeof *key);
}

const char *key_role_name(enum key_role role)
{
	static const char *const names[] = {
		[KEY_ROOT] = "root",	   [KEY_TIMESTAMP] = "timestamp",
		[KEY_SNAPSHOT] = "snapshot", [KEY_TARGETS] = "targets",
		[KEY_RULES] = "rules",
	};
	return names[role];
}

/* A text with the zero byte that ends it, so that no two rows of texts run together alike. */
static void hash_text(crypto_generichash_state *state, const char *text)
{
	crypto_generichash_update(state, (const unsigned char *)text, strlen(text) + 1);
}

void key_derive(struct sign_key *key, const struct key_seed *seed, const struct key_use *use)
{
	crypto_generichash_state state;
	AUTO_KEY_SEED struct key_seed own;
	char generation[12];
	snprintf(generation, sizeof generation, "%u", use->generation);
	crypto_generichash_init(&state, seed->bytes, sizeof seed->bytes, sizeof own.bytes);
	hash_text(&state, "flotilla/1/key");
	hash_text(&state, use->channel ? use->channel : "");
	hash_text(&state, use->class ? use->class : "");
	hash_text(&state, key_role_name(use->role));
	crypto_generichash_update(&state, (const unsigned char *)generation, strlen(generation));
	crypto_generichash_final(&state, own.bytes, sizeof own.bytes);
	sodium_memzero(&state, sizeof state);
	key_from_seed(key, &own);
}

void key_from_seed(struct sign_key *key, const struct key_seed *seed)
{
	uint8_t public[KEY_PUBLIC_LEN];
	crypto_sign_seed_keypair(public, key->secret, seed->bytes);
	key_public(&key->public, public);
}

void key_public(struct public_key *key, const uint8_t bytes[static KEY_PUBLIC_LEN])
{
	/* The canonical form of key_json(), which needs no escaping. */
	char hex[2 * KEY_PUBLIC_LEN + 1], text[160];
	memcpy(key->bytes, bytes, KEY_PUBLIC_LEN);
	hex_encode(hex, bytes, KEY_PUBLIC_LEN);
	int len = snprintf(text, sizeof text,
			   "{\"keytype\":\"ed25519\",\"keyval\":{\"public\":\"%s\"},"
			   "\"scheme\":\"ed25519\"}",
			   hex);
	digest_of(&key->id, text, (size_t)len);
}

json_t *key_json(const struct public_key *key)
{
	char hex[2 * KEY_PUBLIC_LEN + 1];
	hex_encode(hex, key->bytes, KEY_PUBLIC_LEN);
	return json_pack("{s:s, s:{s:s}, s:s}", "keytype", "ed25519", "keyval", "public", hex,
			 "scheme", "ed25519");
}

int key_parse(struct public_key *key, const json_t *object, struct err *err)
{
	uint8_t bytes[KEY_PUBLIC_LEN];
	const char *type = json_string_value(json_object_get(object, "keytype"));
	const char *scheme = json_string_value(json_object_get(object, "scheme"));
	const json_t *keyval = json_object_get(object, "keyval");
	const char *hex = json_string_value(json_object_get(keyval, "public"));
	if (!type || strcmp(type, "ed25519") != 0)
		return err_set(err, ERR_INVALID, "keytype: must be \"ed25519\"");
	if (!scheme || strcmp(scheme, "ed25519") != 0)
		return err_set(err, ERR_INVALID, "scheme: must be \"ed25519\"");
	if (!hex || strlen(hex) != 2 * sizeof bytes || hex_decode(bytes, sizeof bytes, hex) < 0)
		return err_set(err, ERR_INVALID,
			       "keyval.public: must be 64 lower-case hex digits");
	key_public(key, bytes);
	return 0;
}

int key_id_of(struct digest *ret_id, const json_t *object, struct err *err)
{
	static const char *const members[] = {"keytype", "keyval", "scheme"};
	json_auto_t *identity = json_object();
	if (!identity)
		return err_nomem(err);
	for (size_t i = 0; i < COUNT_OF(members); i++) {
		json_t *value = json_object_get(object, members[i]);
		if (!value)
			return err_set(err, ERR_INVALID, "%s: missing in a key", members[i]);
		if (json_object_set(identity, members[i], value) < 0)
			return err_nomem(err);
	}
	return canon_digest(identity, ret_id, err);
}

void key_sign(const struct sign_key *key, const void *bytes, size_t len,
	      uint8_t ret_signature[static KEY_SIGNATURE_LEN])
{
	crypto_sign_detached(ret_signature, NULL, bytes, len, key->secret);
}

bool key_verify(const struct public_key *key, const void *bytes, size_t len,
		const uint8_t signature[static KEY_SIGNATURE_LEN])
{
	return crypto_sign_verify_detached(signature, bytes, len, key->bytes) == 0;
}
