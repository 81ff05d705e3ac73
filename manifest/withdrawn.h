/* withdrawn.h -- what was taken back, in a file beside the database: rollbacks, undone releases,
 * revocations, floors, ended tokens.  A backup that is put back knows nothing of what was taken back
 * since; this file does, and `flotilla db restored` takes it back again (server/restore.h).
 *   withdrawn.log   a line of JSON each: {"publication", "t", "what", ...}
 * A line is durable before the transaction that it tells of, so it may tell of one that was never
 * committed: taken back once too often, never once too seldom.
 * Threads: withdrawn_add() inside ledger functions; withdrawn_since() where nobody adds. */
#ifndef MANIFEST_WITHDRAWN_H
#define MANIFEST_WITHDRAWN_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdint.h>

struct publisher;

#define WITHDRAWN_FILE "withdrawn.log"

/* Add entry, an object with "what" and what else says it; taken over, also on failure.  NULL is for
 * want of memory. */
int withdrawn_add(struct publisher *publisher, struct db *db, json_t *entry,
		  struct err *err) CHECKED;
/* The entries after that publication, oldest first; the caller's.  A last line that is not whole is
 * of a transaction that was not committed.  ERR_CORRUPT names any other damaged line. */
int withdrawn_since(const char *data_dir, int64_t publication, json_t **ret_entries,
		    struct err *err) CHECKED;

#endif
