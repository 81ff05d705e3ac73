/* gate_internal.h -- what both engines share; not for others. */
#ifndef TELEMETRY_GATE_INTERNAL_H
#define TELEMETRY_GATE_INTERNAL_H

#include "telemetry/gate.h"

/* Effect sizes f_j = 2^(m/16), from eightfold down to 9 %: the exponents m, steps of R's grid. */
extern const int gate_steps[GATE_BETS];
double gate_effect(unsigned j);

/* log1p() at half of the library's time, which is most of what a gate costs; within 4e-16 of it.
 * log1p(x) = 2 atanh(x / (2 + x)), whose series needs no more terms for -0.3 < x < 0.42. */
static inline double gate_log1p_near(double x)
{
	const double z = x / (2 + x), y = z * z, y2 = y * y, y4 = y2 * y2;
	const double low = 1.0 / 3 + y / 5 + y2 * (1.0 / 7 + y / 9);
	const double middle = 1.0 / 11 + y / 13 + y2 * (1.0 / 15 + y / 17);
	const double high = 1.0 / 19 + y / 21 + y2 / 23;
	return 2 * z + 2 * z * (y * (low + y4 * (middle + y4 * high)));
}
double gate_log1p_far(double x); /* any x > -1 */

static inline double gate_log1p(double x)
{
	return x > -0.29 && x < 0.41 ? gate_log1p_near(x) : gate_log1p_far(x);
}

#endif
