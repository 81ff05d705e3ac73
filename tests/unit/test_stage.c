#include "rollout/stage.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_stage_default_ramp_is_the_table)
{
	static const int64_t ppm[] = {10000, 50000, 200000, 500000, 950000};
	static const int64_t want[5][4] = {{0, 10000, 910000, 950000},
					   {10000, 50000, 824000, 910000},
					   {50000, 200000, 738000, 824000},
					   {200000, 500000, 652000, 738000},
					   {500000, 652000, 950000, 1000000}};
	struct stage_slices s[STAGE_MAX];
	struct err err;
	ck_assert_int_eq(stage_allocate(ppm, 5, s, &err), 0);
	for (unsigned k = 0; k < 5; k++) {
		ck_assert_int_eq(s[k].enter_low, want[k][0]);
		ck_assert_int_eq(s[k].enter_high, want[k][1]);
		ck_assert_int_eq(s[k].control_low, want[k][2]);
		ck_assert_int_eq(s[k].control_high, want[k][3]);
	}
}
END_TEST

START_TEST(test_stage_single_stage_keeps_four_to_one_at_most)
{
	struct stage_slices s[STAGE_MAX];
	struct err err;
	ck_assert_int_eq(stage_allocate((const int64_t[]){100000}, 1, s, &err), 0);
	ck_assert_int_eq(s[0].control_low, 600000);
	ck_assert_int_eq(s[0].control_high, 1000000);
	ck_assert_int_eq(stage_allocate((const int64_t[]){500000}, 1, s, &err), 0);
	ck_assert_int_eq(s[0].control_low, 500000);
}
END_TEST

/* Rising random shares; nothing when the draw is not valid. */
static unsigned random_ramp(unsigned *seed, int64_t *ppm)
{
	const unsigned count = 1 + (unsigned)rand_r(seed) % 8;
	int64_t at = 0;
	for (unsigned k = 0; k < count; k++) {
		at += 1000 * (1 + rand_r(seed) % 200);
		ppm[k] = at;
	}
	return at <= 950000 ? count : 0;
}

static bool apart(int64_t a, int64_t b, int64_t c, int64_t d)
{
	return b <= c || d <= a;
}

/* A bucket enters at most once: no two slices of any stages overlap. */
static void check_properties(const int64_t *ppm, const struct stage_slices *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const int64_t entering = ppm[i] - (i ? ppm[i - 1] : 0);
		ck_assert_int_le(s[i].enter_high, ppm[i]);
		ck_assert_int_ge(s[i].control_low, 0);
		ck_assert_int_le(s[i].control_high, STAGE_BUCKETS);
		if (i + 1 < count || count == 1)
			ck_assert_int_le(s[i].control_high - s[i].control_low, 4 * entering);
		if (i + 1 < count)
			ck_assert_int_eq((s[i].control_high - s[i].control_low) % 1000, 0);
		for (unsigned k = 0; k < count; k++) {
			ck_assert(apart(s[i].enter_low, s[i].enter_high, s[k].control_low,
					s[k].control_high));
			if (k == i)
				continue;
			ck_assert(apart(s[i].enter_low, s[i].enter_high, s[k].enter_low,
					s[k].enter_high));
			ck_assert(apart(s[i].control_low, s[i].control_high, s[k].control_low,
					s[k].control_high));
		}
		/* While a bucket is control, it must not be given the candidate. */
		ck_assert_int_ge(s[i].control_low, s[i].candidate_ppm);
	}
}

START_TEST(test_stage_random_ramps_let_nobody_enter_twice)
{
	unsigned seed = 7, valid = 0;
	for (unsigned i = 0; i < 20000; i++) {
		int64_t ppm[STAGE_MAX];
		struct stage_slices s[STAGE_MAX];
		struct err err;
		const unsigned count = random_ramp(&seed, ppm);
		if (!count || stage_allocate(ppm, count, s, &err))
			continue;
		check_properties(ppm, s, count);
		valid++;
	}
	ck_assert_uint_gt(valid, 5000);
}
END_TEST

START_TEST(test_stage_refuses_ramps_that_do_not_rise)
{
	struct stage_slices s[STAGE_MAX];
	struct err err;
	ck_assert_int_eq(stage_allocate((const int64_t[]){50000, 50000}, 2, s, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "stages[1]"));
	ck_assert_int_eq(stage_allocate((const int64_t[]){999}, 1, s, &err), -1);
	ck_assert_int_eq(stage_allocate((const int64_t[]){960000}, 1, s, &err), -1);
	ck_assert_int_eq(stage_allocate(NULL, 0, s, &err), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stage");
	TCase *tcase = tcase_create("stage");
	tcase_add_test(tcase, test_stage_default_ramp_is_the_table);
	tcase_add_test(tcase, test_stage_single_stage_keeps_four_to_one_at_most);
	tcase_add_test(tcase, test_stage_random_ramps_let_nobody_enter_twice);
	tcase_add_test(tcase, test_stage_refuses_ramps_that_do_not_rise);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
