/* What a device tells: each kind of report in its exact shape, when it is due, once. */
#include "sdk/internal.h"
#include "tests/support/told.h"

#define HOUR 3600

static void flushes(struct fixture *t, int want)
{
	const int code = flotilla_flush(t->device);
	ck_assert_msg(code == want, "flush: %d instead of %d: %s", code, want,
		      flotilla_error(t->device));
}

static void event(struct fixture *t, const char *name, int64_t n)
{
	ck_assert_int_eq(flotilla_event(t->device, FAKE_MODEL, name, n), FLOTILLA_OK);
}

static void spends(struct fixture *t, int64_t seconds)
{
	t->s->now += seconds;
}

/* The device runs the candidate of r1 and has loaded it. */
static void runs_candidate(struct fixture *t)
{
	settles(t);
	publish(t, t->old, t->new);
	runs(t, t->new);
	loads(t);
}

/* The device is control in r1, and has loaded its stable since. */
static void offer_as_control(struct fixture *t)
{
	fake_offer(t->phone, t->old, t->new);
	t->phone->model.rollout.candidate_ppm = 0;
	t->phone->model.rollout.candidate = (struct slice){0, 0};
	t->phone->model.rollout.control = (struct slice){0, BUCKETS};
	fake_publish(t->s, t->phone);
}

/* ---- enter ---- */

START_TEST(test_sdk_report_enter)
{
	FIXTURE(t);
	settles(&t);
	spends(&t, 700);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	flushes(&t, FLOTILLA_OK);
	AUTO_TOLD struct told enter = told(&t, REPORT_ENTER, 0);
	has_members(enter.json, "channel class entries kind nonce os_major runtime schema slot");
	has_members(entry_json(&enter), "arm model rollout stage");
	ck_assert_str_eq(enter.report->channel, "stable");
	ck_assert_str_eq(enter.report->class, "phone");
	ck_assert_str_eq(enter.report->runtime, "llama.cpp/4000");
	ck_assert_uint_eq(enter.report->os_major, 15);
	ck_assert_int_eq(enter.report->at, FAKE_NOW + 600);
	ck_assert_str_eq(enter.entry->model, FAKE_MODEL);
	ck_assert_str_eq(enter.entry->rollout, "r1");
	ck_assert_uint_eq(enter.entry->stage, 1);
	ck_assert_int_eq(enter.entry->arm, REPORT_ARM_CANDIDATE);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 1);
}
END_TEST

START_TEST(test_sdk_report_enter_precedes_the_download)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	fake_break(t.s, (struct fake_fault){.match = "/v1/recipes/", .silent = true});
	shows(&t, FLOTILLA_E_NETWORK, t.old);
	dies(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 1);
	fake_mend(t.s);
	runs(&t, t.new);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 1); /* once */
}
END_TEST

static int refuse(void *arg, int metered, int charging, int idle, int64_t bytes)
{
	(void)arg, (void)metered, (void)charging, (void)idle, (void)bytes;
	return 0;
}

START_TEST(test_sdk_report_nobody_enters_without_leave_to_download)
{
	FIXTURE(t);
	settles(&t);
	t.options.may_download = refuse;
	reopens(&t);
	publish(&t, t.old, t.new);
	shows(&t, FLOTILLA_LATER, t.old);
	offer_as_control(&t);
	polls(&t, FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 0);
	t.options.may_download = NULL;
	reopens(&t);
	polls(&t, FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 1);
}
END_TEST

START_TEST(test_sdk_report_late_bucket_does_not_enter)
{
	FIXTURE(t);
	settles(&t);
	fake_offer(t.phone, t.old, t.new);
	t.phone->model.rollout.candidate = (struct slice){0, 0};
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	loads(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 0);
}
END_TEST

/* ---- outcome ---- */

