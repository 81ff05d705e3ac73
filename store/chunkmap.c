#include "store/chunkmap.h"

#include "base/grow.h"
#include "store/codec.h"
#include "store/le.h"
#include "store/pack.h"

#include <string.h>

#define HEAD 60
#define PACK_ROW 36
#define CHUNK_ROW 13
#define DELTA_ROW 44

static const uint8_t chunkmap_head[8] = {'F', 'L', 'M', 'P', CHUNKMAP_VERSION, 0, 0, 0};

struct chunkmap *chunkmap_new(const struct digest *recipe)
{
	struct chunkmap *map = calloc(1, sizeof *map);

	if (map)
		map->recipe = *recipe;
	return map;
}

void chunkmap_free(struct chunkmap *map)
{
	if (!map)
		return;
	free(map->packs);
	free(map->chunks);
	free(map->deltas);
	free(map);
}

int chunkmap_add_pack(struct chunkmap *map, const struct digest *digest, uint32_t bytes,
		      uint32_t *ret_index, struct err *err)
{
	if (!bytes || bytes > PACK_MAX)
		return err_set(err, ERR_INVALID, "map: pack %u: %u bytes are outside 1..%u",
			       map->pack_count, bytes, PACK_MAX);
	if (map->pack_count == RECIPE_CHUNKS_MAX)
		return err_set(err, ERR_TOO_LARGE, "map: more than %u packs", RECIPE_CHUNKS_MAX);
	struct chunkmap_pack *packs =
		grow_array(map->packs, &map->pack_room, map->pack_count, sizeof *packs);
	if (!packs)
		return err_nomem(err);
	map->packs = packs;
	packs[map->pack_count] = (struct chunkmap_pack){.digest = *digest, .bytes = bytes};
	*ret_index = map->pack_count++;
	return 0;
}

int chunkmap_add(struct chunkmap *map, const struct chunkmap_chunk *chunk, struct err *err)
{
	if (map->count == RECIPE_CHUNKS_MAX)
		return err_set(err, ERR_TOO_LARGE, "map: more than %u chunks", RECIPE_CHUNKS_MAX);
	if (chunk->pack >= map->pack_count)
		return err_set(err, ERR_INVALID, "map: chunk %u: there is no pack %u", map->count,
			       chunk->pack);
	if (!chunk->stored || chunk->stored > CHUNK_STORED_MAX)
		return err_set(err, ERR_INVALID, "map: chunk %u: %u stored bytes are outside 1..%u",
			       map->count, chunk->stored, CHUNK_STORED_MAX);
	uint32_t end = map->packs[chunk->pack].bytes;
	if (chunk->at < PACK_HEAD || chunk->at > end || chunk->stored > end - chunk->at)
		return err_set(err, ERR_INVALID, "map: chunk %u: lies outside its pack",
			       map->count);
	struct chunkmap_chunk *chunks =
		grow_array(map->chunks, &map->room, map->count, sizeof *chunks);
	if (!chunks)
		return err_nomem(err);
	map->chunks = chunks;
	chunks[map->count++] = *chunk;
	return 0;
}

int chunkmap_add_delta(struct chunkmap *map, const struct chunkmap_delta *delta, struct err *err)
{
	if (map->delta_count == CHUNKMAP_DELTAS_MAX)
		return err_set(err, ERR_TOO_LARGE, "map: more than %u deltas",
			       CHUNKMAP_DELTAS_MAX);
	if (!delta->parts || delta->parts > CHUNKMAP_PARTS_MAX)
		return err_set(err, ERR_INVALID, "map: delta %u: %u parts are outside 1..%u",
			       map->delta_count, delta->parts, CHUNKMAP_PARTS_MAX);
	if (delta->bytes < delta->parts || delta->bytes > (uint64_t)delta->parts * PACK_MAX)
		return err_set(err, ERR_INVALID, "map: delta %u: %llu bytes do not go in %u parts",
			       map->delta_count, (unsigned long long)delta->bytes, delta->parts);
	struct chunkmap_delta *deltas =
		grow_array(map->deltas, &map->delta_room, map->delta_count, sizeof *deltas);
	if (!deltas)
		return err_nomem(err);
	map->deltas = deltas;
	deltas[map->delta_count++] = *delta;
	return 0;
}

static int place_cmp(const void *a, const void *b)
{
	const struct chunkmap_chunk *x = a, *y = b;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* Walk the places sorted: equal ones count once, others must not overlap. */
static int places_sum(const struct chunkmap_chunk *places, uint32_t count, uint64_t *ret_sum,
		      struct err *err)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct chunkmap_chunk *now = &places[i], *last = i ? now - 1 : NULL;
		if (!last || last->pack != now->pack || last->at + last->stored <= now->at) {
			sum += now->stored;
			continue;
		}
		if (last->at != now->at || last->stored != now->stored ||
		    last->codec != now->codec)
			return err_set(err, ERR_INVALID,
				       "map: chunks overlap in pack %u at offset %u", now->pack,
				       now->at);
	}
	*ret_sum = sum;
	return 0;
}

