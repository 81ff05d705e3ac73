#include "server/config.h"

#include "base/file.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256], file[300];
static struct config config;
static struct config_asked asked;
static struct buf problems;
static struct err err;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/test_config.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/flotillad.conf", dir);
	buf_init(&problems, 65536);
}

static void teardown(void)
{
	config_done(&config);
	buf_done(&problems);
	unlink(file);
	rmdir(dir);
}

static void write_file(const char *text)
{
	ck_assert_int_eq(file_write(file, text, strlen(text), 0600, &err), 0);
}

static int load(int argc, const char *const *argv, const char *const *environ_list)
{
	config_done(&config);
	buf_reset(&problems);
	return config_load(&config, &asked, argc, argv, environ_list, &problems, &err);
}

#define LOAD(environ_list, ...)                                                                    \
	load((int)COUNT_OF(((const char *[]){"flotillad", __VA_ARGS__})),                          \
	     (const char *[]){"flotillad", __VA_ARGS__}, (environ_list))

START_TEST(test_config_defaults)
{
	const char *argv[] = {"flotillad"};

	ck_assert_int_eq(load(1, argv, NULL), 0);
	ck_assert_str_eq(config.device_listen, "127.0.0.1:8080");
	ck_assert_int_eq(config.min_cohort, 50);
	ck_assert(!config.insecure_dev);
	ck_assert_ptr_null(asked.command);
}
END_TEST

START_TEST(test_config_flags_beat_environment_beat_file)
{
	const char *environ_list[] = {"PATH=/bin", "FLOTILLA_LOOPS=3", "FLOTILLA_WORKERS=5", NULL};

	write_file("# a comment\n\nloops = 2\nworkers=2\n  min_cohort = 70  \n");
	ck_assert_int_eq(LOAD(environ_list, "--config", file, "--loops=4", "run"), 0);
	ck_assert_int_eq(config.loops, 4);
	ck_assert_int_eq(config.workers, 5);
	ck_assert_int_eq(config.min_cohort, 70);
	ck_assert_str_eq(asked.command, "run");
}
END_TEST

START_TEST(test_config_flag_forms)
{
	ck_assert_int_eq(LOAD(NULL, "init", "--data-dir", "/x", "--insecure-dev", "--dev"), 0);
	ck_assert_str_eq(config.data_dir, "/x");
	ck_assert(config.insecure_dev);
	ck_assert(asked.dev);
	ck_assert_str_eq(asked.command, "init");
	ck_assert_int_eq(LOAD(NULL, "--insecure_dev=false", "--data_dir=/y", "--check-config"), 0);
	ck_assert(!config.insecure_dev);
	ck_assert_str_eq(config.data_dir, "/y");
	ck_assert(asked.check);
}
END_TEST

START_TEST(test_config_reports_all_problems_together)
{
	const char *environ_list[] = {"FLOTILLA_WORKERS=many", NULL};

	write_file("loops = 1000\nnonsense\ncolour = red\n");
	ck_assert_int_eq(LOAD(environ_list, "--config", file, "--min-cohort=3", "--what",
			      "--log-level=loud", "--tls-cert-file=a"),
			 -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_msg(strncmp(err.text, "8 problems", 10) == 0, "%s%s", err.text, problems.data);
	ck_assert_ptr_nonnull(strstr(problems.data, "flotillad.conf:1: loops"));
	ck_assert_ptr_nonnull(strstr(problems.data, "flotillad.conf:2: write"));
	ck_assert_ptr_nonnull(strstr(problems.data, "colour: there is no such key"));
	ck_assert_ptr_nonnull(strstr(problems.data, "environment: workers"));
	ck_assert_ptr_nonnull(strstr(problems.data, "min_cohort: give a whole number from 20"));
	ck_assert_ptr_nonnull(strstr(problems.data, "--what: there is no such flag"));
	ck_assert_ptr_nonnull(strstr(problems.data, "log_level: give one of debug|info"));
	ck_assert_ptr_nonnull(strstr(problems.data, "tls_cert_file and tls_key_file"));
}
END_TEST

START_TEST(test_config_missing_file_is_a_problem)
{
	ck_assert_int_eq(LOAD(NULL, "--config=/nonexistent/flotillad.conf"), -1);
	ck_assert_ptr_nonnull(strstr(problems.data, "/nonexistent/flotillad.conf"));
}
END_TEST

START_TEST(test_config_flag_without_value_is_a_problem)
{
	ck_assert_int_eq(LOAD(NULL, "--loops"), -1);
	ck_assert_ptr_nonnull(strstr(problems.data, "--loops: give a value"));
}
END_TEST

START_TEST(test_config_sample_loads_to_the_defaults)
{
	const char *argv[] = {"flotillad"};
	struct config plain;
	struct buf sample;

	buf_init(&sample, 65536);
	config_sample(&sample);
	ck_assert_int_eq(buf_ok(&sample, "sample", &err), 0);
	write_file(sample.data);
	buf_done(&sample);
	ck_assert_int_eq(config_load(&plain, &asked, 1, argv, NULL, &problems, &err), 0);
	ck_assert_msg(LOAD(NULL, "--config", file) == 0, "%s", problems.data);
	ck_assert_int_eq(config.max_file_bytes, plain.max_file_bytes);
	ck_assert_str_eq(config.data_dir, plain.data_dir);
	ck_assert_str_eq(config.admin_hosts, "");
	config_done(&plain);
}
END_TEST

START_TEST(test_config_help_names_every_flag)
{
	struct buf help;

	buf_init(&help, 65536);
	config_help(&help);
	ck_assert_ptr_nonnull(strstr(help.data, "--data-dir"));
	ck_assert_ptr_nonnull(strstr(help.data, "--reserve-mib"));
	buf_done(&help);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_config_defaults);
	tcase_add_test(tcase, test_config_flags_beat_environment_beat_file);
	tcase_add_test(tcase, test_config_flag_forms);
	tcase_add_test(tcase, test_config_reports_all_problems_together);
	tcase_add_test(tcase, test_config_missing_file_is_a_problem);
	tcase_add_test(tcase, test_config_flag_without_value_is_a_problem);
	tcase_add_test(tcase, test_config_sample_loads_to_the_defaults);
	tcase_add_test(tcase, test_config_help_names_every_flag);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
