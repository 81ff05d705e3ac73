/* nonces.h -- which reports were counted already: exactly, durable, and in memory that does not grow
 * with their number.
 * The newest are open: in a table of 8 MiB, and in rows of which a commit writes one.  When a third of a
 * million are open they are closed: a segment of rows that are found by a nonce's hash, and a filter of
 * two bytes a nonce, which tells "new for certain" of all but one in a thousand of the new.  Only what a
 * filter does not know to be new is looked up in its segment, by one row.  Filters are in mapped files
 * that have no name, which the kernel may write back and take out of memory.
 * A segment is forgotten as a whole, when the last of its nonces may be.
 * Places are chosen by a keyed hash, so that whoever invents nonces can neither fill a page nor aim at
 * a filter; to meet one's own nonces again costs as much as any other report, and a row.
 * Threads: the ledger's; nonces_count() from any. */
#ifndef TELEMETRY_NONCES_H
#define TELEMETRY_NONCES_H

#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"
#include "telemetry/report.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set nonces_sql;

struct nonces;

/* tmp: directory for the filters' files, copied; where none can be made, anonymous memory serves.
 * open_most: how many may be open, at most what the table is made for. */
int nonces_new(struct nonces **ret_nonces, const char *tmp, uint64_t open_most,
	       struct err *err) CHECKED;
void nonces_free(struct nonces *nonces); /* NULL is fine */
DEFINE_AUTO(struct nonces, nonces_free)

/* Inside a ledger function, first of all: what the rows say. */
int nonces_load(struct nonces *nonces, struct db *db, struct err *err) CHECKED;

/* Inside a ledger function.  1: added; 0: it was there; -1: not added, ERR_BUSY when there is no place
 * until nonces_close(). */
int nonces_add(struct nonces *nonces, struct db *db, const uint8_t nonce[static REPORT_NONCE_LEN],
	       struct err *err) CHECKED;
/* Take back what nonces_add() added since the last nonces_close(). */
void nonces_remove(struct nonces *nonces, const uint8_t nonce[static REPORT_NONCE_LEN]);
/* Inside the ledger function that added them: the row of these, which may be forgotten at expires (UTC
 * seconds).  list: one after the other. */
int nonces_keep(struct nonces *nonces, struct db *db, const uint8_t *list, unsigned count,
		int64_t expires, struct err *err) CHECKED;

/* Whether the open ones should be closed. */
bool nonces_full(const struct nonces *nonces);
/* Inside a ledger function of its own: the open ones become a segment.  Nothing may be added until
 * nonces_closed() has been told what became of the transaction. */
int nonces_close(struct nonces *nonces, struct db *db, struct err *err) CHECKED;
void nonces_closed(struct nonces *nonces, bool durable);

/* Forget the segments that expired before now. */
void nonces_expire(struct nonces *nonces, int64_t now);
/* Inside a ledger function: delete rows of segments that expired before now; not of all, if they are
 * many. */
int nonces_delete(struct db *db, int64_t now, struct err *err) CHECKED;

uint64_t nonces_count(const struct nonces *nonces); /* remembered: those that wait for their segment too */

#endif
