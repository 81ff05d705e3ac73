#include "base/json.h"
#include "telemetry/metric.h"
#include "telemetry/report.h"
#include "telemetry/sketch.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>

#define NOW 1767312000
#define NONCE "AAECAwQFBgcICQoLDA0ODw=="
#define HEAD "\"schema\":1,\"nonce\":\"" NONCE "\",\"channel\":\"stable\",\"class\":\"android-8g\","
#define ARM "\"model\":\"assistant\",\"rollout\":\"r17\",\"stage\":2,\"arm\":\"candidate\""
#define VARIANT "\"variant\":\"assistant@2.1.0/q4_k_m\""
#define USAGE(entry) \
	"{" HEAD "\"kind\":\"usage\",\"day\":20454,\"day_first\":true,\"entries\":[{" \
	"\"model\":\"assistant\"," VARIANT entry "}]}"
#define WINDOW(entry) \
	"{" HEAD "\"kind\":\"window\",\"window\":1767229200,\"entries\":[{" ARM "," VARIANT entry "}]}"

/* Reports point into their text: into this copy, until the next one. */
static char place[REPORT_MAX_BYTES];

static int parse(const char *text, struct report *ret, struct err *err)
{
	ck_assert_uint_le(strlen(text), sizeof(place));
	memcpy(place, text, strlen(text));
	return report_read(place, strlen(text), NOW, ret, err);
}

static const struct report *good(const char *text)
{
	static struct report report;
	struct err err;
	ck_assert_msg(!parse(text, &report, &err), "%s: %s", text, err.text);
	return &report;
}

static void bad(const char *text, const char *says)
{
	struct err err;
	struct report report;
	ck_assert_msg(parse(text, &report, &err) == -1, "taken: %s", text);
	ck_assert_msg(err.status == ERR_INVALID || err.status == ERR_TOO_LARGE, "%s", err.text);
	ck_assert_msg(strstr(err.text, says) != NULL, "'%s' does not say '%s'", err.text, says);
}

START_TEST(test_report_enter)
{
	const struct report *r = good("{" HEAD "\"kind\":\"enter\",\"os_major\":15,\"slot\":1767225600,"
				      "\"entries\":[{" ARM "}]}");
	ck_assert_int_eq(r->kind, REPORT_ENTER);
	ck_assert_int_eq(r->at, 1767225600);
	ck_assert_uint_eq(r->os_major, 15);
	ck_assert_uint_eq(r->entries[0].stage, 2);
	ck_assert_int_eq(r->entries[0].arm, REPORT_ARM_CANDIDATE);
	ck_assert_str_eq(r->entries[0].rollout, "r17");
	ck_assert_uint_eq(r->nonce[15], 15);
}
END_TEST

START_TEST(test_report_outcome)
{
	const struct report *r = good("{" HEAD "\"kind\":\"outcome\",\"slot\":1767226800,\"entries\":[{" ARM
				      "," VARIANT ",\"entered\":1767225600,\"result\":\"oom\",\"via\":"
				      "\"delta\",\"load_ms\":1900}]}");
	const struct report_entry *e = &r->entries[0];
	ck_assert_int_eq(e->result, REPORT_OOM);
	ck_assert_int_eq(e->entered, 1767225600);
	ck_assert_int_eq(e->load_ms, 1900);
	ck_assert_int_eq(e->ttft_ms, -1);
	ck_assert_str_eq(e->via, "delta");
}
END_TEST

START_TEST(test_report_counts_and_histograms)
{
	const struct report *r = good(
		WINDOW(",\"n\":{\"requests\":9,\"crash\":123456,\"no.such\":1},"
		       "\"h\":{\"ttft_ms\":{\"o\":138,\"c\":[3,0,999999]},\"no_such\":{\"o\":1,\"c\":[1]}}"));
	const struct report_entry *e = &r->entries[0];
	ck_assert_uint_eq(e->count_len, 2);
	ck_assert_uint_eq(e->hist_len, 1);
	ck_assert_uint_eq(r->unknown, 2);
	ck_assert_uint_eq(e->hists[0].first, 138);
	ck_assert_uint_eq(e->hists[0].len, 3);
	ck_assert_uint_eq(e->hists[0].counts[2], REPORT_MAX_COUNT);
	for (unsigned i = 0; i < 2; i++)
		if (!strcmp(metric_at(e->counts[i].metric)->name, "crash"))
			ck_assert_uint_eq(e->counts[i].n, REPORT_MAX_COUNT);
}
END_TEST

