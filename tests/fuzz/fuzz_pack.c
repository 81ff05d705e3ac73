/* Whatever footer is accepted, its chunks lie in the pack and can be tried; writing them again gives
 * the same pack. */
#include "store/pack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_chunk(const uint8_t *data, const struct pack_chunk *chunk)
{
	struct err err;
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	struct coded coded = {data + chunk->at, chunk->stored, chunk->codec, chunk->type};
	uint8_t *raw = malloc(chunk->raw);

	if (decoder && raw &&
	    codec_open(decoder, &coded, &chunk->digest, raw, chunk->raw, &err) &&
	    err.status != ERR_INVALID && err.status != ERR_UNTRUSTED)
		abort();
	free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	struct memory memory;
	struct source source = source_memory(&memory, data, size);
	AUTO(pack_index_free) struct pack_index *index = NULL;
	AUTO_BUF struct buf again = BUF_INIT(PACK_MAX);
	AUTO(pack_writer_free) struct pack_writer *writer = pack_writer_new(sink_buf(&again));

	if (!writer || pack_index_parse(&index, &source, &err))
		return 0;
	for (uint32_t i = 0; i < index->count; i++) {
		const struct pack_chunk *c = &index->chunks[i];
		struct coded coded = {data + c->at, c->stored, c->codec, c->type};
		if ((uint64_t)c->at + c->stored > size ||
		    pack_writer_add(writer, &c->digest, c->raw, &coded, NULL, &err))
			abort();
		if (i < 8)
			try_chunk(data, c);
	}
	struct digest name;
	uint32_t bytes;
	if (pack_writer_finish(writer, &name, &bytes, &err) || again.len != size ||
	    memcmp(again.data, data, size) != 0)
		abort();
	return 0;
}
