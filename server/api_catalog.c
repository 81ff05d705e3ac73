/* Models, releases, variants, channels, and what runs as stable. */
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/delta_queue.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "manifest/publisher_store.h"
#include "server/api.h"
#include "server/app.h"
#include "server/delta_worker.h"
#include "server/write.h"
#include "store/inventory.h"
#include "store/scope.h"

#include <string.h>

#define OFFERS_ARENA (16 << 20)

/* The resource's name for the audit log, in the request's arena; "" without memory. */
static const char *resource(const struct request *rq, const char *model, const char *release,
			    const char *tier)
{
	const char *text = arena_printf(rq->arena, "%s%s%s%s%s", model, release ? "@" : "",
					release ? release : "", tier ? "/" : "", tier ? tier : "");
	return text ? text : "";
}

/* ---- names: models and channels ---- */

struct naming {
	struct request *rq;
	const char *name;
};

static int body_name(struct request *rq, const char **ret_name, struct err *err)
{
	json_t *body;
	const struct json_field fields[] = {FIELD_NAME("name", ret_name)};
	return request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err) ? -1
											      : 0;
}

static int reply_name(struct reply *reply, struct request *rq, const char *name, struct err *err)
{
	return reply_json(reply, 201,
			  json_pack("{s:s, s:I}", "name", name, "created",
				    (json_int_t)write_now(rq)),
			  err);
}

static int add_model(struct db *db, void *arg, struct err *err)
{
	const struct naming *n = arg;
	return catalog_model_add(db, n->name, write_now(n->rq), err);
}

int api_model_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct naming n = {.rq = rq};
	if (body_name(rq, &n.name, err) || request_may(rq, n.name, err) ||
	    write_run(rq, "model.create", n.name, NULL, add_model, &n, err))
		return -1;
	return reply_name(reply, rq, n.name, err);
}

/* A page of names: the cursor is the last one. */
static int reply_names(struct request *rq, struct reply *reply,
		       int (*list)(struct db *db, const char *after, int64_t limit,
				   json_t **ret_items, struct err *err),
		       struct err *err)
{
	int64_t limit;
	const char *after;
	json_t *items;
	if (request_page(rq, &limit, &after, err) || list(rq->db, after, limit, &items, err))
		return -1;
	const size_t count = json_array_size(items);
	const json_t *last = json_array_get(items, count ? count - 1 : 0);
	const char *next = (int64_t)count == limit
				   ? json_string_value(json_object_get(last, "name"))
				   : NULL;
	return reply_list(reply, rq, items, next, err);
}

int api_model_list(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_names(rq, reply, catalog_model_list, err);
}

int api_channel_list(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_names(rq, reply, catalog_channel_list, err);
}

static int add_channel(struct db *db, void *arg, struct err *err)
{
	const struct naming *n = arg;
	if (catalog_channel_add(db, n->name, write_now(n->rq), err))
		return -1;
	return publish_all(n->rq->app->publisher, db, err);
}

int api_channel_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct naming n = {.rq = rq};
	if (body_name(rq, &n.name, err) ||
	    write_run(rq, "channel.create", n.name, NULL, add_channel, &n, err))
		return -1;
	return reply_name(reply, rq, n.name, err);
}

static int need_model(struct request *rq, const char *name, struct err *err)
{
	bool known;
	if (catalog_model_known(rq->db, name, &known, err))
		return -1;
	return known ? 0 : err_set(err, ERR_NOT_FOUND, "model %s does not exist", name);
}

int api_model_get(struct request *rq, struct reply *reply, struct err *err)
{
	const char *model = rq->params[0];
	json_t *releases;
	if (need_model(rq, model, err) || catalog_release_list(rq->db, model, &releases, err))
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:s, s:o}", "name", model, "releases", releases), err);
}

/* ---- releases ---- */

int api_release_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *items;
	if (need_model(rq, rq->params[0], err) ||
	    catalog_release_list(rq->db, rq->params[0], &items, err))
		return -1;
	return reply_list(reply, rq, items, NULL, err);
}

struct releasing {
	struct request *rq;
	struct release_spec spec;
};

