/* catalog.h -- what may be offered: channels, models, releases, their variants and files.
 * A release is a draft until it is published, and immutable from then on.
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef MANIFEST_CATALOG_H
#define MANIFEST_CATALOG_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/doc.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set catalog_sql;

/* ---- channels and models ---- */
int catalog_channel_add(struct db *db, const char *name, int64_t now,
			struct err *err) CHECKED; /* ERR_CONFLICT when it exists */
int catalog_channel_known(struct db *db, const char *name, bool *ret_known,
			  struct err *err) CHECKED;
int catalog_model_add(struct db *db, const char *name, int64_t now,
		      struct err *err) CHECKED; /* ERR_CONFLICT when it exists */
int catalog_model_known(struct db *db, const char *name, bool *ret_known,
			struct err *err) CHECKED;

/* Pages of [{name, created}] after a name ("" at first), at most limit. */
int catalog_channel_list(struct db *db, const char *after, int64_t limit, json_t **ret_items,
			 struct err *err) CHECKED;
int catalog_model_list(struct db *db, const char *after, int64_t limit, json_t **ret_items,
		       struct err *err) CHECKED;

/* ---- releases ---- */
struct release_spec {
	const char *model, *release;
	const char *checkpoint, *notes; /* NULL: none */
};
int catalog_release_add(struct db *db, const struct release_spec *spec, int64_t now,
			struct err *err) CHECKED; /* ERR_CONFLICT when it exists */
/* ERR_CONFLICT without a variant; publishing again is fine. */
int catalog_release_publish(struct db *db, const char *model, const char *release, int64_t now,
			    struct err *err) CHECKED;
/* ERR_NOT_FOUND; ERR_CONFLICT unless published. */
int catalog_release_need(struct db *db, const char *model, const char *release,
			 struct err *err) CHECKED;
int catalog_release_list(struct db *db, const char *model, json_t **ret_items,
			 struct err *err) CHECKED;
/* {model, release, state, checkpoint, notes, created, published, variants:[{tier, format,
 *  requires, evals, meta, files:[{name, length, sha256, recipe, stored}], and of those that are
 *  signed attest, counter, floor, publisher}]}.  ERR_NOT_FOUND. */
int catalog_release_get(struct db *db, const char *model, const char *release, json_t **ret,
			struct err *err) CHECKED;

/* ---- variants ---- */
/* body: {format, files:[{name, recipe}], requires?, evals?, meta?: {architecture?, name?,
 * quantization?, parameters?, tensors?, context_length?, layers?, heads?}, envelope?:
 * publisher_envelope_put()'s}.  The recipes must be in the store (lookup says what each makes;
 * ERR_NOT_FOUND otherwise).  Replaces the tier of a draft;
 * ERR_CONFLICT for a published release. */
struct catalog_file {
	int64_t length, stored;
	struct digest sha256;
};
typedef int catalog_lookup(void *arg, const struct digest *recipe, struct catalog_file *ret,
			   struct err *err);
int catalog_variant_put(struct db *db, const char *model, const char *release, const char *tier,
			const json_t *body, catalog_lookup *lookup, void *arg, int64_t now,
			struct err *err) CHECKED;
int catalog_variant_delete(struct db *db, const char *model, const char *release,
			   const char *tier, struct err *err) CHECKED;
/* Whether "model@release/tier" is a variant of a published release. */
int catalog_variant_known(struct db *db, const char *ref, bool *ret_known,
			  struct err *err) CHECKED;

/* Whether some release, a draft also, has a tier of this name. */
int catalog_tier_known(struct db *db, const char *tier, bool *ret_known, struct err *err) CHECKED;

/* The variants of a release in the order of tiers (those not named by tiers come after, by name,
 * when all is true), ready for a manifest; memory from arena. */
int catalog_variants(struct db *db, const char *model, const char *release,
		     const char *const *tiers, unsigned tier_count, bool all, struct arena *arena,
		     struct manifest_variant **ret_variants, unsigned *ret_count,
		     struct err *err) CHECKED;

/* Every recipe that some variant names: the store's roots. */
int catalog_recipes(struct db *db, int (*fn)(void *arg, const struct digest *recipe), void *arg,
		    struct err *err) CHECKED;

#endif
