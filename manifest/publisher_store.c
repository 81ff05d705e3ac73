#include "manifest/publisher_store.h"

#include "base/json.h"
#include "manifest/attest.h"
#include "manifest/catalog.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRED_KEY "publishers_required"

enum {
	Q_LIST,
	Q_PUT,
	Q_DELETE,
	Q_KEY,
	Q_FLOORS,
	Q_FLOOR_PUT,
	Q_PUBLISHED,
	Q_ENVELOPE_PUT,
	Q_ENVELOPES,
	Q_SIGNER_PUT,
	Q_COUNTERS,
	Q_REVOKE,
	Q_REVOKED,
	Q_REVOCATION_END,
	Q_REVOCATIONS,
	Q_COUNT
};
#define OF_RELEASE " WHERE model = $model AND release = $release"
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_LIST] = "SELECT name, key, models FROM publishers ORDER BY name",
	[Q_PUT] =
		"INSERT INTO publishers (name, key, models, created) VALUES ($name, $key, $models, $now)"
		" ON CONFLICT (name) DO UPDATE SET key = excluded.key, models = excluded.models",
	[Q_DELETE] = "DELETE FROM publishers WHERE name = $name",
	[Q_KEY] = "SELECT key FROM publishers WHERE name = $name",
	[Q_FLOORS] = "SELECT model, floor FROM publisher_floors ORDER BY model",
	[Q_FLOOR_PUT] =
		"INSERT INTO publisher_floors (model, floor) VALUES ($model, $floor)"
		" ON CONFLICT (model) DO UPDATE SET floor = excluded.floor"
		" WHERE publisher_floors.floor <= excluded.floor",
	[Q_PUBLISHED] =
		"SELECT bytes FROM documents WHERE repo = 'index' AND role = 'file:publishers.json'"
		" ORDER BY version DESC LIMIT 1",
	[Q_ENVELOPE_PUT] =
		"UPDATE variants SET envelope = $envelope, attest = $attest, counter = $counter,"
		" floor = $floor, publisher = NULL" OF_RELEASE " AND tier = $tier",
	[Q_ENVELOPES] = "SELECT tier, attest, envelope FROM variants" OF_RELEASE " ORDER BY tier",
	[Q_SIGNER_PUT] = "UPDATE variants SET publisher = $publisher" OF_RELEASE " AND tier = $tier",
	[Q_COUNTERS] =
		"SELECT COALESCE(MIN(counter), 0), COALESCE(MAX(floor), 0) FROM variants" OF_RELEASE
		" AND envelope IS NOT NULL",
	[Q_REVOKE] =
		"INSERT INTO revocations (digest, what, reason, actor, created)"
		" VALUES ($digest, $what, $reason, $actor, $now) ON CONFLICT (digest) DO NOTHING",
	[Q_REVOKED] = "SELECT COUNT(*) FROM revocations WHERE $digest IS NULL OR digest = $digest",
	[Q_REVOCATION_END] = "DELETE FROM revocations WHERE digest = $digest",
	[Q_REVOCATIONS] =
		"SELECT digest, what, reason, actor, created FROM revocations ORDER BY created, digest",
};
/* clang-format on */
const struct sql_set publisher_sql = {"publishers", sql, Q_COUNT};

/* ---- the list ---- */

static json_t *entry_row(struct stmt *q, struct err *err)
{
	size_t len;
	struct public_key key;
	const uint8_t *bytes = stmt_col_blob(q, 1, &len);
	const char *models = stmt_col_text(q, 2);
	if (len != KEY_PUBLIC_LEN) {
		err_set_text(err, ERR_CORRUPT, "publisher %s: its key is damaged",
			     stmt_col_text(q, 0));
		return NULL;
	}
	key_public(&key, bytes);
	json_t *list = json_parse(models, strlen(models), "publisher's models", err);
	return list ? json_pack("{s:s, s:o, s:o}", "name", stmt_col_text(q, 0), "key",
				key_json(&key), "models", list)
		    : NULL;
}

