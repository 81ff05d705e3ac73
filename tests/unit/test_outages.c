/* Downtime is neither silence nor time that a stage had. */
#include "rollout/outages.h"

#include "rollout/decide.h"
#include "rollout/silence.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#define T0 ((int64_t)1767225600)
#define HOUR 3600
#define DAY 86400

struct step {
	bool start;
	int64_t at;
};

static int step_run(struct db *db, void *arg, struct err *err)
{
	const struct step *s = arg;
	return s->start ? outages_start(db, s->at, err) : outages_alive(db, s->at, err);
}

static void start(struct house *house, int64_t at)
{
	house_run(house, step_run, &(struct step){true, at});
}

static void alive(struct house *house, int64_t at)
{
	house_run(house, step_run, &(struct step){false, at});
}

static struct outages outages_of(struct house *house)
{
	struct outages o;
	struct err err;
	ck_assert_msg(!outages_read(house->db, &o, &err), "%s", err.text);
	return o;
}

START_TEST(test_outages_are_what_passed_between_two_runs)
{
	struct house house;
	house_open(&house, 1);
	start(&house, T0);
	ck_assert_uint_eq(outages_of(&house).count, 0); /* the first start of all */
	alive(&house, T0 + HOUR);
	start(&house, T0 + HOUR + 30); /* a restart */
	ck_assert_uint_eq(outages_of(&house).count, 0);
	alive(&house, T0 + 2 * HOUR);
	start(&house, T0 + 2 * DAY);
	const struct outages o = outages_of(&house);
	ck_assert_uint_eq(o.count, 1);
	ck_assert_int_eq(o.list[0].from, T0 + 2 * HOUR);
	ck_assert_int_eq(o.list[0].to, T0 + 2 * DAY);
	ck_assert_int_eq(outages_within(&o, T0, T0 + 2 * HOUR), 0);
	ck_assert_int_eq(outages_within(&o, T0, T0 + 3 * HOUR), HOUR);
	ck_assert_int_eq(outages_within(&o, T0, T0 + 9 * DAY), 2 * DAY - 2 * HOUR);
	ck_assert_int_eq(outages_within(&o, T0 + 2 * DAY, T0 + 9 * DAY), 0);
	/* The oldest is forgotten. */
	for (int64_t i = 1; i <= OUTAGES_MAX; i++)
		start(&house, T0 + (2 + i) * DAY);
	const struct outages many = outages_of(&house);
	ck_assert_uint_eq(many.count, OUTAGES_MAX);
	ck_assert_int_eq(many.list[0].from, T0 + 2 * DAY);
	ck_assert_int_eq(many.list[OUTAGES_MAX - 1].to, T0 + (2 + OUTAGES_MAX) * DAY);
	house_close(&house);
}
END_TEST

START_TEST(test_outages_are_no_silence)
{
	struct err err;
	struct outages none = {.count = 0};
	/* From the middle of the third window to the end of the fifth. */
	struct outages down = {.count = 1, .list = {{T0 + 2 * HOUR + 1800, T0 + 5 * HOUR}}};
	for (int was_down = 0; was_down < 2; was_down++) {
		struct silence s;
		silence_init(&s, T0, HOUR, 24, 1.0);
		ck_assert_int_eq(silence_devices(&s, T0, 1000, 1000, &err), 0);
		silence_reported(&s, T0 + HOUR);
		silence_closed(&s, T0 + 5 * HOUR, was_down ? &down : &none);
		ck_assert_uint_eq(s.silent, was_down ? 0 : 3);
		/* Silence that goes on once it is up again is. */
		silence_closed(&s, T0 + 7 * HOUR, was_down ? &down : &none);
		ck_assert_uint_eq(s.silent, was_down ? 2 : 5);
		silence_done(&s);
	}
}
END_TEST

START_TEST(test_outages_are_no_time_of_a_stage)
{
	struct policy policy;
	struct evidence *e;
	struct err err;
	struct decision d;
	struct lane lane = {.rollout = "r1", .class = "mid", .channel = "stable", .model = "assistant",
			    .release = "2.0.0", .stable = "1.0.0", .salt = "", .reason = "",
			    .state = LANE_RUNNING, .stage = 1, .since = T0, .started = T0,
			    .clock = {HOUR, 24, 300, DAY, 1800, 20000}, .baseline = "{}"};
	policy_default(&policy);
	ck_assert_msg(!evidence_new(&e, &lane, &policy, &err), "%s", err.text);
	struct circumstances c = {&lane, &policy, 1, true, T0 + policy.stages[0].max_s + DAY, NULL, NULL, 0};
	decide(e, &c, &d);
	ck_assert_int_eq(d.kind, DECIDE_HOLD);
	ck_assert_ptr_nonnull(strstr(d.reason, "the stage's time is over"));
	c.down_s = 2 * DAY;
	decide(e, &c, &d);
	ck_assert_int_eq(d.kind, DECIDE_NOTHING);
	ck_assert_int_eq(decide_again(e, &c), T0 + policy.stages[0].max_s + 1 + 2 * DAY);
	evidence_free(e);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_outages_are_what_passed_between_two_runs,
		test_outages_are_no_silence,
		test_outages_are_no_time_of_a_stage,
	};
	return suite_run("outages", tests, COUNT_OF(tests));
}
