#include "rollout/cost.h"

#include "store/chunkmap.h"
#include "store/recipe.h"

#include <stdlib.h>
#include <string.h>

/* From the cheapest to the dearest. */
static const char *const vias[] = {"same", "delta", "chunks", "full"};
enum { VIA_SAME, VIA_DELTA, VIA_CHUNKS, VIA_FULL };

struct priced {
	struct digest digest;
	uint32_t stored;
};

static int by_digest(const void *a, const void *b)
{
	return digest_cmp(&((const struct priced *)a)->digest, &((const struct priced *)b)->digest);
}

/* The recipe's chunks by digest; map NULL: without their prices. */
static struct priced *sorted(const struct recipe *recipe, const struct chunkmap *map)
{
	struct priced *list = calloc((size_t)recipe->count + 1, sizeof(*list));
	for (uint32_t i = 0; list && i < recipe->count; i++)
		list[i] = (struct priced){recipe->chunks[i].digest, map ? map->chunks[i].stored : 0};
	if (list)
		qsort(list, recipe->count, sizeof(*list), by_digest);
	return list;
}

/* Bytes of the chunks that only the new recipe has, each once. */
static int64_t missing(const struct priced *old, uint32_t old_count, const struct priced *new,
		       uint32_t count)
{
	int64_t bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (i && !digest_cmp(&new[i].digest, &new[i - 1].digest))
			continue;
		if (!bsearch(&new[i], old, old_count, sizeof(*old), by_digest))
			bytes += new[i].stored;
	}
	return bytes;
}

static const struct chunkmap_delta *delta_from(const struct chunkmap *map,
					       const struct digest *from)
{
	for (uint32_t i = 0; i < map->delta_count; i++)
		if (!digest_cmp(&map->deltas[i].from, from))
			return &map->deltas[i];
	return NULL;
}

int cost_of_recipe(const struct recipe *from, const struct digest *from_name,
		   const struct recipe *to, const struct chunkmap *map, struct cost *ret_cost,
		   struct err *err)
{
	const struct chunkmap_delta *delta = from ? delta_from(map, from_name) : NULL;
	struct cost cost = {(int64_t)map->stored, vias[VIA_FULL]};
	if (from) {
		struct priced *old = sorted(from, NULL), *new = sorted(to, map);
		if (old && new)
			cost = (struct cost){missing(old, from->count, new, to->count),
					     vias[VIA_CHUNKS]};
		const bool bad = !old || !new;
		free(old);
		free(new);
		if (bad)
			return err_nomem(err);
	}
	if (delta && (int64_t)delta->bytes <= cost.bytes)
		cost = (struct cost){(int64_t)delta->bytes, vias[VIA_DELTA]};
	*ret_cost = cost;
	return 0;
}

/* 1 and the recipe, 0 when the store does not have it, -1. */
static int load_recipe(struct blobs *blobs, const struct digest *name, struct recipe **ret,
		       struct err *err)
{
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_RECIPE, name, err);
	if (!blob)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	return recipe_parse(ret, blob->bytes, blob->len, err) ? -1 : 1;
}

static int load_map(struct blobs *blobs, const struct digest *name, struct chunkmap **ret,
		    struct err *err)
{
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_MAP, name, err);
	if (!blob)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	return chunkmap_parse(ret, blob->bytes, blob->len, err) ? -1 : 1;
}

static int file_cost(struct blobs *blobs, const struct manifest_file *from,
		     const struct manifest_file *to, struct cost *cost, struct err *err)
{
	AUTO(recipe_free) struct recipe *old = NULL, *new = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	*cost = (struct cost){to->stored_cap, vias[VIA_FULL]};
	if (from && !digest_cmp(&from->sha256, &to->sha256)) {
		*cost = (struct cost){0, vias[VIA_SAME]};
		return 0;
	}
	int got = load_recipe(blobs, &to->recipe, &new, err);
	if (got > 0)
		got = load_map(blobs, &to->recipe, &map, err);
	if (got <= 0)
		return got;
	if (chunkmap_fits(map, new, &to->recipe, err) ||
	    (from && load_recipe(blobs, &from->recipe, &old, err) < 0))
		return -1;
	return cost_of_recipe(old, from ? &from->recipe : NULL, new, map, cost, err);
}

/* What a device would take the new file from: the one of the same name, or the only one. */
static const struct manifest_file *base_of(const struct manifest_variant *from, const char *name,
					   unsigned count)
{
	for (unsigned i = 0; from && i < from->file_count; i++)
		if (!strcmp(from->files[i].name, name))
			return &from->files[i];
	return from && from->file_count == 1 && count == 1 ? from->files : NULL;
}

static unsigned rank(const char *via)
{
	unsigned i = 0;
	while (i < VIA_FULL && strcmp(vias[i], via) != 0)
		i++;
	return i;
}

int cost_of(struct blobs *blobs, const struct manifest_variant *from,
	    const struct manifest_variant *to, struct cost *ret_cost, struct err *err)
{
	struct cost all = {0, vias[VIA_SAME]};
	for (unsigned i = 0; i < to->file_count; i++) {
		struct cost cost;
		const struct manifest_file *base =
			base_of(from, to->files[i].name, to->file_count);
		if (file_cost(blobs, base, &to->files[i], &cost, err))
			return -1;
		all.bytes += cost.bytes;
		if (rank(cost.via) > rank(all.via))
			all.via = cost.via;
	}
	*ret_cost = all;
	return 0;
}
