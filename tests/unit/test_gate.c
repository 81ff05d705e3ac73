#include "base/chance.h"
#include "telemetry/gate_internal.h"
#include "tests/support/gate_check.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

START_TEST(test_gate_meets_all_reference_values)
{
	struct gate_check_group groups[GATE_CHECK_GROUPS];
	json_error_t where;
	json_t *document = json_load_file("schema/vectors/gates.json", 0, &where);
	ck_assert_msg(document, "%s", where.text);
	ck_assert_int_eq(gate_check(document, groups), 0);
	for (unsigned i = 0; i < GATE_CHECK_GROUPS; i++)
		ck_assert_msg(groups[i].worst <= GATE_CHECK_TOLERANCE, "%s: %g", groups[i].name,
			      groups[i].worst);
	json_decref(document);
}
END_TEST

START_TEST(test_gate_notices_a_wrong_reference)
{
	struct gate_check_group groups[GATE_CHECK_GROUPS];
	json_error_t where;
	json_t *document = json_load_file("schema/vectors/gates.json", 0, &where);
	json_t *out = json_object_get(json_array_get(json_object_get(document, "robust"), 0), "out");
	json_object_set_new(out, "logE", json_real(1 + json_number_value(json_object_get(out, "logE"))));
	gate_check(document, groups);
	ck_assert(groups[8].worst > GATE_CHECK_TOLERANCE);
	json_decref(document);
}
END_TEST

START_TEST(test_gate_an_empty_arm_changes_nothing)
{
	struct gate_bet bet;
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	gate_bet_indicator(&bet, 0.01, &(struct gate_counts){100, 50, 0, 0});
	gate_bet_indicator(&bet, 0.01, &(struct gate_counts){0, 0, 100, 50});
	ck_assert_double_eq(gate_bet_log_e(&bet), 0);
}
END_TEST

START_TEST(test_gate_total_failure_fires_after_few_units)
{
	struct gate_mean mean;
	struct gate_bet bet;
	unsigned units = 0;
	gate_mean_init(&mean, 1000, 0.005, 0);
	gate_bet_init(&bet, GATE_ROLLBACK, 1.05, 2e-4);
	while (gate_bet_log_e(&bet) < log(1 / 3.9e-5) && units < 100) {
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &(struct gate_counts){1, 1, 19, 0});
		gate_mean_add(&mean, 19, 0, 0);
		units++;
	}
	ck_assert_uint_le(units, 10);
}
END_TEST

START_TEST(test_gate_equal_arms_promote_and_never_roll_back)
{
	struct gate_mean mean;
	struct gate_bet rollback, promote;
	gate_mean_init(&mean, 1000, 0.05, 0);
	gate_bet_init(&rollback, GATE_ROLLBACK, 1.05, 0);
	gate_bet_init(&promote, GATE_PROMOTE, 1.5, 0);
	for (unsigned i = 0; i < 200; i++) {
		const struct gate_counts n = {100, 5, 100, 5};
		gate_bet_indicator(&rollback, gate_mean_mu(&mean), &n);
		gate_bet_indicator(&promote, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
		ck_assert_double_lt(gate_bet_log_e(&rollback), log(100));
	}
	ck_assert_double_gt(gate_bet_log_e(&promote), log(20));
}
END_TEST

START_TEST(test_gate_one_lying_unit_is_bounded)
{
	struct gate_bet bet;
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	gate_bet_indicator(&bet, 0.01, &(struct gate_counts){50, 3, 950, 6});
	ck_assert_double_lt(gate_bet_log_e_robust(&bet, 1), gate_bet_log_e(&bet));
	ck_assert_double_eq(gate_bet_log_e_robust(&bet, 0), gate_bet_log_e(&bet));
}
END_TEST

START_TEST(test_gate_closed_test_is_never_weaker_than_bonferroni)
{
	const double log_e[] = {9, 3, 8, -2, 5};
	const double weight[] = {0.2, 0.2, 0.2, 0.2, 0.2};
	double adjusted[5];
	ck_assert_int_eq(gate_closed(log_e, weight, 5, adjusted), 0);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_double_ge(adjusted[i], log_e[i] + log(weight[i]) - 1e-12);
}
END_TEST

START_TEST(test_gate_log1p_is_the_library_s_to_the_last_bits)
{
	for (double x = -0.95; x < 600; x += x < 1 ? 3.1e-4 : x * 1e-3)
		ck_assert_double_le(fabs(gate_log1p(x) - log1p(x)), 5e-16 * fabs(log1p(x)));
	for (double x = 1e-300; x < 0.9; x *= 1.1) {
		ck_assert_double_le(fabs(gate_log1p(x) - log1p(x)), 5e-16 * log1p(x));
		ck_assert_double_le(fabs(gate_log1p(-x) - log1p(-x)), -5e-16 * log1p(-x));
	}
}
END_TEST

#define LEN 160

/* A bell of times, shifted up by so many buckets. */
static void bell(double *counts, double n, unsigned shift)
{
	double sum = 0;
	for (unsigned b = 0; b < LEN; b++) {
		const double z = ((double)b - 60 - shift) / 14;
		counts[b] = exp(-z * z / 2);
		sum += counts[b];
	}
	for (unsigned b = 0; b < LEN; b++)
		counts[b] *= n / sum;
}

/* log E after rounds of 50 candidates, so many buckets slower, beside 200 in control. */
static double after_rounds(unsigned slower, unsigned rounds, double phi, double f)
{
	double base[LEN], t[LEN], c[LEN];
	struct gate_views views;
	bell(base, 1000, 0);
	bell(t, 50, slower);
	bell(c, 200, 0);
	gate_views_init(&views, base, LEN, 3, 50);
	for (unsigned i = 0; i < rounds; i++)
		gate_views_add(&views, t, c, LEN, phi);
	return gate_views_log_e(&views, f);
}

START_TEST(test_gate_views_see_what_is_slower_than_the_margin)
{
	ck_assert_double_lt(after_rounds(0, 40, 1, 0), 0);
	ck_assert_double_lt(after_rounds(3, 40, 1, 0), 1);
	ck_assert_double_gt(after_rounds(8, 40, 1, 0), log(1e4));
	ck_assert_double_lt(after_rounds(8, 40, 12, 0), after_rounds(8, 40, 1, 0) / 5);
	ck_assert_double_lt(after_rounds(8, 40, 1, 2), after_rounds(8, 40, 1, 0));
}
END_TEST

START_TEST(test_gate_views_freeze_the_edges_of_their_baseline)
{
	double base[LEN] = {0};
	struct gate_views v;
	for (unsigned b = 20; b < 120; b++)
		base[b] = 10;
	gate_views_init(&v, base, LEN, 3, 50);
	ck_assert_uint_eq(v.edge[0], 70);
	ck_assert_uint_eq(v.edge[1], 110);
	ck_assert_uint_eq(v.edge[2], 115);
	ck_assert_uint_eq(v.edge[3], 119);
	ck_assert_uint_eq(v.low, 12);
	ck_assert_uint_eq(v.span, GATE_SPAN);
	ck_assert_double_eq_tol(gate_mean_mu(&v.mean[1]), 0.1, 1e-12);
}
END_TEST

static int largest_first(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x < y) - (x > y);
}

