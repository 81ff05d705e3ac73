/* Every allocation, write, sync and rename of base/ fails once: an error is reported, nothing
 * leaks (the asan variant counts), and what stood before stands. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/crew.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "tests/support/fault.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A body does its work once: 0 when it succeeded, -1 with err filled.  Check allocates when it
 * asserts: only where the fault has fired may a body do so. */
typedef int body_fn(void *arg, struct err *err);

/* Fail each call of that kind in turn; how many there were.  after() judges each failure. */
static int fail_each(enum fault fault, body_fn *body, void *arg,
		     void (*after)(void *arg, const struct err *err))
{
	for (int nth = 1;; nth++) {
		struct err err = {0};
		ck_assert_int_lt(nth, 10000);
		fault_arm(fault, nth);
		const int rc = body(arg, &err);
		if (!fault_fired()) {
			ck_assert_msg(rc == 0, "without a fault: %s", err.text);
			return nth - 1;
		}
		ck_assert_msg(rc == -1, "fault %d was not noticed", nth);
		after(arg, &err);
	}
}

static void check_no_memory(void *arg, const struct err *err)
{
	(void)arg;
	ck_assert_msg(err->status == ERR_SYSTEM, "%s", err->text);
	ck_assert_msg(strstr(err->text, "out of memory") != NULL, "%s", err->text);
}

/* buf */

static int buf_body(void *arg, struct err *err)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 16);
	(void)arg;
	buf_adds(&buf, "start");
	for (int i = 0; i < 2000; i++)
		buf_addf(&buf, "%d,", i);
	void *room = buf_grow(&buf, 5000);
	if (room)
		buf_grown(&buf, 0);
	if (buf_ok(&buf, "list", err)) {
		ck_assert(!buf.data || strlen(buf.data) == buf.len);
		return -1;
	}
	return strncmp(buf.data, "start0,1,2,", 11) ? err_set(err, ERR_CORRUPT, "lost") : 0;
}

static int take_body(void *arg, struct err *err)
{
	struct buf buf = BUF_INIT(10);
	(void)arg;
	char *empty = buf_take(&buf, NULL);
	if (!empty)
		return err_nomem(err);
	free(empty);
	return 0;
}

START_TEST(test_fault_buf_remembers_lack_of_memory)
{
	ck_assert_int_ge(fail_each(FAULT_MEMORY, buf_body, NULL, check_no_memory), 5);
	ck_assert_int_eq(fail_each(FAULT_MEMORY, take_body, NULL, check_no_memory), 1);
}
END_TEST

/* arena */

static int arena_body(void *arg, struct err *err)
{
	(void)arg;
	AUTO(arena_free) struct arena *arena = arena_new(1 << 16);
	if (!arena)
		return err_nomem(err);
	for (size_t i = 0; i < 100; i++)
		if (!arena_array(arena, i, 8) || !arena_printf(arena, "%zu", i))
			return err_nomem(err);
	return 0;
}

START_TEST(test_fault_arena_answers_null)
{
	ck_assert_int_ge(fail_each(FAULT_MEMORY, arena_body, NULL, check_no_memory), 5);
}
END_TEST

/* map: a failed put frees the value it was given and leaves the others */

static int values;

static void value_free(void *value)
{
	values--;
	free(value);
}

static int map_body(void *arg, struct err *err)
{
	(void)arg;
	AUTO(map_free) struct map *map = map_new(value_free);
	if (!map)
		return err_nomem(err);
	for (int i = 0; i < 100; i++) {
		int *value = malloc(sizeof(*value));
		if (!value)
			return err_nomem(err);
		*value = i;
		values++;
		if (!map_put(map, &i, sizeof(i), value))
			continue;
		ck_assert_uint_eq(map_count(map), (size_t)i);
		ck_assert_ptr_null(map_get(map, &i, sizeof(i)));
		for (int k = 0; k < i; k++)
			ck_assert_int_eq(*(int *)map_get(map, &k, sizeof(k)), k);
		return err_nomem(err);
	}
	return 0;
}

static void check_no_value_left(void *arg, const struct err *err)
{
	check_no_memory(arg, err);
	ck_assert_int_eq(values, 0);
}

START_TEST(test_fault_map_keeps_what_it_holds)
{
	ck_assert_int_ge(fail_each(FAULT_MEMORY, map_body, NULL, check_no_value_left), 204);
	ck_assert_int_eq(values, 0);
}
END_TEST

/* digest and json */

