#include "store/repack.h"

#include "base/file.h"
#include "base/grow.h"
#include "base/map.h"
#include "store/codec.h"
#include "store/ingest.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/remap.h"

#include <stdlib.h>
#include <string.h>

/* Where a chunk lay; the key of a move. */
struct place {
	uint8_t pack[DIGEST_LEN];
	uint8_t at[4];
};

/* Where it lies now. */
struct move {
	struct digest from;
	uint32_t made; /* index of the new pack */
	struct pack_chunk chunk; /* in the new pack */
};

struct made {
	struct digest name;
	uint32_t bytes;
};

struct repack {
	struct blobs *blobs;
	struct db *db;
	const struct marks *marks;
	const struct repack_options *options;
	struct decoder *decoder;
	uint8_t *room;		 /* CHUNK_STORED_MAX, then CHUNK_RAW_MAX bytes */
	struct map *moves;	 /* struct place -> struct move *, owned */
	struct move **open;	 /* those into the open pack, borrowed from moves */
	uint32_t open_count, open_room;
	struct pack_writer *writer; /* NULL: no pack is open */
	struct blob_file file;
	struct made *made;
	uint32_t made_count;
	struct repack_report report;
};

static void repack_done(struct repack *repack)
{
	decoder_free(repack->decoder);
	free(repack->room);
	map_free(repack->moves);
	free(repack->open);
	pack_writer_free(repack->writer);
	blob_file_done(&repack->file);
	free(repack->made);
}

static struct place place_of(const struct digest *pack, uint32_t at)
{
	struct place place;

	memcpy(place.pack, pack->bytes, DIGEST_LEN);
	memcpy(place.at, &at, sizeof(place.at));
	return place;
}

/* ---- The pack that is being filled. ---- */

static int pack_begin(struct repack *repack, struct err *err)
{
	if (blobs_room(repack->blobs, PACK_MAX, err) < 0 ||
	    blob_file_new(repack->blobs, &repack->file, err) < 0)
		return -1;
	repack->writer = pack_writer_new(sink_fd(&repack->file.fd));
	return repack->writer ? 0 : err_nomem(err);
}

/* The rows lead to the new pack; the old ones stay for the grace. */
static int rows_move(struct db *db, void *arg, struct err *err)
{
	const struct repack *repack = arg;
	const struct digest *to = &repack->made[repack->made_count].name;
	const int64_t now = blobs_wanted(repack->blobs, repack->options->now);

	for (size_t i = 0; i < repack->open_count; i++) {
		const struct move *move = repack->open[i];
		if (inventory_chunk_move(db, &move->from, to, &move->chunk, err) < 0)
			return -1;
		if ((!i || !digest_eq(&move->from, &repack->open[i - 1]->from)) &&
		    inventory_pack_want(db, &move->from, now, err) < 0)
			return -1;
	}
	return 0;
}

static int made_add(struct repack *repack, const struct digest *name, uint32_t bytes,
		    struct err *err)
{
	struct made *grown = reallocarray(repack->made, repack->made_count + 1, sizeof(*grown));

	if (!grown)
		return err_nomem(err);
	repack->made = grown;
	grown[repack->made_count] = (struct made){*name, bytes};
	return 0;
}

/* The open pack, if any, becomes the store's. */
static int pack_end(struct repack *repack, struct err *err)
{
	AUTO(pack_writer_free) struct pack_writer *writer = TAKE(repack->writer);
	AUTO(pack_index_free) struct pack_index *index = NULL;
	struct digest name;
	uint32_t bytes;

	if (!writer)
		return 0;
	if (pack_writer_finish(writer, &name, &bytes, err) < 0)
		return -1;
	struct source source = source_fd(&repack->file.fd, bytes);
	if (pack_index_parse(&index, &source, err) < 0 ||
	    ingest_made_pack(repack->blobs, &name, bytes, index, &repack->file,
			     repack->options->now, err) < 0 ||
	    made_add(repack, &name, bytes, err) < 0 ||
	    ledger_run(blobs_ledger(repack->blobs), rows_move, repack, err) < 0)
		return -1;
	blob_file_done(&repack->file);
	repack->made_count++;
	repack->open_count = 0;
	return 0;
}

/* ---- Moving chunks. ---- */

/* For pack_end(); moved: the map's. */
static int open_add(struct repack *repack, struct move *moved, struct err *err)
{
	struct move **open = grow_array(repack->open, &repack->open_room, repack->open_count,
					sizeof(struct move *));

	if (!open)
		return err_nomem(err);
	repack->open = open;
	open[repack->open_count++] = moved;
	return 0;
}

