#include "store/ingest.h"

#include "base/file.h"
#include "store/codec.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/source.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES (256 * 1024)

/* ---- Packs. ---- */

static int pack_hash(int fd, uint64_t len, const struct digest *name, struct err *err)
{
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	uint8_t *room = malloc(READ_BYTES);
	struct digest found;
	char hex[DIGEST_HEX];

	int result = ctx && room ? 0 : err_nomem(err);
	for (uint64_t at = 0; !result && at < len;) {
		size_t n = len - at < READ_BYTES ? (size_t)(len - at) : READ_BYTES;
		result = file_pread_all(fd, room, n, (int64_t)at, err);
		if (!result)
			digest_add(ctx, room, n);
		at += n;
	}
	free(room);
	if (result)
		return -1;
	digest_end(ctx, &found);
	if (digest_eq(&found, name))
		return 0;
	digest_hex(&found, hex);
	return err_set(err, ERR_UNTRUSTED,
		       "pack: its bytes have sha256:%s, which is not its name: was it cut short?",
		       hex);
}

/* Every chunk is what the footer says.  room: CHUNK_STORED_MAX + CHUNK_RAW_MAX bytes. */
static int pack_open(int fd, const struct pack_index *index, uint8_t *room, struct err *err)
{
	AUTO(decoder_free) struct decoder *decoder = decoder_new();

	if (!decoder)
		return err_nomem(err);
	for (uint32_t i = 0; i < index->count; i++) {
		const struct pack_chunk *chunk = &index->chunks[i];
		struct coded coded = {room, chunk->stored, chunk->codec, chunk->type};
		if (file_pread_all(fd, room, chunk->stored, chunk->at, err) < 0 ||
		    codec_open(decoder, &coded, &chunk->digest, room + CHUNK_STORED_MAX, chunk->raw,
			       err) < 0)
			return err_in(err, "pack: chunk %u", i);
	}
	return 0;
}

static int pack_check(int fd, uint64_t len, struct pack_index **ret_index, struct err *err)
{
	AUTO(pack_index_free) struct pack_index *index = NULL;
	struct source source = source_fd(&fd, len);

	uint8_t *room = malloc((size_t)CHUNK_STORED_MAX + CHUNK_RAW_MAX);
	if (!room)
		return err_nomem(err);
	int result = pack_index_parse(&index, &source, err);
	if (!result)
		result = pack_open(fd, index, room, err);
	free(room);
	if (!result)
		*ret_index = TAKE(index);
	return result;
}

struct pack_row {
	const struct digest *name;
	uint32_t bytes;
	const struct pack_index *index;
	int64_t now;
	const struct also *also;
};

static int pack_row_add(struct db *db, void *arg, struct err *err)
{
	const struct pack_row *row = arg;

	if (inventory_pack_add(db, row->name, row->bytes, row->index, row->now, err) < 0)
		return -1;
	return also_run(row->also, db, NULL, err);
}

/* File, then row. */
static int pack_keep(struct blobs *blobs, struct pack_row *row, struct blob_file *file,
		     struct err *err)
{
	if (blob_publish(blobs, BLOB_PACK, row->name, file, err) < 0)
		return -1;
	return ledger_run(blobs_ledger(blobs), pack_row_add, row, err);
}

int ingest_made_pack(struct blobs *blobs, const struct digest *name, uint32_t bytes,
		     const struct pack_index *index, struct blob_file *file, int64_t now,
		     struct err *err)
{
	struct pack_row row = {name, bytes, index, now, NULL};

	return pack_keep(blobs, &row, file, err);
}

static int pack_take(struct blobs *blobs, const struct digest *name, int fd, uint64_t len,
		     int64_t now, const struct also *also, struct ingest_result *ret_result,
		     struct err *err)
{
	AUTO(pack_index_free) struct pack_index *index = NULL;
	struct blob_file file;

	if (pack_check(fd, len, &index, err) < 0 ||
	    blob_file_adopt(blobs, fd, len, &file, err) < 0)
		return -1;
	struct pack_row row = {name, (uint32_t)len, index, now, also};
	int result = pack_keep(blobs, &row, &file, err);
	blob_file_done(&file);
	if (!result && index)
		*ret_result = (struct ingest_result){index->count, false};
	return result;
}

/* A pack that is there: whoever sends it is about to rely on it. */
static int pack_again(struct blobs *blobs, const struct digest *name, int64_t now,
		      struct ingest_result *ret_result, struct err *err)
{
	AUTO(pack_index_free) struct pack_index *index = NULL;
	AUTO_FD int fd = blob_fd(blobs, BLOB_PACK, name, err);
	uint64_t len;

