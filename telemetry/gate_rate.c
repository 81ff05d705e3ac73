/* Engine R: a grid of likelihood ratios on rates. */
#include "telemetry/gate_internal.h"

#include <math.h>
#include <string.h>

/* ---- engine R ---- */

double gate_rate_ell(double rho, const struct gate_counts *n)
{
	const double share = n->n_t / (n->n_t + n->n_c);
	return n->k_t * log(rho) - (n->k_t + n->k_c) * gate_log1p((rho - 1) * share);
}

static double alternative(const struct gate_rate *rate, unsigned j)
{
	return rate->direction == GATE_ROLLBACK ? rate->rho * gate_effect(j) : rate->rho / gate_effect(j);
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

/* 2^(g/16) without a call: the grid begins at a whole power of two. */
static const double grid_root[16] = {
	1, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916,
	1.189207115002721, 1.241857812073484, 1.2968395546510096, 1.3542555469368927,
	1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
	1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
};
static const double octave[] = {0x1p-7, 0x1p-6, 0x1p-5, 0x1p-4, 0x1p-3, 0x1p-2, 0x1p-1, 1, 2,
				4,	8,	16,	32,	64,	128,	256,	512};

void gate_sequence_init(struct gate_sequence *sequence)
{
	memset(sequence, 0, sizeof(*sequence));
}

static double grid_log_e(const double *ell, int g, int sign)
{
	double log_w[GATE_BETS];
	const double here = ell[g - GATE_GRID_LOW];
	for (unsigned j = 0; j < GATE_BETS; j++)
		log_w[j] = ell[g + sign * gate_steps[j] - GATE_GRID_LOW] - here;
	return gate_log_mean(log_w, GATE_BETS);
}

void gate_sequence_add(struct gate_sequence *sequence, const struct gate_counts *counts)
{
	const double share = counts->n_t / (counts->n_t + counts->n_c);
	const double k = counts->k_t + counts->k_c;
	if (counts->n_t <= 0 || counts->n_c <= 0 || k <= 0) /* no event says nothing of a ratio */
		return;
	for (int g = GATE_GRID_LOW; g <= GATE_GRID_HIGH; g++) {
		const double rho = grid_root[(g - GATE_GRID_LOW) % 16] * octave[(g - GATE_GRID_LOW) / 16];
		sequence->ell[g - GATE_GRID_LOW] +=
			counts->k_t * (g * (M_LN2 / 16)) - k * gate_log1p((rho - 1) * share);
	}
}

/* ell is concave in the log of the ratio, so what is rejected is a half-line: its end, from g where it begins
 * up to but not with end. */
static bool half_line(const struct gate_sequence *sequence, double alpha, int sign, int g, int end,
		      int *ret_g)
{
	const double needs = -log(alpha);
	if (grid_log_e(sequence->ell, g, sign) < needs)
		return false;
	while (end - g > 1 || g - end > 1) {
		const int middle = g + (end - g) / 2;
		*(grid_log_e(sequence->ell, middle, sign) < needs ? &end : &g) = middle;
	}
	*ret_g = g;
	return true;
}

bool gate_sequence_lower(const struct gate_sequence *sequence, double alpha, int *ret_g)
{
	return half_line(sequence, alpha, 1, GATE_SHOWN_LOW, GATE_SHOWN_HIGH + 1, ret_g);
}

bool gate_sequence_upper(const struct gate_sequence *sequence, double alpha, int *ret_g)
{
	return half_line(sequence, alpha, -1, GATE_SHOWN_HIGH, GATE_SHOWN_LOW - 1, ret_g);
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
