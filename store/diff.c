#include "store/diff.h"

#include "store/codec_internal.h"
#include "store/element.h"
#include "store/layout.h"
#include "store/le.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH 4 /* bitmaps of bitmaps */
#define SPARSE_BELOW 2 /* a bitmap pays when fewer than one byte in so many is not zero */

/* How a plane is coded: on the wire, never renumber. */
enum method {
	ZERO = 0,   /* nothing follows: all bytes are zero */
	RAW = 1,    /* the bytes */
	FRAME = 2,  /* u32 length, a zstd frame */
	SPARSE = 3, /* the bitmap of bytes that are not zero, then those bytes: each as a plane */
};

struct differ {
	ZSTD_CCtx *plain, *huffman; /* owned */
	ZSTD_DCtx *zstd;	    /* owned */
	uint8_t *numbers, *planes; /* owned; room bytes each */
	uint8_t *scratch;	   /* owned; 2 * room: bitmaps and what they leave, down to DEPTH */
	size_t room;
	/* To encode; owned, out_room and CHUNK_STORED_EXTRA bytes each. */
	uint8_t *out;
	uint8_t *other[DEPTH + 1]; /* a second way to code a plane, to choose from */
	size_t out_room;
};

struct differ *differ_new(void)
{
	AUTO(differ_free) struct differ *d = calloc(1, sizeof *d);
	if (!d || !(d->plain = codec_plain_new()) || !(d->huffman = codec_huffman_new()) ||
	    !(d->zstd = ZSTD_createDCtx()))
		return NULL;
	return TAKE(d);
}

void differ_free(struct differ *d)
{
	if (!d)
		return;
	ZSTD_freeCCtx(d->plain);
	ZSTD_freeCCtx(d->huffman);
	ZSTD_freeDCtx(d->zstd);
	free(d->numbers);
	free(d->planes);
	free(d->out);
	free(d->scratch);
	for (unsigned i = 0; i <= DEPTH; i++)
		free(d->other[i]);
	free(d);
}

static bool grow(uint8_t **buffer, size_t room)
{
	uint8_t *more = realloc(*buffer, room);
	if (more)
		*buffer = more;
	return more != NULL;
}

static int reserve(struct differ *d, size_t len, struct err *err)
{
	if (!len || len > CHUNK_RAW_MAX)
		return err_set(err, ERR_INVALID, "chunk: raw length %zu is outside 1..%u", len,
			       CHUNK_RAW_MAX);
	if (len <= d->room)
		return 0;
	if (!grow(&d->numbers, len) || !grow(&d->planes, len) || !grow(&d->scratch, 2 * len + 64))
		return err_nomem(err);
	d->room = len;
	return 0;
}

static int reserve_out(struct differ *d, size_t len, struct err *err)
{
	if (len <= d->out_room)
		return 0;
	bool well = grow(&d->out, len + CHUNK_STORED_EXTRA);
	for (unsigned i = 0; i <= DEPTH; i++)
		well = well && grow(&d->other[i], len + CHUNK_STORED_EXTRA);
	if (!well)
		return err_nomem(err);
	d->out_room = len;
	return 0;
}

/* ---- numbers: old and new to folded difference, and back ---- */

static inline uint64_t fold(uint64_t d, unsigned bits)
{
	const uint64_t sign = d >> (bits - 1) & 1;
	return (d << 1 ^ (0 - sign)) & (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1);
}

static inline uint64_t unfold(uint64_t z)
{
	return z >> 1 ^ (0 - (z & 1));
}

/* Inlined with constant widths, so that the loops become vector instructions. */
static inline __attribute__((always_inline)) void
words_subtract(const uint8_t *old, const uint8_t *raw, uint8_t *out, size_t len, unsigned width)
{
	for (size_t at = 0; at < len; at += width) {
		uint64_t a = 0, b = 0;
		for (unsigned i = 0; i < width; i++) {
			a |= (uint64_t)old[at + i] << 8 * i;
			b |= (uint64_t)raw[at + i] << 8 * i;
		}
		const uint64_t z = fold(b - a, 8 * width);
		for (unsigned i = 0; i < width; i++)
			out[at + i] = (uint8_t)(z >> 8 * i);
	}
}

