/* The census, and the journal: what happened, and who did it. */
#include "base/json.h"
#include "manifest/journal.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "server/write.h"
#include "telemetry/census.h"

#include <stdio.h>

#define DAY_S 86400

/* A page by number: the cursor is the last row's seq. */
static int reply_seqs(struct request *rq, struct reply *reply,
		      int (*list)(struct request *rq, int64_t after, int64_t limit,
				  json_t **ret_items, struct err *err),
		      struct err *err)
{
	int64_t limit, after;
	char next[32];
	json_t *items;
	if (request_page_seq(rq, &limit, &after, err) || list(rq, after, limit, &items, err))
		return -1;
	const size_t count = json_array_size(items);
	const json_t *last = json_array_get(items, count ? count - 1 : 0);
	snprintf(next, sizeof(next), "%lld",
		 (long long)json_integer_value(json_object_get(last, "seq")));
	return reply_list(reply, rq, items, (int64_t)count == limit ? next : NULL, err);
}

static int list_events(struct request *rq, int64_t after, int64_t limit, json_t **ret_items,
		       struct err *err)
{
	return journal_events(rq->db, NULL, after, limit, ret_items, err);
}

static int list_audits(struct request *rq, int64_t after, int64_t limit, json_t **ret_items,
		       struct err *err)
{
	return journal_audits(rq->db, after, limit, ret_items, err);
}

int api_event_list(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_seqs(rq, reply, list_events, err);
}

int api_audit_list(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_seqs(rq, reply, list_audits, err);
}

int api_census(struct request *rq, struct reply *reply, struct err *err)
{
	struct census_query query = {.min_cohort = rq->app->config->min_cohort};
	const int64_t today = write_now(rq) / DAY_S;
	int64_t day, hidden;
	json_t *items;
	/* Yesterday is the last whole day. */
	if (request_query_text(rq, "channel", &query.channel, err) ||
	    request_query_text(rq, "class", &query.class, err) ||
	    request_query_text(rq, "model", &query.model, err) ||
	    request_query_int(rq, "day", today - 1, 0, today, &day, err))
		return -1;
	query.day = day * DAY_S;
	if (census_count(rq->db, &query, &items, &hidden, err))
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:o, s:n, s:I, s:I, s:I}", "items", items, "next", "day",
				    (json_int_t)day, "min_cohort", (json_int_t)query.min_cohort,
				    "hidden", (json_int_t)hidden),
			  err);
}
