#include "telemetry/sketch.h"

#include <math.h>

#define P95 0.95

/* 2^((b+1)/16) is irrational unless 16 divides b+1, and then exp2 is exact: rounding cannot move an
 * integer across a bound. */
int64_t sketch_upper(unsigned bucket)
{
	return (int64_t)exp2((bucket + 1) / (double)SKETCH_PER_DOUBLING);
}

double sketch_middle(unsigned bucket)
{
	return exp2((bucket + 0.5) / SKETCH_PER_DOUBLING);
}

/* First bucket whose upper bound reaches the value. */
static unsigned bucket_of(int64_t value)
{
	unsigned low = 0, high = SKETCH_BUCKETS - 1;
	while (low < high) {
		const unsigned middle = (low + high) / 2;
		if (sketch_upper(middle) < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned sketch_bucket(const struct metric *metric, int64_t value)
{
	if (value < metric->min)
		value = metric->min;
	return bucket_of(value < metric->max ? value : metric->max);
}

int sketch_quantile(const uint64_t *counts, unsigned first, unsigned len, double share,
		    unsigned *ret_bucket)
{
	uint64_t all = 0, below = 0;
	for (unsigned i = 0; i < len; i++)
		all += counts[i];
	if (!all)
		return -1;
	for (unsigned i = 0; i < len; i++) {
		below += counts[i];
		if ((double)below >= share * (double)all) {
			*ret_bucket = first + i;
			return 0;
		}
	}
	return -1;
}

int sketch_p95_bucket(const uint16_t *counts, unsigned first, unsigned len, unsigned *ret_bucket)
{
	uint32_t all = 0, below = 0;
	for (unsigned i = 0; i < len; i++)
		all += counts[i];
	if (!all)
		return -1;
	for (unsigned i = 0; i < len; i++) {
		below += counts[i];
		if ((uint64_t)below * 100 >= (uint64_t)all * 95) {
			*ret_bucket = first + i;
			return 0;
		}
	}
	return -1;
}
