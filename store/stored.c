#include "store/stored.h"

#include "base/file.h"
#include "store/codec.h"

#include <stdlib.h>
#include <string.h>

#define KEPT 2 /* decoded chunks: what is read often lies across a border */

/* A chunk, decoded. */
struct kept {
	uint8_t *raw; /* CHUNK_RAW_MAX; pages that no chunk reaches are never touched */
	uint32_t number;
	bool full;
};

struct stored {
	struct blobs *blobs; /* borrowed */
	struct recipe *recipe;
	struct chunkmap *map;
	struct decoder *decoder;
	uint8_t *coded; /* CHUNK_STORED_MAX */
	struct kept kept[KEPT];
	unsigned next; /* of kept, to be given up */
	int fd;	       /* of pack; -1: none */
	uint32_t pack;
};

int stored_load(struct blobs *blobs, const struct digest *name, struct recipe **ret_recipe,
		struct chunkmap **ret_map, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *chunks = blob_get(blobs, BLOB_RECIPE, name, err);

	if (!chunks || recipe_parse(&recipe, chunks->bytes, chunks->len, err) < 0)
		return err_in(err, "recipe");
	AUTO(blob_unref) struct blob *places = blob_get(blobs, BLOB_MAP, name, err);
	if (!places || chunkmap_parse(&map, places->bytes, places->len, err) < 0 ||
	    chunkmap_fits(map, recipe, name, err) < 0)
		return err_in(err, "map");
	*ret_recipe = TAKE(recipe);
	*ret_map = TAKE(map);
	return 0;
}

/* What was right when it came and is wrong now is damaged. */
static int damaged(struct err *err)
{
	if (err->status == ERR_INVALID || err->status == ERR_UNTRUSTED)
		err->status = ERR_CORRUPT;
	return -1;
}

int stored_open(struct stored **ret_stored, struct blobs *blobs, const struct digest *name,
		struct err *err)
{
	AUTO(stored_free) struct stored *stored = calloc(1, sizeof(*stored));

	if (!stored)
		return err_nomem(err);
	stored->blobs = blobs;
	stored->fd = -1;
	if (stored_load(blobs, name, &stored->recipe, &stored->map, err) < 0)
		return damaged(err);
	stored->decoder = decoder_new();
	stored->coded = malloc(CHUNK_STORED_MAX);
	if (!stored->decoder || !stored->coded)
		return err_nomem(err);
	for (unsigned i = 0; i < KEPT; i++) {
		stored->kept[i].raw = malloc(CHUNK_RAW_MAX);
		if (!stored->kept[i].raw)
			return err_nomem(err);
	}
	*ret_stored = TAKE(stored);
	return 0;
}

void stored_free(struct stored *stored)
{
	if (!stored)
		return;
	recipe_free(stored->recipe);
	chunkmap_free(stored->map);
	decoder_free(stored->decoder);
	free(stored->coded);
	for (unsigned i = 0; i < KEPT; i++)
		free(stored->kept[i].raw);
	file_close_scope(&stored->fd);
	free(stored);
}

const struct recipe *stored_recipe(const struct stored *stored)
{
	return stored->recipe;
}

const struct chunkmap *stored_map(const struct stored *stored)
{
	return stored->map;
}

/* ---- Reading. ---- */

static int pack_open(struct stored *stored, uint32_t pack, struct err *err)
{
	if (stored->fd >= 0 && stored->pack == pack)
		return 0;
	file_close_scope(&stored->fd);
	stored->pack = pack;
	stored->fd = blob_fd(stored->blobs, BLOB_PACK, &stored->map->packs[pack].digest, err);
	return stored->fd < 0 ? -1 : 0;
}

static int chunk_read(struct stored *stored, uint32_t number, struct kept *to, struct err *err)
{
	const struct recipe_chunk *chunk = &stored->recipe->chunks[number];
	const struct chunkmap_chunk *place = &stored->map->chunks[number];
	const struct coded coded = {stored->coded, place->stored, place->codec, chunk->type};

	to->full = false;
	if (pack_open(stored, place->pack, err) < 0 ||
	    file_pread_all(stored->fd, stored->coded, place->stored, place->at, err) < 0 ||
	    codec_open(stored->decoder, &coded, &chunk->digest, to->raw, chunk->len, err) < 0) {
		damaged(err);
		return err_in(err, "chunk %u", number);
	}
	to->number = number;
	to->full = true;
	return 0;
}

/* NULL with err. */
static const struct kept *chunk_get(struct stored *stored, uint32_t number, struct err *err)
{
	for (unsigned i = 0; i < KEPT; i++)
		if (stored->kept[i].full && stored->kept[i].number == number)
			return &stored->kept[i];
	struct kept *kept = &stored->kept[stored->next];
	stored->next = (stored->next + 1) % KEPT;
	return chunk_read(stored, number, kept, err) < 0 ? NULL : kept;
}

static int stored_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *err)
{
	struct stored *stored = arg;
	const uint64_t length = stored->recipe->length;
	uint8_t *out = bytes;

	if (at > length || len > length - at)
		return err_set(err, ERR_CORRUPT, "%zu bytes at %llu are wanted of a file that has %llu",
			       len, (unsigned long long)at, (unsigned long long)length);
	while (len) {
		const uint32_t number = recipe_find(stored->recipe, at);
		const struct recipe_chunk *chunk = &stored->recipe->chunks[number];
		const struct kept *kept = chunk_get(stored, number, err);
		if (!kept)
			return -1;
		const size_t into = (size_t)(at - chunk->at);
		const size_t n = chunk->len - into < len ? chunk->len - into : len;
		memcpy(out, kept->raw + into, n);
		out += n;
		at += n;
		len -= n;
	}
	return 0;
}

struct source stored_source(struct stored *stored)
{
	return (struct source){
		.read = stored_read, .arg = stored, .size = stored->recipe->length};
}
