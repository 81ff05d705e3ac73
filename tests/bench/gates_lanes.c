/* Whole lanes through the engine's evidence and decisions: healthy ones must complete, faulty ones
 * must go back. */
#include "tests/bench/gates_fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8 /* of the rollout; they share alpha */
#define DAY (24 * 3600)

struct setting {
	int64_t devices;
	bool baseline, authentic;
	struct fault fault;
};

enum { END_COMPLETE = 1, END_ROLLED_BACK, END_HELD };

struct ending {
	int how;
	double days;
	double exposed; /* candidates entered, of the lane's devices */
	char reason[240];
};

static void run_lane(const struct setting *s, struct chance *c, struct ending *end)
{
	struct policy policy;
	struct fleet f;
	struct decision d = {.kind = DECIDE_NOTHING};
	policy_default(&policy);
	fleet_open(&f, &policy, s->devices, s->baseline, &s->fault, c);
	*end = (struct ending){.how = END_HELD};
	while (f.now < (FLEET_DAYS - 1) * DAY) {
		fleet_hour(&f);
		const struct circumstances at = {&f.lane, &policy, LANES, s->authentic, f.now, NULL,
						NULL, 0};
		decide(f.evidence, &at, &d);
		if (d.kind == DECIDE_ROLL_BACK) {
			end->how = END_ROLLED_BACK;
			break;
		}
		if (d.kind == DECIDE_ADVANCE && !fleet_advance(&f)) {
			end->how = END_COMPLETE;
			break;
		}
		if (d.kind == DECIDE_HOLD) {
			/* As far as it may go by itself while nobody vouches for reports. */
			if (!s->authentic && !strncmp(d.reason, "approval", 8))
				end->how = END_COMPLETE;
			break;
		}
	}
	end->days = (double)(f.now - f.lane.started) / DAY;
	end->exposed = (double)f.exposed / (double)s->devices;
	snprintf(end->reason, sizeof(end->reason), "stage %u: %.220s", f.lane.stage, d.reason);
	fleet_close(&f);
}

static double run_healthy(const void *arg, struct chance *c)
{
	struct ending end;
	run_lane(arg, c, &end);
	if (end.how != END_COMPLETE)
		fprintf(stderr, "  not complete after %.1f days: %s\n", end.days, end.reason);
	return end.how == END_COMPLETE ? end.days : end.how == END_ROLLED_BACK ? -1 : 0;
}

static void healthy(uint64_t study, const char *what, const struct setting *s)
{
	const unsigned runs = quick ? 20 : 200;
	double *figures = calloc(runs, sizeof(*figures));
	char row[160];
	unsigned complete = 0, back = 0;
	runs_do(study, runs, run_healthy, s, figures);
	for (unsigned i = 0; i < runs; i++) {
		complete += figures[i] > 0;
		back += figures[i] < 0;
	}
	snprintf(row, sizeof(row), "healthy lane of %s completes", what);
	goal_row(row, 100.0 * complete / runs, " %", "", GOAL_AT_LEAST, 90);
	snprintf(row, sizeof(row), "same, rolled back");
	goal_row(row, 100.0 * back / runs, " %", "", GOAL_AT_MOST, 1);
	snprintf(row, sizeof(row), "same, median days until complete");
	goal_row(row, runs_quantile(figures, runs, 0.5), "", "", GOAL_NONE, 0);
	free(figures);
}

/* Share of the lane that was exposed until it went back, or (negative) was held; 2: it completed. */
static double run_faulty(const void *arg, struct chance *c)
{
	struct ending end;
	run_lane(arg, c, &end);
	const double exposed = fmax(end.exposed, 1e-9);
	return end.how == END_ROLLED_BACK ? exposed : end.how == END_HELD ? -exposed : 2;
}

static void faulty(uint64_t study, const char *what, const struct fault *fault)
{
	const unsigned runs = quick ? 10 : 100;
	const struct setting s = {200000, true, true, *fault};
	double *exposed = calloc(runs, sizeof(*exposed));
	char row[160];
	unsigned back = 0, held = 0;
	runs_do(study, runs, run_faulty, &s, exposed);
	for (unsigned i = 0; i < runs; i++) {
		back += exposed[i] > 0 && exposed[i] < 2;
		held += exposed[i] < 0;
		exposed[i] = fabs(exposed[i]);
	}
	snprintf(row, sizeof(row), "lane of 200,000, %s: taken back (%u) or held (%u)", what, back, held);
	goal_row(row, 100.0 * (back + held) / runs, " %", "", GOAL_AT_LEAST, 95);
	snprintf(row, sizeof(row), "same, devices exposed, median");
	goal_row(row, 100 * runs_quantile(exposed, runs, 0.5), " %", "", GOAL_NONE, 0);
	free(exposed);
}

/* ---- several lanes together ---- */

#define TOGETHER 16

struct together {
	int64_t devices; /* of a lane */
	struct fault fault;
	unsigned faulty; /* lanes that have it */
};

enum { /* what happened, as bits */
	FAULTY_STOPPED = 1, /* a faulty lane went back or is held */
	HEALTHY_BACK = 2,
	ALL_BACK = 4
};