static int move_note(struct repack *repack, const struct digest *from,
		     const struct pack_chunk *chunk, uint32_t at, struct err *err)
{
	const struct place place = place_of(from, chunk->at);
	struct move *move = malloc(sizeof(*move));

	if (!move)
		return err_nomem(err);
	*move = (struct move){.from = *from, .made = repack->made_count, .chunk = *chunk};
	move->chunk.at = at;
	if (map_put(repack->moves, &place, sizeof(place), move))
		return err_nomem(err);
	repack->report.chunks++;
	repack->report.bytes += chunk->stored;
	return open_add(repack, move, err);
}

/* 1: it is moved; 0: it is damaged and stays; -1: error. */
static int chunk_move(struct repack *repack, const struct digest *from, int fd,
		      const struct pack_chunk *chunk, struct err *err)
{
	const struct coded coded = {repack->room, chunk->stored, chunk->codec, chunk->type};
	uint32_t at;

	if (file_pread_all(fd, repack->room, chunk->stored, chunk->at, err) < 0 ||
	    codec_open(repack->decoder, &coded, &chunk->digest, repack->room + CHUNK_STORED_MAX,
		       chunk->raw, err) < 0)
		return err->status == ERR_SYSTEM ? -1 : 0;
	if (repack->writer && !pack_writer_fits(repack->writer, chunk->stored) &&
	    pack_end(repack, err) < 0)
		return -1;
	if (!repack->writer && pack_begin(repack, err) < 0)
		return -1;
	if (pack_writer_add(repack->writer, &chunk->digest, chunk->raw, &coded, &at, err) < 0)
		return -1;
	return move_note(repack, from, chunk, at, err) < 0 ? -1 : 1;
}

/* 1; 0: it cannot be read, which is the scrub's business; -1: error. */
static int pack_empty(struct repack *repack, const struct digest *name, struct err *err)
{
	const struct mark *mark = marks_pack(repack->marks, name);
	AUTO(pack_index_free) struct pack_index *index = NULL;
	AUTO_FD int fd = blob_fd(repack->blobs, BLOB_PACK, name, err);
	uint64_t len;

	if (fd < 0 || blob_stat(repack->blobs, BLOB_PACK, name, &len, NULL, err) < 0)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	struct source source = source_fd(&fd, len);
	if (pack_index_parse(&index, &source, err) < 0)
		return err->status == ERR_SYSTEM ? -1 : 0;
	for (uint32_t i = 0; i < index->count; i++)
		if (mark_has(mark, index->chunks[i].at) &&
		    chunk_move(repack, name, fd, &index->chunks[i], err) < 0)
			return -1;
	return 1;
}

/* A pack is begun only while the disk has room for it. */
static bool may_go_on(const struct repack *repack)
{
	const struct repack_options *options = repack->options;
	struct err full;

	if (options->go_on && !options->go_on(options->arg))
		return false;
	return repack->writer || blobs_room(repack->blobs, 2 * (uint64_t)PACK_MAX, &full) == 0;
}

static int packs_empty(struct repack *repack, const struct inventory_list *sparse,
		       struct err *err)
{
	for (size_t i = 0; i < sparse->count; i++) {
		if (i == REPACK_PACKS || !may_go_on(repack)) {
			repack->report.left += sparse->count - i;
			break;
		}
		int emptied = pack_empty(repack, &sparse->items[i].name, err);
		if (emptied < 0)
			return -1;
		repack->report.packs += emptied;
		repack->report.left += !emptied;
	}
	return pack_end(repack, err);
}

/* ---- Maps. ---- */

static const struct move *moved(const struct repack *repack, const struct chunkmap *map,
				uint32_t i)
{
	const struct chunkmap_chunk *chunk = &map->chunks[i];
	const struct place place = place_of(&map->packs[chunk->pack].digest, chunk->at);

	return map_get(repack->moves, &place, sizeof(place));
}

/* The index in map of a pack that may not be in it yet; indexes: its old or new index + 1, 0: none. */
static int index_of(struct chunkmap *map, uint32_t *index, const struct digest *name,
		    uint32_t bytes, uint32_t *ret_index, struct err *err)
{
	if (!*index) {
		if (chunkmap_add_pack(map, name, bytes, ret_index, err) < 0)
			return -1;
		*index = *ret_index + 1;
	}
	*ret_index = *index - 1;
	return 0;
}

