#include "store/delta_build.h"

#include "store/parts.h"
#include "store/remap.h"
#include "store/stored.h"

#include <string.h>

/* ---- The map's list. ---- */

/* Of map: the delta from old, or NULL. */
static struct chunkmap_delta *listed(const struct chunkmap *map, const struct digest *old)
{
	for (uint32_t i = 0; i < map->delta_count; i++)
		if (digest_eq(&map->deltas[i].from, old))
			return &map->deltas[i];
	return NULL;
}

struct listing {
	struct blobs *blobs;
	struct chunkmap_delta delta;
};

/* Whoever removes parts holds the maps' lock, as we do now: what is there now stays. */
static int list_it(void *arg, struct chunkmap *map, struct err *err)
{
	const struct listing *listing = arg;
	const struct chunkmap_delta *delta = &listing->delta;
	struct chunkmap_delta *before = listed(map, &delta->from);

	if (!parts_exist(listing->blobs, &map->recipe, &delta->from, delta->bytes))
		return err_set(err, ERR_CONFLICT, "a part of the delta was removed meanwhile");
	if (!before)
		return chunkmap_add_delta(map, delta, err) < 0 ? -1 : 1;
	*before = *delta;
	return 1;
}

static int unlist_it(void *arg, struct chunkmap *map, struct err *err)
{
	struct chunkmap_delta *gone = listed(map, arg);

	(void)err;
	if (!gone)
		return 0;
	*gone = map->deltas[--map->delta_count];
	return 1;
}

int delta_unlist(struct blobs *blobs, const struct digest *new, const struct digest *old,
		 struct err *err)
{
	struct digest from = *old;

	if (remap(blobs, new, unlist_it, &from, err) < 0)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	return 0;
}

/* Should a recipe be removed at the same time, the next collection unlists its delta. */
static int list_delta(struct blobs *blobs, const struct digest *new, const struct digest *old,
		      uint64_t bytes, struct err *err)
{
	struct listing listing = {
		blobs, {.from = *old, .parts = part_count(bytes), .bytes = bytes}};

	if (!blob_exists(blobs, BLOB_RECIPE, new) || !blob_exists(blobs, BLOB_RECIPE, old))
		return err_set(err, ERR_NOT_FOUND, "a recipe was removed meanwhile");
	return remap(blobs, new, list_it, &listing, err);
}

/* ---- Building. ---- */

struct building {
	struct blobs *blobs;
	const struct digest *new_name, *old_name;
	struct stored *new, *old;
	const struct delta_progress *progress;
	struct delta_built built;
};

static int told(void *arg, uint64_t done)
{
	struct building *b = arg;

	b->built.at = done;
	return b->progress && b->progress->at ? b->progress->at(b->progress->arg, done) : 0;
}

/* 1: what the map lists is all there. */
static int is_there(struct building *b)
{
	const struct chunkmap_delta *delta = listed(stored_map(b->new), b->old_name);

	if (!delta || !parts_exist(b->blobs, b->new_name, b->old_name, delta->bytes))
		return 0;
	b->built.bytes = delta->bytes;
	b->built.at = b->built.length;
	return 1;
}

static int make(struct building *b, struct err *err)
{
	const struct source from = stored_source(b->old), to = stored_source(b->new);
	const struct delta_side old = {&from, stored_recipe(b->old)};
	const struct delta_side new = {&to, stored_recipe(b->new)};
	const struct delta_progress progress = {.at = told, .arg = b};
	const uint64_t limit = b->built.whole * DELTA_WORTH / 100;
	AUTO(parts_free) struct parts *parts = NULL;
	struct delta_stats stats = {0};

	if (parts_new(&parts, b->blobs, b->new_name, b->old_name, limit, err) < 0)
		return -1;
	const struct sink_at sink = parts_sink(parts);
	if (delta_make(&old, &new, &sink, &progress, &stats, err) < 0) {
		if (!parts_too_large(parts))
			return -1;
		b->built.dropped = true;
		b->built.bytes = limit;
		return 0;
	}
	b->built.bytes = stats.bytes;
	if (parts_finish(parts, stats.bytes, err) < 0)
		return -1;
	return list_delta(b->blobs, b->new_name, b->old_name, stats.bytes, err);
}

int delta_build(struct blobs *blobs, const struct digest *new, const struct digest *old,
		const struct delta_progress *progress, struct delta_built *ret_built,
		struct err *err)
{
	AUTO(stored_free) struct stored *to = NULL;
	AUTO(stored_free) struct stored *from = NULL;
	struct building b = {
		.blobs = blobs, .new_name = new, .old_name = old, .progress = progress};

	if (stored_open(&to, blobs, new, err) < 0)
		return err_in(err, "the new file");
	if (stored_open(&from, blobs, old, err) < 0)
		return err_in(err, "the old file");
	b.new = to;
	b.old = from;
	b.built.length = stored_recipe(to)->length;
	b.built.whole = stored_map(to)->stored;
	if (!is_there(&b) && make(&b, err) < 0)
		return -1;
	*ret_built = b.built;
	return 0;
}
