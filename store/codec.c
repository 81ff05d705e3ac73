#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_c_literalCompressionMode */
#include "store/codec.h"

#include "base/grow.h"
#include "store/codec_internal.h"
#include "store/numbers.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 1	    /* higher ones gain nothing on weights */
#define NO_MATCHES (-50)    /* as a level: hardly ever looks for repetition */
#define SAMPLE (64u << 10)  /* bytes that tell whether there is some */
#define SMALL (64u << 10)   /* chunks in which tables weigh: both kinds of planes are tried */

struct encoder {
	ZSTD_CCtx *zstd, *huffman; /* owned */
	struct numbers *numbers;   /* owned */
	uint8_t *out, *planes;	   /* owned; room bytes each */
	size_t room;
	uint8_t small[SMALL];
};

struct decoder {
	ZSTD_DCtx *zstd;	 /* owned */
	struct numbers *numbers; /* owned */
	uint8_t *planes; /* owned; room bytes */
	size_t room;
};

static ZSTD_CCtx *context_new(int level)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();

	if (!zstd)
		return NULL;
	size_t bad = ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);
	if (!ZSTD_isError(bad) && level < 0)
		bad = ZSTD_CCtx_setParameter(zstd, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
	if (!ZSTD_isError(bad))
		return zstd;
	ZSTD_freeCCtx(zstd);
	return NULL;
}

ZSTD_CCtx *codec_plain_new(void)
{
	return context_new(ZSTD_LEVEL);
}

ZSTD_CCtx *codec_huffman_new(void)
{
	return context_new(NO_MATCHES);
}

struct encoder *encoder_new(void)
{
	AUTO(encoder_free) struct encoder *encoder = calloc(1, sizeof *encoder);

	if (!encoder || !(encoder->zstd = codec_plain_new()) ||
	    !(encoder->huffman = codec_huffman_new()) || !(encoder->numbers = numbers_new()))
		return NULL;
	return TAKE(encoder);
}

void encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	ZSTD_freeCCtx(encoder->zstd);
	ZSTD_freeCCtx(encoder->huffman);
	numbers_free(encoder->numbers);
	free(encoder->out);
	free(encoder->planes);
	free(encoder);
}

struct decoder *decoder_new(void)
{
	AUTO(decoder_free) struct decoder *decoder = calloc(1, sizeof *decoder);

	if (!decoder || !(decoder->zstd = ZSTD_createDCtx()) || !(decoder->numbers = numbers_new()))
		return NULL;
	return TAKE(decoder);
}

void decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	ZSTD_freeDCtx(decoder->zstd);
	numbers_free(decoder->numbers);
	free(decoder->planes);
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
	if (!grow_bytes(&encoder->out, room) || !grow_bytes(&encoder->planes, room))
		return err_nomem(err);
	encoder->room = room;
	return 0;
}

/* One frame of the planes, each with tables of its own, behind the byte that names their layout.
 * 0: it does not fit into room. */
static size_t encode_planes(struct encoder *encoder, uint8_t type, const void *raw, size_t len,
			    uint8_t *to, size_t room)
{
	size_t ends[PLANES_MAX];
	const unsigned count = planes_split(type, PLANES_TURNED, raw, len, encoder->planes, ends);
	ZSTD_CCtx *zstd = encoder->huffman;
	ZSTD_outBuffer out = {to, room, 1};
	ZSTD_inBuffer in = {encoder->planes, 0, 0};

	if (!room)
		return 0;
	to[0] = type;
	if (ZSTD_isError(ZSTD_CCtx_reset(zstd, ZSTD_reset_session_only)) ||
	    ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(zstd, len)))
		return 0;
	for (unsigned i = 0; i < count; i++) {
		in.size = ends[i];
		/* What is left when the output is full: then it is not worth it. */
		if (ZSTD_compressStream2(zstd, &out, &in, i + 1 < count ? ZSTD_e_flush : ZSTD_e_end))
			return 0;
	}
	return out.pos;
}

/* The same planes by numbers.h, where that pays.  ret_len is 0 if not, or when it does not fit. */
static int encode_numbers(struct encoder *encoder, uint8_t type, const void *raw, size_t len, size_t room,
			  size_t *ret_len, struct err *err)
{
	size_t ends[PLANES_MAX];
	*ret_len = 0;
	if (!room || !numbers_pay(type))
		return 0;
	(void)planes_split(type, PLANES_TURNED, raw, len, encoder->planes, ends);
	size_t n;
	if (numbers_encode(encoder->numbers, type, encoder->planes, len, encoder->out + 1, room - 1, &n, err))
		return -1;
	encoder->out[0] = type;
	*ret_len = n ? 1 + n : 0;
	return 0;
}

/* Planes of the kind that is shorter, if one is shorter than room. */
static int encode_sorted(struct encoder *encoder, const void *raw, size_t room, struct coded *coded,
			 struct err *err)
{
	const uint8_t type = coded->type;
	const size_t len = coded->len;
	size_t n;
	if (encode_numbers(encoder, type, raw, len, room, &n, err))
		return -1;
	if (n)
		*coded = (struct coded){encoder->out, (uint32_t)n, CODEC_NUMBERS, type};
	if (n && len > SMALL)
		return 0;
	uint8_t *to = n ? encoder->small : encoder->out;
	const size_t other = encode_planes(encoder, type, raw, len, to, n ? n - 1 : room);
	if (!other)
		return 0;
	if (n)
		memcpy(encoder->out, to, other);
	*coded = (struct coded){encoder->out, (uint32_t)other, CODEC_PLANES, type};
	return 0;
}

