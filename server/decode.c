#include "server/decode.h"

#include <stdbool.h>
#include <stdint.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define STEP ((size_t)128 * 1024)
#define ZSTD_WINDOW_LOG 24	/* memory that a frame may ask for: 16 MiB */
#define GZIP_WINDOW (15 + 16) /* zlib's way to say 32 KiB and a gzip head */

/* ---- zstd ---- */

static int zstd_frames(ZSTD_DStream *stream, const void *bytes, size_t len, struct buf *out,
		       struct err *err)
{
	ZSTD_inBuffer from = {bytes, len, 0};
	size_t left = 1;
	bool full = true; /* the last step filled its room: there may be more to come */

	while (from.pos < from.size || (left && full)) {
		void *room = buf_grow(out, STEP);

		if (!room)
			return buf_ok(out, "decoded", err);
		ZSTD_outBuffer to = {room, STEP, 0};
		left = ZSTD_decompressStream(stream, &to, &from);
		if (ZSTD_isError(left))
			return err_set(err, ERR_INVALID, "body: not zstd: %s",
				       ZSTD_getErrorName(left));
		buf_grown(out, to.pos);
		full = to.pos == to.size;
	}
	return left ? err_set(err, ERR_INVALID, "body: the zstd frame is cut short") : 0;
}

static int zstd_decode(const void *bytes, size_t len, struct buf *out, struct err *err)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	int result;

	if (!stream)
		return err_nomem(err);
	ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	result = zstd_frames(stream, bytes, len, out, err);
	ZSTD_freeDStream(stream);
	return result;
}

/* ---- gzip ---- */

/* Members follow each other as frames do. */
static int gzip_members(z_stream *z, struct buf *out, struct err *err)
{
	int got = Z_OK;

	while (got != Z_STREAM_END || z->avail_in) {
		void *room = buf_grow(out, STEP);

		if (!room)
			return buf_ok(out, "decoded", err);
		if (got == Z_STREAM_END)
			inflateReset(z);
		z->next_out = room;
		z->avail_out = STEP;
		got = inflate(z, Z_NO_FLUSH);
		if (got == Z_MEM_ERROR)
			return err_nomem(err);
		if (got != Z_OK && got != Z_STREAM_END)
			return got == Z_BUF_ERROR
				       ? err_set(err, ERR_INVALID, "body: the gzip member is cut short")
				       : err_set(err, ERR_INVALID, "body: not gzip: %s",
						 z->msg ? z->msg : "unknown");
		buf_grown(out, STEP - z->avail_out);
	}
	return 0;
}

static int gzip_decode(const void *bytes, size_t len, struct buf *out, struct err *err)
{
	/* zlib takes the input without const and changes nothing. */
	z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)len};
	int result;

	if (len > UINT32_MAX)
		return err_set(err, ERR_TOO_LARGE, "body: too large");
	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
		return err_nomem(err);
	result = gzip_members(&z, out, err);
	inflateEnd(&z);
	return result;
}

int decode_body(const char *encoding, const void *bytes, size_t len, struct buf *out,
		struct err *err)
{
	if (encoding && strcasecmp(encoding, "zstd") == 0)
		return zstd_decode(bytes, len, out, err);
	if (encoding && strcasecmp(encoding, "gzip") == 0)
		return gzip_decode(bytes, len, out, err);
	if (encoding && strcasecmp(encoding, "identity") != 0)
		return err_set(err, ERR_INVALID,
			       "Content-Encoding: %s is not understood; send zstd, gzip or nothing",
			       encoding);
	buf_add(out, bytes, len);
	return buf_ok(out, "body", err);
}
