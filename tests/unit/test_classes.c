#include "manifest/classes.h"

#include "tests/support/vectors.h"

#include <stdlib.h>

static const char *class_of(const struct class_rules *rules, const json_t *attributes,
			    struct arena *arena)
{
	struct attrs attrs;
	struct err err;
	ck_assert_msg(attrs_parse(&attrs, attributes, arena, &err) == 0, "%s", err.text);
	return rules->rules[classes_match(rules, &attrs)].class;
}

static void check_cases(const json_t *vector)
{
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	const json_t *cases = json_object_get(vector, "cases");
	struct class_rules rules;
	struct err err;
	ck_assert_msg(classes_parse(&rules, json_object_get(vector, "rules"), arena, &err) == 0,
		      "%s: %s", text_in(vector, "name"), err.text);
	for (size_t i = 0; i < json_array_size(cases); i++) {
		const json_t *one = json_array_get(cases, i);
		const char *class = class_of(&rules, json_object_get(one, "attributes"), arena);
		ck_assert_msg(strcmp(class, text_in(one, "class")) == 0, "%s, case %zu: %s",
			      text_in(vector, "name"), i, class);
	}
}

START_TEST(test_classes_match_as_the_vectors)
{
	json_auto_t *vectors = vectors_load("classes.json");
	const json_t *list = json_object_get(vectors, "match");
	ck_assert_uint_ge(json_array_size(list), 15);
	for (size_t i = 0; i < json_array_size(list); i++)
		check_cases(json_array_get(list, i));
}
END_TEST

START_TEST(test_classes_lint_as_the_vectors)
{
	json_auto_t *vectors = vectors_load("classes.json");
	const json_t *list = json_object_get(vectors, "lint");
	ck_assert_uint_ge(json_array_size(list), 40);
	for (size_t i = 0; i < json_array_size(list); i++) {
		AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
		const json_t *v = json_array_get(list, i);
		const char *refused = text_in(v, "refused");
		struct class_rules rules;
		struct err err = {0};
		int result = classes_lint(&rules, json_object_get(v, "rules"), arena, &err);
		ck_assert_msg((result < 0) == (refused != NULL), "%s: %s", text_in(v, "name"),
			      err.text);
		if (refused) {
			ck_assert_int_eq(err.status, ERR_INVALID);
			ck_assert_msg(strstr(err.text, refused) != NULL, "%s: %s",
				      text_in(v, "name"), err.text);
		}
	}
}
END_TEST

/* The document of n rules for ram_mib = 0, 1, 2 ... and a last one. */
static json_t *rules_of(unsigned n)
{
	json_t *list = json_array();
	for (unsigned i = 0; i + 1 < n; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:[{s:[{s:s, s:s, s:i}]}]}", "class", "c",
						"any", "all", "attr", "ram_mib", "op", "eq",
						"value", (int)i));
	json_array_append_new(list, json_pack("{s:s}", "class", "other"));
	return json_pack("{s:i, s:i, s:o}", "schema", 1, "version", 7, "rules", list);
}

