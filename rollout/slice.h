/* slice.h -- in which slice of a class (telemetry/slices.h) a gate's fault is concentrated.  This
 * explains a decision and takes no part in one: it spends no alpha, and a slice that is named was chosen
 * among some twenty by the data that are shown with it.
 * Of indicators: the slice whose candidate events exceed most what their spreading evenly over devices,
 * each as prone as control's of its slice, would bring, by the likelihood ratio of the scan statistic
 * (Kulldorff 1997).  Of graded units: the slice in which the arms' means differ most from how they
 * differ elsewhere.  Below SLICE_TELLING nothing is named, nor is a slice with fewer than min_cohort
 * devices.
 * Threads: any, each with its own struct db; reading a table that is filled is pure. */
#ifndef ROLLOUT_SLICE_H
#define ROLLOUT_SLICE_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/policy.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SLICE_TELLING 6.0 /* log likelihood ratio: by chance one in twenty of twenty slices */
#define SLICE_TEXT 160

struct slice_table; /* what one lane's slices say */

int slice_table_read(struct slice_table **ret_table, struct db *db, const char *rollout,
		     const char *class, int64_t min_cohort, struct err *err) CHECKED;
void slice_table_free(struct slice_table *table); /* NULL is fine */
DEFINE_AUTO(struct slice_table, slice_table_free)

struct slice_fault {
	bool named;	   /* else: it has too few devices */
	const char *what;  /* "os", "runtime"; static */
	const char *value; /* the table's */
	bool graded;	   /* mean of both arms, instead of events */
	double k[2], of;   /* events of candidate and control in it; of all candidates */
	double mean[2];	   /* buckets; see policy_hists */
	double devices[2], all_devices; /* that entered: candidates and control in it; all */
};

/* Whether there is one.  phi: what the gate's units are deflated by. */
bool slice_of_gate(const struct slice_table *table, const struct policy_gate *gate, double phi,
		   struct slice_fault *ret_fault);
bool slice_of_guard(const struct slice_table *table, const struct policy_guard *guard,
		    struct slice_fault *ret_fault);

/* "31 of 33 on os 9, where 4 % of devices are". */
void slice_sentence(const struct slice_fault *fault, int64_t min_cohort, char out[static SLICE_TEXT]);
int64_t slice_min_cohort(const struct slice_table *table);
/* {by, value, candidate: {devices, k | mean}, control: ..., of, devices_ppm, sentence}; of one that is
 * not named only sentence.  NULL without memory. */
json_t *slice_json(const struct slice_table *table, const struct slice_fault *fault) CHECKED;

#endif
