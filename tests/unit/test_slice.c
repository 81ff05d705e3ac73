/* Where in a class a fault is: from reports to the sentence of a decision. */
#include "rollout/decide.h"
#include "rollout/family.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define T0 ((int64_t)1767225600)
#define HOUR 3600
#define DEVICES 1000 /* of each arm */
#define FLOOR 50

/* What is wrong with candidates of some devices. */
enum fault { NOTHING, LOAD, CRASH, MISSING, SLOW };
struct scene {
	struct house house;
	enum fault fault;
	unsigned one_of; /* so many devices have the bad OS */
	bool everywhere; /* the fault, whatever the OS */
	struct cells *cells;
	struct db *db;
	struct err *err;
};

static int tell(struct scene *s, enum report_kind kind, enum report_arm arm, unsigned device)
{
	bool known;
	static const uint16_t one = 1;
	const bool old = device % s->one_of == 0;
	const bool bad = arm == REPORT_ARM_CANDIDATE && (s->everywhere ? device % 20 == 1 : old);
	struct report r = {.kind = kind, .channel = "stable", .class = "mid", .os_major = old ? 9 : 15,
			   .runtime = device % 3 ? "llama.cpp/4000" : "mlc/1",
			   .at = kind == REPORT_WINDOW ? T0 + HOUR : T0, .entry_len = 1};
	struct report_entry *e = &r.entries[0];
	const struct metric *ttft = metric_find("ttft_ms");
	*e = (struct report_entry){.model = "assistant", .rollout = "r1", .stage = 1, .arm = arm,
				   .entered = T0, .via = "", .load_ms = -1, .ttft_ms = -1, .probe_pm = -1,
				   .variant = kind == REPORT_ENTER ? "" : "assistant@1.0.0/q4_0"};
	if (kind == REPORT_OUTCOME && bad && s->fault == MISSING)
		return 0;
	if (kind == REPORT_OUTCOME && bad && s->fault == LOAD)
		e->result = REPORT_LOAD;
	if (kind == REPORT_WINDOW && bad && s->fault == CRASH)
		e->counts[e->count_len++] = (struct report_count){
			(uint8_t)metric_index(metric_find("crash")), 1, 1};
	if (kind == REPORT_WINDOW)
		e->hists[e->hist_len++] = (struct report_hist){
			(uint8_t)metric_index(ttft),
			(uint16_t)(sketch_bucket(ttft, 300 + device % 90) +
				   (bad && s->fault == SLOW ? 12 : 0)), 1, &one};
	if (cells_add(s->cells, s->db, &r, &known, s->err))
		return -1;
	ck_assert(known);
	return 0;
}

static int tell_all(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	static const enum report_kind kinds[] = {REPORT_ENTER, REPORT_OUTCOME, REPORT_WINDOW};
	const int64_t closed[CELLS_MARKS] = {0};
	s->cells = s->house.cells;
	s->db = db;
	s->err = err;
	if (cells_lane_set(s->cells, "r1", "mid", closed, err))
		return -1;
	for (unsigned i = 0; i < DEVICES; i++)
		for (unsigned k = 0; k < COUNT_OF(kinds); k++)
			if (tell(s, kinds[k], REPORT_ARM_CANDIDATE, i) ||
			    tell(s, kinds[k], REPORT_ARM_CONTROL, i))
				return -1;
	return cells_flush(s->cells, db, err);
}

static void open_scene(struct scene *s, enum fault fault, unsigned one_of, bool everywhere)
{
	*s = (struct scene){.fault = fault, .one_of = one_of, .everywhere = everywhere};
	house_open(&s->house, 1);
	house_run(&s->house, tell_all, s);
}

static const struct policy_gate *gate_of(const char *name)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].name, name))
			return &policy_gates[i];
	ck_abort_msg("no gate %s", name);
	return NULL;
}

static struct slice_table *read_table(struct scene *s)
{
	struct err err;
	struct slice_table *table;
	ck_assert_msg(!slice_table_read(&table, s->house.db, "r1", "mid", FLOOR, &err), "%s", err.text);
	return table;
}

