/* Sending reports: when, how often, and what a death in between leaves. */
#include "tests/support/sdk_fixture.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

#define HOUR 3600

static void flushes(struct fixture *t, int want)
{
	const int code = flotilla_flush(t->device);
	ck_assert_msg(code == want, "flush: %d instead of %d: %s", code, want,
		      flotilla_error(t->device));
}

/* The device has entered r1 and loaded its candidate: an enter and an outcome are queued. */
static void has_two_queued(struct fixture *t)
{
	settles(t);
	publish(t, t->old, t->new);
	runs(t, t->new);
	loads(t);
	fake_forget(t->s);
}

START_TEST(test_sdk_send_in_order)
{
	FIXTURE(t);
	has_two_queued(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 2);
	ck_assert_ptr_nonnull(strstr(t.s->posts[0], "\"enter\""));
	ck_assert_ptr_nonnull(strstr(t.s->posts[1], "\"outcome\""));
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 2);
	ck_assert_uint_eq(stats_of(&t).reports, 2);
}
END_TEST

/* When the nth report in the queue is due, as it is stored. */
static int64_t due(const struct fixture *t, size_t nth)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/state.json", t->dir.dir);
	json_auto_t *state = json_load_file(path, 0, NULL);
	const json_t *queue = json_object_get(state, "queue");
	ck_assert_uint_gt(json_array_size(queue), nth);
	return json_integer_value(json_object_get(json_array_get(queue, nth), "due"));
}

START_TEST(test_sdk_send_after_a_random_delay)
{
	FIXTURE(t);
	t.options.no_delay = 0;
	reopens(&t);
	t.phone->manifest.telemetry.jitter_s = 30 * FAKE_DAY;
	has_two_queued(&t);
	flushes(&t, FLOTILLA_LATER);
	ck_assert_uint_eq(t.s->post_count, 0);
	/* Each has its own: they do not come together. */
	const int64_t first = due(&t, 0), second = due(&t, 1);
	ck_assert_int_ne(first, second);
	ck_assert_int_ge(first, t.s->now);
	ck_assert_int_lt(first, t.s->now + 30 * FAKE_DAY);
	t.s->now = first < second ? first : second;
	ck_assert_int_le(flotilla_next_wake(t.device), t.s->now);
	flotilla_flush(t.device);
	ck_assert_uint_ge(t.s->post_count, 1);
}
END_TEST

/* ---- what the server says ---- */

START_TEST(test_sdk_send_waits_when_asked_to)
{
	FIXTURE(t);
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .status = 429,
					    .retry_after = 5000});
	flushes(&t, FLOTILLA_LATER);
	ck_assert_uint_eq(t.s->hit_count, 1);
	ck_assert_int_ge(flotilla_next_wake(t.device), t.s->now + 5000);
	fake_mend(t.s);
	t.s->now += 4999;
	flushes(&t, FLOTILLA_LATER);
	ck_assert_uint_eq(t.s->hit_count, 1);
	t.s->now += 1;
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 2);
}
END_TEST

START_TEST(test_sdk_send_backs_off)
{
	FIXTURE(t);
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .status = 503});
	for (unsigned i = 0; i < 8 * 60; i++) { /* eight hours, each minute */
		const int code = flotilla_flush(t.device);
		ck_assert_int_eq(code, FLOTILLA_LATER);
		t.s->now += 60;
	}
	ck_assert_uint_ge(t.s->hit_count, 5);
	ck_assert_uint_le(t.s->hit_count, 12);
	fake_mend(t.s);
	t.s->now += FAKE_DAY;
	flotilla_flush(t.device);
	ck_assert_uint_ge(t.s->post_count, 2);
}
END_TEST

START_TEST(test_sdk_send_drops_what_is_refused)
{
	FIXTURE(t);
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .status = 400, .times = 1});
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 1);
	ck_assert_uint_eq(stats_of(&t).report_errors, 1);
}
END_TEST

START_TEST(test_sdk_send_drops_what_is_too_old)
{
	FIXTURE(t);
	has_two_queued(&t);
	t.s->now += 3 * FAKE_DAY + 1;
	dies(&t);
	flotilla_flush(t.device);
	ck_assert_uint_eq(fake_count(t.s, "telemetry"), 1); /* the summary alone */
}
END_TEST

/* The server has it, the device does not know: the same bytes once more, the nonce with them. */
START_TEST(test_sdk_send_again_is_the_same_report)
{
	FIXTURE(t);
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .lost = true, .times = 1});
	flushes(&t, FLOTILLA_E_NETWORK);
	ck_assert_uint_eq(t.s->post_count, 1);
	dies(&t);
	t.s->now += HOUR;
	flotilla_flush(t.device);
	ck_assert_uint_ge(t.s->post_count, 3);
	ck_assert_str_eq(t.s->posts[0], t.s->posts[1]);
	ck_assert_str_ne(t.s->posts[1], t.s->posts[2]);
}
END_TEST

START_TEST(test_sdk_send_offline_keeps_them)
{
	FIXTURE(t);
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .silent = true});
	flushes(&t, FLOTILLA_E_NETWORK);
	reopens(&t);
	fake_mend(t.s);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 2);
}
END_TEST

/* ---- what the user says ---- */

START_TEST(test_sdk_send_nothing_after_opting_out)
{
	FIXTURE(t);
	has_two_queued(&t);
	t.options.opt_out = 1;
	reopens(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old); /* and no candidate any more */
	loads(&t);
	for (unsigned i = 0; i < 30; i++) {
		flotilla_event(t.device, FAKE_MODEL, "requests", 1);
		t.s->now += 2 * HOUR;
		flushes(&t, FLOTILLA_OK);
	}
	ck_assert_uint_eq(t.s->post_count, 0);
	fake_publish_index(t.s);
	publish(&t, t.new, NULL); /* completed: it is for all */
	runs(&t, t.new);
	ck_assert_int_eq(t.model.candidate, 0);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(fake_count(t.s, "telemetry"), 0);
}
END_TEST

