#include "store/inventory.h"

#include "base/grow.h"
#include "store/format.h"

#include <stdlib.h>

enum {
	RECIPE_GET,
	RECIPE_BY_FILE,
	RECIPES_BY_FILE,
	RECIPE_ADD,
	RECIPE_WANT,
	RECIPE_ALL,
	RECIPE_OF_MODEL,
	MODEL_HAS,
	RECIPE_FILES,
	RECIPE_DROP,
	PACK_GET,
	PACK_ADD,
	PACK_WANT,
	PACK_ALL,
	PACK_BEFORE,
	PACK_DROP,
	CHUNK_GET,
	CHUNK_ADD,
	CHUNK_MOVE,
	CHUNK_DROP,
	SUMS,
	SQL_COUNT
};

#define RECIPE_COLUMNS "recipe, sha256, length, stored, format"
#define LATER "CASE WHEN created < $now THEN $now ELSE created END"

static const char *const sql[] = {
	[RECIPE_GET] = "SELECT " RECIPE_COLUMNS " FROM recipes WHERE recipe = $recipe",
	[RECIPE_BY_FILE] = "SELECT " RECIPE_COLUMNS " FROM recipes WHERE sha256 = $sha256"
			   " ORDER BY created DESC, recipe LIMIT 1",
	[RECIPES_BY_FILE] = "SELECT recipe, length FROM recipes WHERE sha256 = $sha256"
			    " ORDER BY created DESC, recipe",
	[RECIPE_ADD] = "INSERT INTO recipes (recipe, sha256, length, stored, format, created)"
		       " VALUES ($recipe, $sha256, $length, $stored, $format, $now)"
		       " ON CONFLICT (recipe) DO UPDATE SET created = " LATER ","
		       " stored = excluded.stored",
	[RECIPE_WANT] = "UPDATE recipes SET created = " LATER " WHERE recipe = $recipe",
	[RECIPE_ALL] = "SELECT recipe, length FROM recipes ORDER BY recipe",
	[RECIPE_OF_MODEL] = "SELECT recipe, max(length) FROM files WHERE model = $model"
			    " GROUP BY recipe",
	[MODEL_HAS] = "SELECT 1 FROM files WHERE model = $model AND recipe = $recipe",
	[RECIPE_FILES] = "SELECT model, release, tier, name FROM files WHERE recipe = $recipe"
			 " ORDER BY model, release, tier, name",
	[RECIPE_DROP] = "DELETE FROM recipes WHERE recipe = $recipe AND created < $than"
			" AND NOT EXISTS (SELECT 1 FROM files WHERE files.recipe = $recipe)"
			" AND NOT EXISTS (SELECT 1 FROM uploads WHERE uploads.recipe = $recipe)",
	[PACK_GET] = "SELECT bytes FROM packs WHERE pack = $pack",
	[PACK_ADD] = "INSERT INTO packs (pack, bytes, created) VALUES ($pack, $bytes, $now)",
	[PACK_WANT] = "UPDATE packs SET created = " LATER " WHERE pack = $pack",
	[PACK_ALL] = "SELECT pack, bytes FROM packs ORDER BY pack",
	[PACK_BEFORE] = "SELECT pack, bytes FROM packs WHERE created < $than ORDER BY pack",
	[PACK_DROP] = "DELETE FROM packs WHERE pack = $pack AND created < $than",
	[CHUNK_GET] = "SELECT c.pack, p.bytes, c.at, c.stored, c.raw, c.codec, c.type"
		      " FROM chunks c JOIN packs p ON p.pack = c.pack WHERE c.chunk = $chunk",
	[CHUNK_ADD] = "INSERT INTO chunks (chunk, pack, at, stored, raw, codec, type)"
		      " VALUES ($chunk, $pack, $at, $stored, $raw, $codec, $type)"
		      " ON CONFLICT (chunk) DO NOTHING",
	[CHUNK_MOVE] = "UPDATE chunks SET pack = $to, at = $at, stored = $stored, raw = $raw,"
		       " codec = $codec, type = $type WHERE chunk = $chunk AND pack = $from",
	[CHUNK_DROP] = "DELETE FROM chunks WHERE pack = $pack",
	[SUMS] = "SELECT (SELECT count(*) FROM packs), (SELECT coalesce(sum(bytes), 0) FROM packs),"
		 " (SELECT count(*) FROM chunks), (SELECT count(*) FROM recipes),"
		 " (SELECT coalesce(sum(length), 0) FROM recipes)",
};
const struct sql_set inventory_sql = {"inventory", sql, SQL_COUNT};

/* ---- Recipes. ---- */

static int info_read(struct stmt *q, struct recipe_info *ret_info, struct err *err)
{
	struct recipe_info info;
	const char *format = stmt_col_text(q, 4);

	if (stmt_col_digest(q, 0, &info.recipe, err) < 0 ||
	    stmt_col_digest(q, 1, &info.sha256, err) < 0)
		return -1;
	info.length = stmt_col_int(q, 2);
	info.stored = stmt_col_int(q, 3);
	if (!format || format_id_parse(&info.format, format) < 0)
		return err_set(err, ERR_CORRUPT, "recipes: unknown format in a row");
	*ret_info = info;
	return 0;
}

