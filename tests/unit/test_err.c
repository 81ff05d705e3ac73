#include "base/err.h"
#include "tests/support/suite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

START_TEST(test_err_set_fills_status_and_text)
{
	struct err err;
	ck_assert_int_eq(err_set(&err, ERR_CONFLICT, "lane %s: %d", "a", 7), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert_str_eq(err.text, "lane a: 7");
}
END_TEST

START_TEST(test_err_set_cuts_long_text)
{
	struct err err;
	char text[1000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	err_set(&err, ERR_INVALID, "%s", text);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(test_err_set_keeps_only_printable_utf8)
{
	struct err err;
	err_set(&err, ERR_INVALID, "%s", "a\nb\x1b" "c\x7f \xc3\xa4 \xff \xc3");
	ck_assert_str_eq(err.text, "a?b?c? \xc3\xa4 ? ?");
}
END_TEST

START_TEST(test_err_set_cut_inside_a_character_stays_utf8)
{
	struct err err;
	char text[600];
	memset(text, 'x', sizeof(text));
	memcpy(text + sizeof(err.text) - 3, "\xe2\x82\xac\xe2\x82\xac", 7);
	err_set(&err, ERR_INVALID, "%s", text);
	ck_assert_str_eq(err.text + sizeof(err.text) - 4, "x??");
}
END_TEST

START_TEST(test_err_sys_adds_errno_and_chooses_status)
{
	static const struct {
		int code;
		enum status status;
	} cases[] = {{ENOENT, ERR_NOT_FOUND}, {ENOSPC, ERR_FULL}, {EDQUOT, ERR_FULL},
		     {EIO, ERR_SYSTEM}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err;
		char want[200];
		snprintf(want, sizeof(want), "cannot open x: %s", strerror(cases[i].code));
		errno = cases[i].code;
		ck_assert_int_eq(err_sys(&err, "cannot open %s", "x"), -1);
		ck_assert_int_eq(err.status, cases[i].status);
		ck_assert_str_eq(err.text, want);
	}
}
END_TEST

START_TEST(test_err_sys_survives_a_full_text)
{
	struct err err;
	errno = EIO;
	err_sys(&err, "%0500d", 1);
	ck_assert_int_eq(err.status, ERR_SYSTEM);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(test_err_in_prepends_and_keeps_status)
{
	struct err err;
	err_set(&err, ERR_STALE, "outside 0..100");
	ck_assert_int_eq(err_in(&err, "percent"), -1);
	ck_assert_int_eq(err_in(&err, "stage %d", 2), -1);
	ck_assert_int_eq(err.status, ERR_STALE);
	ck_assert_str_eq(err.text, "stage 2: percent: outside 0..100");
}
END_TEST

START_TEST(test_err_in_cuts_the_tail)
{
	struct err err;
	err_set(&err, ERR_INVALID, "%0390d", 0);
	err_in(&err, "a context of some length");
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
	ck_assert_ptr_eq(strstr(err.text, "a context of some length: 000"), err.text);
	err_in(&err, "%0500d", 7);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(test_err_in_may_quote_its_own_text)
{
	struct err err;
	err_set(&err, ERR_INVALID, "x");
	err_in(&err, "%s", err.text);
	ck_assert_str_eq(err.text, "x: x");
}
END_TEST

START_TEST(test_err_names_are_distinct)
{
	for (int a = 0; a < ERR_STATUSES; a++) {
		ck_assert_ptr_nonnull(err_name((enum status)a));
		for (int b = 0; b < a; b++)
			ck_assert_str_ne(err_name((enum status)a), err_name((enum status)b));
	}
	ck_assert_str_eq(err_name(ERR_NOT_FOUND), "not-found");
	ck_assert_str_eq(err_name(ERR_STATUSES), "system");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_err_set_fills_status_and_text,
		test_err_set_cuts_long_text,
		test_err_set_keeps_only_printable_utf8,
		test_err_set_cut_inside_a_character_stays_utf8,
		test_err_sys_adds_errno_and_chooses_status,
		test_err_sys_survives_a_full_text,
		test_err_in_prepends_and_keeps_status,
		test_err_in_cuts_the_tail,
		test_err_in_may_quote_its_own_text,
		test_err_names_are_distinct,
	};
	return suite_run("err", tests, COUNT_OF(tests));
}
