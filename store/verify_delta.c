#include "store/verify_delta.h"

#include "base/file.h"
#include "base/grow.h"
#include "store/codec.h"
#include "store/delta.h"
#include "store/delta_build.h"
#include "store/delta_job.h"
#include "store/ledger.h"
#include "store/parts.h"
#include "store/stored.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct verify {
	struct blobs *blobs;
	struct db *db;
	const struct verify_options *options;
	struct verify_report *report;
	struct delta_opener *opener;
	uint8_t *raw, *stored; /* a chunk; its bytes in the delta */
};

/* The delta that is looked at. */
struct looking {
	struct verify *verify;
	const struct delta_job *job;
	uint32_t part; /* that is read, and damaged should reading fail */
	int fd;	       /* of it */
	struct recipe *recipe;
	struct delta_index *index;
	struct stored *old;
	bool old_unread; /* what failed was not the delta */
};

static void looking_done(struct looking *look)
{
	if (look->fd >= 0)
		close(look->fd);
	recipe_free(look->recipe);
	delta_index_free(look->index);
	stored_free(look->old);
}
#define AUTO_LOOKING __attribute__((cleanup(looking_done)))

/* ---- Its parts. ---- */

static uint64_t part_length(const struct delta_job *job, uint32_t n)
{
	const uint64_t left = (uint64_t)job->bytes - (uint64_t)n * DELTA_PART;

	return left < DELTA_PART ? left : DELTA_PART;
}

/* Part n is the one that is read from now on. */
static int part_turn(struct looking *look, uint32_t n, struct err *err)
{
	struct digest name;

	if (look->fd >= 0 && look->part == n)
		return 0;
	if (look->fd >= 0)
		close(look->fd);
	look->part = n;
	part_name(&look->job->new, &look->job->old, n, &name);
	look->fd = blob_fd(look->verify->blobs, BLOB_DELTA, &name, err);
	return look->fd < 0 ? -1 : 0;
}

static int part_check(struct looking *look, uint32_t n, struct err *err)
{
	const uint64_t wanted = part_length(look->job, n);
	struct digest name;
	uint64_t len;

	part_name(&look->job->new, &look->job->old, n, &name);
	if (part_turn(look, n, err) < 0 ||
	    blob_stat(look->verify->blobs, BLOB_DELTA, &name, &len, NULL, err) < 0)
		return -1;
	if (len != wanted)
		return err_set(err, ERR_CORRUPT, "it has %llu bytes instead of %llu",
			       (unsigned long long)len, (unsigned long long)wanted);
	look->verify->report->bytes += len;
	return 0;
}

/* What is open and cannot be read is damaged as much as what reads wrong. */
static int part_read(const struct looking *look, void *bytes, size_t len, uint64_t at, struct err *err)
{
	if (!file_pread_all(look->fd, bytes, len, (int64_t)at, err))
		return 0;
	if (errno != ENOMEM)
		err->status = ERR_CORRUPT;
	return -1;
}

/* ---- Its table, and what it leads to. ---- */

/* It bounds what the table may ask of the old file. */
static int old_check(const struct looking *look, struct err *err)
{
	const struct delta_head *head = &look->index->head;
	const struct recipe *old = stored_recipe(look->old);

	if (head->old_len != old->length)
		return err_set(err, ERR_CORRUPT, "it tells of an old file of %llu bytes, not %llu",
			       (unsigned long long)head->old_len, (unsigned long long)old->length);
	return digest_eq(&head->old, &old->sha256)
		       ? 0
		       : err_set(err, ERR_CORRUPT, "it tells of an old file of another SHA-256");
}

/* bytes: the delta's, up to the first chunk's. */
static int recipe_check(const struct looking *look, const uint8_t *bytes, struct err *err)
{
	const struct delta_head *head = &look->index->head;
	struct digest found;

	digest_of(&found, bytes + head->table_len, head->len - head->table_len);
	return digest_eq(&found, &look->job->new)
		       ? 0
		       : err_set(err, ERR_CORRUPT, "the recipe in it is not the new file's");
}

