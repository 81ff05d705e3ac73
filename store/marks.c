#include "store/marks.h"

#include "store/inventory.h"

#include <stdlib.h>

static void mark_free(void *arg)
{
	struct mark *mark = arg;

	free(mark->places);
	free(mark);
}

void marks_free(struct marks *marks)
{
	if (!marks)
		return;
	map_free(marks->packs);
	free(marks);
}

const struct mark *marks_pack(const struct marks *marks, const struct digest *pack)
{
	return map_get(marks->packs, pack->bytes, DIGEST_LEN);
}

/* The slot that has at, or the empty one where it belongs; room is a power of two, never full. */
static uint32_t *slot_of(uint32_t *places, uint32_t room, uint32_t at)
{
	uint32_t i = (at * 2654435769u) >> 7 & (room - 1);

	while (places[i] && places[i] != at)
		i = (i + 1) & (room - 1);
	return &places[i];
}

bool mark_has(const struct mark *mark, uint32_t at)
{
	return mark->room && *slot_of(mark->places, mark->room, at);
}

static int mark_grow(struct mark *mark, struct err *err)
{
	const uint32_t room = mark->room ? 2 * mark->room : 64;
	uint32_t *places = calloc(room, sizeof(*places));

	if (!places)
		return err_nomem(err);
	for (uint32_t i = 0; i < mark->room; i++)
		if (mark->places[i])
			*slot_of(places, room, mark->places[i]) = mark->places[i];
	free(mark->places);
	mark->places = places;
	mark->room = room;
	return 0;
}

static int mark_add(struct marks *marks, struct mark *mark, const struct chunkmap_chunk *chunk,
		    struct err *err)
{
	if (mark->count >= mark->room / 4 * 3 && mark_grow(mark, err) < 0)
		return -1;
	uint32_t *slot = slot_of(mark->places, mark->room, chunk->at);
	if (*slot)
		return 0;
	*slot = chunk->at;
	mark->count++;
	mark->live += chunk->stored;
	marks->live += chunk->stored;
	return 0;
}

static struct mark *mark_of(struct marks *marks, const struct digest *pack)
{
	struct mark *mark = map_get(marks->packs, pack->bytes, DIGEST_LEN);

	if (mark)
		return mark;
	mark = calloc(1, sizeof(*mark));
	return mark && map_put(marks->packs, pack->bytes, DIGEST_LEN, mark) == 0 ? mark : NULL;
}

static int map_mark(struct marks *marks, const struct chunkmap *map, struct err *err)
{
	for (uint32_t i = 0; i < map->pack_count; i++)
		if (!mark_of(marks, &map->packs[i].digest))
			return err_nomem(err);
	for (uint32_t i = 0; i < map->count; i++) {
		struct mark *mark = mark_of(marks, &map->packs[map->chunks[i].pack].digest);
		if (!mark)
			return err_nomem(err);
		if (mark_add(marks, mark, &map->chunks[i], err) < 0)
			return -1;
	}
	for (uint32_t i = 0; i < map->delta_count; i++)
		marks->delta_bytes += map->deltas[i].bytes;
	marks->deltas += map->delta_count;
	return 0;
}

static int recipe_mark(struct marks *marks, struct blobs *blobs, const struct digest *recipe,
		       struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_MAP, recipe, err);

	if (blob && chunkmap_parse(&map, blob->bytes, blob->len, err) == 0)
		return map_mark(marks, map, err);
	if (err->status != ERR_SYSTEM)
		err->status = ERR_CORRUPT;
	return err_in(err, "it cannot be told what is of use while a recipe lacks its map");
}

static int recipes_mark(struct marks *marks, struct blobs *blobs, struct db *db,
			const struct map *skip, struct err *err)
{
	AUTO_LIST struct inventory_list list = {0};

	if (inventory_recipes(db, inventory_gather, &list, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		const struct digest *name = &list.items[i].name;
		if (skip && map_get(skip, name->bytes, DIGEST_LEN))
			continue;
		if (recipe_mark(marks, blobs, name, err) < 0)
			return -1;
	}
	return 0;
}

int marks_make(struct marks **ret_marks, struct blobs *blobs, struct db *db,
	       const struct map *skip, struct err *err)
{
	AUTO(marks_free) struct marks *marks = calloc(1, sizeof(*marks));

	if (!marks)
		return err_nomem(err);
	marks->packs = map_new(mark_free);
	if (!marks->packs)
		return err_nomem(err);
	if (recipes_mark(marks, blobs, db, skip, err) < 0)
		return -1;
	*ret_marks = TAKE(marks);
	return 0;
}
