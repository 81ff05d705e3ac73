#include "store/rebuild.h"

#include "base/file.h"
#include "store/chunkmap.h"
#include "store/ingest.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/recipe.h"

#include <stdlib.h>

#define BATCH 32 /* packs in one transaction */

struct rebuild {
	struct blobs *blobs;
	struct db *db;
	int64_t now;
	struct rebuild_report report;
};

static void bad_note(struct rebuild *rebuild, uint64_t *count, enum blob_kind kind,
		     const struct digest *name, struct err *why)
{
	char hex[DIGEST_HEX];

	digest_hex(name, hex);
	err_in(why, "%s %s", blob_kind_name(kind), hex);
	if (rebuild->report.first.status == ERR_NONE)
		rebuild->report.first = *why;
	++*count;
}

/* ---- Packs. ---- */

struct batch {
	struct rebuild *rebuild;
	struct digest names[BATCH];
	uint32_t bytes[BATCH];
	struct pack_index *indexes[BATCH]; /* owned; NULL: cannot be read */
	size_t count;
};

static void batch_done(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		pack_index_free(batch->indexes[i]);
	batch->count = 0;
}

/* What the rows said before is forgotten. */
static int batch_add(struct db *db, void *arg, struct err *err)
{
	struct batch *batch = arg;
	bool removed;

	for (size_t i = 0; i < batch->count; i++) {
		const struct digest *name = &batch->names[i];
		if (inventory_pack_drop(db, name, INT64_MAX, &removed, err) < 0)
			return -1;
		if (batch->indexes[i] &&
		    inventory_pack_add(db, name, batch->bytes[i], batch->indexes[i],
				       batch->rebuild->now, err) < 0)
			return -1;
	}
	return 0;
}

static int batch_write(struct batch *batch, struct err *err)
{
	struct rebuild *rebuild = batch->rebuild;
	int result = ledger_run(blobs_ledger(rebuild->blobs), batch_add, batch, err);

	for (size_t i = 0; i < batch->count && !result; i++) {
		if (batch->indexes[i])
			rebuild->report.packs++;
		else
			result = blob_quarantine(rebuild->blobs, BLOB_PACK, &batch->names[i], err);
	}
	batch_done(batch);
	return result;
}

static int footer_read(struct rebuild *rebuild, const struct digest *name, uint32_t *ret_bytes,
		       struct pack_index **ret_index, struct err *err)
{
	AUTO_FD int fd = blob_fd(rebuild->blobs, BLOB_PACK, name, err);
	uint64_t len;

	if (fd < 0 || blob_stat(rebuild->blobs, BLOB_PACK, name, &len, NULL, err) < 0)
		return -1;
	if (len > PACK_MAX)
		return err_set(err, ERR_INVALID, "longer than %u bytes", PACK_MAX);
	struct source source = source_fd(&fd, len);
	*ret_bytes = (uint32_t)len;
	return pack_index_parse(ret_index, &source, err);
}

static int pack_take(struct batch *batch, const struct digest *name, struct err *err)
{
	struct rebuild *rebuild = batch->rebuild;
	const size_t i = batch->count;
	struct err why;

	batch->names[i] = *name;
	batch->indexes[i] = NULL;
	if (footer_read(rebuild, name, &batch->bytes[i], &batch->indexes[i], &why) < 0) {
		if (why.status == ERR_SYSTEM) {
			*err = why;
			return -1;
		}
		bad_note(rebuild, &rebuild->report.unreadable, BLOB_PACK, name, &why);
	}
	return ++batch->count == BATCH ? batch_write(batch, err) : 0;
}

