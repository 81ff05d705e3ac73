#include "store/rans.h"

#include "store/le.h"
#include "store/rans_internal.h"

#include <endian.h>
#include <string.h>

#define APART_LEAST 4096u /* symbols that are worth counting apart */

/* ---- tables: for each context a byte, the highest symbol, and a count for each up to it; a count is one
 * byte below 128, else two, and 0 is followed by how many more zeros there are ---- */

/* Three of four elsewhere: the same symbol soon again would wait for itself. */
void rans_count(struct rans_writer *writer, const uint8_t *symbols, const uint8_t *contexts, size_t n)
{
	uint32_t *first = &writer->counts[0][0];
	size_t i = 0;
	if (n < APART_LEAST) {
		for (; i < n; i++)
			first[contexts[i] << 8 | symbols[i]]++;
		return;
	}
	memset(writer->apart, 0, sizeof writer->apart);
	for (; n - i >= 4; i += 4) {
		first[contexts[i] << 8 | symbols[i]]++;
		writer->apart[0][contexts[i + 1] << 8 | symbols[i + 1]]++;
		writer->apart[1][contexts[i + 2] << 8 | symbols[i + 2]]++;
		writer->apart[2][contexts[i + 3] << 8 | symbols[i + 3]]++;
	}
	for (; i < n; i++)
		first[contexts[i] << 8 | symbols[i]]++;
	for (size_t k = 0; k < RANS_CONTEXTS * 256; k++)
		first[k] += writer->apart[0][k] + writer->apart[1][k] + writer->apart[2][k];
}

static unsigned most_frequent(const uint32_t *counts)
{
	unsigned most = 0;
	for (unsigned s = 1; s < 256; s++)
		if (counts[s] > counts[most])
			most = s;
	return most;
}

/* What rounding leaves over or lacks goes to the most frequent, whom it changes least. */
static void normalize(uint32_t *counts, uint64_t total)
{
	uint32_t sum = 0;
	for (unsigned s = 0; s < 256; s++) {
		if (!counts[s])
			continue;
		const uint64_t share = (counts[s] * (uint64_t)RANS_SCALE + total / 2) / total;
		counts[s] = share ? (uint32_t)share : 1;
		sum += counts[s];
	}
	while (sum != RANS_SCALE) {
		uint32_t *most = &counts[most_frequent(counts)];
		uint32_t more = RANS_SCALE - sum; /* or less, modulo 2^32 */
		if (sum > RANS_SCALE && sum - RANS_SCALE > *most / 2)
			more = 0 - *most / 2;
		*most += more;
		sum += more;
	}
}

/* With shift such that 2^shift < count <= 2^(shift + 1), rounding up errs by less than it takes to matter to
 * states.  Of 1 there is no such inverse: the nearest gives x - 1, and what to add makes up for it. */
static struct rans_code code_of(uint32_t count, uint32_t start)
{
	if (count == 1)
		return (struct rans_code){UINT32_MAX, (start + RANS_SCALE - 1) | 1u << RANS_STEP_BITS};
	const unsigned shift = 31 - (unsigned)__builtin_clz(count - 1);
	const uint64_t whole = UINT64_C(1) << (32 + shift);
	return (struct rans_code){(uint32_t)(whole / count + 1),
				  start | count << RANS_STEP_BITS | shift << 2 * RANS_STEP_BITS};
}

static void codes_make(struct rans_code *codes, const uint32_t *counts)
{
	uint32_t start = 0;
	for (unsigned s = 0; s < 256; s++) {
		if (counts[s])
			codes[s] = code_of(counts[s], start);
		start += counts[s];
	}
}

