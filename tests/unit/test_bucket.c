#include "manifest/bucket.h"

#include "base/hex.h"
#include "tests/support/vectors.h"

#include <stdlib.h>

static void secret_of(uint8_t secret[static BUCKET_SECRET_LEN], const char *hex)
{
	ck_assert_int_eq(hex_decode(secret, BUCKET_SECRET_LEN, hex), 0);
}

START_TEST(test_bucket_is_that_of_the_vectors)
{
	json_auto_t *vectors = vectors_load("bucket.json");
	const json_t *list = json_object_get(vectors, "bucket");
	ck_assert_uint_ge(json_array_size(list), 10);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		uint8_t secret[BUCKET_SECRET_LEN];
		secret_of(secret, text_in(v, "secret"));
		ck_assert_int_eq(bucket_of(text_in(v, "salt"), secret), int_in(v, "bucket"));
	}
}
END_TEST

START_TEST(test_bucket_spread_is_that_of_the_vectors)
{
	json_auto_t *vectors = vectors_load("bucket.json");
	const json_t *list = json_object_get(vectors, "spread");
	ck_assert_uint_ge(json_array_size(list), 10);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		uint8_t secret[BUCKET_SECRET_LEN];
		secret_of(secret, text_in(v, "secret"));
		ck_assert_int_eq(bucket_spread(text_in(v, "salt"), secret, int_in(v, "s")),
				 int_in(v, "delay"));
	}
}
END_TEST

/* 20,000 secrets over ten slices: each expects 2,000, and 5 standard deviations are 212. */
START_TEST(test_bucket_fills_slices_evenly)
{
	unsigned count[10] = {0}, same = 0;
	for (uint32_t i = 0; i < 20000; i++) {
		uint8_t secret[BUCKET_SECRET_LEN] = {(uint8_t)i, (uint8_t)(i >> 8),
						     (uint8_t)(i >> 16)};
		int64_t bucket = bucket_of("r1", secret);
		ck_assert(bucket >= 0 && bucket < BUCKETS);
		count[bucket / (BUCKETS / 10)]++;
		same += bucket / (BUCKETS / 10) == bucket_of("r2", secret) / (BUCKETS / 10);
	}
	for (int i = 0; i < 10; i++)
		ck_assert_msg(count[i] > 1788 && count[i] < 2212, "slice %d: %u", i, count[i]);
	/* Another salt is another draw: a tenth agrees by chance. */
	ck_assert_msg(same > 1788 && same < 2212, "%u", same);
}
END_TEST

START_TEST(test_bucket_in_is_half_open)
{
	const struct slice slice = {10000, 50000}, empty = {50000, 50000};
	ck_assert(!bucket_in(9999, slice));
	ck_assert(bucket_in(10000, slice));
	ck_assert(bucket_in(49999, slice));
	ck_assert(!bucket_in(50000, slice));
	ck_assert(!bucket_in(50000, empty));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bucket");
	TCase *all = tcase_create("all");
	tcase_add_test(all, test_bucket_is_that_of_the_vectors);
	tcase_add_test(all, test_bucket_spread_is_that_of_the_vectors);
	tcase_add_test(all, test_bucket_fills_slices_evenly);
	tcase_add_test(all, test_bucket_in_is_half_open);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
