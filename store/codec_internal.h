/* codec_internal.h -- what codec.c and diff.c share.  Threads: see codec.h. */
#ifndef STORE_CODEC_INTERNAL_H
#define STORE_CODEC_INTERNAL_H

#include "base/cc.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <zstd.h>

/* A compressor of zstd's level 1, or one that codes literals by Huffman and hardly looks for
 * repetition.  NULL without memory. */
ZSTD_CCtx *codec_plain_new(void) CHECKED;
ZSTD_CCtx *codec_huffman_new(void) CHECKED;

/* Exactly one whole frame that states raw_len bytes of content and decodes to them. */
int codec_frame_decode(ZSTD_DCtx *zstd, const uint8_t *bytes, size_t len, void *raw, size_t raw_len,
		       struct err *err) CHECKED;

#endif
