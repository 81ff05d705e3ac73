#include "store/ingest_internal.h"

#include "store/ledger.h"
#include "store/remap.h"

#include <string.h>

/* A recipe with its encoding, on its way in. */
struct taking {
	const struct recipe *recipe;
	struct digest name;
	const struct buf *encoded;
	const struct map *places; /* NULL: all chunks that are stored */
	bool check; /* decode and hash its file */
	int64_t now;
	const struct also *also;
};

struct recipe_row {
	struct blobs *blobs;
	struct recipe_info info;
	const struct chunkmap *map;
	int64_t now;
	const struct also *also;
	bool *again; /* set to true: a pack or the recipe was collected meanwhile */
	bool gone;   /* out, of recipe_row_want() */
};

/* From here on gc.h leaves the packs of the map alone: for its grace, and then as long as the recipe
 * has a row. */
static int packs_want(struct db *db, void *arg, struct err *err)
{
	const struct recipe_row *row = arg;
	const int64_t now = blobs_wanted(row->blobs, row->now);

	for (uint32_t i = 0; i < row->map->pack_count; i++) {
		int there = inventory_pack_want(db, &row->map->packs[i].digest, now, err);
		if (there <= 0)
			return there < 0 ? -1 : ingest_collected("recipe: a pack", row->again, err);
	}
	return 0;
}

static int recipe_row_add(struct db *db, void *arg, struct err *err)
{
	const struct recipe_row *row = arg;

	if (!blob_exists(row->blobs, BLOB_RECIPE, &row->info.recipe) ||
	    !blob_exists(row->blobs, BLOB_MAP, &row->info.recipe))
		return ingest_collected("recipe", row->again, err);
	if (packs_want(db, arg, err) < 0 ||
	    inventory_recipe_add(db, &row->info, blobs_wanted(row->blobs, row->now), err) < 0)
		return -1;
	return also_run(row->also, db, &row->info, err);
}

/* While it has a row its packs are left alone. */
static int recipe_row_want(struct db *db, void *arg, struct err *err)
{
	struct recipe_row *row = arg;
	int there = inventory_recipe_want(db, &row->info.recipe,
					  blobs_wanted(row->blobs, row->now), err);

	row->gone = !there;
	if (there <= 0)
		return there;
	return also_run(row->also, db, &row->info, err);
}

/* Map, recipe, row: in this order, each durable before the next. */
static int recipe_keep(struct blobs *blobs, const struct taking *taking, struct chunkmap *map,
		       bool *again, struct recipe_info *ret_info, struct err *err)
{
	const struct recipe *recipe = taking->recipe;
	const struct buf *encoded = taking->encoded;

	/* A map is seldom longer than its recipe. */
	if (blobs_room(blobs, 2 * encoded->len, err) < 0 || remap_anew(blobs, map, err) < 0 ||
	    blob_put(blobs, BLOB_RECIPE, &map->recipe, encoded->data, encoded->len, err) < 0)
		return -1;
	struct recipe_row row = {.blobs = blobs,
				 .info = {.recipe = map->recipe,
					  .sha256 = recipe->sha256,
					  .length = (int64_t)recipe->length,
					  .stored = (int64_t)map->stored,
					  .format = recipe->format},
				 .map = map,
				 .now = taking->now,
				 .also = taking->also,
				 .again = again};
	if (ledger_run(blobs_ledger(blobs), recipe_row_add, &row, err) < 0)
		return -1;
	*ret_info = row.info;
	return 0;
}

/* Whether recipe, map and all packs are there, with their rows, and fit; else they are made anew.  A
 * pack without a row is one that the scrub is about to set aside. */
static int recipe_whole(struct blobs *blobs, struct db *db, const struct taking *taking,
			struct err *err)
{
	const struct digest *name = &taking->name;
	const struct buf *encoded = taking->encoded;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_RECIPE, name, err);

	if (!blob)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	if (blob->len != encoded->len || memcmp(blob->bytes, encoded->data, encoded->len))
		return 0;
	AUTO(blob_unref) struct blob *places = blob_get(blobs, BLOB_MAP, name, err);
	if (!places || chunkmap_parse(&map, places->bytes, places->len, err) < 0 ||
	    chunkmap_fits(map, taking->recipe, name, err) < 0)
		return err->status == ERR_SYSTEM ? -1 : 0;
	for (uint32_t i = 0; i < map->pack_count; i++) {
		if (!blob_exists(blobs, BLOB_PACK, &map->packs[i].digest))
			return 0;
		int row = inventory_pack(db, &map->packs[i].digest, err);
		if (row <= 0)
			return row;
	}
	return 1;
}

