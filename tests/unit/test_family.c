/* Evidence, decisions and what lanes say together, fed without a database. */
#include "rollout/decide.h"
#include "rollout/evidence_internal.h"
#include "tests/support/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define HOUR 3600
#define START 86400

/* A rollout whose lanes differ in how often candidates crash. */
struct trial {
	struct policy policy;
	struct lane lanes[LANES];
	struct family *family;
	struct stratum *strata;
	int64_t hour;
};

static const char *const classes[LANES] = {"a", "b", "c", "d", "e", "f", "g", "h"};

static void open_trial_on(struct trial *t, bool robust, const char *baseline)
{
	struct err err;
	*t = (struct trial){.hour = START / HOUR};
	policy_default(&t->policy);
	for (unsigned i = 0; i < LANES; i++)
		t->lanes[i] = (struct lane){
			.rollout = "r1", .class = classes[LANES - 1 - i], .channel = "stable",
			.model = "m", .release = "2", .stable = "1", .salt = "", .reason = "",
			.stage = 1, .since = START, .started = START,
			.clock = {HOUR, 24, 300, 86400, 1800, 20000}, .baseline = baseline};
	ck_assert_msg(!family_new(&t->family, &t->policy, t->lanes, LANES, robust, &err), "%s", err.text);
	t->strata = calloc(t->policy.stage_count, sizeof(*t->strata));
	ck_assert_ptr_nonnull(t->strata);
}

static void open_trial(struct trial *t, bool robust)
{
	open_trial_on(t, robust, "{}");
}

static void close_trial(struct trial *t)
{
	family_free(t->family);
	free(t->strata);
}

static unsigned gate_number(const char *name)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].name, name))
			return i;
	ck_abort_msg("no gate %s", name);
	return 0;
}

/* One window of a lane: units of 200 candidates and 800 in control. */
static void window(struct trial *t, const char *class, const char *gate, int64_t candidates,
		   int64_t controls)
{
	struct err err;
	struct stratum *s = &t->strata[0];
	const unsigned g = gate_number(gate);
	s->any = true;
	s->n[EVIDENCE_CANDIDATE] = 200;
	s->n[EVIDENCE_CONTROL] = 800;
	s->gates[g][EVIDENCE_CANDIDATE] = candidates;
	s->gates[g][EVIDENCE_CONTROL] = controls;
	const enum cells_mark mark = policy_strict(&policy_gates[g]) ? CELLS_SLOT : CELLS_WINDOW;
	ck_assert_int_eq(evidence_feed(family_evidence(t->family, class), mark, t->hour * HOUR,
				       t->strata, &err),
			 0);
}

static void weigh(struct trial *t)
{
	struct err err;
	ck_assert_int_eq(family_weigh(t->family, 1, &err), 0);
}

static enum decision_kind decided(struct trial *t, const char *class, struct decision *d)
{
	struct lane lane = t->lanes[0];
	lane.class = class;
	const struct circumstances c = {&lane, &t->policy, LANES, !family_robust(t->family),
					START + HOUR, t->family, NULL, 0};
	decide(family_evidence(t->family, class), &c, d);
	return d->kind;
}

START_TEST(test_family_one_bad_lane_goes_back_alone)
{
	struct trial t;
	struct decision d;
	open_trial(&t, false);
	for (unsigned hour = 0; hour < 6; hour++, t.hour++)
		for (unsigned i = 0; i < LANES; i++)
			window(&t, classes[i], "window.crash", i == 3 ? 30 : 2, 8);
	weigh(&t);
	for (unsigned i = 0; i < LANES; i++)
		ck_assert_int_eq(decided(&t, classes[i], &d),
				 i == 3 ? DECIDE_ROLL_BACK : DECIDE_NOTHING);
	ck_assert_double_lt(family_pooled(t.family, gate_number("window.crash")), 0);
	decided(&t, "d", &d);
	ck_assert_ptr_nonnull(strstr(d.reason, "window.crash: 180 of 1200 candidate units crash in use"));
	close_trial(&t);
}
END_TEST

