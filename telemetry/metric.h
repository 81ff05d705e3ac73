/* metric.h -- every counter and histogram a device may report, in one table.
 * Histograms are base-2 exponential of scale 4 (see sketch.h); each has a fixed range, beyond which
 * values count in the end buckets.
 * Threads: pure. */
#ifndef TELEMETRY_METRIC_H
#define TELEMETRY_METRIC_H

#include "base/cc.h"

#include <stdbool.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_HISTOGRAM };

struct metric {
	const char *name;
	enum metric_kind kind;
	const char *unit;
	bool higher_is_worse;
	int64_t min, max; /* histograms: the range of values, 1 <= min < max */
};

/* NULL for an unknown name. */
const struct metric *metric_find(const char *name);
const struct metric *metric_find_span(const char *name, size_t len);
unsigned metric_count(void);
const struct metric *metric_at(unsigned index); /* index < metric_count() */
unsigned metric_index(const struct metric *metric);

#endif
