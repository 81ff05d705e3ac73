#include "telemetry/gate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CAP 0.9	       /* no bet can lose more than this: log1p stays finite */
#define EPS 1e-9
#define MIN_VAR 1e-6

/* Effect sizes f_j = 2^(m/16), from eightfold down to 9 %. */
static const int bets[GATE_BETS] = {48, 32, 24, 16, 12, 8, 6, 4, 3, 2};

static double effect(unsigned j)
{
	return exp2(bets[j] / 16.0);
}

double gate_log_mean(const double *log_w, unsigned count)
{
	double max = -INFINITY, sum = 0;
	for (unsigned i = 0; i < count; i++)
		max = fmax(max, log_w[i]);
	if (isinf(max))
		return max;
	for (unsigned i = 0; i < count; i++)
		sum += exp(log_w[i] - max);
	return max + log(sum / count);
}

/* ---- control's running mean ---- */

void gate_mean_init(struct gate_mean *mean, double n0, double mu0, double v0)
{
	*mean = (struct gate_mean){n0, n0 * mu0, n0 * (v0 + mu0 * mu0)};
}

void gate_mean_add(struct gate_mean *mean, double n, double sum, double squares)
{
	mean->n += n;
	mean->sum += sum;
	mean->squares += squares;
}

double gate_mean_mu(const struct gate_mean *mean)
{
	return mean->n > 0 ? mean->sum / mean->n : 0;
}

double gate_mean_var(const struct gate_mean *mean)
{
	const double mu = gate_mean_mu(mean);
	return mean->n > 0 ? fmax(MIN_VAR, mean->squares / mean->n - mu * mu) : MIN_VAR;
}

/* ---- engine B ---- */

/* The stakes of one bet: on candidate (g_t) and, hedging it, on control (g_c). */
struct stakes {
	double g_t, g_c, q_t, q_c;
};

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

/* How far from the margin the j-th bet expects the candidate, in mu; var < 0: indicators. */
static double expected_shift(const struct gate_margin *m, unsigned j, double mu, double var)
{
	const double f = effect(j);
	const double s = var < 0 ? m->rho * mu + m->delta : sqrt(var) / 2;
	if (m->direction == GATE_ROLLBACK)
		return (f - 1) * s;
	return var < 0 ? -(1 - 1 / f) * s : -(f - 1) * s;
}

static struct stakes stakes_of(const struct gate_margin *m, unsigned j, double mu, double var,
			       double n_t, double n_c)
{
	const double d = expected_shift(m, j, mu, var);
	const double den = m->rho * m->rho * n_t + n_c;
	const double r = m->rho * n_t / n_c;
	struct stakes s;
	s.q_c = clamp(mu + m->rho * n_t * d / den, EPS, 1 - EPS);
	s.q_t = fmin(m->rho * s.q_c + m->delta, 1 - EPS);
	const double v = var < 0 ? s.q_t * (1 - s.q_t) : var;
	const double g = d * n_c / (v * den);
	if (m->direction == GATE_PROMOTE)
		s.g_t = -fmin(-g, CAP / fmax(1 - s.q_t, r * s.q_c));
	else if (m->rho * s.q_c + m->delta >= 1 - EPS)
		s.g_t = 0;
	else
		s.g_t = fmin(g, CAP / fmax(s.q_t, r * (1 - s.q_c)));
	s.g_c = -r * s.g_t;
	return s;
}

/* k of n units at 1, the rest at 0. */
static double indicator_gain(double g, double q, double n, double k)
{
	return k * log1p(g * (1 - q)) + (n - k) * log1p(-g * q);
}

void gate_bet_init(struct gate_bet *bet, enum gate_direction direction, double rho, double delta)
{
	*bet = (struct gate_bet){.margin = {direction, rho, delta}};
}

void gate_bet_component(const struct gate_margin *margin, unsigned j, double mu,
			const struct gate_counts *n, struct gate_component *ret)
{
	const struct stakes s = stakes_of(margin, j, mu, -1, n->n_t, n->n_c);
	*ret = (struct gate_component){s.g_t, s.g_c, s.q_t, s.q_c,
				       indicator_gain(s.g_t, s.q_t, n->n_t, n->k_t) +
					       indicator_gain(s.g_c, s.q_c, n->n_c, n->k_c)};
}

/* What one candidate unit can change: the span between its best and its worst value. */
static void note_influence(struct gate_bet *bet, unsigned j, double g_t, double q_t)
{
	const double span = fabs(log1p(g_t * (1 - q_t)) - log1p(-g_t * q_t));
	bet->influence[j] = fmax(bet->influence[j], span);
}

