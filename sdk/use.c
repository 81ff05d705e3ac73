/* What happens to a model in use: loading with its marker, counters, windows. */
#include "sdk/internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define DAY_S 86400
#define COUNT_MOST 10000
#define USAGE_SPREAD_S (4 * 3600) /* all devices' days end at once; they tell of it over so long */

/* ---- time ---- */

static int64_t floor_to(int64_t t, int64_t step)
{
	return t - t % step;
}

static int64_t window_s(const struct flotilla *f)
{
	return f->has_manifest && f->manifest.telemetry.window_s > 0
		       ? f->manifest.telemetry.window_s
		       : 3600;
}

void use_enter(struct flotilla *f, struct model_state *m, const struct manifest_model *model,
	       bool candidate, const char *variant)
{
	const int64_t step = window_s(f);
	m->entry = (struct entry){.stage = (unsigned)model->rollout.stage, .candidate = candidate};
	snprintf(m->entry.rollout, sizeof(m->entry.rollout), "%s", model->rollout.id);
	snprintf(m->entry.variant, sizeof(m->entry.variant), "%s", variant);
	m->entry.first_window = floor_to(sdk_event_time(f) + step - 1, step);
	report_enter(f, m);
}

static int64_t rollout_end(const struct flotilla *f, const struct entry *e)
{
	return e->first_window + f->manifest.telemetry.windows * window_s(f);
}

/* A window counts for the rollout when it lies wholly in the W windows after entry, the arm's variant
 * has been loaded, and was still here when it began. */
static bool in_rollout(const struct flotilla *f, const struct model_state *m, int64_t window)
{
	const struct entry *e = &m->entry;
	return e->rollout[0] && e->live && f->has_manifest && window >= e->first_window &&
	       window < rollout_end(f, e) && (!e->left || window < e->left);
}

static void merge(struct tally *into, const struct tally *window)
{
	into->used++;
	for (unsigned i = 0; i < SDK_COUNTERS; i++) {
		into->counts[i] += window->counts[i];
		into->hits[i] += window->counts[i] > 0;
	}
	for (unsigned h = 0; h < SDK_HISTOGRAMS; h++)
		for (unsigned b = 0; b < SKETCH_BUCKETS; b++) {
			const uint32_t sum = (uint32_t)into->hists[h][b] + window->hists[h][b];
			into->hists[h][b] = (uint16_t)(sum < COUNT_MOST ? sum : COUNT_MOST);
		}
}

static void end_window(struct flotilla *f, struct model_state *m)
{
	if (m->window && m->window_any) {
		if (in_rollout(f, m, m->window)) {
			report_window(f, m);
			merge(&m->in_rollout, &m->in_window);
		}
		merge(&m->in_day, &m->in_window);
	}
	memset(&m->in_window, 0, sizeof(m->in_window));
	m->window_any = false;
	m->window = 0;
}

static void end_rollout(struct flotilla *f, struct model_state *m, int64_t now)
{
	struct entry *e = &m->entry;
	if (!e->rollout[0] || e->summary_sent || !f->has_manifest || now < rollout_end(f, e))
		return;
	/* Also of a device that was never used: who entered is counted. */
	report_summary(f, m);
	e->summary_sent = true;
}

static void end_day(struct flotilla *f, struct model_state *m)
{
	if (m->day && m->current[0])
		report_usage(f, m);
	memset(&m->in_day, 0, sizeof(m->in_day));
}

