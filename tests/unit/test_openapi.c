/* schema/openapi.yaml describes exactly the rows of server/routes.c, in their order. */
#include "base/buf.h"
#include "base/file.h"
#include "server/route.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* An operation as the document's regular layout tells it. */
struct operation {
	char path[200], method[10], role[20], listeners[40], summary[200];
};

static struct operation operations[200];
static unsigned operation_count;

/* Whether line is indent, prefix and something; that into out. */
static bool member(const char *line, const char *prefix, char *out, size_t room)
{
	size_t len = strlen(prefix);

	if (strncmp(line, prefix, len) != 0)
		return false;
	ck_assert_msg(strlen(line + len) < room, "%s", line);
	snprintf(out, room, "%s", line + len);
	return true;
}

static void line_read(const char *line, char path[static 200])
{
	struct operation *operation = &operations[operation_count ? operation_count - 1 : 0];
	size_t len = strlen(line);

	if (strncmp(line, "  /", 3) == 0 && line[len - 1] == ':') {
		snprintf(path, 200, "%.*s", (int)(len - 3), line + 2);
	} else if (*path && strncmp(line, "    ", 4) == 0 && line[4] >= 'a' && line[4] <= 'z' &&
		   line[len - 1] == ':') {
		ck_assert_uint_lt(operation_count, COUNT_OF(operations));
		operation = &operations[operation_count++];
		snprintf(operation->path, sizeof(operation->path), "%s", path);
		snprintf(operation->method, sizeof(operation->method), "%.*s", (int)(len - 5),
			 line + 4);
	} else if (operation_count) {
		(void)(member(line, "      x-role: ", operation->role,
			      sizeof(operation->role)) ||
		       member(line, "      x-listeners: ", operation->listeners,
			      sizeof(operation->listeners)) ||
		       member(line, "      summary: ", operation->summary,
			      sizeof(operation->summary)));
	}
}

static void document_read(void)
{
	struct buf text;
	char path[200] = "", *at, *line;
	struct err err;

	buf_init(&text, 1 << 20);
	ck_assert_msg(file_read("schema/openapi.yaml", &text, &err) == 0,
		      "%s (run from the top of the source)", err.text);
	operation_count = 0;
	at = text.data;
	while ((line = strsep(&at, "\n")) != NULL && strcmp(line, "components:") != 0)
		if (*line)
			line_read(line, path);
	buf_done(&text);
}

START_TEST(test_openapi_describes_every_route)
{
	document_read();
	for (unsigned i = 0; i < route_count && i < operation_count; i++) {
		const struct operation *operation = &operations[i];
		unsigned on = routes[i].listeners ? routes[i].listeners : LISTENER_ADMIN;
		char summary[256];

		ck_assert_str_eq(operation->path, routes[i].pattern);
		ck_assert_int_eq(strcasecmp(operation->method, method_name(routes[i].method)), 0);
		ck_assert_str_eq(operation->role, role_name(routes[i].role));
		ck_assert_str_eq(operation->listeners, on == LISTENER_DEVICE  ? "[device]"
						       : on == LISTENER_ADMIN ? "[admin]"
									      : "[device, admin]");
		snprintf(summary, sizeof(summary), "\"%s\"", routes[i].summary);
		ck_assert_str_eq(operation->summary, summary);
	}
	ck_assert_uint_eq(operation_count, route_count);
}
END_TEST

START_TEST(test_openapi_tables_are_sound)
{
	for (unsigned listener = LISTENER_DEVICE; listener <= LISTENER_ADMIN; listener++) {
		struct route_table *table = NULL;
		struct err err;

		ck_assert_msg(route_table_new(&table, routes, route_count, listener, &err) == 0,
			      "%s", err.text);
		route_table_free(table);
	}
}
END_TEST

/* A POST that changes nothing. */
static bool only_asks(const char *pattern)
{
	return strcmp(pattern, "/admin/v1/class-explain") == 0 ||
	       strcmp(pattern, "/admin/v1/class-plan") == 0 ||
	       strcmp(pattern, "/admin/v1/rollout-plan") == 0;
}

START_TEST(test_openapi_admin_routes_need_a_token)
{
	for (unsigned i = 0; i < route_count; i++) {
		bool admin = strncmp(routes[i].pattern, "/admin/", 7) == 0;

		/* Relays have a role of their own, on the device listener. */
		ck_assert_msg(admin == (routes[i].role != ROLE_ANYONE &&
					routes[i].role != ROLE_RELAY),
			      "%s", routes[i].pattern);
		ck_assert_msg(!admin || routes[i].method == GET ||
				      routes[i].role >= ROLE_PUBLISHER ||
				      only_asks(routes[i].pattern),
			      "%s", routes[i].pattern);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("openapi");
	TCase *tcase = tcase_create("openapi");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, test_openapi_describes_every_route);
	tcase_add_test(tcase, test_openapi_tables_are_sound);
	tcase_add_test(tcase, test_openapi_admin_routes_need_a_token);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
