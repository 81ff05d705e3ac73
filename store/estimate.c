#include "store/estimate.h"

#include "store/codec.h"
#include "store/cut.h"
#include "store/format.h"
#include "store/pack.h"

#include <stdlib.h>
#include <string.h>

/* Chunks outside of tensors are cut by their content, which is not read here: pieces of this length,
 * the average of FORMAT.md, stand for them. */
#define HEADER_PIECE (64u << 10)
#define PLAIN_PIECE (256u << 10)

#define RECIPE_BYTES 37u /* a chunk takes in a recipe, */
#define MAP_BYTES 13u	 /* in a map, */
#define FOOTER_BYTES 46u /* in a pack's footer (FORMAT.md) */
#define FIXED_BYTES 200u /* what recipe and map take beside */

/* A file as pieces, one after the other: a stretch of bytes of one type, cut alike. */
struct stretch {
	uint64_t at, len;
	uint32_t piece;
	uint8_t type;
};

/* One of 256 types and what its sample came to. */
struct tally {
	uint64_t raw, sampled, stored;
};

struct sampling {
	const struct source *source;
	struct encoder *encoder;
	uint8_t *room; /* CUT_MAX bytes */
	uint64_t pieces, every; /* of every so many pieces one is encoded */
	struct tally tallies[256];
	struct tally header; /* which repeats itself more than anything else */
};

static int encode(struct sampling *s, const struct stretch *stretch, uint64_t at,
		  struct tally *tally, struct err *err)
{
	struct coded coded;
	const uint64_t left = stretch->at + stretch->len - at;
	const size_t len = left < stretch->piece ? (size_t)left : stretch->piece;

	if (s->source->read(s->source->arg, at, s->room, len, err) < 0 ||
	    codec_encode(s->encoder, stretch->type, s->room, len, &coded, err) < 0)
		return -1;
	tally->sampled += len;
	tally->stored += coded.len;
	return 0;
}

static int add(struct sampling *s, const struct stretch *stretch, struct tally *tally,
	       struct err *err)
{
	tally->raw += stretch->len;
	for (uint64_t at = stretch->at; at < stretch->at + stretch->len; at += stretch->piece) {
		if (s->pieces % s->every == s->every / 2 &&
		    encode(s, stretch, at, tally, err) < 0)
			return -1;
		s->pieces++;
	}
	return 0;
}

static uint64_t clip(uint64_t at, uint64_t size)
{
	return at < size ? at : size;
}

static int plain(struct sampling *s, uint64_t from, uint64_t to, struct err *err)
{
	const struct stretch stretch = {from, to - from, PLAIN_PIECE, ELEMENT_OPAQUE};

	return to > from ? add(s, &stretch, &s->tallies[ELEMENT_OPAQUE], err) : 0;
}

static int tensor(struct sampling *s, const struct segment *segment, struct err *err)
{
	const uint64_t size = s->source->size, at = clip(segment->at, size);
	const uint32_t block = element_block(segment->type);
	const struct stretch stretch = {at, clip(segment->at + segment->len, size) - at,
					CUT_PIECE / block * block, segment->type};

	return add(s, &stretch, &s->tallies[segment->type], err);
}

static int walk(struct sampling *s, const struct format *format, struct err *err)
{
	uint32_t count;
	const struct segment *segments = format_segments(format, &count);
	const uint64_t size = s->source->size;
	const bool known = format_state(format) == FORMAT_KNOWN;
	uint64_t done = known ? clip(format_data_at(format), size) : 0;
	const struct stretch header = {0, done, HEADER_PIECE, ELEMENT_OPAQUE};

	if (add(s, &header, &s->header, err) < 0)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		if (plain(s, done, clip(segments[i].at, size), err) < 0 ||
		    tensor(s, &segments[i], err) < 0)
			return -1;
		done = clip(segments[i].at + segments[i].len + segments[i].pad, size);
	}
	return plain(s, done, size, err);
}

/* What of a type was not encoded is taken to shrink as what was; of a type that had no sample, as
 * all together. */
static uint64_t scaled(const struct tally *tally, const struct tally *all)
{
	const struct tally *by = tally->sampled ? tally : all;

	if (!by->sampled)
		return tally->raw;
	return (uint64_t)((long double)tally->raw * (long double)by->stored /
			  (long double)by->sampled);
}

static void sum_up(const struct sampling *s, struct estimate *ret)
{
	struct tally all = s->header;
	struct estimate e = {.chunks = s->pieces, .whole = s->every == 1};

	for (unsigned type = 0; type < 256; type++) {
		all.raw += s->tallies[type].raw;
		all.sampled += s->tallies[type].sampled;
		all.stored += s->tallies[type].stored;
	}
	e.sampled = all.sampled;
	e.stored = scaled(&s->header, &all);
	for (unsigned type = 0; type < 256; type++)
		e.stored += scaled(&s->tallies[type], &all);
	e.overhead = FIXED_BYTES + e.chunks * (RECIPE_BYTES + MAP_BYTES + FOOTER_BYTES) +
		     (e.stored / PACK_MAX + 1) * 36;
	*ret = e;
}

int estimate_source(const struct source *source, struct estimate *ret_estimate, struct err *err)
{
	AUTO(format_free) struct format *format = NULL;
	AUTO(encoder_free) struct encoder *encoder = encoder_new();
	AUTO_FREE uint8_t *room = malloc(CUT_MAX);
	AUTO_FREE struct sampling *s = calloc(1, sizeof *s);

	if (!encoder || !room || !s)
		return err_nomem(err);
	*s = (struct sampling){.source = source,
			     .encoder = encoder,
			     .room = room,
			     .every = source->size / ESTIMATE_SAMPLE + 1};
	if (format_parse(&format, source, err) < 0 || walk(s, format, err) < 0)
		return err_in(err, "estimate");
	sum_up(s, ret_estimate);
	return 0;
}
