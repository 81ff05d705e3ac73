#include "base/file.h"

#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[400];

static const char *in(const struct scratch *scratch, const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", scratch->dir, name);
	return path;
}

static void check_holds(const char *file, const char *want)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	struct err err;
	ck_assert_msg(!file_read(file, &buf, &err), "%s", err.text);
	ck_assert_uint_eq(buf.len, strlen(want));
	ck_assert(!buf.len || !memcmp(buf.data, want, buf.len));
}

START_TEST(test_file_write_makes_and_replaces)
{
	SCRATCH(scratch);
	struct err err;
	struct stat st;
	ck_assert_msg(!file_write(in(&scratch, "f"), "first", 5, 0600, &err), "%s", err.text);
	check_holds(path, "first");
	ck_assert_msg(!file_write(path, "", 0, 0640, &err), "%s", err.text);
	check_holds(path, "");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	ck_assert_int_eq(access(in(&scratch, "f.tmp"), F_OK), -1);
}
END_TEST

START_TEST(test_file_write_ignores_what_a_crash_left)
{
	SCRATCH(scratch);
	struct err err;
	struct stat st;
	const int fd = open(in(&scratch, "f.tmp"), O_WRONLY | O_CREAT, 0666);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0666), 0);
	ck_assert_int_eq(file_write_all(fd, "a longer one, half written", 26, &err), 0);
	close(fd);
	ck_assert_msg(!file_write(in(&scratch, "f"), "secret", 6, 0600, &err), "%s", err.text);
	check_holds(path, "secret");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(test_file_write_failing_leaves_nothing)
{
	SCRATCH(scratch);
	struct err err;
	ck_assert_int_eq(file_write(in(&scratch, "absent/f"), "x", 1, 0600, &err), -1);
	ck_assert_msg(strstr(err.text, "absent/f.tmp") != NULL, "%s", err.text);
	ck_assert_int_eq(mkdir(in(&scratch, "dir"), 0700), 0);
	ck_assert_int_eq(file_write(path, "x", 1, 0600, &err), -1);
	ck_assert_msg(strstr(err.text, "cannot rename") != NULL, "%s", err.text);
	ck_assert_int_eq(access(in(&scratch, "dir.tmp"), F_OK), -1);
}
END_TEST

