#include "telemetry/gate_internal.h"

#include <math.h>
#include <string.h>

#define HALF_ROOT_BITS 0x3fe6a09e667f3bcd /* of 1/sqrt(2) */

const int gate_steps[GATE_BETS] = {48, 32, 24, 16, 12, 8, 6, 4, 3, 2};

double gate_effect(unsigned j)
{
	static const double effects[GATE_BETS] = {
		8, 4, 2.8284271247461903, 2,
		1.681792830507429, 1.4142135623730951, 1.2968395546510096, 1.189207115002721,
		1.1387886347566916, 1.0905077326652577,
	};
	return effects[j];
}

/* 1 + x = 2^e m with 1/sqrt(2) <= m < sqrt(2); what rounding took from 1 + x is put back. */
double gate_log1p_far(double x)
{
	const double u = 1 + x;
	int64_t bits;
	double m;
	memcpy(&bits, &u, sizeof(bits));
	const int64_t e = (bits - HALF_ROOT_BITS) >> 52;
	bits -= e * ((int64_t)1 << 52);
	memcpy(&m, &bits, sizeof(m));
	return (double)e * M_LN2 + (gate_log1p_near(m - 1) + (x - (u - 1)) / u);
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
