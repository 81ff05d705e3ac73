#include "manifest/canon.h"

#include "tests/support/vectors.h"

#include <stdlib.h>

static int canon_of(const char *text, struct buf *out, struct err *err)
{
	json_auto_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
	ck_assert_msg(value != NULL, "%s", text);
	return canon_write(value, out, err);
}

START_TEST(test_canon_accepts_the_vectors)
{
	json_auto_t *vectors = vectors_load("canon.json");
	const json_t *accept = json_object_get(vectors, "accept");
	ck_assert_uint_gt(json_array_size(accept), 10);
	for (size_t i = 0; i < json_array_size(accept); i++) {
		const json_t *v = json_array_get(accept, i);
		struct err err = {0};
		struct digest digest;
		char hex[DIGEST_HEX];
		AUTO_BUF struct buf out = BUF_INIT(65536);
		json_auto_t *value = json_loads(text_in(v, "json"), JSON_DECODE_ANY, NULL);
		ck_assert_msg(canon_write(value, &out, &err) == 0, "%s: %s", text_in(v, "json"),
			      err.text);
		ck_assert_str_eq(out.data, text_in(v, "canon"));
		ck_assert_int_eq(canon_digest(value, &digest, &err), 0);
		digest_hex(&digest, hex);
		ck_assert_str_eq(hex, text_in(v, "sha256"));
	}
}
END_TEST

START_TEST(test_canon_refuses_the_vectors)
{
	json_auto_t *vectors = vectors_load("canon.json");
	const json_t *refuse = json_object_get(vectors, "refuse");
	ck_assert_uint_gt(json_array_size(refuse), 8);
	for (size_t i = 0; i < json_array_size(refuse); i++) {
		const json_t *v = json_array_get(refuse, i);
		struct err err = {0};
		AUTO_BUF struct buf out = BUF_INIT(65536);
		ck_assert_msg(canon_of(text_in(v, "json"), &out, &err) < 0, "%s",
			      text_in(v, "json"));
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, text_in(v, "why")) != NULL, "%s: %s",
			      text_in(v, "json"), err.text);
	}
}
END_TEST

/* Whether a text of these bytes, made without jansson's own check, is written. */
static bool writes_bytes(const char *bytes)
{
	struct err err;
	AUTO_BUF struct buf out = BUF_INIT(1024);
	json_auto_t *value = json_string_nocheck(bytes);
	return canon_write(value, &out, &err) == 0;
}

START_TEST(test_canon_refuses_what_is_not_utf8)
{
	static const char *const bad[] = {
		"\x80", "a\xff", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80",
		"\xe2\x82", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80", "\xf0\x9d\x84",
	};
	static const char *const good[] = {
		"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
		"\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(!writes_bytes(bad[i]), "bad %zu", i);
	for (size_t i = 0; i < COUNT_OF(good); i++)
		ck_assert_msg(writes_bytes(good[i]), "good %zu", i);
}
END_TEST

START_TEST(test_canon_sorts_many_members)
{
	struct err err;
	AUTO_BUF struct buf out = BUF_INIT(65536);
	AUTO_BUF struct buf again = BUF_INIT(65536);
	json_auto_t *object = json_object();
	for (int i = 999; i >= 0; i--) {
		char name[16];
		snprintf(name, sizeof name, "m%03d", (i * 37) % 1000);
		json_object_set_new(object, name, json_integer(i));
	}
	ck_assert_int_eq(canon_write(object, &out, &err), 0);
	const char *at = out.data;
	for (int i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof name, "\"m%03d\"", i);
		at = strstr(at, name);
		ck_assert_ptr_nonnull(at);
	}
	ck_assert_int_eq(canon_of(out.data, &again, &err), 0);
	ck_assert_str_eq(out.data, again.data);
}
END_TEST

START_TEST(test_canon_respects_the_limit_of_its_buffer)
{
	struct err err;
	AUTO_BUF struct buf out = BUF_INIT(8);
	ck_assert_int_lt(canon_of("{\"name\":\"value\"}", &out, &err), 0);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_canon_finds_members)
{
	static const char text[] = "{\"_\":\"a}\\\"\",\"b\":{\"c\":[1,{\"d\":2}]},\"c\":7}";
	static const char *const broken[] = {"",	 "{",	       "{}",	       "[]",	      "{\"c\"",
					     "{\"c\":", "{\"c\":7", "{\"a\":\"", "{\"a\":1;\"c\":7}"};
	struct canon_span got;
	ck_assert(canon_member(text, sizeof(text) - 1, "b", &got));
	ck_assert_mem_eq(got.text, "{\"c\":[1,{\"d\":2}]}", got.len);
	ck_assert(canon_member(text, sizeof(text) - 1, "c", &got)); /* not the one inside b */
	ck_assert_uint_eq(got.len, 1);
	ck_assert_int_eq(*got.text, '7');
	ck_assert(canon_member(text, sizeof(text) - 1, "_", &got));
	ck_assert_uint_eq(got.len, strlen("\"a}\\\"\""));
	ck_assert(!canon_member(text, sizeof(text) - 1, "d", &got));
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		ck_assert_msg(!canon_member(broken[i], strlen(broken[i]), "c", &got), "%s", broken[i]);
	/* However much of it there is, nothing beyond is read. */
	for (size_t len = 0; len + 3 < sizeof(text); len++) {
		char *part = malloc(len ? len : 1);
		memcpy(part, text, len);
		ck_assert(!canon_member(part, len, "c", &got));
		free(part);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("canon");
	TCase *all = tcase_create("all");
	tcase_add_test(all, test_canon_accepts_the_vectors);
	tcase_add_test(all, test_canon_refuses_the_vectors);
	tcase_add_test(all, test_canon_refuses_what_is_not_utf8);
	tcase_add_test(all, test_canon_sorts_many_members);
	tcase_add_test(all, test_canon_finds_members);
	tcase_add_test(all, test_canon_respects_the_limit_of_its_buffer);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
