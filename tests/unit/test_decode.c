#include "server/decode.h"

#include "tests/support/suite.h"

#include <zlib.h>
#include <zstd.h>

#define TEXT "one line\nanother line\n"

/* text as one gzip member, appended. */
static void gzip_add(struct buf *out, const void *bytes, size_t len)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)len};
	ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	const size_t room = deflateBound(&z, len);
	z.next_out = buf_grow(out, room);
	z.avail_out = (uInt)room;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	buf_grown(out, room - z.avail_out);
	deflateEnd(&z);
}

static int decode(const char *encoding, const struct buf *in, size_t len, struct buf *out)
{
	struct err err = {0};
	const int result = decode_body(encoding, in->data, len, out, &err);
	return result ? (int)err.status : 0;
}

START_TEST(test_decode_gzip)
{
	AUTO_BUF struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20), cut = BUF_INIT(1 << 20);
	gzip_add(&in, TEXT, strlen(TEXT));
	gzip_add(&in, TEXT, strlen(TEXT)); /* members follow each other */
	ck_assert_int_eq(decode("GZIP", &in, in.len, &out), 0);
	ck_assert_str_eq(out.data, TEXT TEXT);
	for (size_t len = 1; len < in.len; len++) {
		AUTO_BUF struct buf part = BUF_INIT(1 << 20);
		const int status = decode("gzip", &in, len, &part);
		ck_assert(status == ERR_INVALID || (status == 0 && !strcmp(part.data, TEXT)));
	}
	in.data[in.len - 6] ^= 1; /* the checksum */
	ck_assert_int_eq(decode("gzip", &in, in.len, &cut), ERR_INVALID);
}
END_TEST

START_TEST(test_decode_zstd_and_none)
{
	AUTO_BUF struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20);
	void *room = buf_grow(&in, ZSTD_compressBound(strlen(TEXT)));
	buf_grown(&in, ZSTD_compress(room, ZSTD_compressBound(strlen(TEXT)), TEXT, strlen(TEXT), 1));
	ck_assert_int_eq(decode("zstd", &in, in.len, &out), 0);
	ck_assert_str_eq(out.data, TEXT);
	ck_assert_int_eq(decode("zstd", &in, in.len - 1, &out), ERR_INVALID);
	ck_assert_int_eq(decode("gzip", &in, in.len, &out), ERR_INVALID);
	ck_assert_int_eq(decode("br", &in, in.len, &out), ERR_INVALID);
	ck_assert_int_eq(decode(NULL, &in, in.len, &plain), 0);
	ck_assert_uint_eq(plain.len, in.len);
}
END_TEST

/* A small body cannot become a large one. */
START_TEST(test_decode_bombs)
{
	const size_t large = 8 << 20;
	AUTO_FREE char *zeros = calloc(1, large);
	AUTO_BUF struct buf gzip = BUF_INIT(1 << 20), zstd = BUF_INIT(1 << 20);
	AUTO_BUF struct buf out = BUF_INIT(1 << 20), other = BUF_INIT(1 << 20);
	ck_assert_ptr_nonnull(zeros);
	gzip_add(&gzip, zeros, 1 << 19);
	for (unsigned i = 0; i < 15; i++)
		gzip_add(&gzip, zeros, 1 << 19);
	ck_assert_int_eq(decode("gzip", &gzip, gzip.len, &out), ERR_TOO_LARGE);
	void *room = buf_grow(&zstd, 1 << 19);
	buf_grown(&zstd, ZSTD_compress(room, 1 << 19, zeros, large, 1));
	ck_assert_int_eq(decode("zstd", &zstd, zstd.len, &other), ERR_TOO_LARGE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {test_decode_gzip, test_decode_zstd_and_none,
				      test_decode_bombs};
	return suite_run("decode", tests, COUNT_OF(tests));
}