static int entries_list(struct db *db, json_t *entries, struct err *err)
{
	STMT(q, db, &publisher_sql, Q_LIST);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		err->status = ERR_NONE;
		json_t *entry = entry_row(q, err);
		if (json_array_append_new(entries, entry) < 0)
			return err->status ? -1 : err_nomem(err);
	}
	return got;
}

static int floors_list(struct db *db, json_t *floors, struct err *err)
{
	STMT(q, db, &publisher_sql, Q_FLOORS);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_object_set_new(floors, stmt_col_text(q, 0),
					json_integer(stmt_col_int(q, 1))) < 0)
			return err_nomem(err);
	return got;
}

static int required(struct db *db, bool *ret, struct err *err)
{
	char text[8];
	*ret = false;
	if (!db_meta_get(db, REQUIRED_KEY, text, sizeof text, err)) {
		*ret = !strcmp(text, "1");
		return 0;
	}
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

int publisher_wanted(struct db *db, json_t **ret_document, struct err *err)
{
	json_auto_t *entries = json_array(), *floors = json_object();
	bool all;
	if (!entries || !floors)
		return err_nomem(err);
	if (required(db, &all, err) || entries_list(db, entries, err) ||
	    floors_list(db, floors, err))
		return -1;
	*ret_document = json_pack("{s:i, s:b, s:O, s:O}", "schema", 1, "required", (int)all,
				  "publishers", entries, "floors", floors);
	return *ret_document ? 0 : err_nomem(err);
}

int publisher_published(struct db *db, struct arena *arena, struct publisher_list *ret_list,
			struct err *err)
{
	size_t len;
	STMT(q, db, &publisher_sql, Q_PUBLISHED);
	const int got = stmt_step(q, err);
	if (got <= 0) {
		*ret_list = (struct publisher_list){0};
		return got;
	}
	const char *bytes = stmt_col_blob(q, 0, &len);
	json_auto_t *document = json_parse(bytes, len, PUBLISHERS_PATH, err);
	return document ? publishers_parse(ret_list, document, arena, err) : -1;
}

static int is_revoked(struct db *db, const struct digest *digest, int64_t *ret, struct err *err)
{
	STMT(q, db, &publisher_sql, Q_REVOKED);
	if (digest)
		stmt_digest(q, "$digest", digest);
	else
		stmt_null(q, "$digest");
	if (stmt_step(q, err) < 0)
		return -1;
	*ret = stmt_col_int(q, 0);
	return 0;
}

/* The body as publishers.json would have it, so that there is one reader of its form. */
static int entry_check(const char *name, const json_t *body, struct arena *arena,
		       struct publisher_list *list, struct err *err)
{
	json_t *key = NULL, *models = NULL;
	const struct json_field fields[] = {
		FIELD_OBJECT("key", &key),
		FIELD_ARRAY("models", &models, .min = 1, .max = PUBLISHER_MODELS),
	};
	if (!json_name_ok(name))
		return err_set(err, ERR_INVALID, "name: %.64s is not a name", name);
	if (json_read(body, fields, COUNT_OF(fields), err) < 0)
		return -1;
	json_auto_t *document = json_pack("{s:i, s:[{s:s, s:O, s:O}]}", "schema", 1, "publishers",
					  "name", name, "key", key, "models", models);
	return document ? publishers_parse(list, document, arena, err) : err_nomem(err);
}

int publisher_put(struct db *db, const char *name, const json_t *body, int64_t now,
		  struct err *err)
{
	struct publisher_list list;
	int64_t revoked;
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	if (!arena)
		return err_nomem(err);
	if (entry_check(name, body, arena, &list, err) ||
	    is_revoked(db, &list.entries[0].key.id, &revoked, err))
		return -1;
	if (revoked)
		return err_set(err, ERR_CONFLICT, "key: it is revoked; make a new one");
	char *models = json_text(json_object_get(body, "models"));
	if (!models)
		return err_nomem(err);
	STMT(q, db, &publisher_sql, Q_PUT);
	stmt_text(q, "$name", name);
	stmt_blob(q, "$key", list.entries[0].key.bytes, KEY_PUBLIC_LEN);
	stmt_text(q, "$models", models);
	stmt_int(q, "$now", now);
	free(models);
	if (!stmt_run(q, err))
		return 0;
	return err->status == ERR_CONFLICT
		       ? err_set(err, ERR_CONFLICT, "key: another publisher has it already")
		       : -1;
}

static int key_of(struct db *db, const char *name, struct public_key *key, struct err *err)
{
	size_t len;
	STMT(q, db, &publisher_sql, Q_KEY);
	stmt_text(q, "$name", name);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "there is no publisher %s", name);
	const uint8_t *bytes = stmt_col_blob(q, 0, &len);
	if (len != KEY_PUBLIC_LEN)
		return err_set(err, ERR_CORRUPT, "publisher %s: its key is damaged", name);
	key_public(key, bytes);
	return 0;
}

