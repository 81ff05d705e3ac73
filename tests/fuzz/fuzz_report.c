/* A report from a stranger: refused with a reason, or within every limit that its readers count on. */
#include "telemetry/report.h"

#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <stdlib.h>

#define NOW 1767312000 /* the corpus speaks of the day before */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct report_entry *e)
{
	if (e->count_len > REPORT_MAX_COUNTERS || e->hist_len > REPORT_MAX_HISTOGRAMS)
		abort();
	for (unsigned i = 0; i < e->count_len; i++)
		if (e->counts[i].metric >= metric_count() || e->counts[i].n > REPORT_MAX_COUNT ||
		    e->counts[i].hit > REPORT_MAX_COUNT)
			abort();
	for (unsigned i = 0; i < e->hist_len; i++) {
		const struct report_hist *h = &e->hists[i];
		if (h->first + h->len > SKETCH_BUCKETS)
			abort();
		for (unsigned b = 0; b < h->len; b++)
			if (h->counts[b] > REPORT_MAX_COUNT)
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct report *report;
	AUTO(arena_free) struct arena *arena = arena_new(REPORT_ARENA_BYTES);
	if (!arena || report_parse((const char *)data, size, NOW, arena, &report, &err)) {
		if (arena && err.status != ERR_INVALID && err.status != ERR_TOO_LARGE)
			abort(); /* REPORT_ARENA_BYTES suffices */
		return 0;
	}
	if (!report->entry_len || report->entry_len > REPORT_MAX_ENTRIES ||
	    report_nonce_expiry(report) <= NOW)
		abort();
	for (unsigned i = 0; i < report->entry_len; i++)
		check_entry(&report->entries[i]);
	return 0;
}