START_TEST(test_slice_of_each_kind_of_gate)
{
	static const struct {
		enum fault fault;
		const char *gate, *sentence;
	} cases[] = {
		{LOAD, "outcome.load", "40 of 40 on os 9, where 4 % of devices are"},
		{CRASH, "window.crash", "40 of 40 on os 9, where 4 % of devices are"},
		{MISSING, "missing", "40 of 40 on os 9, where 4 % of devices are"},
		{SLOW, "window.ttft_ms.p95", "mostly on os 9, where 4 % of devices are"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct scene s;
		struct slice_fault fault;
		char text[SLICE_TEXT];
		open_scene(&s, cases[i].fault, 25, false);
		struct slice_table *table = read_table(&s);
		ck_assert_msg(slice_of_gate(table, gate_of(cases[i].gate), 1, &fault), "%s", cases[i].gate);
		slice_sentence(&fault, FLOOR, text);
		ck_assert_str_eq(text, cases[i].sentence);
		ck_assert(!slice_of_gate(table, gate_of("outcome.oom"), 1, &fault));
		slice_table_free(table);
		house_close(&s.house);
	}
}
END_TEST

START_TEST(test_slice_is_not_named_when_the_fault_is_everywhere)
{
	struct scene s;
	struct slice_fault fault;
	open_scene(&s, LOAD, 25, true);
	struct slice_table *table = read_table(&s);
	ck_assert(!slice_of_gate(table, gate_of("outcome.load"), 1, &fault));
	slice_table_free(table);
	house_close(&s.house);
}
END_TEST

START_TEST(test_slice_of_few_devices_is_not_named)
{
	struct scene s;
	struct slice_fault fault;
	char text[SLICE_TEXT];
	open_scene(&s, LOAD, 50, false); /* 20 of each arm */
	struct slice_table *table = read_table(&s);
	ck_assert(slice_of_gate(table, gate_of("outcome.load"), 1, &fault));
	ck_assert(!fault.named);
	slice_sentence(&fault, FLOOR, text);
	ck_assert_str_eq(text, "mostly in a slice by os of fewer than 50 devices, not named");
	json_t *json = slice_json(table, &fault);
	ck_assert_ptr_null(json_object_get(json, "value"));
	json_decref(json);
	slice_table_free(table);
	house_close(&s.house);
}
END_TEST

/* The decision's reason, and the item of its gate; no other gate's item has one. */
static void check_decision(const struct evidence *known, struct circumstances *c)
{
	struct decision d;
	size_t i;
	json_t *item;
	unsigned named = 0;
	decide(known, c, &d);
	ck_assert_int_eq(d.kind, DECIDE_ROLL_BACK);
	ck_assert_ptr_null(strstr(d.reason, "on os"));
	decide_locate(c->slices, &d);
	ck_assert_msg(strstr(d.reason, "; 40 of 40 on os 9, where 4 % of devices are"), "%s", d.reason);
	json_auto_t *explained = decide_explain(known, c);
	json_array_foreach (json_object_get(explained, "gates"), i, item) {
		const json_t *slice = json_object_get(item, "slice");
		if (json_is_null(slice))
			continue;
		named++;
		ck_assert_str_eq(json_string_value(json_object_get(item, "metric")), "outcome.load");
		ck_assert_str_eq(json_string_value(json_object_get(slice, "by")), "os");
		ck_assert_str_eq(json_string_value(json_object_get(slice, "value")), "9");
		ck_assert_int_eq(json_integer_value(json_object_get(slice, "devices_ppm")), 40000);
		ck_assert_int_eq(json_integer_value(json_object_get(
					 json_object_get(slice, "candidate"), "k")), 40);
		ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(item, "sentence")),
					     "on os 9"));
	}
	ck_assert_uint_eq(named, 1);
}

START_TEST(test_slice_is_named_by_the_decision)
{
	struct scene s;
	struct err err;
	struct family *family;
	struct policy policy;
	bool news;
	open_scene(&s, LOAD, 25, false);
	struct lane lane = {.rollout = "r1", .class = "mid", .channel = "stable", .model = "assistant",
			    .release = "2.0.0", .stable = "1.0.0", .salt = "", .reason = "", .stage = 1,
			    .since = T0, .started = T0, .clock = {HOUR, 24, 300, 86400, 1800, 20000},
			    .baseline = "{}"};
	for (unsigned m = 0; m < CELLS_MARKS; m++)
		lane.closed[m] = T0 + 100 * HOUR;
	policy_default(&policy);
	const struct evidence_source source = {.db = s.house.db};
	ck_assert(!family_new(&family, &policy, &lane, 1, false, &err) &&
		  !family_update(family, &(struct family_news){&lane, 1, &source, 1}, &news, &err));
	struct slice_table *table = read_table(&s);
	struct circumstances c = {&lane, &policy, 1, true, T0 + 101 * HOUR, family, table, 0};
	check_decision(family_evidence(family, "mid"), &c);
	slice_table_free(table);
	family_free(family);
	house_close(&s.house);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_slice_of_each_kind_of_gate,
		test_slice_is_not_named_when_the_fault_is_everywhere,
		test_slice_of_few_devices_is_not_named,
		test_slice_is_named_by_the_decision,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("slice", tests, COUNT_OF(tests));
}
