/* A worker's part of a request.  See exchange.h. */
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "server/app.h"
#include "server/auth.h"
#include "server/exchange.h"
#include "store/ledger.h"

#include <string.h>

#define ARENA_MAX (4 * 1024 * 1024)
#define KEY_MAX 128 /* bytes of an Idempotency-Key */
#define DEPTH_MAX 32u /* of JSON within JSON: what is kept must be readable again, deeper inside an answer */

static bool shallow(json_t *value, unsigned depth)
{
	const char *key;
	json_t *item;
	size_t i;

	if (!depth)
		return false;
	json_object_foreach (value, key, item)
		if (!shallow(item, depth - 1))
			return false;
	json_array_foreach (value, i, item)
		if (!shallow(item, depth - 1))
			return false;
	return true;
}

static int body_parse(struct exchange *x, struct err *err)
{
	enum body kind = x->route->body;

	if (kind != BODY_JSON && kind != BODY_MAYBE)
		return 0;
	if (x->body.len == 0 && kind == BODY_MAYBE)
		return 0;
	x->rq.body = json_parse(x->body.data ? x->body.data : "", x->body.len, "body", err);
	if (!x->rq.body)
		return -1;
	if (!json_is_object(x->rq.body))
		return err_set(err, ERR_INVALID, "body: send a JSON object");
	if (!shallow(x->rq.body, DEPTH_MAX))
		return err_set(err, ERR_INVALID, "body: it is nested more than %u deep", DEPTH_MAX);
	return 0;
}

static int handler_run(struct exchange *x, struct err *err)
{
	if (x->route->handler(&x->rq, &x->reply, err) < 0)
		return -1;
	if (x->reply.code == 0)
		return err_set(err, ERR_SYSTEM, "the handler of %s did not answer",
			       x->route->pattern);
	return 0;
}

struct keep {
	const struct idem *idem;
	int64_t now;
	unsigned code;
	const char *body;
};

static int keep_run(struct db *db, void *arg, struct err *err)
{
	const struct keep *keep = arg;

	return idem_store(db, keep->idem, keep->now, keep->code, keep->body, err);
}

/* The answer is given even if it could not be kept: what it tells is durable already. */
static void answer_keep(struct exchange *x, const struct idem *idem)
{
	struct app *app = x->loop->app;
	struct keep keep = {.idem = idem,
			    .now = clock_s(&app->clock),
			    .code = x->reply.code,
			    .body = x->reply.bytes ? x->reply.bytes : ""};
	struct err err;

	if (x->reply.fd < 0 && ledger_run(app->ledger, keep_run, &keep, &err) < 0)
		log_event(LOG_WARN, "idempotency.not_kept", F_TEXT("request_id", x->rq.id),
			  F_ERR(&err));
}

static void fingerprint(const struct exchange *x, struct digest *digest)
{
	struct digest_ctx *ctx = digest_begin();

	if (!ctx) {
		memset(digest, 0, sizeof(*digest));
		return;
	}
	digest_add(ctx, x->rq.path, strlen(x->rq.path) + 1);
	digest_add(ctx, x->body.data ? x->body.data : "", x->body.len);
	digest_end(ctx, digest);
	digest_free(ctx);
}

static int idem_run(struct exchange *x, struct idem *idem, struct err *err)
{
	struct idem_answer before = {0};
	int found = idem_find(x->rq.db, idem, clock_s(&x->loop->app->clock), &before, err);

	if (found < 0)
		return -1;
	if (found) {
		reply_take(&x->reply, before.code, "application/json", before.body,
			   strlen(before.body));
		reply_header(&x->reply, "Idempotency-Replayed", "true");
		return 0;
	}
	if (handler_run(x, err) < 0)
		return -1;
	answer_keep(x, idem);
	return 0;
}

/* As handler_run(), once only for each Idempotency-Key. */
static int handler_once(struct exchange *x, struct err *err)
{
	const char *key = x->rq.method == POST ? request_header(&x->rq, "Idempotency-Key") : NULL;
	struct idem idem = {.token = x->rq.who.id, .key = key};
	struct auth *auth = x->loop->app->auth;
	int result;

	if (!key || x->route->body == BODY_SPOOL || x->route->secret ||
	    x->rq.who.role == ROLE_ANYONE)
		return handler_run(x, err);
	if (!*key || strlen(key) > KEY_MAX)
		return err_set(err, ERR_INVALID, "Idempotency-Key: 1 to %d bytes", KEY_MAX);
	fingerprint(x, &idem.fingerprint);
	if (idem_enter(auth, &idem, err) < 0)
		return -1;
	result = idem_run(x, &idem, err);
	idem_leave(auth, &idem);
	return result;
}

static int dispatch_steps(struct exchange *x, struct err *err)
{
	x->rq.arena = arena_new(ARENA_MAX);
	if (!x->rq.arena)
		return err_nomem(err);
	if (body_parse(x, err) < 0)
		return -1;
	return handler_once(x, err);
}

static int dispatch_step(struct request *rq, struct reply *reply, struct err *err)
{
	(void)reply;
	return dispatch_steps(rq->exchange, err);
}

void dispatch_run(struct exchange *x, struct db *db)
{
	x->rq.db = db;
	exchange_handle(x, dispatch_step);
	x->rq.db = NULL;
}
