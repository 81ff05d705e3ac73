#include "store/diff.h"

#include "base/grow.h"
#include "store/element.h"
#include "store/expect.h"
#include "store/layout.h"
#include "store/le.h"
#include "store/planes.h"
#include "store/rans.h"
#include "store/tokens.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (8 * EXPECT_MAX / 2) /* bytes of the widest words of a piece */

/* How a field is coded: on the wire, never renumber. */
enum method {
	SAME = 0, /* nothing follows: every number is the one expected */
	RAW = 1,  /* the field's bytes, block after block */
	CODED = 2 /* u16 top, u32 length, tables and symbols, u32 length, bits */
};
#define CODED_HEAD 11u /* bytes of these, with the method */

/* To encode: all of a field's symbols, since they are written last first. */
struct making {
	struct rans_writer writer;
	uint8_t *symbols, *contexts; /* owned; 2 * room each: of nibbles there are as many */
	uint8_t *bits, *out;	     /* owned; room each */
	size_t room;		     /* raw bytes */
};

struct differ {
	struct rans_reader reader;
	struct expected expected;
	uint8_t symbols[EXPECT_MAX], numbers[EXPECT_MAX];
	uint8_t old[WORDS_MAX], new[WORDS_MAX];
	struct making *making; /* owned; NULL until something is encoded */
	bool plain;
};

struct differ *differ_new(void)
{
	return calloc(1, sizeof(struct differ));
}

static void making_free(struct making *m)
{
	if (!m)
		return;
	free(m->symbols);
	free(m->contexts);
	free(m->bits);
	free(m->out);
	free(m);
}

void differ_free(struct differ *d)
{
	if (!d)
		return;
	making_free(d->making);
	free(d);
}

void differ_plain(struct differ *d)
{
	d->plain = true;
	d->reader.plain = true;
}

static int length_check(size_t len, struct err *err)
{
	if (!len || len > CHUNK_RAW_MAX)
		return err_set(err, ERR_INVALID, "chunk: raw length %zu is outside 1..%u", len,
			       CHUNK_RAW_MAX);
	return 0;
}

static int making_reserve(struct differ *d, size_t len, struct err *err)
{
	if (!d->making && !(d->making = calloc(1, sizeof(*d->making))))
		return err_nomem(err);
	struct making *m = d->making;
	m->writer.plain = d->plain;
	if (len <= m->room)
		return 0;
	if (!grow_bytes(&m->symbols, 2 * len) || !grow_bytes(&m->contexts, 2 * len) ||
	    !grow_bytes(&m->bits, len) || !grow_bytes(&m->out, len))
		return err_nomem(err);
	m->room = len;
	return 0;
}

/* ---- fields ---- */

/* Two chunks, old and new, and the field in question. */
struct job {
	struct differ *d;
	uint8_t type;
	const uint8_t *old;
	uint8_t *new; /* what is encoded is not changed */
	size_t block, blocks;
	struct place place;
	uint16_t top;
};

static bool is_words(const struct job *j)
{
	return field_width(j->place.kind) > 1;
}

/* Fields lie one behind the other. */
static bool next_field(struct job *j, unsigned f)
{
	const struct field *fields = layout_of(j->type);
	if (f == LAYOUT_FIELDS || !fields[f].kind || !j->blocks)
		return false;
	j->place = (struct place){fields[f].kind, f ? j->place.from + j->place.len : 0, fields[f].len};
	return true;
}

static struct job job_of(struct differ *d, uint8_t type, const void *old, void *new, size_t len)
{
	const size_t block = element_block(type);
	return (struct job){.d = d, .type = type, .old = old, .new = new, .block = block,
			    .blocks = len / block};
}

/* Blocks that a piece has, which begins with block k. */
static struct blocks piece_at(const struct job *j, size_t k)
{
	const size_t most = place_blocks(&j->place), left = j->blocks - k;
	return (struct blocks){j->type, j->old + k * j->block, j->new + k * j->block,
			       left < most ? left : most};
}

/* Words of a piece without what lies between them: in place where nothing does. */
static const uint8_t *words_of(const struct job *j, const uint8_t *blocks, size_t count, uint8_t *room)
{
	if (j->place.len == j->block)
		return blocks;
	bytes_take(&j->place, j->block, blocks, count, room);
	return room;
}

/* ---- encoding ---- */

static unsigned number_bits(uint8_t kind)
{
	return kind == FIELD_NIBBLES ? 4 : kind == FIELD_SIXES ? 6 : 8;
}

static void numbers_subtract(uint8_t kind, const struct expected *e, const uint8_t *numbers, size_t n,
			     uint8_t *symbols)
{
	const unsigned bits = number_bits(kind), mask = (1u << bits) - 1;
	for (size_t i = 0; i < n; i++) {
		const unsigned d = (unsigned)((numbers[i] - e->number[i]) ^ e->turned[i]) - e->turned[i];
		const unsigned sign = 0 - (d >> (bits - 1) & 1);
		symbols[i] = (uint8_t)((d << 1 ^ sign) & mask);
	}
}