static int info_find(struct stmt *q, struct recipe_info *ret_info, struct err *err)
{
	int row = stmt_step(q, err);

	if (row < 0)
		return -1;
	if (!row)
		return err_set(err, ERR_NOT_FOUND, "there is no such recipe in the store");
	return info_read(q, ret_info, err);
}

int inventory_recipe(struct db *db, const struct digest *recipe, struct recipe_info *ret_info,
		     struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_GET);

	stmt_digest(q, "$recipe", recipe);
	return info_find(q, ret_info, err);
}

int inventory_file(struct db *db, const struct digest *sha256, struct recipe_info *ret_info,
		   struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_BY_FILE);

	stmt_digest(q, "$sha256", sha256);
	return info_find(q, ret_info, err);
}

int inventory_recipe_add(struct db *db, const struct recipe_info *info, int64_t now,
			 struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_ADD);

	stmt_digest(q, "$recipe", &info->recipe);
	stmt_digest(q, "$sha256", &info->sha256);
	stmt_int(q, "$length", info->length);
	stmt_int(q, "$stored", info->stored);
	stmt_text(q, "$format", format_id_name(info->format));
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int inventory_model_has(struct db *db, const char *model, const struct digest *recipe,
			struct err *err)
{
	STMT(q, db, &inventory_sql, MODEL_HAS);

	stmt_text(q, "$model", model);
	stmt_digest(q, "$recipe", recipe);
	return stmt_step(q, err);
}

static int want(struct stmt *q, int64_t now, struct err *err)
{
	int64_t changed;

	stmt_int(q, "$now", now);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed > 0;
}

int inventory_recipe_want(struct db *db, const struct digest *recipe, int64_t now,
			  struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_WANT);

	stmt_digest(q, "$recipe", recipe);
	return want(q, now, err);
}

int also_run(const struct also *also, struct db *db, const struct recipe_info *info,
	     struct err *err)
{
	return also ? also->fn(db, also->arg, info, err) : 0;
}

/* ---- Packs and chunks. ---- */

int inventory_pack(struct db *db, const struct digest *pack, struct err *err)
{
	STMT(q, db, &inventory_sql, PACK_GET);

	stmt_digest(q, "$pack", pack);
	return stmt_step(q, err);
}

int inventory_chunk(struct db *db, const struct digest *chunk, struct chunk_place *ret_place,
		    struct err *err)
{
	struct chunk_place place;
	STMT(q, db, &inventory_sql, CHUNK_GET);

	stmt_digest(q, "$chunk", chunk);
	int row = stmt_step(q, err);
	if (row <= 0)
		return row;
	if (stmt_col_digest(q, 0, &place.pack, err) < 0)
		return -1;
	place.pack_bytes = (uint32_t)stmt_col_int(q, 1);
	place.chunk = (struct pack_chunk){
		.digest = *chunk,
		.at = (uint32_t)stmt_col_int(q, 2),
		.stored = (uint32_t)stmt_col_int(q, 3),
		.raw = (uint32_t)stmt_col_int(q, 4),
		.codec = (uint8_t)stmt_col_int(q, 5),
		.type = (uint8_t)stmt_col_int(q, 6),
	};
	*ret_place = place;
	return 1;
}

int inventory_place(struct db *db, const struct map *places, const struct digest *chunk,
		    struct chunk_place *ret_place, struct err *err)
{
	if (!places)
		return inventory_chunk(db, chunk, ret_place, err);
	const struct chunk_place *place = map_get(places, chunk->bytes, DIGEST_LEN);
	if (!place)
		return 0;
	*ret_place = *place;
	return inventory_pack(db, &place->pack, err);
}

static void chunk_bind(struct stmt *q, const struct pack_chunk *chunk)
{
	stmt_digest(q, "$chunk", &chunk->digest);
	stmt_int(q, "$at", chunk->at);
	stmt_int(q, "$stored", chunk->stored);
	stmt_int(q, "$raw", chunk->raw);
	stmt_int(q, "$codec", chunk->codec);
	stmt_int(q, "$type", chunk->type);
}

static int chunk_add(struct db *db, const struct digest *pack, const struct pack_chunk *chunk,
		     struct err *err)
{
	STMT(q, db, &inventory_sql, CHUNK_ADD);

	chunk_bind(q, chunk);
	stmt_digest(q, "$pack", pack);
	return stmt_run(q, err);
}

int inventory_chunk_move(struct db *db, const struct digest *from, const struct digest *to,
			 const struct pack_chunk *chunk, struct err *err)
{
	STMT(q, db, &inventory_sql, CHUNK_MOVE);

	chunk_bind(q, chunk);
	stmt_digest(q, "$from", from);
	stmt_digest(q, "$to", to);
	return stmt_run(q, err);
}

static int pack_row_add(struct db *db, const struct digest *pack, uint32_t bytes, int64_t now,
			struct err *err)
{
	STMT(q, db, &inventory_sql, PACK_ADD);

