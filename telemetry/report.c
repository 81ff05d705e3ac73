#include "telemetry/report.h"

#include "base/scan.h"
#include "manifest/variant.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <sodium.h>
#include <stddef.h>
#include <string.h>

#define FUTURE_S 600	      /* how far a device's clock may be ahead */
#define ALIGN_S 60	      /* no finer time than this is taken */
#define NONCE_BASE64_LEN 24   /* 16 bytes, padded */
#define MAX_DURATION_MS 3600000

const char *const report_kind_names[REPORT_KINDS] = {
	[REPORT_ENTER] = "enter",	  [REPORT_OUTCOME] = "outcome",
	[REPORT_WINDOW] = "window",	  [REPORT_SUMMARY] = "summary",
	[REPORT_USAGE] = "usage",
};
const char *const report_result_names[REPORT_RESULTS] = {
	[REPORT_OK] = "ok",	[REPORT_DOWNLOAD] = "download", [REPORT_VERIFY] = "verify",
	[REPORT_DISK] = "disk", [REPORT_LOAD] = "load",		[REPORT_OOM] = "oom",
	[REPORT_CRASH] = "crash", [REPORT_PROBE] = "probe",
};
const char *const report_arm_names[3] = {"", "candidate", "control"};

/* A report's members as they stand in the text. */
struct raw_report {
	struct report *report;
	int64_t now;
	const char *kind, *nonce;
	const char *channel, *class, *runtime;
	int64_t schema, os_major, slot, window, entered, day;
	bool day_first;
	bool timed;	     /* kind and time are read and checked: entries can be judged */
	struct scan entries; /* where they stand, when they came before the time; at NULL: not so */
};

/* The same of an entry. */
struct raw_entry {
	struct report *report;
	struct report_entry *entry;
	const char *model, *variant, *rollout, *arm, *result, *via;
	int64_t stage, entered, load_ms, ttft_ms, probe_pm, used;
};

static int index_of(const char *const *names, unsigned count, const char *text)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(names[i], text))
			return (int)i;
	return -1;
}

/* Whether its entries speak of use: counters and histograms are read only then. */
static bool speaks_of_use(const struct report *report)
{
	return report->kind != REPORT_ENTER && report->kind != REPORT_OUTCOME;
}

/* ---- counters and histograms ---- */

/* A whole number from 0, clipped. */
static int count_read(struct scan *s, uint16_t *ret)
{
	int64_t n;
	if (scan_int(s, &n))
		return -1;
	if (n < 0)
		return err_set(s->err, ERR_INVALID, "less than 0");
	*ret = (uint16_t)(n < REPORT_MAX_COUNT ? n : REPORT_MAX_COUNT);
	return 0;
}

static int not_a_count(struct scan *s, const char *of, const struct scan_name *name)
{
	return err_set(s->err, ERR_INVALID, "%s.%.*s: not a whole number from 0", of,
		       (int)(name->len < 64 ? name->len : 64), name->at);
}

/* The metric of that name and kind; NULL: unknown, and counted. */
static const struct metric *metric_known(struct report *report, enum metric_kind kind,
					 const struct scan_name *name)
{
	const struct metric *metric = metric_find_span(name->at, name->len);
	if (!metric && name->escaped)
		for (unsigned i = 0; i < metric_count() && !metric; i++)
			metric = scan_name_is(name, metric_at(i)->name) ? metric_at(i) : NULL;
	if (metric && metric->kind == kind)
		return metric;
	report->unknown++;
	return NULL;
}

/* There is always room: a metric is there once, and there are fewer than REPORT_MAX_COUNTERS. */
static struct report_count *entry_count(struct report_entry *e, unsigned metric)
{
	for (unsigned i = 0; i < e->count_len; i++)
		if (e->counts[i].metric == metric)
			return &e->counts[i];
	e->counts[e->count_len] = (struct report_count){.metric = (uint8_t)metric};
	return &e->counts[e->count_len++];
}

