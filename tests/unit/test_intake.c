/* Reports on their way to cells: each once, whatever fails and however often one starts. */
#include "telemetry/intake.h"

#include "tests/support/failing_calls.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <pthread.h>
#include <string.h>

struct bench {
	struct house house;
	struct intake *intake;
	struct report report;
	const struct report *list[INTAKE_ITEM_MAX];
	struct intake_item item;
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool over;
	enum status status; /* ERR_NONE: durable */
};

static void start_intake(struct bench *b, unsigned max_queued, uint64_t max_nonces)
{
	struct err err;
	const struct intake_options options = {b->house.ledger, b->house.cells, &b->house.clock,
					       max_queued, max_nonces, b->house.scratch.dir};
	ck_assert_msg(!intake_new(&b->intake, &options, &err), "%s", err.text);
}

static void begin(struct bench *b)
{
	*b = (struct bench){.over = false};
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->told, NULL);
	house_open(&b->house, 1);
	start_intake(b, 1000, 1000);
	b->report = (struct report){.kind = REPORT_USAGE, .channel = "stable", .class = "mid",
				    .runtime = "", .day_first = true, .entry_len = 1,
				    .at = clock_s(&b->house.clock) / 86400 * 86400};
	b->report.entries[0] = (struct report_entry){
		.model = "assistant", .variant = "assistant@1.0.0/q4_0", .rollout = "", .via = "",
		.load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .used = 1};
	for (unsigned i = 0; i < INTAKE_ITEM_MAX; i++)
		b->list[i] = &b->report;
}

/* The ledger ends first: nothing may come when the intake is gone. */
static void restart(struct bench *b, bool again)
{
	struct intake *old = b->intake;
	if (again)
		house_restart(&b->house);
	else
		house_close(&b->house);
	intake_free(old);
	if (again)
		start_intake(b, 1000, 1000);
}

static void item_done(struct intake_item *item, const struct err *err)
{
	struct bench *b = item->arg;
	pthread_mutex_lock(&b->lock);
	b->over = true;
	b->status = err ? err->status : ERR_NONE;
	pthread_cond_signal(&b->told);
	pthread_mutex_unlock(&b->lock);
}

/* Post count times the same report; what became of it. */
static enum status post(struct bench *b, uint8_t nonce, unsigned count)
{
	struct err err;
	memset(b->report.nonce, nonce, sizeof(b->report.nonce));
	b->over = false;
	b->item = (struct intake_item){
		.reports = b->list, .count = count, .done = item_done, .arg = b};
	if (intake_post(b->intake, &b->item, &err))
		return err.status;
	pthread_mutex_lock(&b->lock);
	while (!b->over)
		pthread_cond_wait(&b->told, &b->lock);
	pthread_mutex_unlock(&b->lock);
	return b->status;
}

static int64_t devices(struct bench *b)
{
	struct err err;
	struct cell sum;
	const struct cells_key key = {.channel = "stable", .class = "mid", .model = "assistant",
				      .rollout = "", .kind = "usage", .metric = "usage"};
	ck_assert_msg(!cells_sum(b->house.db, &key, 0, INT64_MAX, true, &sum, &err), "%s", err.text);
	return sum.n;
}

START_TEST(test_intake_counts_each_once_over_starts)
{
	struct bench b;
	begin(&b);
	ck_assert_int_eq(post(&b, 1, 1), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_MERGED], 1);
	ck_assert_int_eq(post(&b, 1, 3), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_DUPLICATE], 3);
	ck_assert_int_eq(post(&b, 2, 3), ERR_NONE); /* twice in one commit */
	ck_assert_uint_eq(b.item.verdicts[INTAKE_MERGED], 1);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_DUPLICATE], 2);
	restart(&b, true);
	ck_assert_int_eq(post(&b, 1, 1), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_DUPLICATE], 1);
	ck_assert_int_eq(post(&b, 3, 1), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_MERGED], 1);
	ck_assert_int_eq(devices(&b), 3);
	b.report.class = "nobody-gave-it";
	ck_assert_int_eq(post(&b, 4, 1), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_UNKNOWN], 1);
	struct intake_stats stats;
	intake_stats(b.intake, &stats);
	ck_assert_uint_eq(stats.verdicts[INTAKE_MERGED], 1); /* since the start */
	ck_assert_uint_eq(stats.nonces, 4);
	restart(&b, false);
}
END_TEST

/* Each write and sync of the commit fails once: what was not acknowledged counts when it is sent
 * again, and what was does not. */
START_TEST(test_intake_failed_commits_keep_nothing)
{
	struct bench b;
	int64_t sent = 0;
	unsigned failed = 0;
	begin(&b);
	for (int nth = 1; nth < 60; nth++) {
		atomic_store(&failures, 0);
		atomic_store(&error_number, EIO);
		atomic_store(&countdown, nth);
		const enum status status = post(&b, (uint8_t)nth, 2);
		const bool hit = atomic_load(&failures) > 0;
		atomic_store(&countdown, 0);
		failed += status != ERR_NONE;
		ck_assert(status == ERR_NONE || hit);
		ck_assert_int_eq(post(&b, (uint8_t)nth, 1), ERR_NONE);
		if (status != ERR_NONE)
			ck_assert_uint_eq(b.item.verdicts[INTAKE_MERGED], 1);
		else
			ck_assert_uint_eq(b.item.verdicts[INTAKE_DUPLICATE], 1);
		sent++;
		ck_assert_int_eq(devices(&b), sent);
		if (!hit)
			break;
	}
	ck_assert_uint_gt(failed, 2);
	restart(&b, true);
	ck_assert_int_eq(post(&b, 1, 1), ERR_NONE);
	ck_assert_uint_eq(b.item.verdicts[INTAKE_DUPLICATE], 1);
	ck_assert_int_eq(devices(&b), sent);
	restart(&b, false);
}
END_TEST

START_TEST(test_intake_is_bounded)
{
	struct bench b;
	struct intake *unbounded;
	begin(&b);
	unbounded = b.intake;
	start_intake(&b, 10, 12);
	ck_assert_int_eq(post(&b, 1, 11), ERR_QUOTA); /* more than may wait */
	ck_assert_int_eq(post(&b, 1, 10), ERR_NONE);
	ck_assert_int_eq(post(&b, 2, 1), ERR_NONE);
	for (uint8_t i = 3; i <= 12; i++)
		ck_assert_int_eq(post(&b, i, 1), ERR_NONE);
	ck_assert_int_eq(post(&b, 13, 1), ERR_QUOTA); /* more than can be told apart */
	struct intake_stats stats;
	intake_stats(b.intake, &stats);
	ck_assert_uint_eq(stats.refused, 12);
	ck_assert_uint_eq(stats.queued, 0);
	/* A week later there is place again, though nothing was taken meanwhile. */
	unsigned tries = 0;
	b.house.clock.own_ms += INT64_C(7) * 86400 * 1000;
	while (post(&b, 13, 1) == ERR_QUOTA && tries++ < 5000)
		clock_sleep_ms(1);
	ck_assert_uint_lt(tries, 5000);
	restart(&b, false);
	intake_free(unbounded);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_intake_counts_each_once_over_starts,
		test_intake_failed_commits_keep_nothing,
		test_intake_is_bounded,
	};
	return suite_run("intake", tests, COUNT_OF(tests));
}
