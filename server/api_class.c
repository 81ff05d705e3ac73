/* Class rules and each class's settings. */
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/classes.h"
#include "manifest/publish.h"
#include "manifest/signing.h"
#include "rollout/act.h"
#include "server/api.h"
#include "server/app.h"
#include "server/class_plan.h"
#include "server/config.h"
#include "server/write.h"
#include "telemetry/census.h"


int api_rules_get(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *document;
	int64_t version;
	if (class_rules_get(rq->db, &document, &version, err))
		return -1;
	reply_etag(reply, version);
	return reply_json(reply, 200, document, err);
}

struct put {
	struct request *rq;
	json_t *body;
	int64_t if_version, version;
	int64_t hold; /* 1: lanes that devices would leave or join */
	int64_t strict; /* 1: refuse tiers that no release has */
};

static int refuse(const struct lane *lane, struct err *err)
{
	return err_set(err, ERR_CONFLICT,
		       "lane %s/%s is under way, and these rules may move devices out of or into its "
		       "class, which spoils its evidence: wait, abort it, or say hold=1 (rules-set "
		       "--hold); see what moves with `flotilla class plan`",
		       lane->rollout, lane->class);
}

/* Lanes whose devices may change: nothing is decided from a mixed crowd unasked. */
static int guard_lanes(struct db *db, const struct put *put, struct err *err)
{
	struct class_plan plan;
	const struct app *app = put->rq->app;
	const struct act act = {app->publisher, app->cells, write_now(put->rq), put->rq->who.name,
				put->rq->id};
	AUTO(arena_free) struct arena *arena = arena_new(2 * CLASS_RULES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (class_plan(db, put->body, arena, &plan, err))
		return -1;
	for (unsigned i = 0; i < plan.lane_count; i++) {
		struct lane *lane = &plan.lanes[i];
		if (!put->hold)
			return refuse(lane, err);
		if (lane->state == LANE_RUNNING && !lane_repeats(plan.lanes, i) &&
		    act_hold(db, &act, lane, "class rules changed", NULL, err))
			return -1;
	}
	return 0;
}

static int put_rules(struct db *db, void *arg, struct err *err)
{
	struct put *put = arg;
	if (guard_lanes(db, put, err))
		return -1;
	if (class_rules_put(db, put->body, put->if_version, put->rq->who.name,
			    write_now(put->rq), &put->version, err))
		return -1;
	return signing_ready(put->rq->app->publisher, db, err) ||
			       publish_all(put->rq->app->publisher, db, err)
		       ? -1
		       : 0;
}

int api_rules_put(struct request *rq, struct reply *reply, struct err *err)
{
	struct put put = {.rq = rq};
	if (request_body(rq, &put.body, err) || request_if_match(rq, &put.if_version, err) ||
	    request_query_int(rq, "hold", 0, 0, 1, &put.hold, err) ||
	    write_run(rq, "class-rules.put", "class-rules", put.body, put_rules, &put, err))
		return -1;
	reply_etag(reply, put.version);
	return reply_json(reply, 200, json_incref(put.body), err);
}

int api_class_plan(struct request *rq, struct reply *reply, struct err *err)
{
	struct class_plan plan;
	json_t *body, *answer;
	const int64_t day = census_last_day(write_now(rq)) * CENSUS_DAY_S;
	AUTO(arena_free) struct arena *arena = arena_new(2 * CLASS_RULES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (request_body(rq, &body, err) || class_plan(rq->db, body, arena, &plan, err) ||
	    class_plan_json(rq->db, &plan, day, rq->app->config->min_cohort, &answer, err))
		return -1;
	return reply_json(reply, 200, answer, err);
}

int api_classes_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *items;
	return class_list(rq->db, &items, err) ? -1 : reply_list(reply, rq, items, NULL, err);
}

/* Those of the class's tiers that no release has: misspelt, or not pushed yet. */
static int unknown_tiers(struct db *db, const struct class_settings *settings, json_t *tiers,
			 struct err *err)
{
	for (unsigned i = 0; i < settings->tier_count; i++) {
		bool known;
		if (catalog_tier_known(db, settings->tiers[i], &known, err))
			return -1;
		if (!known && json_array_append_new(tiers, json_string(settings->tiers[i])))
			return err_nomem(err);
	}
	return 0;
}

int api_class_get(struct request *rq, struct reply *reply, struct err *err)
{
	struct class_settings settings;
	json_auto_t *object = NULL;
	json_auto_t *unknown = json_array();
	int64_t version;
	if (class_get(rq->db, rq->params[0], &settings, &object, &version, err) ||
	    unknown_tiers(rq->db, &settings, unknown, err))
		return -1;
	reply_etag(reply, version);
	return reply_json(reply, 200,
			  json_pack("{s:s, s:O, s:I, s:O}", "name", rq->params[0], "settings", object,
				    "version", (json_int_t)version, "unknown_tiers", unknown),
			  err);
}

static int refuse_unknown(struct db *db, const json_t *body, struct err *err)
{
	struct class_settings settings;
	json_auto_t *unknown = json_array();
	if (class_settings_read(&settings, body, err) || unknown_tiers(db, &settings, unknown, err))
		return -1;
	const char *first = json_string_value(json_array_get(unknown, 0));
	return first ? err_set(err, ERR_INVALID, "tiers: no release has a tier %s: push one first, or "
			       "leave out strict=1 (--strict)", first)
		     : 0;
}

static int put_class(struct db *db, void *arg, struct err *err)
{
	struct put *put = arg;
	if (put->strict && refuse_unknown(db, put->body, err))
		return -1;
	if (class_put(db, put->rq->params[0], put->body, put->if_version, err))
		return -1;
	return publish_all(put->rq->app->publisher, db, err);
}

int api_class_put(struct request *rq, struct reply *reply, struct err *err)
{
	struct put put = {.rq = rq};
	if (request_body(rq, &put.body, err) || request_if_match(rq, &put.if_version, err) ||
	    request_query_int(rq, "strict", 0, 0, 1, &put.strict, err) ||
	    write_run(rq, "class.put", rq->params[0], put.body, put_class, &put, err))
		return -1;
	return api_class_get(rq, reply, err);
}

int api_class_explain(struct request *rq, struct reply *reply, struct err *err)
{
	struct class_rules rules;
	struct attrs attrs;
	json_t *body, *attributes = NULL;
	json_auto_t *document = NULL;
	int64_t version;
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	const struct json_field fields[] = {FIELD_OBJECT("attributes", &attributes)};
	if (!arena)
		return err_nomem(err);
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err))
		return -1;
	if (attrs_parse(&attrs, attributes, arena, err))
		return err_in(err, "attributes");
	if (class_rules_get(rq->db, &document, &version, err) ||
	    classes_parse(&rules, document, arena, err))
		return -1;
	return reply_json(reply, 200, classes_explain(&rules, &attrs, err), err);
}