/* 1 and *ret_info: it was there, and is remembered as wanted now; 0: it is new. */
static int recipe_again(struct blobs *blobs, struct db *db, const struct taking *taking,
			const struct also *also, struct recipe_info *ret_info, struct err *err)
{
	struct recipe_row row = {.blobs = blobs, .now = taking->now, .also = also};

	int whole = recipe_whole(blobs, db, taking, err);
	if (whole <= 0)
		return whole;
	if (inventory_recipe(db, &taking->name, &row.info, err) < 0)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	if (ledger_run(blobs_ledger(blobs), recipe_row_want, &row, err) < 0)
		return -1;
	if (row.gone)
		return 0;
	*ret_info = row.info;
	return 1;
}

/* Whether the error is because a pack went, although it was wanted: the grace is very short.  Somebody may have
 * brought it again by now: a file that was not there is looked for once more before it is called lost. */
static int check_failed(struct db *db, const struct chunkmap *map, bool *again, struct err *err)
{
	const bool lost = err->status == ERR_NOT_FOUND;
	struct err why;

	if (lost)
		err->status = ERR_CORRUPT;
	for (uint32_t i = 0; err->status == ERR_CORRUPT && i < map->pack_count; i++)
		if (inventory_pack(db, &map->packs[i].digest, &why) == 0)
			return ingest_collected("recipe: a pack", again, err);
	*again = lost;
	return -1;
}

static int recipe_check(struct blobs *blobs, struct db *db, const struct taking *taking,
			struct chunkmap *map, bool *again, struct err *err)
{
	/* Before they are read: they may be old and named by nobody yet. */
	struct recipe_row row = {.blobs = blobs, .map = map, .now = taking->now, .again = again};

	if (ledger_run(blobs_ledger(blobs), packs_want, &row, err) < 0)
		return -1;
	return ingest_check_file(blobs, taking->recipe, map, err) < 0
		   ? check_failed(db, map, again, err)
		   : 0;
}

static int stored_sum(const struct chunkmap *map, struct recipe_info *info, struct err *err)
{
	uint64_t stored;

	if (chunkmap_sum(map, &stored, err) < 0)
		return -1;
	info->stored = (int64_t)stored;
	return 0;
}

/* With places, one that is there costs the same work as one that is not, and the answer is about the
 * map that these places make, whatever map there is. */
static int recipe_try(struct blobs *blobs, struct db *db, const struct taking *taking, bool *again,
		      struct recipe_info *ret_info, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;

	int there = taking->places ? 0 : recipe_again(blobs, db, taking, NULL, ret_info, err);
	if (there)
		return there < 0 ? -1 : 0;
	if (ingest_layout(db, taking->recipe, &taking->name, taking->places, &map, err) < 0)
		return -1;
	if (taking->check && recipe_check(blobs, db, taking, map, again, err) < 0)
		return -1;
	if (taking->places)
		there = recipe_again(blobs, db, taking, taking->also, ret_info, err);
	if (there < 0)
		return -1;
	if (!there)
		return recipe_keep(blobs, taking, map, again, ret_info, err);
	return stored_sum(map, ret_info, err);
}

static int recipe_take(struct blobs *blobs, struct db *db, const struct taking *what,
		       struct recipe_info *ret_info, struct err *err)
{
	AUTO_BUF struct buf encoded = BUF_INIT(RECIPE_BYTES_MAX);
	struct taking taking = *what;

	if (recipe_encode(taking.recipe, &encoded, &taking.name, err) < 0)
		return -1;
	taking.encoded = &encoded;
	for (int tries = 1;; tries++) {
		bool again = false;
		int result = recipe_try(blobs, db, &taking, &again, ret_info, err);
		if (!result || !again || tries == INGEST_TRIES)
			return result;
	}
}

int ingest_recipe(struct blobs *blobs, struct db *db, const void *bytes, size_t len,
		  const struct map *places, int64_t now, const struct also *also,
		  struct recipe_info *ret_info, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;

	if (recipe_parse(&recipe, bytes, len, err) < 0)
		return -1;
	const struct taking taking = {
		.recipe = recipe, .places = places, .check = true, .now = now, .also = also};
	return recipe_take(blobs, db, &taking, ret_info, err);
}

int ingest_made_recipe(struct blobs *blobs, struct db *db, const struct recipe *recipe,
		       const struct map *places, int64_t now, struct recipe_info *ret_info,
		       struct err *err)
{
	const struct taking taking = {.recipe = recipe, .places = places, .now = now};

	return recipe_take(blobs, db, &taking, ret_info, err);
}
