/* slices.h -- which part of its class a report is of: its OS's major version, and its runtime.
 * Devices choose what they say, so the parts of a class are bounded: each way of slicing has the
 * SLICES_MOST values that are reported most, and "other"; "unknown" is what says nothing.  A value
 * takes another's place when it came twice as often; counts fade by half a day, and no more than
 * SLICES_A_DAY values get a place in one day, so that hostile ones make no more rows than that.
 * Which values have places is kept in memory only: after a start it is learned again in a few reports.
 * Threads: the ledger's. */
#ifndef TELEMETRY_SLICES_H
#define TELEMETRY_SLICES_H

#include "base/cc.h"
#include "base/err.h"
#include "telemetry/report.h"

#include <stdint.h>

#define SLICES_MOST 8
#define SLICES_A_DAY 32
#define SLICE_ROOM 49 /* bytes of a value and its NUL */
#define SLICE_OTHER "other"
#define SLICE_UNKNOWN "unknown"

enum slice_what { SLICE_OS, SLICE_RUNTIME, SLICE_WAYS };
extern const char *const slice_what_names[SLICE_WAYS]; /* "os", "runtime" */

struct slice {
	enum slice_what what;
	char value[SLICE_ROOM];
};

struct slices;

struct slices *slices_new(void) CHECKED; /* NULL without memory */
void slices_free(struct slices *slices); /* NULL is fine */
DEFINE_AUTO(struct slices, slices_free)

/* Count the report, whose class is known, and name its slice of each kind by a number. */
int slices_of(struct slices *slices, const struct report *report, uint32_t ret[static SLICE_WAYS],
	      struct err *err) CHECKED;
/* Valid until the next slices_of(); numbers, until slices_renumber(). */
const struct slice *slices_at(const struct slices *slices, uint32_t number);
void slices_renumber(struct slices *slices);

#endif
