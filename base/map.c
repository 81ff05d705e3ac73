#include "base/map.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 16

/* An entry lives on its own, so that growing moves pointers only. */
struct entry {
	uint64_t hash;
	void *value;
	size_t key_len;
	unsigned char key[];
};

struct map {
	void (*free_value)(void *);
	struct entry **slots; /* open addressing, linear; NULL is empty */
	size_t room, count;   /* room is a power of two, count <= 0.7 room */
	unsigned char secret[crypto_shorthash_KEYBYTES];
};

struct map *map_new(void (*free_value)(void *))
{
	struct map *map = calloc(1, sizeof(*map));
	if (!map)
		return NULL;
	map->room = FIRST_SLOTS;
	map->slots = calloc(map->room, sizeof(*map->slots));
	if (!map->slots || sodium_init() < 0) {
		free(map->slots);
		free(map);
		return NULL;
	}
	map->free_value = free_value;
	randombytes_buf(map->secret, sizeof(map->secret));
	return map;
}

static void free_value(const struct map *map, void *value)
{
	if (map->free_value)
		map->free_value(value);
}

static void free_entry(const struct map *map, struct entry *entry)
{
	free_value(map, entry->value);
	free(entry);
}

void map_clear(struct map *map)
{
	for (size_t i = 0; i < map->room; i++)
		if (map->slots[i]) {
			free_entry(map, map->slots[i]);
			map->slots[i] = NULL;
		}
	map->count = 0;
}

void map_free(struct map *map)
{
	if (!map)
		return;
	map_clear(map);
	free(map->slots);
	free(map);
}

size_t map_count(const struct map *map)
{
	return map->count;
}

static uint64_t hash_of(const struct map *map, const void *key, size_t len)
{
	uint64_t hash;
	crypto_shorthash((unsigned char *)&hash, key, len, map->secret);
	return hash;
}

/* Where the key is, or the empty slot where it would go. */
static size_t find(const struct map *map, const void *key, size_t len, uint64_t hash)
{
	size_t i = hash & (map->room - 1);
	for (const struct entry *e; (e = map->slots[i]); i = (i + 1) & (map->room - 1))
		if (e->hash == hash && e->key_len == len && (!len || !memcmp(e->key, key, len)))
			break;
	return i;
}

void *map_get(const struct map *map, const void *key, size_t key_len)
{
	const struct entry *e = map->slots[find(map, key, key_len, hash_of(map, key, key_len))];
	return e ? e->value : NULL;
}

static int grow(struct map *map)
{
	const size_t room = map->room * 2;
	struct entry **slots = calloc(room, sizeof(*slots));
	if (!slots)
		return -1;
	for (size_t i = 0; i < map->room; i++) {
		struct entry *e = map->slots[i];
		if (!e)
			continue;
		size_t at = e->hash & (room - 1);
		while (slots[at])
			at = (at + 1) & (room - 1);
		slots[at] = e;
	}
	free(map->slots);
	map->slots = slots;
	map->room = room;
	return 0;
}

static struct entry *entry_new(const void *key, size_t key_len, uint64_t hash, void *value)
{
	struct entry *e = malloc(sizeof(*e) + key_len);
	if (!e)
		return NULL;
	e->hash = hash;
	e->value = value;
	e->key_len = key_len;
	if (key_len)
		memcpy(e->key, key, key_len);
	return e;
}

int map_put(struct map *map, const void *key, size_t key_len, void *value)
{
	const uint64_t hash = hash_of(map, key, key_len);
	struct entry *old = map->slots[find(map, key, key_len, hash)];
	if (old) {
		if (old->value != value)
			free_value(map, old->value);
		old->value = value;
		return 0;
	}
	struct entry *e = NULL;
	if ((map->count + 1) * 10 <= map->room * 7 || !grow(map))
		e = entry_new(key, key_len, hash, value);
	if (!e) {
		free_value(map, value);
		return -1;
	}
	map->slots[find(map, key, key_len, hash)] = e;
	map->count++;
	return 0;
}

/* Close the gap: entries behind it that could stand in it move up. */
static void close_gap(struct map *map, size_t gap)
{
	const size_t mask = map->room - 1;
	for (size_t i = (gap + 1) & mask; map->slots[i]; i = (i + 1) & mask) {
		const size_t home = map->slots[i]->hash & mask;
		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		map->slots[gap] = map->slots[i];
		map->slots[i] = NULL;
		gap = i;
	}
}

bool map_remove(struct map *map, const void *key, size_t key_len)
{
	const size_t at = find(map, key, key_len, hash_of(map, key, key_len));
	if (!map->slots[at])
		return false;
	free_entry(map, map->slots[at]);
	map->slots[at] = NULL;
	map->count--;
	close_gap(map, at);
	return true;
}

bool map_next(const struct map *map, size_t *at, const void **ret_key, size_t *ret_len,
	      void **ret_value)
{
	while (*at < map->room) {
		const struct entry *e = map->slots[(*at)++];
		if (!e)
			continue;
		if (ret_key)
			*ret_key = e->key;
		if (ret_len)
			*ret_len = e->key_len;
		*ret_value = e->value;
		return true;
	}
	return false;
}