START_TEST(test_report_summary_and_usage_tell_windows)
{
	const struct report *r = good(USAGE(",\"used\":4,\"hit\":{\"crash\":1},\"n\":{\"crash\":2}"));
	ck_assert_int_eq(r->at, (int64_t)20454 * 86400);
	ck_assert(r->day_first);
	ck_assert_uint_eq(r->entries[0].used, 4);
	ck_assert_uint_eq(r->entries[0].counts[0].n, 2);
	ck_assert_uint_eq(r->entries[0].counts[0].hit, 1);
	r = good("{" HEAD "\"kind\":\"summary\",\"entered\":1767225600,\"entries\":[{" ARM "," VARIANT
		 ",\"used\":0}]}");
	ck_assert_uint_eq(r->entries[0].used, 0);
}
END_TEST

START_TEST(test_report_refuses_what_is_not_one)
{
	bad("", "empty");
	bad("{\"schema\":1", "not valid JSON");
	bad("{" HEAD "\"kind\":\"gossip\",\"slot\":1767225600,\"entries\":[{" ARM "}]}", "kind");
	bad("{\"schema\":2,\"kind\":\"enter\"}", "schema");
	bad("{" HEAD "\"kind\":\"enter\",\"entries\":[{" ARM "}]}", "slot: missing");
	bad("{" HEAD "\"kind\":\"enter\",\"slot\":1767225601,\"entries\":[{" ARM "}]}", "multiple");
	bad("{" HEAD "\"kind\":\"enter\",\"slot\":1767225600,\"entries\":[]}", "entries");
	bad("{" HEAD "\"kind\":\"enter\",\"slot\":1767225600,\"entries\":[{\"model\":\"assistant\","
	    "\"rollout\":\"r17\",\"stage\":17,\"arm\":\"candidate\"}]}", "stage");
	bad("{" HEAD "\"kind\":\"enter\",\"slot\":1767225600,\"entries\":[{\"model\":\"assistant\"}]}", "arm");
	bad("{" HEAD "\"kind\":\"enter\",\"kind\":\"enter\"}", "duplicate");
	bad(USAGE(",\"rollout\":\"r1\""), "usage has none");
	bad(USAGE(",\"n\":{\"crash\":-1}"), "n.crash");
	bad(USAGE(",\"n\":{\"crash\":1.5}"), "n.crash");
	bad(USAGE(",\"used\":1441"), "used");
	bad(WINDOW(",\"h\":{\"ttft_ms\":{\"o\":-1,\"c\":[1]}}"), "h.ttft_ms");
	bad(WINDOW(",\"h\":{\"ttft_ms\":{\"o\":1,\"c\":[]}}"), "h.ttft_ms");
	bad("{" HEAD "\"kind\":\"usage\",\"day\":20454,\"entries\":[{\"model\":\"vision\"," VARIANT "}]}",
	    "not of model vision");
	bad("{" HEAD "\"kind\":\"usage\",\"day\":20454,\"entries\":[{\"model\":\"assistant\"," VARIANT
	    "},{\"model\":\"assistant\"," VARIANT "}]}", "named twice");
}
END_TEST

START_TEST(test_report_nonce_is_16_bytes)
{
	static const char *const nonces[] = {"", "AAAA", "AAECAwQFBgcICQoLDA0ODxA=", "AAECAwQFBgcICQoLDA0O*w=="};
	for (size_t i = 0; i < COUNT_OF(nonces); i++) {
		char text[500];
		snprintf(text, sizeof(text),
			 "{\"schema\":1,\"nonce\":\"%s\",\"channel\":\"stable\",\"class\":\"c\",\"kind\":"
			 "\"enter\",\"slot\":1767225600,\"entries\":[{" ARM "}]}", nonces[i]);
		bad(text, "nonce");
	}
}
END_TEST

