/* How many candidate units a regression costs before it is taken back, and a healthy candidate
 * before it is promoted, beside Wald's bound and a z test that looks once. */
#include "tests/bench/gates_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FAMILY_ALPHA 3.9e-5 /* of one of 128 tests */
#define WINDOWS 250	    /* about so many until Wald's bound */
#define PATIENCE 60	    /* times Wald's bound */

struct trial {
	struct truth truth;
	enum gate_direction direction;
	double rho, delta, alpha;
	double f;	/* flood-robust: less so many units */
	int64_t n_t, n_c; /* of a window */
};

/* Candidate units until log E passes; the limit when it never does. */
static double run_trial(const void *arg, struct chance *c)
{
	const struct trial *t = arg;
	const double needs = -log(t->alpha);
	struct gate_mean mean;
	struct gate_bet bet;
	gate_mean_init(&mean, 2000, t->truth.p_c, 0);
	gate_bet_init(&bet, t->direction, t->rho, t->delta);
	for (int64_t units = t->n_t; units < PATIENCE * WINDOWS * t->n_t; units += t->n_t) {
		const struct gate_counts n = {
			(double)t->n_t, (double)chance_binomial(c, t->n_t, t->truth.p_t),
			(double)t->n_c, (double)chance_binomial(c, t->n_c, t->truth.p_c)};
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
		if (gate_bet_log_e_robust(&bet, t->f) >= needs)
			return (double)units;
	}
	return (double)(PATIENCE * WINDOWS * t->n_t);
}

static void size_windows(struct trial *t, double wald)
{
	t->n_t = wald > 2 * WINDOWS ? (int64_t)(wald / WINDOWS) : 1;
	t->n_c = (int64_t)llround((double)t->n_t * t->truth.ratio);
}

struct found {
	double mean, p95, wald;
};

static struct found find(uint64_t study, struct trial t, unsigned runs)
{
	double *units = calloc(runs, sizeof(*units));
	struct found f = {.wald = wald_units(&t.truth, t.rho, t.delta, t.alpha)};
	size_windows(&t, f.wald);
	runs_do(study, runs, run_trial, &t, units);
	f.mean = runs_mean(units, runs);
	f.p95 = runs_quantile(units, runs, 0.95);
	free(units);
	return f;
}

/* ---- crashes ---- */

static const struct crash_row {
	double arm, p_t, alpha;
	const char *wald, *mean, *p95;
} crash_rows[] = {
	{0.05, 0.0075, 0.01, "1.23", "0.89", "1.26"}, {0.05, 0.01, 0.01, "1.27", "0.79", "1.14"},
	{0.05, 0.02, 0.01, "1.39", "0.62", "0.80"},
	{0.05, 0.0075, FAMILY_ALPHA, "1.15", "0.81", "1.09"},
	{0.05, 0.01, FAMILY_ALPHA, "1.18", "0.70", "0.97"},
	{0.05, 0.02, FAMILY_ALPHA, "1.20", "0.51", "0.67"},
	{0.5, 0.0075, FAMILY_ALPHA, "1.14", "1.00", "1.26"},
	{0.5, 0.01, FAMILY_ALPHA, "1.13", "0.98", "1.25"},
	{0.5, 0.02, FAMILY_ALPHA, "1.17", "0.97", "1.19"},
};

static void name_row(char out[100], const char *what, double arm, double from, double to,
		     double alpha)
{
	snprintf(out, 100, "%s, %.0f %% arm, %.3g -> %.3g %%, alpha %.2g", what, arm * 100,
		 from * 100, to * 100, alpha);
}