static int table_check(struct looking *look, struct err *err)
{
	uint8_t first[DELTA_HEAD];
	struct delta_head head;

	if (part_turn(look, 0, err) < 0 || part_read(look, first, DELTA_HEAD, 0, err) < 0 ||
	    delta_head_parse(&head, first, err) < 0)
		return -1;
	if (head.count != look->recipe->count || head.len > part_length(look->job, 0))
		return err_set(err, ERR_CORRUPT, "its table does not fit the new file");
	AUTO_FREE uint8_t *bytes = malloc(head.len);
	if (!bytes)
		return err_nomem(err);
	if (part_read(look, bytes, head.len, 0, err) < 0 ||
	    delta_index_parse(&look->index, bytes, head.len, look->recipe, err) < 0 ||
	    old_check(look, err) < 0 || recipe_check(look, bytes, err) < 0)
		return -1;
	return look->index->bytes == (uint64_t)look->job->bytes
		       ? 0
		       : err_set(err, ERR_CORRUPT, "its table tells of %llu bytes, and its row of %lld",
				 (unsigned long long)look->index->bytes, (long long)look->job->bytes);
}

static int old_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *err)
{
	struct looking *look = arg;
	const struct source old = stored_source(look->old);

	if (old.read(old.arg, at, bytes, len, err) == 0)
		return 0;
	look->old_unread = true;
	return -1;
}

static int chunk_check(struct looking *look, uint32_t i, struct err *err)
{
	const struct verify *v = look->verify;
	const struct delta_entry *e = &look->index->entries[i];
	const struct source old = {old_read, look, stored_recipe(look->old)->length};

	if (e->stored && (part_turn(look, (uint32_t)(e->at / DELTA_PART), err) < 0 ||
			  part_read(look, v->stored, e->stored, e->at % DELTA_PART, err) < 0))
		return -1;
	return delta_open(v->opener, e, &look->recipe->chunks[i], &old, v->stored, v->raw, err);
}

static int chunks_check(struct looking *look, struct err *err)
{
	const struct verify_options *options = look->verify->options;
	uint32_t told = 0;

	for (uint32_t i = 0; i < look->index->head.count; i++) {
		if (chunk_check(look, i, err) < 0)
			return -1;
		if (look->part == told)
			continue;
		if (options->go_on && !options->go_on(options->arg, part_length(look->job, told))) {
			look->verify->report->ended = true;
			return 0;
		}
		told = look->part;
	}
	return 0;
}

static bool recipe_good(struct blobs *blobs, const struct digest *name)
{
	struct err gone;
	struct digest found;
	AUTO(blob_unref) struct blob *blob = blob_get(blobs, BLOB_RECIPE, name, &gone);

	if (!blob)
		return false;
	digest_of(&found, blob->bytes, blob->len);
	return digest_eq(&found, name);
}

static bool load(struct looking *look)
{
	AUTO(chunkmap_free) struct chunkmap *unused = NULL;
	struct blobs *blobs = look->verify->blobs;
	const struct delta_job *job = look->job;
	struct err gone;

	return recipe_good(blobs, &job->new) && recipe_good(blobs, &job->old) &&
	       stored_load(blobs, &job->new, &look->recipe, &unused, &gone) == 0 &&
	       stored_open(&look->old, blobs, &job->old, &gone) == 0;
}

static int check(struct looking *look, struct err *err)
{
	const struct verify *v = look->verify;

	for (uint32_t n = 0; n < part_count((uint64_t)look->job->bytes); n++)
		if (part_check(look, n, err) < 0)
			return -1;
	/* A recipe or map that is damaged, or collected meanwhile, is not the delta's fault. */
	if (!load(look))
		return 0;
	if (table_check(look, err) < 0)
		return -1;
	return v->options->deep ? chunks_check(look, err) : 0;
}

/* ---- What is damaged. ---- */

