#include "manifest/vault.h"

#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIND "flotilla-root"
#define ALG "argon2id13"
#define PATH_BYTES 4096
#define FILE_MAX 4096
#define OPS_MAX 64
#define MEM_MIN (8 << 20)
#define MEM_MAX ((int64_t)4 << 30)
#define BOX (KEY_SEED_LEN + crypto_aead_xchacha20poly1305_ietf_ABYTES)

struct vault {
	const char *name; /* borrowed */
	int64_t ops, mem;
	uint8_t salt[crypto_pwhash_SALTBYTES];
	uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
	uint8_t box[BOX];
};

struct secret {
	uint8_t bytes[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
};

static void secret_wipe(struct secret *secret)
{
	sodium_memzero(secret, sizeof(*secret));
}
#define AUTO_SECRET __attribute__((cleanup(secret_wipe)))

static void vault_path(const char *dir, char out[static PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s/root.vault", dir);
}

static int stretch(const struct vault *v, const char *passphrase, size_t len, struct secret *out,
		   struct err *err)
{
	if (len < VAULT_PASSPHRASE_MIN || len > VAULT_PASSPHRASE_MAX)
		return err_set(err, ERR_INVALID, "passphrase: from %d to %d bytes",
			       VAULT_PASSPHRASE_MIN, VAULT_PASSPHRASE_MAX);
	if (crypto_pwhash(out->bytes, sizeof(out->bytes), passphrase, len, v->salt,
			  (unsigned long long)v->ops, (size_t)v->mem, crypto_pwhash_ALG_ARGON2ID13))
		return err_set(err, ERR_SYSTEM, "the passphrase needs %lld MiB of memory to be used",
			       (long long)(v->mem >> 20));
	return 0;
}

/* What the box vouches for beside the seed. */
static size_t bound(const struct vault *v, char out[static 128])
{
	return (size_t)snprintf(out, 128, KIND "\n%.64s", v->name);
}

/* ---- making ---- */

static json_t *vault_json(const struct vault *v)
{
	char salt[2 * sizeof(v->salt) + 1], nonce[2 * sizeof(v->nonce) + 1], box[2 * BOX + 1];
	hex_encode(salt, v->salt, sizeof(v->salt));
	hex_encode(nonce, v->nonce, sizeof(v->nonce));
	hex_encode(box, v->box, sizeof(v->box));
	return json_pack("{s:i, s:s, s:s, s:{s:s, s:I, s:I, s:s}, s:s, s:s}", "schema", 1, "kind",
			 KIND, "name", v->name, "kdf", "alg", ALG, "ops", (json_int_t)v->ops, "mem",
			 (json_int_t)v->mem, "salt", salt, "nonce", nonce, "box", box);
}

static int vault_write(const char *path, const struct vault *v, struct err *err)
{
	json_auto_t *object = vault_json(v);
	char *text = object ? json_text(object) : NULL;
	if (!text)
		return err_nomem(err);
	const int bad = file_write(path, text, strlen(text), 0600, err);
	free(text);
	return bad;
}

int vault_make(const char *dir, const char *name, const char *passphrase, size_t len,
	       struct err *err)
{
	char path[PATH_BYTES], extra[128];
	AUTO_KEY_SEED struct key_seed seed;
	AUTO_SECRET struct secret secret;
	struct vault v = {.name = name, .ops = crypto_pwhash_OPSLIMIT_MODERATE,
			  .mem = crypto_pwhash_MEMLIMIT_MODERATE};
	vault_path(dir, path);
	if (!json_name_ok(name))
		return err_set(err, ERR_INVALID, "name: must be lower-case letters, digits, '.', '_', "
						 "'-', at most 64");
	if (!access(path, F_OK))
		return err_set(err, ERR_CONFLICT, "%s exists already; a key is never overwritten",
			       path);
	randombytes_buf(v.salt, sizeof(v.salt));
	randombytes_buf(v.nonce, sizeof(v.nonce));
	if (stretch(&v, passphrase, len, &secret, err) || file_mkdirs(dir, 0700, err))
		return -1;
	key_seed_new(&seed);
	crypto_aead_xchacha20poly1305_ietf_encrypt(v.box, NULL, seed.bytes, sizeof(seed.bytes),
						   (const uint8_t *)extra, bound(&v, extra), NULL,
						   v.nonce, secret.bytes);
	return vault_write(path, &v, err);
}

/* ---- opening ---- */

static int read_hex(const json_t *object, const char *name, uint8_t *out, size_t len,
		    struct err *err)
{
	const char *hex = json_string_value(json_object_get(object, name));
	if (hex && strlen(hex) == 2 * len && hex_decode(out, len, hex) == 0)
		return 0;
	return err_set(err, ERR_CORRUPT, "%s: must be %zu hex digits", name, 2 * len);
}

static int vault_read(struct vault *v, const json_t *document, struct err *err)
{
	const char *kind = "", *alg = "";
	int64_t schema = 0;
	json_t *kdf = NULL;
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1), FIELD_TEXT("kind", &kind),
		FIELD_NAME("name", &v->name), FIELD_OBJECT("kdf", &kdf)};
	if (json_read_loose(document, fields, COUNT_OF(fields), err))
		return -1;
	const struct json_field costs[] = {
		FIELD_TEXT("alg", &alg), FIELD_INT("ops", &v->ops, .min = 1, .max = OPS_MAX),
		FIELD_INT("mem", &v->mem, .min = MEM_MIN, .max = MEM_MAX)};
	if (json_read_loose(kdf, costs, COUNT_OF(costs), err))
		return err_in(err, "kdf");
	if (strcmp(kind, KIND) != 0 || strcmp(alg, ALG) != 0)
		return err_set(err, ERR_INVALID, "kind: not a root vault that this version can open");
	return read_hex(kdf, "salt", v->salt, sizeof(v->salt), err) ||
			       read_hex(document, "nonce", v->nonce, sizeof(v->nonce), err) ||
			       read_hex(document, "box", v->box, sizeof(v->box), err)
		       ? -1
		       : 0;
}

static int unlock(const struct vault *v, const char *passphrase, size_t len, struct key_seed *ret,
		  struct err *err)
{
	char extra[128];
	AUTO_SECRET struct secret secret;
	if (stretch(v, passphrase, len, &secret, err))
		return -1;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		    ret->bytes, NULL, NULL, v->box, sizeof(v->box), (const uint8_t *)extra,
		    bound(v, extra), v->nonce, secret.bytes))
		return err_set(err, ERR_DENIED, "the passphrase is wrong, or the file was changed");
	return 0;
}

int vault_open(const char *dir, const char *passphrase, size_t len, struct key_seed *ret_seed,
	       char ret_name[static VAULT_NAME], struct err *err)
{
	char path[PATH_BYTES];
	struct stat st;
	struct vault v = {.name = ""};
	AUTO_BUF struct buf text = BUF_INIT(FILE_MAX);
	vault_path(dir, path);
	if (file_read(path, &text, err))
		return err_in(err, "root vault");
	if (!stat(path, &st) && st.st_mode & 077)
		return err_set(err, ERR_INVALID, "%s: others may read it; chmod 600 it", path);
	json_auto_t *document = json_parse(text.data ? text.data : "", text.len, path, err);
	if (!document)
		return -1;
	if (vault_read(&v, document, err) || unlock(&v, passphrase, len, ret_seed, err))
		return err_in(err, "%s", path);
	snprintf(ret_name, VAULT_NAME, "%s", v.name);
	return 0;
}