	if (fd < 0 || blob_stat(blobs, BLOB_PACK, name, &len, NULL, err) < 0)
		return -1;
	struct source source = source_fd(&fd, len);
	if (pack_index_parse(&index, &source, err) < 0) {
		err->status = ERR_CORRUPT;
		return -1;
	}
	struct pack_row row = {name, (uint32_t)len, index, now, NULL};
	if (ledger_run(blobs_ledger(blobs), pack_row_add, &row, err) < 0)
		return -1;
	*ret_result = (struct ingest_result){index->count, true};
	return 0;
}

int ingest_pack(struct blobs *blobs, struct db *db, const struct digest *name, int fd,
		uint64_t len, int64_t now, const struct also *also,
		struct ingest_result *ret_result, struct err *err)
{
	if (len > PACK_MAX)
		return err_set(err, ERR_TOO_LARGE, "pack: longer than %u bytes", PACK_MAX);
	if (pack_hash(fd, len, name, err) < 0 || blobs_room(blobs, 0, err) < 0)
		return -1;
	blobs_enter(blobs);
	int there = blob_exists(blobs, BLOB_PACK, name) ? inventory_pack(db, name, err) : 0;
	int result = there;
	if (there == 0)
		result = pack_take(blobs, name, fd, len, now, also, ret_result, err);
	else if (there > 0)
		result = pack_again(blobs, name, now, ret_result, err);
	blobs_leave(blobs);
	return result;
}

/* ---- Recipes. ---- */

/* A recipe on its way in: where its chunks lie, pack by pack. */
struct layout {
	struct chunkmap *map;
	struct map *packs; /* pack's digest -> its index in the map + 1 */
};

static int layout_pack(struct layout *layout, const struct chunk_place *place, uint32_t *ret_index,
		       struct err *err)
{
	const uintptr_t known = (uintptr_t)map_get(layout->packs, place->pack.bytes, DIGEST_LEN);

	if (known) {
		*ret_index = (uint32_t)(known - 1);
		return 0;
	}
	if (chunkmap_add_pack(layout->map, &place->pack, place->pack_bytes, ret_index, err) < 0)
		return -1;
	void *value = (void *)((uintptr_t)*ret_index + 1);
	return map_put(layout->packs, place->pack.bytes, DIGEST_LEN, value) ? err_nomem(err) : 0;
}

static int layout_chunk(struct layout *layout, const struct chunk_place *place,
			const struct recipe_chunk *chunk, struct err *err)
{
	struct chunkmap_chunk entry = {.at = place->chunk.at,
				       .stored = place->chunk.stored,
				       .codec = place->chunk.codec};

	if (place->chunk.raw != chunk->len)
		return err_set(err, ERR_INVALID, "%u bytes stated, but it has %u", chunk->len,
			       place->chunk.raw);
	if (layout_pack(layout, place, &entry.pack, err) < 0)
		return -1;
	return chunkmap_add(layout->map, &entry, err);
}

static int layout_fill(struct layout *layout, struct db *db, const struct recipe *recipe,
		       struct err *err)
{
	struct chunk_place place;
	char hex[DIGEST_HEX];
	uint32_t missing = 0, first = 0;

	for (uint32_t i = 0; i < recipe->count; i++) {
		int row = inventory_chunk(db, &recipe->chunks[i].digest, &place, err);
		if (row < 0)
			return -1;
		if (!row && !missing++)
			first = i;
		if (row && !missing &&
		    layout_chunk(layout, &place, &recipe->chunks[i], err) < 0)
			return err_in(err, "recipe: chunk %u", i);
	}
	if (!missing)
		return 0;
	digest_hex(&recipe->chunks[first].digest, hex);
	return err_set(err, ERR_CONFLICT,
		       "recipe: %u of %u chunks are not stored, the first is sha256:%s: send the"
		       " packs that hold them first",
		       missing, recipe->count, hex);
}

/* The map of recipe, named name, from the rows. */
static int layout_make(struct db *db, const struct recipe *recipe, const struct digest *name,
		       struct chunkmap **ret_map, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = chunkmap_new(name);
	AUTO(map_free) struct map *packs = map_new(NULL);
	struct layout layout = {map, packs};

	if (!map || !packs)
		return err_nomem(err);
	if (layout_fill(&layout, db, recipe, err) < 0)
		return -1;
	*ret_map = TAKE(map);
	return 0;
}

/* Decoding a whole file, pack by pack, without mapping it. */
struct rehash {
	struct blobs *blobs;
	const struct recipe *recipe;
	const struct chunkmap *map;
	struct decoder *decoder;
	struct digest_ctx *ctx;
	uint8_t *room; /* CHUNK_STORED_MAX, then CHUNK_RAW_MAX bytes */
	int fd;	       /* of pack; -1: none */
	uint32_t pack;
};

