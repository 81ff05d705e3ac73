/* offer.h -- what a (channel, class, model) runs now and what it is trying: one row, the input of
 * its manifest.  Stable changes only by bootstrap, completion and undo; the candidate belongs to a
 * lane.  Nothing here publishes: callers do, in the same transaction (publish.h).
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef MANIFEST_OFFER_H
#define MANIFEST_OFFER_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/bucket.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set offer_sql;

struct offer {
	const char *channel, *class, *model;
	const char *stable, *previous; /* releases; previous NULL: none */
	int64_t stable_since, spread_s;
	const char *spread_salt;
	/* all of the candidate, or rollout NULL */
	const char *rollout, *candidate, *salt, *state; /* "running" or "holding" */
	int64_t stage, candidate_ppm;
	struct slice enter, control;
	int64_t version;
};

/* ERR_NOT_FOUND.  Texts live in arena. */
int offer_get(struct db *db, const char *channel, const char *class, const char *model,
	      struct arena *arena, struct offer *offer, struct err *err) CHECKED;
/* All of a (channel, class), by model; or of everything (channel NULL). */
int offer_list(struct db *db, const char *channel, const char *class, struct arena *arena,
	       struct offer **ret_offers, unsigned *ret_count, struct err *err) CHECKED;
json_t *offer_json(const struct offer *offer) CHECKED;

/* The first stable release of a model there; ERR_CONFLICT when there is one. */
int offer_bootstrap(struct db *db, const char *channel, const char *class, const char *model,
		    const char *release, int64_t now, struct err *err) CHECKED;
/* Set or change the candidate columns from offer.  ERR_NOT_FOUND without a stable;
 * ERR_CONFLICT when another rollout's candidate is there. */
int offer_set_candidate(struct db *db, const struct offer *offer, struct err *err) CHECKED;
/* Take the rollout's candidate away.  ERR_NOT_FOUND when it is not there. */
int offer_clear_candidate(struct db *db, const char *channel, const char *class,
			  const char *model, const char *rollout, struct err *err) CHECKED;
/* The rollout's candidate becomes stable, the old stable previous; devices spread the installation
 * over spread_s by a hash with a fresh salt. */
int offer_complete(struct db *db, const char *channel, const char *class, const char *model,
		   const char *rollout, int64_t spread_s, int64_t now, struct err *err) CHECKED;
/* Back to the previous release; release must be the stable one now.  ERR_CONFLICT otherwise. */
int offer_undo(struct db *db, const char *channel, const char *class, const char *model,
	       const char *release, int64_t spread_s, int64_t now, struct err *err) CHECKED;

#endif