START_TEST(test_sdk_report_outcome)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	spends(&t, 1300);
	const struct flotilla_loaded well = {FLOTILLA_LOADED, 1900, 400, 940};
	ck_assert_int_eq(flotilla_load_begin(t.device, FAKE_MODEL), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_load_end(t.device, FAKE_MODEL, &well), FLOTILLA_OK);
	loads(&t); /* a second time: no second outcome */
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_OUTCOME), 1);
	AUTO_TOLD struct told outcome = told(&t, REPORT_OUTCOME, 0);
	has_members(outcome.json, "channel class entries kind nonce os_major runtime schema slot");
	has_members(entry_json(&outcome), "arm entered load_ms model probe_pm result rollout stage "
					  "ttft_ms variant via");
	ck_assert_int_eq(outcome.report->at, FAKE_NOW + 1200);
	ck_assert_int_eq(outcome.entry->entered, FAKE_NOW);
	ck_assert_int_eq(outcome.entry->arm, REPORT_ARM_CANDIDATE);
	ck_assert_str_eq(outcome.entry->variant, t.new->ref.text);
	ck_assert_int_eq(outcome.entry->result, REPORT_OK);
	ck_assert_str_eq(outcome.entry->via, "chunks");
	ck_assert_int_eq(outcome.entry->load_ms, 1900);
	ck_assert_int_eq(outcome.entry->ttft_ms, 400);
	ck_assert_int_eq(outcome.entry->probe_pm, 940);
}
END_TEST

static void has_outcome(struct fixture *t, enum report_result result)
{
	flushes(t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(t, REPORT_OUTCOME), 1);
	AUTO_TOLD struct told outcome = told(t, REPORT_OUTCOME, 0);
	ck_assert_msg(outcome.entry->result == result, "%s instead of %s",
		      report_result_names[outcome.entry->result], report_result_names[result]);
	ck_assert_str_eq(outcome.entry->variant, t->new->ref.text);
}

START_TEST(test_sdk_report_outcome_of_failed_loads)
{
	static const struct {
		enum flotilla_result told;
		enum report_result result;
	} cases[] = {
		{FLOTILLA_LOAD_FAILED, REPORT_LOAD},
		{FLOTILLA_LOAD_OOM, REPORT_OOM},
		{FLOTILLA_PROBE_FAILED, REPORT_PROBE},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		FIXTURE(t);
		const struct flotilla_loaded badly = {cases[i].told, -1, -1, -1};
		settles(&t);
		publish(&t, t.old, t.new);
		runs(&t, t.new);
		ck_assert_int_eq(flotilla_load_begin(t.device, FAKE_MODEL), FLOTILLA_OK);
		ck_assert_int_eq(flotilla_load_end(t.device, FAKE_MODEL, &badly), FLOTILLA_OK);
		has_outcome(&t, cases[i].result);
	}
}
END_TEST

START_TEST(test_sdk_report_outcome_of_bad_content)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	fake_break(t.s, (struct fake_fault){.match = "/v1/recipes/", .flip = true, .flip_at = 9});
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	has_outcome(&t, REPORT_VERIFY);
}
END_TEST

START_TEST(test_sdk_report_outcome_of_full_disk)
{
	FIXTURE(t);
	settles(&t);
	t.options.disk_free_mib = 1;
	reopens(&t);
	publish(&t, t.old, t.new);
	shows(&t, FLOTILLA_E_DISK, t.old);
	has_outcome(&t, REPORT_DISK);
}
END_TEST

static void dies_twice(struct fixture *t)
{
	for (unsigned i = 0; i < 2; i++) {
		runs(t, t->new);
		ck_assert_int_eq(flotilla_load_begin(t->device, FAKE_MODEL), FLOTILLA_OK);
		dies(t);
	}
	runs(t, t->new);
	ck_assert_int_eq(flotilla_load_begin(t->device, FAKE_MODEL), FLOTILLA_AGAIN);
	runs(t, t->old);
}

START_TEST(test_sdk_report_outcome_of_two_deaths)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	dies_twice(&t);
	loads(&t); /* stable's load is not the candidate's outcome */
	has_outcome(&t, REPORT_CRASH);
}
END_TEST

START_TEST(test_sdk_report_control_is_a_placebo)
{
	FIXTURE(t);
	settles(&t);
	offer_as_control(&t);
	polls(&t, FLOTILLA_OK);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old);
	loads(&t);
	loads(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 2);
	AUTO_TOLD struct told enter = told(&t, REPORT_ENTER, 0);
	AUTO_TOLD struct told outcome = told(&t, REPORT_OUTCOME, 0);
	ck_assert_int_eq(enter.entry->arm, REPORT_ARM_CONTROL);
	ck_assert_int_eq(outcome.entry->arm, REPORT_ARM_CONTROL);
	ck_assert_str_eq(outcome.entry->variant, t.old->ref.text);
	ck_assert_str_eq(outcome.entry->via, "none");
	ck_assert_int_eq(outcome.entry->result, REPORT_OK);
}
END_TEST

