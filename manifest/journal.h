/* journal.h -- what happened (events, with their evidence) and who did it (audit).
 * The audit is a chain: each row's hash covers its content and the hash before it, so that a row
 * cannot be changed or taken out unnoticed.
 *   hash = SHA-256(prev || canonical {"action","actor","data","request","resource","seq","t"})
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef MANIFEST_JOURNAL_H
#define MANIFEST_JOURNAL_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

extern const struct sql_set journal_sql;

struct journal_event {
	int64_t t;
	const char *kind;	    /* "lane.rolled_back" */
	const char *rollout, *class; /* NULL: none */
	const char *actor;	    /* token name, or "engine" */
	json_t *data;		    /* borrowed; NULL: {} */
};
int journal_event(struct db *db, const struct journal_event *event, struct err *err) CHECKED;
/* [{seq, t, kind, rollout, class, actor, data}] with seq > after, at most limit; rollout NULL: all. */
int journal_events(struct db *db, const char *rollout, int64_t after, int64_t limit,
		   json_t **ret_items, struct err *err) CHECKED;

/* How many events of a kind a rollout has; class NULL: in all. */
int journal_count(struct db *db, const char *rollout, const char *class, const char *kind,
		  int64_t *ret_count, struct err *err) CHECKED;

/* The evidence of a lane's last event that has some, with as_of, its time; NULL: there is none. */
int journal_last_evidence(struct db *db, const char *rollout, const char *class,
			  json_t **ret_evidence, struct err *err) CHECKED;

struct journal_entry {
	int64_t t;
	const char *actor, *action, *resource; /* "ci", "release.publish", "assistant@2.1.0" */
	const char *request;		       /* request id; "" none */
	json_t *data;			       /* borrowed; NULL: {} */
};
/* Of data beyond 32 KiB its length and SHA-256 are kept. */
int journal_audit(struct db *db, const struct journal_entry *entry, struct err *err) CHECKED;
int journal_audits(struct db *db, int64_t after, int64_t limit, json_t **ret_items,
		   struct err *err) CHECKED;
/* Walk the whole chain; ERR_CORRUPT names the first row that does not fit. */
int journal_verify(struct db *db, int64_t *ret_rows, struct err *err) CHECKED;

#endif
