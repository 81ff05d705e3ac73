/* Signing keys: what awaits an offline signature, what came back signed, rotation. */
#include "base/json.h"
#include "manifest/class_store.h"
#include "manifest/signing.h"
#include "server/api.h"
#include "server/app.h"
#include "server/write.h"
#include "store/ledger.h"

/* The publisher's keys are the ledger thread's, so that is where they are asked. */
struct asking {
	struct request *rq;
	struct signing_options options;
	json_t *answer;
};

static int list_keys(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	return signing_list(a->rq->app->publisher, db, &a->answer, err);
}

int api_keys_list(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	return ledger_run(rq->app->ledger, list_keys, &a, err)
		       ? -1
		       : reply_json(reply, 200, a.answer, err);
}

static int request_file(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	return signing_request(a->rq->app->publisher, db, &a->options, &a->answer, err);
}

int api_keys_pending(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	int64_t all;
	if (request_query_int(rq, "holders", 1, 1, 16, &a.options.holders, err) ||
	    request_query_int(rq, "threshold", 1, 1, 16, &a.options.threshold, err) ||
	    request_query_int(rq, "all", 0, 0, 1, &all, err))
		return -1;
	a.options.all = all;
	return ledger_run(rq->app->ledger, request_file, &a, err)
		       ? -1
		       : reply_json(reply, 200, a.answer, err);
}

static int adopt(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	return signing_adopt(a->rq->app->publisher, db, a->rq->body, &a->answer, err);
}

int api_keys_import(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	json_t *body;
	if (request_body(rq, &body, err))
		return -1;
	/* The file may be megabytes; the audit log keeps how many roots it brought. */
	json_auto_t *data = json_pack("{s:I}", "repos",
				      (json_int_t)json_array_size(json_object_get(body, "repos")));
	if (!data)
		return err_nomem(err);
	if (write_run(rq, "keys.import", "roots", data, adopt, &a, err))
		return -1;
	return reply_json(reply, 200, a.answer, err);
}

static int rotate(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	return signing_rotate(a->rq->app->publisher, db, err);
}

int api_keys_rotate(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	if (write_run(rq, "keys.rotate", "online", NULL, rotate, &a, err))
		return -1;
	return api_keys_list(rq, reply, err);
}

struct preparing {
	struct request *rq;
	const char *name;
};

static int prepare(struct db *db, void *arg, struct err *err)
{
	const struct preparing *p = arg;
	return class_prepare(db, p->name, write_now(p->rq), err);
}

int api_class_prepare(struct request *rq, struct reply *reply, struct err *err)
{
	struct preparing p = {.rq = rq};
	json_t *body;
	const struct json_field fields[] = {FIELD_NAME("name", &p.name)};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err) ||
	    write_run(rq, "class.prepare", p.name, body, prepare, &p, err))
		return -1;
	return reply_json(reply, 201, json_pack("{s:s, s:s}", "name", p.name, "state", "pending"),
			  err);
}
