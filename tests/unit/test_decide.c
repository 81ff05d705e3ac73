/* Decisions from evidence that is fed by hand. */
#include "rollout/decide.h"
#include "rollout/evidence_internal.h"
#include "tests/support/suite.h"

#include <string.h>

#define T0 ((int64_t)1767225600)
#define HOUR 3600
#define WINDOWS 4
#define DEADLINE (48 * HOUR)
#define JITTER 300
#define GRACE 1800

static const struct lane lane = {
	.rollout = "r1", .class = "mid", .channel = "stable", .model = "assistant",
	.release = "2.0.0", .stable = "1.0.0", .salt = "", .reason = "", .stage = 1,
	.since = T0, .started = T0, .state = LANE_RUNNING,
	.clock = {HOUR, WINDOWS, JITTER, DEADLINE, GRACE, 20000}, .baseline = "{}"};

static struct evidence *fresh(struct policy *policy)
{
	struct evidence *e;
	struct err err;
	policy_default(policy);
	ck_assert_msg(!evidence_new(&e, &lane, policy, &err), "%s", err.text);
	return e;
}

/* Of the first stage. */
static void feed(struct evidence *e, enum cells_mark mark, struct stratum first)
{
	struct err err;
	struct stratum strata[POLICY_STAGES] = {first};
	ck_assert_msg(!evidence_feed(e, mark, T0, strata, &err), "%s", err.text);
}

static enum decision_kind decided(const struct evidence *e, const struct policy *policy, int64_t now,
				  const char *reason)
{
	struct decision d;
	const struct circumstances c = {&lane, policy, 1, true, now, NULL, NULL, 0};
	decide(e, &c, &d);
	ck_assert_msg(d.reason[0] == reason[0] && !strncmp(d.reason, reason, strlen(reason)), "%s", d.reason);
	return d.kind;
}

/* Silence is known only at the deadline of outcomes, however short the windows are: until then a lane
 * that waits for it is not exhausted. */
START_TEST(test_exhausted_waits_for_the_deadline_of_outcomes)
{
	struct policy policy;
	struct evidence *e = fresh(&policy);
	const int64_t windows = (WINDOWS + 2) * HOUR + JITTER + GRACE;
	const int64_t deadline = DEADLINE + JITTER + GRACE;
	feed(e, CELLS_SLOT, (struct stratum){.any = true, .n = {120, 480}, .entered = {120, 480}});
	feed(e, CELLS_SUMMARY, (struct stratum){.any = true, .n = {120, 480}, .entered = {120, 480}});
	e->stages[0].seen.last_entered = T0;
	ck_assert_int_eq(decided(e, &policy, T0 + 2 * windows + 1, ""), DECIDE_NOTHING);
	ck_assert_int_eq(decided(e, &policy, T0 + 2 * deadline, ""), DECIDE_NOTHING);
	ck_assert_int_eq(decided(e, &policy, T0 + 2 * deadline + 1, "exhausted: "), DECIDE_HOLD);
	evidence_free(e);
}
END_TEST

/* Devices whose entering is told later than they are summed up: more than all have been.  None of the arms
 * is less complete than the other for that. */
START_TEST(test_complete_is_no_more_than_all)
{
	struct policy policy;
	struct decision d;
	struct evidence *e = fresh(&policy);
	const struct circumstances c = {&lane, &policy, 1, true, T0 + 30 * 24 * HOUR, NULL, NULL, 0};
	feed(e, CELLS_SLOT, (struct stratum){.any = true, .n = {200, 800}, .entered = {200, 800}});
	feed(e, CELLS_SUMMARY, (struct stratum){.any = true, .n = {386, 1680}, .entered = {200, 800}});
	decide(e, &c, &d);
	ck_assert_msg(!strstr(d.reason, "summaries of"), "%s", d.reason);
	feed(e, CELLS_SUMMARY, (struct stratum){.any = true, .n = {0, 0}, .entered = {300, 0}});
	decide(e, &c, &d);
	ck_assert_msg(strstr(d.reason, "summaries of 77 % of the candidates that are due, 100 % in"),
		      "%s", d.reason);
	evidence_free(e);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_exhausted_waits_for_the_deadline_of_outcomes,
		test_complete_is_no_more_than_all,
	};
	return suite_run("decide", tests, COUNT_OF(tests));
}
