/* vault.h -- a root seed on an offline machine, encrypted with a passphrase.
 * DIR/root.vault, mode 0600, one JSON object:
 *   {"schema":1,"kind":"flotilla-root","name":"alice",
 *    "kdf":{"alg":"argon2id13","ops":3,"mem":268435456,"salt":HEX16},
 *    "nonce":HEX24,"box":HEX48}
 * The key is Argon2id (RFC 9106, libsodium's crypto_pwhash, its "moderate" costs) of the passphrase,
 * the box XChaCha20-Poly1305 of the 32 bytes of seed; kind and name are authenticated with it.
 * Opening one costs a second and 256 MiB.
 * Threads: pure but for files. */
#ifndef MANIFEST_VAULT_H
#define MANIFEST_VAULT_H

#include "base/cc.h"
#include "base/err.h"
#include "manifest/keys.h"

#include <stddef.h>

#define VAULT_NAME 65
#define VAULT_PASSPHRASE_MIN 10 /* bytes */
#define VAULT_PASSPHRASE_MAX 1024

/* A new seed in dir, which is made when absent.  name: of its holder, as json_name_ok() wants it.
 * ERR_CONFLICT when dir holds a vault; ERR_INVALID for a passphrase that is too short or too long. */
int vault_make(const char *dir, const char *name, const char *passphrase, size_t len,
	       struct err *err) CHECKED;

/* ERR_DENIED for a wrong passphrase (or a changed file); ERR_CORRUPT; ERR_INVALID when others may
 * read the file. */
int vault_open(const char *dir, const char *passphrase, size_t len, struct key_seed *ret_seed,
	       char ret_name[static VAULT_NAME], struct err *err) CHECKED;

#endif
