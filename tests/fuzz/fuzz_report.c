/* A report from a stranger: refused with a reason, or within every limit that its readers count on;
 * and what the reader of one pass says is what the one over jansson's tree says. */
#include "telemetry/report.h"

#include "telemetry/metric.h"
#include "telemetry/sketch.h"
#include "tests/support/report_tree.h"

#include <stdio.h>
#include <stdlib.h>

#define NOW 1767312000 /* the corpus speaks of the day before */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void differ(bool differs, const char *where)
{
	if (!differs)
		return;
	fprintf(stderr, "the readers differ: %s\n", where);
	abort();
}

static void check_limits(const struct report_entry *e)
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

/* Jansson gives members in the order of its hash, the other reader in that of the text. */
static void compare_counts(const struct report_entry *a, const struct report_entry *b)
{
	differ(a->count_len != b->count_len, "counters");
	for (unsigned i = 0; i < a->count_len; i++) {
		unsigned j = 0;
		while (j < b->count_len && b->counts[j].metric != a->counts[i].metric)
			j++;
		differ(j == b->count_len || b->counts[j].n != a->counts[i].n ||
			       b->counts[j].hit != a->counts[i].hit,
		       "a counter");
	}
}

static void compare_hists(const struct report_entry *a, const struct report_entry *b)
{
	differ(a->hist_len != b->hist_len, "histograms");
	for (unsigned i = 0; i < a->hist_len; i++) {
		const struct report_hist *x = &a->hists[i], *y = b->hists;
		while (y < b->hists + b->hist_len && y->metric != x->metric)
			y++;
		differ(y == b->hists + b->hist_len || x->first != y->first || x->len != y->len ||
			       memcmp(x->counts, y->counts, x->len * sizeof(*x->counts)) != 0,
		       "a histogram");
	}
}

static void compare_entries(const struct report_entry *a, const struct report_entry *b)
{
	differ(strcmp(a->model, b->model) || strcmp(a->variant, b->variant) ||
		       strcmp(a->rollout, b->rollout) || strcmp(a->via, b->via),
	       "an entry's texts");
	differ(a->stage != b->stage || a->arm != b->arm || a->entered != b->entered ||
		       a->result != b->result || a->used != b->used,
	       "an entry's place");
	differ(a->load_ms != b->load_ms || a->ttft_ms != b->ttft_ms || a->probe_pm != b->probe_pm,
	       "an entry's values");
	compare_counts(a, b);
	compare_hists(a, b);
}

static void compare(const struct report *a, const struct report *b)
{
	differ(a->kind != b->kind || a->at != b->at || a->os_major != b->os_major ||
		       a->day_first != b->day_first || a->unknown != b->unknown ||
		       a->entry_len != b->entry_len,
	       "the head");
	differ(memcmp(a->nonce, b->nonce, sizeof(a->nonce)) != 0, "the nonce");
	differ(strcmp(a->channel, b->channel) || strcmp(a->class, b->class) ||
		       strcmp(a->runtime, b->runtime),
	       "the head's texts");
	for (unsigned i = 0; i < a->entry_len; i++)
		compare_entries(&a->entries[i], &b->entries[i]);
}

static void check(const struct report *report)
{
	if (!report->entry_len || report->entry_len > REPORT_MAX_ENTRIES ||
	    report_nonce_expiry(report) <= NOW)
		abort();
	for (unsigned i = 0; i < report->entry_len; i++)
		check_limits(&report->entries[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0}, tree_err = {0};
	struct report report, *tree = NULL;
	AUTO(arena_free) struct arena *arena = arena_new(REPORT_TREE_ARENA);
	AUTO_FREE char *copy = malloc(size ? size : 1);
	if (!arena || !copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	const int result = report_read(copy, size, NOW, &report, &err);
	if (result && err.status != ERR_INVALID && err.status != ERR_TOO_LARGE)
		abort();
	const int tree_result =
		report_tree_read((const char *)data, size, NOW, arena, &tree, &tree_err);
	if (result != tree_result)
		fprintf(stderr, "one pass: %s\ntree: %s\n", result ? err.text : "taken",
			tree_result ? tree_err.text : "taken");
	differ(result != tree_result, "only one of them refuses");
	if (result)
		return 0;
	check(&report);
	compare(&report, tree);
	return 0;
}