/* Each lane alone is only suspicious; together they are sure. */
START_TEST(test_family_a_fault_in_all_lanes_ends_the_rollout)
{
	struct trial t;
	struct decision d;
	const unsigned g = gate_number("window.crash");
	open_trial(&t, false);
	for (unsigned hour = 0; hour < 12; hour++, t.hour++)
		for (unsigned i = 0; i < LANES; i++)
			window(&t, classes[i], "window.crash", 5, 8);
	weigh(&t);
	ck_assert_double_ge(family_pooled(t.family, g), policy_pool_threshold(&t.policy, g));
	for (unsigned i = 0; i < LANES; i++) {
		ck_assert_double_lt(evidence_log_e(family_evidence(t.family, classes[i]), g, false),
				    policy_gate_threshold(&t.policy, g, LANES));
		ck_assert_int_eq(decided(&t, classes[i], &d), DECIDE_ROLL_BACK_ALL);
	}
	ck_assert_ptr_nonnull(strstr(d.reason, "pooled over 8 lanes"));
	close_trial(&t);
}
END_TEST

/* Four lanes fail alike: the closed test sees more than each lane's own threshold. */
START_TEST(test_family_strict_gates_are_closed_over_lanes)
{
	struct trial t;
	const unsigned g = gate_number("outcome.load");
	open_trial(&t, false);
	for (unsigned i = 0; i < LANES; i++)
		window(&t, classes[i], "outcome.load", i < 4 ? 24 : 2, 8);
	weigh(&t);
	const double own = evidence_log_e(family_evidence(t.family, "a"), g, false);
	const double closed = family_closed(t.family, "a", g);
	ck_assert_double_ge(closed, policy_strict_threshold(&t.policy));
	/* Bonferroni would take the log of all weights over its own. */
	ck_assert_double_gt(closed - policy_strict_threshold(&t.policy),
			    own - policy_gate_threshold(&t.policy, g, LANES));
	ck_assert_double_lt(family_closed(t.family, "h", g), policy_strict_threshold(&t.policy));
	close_trial(&t);
}
END_TEST

/* Whether so many crash reports of one window would take the lane back. */
static bool would_take_back(int64_t crashes, bool robust)
{
	struct trial t;
	struct decision d;
	open_trial(&t, robust);
	window(&t, "a", "window.crash", crashes, 1);
	weigh(&t);
	const bool back = decided(&t, "a", &d) == DECIDE_ROLL_BACK;
	close_trial(&t);
	return back;
}

/* A unit is a third here (phi without a baseline is 3), so two of them are six reports. */
START_TEST(test_family_reports_that_nobody_vouches_for_need_more)
{
	int64_t plain = 1, robust = 1;
	while (!would_take_back(plain, false))
		plain++;
	while (!would_take_back(robust, true))
		robust++;
	ck_assert_int_ge(robust, plain + 6);
	ck_assert_int_le(robust, 2 * plain);
}
END_TEST

/* Whatever days of use say: what is slow for a day is slower than what is slow for a window. */
static void views_burn_in(const char *baseline)
{
	struct trial t;
	struct err err;
	const unsigned g = gate_number("window.ttft_ms.p95");
	open_trial_on(&t, false, baseline);
	struct evidence *e = family_evidence(t.family, "a");
	for (unsigned hour = 0; hour < 4; hour++, t.hour++) {
		struct stratum *s = &t.strata[0];
		s->any = true;
		for (unsigned b = 0; b < 20; b++) {
			s->hist[HIST_TTFT][EVIDENCE_CANDIDATE][120 + b] = 5;
			s->hist[HIST_TTFT][EVIDENCE_CONTROL][100 + b] = 10;
		}
		ck_assert_int_eq(evidence_feed(e, CELLS_WINDOW, t.hour * HOUR, t.strata, &err), 0);
		struct evidence_gate seen;
		evidence_gate(e, g, false, &seen);
		/* 200 control units an hour; 300 freeze the edges, and are not bet on. */
		ck_assert_double_eq(seen.total.n_c, hour < 2 ? 0 : 200 * (hour - 1));
	}
	ck_assert_double_gt(evidence_log_e(e, g, false), 3);
	close_trial(&t);
}

START_TEST(test_family_views_burn_in_on_windows)
{
	views_burn_in("{}");
	views_burn_in("{\"h\": {\"ttft_ms.p95\": {\"o\": 150, \"c\": [400, 400, 400]}}}");
}
END_TEST

