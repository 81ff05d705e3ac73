/* Devices that fail again and again: what counting their sessions as independent would do, and what
 * strict and deflated units do.  And the time one update takes. */
#include "tests/bench/gates_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CANDIDATES 1000
#define CONTROLS 9000
#define ENTRY_DAYS 10 /* over which devices enter */
#define DAYS 30
#define CAP_DAYS 7
#define HISTORY 5000 /* devices that tell the overdispersion */
#define RATE 0.005   /* crashes a session */
#define ALPHA 0.01

enum units { UNITS_SESSIONS, UNITS_CAPPED, UNITS_STRICT, UNITS_DEFLATED };
struct fleet {
	double cv2;	 /* squared coefficient of variation of devices' propensities */
	double sessions; /* a device and day */
	double effect;	 /* candidate's rate over control's */
	enum units units;
};

/* Those of one arm who enter on one day, all together: their propensities' mean stays. */
struct cohort {
	int64_t devices;
	double propensity;
};

static void day_of_arm(const struct fleet *f, const struct cohort *cohorts, int day, double p,
		       struct chance *c, double *n, double *k)
{
	const double any = 1 - pow(1 + f->cv2 * p * f->sessions, -1 / f->cv2);
	for (int e = 0; e < ENTRY_DAYS && e <= day; e++) {
		const struct cohort *h = &cohorts[e];
		const int64_t sessions = (int64_t)((double)h->devices * f->sessions);
		if (f->units == UNITS_STRICT ? day != e
					     : f->units != UNITS_SESSIONS && day >= e + CAP_DAYS)
			continue;
		if (f->units == UNITS_STRICT) {
			*n += (double)h->devices;
			*k += (double)chance_binomial(c, h->devices, any);
		} else {
			*n += (double)sessions;
			*k += (double)chance_binomial(c, sessions, fmin(1, p * h->propensity));
		}
	}
}

static double phi_of_history(const struct fleet *f, struct chance *c)
{
	struct gate_clusters sums = {0};
	const int64_t n = (int64_t)(f->sessions * CAP_DAYS);
	for (unsigned i = 0; i < HISTORY; i++) {
		const double p = fmin(1, RATE * chance_mean_propensity(c, 1, f->cv2));
		const double k = (double)chance_binomial(c, n, p);
		sums.n += (double)n;
		sums.k += k;
		sums.nn += (double)(n * n);
		sums.kk += k * k;
		sums.nk += (double)n * k;
	}
	return gate_phi(&sums);
}

static void enter(struct cohort *cohorts, int64_t devices, double cv2, struct chance *c)
{
	for (unsigned e = 0; e < ENTRY_DAYS; e++) {
		cohorts[e].devices = devices / ENTRY_DAYS;
		cohorts[e].propensity = chance_mean_propensity(c, cohorts[e].devices, cv2);
	}
}

/* The day on which the candidate is taken back; 0: never. */
static double run_fleet(const void *arg, struct chance *c)
{
	const struct fleet *f = arg;
	const bool strict = f->units == UNITS_STRICT;
	const double any = 1 - pow(1 + f->cv2 * RATE * f->sessions, -1 / f->cv2);
	const double phi = f->units == UNITS_DEFLATED ? phi_of_history(f, c) : 1;
	struct cohort t[ENTRY_DAYS], k[ENTRY_DAYS];
	struct gate_mean mean;
	struct gate_bet bet;
	enter(t, CANDIDATES, f->cv2, c);
	enter(k, CONTROLS, f->cv2, c);
	gate_mean_init(&mean, 2000, strict ? any : RATE, 0);
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	for (int day = 0; day < DAYS; day++) {
		struct gate_counts n = {0};
		day_of_arm(f, t, day, RATE * f->effect, c, &n.n_t, &n.k_t);
		day_of_arm(f, k, day, RATE, c, &n.n_c, &n.k_c);
		n = gate_deflate(&n, phi);
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
		if (gate_bet_log_e(&bet) >= -log(ALPHA))
			return day + 1;
	}
	return 0;
}

