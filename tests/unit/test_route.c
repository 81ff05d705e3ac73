#include "server/route.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static int nothing(struct request *rq, struct reply *reply, struct err *err)
{
	(void)rq;
	(void)err;
	return reply_empty(reply, 204);
}

#define ROW(m, p) {m, p, ROLE_ANYONE, nothing, .summary = "x"}

static const struct route rows[] = {
	ROW(GET, "/v1/packs/{sha256}"),
	ROW(GET, "/admin/v1/models"),
	ROW(POST, "/admin/v1/models"),
	ROW(GET, "/admin/v1/models/{model}"),
	ROW(DELETE, "/admin/v1/models/{model}"),
	ROW(GET, "/admin/v1/models/special"),
	ROW(GET, "/v1/c/{channel}/{class}/targets/{path*}"),
};

static struct route_table *table;

static void setup(void)
{
	struct err err;

	ck_assert_msg(route_table_new(&table, rows, COUNT_OF(rows), LISTENER_ADMIN, &err) == 0,
		      "%s", err.text);
}

static void teardown(void)
{
	route_table_free(table);
}

static struct request rq;

static struct route_match find(enum method method, const char *path)
{
	struct route_match match;

	memset(&rq, 0, sizeof(rq));
	route_find(table, method, path, &rq, &match);
	return match;
}

START_TEST(test_route_matches_whole_segments)
{
	ck_assert_ptr_eq(find(GET, "/admin/v1/models").route, &rows[1]);
	ck_assert_ptr_null(find(GET, "/admin/v1/model").route);
	ck_assert_ptr_null(find(GET, "/admin/v1/modelsx").route);
	ck_assert_ptr_null(find(GET, "/admin/v1/models/").route);
	ck_assert_ptr_null(find(GET, "//admin/v1/models").route);
	ck_assert_ptr_null(find(GET, "admin/v1/models").route);
	ck_assert_ptr_null(find(GET, "").route);
	ck_assert_ptr_null(find(GET, "/").route);
	ck_assert_ptr_null(find(GET, "/v1/packs/a/b").route);
}
END_TEST

START_TEST(test_route_literal_beats_braces)
{
	ck_assert_ptr_eq(find(GET, "/admin/v1/models/special").route, &rows[5]);
	ck_assert_ptr_eq(find(GET, "/admin/v1/models/other").route, &rows[3]);
}
END_TEST

START_TEST(test_route_decodes_params_only)
{
	struct route_match match = find(GET, "/admin/v1/models/a%20b%C3%A9");

	ck_assert_ptr_eq(match.route, &rows[3]);
	ck_assert_str_eq(rq.params[0], "a b\xc3\xa9");
	ck_assert_ptr_null(find(GET, "/admin/v1/%6dodels").route);
	match = find(GET, "/admin/v1/models/%73pecial");
	ck_assert_ptr_eq(match.route, &rows[3]);
}
END_TEST

START_TEST(test_route_refuses_bad_escapes)
{
	static const char *const bad[] = {"%2F",    "a%2fb", "%00",    "%",	  "%4",
					  "%zz",    "%0a",   "%ff",    "%C0%AF", "%ED%A0%80",
					  "%F5%80%80%80", "%7f"};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char path[64] = "/v1/packs/";
		struct route_match match;

		strcat(path, bad[i]);
		match = find(GET, path);
		ck_assert_msg(match.malformed && !match.route, "%s", path);
	}
}
END_TEST

START_TEST(test_route_rest_takes_all_that_is_left)
{
	ck_assert_ptr_eq(find(GET, "/v1/c/stable/a/targets/m/1.0/q8/abc.gguf").route, &rows[6]);
	ck_assert_str_eq(rq.params[0], "stable");
	ck_assert_str_eq(rq.params[1], "a");
	ck_assert_str_eq(rq.params[2], "m/1.0/q8/abc.gguf");
	ck_assert_ptr_null(find(GET, "/v1/c/stable/a/targets/").route);
	ck_assert_ptr_null(find(GET, "/v1/c/stable/a/targets").route);
	ck_assert_ptr_eq(find(GET, "/v1/c/s/a/targets/1/2/3/4/5/6/7/8/9/10/11/12/13").route,
			 &rows[6]);
	ck_assert_str_eq(rq.params[2], "1/2/3/4/5/6/7/8/9/10/11/12/13");
}
END_TEST