static int add_release(struct db *db, void *arg, struct err *err)
{
	const struct releasing *r = arg;
	return catalog_release_add(db, &r->spec, write_now(r->rq), err);
}

int api_release_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct releasing r = {.rq = rq, .spec = {.model = rq->params[0]}};
	json_t *body;
	const struct json_field fields[] = {
		FIELD_NAME("release", &r.spec.release),
		FIELD_TEXT("checkpoint", &r.spec.checkpoint, .optional = true, .max = 256),
		FIELD_TEXT("notes", &r.spec.notes, .optional = true, .max = 4096),
	};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err) ||
	    write_run(rq, "release.create", resource(rq, r.spec.model, r.spec.release, NULL), NULL,
		      add_release, &r, err))
		return -1;
	return reply_json(reply, 201,
			  json_pack("{s:s, s:s, s:s}", "model", r.spec.model, "release",
				    r.spec.release, "state", "draft"),
			  err);
}

int api_release_get(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *release;
	if (catalog_release_get(rq->db, rq->params[0], rq->params[1], &release, err))
		return -1;
	return reply_json(reply, 200, release, err);
}

static int publish_release(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	const char *model = rq->params[0], *release = rq->params[1];
	if (publisher_release_check(db, model, release, err) ||
	    catalog_release_publish(db, model, release, write_now(rq), err) ||
	    delta_queue_release(db, model, release, write_now(rq), NULL, err))
		return -1;
	return publish_envelopes(rq->app->publisher, db, model, release, err);
}

int api_release_publish(struct request *rq, struct reply *reply, struct err *err)
{
	const char *what = resource(rq, rq->params[0], rq->params[1], NULL);
	if (write_run(rq, "release.publish", what, NULL, publish_release, rq, err))
		return -1;
	if (rq->app->deltas)
		delta_worker_wake(rq->app->deltas);
	return api_release_get(rq, reply, err);
}

/* ---- variants ---- */

static int lookup_recipe(void *arg, const struct digest *recipe, struct catalog_file *ret,
			 struct err *err)
{
	struct recipe_info info;
	if (inventory_recipe(arg, recipe, &info, err))
		return -1;
	*ret = (struct catalog_file){info.length, info.stored, info.sha256};
	return 0;
}

static int put_variant(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	json_t *envelope = json_object_get(rq->body, "envelope");
	if (catalog_variant_put(db, rq->params[0], rq->params[1], rq->params[2], rq->body,
				lookup_recipe, db, write_now(rq), err))
		return -1;
	if (!json_is_object(envelope))
		return 0;
	return publisher_envelope_put(db, rq->params[0], rq->params[1], rq->params[2], envelope, err)
		       ? err_in(err, "envelope")
		       : 0;
}

/* A token for some models must not get at others' files by naming their recipes: to it they are not
 * there.  (What is malformed is left to catalog_variant_put().) */
static int may_offer(struct request *rq, const json_t *body, struct err *err)
{
	const struct scope scope = {rq->who.models, rq->who.id};
	size_t i;
	const json_t *file;
	bool known = true;
	json_array_foreach (json_object_get(body, "files"), i, file) {
		struct digest recipe = {{0}};
		const struct json_field fields[] = {FIELD_DIGEST("recipe", &recipe)};
		if (!scope.models || json_read_loose(file, fields, COUNT_OF(fields), err))
			continue;
		if (scope_knows(rq->db, &scope, &recipe, &known, err))
			return -1;
		if (!known)
			return err_set(err, ERR_NOT_FOUND,
				       "files[%zu]: recipe: there is no such recipe in the store",
				       i);
	}
	return 0;
}

int api_variant_put(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *body;
	const char *what = resource(rq, rq->params[0], rq->params[1], rq->params[2]);
	if (request_body(rq, &body, err) || may_offer(rq, body, err) ||
	    write_run(rq, "variant.put", what, body, put_variant, rq, err))
		return -1;
	return api_release_get(rq, reply, err);
}

static int delete_variant(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	return catalog_variant_delete(db, rq->params[0], rq->params[1], rq->params[2], err);
}

