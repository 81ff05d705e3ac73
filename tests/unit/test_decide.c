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

static unsigned p95_guard(void)
{
	for (unsigned i = 0; i < policy_guard_count; i++)
		if (policy_guards[i].source == GUARD_P95)
			return i;
	ck_abort_msg("no such guard");
	return 0;
}

/* Devices tell how soon the first token came, and nobody knows yet where control's p95 lies: that is no
 * reason to go on, only silence is. */
START_TEST(test_speed_is_not_passed_before_it_is_compared)
{
	struct policy policy;
	struct evidence *told = fresh(&policy), *silent = fresh(&policy);
	struct stratum s = {.any = true, .n = {200, 800}, .entered = {200, 800}};
	feed(silent, CELLS_SUMMARY, s);
	s.hist[HIST_TTFT][EVIDENCE_CANDIDATE][130] = 200;
	s.hist[HIST_TTFT][EVIDENCE_CONTROL][130] = 800;
	feed(told, CELLS_SUMMARY, s);
	ck_assert(evidence_guard_silent(silent, p95_guard(), 1));
	ck_assert(!evidence_guard_silent(told, p95_guard(), 1));
	evidence_free(told);
	evidence_free(silent);
}
END_TEST

static void feed_at(struct evidence *e, enum cells_mark mark, int64_t at, const struct stratum *first)
{
	struct err err;
	struct stratum strata[POLICY_STAGES] = {*first};
	ck_assert_msg(!evidence_feed(e, mark, at, strata, &err), "%s", err.text);
}

/* Windows that tell where control's p95 lies, and summaries of before and after that was known; in the
 * order in which they close, or all windows first. */
static double speed_of(bool in_order)
{
	struct policy policy;
	struct evidence *e = fresh(&policy);
	const int64_t later = T0 + 10 * HOUR; /* these windows close after the first summaries */
	struct stratum windows = {.any = true, .n = {100, 400}}, sums = {.any = true, .n = {100, 400},
									 .entered = {100, 400}};
	for (unsigned a = 0; a < EVIDENCE_ARMS; a++) {
		windows.hist[HIST_TTFT][a][130] = (double)windows.n[a];
		sums.hist[HIST_TTFT][a][129] = (double)sums.n[a];
	}
	if (in_order)
		feed_at(e, CELLS_SUMMARY, T0, &sums);
	feed_at(e, CELLS_WINDOW, later, &windows);
	if (!in_order)
		feed_at(e, CELLS_SUMMARY, T0, &sums);
	feed_at(e, CELLS_SUMMARY, later, &sums);
	const double log_e = evidence_guard_log_e(e, p95_guard(), 1);
	evidence_free(e);
	return log_e;
}

START_TEST(test_a_replay_compares_what_was_compared)
{
	ck_assert_double_gt(speed_of(true), 0);
	ck_assert_double_eq(speed_of(true), speed_of(false));
}
END_TEST

/* A slot of control alone is not bet on; when candidates come to it, the bet knows nothing of it yet. */
START_TEST(test_guards_bet_on_what_they_do_not_know)
{
	struct policy policy;
	struct evidence *apart = fresh(&policy), *together = fresh(&policy);
	struct stratum control = {.any = true, .n = {0, 500}}, candidates = {.any = true, .n = {500, 0}},
		       both = {.any = true, .n = {500, 500}};
	control.guards[0][EVIDENCE_CONTROL] = both.guards[0][EVIDENCE_CONTROL] = 100;
	candidates.guards[0][EVIDENCE_CANDIDATE] = both.guards[0][EVIDENCE_CANDIDATE] = 100;
	feed_at(apart, CELLS_SUMMARY, T0, &control);
	feed_at(apart, CELLS_SUMMARY, T0 + HOUR, &candidates);
	feed_at(together, CELLS_SUMMARY, T0, &both);
	ck_assert_double_eq(evidence_guard_log_e(apart, 0, 1), evidence_guard_log_e(together, 0, 1));
	evidence_free(apart);
	evidence_free(together);
}
END_TEST

static double ratio_of(const struct evidence *e)
{
	struct evidence_stage s;
	evidence_stage(e, 1, &s);
	return s.srm_log_e;
}

/* Who resumes a lane that was held for its sample ratio has it judged by those who enter from then on. */
START_TEST(test_sample_ratio_holds_and_begins_anew)
{
	struct err err;
	struct policy policy;
	struct lane resumed = lane;
	bool news;
	struct evidence *e = fresh(&policy);
	const struct evidence_source nothing = {.db = NULL};
	ck_assert(!evidence_update(e, &nothing, &lane, &news, &err));
	struct stratum skewed = {.any = true, .entered = {300, 400}};
	for (unsigned i = 0; i < 100 && ratio_of(e) < 10; i++)
		feed_at(e, CELLS_SLOT, T0, &skewed);
	ck_assert_double_ge(ratio_of(e), 10);
	ck_assert_int_eq(decided(e, &policy, T0 + HOUR, "sample-ratio: "), DECIDE_HOLD);
	resumed.since = T0 + 2 * HOUR;
	ck_assert(!evidence_update(e, &nothing, &resumed, &news, &err));
	ck_assert(news);
	ck_assert_double_le(ratio_of(e), 0);
	feed_at(e, CELLS_SLOT, T0 + HOUR, &skewed);
	ck_assert_double_le(ratio_of(e), 0);
	feed_at(e, CELLS_SLOT, T0 + 3 * HOUR, &skewed);
	ck_assert_double_gt(ratio_of(e), 0);
	evidence_free(e);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_speed_is_not_passed_before_it_is_compared,
		test_a_replay_compares_what_was_compared,
		test_guards_bet_on_what_they_do_not_know,
		test_sample_ratio_holds_and_begins_anew,
		test_exhausted_waits_for_the_deadline_of_outcomes,
		test_complete_is_no_more_than_all,
	};
	return suite_run("decide", tests, COUNT_OF(tests));
}
