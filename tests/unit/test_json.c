#include "base/json.h"

#include "tests/support/suite.h"
#include "tests/support/vectors.h"

#include <string.h>

static void check_refused(const char *text, size_t len, const char *word)
{
	struct err err;
	json_auto_t *value = json_parse(text, len, "rollout", &err);
	ck_assert_msg(value == NULL, "took %s", text);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_msg(strstr(err.text, "rollout: ") == err.text && strstr(err.text, word), "%s",
		      err.text);
}

START_TEST(test_json_parse_takes_an_object)
{
	struct err err;
	static const char text[] = "{\"name\":\"\xc3\xa4\",\"list\":[1,2.5,null,true]} \n";
	json_auto_t *value = json_parse(text, sizeof(text) - 1, "it", &err);
	ck_assert_msg(value != NULL, "%s", err.text);
	ck_assert_str_eq(text_in(value, "name"), "\xc3\xa4");
	ck_assert_uint_eq(json_array_size(json_object_get(value, "list")), 4);
}
END_TEST

START_TEST(test_json_parse_refuses_what_is_not_plain_json)
{
	static const struct {
		const char *text, *word;
	} cases[] = {
		{"{\"a\":1,\"a\":2}", "duplicate"},
		{"{\"a\":1} x", "end of file expected"},
		{"{\"a\":1}{}", "end of file expected"},
		{"{\"a\":\"\\u0000\"}", "\\u0000"},
		{"{\"a\\u0000b\":1}", "NUL"},
		{"{\"a\":1", "line 1"},
		{"{\n\"a\":tru}", "line 2"},
		{"{\"a\":\"\xff\"}", "0xff"},
		{"{\"a\":9223372036854775808}", "too big"},
		{"{\"a\":01}", "line 1"},
		{"{'a':1}", "line 1"},
		{"", "empty"},
		{"7", "line 1"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_refused(cases[i].text, strlen(cases[i].text), cases[i].word);
	check_refused("{}\0", 3, "line 1");
	check_refused("{\"a\":\"\0\"}", 9, "line 1");
}
END_TEST

START_TEST(test_json_parse_bounds_nesting)
{
	AUTO_BUF struct buf text = BUF_INIT(100000);
	for (int i = 0; i < 3000; i++)
		buf_addc(&text, '[');
	for (int i = 0; i < 3000; i++)
		buf_addc(&text, ']');
	check_refused(text.data, text.len, "depth");
}
END_TEST

struct all {
	const char *text, *name;
	int64_t number;
	bool flag, number_there;
	struct digest digest;
	json_t *object, *array;
};

#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define WHOLE                                                                             \
	"'text':'words','name':'q4_k_m','number':12,'flag':true,'digest':'" HEX           \
	"','object':{},'array':[1]"

/* Read text into all; 0 or -1.  The JSON dies with *ret_json. */
static int read_all(struct all *all, const char *text, json_t **ret_json, struct err *err)
{
	const struct json_field fields[] = {
		FIELD_TEXT("text", &all->text, .min = 1, .max = 10),
		FIELD_NAME("name", &all->name, .max = 20),
		FIELD_INT("number", &all->number, .min = -5, .max = 100,
			  .ret_present = &all->number_there),
		FIELD_BOOL("flag", &all->flag),
		FIELD_DIGEST("digest", &all->digest),
		FIELD_OBJECT("object", &all->object),
		FIELD_ARRAY("array", &all->array, .min = 1, .max = 2),
	};
	*ret_json = json_of(text);
	return json_read(*ret_json, fields, COUNT_OF(fields), err);
}

START_TEST(test_json_read_fills_every_kind)
{
	struct all all = {0};
	struct err err;
	char hex[DIGEST_HEX];
	json_auto_t *json = NULL;
	ck_assert_msg(!read_all(&all, "{" WHOLE "}", &json, &err), "%s", err.text);
	ck_assert_str_eq(all.text, "words");
	ck_assert_str_eq(all.name, "q4_k_m");
	ck_assert_int_eq(all.number, 12);
	ck_assert(all.flag && all.number_there);
	digest_hex(&all.digest, hex);
	ck_assert_str_eq(hex, HEX);
	ck_assert(json_is_object(all.object));
	ck_assert_uint_eq(json_array_size(all.array), 1);
}
END_TEST

/* WHOLE with the one member replaced. */
static void with(char out[static 1000], const char *name, const char *value)
{
	json_auto_t *json = json_of("{" WHOLE "}");
	json_auto_t *part = json_of(value);
	ck_assert_int_eq(json_object_set(json, name, part), 0);
	char *text = json_text(json);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_lt(strlen(text), 1000);
	strcpy(out, text);
	free(text);
}

START_TEST(test_json_read_names_the_field_and_the_remedy)
{
	static const struct {
		const char *name, *value, *text;
	} cases[] = {
		{"text", "7", "text: must be text"},
		{"text", "''", "text: must have 1 to 10 bytes, has 0"},
		{"text", "'01234567890'", "text: must have 1 to 10 bytes, has 11"},
		{"text", "null", "text: missing"},
		{"name", "'Q4'", "name: must be a name: "},
		{"name", "'a23456789012345678901'", "name: must be a name: "},
		{"name", "5", "name: must be a name: "},
		{"number", "101", "number: 101 is outside -5..100"},
		{"number", "-6", "number: -6 is outside -5..100"},
		{"number", "1.0", "number: must be a whole number"},
		{"number", "'1'", "number: must be a whole number"},
		{"flag", "1", "flag: must be true or false"},
		{"digest", "'abc'", "digest: must be a SHA-256: 64 lower-case hex digits"},
		{"digest", "'sha512:" HEX "'", "digest: must be a SHA-256"},
		{"object", "[]", "object: must be an object"},
		{"array", "{}", "array: must be a list"},
		{"array", "[]", "array: must have 1 to 2 elements, has 0"},
		{"array", "[1,2,3]", "array: must have 1 to 2 elements, has 3"},
		{"nmae", "1", "nmae: unknown member; remove it or check its spelling"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct all all = {0};
		struct err err;
		char text[1000];
		json_auto_t *json = NULL;
		with(text, cases[i].name, cases[i].value);
		ck_assert_msg(read_all(&all, text, &json, &err) == -1, "took %s", text);
		ck_assert_int_eq(err.status, ERR_INVALID);
		ck_assert_msg(strstr(err.text, cases[i].text) == err.text, "%s", err.text);
	}
}
END_TEST

START_TEST(test_json_read_leaves_absent_optionals_alone)
{
	const char *text = "as it was";
	int64_t number = 41, other = 42;
	bool number_there = true, other_there = false;
	struct err err;
	const struct json_field fields[] = {
		FIELD_TEXT("text", &text, .optional = true),
		FIELD_INT("number", &number, .optional = true, .ret_present = &number_there),
		FIELD_INT("other", &other, .optional = true, .ret_present = &other_there),
	};
	json_auto_t *json = json_of("{'number':null,'other':3}");
	ck_assert_msg(!json_read(json, fields, COUNT_OF(fields), &err), "%s", err.text);
	ck_assert_str_eq(text, "as it was");
	ck_assert_int_eq(number, 41);
	ck_assert_int_eq(other, 3);
	ck_assert(!number_there && other_there);
}
END_TEST

START_TEST(test_json_read_defaults_bound_the_unbounded)
{
	const char *text = NULL;
	int64_t number = 0;
	struct err err;
	char longer[4098];
	const struct json_field fields[] = {
		FIELD_TEXT("text", &text, .optional = true),
		FIELD_INT("number", &number, .optional = true),
	};
	memset(longer, 'x', 4097);
	longer[4097] = 0;
	json_auto_t *a = json_pack("{s:s}", "text", longer);
	ck_assert_int_eq(json_read(a, fields, 2, &err), -1);
	json_auto_t *b = json_pack("{s:s}", "text", longer + 1);
	ck_assert_int_eq(json_read(b, fields, 2, &err), 0);
	json_auto_t *c = json_of("{'number':9007199254740993}");
	ck_assert_int_eq(json_read(c, fields, 2, &err), -1);
	json_auto_t *d = json_of("{'number':9007199254740992}");
	ck_assert_int_eq(json_read(d, fields, 2, &err), 0);
	json_auto_t *e = json_of("{'number':-1}");
	ck_assert_int_eq(json_read(e, fields, 2, &err), -1);
}
END_TEST

START_TEST(test_json_read_loose_ignores_unknown_members_only)
{
	int64_t number = 0;
	struct err err;
	const struct json_field fields[] = {FIELD_INT("number", &number)};
	json_auto_t *more = json_of("{'number':3,'new':{}}");
	ck_assert_int_eq(json_read_loose(more, fields, 1, &err), 0);
	ck_assert_int_eq(number, 3);
	ck_assert_int_eq(json_read(more, fields, 1, &err), -1);
	json_auto_t *less = json_of("{'new':{}}");
	ck_assert_int_eq(json_read_loose(less, fields, 1, &err), -1);
	json_auto_t *list = json_of("[]");
	ck_assert_int_eq(json_read_loose(list, fields, 1, &err), -1);
	ck_assert_str_eq(err.text, "must be an object");
	ck_assert_int_eq(json_read(NULL, fields, 1, &err), -1);
}
END_TEST

START_TEST(test_json_read_message_of_a_hostile_name_is_utf8)
{
	struct err err;
	AUTO_BUF struct buf name = BUF_INIT(1000);
	buf_adds(&name, "x"); /* so that 64 bytes end inside a character */
	for (int i = 0; i < 100; i++)
		buf_adds(&name, "\xc3\xa4");
	json_auto_t *json = json_object();
	ck_assert_int_eq(json_object_set_new(json, name.data, json_true()), 0);
	ck_assert_int_eq(json_read(json, NULL, 0, &err), -1);
	json_auto_t *text = json_string(err.text);
	ck_assert_msg(text != NULL, "not UTF-8: %s", err.text);
}
END_TEST

START_TEST(test_json_digest_may_carry_its_algorithm)
{
	struct digest digest;
	struct err err;
	const struct json_field fields[] = {FIELD_DIGEST("d", &digest)};
	json_auto_t *json = json_of("{'d':'sha256:" HEX "'}");
	ck_assert_int_eq(json_read(json, fields, 1, &err), 0);
	ck_assert_uint_eq(digest.bytes[0], 0xba);
}
END_TEST

START_TEST(test_json_name_ok)
{
	static const char *const good[] = {"a", "0", "q4_k_m", "android-8g", "2.1.0", "a-._"};
	static const char *const bad[] = {"", "A", "-a", ".a", "_a", "a b", "a/b", "\xc3\xa4"};
	char name[66];
	for (size_t i = 0; i < COUNT_OF(good); i++)
		ck_assert_msg(json_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(!json_name_ok(bad[i]), "%s", bad[i]);
	memset(name, 'a', sizeof(name));
	name[65] = 0;
	ck_assert(!json_name_ok(name));
	ck_assert(json_name_ok(name + 1));
}
END_TEST

START_TEST(test_json_text_is_compact_and_sorted)
{
	json_auto_t *json = json_of("{'b': [1, 2], 'a': {'d': null, 'c': 'x'}}");
	char *text = json_text(json);
	ck_assert_str_eq(text, "{\"a\":{\"c\":\"x\",\"d\":null},\"b\":[1,2]}");
	free(text);
	json_auto_t *scalar = json_string("x");
	text = json_text(scalar);
	ck_assert_str_eq(text, "\"x\"");
	free(text);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_json_parse_takes_an_object,
		test_json_parse_refuses_what_is_not_plain_json,
		test_json_parse_bounds_nesting,
		test_json_read_fills_every_kind,
		test_json_read_names_the_field_and_the_remedy,
		test_json_read_leaves_absent_optionals_alone,
		test_json_read_defaults_bound_the_unbounded,
		test_json_read_loose_ignores_unknown_members_only,
		test_json_read_message_of_a_hostile_name_is_utf8,
		test_json_digest_may_carry_its_algorithm,
		test_json_name_ok,
		test_json_text_is_compact_and_sorted,
	};
	return suite_run("json", tests, COUNT_OF(tests));
}