START_TEST(test_family_a_worse_probe_score_takes_the_lane_back)
{
	struct trial t;
	struct err err;
	struct decision d;
	open_trial(&t, false);
	for (unsigned hour = 0; hour < 4; hour++, t.hour++) {
		struct stratum *s = &t.strata[0];
		s->any = true;
		for (unsigned b = 0; b < 4; b++) { /* the best is 0 */
			s->hist[HIST_PROBE][EVIDENCE_CANDIDATE][8 + b] = 50;
			s->hist[HIST_PROBE][EVIDENCE_CONTROL][2 + b] = 200;
		}
		ck_assert_int_eq(evidence_feed(family_evidence(t.family, "a"), CELLS_SLOT,
					       t.hour * HOUR, t.strata, &err),
				 0);
	}
	weigh(&t);
	ck_assert_int_eq(decided(&t, "a", &d), DECIDE_ROLL_BACK);
	ck_assert_ptr_nonnull(strstr(d.reason, "outcome.probe_score"));
	ck_assert_int_eq(decided(&t, "b", &d), DECIDE_NOTHING);
	close_trial(&t);
}
END_TEST

START_TEST(test_family_every_gate_explains_itself)
{
	struct trial t;
	size_t i;
	const json_t *gate;
	open_trial(&t, false);
	window(&t, "a", "window.crash", 60, 8);
	weigh(&t);
	struct lane lane = t.lanes[0];
	lane.class = "a";
	const struct circumstances c = {&lane, &t.policy, LANES, true, START + HOUR, t.family, NULL, 0};
	json_auto_t *doc = decide_explain(family_evidence(t.family, "a"), &c);
	const json_t *gates = json_object_get(doc, "gates");
	ck_assert_uint_eq(json_array_size(gates), policy_gate_count + policy_guard_count);
	json_array_foreach (gates, i, gate) {
		static const char *const members[] = {
			"metric", "role", "candidate", "control", "ratio", "lower", "upper", "log_e",
			"e_value", "threshold", "state", "sentence"};
		for (unsigned k = 0; k < COUNT_OF(members); k++)
			ck_assert_msg(json_object_get(gate, members[k]), "%s", members[k]);
		ck_assert_uint_gt(strlen(json_string_value(json_object_get(gate, "sentence"))), 10);
	}
	gate = json_array_get(gates, gate_number("window.crash"));
	ck_assert_str_eq(json_string_value(json_object_get(gate, "state")), "fired");
	ck_assert_double_gt(json_number_value(json_object_get(gate, "lower")), 1);
	close_trial(&t);
}
END_TEST

/* Half of alpha for lanes' gates, half for pools, each shared by weight: it adds up. */
START_TEST(test_family_thresholds_share_alpha)
{
	struct policy p;
	double own = 0, pooled = 0, strict = 0;
	policy_default(&p);
	for (unsigned i = 0; i < policy_gate_count; i++) {
		own += LANES * exp(-policy_gate_threshold(&p, i, LANES));
		pooled += exp(-policy_pool_threshold(&p, i));
		strict += policy_strict(&policy_gates[i])
				  ? LANES * exp(-policy_gate_threshold(&p, i, LANES))
				  : 0;
	}
	ck_assert_double_eq_tol(own, 0.005, 1e-12);
	ck_assert_double_eq_tol(pooled, 0.005, 1e-12);
	ck_assert_double_eq_tol(exp(-policy_strict_threshold(&p)), strict, 1e-12);
	ck_assert_uint_le(policy_gate_count, POLICY_GATES);
	ck_assert_uint_le(policy_guard_count, GUARDS_MAX);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_family_one_bad_lane_goes_back_alone,
		test_family_a_fault_in_all_lanes_ends_the_rollout,
		test_family_strict_gates_are_closed_over_lanes,
		test_family_reports_that_nobody_vouches_for_need_more,
		test_family_views_burn_in_on_windows,
		test_family_a_worse_probe_score_takes_the_lane_back,
		test_family_every_gate_explains_itself,
		test_family_thresholds_share_alpha,
	};
	return suite_run("family", tests, COUNT_OF(tests));
}
