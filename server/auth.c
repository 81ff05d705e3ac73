#include "server/auth.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/map.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RANDOM_LEN 32
#define CHECK_LEN 4	   /* bytes of checksum: 6 characters */
#define IDEM_KEPT_S 86400
#define EXPIRES_MAX_S (10LL * 366 * 86400)
#define MODELS_MAX 256

enum {
	TOKEN_ALL,
	TOKEN_INSERT,
	TOKEN_EXISTS,
	TOKEN_REVOKE,
	IDEM_FIND,
	IDEM_STORE,
	IDEM_FORGET,
	AUTH_STATEMENTS
};
static const char *const sql[AUTH_STATEMENTS] = {
	[TOKEN_ALL] = "SELECT id, name, hash, role, models, created, expires, revoked,"
		      " quota_bytes, uploads FROM tokens"
		      " ORDER BY created, id",
	[TOKEN_INSERT] = "INSERT INTO tokens (id, name, hash, role, models, created, expires,"
			 " revoked, quota_bytes, uploads) VALUES ($id, $name, $hash, $role, $models,"
			 " $created, $expires, NULL, $quota_bytes, $uploads)",
	[TOKEN_EXISTS] = "SELECT 1 FROM tokens WHERE id = $id",
	[TOKEN_REVOKE] = "UPDATE tokens SET revoked = $now WHERE id = $id AND revoked IS NULL",
	[IDEM_FIND] = "SELECT fingerprint, code, body FROM idempotency"
		      " WHERE token = $token AND key = $key AND expires > $now",
	[IDEM_STORE] = "INSERT INTO idempotency (token, key, fingerprint, code, body, expires)"
		       " VALUES ($token, $key, $fingerprint, $code, $body, $expires)"
		       " ON CONFLICT (token, key) DO UPDATE SET fingerprint = excluded.fingerprint,"
		       " code = excluded.code, body = excluded.body, expires = excluded.expires",
	[IDEM_FORGET] = "DELETE FROM idempotency WHERE expires <= $now",
};
const struct sql_set auth_sql = {.name = "auth", .sql = sql, .count = AUTH_STATEMENTS};

/* ---- The copy in memory. ---- */

struct entry {
	struct digest hash;
	struct token who; /* models owned */
	int64_t expires;  /* 0: never */
};

struct auth {
	const struct clock *clock;
	pthread_mutex_t lock; /* guards tokens and busy */
	struct map *tokens;   /* hash -> struct entry: those that are not revoked */
	struct map *busy;     /* token, NUL, key: Idempotency-Keys being worked on */
};

static void entry_free(void *value)
{
	struct entry *entry = value;

	if (entry)
		auth_done(&entry->who);
	free(entry);
}

void auth_done(struct token *who)
{
	free(__extension__(char *)(uintptr_t)who->models);
	*who = (struct token){0};
}

/* The current row of TOKEN_ALL; *ret_entry stays NULL for a revoked one. */
static int entry_read(struct stmt *q, struct entry **ret_entry, struct err *err)
{
	struct entry *entry;
	const char *models = stmt_col_text(q, 4);

	if (!stmt_col_null(q, 7))
		return 0;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return err_nomem(err);
	snprintf(entry->who.id, sizeof(entry->who.id), "%s", stmt_col_text(q, 0));
	snprintf(entry->who.name, sizeof(entry->who.name), "%s", stmt_col_text(q, 1));
	entry->expires = stmt_col_int(q, 6);
	entry->who.quota_bytes = stmt_col_int(q, 8);
	entry->who.uploads = stmt_col_int(q, 9);
	entry->who.models = models ? strdup(models) : NULL;
	if (stmt_col_digest(q, 2, &entry->hash, err) < 0 ||
	    role_parse(&entry->who.role, stmt_col_text(q, 3)) < 0) {
		entry_free(entry);
		return err_set(err, ERR_CORRUPT, "tokens: a row cannot be read");
	}
	if (models && !entry->who.models) {
		entry_free(entry);
		return err_nomem(err);
	}
	*ret_entry = entry;
	return 0;
}

static int tokens_load(struct db *db, struct map **ret_tokens, struct err *err)
{
	STMT(q, db, &auth_sql, TOKEN_ALL);
	AUTO(map_free) struct map *tokens = map_new(entry_free);
	int more;

	if (!tokens)
		return err_nomem(err);
	while ((more = stmt_step(q, err)) == 1) {
		struct entry *entry = NULL;

		if (entry_read(q, &entry, err) < 0)
			return -1;
		if (entry && map_put(tokens, entry->hash.bytes, DIGEST_LEN, entry) < 0)
			return err_nomem(err);
	}
	if (more < 0)
		return -1;
	*ret_tokens = TAKE(tokens);
	return 0;
}