START_TEST(test_file_read_refuses_absent_and_too_large)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf buf = BUF_INIT(4);
	struct err err;
	ck_assert_int_eq(file_read(in(&scratch, "absent"), &buf, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	ck_assert_msg(strstr(err.text, "absent") != NULL, "%s", err.text);
	ck_assert_int_eq(file_write(in(&scratch, "f"), "12345", 5, 0600, &err), 0);
	ck_assert_int_eq(file_read(path, &buf, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	buf_reset(&buf);
	ck_assert_int_eq(file_read(scratch.dir, &buf, &err), -1);
	ck_assert_int_eq(err.status, ERR_SYSTEM);
}
END_TEST

START_TEST(test_file_read_appends_large_files)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf bytes = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
	struct err err;
	for (int i = 0; i < 30000; i++)
		buf_addf(&bytes, "%d ", i);
	ck_assert_int_eq(file_write(in(&scratch, "f"), bytes.data, bytes.len, 0600, &err), 0);
	buf_adds(&back, "x");
	ck_assert_int_eq(file_read(path, &back, &err), 0);
	ck_assert_uint_eq(back.len, bytes.len + 1);
	ck_assert_mem_eq(back.data + 1, bytes.data, bytes.len);
}
END_TEST

START_TEST(test_file_mkdirs_makes_parents_once)
{
	SCRATCH(scratch);
	struct err err;
	struct stat st;
	for (int i = 0; i < 2; i++)
		ck_assert_msg(!file_mkdirs(in(&scratch, "a/b//c/"), 0700, &err), "%s", err.text);
	ck_assert_int_eq(stat(in(&scratch, "a/b/c"), &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert_int_eq(file_mkdirs("/", 0700, &err), 0);
}
END_TEST

START_TEST(test_file_mkdirs_refuses_what_is_no_directory)
{
	SCRATCH(scratch);
	struct err err;
	ck_assert_int_eq(file_write(in(&scratch, "f"), "", 0, 0600, &err), 0);
	ck_assert_int_eq(file_mkdirs(path, 0700, &err), -1);
	ck_assert_msg(strstr(err.text, "is not a directory") != NULL, "%s", err.text);
	ck_assert_int_eq(file_mkdirs(in(&scratch, "f/under"), 0700, &err), -1);
	ck_assert_int_eq(file_mkdirs("", 0700, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

START_TEST(test_file_mkdirs_in_the_working_directory)
{
	SCRATCH(scratch);
	struct err err;
	ck_assert_int_eq(chdir(scratch.dir), 0);
	ck_assert_msg(!file_mkdirs("here", 0700, &err), "%s", err.text);
	ck_assert_msg(!file_write("here/f", "x", 1, 0600, &err), "%s", err.text);
	ck_assert_msg(!file_write("f", "y", 1, 0600, &err), "%s", err.text);
	check_holds("here/f", "x");
	check_holds("f", "y");
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_file_pwrite_and_pread_at_offsets)
{
	SCRATCH(scratch);
	struct err err;
	char bytes[6] = "";
	AUTO_FD int fd = open(in(&scratch, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_pwrite_all(fd, "world", 5, 6, &err), 0);
	ck_assert_int_eq(file_pwrite_all(fd, "hello ", 6, 0, &err), 0);
	ck_assert_int_eq(file_pread_all(fd, bytes, 5, 6, &err), 0);
	ck_assert_str_eq(bytes, "world");
	ck_assert_int_eq(file_pread_all(fd, bytes, 5, 7, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
	ck_assert_str_eq(err.text, "the file ends at byte 11, too early");
	ck_assert_int_eq(file_pread_all(fd, bytes, 0, 99, &err), 0);
	ck_assert_int_eq(file_pread_all(-1, bytes, 1, 0, &err), -1);
	ck_assert_int_eq(err.status, ERR_SYSTEM);
}
END_TEST

START_TEST(test_file_full_disk_says_so)
{
	struct err err;
	AUTO_FD int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ck_assert_int_eq(file_write_all(fd, "x", 1, &err), -1);
	ck_assert_int_eq(err.status, ERR_FULL);
}
END_TEST

START_TEST(test_file_commit_reports_each_step)
{
	SCRATCH(scratch);
	struct err err;
	char to[400];
	snprintf(to, sizeof(to), "%s/to", scratch.dir);
	ck_assert_int_eq(file_commit(-1, in(&scratch, "from"), to, &err), -1);
	ck_assert_msg(strstr(err.text, "cannot rename") != NULL, "%s", err.text);
	int pipes[2];
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(file_commit(pipes[1], path, to, &err), -1);
	ck_assert_msg(strstr(err.text, "cannot sync") != NULL, "%s", err.text);
	close(pipes[0]);
	close(pipes[1]);
	ck_assert_int_eq(file_write(in(&scratch, "from"), "x", 1, 0600, &err), 0);
	ck_assert_int_eq(file_commit(-1, path, to, &err), 0);
	check_holds(to, "x");
	ck_assert_int_eq(file_sync_dir(in(&scratch, "absent"), &err), -1);
	ck_assert_int_eq(file_sync_dir(to, &err), -1);
}
END_TEST

START_TEST(test_file_paths_of_others_stay_below)
{
	static const char *const below[] = {"a", "v1/packs/x", ".part", "..a/b..", "a b"};
	static const char *const elsewhere[] = {
		"",  "/a",  "a/",	"a//b",	 ".",	 "..",	    "../a",   "a/../b",
		"a/..", "a/./b", "a\\..\\b", "a\nb", "a\x7f", "\x1b[2Jx", "../../etc/x"};
	for (unsigned i = 0; i < COUNT_OF(below); i++)
		ck_assert_msg(file_path_below(below[i]), "%s", below[i]);
	for (unsigned i = 0; i < COUNT_OF(elsewhere); i++)
		ck_assert_msg(!file_path_below(elsewhere[i]), "%s", elsewhere[i]);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_file_write_makes_and_replaces,
		test_file_write_ignores_what_a_crash_left,
		test_file_write_failing_leaves_nothing,
		test_file_read_refuses_absent_and_too_large,
		test_file_read_appends_large_files,
		test_file_mkdirs_makes_parents_once,
		test_file_mkdirs_refuses_what_is_no_directory,
		test_file_mkdirs_in_the_working_directory,
		test_file_pwrite_and_pread_at_offsets,
		test_file_full_disk_says_so,
		test_file_commit_reports_each_step,
		test_file_paths_of_others_stay_below,
	};
	return suite_run("file", tests, COUNT_OF(tests));
}
