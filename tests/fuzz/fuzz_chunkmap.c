/* What is accepted as a map is exactly what would be written for it; every place lies in its pack. */
#include "store/chunkmap.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO_BUF struct buf again = BUF_INIT(CHUNKMAP_BYTES_MAX);

	if (chunkmap_parse(&map, data, size, &err))
		return 0;
	if (chunkmap_encode(map, &again, &err) || again.len != size ||
	    memcmp(again.data, data, size) != 0)
		abort();
	for (uint32_t i = 0; i < map->count; i++) {
		const struct chunkmap_chunk *chunk = &map->chunks[i];
		if (chunk->pack >= map->pack_count ||
		    (uint64_t)chunk->at + chunk->stored > map->packs[chunk->pack].bytes)
			abort();
	}
	return 0;
}
