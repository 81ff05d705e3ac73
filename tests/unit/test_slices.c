/* Which values have a slice of their own, whatever devices say. */
#include "telemetry/slices.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define T0 ((int64_t)1767225600)

static struct slices *slices;

static void begin(void)
{
	slices = slices_new();
	ck_assert_ptr_nonnull(slices);
}

static void end(void)
{
	slices_free(slices);
}

/* The value under which a report counts, valid until the next one. */
static const char *told(const char *class, unsigned os, const char *runtime, int64_t at,
			enum slice_what what)
{
	struct err err;
	uint32_t numbers[SLICE_WAYS];
	const struct report r = {.class = class, .os_major = os, .runtime = runtime, .at = at};
	ck_assert(!slices_of(slices, &r, numbers, &err));
	ck_assert_int_eq(slices_at(slices, numbers[what])->what, what);
	return slices_at(slices, numbers[what])->value;
}

static const char *os_of(unsigned os)
{
	return told("mid", os, "", T0, SLICE_OS);
}

static const char *runtime_of(const char *runtime)
{
	return told("mid", 15, runtime, T0, SLICE_RUNTIME);
}

START_TEST(test_slices_are_what_devices_say)
{
	begin();
	ck_assert_str_eq(os_of(15), "15");
	ck_assert_str_eq(os_of(0), SLICE_UNKNOWN);
	ck_assert_str_eq(runtime_of("llama.cpp/4000"), "llama.cpp/4000");
	ck_assert_str_eq(runtime_of(""), SLICE_UNKNOWN);
	end();
}
END_TEST

START_TEST(test_slices_take_no_odd_names)
{
	char longest[SLICE_ROOM], longer[SLICE_ROOM + 1];
	memset(longest, 'a', SLICE_ROOM - 1);
	longest[SLICE_ROOM - 1] = 0;
	memset(longer, 'a', SLICE_ROOM);
	longer[SLICE_ROOM] = 0;
	begin();
	ck_assert_str_eq(runtime_of(longest), longest);
	ck_assert_str_eq(runtime_of(longer), SLICE_OTHER);
	ck_assert_str_eq(runtime_of("a b"), SLICE_OTHER);
	ck_assert_str_eq(runtime_of("a\nb"), SLICE_OTHER);
	ck_assert_str_eq(runtime_of("\xc3\xa9"), SLICE_OTHER);
	end();
}
END_TEST

/* The eight that come most have places, whichever came first. */
START_TEST(test_slices_are_the_largest)
{
	begin();
	for (unsigned os = 1; os <= SLICES_MOST; os++)
		ck_assert_str_ne(os_of(os), SLICE_OTHER);
	ck_assert_str_eq(os_of(20), SLICE_OTHER); /* no more often than the others */
	for (unsigned i = 0; i < 100; i++)
		os_of(20);
	ck_assert_str_eq(os_of(20), "20");
	for (unsigned i = 0; i < 100; i++)
		for (unsigned os = 21; os < 20 + SLICES_MOST; os++)
			os_of(os);
	for (unsigned os = 20; os < 20 + SLICES_MOST; os++)
		ck_assert_str_ne(os_of(os), SLICE_OTHER);
	ck_assert_str_eq(os_of(1), SLICE_OTHER);
	/* A class by itself. */
	ck_assert_str_eq(told("budget", 1, "", T0, SLICE_OS), "1");
	end();
}
END_TEST

/* A flood of names of which each comes once moves nobody, and one new one is still found in it. */
START_TEST(test_slices_stand_a_flood)
{
	char name[32];
	begin();
	for (unsigned i = 0; i < 50; i++)
		runtime_of("llama.cpp/4000");
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "flood/%u", i);
		runtime_of(name);
		if (i % 4 == 0)
			runtime_of("mlc/1");
	}
	ck_assert_str_eq(runtime_of("llama.cpp/4000"), "llama.cpp/4000");
	ck_assert_str_eq(runtime_of("mlc/1"), "mlc/1");
	ck_assert_str_eq(runtime_of("flood/new"), SLICE_OTHER);
	end();
}
END_TEST

/* Names made to get places get no more of them than a day has; the next day has as many again. */
START_TEST(test_slices_of_a_day_are_few)
{
	char name[32];
	begin();
	for (unsigned day = 0; day < 3; day++) {
		unsigned made = 0;
		for (unsigned i = 0; i < 100; i++) {
			bool placed = false;
			snprintf(name, sizeof(name), "forged/%u-%u", day, i);
			for (unsigned k = 0; k < 1000 && !placed; k++)
				placed = strcmp(told("mid", 15, name, T0 + day * REPORT_DAY_S,
						     SLICE_RUNTIME), SLICE_OTHER) != 0;
			made += placed;
		}
		ck_assert_uint_gt(made, 0);
		ck_assert_uint_le(made, SLICES_A_DAY);
	}
	end();
}
END_TEST

/* What is used no more gives way: counts fade by half a day. */
START_TEST(test_slices_fade)
{
	begin();
	for (unsigned os = 1; os <= SLICES_MOST; os++)
		for (unsigned i = 0; i < 10000; i++)
			os_of(os);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_str_eq(told("mid", 20, "", T0, SLICE_OS), SLICE_OTHER);
	for (unsigned i = 0; i < 100; i++)
		told("mid", 20, "", T0 + 10 * REPORT_DAY_S, SLICE_OS);
	ck_assert_str_eq(told("mid", 20, "", T0 + 10 * REPORT_DAY_S, SLICE_OS), "20");
	end();
}
END_TEST

START_TEST(test_slices_are_numbered_anew)
{
	struct err err;
	uint32_t first[SLICE_WAYS], again[SLICE_WAYS];
	const struct report r = {.class = "mid", .os_major = 15, .runtime = "mlc/1", .at = T0};
	begin();
	os_of(14);
	ck_assert(!slices_of(slices, &r, first, &err) && !slices_of(slices, &r, again, &err));
	ck_assert_uint_eq(first[SLICE_OS], again[SLICE_OS]);
	slices_renumber(slices);
	ck_assert(!slices_of(slices, &r, again, &err));
	ck_assert_uint_eq(again[SLICE_OS], 0);
	ck_assert_str_eq(slices_at(slices, again[SLICE_RUNTIME])->value, "mlc/1");
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_slices_are_what_devices_say, test_slices_take_no_odd_names,
		test_slices_are_the_largest,	  test_slices_stand_a_flood,
		test_slices_of_a_day_are_few,	  test_slices_fade,
		test_slices_are_numbered_anew,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("slices", tests, COUNT_OF(tests));
}