/* "n" and "hit" alike: names to counts. */
static int counts_read(struct raw_entry *raw, struct scan *s, bool hits)
{
	const char *of = hits ? "hit" : "n";
	UNINITIALIZED struct scan_object object;
	struct scan_name name;
	int got;
	if (scan_object(s, &object))
		return err_in(s->err, "%s", of);
	while ((got = scan_member(s, &object, &name)) > 0) {
		uint16_t n;
		if (object.count > REPORT_MAX_COUNTERS)
			return err_set(s->err, ERR_TOO_LARGE, "%s: more than %d counters", of,
				       REPORT_MAX_COUNTERS);
		if (count_read(s, &n))
			return not_a_count(s, of, &name);
		const struct metric *metric = metric_known(raw->report, METRIC_COUNTER, &name);
		struct report_count *c = metric ? entry_count(raw->entry, metric_index(metric)) : NULL;
		if (c && hits)
			c->hit = n;
		else if (c)
			c->n = n;
	}
	return got;
}

/* A histogram on its way. */
struct raw_hist {
	int64_t first;
	const uint16_t *counts;
	size_t len;
};

/* The list of buckets becomes an array of two bytes each in its own place: "[" and the first digit
 * are two, and so is every further digit with the comma before it. */
static int buckets_read(void *target, struct scan *s)
{
	struct raw_hist *hist = target;
	int got;
	if (scan_peek(s) != '[')
		return err_set(s->err, ERR_INVALID, "c: must be a list");
	char *place = s->at - ((uintptr_t)s->at & 1); /* what is before a list is no value */
	if (scan_array(s))
		return -1;
	for (hist->len = 0; (got = scan_element(s, hist->len)) > 0; hist->len++) {
		uint16_t n;
		if (hist->len == SKETCH_BUCKETS)
			return err_set(s->err, ERR_INVALID, "c: more than %d buckets",
				       SKETCH_BUCKETS);
		if (count_read(s, &n))
			return err_set(s->err, ERR_INVALID, "c[%zu]: not a whole number from 0",
				       hist->len);
		memcpy(place + 2 * hist->len, &n, sizeof(n));
	}
	hist->counts = (const uint16_t *)(const void *)place;
	return got;
}

static const struct scan_field hist_fields[] = {
	{"o", SCAN_INT, .max = SKETCH_BUCKETS - 1, .at = offsetof(struct raw_hist, first)},
	{"c", SCAN_OWN, .own = buckets_read},
};

static int hist_read(struct report_entry *e, struct scan *s, const struct metric *metric)
{
	struct raw_hist raw = {0};
	if (scan_fields(s, hist_fields, COUNT_OF(hist_fields), true, &raw))
		return err_in(s->err, "h.%s", metric->name);
	if (!raw.len || (size_t)raw.first + raw.len > SKETCH_BUCKETS)
		return err_set(s->err, ERR_INVALID, "h.%s: no buckets, or beyond %d", metric->name,
			       SKETCH_BUCKETS - 1);
	e->hists[e->hist_len++] = (struct report_hist){
		.metric = (uint8_t)metric_index(metric), .first = (uint16_t)raw.first,
		.len = (uint16_t)raw.len, .counts = raw.counts};
	return 0;
}

static int hists_read(struct raw_entry *raw, struct scan *s)
{
	UNINITIALIZED struct scan_object object;
	struct scan_name name;
	int got;
	if (scan_object(s, &object))
		return err_in(s->err, "h");
	while ((got = scan_member(s, &object, &name)) > 0) {
		if (object.count > REPORT_MAX_HISTOGRAMS)
			return err_set(s->err, ERR_TOO_LARGE, "h: more than %d histograms",
				       REPORT_MAX_HISTOGRAMS);
		const struct metric *metric = metric_known(raw->report, METRIC_HISTOGRAM, &name);
		if (metric ? hist_read(raw->entry, s, metric) : scan_skip(s))
			return -1;
	}
	return got;
}

/* ---- entries ---- */

static int object_skip(struct scan *s, const char *of)
{
	if (scan_peek(s) != '{')
		return err_set(s->err, ERR_INVALID, "%s: must be an object", of);
	return scan_skip(s);
}

