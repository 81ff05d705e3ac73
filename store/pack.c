#include "store/pack.h"

#include "base/buf.h"
#include "store/le.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t pack_head[PACK_HEAD] = {'F', 'L', 'P', 'K', PACK_VERSION, 0, 0, 0};
static const uint8_t pack_end[4] = {'K', 'P', 'L', 'F'};

struct pack_writer {
	struct sink sink;
	struct digest_ctx *hash; /* owned; of all bytes so far */
	struct buf footer;	 /* the entries so far */
	uint32_t at;		 /* bytes written */
	uint32_t count;
};

struct pack_writer *pack_writer_new(struct sink sink)
{
	AUTO(pack_writer_free) struct pack_writer *writer = calloc(1, sizeof *writer);

	if (!writer || !(writer->hash = digest_begin()))
		return NULL;
	writer->sink = sink;
	writer->at = PACK_HEAD;
	buf_init(&writer->footer, PACK_CHUNKS_MAX * PACK_ENTRY + PACK_TAIL);
	return TAKE(writer);
}

void pack_writer_free(struct pack_writer *writer)
{
	if (!writer)
		return;
	digest_free(writer->hash);
	buf_done(&writer->footer);
	free(writer);
}

uint32_t pack_writer_count(const struct pack_writer *writer)
{
	return writer->count;
}

uint32_t pack_writer_bytes(const struct pack_writer *writer)
{
	return writer->at + writer->count * PACK_ENTRY + PACK_TAIL;
}

bool pack_writer_fits(const struct pack_writer *writer, uint32_t stored)
{
	return writer->count < PACK_CHUNKS_MAX && stored <= CHUNK_STORED_MAX &&
	       pack_writer_bytes(writer) + PACK_ENTRY + stored <= PACK_MAX;
}

static int pack_writer_put(struct pack_writer *writer, const void *bytes, size_t len,
			   struct err *err)
{
	digest_add(writer->hash, bytes, len);
	if (writer->sink.write(writer->sink.arg, bytes, len, err))
		return err_in(err, "pack");
	return 0;
}

static int pack_check_chunk(const struct pack_chunk *chunk, uint32_t i, struct err *err)
{
	if (!chunk->raw || chunk->raw > CHUNK_RAW_MAX)
		return err_set(err, ERR_INVALID, "pack: chunk %u: raw length %u is outside 1..%u",
			       i, chunk->raw, CHUNK_RAW_MAX);
	if (!chunk->stored || chunk->stored > chunk->raw + CHUNK_STORED_EXTRA)
		return err_set(err, ERR_INVALID,
			       "pack: chunk %u: %u stored bytes for %u raw ones", i,
			       chunk->stored, chunk->raw);
	return 0;
}

int pack_writer_add(struct pack_writer *writer, const struct digest *digest, uint32_t raw,
		    const struct coded *coded, uint32_t *ret_at, struct err *err)
{
	struct pack_chunk chunk = {.stored = coded->len, .raw = raw};

	if (pack_check_chunk(&chunk, writer->count, err))
		return -1;
	if (!pack_writer_fits(writer, coded->len))
		return err_set(err, ERR_TOO_LARGE, "pack: %u bytes more do not fit; begin a new one",
			       coded->len);
	if (!writer->count && pack_writer_put(writer, pack_head, PACK_HEAD, err))
		return -1;
	if (pack_writer_put(writer, coded->bytes, coded->len, err))
		return -1;
	buf_add(&writer->footer, digest->bytes, DIGEST_LEN);
	buf_add_le32(&writer->footer, writer->at);
	buf_add_le32(&writer->footer, coded->len);
	buf_add_le32(&writer->footer, raw);
	buf_addc(&writer->footer, (char)coded->codec);
	buf_addc(&writer->footer, (char)coded->type);
	if (buf_ok(&writer->footer, "pack", err))
		return -1;
	if (ret_at)
		*ret_at = writer->at;
	writer->at += coded->len;
	writer->count++;
	return 0;
}