int chunkmap_sum(const struct chunkmap *map, uint64_t *ret_sum, struct err *err)
{
	if (!map->count) {
		*ret_sum = 0;
		return 0;
	}
	struct chunkmap_chunk *places = malloc(map->count * sizeof *places);
	if (!places)
		return err_nomem(err);
	memcpy(places, map->chunks, map->count * sizeof *places);
	qsort(places, map->count, sizeof *places, place_cmp);
	int failed = places_sum(places, map->count, ret_sum, err);
	free(places);
	return failed;
}

int chunkmap_encode(struct chunkmap *map, struct buf *out, struct err *err)
{
	if (chunkmap_sum(map, &map->stored, err))
		return -1;
	buf_add(out, chunkmap_head, sizeof chunkmap_head);
	buf_add(out, map->recipe.bytes, DIGEST_LEN);
	buf_add_le64(out, map->stored);
	buf_add_le32(out, map->pack_count);
	buf_add_le32(out, map->count);
	buf_add_le32(out, map->delta_count);
	for (uint32_t i = 0; i < map->pack_count; i++) {
		buf_add(out, map->packs[i].digest.bytes, DIGEST_LEN);
		buf_add_le32(out, map->packs[i].bytes);
	}
	for (uint32_t i = 0; i < map->count; i++) {
		const struct chunkmap_chunk *chunk = &map->chunks[i];
		buf_add_le32(out, chunk->pack);
		buf_add_le32(out, chunk->at);
		buf_add_le32(out, chunk->stored);
		buf_addc(out, (char)chunk->codec);
	}
	for (uint32_t i = 0; i < map->delta_count; i++) {
		buf_add(out, map->deltas[i].from.bytes, DIGEST_LEN);
		buf_add_le32(out, map->deltas[i].parts);
		buf_add_le64(out, map->deltas[i].bytes);
	}
	return buf_ok(out, "map", err);
}

static int chunkmap_check_head(const uint8_t *p, size_t len, struct err *err)
{
	if (len > CHUNKMAP_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "map: longer than %u bytes",
			       CHUNKMAP_BYTES_MAX);
	if (len < HEAD || memcmp(p, chunkmap_head, sizeof chunkmap_head))
		return err_set(err, ERR_INVALID, "map: does not begin like one of version %d",
			       CHUNKMAP_VERSION);
	uint64_t need = HEAD + (uint64_t)le_u32(p + 48) * PACK_ROW +
			(uint64_t)le_u32(p + 52) * CHUNK_ROW +
			(uint64_t)le_u32(p + 56) * DELTA_ROW;
	if (len != need)
		return err_set(err, ERR_INVALID, "map: %zu bytes, but its counts need %llu", len,
			       (unsigned long long)need);
	return 0;
}

static int chunkmap_fill(struct chunkmap *map, const uint8_t *p, struct err *err)
{
	uint32_t packs = le_u32(p + 48), chunks = le_u32(p + 52), deltas = le_u32(p + 56), index;

	p += HEAD;
	for (uint32_t i = 0; i < packs; i++, p += PACK_ROW) {
		struct digest digest;
		memcpy(digest.bytes, p, DIGEST_LEN);
		if (chunkmap_add_pack(map, &digest, le_u32(p + 32), &index, err))
			return -1;
	}
	for (uint32_t i = 0; i < chunks; i++, p += CHUNK_ROW) {
		struct chunkmap_chunk chunk = {le_u32(p), le_u32(p + 4), le_u32(p + 8), p[12]};
		if (chunkmap_add(map, &chunk, err))
			return -1;
	}
	for (uint32_t i = 0; i < deltas; i++, p += DELTA_ROW) {
		struct chunkmap_delta delta = {.parts = le_u32(p + 32), .bytes = le_u64(p + 36)};
		memcpy(delta.from.bytes, p, DIGEST_LEN);
		if (chunkmap_add_delta(map, &delta, err))
			return -1;
	}
	return 0;
}

int chunkmap_parse(struct chunkmap **ret_map, const void *bytes, size_t len, struct err *err)
{
	const uint8_t *p = bytes;
	struct digest recipe;

	if (chunkmap_check_head(p, len, err))
		return -1;
	memcpy(recipe.bytes, p + 8, DIGEST_LEN);
	AUTO(chunkmap_free) struct chunkmap *map = chunkmap_new(&recipe);
	if (!map)
		return err_nomem(err);
	if (chunkmap_fill(map, p, err) || chunkmap_sum(map, &map->stored, err))
		return -1;
	if (map->stored != le_u64(p + 40))
		return err_set(err, ERR_INVALID,
			       "map: the chunks take %llu bytes, not the %llu stated",
			       (unsigned long long)map->stored,
			       (unsigned long long)le_u64(p + 40));
	*ret_map = TAKE(map);
	return 0;
}

int chunkmap_fits(const struct chunkmap *map, const struct recipe *recipe,
		  const struct digest *name, struct err *err)
{
	if (!digest_eq(&map->recipe, name))
		return err_set(err, ERR_INVALID, "map: belongs to another recipe");
	if (map->count != recipe->count)
		return err_set(err, ERR_INVALID, "map: %u chunks, but the recipe has %u",
			       map->count, recipe->count);
	for (uint32_t i = 0; i < map->count; i++)
		if (map->chunks[i].stored > recipe->chunks[i].len + CHUNK_STORED_EXTRA)
			return err_set(err, ERR_INVALID,
				       "map: chunk %u: %u stored bytes for %u raw ones", i,
				       map->chunks[i].stored, recipe->chunks[i].len);
	return 0;
}
