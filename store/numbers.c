#include "store/numbers.h"

#include "base/grow.h"
#include "store/alone.h"
#include "store/element.h"
#include "store/expect.h"
#include "store/layout.h"
#include "store/le.h"
#include "store/planes.h"
#include "store/rans.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 4096u	/* numbers at once: they stay in the first cache; whole rounds of coders */
#define RUN 512u	/* highest bytes that share a context */
#define BELOW 7u	/* bits of the byte above that are a context */
#define SAMPLE (32u << 10) /* numbers that tell whether the rest is worth it */

/* How a plane is coded: on the wire, never renumber. */
enum method {
	RAW = 0,  /* its bytes */
	CODED = 1 /* as its rule says */
};

/* What is a number's context. */
enum rule {
	RULE_NONE,   /* it has none */
	RULE_RUN,    /* one that is told, for each RUN numbers */
	RULE_BELOW,  /* the byte above */
	RULE_SIXES,  /* scales have none, minimums the scale */
	RULE_ALONE   /* alone.h */
};

struct plane {
	uint8_t type, kind;
	enum rule rule;
	const uint8_t *all; /* of the chunk's planes: those before this one count */
	size_t at, len;	    /* where this one is */
	size_t blocks;
};

/* To encode: all of a stream's symbols, since they are written last first. */
struct making {
	struct rans_writer writer;
	uint8_t *symbols, *contexts; /* owned; 2 * room each: of nibbles there are as many */
	size_t room;
};

struct numbers {
	struct rans_reader reader;
	uint8_t symbols[PIECE], contexts[PIECE];
	uint8_t *context, *turned, *places; /* owned; for groups of them, of places ALONE_EXTREMES each */
	uint32_t *units;		    /* owned; for those and their neighbours at both ends */
	size_t groups;
	struct making *making; /* owned; NULL until something is encoded */
	bool plain;
};

struct numbers *numbers_new(void)
{
	return calloc(1, sizeof(struct numbers));
}

static void making_free(struct making *m)
{
	if (!m)
		return;
	free(m->symbols);
	free(m->contexts);
	free(m);
}

void numbers_free(struct numbers *k)
{
	if (!k)
		return;
	making_free(k->making);
	free(k->context);
	free(k->turned);
	free(k->places);
	free(k->units);
	free(k);
}

void numbers_plain(struct numbers *k)
{
	k->plain = k->reader.plain = true;
}

static int making_reserve(struct numbers *k, size_t len, struct err *err)
{
	if (!k->making && !(k->making = calloc(1, sizeof(*k->making))))
		return err_nomem(err);
	struct making *m = k->making;
	m->writer.plain = k->plain;
	if (len <= m->room)
		return 0;
	if (!grow_bytes(&m->symbols, 2 * len) || !grow_bytes(&m->contexts, 2 * len))
		return err_nomem(err);
	m->room = len;
	return 0;
}

static int groups_reserve(struct numbers *k, size_t groups, struct err *err)
{
	if (groups <= k->groups)
		return 0;
	if (!grow_bytes(&k->context, groups) || !grow_bytes(&k->turned, groups) ||
	    !grow_bytes(&k->places, groups * ALONE_EXTREMES))
		return err_nomem(err);
	uint32_t *units = realloc(k->units, (groups + 2 * (size_t)ALONE_NEIGHBOURS) * sizeof(*units));
	if (!units)
		return err_nomem(err);
	k->units = units;
	k->groups = groups;
	return 0;
}

/* ---- planes ---- */

static enum rule rule_of(uint8_t type, uint8_t kind, unsigned which)
{
	if (which)
		return RULE_BELOW;
	if (kind >= FIELD_FLOAT16)
		return RULE_RUN;
	if (kind == FIELD_SIXES)
		return RULE_SIXES;
	return alone_of(type, kind) ? RULE_ALONE : RULE_NONE;
}

bool numbers_pay(uint8_t type)
{
	const struct field *fields = layout_of(type);
	return fields && (fields[0].kind == FIELD_FLOAT16 || fields[0].kind == FIELD_FLOAT32) &&
	       (element_values(type) == 1 || alone_of(type, fields[1].kind) || alone_of(type, fields[3].kind));
}

