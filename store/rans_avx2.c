/* The loops of reader and writer with AVX2: four vectors of eight coders.  The same result as without. */
#include "store/rans_internal.h"

#ifdef RANS_HAS_AVX2

#include <immintrin.h>
#include <string.h>

#define VECTORS (RANS_LANES / 8)
#define AVX2 __attribute__((target("avx2,popcnt")))
#define AVX2_BMI2 __attribute__((target("avx2,popcnt,bmi2")))

/* ---- reading ---- */

/* places[m][k]: which of the next words goes to coder k when those of the bits in m need one. */
#define PLACE(m, k) (uint8_t)__builtin_popcount((m) & ((1u << (k)) - 1))
#define ROW(m) \
	{PLACE(m, 0), PLACE(m, 1), PLACE(m, 2), PLACE(m, 3), \
	 PLACE(m, 4), PLACE(m, 5), PLACE(m, 6), PLACE(m, 7)}
#define ROWS4(m) ROW(m), ROW((m) + 1), ROW((m) + 2), ROW((m) + 3)
#define ROWS16(m) ROWS4(m), ROWS4((m) + 4), ROWS4((m) + 8), ROWS4((m) + 12)
#define ROWS64(m) ROWS16(m), ROWS16((m) + 16), ROWS16((m) + 32), ROWS16((m) + 48)
static const uint8_t places[256][8] = {ROWS64(0u), ROWS64(64u), ROWS64(128u), ROWS64(192u)};

/* Eight slots.  Not by the processor's gathering, which mitigations have made slower than eight loads. */
static inline AVX2 __attribute__((always_inline)) __m256i slots8(const uint32_t *slots, __m256i index)
{
	uint32_t i[8];
	_mm256_storeu_si256((__m256i *)(void *)i, index);
	const __m128i low = _mm_insert_epi32(
		_mm_insert_epi32(_mm_insert_epi32(_mm_cvtsi32_si128((int)slots[i[0]]), (int)slots[i[1]], 1),
				 (int)slots[i[2]], 2),
		(int)slots[i[3]], 3);
	const __m128i high = _mm_insert_epi32(
		_mm_insert_epi32(_mm_insert_epi32(_mm_cvtsi32_si128((int)slots[i[4]]), (int)slots[i[5]], 1),
				 (int)slots[i[6]], 2),
		(int)slots[i[7]], 3);
	return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

struct step {
	__m256i state, symbol;
	unsigned words;
};

static inline AVX2 __attribute__((always_inline)) struct step
step8(const struct rans_reader *r, __m256i x, const uint8_t *contexts, const uint8_t *at)
{
	const __m256i context = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)contexts));
	const __m256i index = _mm256_or_si256(_mm256_slli_epi32(context, RANS_BITS),
					      _mm256_and_si256(x, _mm256_set1_epi32(RANS_SCALE - 1)));
	const __m256i slot = slots8(&r->slots[0][0], index);
	const __m256i count = _mm256_and_si256(_mm256_srli_epi32(slot, 8), _mm256_set1_epi32(0xfff));
	const __m256i next = _mm256_add_epi32(_mm256_mullo_epi32(count, _mm256_srli_epi32(x, RANS_BITS)),
					      _mm256_srli_epi32(slot, 20));
	/* States of damaged bytes may be 2^31 and more: compare as unsigned. */
	const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(next, 15), _mm256_setzero_si256());
	const unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(low));
	const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
	const __m256i place = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)places[mask]));
	const __m256i fed = _mm256_or_si256(_mm256_slli_epi32(next, 16),
					    _mm256_permutevar8x32_epi32(words, place));
	return (struct step){_mm256_blendv_epi8(next, fed, low),
			     _mm256_and_si256(slot, _mm256_set1_epi32(0xff)),
			     (unsigned)__builtin_popcount(mask)};
}

AVX2 size_t rans_decode_avx2(struct rans_reader *r, const uint8_t *contexts, size_t n, uint8_t *symbols)
{
	/* Packing works within halves of vectors: this is the order it leaves the groups of four in. */
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	const uint8_t *at = r->at;
	__m256i state[VECTORS];
	size_t i = 0;
	for (unsigned v = 0; v < VECTORS; v++)
		state[v] = _mm256_loadu_si256((const __m256i *)(const void *)(r->state + 8 * v));
	for (; n - i >= RANS_LANES && r->end - at >= 2 * (ptrdiff_t)RANS_LANES; i += RANS_LANES) {
		__m256i got[VECTORS];
#pragma GCC unroll 4
		for (unsigned v = 0; v < VECTORS; v++) {
			const struct step s = step8(r, state[v], contexts + i + 8 * v, at);
			state[v] = s.state;
			got[v] = s.symbol;
			at += 2 * s.words;
		}
		const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(got[0], got[1]),
							  _mm256_packus_epi32(got[2], got[3]));
		_mm256_storeu_si256((__m256i *)(void *)(symbols + i),
				    _mm256_permutevar8x32_epi32(bytes, order));
	}
	for (unsigned v = 0; v < VECTORS; v++)
		_mm256_storeu_si256((__m256i *)(void *)(r->state + 8 * v), state[v]);
	r->at = at;
	return i;
}

