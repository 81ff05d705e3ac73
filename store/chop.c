#include "store/chop.h"

#include "base/file.h"
#include "store/codec.h"
#include "store/cut.h"
#include "store/ingest.h"
#include "store/pack.h"
#include "store/recipe.h"
#include "store/source.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES (256 * 1024)
#define TRIES 3

struct chop {
	struct blobs *blobs;
	struct db *db;
	struct map *places; /* borrowed; NULL: the rows tell */
	int64_t now;
	struct cutter *cutter;
	struct encoder *encoder;
	struct recipe *recipe;
	struct digest_ctx *whole;
	struct pack_writer *writer; /* NULL: no pack is open */
	struct blob_file file;	    /* of that pack */
	struct map *fresh;	    /* chunks in that pack: digest -> type + 1 */
	uint8_t *chunk;		    /* CUT_MAX bytes, */
	size_t have;		    /* of which so many are there */
};

static void chop_done(struct chop *chop)
{
	cutter_free(chop->cutter);
	encoder_free(chop->encoder);
	recipe_free(chop->recipe);
	digest_free(chop->whole);
	pack_writer_free(chop->writer);
	blob_file_done(&chop->file);
	map_free(chop->fresh);
	free(chop->chunk);
}

static int chop_begin(struct chop *chop, struct err *err)
{
	chop->cutter = cutter_new();
	chop->encoder = encoder_new();
	chop->recipe = recipe_new();
	chop->whole = digest_begin();
	chop->fresh = map_new(NULL);
	chop->chunk = malloc(CUT_MAX);
	if (chop->cutter && chop->encoder && chop->recipe && chop->whole && chop->fresh &&
	    chop->chunk)
		return 0;
	return err_nomem(err);
}

static int pack_begin(struct chop *chop, struct err *err)
{
	if (blobs_room(chop->blobs, PACK_MAX, err) < 0 ||
	    blob_file_new(chop->blobs, &chop->file, err) < 0)
		return -1;
	chop->writer = pack_writer_new(sink_fd(&chop->file.fd));
	return chop->writer ? 0 : err_nomem(err);
}

/* What follows may consist of what this pack holds. */
static int pack_known(struct chop *chop, const struct digest *name, uint32_t bytes,
		      const struct pack_index *index, struct err *err)
{
	for (uint32_t i = 0; chop->places && i < index->count; i++) {
		struct chunk_place *place = malloc(sizeof(*place));
		if (!place)
			return err_nomem(err);
		*place = (struct chunk_place){*name, bytes, index->chunks[i]};
		if (map_put(chop->places, place->chunk.digest.bytes, DIGEST_LEN, place))
			return err_nomem(err);
	}
	return 0;
}

/* The open pack, if any, becomes the store's. */
static int pack_end(struct chop *chop, struct err *err)
{
	AUTO(pack_writer_free) struct pack_writer *writer = TAKE(chop->writer);
	AUTO(pack_index_free) struct pack_index *index = NULL;
	struct digest name;
	uint32_t bytes;

	if (!writer)
		return 0;
	if (pack_writer_finish(writer, &name, &bytes, err) < 0)
		return -1;
	struct source source = source_fd(&chop->file.fd, bytes);
	if (pack_index_parse(&index, &source, err) < 0 ||
	    ingest_made_pack(chop->blobs, &name, bytes, index, &chop->file, chop->now, err) < 0 ||
	    pack_known(chop, &name, bytes, index, err) < 0)
		return -1;
	blob_file_done(&chop->file);
	map_clear(chop->fresh);
	return 0;
}

/* 1 and the type under which the chunk is stored; 0: it is new. */
static int chunk_known(struct chop *chop, const struct digest *digest, uint8_t *ret_type,
		       struct err *err)
{
	const uintptr_t fresh = (uintptr_t)map_get(chop->fresh, digest->bytes, DIGEST_LEN);
	struct chunk_place place;

	if (fresh) {
		*ret_type = (uint8_t)(fresh - 1);
		return 1;
	}
	int row = inventory_place(chop->db, chop->places, digest, &place, err);
	if (row > 0)
		*ret_type = place.chunk.type;
	return row;
}

static int chunk_store(struct chop *chop, const struct digest *digest, const struct cut *cut,
		       struct err *err)
{
	struct coded coded;