/* The planes in their order; 0 at the end. */
struct walk {
	struct plane plane;
	unsigned field, which; /* the next one: of a field, of its bytes */
};

static struct walk walk_from(uint8_t type, const uint8_t *planes, size_t len)
{
	return (struct walk){.plane = {.type = type, .all = planes, .blocks = len / element_block(type)}};
}

static bool walk_next(struct walk *w)
{
	struct plane *p = &w->plane;
	const struct field *fields = layout_of(p->type);
	if (w->field == LAYOUT_FIELDS || !fields[w->field].kind || !p->blocks)
		return false;
	const struct field *f = &fields[w->field];
	const unsigned width = field_width(f->kind);
	p->at += p->len;
	p->len = f->len / width * p->blocks;
	p->kind = f->kind;
	p->rule = rule_of(p->type, f->kind, w->which);
	if (++w->which == width) {
		w->which = 0;
		w->field++;
	}
	return true;
}

/* Contexts of a plane's numbers at .. at + n - 1; runs has those of its runs, two a byte. */
static void contexts_of(const struct plane *p, const uint8_t *runs, size_t at, size_t n, uint8_t *ret)
{
	const uint8_t *bytes = p->all + p->at + at;
	switch (p->rule) {
	case RULE_BELOW:
		for (size_t i = 0; i < n; i++)
			ret[i] = (bytes - p->len)[i] & BELOW;
		return;
	case RULE_RUN:
		for (size_t i = 0; i < n; i += RUN) {
			const size_t run = (at + i) / RUN;
			memset(ret + i, runs[run / 2] >> 4 * (run % 2) & 15, n - i < RUN ? n - i : RUN);
		}
		return;
	default:
		memset(ret, 0, n);
	}
}

static size_t runs_bytes(const struct plane *p)
{
	return p->rule == RULE_RUN ? ((p->len + RUN - 1) / RUN + 1) / 2 : 0;
}

/* Of a plane with RULE_ALONE. */
static const struct alone *alone_in(const struct plane *p)
{
	return alone_of(p->type, p->kind);
}

/* Its field as if there were no other. */
static struct place place_in(const struct plane *p)
{
	return (struct place){p->kind, 0, p->len / p->blocks};
}

/* ---- encoding ---- */

/* Where encoded bytes go; full once they did not fit. */
struct output {
	uint8_t *at, *end;
	bool full;
};

static uint8_t *claim(struct output *out, size_t n)
{
	uint8_t *at = out->at;
	if (out->full || (size_t)(out->end - at) < n) {
		out->full = true;
		return NULL;
	}
	out->at += n;
	return at;
}

/* u32 length, tables, symbols. */
static void put_stream(struct making *m, const uint8_t *symbols, const uint8_t *contexts, size_t n,
		       struct output *out)
{
	uint8_t *head = claim(out, 4);
	if (!head)
		return;
	memset(m->writer.counts, 0, sizeof m->writer.counts);
	rans_count(&m->writer, symbols, contexts, n);
	const size_t room = (size_t)(out->end - out->at);
	const size_t tables = rans_tables_write(&m->writer, out->at, room);
	const size_t coded = tables ? rans_encode(&m->writer, symbols, contexts, n, out->at + tables,
						  room - tables)
				    : 0;
	le_put(head, tables + coded, 4);
	if (!coded || !claim(out, tables + coded))
		out->full = true;
}

/* How many of a byte's steps make twice the value. */
static unsigned octave(const struct plane *p)
{
	return p->kind == FIELD_FLOAT16 && p->type != ELEMENT_BF16 ? 8 : 1;
}

static uint64_t sum_of(const uint8_t *bytes, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += bytes[i];
	return sum;
}

/* Runs are told apart by their mean, in quarters of an octave from that of all. */
static void put_runs(const struct plane *p, uint8_t *runs)
{
	const uint8_t *bytes = p->all + p->at;
	const unsigned step = octave(p);
	const int64_t mean = (int64_t)(sum_of(bytes, p->len) * 256 / p->len);
	memset(runs, 0, runs_bytes(p));
	for (size_t at = 0, run = 0; at < p->len; at += RUN, run++) {
		const size_t n = p->len - at < RUN ? p->len - at : RUN;
		const int64_t off = (int64_t)(sum_of(bytes + at, n) * 256 / n) - mean;
		const int64_t c = (off + 32 * 64 * step + 32 * step) / (64 * step) - 32 + 8;
		runs[run / 2] |= (uint8_t)((c < 0 ? 0 : c > 15 ? 15 : c) << 4 * (run % 2));
	}
}

