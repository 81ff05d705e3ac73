#include "tests/bench/gates_fleet.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR 3600
#define SLOT REPORT_SLOT_S
#define SLOTS (FLEET_DAYS * 24 * 6)
#define DELAYS 3
#define USED 0.2	 /* of windows in which a device is used, on average */
#define CV2 2.0		 /* of devices' propensities to fail */
#define ENTER_HOURS 8.0	 /* until a device sees its stage */
#define REPORTED 0.94	 /* summaries that arrive in time */
#define LOADED 0.97	 /* enters whose outcome arrives */
#define ONE_BY_ONE 64	 /* values drawn singly, more as a multinomial */

/* Devices by the slot in which they entered; outcomes by the slot in which they loaded. */
struct fleet_slot {
	unsigned stage; /* index, of those who entered */
	int64_t entered[ARMS], arrived[ARMS];
	int64_t outcomes[POLICY_STAGES][ARMS];
};

/* Chance of the event in one unit of a healthy device. */
static const struct {
	const char *gate;
	double p;
} rates[] = {
	{"outcome.load", 0.004},   {"outcome.oom", 0.002},
	{"outcome.crash", 0.002},  {"outcome.verify", 0.0005},
	{"outcome.probe", 0.005},  {"window.crash", 0.003},
	{"window.err.oom", 0.001}, {"window.err.load", 0.0005},
	{"window.err.timeout", 0.004}, {"window.thermal.severe", 0.01},
	{"window.fallback.cloud", 0.02}, {"window.thumb.down", 0.03},
	{"window.regenerate", 0.03}, {"window.probe.fail", 0.001},
};
/* Histograms: where they lie, how devices differ, how windows of a device do; in buckets. */
static const struct {
	double middle, devices, windows;
} shapes[POLICY_HISTS] = {
	[HIST_TTFT] = {150, 8, 6}, [HIST_ENERGY] = {200, 8, 5},
	[HIST_DECODE] = {270, 8, 5}, [HIST_PROBE] = {4, 1, 2},
};

static double rate_of(const char *gate)
{
	for (unsigned i = 0; i < COUNT_OF(rates); i++)
		if (!strcmp(rates[i].gate, gate))
			return rates[i].p;
	return 0;
}

static double times(const struct fleet *f, const char *gate, unsigned arm)
{
	const bool hit = arm == EVIDENCE_CANDIDATE && f->fault.gate && !strcmp(f->fault.gate, gate);
	return hit ? f->fault.times : 1;
}

/* A device's chance of any such event in its windows: gamma-distributed rates. */
static double any_in_windows(double p)
{
	return 1 - pow(1 + CV2 * p * 24 * USED, -1 / CV2);
}

/* ---- what usage knew ---- */

static json_t *shape_json(enum policy_hist hist)
{
	json_t *counts = json_array();
	const unsigned first = 80;
	const double spread = hypot(shapes[hist].devices, shapes[hist].windows);
	for (unsigned b = first; b < 360; b++) {
		const unsigned at = policy_hists[hist].low_is_bad ? SKETCH_BUCKETS - 1 - b : b;
		const double z = (at - shapes[hist].middle) / spread;
		json_array_append_new(counts, json_real(2000 * exp(-z * z / 2)));
	}
	return json_pack("{s:i, s:o}", "o", (int)first, "c", counts);
}

static char *baseline_text(void)
{
	json_auto_t *baseline = json_pack("{s:{}, s:{}, s:{}, s:f}", "window", "summary", "h",
					  "windows_per_device", 6.0);
	const int n = 100000;
	for (unsigned i = 0; i < policy_gate_count; i++) {
		const struct policy_gate *g = &policy_gates[i];
		const double p = rate_of(g->name);
		if (g->source != GATE_WINDOW)
			continue;
		json_object_set_new(json_object_get(baseline, "window"), g->metric,
				    json_pack("{s:i, s:f, s:f}", "n", n, "k", p * n, "phi",
					      1 + CV2 * p * 24 * USED));
		json_object_set_new(json_object_get(baseline, "summary"), g->metric,
				    json_pack("{s:i, s:f}", "n", n / 5, "k",
					      any_in_windows(p) * n / 5));
	}
	for (unsigned h = 0; h < HIST_PROBE; h++)
		json_object_set_new(json_object_get(baseline, "h"), policy_hists[h].metric,
				    shape_json((enum policy_hist)h));
	return json_text(baseline);
}

/* ---- starting ---- */

/* The devices of a stage are who they are: their luck stays. */
static void populate(struct fleet *f)
{
	const unsigned s = f->lane.stage - 1;
	const struct stage_slices *slice = &f->evidence->slices[s];
	const int64_t buckets[ARMS] = {slice->enter_high - slice->enter_low,
				       slice->control_high - slice->control_low};
	for (unsigned a = 0; a < ARMS; a++) {
		f->left[a] = f->lane.clock.devices * buckets[a] / 1000000;
		for (unsigned i = 0; i < policy_gate_count; i++)
			f->luck[s][a][i] = chance_mean_propensity(f->chance, f->left[a], CV2);
		for (unsigned h = 0; h < POLICY_HISTS; h++)
			f->speed[s][a][h] = chance_normal(f->chance) * shapes[h].devices /
					    sqrt(fmax(1, (double)f->left[a]));
	}
}

