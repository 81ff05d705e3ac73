#include "store/ingest_internal.h"

#include "base/file.h"
#include "store/codec.h"

#include <stdlib.h>

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
		       const struct map *places, struct err *err)
{
	struct chunk_place place;
	char hex[DIGEST_HEX];
	uint32_t missing = 0, first = 0;

	for (uint32_t i = 0; i < recipe->count; i++) {
		int row = inventory_place(db, places, &recipe->chunks[i].digest, &place, err);
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

int ingest_layout(struct db *db, const struct recipe *recipe, const struct digest *name,
		  const struct map *places, struct chunkmap **ret_map, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = chunkmap_new(name);
	AUTO(map_free) struct map *packs = map_new(NULL);
	struct layout layout = {map, packs};

	if (!map || !packs)
		return err_nomem(err);
	if (layout_fill(&layout, db, recipe, places, err) < 0)
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
			if (err->status == ERR_INVALID)
				err->status = ERR_CORRUPT;
			return err_in(err, "chunk %u", i);
		}
	digest_end(rehash->ctx, ret_sha256);
	return 0;
}

int ingest_check_file(struct blobs *blobs, const struct recipe *recipe, const struct chunkmap *map,
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