static const struct {
	enum units units;
	const char *what, *false_paper[2], *day_paper[2];
} unit_rows[] = {
	{UNITS_SESSIONS, "sessions as units, no cap", {"9.2 %", "28 %"}, {"", ""}},
	{UNITS_CAPPED, "first 7 windows a device", {"3.5 %", "21 %"}, {"", ""}},
	{UNITS_STRICT, "strict: first window, any event", {"0.3 %", "0.2 %"}, {"3", "4"}},
	{UNITS_DEFLATED, "first 7 windows, deflated", {"0.1 %", "0.1 %"}, {"3", "4"}},
};

static void fleet_rows(unsigned u, unsigned which, const char *fleet, struct fleet f)
{
	const unsigned runs = runs_of(4000);
	const bool sound = unit_rows[u].units >= UNITS_STRICT;
	double *days = calloc(runs, sizeof(*days));
	char what[160];
	f.units = unit_rows[u].units;
	f.effect = 1;
	runs_do(300 + 10 * which + u, runs, run_fleet, &f, days);
	snprintf(what, sizeof(what), "false rollback, %s, %s", fleet, unit_rows[u].what);
	goal_row(what, runs_share(days, runs) * 100, " %", unit_rows[u].false_paper[which],
		 sound ? GOAL_AT_MOST : GOAL_NONE, 1);
	if (sound) {
		f.effect = 2;
		runs_do(340 + 10 * which + u, runs, run_fleet, &f, days);
		for (unsigned i = 0; i < runs; i++)
			days[i] = days[i] > 0 ? days[i] : DAYS + 1;
		snprintf(what, sizeof(what), "median day until x2 is taken back, %s, %s", fleet,
			 unit_rows[u].what);
		goal_row(what, runs_quantile(days, runs, 0.5), "", unit_rows[u].day_paper[which],
			 GOAL_NONE, 0);
	}
	free(days);
}

void study_clusters(void)
{
	static const struct {
		const char *name;
		struct fleet fleet;
	} fleets[] = {{"CV^2 2, 20 sessions a day", {.cv2 = 2, .sessions = 20}},
		      {"CV^2 5, 50 a day", {.cv2 = 5, .sessions = 50}}};
	for (unsigned i = 0; i < COUNT_OF(fleets); i++)
		for (unsigned u = 0; u < COUNT_OF(unit_rows); u++)
			fleet_rows(u, i, fleets[i].name, fleets[i].fleet);
}

/* ---- cost ---- */

static double cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

#define BATCHES 40
#define UPDATES 5000 /* of a batch */

static struct gate_bet rollback, promote;
static struct gate_sequence sequence;
static const struct gate_counts window = {100, 1, 1900, 9};

static void both_ways(void)
{
	gate_bet_indicator(&rollback, 0.005, &window);
	gate_bet_indicator(&promote, 0.005, &window);
}

static void grid(void)
{
	gate_sequence_add(&sequence, &window);
}

/* Of the fastest batch: others may use the machine too. */
static double cost_us(void (*update)(void))
{
	double best = INFINITY;
	for (unsigned b = 0; b < BATCHES; b++) {
		const double start = cpu_us();
		for (unsigned i = 0; i < UPDATES; i++)
			update();
		best = fmin(best, (cpu_us() - start) / UPDATES);
	}
	return best;
}

void study_cost(void)
{
	gate_bet_init(&rollback, GATE_ROLLBACK, 1.05, 2e-4);
	gate_bet_init(&promote, GATE_PROMOTE, 1.25, 2e-4);
	gate_sequence_init(&sequence);
	goal_row("one window of one lane and metric, B both ways", cost_us(both_ways), " us",
		 "1.0 us", GOAL_AT_MOST, 5);
	goal_row("same, R grid for the confidence sequence", cost_us(grid), " us", "2.1 us",
		 GOAL_AT_MOST, 5);
}