void fleet_open(struct fleet *f, const struct policy *policy, int64_t devices, bool baseline,
		const struct fault *fault, struct chance *chance)
{
	struct err err;
	*f = (struct fleet){.policy = policy, .fault = *fault, .chance = chance,
			    .baseline = baseline ? baseline_text() : strdup("{}")};
	f->lane = (struct lane){.rollout = "r1", .class = "c", .channel = "stable", .model = "m",
				.release = "2", .stable = "1", .salt = "", .reason = "", .stage = 1,
				.clock = {HOUR, 24, 300, 86400, 1800, devices}, .baseline = f->baseline};
	f->now = f->lane.started = f->lane.since = HOUR * 24;
	f->strata = calloc(policy->stage_count, sizeof(*f->strata));
	f->slots = calloc(SLOTS, sizeof(*f->slots));
	if (!f->strata || !f->slots || evidence_new(&f->evidence, &f->lane, policy, &err)) {
		fputs("bench_gates: cannot start a lane\n", stderr);
		exit(2);
	}
	populate(f);
}

void fleet_join(struct fleet *f, struct evidence *evidence)
{
	evidence_free(f->evidence);
	f->evidence = evidence;
	f->borrowed = true;
}

void fleet_close(struct fleet *f)
{
	if (!f->borrowed)
		evidence_free(f->evidence);
	free(f->baseline);
	free(f->strata);
	free(f->slots);
}

bool fleet_advance(struct fleet *f)
{
	if (f->lane.stage == f->policy->stage_count)
		return false;
	f->lane.stage++;
	f->lane.since = f->now;
	populate(f);
	return true;
}

/* ---- living ---- */

static double awake(int64_t at)
{
	return 1 + 0.6 * sin(2 * M_PI * (double)at / 86400);
}

/* Their outcomes come in ten minutes, an hour, half a day, or never. */
static void load(struct fleet *f, int64_t slot, unsigned arm, int64_t entered)
{
	static const int64_t delay[DELAYS] = {1, 6, 72};
	static const double share[DELAYS] = {0.6, 0.75, 1};
	struct fleet_slot *s = &f->slots[slot];
	const double heard = fmax(0, 1 - (1 - LOADED) * times(f, "missing", arm));
	int64_t rest = chance_binomial(f->chance, entered, heard);
	s->arrived[arm] = rest;
	for (unsigned d = 0; d < DELAYS; d++) {
		const int64_t n = chance_binomial(f->chance, rest, share[d]);
		if (slot + delay[d] < SLOTS)
			f->slots[slot + delay[d]].outcomes[s->stage][arm] += n;
		rest -= n;
	}
}

static void enter(struct fleet *f, int64_t slot)
{
	struct fleet_slot *s = &f->slots[slot];
	const double p = 1 - exp(-awake(slot * SLOT) * SLOT / (ENTER_HOURS * HOUR));
	s->stage = f->lane.stage - 1;
	for (unsigned a = 0; a < ARMS; a++) {
		s->entered[a] = chance_binomial(f->chance, f->left[a], p);
		f->left[a] -= s->entered[a];
		f->exposed += a == EVIDENCE_CANDIDATE ? s->entered[a] : 0;
		load(f, slot, a, s->entered[a]);
	}
}

/* ---- closing ---- */

static double bell(double x)
{
	return erfc(-x / M_SQRT2) / 2;
}

/* n values of an arm into a histogram. */
static void spread(struct fleet *f, struct stratum *s, unsigned stage, unsigned arm,
		   enum policy_hist hist, int64_t n)
{
	const double worse = arm == EVIDENCE_CANDIDATE && f->fault.hist == hist ? f->fault.buckets : 0;
	const double middle = shapes[hist].middle + f->speed[stage][arm][hist] + worse;
	const double sigma = hypot(shapes[hist].devices, shapes[hist].windows);
	const int last = (int)policy_hists[hist].len - 1;
	double *counts = s->hist[hist][arm], before = 0;
	const int low = (int)fmax(0, middle - 5 * sigma);
	const int high = (int)fmin(last, middle + 5 * sigma);
	if (n < ONE_BY_ONE) {
		for (; n > 0; n--) {
			const int at = (int)(middle + sigma * chance_normal(f->chance));
			counts[at < 0 ? 0 : at > last ? last : at]++;
		}
		return;
	}
	for (int b = low; b <= high && n > 0; b++) {
		const double below = bell((b + 1 - middle) / sigma);
		const int64_t k = b == high ? n
					    : chance_binomial(f->chance, n,
							      fmin(1, (below - before) / (1 - before)));
		counts[b] += (double)k;
		n -= k;
		before = below;
	}
}

