#include "tests/support/report_tree.h"

#include "base/json.h"
#include "base/scan.h"
#include "manifest/variant.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define FUTURE_S 600	      /* how far a device's clock may be ahead */
#define ALIGN_S 60	      /* no finer time than this is taken */
#define NONCE_BASE64_LEN 24   /* 16 bytes, padded */
#define MAX_DURATION_MS 3600000

/* What reading needs at every depth. */
struct reading {
	struct report *report;
	struct arena *arena;
	int64_t now;
	struct err *err;
};

static int index_of(const char *const *names, unsigned count, const char *text)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(names[i], text))
			return (int)i;
	return -1;
}

/* Text that outlives the JSON; NULL stays "". */
static int keep(struct reading *r, const char **slot, const char *text)
{
	*slot = arena_strdup(r->arena, text ? text : "");
	return *slot ? 0 : err_nomem(r->err);
}

static int read_nonce(struct reading *r, const char *text)
{
	size_t len;
	if (strlen(text) <= NONCE_BASE64_LEN &&
	    !sodium_base642bin(r->report->nonce, REPORT_NONCE_LEN, text, strlen(text), NULL, &len,
			       NULL, sodium_base64_VARIANT_ORIGINAL) &&
	    len == REPORT_NONCE_LEN)
		return 0;
	return err_set(r->err, ERR_INVALID, "nonce: not 16 bytes in base64");
}

/* How old a report's time may be: a summary speaks of an entry W windows before it. */
static int64_t max_age(enum report_kind kind)
{
	return kind == REPORT_SUMMARY || kind == REPORT_USAGE ? 2 * REPORT_MAX_AGE_S
							      : REPORT_MAX_AGE_S;
}

static int check_time(struct reading *r, const char *field, int64_t at, int64_t step)
{
	if (at % step)
		return err_set(r->err, ERR_INVALID, "%s: %lld is not a multiple of %lld seconds",
			       field, (long long)at, (long long)step);
	if (at > r->now + FUTURE_S)
		return err_set(r->err, ERR_INVALID,
			       "%s: lies in the future; correct the clock by the Date of our replies",
			       field);
	if (at < r->now - max_age(r->report->kind))
		return err_set(r->err, ERR_INVALID, "%s: older than %lld hours; drop the report",
			       field, (long long)(max_age(r->report->kind) / 3600));
	return 0;
}

/* ---- counters and histograms ---- */

/* An array element or member as a count, clipped; -1 unless a whole number from 0. */
static int64_t count_of(const json_t *value)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return -1;
	const int64_t n = json_integer_value(value);
	return n < REPORT_MAX_COUNT ? n : REPORT_MAX_COUNT;
}

static struct report_count *entry_count(struct report_entry *e, unsigned metric)
{
	for (unsigned i = 0; i < e->count_len; i++)
		if (e->counts[i].metric == metric)
			return &e->counts[i];
	if (e->count_len == REPORT_MAX_COUNTERS)
		return NULL;
	e->counts[e->count_len] = (struct report_count){.metric = (uint8_t)metric};
	return &e->counts[e->count_len++];
}

/* "n" and "hit" alike: names to counts. */
static int read_counts(struct reading *r, struct report_entry *e, json_t *object, bool hits)
{
	const char *name;
	json_t *value;
	if (json_object_size(object) > REPORT_MAX_COUNTERS)
		return err_set(r->err, ERR_TOO_LARGE, "%s: more than %d counters",
			       hits ? "hit" : "n", REPORT_MAX_COUNTERS);
	json_object_foreach (object, name, value) {
		const int64_t n = count_of(value);
		if (n < 0)
			return err_set(r->err, ERR_INVALID, "%s.%.64s: not a whole number from 0",
				       hits ? "hit" : "n", name);
		const struct metric *metric = metric_find(name);
		struct report_count *c = metric && metric->kind == METRIC_COUNTER
						 ? entry_count(e, metric_index(metric))
						 : NULL;
		if (!c)
			r->report->unknown++;
		else if (hits)
			c->hit = (uint16_t)n;
		else
			c->n = (uint16_t)n;
	}
	return 0;
}