START_TEST(test_classes_limit_the_rules)
{
	struct class_rules rules;
	struct err err;
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	json_auto_t *most = rules_of(CLASS_RULES), *more = rules_of(CLASS_RULES + 1);
	ck_assert_msg(classes_lint(&rules, most, arena, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(rules.count, CLASS_RULES);
	ck_assert_int_eq(rules.version, 7);
	ck_assert_int_lt(classes_lint(&rules, more, arena, &err), 0);
	ck_assert_int_lt(classes_parse(&rules, more, arena, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "rules"));
}
END_TEST

START_TEST(test_classes_leave_the_output_alone_on_failure)
{
	struct class_rules rules = {.version = 42};
	struct err err;
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	json_auto_t *bad = json_of("{'schema':1,'rules':[{'class':'A'}]}");
	ck_assert_int_lt(classes_parse(&rules, bad, arena, &err), 0);
	ck_assert_int_eq(rules.version, 42);
}
END_TEST

START_TEST(test_classes_explain_every_rule_until_the_match)
{
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	struct class_rules rules;
	struct attrs attrs;
	struct err err;
	json_auto_t *document = json_of(
		"{'schema':1,'version':3,'rules':["
		"{'class':'big','any':[{'all':[{'attr':'os','op':'eq','value':'android'},"
		"{'attr':'ram_mib','op':'ge','value':7168}]},"
		"{'all':[{'attr':'npu','op':'has','value':'ane'}]}]},"
		"{'class':'new','needs':['cond/2'],'any':[{'all':[{'attr':'os','op':'eq',"
		"'value':'android'}]}]},"
		"{'class':'radio','any':[{'all':[{'attr':'radio','op':'eq','value':'5g'}]}]},"
		"{'class':'mid','any':[{'all':[{'attr':'os_version','op':'in',"
		"'value':[[13],[14]]}]}]},"
		"{'class':'other'}]}");
	json_auto_t *attributes =
		json_of("{'os':'android','ram_mib':4096,'os_version':[14],'cpu':['dotprod']}");
	json_auto_t *expected = json_of(
		"{'class':'mid','rule':3,'version':3,'rules':["
		"{'class':'big','matched':false,'reasons':['any[0]: ram_mib ge 7168: it is 4096',"
		"'any[1]: npu has ane: it is missing']},"
		"{'class':'new','matched':false,'reasons':['skipped: needs[0]: \\'cond/2\\' is not "
		"known here; \\'cond/1\\' is']},"
		"{'class':'radio','matched':false,'reasons':['any[0]: radio eq: this attribute is "
		"not known here']},"
		"{'class':'mid','matched':true,'reasons':[]}]}");
	ck_assert_int_eq(classes_parse(&rules, document, arena, &err), 0);
	ck_assert_int_eq(attrs_parse(&attrs, attributes, arena, &err), 0);
	json_auto_t *out = classes_explain(&rules, &attrs, &err);
	ck_assert_msg(json_equal(out, expected), "%s", json_dumps(out, 0));
}
END_TEST

START_TEST(test_classes_attributes_are_typed)
{
	static const struct {
		const char *json, *why;
	} bad[] = {
		{"[]", "object"},
		{"{'colour':'red'}", "colour"},
		{"{'os':1}", "os"},
		{"{'os':''}", "os"},
		{"{'ram_mib':'8'}", "ram_mib"},
		{"{'ram_mib':8.5}", "ram_mib"},
		{"{'gpu':[1]}", "gpu"},
		{"{'os_version':[]}", "os_version"},
		{"{'os_version':'14b'}", "os_version"},
		{"{'os_version':[1,2,3,4,5,6,7]}", "os_version"},
		{"{'os_version':[-1]}", "os_version"},
	};
	AUTO(arena_free) struct arena *arena = arena_new(65536);
	struct attrs attrs;
	struct err err;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_auto_t *object = json_of(bad[i].json);
		ck_assert_msg(attrs_parse(&attrs, object, arena, &err) < 0, "%s", bad[i].json);
		ck_assert_msg(strstr(err.text, bad[i].why) != NULL, "%s", err.text);
	}
	json_auto_t *good = json_of("{'gpu':'vulkan1_3','npu':[],'os_version':'14.0.1'}");
	ck_assert_int_eq(attrs_parse(&attrs, good, arena, &err), 0);
	ck_assert_uint_eq(attrs.value[ATTR_GPU].set_count, 1);
	ck_assert(attrs.value[ATTR_NPU].present && attrs.value[ATTR_NPU].set_count == 0);
	ck_assert(!attrs.value[ATTR_OS].present);
	ck_assert_uint_eq(attrs.value[ATTR_OS_VERSION].version.count, 3);
}
END_TEST

START_TEST(test_classes_stop_when_the_arena_is_full)
{
	struct class_rules rules;
	struct err err;
	json_auto_t *most = rules_of(CLASS_RULES);
	AUTO(arena_free) struct arena *arena = arena_new(4096);
	ck_assert_int_lt(classes_parse(&rules, most, arena, &err), 0);
	ck_assert_int_eq(err.status, ERR_SYSTEM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("classes");
	TCase *all = tcase_create("all");
	tcase_add_test(all, test_classes_match_as_the_vectors);
	tcase_add_test(all, test_classes_lint_as_the_vectors);
	tcase_add_test(all, test_classes_limit_the_rules);
	tcase_add_test(all, test_classes_leave_the_output_alone_on_failure);
	tcase_add_test(all, test_classes_explain_every_rule_until_the_match);
	tcase_add_test(all, test_classes_attributes_are_typed);
	tcase_add_test(all, test_classes_stop_when_the_arena_is_full);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