int publisher_revoke(struct db *db, const char *name, const char *reason, const char *actor,
		     int64_t now, struct digest *ret_key, struct err *err)
{
	struct public_key key;
	char what[96];
	if (key_of(db, name, &key, err))
		return -1;
	snprintf(what, sizeof what, "publisher %s", name);
	if (publisher_revocation_add(db, &key.id, what, reason, actor, now, err))
		return -1;
	*ret_key = key.id;
	STMT(q, db, &publisher_sql, Q_DELETE);
	stmt_text(q, "$name", name);
	return stmt_run(q, err);
}

static int floor_put(struct db *db, const char *model, const json_t *value, struct err *err)
{
	int64_t changed;
	if (!json_name_ok(model) || !json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(err, ERR_INVALID, "floors: %.64s: must be a counter, an integer from 0",
			       model);
	STMT(q, db, &publisher_sql, Q_FLOOR_PUT);
	stmt_text(q, "$model", model);
	stmt_int(q, "$floor", json_integer_value(value));
	if (stmt_changes(q, &changed, err))
		return -1;
	return changed ? 0
		       : err_set(err, ERR_CONFLICT,
				 "floors: %.64s: a floor only rises; devices remember it", model);
}

int publisher_policy_put(struct db *db, const json_t *body, struct err *err)
{
	bool all = false, given = false;
	json_t *floors = NULL, *value;
	const char *model;
	const struct json_field fields[] = {
		FIELD_BOOL("required", &all, .optional = true, .ret_present = &given),
		FIELD_OBJECT("floors", &floors, .optional = true),
	};
	if (json_read(body, fields, COUNT_OF(fields), err))
		return -1;
	json_object_foreach (floors, model, value)
		if (floor_put(db, model, value, err))
			return -1;
	return given ? db_meta_set(db, REQUIRED_KEY, all ? "1" : "0", err) : 0;
}

/* ---- envelopes ---- */

/* The variant as its manifest would name it. */
static int variant_find(struct db *db, const char *model, const char *release, const char *tier,
			struct arena *arena, const struct manifest_variant **ret, struct err *err)
{
	struct manifest_variant *list;
	unsigned count;
	if (catalog_variants(db, model, release, &tier, 1, false, arena, &list, &count, err))
		return -1;
	if (!count)
		return err_set(err, ERR_NOT_FOUND, "release %s@%s has no tier %s", model, release,
			       tier);
	*ret = list;
	return 0;
}

/* An envelope read, and what it says compared with the variant that carries it. */
static int envelope_read(const char *bytes, size_t len, const struct manifest_variant *variant,
			 struct arena *arena, struct dsse *dsse, struct attest *attest,
			 struct err *err)
{
	if (dsse_open(dsse, bytes, len, err) || attest_parse(attest, dsse, arena, err))
		return -1;
	return attest_covers(attest, variant, err);
}

int publisher_envelope_put(struct db *db, const char *model, const char *release, const char *tier,
			   const json_t *envelope, struct err *err)
{
	const struct manifest_variant *variant;
	struct attest attest;
	struct digest digest;
	AUTO_DSSE struct dsse dsse = {0};
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	char *text = json_text(envelope);
	if (!arena || !text) {
		free(text);
		return err_nomem(err);
	}
	const size_t len = strlen(text);
	int bad = variant_find(db, model, release, tier, arena, &variant, err) ||
		  envelope_read(text, len, variant, arena, &dsse, &attest, err);
	if (!bad) {
		STMT(q, db, &publisher_sql, Q_ENVELOPE_PUT);
		digest_of(&digest, text, len);
		stmt_text(q, "$model", model);
		stmt_text(q, "$release", release);
		stmt_text(q, "$tier", tier);
		stmt_blob(q, "$envelope", text, len);
		stmt_digest(q, "$attest", &digest);
		stmt_int(q, "$counter", attest.counter);
		stmt_int(q, "$floor", attest.floor);
		bad = stmt_run(q, err);
	}
	free(text);
	return bad ? -1 : 0;
}

/* What judging a release's variants needs. */
struct judging {
	struct db *db;
	const char *model, *release;
	struct arena *arena;
	struct publisher_list list;
	struct digest *revoked;
	unsigned revoked_count;
};

static int counter_check(const struct judging *j, const struct attest *attest, struct err *err)
{
	const int64_t floor = publishers_floor(&j->list, j->model);
	return attest->counter >= floor
		       ? 0
		       : err_set(err, ERR_UNTRUSTED,
				 "its counter %lld is below the floor %lld of model %s",
				 (long long)attest->counter, (long long)floor, j->model);
}

static int signer_put(const struct judging *j, const char *tier, const char *publisher,
		      struct err *err)
{
	STMT(q, j->db, &publisher_sql, Q_SIGNER_PUT);
	stmt_text(q, "$model", j->model);
	stmt_text(q, "$release", j->release);
	stmt_text(q, "$tier", tier);
	stmt_text(q, "$publisher", publisher);
	return stmt_run(q, err);
}

static int tier_check(const struct judging *j, const char *tier, const char *bytes, size_t len,
		      struct err *err)
{
	const struct manifest_variant *variant;
	struct attest attest;
	AUTO_DSSE struct dsse dsse = {0};
	if (!bytes)
		return publishers_needed(&j->list, j->model)
			       ? err_set(err, ERR_UNTRUSTED,
					 "it is not signed; push it with --sign KEYFILE")
			       : 0;
	if (variant_find(j->db, j->model, j->release, tier, j->arena, &variant, err) ||
	    envelope_read(bytes, len, variant, j->arena, &dsse, &attest, err) ||
	    counter_check(j, &attest, err))
		return -1;
	if (!publishers_needed(&j->list, j->model))
		return 0;
	const struct publisher_entry *by = publishers_signer(&j->list, &dsse, j->model, j->revoked,
							     j->revoked_count, err);
	return by ? signer_put(j, tier, by->name, err) : -1;
}

static int each_tier_check(const struct judging *j, struct err *err)
{
	STMT(q, j->db, &publisher_sql, Q_ENVELOPES);
	stmt_text(q, "$model", j->model);
	stmt_text(q, "$release", j->release);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		size_t len;
		char tier[72];
		const char *bytes = stmt_col_blob(q, 2, &len);
		snprintf(tier, sizeof tier, "%s", stmt_col_text(q, 0));
		if (tier_check(j, tier, bytes, len, err))
			return err_in(err, "tier %s", tier);
	}
	return got;
}