void gate_bet_indicator(struct gate_bet *bet, double mu, const struct gate_counts *counts)
{
	if (counts->n_t <= 0 || counts->n_c <= 0)
		return;
	for (unsigned j = 0; j < GATE_BETS; j++) {
		struct gate_component c;
		gate_bet_component(&bet->margin, j, mu, counts, &c);
		bet->log_w[j] += c.log_w;
		note_influence(bet, j, c.g_t, c.q_t);
	}
}

static double values_gain(double g, double q, const double *counts, unsigned len)
{
	double gain = 0;
	for (unsigned i = 0; i < len; i++)
		if (counts[i] > 0)
			gain += counts[i] * log1p(g * ((double)i / (len - 1) - q));
	return gain;
}

void gate_bet_values(struct gate_bet *bet, double mu, double var, const double *t,
		     const double *c, unsigned len)
{
	const double n_t = gate_tail(t, len, 0), n_c = gate_tail(c, len, 0);
	if (n_t <= 0 || n_c <= 0)
		return;
	for (unsigned j = 0; j < GATE_BETS; j++) {
		const struct stakes s = stakes_of(&bet->margin, j, mu, var, n_t, n_c);
		bet->log_w[j] += values_gain(s.g_t, s.q_t, t, len) +
				 values_gain(s.g_c, s.q_c, c, len);
		note_influence(bet, j, s.g_t, s.q_t);
	}
}

double gate_bet_log_e(const struct gate_bet *bet)
{
	return gate_log_mean(bet->log_w, GATE_BETS);
}

double gate_bet_log_e_robust(const struct gate_bet *bet, double f)
{
	double log_w[GATE_BETS];
	for (unsigned j = 0; j < GATE_BETS; j++)
		log_w[j] = bet->log_w[j] - f * bet->influence[j];
	return gate_log_mean(log_w, GATE_BETS);
}

/* ---- quantiles ---- */

double gate_tail(const double *counts, unsigned len, unsigned from)
{
	double sum = 0;
	for (unsigned i = from; i < len; i++)
		sum += counts[i];
	return sum;
}

unsigned gate_edge(const double *counts, unsigned len, double share)
{
	const double all = gate_tail(counts, len, 0);
	double below = 0;
	if (all <= 0)
		return len;
	for (unsigned i = 0; i < len; i++) {
		if ((all - below) / all <= share)
			return i;
		below += counts[i];
	}
	return len;
}

unsigned gate_shift(double margin, double gamma, enum gate_direction direction)
{
	const double buckets = log(margin) / log(gamma);
	/* A margin given as a whole number of buckets must stay that number. */
	const double slack = 1e-9;
	return (unsigned)(direction == GATE_ROLLBACK ? ceil(buckets - slack)
						     : floor(buckets + slack));
}

/* ---- engine R ---- */

double gate_rate_ell(double rho, const struct gate_counts *n)
{
	const double share = n->n_t / (n->n_t + n->n_c);
	return n->k_t * log(rho) - (n->k_t + n->k_c) * log1p((rho - 1) * share);
}

static double alternative(const struct gate_rate *rate, unsigned j)
{
	return rate->direction == GATE_ROLLBACK ? rate->rho * effect(j) : rate->rho / effect(j);
}

void gate_rate_init(struct gate_rate *rate, enum gate_direction direction, double rho)
{
	*rate = (struct gate_rate){.rho = rho, .direction = direction};
}

void gate_rate_add(struct gate_rate *rate, const struct gate_counts *counts)
{
	if (counts->n_t <= 0 || counts->n_c <= 0)
		return;
	rate->at_rho += gate_rate_ell(rate->rho, counts);
	for (unsigned j = 0; j < GATE_BETS; j++)
		rate->at[j] += gate_rate_ell(alternative(rate, j), counts);
}

double gate_rate_log_e(const struct gate_rate *rate)
{
	double log_w[GATE_BETS];
	for (unsigned j = 0; j < GATE_BETS; j++)
		log_w[j] = rate->at[j] - rate->at_rho;
	return gate_log_mean(log_w, GATE_BETS);
}

/* ---- confidence sequence ---- */

double gate_grid_ratio(int g)
{
	return exp2(g / 16.0);
}

void gate_sequence_init(struct gate_sequence *sequence)
{
	memset(sequence, 0, sizeof(*sequence));
}

static double grid_log_e(const double *ell, int g, int sign)
{
	double log_w[GATE_BETS];
	const double here = ell[g - GATE_GRID_LOW];
	for (unsigned j = 0; j < GATE_BETS; j++)
		log_w[j] = ell[g + sign * bets[j] - GATE_GRID_LOW] - here;
	return gate_log_mean(log_w, GATE_BETS);
}

void gate_sequence_add(struct gate_sequence *sequence, const struct gate_counts *counts)
{
	if (counts->n_t <= 0 || counts->n_c <= 0)
		return;
	for (int g = GATE_GRID_LOW; g <= GATE_GRID_HIGH; g++)
		sequence->ell[g - GATE_GRID_LOW] += gate_rate_ell(gate_grid_ratio(g), counts);
}

