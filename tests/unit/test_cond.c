#include "base/clock.h"
#include "base/cond.h"
#include "tests/support/suite.h"

struct meeting {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool here;
};

static void *arrive(void *arg)
{
	struct meeting *m = arg;
	pthread_mutex_lock(&m->lock);
	m->here = true;
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void meeting_init(struct meeting *m)
{
	*m = (struct meeting){.here = false};
	pthread_mutex_init(&m->lock, NULL);
	cond_init(&m->cond);
}

/* Whether somebody came within ms. */
static bool await(struct meeting *m, int64_t ms)
{
	const int64_t until = clock_monotonic_ms() + ms;
	while (!m->here && cond_wait_until(&m->cond, &m->lock, until))
		;
	return m->here;
}

START_TEST(test_cond_wait_ends_with_its_time)
{
	struct meeting m;
	meeting_init(&m);
	pthread_mutex_lock(&m.lock);
	const int64_t before = clock_monotonic_ms();
	ck_assert(!await(&m, 1200)); /* over a second's edge, wherever it begins */
	ck_assert_int_ge(clock_monotonic_ms() - before, 1200);
	ck_assert(!await(&m, 0));
	ck_assert(!await(&m, -5));
	pthread_mutex_unlock(&m.lock);
}
END_TEST

START_TEST(test_cond_wait_ends_with_a_signal)
{
	struct meeting m;
	pthread_t other;
	meeting_init(&m);
	pthread_mutex_lock(&m.lock);
	ck_assert_int_eq(pthread_create(&other, NULL, arrive, &m), 0);
	ck_assert(await(&m, 60000));
	pthread_mutex_unlock(&m.lock);
	pthread_join(other, NULL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_cond_wait_ends_with_its_time,
		test_cond_wait_ends_with_a_signal,
	};
	return suite_run("cond", tests, COUNT_OF(tests));
}
