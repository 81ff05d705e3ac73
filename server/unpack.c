#include "server/unpack.h"

#include "store/codec.h"
#include "store/stored.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 1

struct unpack {
	struct blobs *blobs; /* borrowed */
	struct recipe *recipe;
	struct chunkmap *map;
	struct decoder *decoder;
	struct blob *pack; /* of the chunk before, since the next is mostly in it too */
	uint32_t pack_index;
	uint64_t at, end; /* of the raw file: what is left to give */
};

void unpack_free(struct unpack *unpack)
{
	if (!unpack)
		return;
	recipe_free(unpack->recipe);
	chunkmap_free(unpack->map);
	decoder_free(unpack->decoder);
	blob_unref(unpack->pack);
	free(unpack);
}

int unpack_open(struct unpack **ret_unpack, struct blobs *blobs, const struct digest *recipe,
		struct err *err)
{
	AUTO(unpack_free) struct unpack *unpack = calloc(1, sizeof(*unpack));

	if (!unpack)
		return err_nomem(err);
	unpack->blobs = blobs;
	unpack->decoder = decoder_new();
	if (!unpack->decoder)
		return err_nomem(err);
	if (stored_load(blobs, recipe, &unpack->recipe, &unpack->map, err) < 0)
		return -1;
	unpack->end = unpack->recipe->length;
	*ret_unpack = TAKE(unpack);
	return 0;
}

int64_t unpack_length(const struct unpack *unpack)
{
	return (int64_t)unpack->recipe->length;
}

const struct digest *unpack_sha256(const struct unpack *unpack)
{
	return &unpack->recipe->sha256;
}

void unpack_seek(struct unpack *unpack, int64_t at, int64_t len)
{
	unpack->at = (uint64_t)at;
	unpack->end = (uint64_t)(at + len);
}

static int pack_hold(struct unpack *unpack, uint32_t index, struct err *err)
{
	const struct digest *name = &unpack->map->packs[index].digest;

	if (unpack->pack && unpack->pack_index == index)
		return 0;
	blob_unref(TAKE(unpack->pack));
	unpack->pack = blob_get(unpack->blobs, BLOB_PACK, name, err);
	unpack->pack_index = index;
	return unpack->pack ? 0 : err_in(err, "pack");
}

/* The stored bytes of the recipe's chunk number. */
static int chunk_find(struct unpack *unpack, uint32_t number, struct coded *ret_coded,
		      struct err *err)
{
	const struct chunkmap_chunk *place = &unpack->map->chunks[number];

	if (pack_hold(unpack, place->pack, err) < 0)
		return -1;
	if ((uint64_t)place->at + place->stored > unpack->pack->len)
		return err_set(err, ERR_CORRUPT, "the map points beyond the end of a pack");
	*ret_coded = (struct coded){.bytes = (const uint8_t *)unpack->pack->bytes + place->at,
				    .len = place->stored,
				    .codec = place->codec,
				    .type = unpack->recipe->chunks[number].type};
	return 0;
}

/* Append a chunk decoded. */
static int chunk_decode(struct unpack *unpack, uint32_t number, const struct coded *coded,
			struct buf *out, struct err *err)
{
	const struct recipe_chunk *chunk = &unpack->recipe->chunks[number];
	void *room = buf_grow(out, chunk->len);

	if (!room)
		return buf_ok(out, "piece", err);
	if (codec_open(unpack->decoder, coded, &chunk->digest, room, chunk->len, err) < 0) {
		err->status = ERR_CORRUPT;
		return err_in(err, "chunk %u", number);
	}
	buf_grown(out, chunk->len);
	return 0;
}

int unpack_next(struct unpack *unpack, struct buf *out, struct err *err)
{
	const struct recipe_chunk *chunk;
	size_t before = out->len, skip, keep;
	struct coded coded;
	uint32_t number;

	if (unpack->at >= unpack->end)
		return 0;
	number = recipe_find(unpack->recipe, unpack->at);
	chunk = &unpack->recipe->chunks[number];
	if (chunk_find(unpack, number, &coded, err) < 0 ||
	    chunk_decode(unpack, number, &coded, out, err) < 0)
		return -1;
	skip = unpack->at - chunk->at;
	keep = chunk->len - skip;
	if (keep > unpack->end - unpack->at)
		keep = unpack->end - unpack->at;
	memmove(out->data + before, out->data + before + skip, keep);
	out->len = before + keep;
	out->data[out->len] = '\0';
	unpack->at += keep;
	return 0;
}

static int chunk_compress(struct unpack *unpack, uint32_t number, const struct coded *coded,
			  struct buf *out, struct err *err)
{
	AUTO_BUF struct buf raw = BUF_INIT(UNPACK_PIECE);
	size_t bound = ZSTD_compressBound(unpack->recipe->chunks[number].len), len;
	void *room;

	if (chunk_decode(unpack, number, coded, &raw, err) < 0)
		return -1;
	room = buf_grow(out, bound);
	if (!room)
		return buf_ok(out, "piece", err);
	len = ZSTD_compress(room, bound, raw.data, raw.len, ZSTD_LEVEL);
	if (ZSTD_isError(len))
		return err_set(err, ERR_SYSTEM, "zstd: %s", ZSTD_getErrorName(len));
	buf_grown(out, len);
	return 0;
}

int unpack_next_zstd(struct unpack *unpack, struct buf *out, struct err *err)
{
	struct coded coded;
	uint32_t number;

	if (unpack->at >= unpack->end)
		return 0;
	number = recipe_find(unpack->recipe, unpack->at);
	if (chunk_find(unpack, number, &coded, err) < 0)
		return -1;
	unpack->at += unpack->recipe->chunks[number].len;
	if (coded.codec != CODEC_ZSTD)
		return chunk_compress(unpack, number, &coded, out, err);
	buf_add(out, coded.bytes, coded.len);
	return buf_ok(out, "piece", err);
}