static bool worth_it(struct making *m, const uint8_t *symbols, size_t n, struct output out)
{
	const size_t most = n - n / 100;
	if ((size_t)(out.end - out.at) > most)
		out.end = out.at + most;
	put_stream(m, symbols, m->contexts, n, &out);
	return !out.full;
}

static void put_bytes(struct making *m, const struct plane *p, struct output *out)
{
	const uint8_t *bytes = p->all + p->at;
	uint8_t *runs = claim(out, runs_bytes(p));
	if (!runs)
		return;
	if (p->rule == RULE_RUN)
		put_runs(p, runs);
	contexts_of(p, runs, 0, p->len, m->contexts);
	if (p->len > 2 * SAMPLE && !worth_it(m, bytes, SAMPLE, *out))
		out->full = true;
	put_stream(m, bytes, m->contexts, p->len, out);
}

/* All scales, then all minimums. */
static void put_sixes(struct making *m, const struct plane *p, struct output *out)
{
	const size_t n = p->blocks * SIXES_PARTS;
	uint8_t *minimums = m->symbols + n, *contexts = m->contexts + n;
	for (size_t b = 0; b < p->blocks; b++) {
		uint8_t six[2 * SIXES_PARTS];
		sixes_part(p->all + p->at + b * SIXES_LEN, six);
		memcpy(m->symbols + b * SIXES_PARTS, six, SIXES_PARTS);
		memcpy(minimums + b * SIXES_PARTS, six + SIXES_PARTS, SIXES_PARTS);
	}
	memset(m->contexts, 0, n);
	for (size_t i = 0; i < n; i++)
		contexts[i] = m->symbols[i] / 4;
	put_stream(m, m->symbols, m->contexts, n, out);
	put_stream(m, minimums, contexts, n, out);
}

static void turn(uint8_t *numbers, const uint8_t *turned, size_t groups)
{
	for (size_t g = 0; g < groups; g++, numbers += ALONE_GROUP)
		for (unsigned i = 0; i < ALONE_GROUP; i++)
			numbers[i] ^= turned[g];
}

/* Of two kinds, each has its own. */
static void places_contexts(const struct alone *a, size_t n, uint8_t *contexts)
{
	memset(contexts, 0, n);
	for (size_t i = 1; i < n && a->extremes > 1; i += 2)
		contexts[i] = 1;
}

/* Places, then numbers. */
static void put_alone(struct numbers *k, const struct plane *p, struct output *out)
{
	struct making *m = k->making;
	const struct alone *a = alone_in(p);
	const struct place place = place_in(p);
	const size_t groups = p->blocks * a->groups, places = groups * a->extremes;
	alone_contexts(a, p->all, p->blocks, k->units, k->context, k->turned);
	numbers_take(&place, place.len, p->all + p->at, p->blocks, m->symbols);
	turn(m->symbols, k->turned, groups);
	for (size_t g = 0; g < groups; g++)
		alone_places(a, m->symbols + g * ALONE_GROUP, k->places + g * a->extremes);
	places_contexts(a, places, m->contexts);
	put_stream(m, k->places, m->contexts, places, out);
	alone_spread(a, k->context, k->places, groups, m->contexts);
	put_stream(m, m->symbols, m->contexts, groups * ALONE_GROUP, out);
}

/* A plane as it is unless another way is shorter. */
static void put_plane(struct numbers *k, const struct plane *p, struct output *out)
{
	struct output coded = *out;
	const size_t room = (size_t)(out->end - out->at);
	if (room > p->len)
		coded.end = out->at + p->len;
	uint8_t *method = claim(&coded, 1);
	if (method && p->rule == RULE_ALONE)
		put_alone(k, p, &coded);
	else if (method && p->rule == RULE_SIXES)
		put_sixes(k->making, p, &coded);
	else if (method)
		put_bytes(k->making, p, &coded);
	if (method && !coded.full) {
		*method = CODED;
		out->at = coded.at;
		return;
	}
	method = claim(out, 1 + p->len);
	if (!method)
		return;
	method[0] = RAW;
	memcpy(method + 1, p->all + p->at, p->len);
}