static void bits_differ(const uint8_t *a, const uint8_t *b, size_t n, uint8_t *to)
{
	for (size_t i = 0; i < n; i++)
		to[i] = a[i] ^ b[i];
}

static size_t numbers_symbols(struct job *j)
{
	struct differ *d = j->d;
	struct making *m = d->making;
	const unsigned each = place_numbers(&j->place);
	for (size_t k = 0; k < j->blocks;) {
		const struct blocks b = piece_at(j, k);
		const size_t n = b.count * each, at = k * each;
		expect_numbers(&b, &j->place, &d->expected, d->plain);
		numbers_take(&j->place, j->block, b.new, b.count, d->numbers);
		if (j->place.kind == FIELD_BITS)
			bits_differ(d->numbers, d->expected.number, n, m->symbols + at);
		else
			numbers_subtract(j->place.kind, &d->expected, d->numbers, n, m->symbols + at);
		memcpy(m->contexts + at, d->expected.context, n);
		k += b.count;
	}
	return j->blocks * each;
}

static size_t words_symbols(struct job *j, struct bits_writer *bits)
{
	struct differ *d = j->d;
	struct making *m = d->making;
	const unsigned each = place_numbers(&j->place), width = field_width(j->place.kind);
	for (size_t k = 0; k < j->blocks;) {
		const struct blocks b = piece_at(j, k);
		const size_t n = b.count * each, at = k * each;
		const uint8_t *old = words_of(j, b.old, b.count, d->old);
		if (!k)
			j->top = expect_top(j->type, j->place.kind, old, n);
		expect_words(j->type, j->place.kind, j->top, old, n, m->contexts + at);
		tokens_make(old, words_of(j, b.new, b.count, d->new), n, width, m->symbols + at, bits);
		k += b.count;
	}
	bits_end(bits);
	return j->blocks * each;
}

/* These give how many bytes they wrote to out, 0 when room does not suffice. */

static size_t field_raw(const struct job *j, uint8_t *out, size_t room)
{
	const size_t len = j->blocks * j->place.len;
	if (room < 1 + len)
		return 0;
	out[0] = RAW;
	bytes_take(&j->place, j->block, j->new, j->blocks, out + 1);
	return 1 + len;
}

static size_t field_coded(struct job *j, size_t n, size_t bits, uint8_t *out, size_t room)
{
	struct making *m = j->d->making;
	const size_t extra = is_words(j) ? 4 + bits : 0, least = CODED_HEAD - 4 + extra;
	if (room < least)
		return 0;
	memset(m->writer.counts, 0, sizeof m->writer.counts);
	rans_count(&m->writer, m->symbols, m->contexts, n);
	const size_t tables = rans_tables_write(&m->writer, out + 7, room - least);
	if (!tables)
		return 0;
	const size_t coded = rans_encode(&m->writer, m->symbols, m->contexts, n, out + 7 + tables,
					 room - least - tables);
	if (!coded)
		return 0;
	out[0] = CODED;
	le_put(out + 1, j->top, 2);
	le_put(out + 3, tables + coded, 4);
	if (!extra)
		return 7 + tables + coded;
	uint8_t *rest = out + 7 + tables + coded;
	le_put(rest, bits, 4);
	memcpy(rest + 4, m->bits, bits);
	return 7 + tables + coded + extra;
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

static size_t field_encode(struct job *j, uint8_t *out, size_t room)
{
	struct making *m = j->d->making;
	struct bits_writer bits = {.at = m->bits};
	const size_t n = is_words(j) ? words_symbols(j, &bits) : numbers_symbols(j);
	if (!room)
		return 0;
	if (all_zero(m->symbols, n)) {
		out[0] = SAME;
		return 1;
	}
	const size_t raw = 1 + j->blocks * j->place.len;
	const size_t coded = field_coded(j, n, (size_t)(bits.at - m->bits), out, room < raw ? room : raw);
	return coded ? coded : field_raw(j, out, room);
}

int diff_encode(struct differ *d, uint8_t type, const void *old, const void *raw, size_t len,
		struct coded *ret_coded, struct err *err)
{
	if (!planes_known(type))
		return err_set(err, ERR_INVALID, "chunk: element type %u has no differences", type);
	if (length_check(len, err) || making_reserve(d, len, err))
		return -1;
	uint8_t *out = d->making->out;
	struct job j = job_of(d, type, old, (void *)(uintptr_t)raw, len);
	size_t at = 1;
	*ret_coded = (struct coded){out, 0, CODEC_DELTA, type};
	out[0] = type;
	for (unsigned f = 0; next_field(&j, f); f++) {
		const size_t n = field_encode(&j, out + at, len - at);
		if (!n)
			return 0;
		at += n;
	}
	const size_t whole = j.blocks * j.block, rest = len - whole;
	if (len - at < rest)
		return 0;
	memcpy(out + at, (const uint8_t *)raw + whole, rest);
	ret_coded->len = (uint32_t)(at + rest);
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
		(void)err_set(in->err, ERR_INVALID, "chunk: its differences end early");
		return NULL;
	}
	in->at += len;
	return at;
}

