#include "base/utf8.h"
#include "tests/support/suite.h"

#include <stdint.h>
#include <string.h>

/* RFC 3629 written down the slow way: encode, compare. */
static size_t encode(char out[4], uint32_t code)
{
	if (code < 0x80)
		return out[0] = (char)code, 1;
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 63));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 63));
		out[2] = (char)(0x80 | (code & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 63));
	out[2] = (char)(0x80 | (code >> 6 & 63));
	out[3] = (char)(0x80 | (code & 63));
	return 4;
}

START_TEST(test_utf8_takes_every_character_and_no_surrogate)
{
	for (uint32_t code = 0; code < 0x140000; code++) {
		char text[4];
		const size_t len = encode(text, code);
		const int ok = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
		ck_assert_uint_eq(utf8_step(text, len), ok ? len : 0);
	}
}
END_TEST

START_TEST(test_utf8_refuses_what_is_cut_short)
{
	static const char *const texts[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x9a\xa2"};
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		for (size_t len = 0; len < strlen(texts[i]); len++)
			ck_assert_uint_eq(utf8_step(texts[i], len), 0);
		ck_assert_uint_eq(utf8_step(texts[i], 50), strlen(texts[i]));
	}
}
END_TEST

START_TEST(test_utf8_refuses_overlong_and_stray_bytes)
{
	static const char *const texts[] = {
		"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80",
		"\x80", "\xbf", "\xff", "\xc3(", "\xe2\x82(", "\xe2(\xac", "\xf0\x9f\x9a(",
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		ck_assert_uint_eq(utf8_step(texts[i], strlen(texts[i])), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_utf8_takes_every_character_and_no_surrogate,
		test_utf8_refuses_what_is_cut_short,
		test_utf8_refuses_overlong_and_stray_bytes,
	};
	return suite_run("utf8", tests, COUNT_OF(tests));
}