int publisher_release_check(struct db *db, const char *model, const char *release,
			    struct err *err)
{
	AUTO(arena_free) struct arena *arena = arena_new(8 * MANIFEST_ARENA);
	struct judging j = {.db = db, .model = model, .release = release, .arena = arena};
	if (!arena)
		return err_nomem(err);
	if (publisher_published(db, arena, &j.list, err) ||
	    publisher_revoked(db, arena, &j.revoked, &j.revoked_count, err))
		return -1;
	return each_tier_check(&j, err);
}

int publisher_envelopes(struct db *db, const char *model, const char *release,
			int (*fn)(void *arg, const struct digest *digest, const void *bytes,
				  size_t len, struct err *err),
			void *arg, struct err *err)
{
	STMT(q, db, &publisher_sql, Q_ENVELOPES);
	stmt_text(q, "$model", model);
	stmt_text(q, "$release", release);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct digest digest;
		size_t len;
		const void *bytes = stmt_col_blob(q, 2, &len);
		if (bytes && (stmt_col_digest(q, 1, &digest, err) ||
			      fn(arg, &digest, bytes, len, err)))
			return -1;
	}
	return got;
}

int publisher_counters(struct db *db, const char *model, const char *release,
		       int64_t *ret_counter, int64_t *ret_floor, struct err *err)
{
	STMT(q, db, &publisher_sql, Q_COUNTERS);
	stmt_text(q, "$model", model);
	stmt_text(q, "$release", release);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_counter = stmt_col_int(q, 0);
	*ret_floor = stmt_col_int(q, 1);
	return 0;
}