int auth_new(struct auth **ret_auth, struct db *db, const struct clock *clock, struct err *err)
{
	AUTO(auth_free) struct auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return err_nomem(err);
	pthread_mutex_init(&auth->lock, NULL);
	auth->clock = clock;
	auth->busy = map_new(NULL);
	if (!auth->busy)
		return err_nomem(err);
	if (tokens_load(db, &auth->tokens, err) < 0)
		return -1;
	*ret_auth = TAKE(auth);
	return 0;
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	map_free(auth->tokens);
	map_free(auth->busy);
	pthread_mutex_destroy(&auth->lock);
	free(auth);
}

/* Tokens as one transaction leaves them; replaces the copy once that is durable. */
struct fresh {
	struct auth *auth;
	struct map *tokens;
};

static void fresh_drop(void *arg)
{
	struct fresh *fresh = arg;

	map_free(fresh->tokens);
	free(fresh);
}

static void fresh_publish(void *arg)
{
	struct fresh *fresh = arg;
	struct map *old;

	pthread_mutex_lock(&fresh->auth->lock);
	old = fresh->auth->tokens;
	fresh->auth->tokens = fresh->tokens;
	pthread_mutex_unlock(&fresh->auth->lock);
	fresh->tokens = old;
	fresh_drop(fresh);
}

static int tokens_refresh(struct auth *auth, struct db *db, struct err *err)
{
	struct fresh *fresh = calloc(1, sizeof(*fresh));

	if (!fresh)
		return err_nomem(err);
	fresh->auth = auth;
	if (tokens_load(db, &fresh->tokens, err) < 0) {
		fresh_drop(fresh);
		return -1;
	}
	return db_after_commit(db, fresh_publish, fresh_drop, fresh, err);
}

/* ---- Checking. ---- */