int api_variant_delete(struct request *rq, struct reply *reply, struct err *err)
{
	const char *what = resource(rq, rq->params[0], rq->params[1], rq->params[2]);
	if (write_run(rq, "variant.delete", what, NULL, delete_variant, rq, err))
		return -1;
	return reply_empty(reply, 204);
}

/* ---- stable ---- */

struct bootstrap {
	struct request *rq;
	struct db *db;
	const char *model, *release, *channel;
	json_t *classes; /* NULL: all */
	json_t *done;	 /* names */
};

static int bootstrap_class(void *arg, const char *class, struct err *err)
{
	struct bootstrap *b = arg;
	bool known;
	if (class_known(b->db, class, &known, err))
		return -1;
	if (!known)
		return err_set(err, ERR_NOT_FOUND,
			       "class %s does not exist; classes are made by the class rules", class);
	if (offer_bootstrap(b->db, b->channel, class, b->model, b->release, write_now(b->rq), err))
		return -1;
	if (json_array_append_new(b->done, json_string(class)))
		return err_nomem(err);
	return publish_repo(b->rq->app->publisher, b->db, b->channel, class, err);
}

static int bootstrap_named(struct bootstrap *b, struct err *err)
{
	size_t i;
	json_t *class;
	json_array_foreach (b->classes, i, class) {
		const char *name = json_string_value(class);
		if (!name || !json_name_ok(name))
			return err_set(err, ERR_INVALID, "classes[%zu]: must be a class's name", i);
		if (bootstrap_class(b, name, err))
			return -1;
	}
	return 0;
}

static int bootstrap_active(void *arg, const char *class, struct err *err)
{
	const struct bootstrap *b = arg;
	bool active;
	if (class_active(b->db, class, &active, err))
		return -1;
	return active ? bootstrap_class(arg, class, err) : 0;
}

static int bootstrap_all(struct db *db, void *arg, struct err *err)
{
	struct bootstrap *b = arg;
	bool known;
	b->db = db;
	if (catalog_release_need(db, b->model, b->release, err) ||
	    catalog_channel_known(db, b->channel, &known, err))
		return -1;
	if (!known)
		return err_set(err, ERR_NOT_FOUND, "channel %s does not exist", b->channel);
	return b->classes ? bootstrap_named(b, err)
			  : class_each(db, write_now(b->rq), bootstrap_active, b, err);
}

int api_bootstrap(struct request *rq, struct reply *reply, struct err *err)
{
	json_auto_t *done = json_array();
	struct bootstrap b = {.rq = rq, .model = rq->params[0], .done = done};
	json_t *body;
	const struct json_field fields[] = {
		FIELD_NAME("release", &b.release),
		FIELD_NAME("channel", &b.channel),
		FIELD_ARRAY("classes", &b.classes, .optional = true, .min = 1),
	};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err) ||
	    write_run(rq, "release.bootstrap", resource(rq, b.model, b.release, NULL), body,
		      bootstrap_all, &b, err))
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:s, s:s, s:s, s:O}", "model", b.model, "release", b.release,
				    "channel", b.channel, "classes", done),
			  err);
}

static bool wanted(const struct offer *offer, const char *channel, const char *model)
{
	return (!channel || !strcmp(channel, offer->channel)) &&
	       (!model || !strcmp(model, offer->model));
}

int api_stable_list(struct request *rq, struct reply *reply, struct err *err)
{
	const char *channel = NULL, *model = NULL;
	struct offer *offers;
	unsigned count;
	AUTO(arena_free) struct arena *arena = arena_new(OFFERS_ARENA);
	if (!arena)
		return err_nomem(err);
	if (request_query_text(rq, "channel", &channel, err) ||
	    request_query_text(rq, "model", &model, err) ||
	    offer_list(rq->db, NULL, NULL, arena, &offers, &count, err))
		return -1;
	json_t *items = json_array();
	for (unsigned i = 0; i < count; i++)
		if (wanted(&offers[i], channel, model))
			json_array_append_new(items, offer_json(&offers[i]));
	return reply_list(reply, rq, items, NULL, err);
}