static int take_n(void *target, struct scan *s)
{
	struct raw_entry *raw = target;
	return speaks_of_use(raw->report) ? counts_read(raw, s, false) : object_skip(s, "n");
}

static int take_hit(void *target, struct scan *s)
{
	struct raw_entry *raw = target;
	return speaks_of_use(raw->report) ? counts_read(raw, s, true) : object_skip(s, "hit");
}

static int take_h(void *target, struct scan *s)
{
	struct raw_entry *raw = target;
	return speaks_of_use(raw->report) ? hists_read(raw, s) : object_skip(s, "h");
}

#define AT(field) .at = offsetof(struct raw_entry, field)
static const struct scan_field entry_fields[] = {
	{"model", SCAN_NAME, AT(model)},
	{"rollout", SCAN_NAME, true, AT(rollout)},
	{"stage", SCAN_INT, true, 1, REPORT_STAGES, AT(stage)},
	{"arm", SCAN_TEXT, true, .max = 16, AT(arm)},
	{"entered", SCAN_INT, true, AT(entered)},
	{"variant", SCAN_TEXT, true, .max = VARIANT_TEXT_MAX, AT(variant)},
	{"result", SCAN_TEXT, true, .max = 16, AT(result)},
	{"via", SCAN_NAME, true, AT(via)},
	{"load_ms", SCAN_INT, true, .max = MAX_DURATION_MS, AT(load_ms)},
	{"ttft_ms", SCAN_INT, true, .max = MAX_DURATION_MS, AT(ttft_ms)},
	{"probe_pm", SCAN_INT, true, .max = 1000, AT(probe_pm)},
	{"used", SCAN_INT, true, .max = 1440, AT(used)},
	{"hit", SCAN_OWN, true, .own = take_hit},
	{"n", SCAN_OWN, true, .own = take_n},
	{"h", SCAN_OWN, true, .own = take_h},
};
#undef AT

static int check_arm(struct report_entry *e, const struct raw_entry *raw, struct err *err)
{
	if (raw->report->kind == REPORT_USAGE)
		return raw->rollout || raw->arm || raw->stage
			       ? err_set(err, ERR_INVALID, "rollout: usage has none")
			       : 0;
	if (!raw->rollout || !raw->arm || !raw->stage)
		return err_set(err, ERR_INVALID,
			       "rollout, stage, arm: all three are required here");
	const int arm = index_of(report_arm_names, 3, raw->arm);
	if (arm < 1)
		return err_set(err, ERR_INVALID, "arm: neither candidate nor control");
	e->rollout = raw->rollout;
	e->arm = (enum report_arm)arm;
	e->stage = (unsigned)raw->stage;
	return 0;
}

/* Its variant must be one of its model; an enter has none. */
static int check_variant(struct report_entry *e, const struct raw_entry *raw, struct err *err)
{
	if (raw->report->kind == REPORT_ENTER)
		return 0;
	if (!raw->variant)
		return err_set(err, ERR_INVALID, "variant: missing");
	if (!variant_of_model(raw->variant, raw->model))
		return err_set(err, ERR_INVALID, "variant: not of model %s, or not model@version/tier",
			       raw->model);
	e->variant = raw->variant;
	return 0;
}

static int check_outcome(struct report_entry *e, const struct raw_entry *raw, struct err *err)
{
	if (!raw->result)
		return err_set(err, ERR_INVALID, "result: missing");
	const int result = index_of(report_result_names, REPORT_RESULTS, raw->result);
	if (result < 0)
		return err_set(err, ERR_INVALID,
			       "result: not one of ok download verify disk load oom crash probe");
	e->result = (enum report_result)result;
	e->entered = raw->entered;
	e->load_ms = raw->load_ms;
	e->ttft_ms = raw->ttft_ms;
	e->probe_pm = raw->probe_pm;
	e->via = raw->via ? raw->via : "";
	if (e->entered > raw->report->at || e->entered % REPORT_SLOT_S)
		return err_set(err, ERR_INVALID,
			       "entered: not the start of a slot before the outcome's");
	return 0;
}

