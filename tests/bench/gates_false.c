/* False rollback: the same truth in both arms, looked at again and again. */
#include "tests/bench/gates_sim.h"

#include <math.h>
#include <stdlib.h>

#define LOOKS 10000
#define UNITS 200 /* of a look, both arms */
#define ALPHA 0.01
#define DAY 96 /* looks */

/* The candidate's share while a rollout goes on: 1, 5, 25, 50 % of devices. */
static int64_t candidates(unsigned look, unsigned looks)
{
	static const int64_t share[] = {2, 10, 50, 100}; /* of UNITS */
	return share[look * 4 / looks];
}

struct drifting {
	double p;
	bool drifts; /* a daily cycle and a trend, in both arms alike */
	bool rates;  /* engine R, not B */
};

static double rate_at(const struct drifting *d, unsigned look)
{
	if (!d->drifts)
		return d->p;
	return d->p * (1 + 0.5 * sin(2 * M_PI * look / DAY)) * (1 + 0.3 * look / LOOKS);
}

/* log E only where it can have crossed: the mean is not above the largest. */
static bool crossed(const double *log_w, double needs)
{
	bool close = false;
	for (unsigned j = 0; j < GATE_BETS; j++)
		close |= log_w[j] >= needs;
	return close && gate_log_mean(log_w, GATE_BETS) >= needs;
}

static bool rate_crossed(const struct gate_rate *rate, double needs)
{
	double log_w[GATE_BETS];
	for (unsigned j = 0; j < GATE_BETS; j++)
		log_w[j] = rate->at[j] - rate->at_rho;
	return crossed(log_w, needs);
}

static struct gate_counts look_at(struct chance *c, int64_t n_t, int64_t n_c, double p_t, double p_c)
{
	return (struct gate_counts){(double)n_t, (double)chance_binomial(c, n_t, p_t), (double)n_c,
				    (double)chance_binomial(c, n_c, p_c)};
}

/* 1 when equal arms were ever told apart. */
static double run_drifting(const void *arg, struct chance *c)
{
	const struct drifting *d = arg;
	struct gate_mean mean;
	struct gate_bet bet;
	struct gate_rate rate;
	gate_mean_init(&mean, 2000, d->p, 0);
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	gate_rate_init(&rate, GATE_ROLLBACK, 1);
	for (unsigned look = 0; look < LOOKS; look++) {
		const double p = rate_at(d, look);
		const int64_t n_t = candidates(look, LOOKS);
		const struct gate_counts n = look_at(c, n_t, UNITS - n_t, p, p);
		if (d->rates) {
			gate_rate_add(&rate, &n);
			if (rate_crossed(&rate, -log(ALPHA)))
				return 1;
			continue;
		}
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
		if (crossed(bet.log_w, -log(ALPHA)))
			return 1;
	}
	return 0;
}

static void false_rollback(uint64_t study, const char *what, const char *paper, double p,
			   bool drifts, bool rates)
{
	const unsigned runs = runs_of(rates ? 1000 : 4000);
	const struct drifting d = {p, drifts, rates};
	double *hits = calloc(runs, sizeof(*hits));
	runs_do(study, runs, run_drifting, &d, hits);
	/* 1 % and three standard errors. */
	goal_row(what, runs_mean(hits, runs) * runs, "", paper, GOAL_AT_MOST,
		 floor(0.01 * runs + 3 * sqrt(0.0099 * runs)));
	free(hits);
}

/* ---- a family of lanes and metrics ---- */

#define LANES 16
#define METRICS 8
#define FAMILY_LOOKS 1000

struct lane_tests {
	struct gate_mean mean[METRICS];
	struct gate_bet bet[METRICS];
};

/* Metrics go together: most of their events are one common event's. */
static void lane_look(struct lane_tests *l, unsigned look, struct chance *c)
{
	const int64_t n_t = candidates(look, FAMILY_LOOKS), n_c = UNITS - n_t;
	const double p = 0.02;
	const struct gate_counts common = look_at(c, n_t, n_c, p, p);
	for (unsigned m = 0; m < METRICS; m++) {
		const double share = 0.3 + 0.08 * m;
		struct gate_counts n = look_at(c, n_t, n_c, p * (1 - share), p * (1 - share));
		n.k_t = fmin(n.n_t, n.k_t + (double)chance_binomial(c, (int64_t)common.k_t, share));
		n.k_c = fmin(n.n_c, n.k_c + (double)chance_binomial(c, (int64_t)common.k_c, share));
		gate_bet_indicator(&l->bet[m], gate_mean_mu(&l->mean[m]), &n);
		gate_mean_add(&l->mean[m], n.n_c, n.k_c, n.k_c);
	}
}

/* Any of the lanes' tests (weighted Bonferroni) or of the pooled ones. */
static bool family_fires(struct lane_tests *lanes)
{
	const double own = log(2.0 * LANES * METRICS / ALPHA), pooled = log(2.0 * METRICS / ALPHA);
	for (unsigned m = 0; m < METRICS; m++) {
		double sum[GATE_BETS] = {0};
		for (unsigned l = 0; l < LANES; l++) {
			if (crossed(lanes[l].bet[m].log_w, own))
				return true;
			for (unsigned j = 0; j < GATE_BETS; j++)
				sum[j] += lanes[l].bet[m].log_w[j];
		}
		if (crossed(sum, pooled))
			return true;
	}
	return false;
}

static double run_family(const void *arg, struct chance *c)
{
	struct lane_tests lanes[LANES];
	(void)arg;
	for (unsigned l = 0; l < LANES; l++)
		for (unsigned m = 0; m < METRICS; m++) {
			gate_mean_init(&lanes[l].mean[m], 2000, 0.02, 0);
			gate_bet_init(&lanes[l].bet[m], GATE_ROLLBACK, 1, 0);
		}
	for (unsigned look = 0; look < FAMILY_LOOKS; look++) {
		for (unsigned l = 0; l < LANES; l++)
			lane_look(&lanes[l], look, c);
		if (family_fires(lanes))
			return 1;
	}
	return 0;
}

void study_false_rollback(void)
{
	false_rollback(1, "false rollbacks in 4,000 runs, B, 10,000 looks, p 5 %", "25 (0.63 %)", 0.05,
		       false, false);
	false_rollback(2, "same, p 0.5 %", "26 (0.65 %)", 0.005, false, false);
	false_rollback(3, "same, p 30 %", "18 (0.45 %)", 0.3, false, false);
	false_rollback(4, "same, p 0.5 %, daily cycle and 30 % trend", "22 (0.55 %)", 0.005, true,
		       false);
	false_rollback(5, "false rollbacks in 1,000 runs, R, p 0.5 %", "5.5 (0.55 %)", 0.005, false, true);
	false_rollback(6, "same, daily cycle and trend", "5 (0.50 %)", 0.005, true,
		       true);
	const unsigned runs = runs_of(600);
	double *hits = calloc(runs, sizeof(*hits));
	runs_do(7, runs, run_family, NULL, hits);
	goal_row("any false rollback, 16 lanes x 8 correlated metrics and 8 pooled, 1,000 looks",
		 runs_mean(hits, runs) * 100, " %", "0.3 %", GOAL_AT_MOST, 1);
	free(hits);
}
