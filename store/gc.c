#include "store/gc.h"

#include "base/map.h"
#include "store/gc_delta.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/marks.h"
#include "store/repack.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 32 /* names in one ledger function */

struct gc {
	struct blobs *blobs;
	struct db *db;
	const struct gc_options *options;
	int64_t than; /* what was wanted before may go */
	struct gc_report report;
};

/* ---- A batch: rows, and when their removal is durable, names; then the disk's blocks. ---- */

typedef int drop_row(struct db *db, const struct digest *name, int64_t than, bool *ret_removed,
		     struct err *err);

struct batch {
	struct gc *gc;
	enum blob_kind kind;
	drop_row *drop;
	const struct digest *names;
	size_t count;
	bool removed[BATCH]; /* the row is */
	struct blob_file files[2 * BATCH];
	size_t file_count;
};

static int rows_drop(struct db *db, void *arg, struct err *err)
{
	struct batch *batch = arg;

	for (size_t i = 0; i < batch->count; i++)
		if (batch->drop(db, &batch->names[i], batch->gc->than, &batch->removed[i], err) < 0)
			return -1;
	if (batch->gc->options->dry_run) /* undoes it */
		return err_set(err, ERR_NONE, "a dry run");
	return 0;
}

/* 1: a row names it; 0: none does. */
static int has_row(struct db *db, enum blob_kind kind, const struct digest *name, struct err *err)
{
	struct recipe_info info;

	if (kind == BLOB_PACK)
		return inventory_pack(db, name, err);
	if (inventory_recipe(db, name, &info, err) == 0)
		return 1;
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

static int file_retire(struct batch *batch, enum blob_kind kind, const struct digest *name,
		       struct err *err)
{
	if (blob_retire(batch->gc->blobs, kind, name, &batch->files[batch->file_count], err) < 0)
		return -1;
	batch->file_count++;
	return 0;
}

/* Recipes before maps: a recipe that can be read always has its map. */
static int names_retire(struct db *db, void *arg, struct err *err)
{
	struct batch *batch = arg;

	for (size_t i = 0; i < batch->count; i++) {
		if (!batch->removed[i])
			continue;
		int row = has_row(db, batch->kind, &batch->names[i], err);
		if (row < 0)
			return -1;
		batch->removed[i] = !row;
		if (!row && (file_retire(batch, batch->kind, &batch->names[i], err) < 0 ||
			     (batch->kind == BLOB_RECIPE &&
			      file_retire(batch, BLOB_MAP, &batch->names[i], err) < 0)))
			return -1;
	}
	return 0;
}

static uint64_t file_bytes(struct gc *gc, enum blob_kind kind, const struct digest *name)
{
	uint64_t len = 0;
	struct err gone;

	/* Absent is fine. */
	return blob_stat(gc->blobs, kind, name, &len, NULL, &gone) < 0 ? 0 : len;
}

static uint64_t batch_count(const struct batch *batch, uint64_t *bytes)
{
	uint64_t removed = 0;

	for (size_t i = 0; i < batch->count; i++) {
		if (!batch->removed[i])
			continue;
		removed++;
		*bytes += file_bytes(batch->gc, batch->kind, &batch->names[i]);
		if (batch->kind == BLOB_RECIPE)
			*bytes += file_bytes(batch->gc, BLOB_MAP, &batch->names[i]);
	}
	return removed;
}

/* The names of those whose rows are removed go, if none came back. */
static int batch_retire(struct batch *batch, struct err *err)
{
	if (batch->gc->options->dry_run)
		return 0;
	int result = ledger_run(blobs_ledger(batch->gc->blobs), names_retire, batch, err);
	for (size_t i = 0; i < batch->file_count; i++)
		blob_file_done(&batch->files[i]);
	return result;
}

static int batch_drop(struct batch *batch, struct err *err)
{
	if (ledger_run(blobs_ledger(batch->gc->blobs), rows_drop, batch, err) == 0)
		return 0;
	return batch->gc->options->dry_run && err->status == ERR_NONE ? 0 : -1;
}

/* gone: gets the names that went; NULL: they are only counted. */
static int sweep(struct gc *gc, struct batch like, const struct inventory_list *list,
		 struct map *gone, uint64_t *removed, struct err *err)
{
	struct digest names[BATCH];

	for (size_t at = 0; at < list->count; at += BATCH) {
		struct batch batch = like;
		batch.names = names;
		batch.count = list->count - at < BATCH ? list->count - at : BATCH;
		for (size_t i = 0; i < batch.count; i++)
			names[i] = list->items[at + i].name;
		if (batch_drop(&batch, err) < 0)
			return -1;
		*removed += batch_count(&batch, &gc->report.bytes);
		for (size_t i = 0; gone && i < batch.count; i++)
			if (batch.removed[i] && map_put(gone, names[i].bytes, DIGEST_LEN, gone))
				return err_nomem(err);
		if (batch_retire(&batch, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- Recipes, packs. ---- */

static int sweep_recipes(struct gc *gc, struct map *gone, struct err *err)
{
	AUTO_LIST struct inventory_list all = {0};
	const struct batch like = {.gc = gc, .kind = BLOB_RECIPE, .drop = inventory_recipe_drop};

	/* The rows know who lives; all are offered. */
	if (inventory_recipes(gc->db, inventory_gather, &all, err) < 0)
		return -1;
	return sweep(gc, like, &all, gone, &gc->report.recipes, err);
}

struct looking {
	const struct marks *marks;
	struct inventory_list dead;
};

static int find_dead(void *arg, const struct digest *pack, int64_t bytes, struct err *err)
{
	struct looking *looking = arg;

	if (marks_pack(looking->marks, pack))
		return 0;
	return inventory_gather(&looking->dead, pack, bytes, err);
}

static int sweep_packs(struct gc *gc, const struct marks *marks, struct err *err)
{
	struct looking looking = {.marks = marks};
	const struct batch like = {.gc = gc, .kind = BLOB_PACK, .drop = inventory_pack_drop};

	int result = inventory_packs(gc->db, find_dead, &looking, err);
	if (!result)
		result = sweep(gc, like, &looking.dead, NULL, &gc->report.packs, err);
	inventory_list_done(&looking.dead);
	return result;
}

/* ---- Files without rows. ---- */

/* Files are dated in real time, whatever the pace of our own clock.  A pack that a living map names
 * is none, although it lost its row: see file_set_aside() in verify.c. */
static int orphan_check(struct gc *gc, const struct marks *marks, enum blob_kind kind,
			const struct digest *name, struct err *err)
{
	struct batch batch = {.gc = gc, .kind = kind, .names = name, .count = 1, .removed = {true}};
	const int64_t than = (int64_t)time(NULL) - gc->options->grace_s;
	int64_t changed;
	struct err gone;

	if (kind == BLOB_PACK && marks_pack(marks, name))
		return 0;
	int row = has_row(gc->db, kind, name, err);
	if (row)
		return row < 0 ? -1 : 0;
	if (blob_stat(gc->blobs, kind, name, NULL, &changed, &gone) < 0 || changed >= than)
		return 0;
	uint64_t bytes = file_bytes(gc, kind, name);
	if (batch_retire(&batch, err) < 0)
		return -1;
	gc->report.orphans += batch.removed[0];
	gc->report.bytes += batch.removed[0] ? bytes : 0;
	return 0;
}

static int sweep_orphans(struct gc *gc, const struct marks *marks, enum blob_kind kind,
			 struct err *err)
{
	struct digest *names;
	size_t count;

	if (blobs_list(gc->blobs, kind, &names, &count, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; i < count && !result; i++)
		result = orphan_check(gc, marks, kind, &names[i], err);
	free(names);
	return result;
}

/* ---- A run. ---- */

static int repack(struct gc *gc, const struct marks *marks, struct err *err)
{
	const struct repack_options options = {.now = gc->options->now,
					       .than = gc->than,
					       .dry_run = gc->options->dry_run,
					       .go_on = gc->options->go_on,
					       .arg = gc->options->arg};

	return repack_run(gc->blobs, gc->db, marks, &options, &gc->report.repacked, err);
}

static int run_begin(struct db *db, void *arg, struct err *err)
{
	const struct gc *gc = arg;

	(void)db;
	(void)err;
	blobs_collecting(gc->blobs, gc->than);
	return 0;
}

static int sweep_deltas(struct gc *gc, struct err *err)
{
	const struct gc_delta_options options = {.now = gc->options->now,
						 .grace_s = gc->options->grace_s,
						 .dry_run = gc->options->dry_run};
	struct gc_delta_report report;

	if (gc_deltas(gc->blobs, gc->db, &options, &report, err) < 0)
		return -1;
	gc->report.deltas = report.removed;
	gc->report.orphans += report.parts;
	gc->report.bytes += report.bytes;
	return 0;
}

static int run_all(struct gc *gc, struct map *gone, struct err *err)
{
	AUTO(marks_free) struct marks *marks = NULL;

	if (ledger_run(blobs_ledger(gc->blobs), run_begin, gc, err) < 0 ||
	    sweep_recipes(gc, gone, err) < 0 ||
	    marks_make(&marks, gc->blobs, gc->db, gc->options->dry_run ? gone : NULL, err) < 0 ||
	    sweep_packs(gc, marks, err) < 0 || repack(gc, marks, err) < 0)
		return -1;
	for (int kind = 0; kind <= BLOB_MAP; kind++)
		if (sweep_orphans(gc, marks, kind, err) < 0)
			return -1;
	return sweep_deltas(gc, err);
}

int gc_run(struct blobs *blobs, struct db *db, const struct gc_options *options,
	   struct gc_report *ret_report, struct err *err)
{
	struct gc gc = {.blobs = blobs,
			.db = db,
			.options = options,
			.than = options->now - options->grace_s};
	AUTO(map_free) struct map *gone = map_new(NULL);

	if (!gone)
		return err_nomem(err);
	if (run_all(&gc, gone, err) < 0)
		return -1;
	*ret_report = gc.report;
	return 0;
}