static size_t table_write(const uint32_t *counts, uint8_t *out, size_t room)
{
	unsigned last = 255;
	while (!counts[last])
		last--;
	uint8_t bytes[1 + 2 * 256];
	size_t n = 0;
	bytes[n++] = (uint8_t)last;
	for (unsigned s = 0; s <= last; s++) {
		unsigned zeros = 0;
		while (!counts[s + zeros])
			zeros++;
		if (zeros) {
			bytes[n++] = 0;
			bytes[n++] = (uint8_t)(zeros - 1);
			s += zeros - 1;
			continue;
		}
		if (counts[s] >= 128)
			bytes[n++] = (uint8_t)(128 | counts[s] >> 8);
		bytes[n++] = (uint8_t)counts[s];
	}
	if (n > room)
		return 0;
	memcpy(out, bytes, n);
	return n;
}

size_t rans_tables_write(struct rans_writer *writer, uint8_t *out, size_t room)
{
	unsigned used = 0;
	size_t at = 2;
	if (room < at)
		return 0;
	for (unsigned c = 0; c < RANS_CONTEXTS; c++) {
		uint64_t total = 0;
		for (unsigned s = 0; s < 256; s++)
			total += writer->counts[c][s];
		if (!total)
			continue;
		used |= 1u << c;
		normalize(writer->counts[c], total);
		codes_make(writer->codes[c], writer->counts[c]);
		const size_t n = table_write(writer->counts[c], out + at, room - at);
		if (!n)
			return 0;
		at += n;
	}
	out[0] = (uint8_t)used;
	out[1] = (uint8_t)(used >> 8);
	return at;
}

struct cursor {
	const uint8_t *at, *end;
};

/* A count, or -1 at the end. */
static int count_read(struct cursor *c)
{
	if (c->at == c->end)
		return -1;
	const int first = *c->at++;
	if (first < 128)
		return first;
	return c->at == c->end ? -1 : (first & 127) << 8 | *c->at++;
}

/* One context's table into slots.  All 2048 are filled, or it is none. */
static bool table_read(struct cursor *c, uint32_t *slots)
{
	uint32_t filled = 0;
	if (c->at == c->end)
		return false;
	const unsigned last = *c->at++;
	for (unsigned s = 0; s <= last; s++) {
		const int count = count_read(c);
		if (count < 0 || (uint32_t)count > RANS_SCALE - filled)
			return false;
		if (!count) {
			if (c->at == c->end)
				return false;
			s += *c->at++;
			continue;
		}
		for (uint32_t k = 0; k < (uint32_t)count; k++)
			slots[filled++] = s | (uint32_t)count << 8 | k << 20;
	}
	return filled == RANS_SCALE;
}

size_t rans_tables_read(struct rans_reader *reader, const uint8_t *in, size_t len)
{
	struct cursor c = {in + 2, in + len};
	if (len < 2)
		return 0;
	const unsigned used = in[0] | (unsigned)in[1] << 8;
	for (unsigned k = 0; k < RANS_CONTEXTS; k++)
		if (!(used >> k & 1))
			memset(reader->slots[k], 0, sizeof reader->slots[k]);
		else if (!table_read(&c, reader->slots[k]))
			return 0;
	return (size_t)(c.at - in);
}

/* ---- symbols: they are written last first, so that they are read first first ---- */

static inline void put_symbol(const struct rans_code *code, uint32_t *state, uint8_t **at)
{
	const uint32_t mask = (1u << RANS_STEP_BITS) - 1, count = code->step >> RANS_STEP_BITS & mask;
	uint32_t x = *state;
	const uint32_t high = x >> (RANS_STATE_BITS - RANS_BITS) >= count;
	const uint16_t word = htole16((uint16_t)x);
	/* No branch: it would be guessed wrong every other time. */
	memcpy(*at - sizeof word, &word, sizeof word);
	*at -= sizeof word * high;
	x >>= 16 * high;
	const uint32_t quotient =
		(uint32_t)((uint64_t)x * code->inverse >> 32) >> (code->step >> 2 * RANS_STEP_BITS);
	*state = x + quotient * (RANS_SCALE - count) + (code->step & mask);
}

