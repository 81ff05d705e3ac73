/* Anonymous reports: made when something ends, queued durably, sent after a random delay. */
#include "base/json.h"
#include "sdk/internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_S 600
#define DAY_S 86400
#define DELAY_S 300	   /* random, when the manifest does not say */
#define TOO_OLD_S (72 * 3600)
#define POST_TIMEOUT_MS 30000
#define REPLY_MAX 4096
#define OS_MAJOR_MAX 10000 /* what a server takes; beyond, and below 1: not known */

static json_t *head(const struct flotilla *f, const char *kind)
{
	uint8_t nonce[16];
	char text[sodium_base64_ENCODED_LEN(sizeof(nonce), sodium_base64_VARIANT_ORIGINAL)];
	const int os = f->o.os_major > 0 && f->o.os_major <= OS_MAJOR_MAX ? f->o.os_major : 0;
	randombytes_buf(nonce, sizeof(nonce));
	sodium_bin2base64(text, sizeof(text), nonce, sizeof(nonce), sodium_base64_VARIANT_ORIGINAL);
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:s*}", "schema", 1, "kind", kind, "nonce",
			 text, "channel", f->channel, "class", f->class, "os_major", os,
			 "runtime", f->runtime[0] ? f->runtime : NULL);
}

static int64_t delay_of(const struct flotilla *f)
{
	const int64_t most = f->has_manifest ? f->manifest.telemetry.jitter_s : DELAY_S;
	return f->o.no_delay || most < 1 ? 0 : (int64_t)randombytes_uniform((uint32_t)most);
}

/* Queue the report; the oldest goes when there is no room. */
static void enqueue(struct flotilla *f, json_t *report, json_t *entry)
{
	json_object_set_new(report, "entries", json_pack("[o]", entry));
	char *text = json_text(report);
	json_decref(report);
	if (f->o.print_only && text)
		sdk_log(f, text);
	if (!text || f->o.print_only || f->o.opt_out) {
		free(text);
		return;
	}
	if (f->queue_len == SDK_QUEUE) {
		free(f->queue[0].text);
		memmove(f->queue, f->queue + 1, --f->queue_len * sizeof(f->queue[0]));
	}
	f->queue[f->queue_len++] = (struct queued){.due = sdk_now(f) + delay_of(f), .text = text};
	f->dirty = true;
}

/* ---- parts of reports ---- */

static json_t *entry_of(const struct model_state *m)
{
	return json_pack("{s:s, s:s, s:i, s:s}", "model", m->name, "rollout", m->entry.rollout,
			 "stage", (int)m->entry.stage, "arm",
			 m->entry.candidate ? "candidate" : "control");
}

static json_t *counts_json(const uint32_t *counts)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < metric_count() && i < SDK_COUNTERS; i++)
		if (counts[i] && metric_at(i)->kind == METRIC_COUNTER)
			json_object_set_new(object, metric_at(i)->name, json_integer(counts[i]));
	return object;
}

/* {"o":first,"c":[...]} from the first bucket that is not zero to the last. */
static json_t *hist_json(const uint16_t *counts)
{
	unsigned first = 0, last = SKETCH_BUCKETS;
	while (first < SKETCH_BUCKETS && !counts[first])
		first++;
	if (first == SKETCH_BUCKETS)
		return NULL;
	while (!counts[last - 1])
		last--;
	json_t *list = json_array();
	for (unsigned b = first; b < last; b++)
		json_array_append_new(list, json_integer(counts[b]));
	return json_pack("{s:i, s:o}", "o", (int)first, "c", list);
}

static json_t *hists_json(const struct tally *t)
{
	json_t *object = json_object();
	unsigned h = 0;
	for (unsigned i = 0; i < metric_count(); i++) {
		if (metric_at(i)->kind != METRIC_HISTOGRAM || h == SDK_HISTOGRAMS)
			continue;
		json_t *hist = hist_json(t->hists[h++]);
		if (hist)
			json_object_set_new(object, metric_at(i)->name, hist);
	}
	return object;
}

static void add_tally(json_t *entry, const struct tally *t, bool spans)
{
	json_object_set_new(entry, "n", counts_json(t->counts));
	json_object_set_new(entry, "h", hists_json(t));
	if (spans) {
		json_object_set_new(entry, "used", json_integer(t->used));
		json_object_set_new(entry, "hit", counts_json(t->hits));
	}
}

/* ---- the five kinds ---- */

void report_enter(struct flotilla *f, struct model_state *m)
{
	const int64_t now = sdk_event_time(f);
	json_t *report = head(f, "enter");
	m->entry.entered = now - now % SLOT_S;
	memset(&m->in_rollout, 0, sizeof(m->in_rollout));
	json_object_set_new(report, "slot", json_integer(m->entry.entered));
	enqueue(f, report, entry_of(m));
}

