#include "cli/tree.h"

#include "base/file.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tree_item item_of(const char *key)
{
	return (struct tree_item){.key = key, .type = "", .cache = "", .len = 0};
}

START_TEST(test_tree_keys_that_lead_elsewhere_are_refused)
{
	static const char *const evil[] = {"../evil", "v1/../../evil", "/tmp/evil", "v1//x",
					   "v1/./x", "v1/..",		 "v1\\x",	    "v1/x\n"};
	SCRATCH(scratch);
	AUTO(tree_close) struct tree *tree = NULL;
	struct err err = {0};
	struct stat st;
	char dir[400], outside[400];
	int64_t len;
	snprintf(dir, sizeof(dir), "%s/tree", scratch.dir);
	snprintf(outside, sizeof(outside), "%s/evil", scratch.dir);
	ck_assert_msg(tree_open(&tree, dir, false, &err) == 0, "%s", err.text);
	for (unsigned i = 0; i < COUNT_OF(evil); i++) {
		const struct tree_item item = item_of(evil[i]);
		ck_assert_msg(tree_file(tree, &err) == 0, "%s", err.text);
		ck_assert_int_eq(tree_put(tree, &item, &err), -1);
		ck_assert_int_eq(err.status, ERR_UNTRUSTED);
		ck_assert_int_eq(tree_length(tree, evil[i], &len, &err), -1);
		ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	}
	ck_assert_int_ne(stat(outside, &st), 0);
	const struct tree_item item = item_of("v1/x");
	ck_assert_msg(tree_put(tree, &item, &err) == 0, "%s", err.text);
	ck_assert_msg(tree_length(tree, "v1/x", &len, &err) == 0, "%s", err.text);
	ck_assert_int_eq(len, 0);
}
END_TEST

/* A file under way whose name leads to another file is made anew, and leaves the other alone. */
START_TEST(test_tree_writes_through_no_link)
{
	SCRATCH(scratch);
	AUTO(tree_close) struct tree *tree = NULL;
	struct err err = {0};
	struct stat st;
	char dir[400], part[450], mine[400];
	snprintf(dir, sizeof(dir), "%s/tree", scratch.dir);
	snprintf(part, sizeof(part), "%s/.part", dir);
	snprintf(mine, sizeof(mine), "%s/mine", scratch.dir);
	ck_assert_msg(tree_open(&tree, dir, false, &err) == 0, "%s", err.text);
	ck_assert_msg(file_write(mine, "mine", 4, 0600, &err) == 0, "%s", err.text);
	for (int soft = 0; soft < 2; soft++) {
		ck_assert_int_eq(soft ? symlink(mine, part) : link(mine, part), 0);
		ck_assert_msg(tree_file(tree, &err) == 0, "%s", err.text);
		ck_assert_int_eq(stat(mine, &st), 0);
		ck_assert_int_eq(st.st_size, 4);
		const struct tree_item item = item_of("v1/x");
		ck_assert_msg(tree_put(tree, &item, &err) == 0, "%s", err.text);
	}
}
END_TEST

/* The same check stands before a bucket: nothing is asked of it. */
START_TEST(test_tree_buckets_check_keys_as_well)
{
	AUTO(tree_close) struct tree *tree = NULL;
	struct err err = {0};
	const struct tree_item item = item_of("../another/x");
	int64_t len;
	setenv("AWS_ACCESS_KEY_ID", "id", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
	ck_assert_msg(tree_open(&tree, "s3://bucket/prefix", false, &err) == 0, "%s", err.text);
	ck_assert_int_eq(tree_put(tree, &item, &err), -1);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	ck_assert_int_eq(tree_length(tree, item.key, &len, &err), -1);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_tree_keys_that_lead_elsewhere_are_refused,
		test_tree_writes_through_no_link,
		test_tree_buckets_check_keys_as_well,
	};
	return suite_run("tree", tests, COUNT_OF(tests));
}
