/* suite.h -- for unit tests: run a list of Check tests as the program's main(). */
#ifndef TESTS_SUPPORT_SUITE_H
#define TESTS_SUPPORT_SUITE_H

#include "base/cc.h"

#include <check.h>
#include <stdlib.h>

/* The exit status.  tests: what START_TEST() named. */
static inline int suite_run(const char *name, const TTest *const tests[], size_t count)
{
	Suite *suite = suite_create(name);
	TCase *all = tcase_create("all");
	tcase_set_timeout(all, 120); /* no measure of speed: sanitizers and full machines are slow */
	for (size_t i = 0; i < count; i++)
		tcase_add_test(all, tests[i]);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
