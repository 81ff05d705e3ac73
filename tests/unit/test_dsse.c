/* Envelopes, against vectors that another implementation computed. */
#include "manifest/dsse.h"

#include "base/hex.h"
#include "tests/support/suite.h"
#include "tests/support/vectors.h"

#include <sodium.h>
#include <stdlib.h>

static void from_base64(struct buf *out, const char *text)
{
	size_t len;
	uint8_t *bytes = buf_grow(out, strlen(text) + 1);
	ck_assert_int_eq(sodium_base642bin(bytes, strlen(text) + 1, text, strlen(text), NULL, &len,
					   NULL, sodium_base64_VARIANT_ORIGINAL),
			 0);
	buf_grown(out, len);
}

START_TEST(test_dsse_signs_what_the_protocol_says)
{
	json_auto_t *vectors = vectors_load("dsse.json");
	const json_t *list = json_object_get(vectors, "pae");
	struct sign_key key;
	key_from_seed(&key, &(struct key_seed){{3}});
	ck_assert_uint_ge(json_array_size(list), 5);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		struct err err;
		char hex[1024];
		AUTO_BUF struct buf payload = BUF_INIT(4096);
		AUTO_BUF struct buf text = BUF_INIT(DSSE_MAX);
		AUTO_DSSE struct dsse dsse = {0};
		from_base64(&payload, text_in(v, "payload"));
		ck_assert(!dsse_sign(text_in(v, "type"), payload.data ? payload.data : "",
				     payload.len, &key, &text, &err));
		ck_assert_msg(!dsse_open(&dsse, text.data, text.len, &err), "%s", err.text);
		ck_assert_uint_eq(dsse.payload.len, payload.len);
		hex_encode(hex, (const uint8_t *)dsse.signed_bytes.data, dsse.signed_bytes.len);
		ck_assert_str_eq(hex, text_in(v, "encoded"));
		ck_assert(dsse_signed_by(&dsse, &key.public));
	}
}
END_TEST

START_TEST(test_dsse_accepts_and_refuses_as_the_vectors_do)
{
	json_auto_t *vectors = vectors_load("dsse.json");
	const json_t *list = json_object_get(vectors, "envelopes");
	ck_assert_uint_ge(json_array_size(list), 9);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		struct err err;
		struct public_key key;
		uint8_t bytes[KEY_PUBLIC_LEN];
		AUTO_DSSE struct dsse dsse = {0};
		char *text = json_dumps(json_object_get(v, "envelope"), JSON_COMPACT);
		ck_assert_int_eq(hex_decode(bytes, sizeof bytes, text_in(v, "public")), 0);
		key_public(&key, bytes);
		ck_assert_msg(!dsse_open(&dsse, text, strlen(text), &err), "%s: %s",
			      text_in(v, "name"), err.text);
		ck_assert_msg(dsse_signed_by(&dsse, &key) ==
				      json_is_true(json_object_get(v, "accept")),
			      "%s", text_in(v, "name"));
		free(text);
	}
}
END_TEST

static void refuses(const char *quoted, const char *what)
{
	struct err err = {0};
	AUTO_DSSE struct dsse dsse = {0};
	json_auto_t *value = json_of(quoted);
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	ck_assert_msg(dsse_open(&dsse, text, strlen(text), &err) < 0, "accepted: %s", quoted);
	ck_assert_msg(strstr(err.text, what) != NULL, "'%s' does not say '%s'", err.text, what);
	free(text);
}

START_TEST(test_dsse_names_the_member_that_is_wrong)
{
	refuses("{'payloadType':'t','signatures':[{'sig':'AA=='}]}", "payload");
	refuses("{'payload':'e30=','signatures':[{'sig':'AA=='}]}", "payloadType");
	refuses("{'payload':'e30=','payloadType':'','signatures':[{'sig':'AA=='}]}", "payloadType");
	refuses("{'payload':'e30=','payloadType':'t'}", "signatures");
	refuses("{'payload':'e30=','payloadType':'t','signatures':[]}", "signatures");
	refuses("{'payload':'e30=','payloadType':'t','signatures':[{}]}", "signatures[0]");
	refuses("{'payload':'e3','payloadType':'t','signatures':[{'sig':'AA=='}]}", "base64");
	refuses("{'payload':'e30=!','payloadType':'t','signatures':[{'sig':'AA=='}]}", "base64");
	refuses("[]", "");
}
END_TEST

START_TEST(test_dsse_keeps_its_limits)
{
	struct err err;
	char *large = malloc(DSSE_MAX + 2);
	AUTO_DSSE struct dsse dsse = {0};
	memset(large, ' ', DSSE_MAX + 1);
	ck_assert_int_eq(dsse_open(&dsse, large, DSSE_MAX + 1, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	free(large);
	refuses("{'payload':'e30=','payloadType':'t','signatures':[{'sig':'AA=='},{'sig':'AA=='},"
		"{'sig':'AA=='},{'sig':'AA=='},{'sig':'AA=='},{'sig':'AA=='},{'sig':'AA=='},"
		"{'sig':'AA=='},{'sig':'AA=='}]}",
		"signatures");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_dsse_signs_what_the_protocol_says,
		test_dsse_accepts_and_refuses_as_the_vectors_do,
		test_dsse_names_the_member_that_is_wrong,
		test_dsse_keeps_its_limits,
	};
	return suite_run("dsse", tests, COUNT_OF(tests));
}
