/* Input: codec (u8), raw length (3 bytes, little-endian), stored bytes.  Decoding writes exactly
 * the raw length or fails; any bytes come back after being encoded. */
#include "store/codec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *data, size_t size)
{
	struct err err;
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	size_t raw_len = data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
	struct coded coded = {data + 4, (uint32_t)(size - 4), data[0], 0};
	uint8_t *raw = malloc(raw_len + !raw_len);

	if (decoder && raw && codec_decode(decoder, &coded, raw, raw_len, &err) &&
	    err.status != ERR_INVALID)
		abort();
	free(raw);
}

static void round_trip(uint8_t type, const uint8_t *data, size_t size)
{
	struct err err;
	AUTO(encoder_free) struct encoder *encoder = encoder_new();
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	struct coded coded;
	uint8_t *raw = malloc(size);

	if (encoder && decoder && raw &&
	    (codec_encode(encoder, type, data, size, &coded, &err) || coded.len > size ||
	     codec_decode(decoder, &coded, raw, size, &err) || memcmp(raw, data, size) != 0))
		abort();
	free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4 || size > CHUNK_RAW_MAX)
		return 0;
	decode(data, size);
	round_trip(data[1], data, size);
	return 0;
}
