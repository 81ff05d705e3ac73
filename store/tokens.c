#include "store/tokens.h"

#include <endian.h>
#include <string.h>

#define DIRECT 128u	/* symbols that stand for themselves */
#define DIRECT_LOG 7u
#define BITS_AT_ONCE 32u
#define STRETCH 32u /* symbols that are looked at together */

/* ---- bits ---- */

static void put_bits(struct bits_writer *w, uint64_t value, unsigned count)
{
	while (count) {
		const unsigned n = count < BITS_AT_ONCE ? count : BITS_AT_ONCE;
		w->kept |= (value & ((UINT64_C(1) << n) - 1)) << w->count;
		w->count += n;
		value >>= n;
		count -= n;
		for (; w->count >= 8; w->count -= 8, w->kept >>= 8)
			*w->at++ = (uint8_t)w->kept;
	}
}

void bits_end(struct bits_writer *w)
{
	if (w->count)
		*w->at++ = (uint8_t)w->kept;
	w->kept = w->count = 0;
}

static uint64_t get_bits(struct bits_reader *r, unsigned count)
{
	uint64_t value = 0;
	for (unsigned got = 0; got < count;) {
		const unsigned n = count - got < BITS_AT_ONCE ? count - got : BITS_AT_ONCE;
		for (; r->count < n && r->at < r->end; r->count += 8)
			r->kept |= (uint64_t)*r->at++ << r->count;
		if (r->count < n) {
			r->ended = true;
			return 0;
		}
		value |= (r->kept & ((UINT64_C(1) << n) - 1)) << got;
		r->kept >>= n;
		r->count -= n;
		got += n;
	}
	return value;
}

bool bits_done(const struct bits_reader *r)
{
	return !r->ended && r->at == r->end && r->count < 8 && !r->kept;
}

/* ---- words; inlined with constant widths, so that loops become vector instructions ---- */

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load(const uint8_t *p, unsigned width)
{
	uint16_t half;
	uint32_t word;
	uint64_t twice;
	switch (width) {
	case 2:
		memcpy(&half, p, 2);
		return le16toh(half);
	case 4:
		memcpy(&word, p, 4);
		return le32toh(word);
	default:
		memcpy(&twice, p, 8);
		return le64toh(twice);
	}
}

INLINE void store(uint8_t *p, uint64_t v, unsigned width)
{
	const uint16_t half = htole16((uint16_t)v);
	const uint32_t word = htole32((uint32_t)v);
	const uint64_t twice = htole64(v);
	memcpy(p, width == 2 ? (const void *)&half : width == 4 ? (const void *)&word : (const void *)&twice,
	       width);
}

INLINE uint64_t fold(uint64_t d, unsigned width)
{
	const uint64_t sign = d >> (8 * width - 1) & 1;
	return (d << 1 ^ (0 - sign)) & (UINT64_MAX >> (64 - 8 * width));
}

INLINE uint64_t unfold(uint64_t z)
{
	return z >> 1 ^ (0 - (z & 1));
}

INLINE void make(const uint8_t *old, const uint8_t *new, size_t n, unsigned width, uint8_t *symbols,
		 struct bits_writer *bits)
{
	for (size_t i = 0; i < n; i++) {
		const uint64_t z = fold(load(new + i * width, width) - load(old + i * width, width), width);
		if (z < DIRECT) {
			symbols[i] = (uint8_t)z;
			continue;
		}
		const unsigned log = 63 - (unsigned)__builtin_clzll(z), rest = log - 1;
		symbols[i] = (uint8_t)(DIRECT + 2 * (log - DIRECT_LOG) + (z >> rest & 1));
		put_bits(bits, z & ((UINT64_C(1) << rest) - 1), rest);
	}
}

static uint64_t far(uint8_t symbol, struct bits_reader *bits)
{
	const unsigned log = DIRECT_LOG + (symbol - DIRECT) / 2, rest = log - 1;
	if (log > 63) {
		bits->ended = true; /* no word is as wide */
		return 0;
	}
	return (UINT64_C(2) | (symbol & 1)) << rest | get_bits(bits, rest);
}

INLINE void add_near(const uint8_t *restrict old, const uint8_t *restrict symbols, size_t n,
		     unsigned width, uint8_t *restrict new)
{
	for (size_t i = 0; i < n; i++) {
		const int z = symbols[i], d = z >> 1 ^ -(z & 1);
		store(new + i * width, load(old + i * width, width) + (uint64_t)(int64_t)d, width);
	}
}

static bool all_near(const uint8_t *symbols, size_t n)
{
	unsigned any = 0;
	for (size_t i = 0; i < n; i++)
		any |= symbols[i];
	return any < DIRECT;
}

INLINE void add(const uint8_t *old, const uint8_t *symbols, size_t n, unsigned width, uint8_t *new,
		struct bits_reader *bits)
{
	add_near(old, symbols, n, width, new);
	for (size_t at = 0; at < n; at += STRETCH) {
		const size_t end = n - at < STRETCH ? n : at + STRETCH;
		for (size_t i = all_near(symbols + at, end - at) ? end : at; i < end; i++)
			if (symbols[i] >= DIRECT)
				store(new + i * width,
				      load(old + i * width, width) + unfold(far(symbols[i], bits)), width);
	}
}

void tokens_make(const uint8_t *old, const uint8_t *new, size_t n, unsigned width, uint8_t *symbols,
		 struct bits_writer *bits)
{
	if (width == 2)
		make(old, new, n, 2, symbols, bits);
	else if (width == 4)
		make(old, new, n, 4, symbols, bits);
	else
		make(old, new, n, 8, symbols, bits);
}

void tokens_add(const uint8_t *old, const uint8_t *symbols, size_t n, unsigned width, uint8_t *new,
		struct bits_reader *bits)
{
	if (width == 2)
		add(old, symbols, n, 2, new, bits);
	else if (width == 4)
		add(old, symbols, n, 4, new, bits);
	else
		add(old, symbols, n, 8, new, bits);
}