START_TEST(test_sdk_report_control_must_fit_the_candidate)
{
	FIXTURE(t);
	struct manifest_variant *v = &t.s->variants[1]; /* the new one */
	v->requires.ram_mib = 16000;
	settles(&t);
	offer_as_control(&t);
	polls(&t, FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 0);
}
END_TEST

/* ---- windows ---- */

START_TEST(test_sdk_report_window)
{
	FIXTURE(t);
	spends(&t, HOUR / 2);
	runs_candidate(&t);
	const int64_t next = (t.s->now / HOUR + 1) * HOUR;
	t.s->now = next;
	event(&t, "sessions", 2);
	event(&t, "requests", 9);
	event(&t, "ok", 8);
	event(&t, "crash", 1);
	event(&t, "cancel", 0); /* nothing */
	ck_assert_int_eq(flotilla_first_token(t.device, FAKE_MODEL, 400), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_observe(t.device, FAKE_MODEL, "ttft_ms", 400), FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 0); /* not over */
	spends(&t, HOUR);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 1);
	AUTO_TOLD struct told window = told(&t, REPORT_WINDOW, 0);
	has_members(window.json, "channel class entries kind nonce os_major runtime schema window");
	has_members(entry_json(&window), "arm h model n rollout stage variant");
	ck_assert_int_eq(window.report->at, next);
	ck_assert_str_eq(window.entry->variant, t.new->ref.text);
	ck_assert_uint_eq(window.entry->count_len, 4);
	ck_assert_uint_eq(count_in(window.entry, "requests", false), 9);
	ck_assert_uint_eq(count_in(window.entry, "crash", false), 1);
	ck_assert_uint_eq(window.entry->hist_len, 1);
	ck_assert_uint_eq(window.entry->hists[0].first, 138); /* ceil(16 log2 400) - 1 */
	ck_assert_uint_eq(window.entry->hists[0].len, 1);
	ck_assert_uint_eq(window.entry->hists[0].counts[0], 2);
}
END_TEST

START_TEST(test_sdk_report_only_used_windows_once_loaded)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new); /* entered, not loaded */
	spends(&t, HOUR);
	event(&t, "requests", 1);
	spends(&t, HOUR);
	loads(&t);
	spends(&t, HOUR);
	event(&t, "requests", 1);
	spends(&t, 3 * HOUR);
	flushes(&t, FLOTILLA_OK);
	/* The one with the load, the one with a request; none of before, none of the unused. */
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 2);
}
END_TEST

START_TEST(test_sdk_report_no_windows_outside_rollouts)
{
	FIXTURE(t);
	settles(&t);
	for (unsigned i = 0; i < 5; i++) {
		event(&t, "requests", 1);
		spends(&t, HOUR);
	}
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 0);
}
END_TEST

START_TEST(test_sdk_report_windows_end_with_the_candidate)
{
	FIXTURE(t);
	runs_candidate(&t);
	spends(&t, HOUR);
	event(&t, "crash", 1);
	publish(&t, t.old, NULL); /* rolled back */
	runs(&t, t.old);
	loads(&t);
	for (unsigned i = 0; i < 5; i++) {
		spends(&t, HOUR);
		event(&t, "requests", 1); /* of the stable */
	}
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 1);
	AUTO_TOLD struct told window = told(&t, REPORT_WINDOW, 0);
	ck_assert_uint_eq(count_in(window.entry, "crash", false), 1);
	ck_assert_uint_eq(count_in(window.entry, "requests", false), 0);
}
END_TEST

/* Deaths at a later load are crashes in use. */
START_TEST(test_sdk_report_later_deaths_are_a_crash)
{
	FIXTURE(t);
	runs_candidate(&t);
	spends(&t, HOUR);
	dies_twice(&t);
	spends(&t, HOUR);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 1);
	AUTO_TOLD struct told window = told(&t, REPORT_WINDOW, 0);
	ck_assert_uint_eq(count_in(window.entry, "crash", false), 1);
}
END_TEST

/* ---- summary ---- */