static void rows_beside(const char *name, const struct found *f, const struct trial *t,
			const struct crash_row *paper)
{
	const bool family = t->alpha < 0.001;
	const bool half = t->truth.ratio < 2;
	char what[160];
	snprintf(what, sizeof(what), "%s: mean / Wald (%.0f)", name, f->wald);
	goal_row(what, f->mean / f->wald, "", paper->wald, GOAL_AT_MOST, family ? 1.25 : 1.45);
	if (!family)
		return;
	const double n80 = one_look_units(&t->truth, t->alpha, 0.80);
	const double n95 = one_look_units(&t->truth, t->alpha, 0.95);
	snprintf(what, sizeof(what), "%s: mean / one look, power 80 %% (%.0f)", name, n80);
	goal_row(what, f->mean / n80, "", paper->mean, GOAL_AT_MOST, half ? 1.10 : 0.90);
	snprintf(what, sizeof(what), "%s: 95th percentile / one look, power 95 %% (%.0f)", name, n95);
	goal_row(what, f->p95 / n95, "", paper->p95, GOAL_AT_MOST, 1.40);
}

static void crash_table(void)
{
	for (unsigned i = 0; i < COUNT_OF(crash_rows); i++) {
		const struct crash_row *r = &crash_rows[i];
		const struct trial t = {.truth = {r->p_t, 0.005, (1 - r->arm) / r->arm},
					.direction = GATE_ROLLBACK, .rho = 1, .alpha = r->alpha};
		const struct found f = find(100 + i, t, runs_of(4000));
		char name[100];
		name_row(name, "crash", r->arm, 0.005, r->p_t, r->alpha);
		rows_beside(name, &f, &t, r);
	}
}

/* With the margin that rollouts start with: for information. */
static void default_margin(void)
{
	static const struct {
		double p_t;
		const char *paper;
	} rows[] = {{0.0075, "36,700"}, {0.01, "8,270"}, {0.02, "1,190"}};
	for (unsigned i = 0; i < COUNT_OF(rows); i++) {
		const struct trial t = {.truth = {rows[i].p_t, 0.005, 19},
					.direction = GATE_ROLLBACK, .rho = 1.05, .delta = 2e-4,
					.alpha = FAMILY_ALPHA};
		const struct found f = find(120 + i, t, runs_of(2000));
		char name[100];
		name_row(name, "candidate units, margin 1.05x + 2e-4", 0.05, 0.005, rows[i].p_t,
			 FAMILY_ALPHA);
		goal_row(name, f.mean, "", rows[i].paper, GOAL_NONE, 0);
	}
}

/* Every candidate fails: after so many the gate has fired. */
static void total_failure(double ratio, const char *what, const char *paper, double bound)
{
	struct gate_mean mean;
	struct gate_bet bet;
	unsigned events = 0;
	gate_mean_init(&mean, 2000, 0.005, 0);
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	do {
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &(struct gate_counts){1, 1, ratio, 0});
		gate_mean_add(&mean, ratio, 0, 0);
		events++;
	} while (gate_bet_log_e(&bet) < -log(FAMILY_ALPHA) && events < 1000);
	goal_row(what, events, "", paper, GOAL_AT_MOST, bound);
}

void study_detection(void)
{
	crash_table();
	default_margin();
	total_failure(19, "events until a total failure is taken back, 5 % arm", "7", 7);
	total_failure(1, "same, 50 % arm", "22", 22);
}

/* ---- promotion ---- */

/* 1 when a candidate whose truth lies at the margin was promoted. */
static double run_at_margin(const void *arg, struct chance *c)
{
	const struct trial *t = arg;
	struct trial limited = *t;
	const double units = run_trial(&limited, c);
	return units < (double)(PATIENCE * WINDOWS * t->n_t);
}

static void false_promotion(void)
{
	const unsigned runs = runs_of(2000);
	/* The same window as the honest promotion needs: 15,000 looks. */
	const struct trial t = {.truth = {0.00625, 0.005, 19}, .direction = GATE_PROMOTE,
				.rho = 1.25, .alpha = 0.05, .n_t = 20, .n_c = 380};
	double *hits = calloc(runs, sizeof(*hits));
	runs_do(130, runs, run_at_margin, &t, hits);
	goal_row("false promotion, truth at margin 1.25, a_P 5 %, 15,000 looks",
		 runs_share(hits, runs) * 100, " %", "4.5 %", GOAL_AT_MOST, 5);
	free(hits);
}

