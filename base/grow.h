/* grow.h -- arrays that grow, by doubling or to a size that is known.  Threads: pure. */
#ifndef BASE_GROW_H
#define BASE_GROW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* items with room for at least count + 1 elements of size bytes, *room updated; NULL without memory
 * (items is then as before).  For counts far below 2^31. */
static inline void *grow_array(void *items, uint32_t *room, uint32_t count, size_t size)
{
	if (count < *room)
		return items;
	uint32_t wanted = *room ? *room * 2 : 64;
	void *grown = reallocarray(items, wanted, size);
	if (grown)
		*room = wanted;
	return grown;
}

/* Room for that many bytes, at least one; false without memory (*bytes is then as before). */
static inline bool grow_bytes(uint8_t **bytes, size_t room)
{
	uint8_t *grown = realloc(*bytes, room);
	if (grown)
		*bytes = grown;
	return grown != NULL;
}

#endif