/* ell is concave in the log of the ratio, so what is rejected is a half-line: stop at its end. */
bool gate_sequence_lower(const struct gate_sequence *sequence, double alpha, int *ret_g)
{
	for (int g = GATE_SHOWN_HIGH; g >= GATE_SHOWN_LOW; g--)
		if (grid_log_e(sequence->ell, g, 1) >= -log(alpha)) {
			*ret_g = g;
			return true;
		}
	return false;
}

bool gate_sequence_upper(const struct gate_sequence *sequence, double alpha, int *ret_g)
{
	for (int g = GATE_SHOWN_LOW; g <= GATE_SHOWN_HIGH; g++)
		if (grid_log_e(sequence->ell, g, -1) >= -log(alpha)) {
			*ret_g = g;
			return true;
		}
	return false;
}

/* ---- sample ratio ---- */

void gate_srm_init(struct gate_srm *srm)
{
	gate_rate_init(&srm->more, GATE_ROLLBACK, 1);
	gate_rate_init(&srm->fewer, GATE_PROMOTE, 1);
}

void gate_srm_add(struct gate_srm *srm, double share_t, double k_t, double share_c, double k_c)
{
	const struct gate_counts counts = {share_t, k_t, share_c, k_c};
	gate_rate_add(&srm->more, &counts);
	gate_rate_add(&srm->fewer, &counts);
}

double gate_srm_log_e(const struct gate_srm *srm)
{
	const double log_e[2] = {gate_rate_log_e(&srm->more), gate_rate_log_e(&srm->fewer)};
	return gate_log_mean(log_e, 2);
}

/* ---- overdispersion ---- */

double gate_phi(const struct gate_clusters *c)
{
	if (c->n <= 0 || c->k <= 0 || c->k >= c->n)
		return 1;
	const double p = c->k / c->n;
	const double phi = (c->kk - 2 * p * c->nk + p * p * c->nn) / (p * (1 - p) * c->n);
	return fmax(1, phi);
}

/* ---- combining ---- */

double gate_weighted_mean(const double *log_e, const double *weight, unsigned count)
{
	double max = -INFINITY, sum = 0, all = 0;
	for (unsigned i = 0; i < count; i++)
		max = fmax(max, log_e[i]);
	for (unsigned i = 0; i < count; i++) {
		sum += weight[i] * exp(log_e[i] - max);
		all += weight[i];
	}
	return max + log(sum / all);
}

struct ranked {
	double log_e, weight;
	unsigned index;
};

static int by_log_e(const void *a, const void *b)
{
	const double x = ((const struct ranked *)a)->log_e, y = ((const struct ranked *)b)->log_e;
	return (x > y) - (x < y);
}

static struct ranked *rank(const double *log_e, const double *weight, unsigned count)
{
	struct ranked *list = count && count <= GATE_FAMILY_MAX ? calloc(count, sizeof(*list)) : NULL;
	for (unsigned i = 0; list && i < count; i++)
		list[i] = (struct ranked){log_e[i], weight ? weight[i] : 1, i};
	if (list)
		qsort(list, count, sizeof(*list), by_log_e);
	return list;
}

/* The least that any average of e_i with smaller ones of the family can be.  Only prefixes of the
 * ascending order can be the minimum.  Relative to e_i, so that nothing overflows. */
static double closed_one(const struct ranked *list, unsigned count, unsigned at)
{
	const double own = list[at].log_e;
	double sum = list[at].weight, least = own;
	double all = sum;
	for (unsigned i = 0; i < count; i++) {
		if (i == at)
			continue;
		sum += list[i].weight * exp(list[i].log_e - own);
		all += list[i].weight;
		const double mean = own + log(sum / all);
		if (mean > least)
			break;
		least = mean;
	}
	return least;
}

int gate_closed(const double *log_e, const double *weight, unsigned count, double *ret)
{
	struct ranked *list = rank(log_e, weight, count);
	if (!list)
		return -1;
	for (unsigned i = 0; i < count; i++)
		ret[list[i].index] = closed_one(list, count, i);
	free(list);
	return 0;
}

int gate_ebh(const double *log_e, unsigned count, double alpha, bool *ret_rejected)
{
	struct ranked *list = rank(log_e, NULL, count);
	if (!list)
		return -1;
	unsigned rejected = 0;
	for (unsigned k = 1; k <= count; k++)
		if (list[count - k].log_e >= log(count / (k * alpha)))
			rejected = k;
	for (unsigned i = 0; i < count; i++)
		ret_rejected[list[i].index] = i >= count - rejected;
	free(list);
	return 0;
}
