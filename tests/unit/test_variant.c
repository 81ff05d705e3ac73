#include "manifest/variant.h"

#include "base/json.h"
#include "tests/support/vectors.h"

#include <stdlib.h>

static struct arena *arena;

static void set_up(void)
{
	arena = arena_new(1024 * 1024);
}

static void tear_down(void)
{
	arena_free(arena);
}

START_TEST(test_variant_references_have_three_parts)
{
	struct variant_ref ref, made;
	struct err err;
	ck_assert_int_eq(variant_parse(&ref, "assistant@2.1.0/q4_k_m", arena, &err), 0);
	ck_assert_str_eq(ref.text, "assistant@2.1.0/q4_k_m");
	ck_assert_str_eq(ref.model, "assistant");
	ck_assert_str_eq(ref.release, "2.1.0");
	ck_assert_str_eq(ref.tier, "q4_k_m");
	ck_assert_int_eq(variant_make(&made, "assistant", "2.1.0", "q4_k_m", arena, &err), 0);
	ck_assert(variant_eq(&ref, &made));
	ck_assert_int_eq(variant_make(&made, "assistant", "2.1.0", "q8_0", arena, &err), 0);
	ck_assert(!variant_eq(&ref, &made));
}
END_TEST

START_TEST(test_variant_references_of_another_form_are_refused)
{
	static const char *const bad[] = {
		"", "a", "a@1", "a/1", "a/1@t", "@1/t", "a@/t", "a@1/", "A@1/t", "a@1/t/u",
		"a@1@2/t", "a b@1/t", "../a@1/t", "a@1/.t",
	};
	struct variant_ref ref;
	struct err err;
	char longer[300];
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(variant_parse(&ref, bad[i], arena, &err) < 0, "%s", bad[i]);
	memset(longer, 'a', sizeof longer);
	longer[sizeof longer - 1] = 0;
	longer[60] = '@';
	longer[120] = '/';
	ck_assert_int_lt(variant_parse(&ref, longer, arena, &err), 0);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

START_TEST(test_variant_versions_compare_by_parts)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
		{"11", "11.0", 0},   {"11", "11.0.0.0.0.0", 0}, {"1.9", "1.10", -1},
		{"2", "1.99.99", 1}, {"0", "0.0.1", -1},	{"2147483647", "0", 1},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct version a, b;
		ck_assert_int_eq(version_parse(&a, cases[i].a), 0);
		ck_assert_int_eq(version_parse(&b, cases[i].b), 0);
		ck_assert_int_eq(version_cmp(&a, &b), cases[i].order);
		ck_assert_int_eq(version_cmp(&b, &a), -cases[i].order);
	}
}
END_TEST

START_TEST(test_variant_versions_have_one_form)
{
	static const char *const bad[] = {"", ".", "1.", ".1", "1..2", "b4000", "1.2-rc", " 1",
					  "2147483648", "99999999999999999999", "1.2.3.4.5.6.7",
					  "-1"};
	struct version version = {.count = 1, .part = {42}};
	char text[VERSION_TEXT];
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(version_parse(&version, bad[i]) < 0, "%s", bad[i]);
	version_text(&version, text);
	ck_assert_str_eq(text, "42");
	ck_assert_int_eq(version_parse(&version, "2147483647.2147483647.2147483647.2147483647."
						 "2147483647.2147483647"), 0);
	version_text(&version, text);
	ck_assert_uint_eq(strlen(text), 65);
	json_auto_t *array = version_json(&version);
	struct version again;
	struct err err;
	ck_assert_int_eq(version_read(&again, array, &err), 0);
	ck_assert_int_eq(version_cmp(&version, &again), 0);
}
END_TEST

/* A phone: what it is, and what it finds. */
static void phone(struct attrs *attrs, struct facts *facts, struct runtime *runtime)
{
	struct err err;
	json_auto_t *object = json_of("{'os_version':[14,1],'ram_mib':8192}");
	ck_assert_int_eq(attrs_parse(attrs, object, arena, &err), 0);
	runtime->name = "llama.cpp";
	ck_assert_int_eq(version_parse(&runtime->version, "4000"), 0);
	*facts = (struct facts){.runtimes = runtime, .runtime_count = 1, .disk_free_mib = 5000,
				.ram_mib = 3000};
}

static const struct {
	const char *requires, *why; /* NULL: met */
} met[] = {
	{"{}", NULL},
	{"{'runtime':{'llama.cpp':'4000'},'os_version':{'ge':'14','le':'14.9'},"
	 "'disk_free_mib':5000,'ram_mib':3000}", NULL},
	{"{'runtime':{'llama.cpp':[3999]},'os_version':{'ge':[14,1],'le':[14,1,0]}}", NULL},
	{"{'runtime':{'llama.cpp':'4001'}}", "llama.cpp of at least 4001, but it is 4000"},
	{"{'runtime':{'llama.cpp':'1','mlc':'1'}}", "mlc of at least 1, but it is unknown"},
	{"{'os_version':{'ge':'15'}}", "os_version of at least 15, but it is 14.1"},
	{"{'os_version':{'le':'14.0.9'}}", "os_version of at most 14.0.9, but it is 14.1"},
	{"{'disk_free_mib':5001}", "5001 MiB of free disk, but there are 5000"},
	{"{'ram_mib':3001}", "3001 MiB of memory, but there are 3000"},
	{"{'npu_lib':'2'}", "npu_lib"},
	{"{'os_version':{'eq':'14.1'}}", "os_version.eq"},
};

