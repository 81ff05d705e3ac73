/* Times to the first token: quantile views, on buckets of 5 % as the specification's figures. */
#include "tests/bench/gates_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LEN 81
#define GAMMA 1.05
#define SIGMA 0.6	/* of the lognormal */
#define MIDDLE 40.5	/* bucket of the median */
#define BASELINE 20000	/* sessions before */
#define FAMILY_ALPHA 3.9e-5
#define WINDOWS 250
#define LOOKS 500

struct shape {
	double slower;	/* all sessions, as a ratio */
	double tail;	/* share of sessions that take three times as long */
	unsigned shift; /* margin in buckets */
	double alpha, ratio;
	int64_t n_t;
	unsigned looks;
	bool one_view; /* p95 alone, not the average of five */
};

static double buckets(double ratio)
{
	return log(ratio) / log(GAMMA);
}

static unsigned draw(struct chance *c, double slower, double tail)
{
	double at = MIDDLE + chance_normal(c) * SIGMA / log(GAMMA) + buckets(slower);
	if (tail > 0 && chance_uniform(c) < tail)
		at += buckets(3);
	return at < 0 ? 0 : at >= LEN ? LEN - 1 : (unsigned)at;
}

static void window(struct chance *c, int64_t n, double slower, double tail, double counts[LEN])
{
	for (unsigned b = 0; b < LEN; b++)
		counts[b] = 0;
	for (int64_t i = 0; i < n; i++)
		counts[draw(c, slower, tail)]++;
}

/* Candidate units until the views fire; 0 when they never do. */
static double run_shape(const void *arg, struct chance *c)
{
	const struct shape *s = arg;
	double base[LEN], t[LEN], k[LEN];
	struct gate_views views;
	window(c, BASELINE, 1, 0, base);
	gate_views_init(&views, base, LEN, s->shift, 2000);
	for (unsigned look = 1; look <= s->looks; look++) {
		window(c, s->n_t, s->slower, s->tail, t);
		window(c, (int64_t)llround((double)s->n_t * s->ratio), 1, 0, k);
		gate_views_add(&views, t, k, LEN, 1);
		const double log_e = s->one_view ? gate_bet_log_e(&views.bet[2])
						 : gate_views_log_e(&views, 0);
		if (log_e >= -log(s->alpha))
			return (double)s->n_t * look;
	}
	return 0;
}

/* Share of sessions in bucket from or above. */
static double above(double from, double slower, double tail)
{
	const double z = (from - MIDDLE - buckets(slower)) * log(GAMMA) / SIGMA;
	const double far = z - buckets(3) * log(GAMMA) / SIGMA;
	return (1 - tail) * erfc(z / M_SQRT2) / 2 + tail * erfc(far / M_SQRT2) / 2;
}

static struct truth p95_truth(const struct shape *s)
{
	double edge = 0;
	while (above(edge, 1, 0) > 0.05)
		edge++;
	return (struct truth){above(edge + s->shift, s->slower, s->tail), above(edge, 1, 0), s->ratio};
}

static double mean_units(uint64_t study, const struct shape *s, unsigned runs)
{
	double *units = calloc(runs, sizeof(*units));
	runs_do(study, runs, run_shape, s, units);
	const double mean = runs_mean(units, runs);
	free(units);
	return mean;
}

static const struct shape_row {
	const char *what;
	double slower, tail;
	unsigned shift;
	double alpha, ratio;
	const char *paper_p95, *paper_five; /* ratio to Wald; candidate units, "" none given */
} shape_rows[] = {
	{"+10 %, 5 % arm, alpha .01", 1.1, 0, 0, 0.01, 19, "1.27", "597"},
	{"+10 %, 5 % arm, alpha 3.9e-5", 1.1, 0, 0, FAMILY_ALPHA, 19, "1.17", "1,136"},
	{"+25 %, 5 % arm, alpha .01", 1.25, 0, 0, 0.01, 19, "1.38", "123"},
	{"+25 %, 5 % arm, alpha 3.9e-5", 1.25, 0, 0, FAMILY_ALPHA, 19, "1.23", "224"},
	{"+25 %, margin 2 buckets, alpha 3.9e-5", 1.25, 0, 2, FAMILY_ALPHA, 19, "1.19", "667"},
	{"5 % of sessions x3, alpha 3.9e-5", 1, 0.05, 0, FAMILY_ALPHA, 19, "1.18", "1,632"},
	{"+10 %, 50 % arm, alpha 3.9e-5", 1.1, 0, 0, FAMILY_ALPHA, 1, "1.21", ""},
	{"+25 %, 50 % arm, alpha 3.9e-5", 1.25, 0, 0, FAMILY_ALPHA, 1, "1.20", ""},
};

static void detect_row(unsigned i)
{
	const struct shape_row *r = &shape_rows[i];
	const bool family = r->alpha < 0.001;
	struct shape s = {r->slower, r->tail, r->shift, r->alpha, r->ratio, 1, 60 * WINDOWS, true};
	char what[160];
	const struct truth truth = p95_truth(&s);
	const double wald = wald_units(&truth, 1, 0, s.alpha);
	const double n80 = one_look_units(&truth, s.alpha, 0.80);
	s.n_t = wald > 2 * WINDOWS ? (int64_t)(wald / WINDOWS) : 1;
	const double mean = mean_units(200 + i, &s, runs_of(500));
	snprintf(what, sizeof(what), "first token %s, p95 bet: mean / Wald (%.0f)", r->what, wald);
	goal_row(what, mean / wald, "", r->paper_p95, GOAL_AT_MOST, family ? 1.25 : 1.45);
	if (family) {
		snprintf(what, sizeof(what), "first token %s, p95 bet: mean / one look (%.0f)",
			 r->what, n80);
		goal_row(what, mean / n80, "", "", GOAL_AT_MOST, r->ratio < 2 ? 1.10 : 0.90);
	}
	if (!r->paper_five[0])
		return;
	s.one_view = false;
	s.n_t = 1 + (int64_t)(wald / 1500);
	snprintf(what, sizeof(what), "first token %s, average of five: units", r->what);
	goal_row(what, mean_units(220 + i, &s, runs_of(500)), "", r->paper_five, GOAL_NONE, 0);
}

static void equal_arms(uint64_t study, bool one_view, const char *what, const char *paper)
{
	const unsigned runs = runs_of(800);
	const struct shape s = {1, 0, 0, 0.01, 19, 2, LOOKS, one_view};
	double *hits = calloc(runs, sizeof(*hits));
	runs_do(study, runs, run_shape, &s, hits);
	/* 1 % and three standard errors. */
	goal_row(what, runs_share(hits, runs) * runs, "", paper, GOAL_AT_MOST,
		 floor(0.01 * runs + 3 * sqrt(0.0099 * runs)));
	free(hits);
}

void study_ttft(void)
{
	equal_arms(240, true, "false rollbacks in 800 runs, first token p95, 500 looks", "8 (1.0 %)");
	equal_arms(241, false, "same, average of five views", "5 (0.6 %)");
	for (unsigned i = 0; i < COUNT_OF(shape_rows); i++)
		detect_row(i);
}
