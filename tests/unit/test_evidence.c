/* From reports through cells to what the gates know: rows and buckets of one time meet. */
#include "base/crew.h"
#include "rollout/family.h"
#include "server/app.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define T0 ((int64_t)1767225600)
#define HOUR 3600
#define HOURS 3
#define CANDIDATES 60
#define CONTROLS 240

static struct lane lane_of(int64_t closed)
{
	struct lane lane = {.rollout = "r1", .class = "mid", .channel = "stable", .model = "assistant",
			    .release = "2.0.0", .stable = "1.0.0", .salt = "", .reason = "",
			    .stage = 1, .since = T0, .started = T0,
			    .clock = {HOUR, 24, 300, 86400, 1800, 20000}, .baseline = "{}"};
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		lane.closed[m] = closed;
	return lane;
}

struct telling {
	const char *class;
	struct cells *cells;
	struct db *db;
	struct err *err;
};

static int tell(const struct telling *t, enum report_kind kind, enum report_arm arm, int64_t at,
		int64_t ttft_ms, int64_t probe_pm)
{
	bool known;
	struct report r = {.kind = kind, .channel = "stable", .class = t->class, .os_major = 15,
			   .runtime = "", .at = at, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	const __typeof__(*e->hists->counts) one = 1;
	*e = (struct report_entry){.model = "assistant", .rollout = "r1", .stage = 1, .arm = arm,
				   .entered = at, .via = "chunks", .load_ms = -1, .ttft_ms = -1,
				   .probe_pm = probe_pm};
	e->variant = kind == REPORT_ENTER		 ? ""
		     : arm == REPORT_ARM_CANDIDATE ? "assistant@2.0.0/q4_0"
						   : "assistant@1.0.0/q4_0";
	if (kind == REPORT_WINDOW) {
		const struct metric *ttft = metric_find("ttft_ms");
		e->hists[e->hist_len++] = (struct report_hist){
			metric_index(ttft), sketch_bucket(ttft, ttft_ms), 1, &one};
	}
	if (kind == REPORT_WINDOW && arm == REPORT_ARM_CANDIDATE)
		e->counts[e->count_len++] = (struct report_count){
			(uint8_t)metric_index(metric_find("crash")), 5, 1};
	if (cells_add(t->cells, t->db, &r, &known, t->err))
		return -1;
	ck_assert(known);
	return 0;
}

static int tell_arm(const struct telling *t, enum report_arm arm, unsigned devices, int64_t probe_pm)
{
	for (unsigned i = 0; i < devices; i++) {
		if (tell(t, REPORT_ENTER, arm, T0, 0, -1) ||
		    tell(t, REPORT_OUTCOME, arm, T0, 0, probe_pm))
			return -1;
		for (int64_t h = 1; h <= HOURS; h++)
			if (tell(t, REPORT_WINDOW, arm, T0 + h * HOUR, 200 + i, -1))
				return -1;
	}
	return 0;
}

static int tell_all(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const struct telling t = {"mid", h->cells, db, err};
	const int64_t closed[CELLS_MARKS] = {0};
	if (cells_lane_set(h->cells, "r1", "mid", closed, err) ||
	    tell_arm(&t, REPORT_ARM_CANDIDATE, CANDIDATES, 700) ||
	    tell_arm(&t, REPORT_ARM_CONTROL, CONTROLS, 900))
		return -1;
	return cells_flush(h->cells, db, err);
}

/* Of each class another number of candidates. */
static int tell_classes(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const int64_t closed[CELLS_MARKS] = {0};
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		const struct telling t = {house_classes[i], h->cells, db, err};
		if (cells_lane_set(h->cells, "r1", t.class, closed, err) ||
		    tell_arm(&t, REPORT_ARM_CANDIDATE, CANDIDATES + 10 * i, 700) ||
		    tell_arm(&t, REPORT_ARM_CONTROL, CONTROLS, 900))
			return -1;
	}
	return cells_flush(h->cells, db, err);
}

static struct evidence_gate gate_of(const struct family *f, const char *name)
{
	struct evidence_gate g = {.gate = NULL};
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].name, name))
			evidence_gate(family_evidence(f, "mid"), i, false, &g);
	ck_assert_ptr_nonnull(g.gate);
	return g;
}

