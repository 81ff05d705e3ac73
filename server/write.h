/* write.h -- one admin write: what it does and who did it, in one durable transaction.
 * Threads: workers. */
#ifndef SERVER_WRITE_H
#define SERVER_WRITE_H

#include "base/cc.h"
#include "base/err.h"
#include "server/request.h"
#include "store/db.h"

#include <jansson.h>

/* Run fn(db, arg) on the ledger thread and audit it as action on resource with data (borrowed; NULL:
 * nothing more to tell) in the same transaction; returns when that is durable. */
int write_run(struct request *rq, const char *action, const char *resource, json_t *data,
	      int (*fn)(struct db *db, void *arg, struct err *err), void *arg,
	      struct err *err) CHECKED;

/* Own time, UTC seconds. */
int64_t write_now(const struct request *rq);

#endif
