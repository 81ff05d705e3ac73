#include "store/gc.h"

#include "base/map.h"
#include "store/chunkmap.h"
#include "store/inventory.h"
#include "store/ledger.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 32 /* rows removed in one ledger function */

struct gc {
	struct blobs *blobs;
	struct db *db;
	int64_t than; /* what was wanted before may go */
	struct gc_report report;
};

struct names {
	struct digest *names; /* owned */
	size_t count, room;
};

static int names_add(void *arg, const struct digest *name, int64_t bytes, struct err *err)
{
	struct names *names = arg;

	(void)bytes;
	if (names->count == names->room) {
		size_t room = names->room ? 2 * names->room : 256;
		struct digest *grown = reallocarray(names->names, room, sizeof(*grown));
		if (!grown)
			return err_nomem(err);
		names->names = grown;
		names->room = room;
	}
	names->names[names->count++] = *name;
	return 0;
}

/* ---- Removing a batch: rows in the ledger, then files. ---- */

typedef int drop_row(struct db *db, const struct digest *name, int64_t than, bool *ret_removed,
		     struct err *err);

struct batch {
	drop_row *drop;
	int64_t than;
	const struct digest *names;
	size_t count;
	bool removed[BATCH];
};

static int batch_drop(struct db *db, void *arg, struct err *err)
{
	struct batch *batch = arg;

	for (size_t i = 0; i < batch->count; i++)
		if (batch->drop(db, &batch->names[i], batch->than, &batch->removed[i], err) < 0)
			return -1;
	return 0;
}

static int file_drop(struct gc *gc, enum blob_kind kind, const struct digest *name,
		     struct err *err)
{
	uint64_t len = 0;
	struct err gone;

	if (blob_stat(gc->blobs, kind, name, &len, NULL, &gone) < 0)
		len = 0; /* absent is fine */
	gc->report.bytes += len;
	return blob_remove(gc->blobs, kind, name, err);
}

/* Recipes before maps: a recipe that can be read always has its map. */
static int files_drop(struct gc *gc, enum blob_kind kind, const struct digest *name,
		      struct err *err)
{
	if (file_drop(gc, kind, name, err) < 0)
		return -1;
	return kind == BLOB_RECIPE ? file_drop(gc, BLOB_MAP, name, err) : 0;
}

static int sweep(struct gc *gc, enum blob_kind kind, drop_row *drop, const struct names *names,
		 uint64_t *removed, struct err *err)
{
	for (size_t at = 0; at < names->count; at += BATCH) {
		struct batch batch = {.drop = drop, .than = gc->than, .names = names->names + at};
		batch.count = names->count - at < BATCH ? names->count - at : BATCH;
		if (ledger_run(blobs_ledger(gc->blobs), batch_drop, &batch, err) < 0)
			return -1;
		for (size_t i = 0; i < batch.count; i++) {
			if (!batch.removed[i])
				continue;
			if (files_drop(gc, kind, &batch.names[i], err) < 0)
				return -1;
			++*removed;
		}
	}
	return 0;
}

/* ---- Recipes. ---- */

static int sweep_recipes(struct gc *gc, struct err *err)
{
	struct names all = {0};
	int result = inventory_recipes(gc->db, names_add, &all, err);

	/* The rows know who lives; all are offered. */
	if (!result)
		result = sweep(gc, BLOB_RECIPE, inventory_recipe_drop, &all, &gc->report.recipes,
			       err);
	free(all.names);
	return result;
}

/* ---- Packs. ---- */

struct marks {
	struct blobs *blobs;
	struct map *packs; /* named by a map; the values are the map itself */
	struct names dead; /* the others */
};

static int mark_recipe(void *arg, const struct digest *recipe, int64_t bytes, struct err *err)
{
	struct marks *marks = arg;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(marks->blobs, BLOB_MAP, recipe, err);

	(void)bytes;
	if (!blob || chunkmap_parse(&map, blob->bytes, blob->len, err) < 0) {
		err->status = ERR_CORRUPT;
		return err_in(err, "nothing can be removed while a recipe lacks its map");
	}
	for (uint32_t i = 0; i < map->pack_count; i++)
		if (map_put(marks->packs, map->packs[i].digest.bytes, DIGEST_LEN, marks->packs))
			return err_nomem(err);
	return 0;
}

static int find_dead(void *arg, const struct digest *pack, int64_t bytes, struct err *err)
{
	struct marks *marks = arg;

	if (map_get(marks->packs, pack->bytes, DIGEST_LEN))
		return 0;
	return names_add(&marks->dead, pack, bytes, err);
}

static int sweep_packs(struct gc *gc, struct err *err)
{
	AUTO(map_free) struct map *packs = map_new(NULL);
	struct marks marks = {.blobs = gc->blobs, .packs = packs};

	if (!packs)
		return err_nomem(err);
	int result = inventory_recipes(gc->db, mark_recipe, &marks, err);
	if (!result)
		result = inventory_packs(gc->db, find_dead, &marks, err);
	if (!result)
		result = sweep(gc, BLOB_PACK, inventory_pack_drop, &marks.dead, &gc->report.packs,
			       err);
	free(marks.dead.names);
	return result;
}

/* ---- Files without rows. ---- */

/* 1: a row names it; 0: none does. */
static int has_row(struct gc *gc, enum blob_kind kind, const struct digest *name, struct err *err)
{
	struct recipe_info info;

	if (kind == BLOB_PACK)
		return inventory_pack(gc->db, name, err);
	if (inventory_recipe(gc->db, name, &info, err) == 0)
		return 1;
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

static int orphan_check(struct gc *gc, enum blob_kind kind, const struct digest *name,
			int64_t real_than, struct err *err)
{
	int64_t changed;
	struct err gone;
	int row = has_row(gc, kind, name, err);

	if (row)
		return row < 0 ? -1 : 0;
	if (blob_stat(gc->blobs, kind, name, NULL, &changed, &gone) == 0 && changed >= real_than)
		return 0;
	gc->report.orphans++;
	return file_drop(gc, kind, name, err);
}

/* Files are dated in real time, whatever the pace of our own clock. */
static int sweep_orphans(struct gc *gc, enum blob_kind kind, int64_t real_than, struct err *err)
{
	struct digest *names;
	size_t count;

	if (blobs_list(gc->blobs, kind, &names, &count, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; i < count && !result; i++)
		result = orphan_check(gc, kind, &names[i], real_than, err);
	free(names);
	return result;
}

static int run_alone(struct gc *gc, int64_t real_than, struct err *err)
{
	if (sweep_recipes(gc, err) < 0 || sweep_packs(gc, err) < 0)
		return -1;
	for (int kind = 0; kind < BLOB_KINDS; kind++)
		if (sweep_orphans(gc, kind, real_than, err) < 0)
			return -1;
	return 0;
}

int gc_run(struct blobs *blobs, struct db *db, int64_t now, int64_t grace_s,
	   struct gc_report *ret_report, struct err *err)
{
	struct gc gc = {.blobs = blobs, .db = db, .than = now - grace_s};

	if (!blobs_enter_alone(blobs)) {
		gc.report.skipped = true;
		*ret_report = gc.report;
		return 0;
	}
	int result = run_alone(&gc, (int64_t)time(NULL) - grace_s, err);
	blobs_leave(blobs);
	if (!result)
		*ret_report = gc.report;
	return result;
}