static int read_hist(struct reading *r, struct report_entry *e, const struct metric *metric,
		     const json_t *object)
{
	int64_t first = 0;
	json_t *list = NULL;
	const struct json_field fields[] = {
		FIELD_INT("o", &first, .min = 0, .max = SKETCH_BUCKETS - 1),
		FIELD_ARRAY("c", &list, .min = 1, .max = SKETCH_BUCKETS),
	};
	if (json_read(object, fields, COUNT_OF(fields), r->err))
		return err_in(r->err, "h.%s", metric->name);
	const size_t len = json_array_size(list);
	if ((size_t)first + len > SKETCH_BUCKETS)
		return err_set(r->err, ERR_INVALID, "h.%s: buckets beyond %d", metric->name,
			       SKETCH_BUCKETS - 1);
	uint16_t *counts = arena_array(r->arena, len, sizeof(*counts));
	if (!counts)
		return err_set(r->err, ERR_TOO_LARGE, "h: too many buckets in one report");
	for (size_t i = 0; i < len; i++) {
		const int64_t n = count_of(json_array_get(list, i));
		if (n < 0)
			return err_set(r->err, ERR_INVALID,
				       "h.%s.c[%zu]: not a whole number from 0", metric->name, i);
		counts[i] = (uint16_t)n;
	}
	e->hists[e->hist_len++] = (struct report_hist){
		.metric = (uint8_t)metric_index(metric), .first = (uint16_t)first, .len = (uint16_t)len,
		.counts = counts};
	return 0;
}

static int read_hists(struct reading *r, struct report_entry *e, json_t *object)
{
	const char *name;
	json_t *value;
	if (json_object_size(object) > REPORT_MAX_HISTOGRAMS)
		return err_set(r->err, ERR_TOO_LARGE, "h: more than %d histograms",
			       REPORT_MAX_HISTOGRAMS);
	json_object_foreach (object, name, value) {
		const struct metric *metric = metric_find(name);
		if (!metric || metric->kind != METRIC_HISTOGRAM)
			r->report->unknown++;
		else if (read_hist(r, e, metric, value))
			return -1;
	}
	return 0;
}

/* ---- entries ---- */

/* An entry's members as they stand in the JSON. */
struct raw_entry {
	const char *model, *variant, *rollout, *arm, *result, *via;
	int64_t stage, entered, load_ms, ttft_ms, probe_pm, used;
	json_t *n, *h, *hit;
};

