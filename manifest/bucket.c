#include "manifest/bucket.h"

#include "base/digest.h"

#include <assert.h>
#include <string.h>

/* First 8 bytes, big-endian, of SHA-256(domain 0 salt 0 secret). */
static uint64_t salted(const char *domain, const char *salt,
		       const uint8_t secret[static BUCKET_SECRET_LEN])
{
	uint8_t text[32 + BUCKET_SALT_MAX + 2 + BUCKET_SECRET_LEN];
	size_t domain_len = strlen(domain) + 1, salt_len = strlen(salt) + 1;
	struct digest digest;
	uint64_t n = 0;
	assert(domain_len <= 32 && salt_len <= BUCKET_SALT_MAX + 1);
	memcpy(text, domain, domain_len);
	memcpy(text + domain_len, salt, salt_len);
	memcpy(text + domain_len + salt_len, secret, BUCKET_SECRET_LEN);
	digest_of(&digest, text, domain_len + salt_len + BUCKET_SECRET_LEN);
	for (int i = 0; i < 8; i++)
		n = n << 8 | digest.bytes[i];
	return n;
}

int64_t bucket_of(const char *salt, const uint8_t secret[static BUCKET_SECRET_LEN])
{
	return (int64_t)(salted("flotilla/1", salt, secret) % BUCKETS);
}

bool bucket_in(int64_t bucket, struct slice slice)
{
	return slice.lo <= bucket && bucket < slice.hi;
}

int64_t bucket_spread(const char *salt, const uint8_t secret[static BUCKET_SECRET_LEN], int64_t s)
{
	if (s < 2)
		return 0;
	return (int64_t)(salted("flotilla/1/spread", salt, secret) % (uint64_t)s);
}
