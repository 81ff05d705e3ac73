#include "telemetry/gate.h"
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
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