void study_promotion(void)
{
	static const struct {
		double margin, p, arm;
		const char *units;
	} rows[] = {
		{2.0, 0.005, 0.05, "2,600"},   {1.5, 0.005, 0.05, "8,100"},
		{1.25, 0.005, 0.05, "28,400"}, {1.1, 0.005, 0.05, "191,500"},
		{2.0, 0.005, 0.5, "7,100"},    {1.5, 0.005, 0.5, "18,700"},
		{1.25, 0.005, 0.5, "59,400"},  {1.1, 0.005, 0.5, "361,600"},
		{2.0, 0.05, 0.05, "270"},      {1.5, 0.05, 0.05, "810"},
		{1.25, 0.05, 0.05, "2,800"},   {1.1, 0.05, 0.05, "18,500"},
	};
	false_promotion();
	for (unsigned i = 0; i < COUNT_OF(rows); i++) {
		const struct trial t = {
			.truth = {rows[i].p, rows[i].p, (1 - rows[i].arm) / rows[i].arm},
			.direction = GATE_PROMOTE, .rho = rows[i].margin, .alpha = 0.05};
		const struct found f = find(140 + i, t, runs_of(1000));
		char what[160];
		snprintf(what, sizeof(what),
			 "promotion, margin %.2f, rate %.1f %%, %.0f %% arm: %.0f units; / Wald (%.0f)",
			 rows[i].margin, rows[i].p * 100, rows[i].arm * 100, f.mean, f.wald);
		goal_row(what, f.mean / f.wald, "", rows[i].units, GOAL_AT_MOST, 1.5);
	}
}

/* ---- flooding ---- */

/* How many of n candidate reports must lie, beside honest arms at 0.5 %, until one of 128 tests
 * fires; f as the flood-robust form has it. */
static unsigned liars(double n, double f)
{
	unsigned count = 0;
	double log_e;
	do {
		struct gate_bet bet;
		gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
		count++;
		const struct gate_counts window = {n, 0.005 * (n - count) + count, 19 * n,
						   0.005 * 19 * n};
		gate_bet_indicator(&bet, 0.005, &window);
		log_e = gate_bet_log_e_robust(&bet, f);
	} while (log_e < -log(FAMILY_ALPHA) && count < 10000);
	return count;
}

static void robust_cost(double p_t, const char *paper, double bound)
{
	struct trial t = {.truth = {p_t, 0.005, 19}, .direction = GATE_ROLLBACK, .rho = 1,
			  .alpha = FAMILY_ALPHA};
	const struct found plain = find(160, t, runs_of(4000));
	char what[160];
	t.f = 5;
	const struct found robust = find(161, t, runs_of(4000));
	snprintf(what, sizeof(what), "what the flood-robust form (f = 5) costs at 0.5 -> %.3g %%",
		 p_t * 100);
	goal_row(what, (robust.mean / plain.mean - 1) * 100, " %", paper, GOAL_AT_MOST, bound);
}

void study_flood(void)
{
	static const struct {
		double n;
		const char *paper;
	} rows[] = {{200, "10"}, {1000, "16"}, {5000, "30"}, {20000, "55"}};
	for (unsigned i = 0; i < COUNT_OF(rows); i++) {
		char what[160];
		const double f = fmax(2, 0.001 * rows[i].n);
		const unsigned plain = liars(rows[i].n, 0), robust = liars(rows[i].n, f);
		snprintf(what, sizeof(what), "lying devices among %.0f that force a rollback",
			 rows[i].n);
		goal_row(what, plain, "", rows[i].paper, GOAL_NONE, 0);
		snprintf(what, sizeof(what), "same, flood-robust (f = %.0f)", f);
		goal_row(what, robust, "", "", GOAL_AT_LEAST, plain + f);
	}
	robust_cost(0.01, "+28 %", 32);
	robust_cost(0.02, "+49 %", 55);
}