/* Groups of the chunk's quants; 0: they are not treated so. */
static size_t groups_in(uint8_t type, size_t len)
{
	size_t groups = 0;
	for (struct walk w = walk_from(type, NULL, len); walk_next(&w);)
		if (w.plane.rule == RULE_ALONE)
			groups = w.plane.blocks * alone_in(&w.plane)->groups;
	return groups;
}

int numbers_encode(struct numbers *k, uint8_t type, const uint8_t *planes, size_t len, uint8_t *out,
		   size_t room, size_t *ret_len, struct err *err)
{
	struct output to = {out, out + room, false};
	if (making_reserve(k, len, err) || groups_reserve(k, groups_in(type, len), err))
		return -1;
	struct walk w = walk_from(type, planes, len);
	while (!to.full && walk_next(&w))
		put_plane(k, &w.plane, &to);
	const size_t whole = w.plane.blocks * element_block(type);
	uint8_t *rest = claim(&to, len - whole);
	if (rest)
		memcpy(rest, planes + whole, len - whole);
	*ret_len = to.full ? 0 : (size_t)(to.at - out);
	return 0;
}

/* ---- decoding ---- */

struct input {
	const uint8_t *at, *end;
	struct err *err;
};

/* The next len bytes, or NULL. */
static const uint8_t *take(struct input *in, size_t len)
{
	const uint8_t *at = in->at;
	if ((size_t)(in->end - at) < len) {
		(void)err_set(in->err, ERR_INVALID, "chunk: its numbers end early");
		return NULL;
	}
	in->at += len;
	return at;
}

static int stream_begin(struct numbers *k, struct input *in)
{
	const uint8_t *head = take(in, 4);
	const uint8_t *stream = head ? take(in, le_u32(head)) : NULL;
	if (!stream)
		return -1;
	const size_t len = le_u32(head), tables = rans_tables_read(&k->reader, stream, len);
	if (!tables || !rans_begin(&k->reader, stream + tables, len - tables))
		return err_set(in->err, ERR_INVALID, "chunk: tables of numbers that are none");
	return 0;
}

static int stream_end(const struct numbers *k, const struct input *in)
{
	if (!rans_done(&k->reader))
		return err_set(in->err, ERR_INVALID, "chunk: its numbers are damaged");
	return 0;
}

static int get_bytes(struct numbers *k, const struct plane *p, uint8_t *planes, struct input *in)
{
	const uint8_t *runs = take(in, runs_bytes(p));
	if (!runs || stream_begin(k, in))
		return -1;
	for (size_t at = 0; at < p->len; at += PIECE) {
		const size_t n = p->len - at < PIECE ? p->len - at : PIECE;
		contexts_of(p, runs, at, n, k->contexts);
		rans_decode(&k->reader, k->contexts, n, planes + p->at + at);
	}
	return stream_end(k, in);
}

static void sixes_contexts(const uint8_t *bytes, size_t blocks, uint8_t *contexts)
{
	for (size_t b = 0; b < blocks; b++) {
		uint8_t six[2 * SIXES_PARTS];
		sixes_part(bytes + b * SIXES_LEN, six);
		for (unsigned i = 0; i < SIXES_PARTS; i++)
			contexts[b * SIXES_PARTS + i] = six[i] / 4;
	}
}

/* The numbers that begin with number first, beside the others that are there. */
static void sixes_add(uint8_t *bytes, size_t blocks, unsigned first, const uint8_t *symbols)
{
	for (size_t b = 0; b < blocks; b++) {
		uint8_t six[2 * SIXES_PARTS];
		sixes_part(bytes + b * SIXES_LEN, six);
		for (unsigned i = 0; i < SIXES_PARTS; i++)
			six[first + i] = symbols[b * SIXES_PARTS + i] & 63;
		sixes_join(six, bytes + b * SIXES_LEN);
	}
}

