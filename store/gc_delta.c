#include "store/gc_delta.h"

#include "base/grow.h"
#include "base/map.h"
#include "store/chunkmap.h"
#include "store/delta_build.h"
#include "store/delta_job.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/parts.h"
#include "store/remap.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* new and old, for maps of pairs. */
struct pair {
	struct digest new, old;
};

struct jobs {
	struct delta_job *jobs; /* owned */
	uint32_t count, room;
};

struct gc {
	struct blobs *blobs;
	struct db *db;
	const struct gc_delta_options *options;
	int64_t than; /* what changed before may go */
	struct jobs rows;
	struct map *pairs;  /* those with a row: the map itself */
	struct map *listed; /* those that a map lists: the map itself */
	struct map *parts;  /* names of parts that something names: the map itself */
	struct gc_delta_report report;
};

static int mark(struct map *map, const void *key, size_t len, struct err *err)
{
	return map_put(map, key, len, map) ? err_nomem(err) : 0;
}

static int mark_parts(struct gc *gc, const struct pair *pair, uint32_t count, struct err *err)
{
	struct digest name;

	for (uint32_t n = 0; n < count; n++) {
		part_name(&pair->new, &pair->old, n, &name);
		if (mark(gc->parts, name.bytes, DIGEST_LEN, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- What there is. ---- */

static int rows_add(void *arg, const struct delta_job *job, struct err *err)
{
	struct gc *gc = arg;
	struct jobs *rows = &gc->rows;
	const struct pair pair = {job->new, job->old};

	struct delta_job *grown = grow_array(rows->jobs, &rows->room, rows->count, sizeof(*grown));
	if (!grown)
		return err_nomem(err);
	rows->jobs = grown;
	rows->jobs[rows->count++] = *job;
	if (mark(gc->pairs, &pair, sizeof(pair), err) < 0)
		return -1;
	if (job->state == DELTA_UNLISTED && job->changed < gc->than)
		return 0;
	return mark_parts(gc, &pair, part_count((uint64_t)job->bytes), err);
}

/* A row for what the map lists without one: the rows were lost. */
static int adopt(struct db *db, void *arg, struct err *err)
{
	struct delta_job *job = arg;

	return delta_job_adopt(db, job, job->changed, err);
}

static int mark_delta(struct gc *gc, const struct chunkmap *map,
		      const struct chunkmap_delta *delta, struct err *err)
{
	const struct pair pair = {map->recipe, delta->from};

	if (mark(gc->listed, &pair, sizeof(pair), err) < 0 ||
	    mark_parts(gc, &pair, delta->parts, err) < 0)
		return -1;
	if (map_get(gc->pairs, &pair, sizeof(pair)) || gc->options->dry_run)
		return 0;
	struct delta_job job = {.new = pair.new,
				.old = pair.old,
				.whole = (int64_t)map->stored,
				.bytes = (int64_t)delta->bytes,
				.changed = gc->options->now};
	return ledger_run(blobs_ledger(gc->blobs), adopt, &job, err);
}

static int mark_map(struct gc *gc, const struct digest *recipe, struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(gc->blobs, BLOB_MAP, recipe, err);

	if (!blob || chunkmap_parse(&map, blob->bytes, blob->len, err) < 0) {
		if (err->status != ERR_SYSTEM)
			err->status = ERR_CORRUPT;
		return err_in(err, "no delta can be removed while a recipe lacks its map");
	}
	for (uint32_t i = 0; i < map->delta_count; i++)
		if (mark_delta(gc, map, &map->deltas[i], err) < 0)
			return -1;
	return 0;
}

/* Gathered first: what is adopted waits for the ledger. */
static int mark_maps(struct gc *gc, struct err *err)
{
	AUTO_LIST struct inventory_list list = {0};

	if (inventory_recipes(gc->db, inventory_gather, &list, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++)
		if (mark_map(gc, &list.items[i].name, err) < 0)
			return -1;
	return 0;
}

/* ---- Rows. ---- */

/* 1: both recipes are there. */
static int recipes_there(struct gc *gc, const struct delta_job *job, struct err *err)
{
	struct recipe_info info;

	if (inventory_recipe(gc->db, &job->new, &info, err) == 0 &&
	    inventory_recipe(gc->db, &job->old, &info, err) == 0)
		return 1;
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

struct change {
	const struct delta_job *job;
	int64_t when; /* now, or before which it must have changed */
	bool removed;
};

static int change_unlist(struct db *db, void *arg, struct err *err)
{
	const struct change *change = arg;

	return delta_job_unlist(db, change->job->id, change->when, err);
}

static int change_drop(struct db *db, void *arg, struct err *err)
{
	struct change *change = arg;

	return delta_job_drop(db, change->job, change->when, &change->removed, err);
}

/* The map first: the grace counts from when nobody is told of it any more. */
static int unlist(struct gc *gc, const struct delta_job *job, struct err *err)
{
	struct change change = {.job = job, .when = gc->options->now};

	gc->report.unlisted++;
	if (gc->options->dry_run)
		return 0;
	if (delta_unlist(gc->blobs, &job->new, &job->old, err) < 0)
		return -1;
	return ledger_run(blobs_ledger(gc->blobs), change_unlist, &change, err);
}

static int drop(struct gc *gc, const struct delta_job *job, int64_t than, struct err *err)
{
	struct change change = {.job = job, .when = than, .removed = job->changed < than};

	if (!gc->options->dry_run &&
	    ledger_run(blobs_ledger(gc->blobs), change_drop, &change, err) < 0)
		return -1;
	gc->report.removed += change.removed && job->state == DELTA_UNLISTED;
	return 0;
}

static int row_sweep(struct gc *gc, const struct delta_job *job, struct err *err)
{
	const struct pair pair = {job->new, job->old};
	int there;

	if (job->state == DELTA_RUNNING)
		return 0;
	if (job->state == DELTA_UNLISTED)
		return drop(gc, job, gc->than, err);
	there = recipes_there(gc, job, err);
	if (there < 0)
		return -1;
	const bool listed = map_get(gc->listed, &pair, sizeof(pair));
	/* Listed all the same: dropped when it was made anew, for nothing would ever unlist it. */
	if (job->state == DELTA_DROPPED && listed)
		return unlist(gc, job, err);
	if (job->state != DELTA_DONE)
		return there ? 0 : drop(gc, job, INT64_MAX, err);
	return there && listed ? 0 : unlist(gc, job, err);
}

/* ---- Parts that nothing names. ---- */

/* Files are dated in real time, whatever the pace of our own clock. */
static int part_sweep(struct gc *gc, const struct digest *name, int64_t real_than, struct err *err)
{
	uint64_t len = 0;
	int64_t changed;
	struct err gone;

	if (map_get(gc->parts, name->bytes, DIGEST_LEN))
		return 0;
	if (blob_stat(gc->blobs, BLOB_DELTA, name, &len, &changed, &gone) < 0 ||
	    changed >= real_than)
		return 0;
	gc->report.parts++;
	gc->report.bytes += len;
	return gc->options->dry_run ? 0 : part_remove(gc->blobs, name, err);
}

static int parts_sweep(struct gc *gc, int64_t real_than, struct err *err)
{
	AUTO_FREE struct digest *names = NULL;
	size_t count;

	if (blobs_list(gc->blobs, BLOB_DELTA, &names, &count, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; i < count && !result; i++) {
		/* One that is published again now is young, or not listed yet: see delta_build.c. */
		remap_hold(gc->blobs);
		result = part_sweep(gc, &names[i], real_than, err);
		remap_release(gc->blobs);
	}
	return result;
}

/* What is listed after the maps were read has young parts. */
static int run(struct gc *gc, int64_t real_than, struct err *err)
{
	const struct delta_job_query all = {.state = DELTA_STATES, .limit = INT64_MAX};

	if (!gc->pairs || !gc->listed || !gc->parts)
		return err_nomem(err);
	if (delta_job_list(gc->db, &all, rows_add, gc, err) < 0 ||
	    mark_maps(gc, err) < 0)
		return -1;
	for (size_t i = 0; i < gc->rows.count; i++)
		if (row_sweep(gc, &gc->rows.jobs[i], err) < 0)
			return -1;
	return parts_sweep(gc, real_than, err);
}

int gc_deltas(struct blobs *blobs, struct db *db, const struct gc_delta_options *options,
	      struct gc_delta_report *ret_report, struct err *err)
{
	AUTO(map_free) struct map *pairs = map_new(NULL);
	AUTO(map_free) struct map *listed = map_new(NULL);
	AUTO(map_free) struct map *parts = map_new(NULL);
	struct gc gc = {.blobs = blobs,
			.db = db,
			.options = options,
			.than = options->now - options->grace_s,
			.pairs = pairs,
			.listed = listed,
			.parts = parts};
	int result = run(&gc, (int64_t)time(NULL) - options->grace_s, err);

	free(gc.rows.jobs);
	if (!result)
		*ret_report = gc.report;
	return result;
}
