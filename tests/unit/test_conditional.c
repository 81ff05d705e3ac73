#include "server/conditional.h"

#include <check.h>
#include <stdlib.h>

#define ETAG "\"abc\""

START_TEST(test_conditional_lists_of_tags)
{
	ck_assert(!etag_listed(NULL, ETAG));
	ck_assert(etag_listed("\"abc\"", ETAG));
	ck_assert(etag_listed("*", ETAG));
	ck_assert(etag_listed("W/\"abc\"", ETAG));
	ck_assert(etag_listed("\"x\", \"abc\"", ETAG));
	ck_assert(etag_listed("\"x\",W/\"y\" , \"abc\", \"z\"", ETAG));
	ck_assert(etag_listed("\"a,b\", \"abc\"", ETAG));
	ck_assert(!etag_listed("", ETAG));
	ck_assert(!etag_listed("abc", ETAG));
	ck_assert(!etag_listed("\"abc", ETAG));
	ck_assert(!etag_listed("\"abcd\", \"ab\"", ETAG));
	ck_assert(!etag_listed("\"x\" \"", ETAG));
}
END_TEST

static enum range_answer parse(const char *range, int64_t length, int64_t at, int64_t len)
{
	struct span span = {.at = -1, .len = -1};
	enum range_answer answer = range_parse(range, NULL, ETAG, length, &span);

	ck_assert_int_eq(span.at, at);
	ck_assert_int_eq(span.len, len);
	return answer;
}

START_TEST(test_conditional_single_ranges)
{
	ck_assert_int_eq(parse("bytes=0-0", 10, 0, 1), RANGE_PART);
	ck_assert_int_eq(parse("bytes=2-5", 10, 2, 4), RANGE_PART);
	ck_assert_int_eq(parse("Bytes=9-", 10, 9, 1), RANGE_PART);
	ck_assert_int_eq(parse("bytes=5-100", 10, 5, 5), RANGE_PART);
	ck_assert_int_eq(parse("bytes=-3", 10, 7, 3), RANGE_PART);
	ck_assert_int_eq(parse("bytes=-30", 10, 0, 10), RANGE_PART);
}
END_TEST

START_TEST(test_conditional_impossible_ranges)
{
	ck_assert_int_eq(parse("bytes=10-", 10, -1, -1), RANGE_IMPOSSIBLE);
	ck_assert_int_eq(parse("bytes=10-11", 10, -1, -1), RANGE_IMPOSSIBLE);
	ck_assert_int_eq(parse("bytes=-0", 10, -1, -1), RANGE_IMPOSSIBLE);
	ck_assert_int_eq(parse("bytes=999999999999999999-", 10, -1, -1), RANGE_IMPOSSIBLE);
}
END_TEST

START_TEST(test_conditional_other_ranges_give_the_whole)
{
	static const char *const other[] = {"bytes=5-2",  "bytes=-",	"bytes=",
					    "bytes=a-b",  "bytes=1-2,4-5", "lines=1-2",
					    "bytes=1",	  "bytes=1-2 ", "bytes=9999999999999999999-",
					    "bytes =1-2", "bytes=--1"};

	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		ck_assert_int_eq(parse(other[i], 10, -1, -1), RANGE_WHOLE);
	ck_assert_int_eq(parse(NULL, 10, -1, -1), RANGE_WHOLE);
	ck_assert_int_eq(parse("bytes=0-", 0, -1, -1), RANGE_WHOLE);
}
END_TEST

START_TEST(test_conditional_if_range)
{
	struct span span;

	ck_assert_int_eq(range_parse("bytes=1-", ETAG, ETAG, 9, &span), RANGE_PART);
	ck_assert_int_eq(range_parse("bytes=1-", "\"old\"", ETAG, 9, &span), RANGE_WHOLE);
	ck_assert_int_eq(range_parse("bytes=1-", "W/" ETAG, ETAG, 9, &span), RANGE_WHOLE);
	ck_assert_int_eq(range_parse("bytes=1-", "Tue, 01 Jan 2030 00:00:00 GMT", ETAG, 9, &span),
			 RANGE_WHOLE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conditional");
	TCase *tcase = tcase_create("conditional");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, test_conditional_lists_of_tags);
	tcase_add_test(tcase, test_conditional_single_ranges);
	tcase_add_test(tcase, test_conditional_impossible_ranges);
	tcase_add_test(tcase, test_conditional_other_ranges_give_the_whole);
	tcase_add_test(tcase, test_conditional_if_range);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