START_TEST(test_route_allow_lists_the_others)
{
	struct route_match match = find(PUT, "/admin/v1/models");
	char allow[ROUTE_ALLOW];

	ck_assert_ptr_null(match.route);
	route_allow(match.allow, allow);
	ck_assert_str_eq(allow, "GET, HEAD, POST");
	ck_assert_uint_eq(find(PUT, "/nothing").allow, 0);
	ck_assert_ptr_eq(find(HEAD, "/admin/v1/models").route, &rows[1]);
	ck_assert_ptr_null(find(METHOD_OTHER, "/admin/v1/models").route);
}
END_TEST

START_TEST(test_route_long_paths_match_nothing)
{
	char path[REQUEST_PATH + 20] = "/v1/packs/";

	memset(path + 10, 'a', REQUEST_PATH - 11);
	ck_assert_ptr_nonnull(find(GET, path).route);
	path[REQUEST_PATH - 1] = 'a';
	ck_assert_ptr_null(find(GET, path).route);
}
END_TEST

static void refuses(const struct route *bad, unsigned count, const char *why)
{
	struct route_table *none = NULL;
	struct err err;

	ck_assert_int_eq(route_table_new(&none, bad, count, LISTENER_ADMIN, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_msg(strstr(err.text, why) != NULL, "%s", err.text);
}

START_TEST(test_route_table_refuses_broken_rows)
{
	const struct route no_role = {GET, "/a", ROLE_UNSET, nothing, .summary = "x"};
	const struct route no_handler = {GET, "/a", ROLE_ANYONE, NULL, .summary = "x"};
	const struct route no_begin = {PATCH, "/a", ROLE_ANYONE, nothing, BODY_APPEND,
				       .summary = "x"};
	const struct route empty = ROW(GET, "/a//b"), open = ROW(GET, "/a/{b"),
			   middle = ROW(GET, "/a/{b*}/c"), slash = ROW(GET, "a");
	const struct route twice[] = {ROW(GET, "/a/{b}"), ROW(GET, "/a/{c}")};

	refuses(&no_role, 1, "role");
	refuses(&no_handler, 1, "handler");
	refuses(&no_begin, 1, ".begin");
	refuses(&empty, 1, "segment");
	refuses(&open, 1, "segment");
	refuses(&middle, 1, "last");
	refuses(&slash, 1, "slash");
	refuses(twice, 2, "twice");
}
END_TEST

START_TEST(test_route_table_keeps_listeners_apart)
{
	static const struct route both[] = {
		{GET, "/d", ROLE_ANYONE, nothing, .listeners = LISTENER_DEVICE, .summary = "x"},
		{GET, "/b", ROLE_ANYONE, nothing, .listeners = LISTENER_DEVICE | LISTENER_ADMIN,
		 .summary = "x"},
		ROW(GET, "/a"),
	};
	struct route_table *device = NULL;
	struct route_match match;
	struct err err;

	ck_assert_int_eq(route_table_new(&device, both, 3, LISTENER_DEVICE, &err), 0);
	route_find(device, GET, "/d", &rq, &match);
	ck_assert_ptr_eq(match.route, &both[0]);
	route_find(device, GET, "/b", &rq, &match);
	ck_assert_ptr_eq(match.route, &both[1]);
	route_find(device, GET, "/a", &rq, &match);
	ck_assert_ptr_null(match.route);
	route_table_free(device);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("route");
	TCase *tcase = tcase_create("route");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_route_matches_whole_segments);
	tcase_add_test(tcase, test_route_literal_beats_braces);
	tcase_add_test(tcase, test_route_decodes_params_only);
	tcase_add_test(tcase, test_route_refuses_bad_escapes);
	tcase_add_test(tcase, test_route_rest_takes_all_that_is_left);
	tcase_add_test(tcase, test_route_allow_lists_the_others);
	tcase_add_test(tcase, test_route_long_paths_match_nothing);
	tcase_add_test(tcase, test_route_table_refuses_broken_rows);
	tcase_add_test(tcase, test_route_table_keeps_listeners_apart);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