	if (codec_encode(chop->encoder, cut->type, chop->chunk, cut->len, &coded, err) < 0)
		return -1;
	if (chop->writer && !pack_writer_fits(chop->writer, coded.len) && pack_end(chop, err) < 0)
		return -1;
	if (!chop->writer && pack_begin(chop, err) < 0)
		return -1;
	if (pack_writer_add(chop->writer, digest, cut->len, &coded, NULL, err) < 0)
		return -1;
	void *type = (void *)((uintptr_t)cut->type + 1);
	return map_put(chop->fresh, digest->bytes, DIGEST_LEN, type) ? err_nomem(err) : 0;
}

static int chunk_end(struct chop *chop, const struct cut *cut, struct err *err)
{
	struct digest digest;
	/* As it is stored: the codec may depend on the type, and the map does not tell it. */
	uint8_t type = cut->type;

	digest_of(&digest, chop->chunk, cut->len);
	chop->have = 0;
	int known = chunk_known(chop, &digest, &type, err);
	if (known < 0 || (!known && chunk_store(chop, &digest, cut, err) < 0))
		return -1;
	return recipe_add(chop->recipe, &digest, cut->len, type, err);
}

static int chop_bytes(struct chop *chop, const uint8_t *bytes, size_t len, struct err *err)
{
	struct cut cut;
	bool ended;

	digest_add(chop->whole, bytes, len);
	while (len) {
		size_t n = cutter_take(chop->cutter, bytes, len, &ended, &cut);
		memcpy(chop->chunk + chop->have, bytes, n);
		chop->have += n;
		bytes += n;
		len -= n;
		if (ended && chunk_end(chop, &cut, err) < 0)
			return -1;
	}
	return 0;
}

static int chop_all(struct chop *chop, int fd, uint64_t len, struct err *err)
{
	struct cut cut;
	uint8_t *bytes = malloc(READ_BYTES);
	int result = bytes ? 0 : err_nomem(err);

	for (uint64_t at = 0; !result && at < len;) {
		size_t n = len - at < READ_BYTES ? (size_t)(len - at) : READ_BYTES;
		result = file_pread_all(fd, bytes, n, (int64_t)at, err);
		if (!result)
			result = chop_bytes(chop, bytes, n, err);
		at += n;
	}
	free(bytes);
	if (!result && cutter_end(chop->cutter, &cut))
		result = chunk_end(chop, &cut, err);
	return result;
}

static int whole_check(struct chop *chop, const struct digest *sha256, struct err *err)
{
	char hex[DIGEST_HEX];

	digest_end(chop->whole, &chop->recipe->sha256);
	chop->recipe->format = (uint8_t)cutter_format(chop->cutter);
	if (!sha256 || digest_eq(sha256, &chop->recipe->sha256))
		return 0;
	digest_hex(&chop->recipe->sha256, hex);
	return err_set(err, ERR_UNTRUSTED,
		       "the file that arrived has sha256:%s, not the one stated: upload it again",
		       hex);
}

static int chop_once(struct chop *chop, int fd, uint64_t len, const struct digest *sha256,
		     struct recipe_info *ret_info, struct err *err)
{
	int result = chop_begin(chop, err);

	if (!result)
		result = chop_all(chop, fd, len, err);
	if (!result)
		result = whole_check(chop, sha256, err);
	if (!result)
		result = pack_end(chop, err);
	if (!result)
		result = ingest_made_recipe(chop->blobs, chop->db, chop->recipe, chop->places,
					    chop->now, ret_info, err);
	chop_done(chop);
	return result;
}

/* Chunks that were stored may have been collected before the recipe named them: every conflict here is
 * that one, since all that the recipe names was there or was just stored. */
int chop_file(struct blobs *blobs, struct db *db, int fd, uint64_t len, struct map *places,
	      const struct digest *sha256, int64_t now, struct recipe_info *ret_info,
	      struct err *err)
{
	for (int tries = 1;; tries++) {
		struct chop chop = {.blobs = blobs,
				    .db = db,
				    .places = places,
				    .now = now,
				    .file = {.fd = -1}};
		int result = chop_once(&chop, fd, len, sha256, ret_info, err);
		if (!result || err->status != ERR_CONFLICT || tries == TRIES)
			return result;
	}
}
