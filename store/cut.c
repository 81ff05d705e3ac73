#include "store/cut.h"

#include "base/chance.h"

#include <stdlib.h>

/* FastCDC with two masks ("normalized chunking"): below the average a boundary needs more zero bits
 * than above it.  Tested are the highest bits of the rolling sum, which depend on the last 64
 * bytes. */
struct gauge {
	uint32_t min, average, max;
	uint8_t bits; /* log2 of average */
};

static const struct gauge header_gauge = {16u << 10, 64u << 10, 256u << 10, 16};
static const struct gauge plain_gauge = {64u << 10, 256u << 10, 1u << 20, 18};

struct cutter {
	struct format *format; /* owned */
	uint64_t fed;	       /* bytes the format has seen: at or ahead of at */
	uint64_t at;	       /* bytes taken */
	uint32_t have;	       /* of them in the current chunk */
	uint8_t type;	       /* of the current chunk */
	uint32_t next;	       /* the first segment that does not end at or before at */
	const struct gauge *gauge; /* of the current chunk; NULL: not chosen yet */
	uint64_t sum;
	uint64_t gear[256];
};

/* What limits the current chunk apart from its content. */
struct region {
	uint64_t stop; /* offset at which it must end */
	bool tensor;   /* ... and nowhere before */
	uint8_t type;
};

/* From "flotilla" read as a big-endian number. */
static void gear_fill(uint64_t gear[static 256])
{
	uint64_t state = 0x666c6f74696c6c61;

	for (unsigned i = 0; i < 256; i++)
		gear[i] = chance_next(&state);
}

struct cutter *cutter_new(void)
{
	AUTO(cutter_free) struct cutter *cutter = calloc(1, sizeof *cutter);

	if (!cutter || !(cutter->format = format_new()))
		return NULL;
	gear_fill(cutter->gear);
	return TAKE(cutter);
}

void cutter_free(struct cutter *cutter)
{
	if (!cutter)
		return;
	format_free(cutter->format);
	free(cutter);
}

/* The piece of segment that holds offset at. */
static struct region region_piece(const struct segment *segment, uint64_t at)
{
	uint64_t piece = CUT_PIECE / element_block(segment->type) * element_block(segment->type);
	uint64_t end = (at - segment->at) / piece * piece + piece;

	if (at - segment->at >= segment->len || end >= segment->len)
		end = segment->len + segment->pad;
	return (struct region){segment->at + end, true, segment->type};
}

/* Which region the next byte belongs to.  While the header is still being read its end is unknown,
 * but certainly not before the bytes it has seen. */
static struct region cutter_region(struct cutter *cutter)
{
	struct region open = {UINT64_MAX, false, ELEMENT_OPAQUE};
	uint32_t count;
	const struct segment *segments = format_segments(cutter->format, &count);

	if (format_state(cutter->format) != FORMAT_KNOWN)
		return open;
	if (cutter->at < format_data_at(cutter->format)) {
		open.stop = format_data_at(cutter->format);
		return open;
	}
	while (cutter->next < count) {
		const struct segment *s = &segments[cutter->next];
		if (cutter->at < s->at) {
			open.stop = s->at;
			return open;
		}
		if (cutter->at < s->at + s->len + s->pad)
			return region_piece(s, cutter->at);
		cutter->next++;
	}
	return open;
}

/* Chosen once the chunk is as long as the smallest that either could cut, from nothing but the
 * bytes up to there: the format may have been fed more, so when it gave up counts. */
static const struct gauge *cutter_gauge(const struct cutter *cutter)
{
	switch (format_state(cutter->format)) {
	case FORMAT_READING:
		return &header_gauge;
	case FORMAT_KNOWN:
		return cutter->at <= format_data_at(cutter->format) ? &header_gauge : &plain_gauge;
	case FORMAT_UNKNOWN:
		return format_failed_at(cutter->format) > cutter->at ? &header_gauge
								     : &plain_gauge;
	}
	return &plain_gauge;
}

/* Roll over at most len bytes until the highest bits of the sum are zero, which is to say until it
 * is small. */
static size_t gear_roll(struct cutter *cutter, const uint8_t *bytes, size_t len, unsigned bits,
			bool *ret_ended)
{
	const uint64_t *gear = cutter->gear, small = (uint64_t)1 << (64 - bits);
	const uint8_t *p = bytes, *end = bytes + len;
	uint64_t sum = cutter->sum;

	while (p < end) {
		sum = (sum << 1) + gear[*p++];
		if (sum < small) {
			*ret_ended = true;
			break;
		}
	}
	cutter->sum = sum;
	return (size_t)(p - bytes);
}

/* Take bytes of the current chunk up to where the rule for them changes, or it ends. */
static size_t cutter_scan(struct cutter *cutter, const uint8_t *bytes, size_t len, bool *ret_ended)
{
	uint32_t have = cutter->have;
	const struct gauge *gauge = cutter->gauge;

	if (!gauge || have < gauge->min) {
		uint32_t until = gauge ? gauge->min : header_gauge.min;
		return len < until - have ? len : until - have;
	}
	bool early = have < gauge->average;
	uint32_t room = (early ? gauge->average : gauge->max) - have;
	size_t n = gear_roll(cutter, bytes, len < room ? len : room,
			     early ? gauge->bits + 2u : gauge->bits - 2u, ret_ended);
	if (have + n == gauge->max)
		*ret_ended = true;
	return n;
}

static void cutter_advance(struct cutter *cutter, size_t n)
{
	cutter->have += (uint32_t)n;
	cutter->at += n;
	if (!cutter->gauge && cutter->have == header_gauge.min)
		cutter->gauge = cutter_gauge(cutter);
}

static void cutter_close(struct cutter *cutter, struct cut *ret_cut)
{
	*ret_cut = (struct cut){.len = cutter->have, .type = cutter->type};
	cutter->have = 0;
	cutter->gauge = NULL;
	cutter->sum = 0;
}

size_t cutter_take(struct cutter *cutter, const void *bytes, size_t len, bool *ret_ended,
		   struct cut *ret_cut)
{
	const uint8_t *p = bytes;
	uint64_t seen = cutter->fed - cutter->at;

	if (seen < len) {
		format_feed(cutter->format, p + seen, len - seen);
		cutter->fed += len - seen;
	}
	struct region region = cutter_region(cutter);
	cutter->type = region.type;
	if (len > region.stop - cutter->at)
		len = (size_t)(region.stop - cutter->at);
	bool ended = false;
	size_t n = region.tensor ? len : cutter_scan(cutter, p, len, &ended);
	cutter_advance(cutter, n);
	if (ended || cutter->at == region.stop) {
		ended = true;
		cutter_close(cutter, ret_cut);
	}
	*ret_ended = ended;
	return n;
}

bool cutter_end(struct cutter *cutter, struct cut *ret_cut)
{
	if (!cutter->have)
		return false;
	cutter_close(cutter, ret_cut);
	return true;
}

enum format_id cutter_format(const struct cutter *cutter)
{
	return format_id(cutter->format);
}

uint64_t cutter_at(const struct cutter *cutter)
{
	return cutter->at;
}