static int packs_take(struct rebuild *rebuild, struct err *err)
{
	struct batch batch = {.rebuild = rebuild};
	struct digest *names;
	size_t count;

	if (blobs_list(rebuild->blobs, BLOB_PACK, &names, &count, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; i < count && !result; i++)
		result = pack_take(&batch, &names[i], err);
	if (!result)
		result = batch_write(&batch, err);
	batch_done(&batch);
	free(names);
	return result;
}

/* ---- Rows of packs that are not there. ---- */

static int row_drop(struct db *db, void *arg, struct err *err)
{
	bool removed;

	return inventory_pack_drop(db, arg, INT64_MAX, &removed, err);
}

static int rows_check(struct rebuild *rebuild, struct err *err)
{
	AUTO_LIST struct inventory_list rows = {0};

	if (inventory_packs(rebuild->db, inventory_gather, &rows, err) < 0)
		return -1;
	for (size_t i = 0; i < rows.count; i++) {
		if (blob_exists(rebuild->blobs, BLOB_PACK, &rows.items[i].name))
			continue;
		if (ledger_run(blobs_ledger(rebuild->blobs), row_drop, &rows.items[i].name, err) < 0)
			return -1;
		rebuild->report.dropped++;
	}
	return 0;
}

/* ---- Recipes. ---- */

struct recipe_row {
	struct recipe_info info;
	int64_t now;
};

static int recipe_row_add(struct db *db, void *arg, struct err *err)
{
	const struct recipe_row *row = arg;

	return inventory_recipe_add(db, &row->info, row->now, err);
}

/* 1: the map fits and its packs have rows; 0: it must be made anew; -1: error. */
static int map_good(struct rebuild *rebuild, const struct digest *name,
		    const struct recipe *recipe, int64_t *ret_stored, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(rebuild->blobs, BLOB_MAP, name, err);

	if (!blob)
		return err->status == ERR_SYSTEM ? -1 : 0;
	if (chunkmap_parse(&map, blob->bytes, blob->len, err) < 0 ||
	    chunkmap_fits(map, recipe, name, err) < 0)
		return err->status == ERR_SYSTEM ? -1 : 0;
	for (uint32_t i = 0; i < map->pack_count; i++) {
		int row = inventory_pack(rebuild->db, &map->packs[i].digest, err);
		if (row <= 0)
			return row;
	}
	*ret_stored = (int64_t)map->stored;
	return 1;
}

static int recipe_take(struct rebuild *rebuild, const struct digest *name, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(rebuild->blobs, BLOB_RECIPE, name, err);
	struct recipe_row row = {.info = {.recipe = *name}, .now = rebuild->now};
	struct digest found;

	if (!blob)
		return -1;
	digest_of(&found, blob->bytes, blob->len);
	if (!digest_eq(&found, name))
		return err_set(err, ERR_CORRUPT, "its bytes are not those of its name");
	if (recipe_parse(&recipe, blob->bytes, blob->len, err) < 0)
		return -1;
	int good = map_good(rebuild, name, recipe, &row.info.stored, err);
	if (good < 0)
		return -1;
	if (!good)
		return ingest_recipe(rebuild->blobs, rebuild->db, blob->bytes, blob->len,
				     NULL, rebuild->now, NULL, &row.info, err);
	row.info.sha256 = recipe->sha256;
	row.info.length = (int64_t)recipe->length;
	row.info.format = recipe->format;
	return ledger_run(blobs_ledger(rebuild->blobs), recipe_row_add, &row, err);
}

static int recipes_take(struct rebuild *rebuild, struct err *err)
{
	struct digest *names;
	size_t count;
	struct err why;

	if (blobs_list(rebuild->blobs, BLOB_RECIPE, &names, &count, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; i < count && !result; i++) {
		if (recipe_take(rebuild, &names[i], &why) == 0) {
			rebuild->report.recipes++;
		} else if (why.status == ERR_SYSTEM || why.status == ERR_FULL) {
			*err = why;
			result = -1;
		} else {
			bad_note(rebuild, &rebuild->report.hurt, BLOB_RECIPE, &names[i], &why);
		}
	}
	free(names);
	return result;
}

int store_rebuild(struct blobs *blobs, struct db *db, int64_t now,
		  struct rebuild_report *ret_report, struct err *err)
{
	struct rebuild rebuild = {.blobs = blobs, .db = db, .now = now};
	struct inventory_sums sums;

	if (rows_check(&rebuild, err) < 0 || packs_take(&rebuild, err) < 0 ||
	    recipes_take(&rebuild, err) < 0 || inventory_sum(db, &sums, err) < 0)
		return -1;
	rebuild.report.chunks = (uint64_t)sums.chunks;
	*ret_report = rebuild.report;
	return 0;
}
