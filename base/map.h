/* map.h -- a hash map from byte strings to pointers (keys are copied; SipHash with a random key,
 * so that hostile names cannot choose their slot).
 * Threads: many readers or one writer. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/cc.h"

#include <stdbool.h>

struct map;

/* free_value may be NULL: the values are then borrowed.  NULL without memory. */
struct map *map_new(void (*free_value)(void *)) CHECKED;
void map_free(struct map *map); /* NULL is fine */
DEFINE_AUTO(struct map, map_free)

size_t map_count(const struct map *map);
void *map_get(const struct map *map, const void *key, size_t key_len); /* NULL: absent */
/* Insert or replace (the old value is freed).  value is not NULL and the map's from now on, also
 * on failure (it is then freed).  -1 without memory. */
int map_put(struct map *map, const void *key, size_t key_len, void *value) CHECKED;
bool map_remove(struct map *map, const void *key, size_t key_len); /* whether it was there */
void map_clear(struct map *map); /* remove all; keeps the room */

/* Visit all, in no order; the map must not change meanwhile.  at starts at 0; ret_key and ret_len
 * may be NULL. */
bool map_next(const struct map *map, size_t *at, const void **ret_key, size_t *ret_len,
	      void **ret_value);

#define map_gets(m, text) map_get((m), (text), strlen(text))
#define map_puts(m, text, v) map_put((m), (text), strlen(text), (v))

#endif
