#include "store/remap.h"

#include "store/blob_internal.h"

static int map_read(struct blobs *blobs, const struct digest *recipe, struct chunkmap **ret_map,
		    struct err *err)
{
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_MAP, recipe, err);
	AUTO(chunkmap_free) struct chunkmap *map = NULL;

	if (!blob)
		return -1;
	if (chunkmap_parse(&map, blob->bytes, blob->len, err) < 0) {
		if (err->status != ERR_SYSTEM)
			err->status = ERR_CORRUPT;
		return -1;
	}
	if (!digest_eq(&map->recipe, recipe))
		return err_set(err, ERR_CORRUPT, "map: belongs to another recipe");
	*ret_map = TAKE(map);
	return 0;
}

static int map_write(struct blobs *blobs, struct chunkmap *map, struct err *err)
{
	AUTO_BUF struct buf bytes = BUF_INIT(CHUNKMAP_BYTES_MAX);

	if (chunkmap_encode(map, &bytes, err) < 0)
		return -1;
	return blob_put(blobs, BLOB_MAP, &map->recipe, bytes.data, bytes.len, err);
}

/* With the maps' lock. */
static int map_change(struct blobs *blobs, const struct digest *recipe, remap_change *change,
		      void *arg, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;

	if (map_read(blobs, recipe, &map, err) < 0)
		return -1;
	const uint32_t count = map->count;
	const int changed = change(arg, map, err);
	if (changed <= 0)
		return changed;
	if (!digest_eq(&map->recipe, recipe) || map->count != count)
		return err_set(err, ERR_INVALID, "map: a change made it another recipe's");
	return map_write(blobs, map, err);
}

int remap(struct blobs *blobs, const struct digest *recipe, remap_change *change, void *arg,
	  struct err *err)
{
	pthread_mutex_lock(&blobs->maps);
	const int result = map_change(blobs, recipe, change, arg, err);
	pthread_mutex_unlock(&blobs->maps);
	return result;
}

/* What cannot be read has nothing to keep: its recipe was pushed again to mend it. */
static int deltas_keep(struct blobs *blobs, struct chunkmap *map, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *before = NULL;
	struct err unread;

	if (map_read(blobs, &map->recipe, &before, &unread) < 0)
		return 0;
	for (uint32_t i = 0; i < before->delta_count; i++)
		if (chunkmap_add_delta(map, &before->deltas[i], err) < 0)
			return -1;
	return 0;
}

int remap_anew(struct blobs *blobs, struct chunkmap *map, struct err *err)
{
	pthread_mutex_lock(&blobs->maps);
	int result = deltas_keep(blobs, map, err);
	if (!result)
		result = map_write(blobs, map, err);
	pthread_mutex_unlock(&blobs->maps);
	return result;
}

void remap_hold(struct blobs *blobs)
{
	pthread_mutex_lock(&blobs->maps);
}

void remap_release(struct blobs *blobs)
{
	pthread_mutex_unlock(&blobs->maps);
}