static size_t encode_zstd(struct encoder *encoder, const void *raw, size_t len, uint8_t *to,
			  size_t room)
{
	const size_t n = ZSTD_compress2(encoder->zstd, to, room, raw, len);
	return ZSTD_isError(n) ? 0 : n;
}

/* Whether repetition promises more than n bytes for all len. */
static bool repeats(struct encoder *encoder, const void *raw, size_t len, size_t n)
{
	const size_t sample = len < SAMPLE ? len : SAMPLE;
	const size_t got = encode_zstd(encoder, raw, sample, encoder->planes, sample);
	return got && got * len < n * sample;
}

int codec_encode(struct encoder *encoder, uint8_t type, const void *raw, size_t len,
		 struct coded *ret_coded, struct err *err)
{
	if (raw_len_check(len, err) || encoder_reserve(encoder, len, err))
		return -1;
	*ret_coded = (struct coded){raw, (uint32_t)len, CODEC_STORED, type};
	/* The room given is what makes it worth while; beyond it zstd gives up. */
	size_t room = len - 1 - len / 100;
	if (planes_known(type)) {
		if (encode_sorted(encoder, raw, room, ret_coded, err))
			return -1;
		if (!repeats(encoder, raw, len, ret_coded->len))
			return 0;
	}
	/* What was made stays until something smaller is: it is made in the other buffer. */
	if (ret_coded->codec != CODEC_STORED)
		room = ret_coded->len - 1;
	const size_t n = encode_zstd(encoder, raw, len, encoder->planes, room);
	if (!n)
		return 0;
	memcpy(encoder->out, encoder->planes, n);
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
static int zstd_check(const uint8_t *p, size_t len, size_t raw_len, struct err *err)
{
	if (len < 6 || memcmp(p, "\x28\xb5\x2f\xfd", 4))
		return err_set(err, ERR_INVALID, "chunk: not a zstd frame");
	if (p[4] & 3)
		return err_set(err, ERR_INVALID, "chunk: a zstd frame with a dictionary id");
	bool single_segment = p[4] & 0x20;
	unsigned exponent = p[5] >> 3, mantissa = p[5] & 7;
	if (!single_segment && 10 + exponent + (mantissa != 0) > CODEC_WINDOW_LOG_MAX)
		return err_set(err, ERR_INVALID, "chunk: a zstd window beyond 2^%d bytes",
			       CODEC_WINDOW_LOG_MAX);
	unsigned long long size = ZSTD_getFrameContentSize(p, len);
	if (size != raw_len)
		return err_set(err, ERR_INVALID,
			       "chunk: the zstd frame does not state a content of %zu bytes",
			       raw_len);
	if (ZSTD_findFrameCompressedSize(p, len) != len)
		return err_set(err, ERR_INVALID,
			       "chunk: not exactly one whole zstd frame in %zu bytes", len);
	return 0;
}

int codec_frame_decode(ZSTD_DCtx *zstd, const uint8_t *bytes, size_t len, void *raw, size_t raw_len,
		       struct err *err)
{
	if (zstd_check(bytes, len, raw_len, err))
		return -1;
	size_t n = ZSTD_decompressDCtx(zstd, raw, raw_len, bytes, len);
	if (ZSTD_isError(n))
		return err_set(err, ERR_INVALID, "chunk: zstd: %s", ZSTD_getErrorName(n));
	if (n != raw_len)
		return err_set(err, ERR_INVALID, "chunk: %zu bytes decoded instead of %zu", n,
			       raw_len);
	return 0;
}

/* Both kinds of planes. */
static int decode_planes(struct decoder *decoder, const struct coded *coded, void *raw,
			 size_t raw_len, struct err *err)
{
	const uint8_t layout = coded->bytes[0], *rest = coded->bytes + 1;
	const size_t rest_len = coded->len - 1;

	if (!planes_known(layout))
		return err_set(err, ERR_INVALID,
			       "chunk: planes of element type %u are not known to this version; update it",
			       layout);
	if (raw_len > decoder->room) {
		if (!grow_bytes(&decoder->planes, raw_len))
			return err_nomem(err);
		decoder->room = raw_len;
	}
	if (coded->codec == CODEC_NUMBERS
		    ? numbers_decode(decoder->numbers, layout, rest, rest_len, decoder->planes, raw_len, err)
		    : codec_frame_decode(decoder->zstd, rest, rest_len, decoder->planes, raw_len, err))
		return -1;
	planes_join(layout, PLANES_TURNED, decoder->planes, raw_len, raw);
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
		return codec_frame_decode(decoder->zstd, coded->bytes, coded->len, raw, raw_len,
					  err);
	case CODEC_PLANES:
	case CODEC_NUMBERS:
		return decode_planes(decoder, coded, raw, raw_len, err);
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

static const char *const names[] = {
	[CODEC_STORED] = "stored",
	[CODEC_ZSTD] = "zstd",
	[CODEC_PLANES] = "planes",
	[CODEC_NUMBERS] = "numbers",
};

bool codec_known(uint8_t codec)
{
	return codec < COUNT_OF(names) && names[codec];
}

const char *codec_name(uint8_t codec)
{
	return codec_known(codec) ? names[codec] : "unknown";
}
