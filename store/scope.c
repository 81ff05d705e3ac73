#include "store/scope.h"

#include "base/file.h"
#include "store/chunkmap.h"
#include "store/inventory.h"
#include "store/pack.h"
#include "store/source.h"
#include "store/taken.h"

#include <stdlib.h>
#include <string.h>

/* Call fn for each name in "\nname\nname\n", until it answers other than 0. */
static int each_model(const char *models, int (*fn)(void *arg, const char *model, struct err *err),
		      void *arg, struct err *err)
{
	AUTO_FREE char *names = strdup(models);
	char *rest = names, *name;
	int result = names ? 0 : err_nomem(err);

	while (!result && (name = strsep(&rest, "\n")))
		if (*name)
			result = fn(arg, name, err);
	return result;
}

struct gathering {
	struct blobs *blobs;
	struct db *db;
	struct map *asked;  /* digest -> the map itself */
	struct map *places; /* digest -> struct chunk_place */
};

static int keep(const struct gathering *g, const struct chunk_place *place, struct err *err)
{
	const uint8_t *key = place->chunk.digest.bytes;

	if (!map_get(g->asked, key, DIGEST_LEN) || map_get(g->places, key, DIGEST_LEN) ||
	    !blob_exists(g->blobs, BLOB_PACK, &place->pack))
		return 0;
	struct chunk_place *copy = malloc(sizeof(*copy));
	if (!copy)
		return err_nomem(err);
	*copy = *place;
	return map_put(g->places, key, DIGEST_LEN, copy) ? err_nomem(err) : 0;
}

static int keep_all(const struct gathering *g, const struct recipe *recipe,
		    const struct chunkmap *map, struct err *err)
{
	for (uint32_t i = 0; i < recipe->count; i++) {
		const struct recipe_chunk *chunk = &recipe->chunks[i];
		const struct chunkmap_chunk *at = &map->chunks[i];
		const struct chunk_place place = {
			.pack = map->packs[at->pack].digest,
			.pack_bytes = map->packs[at->pack].bytes,
			.chunk = {.digest = chunk->digest,
				  .at = at->at,
				  .stored = at->stored,
				  .raw = chunk->len,
				  .codec = at->codec,
				  .type = chunk->type},
		};
		if (keep(g, &place, err) < 0)
			return -1;
	}
	return 0;
}

/* What was set aside as damaged is not known of; the next push mends it. */
static int skip_absent(const struct err *err)
{
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

/* The server's own bytes, not the asker's. */
static int damaged(struct err *err)
{
	if (err->status != ERR_SYSTEM)
		err->status = ERR_CORRUPT;
	return -1;
}

static int from_recipe(void *arg, const struct digest *name, int64_t bytes, struct err *err)
{
	const struct gathering *g = arg;
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *a = blob_get(g->blobs, BLOB_RECIPE, name, err);
	AUTO(blob_unref) struct blob *b = a ? blob_get(g->blobs, BLOB_MAP, name, err) : NULL;

	(void)bytes;
	if (!b)
		return skip_absent(err);
	if (recipe_parse(&recipe, a->bytes, a->len, err) < 0 ||
	    chunkmap_parse(&map, b->bytes, b->len, err) < 0 ||
	    chunkmap_fits(map, recipe, name, err) < 0)
		return damaged(err);
	return keep_all(g, recipe, map, err);
}

static int from_pack(void *arg, const struct digest *name, int64_t bytes, struct err *err)
{
	const struct gathering *g = arg;
	AUTO(pack_index_free) struct pack_index *index = NULL;
	AUTO_FD int fd = blob_fd(g->blobs, BLOB_PACK, name, err);
	uint64_t len;

	(void)bytes; /* as they were counted */
	if (fd < 0 || blob_stat(g->blobs, BLOB_PACK, name, &len, NULL, err) < 0)
		return skip_absent(err);
	struct source source = source_fd(&fd, len);
	if (pack_index_parse(&index, &source, err) < 0)
		return damaged(err);
	for (uint32_t i = 0; i < index->count; i++) {
		const struct chunk_place place = {*name, (uint32_t)len, index->chunks[i]};
		if (keep(g, &place, err) < 0)
			return -1;
	}
	return 0;
}

static int from_model(void *arg, const char *model, struct err *err)
{
	const struct gathering *g = arg;

	return inventory_model_recipes(g->db, model, from_recipe, arg, err);
}

int scope_places(struct blobs *blobs, struct db *db, const struct scope *scope,
		 const struct digest *chunks, size_t count, struct map **ret_places,
		 struct err *err)
{
	AUTO(map_free) struct map *asked = map_new(NULL);
	AUTO(map_free) struct map *places = map_new(free);
	struct gathering g = {blobs, db, asked, places};

	if (!asked || !places)
		return err_nomem(err);
	for (size_t i = 0; i < count; i++)
		if (map_put(asked, chunks[i].bytes, DIGEST_LEN, asked))
			return err_nomem(err);
	if (taken_each(db, scope->token, TAKEN_PACK, from_pack, &g, err) < 0 ||
	    taken_each(db, scope->token, TAKEN_RECIPE, from_recipe, &g, err) < 0 ||
	    each_model(scope->models, from_model, &g, err) < 0)
		return -1;
	*ret_places = TAKE(places);
	return 0;
}

int scope_recipe_places(struct blobs *blobs, struct db *db, const struct scope *scope,
			const struct recipe *recipe, struct map **ret_places, struct err *err)
{
	AUTO_FREE struct digest *chunks = calloc((size_t)recipe->count + 1, sizeof(*chunks));

	if (!chunks)
		return err_nomem(err);
	for (uint32_t i = 0; i < recipe->count; i++)
		chunks[i] = recipe->chunks[i].digest;
	return scope_places(blobs, db, scope, chunks, recipe->count, ret_places, err);
}

struct question {
	struct db *db;
	const struct digest *recipe;
};

static int model_has(void *arg, const char *model, struct err *err)
{
	const struct question *question = arg;

	return inventory_model_has(question->db, model, question->recipe, err);
}

int scope_knows(struct db *db, const struct scope *scope, const struct digest *recipe,
		bool *ret_knows, struct err *err)
{
	struct question question = {db, recipe};
	int known = taken_has(db, scope->token, recipe, err);

	if (!known)
		known = each_model(scope->models, model_has, &question, err);
	if (known < 0)
		return -1;
	*ret_knows = known > 0;
	return 0;
}
