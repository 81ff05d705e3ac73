/* verify_delta.h -- verify.h's look at deltas: all that is made and not collected.
 * Threads: as verify.h. */
#ifndef STORE_VERIFY_DELTA_H
#define STORE_VERIFY_DELTA_H

#include "base/cc.h"
#include "store/verify.h"

/* Of each made delta, that its parts are there with the lengths that its row and table say, that its
 * head tells of the old file and has the new one's recipe, and, when deep, that every chunk of it
 * makes the new file's from the old one; where a recipe is damaged or the old file cannot be read,
 * which verify_store() tells of, no more is known.
 * mend: the damaged part goes to quarantine/, the others go, no map lists the delta, and its job is queued
 * again.  Adds to report.  -1 only when looking itself fails. */
int verify_deltas(struct blobs *blobs, struct db *db, const struct verify_options *options,
		  struct verify_report *report, struct err *err) CHECKED;

#endif
