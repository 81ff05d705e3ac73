/* publish.h -- signed documents: made inside the transaction that caused them, served from an
 * immutable snapshot that is swapped in once that transaction is durable.
 * One TUF repository a (channel, class), plus the index repository.  Versions always rise
 * (epoch * 10^6 + n), also when an older release is named again.  A restart publishes the same
 * bytes: documents are rows.
 * Timestamps live a day and are signed anew after half of it; snapshots and manifests live three
 * days and are signed anew daily; both are spread by a hash of the repository's name.  Numbered
 * documents stay a week.
 * Threads: publish_* only inside ledger functions; publisher_snapshot() and snapshot_* from any. */
#ifndef MANIFEST_PUBLISH_H
#define MANIFEST_PUBLISH_H

#include "base/cc.h"
#include "base/clock.h"
#include "base/err.h"
#include "manifest/keystore.h"
#include "manifest/snapshot.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set publish_sql;

struct publisher;

/* clock is borrowed for ever; keys are copied. */
int publisher_new(struct publisher **ret_publisher, const struct keystore *keys,
		  const struct clock *clock, struct err *err) CHECKED;
void publisher_free(struct publisher *publisher); /* NULL is fine */
DEFINE_AUTO(struct publisher, publisher_free)
/* Called for every new document before anyone can see it; set before publisher_load(). */
void publisher_on_doc(struct publisher *publisher, void (*fn)(void *arg, struct doc *doc),
		      void *arg);
/* Fill the snapshot from the database, at start. */
int publisher_load(struct publisher *publisher, struct db *db, struct err *err) CHECKED;

/* ---- inside ledger functions ---- */

/* Make the manifest of (channel, class) anew from offers, catalog and settings, sign and store what
 * changed, and have it swapped in after the commit.  Nothing changes when the content is the same.
 * ERR_CONFLICT when the clock guard refuses to sign. */
int publish_repo(struct publisher *publisher, struct db *db, const char *channel,
		 const char *class, struct err *err) CHECKED;
/* Every class of every channel, and the index: after rules, channels or settings changed. */
int publish_all(struct publisher *publisher, struct db *db, struct err *err) CHECKED;
/* Serve the envelopes of a release's variants from now on, at /v1/attest/{sha256}. */
int publish_envelopes(struct publisher *publisher, struct db *db, const char *model,
		      const char *release, struct err *err) CHECKED;
/* Sign anew what is due, at most limit repositories; forget documents older than a week.
 * *ret_signed: how many repositories were signed. */
int publish_due(struct publisher *publisher, struct db *db, int64_t limit, int64_t *ret_signed,
		struct err *err) CHECKED;

/* ---- a backup that was put back (inside ledger functions) ----
 * Publications are numbered in the database, and how far they came is kept outside of it, in the
 * epoch's file, after each commit.  A start that finds fewer in the database than were published knows
 * that this is a restored backup: nothing is signed or served from it until it is begun anew. */
struct publisher_restored {
	bool restored;
	int64_t epoch;	     /* versions are epoch * 10^6 + n */
	int64_t publication; /* the database's last */
	int64_t published;   /* the last that was published, as the file says; 0: it is gone */
	int64_t last_signed; /* UTC seconds: the database's last signature */
};
void publisher_restored(const struct publisher *publisher, struct publisher_restored *ret);
/* The next number of a publication. */
int publisher_next_publication(struct publisher *publisher, struct db *db,
			       int64_t *ret_publication, struct err *err) CHECKED;
/* From here on, in this transaction, documents may be made, with versions of that epoch; each is made
 * anew.  ERR_INVALID unless it is greater than the last. */
int publisher_anew(struct publisher *publisher, struct db *db, int64_t epoch,
		   struct err *err) CHECKED;
/* The last thing in that transaction: serve what was made once it is durable. */
int publisher_anew_end(struct publisher *publisher, struct db *db, struct err *err) CHECKED;
const char *publisher_data_dir(const struct publisher *publisher);

/* class -> SHA-256 (hex) of its first root's `signed` in canonical form, of every class of the
 * channel that has one, into roots (an object). */
int publish_first_roots(struct db *db, const char *channel, json_t *roots, struct err *err) CHECKED;
/* [{repo, channel, class, root, targets, snapshot, timestamp, resign_at}] */
int publish_list(struct db *db, json_t **ret_items, struct err *err) CHECKED;

/* ---- readers ---- */

/* The current snapshot, referenced: snapshot_unref() it. */
struct snapshot *publisher_snapshot(struct publisher *publisher);
/* Changes with every swap: a reader that keeps a reference asks only this. */
uint64_t publisher_generation(const struct publisher *publisher);

struct publisher_stats {
	uint64_t signed_documents, swaps, refusals;
	unsigned documents, repositories;
	unsigned stranded; /* repositories whose root names a seed that is not here */
	int64_t first_expiry; /* the earliest of any current timestamp or manifest; 0: none */
};
void publisher_stats(struct publisher *publisher, struct publisher_stats *ret_stats);
bool publisher_development(const struct publisher *publisher);
/* Whether nothing may be served: see above. */
bool publisher_withheld(const struct publisher *publisher);
/* Why the clock guard refuses to sign now; false when it does not. */
bool publisher_clock_doubt(struct publisher *publisher, char out[static 200]);

#endif
