/* keys.h -- Ed25519 keys (RFC 8032, through libsodium), derived from two master seeds.
 *
 * The online seed gives the keys a server signs with by itself; the offline root seed gives the
 * keys of root roles and of the index's top-level targets.  Every (channel, class, role,
 * generation) has a key of its own, so that a document of one class never verifies in another.
 *   key seed = BLAKE2b-256(key = master seed,
 *                          "flotilla/1/key" 0 channel 0 class 0 role 0 generation in decimal,
 *                          each 0 a zero byte)
 * where channel and class are empty for the index repository.
 * A key id is the lower-case hex SHA-256 of the canonical {keytype,keyval,scheme}.
 * Vectors: schema/vectors/keys.json.
 * Secrets: structs with a secret are wiped by their ..._wipe(); hold them with AUTO_SIGN_KEY.
 * Threads: pure, once sodium_init() has run. */
#ifndef MANIFEST_KEYS_H
#define MANIFEST_KEYS_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define KEY_SEED_LEN 32
#define KEY_PUBLIC_LEN 32
#define KEY_SECRET_LEN 64
#define KEY_SIGNATURE_LEN 64

enum key_role { KEY_ROOT, KEY_TIMESTAMP, KEY_SNAPSHOT, KEY_TARGETS, KEY_RULES, KEY_ROLES };

struct key_seed {
	uint8_t bytes[KEY_SEED_LEN]; /* secret */
};

struct public_key {
	uint8_t bytes[KEY_PUBLIC_LEN];
	struct digest id;
};

struct sign_key {
	struct public_key public;
	uint8_t secret[KEY_SECRET_LEN];
};

/* What a derived key is for.  channel and class both NULL: the index repository. */
struct key_use {
	const char *channel, *class;
	enum key_role role;
	unsigned generation; /* 0 at first; a rotation takes the next */
};

void key_seed_new(struct key_seed *seed); /* from the system's random source */
void key_seed_wipe(struct key_seed *seed);

void key_derive(struct sign_key *key, const struct key_seed *seed, const struct key_use *use);
/* The key whose RFC 8032 seed this is: a publisher's, kept in a file of its own. */
void key_from_seed(struct sign_key *key, const struct key_seed *seed);
void key_wipe(struct sign_key *key);

/* Fill *key from raw bytes, with its id. */
void key_public(struct public_key *key, const uint8_t bytes[static KEY_PUBLIC_LEN]);
/* {"keytype":"ed25519","keyval":{"public":hex},"scheme":"ed25519"}; the caller's.  NULL without
 * memory. */
json_t *key_json(const struct public_key *key) CHECKED;
/* The reverse; other members are ignored.  ERR_INVALID for another type or scheme. */
int key_parse(struct public_key *key, const json_t *object, struct err *err) CHECKED;
/* The id of any key object, also of a type we cannot verify with: the digest of the canonical
 * {keytype,keyval,scheme}.  ERR_INVALID when one of them is missing. */
int key_id_of(struct digest *ret_id, const json_t *object, struct err *err) CHECKED;

void key_sign(const struct sign_key *key, const void *bytes, size_t len,
	      uint8_t ret_signature[static KEY_SIGNATURE_LEN]);
bool key_verify(const struct public_key *key, const void *bytes, size_t len,
		const uint8_t signature[static KEY_SIGNATURE_LEN]);

/* "root", "timestamp", "snapshot", "targets", "rules". */
const char *key_role_name(enum key_role role);

#define AUTO_SIGN_KEY __attribute__((cleanup(key_wipe)))
#define AUTO_KEY_SEED __attribute__((cleanup(key_seed_wipe)))

#endif