void report_outcome(struct flotilla *f, struct model_state *m, const char *result,
		    const struct flotilla_loaded *loaded, const char *variant, const char *via)
{
	const int64_t now = sdk_event_time(f);
	json_t *report = head(f, "outcome"), *entry = entry_of(m);
	json_object_set_new(report, "slot", json_integer(now - now % SLOT_S));
	json_object_set_new(entry, "entered", json_integer(m->entry.entered));
	json_object_set_new(entry, "variant", json_string(variant));
	json_object_set_new(entry, "result", json_string(result));
	json_object_set_new(entry, "via", json_string(via[0] ? via : "none"));
	if (loaded->load_ms >= 0)
		json_object_set_new(entry, "load_ms", json_integer(loaded->load_ms));
	if (loaded->ttft_ms >= 0)
		json_object_set_new(entry, "ttft_ms", json_integer(loaded->ttft_ms));
	if (loaded->probe_pm >= 0)
		json_object_set_new(entry, "probe_pm", json_integer(loaded->probe_pm));
	enqueue(f, report, entry);
}

void report_window(struct flotilla *f, struct model_state *m)
{
	json_t *report = head(f, "window"), *entry = entry_of(m);
	json_object_set_new(report, "window", json_integer(m->window));
	json_object_set_new(entry, "variant", json_string(m->entry.variant));
	add_tally(entry, &m->in_window, false);
	enqueue(f, report, entry);
}

void report_summary(struct flotilla *f, struct model_state *m)
{
	json_t *report = head(f, "summary"), *entry = entry_of(m);
	json_object_set_new(report, "entered", json_integer(m->entry.entered));
	json_object_set_new(entry, "variant", json_string(m->entry.variant));
	add_tally(entry, &m->in_rollout, true);
	enqueue(f, report, entry);
}

void report_usage(struct flotilla *f, struct model_state *m)
{
	json_t *report = head(f, "usage");
	json_t *entry = json_pack("{s:s, s:s}", "model", m->name, "variant", m->current);
	const int64_t day = m->day / DAY_S;
	json_object_set_new(report, "day", json_integer(day));
	json_object_set_new(report, "day_first", json_boolean(f->last_day != day));
	f->last_day = day;
	add_tally(entry, &m->in_day, true);
	enqueue(f, report, entry);
}

/* ---- sending ---- */

static int discard(void *arg, const void *bytes, size_t len)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return 0;
}

static void remove_queued(struct flotilla *f, unsigned i)
{
	free(f->queue[i].text);
	f->queue_len--;
	memmove(f->queue + i, f->queue + i + 1, (f->queue_len - i) * sizeof(f->queue[0]));
	f->dirty = true;
}

/* OK: sent, or refused for good; else what went wrong, and the report stays. */
static int send_one(struct flotilla *f, const struct queued *q)
{
	char url[SDK_PATH];
	struct flotilla_response response;
	snprintf(url, sizeof(url), "%s/v1/telemetry", f->url);
	const struct flotilla_request request = {.url = url,
						 .to = -1,
						 .max_bytes = REPLY_MAX,
						 .timeout_ms = POST_TIMEOUT_MS,
						 .bearer = f->ingest_token,
						 .post = q->text,
						 .post_len = strlen(q->text),
						 .on_body = discard};
	const int status = sdk_get(f, &request, &response);
	if (status < 0)
		return status;
	f->stats.reports += status == 202;
	f->stats.report_errors += status != 202;
	if (status == 429 || status >= 500)
		return FLOTILLA_LATER;
	if (status != 202) {
		char line[120];
		snprintf(line, sizeof(line), "a report was refused with %d and is dropped", status);
		sdk_log(f, line);
	}
	return FLOTILLA_OK;
}

/* What an earlier run queued is not sent after the user has opted out. */
static void forget_queue(struct flotilla *f)
{
	while (f->queue_len)
		remove_queued(f, f->queue_len - 1);
}

int report_flush(struct flotilla *f)
{
	unsigned i = 0;
	if (f->o.opt_out || f->o.print_only)
		forget_queue(f);
	/* Before any is sent: made again after a crash, it would have another nonce and count twice. */
	int code = state_save(f);
	while (i < f->queue_len && code == FLOTILLA_OK) {
		const int64_t now = sdk_now(f);
		if (f->queue[i].due > now) {
			i++;
			continue;
		}
		if (now - f->queue[i].due < TOO_OLD_S)
			code = send_one(f, &f->queue[i]);
		if (code == FLOTILLA_OK)
			remove_queued(f, i);
	}
	if (code)
		f->flush_after = sdk_now(f) + sdk_backoff(f->flush_failures);
	f->flush_failures = code ? f->flush_failures + 1 : 0;
	const int saved = state_save(f);
	if (code || saved)
		return code ? code : saved;
	return f->queue_len ? FLOTILLA_LATER : FLOTILLA_OK;
}

int flotilla_flush(struct flotilla *f)
{
	use_roll(f);
	if (f->not_before > sdk_now(f) || f->flush_after > sdk_now(f))
		return FLOTILLA_LATER;
	return report_flush(f);
}
