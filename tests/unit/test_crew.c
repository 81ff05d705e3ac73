#include "base/crew.h"

#include "base/clock.h"
#include "tests/support/suite.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define ITEMS 1000
#define WORKERS 4
#define WAIT_MS 10000

struct tally {
	unsigned seen[ITEMS];	   /* each item is one thread's */
	atomic_bool busy[WORKERS]; /* inside fn */
	atomic_uint calls, inside, together; /* most that were inside at once */
	bool meet;			     /* the first wait for a second */
	unsigned bad; /* item that fails; ITEMS: none */
};

static void meet(struct tally *t)
{
	const int64_t until = clock_monotonic_ms() + WAIT_MS;
	const unsigned now = atomic_fetch_add(&t->inside, 1) + 1;
	if (now > atomic_load(&t->together))
		atomic_store(&t->together, now);
	while (t->meet && atomic_load(&t->together) < 2 && clock_monotonic_ms() < until)
		clock_sleep_ms(1);
}

static int count_one(void *arg, unsigned item, unsigned worker, struct err *err)
{
	struct tally *t = arg;
	ck_assert_uint_lt(worker, WORKERS);
	ck_assert(!atomic_exchange(&t->busy[worker], true));
	meet(t);
	atomic_fetch_sub(&t->inside, 1);
	atomic_fetch_add(&t->calls, 1);
	t->seen[item]++;
	atomic_store(&t->busy[worker], false);
	return item == t->bad ? err_set(err, ERR_INVALID, "item %u", item) : 0;
}

START_TEST(test_crew_does_each_item_once)
{
	struct err err;
	const bool several = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	struct tally t = {.bad = ITEMS, .meet = several};
	const struct crew_job job = {ITEMS, count_one, &t};
	ck_assert_int_eq(crew_run(&job, WORKERS, &err), 0);
	ck_assert_uint_ge(t.together, several ? 2 : 1);
	for (unsigned i = 0; i < ITEMS; i++)
		ck_assert_uint_eq(t.seen[i], 1);
}
END_TEST

START_TEST(test_crew_of_nothing_does_nothing)
{
	struct err err;
	struct tally t = {.bad = ITEMS};
	const struct crew_job job = {0, count_one, &t};
	ck_assert_int_eq(crew_run(&job, WORKERS, &err), 0);
	ck_assert_uint_eq(t.calls, 0);
}
END_TEST

START_TEST(test_crew_fails_as_its_first_and_begins_no_more)
{
	struct err err;
	struct tally t = {.bad = 3};
	const struct crew_job job = {ITEMS, count_one, &t};
	ck_assert_int_eq(crew_run(&job, 1, &err), -1);
	ck_assert_str_eq(err.text, "item 3");
	ck_assert_uint_eq(t.calls, 4);
	ck_assert_uint_eq(t.seen[3], 1);
	memset(&t, 0, sizeof(t));
	t.bad = 3;
	ck_assert_int_eq(crew_run(&job, WORKERS, &err), -1);
	ck_assert_str_eq(err.text, "item 3");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_crew_does_each_item_once,
		test_crew_of_nothing_does_nothing,
		test_crew_fails_as_its_first_and_begins_no_more,
	};
	return suite_run("crew", tests, COUNT_OF(tests));
}