START_TEST(test_gate_pool_leaves_out_the_largest)
{
	double list[40];
	uint64_t chance = 7;
	for (unsigned round = 0; round < 2000; round++) {
		double log_e, sum = 0;
		const unsigned len = 1 + (unsigned)(chance_next(&chance) % COUNT_OF(list));
		const unsigned without = (unsigned)(chance_next(&chance) % len);
		for (unsigned i = 0; i < len; i++) /* few values: many are equal */
			list[i] = (double)(chance_next(&chance) % 13) - 6;
		ck_assert_int_eq(gate_pool(list, len, 1, without, &log_e), 0);
		qsort(list, len, sizeof(*list), largest_first);
		for (unsigned i = without; i < len; i++)
			sum += list[i];
		ck_assert_double_eq_tol(log_e, sum, 1e-9);
	}
}
END_TEST

START_TEST(test_gate_pool_is_not_moved_by_one_lane_alone)
{
	double one[4][2] = {{90, 80}, {-1, -2}, {-1, 0}, {0, -1}};
	const double many[4][2] = {{4, 3}, {4, 2}, {4, 3}, {4, 1}};
	double log_e;
	ck_assert_int_eq(gate_pool(one[0], 4, 2, 1, &log_e), 0);
	ck_assert_double_le(log_e, 0);
	ck_assert_int_eq(gate_pool(many[0], 4, 2, 1, &log_e), 0);
	ck_assert_double_eq_tol(log_e, 12 + log((1 + exp(6.0 - 12)) / 2), 1e-12);
	ck_assert_int_eq(gate_pool(many[0], 4, 2, 0, &log_e), 0);
	ck_assert_double_gt(log_e, 15);
	ck_assert_int_eq(gate_pool(many[0], 4, 2, 4, &log_e), -1);
	/* Never more than the pool without any one lane. */
	one[0][1] = -50;
	one[1][1] = 40;
	ck_assert_int_eq(gate_pool(one[0], 4, 2, 1, &log_e), 0);
	for (unsigned out = 0; out < 4; out++) {
		double sums[2] = {0};
		for (unsigned i = 0; i < 4; i++)
			for (unsigned j = 0; j < 2 && i != out; j++)
				sums[j] += one[i][j];
		ck_assert_double_le(log_e, gate_log_mean(sums, 2));
	}
}
END_TEST

START_TEST(test_gate_an_unknown_group_fails)
{
	struct gate_check_group groups[GATE_CHECK_GROUPS];
	json_error_t where;
	json_t *document = json_load_file("schema/vectors/gates.json", 0, &where);
	json_object_set_new(document, "B_of_tomorrow", json_array());
	ck_assert_int_eq(gate_check(document, groups), -1);
	json_object_del(document, "B_of_tomorrow");
	json_object_set_new(document, "srm", json_array());
	ck_assert_int_eq(gate_check(document, groups), -1);
	json_decref(document);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *tcase = tcase_create("gate");
	tcase_add_test(tcase, test_gate_meets_all_reference_values);
	tcase_add_test(tcase, test_gate_notices_a_wrong_reference);
	tcase_add_test(tcase, test_gate_an_empty_arm_changes_nothing);
	tcase_add_test(tcase, test_gate_total_failure_fires_after_few_units);
	tcase_add_test(tcase, test_gate_equal_arms_promote_and_never_roll_back);
	tcase_add_test(tcase, test_gate_one_lying_unit_is_bounded);
	tcase_add_test(tcase, test_gate_closed_test_is_never_weaker_than_bonferroni);
	tcase_add_test(tcase, test_gate_log1p_is_the_library_s_to_the_last_bits);
	tcase_add_test(tcase, test_gate_views_see_what_is_slower_than_the_margin);
	tcase_add_test(tcase, test_gate_views_freeze_the_edges_of_their_baseline);
	tcase_add_test(tcase, test_gate_pool_is_not_moved_by_one_lane_alone);
	tcase_add_test(tcase, test_gate_pool_leaves_out_the_largest);
	tcase_add_test(tcase, test_gate_an_unknown_group_fails);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