static int again(struct db *db, void *arg, struct err *err)
{
	const struct delta_job *job = arg;

	return delta_job_lost(db, job->id, job->changed, err);
}

/* Unlisted first: what a map lists is there.  Only who made it takes the pair up again, and not before the
 * job is queued. */
static int mend(const struct looking *look, struct err *err)
{
	struct blobs *blobs = look->verify->blobs;
	struct delta_job job = *look->job;
	struct digest name;
	int result = delta_unlist(blobs, &job.new, &job.old, err);

	for (uint32_t n = 0; n < part_count((uint64_t)job.bytes) && !result; n++) {
		part_name(&job.new, &job.old, n, &name);
		result = n == look->part ? blob_quarantine(blobs, BLOB_DELTA, &name, err)
					 : part_remove(blobs, &name, err);
	}
	return result ? -1 : ledger_run(blobs_ledger(blobs), again, &job, err);
}

static int keep_one(void *arg, const struct delta_job *job, struct err *err)
{
	(void)err;
	*(struct delta_job *)arg = *job;
	return 0;
}

/* 1: it is still made; who collected it meanwhile took it away. */
static int still_made(const struct looking *look, struct err *err)
{
	const struct delta_job_query one = {DELTA_STATES, look->job->id - 1, 1};
	struct delta_job now = {0};

	if (delta_job_list(look->verify->db, &one, keep_one, &now, err) < 0)
		return -1;
	return now.id == look->job->id && now.state == DELTA_DONE;
}

static int damaged(struct looking *look, struct err *why, struct err *err)
{
	struct digest name;
	int there = still_made(look, err);

	if (there <= 0)
		return there;
	part_name(&look->job->new, &look->job->old, look->part, &name);
	err_in(why, "part %u of %s from %s", look->part, look->job->what, look->job->base);
	verify_damaged(look->verify->options, look->verify->report, BLOB_DELTA, &name, why);
	return look->verify->options->mend && why->status != ERR_SYSTEM ? mend(look, err) : 0;
}

static int delta_check(struct verify *v, const struct delta_job *job, struct err *err)
{
	AUTO_LOOKING struct looking look = {.verify = v, .job = job, .fd = -1};
	const struct verify_options *options = v->options;
	struct err why;

	v->report->deltas++;
	if (check(&look, &why) < 0 && !look.old_unread && damaged(&look, &why, err) < 0)
		return -1;
	if (!v->report->ended && options->go_on &&
	    !options->go_on(options->arg, part_length(job, part_count((uint64_t)job->bytes) - 1)))
		v->report->ended = true;
	return 0;
}

/* ---- All. ---- */

struct jobs {
	struct delta_job *jobs; /* owned */
	uint32_t count, room;
};

static int gather(void *arg, const struct delta_job *job, struct err *err)
{
	struct jobs *all = arg;
	struct delta_job *grown = grow_array(all->jobs, &all->room, all->count, sizeof(*grown));

	if (!grown)
		return err_nomem(err);
	all->jobs = grown;
	all->jobs[all->count++] = *job;
	return 0;
}

int verify_deltas(struct blobs *blobs, struct db *db, const struct verify_options *options,
		  struct verify_report *report, struct err *err)
{
	const struct delta_job_query made = {.state = DELTA_DONE, .limit = INT64_MAX};
	AUTO(delta_opener_free) struct delta_opener *opener = delta_opener_new();
	AUTO_FREE uint8_t *raw = malloc(CHUNK_RAW_MAX);
	AUTO_FREE uint8_t *stored = malloc(CHUNK_STORED_MAX);
	struct verify v = {blobs, db, options, report, opener, raw, stored};
	struct jobs all = {0};
	int result = opener && raw && stored ? 0 : err_nomem(err);

	if (!result)
		result = delta_job_list(db, &made, gather, &all, err);
	for (uint32_t i = 0; i < all.count && !result && !report->ended; i++)
		if (all.jobs[i].bytes > 0)
			result = delta_check(&v, &all.jobs[i], err);
	free(all.jobs);
	return result;
}
