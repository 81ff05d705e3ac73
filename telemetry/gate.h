/* gate.h -- sequential tests of a candidate against a concurrent control, valid however often one
 * looks.  Pure arithmetic on fixed-size structs; natural logarithms; no allocation.
 *
 * Engine B, a two-sample bet on bounded units (indicators, quantile exceedance, means), with an
 * affine margin: rollback rejects  mu_T <= rho mu_C + delta,  promotion rejects the converse.
 * Engine R, a grid of likelihood ratios on rates: counts, sample ratio, confidence sequences.
 * log E is the log of a non-negative supermartingale under the hypothesis, so the chance that it
 * ever reaches ln(1/a) is at most a (Ville 1939).
 *
 * Sources: the k-sample block e-variable of Turner, Ly, Gruenwald (JSPI 2024), extended to bounded
 * units and affine margins by bets as in Waudby-Smith, Ramdas (JRSS-B 2024); rates conditioned as in
 * Lindon, Malek (NeurIPS 2022); averaging and closure after Vovk, Wang (AoS 2021); e-BH after Wang,
 * Ramdas (JRSS-B 2022).
 * Threads: pure; a struct belongs to one. */
#ifndef TELEMETRY_GATE_H
#define TELEMETRY_GATE_H

#include "base/cc.h"

#include <stdbool.h>
#include <stdint.h>

#define GATE_BETS 10		/* effect sizes that share one unit of capital */
#define GATE_GRID_LOW (-112)	/* grid of rate ratios: 2^(g/16) */
#define GATE_GRID_HIGH 144
#define GATE_GRID (GATE_GRID_HIGH - GATE_GRID_LOW + 1)
#define GATE_SHOWN_LOW (-64)	/* of which a confidence sequence may take */
#define GATE_SHOWN_HIGH 96

enum gate_direction { GATE_ROLLBACK = 1, GATE_PROMOTE = -1 };

/* One stratum (a closed window): units and positive units of both arms.  Fractions are allowed
 * (counts divided by an overdispersion). */
struct gate_counts {
	double n_t, k_t, n_c, k_c;
};

/* ---- what control was so far: the predictable input of a bet ---- */
struct gate_mean {
	double n, sum, squares;
};
/* From a baseline of n0 units with mean mu0 (and, for means, variance v0; 0 for indicators). */
void gate_mean_init(struct gate_mean *mean, double n0, double mu0, double v0);
void gate_mean_add(struct gate_mean *mean, double n, double sum, double squares);
double gate_mean_mu(const struct gate_mean *mean);
double gate_mean_var(const struct gate_mean *mean); /* at least 1e-6 */

/* ---- engine B ---- */
struct gate_margin {
	enum gate_direction direction;
	double rho, delta;
};
struct gate_bet {
	struct gate_margin margin;
	double log_w[GATE_BETS];
	double influence[GATE_BETS]; /* largest change one candidate unit made so far */
};
struct gate_component { /* the j-th bet of one stratum, for tests and explanations */
	double g_t, g_c, q_t, q_c, log_w;
};
void gate_bet_init(struct gate_bet *bet, enum gate_direction direction, double rho, double delta);
/* Bet on one stratum of indicators, both arms non-empty (otherwise nothing happens), with control's
 * mean mu from before it. */
void gate_bet_indicator(struct gate_bet *bet, double mu, const struct gate_counts *counts);
void gate_bet_component(const struct gate_margin *margin, unsigned j, double mu,
			const struct gate_counts *counts, struct gate_component *ret);
/* The same for a bounded value x = bucket/(len-1) with counts per bucket. */
void gate_bet_values(struct gate_bet *bet, double mu, double var, const double *t,
		     const double *c, unsigned len);
double gate_bet_log_e(const struct gate_bet *bet);
/* As if the f most telling candidate units of any stratum had not been sent. */
double gate_bet_log_e_robust(const struct gate_bet *bet, double f);
/* The log capital of each bet, less f units: what gate_pool() sums. */
void gate_bet_capital(const struct gate_bet *bet, double f, double ret[GATE_BETS]);

/* log of the mean of exp(log_w[j]). */
double gate_log_mean(const double *log_w, unsigned count);

/* ---- quantile views: indicators made from histograms ---- */
/* First bucket at and above which at most share of the counts lie; len when there are none. */
unsigned gate_edge(const double *counts, unsigned len, double share);
/* Sum of counts from bucket on, and of all. */
double gate_tail(const double *counts, unsigned len, unsigned from);
/* Buckets by which a candidate may be slower: margin as a ratio of gamma; up (rollback) or down
 * (promotion), both conservative. */
