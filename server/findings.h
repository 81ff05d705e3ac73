/* findings.h -- what a look at the store found, for people: what is damaged, and which variants' files
 * mend it when they are pushed again.
 * Threads: a struct findings belongs to one. */
#ifndef SERVER_FINDINGS_H
#define SERVER_FINDINGS_H

#include "base/cc.h"
#include "store/db.h"
#include "store/gc.h"
#include "store/verify.h"

#include <jansson.h>

struct findings {
	struct db *db;	      /* borrowed */
	json_t *damage;	      /* [{kind, name, why}], the first of them */
	json_t *push_again;   /* [{model, release, tier, file}], likewise */
	uint64_t files;	      /* all that must be pushed again */
};

void findings_init(struct findings *findings, struct db *db);
void findings_done(struct findings *findings);

/* For verify_options.damaged, with a struct findings.  Without memory it forgets. */
void findings_note(void *arg, const struct verify_damage *damage);

/* NULL without memory; the caller's. */
json_t *findings_json(const struct findings *findings, const struct verify_report *report) CHECKED;
json_t *findings_gc_json(const struct gc_report *report, bool dry_run) CHECKED;

#endif
