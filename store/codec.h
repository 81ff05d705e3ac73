/* codec.h -- a chunk's raw bytes and how they are stored.  Which codec was used is told by a number
 * beside the bytes (in packs and maps); none of it is covered by the chunk's digest, which is of
 * the raw bytes.  Byte by byte: FORMAT.md.
 * Stored bytes are hostile input to the decoder: it never writes beyond the raw length it was told,
 * and accepts nothing but exactly that length.
 * Errors: ERR_INVALID for bytes that break the rules and for codecs not known here, ERR_UNTRUSTED
 * when the digest differs, ERR_SYSTEM without memory.
 * Threads: an encoder or decoder belongs to one; both may be used again after an error. */
#ifndef STORE_CODEC_H
#define STORE_CODEC_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CHUNK_RAW_MAX (4u << 20)     /* bytes of one raw chunk; at least 1 */
#define CHUNK_STORED_EXTRA 1024u     /* stored bytes never exceed the raw ones by more */
#define CHUNK_STORED_MAX (CHUNK_RAW_MAX + CHUNK_STORED_EXTRA)
#define CODEC_WINDOW_LOG_MAX 22	     /* of a zstd frame: 4 MiB */

/* On disk and on the wire: never renumber. */
enum codec {
	CODEC_STORED = 0, /* the raw bytes */
	CODEC_ZSTD = 1,	  /* one zstd frame (RFC 8878) that states its content size */
	CODEC_PLANES = 2, /* a byte, the element type; a zstd frame of the planes (planes.h) */
	CODEC_DELTA = 3,  /* differences from other bytes (diff.h); in deltas only */
	CODEC_DICT = 4,	  /* zstd against other bytes; in deltas only (delta.h) */
	CODEC_NUMBERS = 5 /* a byte, the element type; its planes by numbers.h */
};

/* A chunk as it is stored. */
struct coded {
	const uint8_t *bytes; /* borrowed */
	uint32_t len;
	uint8_t codec;
	uint8_t type; /* enum element */
};

struct encoder; /* opaque; about 3.5 MiB and seven buffers of the longest chunk */
struct decoder; /* opaque; about 420 KiB, and a buffer and a half of the longest chunk in planes */

struct encoder *encoder_new(void) CHECKED; /* NULL without memory */
void encoder_free(struct encoder *encoder); /* NULL is fine */
DEFINE_AUTO(struct encoder, encoder_free)
struct decoder *decoder_new(void) CHECKED;
void decoder_free(struct decoder *decoder);
DEFINE_AUTO(struct decoder, decoder_free)

/* Encode len raw bytes (1..CHUNK_RAW_MAX) of element type.  Chooses the codec: planes or
 * numbers for types that have some, zstd where a sample shows that repetition promises more; never larger than the raw
 * bytes, and CODEC_STORED unless at least 1 % is saved.  ret_coded->bytes is either raw itself or
 * the encoder's, valid until its next call. */
int codec_encode(struct encoder *encoder, uint8_t type, const void *raw, size_t len,
		 struct coded *ret_coded, struct err *err) CHECKED;

/* Decode to exactly raw_len bytes at raw. */
int codec_decode(struct decoder *decoder, const struct coded *coded, void *raw, size_t raw_len,
		 struct err *err) CHECKED;
/* As codec_decode(), and the SHA-256 of the result must be digest. */
int codec_open(struct decoder *decoder, const struct coded *coded, const struct digest *digest,
	       void *raw, size_t raw_len, struct err *err) CHECKED;

/* Whether codec_decode() knows this number. */
bool codec_known(uint8_t codec);
/* "stored", "zstd", "planes", "numbers"; "unknown" otherwise. */
const char *codec_name(uint8_t codec);

#endif
