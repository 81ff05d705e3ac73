#include "telemetry/metric.h"

#include <assert.h>
#include <string.h>

/* clang-format off */
static const struct metric metrics[] = {
	{"sessions",	   METRIC_COUNTER,   "sessions", false, 0, 0},
	{"requests",	   METRIC_COUNTER,   "requests", false, 0, 0},
	{"ok",		   METRIC_COUNTER,   "requests", false, 0, 0},
	{"crash",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"err.oom",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"err.load",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"err.timeout",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"thermal.severe", METRIC_COUNTER,   "events",	 true,	0, 0},
	{"fallback.cloud", METRIC_COUNTER,   "events",	 true,	0, 0},
	{"cancel",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"regenerate",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"thumb.up",	   METRIC_COUNTER,   "events",	 false, 0, 0},
	{"thumb.down",	   METRIC_COUNTER,   "events",	 true,	0, 0},
	{"probe.pass",	   METRIC_COUNTER,   "probes",	 false, 0, 0},
	{"probe.fail",	   METRIC_COUNTER,   "probes",	 true,	0, 0},
	{"route.local",	   METRIC_COUNTER,   "requests", false, 0, 0},
	{"route.cloud",	   METRIC_COUNTER,   "requests", true,	0, 0},
	{"tokens_out",	   METRIC_COUNTER,   "tokens",	 false, 0, 0},
	{"refused.floor",  METRIC_COUNTER,   "devices",	 true,	0, 0},
	{"ttft_ms",	   METRIC_HISTOGRAM, "ms",	 true,	1, 600000},
	{"load_ms",	   METRIC_HISTOGRAM, "ms",	 true,	1, 600000},
	{"decode_mtps",	   METRIC_HISTOGRAM, "milli-tokens/s", false, 1, 10000000},
	{"prefill_mtps",   METRIC_HISTOGRAM, "milli-tokens/s", false, 1, 100000000},
	{"peak_mib",	   METRIC_HISTOGRAM, "MiB",	 true,	1, 262144},
	{"energy_mj_1k",   METRIC_HISTOGRAM, "mJ/1000 tokens", true, 1, 100000000},
};
/* clang-format on */

const struct metric *metric_find_span(const char *name, size_t len)
{
	for (unsigned i = 0; len && i < COUNT_OF(metrics); i++)
		if (metrics[i].name[0] == name[0] && !strncmp(metrics[i].name, name, len) &&
		    !metrics[i].name[len])
			return &metrics[i];
	return NULL;
}

const struct metric *metric_find(const char *name)
{
	return metric_find_span(name, strlen(name));
}

unsigned metric_count(void)
{
	return COUNT_OF(metrics);
}

const struct metric *metric_at(unsigned index)
{
	assert(index < COUNT_OF(metrics));
	return &metrics[index];
}

unsigned metric_index(const struct metric *metric)
{
	return (unsigned)(metric - metrics);
}