size_t rans_encode(const struct rans_writer *writer, const uint8_t *symbols, const uint8_t *contexts,
		   size_t n, uint8_t *out, size_t room)
{
	struct rans_output o = {.out = out, .at = out + room};
	if (room < RANS_STATES)
		return 0;
	for (unsigned i = 0; i < RANS_LANES; i++)
		o.state[i] = RANS_LOW;
	for (size_t i = n; i;) {
		if (rans_output_full(&o))
			return 0;
		do {
			i--;
			put_symbol(&writer->codes[contexts[i]][symbols[i]], &o.state[i % RANS_LANES], &o.at);
		} while (i % RANS_LANES);
#ifdef RANS_HAS_AVX2
		if (!writer->plain && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
			i = rans_encode_avx2(writer, symbols, contexts, i, &o);
#endif
	}
	for (unsigned i = 0; i < RANS_STATES; i++)
		out[i] = (uint8_t)(o.state[i / 4] >> 8 * (i % 4));
	const size_t words = (size_t)(out + room - o.at);
	memmove(out + RANS_STATES, o.at, words);
	return RANS_STATES + words;
}

bool rans_begin(struct rans_reader *reader, const uint8_t *in, size_t len)
{
	if (len < RANS_STATES)
		return false;
	for (unsigned i = 0; i < RANS_LANES; i++)
		reader->state[i] = le_u32(in + 4 * (size_t)i);
	reader->at = in + RANS_STATES;
	reader->end = in + len;
	return true;
}

static inline uint32_t advance(const uint32_t *slots, uint32_t x, uint8_t *symbol)
{
	const uint32_t slot = slots[x & (RANS_SCALE - 1)];
	*symbol = (uint8_t)slot;
	return (slot >> 8 & 0xfff) * (x >> RANS_BITS) + (slot >> 20);
}

/* Whole rounds, as long as there are words for whatever they need. */
static size_t decode_rounds(struct rans_reader *r, const uint8_t *restrict contexts, size_t n,
			    uint8_t *restrict symbols)
{
	const uint8_t *at = r->at;
	uint32_t state[RANS_LANES]; /* not r's: stores of symbols might change that, for all that is known */
	size_t i = 0;
	memcpy(state, r->state, sizeof state);
	for (; n - i >= RANS_LANES && r->end - at >= 2 * (ptrdiff_t)RANS_LANES; i += RANS_LANES)
		for (unsigned k = 0; k < RANS_LANES; k++) {
			const uint32_t x = advance(r->slots[contexts[i + k]], state[k], symbols + i + k);
			uint16_t word;
			memcpy(&word, at, sizeof word);
			const uint32_t low = x < RANS_LOW;
			/* No branch: it would be guessed wrong every other time. */
			state[k] = x << 16 * low | (le16toh(word) & (0 - low));
			at += 2 * (size_t)low;
		}
	memcpy(r->state, state, sizeof state);
	r->at = at;
	return i;
}

void rans_decode(struct rans_reader *r, const uint8_t *contexts, size_t n, uint8_t *symbols)
{
	size_t i = 0;
#ifdef RANS_HAS_AVX2
	if (!r->plain && __builtin_cpu_supports("avx2"))
		i = rans_decode_avx2(r, contexts, n, symbols);
#endif
	i += decode_rounds(r, contexts + i, n - i, symbols + i);
	for (; i < n; i++) {
		uint32_t x = advance(r->slots[contexts[i]], r->state[i % RANS_LANES], symbols + i);
		if (x < RANS_LOW && r->end - r->at >= 2) {
			x = x << 16 | r->at[0] | (uint32_t)r->at[1] << 8;
			r->at += 2;
		}
		r->state[i % RANS_LANES] = x;
	}
}

bool rans_done(const struct rans_reader *reader)
{
	bool well = reader->at == reader->end;
	for (unsigned i = 0; i < RANS_LANES; i++)
		well = well && reader->state[i] == RANS_LOW;
	return well;
}