/* ---- writing ---- */

/* Eight codes, as their inverses and their steps. */
struct codes8 {
	__m256i inverse, step;
};

/* Two of them, read into a vector at once: put together in memory they would have to be waited for. */
static inline AVX2_BMI2 __attribute__((always_inline)) __m128 two_codes(const struct rans_code *codes, const uint16_t *i)
{
	const __m128 low = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)&codes[i[0]]));
	return _mm_loadh_pi(low, (const __m64 *)(const void *)&codes[i[1]]);
}

static inline AVX2_BMI2 __attribute__((always_inline)) __m256 four_codes(const struct rans_code *codes, const uint16_t *i)
{
	return _mm256_insertf128_ps(_mm256_castps128_ps256(two_codes(codes, i)), two_codes(codes, i + 4), 1);
}

static inline AVX2_BMI2 __attribute__((always_inline)) struct codes8
codes_at(const struct rans_writer *w, const uint8_t *symbols, const uint8_t *contexts)
{
	uint16_t i[8];
	const __m128i symbol = _mm_loadl_epi64((const __m128i *)(const void *)symbols);
	const __m128i context = _mm_loadl_epi64((const __m128i *)(const void *)contexts);
	_mm_storeu_si128((__m128i *)(void *)i, _mm_unpacklo_epi8(symbol, context));
	/* Numbers 0, 1, 4, 5 and 2, 3, 6, 7: the order in which halves of vectors are shuffled to 0 .. 7. */
	const __m256 a = four_codes(&w->codes[0][0], i), b = four_codes(&w->codes[0][0], i + 2);
	return (struct codes8){_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)),
			       _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd))};
}

/* The upper halves of products of 32 bits. */
static inline AVX2_BMI2 __attribute__((always_inline)) __m256i mul_high(__m256i a, __m256i b)
{
	const __m256i even = _mm256_mul_epu32(a, b);
	const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
	return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

/* The lower halves of those states whose bits are in mask, below at. */
static inline AVX2_BMI2 __attribute__((always_inline)) uint8_t *put_words(__m256i x, unsigned mask, uint8_t *at)
{
	const unsigned count = (unsigned)__builtin_popcount(mask);
	const uint64_t bytes = _pdep_u64(mask, 0x0101010101010101u) * 255;
	const uint64_t coders = _pext_u64(0x0706050403020100u, bytes);
	/* They end with the last place of eight; what is before them is overwritten later. */
	const uint64_t last = coders << 4 * (8 - count) << 4 * (8 - count);
	const __m256i place = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)last));
	const __m256i words = _mm256_permutevar8x32_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0xffff)), place);
	_mm_storeu_si128((__m128i *)(void *)(at - 16),
			 _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
	return at - 2 * (size_t)count;
}

static inline AVX2_BMI2 __attribute__((always_inline)) __m256i
put8(const struct rans_writer *w, const uint8_t *symbols, const uint8_t *contexts, __m256i x, uint8_t **at)
{
	const struct codes8 codes = codes_at(w, symbols, contexts);
	const __m256i step_mask = _mm256_set1_epi32((1 << RANS_STEP_BITS) - 1);
	const __m256i count = _mm256_and_si256(_mm256_srli_epi32(codes.step, RANS_STEP_BITS), step_mask);
	const __m256i low = _mm256_cmpgt_epi32(count, _mm256_srli_epi32(x, RANS_STATE_BITS - RANS_BITS));
	*at = put_words(x, ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(low)) & 255, *at);
	x = _mm256_blendv_epi8(_mm256_srli_epi32(x, 16), x, low);
	const __m256i quotient = _mm256_srlv_epi32(mul_high(x, codes.inverse),
						   _mm256_srli_epi32(codes.step, 2 * RANS_STEP_BITS));
	const __m256i rest = _mm256_sub_epi32(_mm256_set1_epi32(RANS_SCALE), count);
	return _mm256_add_epi32(_mm256_add_epi32(x, _mm256_and_si256(codes.step, step_mask)),
				_mm256_mullo_epi32(quotient, rest));
}

AVX2_BMI2 size_t rans_encode_avx2(const struct rans_writer *w, const uint8_t *symbols, const uint8_t *contexts,
				  size_t n, struct rans_output *o)
{
	uint8_t *at = o->at;
	__m256i state[VECTORS];
	for (unsigned v = 0; v < VECTORS; v++)
		state[v] = _mm256_loadu_si256((const __m256i *)(const void *)(o->state + 8 * v));
	for (; n && !rans_output_full(o); o->at = at) {
		n -= RANS_LANES;
#pragma GCC unroll 4
		for (unsigned v = VECTORS; v--;)
			state[v] = put8(w, symbols + n + 8 * v, contexts + n + 8 * v, state[v], &at);
	}
	for (unsigned v = 0; v < VECTORS; v++)
		_mm256_storeu_si256((__m256i *)(void *)(o->state + 8 * v), state[v]);
	return n;
}

#endif