static int digest_body(void *arg, struct err *err)
{
	(void)arg;
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	return ctx ? 0 : err_nomem(err);
}

START_TEST(test_fault_digest_answers_null)
{
	ck_assert_int_ge(fail_each(FAULT_MEMORY, digest_body, NULL, check_no_memory), 1);
}
END_TEST

static int json_body(void *arg, struct err *err)
{
	static const char text[] = "{\"a\":[1,2.5,\"x\",{\"b\":null}],\"c\":\"\\u00e4\",\"d\":true}";
	(void)arg;
	json_auto_t *json = json_parse(text, sizeof(text) - 1, "it", err);
	if (!json)
		return -1;
	char *again = json_text(json);
	if (!again)
		return err_nomem(err);
	const int same = !strcmp(again, "{\"a\":[1,2.5,\"x\",{\"b\":null}],\"c\":\"\xc3\xa4\",\"d\":true}");
	free(again);
	return same ? 0 : err_set(err, ERR_CORRUPT, "the text lost something");
}

/* jansson takes some failed allocations for a wrong token. */
static void check_some_error(void *arg, const struct err *err)
{
	(void)arg;
	ck_assert_int_ne(err->status, ERR_NONE);
	ck_assert_msg(strstr(err->text, "out of memory") || strstr(err->text, " near "), "%s",
		      err->text);
}

START_TEST(test_fault_json_reports_lack_of_memory)
{
	json_auto_t *seeded = json_object(); /* jansson seeds its hash outside the count */
	ck_assert_ptr_nonnull(seeded);
	fault_in_jansson();
	ck_assert_int_ge(fail_each(FAULT_MEMORY, json_body, NULL, check_some_error), 15);
	json_set_alloc_funcs(malloc, free);
}
END_TEST

/* file_write: the old file or the new one, whole, and no temporary file */

struct target {
	char path[300], tmp[310];
	char dir[300]; /* for file_mkdirs */
};

static void target_init(struct target *target, const struct scratch *scratch)
{
	struct err err;
	snprintf(target->path, sizeof(target->path), "%s/f", scratch->dir);
	snprintf(target->tmp, sizeof(target->tmp), "%s.tmp", target->path);
	snprintf(target->dir, sizeof(target->dir), "%s/a/b/c", scratch->dir);
	ck_assert_msg(!file_write(target->path, "old", 3, 0600, &err), "%s", err.text);
}

static int write_body(void *arg, struct err *err)
{
	const struct target *target = arg;
	return file_write(target->path, "the new text", 12, 0600, err);
}

static void check_holds(const struct target *target, const char *one, const char *other)
{
	AUTO_BUF struct buf buf = BUF_INIT(100);
	struct err err;
	ck_assert_msg(!file_read(target->path, &buf, &err), "%s", err.text);
	ck_assert_msg(!strcmp(buf.data, one) || !strcmp(buf.data, other), "%s", buf.data);
	ck_assert_int_eq(access(target->tmp, F_OK), -1);
}

static void check_old(void *arg, const struct err *err)
{
	ck_assert_int_ne(err->status, ERR_NONE);
	check_holds(arg, "old", "old");
}

static void check_full(void *arg, const struct err *err)
{
	ck_assert_int_eq(err->status, ERR_FULL);
	check_old(arg, err);
}

/* After the rename the new text stands, but may not last: an error all the same. */
static void check_either(void *arg, const struct err *err)
{
	struct err ignored;
	ck_assert_int_eq(err->status, ERR_SYSTEM);
	check_holds(arg, "old", "the new text");
	ck_assert_int_eq(file_write(((struct target *)arg)->path, "old", 3, 0600, &ignored), 0);
}

START_TEST(test_fault_file_write_is_all_or_nothing)
{
	SCRATCH(scratch);
	struct target target;
	target_init(&target, &scratch);
	ck_assert_int_eq(fail_each(FAULT_MEMORY, write_body, &target, check_either), 2);
	target_init(&target, &scratch);
	ck_assert_int_eq(fail_each(FAULT_WRITE, write_body, &target, check_full), 1);
	target_init(&target, &scratch);
	ck_assert_int_eq(fail_each(FAULT_RENAME, write_body, &target, check_old), 1);
	target_init(&target, &scratch);
	ck_assert_int_eq(fail_each(FAULT_SYNC, write_body, &target, check_either), 2);
	check_holds(&target, "the new text", "the new text");
}
END_TEST