int publisher_floor_check(struct db *db, const char *model, const char *release, const char *held,
			  struct err *err)
{
	struct publisher_list list;
	int64_t counter, own_floor, ignored, floor;
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	if (!arena)
		return err_nomem(err);
	if (publisher_counters(db, model, release, &counter, &own_floor, err) ||
	    publisher_counters(db, model, held, &ignored, &floor, err) ||
	    publisher_published(db, arena, &list, err))
		return -1;
	const int64_t listed = publishers_floor(&list, model);
	if (counter < floor)
		return err_set(err, ERR_CONFLICT,
			       "devices that run %s@%s refuse %s: its counter is %lld, below the floor of "
			       "%lld that the publisher gave with the former; push it again as a new "
			       "release, signed now",
			       model, held, release, (long long)counter, (long long)floor);
	if (counter < listed)
		return err_set(err, ERR_CONFLICT,
			       "devices refuse %s@%s: its counter is %lld, below the floor of %lld that the "
			       "index gives %s; push it again as a new release, signed now",
			       model, release, (long long)counter, (long long)listed, model);
	return 0;
}

/* ---- revocations ---- */

int publisher_revocation_add(struct db *db, const struct digest *digest, const char *what,
			     const char *reason, const char *actor, int64_t now, struct err *err)
{
	int64_t all, same;
	if (is_revoked(db, NULL, &all, err) || is_revoked(db, digest, &same, err))
		return -1;
	if (all >= REVOCATIONS && !same)
		return err_set(err, ERR_TOO_LARGE,
			       "a manifest carries %d revocations at most; end one that no device can "
			       "hold any more",
			       REVOCATIONS);
	STMT(q, db, &publisher_sql, Q_REVOKE);
	stmt_digest(q, "$digest", digest);
	stmt_text(q, "$what", what);
	stmt_text(q, "$reason", reason);
	stmt_text(q, "$actor", actor);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int publisher_revocation_end(struct db *db, const struct digest *digest, struct err *err)
{
	int64_t changed;
	STMT(q, db, &publisher_sql, Q_REVOCATION_END);
	stmt_digest(q, "$digest", digest);
	if (stmt_changes(q, &changed, err))
		return -1;
	return changed ? 0 : err_set(err, ERR_NOT_FOUND, "digest: it is not revoked");
}

static json_t *revocation_row(struct stmt *q, struct err *err)
{
	struct digest digest;
	char hex[DIGEST_HEX];
	if (stmt_col_digest(q, 0, &digest, err))
		return NULL;
	digest_hex(&digest, hex);
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "digest", hex, "what", stmt_col_text(q, 1),
			 "reason", stmt_col_text(q, 2), "actor", stmt_col_text(q, 3), "created",
			 (json_int_t)stmt_col_int(q, 4));
}

int publisher_revocations(struct db *db, json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &publisher_sql, Q_REVOCATIONS);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		err->status = ERR_NONE;
		if (json_array_append_new(items, revocation_row(q, err)) < 0)
			return err->status ? -1 : err_nomem(err);
	}
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

int publisher_revoked(struct db *db, struct arena *arena, struct digest **ret_digests,
		      unsigned *ret_count, struct err *err)
{
	struct digest *digests = arena_array(arena, REVOCATIONS, sizeof *digests);
	unsigned count = 0;
	if (!digests)
		return err_nomem(err);
	STMT(q, db, &publisher_sql, Q_REVOCATIONS);
	int got;
	while ((got = stmt_step(q, err)) > 0 && count < REVOCATIONS)
		if (stmt_col_digest(q, 0, &digests[count++], err))
			return -1;
	if (got < 0)
		return -1;
	*ret_digests = digests;
	*ret_count = count;
	return 0;
}
