/* The census, and the journal: what happened, and who did it. */
#include "base/json.h"
#include "manifest/journal.h"
#include "rollout/drift.h"
#include "rollout/lane.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "server/write.h"
#include "telemetry/census.h"
#include "telemetry/days.h"
#include "telemetry/history.h"
#include "telemetry/metric.h"

#include <stdio.h>
#include <string.h>

#define ADOPTION_DAYS 90 /* looked back at, when nothing is said */

/* ret_model: of what an event is about, in rq's arena; NULL: of all, or none that is known. */
static int event_model(struct request *rq, const json_t *event, const char **ret_model,
		       struct err *err)
{
	const char *id = json_string_value(json_object_get(event, "rollout"));
	const char *what = json_string_value(
		json_object_get(json_object_get(event, "data"), "what")); /* model@release/... */
	struct rollout rollout = {.model = NULL};
	if (id && rollout_get(rq->db, id, rq->arena, &rollout, err))
		return -1;
	*ret_model = rollout.model;
	if (id || !what)
		return 0;
	*ret_model = arena_printf(rq->arena, "%.*s", (int)strcspn(what, "@"), what);
	return *ret_model ? 0 : err_nomem(err);
}

/* A token for some models sees theirs. */
static int hide_events(struct request *rq, json_t *items, struct err *err)
{
	for (size_t i = rq->who.models ? json_array_size(items) : 0; i-- > 0;) {
		const char *model;
		struct err refused;
		if (event_model(rq, json_array_get(items, i), &model, err))
			return -1;
		if (!model || request_may(rq, model, &refused))
			json_array_remove(items, i);
	}
	return 0;
}

/* A page by number: the cursor is the last row's seq, also of one that is hidden then. */
static int reply_seqs(struct request *rq, struct reply *reply,
		      int (*list)(struct request *rq, int64_t after, int64_t limit,
				  json_t **ret_items, struct err *err),
		      int (*hide)(struct request *rq, json_t *items, struct err *err),
		      struct err *err)
{
	int64_t limit, after;
	char next[32];
	json_auto_t *items = NULL;
	if (request_page_seq(rq, &limit, &after, err) || list(rq, after, limit, &items, err))
		return -1;
	const size_t count = json_array_size(items);
	const json_t *last = json_array_get(items, count ? count - 1 : 0);
	snprintf(next, sizeof(next), "%lld",
		 (long long)json_integer_value(json_object_get(last, "seq")));
	if (hide && hide(rq, items, err))
		return -1;
	return reply_list(reply, rq, json_incref(items), (int64_t)count == limit ? next : NULL, err);
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
	return reply_seqs(rq, reply, list_events, hide_events, err);
}

/* The log names every deed of everybody, and digests of what they stored. */
int api_audit_list(struct request *rq, struct reply *reply, struct err *err)
{
	if (rq->who.models)
		return err_set(err, ERR_DENIED,
			       "the audit log is about all models: ask with a token that is for all");
	return reply_seqs(rq, reply, list_audits, NULL, err);
}

/* ---- who runs what ---- */

/* What all three routes are asked alike. */
static int read_filters(struct request *rq, struct census_query *query, struct err *err)
{
	query->min_cohort = rq->app->config->min_cohort;
	if (request_query_text(rq, "channel", &query->channel, err) ||
	    request_query_text(rq, "class", &query->class, err) ||
	    request_query_text(rq, "model", &query->model, err))
		return -1;
	if (!rq->who.models)
		return 0;
	return query->model ? request_may(rq, query->model, err)
			    : err_set(err, ERR_DENIED,
				      "model: name one; this token is for some models only");
}

/* The last days whole days up to and with day. */
static int read_days(struct request *rq, struct census_query *query, int64_t usual, int64_t *ret_day,
		     struct err *err)
{
	const int64_t today = write_now(rq) / CENSUS_DAY_S;
	const int64_t last = census_last_day(write_now(rq));
	int64_t days;
	if (request_query_int(rq, "day", last, 0, today, ret_day, err) ||
	    request_query_int(rq, "days", usual, 1, CENSUS_DAYS, &days, err))
		return -1;
	query->from = (*ret_day + 1 - days) * CENSUS_DAY_S;
	query->to = (*ret_day + 1) * CENSUS_DAY_S;
	return 0;
}

static int read_by(struct request *rq, struct census_query *query, const char *usual,
		   struct err *err)
{
	return request_query_text(rq, "by", &usual, err) || census_by(usual, &query->by, err) ? -1 : 0;
}