static void events(struct fleet *f, struct stratum *s, unsigned stage, unsigned arm,
		   enum gate_source source)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (policy_gates[i].source == source) {
			const double p = rate_of(policy_gates[i].name) * f->luck[stage][arm][i] *
					 times(f, policy_gates[i].name, arm);
			s->gates[i][arm] = chance_binomial(f->chance, s->n[arm], fmin(1, p));
		}
}

static void feed(struct fleet *f, enum cells_mark mark, int64_t at)
{
	struct err err;
	if (evidence_feed(f->evidence, mark, at, f->strata, &err)) {
		fprintf(stderr, "bench_gates: %s\n", err.text);
		exit(2);
	}
}

static void close_outcomes(struct fleet *f, int64_t slot)
{
	const struct fleet_slot *from = &f->slots[slot];
	for (unsigned st = 0; st < f->policy->stage_count; st++) {
		struct stratum *s = &f->strata[st];
		for (unsigned a = 0; a < ARMS; a++) {
			s->n[a] = from->outcomes[st][a];
			s->entered[a] = st == from->stage ? from->entered[a] : 0;
			if (s->entered[a])
				f->evidence->stages[st].seen.last_entered = slot * SLOT;
			s->any |= s->n[a] || s->entered[a];
			events(f, s, st, a, GATE_OUTCOME);
			spread(f, s, st, a, HIST_PROBE, s->n[a]);
		}
	}
	feed(f, CELLS_SLOT, slot * SLOT);
}

static void close_missing(struct fleet *f, int64_t slot)
{
	const struct fleet_slot *from = &f->slots[slot];
	struct stratum *s = &f->strata[from->stage];
	for (unsigned a = 0; a < ARMS; a++) {
		s->entered[a] = from->entered[a];
		s->arrived[a] = from->arrived[a];
		s->any |= s->entered[a] > 0;
	}
	feed(f, CELLS_MISSING, slot * SLOT);
}

static void close_summaries(struct fleet *f, int64_t slot)
{
	const struct fleet_slot *from = &f->slots[slot];
	struct stratum *s = &f->strata[from->stage];
	for (unsigned a = 0; a < ARMS; a++) {
		s->entered[a] = from->entered[a];
		s->n[a] = chance_binomial(f->chance, from->entered[a], REPORTED);
		s->any |= s->entered[a] > 0;
		for (unsigned g = 0; g < policy_guard_count; g++) {
			char gate[64];
			if (policy_guards[g].source != GUARD_SUMMARY)
				continue;
			snprintf(gate, sizeof(gate), "window.%s", policy_guards[g].metric);
			s->guards[g][a] = chance_binomial(
				f->chance, s->n[a],
				any_in_windows(rate_of(gate) * times(f, gate, a)));
		}
		spread(f, s, from->stage, a, HIST_TTFT, s->n[a]);
	}
	feed(f, CELLS_SUMMARY, slot * SLOT);
}

/* Devices that entered and loaded in the W windows before. */
static void close_window(struct fleet *f, int64_t hour)
{
	const int64_t first = (hour - 24) * 6 > 0 ? (hour - 24) * 6 : 0;
	for (int64_t slot = first; slot < hour * 6; slot++) {
		const struct fleet_slot *from = &f->slots[slot];
		for (unsigned a = 0; a < ARMS; a++)
			f->strata[from->stage].n[a] += from->arrived[a];
	}
	for (unsigned st = 0; st < f->policy->stage_count; st++) {
		struct stratum *s = &f->strata[st];
		for (unsigned a = 0; a < ARMS; a++) {
			s->n[a] = chance_binomial(f->chance, s->n[a],
						  USED * awake(hour * HOUR) / 1.2);
			s->any |= s->n[a] > 0;
			events(f, s, st, a, GATE_WINDOW);
			for (unsigned h = 0; h < HIST_PROBE; h++)
				spread(f, s, st, a, (enum policy_hist)h, s->n[a]);
		}
	}
	feed(f, CELLS_WINDOW, hour * HOUR);
	silence_closed(&f->evidence->silence, (hour + 1) * HOUR, NULL);
}

void fleet_hour(struct fleet *f)
{
	const int64_t hour = f->now / HOUR;
	for (int64_t slot = hour * 6; slot < hour * 6 + 6; slot++)
		enter(f, slot);
	f->now += HOUR;
	/* As engine.c closes: jitter and grace after the end. */
	for (int64_t slot = hour * 6 - 2; slot < hour * 6 + 4; slot++)
		close_outcomes(f, slot);
	if (hour >= 1)
		close_window(f, hour - 1);
	for (int64_t slot = (hour - 27) * 6; slot >= 0 && slot < (hour - 26) * 6; slot++)
		close_summaries(f, slot);
	for (int64_t slot = (hour - 25) * 6; slot >= 0 && slot < (hour - 24) * 6; slot++)
		close_missing(f, slot);
}
