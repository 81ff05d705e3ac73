#include "base/hex.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

START_TEST(test_hex_encodes_every_byte)
{
	for (int i = 0; i < 256; i++) {
		char text[3], want[3];
		const uint8_t byte = (uint8_t)i;
		snprintf(want, sizeof(want), "%02x", i);
		hex_encode(text, &byte, 1);
		ck_assert_str_eq(text, want);
	}
}
END_TEST

START_TEST(test_hex_decodes_what_it_encodes)
{
	uint8_t bytes[256], again[256];
	char text[513];
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	hex_encode(text, bytes, sizeof(bytes));
	ck_assert_uint_eq(strlen(text), 512);
	ck_assert_int_eq(hex_decode(again, sizeof(again), text), 0);
	ck_assert_mem_eq(again, bytes, sizeof(bytes));
}
END_TEST

START_TEST(test_hex_takes_lower_case_digits_only)
{
	uint8_t byte;
	for (int c = 1; c < 256; c++) {
		const int ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
		const char high[] = {(char)c, '0', 0}, low[] = {'0', (char)c, 0};
		ck_assert_int_eq(hex_decode(&byte, 1, high), ok ? 0 : -1);
		ck_assert_int_eq(hex_decode(&byte, 1, low), ok ? 0 : -1);
	}
}
END_TEST

START_TEST(test_hex_stops_at_the_end_of_a_short_text)
{
	uint8_t bytes[4];
	char *exact = strdup("abc"); /* on the heap, so that sanitizers see a read too far */
	ck_assert_int_eq(hex_decode(bytes, 4, exact), -1);
	free(exact);
	ck_assert_int_eq(hex_decode(bytes, 1, "abz"), 0);
	ck_assert_int_eq(hex_decode(bytes, 0, ""), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_hex_encodes_every_byte,
		test_hex_decodes_what_it_encodes,
		test_hex_takes_lower_case_digits_only,
		test_hex_stops_at_the_end_of_a_short_text,
	};
	return suite_run("hex", tests, COUNT_OF(tests));
}
