#include "server/quota.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#define WAYS 8	   /* slots where a source may be */
#define LOCKS 64   /* each guards every LOCKS-th set of WAYS */
#define SETS (QUOTA_SLOTS / WAYS)

/* Full buckets need no slot: one is as good as free once it has filled up. */
struct bucket {
	uint64_t source; /* hash of its name; 0: free */
	uint32_t taken;	 /* of the burst, as of when */
	uint32_t when;	 /* monotonic ms, modulo 2^32: after 49 days without use it looks young again */
};

struct quota {
	uint32_t rate, burst;
	uint8_t key[crypto_shorthash_KEYBYTES];
	pthread_mutex_t locks[LOCKS];
	struct bucket buckets[SETS][WAYS];
};

struct quota *quota_new(uint32_t rate, uint32_t burst)
{
	struct quota *quota = calloc(1, sizeof(*quota));

	if (!quota)
		return NULL;
	quota->rate = rate;
	quota->burst = burst;
	randombytes_buf(quota->key, sizeof(quota->key));
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&quota->locks[i], NULL);
	return quota;
}

void quota_free(struct quota *quota)
{
	if (!quota)
		return;
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&quota->locks[i]);
	free(quota);
}

/* What is taken of the burst by now; what was given back in part of a unit's time is not lost,
 * because *ret_when is when the last whole unit came back. */
static uint32_t taken_now(const struct quota *quota, const struct bucket *bucket, uint32_t now,
			  uint32_t *ret_when)
{
	const uint32_t passed = now - bucket->when;
	const uint64_t back = (uint64_t)passed * quota->rate / 1000;

	if (!bucket->source || back >= bucket->taken) {
		*ret_when = now;
		return 0;
	}
	*ret_when = bucket->when + (uint32_t)(back * 1000 / quota->rate);
	return bucket->taken - (uint32_t)back;
}

/* The source's bucket, or the one of the set that is fullest, which becomes its. */
static struct bucket *bucket_find(const struct quota *quota, struct bucket *set, uint64_t source,
				  uint32_t now)
{
	struct bucket *spare = &set[0];
	uint32_t least = UINT32_MAX, when;

	for (unsigned i = 0; i < WAYS; i++) {
		const uint32_t taken = taken_now(quota, &set[i], now, &when);

		if (set[i].source == source)
			return &set[i];
		if (taken < least) {
			least = taken;
			spare = &set[i];
		}
	}
	*spare = (struct bucket){.source = source, .when = now};
	return spare;
}

bool quota_take(struct quota *quota, const void *name, size_t len, uint32_t count, int64_t now_ms)
{
	const uint32_t now = (uint32_t)now_ms;
	struct bucket *bucket;
	uint64_t source;
	uint32_t taken;
	size_t place;
	bool may;

	if (!quota->rate)
		return true;
	crypto_shorthash((unsigned char *)&source, name, len, quota->key);
	source |= 1;
	place = (size_t)(source >> 32) % SETS;
	pthread_mutex_lock(&quota->locks[place % LOCKS]);
	bucket = bucket_find(quota, quota->buckets[place], source, now);
	taken = taken_now(quota, bucket, now, &bucket->when);
	may = count <= quota->burst && taken <= quota->burst - count;
	bucket->taken = may ? taken + count : taken;
	pthread_mutex_unlock(&quota->locks[place % LOCKS]);
	return may;
}
