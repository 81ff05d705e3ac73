/* When a lane is blind: windows in which use predicts reports bring none. */
#include "rollout/silence.h"
#include "tests/support/suite.h"

#define HOUR 3600
#define T0 (1000 * HOUR)
#define WINDOWS 24

static struct silence fresh(void)
{
	struct silence s;
	silence_init(&s, T0, HOUR, WINDOWS, 0.5);
	return s;
}

static void happens(struct silence *s, int64_t hour, int64_t entered, int64_t loaded)
{
	struct err err;
	ck_assert_msg(!silence_devices(s, T0 + hour * HOUR, entered, loaded, &err), "%s", err.text);
}

START_TEST(test_silence_is_windows_without_what_use_predicts)
{
	struct silence s = fresh();
	happens(&s, 0, 100, 100);
	silence_closed(&s, T0 + HOUR, NULL); /* the window in which they entered is nobody's */
	ck_assert_uint_eq(s.silent, 0);
	silence_closed(&s, T0 + 2 * HOUR, NULL);
	ck_assert_uint_eq(s.silent, 1);
	silence_closed(&s, T0 + 3 * HOUR, NULL);
	ck_assert_uint_eq(s.silent, 2);
	silence_reported(&s, T0 + 3 * HOUR);
	ck_assert_uint_eq(s.silent, 0);
	silence_done(&s);
}
END_TEST

START_TEST(test_silence_of_few_or_of_who_has_not_loaded_means_nothing)
{
	struct silence s = fresh();
	happens(&s, 0, 39, 39);
	happens(&s, 1, 1000, 0);
	silence_closed(&s, T0 + 10 * HOUR, NULL);
	ck_assert_uint_eq(s.silent, 0);
	silence_done(&s);
}
END_TEST

/* Windows count from entering: who loads late has fewer left, and nobody is expected to report after. */
START_TEST(test_silence_after_the_last_windows_is_quiet)
{
	struct silence s = fresh();
	happens(&s, 0, 100, 20);
	happens(&s, 12, 0, 80);
	for (int64_t hour = 1; hour <= WINDOWS; hour++)
		silence_reported(&s, T0 + hour * HOUR);
	silence_closed(&s, T0 + (WINDOWS + 20) * HOUR, NULL);
	ck_assert_uint_eq(s.silent, 0);
	silence_done(&s);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_silence_is_windows_without_what_use_predicts,
		test_silence_of_few_or_of_who_has_not_loaded_means_nothing,
		test_silence_after_the_last_windows_is_quiet,
	};
	return suite_run("silence", tests, COUNT_OF(tests));
}
