#include "rollout/plan.h"
#include "tests/support/suite.h"

#include <math.h>
#include <string.h>

#define NEAR 0.2 /* what plan.h promises */

/* Simulated means of the gates (4,000 runs each): candidate units until an equal candidate passes the
 * margin, or a worse one is taken back.  ratio: control units for each candidate unit. */
static const struct {
	enum gate_direction direction;
	double rho, delta, alpha, candidate, control, ratio, mean;
} simulated[] = {
	{GATE_PROMOTE, 2, 0, .05, .005, .005, 19, 2600},
	{GATE_PROMOTE, 1.5, 0, .05, .005, .005, 19, 8100},
	{GATE_PROMOTE, 1.25, 0, .05, .005, .005, 19, 28400},
	{GATE_PROMOTE, 1.1, 0, .05, .005, .005, 19, 191500},
	{GATE_PROMOTE, 2, 0, .05, .005, .005, 1, 7100},
	{GATE_PROMOTE, 1.25, 0, .05, .005, .005, 1, 59400},
	{GATE_PROMOTE, 1.25, 0, .05, .05, .05, 19, 2800},
	{GATE_PROMOTE, 1.25, 1e-4, .05, 0, 1e-9, 19, 52400},
	{GATE_ROLLBACK, 1, 0, .01, .0075, .005, 19, 11007},
	{GATE_ROLLBACK, 1, 0, .01, .01, .005, 19, 3218},
	{GATE_ROLLBACK, 1, 0, .01, .02, .005, 19, 546},
	{GATE_ROLLBACK, 1, 0, 3.9e-5, .0075, .005, 19, 22843},
	{GATE_ROLLBACK, 1, 0, 3.9e-5, .01, .005, 19, 6575},
	{GATE_ROLLBACK, 1, 0, 3.9e-5, .02, .005, 19, 1032},
	{GATE_ROLLBACK, 1, 0, 3.9e-5, .0075, .005, 1, 45832},
	{GATE_ROLLBACK, 1, 0, 3.9e-5, .02, .005, 1, 2434},
	{GATE_ROLLBACK, 1.05, 2e-4, 3.9e-5, .0075, .005, 19, 36700},
	{GATE_ROLLBACK, 1.05, 2e-4, 3.9e-5, .02, .005, 19, 1190},
};

START_TEST(test_plan_units_agree_with_simulated_means)
{
	for (unsigned i = 0; i < COUNT_OF(simulated); i++) {
		const struct gate_margin margin = {simulated[i].direction, simulated[i].rho,
						   simulated[i].delta};
		const struct plan_rates rates = {simulated[i].candidate, simulated[i].control,
						 simulated[i].ratio};
		const double n = plan_units(&margin, &rates, NULL, -log(simulated[i].alpha));
		ck_assert_msg(fabs(n / simulated[i].mean - 1) < NEAR, "row %u: %.0f, simulated %.0f", i, n,
			      simulated[i].mean);
	}
}
END_TEST

START_TEST(test_plan_units_never_for_what_is_at_its_margin)
{
	const struct gate_margin margin = {GATE_PROMOTE, 1.25, 0};
	const struct plan_rates at = {.0125, .01, 4}, beyond = {.02, .01, 4};
	ck_assert(isinf(plan_units(&margin, &at, NULL, 3)));
	ck_assert(isinf(plan_units(&margin, &beyond, NULL, 3)));
}
END_TEST

START_TEST(test_plan_units_count_what_was_won_before)
{
	double base[GATE_BETS];
	const struct gate_margin margin = {GATE_PROMOTE, 2, 0};
	const struct plan_rates rates = {.005, .005, 4};
	const double all = plan_units(&margin, &rates, NULL, 3);
	for (unsigned j = 0; j < GATE_BETS; j++)
		base[j] = 1;
	const double rest = plan_units(&margin, &rates, base, 3);
	ck_assert(rest < all && rest > 0);
	for (unsigned j = 0; j < GATE_BETS; j++)
		base[j] = 4;
	ck_assert(plan_units(&margin, &rates, base, 3) <= 0);
}
END_TEST

static struct plan_lane healthy(double devices)
{
	struct plan_lane lane = {.devices = devices, .active = 0.8,
				 .clock = {3600, 24, 600, 86400, 1800, (int64_t)devices}};
	lane.usage = (struct plan_usage){.device_days = 10000, .windows = 50000, .squares = 350000,
					 .crash = {50000, 100}, .phi = 2};
	for (unsigned i = 0; i < policy_guard_count; i++)
		if (policy_guards[i].source == GUARD_SUMMARY)
			lane.usage.guards[i] = (struct plan_rate){10000, 90};
	for (unsigned b = 100; b < 200; b++)
		lane.usage.ttft[b] = 100;
	return lane;
}

static void plan(const struct plan_lane *lane, struct plan_stage *stages)
{
	struct policy policy;
	struct err err;
	policy_default(&policy);
	ck_assert_msg(!plan_stages(lane, &policy, 1, stages, &err), "%s", err.text);
}

START_TEST(test_plan_counts_devices_by_their_slices)
{
	struct plan_stage s[POLICY_STAGES];
	const struct plan_lane lane = healthy(1000000);
	int64_t takes = 0;
	plan(&lane, s);
	ck_assert_int_eq(s[0].candidates, 10000);
	ck_assert_int_eq(s[0].control, 40000);
	ck_assert_int_eq(s[4].candidates, 152000);
	for (unsigned i = 0; i < 5; i++)
		takes += s[i].takes;
	ck_assert_int_eq(takes, 950000);
}
END_TEST