/* One entry a model: a second one would count its device twice. */
static int check_model(struct report_entry *e, const struct raw_entry *raw, struct err *err)
{
	for (unsigned i = 0; i < raw->report->entry_len; i++)
		if (!strcmp(raw->report->entries[i].model, raw->model))
			return err_set(err, ERR_INVALID, "model: named twice; one entry a model");
	e->model = raw->model;
	return 0;
}

static int entry_read(struct report *report, struct scan *s)
{
	struct report_entry *e = &report->entries[report->entry_len];
	struct raw_entry raw = {
		.report = report, .entry = e, .load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	e->rollout = e->variant = e->via = "";
	e->stage = 0;
	e->arm = REPORT_ARM_NONE;
	e->entered = 0;
	e->result = REPORT_OK;
	e->load_ms = e->ttft_ms = e->probe_pm = -1;
	e->count_len = e->hist_len = 0;
	if (scan_fields(s, entry_fields, COUNT_OF(entry_fields), false, &raw) ||
	    check_model(e, &raw, s->err) || check_arm(e, &raw, s->err) ||
	    check_variant(e, &raw, s->err))
		return -1;
	e->used = speaks_of_use(report) ? (uint32_t)raw.used : 0;
	return report->kind == REPORT_OUTCOME ? check_outcome(e, &raw, s->err) : 0;
}

static int entries_read(struct report *report, struct scan *s)
{
	int got;
	if (scan_array(s))
		return err_in(s->err, "entries");
	for (; (got = scan_element(s, report->entry_len)) > 0; report->entry_len++) {
		if (report->entry_len == REPORT_MAX_ENTRIES)
			return err_set(s->err, ERR_INVALID, "entries: more than %d",
				       REPORT_MAX_ENTRIES);
		if (entry_read(report, s))
			return err_in(s->err, "entries[%u]", report->entry_len);
	}
	if (!got && !report->entry_len)
		return err_set(s->err, ERR_INVALID, "entries: at least one is needed");
	return got;
}

/* ---- the whole ---- */

/* How old a report's time may be: a summary speaks of an entry W windows before it. */
static int64_t max_age(enum report_kind kind)
{
	return kind == REPORT_SUMMARY || kind == REPORT_USAGE ? 2 * REPORT_MAX_AGE_S
							      : REPORT_MAX_AGE_S;
}

int64_t report_nonce_expiry(const struct report *report)
{
	return report->at + max_age(report->kind) + FUTURE_S;
}

size_t report_size(const struct report *report)
{
	return offsetof(struct report, entries) + report->entry_len * sizeof(report->entries[0]);
}

static int check_time(const struct raw_report *raw, const char *field, struct err *err)
{
	const enum report_kind kind = raw->report->kind;
	const int64_t at = raw->report->at;
	const int64_t step = kind == REPORT_WINDOW ? ALIGN_S : REPORT_SLOT_S;
	if (at % step)
		return err_set(err, ERR_INVALID, "%s: %lld is not a multiple of %lld seconds",
			       field, (long long)at, (long long)step);
	if (at > raw->now + FUTURE_S)
		return err_set(err, ERR_INVALID,
			       "%s: lies in the future; correct the clock by the Date of our replies",
			       field);
	if (at < raw->now - max_age(kind))
		return err_set(err, ERR_INVALID, "%s: older than %lld hours; drop the report",
			       field, (long long)(max_age(kind) / 3600));
	return 0;
}

/* Kind and time.  0 with raw->timed still false: one of them has not come yet. */
static int head_read(struct raw_report *raw, struct err *err)
{
	static const char *const names[REPORT_KINDS] = {"slot", "slot", "window", "entered", "day"};
	const int64_t values[REPORT_KINDS] = {raw->slot, raw->slot, raw->window, raw->entered,
					      raw->day < 0 ? -1 : raw->day * REPORT_DAY_S};
	const int kind = raw->kind ? index_of(report_kind_names, REPORT_KINDS, raw->kind) : -1;
	if (!raw->kind)
		return 0;
	if (kind < 0)
		return err_set(err, ERR_INVALID,
			       "kind: not one of enter outcome window summary usage");
	if (values[kind] < 0)
		return 0;
	raw->report->kind = (enum report_kind)kind;
	raw->report->at = values[kind];
	if (check_time(raw, names[kind], err))
		return -1;
	raw->timed = true;
	return 0;
}

/* Entries that come before what they are judged by wait until the end. */
static int take_entries(void *target, struct scan *s)
{
	struct raw_report *raw = target;
	if (head_read(raw, s->err))
		return -1;
	if (raw->timed)
		return entries_read(raw->report, s);
	raw->entries = *s;
	return scan_skip(s);
}

#define AT(field) .at = offsetof(struct raw_report, field)
static const struct scan_field report_fields[] = {
	{"schema", SCAN_INT, false, 1, 1, AT(schema)},
	{"kind", SCAN_TEXT, .max = 16, AT(kind)},
	{"nonce", SCAN_TEXT, .max = NONCE_BASE64_LEN, AT(nonce)},
	{"channel", SCAN_NAME, AT(channel)},
	{"class", SCAN_NAME, AT(class)},
	{"os_major", SCAN_INT, true, .max = 10000, AT(os_major)},
	{"runtime", SCAN_TEXT, true, .max = 64, AT(runtime)},
	{"slot", SCAN_INT, true, AT(slot)},
	{"window", SCAN_INT, true, AT(window)},
	{"entered", SCAN_INT, true, AT(entered)},
	{"day", SCAN_INT, true, .max = 1000000, AT(day)},
	{"day_first", SCAN_BOOL, true, AT(day_first)},
	{"entries", SCAN_OWN, .own = take_entries},
};
#undef AT

static int check_nonce(struct report *report, const char *text, struct err *err)
{
	size_t len;
	if (!sodium_base642bin(report->nonce, REPORT_NONCE_LEN, text, strlen(text), NULL, &len,
			       NULL, sodium_base64_VARIANT_ORIGINAL) &&
	    len == REPORT_NONCE_LEN)
		return 0;
	return err_set(err, ERR_INVALID, "nonce: not 16 bytes in base64");
}

static int check_head(struct raw_report *raw, struct err *err)
{
	static const char *const names[REPORT_KINDS] = {"slot", "slot", "window", "entered", "day"};
	if (!raw->timed && head_read(raw, err))
		return -1;
	if (!raw->timed) {
		const int kind = index_of(report_kind_names, REPORT_KINDS, raw->kind);
		return err_set(err, ERR_INVALID, "%s: missing; kind %s needs it", names[kind],
			       report_kind_names[kind]);
	}
	return check_nonce(raw->report, raw->nonce, err);
}

static int whole_read(struct raw_report *raw, struct scan *s)
{
	struct report *report = raw->report;
	if (scan_fields(s, report_fields, COUNT_OF(report_fields), false, raw) || scan_end(s) ||
	    check_head(raw, s->err))
		return -1;
	report->channel = raw->channel;
	report->class = raw->class;
	report->runtime = raw->runtime ? raw->runtime : "";
	report->os_major = (unsigned)raw->os_major;
	report->day_first = raw->day_first;
	return raw->entries.at ? entries_read(report, &raw->entries) : 0;
}

int report_read(char *bytes, size_t len, int64_t now, struct report *ret_report, struct err *err)
{
	struct raw_report raw = {.report = ret_report, .now = now, .slot = -1, .window = -1,
				 .entered = -1, .day = -1};
	struct scan scan;
	if (len > REPORT_MAX_BYTES)
		return err_set(err, ERR_TOO_LARGE, "report: more than %d bytes", REPORT_MAX_BYTES);
	if (!len)
		return err_set(err, ERR_INVALID, "report: empty; it must be JSON");
	ret_report->unknown = 0;
	ret_report->entry_len = 0;
	scan_init(&scan, bytes, len, err);
	return whole_read(&raw, &scan) ? err_in(err, "report") : 0;
}