/* Each kind's edges of age, to the second of the daemon's clock. */
START_TEST(test_report_times)
{
	char text[500];
	static const struct {
		int64_t slot;
		const char *says; /* NULL: taken */
	} cases[] = {{NOW, NULL},
		     {NOW + 600, NULL},
		     {NOW + 1200, "future"},
		     {NOW - REPORT_MAX_AGE_S, NULL},
		     {NOW - REPORT_MAX_AGE_S - 600, "older"}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(text, sizeof(text), "{" HEAD "\"kind\":\"enter\",\"slot\":%lld,\"entries\":[{" ARM "}]}",
			 (long long)cases[i].slot);
		if (cases[i].says)
			bad(text, cases[i].says);
		else /* its nonce is kept for as long as a copy would be taken */
			ck_assert_int_ge(report_nonce_expiry(good(text)),
					 cases[i].slot + REPORT_MAX_AGE_S);
	}
}
END_TEST

START_TEST(test_report_limits)
{
	struct err err;
	static struct report report;
	static char text[REPORT_MAX_BYTES + 2];
	memset(text, ' ', sizeof(text) - 1);
	ck_assert_int_eq(report_read(text, sizeof(text) - 1, NOW, &report, &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	json_auto_t *counters = json_object();
	for (unsigned i = 0; i <= REPORT_MAX_COUNTERS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "x%u", i);
		json_object_set_new(counters, name, json_integer(1));
	}
	char *list = json_text(counters);
	static char large[4000];
	snprintf(large, sizeof(large), USAGE(",\"n\":%s"), list);
	free(list);
	bad(large, "more than 32 counters");
}
END_TEST

START_TEST(test_report_order_of_members_does_not_matter)
{
	const struct report *r =
		good("{\"entries\":[{\"h\":{\"ttft_ms\":{\"c\":[7,70000],\"o\":3}},\"n\":{\"cr\\u0061sh\":2},"
		     VARIANT "," ARM "}],\"window\":1767229200,\"later\":{\"a\":[1,{}],\"b\":1.5e3},"
		     HEAD "\"k\\u0069nd\":\"w\\u0069ndow\"}");
	ck_assert_int_eq(r->kind, REPORT_WINDOW);
	ck_assert_uint_eq(r->entries[0].counts[0].n, 2);
	ck_assert_uint_eq(r->entries[0].hists[0].counts[0], 7);
	ck_assert_uint_eq(r->entries[0].hists[0].counts[1], REPORT_MAX_COUNT);
	ck_assert_str_eq(r->class, "android-8g");
	ck_assert_uint_eq(r->unknown, 0);
	ck_assert_uint_eq(report_size(r), offsetof(struct report, entries[1]));
}
END_TEST

/* What a tree would take a while for. */
START_TEST(test_report_bounds)
{
	char text[REPORT_MAX_BYTES], *at = text;
	bad("{" HEAD "\"x\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", "deeper");
	at += sprintf(at, "{\"x\":{");
	for (unsigned i = 0; i < 100; i++)
		at += sprintf(at, "%s\"m%u\":1", i ? "," : "", i);
	sprintf(at, "}}");
	bad(text, "64 members");
	bad("{" HEAD "\"x\":{\"a\":1,\"\\u0061\":2}}", "duplicate");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_report_enter,
		test_report_outcome,
		test_report_counts_and_histograms,
		test_report_summary_and_usage_tell_windows,
		test_report_refuses_what_is_not_one,
		test_report_nonce_is_16_bytes,
		test_report_times,
		test_report_limits,
		test_report_order_of_members_does_not_matter,
		test_report_bounds,
	};
	return suite_run("report", tests, COUNT_OF(tests));
}
