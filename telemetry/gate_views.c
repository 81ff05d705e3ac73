/* Quantile views: a histogram metric as indicators, and as the mean of its bucket index. */
#include "telemetry/gate.h"

#include <math.h>
#include <string.h>

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

/* ---- five views ---- */

#define RARE 0.001     /* beyond it on either side the mean clamps */
#define PAD_LOW 8      /* buckets of room for what is faster */
#define PAD_HIGH 24    /* and for what is slower */

static const double view_shares[GATE_QUANTILES] = {0.5, 0.1, 0.05, 0.01};

/* The range of the mean: wide enough for what is seen, no wider, or its bets would be capped. */
static void choose_span(struct gate_views *v, const double *baseline, unsigned len)
{
	const double all = gate_tail(baseline, len, 0);
	double below = 0;
	unsigned low = 0, high = gate_edge(baseline, len, RARE) + PAD_HIGH;
	while (low + 1 < len && below + baseline[low] <= RARE * all)
		below += baseline[low++];
	low = low > PAD_LOW ? low - PAD_LOW : 0;
	high = high < len ? high : len - 1;
	v->low = low;
	v->span = high - low + 1 < GATE_SPAN ? high - low + 1 : GATE_SPAN;
}

static void clamped(const struct gate_views *v, const double *counts, unsigned len, double phi,
		    double ret[GATE_SPAN])
{
	memset(ret, 0, GATE_SPAN * sizeof(*ret));
	for (unsigned b = 0; b < len; b++) {
		const unsigned at = b < v->low ? 0 : b - v->low;
		ret[at < v->span ? at : v->span - 1] += counts[b] / phi;
	}
}

/* Count, sum and sum of squares of x = bucket / (span - 1). */
static struct gate_mean moments(const double *counts, unsigned span)
{
	struct gate_mean m = {0, 0, 0};
	for (unsigned b = 0; b < span; b++) {
		const double x = (double)b / (span - 1);
		gate_mean_add(&m, counts[b], counts[b] * x, counts[b] * x * x);
	}
	return m;
}

void gate_views_init(struct gate_views *v, const double *baseline, unsigned len, unsigned shift,
		     double n0)
{
	double counts[GATE_SPAN];
	const double all = gate_tail(baseline, len, 0);
	*v = (struct gate_views){.shift = shift};
	for (unsigned q = 0; q < GATE_QUANTILES; q++) {
		v->edge[q] = gate_edge(baseline, len, view_shares[q]);
		gate_mean_init(&v->mean[q], n0, gate_tail(baseline, len, v->edge[q]) / all, 0);
		gate_bet_init(&v->bet[q], GATE_ROLLBACK, 1, 0);
	}
	choose_span(v, baseline, len);
	clamped(v, baseline, len, 1, counts);
	const struct gate_mean m = moments(counts, v->span);
	gate_mean_init(&v->mean[GATE_QUANTILES], n0, gate_mean_mu(&m), gate_mean_var(&m));
	gate_bet_init(&v->bet[GATE_QUANTILES], GATE_ROLLBACK, 1, (double)shift / (v->span - 1));
}

static void add_mean(struct gate_views *v, const double *t, const double *c, unsigned len,
		     double phi)
{
	double of_t[GATE_SPAN], of_c[GATE_SPAN];
	struct gate_mean *mean = &v->mean[GATE_QUANTILES];
	clamped(v, t, len, phi, of_t);
	clamped(v, c, len, phi, of_c);
	gate_bet_values(&v->bet[GATE_QUANTILES], gate_mean_mu(mean), gate_mean_var(mean), of_t,
			of_c, v->span);
	const struct gate_mean m = moments(of_c, v->span);
	gate_mean_add(mean, m.n, m.sum, m.squares);
}

void gate_views_add(struct gate_views *v, const double *t, const double *c, unsigned len,
		    double phi)
{
	for (unsigned q = 0; q < GATE_QUANTILES; q++) {
		const struct gate_counts raw = {gate_tail(t, len, 0),
						gate_tail(t, len, v->edge[q] + v->shift),
						gate_tail(c, len, 0),
						gate_tail(c, len, v->edge[q])};
		const struct gate_counts n = gate_deflate(&raw, phi);
		gate_bet_indicator(&v->bet[q], gate_mean_mu(&v->mean[q]), &n);
		gate_mean_add(&v->mean[q], n.n_c, n.k_c, n.k_c);
	}
	add_mean(v, t, c, len, phi);
}

void gate_views_capital(const struct gate_views *v, double f, double ret[GATE_VIEWS * GATE_BETS])
{
	for (unsigned i = 0; i < GATE_VIEWS; i++)
		gate_bet_capital(&v->bet[i], f, ret + (size_t)i * GATE_BETS);
}

double gate_views_log_e(const struct gate_views *v, double f)
{
	double capital[GATE_VIEWS * GATE_BETS];
	gate_views_capital(v, f, capital);
	return gate_log_mean(capital, GATE_VIEWS * GATE_BETS);
}