static int read_raw(struct raw_entry *raw, const json_t *object, struct err *err)
{
	*raw = (struct raw_entry){.load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	const struct json_field fields[] = {
		FIELD_NAME("model", &raw->model),
		FIELD_TEXT("variant", &raw->variant, .optional = true, .max = VARIANT_TEXT_MAX),
		FIELD_NAME("rollout", &raw->rollout, .optional = true),
		FIELD_INT("stage", &raw->stage, .optional = true, .min = 1, .max = 64),
		FIELD_TEXT("arm", &raw->arm, .optional = true, .max = 16),
		FIELD_INT("entered", &raw->entered, .optional = true),
		FIELD_TEXT("result", &raw->result, .optional = true, .max = 16),
		FIELD_NAME("via", &raw->via, .optional = true),
		FIELD_INT("load_ms", &raw->load_ms, .optional = true, .max = MAX_DURATION_MS),
		FIELD_INT("ttft_ms", &raw->ttft_ms, .optional = true, .max = MAX_DURATION_MS),
		FIELD_INT("probe_pm", &raw->probe_pm, .optional = true, .max = 1000),
		FIELD_INT("used", &raw->used, .optional = true, .max = 1440),
		FIELD_OBJECT("n", &raw->n, .optional = true),
		FIELD_OBJECT("h", &raw->h, .optional = true),
		FIELD_OBJECT("hit", &raw->hit, .optional = true),
	};
	return json_read_loose(object, fields, COUNT_OF(fields), err);
}

static int read_arm(struct reading *r, struct report_entry *e, const struct raw_entry *raw)
{
	if (r->report->kind == REPORT_USAGE) {
		if (raw->rollout || raw->arm || raw->stage)
			return err_set(r->err, ERR_INVALID, "rollout: usage has none");
		return keep(r, &e->rollout, NULL);
	}
	if (!raw->rollout || !raw->arm || !raw->stage)
		return err_set(r->err, ERR_INVALID,
			       "rollout, stage, arm: all three are required here");
	const int arm = index_of(report_arm_names, 3, raw->arm);
	if (arm < 1)
		return err_set(r->err, ERR_INVALID, "arm: neither candidate nor control");
	e->arm = (enum report_arm)arm;
	e->stage = (unsigned)raw->stage;
	return keep(r, &e->rollout, raw->rollout);
}

/* Its variant must be one of its model; an enter has none. */
static int read_variant(struct reading *r, struct report_entry *e, const struct raw_entry *raw)
{
	struct variant_ref ref;
	if (r->report->kind == REPORT_ENTER)
		return keep(r, &e->variant, NULL);
	if (!raw->variant)
		return err_set(r->err, ERR_INVALID, "variant: missing");
	if (variant_parse(&ref, raw->variant, r->arena, r->err))
		return err_in(r->err, "variant");
	if (strcmp(ref.model, raw->model))
		return err_set(r->err, ERR_INVALID, "variant: not of model %s", raw->model);
	e->variant = ref.text;
	return 0;
}

static int read_outcome(struct reading *r, struct report_entry *e, const struct raw_entry *raw)
{
	if (!raw->result)
		return err_set(r->err, ERR_INVALID, "result: missing");
	const int result = index_of(report_result_names, REPORT_RESULTS, raw->result);
	if (result < 0)
		return err_set(r->err, ERR_INVALID,
			       "result: not one of ok download verify disk load oom crash probe");
	e->result = (enum report_result)result;
	e->entered = raw->entered;
	e->load_ms = raw->load_ms;
	e->ttft_ms = raw->ttft_ms;
	e->probe_pm = raw->probe_pm;
	if (e->entered > r->report->at || e->entered % REPORT_SLOT_S)
		return err_set(r->err, ERR_INVALID,
			       "entered: not the start of a slot before the outcome's");
	return keep(r, &e->via, raw->via);
}

static int read_entry(struct reading *r, struct report_entry *e, const json_t *object)
{
	struct raw_entry raw;
	if (read_raw(&raw, object, r->err))
		return -1;
	*e = (struct report_entry){.load_ms = -1, .ttft_ms = -1, .probe_pm = -1, .via = ""};
	if (keep(r, &e->model, raw.model) || read_arm(r, e, &raw) || read_variant(r, e, &raw))
		return -1;
	if (r->report->kind == REPORT_OUTCOME)
		return read_outcome(r, e, &raw);
	if (r->report->kind == REPORT_ENTER)
		return 0;
	e->used = (uint32_t)raw.used;
	if ((raw.n && read_counts(r, e, raw.n, false)) ||
	    (raw.hit && read_counts(r, e, raw.hit, true)))
		return -1;
	return raw.h ? read_hists(r, e, raw.h) : 0;
}

/* One entry a model: a second one would count its device twice. */
static bool repeated(const struct report *report, const char *model)
{
	for (unsigned i = 0; i < report->entry_len; i++)
		if (!strcmp(report->entries[i].model, model))
			return true;
	return false;
}

static int read_entries(struct reading *r, const json_t *list)
{
	size_t i;
	json_t *object;
	json_array_foreach (list, i, object) {
		if (read_entry(r, &r->report->entries[i], object))
			return err_in(r->err, "entries[%zu]", i);
		if (repeated(r->report, r->report->entries[i].model))
			return err_set(r->err, ERR_INVALID,
				       "entries[%zu]: model: named twice; one entry a model", i);
		r->report->entry_len++;
	}
	return 0;
}

/* ---- the whole ---- */

struct raw_report {
	const char *kind, *nonce, *channel, *class, *runtime;
	int64_t schema, os_major, slot, window, entered, day;
	bool day_first;
	json_t *entries;
};

static int read_raw_report(struct raw_report *raw, const json_t *root, struct err *err)
{
	*raw = (struct raw_report){.slot = -1, .window = -1, .entered = -1, .day = -1};
	const struct json_field fields[] = {
		FIELD_INT("schema", &raw->schema, .min = 1, .max = 1),
		FIELD_TEXT("kind", &raw->kind, .max = 16),
		FIELD_TEXT("nonce", &raw->nonce, .max = NONCE_BASE64_LEN),
		FIELD_NAME("channel", &raw->channel),
		FIELD_NAME("class", &raw->class),
		FIELD_TEXT("runtime", &raw->runtime, .optional = true, .max = 64),
		FIELD_INT("os_major", &raw->os_major, .optional = true, .max = 10000),
		FIELD_INT("slot", &raw->slot, .optional = true),
		FIELD_INT("window", &raw->window, .optional = true),
		FIELD_INT("entered", &raw->entered, .optional = true),
		FIELD_INT("day", &raw->day, .optional = true, .max = 1000000),
		FIELD_BOOL("day_first", &raw->day_first, .optional = true),
		FIELD_ARRAY("entries", &raw->entries, .min = 1, .max = REPORT_MAX_ENTRIES),
	};
	return json_read_loose(root, fields, COUNT_OF(fields), err);
}

static int read_at(struct reading *r, const struct raw_report *raw)
{
	static const char *const names[REPORT_KINDS] = {"slot", "slot", "window", "entered", "day"};
	const int64_t values[REPORT_KINDS] = {raw->slot, raw->slot, raw->window, raw->entered,
					      raw->day < 0 ? -1 : raw->day * REPORT_DAY_S};
	const enum report_kind kind = r->report->kind;
	if (values[kind] < 0)
		return err_set(r->err, ERR_INVALID, "%s: missing; kind %s needs it", names[kind],
			       report_kind_names[kind]);
	r->report->at = values[kind];
	return check_time(r, names[kind], values[kind],
			  kind == REPORT_WINDOW ? ALIGN_S : REPORT_SLOT_S);
}

static int read_report(struct reading *r, const json_t *root)
{
	struct raw_report raw;
	if (read_raw_report(&raw, root, r->err))
		return -1;
	const int kind = index_of(report_kind_names, REPORT_KINDS, raw.kind);
	if (kind < 0)
		return err_set(r->err, ERR_INVALID,
			       "kind: not one of enter outcome window summary usage");
	r->report->kind = (enum report_kind)kind;
	r->report->os_major = (unsigned)raw.os_major;
	r->report->day_first = raw.day_first;
	if (read_nonce(r, raw.nonce) || read_at(r, &raw) ||
	    keep(r, &r->report->channel, raw.channel) || keep(r, &r->report->class, raw.class) ||
	    keep(r, &r->report->runtime, raw.runtime))
		return -1;
	return read_entries(r, raw.entries);
}

/* The bounds of scan.h, which jansson does not have. */
static bool within_bounds(json_t *value, unsigned depth)
{
	size_t i;
	const char *name;
	json_t *part;
	const bool open = json_is_object(value) || json_is_array(value);
	if (depth + open > SCAN_DEPTH || json_object_size(value) > SCAN_MEMBERS)
		return false;
	json_object_foreach (value, name, part)
		if (!within_bounds(part, depth + 1))
			return false;
	json_array_foreach (value, i, part)
		if (!within_bounds(part, depth + 1))
			return false;
	return true;
}

int report_tree_read(const char *bytes, size_t len, int64_t now, struct arena *arena,
		 struct report **ret_report, struct err *err)
{
	if (len > REPORT_MAX_BYTES)
		return err_set(err, ERR_TOO_LARGE, "report: more than %d bytes", REPORT_MAX_BYTES);
	if (len && memchr(bytes, 0, len)) /* jansson loses one that follows a number or a word */
		return err_set(err, ERR_INVALID, "report: not valid JSON: a NUL");
	json_auto_t *root = json_parse(bytes, len, "report", err);
	if (!root)
		return -1;
	if (!within_bounds(root, 0))
		return err_set(err, ERR_TOO_LARGE, "report: too many members, or too deep");
	struct reading r = {arena_alloc(arena, sizeof(struct report)), arena, now, err};
	if (!r.report)
		return err_nomem(err);
	if (read_report(&r, root))
		return err_in(err, "report");
	*ret_report = r.report;
	return 0;
}