static int rehash_chunk(struct rehash *rehash, uint32_t i, struct err *err)
{
	const struct chunkmap_chunk *place = &rehash->map->chunks[i];
	const struct recipe_chunk *chunk = &rehash->recipe->chunks[i];
	uint8_t *raw = rehash->room + CHUNK_STORED_MAX;
	struct coded coded = {rehash->room, place->stored, place->codec, chunk->type};

	if (rehash->fd < 0 || rehash->pack != place->pack) {
		file_close_scope(&rehash->fd);
		rehash->pack = place->pack;
		rehash->fd = blob_fd(rehash->blobs, BLOB_PACK,
				     &rehash->map->packs[place->pack].digest, err);
	}
	if (rehash->fd < 0 ||
	    file_pread_all(rehash->fd, rehash->room, place->stored, place->at, err) < 0 ||
	    codec_decode(rehash->decoder, &coded, raw, chunk->len, err) < 0)
		return -1;
	digest_add(rehash->ctx, raw, chunk->len);
	return 0;
}

static int rehash_all(struct rehash *rehash, struct digest *ret_sha256, struct err *err)
{
	if (!rehash->decoder || !rehash->ctx || !rehash->room)
		return err_nomem(err);
	for (uint32_t i = 0; i < rehash->recipe->count; i++)
		if (rehash_chunk(rehash, i, err) < 0) {
			/* These bytes were right when they came. */
			if (err->status == ERR_INVALID || err->status == ERR_NOT_FOUND)
				err->status = ERR_CORRUPT;
			return err_in(err, "chunk %u", i);
		}
	digest_end(rehash->ctx, ret_sha256);
	return 0;
}

static int file_check(struct blobs *blobs, const struct recipe *recipe, const struct chunkmap *map,
		      struct err *err)
{
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	struct rehash rehash = {.blobs = blobs,
				.recipe = recipe,
				.map = map,
				.decoder = decoder,
				.ctx = ctx,
				.room = malloc((size_t)CHUNK_STORED_MAX + CHUNK_RAW_MAX),
				.fd = -1};
	struct digest found;
	char hex[DIGEST_HEX];

	int result = rehash_all(&rehash, &found, err);
	file_close_scope(&rehash.fd);
	free(rehash.room);
	if (result < 0 || digest_eq(&found, &recipe->sha256))
		return result;
	digest_hex(&found, hex);
	return err_set(err, ERR_UNTRUSTED,
		       "recipe: its chunks make a file of sha256:%s, not of what it states", hex);
}

struct recipe_row {
	struct recipe_info info;
	const struct chunkmap *map; /* NULL: it was there already */
	int64_t now;
	const struct also *also;
};

/* The packs are still there: blobs_enter() keeps them. */
static int recipe_row_add(struct db *db, void *arg, struct err *err)
{
	const struct recipe_row *row = arg;

	for (uint32_t i = 0; row->map && i < row->map->pack_count; i++) {
		int there = inventory_pack(db, &row->map->packs[i].digest, err);
		if (there <= 0)
			return there < 0 ? -1
					 : err_set(err, ERR_CONFLICT,
						   "recipe: a pack was removed: push again");
	}
	if (inventory_recipe_add(db, &row->info, row->now, err) < 0)
		return -1;
	return also_run(row->also, db, &row->info, err);
}

/* Map, recipe, row: in this order, each durable before the next. */
static int recipe_keep(struct blobs *blobs, const struct recipe *recipe, struct chunkmap *map,
		       const struct buf *encoded, int64_t now, const struct also *also,
		       struct recipe_info *ret_info, struct err *err)
{
	AUTO_BUF struct buf places = BUF_INIT(CHUNKMAP_BYTES_MAX);

	if (chunkmap_encode(map, &places, err) < 0 ||
	    blobs_room(blobs, places.len + encoded->len, err) < 0 ||
	    blob_put(blobs, BLOB_MAP, &map->recipe, places.data, places.len, err) < 0 ||
	    blob_put(blobs, BLOB_RECIPE, &map->recipe, encoded->data, encoded->len, err) < 0)
		return -1;
	struct recipe_row row = {.info = {.recipe = map->recipe,
					  .sha256 = recipe->sha256,
					  .length = (int64_t)recipe->length,
					  .stored = (int64_t)map->stored,
					  .format = recipe->format},
				 .map = map,
				 .now = now,
				 .also = also};
	if (ledger_run(blobs_ledger(blobs), recipe_row_add, &row, err) < 0)
		return -1;
	*ret_info = row.info;
	return 0;
}

