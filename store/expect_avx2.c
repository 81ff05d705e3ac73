/* What quants are expected to be, with AVX2: 32 at once, which are one group or four.  The same result as
 * expect_group(). */
#include "store/expect_internal.h"

#ifdef EXPECT_HAS_AVX2

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Sixteen quants: what they are expected to be, and how far off that is, both in 16 bits. */
struct guess {
	__m256i number, off;
};

/* Shifts of sixteen quants. */
struct shifts {
	__m256i ratio, by;
};

/* Of eight, and of eight more. */
static inline AVX2 struct shifts shifts16(struct shift a, struct shift b)
{
	return (struct shifts){
		_mm256_set_m128i(_mm_set1_epi16(b.ratio), _mm_set1_epi16(a.ratio)),
		_mm256_set_m128i(_mm_set1_epi16(b.by), _mm_set1_epi16(a.by))};
}

static inline AVX2 struct guess guess16(__m128i quants, const struct shifts *shifts)
{
	/* Half of a doubled product, rounded: q * 128 * r / 2^15, that is q * r in 64ths. */
	const __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(quants), 7);
	const __m256i exact =
		_mm256_add_epi16(_mm256_mulhrs_epi16(wide, shifts->ratio), shifts->by);
	const __m256i number = _mm256_srai_epi16(_mm256_add_epi16(exact, _mm256_set1_epi16(32)), 6);
	return (struct guess){number, _mm256_sub_epi16(exact, _mm256_slli_epi16(number, 6))};
}

/* Two vectors of 16 bits to one of bytes, in order. */
static inline AVX2 __m256i narrow(__m256i a, __m256i b)
{
	return _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
}

static inline AVX2 void expect32(const struct scale *s, const struct shifts shifts[2],
				 uint8_t *number, uint8_t *turned, uint8_t *context)
{
	const __m256i zero = _mm256_set1_epi8(s->zero);
	const __m256i old = _mm256_sub_epi8(_mm256_loadu_si256((const __m256i *)(const void *)number), zero);
	const struct guess a = guess16(_mm256_castsi256_si128(old), &shifts[0]);
	const struct guess b = guess16(_mm256_extracti128_si256(old, 1), &shifts[1]);
	const __m256i off = narrow(a.off, b.off), far = _mm256_abs_epi8(off);
	const __m256i coarse = _mm256_add_epi8(
		_mm256_and_si256(_mm256_srli_epi16(far, 2), _mm256_set1_epi8(15)), _mm256_set1_epi8(6));
	const __m256i extreme = _mm256_or_si256(
		_mm256_cmpgt_epi8(old, _mm256_set1_epi8((char)(s->high - 1))),
		_mm256_cmpgt_epi8(_mm256_set1_epi8((char)(s->low + 1)), old));
	__m256i guess = narrow(a.number, b.number);
	guess = _mm256_max_epi8(guess, _mm256_set1_epi8(s->least));
	guess = _mm256_min_epi8(guess, _mm256_set1_epi8(s->most));
	guess = _mm256_add_epi8(_mm256_blendv_epi8(guess, old, extreme), zero);
	const __m256i back = _mm256_andnot_si256(extreme, _mm256_cmpgt_epi8(_mm256_setzero_si256(), off));
	const __m256i how = _mm256_blendv_epi8(_mm256_min_epi8(far, coarse),
					       _mm256_set1_epi8(EXPECT_EXTREME), extreme);
	_mm256_storeu_si256((__m256i *)(void *)number, guess);
	_mm256_storeu_si256((__m256i *)(void *)turned, back);
	_mm256_storeu_si256((__m256i *)(void *)context, how);
}

AVX2 size_t expect_scaled_avx2(const struct scale *s, const struct shift *shift, size_t groups,
			       struct expected *ret)
{
	const size_t step = EXPECT_AVX2_NUMBERS / s->numbers;
	size_t k = 0;
	if (step != 1 && step != 4)
		return 0;
	for (size_t at = 0; k + step <= groups; k += step, at += EXPECT_AVX2_NUMBERS, shift += step) {
		/* One group's for all, or each its own. */
		const struct shifts shifts[2] = {
			shifts16(shift[0], shift[step > 1 ? 1 : 0]),
			shifts16(shift[step > 1 ? 2 : 0], shift[step > 1 ? 3 : 0])};
		expect32(s, shifts, ret->number + at, ret->turned + at, ret->context + at);
	}
	return k;
}

#endif