static struct family *family_of(const struct lane *lane)
{
	struct family *f;
	struct err err;
	struct policy policy;
	policy_default(&policy);
	ck_assert_msg(!family_new(&f, &policy, lane, 1, false, &err), "%s", err.text);
	return f;
}

/* The lane's evidence when cells closed up to these times, one after the other. */
static struct family *learn(struct house *h, const int64_t *closed, unsigned count)
{
	struct err err;
	struct lane lane = lane_of(closed[0]);
	struct family *f = family_of(&lane);
	const struct evidence_source source = {.db = h->db};
	const struct family_news closing = {&lane, 1, &source, 1};
	bool any;
	for (unsigned i = 0; i < count; i++) {
		lane = lane_of(closed[i]);
		ck_assert_msg(!family_update(f, &closing, &any, &err), "%s", err.text);
	}
	return f;
}

/* The same from what closed in all lanes, with no more questions than for buckets. */
static struct family *learn_spans(struct house *h, const int64_t *closed, unsigned count)
{
	struct err err;
	struct lane lane = lane_of(closed[0]);
	struct family *f = family_of(&lane);
	AUTO(series_known_free) struct series_known *known = series_known_new();
	uint64_t rows = 0;
	bool any;
	for (unsigned i = 0; i < count; i++) {
		struct span *spans[CELLS_MARKS];
		struct evidence_source source = {.db = h->db};
		const struct family_news closing = {&lane, 1, &source, 1};
		lane = lane_of(closed[i]);
		for (unsigned m = 0; m < CELLS_MARKS; m++) {
			ck_assert_msg(!span_begin(&spans[m], h->db, i ? closed[i - 1] : 0,
						  closed[i], &err) &&
					      !series_known_update(known, h->db, &err) &&
					      !span_finish(spans[m], known, &err),
				      "%s", err.text);
			source.spans[m] = spans[m];
			rows += span_rows(spans[m]);
		}
		ck_assert_msg(!family_update(f, &closing, &any, &err), "%s", err.text);
		for (unsigned m = 0; m < CELLS_MARKS; m++)
			span_free(spans[m]);
	}
	ck_assert_uint_gt(rows, 50);
	return f;
}

static int add_lane(struct db *db, void *arg, struct err *err)
{
	struct lane lane = lane_of(T0);
	(void)arg;
	lane.state = LANE_RUNNING;
	return lane_insert(db, &lane, err);
}

static void same_counts(const struct gate_counts *a, const struct gate_counts *b)
{
	ck_assert_double_eq(a->n_t, b->n_t);
	ck_assert_double_eq(a->k_t, b->k_t);
	ck_assert_double_eq(a->n_c, b->n_c);
	ck_assert_double_eq(a->k_c, b->k_c);
}

static void same_evidence(const struct family *x, const struct family *y, const char *class)
{
	for (unsigned i = 0; i < policy_gate_count; i++) {
		struct evidence_gate a, b;
		evidence_gate(family_evidence(x, class), i, false, &a);
		evidence_gate(family_evidence(y, class), i, false, &b);
		ck_assert_double_eq(a.log_e, b.log_e);
		same_counts(&a.total, &b.total);
	}
	for (unsigned i = 0; i < policy_guard_count; i++) {
		struct evidence_guard a, b;
		evidence_guard(family_evidence(x, class), i, 1, &a);
		evidence_guard(family_evidence(y, class), i, 1, &b);
		ck_assert_double_eq(a.log_e, b.log_e);
		same_counts(&a.total, &b.total);
	}
}

