#include "base/json.h"
#include "rollout/policy.h"
#include "tests/support/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int read_text(struct policy *policy, const char *text, struct err *err)
{
	json_auto_t *body = json_parse(text, strlen(text), "body", err);
	ck_assert_msg(body, "%s", err->text);
	return policy_read(policy, body, err);
}

static unsigned gate_number(const char *name)
{
	unsigned i = 0;
	while (i < policy_gate_count && strcmp(policy_gates[i].name, name) != 0)
		i++;
	ck_assert_uint_lt(i, policy_gate_count);
	return i;
}

START_TEST(test_policy_a_rollout_may_change_gates)
{
	struct policy p;
	struct err err;
	ck_assert_msg(!read_text(&p,
				 "{\"gates\":[{\"name\":\"window.thumb.down\",\"ratio_pm\":1200,"
				 "\"delta_ppm\":3000,\"weight\":4},"
				 "{\"name\":\"window.ttft_ms.p95\",\"shift\":5},"
				 "{\"name\":\"window.regenerate\",\"weight\":0}]}",
				 &err),
		      "%s", err.text);
	const unsigned thumb = gate_number("window.thumb.down");
	ck_assert_double_eq(p.gates[thumb].rho, 1.2);
	ck_assert_double_eq_tol(p.gates[thumb].delta, 0.003, 1e-12);
	ck_assert_uint_eq(p.gates[gate_number("window.ttft_ms.p95")].shift, 5);
	ck_assert_double_eq_tol(policy_gate_threshold(&p, thumb, 3),
				policy_rollback_threshold(&p, 3) - log(4), 1e-12);
	ck_assert(isinf(policy_gate_threshold(&p, gate_number("window.regenerate"), 3)));
	/* What is not named keeps its defaults. */
	const unsigned crash = gate_number("window.crash");
	ck_assert_double_eq(p.gates[crash].rho, policy_gates[crash].rho);
}
END_TEST

START_TEST(test_policy_comes_back_from_its_json)
{
	struct policy p, again;
	struct err err;
	ck_assert_int_eq(read_text(&p,
				   "{\"alpha_ppm\":5000,\"stages\":[{\"ppm\":50000},{\"ppm\":500000}],"
				   "\"gates\":[{\"name\":\"missing\",\"ratio_pm\":2000},"
				   "{\"name\":\"window.energy_mj_1k.p95\",\"weight\":0}]}",
				   &err),
			 0);
	json_auto_t *spec = policy_json(&p);
	ck_assert_msg(!policy_read(&again, spec, &err), "%s", err.text);
	ck_assert_int_eq(again.alpha_ppm, 5000);
	ck_assert_uint_eq(again.stage_count, 2);
	for (unsigned i = 0; i < policy_gate_count; i++) {
		ck_assert_double_eq(again.gates[i].rho, p.gates[i].rho);
		ck_assert_double_eq_tol(again.gates[i].delta, p.gates[i].delta, 1e-12);
		ck_assert_uint_eq(again.gates[i].shift, p.gates[i].shift);
		ck_assert_uint_eq(again.gates[i].weight, p.gates[i].weight);
	}
}
END_TEST

START_TEST(test_policy_names_the_gate_that_is_wrong)
{
	static const struct {
		const char *body, *says;
	} bad[] = {
		{"{\"gates\":[{\"name\":\"window.crush\"}]}", "gates[0]: name: there is no gate window.crush"},
		{"{\"gates\":[{\"name\":\"missing\"},{\"name\":\"missing\",\"shift\":2}]}",
		 "gates[1]: missing: compares rates"},
		{"{\"gates\":[{\"name\":\"window.ttft_ms.p95\",\"ratio_pm\":1100}]}", "say shift"},
		{"{\"gates\":[{\"name\":\"missing\",\"ratio_pm\":900}]}", "gates[0]"},
		{"{\"gates\":[{\"name\":\"missing\",\"colour\":1}]}", "colour"},
	};
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		struct policy p;
		struct err err;
		ck_assert_int_eq(read_text(&p, bad[i].body, &err), -1);
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, bad[i].says), "%s", err.text);
	}
}
END_TEST

START_TEST(test_policy_not_all_gates_may_be_off)
{
	struct policy p;
	struct err err;
	json_auto_t *body = json_object();
	json_t *gates = json_array();
	for (unsigned i = 0; i < policy_gate_count; i++)
		json_array_append_new(gates, json_pack("{s:s, s:i}", "name", policy_gates[i].name,
						       "weight", 0));
	json_object_set_new(body, "gates", gates);
	ck_assert_int_eq(policy_read(&p, body, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "all are off"));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_policy_a_rollout_may_change_gates,
		test_policy_comes_back_from_its_json,
		test_policy_names_the_gate_that_is_wrong,
		test_policy_not_all_gates_may_be_off,
	};
	return suite_run("policy", tests, COUNT_OF(tests));
}