START_TEST(test_variant_requirements_are_met_or_say_why_not)
{
	struct attrs attrs;
	struct facts facts;
	struct runtime runtime;
	struct requires requires;
	struct err err, why = {0};
	phone(&attrs, &facts, &runtime);
	json_auto_t *object = json_of(met[_i].requires);
	ck_assert_msg(requires_parse(&requires, object, arena, &err) == 0, "%s", err.text);
	bool result = requires_met(&requires, &attrs, &facts, &why);
	ck_assert_msg(result == (met[_i].why == NULL), "%s: %s", met[_i].requires, why.text);
	if (met[_i].why)
		ck_assert_msg(strstr(why.text, met[_i].why) != NULL, "%s", why.text);
}
END_TEST

START_TEST(test_variant_what_is_not_known_meets_nothing)
{
	struct attrs attrs = {0};
	struct facts facts = {.disk_free_mib = -1, .ram_mib = -1};
	static const char *const needs[] = {
		"{'os_version':{'ge':'1'}}", "{'os_version':{'le':'99'}}", "{'disk_free_mib':1}",
		"{'ram_mib':1}", "{'runtime':{'llama.cpp':'0'}}",
	};
	for (size_t i = 0; i < COUNT_OF(needs); i++) {
		struct requires requires;
		struct err err, why;
		json_auto_t *object = json_of(needs[i]);
		ck_assert_int_eq(requires_parse(&requires, object, arena, &err), 0);
		ck_assert_msg(!requires_met(&requires, &attrs, &facts, &why), "%s", needs[i]);
	}
	/* Without a better figure the device's memory counts. */
	struct requires requires;
	struct err err;
	json_auto_t *attributes = json_of("{'ram_mib':4096}");
	json_auto_t *object = json_of("{'ram_mib':4096}");
	ck_assert_int_eq(attrs_parse(&attrs, attributes, arena, &err), 0);
	ck_assert_int_eq(requires_parse(&requires, object, arena, &err), 0);
	ck_assert(requires_met(&requires, &attrs, &facts, &err));
}
END_TEST

START_TEST(test_variant_requirements_are_typed)
{
	static const struct {
		const char *json, *why;
	} bad[] = {
		{"{'runtime':[]}", "runtime"},
		{"{'runtime':{'llama.cpp':'b4000'}}", "runtime: llama.cpp"},
		{"{'runtime':{'Llama':'1'}}", "runtime"},
		{"{'os_version':'14'}", "os_version"},
		{"{'os_version':{'ge':14}}", "os_version: ge"},
		{"{'disk_free_mib':-1}", "disk_free_mib"},
		{"{'ram_mib':'3000'}", "ram_mib"},
	};
	struct requires requires;
	struct err err;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_auto_t *object = json_of(bad[i].json);
		ck_assert_msg(requires_parse(&requires, object, arena, &err) < 0, "%s",
			      bad[i].json);
		ck_assert_msg(strstr(err.text, bad[i].why) != NULL, "%s", err.text);
	}
	json_auto_t *unknown = json_of("{'npu_lib':'2'}");
	ck_assert_int_lt(requires_parse_strict(&requires, unknown, arena, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "npu_lib"));
}
END_TEST

START_TEST(test_variant_requirements_survive_being_written)
{
	struct requires requires, none;
	struct err err;
	json_auto_t *object = json_of("{'runtime':{'llama.cpp':'4000.1','mlc':'2'},'os_version':"
				      "{'ge':'14','le':'15.9'},'disk_free_mib':3000,"
				      "'ram_mib':2700}");
	ck_assert_int_eq(requires_parse_strict(&requires, object, arena, &err), 0);
	json_auto_t *written = requires_json(&requires);
	ck_assert(json_equal(written, object));
	ck_assert_int_eq(requires_parse(&none, NULL, arena, &err), 0);
	json_auto_t *empty = requires_json(&none);
	ck_assert(json_is_object(empty) && json_object_size(empty) == 0);
}
END_TEST

START_TEST(test_variant_the_first_that_fits_is_chosen)
{
	struct attrs attrs;
	struct facts facts;
	struct runtime runtime;
	struct requires big = {.ram_mib = 6000}, small = {.ram_mib = 2500}, tiny = {.ram_mib = 900};
	struct err why;
	phone(&attrs, &facts, &runtime);
	const struct requires *const all[] = {&big, &small, &tiny};
	ck_assert_int_eq(variant_choose(all, 3, &attrs, &facts, &why), 1);
	facts.ram_mib = 1000;
	ck_assert_int_eq(variant_choose(all, 3, &attrs, &facts, &why), 2);
	facts.ram_mib = 6000;
	ck_assert_int_eq(variant_choose(all, 3, &attrs, &facts, &why), 0);
	facts.ram_mib = 100;
	ck_assert_int_eq(variant_choose(all, 3, &attrs, &facts, &why), -1);
	ck_assert_ptr_nonnull(strstr(why.text, "900 MiB"));
	ck_assert_int_eq(variant_choose(all, 0, &attrs, &facts, &why), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("variant");
	TCase *all = tcase_create("all");
	tcase_add_checked_fixture(all, set_up, tear_down);
	tcase_add_test(all, test_variant_references_have_three_parts);
	tcase_add_test(all, test_variant_references_of_another_form_are_refused);
	tcase_add_test(all, test_variant_versions_compare_by_parts);
	tcase_add_test(all, test_variant_versions_have_one_form);
	tcase_add_loop_test(all, test_variant_requirements_are_met_or_say_why_not, 0,
			    COUNT_OF(met));
	tcase_add_test(all, test_variant_what_is_not_known_meets_nothing);
	tcase_add_test(all, test_variant_requirements_are_typed);
	tcase_add_test(all, test_variant_requirements_survive_being_written);
	tcase_add_test(all, test_variant_the_first_that_fits_is_chosen);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