static void open_together(const struct together *t, const struct policy *policy,
			  struct fleet fleets[TOGETHER], struct family **family, struct chance *c)
{
	static const char *const classes[TOGETHER] = {"a", "b", "c", "d", "e", "f", "g", "h",
						      "i", "j", "k", "l", "m", "n", "o", "p"};
	struct lane lanes[TOGETHER];
	struct err err;
	for (unsigned i = 0; i < TOGETHER; i++) {
		const struct fault none = {0};
		fleet_open(&fleets[i], policy, t->devices, true, i < t->faulty ? &t->fault : &none, c);
		fleets[i].lane.class = classes[i];
		lanes[i] = fleets[i].lane;
	}
	if (family_new(family, policy, lanes, TOGETHER, false, &err))
		exit(2);
	for (unsigned i = 0; i < TOGETHER; i++)
		fleet_join(&fleets[i], family_evidence(*family, classes[i]));
}

static void settle(struct fleet *f, const struct decision *d, bool faulty, unsigned *happened)
{
	if (d->kind == DECIDE_ROLL_BACK_ALL)
		*happened |= ALL_BACK;
	if (d->kind == DECIDE_ROLL_BACK) {
		*happened |= faulty ? FAULTY_STOPPED : HEALTHY_BACK;
		f->lane.state = LANE_ROLLED_BACK;
	}
	if (d->kind == DECIDE_HOLD) {
		*happened |= faulty ? FAULTY_STOPPED : 0;
		f->lane.state = LANE_HOLDING;
	}
	if (d->kind == DECIDE_ADVANCE && !fleet_advance(f))
		f->lane.state = LANE_COMPLETE;
}

/* A lane that is held may still be taken back, when others tell. */
static void hour_together(struct fleet fleets[TOGETHER], struct family *family, unsigned faulty,
			  unsigned *happened)
{
	struct err err;
	for (unsigned i = 0; i < TOGETHER; i++)
		if (fleets[i].lane.state == LANE_RUNNING)
			fleet_hour(&fleets[i]);
	if (family_weigh(family, 1, &err))
		exit(2);
	for (unsigned i = 0; i < TOGETHER && !(*happened & ALL_BACK); i++) {
		struct fleet *f = &fleets[i];
		const struct circumstances at = {&f->lane, f->policy, TOGETHER, true, f->now, family,
						NULL, 0};
		struct decision d;
		if (!lane_active(f->lane.state))
			continue;
		decide(f->evidence, &at, &d);
		settle(f, &d, i < faulty, happened);
	}
}

static double run_together(const void *arg, struct chance *c)
{
	const struct together *t = arg;
	struct fleet fleets[TOGETHER];
	struct policy policy;
	AUTO(family_free) struct family *family = NULL;
	unsigned happened = 0;
	policy_default(&policy);
	open_together(t, &policy, fleets, &family, c);
	for (unsigned hour = 0; hour < 24 * 12 && !(happened & ALL_BACK); hour++)
		hour_together(fleets, family, t->faulty, &happened);
	for (unsigned i = 0; i < TOGETHER; i++)
		fleet_close(&fleets[i]);
	return happened;
}

static double share_of(uint64_t study, const struct together *t, unsigned happened)
{
	const unsigned runs = quick ? 4 : 30;
	double *ends = calloc(runs, sizeof(*ends));
	unsigned count = 0;
	runs_do(study, runs, run_together, t, ends);
	for (unsigned i = 0; i < runs; i++)
		count += happened ? ends[i] == happened : ends[i] != 0;
	free(ends);
	return 100.0 * count / runs;
}

void study_together(void)
{
	const struct together weak = {20000, {.gate = "window.crash", .times = 2}, TOGETHER};
	const struct together one = {20000, {.gate = "window.crash", .times = 8}, 1};
	const struct together none = {20000, {0}, 0};
	const unsigned alone = FAULTY_STOPPED;
	goal_row("16 lanes of 20,000, crashes x2 in all: all are taken back by pooled evidence",
		 share_of(440, &weak, ALL_BACK), " %", "", GOAL_AT_LEAST, 90);
	goal_row("16 lanes of 20,000, crashes x8 in one: that one stops, no other goes back",
		 share_of(441, &one, alone), " %", "", GOAL_AT_LEAST, 95);
	goal_row("16 healthy lanes of 20,000: any rollback", share_of(442, &none, 0), " %", "",
		 GOAL_AT_MOST, 2.5);
}

void study_lanes(void)
{
	static const struct {
		const char *what;
		struct setting setting;
	} healthy_rows[] = {
		{"20,000 devices", {20000, true, true, {0}}},
		{"200,000 devices", {200000, true, true, {0}}},
		{"4 million devices", {4000000, true, true, {0}}},
		{"20,000 devices without a baseline", {20000, false, true, {0}}},
		{"200,000 devices, reports not vouched for, up to 25 %", {200000, true, false, {0}}},
	};
	static const struct {
		const char *what;
		struct fault fault;
	} faults[] = {
		{"crashes x2", {.gate = "window.crash", .times = 2}},
		{"first token +25 %", {.hist = HIST_TTFT, .buckets = 5.15}},
		{"battery +25 %", {.hist = HIST_ENERGY, .buckets = 5.15}},
		{"writes 20 % slower", {.hist = HIST_DECODE, .buckets = 5.15}},
		{"one of ten cannot load", {.gate = "outcome.load", .times = 25}},
		{"two of three fall silent", {.gate = "missing", .times = 20}},
		{"probe score -10 points", {.hist = HIST_PROBE, .buckets = 4}},
		{"thumbs-down +30 %", {.gate = "window.thumb.down", .times = 1.3}},
	};
	for (unsigned i = 0; i < COUNT_OF(healthy_rows); i++)
		healthy(400 + i, healthy_rows[i].what, &healthy_rows[i].setting);
	for (unsigned i = 0; i < COUNT_OF(faults); i++)
		faulty(420 + i, faults[i].what, &faults[i].fault);
}
