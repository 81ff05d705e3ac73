#include "store/ingest_internal.h"

#include "base/file.h"
#include "store/codec.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES (256 * 1024)

int ingest_collected(const char *what, bool *again, struct err *err)
{
	*again = true;
	return err_set(err, ERR_CONFLICT, "%s: it was just collected: push again", what);
}

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
	struct blobs *blobs;
	const struct digest *name;
	uint32_t bytes;
	const struct pack_index *index;
	int64_t now;
	const struct also *also;
	bool again; /* out: it was collected meanwhile */
};

static int pack_row_add(struct db *db, void *arg, struct err *err)
{
	struct pack_row *row = arg;
	const int64_t now = blobs_wanted(row->blobs, row->now);

	if (!blob_exists(row->blobs, BLOB_PACK, row->name))
		return ingest_collected("pack", &row->again, err);
	if (inventory_pack_add(db, row->name, row->bytes, row->index, now, err) < 0)
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
	struct pack_row row = {blobs, name, bytes, index, now, NULL, false};

	return pack_keep(blobs, &row, file, err);
}

static int pack_take(struct blobs *blobs, const struct digest *name, int fd, uint64_t len,
		     int64_t now, const struct also *also, bool *again,
		     struct ingest_result *ret_result, struct err *err)
{
	AUTO(pack_index_free) struct pack_index *index = NULL;
	struct blob_file file;

	if (pack_check(fd, len, &index, err) < 0 ||
	    blob_file_adopt(blobs, fd, len, &file, err) < 0)
		return -1;
	struct pack_row row = {blobs, name, (uint32_t)len, index, now, also, false};
	int result = pack_keep(blobs, &row, &file, err);
	*again = row.again;
	blob_file_done(&file);
	if (!result && index)
		*ret_result = (struct ingest_result){index->count, false};
	return result;
}

/* A pack that is there: whoever sends it is about to rely on it. */
static int pack_again(struct blobs *blobs, const struct digest *name, int64_t now, bool *again,
		      struct ingest_result *ret_result, struct err *err)
{
	AUTO(pack_index_free) struct pack_index *index = NULL;
	AUTO_FD int fd = blob_fd(blobs, BLOB_PACK, name, err);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd >= 0			       ? err_sys(err, "cannot look at a pack")
		       : err->status == ERR_NOT_FOUND ? ingest_collected("pack", again, err)
						      : -1;
	const uint64_t len = (uint64_t)st.st_size;
	struct source source = source_fd(&fd, len);
	if (pack_index_parse(&index, &source, err) < 0) {
		if (err->status == ERR_INVALID)
			err->status = ERR_CORRUPT;
		return -1;
	}
	struct pack_row row = {blobs, name, (uint32_t)len, index, now, NULL, false};
	int result = ledger_run(blobs_ledger(blobs), pack_row_add, &row, err);
	*again = row.again;
	if (result < 0)
		return -1;
	*ret_result = (struct ingest_result){index->count, true};
	return 0;
}

static int pack_put(struct blobs *blobs, struct db *db, const struct digest *name, int fd,
		    uint64_t len, int64_t now, const struct also *also, bool *again,
		    struct ingest_result *ret_result, struct err *err)
{
	const bool blind = also && also->blind;
	int there = !blind && blob_exists(blobs, BLOB_PACK, name) ? inventory_pack(db, name, err) : 0;

	if (there < 0)
		return -1;
	if (there)
		return pack_again(blobs, name, now, again, ret_result, err);
	return pack_take(blobs, name, fd, len, now, also, again, ret_result, err);
}

int ingest_pack(struct blobs *blobs, struct db *db, const struct digest *name, int fd,
		uint64_t len, int64_t now, const struct also *also,
		struct ingest_result *ret_result, struct err *err)
{
	if (len > PACK_MAX)
		return err_set(err, ERR_TOO_LARGE, "pack: longer than %u bytes", PACK_MAX);
	if (pack_hash(fd, len, name, err) < 0 || blobs_room(blobs, 0, err) < 0)
		return -1;
	for (int tries = 1;; tries++) {
		bool again = false;
		int result = pack_put(blobs, db, name, fd, len, now, also, &again, ret_result, err);
		if (!result || !again || tries == INGEST_TRIES)
			return result;
	}
}

/* ---- What is missing. ---- */

struct wanted {
	struct blobs *blobs;
	struct map *packs; /* a set of digests, its values the map itself */
	int64_t now;
	bool again; /* out: one was collected meanwhile */
};

static int wanted_mark(struct db *db, void *arg, struct err *err)
{
	struct wanted *wanted = arg;
	const int64_t now = blobs_wanted(wanted->blobs, wanted->now);
	const void *key;
	void *value;
	size_t at = 0;
	struct digest pack;

	while (map_next(wanted->packs, &at, &key, NULL, &value)) {
		memcpy(pack.bytes, key, DIGEST_LEN);
		int there = inventory_pack_want(db, &pack, now, err);
		if (there <= 0)
			return there < 0 ? -1 : ingest_collected("a pack", &wanted->again, err);
	}
	return 0;
}

/* The question; digests' bits are set in bitmap where they must be sent. */
struct question {
	const struct digest *digests;
	size_t count;
	const struct map *places;
	uint8_t *bitmap;
};

static int missing_find(struct db *db, const struct question *q, struct map *packs,
			struct err *err)
{
	struct chunk_place place;

	for (size_t i = 0; i < q->count; i++) {
		q->bitmap[i / 8] |= (uint8_t)(1u << i % 8);
		int row = inventory_place(db, q->places, &q->digests[i], &place, err);
		if (row < 0)
			return -1;
		if (!row)
			continue;
		q->bitmap[i / 8] &= (uint8_t)~(1u << i % 8);
		if (!map_get(packs, place.pack.bytes, DIGEST_LEN) &&
		    map_put(packs, place.pack.bytes, DIGEST_LEN, packs))
			return err_nomem(err);
	}
	return 0;
}

int ingest_missing(struct blobs *blobs, struct db *db, const struct digest *digests, size_t count,
		   const struct map *places, int64_t now, uint8_t *bitmap, struct err *err)
{
	const struct question question = {digests, count, places, bitmap};

	for (int tries = 1;; tries++) {
		AUTO(map_free) struct map *packs = map_new(NULL);
		struct wanted wanted = {blobs, packs, now, false};
		if (!packs)
			return err_nomem(err);
		int result = missing_find(db, &question, packs, err);
		if (!result && map_count(packs))
			result = ledger_run(blobs_ledger(blobs), wanted_mark, &wanted, err);
		if (!result || !wanted.again || tries == INGEST_TRIES)
			return result;
	}
}