static int reply_census(struct reply *reply, const struct census_query *query, json_t *items,
			int64_t day, int64_t hidden, struct err *err)
{
	return reply_json(reply, 200,
			  json_pack("{s:o, s:n, s:I, s:I, s:I}", "items", items, "next", "day",
				    (json_int_t)day, "min_cohort", (json_int_t)query->min_cohort,
				    "hidden", (json_int_t)hidden),
			  err);
}

int api_census(struct request *rq, struct reply *reply, struct err *err)
{
	struct census_query query = {.channel = NULL};
	int64_t day, hidden;
	json_t *items;
	if (read_filters(rq, &query, err) || read_days(rq, &query, 1, &day, err) ||
	    read_by(rq, &query, "channel,class,release,tier", err) ||
	    census_count(rq->db, &query, &items, &hidden, err))
		return -1;
	return reply_census(reply, &query, items, day, hidden, err);
}

int api_adoption(struct request *rq, struct reply *reply, struct err *err)
{
	struct census_query query = {.channel = NULL};
	int64_t day;
	json_t *items;
	if (read_filters(rq, &query, err) || read_days(rq, &query, ADOPTION_DAYS, &day, err) ||
	    read_by(rq, &query, "channel", err) || census_adoption(rq->db, &query, &items, err))
		return -1;
	return reply_list(reply, rq, items, NULL, err);
}

int api_drift(struct request *rq, struct reply *reply, struct err *err)
{
	struct census_query query = {.channel = NULL};
	int64_t day, hidden;
	json_t *items;
	if (read_filters(rq, &query, err) || read_days(rq, &query, 1, &day, err))
		return -1;
	const struct drift_query drift = {query.channel, query.class, query.model,
					  day * CENSUS_DAY_S, query.min_cohort};
	if (drift_count(rq->db, &drift, &items, &hidden, err))
		return -1;
	return reply_census(reply, &query, items, day, hidden, err);
}

/* ---- over time ---- */

/* Whole steps up to now, unless something else is asked for. */
static int read_times(struct request *rq, struct history_query *query, struct err *err)
{
	const char *step = "day";
	int64_t days, now = write_now(rq);
	if (request_query_text(rq, "step", &step, err))
		return -1;
	const bool hours = !strcmp(step, "hour");
	if (!hours && strcmp(step, "day") != 0)
		return err_set(err, ERR_INVALID, "step: neither hour nor day");
	query->step = hours ? HISTORY_HOUR_S : HISTORY_DAY_S;
	query->kind = hours ? "window" : "usage";
	if (request_query_int(rq, "days", hours ? 2 : 30, 1, DAYS_KEPT, &days, err) ||
	    request_query_int(rq, "to", now, 0, now + HISTORY_DAY_S, &query->to, err) ||
	    request_query_int(rq, "from", query->to - days * HISTORY_DAY_S, 0, now, &query->from, err))
		return -1;
	query->to -= query->to % query->step;
	query->from -= query->from % query->step;
	return 0;
}

static int read_history(struct request *rq, struct history_query *query, struct err *err)
{
	const struct {
		const char *name, **value;
	} texts[] = {{"model", &query->model},	   {"metric", &query->metric},
		     {"kind", &query->kind},	   {"channel", &query->channel},
		     {"class", &query->class},	   {"variant", &query->variant},
		     {"rollout", &query->rollout}, {"arm", &query->arm}};
	query->min_cohort = rq->app->config->min_cohort;
	if (read_times(rq, query, err))
		return -1;
	for (unsigned i = 0; i < COUNT_OF(texts); i++)
		if (request_query_text(rq, texts[i].name, texts[i].value, err))
			return -1;
	if (!query->model || !query->metric)
		return err_set(err, ERR_INVALID, "%s: missing; name what is to be shown",
			       query->model ? "metric" : "model");
	return request_may(rq, query->model, err) ||
			       history_check(query, days_fine_from(write_now(rq)), err)
		       ? -1
		       : 0;
}

int api_history(struct request *rq, struct reply *reply, struct err *err)
{
	struct history_query query = {.channel = NULL};
	int64_t hidden;
	json_t *items;
	if (read_history(rq, &query, err) || history_read(rq->db, &query, &items, &hidden, err))
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:o, s:n, s:s, s:s, s:s, s:I, s:I, s:I}", "items", items, "next",
				    "metric", query.metric, "unit", metric_find(query.metric)->unit,
				    "kind", query.kind, "step_s", (json_int_t)query.step, "min_cohort",
				    (json_int_t)query.min_cohort, "hidden", (json_int_t)hidden),
			  err);
}