void use_roll(struct flotilla *f)
{
	const int64_t now = sdk_event_time(f);
	for (unsigned i = 0; i < f->model_count; i++) {
		struct model_state *m = &f->models[i];
		const int64_t day = floor_to(now, DAY_S);
		/* Or the clock was wrong when it began. */
		if (m->window && (now >= m->window + window_s(f) || now < m->window))
			end_window(f, m);
		end_rollout(f, m, now);
		/* Corrections of the clock may step back over midnight; a day ends once, so not before
		 * there was a chance to correct it. */
		if (f->answered && (day > m->day || day < m->day - DAY_S)) {
			end_day(f, m);
			m->day = day;
			m->day_wait = use_day_wait();
		}
	}
	f->dirty = true;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t use_day_wait(void)
{
	return randombytes_uniform(USAGE_SPREAD_S);
}

int64_t use_next(const struct flotilla *f)
{
	int64_t next = INT64_MAX;
	for (unsigned i = 0; i < f->model_count; i++) {
		const struct model_state *m = &f->models[i];
		if (m->window_any && in_rollout(f, m, m->window))
			next = sooner(next, m->window + window_s(f));
		if (m->entry.rollout[0] && !m->entry.summary_sent && f->has_manifest)
			next = sooner(next, rollout_end(f, &m->entry));
		if (m->day && m->current[0])
			next = sooner(next, m->day + DAY_S + m->day_wait);
	}
	return next == INT64_MAX ? next : next - f->clock_offset;
}

/* The tally of the window that is now. */
static struct tally *tally_now(struct flotilla *f, struct model_state *m)
{
	use_roll(f);
	if (!m->window)
		m->window = floor_to(sdk_event_time(f), window_s(f));
	m->window_any = true;
	return &m->in_window;
}

/* ---- loading ---- */

static struct installed *installed_of(struct model_state *m, const char *variant)
{
	if (m->candidate.variant[0] && !strcmp(m->candidate.variant, variant))
		return &m->candidate;
	return m->stable.variant[0] && !strcmp(m->stable.variant, variant) ? &m->stable : NULL;
}

/* The rollout's outcome, once: from the arm's own variant. */
static void outcome(struct flotilla *f, struct model_state *m, const char *result,
		    const struct flotilla_loaded *loaded, const char *variant)
{
	struct entry *e = &m->entry;
	const bool of_candidate =
		m->candidate.variant[0] && !strcmp(variant, m->candidate.variant);
	const struct installed *i = installed_of(m, variant);
	if (!e->rollout[0] || e->outcome_sent || e->candidate != of_candidate)
		return;
	report_outcome(f, m, result, loaded, variant, i && e->candidate ? i->via : "none");
	snprintf(e->variant, sizeof(e->variant), "%s", variant); /* the tier that it came to */
	e->outcome_sent = true;
	e->live = !strcmp(result, "ok");
}

/* In the rollout that offers it now, which this device need not have entered. */
static void note_given_up(const struct flotilla *f, struct model_state *m, const char *variant)
{
	const struct manifest_model *model =
		f->has_manifest ? manifest_model_find(&f->manifest, m->name) : NULL;
	snprintf(m->given_up, sizeof(m->given_up), "%s %s",
		 model && model->has_rollout ? model->rollout.id : m->entry.rollout, variant);
}

/* Two deaths while loading it: back to stable, and never again in this rollout. */
static void give_up(struct flotilla *f, struct model_state *m, const char *variant)
{
	const struct flotilla_loaded nothing = {.load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	const bool candidate = m->candidate.variant[0] && !strcmp(variant, m->candidate.variant);
	flotilla_event(f, m->name, "crash", 1);
	if (!candidate)
		return; /* stable has nothing behind it */
	outcome(f, m, "crash", &nothing, variant);
	note_given_up(f, m, variant);
	install_abandon(f, m);
}

int flotilla_load_begin(struct flotilla *f, const char *model)
{
	struct model_state *m = sdk_model(f, model);
	if (!m || !m->current[0])
		return sdk_say(f, FLOTILLA_E_ARGUMENT,
			       "load_begin: call flotilla_want() for %s first", model);
	/* A marker that is still there was not ended: the process died while loading. */
	m->strikes = !strcmp(m->loading, m->current) ? m->strikes + 1 : 1;
	if (m->strikes > SDK_STRIKES) {
		give_up(f, m, m->current);
		m->loading[0] = 0;
		m->strikes = 0;
		f->dirty = true;
		state_save(f);
		return sdk_say(f, FLOTILLA_AGAIN, "%s died twice while loading; call want again",
			       model);
	}
	snprintf(m->loading, sizeof(m->loading), "%s", m->current);
	f->dirty = true;
	return state_save(f);
}

int flotilla_load_end(struct flotilla *f, const char *model, const struct flotilla_loaded *loaded)
{
	static const char *const results[] = {[FLOTILLA_LOADED] = "ok",
					      [FLOTILLA_LOAD_FAILED] = "load",
					      [FLOTILLA_LOAD_OOM] = "oom",
					      [FLOTILLA_PROBE_FAILED] = "probe"};
	struct model_state *m = sdk_model(f, model);
	if (!m || !m->loading[0])
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "load_end without load_begin");
	if ((unsigned)loaded->result >= COUNT_OF(results))
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "load_end: result: not one of the four");
	struct installed *i = installed_of(m, m->loading);
	const bool ok = loaded->result == FLOTILLA_LOADED;
	use_roll(f); /* windows before this load end without it */
	outcome(f, m, results[loaded->result], loaded, m->loading);
	if (ok && i && !i->loaded)
		i->loaded = sdk_now(f);
	if (ok && loaded->load_ms >= 0)
		flotilla_observe(f, model, "load_ms", loaded->load_ms);
	if (loaded->result == FLOTILLA_LOAD_FAILED)
		flotilla_event(f, model, "err.load", 1);
	if (loaded->result == FLOTILLA_LOAD_OOM)
		flotilla_event(f, model, "err.oom", 1);
	if (!ok && i == &m->candidate) {
		note_given_up(f, m, m->loading);
		install_abandon(f, m);
	}
	m->loading[0] = 0;
	m->strikes = 0;
	f->dirty = true;
	return state_save(f);
}

/* ---- counters ---- */

static int unknown(struct flotilla *f, const char *name)
{
	return sdk_say(f, FLOTILLA_E_ARGUMENT, "%s: no such counter or histogram", name);
}

int flotilla_event(struct flotilla *f, const char *model, const char *counter, int64_t n)
{
	struct model_state *m = sdk_model(f, model);
	const struct metric *metric = metric_find(counter);
	if (!m || !metric || metric->kind != METRIC_COUNTER || metric_index(metric) >= SDK_COUNTERS)
		return unknown(f, counter);
	if (n <= 0)
		return FLOTILLA_OK;
	uint32_t *count = &tally_now(f, m)->counts[metric_index(metric)];
	*count = *count + n < COUNT_MOST ? *count + (uint32_t)n : COUNT_MOST;
	return FLOTILLA_OK;
}

/* Histograms follow the counters in the metric table. */
static unsigned hist_index(const struct metric *metric)
{
	unsigned first = 0;
	while (metric_at(first)->kind != METRIC_HISTOGRAM)
		first++;
	return metric_index(metric) - first;
}

int flotilla_observe(struct flotilla *f, const char *model, const char *histogram, int64_t value)
{
	struct model_state *m = sdk_model(f, model);
	const struct metric *metric = metric_find(histogram);
	if (!m || !metric || metric->kind != METRIC_HISTOGRAM ||
	    hist_index(metric) >= SDK_HISTOGRAMS)
		return unknown(f, histogram);
	uint16_t *count =
		&tally_now(f, m)->hists[hist_index(metric)][sketch_bucket(metric, value)];
	*count = (uint16_t)(*count < COUNT_MOST ? *count + 1 : COUNT_MOST);
	return FLOTILLA_OK;
}

int flotilla_first_token(struct flotilla *f, const char *model, int64_t ms)
{
	return flotilla_observe(f, model, "ttft_ms", ms);
}