START_TEST(test_fault_file_write_overcomes_short_and_interrupted_writes)
{
	static const enum fault faults[] = {FAULT_SHORT, FAULT_INTERRUPT};
	SCRATCH(scratch);
	struct target target;
	struct err err;
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		target_init(&target, &scratch);
		fault_arm(faults[i], 1);
		ck_assert_msg(!write_body(&target, &err), "%s", err.text);
		ck_assert(fault_fired());
		check_holds(&target, "the new text", "the new text");
	}
}
END_TEST

START_TEST(test_fault_file_pwrite_is_whole_or_an_error)
{
	SCRATCH(scratch);
	struct target target;
	struct err err;
	char bytes[13] = "";
	target_init(&target, &scratch);
	AUTO_FD int fd = open(target.path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	fault_arm(FAULT_WRITE, 1);
	ck_assert_int_eq(file_pwrite_all(fd, "x", 1, 0, &err), -1);
	ck_assert(fault_fired());
	ck_assert_int_eq(err.status, ERR_FULL);
	fault_arm(FAULT_SHORT, 1);
	ck_assert_int_eq(file_pwrite_all(fd, "hello, world", 12, 3, &err), 0);
	ck_assert(fault_fired());
	ck_assert_int_eq(file_pread_all(fd, bytes, 12, 3, &err), 0);
	ck_assert_str_eq(bytes, "hello, world");
}
END_TEST

static int mkdirs_body(void *arg, struct err *err)
{
	const struct target *target = arg;
	return file_mkdirs(target->dir, 0700, err);
}

static void remove_dirs(void *arg, const struct err *err)
{
	struct target *target = arg;
	char *end;
	ck_assert_int_eq(err->status, ERR_SYSTEM);
	for (int i = 0; i < 3; i++) {
		rmdir(target->dir);
		end = strrchr(target->dir, '/');
		*end = 0;
	}
	strcat(target->dir, "/a/b/c");
}

START_TEST(test_fault_file_mkdirs_reports_each_failure)
{
	SCRATCH(scratch);
	struct target target;
	target_init(&target, &scratch);
	ck_assert_int_eq(fail_each(FAULT_SYNC, mkdirs_body, &target, remove_dirs), 3);
	remove_dirs(&target, &(struct err){.status = ERR_SYSTEM});
	ck_assert_int_eq(fail_each(FAULT_MEMORY, mkdirs_body, &target, remove_dirs), 4);
}
END_TEST

/* The harness itself: the nth call and no other. */
/* ---- crew ---- */

#define ITEMS 100

static int tick_off(void *arg, unsigned item, unsigned worker, struct err *err)
{
	atomic_uint *done = arg;
	(void)worker;
	(void)err;
	atomic_fetch_add(&done[item], 1);
	return 0;
}

/* Who can start no thread, or only some, does the work with those there are. */
START_TEST(test_fault_crew_goes_on_with_fewer_threads)
{
	struct err err;
	bool fired = true;
	for (int nth = 1; fired; nth++) {
		atomic_uint done[ITEMS] = {0};
		const struct crew_job job = {ITEMS, tick_off, done};
		fault_arm(FAULT_THREAD, nth);
		const int bad = crew_run(&job, CREW_MOST, &err);
		fired = fault_fired();
		ck_assert_int_eq(bad, 0);
		for (unsigned i = 0; i < ITEMS; i++)
			ck_assert_uint_eq(atomic_load(&done[i]), 1);
	}
}
END_TEST

START_TEST(test_fault_fires_at_the_nth_call_once)
{
	fault_arm(FAULT_MEMORY, 2);
	char *volatile first = strdup("x");
	char *volatile second = strdup("x");
	char *volatile third = strdup("x");
	ck_assert(first && !second && third);
	ck_assert(fault_fired());
	free(first);
	free(third);
	fault_arm(FAULT_SYNC, 1);
	ck_assert(!fault_fired());
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_fault_fires_at_the_nth_call_once,
		test_fault_buf_remembers_lack_of_memory,
		test_fault_arena_answers_null,
		test_fault_map_keeps_what_it_holds,
		test_fault_digest_answers_null,
		test_fault_json_reports_lack_of_memory,
		test_fault_file_write_is_all_or_nothing,
		test_fault_file_write_overcomes_short_and_interrupted_writes,
		test_fault_file_pwrite_is_whole_or_an_error,
		test_fault_file_mkdirs_reports_each_failure,
		test_fault_crew_goes_on_with_fewer_threads,
	};
	return suite_run("fault_base", tests, COUNT_OF(tests));
}
