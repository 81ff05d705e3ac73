/* digest.h -- SHA-256 as a type: a digest exists only parsed, never as text.
 * Through OpenSSL's libcrypto (SHA-NI); FIPS 180-4.
 * Threads: pure; a struct digest_ctx belongs to one. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/cc.h"

#include <stdbool.h>
#include <stdint.h>

#define DIGEST_LEN 32
#define DIGEST_HEX 65 /* 64 lower-case hex digits and a NUL */

struct digest {
	uint8_t bytes[DIGEST_LEN];
};

struct digest_ctx; /* opaque */

/* One-shot.  Aborts only if libcrypto cannot give SHA-256 at all (a broken installation). */
void digest_of(struct digest *digest, const void *bytes, size_t len);

/* Streaming; NULL without memory. */
struct digest_ctx *digest_begin(void) CHECKED;
void digest_add(struct digest_ctx *ctx, const void *bytes, size_t len);
void digest_end(struct digest_ctx *ctx, struct digest *digest); /* ctx may be begun again: */
void digest_again(struct digest_ctx *ctx);			/* ... from empty */
void digest_free(struct digest_ctx *ctx);			/* NULL is fine */
DEFINE_AUTO(struct digest_ctx, digest_free)

void digest_hex(const struct digest *digest, char out[static DIGEST_HEX]);
/* 64 lower-case hex digits, nothing else; -1 otherwise and digest untouched. */
int digest_parse(struct digest *digest, const char *text) CHECKED;
/* As digest_parse() for the first 64 of at least 64 bytes. */
int digest_parse_n(struct digest *digest, const char *text, size_t len) CHECKED;
bool digest_eq(const struct digest *a, const struct digest *b);
int digest_cmp(const struct digest *a, const struct digest *b); /* for qsort and bsearch */
bool digest_zero(const struct digest *digest);

#endif