/* Both tables have a slot a pack: of the old map's packs, and of those made. */
static int places_fill(const struct repack *repack, const struct chunkmap *old,
		       struct chunkmap *map, uint32_t *olds, uint32_t *mades, struct err *err)
{
	for (uint32_t i = 0; i < old->count; i++) {
		const struct move *move = moved(repack, old, i);
		struct chunkmap_chunk chunk = old->chunks[i];
		const struct chunkmap_pack *pack = &old->packs[chunk.pack];
		int failed;
		if (move) {
			const struct made *made = &repack->made[move->made];
			failed = index_of(map, &mades[move->made], &made->name, made->bytes,
					  &chunk.pack, err);
			chunk.at = move->chunk.at;
		} else {
			failed = index_of(map, &olds[chunk.pack], &pack->digest, pack->bytes,
					  &chunk.pack, err);
		}
		if (failed || chunkmap_add(map, &chunk, err) < 0)
			return -1;
	}
	return 0;
}

static int places_replace(const struct repack *repack, struct chunkmap *map, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *fresh = chunkmap_new(&map->recipe);
	uint32_t *olds = calloc((size_t)map->pack_count + repack->made_count + 1, sizeof(*olds));

	int result = fresh && olds ? places_fill(repack, map, fresh, olds,
						 olds + map->pack_count, err)
				   : err_nomem(err);
	for (uint32_t i = 0; i < map->delta_count && !result; i++)
		result = chunkmap_add_delta(fresh, &map->deltas[i], err);
	free(olds);
	if (result)
		return -1;
	/* What was in the one is freed with the other. */
	const struct chunkmap before = *map;
	*map = *fresh;
	*fresh = before;
	return 1;
}

static int change(void *arg, struct chunkmap *map, struct err *err)
{
	struct repack *repack = arg;

	for (uint32_t i = 0; i < map->count; i++)
		if (moved(repack, map, i)) {
			repack->report.maps++;
			return places_replace(repack, map, err);
		}
	return 0;
}

static int maps_replace(struct repack *repack, struct err *err)
{
	AUTO_LIST struct inventory_list recipes = {0};

	if (!map_count(repack->moves))
		return 0;
	if (inventory_recipes(repack->db, inventory_gather, &recipes, err) < 0)
		return -1;
	for (size_t i = 0; i < recipes.count; i++) {
		if (remap(repack->blobs, &recipes.items[i].name, change, repack, err) < 0 &&
		    err->status != ERR_NOT_FOUND) /* collected meanwhile */
			return -1;
	}
	return 0;
}

/* ---- A run. ---- */

struct looking {
	const struct marks *marks;
	struct inventory_list sparse;
};

static int find_sparse(void *arg, const struct digest *pack, int64_t bytes, struct err *err)
{
	struct looking *looking = arg;
	const struct mark *mark = marks_pack(looking->marks, pack);

	if (!mark || !mark->live || mark->live * 100 >= (uint64_t)bytes * REPACK_LIVE_PERCENT)
		return 0;
	return inventory_gather(&looking->sparse, pack, bytes, err);
}

static void count_only(struct repack *repack, const struct inventory_list *sparse)
{
	for (size_t i = 0; i < sparse->count; i++) {
		const struct mark *mark = marks_pack(repack->marks, &sparse->items[i].name);
		repack->report.chunks += mark->count;
		repack->report.bytes += mark->live;
	}
	repack->report.packs = sparse->count;
}

static int repack_all(struct repack *repack, const struct inventory_list *sparse, struct err *err)
{
	repack->decoder = decoder_new();
	repack->room = malloc((size_t)CHUNK_STORED_MAX + CHUNK_RAW_MAX);
	repack->moves = map_new(free);
	if (!repack->decoder || !repack->room || !repack->moves)
		return err_nomem(err);
	if (packs_empty(repack, sparse, err) < 0)
		return -1;
	repack->report.made = repack->made_count;
	return maps_replace(repack, err);
}

int repack_run(struct blobs *blobs, struct db *db, const struct marks *marks,
	       const struct repack_options *options, struct repack_report *ret_report,
	       struct err *err)
{
	struct repack repack = {.blobs = blobs,
				.db = db,
				.marks = marks,
				.options = options,
				.file = {.fd = -1}};
	struct looking looking = {.marks = marks};

	int result = inventory_packs_before(db, options->than, find_sparse, &looking, err);
	if (!result && options->dry_run)
		count_only(&repack, &looking.sparse);
	else if (!result && looking.sparse.count)
		result = repack_all(&repack, &looking.sparse, err);
	repack_done(&repack);
	inventory_list_done(&looking.sparse);
	if (!result)
		*ret_report = repack.report;
	return result;
}
