/* grow.h -- arrays that grow by doubling.  Threads: pure. */
#ifndef STORE_GROW_H
#define STORE_GROW_H

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

#endif
