/* delta_job.h -- the rows that say which deltas are to be made, one a pair of recipes; they survive a
 * restart at any instant.
 *
 *   queued -> running -> done        the new recipe's map lists it
 *                     -> dropped     it would not save enough: not made again
 *                     -> queued      a try failed: later again, DELTA_TRIES times
 *                     -> failed      with the last try's error
 *   done -> unlisted                 gc.h: the map no longer lists it, its parts go after the grace
 *
 * Asked for again, failed and unlisted ones are queued anew; so is a done one whose parts are lost.
 * Threads: as the struct db given; functions that write run inside the ledger. */
#ifndef STORE_DELTA_JOB_H
#define STORE_DELTA_JOB_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/db.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set delta_job_sql;

#define DELTA_TRIES 5
#define DELTA_RETRY_S 60 /* after the first failure; four times as long after each further one */
#define DELTA_NAME 320	 /* bytes of what and base, with the NUL */

enum delta_state {
	DELTA_QUEUED,
	DELTA_RUNNING,
	DELTA_DONE,
	DELTA_DROPPED,
	DELTA_FAILED,
	DELTA_UNLISTED,
	DELTA_STATES
};
const char *delta_state_name(enum delta_state state); /* "queued" */
int delta_state_parse(enum delta_state *ret_state, const char *text) CHECKED;

struct delta_job {
	int64_t id; /* rises */
	struct digest new, old; /* recipes */
	char what[DELTA_NAME], base[DELTA_NAME]; /* "assistant@2.1.0/q4_k_m/model.gguf" */
	enum delta_state state;
	int64_t tries;	  /* begun */
	int64_t due;	  /* queued: not before */
	char reason[400]; /* why it was dropped, or what the last try met; "": nothing */
	int64_t whole;	  /* bytes of a full download; 0: not known yet */
	int64_t bytes;	  /* of the delta, once done */
	int64_t created, changed;
};

/* Queue it, unless it is there; *ret_added (may be NULL) tells.  Of job: new, old, what, base. */
int delta_job_add(struct db *db, const struct delta_job *job, int64_t now, bool *ret_added,
		  struct err *err) CHECKED;
/* Such a delta exists already: a row for it, done, unless there is one.  Of job: also bytes. */
int delta_job_adopt(struct db *db, const struct delta_job *job, int64_t now,
		    struct err *err) CHECKED;

/* ---- Working through the queue. ---- */

/* What was running when the last run ended is queued again, or failed if that was its last try. */
int delta_job_recover(struct db *db, int64_t now, struct err *err) CHECKED;
/* 1: the oldest that is due is running now; 0: none is. */
int delta_job_take(struct db *db, int64_t now, struct delta_job *ret_job, struct err *err) CHECKED;
/* A done one whose parts are lost: queued again. */
int delta_job_lost(struct db *db, int64_t id, int64_t now, struct err *err) CHECKED;
/* How a running one ended.  ERR_CONFLICT unless it is running. */
int delta_job_done(struct db *db, const struct delta_job *job, int64_t now, struct err *err) CHECKED;
int delta_job_dropped(struct db *db, const struct delta_job *job, int64_t now,
		      struct err *err) CHECKED;
/* job->reason says why; tells in *ret_failed whether that was for good. */
int delta_job_again(struct db *db, const struct delta_job *job, int64_t now, bool *ret_failed,
		    struct err *err) CHECKED;
/* It was interrupted, through no fault of its own. */
int delta_job_release(struct db *db, const struct delta_job *job, int64_t now,
		      struct err *err) CHECKED;

/* ---- Looking over. ---- */

/* 1: when the next queued one is due; 0: none is queued. */
int delta_job_due(struct db *db, int64_t *ret_due, struct err *err) CHECKED;

/* Call each(arg, job) for those with an id above after, at most limit, in the order of ids; state
 * DELTA_STATES: all.  A negative answer ends it and is the result. */
typedef int delta_job_each(void *arg, const struct delta_job *job, struct err *err);
struct delta_job_query {
	enum delta_state state;
	int64_t after, limit;
};
int delta_job_list(struct db *db, const struct delta_job_query *query, delta_job_each *each,
		   void *arg, struct err *err) CHECKED;

struct delta_job_sums {
	int64_t count[DELTA_STATES];
	int64_t bytes; /* of those done */
};
int delta_job_sum(struct db *db, struct delta_job_sums *ret_sums, struct err *err) CHECKED;

/* ---- For gc.h. ---- */

/* The done one is listed no longer. */
int delta_job_unlist(struct db *db, int64_t id, int64_t now, struct err *err) CHECKED;
/* Remove the row, if its state still is that and it changed before than; *ret_removed tells. */
int delta_job_drop(struct db *db, const struct delta_job *job, int64_t than, bool *ret_removed,
		   struct err *err) CHECKED;

#endif
