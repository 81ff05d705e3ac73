#include "base/digest.h"

#include "base/hex.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct digest_ctx {
	EVP_MD_CTX *evp;
};

/* SHA-256 cannot fail in a working libcrypto; without it nothing here may go on. */
static void must(int ok)
{
	if (ok == 1)
		return;
	fputs("flotilla: libcrypto cannot compute SHA-256\n", stderr);
	abort();
}

static EVP_MD *fetched;

static void fetch(void)
{
	fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
	must(fetched != NULL);
}

/* Fetched once for the process: EVP_sha256() is looked up again, under a lock that all threads
 * share, at each use, which costs more than hashing a short text. */
static const EVP_MD *sha256(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, fetch);
	return fetched;
}

void digest_of(struct digest *digest, const void *bytes, size_t len)
{
	must(EVP_Digest(bytes, len, digest->bytes, NULL, sha256(), NULL));
}

struct digest_ctx *digest_begin(void)
{
	struct digest_ctx *ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return NULL;
	ctx->evp = EVP_MD_CTX_new();
	if (!ctx->evp) {
		free(ctx);
		return NULL;
	}
	digest_again(ctx);
	return ctx;
}

void digest_add(struct digest_ctx *ctx, const void *bytes, size_t len)
{
	must(EVP_DigestUpdate(ctx->evp, bytes, len));
}

void digest_end(struct digest_ctx *ctx, struct digest *digest)
{
	must(EVP_DigestFinal_ex(ctx->evp, digest->bytes, NULL));
}

void digest_again(struct digest_ctx *ctx)
{
	must(EVP_DigestInit_ex(ctx->evp, sha256(), NULL));
}

void digest_free(struct digest_ctx *ctx)
{
	if (!ctx)
		return;
	EVP_MD_CTX_free(ctx->evp);
	free(ctx);
}

void digest_hex(const struct digest *digest, char out[static DIGEST_HEX])
{
	hex_encode(out, digest->bytes, DIGEST_LEN);
}

int digest_parse_n(struct digest *digest, const char *text, size_t len)
{
	struct digest parsed = {{0}};
	if (len < 2 * DIGEST_LEN || hex_decode(parsed.bytes, DIGEST_LEN, text))
		return -1;
	*digest = parsed;
	return 0;
}

int digest_parse(struct digest *digest, const char *text)
{
	const size_t len = strlen(text);
	return len == 2 * DIGEST_LEN ? digest_parse_n(digest, text, len) : -1;
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
	return !memcmp(a->bytes, b->bytes, DIGEST_LEN);
}

int digest_cmp(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_LEN);
}

bool digest_zero(const struct digest *digest)
{
	static const struct digest zero;
	return digest_eq(digest, &zero);
}