static void numbers_add(uint8_t kind, const struct expected *e, const uint8_t *symbols, size_t n,
			uint8_t *numbers)
{
	const unsigned mask = (1u << number_bits(kind)) - 1;
	for (size_t i = 0; i < n; i++) {
		const uint8_t d = (uint8_t)(symbols[i] >> 1 ^ (0 - (symbols[i] & 1)));
		numbers[i] = (uint8_t)((e->number[i] + (d ^ e->turned[i]) - e->turned[i]) & mask);
	}
}

static void numbers_piece(struct job *j, const struct blocks *b, uint8_t *new, bool coded)
{
	struct differ *d = j->d;
	const size_t n = b->count * place_numbers(&j->place);
	expect_numbers(b, &j->place, &d->expected, d->plain);
	if (coded)
		rans_decode(&d->reader, d->expected.context, n, d->symbols);
	else
		memset(d->symbols, 0, n);
	if (j->place.kind == FIELD_BITS)
		bits_differ(d->symbols, d->expected.number, n, d->numbers);
	else
		numbers_add(j->place.kind, &d->expected, d->symbols, n, d->numbers);
	numbers_put(&j->place, j->block, d->numbers, b->count, new);
}

static void words_piece(struct job *j, const struct blocks *b, uint8_t *new, bool coded,
			struct bits_reader *bits)
{
	struct differ *d = j->d;
	const size_t n = b->count * place_numbers(&j->place);
	const uint8_t *old = words_of(j, b->old, b->count, d->old);
	const bool alone = j->place.len == j->block;
	uint8_t *words = alone ? new : d->new;
	if (coded) {
		expect_words(j->type, j->place.kind, j->top, old, n, d->expected.context);
		rans_decode(&d->reader, d->expected.context, n, d->symbols);
	} else {
		memset(d->symbols, 0, n);
	}
	tokens_add(old, d->symbols, n, field_width(j->place.kind), words, bits);
	if (!alone)
		bytes_put(&j->place, j->block, words, b->count, new);
}

static void field_make(struct job *j, bool coded, struct bits_reader *bits)
{
	for (size_t k = 0; k < j->blocks;) {
		const struct blocks b = piece_at(j, k);
		if (is_words(j))
			words_piece(j, &b, j->new + k * j->block, coded, bits);
		else
			numbers_piece(j, &b, j->new + k * j->block, coded);
		k += b.count;
	}
}

static int field_decode_coded(struct job *j, struct input *in)
{
	struct bits_reader bits = {0};
	const uint8_t *head = take(in, 6);
	if (!head)
		return -1;
	j->top = (uint16_t)(head[0] | head[1] << 8);
	const uint32_t len = le_u32(head + 2);
	const uint8_t *symbols = take(in, len);
	if (!symbols)
		return -1;
	if (is_words(j)) {
		const uint8_t *count = take(in, 4);
		bits.at = count ? take(in, le_u32(count)) : NULL;
		if (!bits.at)
			return -1;
		bits.end = in->at;
	}
	const size_t tables = rans_tables_read(&j->d->reader, symbols, len);
	if (!tables || !rans_begin(&j->d->reader, symbols + tables, len - tables))
		return err_set(in->err, ERR_INVALID, "chunk: tables of differences that are none");
	field_make(j, true, &bits);
	if (!rans_done(&j->d->reader) || !bits_done(&bits))
		return err_set(in->err, ERR_INVALID,
			       "chunk: its differences are damaged, or the old file is not the one that "
			       "the delta was made from");
	return 0;
}

static int field_decode(struct job *j, struct input *in)
{
	const uint8_t *method = take(in, 1);
	if (!method)
		return -1;
	const uint8_t *raw;
	switch (*method) {
	case SAME:
		field_make(j, false, &(struct bits_reader){0});
		return 0;
	case RAW:
		raw = take(in, j->blocks * j->place.len);
		if (!raw)
			return -1;
		bytes_put(&j->place, j->block, raw, j->blocks, j->new);
		return 0;
	case CODED:
		return field_decode_coded(j, in);
	default:
		return err_set(in->err, ERR_INVALID,
			       "chunk: differences coded in a way not known to this version; update it");
	}
}

int diff_decode(struct differ *d, const struct coded *coded, const void *old, void *raw,
		size_t raw_len, struct err *err)
{
	if (length_check(raw_len, err))
		return -1;
	if (coded->codec != CODEC_DELTA || !coded->len || !planes_known(coded->bytes[0]))
		return err_set(err, ERR_INVALID,
			       "chunk: differences of a kind not known to this version; update it");
	struct input in = {coded->bytes + 1, coded->bytes + coded->len, err};
	struct job j = job_of(d, coded->bytes[0], old, raw, raw_len);
	for (unsigned f = 0; next_field(&j, f); f++)
		if (field_decode(&j, &in))
			return -1;
	const size_t whole = j.blocks * j.block;
	const uint8_t *rest = take(&in, raw_len - whole);
	if (!rest)
		return -1;
	memcpy(j.new + whole, rest, raw_len - whole);
	if (in.at != in.end)
		return err_set(err, ERR_INVALID, "chunk: bytes behind its differences");
	return 0;
}