unsigned gate_shift(double margin, double gamma, enum gate_direction direction);

/* A histogram metric from five sides: exceedance of control's p50, p90, p95 and p99 by a candidate
 * that may be shift buckets slower, and the mean of the bucket index.  All five test the same null,
 * "at most shift buckets slower in distribution", so their average is an e-value too; it sees a
 * shift of everything and a longer tail.  For rollback. */
#define GATE_QUANTILES 4
#define GATE_VIEWS (GATE_QUANTILES + 1)
#define GATE_SPAN 128 /* buckets of the mean at most; what lies beyond counts in its ends */
struct gate_views {
	unsigned shift, edge[GATE_QUANTILES];
	unsigned low, span; /* of the mean */
	struct gate_mean mean[GATE_VIEWS]; /* the last of each is the mean of the index */
	struct gate_bet bet[GATE_VIEWS];
};
/* Edges from a baseline with at least one count, frozen from then on; n0: its weight as a guess of
 * control. */
void gate_views_init(struct gate_views *views, const double *baseline, unsigned len,
		     unsigned shift, double n0);
/* One stratum; both histograms are divided by phi. */
void gate_views_add(struct gate_views *views, const double *t, const double *c, unsigned len,
		    double phi);
double gate_views_log_e(const struct gate_views *views, double f); /* less f units; 0: plain */
void gate_views_capital(const struct gate_views *views, double f,
			double ret[GATE_VIEWS * GATE_BETS]);

/* ---- engine R ---- */
struct gate_rate {
	double rho;
	enum gate_direction direction;
	double at_rho, at[GATE_BETS]; /* log-likelihoods */
};
void gate_rate_init(struct gate_rate *rate, enum gate_direction direction, double rho);
void gate_rate_add(struct gate_rate *rate, const struct gate_counts *counts);
double gate_rate_log_e(const struct gate_rate *rate);
/* ell(rho) of one stratum. */
double gate_rate_ell(double rho, const struct gate_counts *counts);

struct gate_sequence { /* confidence sequence of the ratio of rates */
	double ell[GATE_GRID];
};
void gate_sequence_init(struct gate_sequence *sequence);
void gate_sequence_add(struct gate_sequence *sequence, const struct gate_counts *counts);
/* Bounds now, as grid indices, each wrong at any time ever with chance at most alpha; false when
 * there is none yet. */
bool gate_sequence_lower(const struct gate_sequence *sequence, double alpha, int *ret_g);
bool gate_sequence_upper(const struct gate_sequence *sequence, double alpha, int *ret_g);
double gate_grid_ratio(int g); /* 2^(g/16) */

/* Sample ratio: share_* are planned, k_* heard from.  log E of any difference. */
struct gate_srm {
	struct gate_rate more, fewer;
};
void gate_srm_init(struct gate_srm *srm);
void gate_srm_add(struct gate_srm *srm, double share_t, double k_t, double share_c, double k_c);
double gate_srm_log_e(const struct gate_srm *srm);

/* ---- overdispersion ---- */
struct gate_clusters { /* over devices: N windows, K of them with the event */
	double n, k, nn, kk, nk;
};
double gate_phi(const struct gate_clusters *clusters); /* at least 1 */
/* Counts of units that say as little as 1/phi of independent ones. */
struct gate_counts gate_deflate(const struct gate_counts *counts, double phi);

/* ---- combining ---- */
/* log of the weighted mean of exp(log_e[i]); weights need not sum to 1. */
double gate_weighted_mean(const double *log_e, const double *weight, unsigned count);
/* Closed test: adjusted log e-values, never weaker than weighted Bonferroni.  ret may be log_e. */
#define GATE_FAMILY_MAX 131072
int gate_closed(const double *log_e, const double *weight, unsigned count, double *ret) CHECKED;
/* Pooled evidence: lanes rows of count log capitals each, summed over the lanes without the largest
 * `without` of each column: log E against "no more than `without` lanes are at fault", given
 * independent lanes (the least over every choice of lanes left out is at least this).  -1 without
 * memory or when no lane is left. */
int gate_pool(const double *capital, unsigned lanes, unsigned count, unsigned without,
	      double *ret_log_e) CHECKED;
/* e-BH at level alpha: ret_rejected[i].  -1 when count exceeds GATE_FAMILY_MAX or without memory. */
int gate_ebh(const double *log_e, unsigned count, double alpha, bool *ret_rejected) CHECKED;

#endif
