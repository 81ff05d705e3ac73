/* bucket.h -- where a device stands in a rollout, computed on the device from a secret it keeps.
 *   bucket = first 8 bytes, big-endian, of SHA-256("flotilla/1" 0 salt 0 secret) mod 1,000,000
 *   delay  = first 8 bytes, big-endian, of SHA-256("flotilla/1/spread" 0 salt 0 secret) mod s
 * The salt is the rollout's (the spread's); a zero byte ends each text.  The two differ in their
 * first text, so that a delay says nothing about a bucket.  Vectors: schema/vectors/bucket.json.
 * Threads: pure. */
#ifndef MANIFEST_BUCKET_H
#define MANIFEST_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define BUCKETS 1000000 /* buckets are 0 .. BUCKETS - 1; a share in ppm is a bound on them */
#define BUCKET_SECRET_LEN 16
#define BUCKET_SALT_MAX 64 /* bytes; a longer salt is a programming error: parsers refuse it */

struct slice {
	int64_t lo, hi; /* lo <= bucket < hi; empty when lo >= hi */
};

int64_t bucket_of(const char *salt, const uint8_t secret[static BUCKET_SECRET_LEN]);
bool bucket_in(int64_t bucket, struct slice slice);

/* Seconds to wait before installing, 0 .. s - 1; 0 when s < 2. */
int64_t bucket_spread(const char *salt, const uint8_t secret[static BUCKET_SECRET_LEN],
		      int64_t s);

#endif