static void checksum(const char *text, size_t len, char out[static 7])
{
	struct digest digest;

	digest_of(&digest, text, len);
	sodium_bin2base64(out, 7, digest.bytes, CHECK_LEN,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* Form and checksum: a mistyped or truncated token costs no look-up, and is told apart in nothing
 * but that. */
static bool secret_ok(const char *secret)
{
	char check[7];

	if (strlen(secret) != TOKEN_SECRET - 1 || strncmp(secret, "flt_", 4) != 0)
		return false;
	checksum(secret, TOKEN_SECRET - 7, check);
	return sodium_memcmp(check, secret + TOKEN_SECRET - 7, 6) == 0;
}

static int refused(struct err *err)
{
	return err_set(err, ERR_UNAUTHORIZED,
		       "send a valid token: Authorization: Bearer flt_...");
}

/* Copy of the token with that hash; the lock is held. */
static int entry_copy(struct auth *auth, const struct digest *hash, struct token *ret_who,
		      struct err *err)
{
	const struct entry *entry = map_get(auth->tokens, hash->bytes, DIGEST_LEN);
	char *models = NULL;

	if (!entry || sodium_memcmp(entry->hash.bytes, hash->bytes, DIGEST_LEN) != 0)
		return refused(err);
	if (entry->expires && clock_s(auth->clock) >= entry->expires)
		return err_set(err, ERR_UNAUTHORIZED, "this token has expired; ask for a new one");
	if (entry->who.models) {
		models = strdup(entry->who.models);
		if (!models)
			return err_nomem(err);
	}
	*ret_who = entry->who;
	ret_who->models = models;
	return 0;
}

int auth_check(struct auth *auth, const char *header, struct token *ret_who, struct err *err)
{
	const char *secret;
	struct digest hash;
	int result;

	if (!auth || !header || strncasecmp(header, "Bearer ", 7) != 0)
		return refused(err);
	secret = header + 7 + strspn(header + 7, " ");
	if (!secret_ok(secret))
		return refused(err);
	digest_of(&hash, secret, strlen(secret));
	pthread_mutex_lock(&auth->lock);
	result = entry_copy(auth, &hash, ret_who, err);
	pthread_mutex_unlock(&auth->lock);
	return result;
}

int auth_role(const struct token *who, enum role wanted, struct err *err)
{
	bool relay = who->role == ROLE_RELAY, fits = relay ? wanted == ROLE_RELAY
							    : who->role >= wanted;

	if (wanted == ROLE_RELAY && !relay)
		fits = false;
	return fits ? 0
		    : err_set(err, ERR_DENIED, "this needs the role %s; the token %s has %s",
			      role_name(wanted), who->name, role_name(who->role));
}

/* ---- Making and ending tokens. ---- */

static void secret_make(char secret[static TOKEN_SECRET])
{
	uint8_t random[RANDOM_LEN];
	char check[7];

	randombytes_buf(random, sizeof(random));
	snprintf(secret, 5, "flt_");
	sodium_bin2base64(secret + 4, 44, random, sizeof(random),
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(random, sizeof(random));
	checksum(secret, 47, check);
	snprintf(secret + 47, sizeof(check), "%s", check);
}

/* "\na\nb\n", or NULL for all. */
static int models_text(const json_t *models, char **ret_text, struct err *err)
{
	AUTO_BUF struct buf buf = BUF_INIT(MODELS_MAX * 66);
	size_t i, len;
	const json_t *name;

	if (json_array_size(models) == 0)
		return 0;
	if (json_array_size(models) > MODELS_MAX)
		return err_set(err, ERR_TOO_LARGE, "models: name at most %d", MODELS_MAX);
	buf_addc(&buf, '\n');
	json_array_foreach(models, i, name) {
		if (!json_is_string(name) || !json_name_ok(json_string_value(name)))
			return err_set(err, ERR_INVALID, "models[%zu]: give a model's name", i);
		buf_addf(&buf, "%s\n", json_string_value(name));
	}
	if (buf_ok(&buf, "models", err) < 0)
		return -1;
	*ret_text = buf_take(&buf, &len);
	return 0;
}

static int spec_check(const struct token_spec *spec, struct err *err)
{
	if (!spec->name || !json_name_ok(spec->name))
		return err_set(err, ERR_INVALID,
			       "name: 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit");
	if (spec->role < ROLE_VIEWER || spec->role > ROLE_RELAY)
		return err_set(err, ERR_INVALID,
			       "role: give viewer, publisher, operator, admin or relay");
	if (spec->expires_s < 0 || spec->expires_s > EXPIRES_MAX_S)
		return err_set(err, ERR_INVALID, "expires_s: 0 (never) to %lld",
			       (long long)EXPIRES_MAX_S);
	if (spec->quota_bytes < 0 || spec->uploads < 0)
		return err_set(err, ERR_INVALID, "quota_bytes, uploads: 0 (no bound) or more");
	return 0;
}

static void bind_or_null(struct stmt *q, const char *name, bool given, int64_t value)
{
	if (given)
		stmt_int(q, name, value);
	else
		stmt_null(q, name);
}

static int token_store(struct auth *auth, struct db *db, const struct token_spec *spec,
		       const struct token_made *made, const char *models, struct err *err)
{
	STMT(q, db, &auth_sql, TOKEN_INSERT);
	int64_t now = clock_s(auth->clock);
	struct digest hash;

	digest_of(&hash, made->secret, TOKEN_SECRET - 1);
	stmt_text(q, "$id", made->id);
	stmt_text(q, "$name", spec->name);
	stmt_digest(q, "$hash", &hash);
	stmt_text(q, "$role", role_name(spec->role));
	stmt_text(q, "$models", models);
	stmt_int(q, "$created", now);
	bind_or_null(q, "$expires", spec->expires_s, now + spec->expires_s);
	bind_or_null(q, "$quota_bytes", spec->quota_bytes, spec->quota_bytes);
	bind_or_null(q, "$uploads", spec->uploads, spec->uploads);
	return stmt_run(q, err);
}

int auth_insert(struct auth *auth, struct db *db, const struct token_spec *spec,
		struct token_made *ret_made, struct err *err)
{
	struct token_made made;
	char *models = NULL;
	int64_t number;
	int result;

	if (spec_check(spec, err) < 0 || models_text(spec->models, &models, err) < 0)
		return -1;
	secret_make(made.secret);
	result = db_meta_next(db, "token", &number, err);
	if (result == 0) {
		snprintf(made.id, sizeof(made.id), "t%lld", (long long)number);
		result = token_store(auth, db, spec, &made, models, err);
	}
	free(models);
	if (result < 0 || tokens_refresh(auth, db, err) < 0)
		return -1;
	*ret_made = made;
	return 0;
}

static int token_exists(struct db *db, const char *id, struct err *err)
{
	STMT(q, db, &auth_sql, TOKEN_EXISTS);
	int found;

	stmt_text(q, "$id", id);
	found = stmt_step(q, err);
	if (found == 0)
		return err_set(err, ERR_NOT_FOUND, "token %s: there is none", id);
	return found < 0 ? -1 : 0;
}

static int token_revoke(struct auth *auth, struct db *db, const char *id, struct err *err)
{
	STMT(q, db, &auth_sql, TOKEN_REVOKE);

	stmt_text(q, "$id", id);
	stmt_int(q, "$now", clock_s(auth->clock));
	return stmt_run(q, err);
}

int auth_revoke(struct auth *auth, struct db *db, const char *id, struct err *err)
{
	if (token_exists(db, id, err) < 0 || token_revoke(auth, db, id, err) < 0)
		return -1;
	return tokens_refresh(auth, db, err);
}

/* ["a", "b"], or null for all. */
static json_t *models_json(const char *text)
{
	json_t *models;

	if (!text)
		return json_null();
	models = json_array();
	for (const char *at = text + 1; models && *at; at += strcspn(at, "\n") + 1)
		json_array_append_new(models, json_stringn(at, strcspn(at, "\n")));
	return models;
}

static json_t *int_json(struct stmt *q, int col)
{
	return stmt_col_null(q, col) ? json_null() : json_integer(stmt_col_int(q, col));
}

int auth_list(struct db *db, json_t **ret_items, struct err *err)
{
	STMT(q, db, &auth_sql, TOKEN_ALL);
	json_auto_t *items = json_array();
	int more;

	while ((more = stmt_step(q, err)) == 1) {
		json_t *item = json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:o}", "id",
					 stmt_col_text(q, 0), "name", stmt_col_text(q, 1), "role",
					 stmt_col_text(q, 3), "models",
					 models_json(stmt_col_text(q, 4)), "created",
					 (json_int_t)stmt_col_int(q, 5), "expires",
					 int_json(q, 6), "revoked", int_json(q, 7),
					 "quota_bytes", int_json(q, 8), "uploads", int_json(q, 9));

		if (!item || json_array_append_new(items, item) < 0)
			return err_nomem(err);
	}
	if (more < 0)
		return -1;
	*ret_items = TAKE(items);
	return 0;
}

/* ---- Idempotency-Key. ---- */

int idem_find(struct db *db, const struct idem *idem, int64_t now,
	      struct idem_answer *ret_answer, struct err *err)
{
	STMT(q, db, &auth_sql, IDEM_FIND);
	struct digest before;
	char *body;
	int found;

	stmt_text(q, "$token", idem->token);
	stmt_text(q, "$key", idem->key);
	stmt_int(q, "$now", now);
	found = stmt_step(q, err);
	if (found <= 0)
		return found;
	if (stmt_col_digest(q, 0, &before, err) < 0)
		return -1;
	if (!digest_eq(&before, &idem->fingerprint))
		return err_set(err, ERR_CONFLICT,
			       "Idempotency-Key: it was used for another request; take a new one");
	body = strdup(stmt_col_text(q, 2));
	if (!body)
		return err_nomem(err);
	*ret_answer = (struct idem_answer){.code = (unsigned)stmt_col_int(q, 1), .body = body};
	return 1;
}

static int idem_forget(struct db *db, int64_t now, struct err *err)
{
	STMT(q, db, &auth_sql, IDEM_FORGET);

	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int idem_store(struct db *db, const struct idem *idem, int64_t now, unsigned code,
	       const char *body, struct err *err)
{
	STMT(q, db, &auth_sql, IDEM_STORE);

	if (idem_forget(db, now, err) < 0)
		return -1;
	stmt_text(q, "$token", idem->token);
	stmt_text(q, "$key", idem->key);
	stmt_digest(q, "$fingerprint", &idem->fingerprint);
	stmt_int(q, "$code", code);
	stmt_text(q, "$body", body);
	stmt_int(q, "$expires", now + IDEM_KEPT_S);
	return stmt_run(q, err);
}

/* What the busy map knows a request by. */
static size_t busy_key(const struct idem *idem, char *out, size_t room)
{
	return (size_t)snprintf(out, room, "%s\n%s", idem->token, idem->key);
}

#define BUSY_KEY 256 /* a token's id and a key of at most 128 bytes */

int idem_enter(struct auth *auth, const struct idem *idem, struct err *err)
{
	static int present;
	char key[BUSY_KEY];
	size_t len = busy_key(idem, key, sizeof(key));
	int result = 0;

	pthread_mutex_lock(&auth->lock);
	if (map_get(auth->busy, key, len))
		result = err_set(err, ERR_CONFLICT,
				 "Idempotency-Key: the same request is being worked on");
	else if (map_put(auth->busy, key, len, &present) < 0)
		result = err_nomem(err);
	pthread_mutex_unlock(&auth->lock);
	return result;
}

void idem_leave(struct auth *auth, const struct idem *idem)
{
	char key[BUSY_KEY];
	size_t len = busy_key(idem, key, sizeof(key));

	pthread_mutex_lock(&auth->lock);
	map_remove(auth->busy, key, len);
	pthread_mutex_unlock(&auth->lock);
}
