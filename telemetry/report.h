/* report.h -- one anonymous device report: read, checked and clipped, before anything is kept.
 * Five kinds, each with one statistical role:
 *   enter    a device first sees a stage it is eligible for: the denominator of "missing"
 *   outcome  its first load attempt's result
 *   window   one used clock window of a device after its entry
 *   summary  the whole of its W windows, once
 *   usage    one day of any device, for baselines and the census
 * There is no device id.  The nonce de-duplicates retries and nothing else.
 * Threads: pure. */
#ifndef TELEMETRY_REPORT_H
#define TELEMETRY_REPORT_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define REPORT_MAX_BYTES 16384
#define REPORT_MAX_ENTRIES 8
#define REPORT_MAX_COUNTERS 32
#define REPORT_MAX_HISTOGRAMS 8
#define REPORT_MAX_COUNT 10000
#define REPORT_MAX_AGE_S (72 * 3600)
#define REPORT_SLOT_S 600
#define REPORT_DAY_S 86400
#define REPORT_NONCE_LEN 16

enum report_kind {
	REPORT_ENTER,
	REPORT_OUTCOME,
	REPORT_WINDOW,
	REPORT_SUMMARY,
	REPORT_USAGE,
	REPORT_KINDS
};
#define REPORT_STAGES 16 /* a rollout has no more: whoever tells of others would only make series */
enum report_arm { REPORT_ARM_NONE, REPORT_ARM_CANDIDATE, REPORT_ARM_CONTROL };
enum report_result {
	REPORT_OK,
	REPORT_DOWNLOAD,
	REPORT_VERIFY,
	REPORT_DISK,
	REPORT_LOAD,
	REPORT_OOM,
	REPORT_CRASH,
	REPORT_PROBE,
	REPORT_RESULTS
};

extern const char *const report_kind_names[REPORT_KINDS];
extern const char *const report_result_names[REPORT_RESULTS];
extern const char *const report_arm_names[3]; /* "", "candidate", "control" */

struct report_count {
	uint8_t metric; /* index into the metric table */
	uint16_t n;	/* events, clipped at REPORT_MAX_COUNT */
	uint16_t hit;	/* windows with any (summary, usage), else 0 */
};
struct report_hist {
	uint8_t metric;
	uint16_t first;		/* index of counts[0] */
	uint16_t len;		/* buckets */
	const uint16_t *counts; /* each clipped at REPORT_MAX_COUNT */
};
struct report_entry {
	const char *model;
	const char *variant; /* "model@release/tier"; "" where the kind has none */
	const char *rollout; /* "" for usage */
	unsigned stage;	     /* 1..; 0 without a rollout */
	enum report_arm arm;
	int64_t entered; /* start of the slot in which the device entered; 0 where none */
	enum report_result result;
	const char *via; /* "delta", "chunks", "full", "cache", "none"; "" where none */
	int64_t load_ms, ttft_ms, probe_pm; /* -1: not measured */
	uint32_t used;			    /* windows used */
	unsigned count_len, hist_len;
	struct report_count counts[REPORT_MAX_COUNTERS];
	struct report_hist hists[REPORT_MAX_HISTOGRAMS];
};
struct report {
	enum report_kind kind;
	uint8_t nonce[REPORT_NONCE_LEN];
	const char *channel, *class;
	unsigned os_major;
	const char *runtime; /* "llama.cpp/4000"; "" unknown */
	int64_t at;	     /* start of what it is about: slot, window, entered slot, or day (seconds) */
	bool day_first;
	unsigned unknown; /* metric names and values that were dropped */
	unsigned entry_len;
	struct report_entry entries[REPORT_MAX_ENTRIES];
};

/* Read one report of len bytes at own time now, in one pass and in place: the bytes are changed, and
 * what the report points to lies in them.  Nothing is allocated; time and stack are bounded by len.
 * ERR_INVALID names the field; ERR_TOO_LARGE for limits, those of scan.h among them; a report about
 * the future (beyond 10 minutes) or older than REPORT_MAX_AGE_S is ERR_INVALID too.
 * Unknown metrics and members are dropped and counted, not refused.  *ret_report is undefined after
 * a failure. */
int report_read(char *bytes, size_t len, int64_t now, struct report *ret_report,
		struct err *err) CHECKED;

/* Bytes of a report without the entries that it does not have: a copy of so many is whole. */
size_t report_size(const struct report *report);

/* When its nonce may be forgotten: no later copy of it would be accepted any more. */
int64_t report_nonce_expiry(const struct report *report);

#endif
