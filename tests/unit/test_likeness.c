/* Likenesses, of every element type: kept by small changes, not shared by strangers. */
#include "store/likeness.h"

#include "store/element.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

START_TEST(test_likeness_survives_small_changes)
{
	static const uint8_t with[] = {ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16, ELEMENT_Q8_0, ELEMENT_Q4_0,
				       ELEMENT_Q4_K, ELEMENT_Q5_K, ELEMENT_Q6_K, ELEMENT_I8, ELEMENT_F64};
	for (size_t t = 0; t < COUNT_OF(with); t++) {
		uint8_t a[LIKENESS_BYTES_MAX], b[LIKENESS_BYTES_MAX];
		struct likeness of_a, of_b, of_other;
		const uint32_t len = likeness_needs(with[t]);
		ck_assert_msg(len > 0, "%s has none", element_name(with[t]));
		model_stream(a, len, "a");
		memcpy(b, a, len);
		for (uint32_t i = 0; i < len; i += 10)
			b[i]++;
		ck_assert(likeness_of(&of_a, with[t], a) && likeness_of(&of_b, with[t], b));
		ck_assert_msg(likeness_close(&of_a, &of_b), "%s", element_name(with[t]));
		ck_assert_uint_eq(likeness_distance(&of_a, &of_a), 0);
		model_stream(b, len, "another");
		ck_assert(likeness_of(&of_other, with[t], b));
		ck_assert_msg(!likeness_close(&of_a, &of_other), "%s", element_name(with[t]));
	}
}
END_TEST

/* Norms are all about 1: what counts is which are above their mean. */
START_TEST(test_likeness_of_numbers_that_are_all_positive)
{
	float a[LIKENESS_BITS], b[LIKENESS_BITS];
	struct likeness of_a, of_b;
	for (unsigned i = 0; i < LIKENESS_BITS; i++) {
		a[i] = 1 + 0.02f * (float)(i * 37 % 101);
		b[i] = a[i] + 0.001f * (float)(i % 3);
	}
	ck_assert(likeness_of(&of_a, ELEMENT_F32, (const uint8_t *)a));
	ck_assert(likeness_of(&of_b, ELEMENT_F32, (const uint8_t *)b));
	ck_assert(likeness_close(&of_a, &of_b));
}
END_TEST

START_TEST(test_likeness_of_nothing)
{
	uint8_t bytes[LIKENESS_BYTES_MAX];
	struct likeness untouched;
	memset(&untouched, 0x5a, sizeof(untouched));
	const struct likeness before = untouched;
	ck_assert_uint_eq(likeness_needs(ELEMENT_OPAQUE), 0);
	ck_assert_uint_eq(likeness_needs(ELEMENT_BOOL), 0);
	for (unsigned type = 0; type < 256; type++) {
		ck_assert_uint_le(likeness_needs((uint8_t)type), LIKENESS_BYTES_MAX);
		for (unsigned fill = 0; likeness_needs((uint8_t)type) && fill < 256; fill += 85) {
			memset(bytes, (int)fill, sizeof(bytes));
			if (fill % 17 == 0 || type != ELEMENT_Q4_0)
				ck_assert(!likeness_of(&untouched, (uint8_t)type, bytes));
		}
	}
	ck_assert(!memcmp(&untouched, &before, sizeof(before)));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_likeness_survives_small_changes,
		test_likeness_of_numbers_that_are_all_positive,
		test_likeness_of_nothing,
	};
	return suite_run("likeness", tests, COUNT_OF(tests));
}
