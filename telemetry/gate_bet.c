/* Engine B: a two-sample bet on bounded units. */
#include "telemetry/gate_internal.h"

#include <math.h>

#define CAP 0.9	       /* no bet can lose more than this: log1p stays finite */
#define EPS 1e-9
#define MIN_VAR 1e-6

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
	const double f = gate_effect(j);
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

/* What a unit at 1 and one at 0 change the log capital by. */
struct odds {
	double win, lose;
};

static struct odds odds_of(double g, double q)
{
	return (struct odds){gate_log1p(g * (1 - q)), gate_log1p(-g * q)};
}

/* k of n units at 1, the rest at 0. */
static double indicator_gain(struct odds odds, double n, double k)
{
	return k * odds.win + (n - k) * odds.lose;
}

void gate_bet_init(struct gate_bet *bet, enum gate_direction direction, double rho, double delta)
{
	*bet = (struct gate_bet){.margin = {direction, rho, delta}};
}

/* Returns the odds of a candidate unit. */
static struct odds component(const struct gate_margin *margin, unsigned j, double mu,
			     const struct gate_counts *n, struct gate_component *ret)
{
	const struct stakes s = stakes_of(margin, j, mu, -1, n->n_t, n->n_c);
	const struct odds t = odds_of(s.g_t, s.q_t), c = odds_of(s.g_c, s.q_c);
	*ret = (struct gate_component){s.g_t, s.g_c, s.q_t, s.q_c,
				       indicator_gain(t, n->n_t, n->k_t) +
					       indicator_gain(c, n->n_c, n->k_c)};
	return t;
}

void gate_bet_component(const struct gate_margin *margin, unsigned j, double mu,
			const struct gate_counts *n, struct gate_component *ret)
{
	component(margin, j, mu, n, ret);
}

/* What one candidate unit can change: the span between its best and its worst value. */
static void note_influence(struct gate_bet *bet, unsigned j, struct odds t)
{
	const double span = fabs(t.win - t.lose);
	if (span > bet->influence[j])
		bet->influence[j] = span;
}

void gate_bet_indicator(struct gate_bet *bet, double mu, const struct gate_counts *counts)
{
	if (counts->n_t <= 0 || counts->n_c <= 0)
		return;
	for (unsigned j = 0; j < GATE_BETS; j++) {
		struct gate_component c;
		const struct odds t = component(&bet->margin, j, mu, counts, &c);
		bet->log_w[j] += c.log_w;
		note_influence(bet, j, t);
	}
}

static double values_gain(double g, double q, const double *counts, unsigned len)
{
	double gain = 0;
	for (unsigned i = 0; i < len; i++)
		if (counts[i] > 0)
			gain += counts[i] * gate_log1p(g * ((double)i / (len - 1) - q));
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
		note_influence(bet, j, odds_of(s.g_t, s.q_t));
	}
}

double gate_bet_log_e(const struct gate_bet *bet)
{
	return gate_log_mean(bet->log_w, GATE_BETS);
}

void gate_bet_capital(const struct gate_bet *bet, double f, double ret[GATE_BETS])
{
	for (unsigned j = 0; j < GATE_BETS; j++)
		ret[j] = bet->log_w[j] - f * bet->influence[j];
}

double gate_bet_log_e_robust(const struct gate_bet *bet, double f)
{
	double log_w[GATE_BETS];
	gate_bet_capital(bet, f, log_w);
	return gate_log_mean(log_w, GATE_BETS);
}
