/* The queue of deltas: in order, over restarts, so many tries and no more. */
#include "tests/support/shop.h"

static struct shop shop;
static struct err err;

static void begin(void)
{
	shop_dir(&shop);
	shop_start(&shop);
}

static void end(void)
{
	shop_stop(&shop);
	shop_remove(&shop);
}

/* One call on the ledger thread. */
struct step {
	enum { ADD, TAKE, DONE, DROPPED, AGAIN, RELEASE, RECOVER, LOST, UNLIST, DROP } what;
	struct delta_job *job;
	int64_t now;
	bool told;
	int row;
};

static int step_run(struct db *db, void *arg, struct err *why)
{
	struct step *s = arg;

	switch (s->what) {
	case ADD:
		return delta_job_add(db, s->job, s->now, &s->told, why);
	case TAKE:
		s->row = delta_job_take(db, s->now, s->job, why);
		return s->row < 0 ? -1 : 0;
	case DONE:
		return delta_job_done(db, s->job, s->now, why);
	case DROPPED:
		return delta_job_dropped(db, s->job, s->now, why);
	case AGAIN:
		return delta_job_again(db, s->job, s->now, &s->told, why);
	case RELEASE:
		return delta_job_release(db, s->job, s->now, why);
	case RECOVER:
		return delta_job_recover(db, s->now, why);
	case LOST:
		return delta_job_lost(db, s->job->id, s->now, why);
	case UNLIST:
		return delta_job_unlist(db, s->job->id, s->now, why);
	case DROP:
		return delta_job_drop(db, s->job, s->now, &s->told, why);
	}
	return -1;
}

static struct step run(struct step step)
{
	SHOP_OK(ledger_run(shop.ledger, step_run, &step, &err));
	return step;
}

static bool add(uint8_t new, uint8_t old)
{
	struct delta_job job = {.new = {{new}}, .old = {{old}}, .what = "m@2/t/f", .base = "m@1/t/f"};

	return run((struct step){ADD, &job, SHOP_NOW, false, 0}).told;
}

/* Whether there was one. */
static bool take(struct delta_job *job, int64_t now)
{
	return run((struct step){TAKE, job, now, false, 0}).row;
}

static int64_t count(enum delta_state state)
{
	struct delta_job_sums sums;

	SHOP_OK(delta_job_sum(shop.db, &sums, &err));
	return sums.count[state];
}

static int keep(void *arg, const struct delta_job *job, struct err *why)
{
	(void)why;
	*(struct delta_job *)arg = *job;
	return 0;
}

static struct delta_job job_of(int64_t id)
{
	const struct delta_job_query query = {DELTA_STATES, id - 1, 1};
	struct delta_job job = {0};

	SHOP_OK(delta_job_list(shop.db, &query, keep, &job, &err));
	ck_assert_int_eq(job.id, id);
	return job;
}

START_TEST(test_delta_job_oldest_first_each_once)
{
	struct delta_job job;

	ck_assert(!take(&job, SHOP_NOW));
	ck_assert(add(2, 1));
	ck_assert(add(3, 1));
	ck_assert(!add(2, 1));
	ck_assert_int_eq(count(DELTA_QUEUED), 2);
	ck_assert(take(&job, SHOP_NOW));
	ck_assert_uint_eq(job.new.bytes[0], 2);
	ck_assert_str_eq(job.what, "m@2/t/f");
	ck_assert_str_eq(job.base, "m@1/t/f");
	ck_assert_int_eq(job.tries, 1);
	ck_assert(take(&job, SHOP_NOW));
	ck_assert_uint_eq(job.new.bytes[0], 3);
	ck_assert(!take(&job, SHOP_NOW));
	ck_assert_int_eq(count(DELTA_RUNNING), 2);
}
END_TEST

START_TEST(test_delta_job_goes_on_after_a_restart)
{
	struct delta_job job;

	add(2, 1);
	add(3, 1);
	ck_assert(take(&job, SHOP_NOW));
	shop_stop(&shop);
	shop_start(&shop);
	run((struct step){RECOVER, NULL, SHOP_NOW + 9, false, 0});
	ck_assert_int_eq(count(DELTA_QUEUED), 2);
	ck_assert(take(&job, SHOP_NOW + 9));
	ck_assert_uint_eq(job.new.bytes[0], 2);
	ck_assert_int_eq(job.tries, 2);
}
END_TEST

/* Should making a delta be what ends the daemon, it is not tried for ever. */
START_TEST(test_delta_job_that_ends_the_daemon_fails)
{
	struct delta_job job;

	add(2, 1);
	for (int i = 0; i < DELTA_TRIES; i++) {
		ck_assert(take(&job, SHOP_NOW));
		run((struct step){RECOVER, NULL, SHOP_NOW, false, 0});
	}
	ck_assert(!take(&job, SHOP_NOW));
	job = job_of(1);
	ck_assert_int_eq(job.state, DELTA_FAILED);
	ck_assert_ptr_nonnull(strstr(job.reason, "the daemon ended"));
}
END_TEST

