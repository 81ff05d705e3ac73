/* A device that dies at every step of an installation: at each piece that arrives, each rename, sync,
 * removal.  It then has the old model or the new one, whole, and gets to the new one. */
#include "tests/support/sdk_fixture.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- dying at system calls ---- */

/* What changes files takes a step of the server's count too, so that kill_at strikes there.  Syncs
 * are not done: a killed process loses nothing that is written, and thousands would take long. */
static struct fake_server *counting;

static void step(void)
{
	if (counting && ++counting->steps == counting->kill_at)
		kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to)
{
	step();
	return (int)syscall(SYS_rename, from, to);
}

int unlink(const char *path)
{
	step();
	return (int)syscall(SYS_unlink, path);
}

int rmdir(const char *path)
{
	step();
	return (int)syscall(SYS_rmdir, path);
}

int ftruncate(int fd, off_t len)
{
	step();
	return (int)syscall(SYS_ftruncate, fd, len);
}

int fdatasync(int fd)
{
	(void)fd;
	step();
	return 0;
}

int fsync(int fd)
{
	(void)fd;
	step();
	return 0;
}

/* ---- dying ---- */

/* In a process that dies at step kill_at; whether it got to the end. */
static bool child_finishes(struct fixture *t, int64_t kill_at)
{
	fflush(NULL);
	const pid_t pid = fork();
	if (!pid) {
		struct flotilla *device;
		struct flotilla_model model;
		counting = t->s;
		t->s->steps = 0;
		t->s->kill_at = kill_at;
		if (flotilla_open(&device, &t->options) || flotilla_poll(device))
			_exit(1);
		int code;
		do
			code = flotilla_want(device, FAKE_MODEL, &model);
		while (code == FLOTILLA_AGAIN);
		_exit(code == FLOTILLA_OK ? 0 : 1);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "step %lld failed",
		      (long long)kill_at);
	return !WIFSIGNALED(status);
}

/* Without a network: there is the old or the new, whole. */
static void has_either(struct fixture *t)
{
	fake_break(t->s, (struct fake_fault){.match = "/", .silent = true});
	opens(t);
	wants(t);
	ck_assert_ptr_nonnull(t->model.path);
	if (!strcmp(t->model.variant, t->old->ref.text))
		holds(t, "model.gguf", OLD_PIECES);
	else
		holds(t, "model.gguf", NEW_PIECES);
	flotilla_kill(t->device);
	fake_mend(t->s);
}

/* Dies at each step on the way from where the device is to running v, each time from the start. */
static void dies_at_each_step(void (*prepare)(struct fixture *t), const char *pieces,
			      int64_t from, int64_t stride)
{
	bool finished = false;
	for (int64_t at = from; !finished; at += stride) {
		FIXTURE(t);
		t.options.slice_bytes = FAKE_PIECE;
		prepare(&t);
		flotilla_close(t.device);
		finished = child_finishes(&t, at);
		has_either(&t);
		ck_assert(child_finishes(&t, 0));
		opens(&t);
		wants(&t);
		holds(&t, "model.gguf", pieces);
		ck_assert_int_lt(at, 2000);
	}
}

static void prepare_stable(struct fixture *t)
{
	fake_offer(t->phone, t->new, NULL);
	fake_publish(t->s, t->phone);
}

static void prepare_candidate(struct fixture *t)
{
	settles(t);
	fake_offer(t->phone, t->old, t->new);
	fake_publish(t->s, t->phone);
}

static void prepare_promotion(struct fixture *t)
{
	settles(t);
	publish(t, t->old, t->new);
	runs(t, t->new);
	prepare_stable(t);
}

static void prepare_rollback(struct fixture *t)
{
	settles(t);
	publish(t, t->old, t->new);
	runs(t, t->new);
	fake_offer(t->phone, t->old, NULL);
	fake_publish(t->s, t->phone);
}

/* Each test runs STRIDE times, for every STRIDEth step. */
#define STRIDE 4
START_TEST(test_sdk_crash_at_each_step_of_a_new_stable)
{
	dies_at_each_step(prepare_stable, NEW_PIECES, 1 + _i, STRIDE);
}
END_TEST

START_TEST(test_sdk_crash_at_each_step_of_a_candidate)
{
	dies_at_each_step(prepare_candidate, NEW_PIECES, 1 + _i, STRIDE);
}
END_TEST

START_TEST(test_sdk_crash_at_each_step_of_a_promotion)
{
	dies_at_each_step(prepare_promotion, NEW_PIECES, 1 + _i, STRIDE);
}
END_TEST

START_TEST(test_sdk_crash_at_each_step_of_a_rollback)
{
	dies_at_each_step(prepare_rollback, OLD_PIECES, 1 + _i, STRIDE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_crash_at_each_step_of_a_new_stable,
		test_sdk_crash_at_each_step_of_a_candidate,
		test_sdk_crash_at_each_step_of_a_promotion,
		test_sdk_crash_at_each_step_of_a_rollback,
	};
	Suite *suite = suite_create("sdk_crash");
	TCase *all = tcase_create("all");
	tcase_set_timeout(all, 120);
	for (size_t i = 0; i < COUNT_OF(tests); i++)
		tcase_add_loop_test(all, tests[i], 0, STRIDE);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
