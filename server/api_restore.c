/* A backup that was put back. */
#include "base/json.h"
#include "server/api.h"
#include "server/app.h"
#include "server/restore.h"
#include "server/write.h"
#include "store/ledger.h"

struct asking {
	struct request *rq;
	struct restore_order order;
	json_t *answer;
};

static int look(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	return restore_status(a->rq->app, db, &a->answer, err);
}

/* What was published is the ledger thread's to know. */
int api_restored_status(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	return ledger_run(rq->app->ledger, look, &a, err) ? -1
							  : reply_json(reply, 200, a.answer, err);
}

static int go_on(struct db *db, void *arg, struct err *err)
{
	struct asking *a = arg;
	const struct act act = {a->rq->app->publisher, a->rq->app->cells, write_now(a->rq),
				a->rq->who.name, a->rq->id};
	return restore_run(a->rq->app, db, &act, &a->order, &a->answer, err);
}

int api_restored(struct request *rq, struct reply *reply, struct err *err)
{
	struct asking a = {.rq = rq};
	json_t *body = NULL;
	const struct json_field fields[] = {
		FIELD_INT("epoch", &a.order.epoch, .optional = true, .min = 1, .max = EPOCH_MAX),
		FIELD_BOOL("force", &a.order.force, .optional = true),
	};
	if (request_body(rq, &body, err) ||
	    (body && json_read(body, fields, COUNT_OF(fields), err)))
		return -1;
	if (write_run(rq, "database.restored", "database", body, go_on, &a, err)) {
		json_decref(a.answer);
		return -1;
	}
	return reply_json(reply, 200, a.answer, err);
}
