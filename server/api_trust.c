/* Who may publish what, and what is taken back. */
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/publish.h"
#include "manifest/publisher_store.h"
#include "manifest/withdrawn.h"
#include "rollout/act.h"
#include "rollout/engine.h"
#include "server/api.h"
#include "server/app.h"
#include "server/write.h"

#include <string.h>

#define REASON_MAX 200

/* ---- publishers ---- */

static json_t *published(struct request *rq, struct err *err)
{
	struct publisher_list list;
	return publisher_published(rq->db, rq->arena, &list, err) ? NULL
								   : publishers_json(&list, err);
}

int api_publisher_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *wanted = NULL;
	json_auto_t *signed_ = published(rq, err);
	if (!signed_ || publisher_wanted(rq->db, &wanted, err))
		return -1;
	if (json_object_set_new(wanted, "pending", json_boolean(!json_equal(wanted, signed_))) ||
	    json_object_set(wanted, "published", signed_)) {
		json_decref(wanted);
		return err_nomem(err);
	}
	return reply_json(reply, 200, wanted, err);
}

/* Devices read the index again when its version is newer than what they matched with. */
static int publish_list_change(struct request *rq, struct db *db, struct err *err)
{
	if (class_rules_touch(db, rq->who.name, write_now(rq), err))
		return -1;
	return publish_all(rq->app->publisher, db, err);
}

static int put_publisher(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	if (publisher_put(db, rq->params[0], rq->body, write_now(rq), err))
		return -1;
	return publish_list_change(rq, db, err);
}

int api_publisher_put(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *body;
	if (request_body(rq, &body, err) ||
	    write_run(rq, "publisher.put", rq->params[0], body, put_publisher, rq, err))
		return -1;
	return api_publisher_list(rq, reply, err);
}

struct taking_back {
	struct request *rq;
	const char *reason;
	const char *what; /* for people */
	const struct digest *digests;
	unsigned count;
	unsigned lanes; /* whose candidate went with it */
};

/* A revocation, for whoever puts back a backup from before. */
static int withdraw(struct request *rq, struct db *db, const struct digest *digest,
		    const char *what, const char *reason, struct err *err)
{
	char hex[DIGEST_HEX];
	digest_hex(digest, hex);
	return withdrawn_add(rq->app->publisher, db,
			     json_pack("{s:s, s:s, s:s, s:s}", "what", "revocation", "digest", hex,
				       "of", what, "reason", reason),
			     err);
}

static int revoke_publisher(struct db *db, void *arg, struct err *err)
{
	const struct taking_back *t = arg;
	struct request *rq = t->rq;
	struct digest key;
	if (publisher_revoke(db, rq->params[0], t->reason, rq->who.name, write_now(rq), &key, err) ||
	    publish_list_change(rq, db, err) ||
	    withdraw(rq, db, &key, rq->params[0], t->reason, err))
		return -1;
	return withdrawn_add(rq->app->publisher, db,
			     json_pack("{s:s, s:s}", "what", "publisher", "name", rq->params[0]),
			     err);
}

int api_publisher_revoke(struct request *rq, struct reply *reply, struct err *err)
{
	struct taking_back t = {.rq = rq, .reason = ""};
	if (request_query_text(rq, "reason", &t.reason, err))
		return -1;
	if (strlen(t.reason) > REASON_MAX)
		return err_set(err, ERR_INVALID, "reason: at most %d bytes", REASON_MAX);
	if (write_run(rq, "publisher.revoke", rq->params[0], NULL, revoke_publisher, &t, err))
		return -1;
	return api_publisher_list(rq, reply, err);
}

static int put_policy(struct db *db, void *arg, struct err *err)
{
	struct request *rq = arg;
	if (publisher_policy_put(db, rq->body, err) || publish_list_change(rq, db, err))
		return -1;
	return withdrawn_add(rq->app->publisher, db,
			     json_pack("{s:s, s:O}", "what", "policy", "policy", rq->body), err);
}

int api_publisher_policy(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *body;
	if (request_body(rq, &body, err) ||
	    write_run(rq, "publisher.policy", "publishers", body, put_policy, rq, err))
		return -1;
	return api_publisher_list(rq, reply, err);
}

/* ---- revocations ---- */

