/* inventory.h -- the rows about what is stored: which packs there are, where each chunk lies, what
 * each recipe describes.  Rebuildable from the files; written after them and removed before them.
 * Threads: as the struct db given; functions that write run inside the ledger. */
#ifndef STORE_INVENTORY_H
#define STORE_INVENTORY_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/map.h"
#include "store/db.h"
#include "store/pack.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set inventory_sql;

/* ---- Recipes. ---- */

struct recipe_info {
	struct digest recipe; /* its name */
	struct digest sha256; /* of the file */
	int64_t length;	      /* of the file */
	int64_t stored;	      /* bytes a first install fetches */
	uint8_t format;	      /* enum format_id */
};

/* ERR_NOT_FOUND when there is none. */
int inventory_recipe(struct db *db, const struct digest *recipe, struct recipe_info *ret_info,
		     struct err *err) CHECKED;
/* The newest recipe of a file with this SHA-256; ERR_NOT_FOUND. */
int inventory_file(struct db *db, const struct digest *sha256, struct recipe_info *ret_info,
		   struct err *err) CHECKED;
/* Insert; or, when it is there, keep it and remember that it was wanted at now. */
int inventory_recipe_add(struct db *db, const struct recipe_info *info, int64_t now,
			 struct err *err) CHECKED;
/* Somebody wants the recipe at now: 1; 0 when it is not there; -1: error. */
int inventory_recipe_want(struct db *db, const struct digest *recipe, int64_t now,
			  struct err *err) CHECKED;

/* Whether a file of any variant of model has it: 1, 0, -1: error. */
int inventory_model_has(struct db *db, const char *model, const struct digest *recipe,
			struct err *err) CHECKED;

/* What a caller wants written in the same transaction as the store's own rows: who did it. */
struct also {
	/* Runs last in the ledger function; info is the recipe's where there is one, else NULL. */
	int (*fn)(struct db *db, void *arg, const struct recipe_info *info, struct err *err);
	void *arg;
	bool blind; /* the caller may not learn that the thing is there already: do all the work,
		       and run fn, as if it were new */
};
int also_run(const struct also *also, struct db *db, const struct recipe_info *info,
	     struct err *err) CHECKED; /* also NULL: nothing */

/* ---- Packs and chunks. ---- */

struct chunk_place {
	struct digest pack;
	uint32_t pack_bytes; /* of the whole pack */
	struct pack_chunk chunk;
};

/* 1 when it is there, 0 when not, -1: error. */
int inventory_pack(struct db *db, const struct digest *pack, struct err *err) CHECKED;
/* 1 and *ret_place; 0: not stored; -1: error. */
int inventory_chunk(struct db *db, const struct digest *chunk, struct chunk_place *ret_place,
		    struct err *err) CHECKED;
/* As inventory_chunk(), but where places (a map from digest to struct chunk_place) tells; NULL: the
 * rows tell. */
int inventory_place(struct db *db, const struct map *places, const struct digest *chunk,
		    struct chunk_place *ret_place, struct err *err) CHECKED;
/* Insert pack, or remember it as wanted at now; and the chunks that are nowhere else yet. */
int inventory_pack_add(struct db *db, const struct digest *pack, uint32_t bytes,
		       const struct pack_index *index, int64_t now, struct err *err) CHECKED;
/* If the rows say that chunk lies in pack from, it lies in pack to from now on, as chunk says. */
int inventory_chunk_move(struct db *db, const struct digest *from, const struct digest *to,
			 const struct pack_chunk *chunk, struct err *err) CHECKED;
/* Somebody relies at now on what is in pack: was told that it need not be sent, or names it in a
 * map.  1; 0 when it is not there; -1: error. */
int inventory_pack_want(struct db *db, const struct digest *pack, int64_t now,
			struct err *err) CHECKED;
struct inventory_sums {
	int64_t packs, pack_bytes, chunks, recipes, file_bytes;
};
int inventory_sum(struct db *db, struct inventory_sums *ret_sums, struct err *err) CHECKED;

/* ---- For gc.h and verify.h. ---- */

/* Call each(arg, name, bytes) for every pack, or every recipe (bytes: length of the file), in the
 * order of names; a negative answer ends it and is the result. */
typedef int inventory_each(void *arg, const struct digest *name, int64_t bytes, struct err *err);
/* As each, with a struct inventory_list: for what takes long, because a statement that is left open
 * keeps the database's log from shrinking. */
struct inventory_item {
	struct digest name;
	int64_t bytes;
};
struct inventory_list {
	struct inventory_item *items; /* owned: inventory_list_done() */
	uint32_t count, room;
};
inventory_each inventory_gather;
void inventory_list_done(struct inventory_list *list);
#define AUTO_LIST __attribute__((cleanup(inventory_list_done)))
int inventory_packs(struct db *db, inventory_each *each, void *arg, struct err *err) CHECKED;
/* Only those that nobody has wanted since than. */
int inventory_packs_before(struct db *db, int64_t than, inventory_each *each, void *arg,
			   struct err *err) CHECKED;
int inventory_recipes(struct db *db, inventory_each *each, void *arg, struct err *err) CHECKED;
/* All recipes of a file with this SHA-256, the newest first. */
int inventory_file_recipes(struct db *db, const struct digest *sha256, inventory_each *each,
			   void *arg, struct err *err) CHECKED;
/* Recipes that the files of any variant of model name; these rows are manifest's, read only. */
int inventory_model_recipes(struct db *db, const char *model, inventory_each *each, void *arg,
			    struct err *err) CHECKED;
/* Call each(arg, file) for every file of a variant that recipe describes; likewise read only. */
struct inventory_file_name {
	const char *model, *release, *tier, *name; /* borrowed for the call */
};
int inventory_recipe_files(struct db *db, const struct digest *recipe,
			   int (*each)(void *arg, const struct inventory_file_name *file,
				       struct err *err),
			   void *arg, struct err *err) CHECKED;

/* Remove the recipe's row unless a variant's file or an upload names it, or it was wanted since
 * than.  *ret_removed tells. */
int inventory_recipe_drop(struct db *db, const struct digest *recipe, int64_t than,
			  bool *ret_removed, struct err *err) CHECKED;
/* Remove the rows of pack and of the chunks in it, unless it was wanted since than.  The caller
 * knows that no recipe's map names it. */
int inventory_pack_drop(struct db *db, const struct digest *pack, int64_t than,
			bool *ret_removed, struct err *err) CHECKED;

#endif