/* The scales, or the minimums behind them. */
static int get_half_sixes(struct numbers *k, const struct plane *p, unsigned first, uint8_t *planes,
			  struct input *in)
{
	const size_t most = PIECE / SIXES_PARTS;
	if (stream_begin(k, in))
		return -1;
	memset(k->contexts, 0, sizeof k->contexts);
	for (size_t at = 0; at < p->blocks; at += most) {
		const size_t count = p->blocks - at < most ? p->blocks - at : most;
		uint8_t *bytes = planes + p->at + at * SIXES_LEN;
		if (first)
			sixes_contexts(bytes, count, k->contexts);
		rans_decode(&k->reader, k->contexts, count * SIXES_PARTS, k->symbols);
		sixes_add(bytes, count, first, k->symbols);
	}
	return stream_end(k, in);
}

static int get_sixes(struct numbers *k, const struct plane *p, uint8_t *planes, struct input *in)
{
	memset(planes + p->at, 0, p->len);
	return get_half_sixes(k, p, 0, planes, in) || get_half_sixes(k, p, SIXES_PARTS, planes, in) ? -1 : 0;
}

static int get_places(struct numbers *k, const struct alone *a, size_t n, struct input *in)
{
	if (stream_begin(k, in))
		return -1;
	places_contexts(a, PIECE, k->contexts);
	for (size_t at = 0; at < n; at += PIECE)
		rans_decode(&k->reader, k->contexts, n - at < PIECE ? n - at : PIECE, k->places + at);
	return stream_end(k, in);
}

static int get_alone(struct numbers *k, const struct plane *p, uint8_t *planes, struct input *in)
{
	const struct alone *a = alone_in(p);
	const struct place place = place_in(p);
	const size_t groups = p->blocks * a->groups, most = PIECE / ALONE_GROUP;
	const uint8_t mask = p->kind == FIELD_NIBBLES ? 15 : 255;
	alone_contexts(a, p->all, p->blocks, k->units, k->context, k->turned);
	if (get_places(k, a, groups * a->extremes, in) || stream_begin(k, in))
		return -1;
	for (size_t g = 0; g < groups; g += most) {
		const size_t count = groups - g < most ? groups - g : most, n = count * ALONE_GROUP;
		const size_t block = g / a->groups;
		alone_spread(a, k->context + g, k->places + g * a->extremes, count, k->contexts);
		rans_decode(&k->reader, k->contexts, n, k->symbols);
		for (size_t i = 0; i < n; i++)
			k->symbols[i] &= mask;
		turn(k->symbols, k->turned + g, count);
		numbers_put(&place, place.len, k->symbols, count / a->groups,
			    planes + p->at + block * place.len);
	}
	return stream_end(k, in);
}

static int get_plane(struct numbers *k, const struct plane *p, uint8_t *planes, struct input *in)
{
	const uint8_t *method = take(in, 1);
	if (!method)
		return -1;
	if (*method == RAW) {
		const uint8_t *bytes = take(in, p->len);
		if (!bytes)
			return -1;
		memcpy(planes + p->at, bytes, p->len);
		return 0;
	}
	if (*method != CODED)
		return err_set(in->err, ERR_INVALID,
			       "chunk: numbers coded in a way not known to this version; update it");
	if (p->rule == RULE_ALONE)
		return get_alone(k, p, planes, in);
	return p->rule == RULE_SIXES ? get_sixes(k, p, planes, in) : get_bytes(k, p, planes, in);
}

int numbers_decode(struct numbers *k, uint8_t type, const uint8_t *bytes, size_t bytes_len,
		   uint8_t *planes, size_t len, struct err *err)
{
	struct input in = {bytes, bytes + bytes_len, err};
	if (groups_reserve(k, groups_in(type, len), err))
		return -1;
	struct walk w = walk_from(type, planes, len);
	while (walk_next(&w))
		if (get_plane(k, &w.plane, planes, &in))
			return -1;
	const size_t whole = w.plane.blocks * element_block(type);
	const uint8_t *rest = take(&in, len - whole);
	if (!rest)
		return -1;
	memcpy(planes + whole, rest, len - whole);
	if (in.at != in.end)
		return err_set(err, ERR_INVALID, "chunk: bytes behind its numbers");
	return 0;
}