START_TEST(test_sdk_report_summary)
{
	FIXTURE(t);
	runs_candidate(&t);
	t.s->now = (t.s->now / HOUR + 1) * HOUR;
	for (unsigned i = 0; i < 30; i++) {
		if (i % 4 == 0)
			event(&t, "requests", 10);
		if (i == 8)
			event(&t, "crash", 3);
		spends(&t, HOUR);
		polls(&t, FLOTILLA_OK);
		flushes(&t, FLOTILLA_OK);
		ck_assert_uint_eq(count_of(&t, REPORT_SUMMARY), i >= 23);
	}
	ck_assert_uint_eq(count_of(&t, REPORT_WINDOW), 6);
	AUTO_TOLD struct told summary = told(&t, REPORT_SUMMARY, 0);
	has_members(summary.json,
		    "channel class entered entries kind nonce os_major runtime schema");
	has_members(entry_json(&summary), "arm h hit model n rollout stage used variant");
	ck_assert_int_eq(summary.report->at, FAKE_NOW);
	ck_assert_uint_eq(summary.entry->used, 6);
	ck_assert_uint_eq(count_in(summary.entry, "requests", false), 60);
	ck_assert_uint_eq(count_in(summary.entry, "requests", true), 6);
	ck_assert_uint_eq(count_in(summary.entry, "crash", false), 3);
	ck_assert_uint_eq(count_in(summary.entry, "crash", true), 1);
	ck_assert_str_eq(summary.entry->variant, t.new->ref.text);
}
END_TEST

START_TEST(test_sdk_report_summary_of_no_use)
{
	FIXTURE(t);
	settles(&t);
	offer_as_control(&t);
	polls(&t, FLOTILLA_OK);
	spends(&t, 26 * HOUR);
	reopens(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_SUMMARY), 1);
	AUTO_TOLD struct told summary = told(&t, REPORT_SUMMARY, 0);
	ck_assert_uint_eq(summary.entry->used, 0);
	ck_assert_int_eq(summary.entry->arm, REPORT_ARM_CONTROL);
}
END_TEST

START_TEST(test_sdk_report_next_rollout_is_entered_anew)
{
	FIXTURE(t);
	runs_candidate(&t);
	publish(&t, t.old, NULL);
	runs(&t, t.old);
	fake_offer(t.phone, t.old, t.new);
	t.phone->model.rollout.id = "r2";
	t.phone->model.rollout.stage = 3;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	loads(&t);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(count_of(&t, REPORT_ENTER), 2);
	AUTO_TOLD struct told outcome = told(&t, REPORT_OUTCOME, 1);
	ck_assert_str_eq(outcome.entry->rollout, "r2");
	ck_assert_uint_eq(outcome.entry->stage, 3);
}
END_TEST

/* ---- usage ---- */

/* All devices' days end at the same second: an idle one wakes to tell of it within four hours after, at
 * another time each day. */
START_TEST(test_sdk_report_days_are_told_one_by_one)
{
	FIXTURE(t);
	const int64_t day = FAKE_NOW / FAKE_DAY;
	int64_t waits[8], earliest = INT64_MAX, latest = 0;
	loads(&t);
	for (unsigned i = 0; i < COUNT_OF(waits); i++) {
		flushes(&t, FLOTILLA_OK);
		waits[i] = use_next(t.device) - (day + 1 + i) * FAKE_DAY;
		ck_assert_int_ge(waits[i], 0);
		ck_assert_int_lt(waits[i], 4 * HOUR);
		earliest = waits[i] < earliest ? waits[i] : earliest;
		latest = waits[i] > latest ? waits[i] : latest;
		t.s->now = (day + 1 + i) * FAKE_DAY + waits[i];
	}
	ck_assert_int_gt(latest - earliest, 600);
}
END_TEST

START_TEST(test_sdk_report_usage)
{
	FIXTURE(t);
	const int64_t day = FAKE_NOW / FAKE_DAY;
	loads(&t);
	event(&t, "requests", 20);
	spends(&t, HOUR);
	event(&t, "requests", 10);
	event(&t, "ok", 30);
	t.s->now = (day + 1) * FAKE_DAY;
	flushes(&t, FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 1);
	AUTO_TOLD struct told usage = told(&t, REPORT_USAGE, 0);
	has_members(usage.json,
		    "channel class day day_first entries kind nonce os_major runtime schema");
	has_members(entry_json(&usage), "h hit model n used variant");
	ck_assert_int_eq(usage.report->at, day * FAKE_DAY);
	ck_assert(usage.report->day_first);
	ck_assert_str_eq(usage.entry->variant, t.old->ref.text);
	ck_assert_uint_eq(usage.entry->used, 2);
	ck_assert_uint_eq(count_in(usage.entry, "requests", false), 30);
	ck_assert_uint_eq(count_in(usage.entry, "requests", true), 2);
	ck_assert_uint_eq(count_in(usage.entry, "ok", true), 1);
	t.s->now += FAKE_DAY;
	dies(&t);
	polls(&t, FLOTILLA_OK);
	flushes(&t, FLOTILLA_OK);
	AUTO_TOLD struct told next = told(&t, REPORT_USAGE, 1);
	ck_assert_int_eq(next.report->at, (day + 1) * FAKE_DAY);
	ck_assert_uint_eq(next.entry->used, 0);
}
END_TEST

