/* scope.h -- what somebody may know of who must not learn what others have stored: the files of some
 * models, and what one token brought lately.  Such an asker is served as if nothing else were there:
 * chunks are shared within the scope only, so that neither an answer nor a map that names a pack
 * tells of, or leads to, anybody else's bytes.
 * Threads: any; db is a connection of the caller's. */
#ifndef STORE_SCOPE_H
#define STORE_SCOPE_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/map.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/recipe.h"

#include <stdbool.h>
#include <stddef.h>

struct scope {
	const char *models; /* "\nname\nname\n" */
	const char *token;  /* id */
};

/* Where those of count chunks lie that the scope knows: a map from digest to struct chunk_place
 * (inventory.h), the caller's.  Memory: 300 bytes a chunk asked for, and one recipe's. */
int scope_places(struct blobs *blobs, struct db *db, const struct scope *scope,
		 const struct digest *chunks, size_t count, struct map **ret_places,
		 struct err *err) CHECKED;
/* The same of a recipe's chunks. */
int scope_recipe_places(struct blobs *blobs, struct db *db, const struct scope *scope,
			const struct recipe *recipe, struct map **ret_places,
			struct err *err) CHECKED;
/* Whether recipe belongs to one of the models, or the token brought it. */
int scope_knows(struct db *db, const struct scope *scope, const struct digest *recipe,
		bool *ret_knows, struct err *err) CHECKED;

#endif