	stmt_digest(q, "$pack", pack);
	stmt_int(q, "$bytes", bytes);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int inventory_pack_add(struct db *db, const struct digest *pack, uint32_t bytes,
		       const struct pack_index *index, int64_t now, struct err *err)
{
	int there = inventory_pack_want(db, pack, now, err);

	if (there < 0 || (!there && pack_row_add(db, pack, bytes, now, err) < 0))
		return -1;
	/* Also of a pack that is there: the pack that its chunks were found in may be gone. */
	for (uint32_t i = 0; i < index->count; i++)
		if (chunk_add(db, pack, &index->chunks[i], err) < 0)
			return -1;
	return 0;
}

int inventory_pack_want(struct db *db, const struct digest *pack, int64_t now, struct err *err)
{
	STMT(q, db, &inventory_sql, PACK_WANT);

	stmt_digest(q, "$pack", pack);
	return want(q, now, err);
}

int inventory_sum(struct db *db, struct inventory_sums *ret_sums, struct err *err)
{
	STMT(q, db, &inventory_sql, SUMS);

	int row = stmt_step(q, err);
	if (row < 0)
		return -1;
	*ret_sums = (struct inventory_sums){
		.packs = stmt_col_int(q, 0),
		.pack_bytes = stmt_col_int(q, 1),
		.chunks = stmt_col_int(q, 2),
		.recipes = stmt_col_int(q, 3),
		.file_bytes = stmt_col_int(q, 4),
	};
	return 0;
}

/* ---- Looking over and removing. ---- */

static int each_row(struct stmt *q, inventory_each *each, void *arg, struct err *err)
{
	struct digest name;
	int row;

	while ((row = stmt_step(q, err)) == 1)
		if (stmt_col_digest(q, 0, &name, err) < 0 ||
		    each(arg, &name, stmt_col_int(q, 1), err) < 0)
			return -1;
	return row;
}

int inventory_gather(void *arg, const struct digest *name, int64_t bytes, struct err *err)
{
	struct inventory_list *list = arg;

	struct inventory_item *grown =
		grow_array(list->items, &list->room, list->count, sizeof(*grown));
	if (!grown)
		return err_nomem(err);
	list->items = grown;
	list->items[list->count++] = (struct inventory_item){*name, bytes};
	return 0;
}

void inventory_list_done(struct inventory_list *list)
{
	free(list->items);
	*list = (struct inventory_list){0};
}

int inventory_packs(struct db *db, inventory_each *each, void *arg, struct err *err)
{
	STMT(q, db, &inventory_sql, PACK_ALL);

	return each_row(q, each, arg, err);
}

int inventory_packs_before(struct db *db, int64_t than, inventory_each *each, void *arg,
			   struct err *err)
{
	STMT(q, db, &inventory_sql, PACK_BEFORE);

	stmt_int(q, "$than", than);
	return each_row(q, each, arg, err);
}

int inventory_recipes(struct db *db, inventory_each *each, void *arg, struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_ALL);

	return each_row(q, each, arg, err);
}

int inventory_file_recipes(struct db *db, const struct digest *sha256, inventory_each *each,
			   void *arg, struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPES_BY_FILE);

	stmt_digest(q, "$sha256", sha256);
	return each_row(q, each, arg, err);
}

int inventory_model_recipes(struct db *db, const char *model, inventory_each *each, void *arg,
			    struct err *err)
{
	STMT(q, db, &inventory_sql, RECIPE_OF_MODEL);

	stmt_text(q, "$model", model);
	return each_row(q, each, arg, err);
}

int inventory_recipe_files(struct db *db, const struct digest *recipe,
			   int (*each)(void *arg, const struct inventory_file_name *file,
				       struct err *err),
			   void *arg, struct err *err)
{
	int row;
	STMT(q, db, &inventory_sql, RECIPE_FILES);

	stmt_digest(q, "$recipe", recipe);
	while ((row = stmt_step(q, err)) == 1) {
		const struct inventory_file_name file = {stmt_col_text(q, 0), stmt_col_text(q, 1),
							 stmt_col_text(q, 2), stmt_col_text(q, 3)};
		if (each(arg, &file, err) < 0)
			return -1;
	}
	return row;
}

int inventory_recipe_drop(struct db *db, const struct digest *recipe, int64_t than,
			  bool *ret_removed, struct err *err)
{
	int64_t changed;
	STMT(q, db, &inventory_sql, RECIPE_DROP);

	stmt_digest(q, "$recipe", recipe);
	stmt_int(q, "$than", than);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	*ret_removed = changed > 0;
	return 0;
}

int inventory_pack_drop(struct db *db, const struct digest *pack, int64_t than,
			bool *ret_removed, struct err *err)
{
	int64_t changed;
	STMT(q, db, &inventory_sql, PACK_DROP);

	stmt_digest(q, "$pack", pack);
	stmt_int(q, "$than", than);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	if (changed) {
		STMT(chunks, db, &inventory_sql, CHUNK_DROP);
		stmt_digest(chunks, "$pack", pack);
		if (stmt_run(chunks, err) < 0)
			return -1;
	}
	*ret_removed = changed > 0;
	return 0;
}