START_TEST(test_delta_job_is_retried_with_growing_pauses)
{
	struct delta_job job;
	int64_t now = SHOP_NOW, due, pause = DELTA_RETRY_S;

	add(2, 1);
	for (int i = 1; i <= DELTA_TRIES; i++) {
		ck_assert(take(&job, now));
		ck_assert_int_eq(job.tries, i);
		snprintf(job.reason, sizeof(job.reason), "the disk is on fire (%d)", i);
		bool failed = run((struct step){AGAIN, &job, now, false, 0}).told;
		ck_assert_int_eq(failed, i == DELTA_TRIES);
		if (failed)
			break;
		ck_assert_int_eq(delta_job_due(shop.db, &due, &err), 1);
		ck_assert_int_eq(due, now + pause);
		ck_assert(!take(&job, due - 1));
		now = due;
		pause *= 4;
	}
	ck_assert_int_eq(delta_job_due(shop.db, &due, &err), 0);
	job = job_of(1);
	ck_assert_int_eq(job.state, DELTA_FAILED);
	ck_assert_str_eq(job.reason, "the disk is on fire (5)");
	/* Asked for again, it has all its tries. */
	ck_assert(add(2, 1));
	ck_assert(take(&job, SHOP_NOW));
	ck_assert_int_eq(job.tries, 1);
	ck_assert_str_eq(job.reason, "");
}
END_TEST

START_TEST(test_delta_job_interrupted_costs_no_try)
{
	struct delta_job job;

	add(2, 1);
	for (int i = 0; i < 3 * DELTA_TRIES; i++) {
		ck_assert(take(&job, SHOP_NOW));
		run((struct step){RELEASE, &job, SHOP_NOW, false, 0});
	}
	ck_assert(take(&job, SHOP_NOW));
	ck_assert_int_eq(job.tries, 1);
}
END_TEST

START_TEST(test_delta_job_done_and_dropped_stay_so)
{
	struct delta_job job;
	struct delta_job_sums sums;

	add(2, 1);
	add(3, 1);
	ck_assert(take(&job, SHOP_NOW));
	job.bytes = 700;
	job.whole = 1000;
	run((struct step){DONE, &job, SHOP_NOW, false, 0});
	struct step again = {DONE, &job, SHOP_NOW, false, 0};
	ck_assert_int_eq(ledger_run(shop.ledger, step_run, &again, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert(take(&job, SHOP_NOW));
	job.whole = 1000;
	snprintf(job.reason, sizeof(job.reason), "too long");
	run((struct step){DROPPED, &job, SHOP_NOW, false, 0});
	ck_assert(!add(2, 1));
	ck_assert(!add(3, 1));
	SHOP_OK(delta_job_sum(shop.db, &sums, &err));
	ck_assert_int_eq(sums.count[DELTA_DONE], 1);
	ck_assert_int_eq(sums.count[DELTA_DROPPED], 1);
	ck_assert_int_eq(sums.bytes, 700);
	job = job_of(2);
	ck_assert_str_eq(job.reason, "too long");
	ck_assert_int_eq(job.whole, 1000);
}
END_TEST

START_TEST(test_delta_job_unlisted_can_be_wanted_again)
{
	struct delta_job job;

	add(2, 1);
	ck_assert(take(&job, SHOP_NOW));
	run((struct step){DONE, &job, SHOP_NOW, false, 0});
	run((struct step){UNLIST, &job, SHOP_NOW + 1, false, 0});
	job = job_of(1);
	ck_assert_int_eq(job.state, DELTA_UNLISTED);
	ck_assert(!run((struct step){DROP, &job, SHOP_NOW + 1, false, 0}).told);
	ck_assert(add(2, 1));
	/* Whoever saw it unlisted does not remove it any more. */
	ck_assert(!run((struct step){DROP, &job, INT64_MAX, false, 0}).told);
	ck_assert_int_eq(count(DELTA_QUEUED), 1);
}
END_TEST

START_TEST(test_delta_job_lost_is_made_again)
{
	struct delta_job job;

	add(2, 1);
	ck_assert(take(&job, SHOP_NOW));
	run((struct step){LOST, &job, SHOP_NOW, false, 0}); /* it is not done: nothing happens */
	ck_assert_int_eq(count(DELTA_RUNNING), 1);
	run((struct step){DONE, &job, SHOP_NOW, false, 0});
	run((struct step){LOST, &job, SHOP_NOW, false, 0});
	ck_assert(take(&job, SHOP_NOW));
	ck_assert_int_eq(job.tries, 1);
}
END_TEST

START_TEST(test_delta_job_states_have_names)
{
	enum delta_state state;

	for (int i = 0; i < DELTA_STATES; i++) {
		ck_assert_int_eq(delta_state_parse(&state, delta_state_name((enum delta_state)i)), 0);
		ck_assert_int_eq(state, i);
	}
	ck_assert_int_eq(delta_state_parse(&state, "waiting"), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("delta_job");
	TCase *tc = tcase_create("delta_job");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_delta_job_oldest_first_each_once);
	tcase_add_test(tc, test_delta_job_goes_on_after_a_restart);
	tcase_add_test(tc, test_delta_job_that_ends_the_daemon_fails);
	tcase_add_test(tc, test_delta_job_is_retried_with_growing_pauses);
	tcase_add_test(tc, test_delta_job_interrupted_costs_no_try);
	tcase_add_test(tc, test_delta_job_done_and_dropped_stay_so);
	tcase_add_test(tc, test_delta_job_unlisted_can_be_wanted_again);
	tcase_add_test(tc, test_delta_job_lost_is_made_again);
	tcase_add_test(tc, test_delta_job_states_have_names);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