START_TEST(test_sdk_report_times_are_the_servers)
{
	FIXTURE(t);
	loads(&t);
	flotilla_close(t.device);
	t.s->clock_error = 300 * FAKE_DAY; /* the device lives in the future */
	opens(&t);
	polls(&t, FLOTILLA_E_EXPIRED);
	flushes(&t, FLOTILLA_OK);
	t.s->now += FAKE_DAY;
	flushes(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->post_count, 1);
	AUTO_TOLD struct told usage = told(&t, REPORT_USAGE, 0);
	ck_assert_int_eq(usage.report->at, FAKE_NOW / FAKE_DAY * FAKE_DAY);
}
END_TEST

/* ---- names and limits ---- */

START_TEST(test_sdk_report_refuses_unknown_names)
{
	FIXTURE(t);
	ck_assert_int_eq(flotilla_event(t.device, FAKE_MODEL, "sesions", 1), FLOTILLA_E_ARGUMENT);
	ck_assert_int_eq(flotilla_event(t.device, FAKE_MODEL, "ttft_ms", 1), FLOTILLA_E_ARGUMENT);
	ck_assert_int_eq(flotilla_observe(t.device, FAKE_MODEL, "ok", 1), FLOTILLA_E_ARGUMENT);
	ck_assert_int_eq(flotilla_event(t.device, "NO", "ok", 1), FLOTILLA_E_ARGUMENT);
}
END_TEST

START_TEST(test_sdk_report_everything_fits)
{
	FIXTURE(t);
	runs_candidate(&t);
	spends(&t, HOUR);
	for (unsigned i = 0; i < metric_count(); i++) {
		const struct metric *m = metric_at(i);
		if (m->kind == METRIC_COUNTER) {
			event(&t, m->name, INT64_MAX / 2);
			event(&t, m->name, 1);
			continue;
		}
		for (int64_t v = 1; v < m->max; v += v / 30 + 1)
			for (unsigned k = 0; k < 20; k++)
				flotilla_observe(t.device, FAKE_MODEL, m->name, v);
	}
	spends(&t, HOUR);
	flushes(&t, FLOTILLA_OK);
	AUTO_TOLD struct told window = told(&t, REPORT_WINDOW, 0);
	ck_assert_uint_eq(window.entry->count_len + window.entry->hist_len, metric_count());
	ck_assert_uint_eq(count_in(window.entry, "ok", false), REPORT_MAX_COUNT);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_report_enter,
		test_sdk_report_enter_precedes_the_download,
		test_sdk_report_nobody_enters_without_leave_to_download,
		test_sdk_report_late_bucket_does_not_enter,
		test_sdk_report_outcome,
		test_sdk_report_outcome_of_failed_loads,
		test_sdk_report_outcome_of_bad_content,
		test_sdk_report_outcome_of_full_disk,
		test_sdk_report_outcome_of_two_deaths,
		test_sdk_report_control_is_a_placebo,
		test_sdk_report_control_must_fit_the_candidate,
		test_sdk_report_window,
		test_sdk_report_only_used_windows_once_loaded,
		test_sdk_report_no_windows_outside_rollouts,
		test_sdk_report_windows_end_with_the_candidate,
		test_sdk_report_later_deaths_are_a_crash,
		test_sdk_report_summary,
		test_sdk_report_summary_of_no_use,
		test_sdk_report_next_rollout_is_entered_anew,
		test_sdk_report_days_are_told_one_by_one,
		test_sdk_report_usage,
		test_sdk_report_times_are_the_servers,
		test_sdk_report_refuses_unknown_names,
		test_sdk_report_everything_fits,
	};
	return suite_run("sdk_report", tests, COUNT_OF(tests));
}
