#include "telemetry/sums.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 1024 /* a power of two */

struct sums {
	struct sum *list; /* room / 2 of them */
	size_t count;
	uint32_t *slots; /* room of them: place in list + 1; 0 free */
	size_t room;	 /* a power of two */
	uint64_t seed;	 /* devices choose times and buckets, but not their slots */
};

static int rehash(struct sums *sums, size_t room);

struct sums *sums_new(void)
{
	struct sums *sums = calloc(1, sizeof(*sums));
	if (!sums)
		return NULL;
	randombytes_buf(&sums->seed, sizeof(sums->seed));
	if (!rehash(sums, ROOM_FIRST))
		return sums;
	sums_free(sums);
	return NULL;
}

void sums_free(struct sums *sums)
{
	if (!sums)
		return;
	free(sums->list);
	free(sums->slots);
	free(sums);
}

static uint64_t mix(uint64_t h, uint64_t more)
{
	h = (h ^ more) * 0x9e3779b97f4a7c15U;
	return h ^ h >> 29;
}

static size_t slot_first(const struct sums *sums, const struct sum_key *key)
{
	uint64_t h = mix(sums->seed, (uint64_t)key->at);
	h = mix(h, (uint64_t)key->series);
	h = mix(h, (uint64_t)key->late << 32 | (uint32_t)key->bucket);
	return (size_t)(h ^ h >> 32) & (sums->room - 1);
}

/* Where the key is, or would be. */
static uint32_t *slot_find(const struct sums *sums, const struct sum_key *key)
{
	size_t i = slot_first(sums, key);
	while (sums->slots[i] &&
	       memcmp(&sums->list[sums->slots[i] - 1].key, key, sizeof(*key)) != 0)
		i = (i + 1) & (sums->room - 1);
	return &sums->slots[i];
}

static int rehash(struct sums *sums, size_t room)
{
	struct sum *list = reallocarray(sums->list, room / 2, sizeof(*list));
	if (list)
		sums->list = list;
	uint32_t *slots = list ? calloc(room, sizeof(*slots)) : NULL;
	if (!slots)
		return -1;
	free(sums->slots);
	sums->slots = slots;
	sums->room = room;
	for (size_t i = 0; i < sums->count; i++)
		*slot_find(sums, &sums->list[i].key) = (uint32_t)i + 1;
	return 0;
}

struct cell *sums_at(struct sums *sums, const struct sum_key *key)
{
	uint32_t *slot = slot_find(sums, key);
	if (*slot)
		return &sums->list[*slot - 1].cell;
	if (sums->count == sums->room / 2) {
		if (rehash(sums, sums->room * 2))
			return NULL;
		slot = slot_find(sums, key);
	}
	struct sum *sum = &sums->list[sums->count++];
	*sum = (struct sum){.key = *key};
	*slot = (uint32_t)sums->count;
	return &sum->cell;
}

size_t sums_count(const struct sums *sums)
{
	return sums->count;
}

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int by_key(const void *x, const void *y)
{
	const struct sum_key *a = &((const struct sum *)x)->key, *b = &((const struct sum *)y)->key;
	const int at = ORDER(a->at, b->at), series = ORDER(a->series, b->series);
	const int late = ORDER(a->late, b->late), bucket = ORDER(a->bucket, b->bucket);
	return at ? at : series ? series : late ? late : bucket;
}

const struct sum *sums_sorted(struct sums *sums)
{
	qsort(sums->list, sums->count, sizeof(*sums->list), by_key);
	return sums->list;
}

void sums_clear(struct sums *sums)
{
	sums->count = 0;
	memset(sums->slots, 0, sums->room * sizeof(*sums->slots));
}
