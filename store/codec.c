#include "store/codec.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 1 /* higher ones gain nothing on weights */

struct encoder {
	ZSTD_CCtx *zstd; /* owned */
	uint8_t *out;	 /* owned; room bytes */
	size_t room;
};

struct decoder {
	ZSTD_DCtx *zstd; /* owned */
};

struct encoder *encoder_new(void)
{
	AUTO(encoder_free) struct encoder *encoder = calloc(1, sizeof *encoder);

	if (!encoder || !(encoder->zstd = ZSTD_createCCtx()))
		return NULL;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel,
						ZSTD_LEVEL)))
		return NULL;
	return TAKE(encoder);
}

void encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	ZSTD_freeCCtx(encoder->zstd);
	free(encoder->out);
	free(encoder);
}

struct decoder *decoder_new(void)
{
	AUTO(decoder_free) struct decoder *decoder = calloc(1, sizeof *decoder);

	if (!decoder || !(decoder->zstd = ZSTD_createDCtx()))
		return NULL;
	return TAKE(decoder);
}

void decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	ZSTD_freeDCtx(decoder->zstd);
	free(decoder);
}

static int raw_len_check(size_t len, struct err *err)
{
	if (!len || len > CHUNK_RAW_MAX)
		return err_set(err, ERR_INVALID, "chunk: raw length %zu is outside 1..%u", len,
			       CHUNK_RAW_MAX);
	return 0;
}

static int encoder_reserve(struct encoder *encoder, size_t room, struct err *err)
{
	if (room <= encoder->room)
		return 0;
	uint8_t *out = realloc(encoder->out, room);
	if (!out)
		return err_nomem(err);
	encoder->out = out;
	encoder->room = room;
	return 0;
}

int codec_encode(struct encoder *encoder, uint8_t type, const void *raw, size_t len,
		 struct coded *ret_coded, struct err *err)
{
	if (raw_len_check(len, err) || encoder_reserve(encoder, len, err))
		return -1;
	*ret_coded = (struct coded){raw, (uint32_t)len, CODEC_STORED, type};
	/* The room given is what makes it worth while; beyond it zstd gives up. */
	size_t n = ZSTD_compress2(encoder->zstd, encoder->out, len - 1 - len / 100, raw, len);
	if (!ZSTD_isError(n))
		*ret_coded = (struct coded){encoder->out, (uint32_t)n, CODEC_ZSTD, type};
	return 0;
}

static int decode_stored(const struct coded *coded, void *raw, size_t raw_len, struct err *err)
{
	if (coded->len != raw_len)
		return err_set(err, ERR_INVALID,
			       "chunk: %u stored bytes cannot be %zu raw ones without a codec",
			       (unsigned)coded->len, raw_len);
	memcpy(raw, coded->bytes, raw_len);
	return 0;
}

/* Frame header of RFC 8878, section 3.1.1.1.  Decoding in one piece, zstd would neither mind a
 * skippable frame, a dictionary id nor a huge window. */
static int zstd_check(const struct coded *coded, size_t raw_len, struct err *err)
{
	const uint8_t *p = coded->bytes;

	if (coded->len < 6 || memcmp(p, "\x28\xb5\x2f\xfd", 4))
		return err_set(err, ERR_INVALID, "chunk: not a zstd frame");
	if (p[4] & 3)
		return err_set(err, ERR_INVALID, "chunk: a zstd frame with a dictionary id");
	bool single_segment = p[4] & 0x20;
	unsigned exponent = p[5] >> 3, mantissa = p[5] & 7;
	if (!single_segment && 10 + exponent + (mantissa != 0) > CODEC_WINDOW_LOG_MAX)
		return err_set(err, ERR_INVALID, "chunk: a zstd window beyond 2^%d bytes",
			       CODEC_WINDOW_LOG_MAX);
	unsigned long long size = ZSTD_getFrameContentSize(p, coded->len);
	if (size != raw_len)
		return err_set(err, ERR_INVALID,
			       "chunk: the zstd frame does not state a content of %zu bytes",
			       raw_len);
	if (ZSTD_findFrameCompressedSize(p, coded->len) != coded->len)
		return err_set(err, ERR_INVALID,
			       "chunk: not exactly one whole zstd frame in %u bytes",
			       (unsigned)coded->len);
	return 0;
}

static int decode_zstd(struct decoder *decoder, const struct coded *coded, void *raw,
		       size_t raw_len, struct err *err)
{
	if (zstd_check(coded, raw_len, err))
		return -1;
	size_t n = ZSTD_decompressDCtx(decoder->zstd, raw, raw_len, coded->bytes, coded->len);
	if (ZSTD_isError(n))
		return err_set(err, ERR_INVALID, "chunk: zstd: %s", ZSTD_getErrorName(n));
	if (n != raw_len)
		return err_set(err, ERR_INVALID, "chunk: %zu bytes decoded instead of %zu", n,
			       raw_len);
	return 0;
}

int codec_decode(struct decoder *decoder, const struct coded *coded, void *raw, size_t raw_len,
		 struct err *err)
{
	if (raw_len_check(raw_len, err))
		return -1;
	if (!coded->len || coded->len > raw_len + CHUNK_STORED_EXTRA)
		return err_set(err, ERR_INVALID, "chunk: %u stored bytes for %zu raw ones",
			       (unsigned)coded->len, raw_len);
	switch (coded->codec) {
	case CODEC_STORED:
		return decode_stored(coded, raw, raw_len, err);
	case CODEC_ZSTD:
		return decode_zstd(decoder, coded, raw, raw_len, err);
	default:
		return err_set(err, ERR_INVALID,
			       "chunk: codec %u is not known to this version; update it",
			       coded->codec);
	}
}

int codec_open(struct decoder *decoder, const struct coded *coded, const struct digest *digest,
	       void *raw, size_t raw_len, struct err *err)
{
	if (codec_decode(decoder, coded, raw, raw_len, err))
		return -1;
	struct digest got;
	digest_of(&got, raw, raw_len);
	if (!digest_eq(&got, digest)) {
		char hex[DIGEST_HEX];
		digest_hex(digest, hex);
		return err_set(err, ERR_UNTRUSTED, "chunk: its bytes are not those of sha256:%s",
			       hex);
	}
	return 0;
}

bool codec_known(uint8_t codec)
{
	return codec == CODEC_STORED || codec == CODEC_ZSTD;
}

const char *codec_name(uint8_t codec)
{
	return codec == CODEC_STORED ? "stored" : codec == CODEC_ZSTD ? "zstd" : "unknown";
}
