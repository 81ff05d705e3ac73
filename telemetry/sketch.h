/* sketch.h -- histograms that merge exactly: OpenTelemetry base-2 exponential, fixed scale 4.
 * The value v >= 1 falls into bucket ceil(16 log2 v) - 1, whose bounds are
 * (2^(b/16), 2^((b+1)/16)]; v = 1 is at the lower bound of bucket 0 and counts there.  A bucket is
 * 4.4 % wide: its geometric midpoint is within 2.2 % of every value in it.
 * Source: OpenTelemetry metrics data model, exponential histograms; metrics.proto for (lower, upper].
 * Threads: pure. */
#ifndef TELEMETRY_SKETCH_H
#define TELEMETRY_SKETCH_H

#include "base/cc.h"
#include "telemetry/metric.h"

#include <stdint.h>

#define SKETCH_SCALE 4
#define SKETCH_PER_DOUBLING 16
#define SKETCH_BUCKETS 480 /* up to 2^30 */
#define SKETCH_GAMMA 1.0442737824274138 /* 2^(1/16) */

/* Bucket of a value, clipped to the metric's range first.  Exact for every integer. */
unsigned sketch_bucket(const struct metric *metric, int64_t value);
/* The largest integer in a bucket: floor(2^((bucket+1)/16)); empty buckets share their neighbour's. */
int64_t sketch_upper(unsigned bucket);
/* Geometric midpoint. */
double sketch_middle(unsigned bucket);

/* First bucket at which at least share of all counts lie at or below.  -1 when there are none.
 * counts[i] belongs to bucket first + i.  The second: of one report, share 95 %. */
int sketch_quantile(const uint64_t *counts, unsigned first, unsigned len, double share,
		    unsigned *ret_bucket) CHECKED;
int sketch_p95_bucket(const uint16_t *counts, unsigned first, unsigned len,
		      unsigned *ret_bucket) CHECKED;

#endif
