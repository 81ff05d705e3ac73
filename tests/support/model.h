/* model.h -- small model files made in memory, for tests. */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include "base/buf.h"
#include "base/digest.h"

#include <string.h>

/* len bytes that do not compress: SHA-256 of name and a counter (u64), one after the other. */
UNUSED static void model_stream(uint8_t *out, size_t len, const char *name)
{
	uint8_t seed[64];
	size_t n = strlen(name);
	struct digest digest;

	memcpy(seed, name, n);
	for (uint64_t i = 0; i * DIGEST_LEN < len; i++) {
		for (int b = 0; b < 8; b++)
			seed[n + b] = (uint8_t)(i >> 8 * b);
		digest_of(&digest, seed, n + 8);
		size_t at = (size_t)i * DIGEST_LEN;
		memcpy(out + at, digest.bytes, len - at < DIGEST_LEN ? len - at : DIGEST_LEN);
	}
}

UNUSED static void gguf_text(struct buf *buf, const char *text)
{
	buf_add_le64(buf, strlen(text));
	buf_adds(buf, text);
}

UNUSED static void gguf_begin(struct buf *buf, uint32_t version, uint64_t tensors, uint64_t pairs)
{
	buf_adds(buf, "GGUF");
	buf_add_le32(buf, version);
	buf_add_le64(buf, tensors);
	buf_add_le64(buf, pairs);
}

UNUSED static void gguf_pair_u32(struct buf *buf, const char *key, uint32_t value)
{
	gguf_text(buf, key);
	buf_add_le32(buf, 4);
	buf_add_le32(buf, value);
}

UNUSED static void gguf_pair_text(struct buf *buf, const char *key, const char *value)
{
	gguf_text(buf, key);
	buf_add_le32(buf, 8);
	gguf_text(buf, value);
}

/* A vocabulary of count words. */
UNUSED static void gguf_pair_words(struct buf *buf, const char *key, uint64_t count)
{
	gguf_text(buf, key);
	buf_add_le32(buf, 9);
	buf_add_le32(buf, 8);
	buf_add_le64(buf, count);
	for (uint64_t i = 0; i < count; i++) {
		buf_add_le64(buf, 16);
		uint8_t noise[8];
		char hex[17];
		model_stream(noise, sizeof noise, "word");
		noise[0] = (uint8_t)i, noise[1] = (uint8_t)(i >> 8), noise[2] = (uint8_t)(i >> 16);
		for (int b = 0; b < 8; b++)
			memcpy(hex + 2 * b,
			       (char[2]){"0123456789abcdef"[(noise[b] * (i + 7) >> 4) & 15],
					 "0123456789abcdef"[(noise[b] * (i + 7)) & 15]},
			       2);
		buf_add(buf, hex, 16);
	}
}

/* One dimension. */
UNUSED static void gguf_tensor(struct buf *buf, const char *name, uint64_t values, uint32_t type,
			       uint64_t offset)
{
	gguf_text(buf, name);
	buf_add_le32(buf, 1);
	buf_add_le64(buf, values);
	buf_add_le32(buf, type);
	buf_add_le64(buf, offset);
}

/* Zeros up to a multiple of align. */
UNUSED static void model_pad(struct buf *buf, size_t align)
{
	while (buf->len % align)
		buf_addc(buf, '\0');
}

/* Random bytes behind what is there. */
UNUSED static void model_data(struct buf *buf, size_t len, const char *name)
{
	uint8_t *bytes = buf_grow(buf, len);
	if (!bytes)
		return;
	model_stream(bytes, len, name);
	buf_grown(buf, len);
}

UNUSED static void safetensors_header(struct buf *buf, const char *json)
{
	buf_add_le64(buf, strlen(json));
	buf_adds(buf, json);
}

#endif
