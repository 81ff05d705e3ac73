/* Background jobs: deltas waiting, being made, made, dropped, failed. */
#include "server/api.h"
#include "server/app.h"
#include "server/delta_worker.h"
#include "store/delta_job.h"

#include <stdio.h>
#include <string.h>

struct listing {
	struct request *rq;
	struct delta_running running;
	json_t *items;
	int64_t seen, last; /* rows; id */
};

/* A token for some models sees theirs. */
static bool may_see(const struct request *rq, const struct delta_job *job)
{
	char model[DELTA_NAME];
	struct err refused;

	snprintf(model, sizeof(model), "%.*s", (int)strcspn(job->what, "@"), job->what);
	return request_may(rq, model, &refused) == 0;
}

/* How far it is, 0..1, and of how many bytes; nothing unless it is being made. */
static int progress_add(json_t *item, const struct delta_running *running)
{
	if (!running->length)
		return 0;
	json_auto_t *more = json_pack("{s:I, s:f}", "length", (json_int_t)running->length,
				      "progress", (double)running->at / (double)running->length);
	return json_object_update(item, more);
}

static json_t *percent_json(const struct delta_job *job)
{
	if (job->state != DELTA_DONE || !job->whole)
		return NULL;
	return json_real((double)job->bytes * 100 / (double)job->whole);
}

static json_t *job_json(const struct delta_job *job)
{
	char new[DIGEST_HEX], old[DIGEST_HEX];

	digest_hex(&job->new, new);
	digest_hex(&job->old, old);
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s?, s:I, s:I, s:o*, s:I, s:I}",
			 "id", (json_int_t)job->id, "state", delta_state_name(job->state), "what",
			 job->what, "base", job->base, "new", new, "old", old, "tries",
			 (json_int_t)job->tries, "due", (json_int_t)job->due, "reason",
			 *job->reason ? job->reason : NULL, "whole", (json_int_t)job->whole,
			 "bytes", (json_int_t)job->bytes, "percent", percent_json(job), "created",
			 (json_int_t)job->created, "changed", (json_int_t)job->changed);
}

static int list_job(void *arg, const struct delta_job *job, struct err *err)
{
	struct listing *listing = arg;

	listing->seen++;
	listing->last = job->id;
	if (!may_see(listing->rq, job))
		return 0;
	json_t *item = job_json(job);
	if (json_array_append_new(listing->items, item))
		return err_nomem(err);
	if (job->state == DELTA_RUNNING && job->id == listing->running.job &&
	    progress_add(item, &listing->running))
		return err_nomem(err);
	return 0;
}

static int state_read(struct request *rq, enum delta_state *ret_state, struct err *err)
{
	const char *text = NULL;

	*ret_state = DELTA_STATES;
	if (request_query_text(rq, "state", &text, err) < 0)
		return -1;
	if (!text || delta_state_parse(ret_state, text) == 0)
		return 0;
	return err_set(err, ERR_INVALID,
		       "state: give queued, running, done, dropped, failed or unlisted");
}

int api_job_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_auto_t *items = json_array();
	struct listing listing = {.rq = rq, .items = items};
	struct delta_job_query query;
	char next[32];

	if (state_read(rq, &query.state, err) < 0 ||
	    request_page_seq(rq, &query.limit, &query.after, err) < 0)
		return -1;
	if (rq->app->deltas)
		delta_worker_running(rq->app->deltas, &listing.running);
	if (delta_job_list(rq->db, &query, list_job, &listing, err) < 0)
		return -1;
	snprintf(next, sizeof(next), "%lld", (long long)listing.last);
	return reply_list(reply, rq, json_incref(items),
			  listing.seen == query.limit ? next : NULL, err);
}