/* The margins of the default ramp: a healthy lane of 20,000 devices and of four million goes through. */
START_TEST(test_plan_lets_healthy_lanes_through_in_time)
{
	static const double sizes[] = {20000, 100000, 4000000};
	for (unsigned k = 0; k < COUNT_OF(sizes); k++) {
		struct plan_stage s[POLICY_STAGES];
		const struct plan_lane lane = healthy(sizes[k]);
		plan(&lane, s);
		for (unsigned i = 0; i < 5; i++) {
			ck_assert_msg(s[i].in_time, "%.0f devices, stage %u: %s needs %lld of %lld", sizes[k],
				      i + 1, s[i].slowest, (long long)s[i].needs,
				      (long long)s[i].candidates);
			/* A day of windows after the first day's entries: never less, rarely more than
			 * three nights. */
			ck_assert_int_ge(s[i].seconds, 25 * 3600);
			ck_assert_int_le(s[i].seconds, 3 * 86400);
		}
	}
}
END_TEST

START_TEST(test_plan_says_when_a_lane_is_too_small)
{
	struct plan_stage s[POLICY_STAGES];
	const struct plan_lane small = healthy(2000);
	plan(&small, s);
	ck_assert_int_eq(s[0].candidates, 20);
	ck_assert_int_eq(s[0].seconds, PLAN_NEVER);
	ck_assert(!s[0].in_time);
	ck_assert_str_eq(s[0].slowest, "exposure");
	ck_assert_int_eq(s[0].needs, 100);
}
END_TEST

START_TEST(test_plan_joined_lanes_are_one_of_their_sum)
{
	struct plan_stage joined[POLICY_STAGES], whole[POLICY_STAGES];
	struct plan_lane a = healthy(12000);
	const struct plan_lane b = healthy(8000), all = healthy(20000);
	plan_join(&a, &b);
	plan(&a, joined);
	plan(&all, whole);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(joined[i].candidates, whole[i].candidates);
		ck_assert_int_eq(joined[i].needs, whole[i].needs);
		ck_assert(joined[i].in_time == whole[i].in_time);
	}
}
END_TEST

START_TEST(test_plan_sees_less_in_smaller_and_noisier_lanes)
{
	struct plan_stage big[POLICY_STAGES], small[POLICY_STAGES], noisy[POLICY_STAGES];
	struct plan_lane lane = healthy(1000000);
	plan(&lane, big);
	lane.usage.phi = 20;
	plan(&lane, noisy);
	lane = healthy(20000);
	plan(&lane, small);
	ck_assert(big[0].crash > 1.05 && big[0].crash < small[0].crash);
	ck_assert(noisy[0].crash > big[0].crash);
	ck_assert(big[0].ttft > 1.1 && big[0].ttft <= small[0].ttft);
	ck_assert(big[3].crash <= big[0].crash);
}
END_TEST

#define WINDOW_CRASH 7 /* its number among the gates */

/* What the plan says is seen: the gate itself, fed with those rates, fires by then. */
START_TEST(test_plan_what_it_sees_takes_a_candidate_back)
{
	struct plan_stage s[POLICY_STAGES];
	struct policy policy;
	struct gate_bet bet;
	const struct plan_lane lane = healthy(100000);
	policy_default(&policy);
	plan(&lane, s);
	ck_assert_str_eq(policy_gates[WINDOW_CRASH].name, "window.crash");
	const double rate = .002, ratio = (double)s[0].control / (double)s[0].candidates;
	const double windows = (double)s[0].candidates * 24 * 5 / 24 / 2; /* used, over phi */
	gate_bet_init(&bet, GATE_ROLLBACK, 1.05, 0.0002);
	const struct gate_counts n = {windows, windows * rate * s[0].crash, windows * ratio,
				      windows * ratio * rate};
	gate_bet_indicator(&bet, rate, &n);
	ck_assert(gate_bet_log_e(&bet) >= policy_gate_threshold(&policy, WINDOW_CRASH, 1));
}
END_TEST

START_TEST(test_plan_reads_a_lane_s_baseline)
{
	struct plan_usage u;
	json_t *baseline = json_pack("{s:f, s:{s:{s:i, s:i, s:f}}, s:{s:{s:i, s:i}}}",
				     "windows_per_device", 6.0, "window", "crash", "n", 5000, "k", 50,
				     "phi", 2.5, "summary", "crash", "n", 1000, "k", 40);
	plan_usage_read(&u, baseline);
	json_decref(baseline);
	ck_assert(u.device_days == 1000 && u.windows == 5000 && u.squares == 30000);
	ck_assert(u.crash.k == 50 && u.phi == 2.5 && u.guards[0].k == 40);
	baseline = json_object();
	plan_usage_read(&u, baseline);
	json_decref(baseline);
	ck_assert(u.device_days == 0 && u.crash.n == 0);
}
END_TEST

START_TEST(test_plan_refuses_stages_without_room)
{
	struct plan_stage s[POLICY_STAGES];
	struct policy policy;
	struct err err;
	const struct plan_lane lane = healthy(1000);
	policy_default(&policy);
	policy.stages[1].ppm = policy.stages[0].ppm;
	ck_assert_int_eq(plan_stages(&lane, &policy, 1, s, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_plan_units_agree_with_simulated_means,
		test_plan_units_never_for_what_is_at_its_margin,
		test_plan_units_count_what_was_won_before,
		test_plan_counts_devices_by_their_slices,
		test_plan_lets_healthy_lanes_through_in_time,
		test_plan_says_when_a_lane_is_too_small,
		test_plan_joined_lanes_are_one_of_their_sum,
		test_plan_sees_less_in_smaller_and_noisier_lanes,
		test_plan_what_it_sees_takes_a_candidate_back,
		test_plan_reads_a_lane_s_baseline,
		test_plan_refuses_stages_without_room,
	};
	return suite_run("plan", tests, COUNT_OF(tests));
}