static void collect(void *arg, const char *line)
{
	struct buf *buf = arg;
	buf_adds(buf, line);
	buf_addc(buf, '\n');
}

START_TEST(test_sdk_send_prints_instead)
{
	FIXTURE(t);
	AUTO_BUF struct buf lines = BUF_INIT(1 << 20);
	t.options.print_only = 1;
	t.options.log = collect;
	t.options.log_arg = &lines;
	reopens(&t);
	has_two_queued(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(fake_count(t.s, "telemetry"), 0);
	ck_assert_ptr_nonnull(lines.data);
	ck_assert_ptr_nonnull(strstr(lines.data, "\"kind\":\"enter\""));
	ck_assert_ptr_nonnull(strstr(lines.data, "\"kind\":\"outcome\""));
}
END_TEST

/* ---- deaths ---- */

/* What a process that died has sent is seen in a file. */
struct recorder {
	struct fake_server *s;
	char path[300];
};

static int record(void *arg, const struct flotilla_request *q, struct flotilla_response *r)
{
	struct recorder *recorder = arg;
	if (!q->post)
		return fake_transport(recorder->s, q, r);
	const int fd = open(recorder->path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	char line[20000];
	const int len = snprintf(line, sizeof(line), "%.*s\n", (int)q->post_len,
				 (const char *)q->post);
	if (fd < 0 || write(fd, line, (size_t)len) != len)
		abort();
	close(fd);
	/* It may die before the answer comes. */
	return fake_transport(recorder->s, q, r);
}

/* Reports of a kind in the file, each nonce counted once. */
static unsigned distinct(const struct recorder *recorder, const char *kind)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(1 << 20);
	json_auto_t *nonces = json_object();
	if (file_read(recorder->path, &text, &err))
		return 0;
	char *rest = text.data, *line;
	while ((line = strsep(&rest, "\n")) && line[0]) {
		json_auto_t *report = json_loads(line, 0, NULL);
		ck_assert_ptr_nonnull(report);
		if (!strcmp(json_string_value(json_object_get(report, "kind")), kind))
			json_object_set_new(
				nonces, json_string_value(json_object_get(report, "nonce")),
				json_true());
	}
	return (unsigned)json_object_size(nonces);
}

/* Load, use, let the window end, send: in a process that dies at the kill_at'th request. */
static bool child_finishes(struct fixture *t, int64_t kill_at)
{
	fflush(NULL);
	const pid_t pid = fork();
	if (!pid) {
		t->s->steps = 0;
		t->s->kill_at = kill_at;
		opens(t);
		flotilla_flush(t->device);
		flotilla_close(t->device);
		_exit(0);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return !WIFSIGNALED(status);
}

START_TEST(test_sdk_send_loses_nothing_to_kills)
{
	bool finished = false;
	for (int64_t at = 1; !finished; at++) {
		FIXTURE(t);
		struct recorder recorder = {.s = t.s};
		snprintf(recorder.path, sizeof(recorder.path), "%s/sent", t.dir.dir);
		t.options.transport = record;
		t.options.transport_arg = &recorder;
		reopens(&t);
		has_two_queued(&t);
		t.s->now += HOUR;
		flotilla_event(t.device, FAKE_MODEL, "requests", 5);
		polls(&t, FLOTILLA_OK); /* saves */
		t.s->now += HOUR;
		flotilla_kill(t.device);
		finished = child_finishes(&t, at);
		opens(&t);
		flushes(&t, FLOTILLA_OK);
		ck_assert_uint_eq(distinct(&recorder, "enter"), 1);
		ck_assert_uint_eq(distinct(&recorder, "outcome"), 1);
		ck_assert_uint_eq(distinct(&recorder, "window"), 1);
		ck_assert_int_lt(at, 20);
	}
}
END_TEST

START_TEST(test_sdk_send_keeps_the_newest_when_there_are_too_many)
{
	FIXTURE(t);
	t.phone->manifest.telemetry.windows = 1000;
	t.phone->manifest.telemetry.window_s = 600;
	has_two_queued(&t);
	fake_break(t.s, (struct fake_fault){.match = "telemetry", .silent = true});
	for (unsigned i = 0; i < 300; i++) {
		t.s->now += 600;
		flotilla_event(t.device, FAKE_MODEL, "requests", 1);
	}
	const int64_t last = t.s->now / 600 * 600;
	t.s->now += 600;
	reopens(&t);
	fake_mend(t.s);
	flotilla_flush(t.device);
	ck_assert_uint_eq(t.s->post_count, 256);
	char part[40];
	snprintf(part, sizeof(part), "\"window\":%lld", (long long)last);
	ck_assert_ptr_nonnull(strstr(t.s->posts[255], part));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_send_in_order,
		test_sdk_send_after_a_random_delay,
		test_sdk_send_waits_when_asked_to,
		test_sdk_send_backs_off,
		test_sdk_send_drops_what_is_refused,
		test_sdk_send_drops_what_is_too_old,
		test_sdk_send_again_is_the_same_report,
		test_sdk_send_offline_keeps_them,
		test_sdk_send_nothing_after_opting_out,
		test_sdk_send_prints_instead,
		test_sdk_send_loses_nothing_to_kills,
		test_sdk_send_keeps_the_newest_when_there_are_too_many,
	};
	return suite_run("sdk_send", tests, COUNT_OF(tests));
}