/* Three lanes' evidence, read over so many connections at once. */
static struct family *learn_lanes(struct house *h, unsigned readers)
{
	bool any;
	struct err err;
	struct family *f;
	struct policy policy;
	struct db *dbs[CREW_MOST];
	struct lane lanes[HOUSE_CLASSES];
	struct evidence_source sources[CREW_MOST];
	const struct family_news closing = {lanes, HOUSE_CLASSES, sources, readers};
	policy_default(&policy);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		lanes[i] = lane_of(T0 + 10 * HOUR);
		lanes[i].class = house_classes[i];
	}
	for (unsigned i = 0; i < readers; i++) {
		ck_assert_msg(!app_db_open(&dbs[i], h->scratch.dir, false, &err), "%s", err.text);
		sources[i] = (struct evidence_source){.db = dbs[i]};
	}
	ck_assert_msg(!family_new(&f, &policy, lanes, HOUSE_CLASSES, false, &err) &&
			      !family_update(f, &closing, &any, &err),
		      "%s", err.text);
	ck_assert(any);
	for (unsigned i = 0; i < readers; i++)
		db_close(dbs[i]);
	return f;
}

/* Whoever reads which lane. */
START_TEST(test_evidence_is_the_same_on_many_threads)
{
	struct house h;
	house_open(&h, 1);
	house_run(&h, tell_classes, &h);
	struct family *one = learn_lanes(&h, 1), *many = learn_lanes(&h, 4);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		same_evidence(one, many, house_classes[i]);
	for (unsigned i = 0; i < policy_gate_count; i++)
		ck_assert_double_eq(family_pooled(one, i), family_pooled(many, i));
	ck_assert_double_gt(family_pooled(one, 0) + 1000, 0); /* there is something to pool */
	family_free(one);
	family_free(many);
	house_close(&h);
}
END_TEST

START_TEST(test_evidence_counts_what_devices_told)
{
	struct house h;
	const int64_t all = T0 + 100 * HOUR;
	house_open(&h, 1);
	house_run(&h, tell_all, &h);
	struct family *f = learn(&h, &all, 1);
	const struct evidence_gate crash = gate_of(f, "window.crash");
	ck_assert_double_eq(crash.total.n_t, CANDIDATES * HOURS);
	ck_assert_double_eq(crash.total.k_t, CANDIDATES * HOURS);
	ck_assert_double_eq(crash.total.n_c, CONTROLS * HOURS);
	ck_assert_double_eq(crash.total.k_c, 0);
	/* The first 300 control windows only say where p95 lies: two hours of them. */
	const struct evidence_gate ttft = gate_of(f, "window.ttft_ms.p95");
	ck_assert_double_eq(ttft.total.n_c, CONTROLS);
	ck_assert_double_eq(ttft.total.n_t, CANDIDATES);
	const struct evidence_gate score = gate_of(f, "outcome.probe_score");
	ck_assert_double_eq(score.total.n_t, CANDIDATES);
	ck_assert_double_eq_tol(score.total.k_t / CANDIDATES, 0.3, 1e-9);
	ck_assert_double_eq_tol(score.total.k_c / CONTROLS, 0.1, 1e-9);
	ck_assert_double_gt(score.log_e, 5);
	const struct evidence_gate missing = gate_of(f, "missing");
	ck_assert_double_eq(missing.total.n_c, CONTROLS);
	ck_assert_double_eq(missing.total.k_c, 0);
	family_free(f);
	house_close(&h);
}
END_TEST

/* Closing hour by hour, or all at once after a restart, or read with all lanes, leads to the same. */
START_TEST(test_evidence_is_the_same_however_it_is_fed)
{
	struct house h;
	int64_t steps[101];
	const int64_t all = T0 + 100 * HOUR;
	for (unsigned i = 0; i <= 100; i++)
		steps[i] = T0 + i * HOUR;
	house_open(&h, 1);
	house_run(&h, tell_all, &h);
	house_run(&h, add_lane, NULL);
	AUTO(family_free) struct family *once = learn(&h, &all, 1);
	AUTO(family_free) struct family *often = learn(&h, steps, 101);
	AUTO(family_free) struct family *spans = learn_spans(&h, steps, 101);
	AUTO(family_free) struct family *span = learn_spans(&h, &all, 1);
	same_evidence(once, often, "mid");
	same_evidence(once, spans, "mid");
	same_evidence(once, span, "mid");
	house_close(&h);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_evidence_counts_what_devices_told,
		test_evidence_is_the_same_however_it_is_fed,
		test_evidence_is_the_same_on_many_threads,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("evidence", tests, COUNT_OF(tests));
}
