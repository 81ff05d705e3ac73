/* Tokens of people and machines. */
#include "base/json.h"
#include "manifest/withdrawn.h"
#include "server/api.h"
#include "server/app.h"
#include "server/auth.h"
#include "server/write.h"

int api_token_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *items;
	return auth_list(rq->db, &items, err) ? -1 : reply_list(reply, rq, items, NULL, err);
}

struct creation {
	struct request *rq;
	struct token_spec spec;
	struct token_made made;
};

static int create(struct db *db, void *arg, struct err *err)
{
	struct creation *c = arg;
	return auth_insert(c->rq->app->auth, db, &c->spec, &c->made, err);
}

int api_token_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct creation c = {.rq = rq};
	const char *role = NULL;
	json_t *body, *models = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("name", &c.spec.name),
		FIELD_TEXT("role", &role, .max = 16),
		FIELD_ARRAY("models", &models, .optional = true, .max = 100),
		FIELD_INT("expires_s", &c.spec.expires_s, .optional = true, .min = 60,
			  .max = (int64_t)10 * 366 * 86400),
		FIELD_INT("quota_bytes", &c.spec.quota_bytes, .optional = true, .min = 1),
		FIELD_INT("uploads", &c.spec.uploads, .optional = true, .min = 1, .max = 10000),
	};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err))
		return -1;
	if (role_parse(&c.spec.role, role))
		return err_set(err, ERR_INVALID,
			       "role: must be viewer, publisher, operator, admin or relay");
	if (models && c.spec.role == ROLE_ADMIN)
		return err_set(err, ERR_INVALID,
			       "models: an admin is for all models; make an operator or publisher for some");
	c.spec.models = models;
	if (write_run(rq, "token.create", c.spec.name, body, create, &c, err))
		return -1;
	return reply_json(reply, 201,
			  json_pack("{s:s, s:s, s:s, s:s}", "id", c.made.id, "name", c.spec.name,
				    "role", role, "token", c.made.secret),
			  err);
}

static int revoke(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	if (auth_revoke(rq->app->auth, db, rq->params[0], err))
		return -1;
	return withdrawn_add(rq->app->publisher, db,
			     json_pack("{s:s, s:s}", "what", "token", "id", rq->params[0]), err);
}

int api_token_revoke(struct request *rq, struct reply *reply, struct err *err)
{
	if (write_run(rq, "token.revoke", rq->params[0], NULL, revoke, rq, err))
		return -1;
	return reply_empty(reply, 204);
}