/* Whether recipe, map and all packs are there and right; else they are made anew. */
static int recipe_whole(struct blobs *blobs, const struct digest *name, const struct buf *encoded,
			struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_RECIPE, name, err);

	if (!blob)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	if (blob->len != encoded->len || memcmp(blob->bytes, encoded->data, encoded->len))
		return 0;
	AUTO(blob_unref) struct blob *places = blob_get(blobs, BLOB_MAP, name, err);
	if (!places || chunkmap_parse(&map, places->bytes, places->len, err) < 0)
		return err->status == ERR_SYSTEM ? -1 : 0;
	for (uint32_t i = 0; i < map->pack_count; i++)
		if (!blob_exists(blobs, BLOB_PACK, &map->packs[i].digest))
			return 0;
	return 1;
}

/* 1 and *ret_info: it was there, and is remembered as wanted now; 0: it is new. */
static int recipe_again(struct blobs *blobs, struct db *db, const struct digest *name,
			const struct buf *encoded, int64_t now, struct recipe_info *ret_info,
			struct err *err)
{
	struct recipe_row row = {.now = now};

	int whole = recipe_whole(blobs, name, encoded, err);
	if (whole <= 0)
		return whole;
	if (inventory_recipe(db, name, &row.info, err) < 0)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	if (ledger_run(blobs_ledger(blobs), recipe_row_add, &row, err) < 0)
		return -1;
	*ret_info = row.info;
	return 1;
}

static int recipe_take(struct blobs *blobs, struct db *db, const struct recipe *recipe, bool check,
		       int64_t now, const struct also *also, struct recipe_info *ret_info,
		       struct err *err)
{
	AUTO_BUF struct buf encoded = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	struct digest name;

	if (recipe_encode(recipe, &encoded, &name, err) < 0)
		return -1;
	int again = recipe_again(blobs, db, &name, &encoded, now, ret_info, err);
	if (again)
		return again < 0 ? -1 : 0;
	if (layout_make(db, recipe, &name, &map, err) < 0)
		return -1;
	if (check && file_check(blobs, recipe, map, err) < 0)
		return -1;
	return recipe_keep(blobs, recipe, map, &encoded, now, also, ret_info, err);
}

int ingest_recipe(struct blobs *blobs, struct db *db, const void *bytes, size_t len, int64_t now,
		  const struct also *also, struct recipe_info *ret_info, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;

	if (recipe_parse(&recipe, bytes, len, err) < 0)
		return -1;
	blobs_enter(blobs);
	int result = recipe_take(blobs, db, recipe, true, now, also, ret_info, err);
	blobs_leave(blobs);
	return result;
}

int ingest_made_recipe(struct blobs *blobs, struct db *db, const struct recipe *recipe,
		       int64_t now, struct recipe_info *ret_info, struct err *err)
{
	return recipe_take(blobs, db, recipe, false, now, NULL, ret_info, err);
}

/* ---- What is missing. ---- */

struct wanted {
	struct map *packs; /* a set of digests, its values the map itself */
	int64_t now;
};

static int wanted_mark(struct db *db, void *arg, struct err *err)
{
	const struct wanted *wanted = arg;
	const void *key;
	void *value;
	size_t at = 0;
	struct digest pack;

	while (map_next(wanted->packs, &at, &key, NULL, &value)) {
		memcpy(pack.bytes, key, DIGEST_LEN);
		if (inventory_pack_want(db, &pack, wanted->now, err) < 0)
			return -1;
	}
	return 0;
}

static int missing_find(struct db *db, const struct digest *digests, size_t count,
			const struct map *visible, struct map *packs, uint8_t *bitmap,
			struct err *err)
{
	struct chunk_place place;

	for (size_t i = 0; i < count; i++) {
		if (visible && !map_get(visible, digests[i].bytes, DIGEST_LEN))
			continue;
		int row = inventory_chunk(db, &digests[i], &place, err);
		if (row < 0)
			return -1;
		if (!row)
			continue;
		bitmap[i / 8] &= (uint8_t)~(1u << i % 8);
		if (!map_get(packs, place.pack.bytes, DIGEST_LEN) &&
		    map_put(packs, place.pack.bytes, DIGEST_LEN, packs))
			return err_nomem(err);
	}
	return 0;
}

int ingest_missing(struct blobs *blobs, struct db *db, const struct digest *digests, size_t count,
		   const struct map *visible, int64_t now, uint8_t *bitmap, struct err *err)
{
	AUTO(map_free) struct map *packs = map_new(NULL);
	struct wanted wanted = {packs, now};

	if (!packs)
		return err_nomem(err);
	blobs_enter(blobs);
	int result = missing_find(db, digests, count, visible, packs, bitmap, err);
	if (!result && map_count(packs))
		result = ledger_run(blobs_ledger(blobs), wanted_mark, &wanted, err);
	blobs_leave(blobs);
	return result;
}
