/* The store as operators look after it: its sizes, what is done for it and what that found. */
#include "base/json.h"
#include "server/api.h"
#include "server/app.h"
#include "server/housekeeping.h"
#include "server/write.h"
#include "store/inventory.h"
#include "store/marks.h"

#include <stdio.h>
#include <string.h>

/* What a push of one's own adds to the sums tells what was there, and findings name others' files. */
static int for_all_models(const struct request *rq, struct err *err)
{
	if (!rq->who.models)
		return 0;
	return err_set(err, ERR_DENIED,
		       "the store's sizes and care are about all models: ask with a token that is for"
		       " all");
}

/* ---- Sizes. ---- */

/* While a map cannot be read it is not known what is live; the other figures are told all the same. */
static int live_add(struct request *rq, json_t *sizes, int64_t pack_bytes, struct err *err)
{
	AUTO(marks_free) struct marks *marks = NULL;

	if (marks_make(&marks, rq->app->blobs, rq->db, NULL, err) < 0) {
		if (err->status != ERR_CORRUPT)
			return -1;
		return json_object_set_new(sizes, "damage", json_string(err->text)) < 0
			       ? err_nomem(err)
			       : 0;
	}
	json_auto_t *live = json_pack("{s:I, s:I, s:I, s:I}", "live_bytes", (json_int_t)marks->live,
				      "dead_bytes", (json_int_t)pack_bytes - (json_int_t)marks->live,
				      "deltas", (json_int_t)marks->deltas, "delta_bytes",
				      (json_int_t)marks->delta_bytes);
	return json_object_update(sizes, live) < 0 ? err_nomem(err) : 0;
}

int api_store_stat(struct request *rq, struct reply *reply, struct err *err)
{
	struct inventory_sums sums;
	struct blobs_stats stats;

	if (for_all_models(rq, err) < 0 || inventory_sum(rq->db, &sums, err) < 0)
		return -1;
	blobs_stats(rq->app->blobs, &stats);
	json_auto_t *sizes = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "packs",
		(json_int_t)sums.packs, "pack_bytes", (json_int_t)sums.pack_bytes, "chunks",
		(json_int_t)sums.chunks, "recipes", (json_int_t)sums.recipes, "file_bytes",
		(json_int_t)sums.file_bytes, "mapped_bytes", (json_int_t)stats.mapped_bytes,
		"disk_free", (json_int_t)stats.disk_free, "disk_reserve",
		(json_int_t)stats.disk_reserve, "last_gc",
		(json_int_t)housekeeping_last(rq->app->housekeeping, CHORE_GC), "last_scrub",
		(json_int_t)housekeeping_last(rq->app->housekeeping, CHORE_SCRUB));
	if (!sizes)
		return err_nomem(err);
	if (live_add(rq, sizes, sums.pack_bytes, err) < 0)
		return -1;
	return reply_json(reply, 200, TAKE(sizes), err);
}

/* ---- Chores. ---- */

int api_care_get(struct request *rq, struct reply *reply, struct err *err)
{
	if (for_all_models(rq, err) < 0)
		return -1;
	return reply_json(reply, 200, housekeeping_json(rq->app->housekeeping), err);
}

static int chore_parse(const char *text, enum chore *ret_chore, struct err *err)
{
	for (unsigned i = 0; i < CHORES; i++)
		if (!strcmp(text, chore_name(i))) {
			*ret_chore = i;
			return 0;
		}
	return err_set(err, ERR_INVALID, "task: gc, verify or scrub");
}

static int only_audit(struct db *db, void *arg, struct err *err)
{
	(void)db;
	(void)arg;
	(void)err;
	return 0;
}

int api_care_post(struct request *rq, struct reply *reply, struct err *err)
{
	const char *task = "";
	enum chore chore;
	bool dry_run = false;
	const struct json_field fields[] = {
		FIELD_TEXT("task", &task, .min = 1, .max = 16),
		FIELD_BOOL("dry_run", &dry_run, .optional = true),
	};
	int64_t run;

	if (for_all_models(rq, err) < 0 || json_read(rq->body, fields, COUNT_OF(fields), err) < 0 ||
	    chore_parse(task, &chore, err) < 0)
		return -1;
	if (dry_run && chore != CHORE_GC)
		return err_set(err, ERR_INVALID, "dry_run: of gc only");
	/* Who asked is written down before it begins. */
	if (write_run(rq, "store.care", task, rq->body, only_audit, NULL, err) < 0 ||
	    housekeeping_ask(rq->app->housekeeping, chore, dry_run, &run, err) < 0)
		return -1;
	return reply_json(reply, 202, json_pack("{s:s, s:I}", "task", task, "run", (json_int_t)run),
			  err);
}