int pack_writer_finish(struct pack_writer *writer, struct digest *ret_name, uint32_t *ret_bytes,
		       struct err *err)
{
	if (!writer->count)
		return err_set(err, ERR_INVALID, "pack: without a chunk");
	uint32_t bytes = pack_writer_bytes(writer);
	buf_add_le32(&writer->footer, writer->count);
	buf_add(&writer->footer, pack_end, sizeof pack_end);
	if (buf_ok(&writer->footer, "pack", err) ||
	    pack_writer_put(writer, writer->footer.data, writer->footer.len, err))
		return -1;
	digest_end(writer->hash, ret_name);
	*ret_bytes = bytes;
	return 0;
}

/* Head and tail; tells how many chunks the footer lists. */
static int pack_check_ends(const struct source *source, uint32_t *ret_count, struct err *err)
{
	uint8_t head[PACK_HEAD], tail[PACK_TAIL];

	if (source->size > PACK_MAX)
		return err_set(err, ERR_TOO_LARGE, "pack: longer than %u bytes", PACK_MAX);
	if (source->size < PACK_HEAD + 1 + PACK_ENTRY + PACK_TAIL)
		return err_set(err, ERR_INVALID, "pack: too short to hold a chunk");
	if (source->read(source->arg, 0, head, PACK_HEAD, err) ||
	    source->read(source->arg, source->size - PACK_TAIL, tail, PACK_TAIL, err))
		return err_in(err, "pack");
	if (memcmp(head, pack_head, PACK_HEAD))
		return err_set(err, ERR_INVALID, "pack: does not begin like one of version %d",
			       PACK_VERSION);
	if (memcmp(tail + 4, pack_end, sizeof pack_end))
		return err_set(err, ERR_INVALID, "pack: does not end like one; is it whole?");
	uint32_t count = le_u32(tail);
	if (!count || count > PACK_CHUNKS_MAX)
		return err_set(err, ERR_INVALID, "pack: %u chunks are outside 1..%u", count,
			       PACK_CHUNKS_MAX);
	if ((uint64_t)count * (PACK_ENTRY + 1) > source->size - PACK_HEAD - PACK_TAIL)
		return err_set(err, ERR_INVALID, "pack: too short for %u chunks", count);
	*ret_count = count;
	return 0;
}

static struct pack_chunk pack_entry(const uint8_t *p)
{
	struct pack_chunk chunk = {
		.at = le_u32(p + 32),
		.stored = le_u32(p + 36),
		.raw = le_u32(p + 40),
		.codec = p[44],
		.type = p[45],
	};

	memcpy(chunk.digest.bytes, p, DIGEST_LEN);
	return chunk;
}

static int pack_fill(struct pack_index *index, const uint8_t *footer, uint64_t footer_at,
		     struct err *err)
{
	uint64_t at = PACK_HEAD;

	for (uint32_t i = 0; i < index->count; i++) {
		struct pack_chunk chunk = pack_entry(footer + (size_t)i * PACK_ENTRY);
		if (pack_check_chunk(&chunk, i, err))
			return -1;
		if (chunk.at != at)
			return err_set(err, ERR_INVALID,
				       "pack: chunk %u: begins at %u instead of %llu", i, chunk.at,
				       (unsigned long long)at);
		index->chunks[i] = chunk;
		at += chunk.stored;
	}
	if (at != footer_at)
		return err_set(err, ERR_INVALID,
			       "pack: the chunks end at %llu, the footer begins at %llu",
			       (unsigned long long)at, (unsigned long long)footer_at);
	return 0;
}

int pack_index_parse(struct pack_index **ret_index, const struct source *source,
		     struct err *err)
{
	uint32_t count;

	if (pack_check_ends(source, &count, err))
		return -1;
	AUTO(pack_index_free) struct pack_index *index = calloc(1, sizeof *index);
	if (!index || !(index->chunks = calloc(count, sizeof *index->chunks)))
		return err_nomem(err);
	index->count = count;
	size_t len = (size_t)count * PACK_ENTRY;
	uint64_t at = source->size - PACK_TAIL - len;
	AUTO_BUF struct buf footer = BUF_INIT(len);
	uint8_t *bytes = buf_grow(&footer, len);
	if (!bytes)
		return err_nomem(err);
	if (source->read(source->arg, at, bytes, len, err))
		return err_in(err, "pack");
	if (pack_fill(index, bytes, at, err))
		return -1;
	*ret_index = TAKE(index);
	return 0;
}

void pack_index_free(struct pack_index *index)
{
	if (!index)
		return;
	free(index->chunks);
	free(index);
}