int api_revocation_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *items;
	return publisher_revocations(rq->db, &items, err)
		       ? -1
		       : reply_list(reply, rq, items, NULL, err);
}

static int revoke_digests(struct db *db, void *arg, struct err *err)
{
	struct taking_back *t = arg;
	const struct act act = {t->rq->app->publisher, engine_cells(t->rq->app->engine),
				write_now(t->rq), t->rq->who.name, t->rq->id};
	for (unsigned i = 0; i < t->count; i++)
		if (publisher_revocation_add(db, &t->digests[i], t->what, t->reason,
					     t->rq->who.name, write_now(t->rq), err))
			return -1;
	if (act_revoke(db, &act, t->digests, t->count, &t->lanes, err) ||
	    publish_all(t->rq->app->publisher, db, err))
		return -1;
	for (unsigned i = 0; i < t->count; i++)
		if (withdraw(t->rq, db, &t->digests[i], t->what, t->reason, err))
			return -1;
	return 0;
}

/* The files of "model@release/tier". */
static int variant_digests(struct request *rq, const char *text, struct taking_back *t,
			   struct err *err)
{
	struct variant_ref ref;
	struct manifest_variant *list;
	unsigned count;
	if (variant_parse(&ref, text, rq->arena, err) || request_may(rq, ref.model, err) ||
	    catalog_variants(rq->db, ref.model, ref.release, &ref.tier, 1, false, rq->arena, &list,
			     &count, err))
		return -1;
	if (!count)
		return err_set(err, ERR_NOT_FOUND, "%s does not exist", text);
	struct digest *digests = arena_array(rq->arena, list->file_count + 1, sizeof *digests);
	if (!digests)
		return err_nomem(err);
	for (unsigned i = 0; i < list->file_count; i++)
		digests[i] = list->files[i].sha256;
	t->digests = digests;
	t->count = list->file_count;
	return 0;
}

int api_revocation_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct taking_back t = {.rq = rq, .reason = "", .count = 1};
	struct digest digest = {0};
	const char *variant = NULL;
	bool given = false;
	json_t *body, *items;
	const struct json_field fields[] = {
		FIELD_DIGEST("digest", &digest, .optional = true, .ret_present = &given),
		FIELD_TEXT("variant", &variant, .max = VARIANT_TEXT_MAX, .optional = true),
		FIELD_TEXT("reason", &t.reason, .max = REASON_MAX, .optional = true),
	};
	if (request_body(rq, &body, err) || json_read(body, fields, COUNT_OF(fields), err))
		return -1;
	if (given == (variant != NULL))
		return err_set(err, ERR_INVALID,
			       "digest: give either a digest or a variant (model@release/tier)");
	if (given && rq->who.models)
		return err_set(err, ERR_DENIED,
			       "digest: it may be any model's; a token for some names a variant of theirs");
	t.digests = &digest;
	t.what = variant ? variant : "digest";
	if ((variant && variant_digests(rq, variant, &t, err)) ||
	    write_run(rq, "revocation.add", t.what, body, revoke_digests, &t, err) ||
	    publisher_revocations(rq->db, &items, err))
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:o, s:n, s:I}", "items", items, "next", "lanes",
				    (json_int_t)t.lanes),
			  err);
}

static int end_revocation(struct db *db, void *arg, struct err *err)
{
	const struct taking_back *t = arg;
	char hex[DIGEST_HEX];
	digest_hex(t->digests, hex);
	if (publisher_revocation_end(db, t->digests, err) ||
	    publish_all(t->rq->app->publisher, db, err))
		return -1;
	return withdrawn_add(t->rq->app->publisher, db,
			     json_pack("{s:s, s:s}", "what", "revocation_end", "digest", hex), err);
}

int api_revocation_end(struct request *rq, struct reply *reply, struct err *err)
{
	struct digest digest;
	struct taking_back t = {.rq = rq, .digests = &digest};
	const char *hex = rq->params[0];
	if (digest_parse(&digest, strncmp(hex, "sha256:", 7) ? hex : hex + 7))
		return err_set(err, ERR_INVALID, "digest: must be 64 lower-case hex digits");
	if (write_run(rq, "revocation.end", hex, NULL, end_revocation, &t, err))
		return -1;
	return reply_empty(reply, 204);
}
