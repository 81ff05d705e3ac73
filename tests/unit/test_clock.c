#include "base/clock.h"
#include "tests/support/suite.h"

#include <string.h>

static void check_within(int64_t low, int64_t value, int64_t high)
{
	ck_assert_int_le(low, value);
	ck_assert_int_le(value, high);
}

START_TEST(test_clock_real_is_the_wall)
{
	struct clock clock;
	clock_real(&clock);
	const int64_t before = clock_wall_ms(), own = clock_ms(&clock), after = clock_wall_ms();
	check_within(before, own, after);
	check_within(before / 1000, clock_s(&clock), clock_wall_ms() / 1000);
}
END_TEST

START_TEST(test_clock_fast_runs_from_its_origin)
{
	struct clock clock;
	const int64_t before = clock_wall_ms();
	clock_fast(&clock, 5000000, 1000);
	clock_sleep_ms(20);
	const int64_t own = clock_ms(&clock);
	const int64_t real = clock_wall_ms() - before;
	check_within(5000000 + 19 * 1000, own, 5000000 + real * 1000);
}
END_TEST

START_TEST(test_clock_fast_continues_from_a_stored_origin)
{
	const int64_t wall = clock_wall_ms();
	const struct clock stored = {.real_ms = wall - 10000, .own_ms = 77, .speed = 60};
	check_within(77 + 600000, clock_ms(&stored), 77 + 600000 + 60000);
}
END_TEST

START_TEST(test_clock_wait_is_long_enough_and_at_least_one)
{
	const struct clock real = {.speed = 1}, fast = {.speed = 1000};
	ck_assert_int_eq(clock_wait_ms(&real, 250), 250);
	ck_assert_int_eq(clock_wait_ms(&real, 0), 1);
	ck_assert_int_eq(clock_wait_ms(&real, -5), 1);
	ck_assert_int_eq(clock_wait_ms(&fast, 1), 1);
	ck_assert_int_eq(clock_wait_ms(&fast, 1000), 1);
	ck_assert_int_eq(clock_wait_ms(&fast, 1001), 2);
	ck_assert_int_eq(clock_wait_ms(&fast, INT64_MAX), INT64_MAX / 1000 + 1);
}
END_TEST

START_TEST(test_clock_sleeps_and_monotonic_time_moves)
{
	const int64_t before = clock_monotonic_ms();
	clock_sleep_ms(15);
	ck_assert_int_ge(clock_monotonic_ms() - before, 14);
	clock_sleep_ms(0);
	clock_sleep_ms(-1);
	clock_sleep_ms(INT64_MIN);
}
END_TEST

static const struct {
	int64_t s;
	const char *text;
} times[] = {
	{0, "1970-01-01T00:00:00Z"},
	{-1, "1969-12-31T23:59:59Z"},
	{951782400, "2000-02-29T00:00:00Z"},
	{1767225600, "2026-01-01T00:00:00Z"},
	{4102444799, "2099-12-31T23:59:59Z"},
	{253402300799, "9999-12-31T23:59:59Z"},
};

START_TEST(test_clock_text_and_back)
{
	for (size_t i = 0; i < COUNT_OF(times); i++) {
		char text[CLOCK_TEXT];
		int64_t s = 5;
		clock_text(times[i].s, text);
		ck_assert_str_eq(text, times[i].text);
		ck_assert_int_eq(clock_parse(&s, times[i].text), 0);
		ck_assert_int_eq(s, times[i].s);
	}
}
END_TEST

START_TEST(test_clock_text_of_times_without_a_text_is_the_nearest)
{
	char text[CLOCK_TEXT];
	clock_text(INT64_MAX, text);
	ck_assert_str_eq(text, "9999-12-31T23:59:59Z");
	clock_text(INT64_MIN, text);
	ck_assert_str_eq(text, "1000-01-01T00:00:00Z");
}
END_TEST

START_TEST(test_clock_parse_refuses_every_other_form)
{
	static const char *const texts[] = {
		"", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00z",
		"2026-01-01 00:00:00Z", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z",
		"2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.0Z", "2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
		"+026-01-01T00:00:00Z", "2026-01-01T 0:00:00Z", "0000-01-01T00:00:00Z",
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		int64_t s = 42;
		ck_assert_msg(clock_parse(&s, texts[i]) == -1, "took %s", texts[i]);
		ck_assert_int_eq(s, 42);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_clock_real_is_the_wall,
		test_clock_fast_runs_from_its_origin,
		test_clock_fast_continues_from_a_stored_origin,
		test_clock_wait_is_long_enough_and_at_least_one,
		test_clock_sleeps_and_monotonic_time_moves,
		test_clock_text_and_back,
		test_clock_text_of_times_without_a_text_is_the_nearest,
		test_clock_parse_refuses_every_other_form,
	};
	return suite_run("clock", tests, COUNT_OF(tests));
}
