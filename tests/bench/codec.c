/* bench_codec FILE...: a file's chunks as we store them, beside zstd -3 and -19 of the whole file.  A line
 * a file, as percent of its bytes: ours, zstd -3, zstd -19 (0 with QUICK=1 in the environment); then the
 * time of our encoding and decoding and of zstd -3 as multiples of the file's SHA-256.  One thread. */
#include "base/clock.h"
#include "store/codec.h"
#include "store/cut.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <zstd.h>

struct bench {
	const uint8_t *bytes;
	size_t len, stored;
	struct encoder *encoder;
	struct decoder *decoder;
	uint8_t *copy, *raw;
	double encode_s, decode_s;
	size_t used[CODEC_NUMBERS + 1]; /* chunks by codec */
};

static void die(const char *what)
{
	fprintf(stderr, "bench_codec: %s\n", what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void chunk(struct bench *b, const uint8_t *at, const struct cut *cut)
{
	struct coded coded;
	struct err err;
	const double begun = now();
	if (codec_encode(b->encoder, cut->type, at, cut->len, &coded, &err))
		die(err.text);
	const double encoded = now();
	memcpy(b->copy, coded.bytes, coded.len);
	coded.bytes = b->copy;
	const double copied = now();
	if (codec_decode(b->decoder, &coded, b->raw, cut->len, &err))
		die(err.text);
	b->decode_s += now() - copied;
	b->encode_s += encoded - begun;
	b->stored += coded.len;
	b->used[coded.codec]++;
	if (memcmp(b->raw, at, cut->len))
		die("a chunk does not come back");
}

static void all_chunks(struct bench *b)
{
	AUTO(cutter_free) struct cutter *cutter = cutter_new();
	size_t begin = 0, at = 0;
	struct cut cut;
	while (at < b->len) {
		bool ended;
		at += cutter_take(cutter, b->bytes + at, b->len - at, &ended, &cut);
		if (ended) {
			chunk(b, b->bytes + begin, &cut);
			begin = at;
		}
	}
	if (cutter_end(cutter, &cut))
		chunk(b, b->bytes + begin, &cut);
}

static double sha_s(const struct bench *b)
{
	struct digest digest;
	const double begun = now();
	digest_of(&digest, b->bytes, b->len);
	return now() - begun;
}

static size_t zstd(const struct bench *b, int level, double *ret_s)
{
	const size_t room = ZSTD_compressBound(b->len);
	uint8_t *out = malloc(room);
	const double begun = now();
	const size_t n = ZSTD_compress(out, room, b->bytes, b->len, level);
	*ret_s = now() - begun;
	free(out);
	return ZSTD_isError(n) ? 0 : n;
}

static void file(const char *path)
{
	struct stat st;
	double plain_s, hard_s;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		die(path);
	struct bench b = {.len = (size_t)st.st_size, .encoder = encoder_new(), .decoder = decoder_new()};
	b.bytes = mmap(NULL, b.len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	b.copy = malloc(CHUNK_STORED_MAX);
	b.raw = malloc(CHUNK_RAW_MAX);
	if (b.bytes == MAP_FAILED || !b.copy || !b.raw || !b.encoder || !b.decoder)
		die("out of memory");
	all_chunks(&b);
	const double sha = sha_s(&b);
	const size_t plain = zstd(&b, 3, &plain_s);
	const size_t hard = getenv("QUICK") ? 0 : zstd(&b, 19, &hard_s);
	const char *slash = strrchr(path, '/');
	printf("%-24s %6.1f MB  ours %5.2f  zstd-3 %5.2f  zstd-19 %5.2f  | encode %.2f  decode %.2f  "
	       "zstd-3 %.2f x sha | stored %zu zstd %zu planes %zu numbers %zu\n",
	       slash ? slash + 1 : path, (double)b.len / 1e6, 100.0 * (double)b.stored / (double)b.len,
	       100.0 * (double)plain / (double)b.len, 100.0 * (double)hard / (double)b.len,
	       b.encode_s / sha, b.decode_s / sha, plain_s / sha, b.used[0], b.used[1], b.used[2],
	       b.used[CODEC_NUMBERS]);
	munmap((void *)(uintptr_t)b.bytes, b.len);
	free(b.copy);
	free(b.raw);
	encoder_free(b.encoder);
	decoder_free(b.decoder);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage: bench_codec FILE...");
	for (int i = 1; i < argc; i++)
		file(argv[i]);
	return 0;
}