static inline __attribute__((always_inline)) void
words_add(const uint8_t *old, const uint8_t *folded, uint8_t *out, size_t len, unsigned width)
{
	for (size_t at = 0; at < len; at += width) {
		uint64_t a = 0, z = 0;
		for (unsigned i = 0; i < width; i++) {
			a |= (uint64_t)old[at + i] << 8 * i;
			z |= (uint64_t)folded[at + i] << 8 * i;
		}
		const uint64_t b = a + unfold(z);
		for (unsigned i = 0; i < width; i++)
			out[at + i] = (uint8_t)(b >> 8 * i);
	}
}

static void nibbles_subtract(const uint8_t *old, const uint8_t *raw, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const unsigned low = (unsigned)(raw[i] - old[i]) & 15;
		const unsigned high = (unsigned)((raw[i] >> 4) - (old[i] >> 4)) & 15;
		out[i] = (uint8_t)(fold(low, 4) | fold(high, 4) << 4);
	}
}

static void nibbles_add(const uint8_t *old, const uint8_t *folded, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const unsigned low = (unsigned)(old[i] + unfold(folded[i] & 15)) & 15;
		const unsigned high = (unsigned)((old[i] >> 4) + unfold(folded[i] >> 4)) & 15;
		out[i] = (uint8_t)(low | high << 4);
	}
}

static void bits_differ(const uint8_t *old, const uint8_t *raw, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = old[i] ^ raw[i];
}

static void subtract(uint8_t kind, const uint8_t *old, const uint8_t *raw, uint8_t *out, size_t len)
{
	if (kind == FIELD_NIBBLES)
		nibbles_subtract(old, raw, out, len);
	else if (kind == FIELD_BITS)
		bits_differ(old, raw, out, len);
	else if (field_width(kind) == 1)
		words_subtract(old, raw, out, len, 1);
	else if (field_width(kind) == 2)
		words_subtract(old, raw, out, len, 2);
	else if (field_width(kind) == 4)
		words_subtract(old, raw, out, len, 4);
	else
		words_subtract(old, raw, out, len, 8);
}

static void add(uint8_t kind, const uint8_t *old, const uint8_t *folded, uint8_t *out, size_t len)
{
	if (kind == FIELD_NIBBLES)
		nibbles_add(old, folded, out, len);
	else if (kind == FIELD_BITS)
		bits_differ(old, folded, out, len);
	else if (field_width(kind) == 1)
		words_add(old, folded, out, len, 1);
	else if (field_width(kind) == 2)
		words_add(old, folded, out, len, 2);
	else if (field_width(kind) == 4)
		words_add(old, folded, out, len, 4);
	else
		words_add(old, folded, out, len, 8);
}

/* fn over every field of every block, and over what is left, as bytes.  A block of one field is part
 * of one long run. */
static void each_field(uint8_t type, const uint8_t *old, const uint8_t *in, uint8_t *out, size_t len,
		       void (*fn)(uint8_t kind, const uint8_t *old, const uint8_t *in, uint8_t *out,
				  size_t len))
{
	const struct field *fields = layout_of(type);
	const size_t block = element_block(type), whole = len / block * block;
	size_t at = 0;
	if (fields[0].len == block) {
		fn(fields[0].kind, old, in, out, whole);
		at = whole;
	}
	while (at < whole)
		for (unsigned f = 0; f < LAYOUT_FIELDS && fields[f].kind; f++) {
			fn(fields[f].kind, old + at, in + at, out + at, fields[f].len);
			at += fields[f].len;
		}
	fn(FIELD_BYTES, old + at, in + at, out + at, len - at);
}

/* ---- a plane ---- */

static size_t count_nonzero(const uint8_t *bytes, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += bytes[i] != 0;
	return count;
}

static size_t bitmap_len(size_t n)
{
	return (n + 7) / 8;
}

/* All of these give how many bytes they wrote to out, 0 when room does not suffice. */

static size_t frame_encode(ZSTD_CCtx *zstd, const uint8_t *plane, size_t n, uint8_t *out, size_t room)
{
	if (room < 5)
		return 0;
	const size_t len = ZSTD_compress2(zstd, out + 5, room - 5, plane, n);
	if (ZSTD_isError(len))
		return 0;
	out[0] = FRAME;
	for (unsigned i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(len >> 8 * i);
	return 5 + len;
}

static size_t plane_encode(struct differ *d, const uint8_t *plane, size_t n, uint8_t *out,
			   size_t room, uint8_t *scratch, unsigned depth);

static size_t sparse_encode(struct differ *d, const uint8_t *plane, size_t n, size_t count,
			    uint8_t *out, size_t room, uint8_t *scratch, unsigned depth)
{
	const size_t map_len = bitmap_len(n);
	uint8_t *map = scratch, *left = scratch + map_len;
	size_t k = 0;
	memset(map, 0, map_len);
	for (size_t i = 0; i < n; i++)
		if (plane[i]) {
			map[i / 8] |= (uint8_t)(1u << i % 8);
			left[k++] = plane[i];
		}
	if (!room)
		return 0;
	out[0] = SPARSE;
	const size_t a = plane_encode(d, map, map_len, out + 1, room - 1, left + count, depth + 1);
	if (!a)
		return 0;
	const size_t b = plane_encode(d, left, count, out + 1 + a, room - 1 - a, left + count,
				      depth + 1);
	return b ? 1 + a + b : 0;
}

/* The smallest of the ways to code it. */
static size_t plane_encode(struct differ *d, const uint8_t *plane, size_t n, uint8_t *out,
			   size_t room, uint8_t *scratch, unsigned depth)
{
	const size_t count = count_nonzero(plane, n);
	uint8_t *other = d->other[depth];
	if (!room)
		return 0;
	if (!count) {
		out[0] = ZERO;
		return 1;
	}
	size_t best = frame_encode(d->huffman, plane, n, out, room < n + 1 ? room : n + 1);
	if (!best && room > n) {
		out[0] = RAW;
		memcpy(out + 1, plane, n);
		best = n + 1;
	}
	size_t more = frame_encode(d->plain, plane, n, other, best ? best - 1 : room);
	if (more)
		memcpy(out, other, best = more);
	if (depth < DEPTH && count < n / SPARSE_BELOW) {
		more = sparse_encode(d, plane, n, count, other, best ? best - 1 : room, scratch, depth);
		if (more)
			memcpy(out, other, best = more);
	}
	return best;
}

int diff_encode(struct differ *d, uint8_t type, const void *old, const void *raw, size_t len,
		struct coded *ret_coded, struct err *err)
{
	size_t ends[PLANES_MAX], from = 0, at = 1;
	if (!planes_known(type))
		return err_set(err, ERR_INVALID, "chunk: element type %u has no differences", type);
	if (reserve(d, len, err) || reserve_out(d, len, err))
		return -1;
	each_field(type, old, raw, d->numbers, len, subtract);
	const unsigned count = planes_split(type, PLANES_PLAIN, d->numbers, len, d->planes, ends);
	*ret_coded = (struct coded){d->out, 0, CODEC_DELTA, type};
	d->out[0] = type;
	for (unsigned i = 0; i < count; i++) {
		const size_t n = plane_encode(d, d->planes + from, ends[i] - from, d->out + at,
					      len - at, d->scratch, 0);
		if (!n)
			return 0;
		at += n;
		from = ends[i];
	}
	ret_coded->len = (uint32_t)at;
	return 0;
}

/* ---- decoding ---- */

struct reader {
	const uint8_t *at, *end;
	ZSTD_DCtx *zstd;
	struct err *err;
};

static int ends_early(struct reader *r)
{
	return err_set(r->err, ERR_INVALID, "chunk: its differences end early");
}

static int plane_decode(struct reader *r, uint8_t *out, size_t n, uint8_t *scratch, unsigned depth);

static int frame_decode(struct reader *r, uint8_t *out, size_t n)
{
	if (r->end - r->at < 4)
		return ends_early(r);
	const uint32_t len = le_u32(r->at);
	r->at += 4;
	if ((size_t)(r->end - r->at) < len)
		return ends_early(r);
	const uint8_t *frame = r->at;
	r->at += len;
	return codec_frame_decode(r->zstd, frame, len, out, n, r->err);
}

static size_t popcount(const uint8_t *map, size_t len)
{
	size_t count = 0;
	for (size_t i = 0; i < len; i++)
		count += (size_t)__builtin_popcount(map[i]);
	return count;
}

static void expand(const uint8_t *map, const uint8_t *left, uint8_t *out, size_t n)
{
	memset(out, 0, n);
	for (size_t byte = 0; byte < bitmap_len(n); byte++)
		for (unsigned bits = map[byte]; bits; bits &= bits - 1)
			out[8 * byte + (unsigned)__builtin_ctz(bits)] = *left++;
}

static int sparse_decode(struct reader *r, uint8_t *out, size_t n, uint8_t *scratch, unsigned depth)
{
	const size_t map_len = bitmap_len(n);
	uint8_t *map = scratch, *left = scratch + map_len;
	if (depth == DEPTH)
		return err_set(r->err, ERR_INVALID, "chunk: differences with too many bitmaps");
	if (plane_decode(r, map, map_len, left, depth + 1))
		return -1;
	const size_t count = popcount(map, map_len);
	/* So that what is decoded has room, and no bit lies beyond the plane. */
	if (count > n / SPARSE_BELOW || (n % 8 && map[map_len - 1] >> n % 8))
		return err_set(r->err, ERR_INVALID, "chunk: a bitmap of differences is not one");
	if (plane_decode(r, left, count, left + count, depth + 1))
		return -1;
	expand(map, left, out, n);
	return 0;
}

static int plane_decode(struct reader *r, uint8_t *out, size_t n, uint8_t *scratch, unsigned depth)
{
	if (r->at == r->end)
		return ends_early(r);
	switch (*r->at++) {
	case ZERO:
		memset(out, 0, n);
		return 0;
	case RAW:
		if ((size_t)(r->end - r->at) < n)
			return ends_early(r);
		memcpy(out, r->at, n);
		r->at += n;
		return 0;
	case FRAME:
		return frame_decode(r, out, n);
	case SPARSE:
		return sparse_decode(r, out, n, scratch, depth);
	default:
		return err_set(r->err, ERR_INVALID,
			       "chunk: differences coded in a way not known to this version; update it");
	}
}

int diff_decode(struct differ *d, const struct coded *coded, const void *old, void *raw,
		size_t raw_len, struct err *err)
{
	size_t ends[PLANES_MAX], from = 0;
	if (reserve(d, raw_len, err))
		return -1;
	if (coded->codec != CODEC_DELTA || !coded->len || !planes_known(coded->bytes[0]))
		return err_set(err, ERR_INVALID,
			       "chunk: differences of a kind not known to this version; update it");
	const uint8_t type = coded->bytes[0];
	struct reader r = {coded->bytes + 1, coded->bytes + coded->len, d->zstd, err};
	const unsigned count = planes_ends(type, raw_len, ends);
	for (unsigned i = 0; i < count; i++) {
		if (plane_decode(&r, d->planes + from, ends[i] - from, d->scratch, 0))
			return -1;
		from = ends[i];
	}
	if (r.at != r.end)
		return err_set(err, ERR_INVALID, "chunk: bytes behind its differences");
	planes_join(type, PLANES_PLAIN, d->planes, raw_len, d->numbers);
	each_field(type, old, d->numbers, raw, raw_len, add);
	return 0;
}
