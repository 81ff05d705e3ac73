#include "manifest/publish.h"

#include "base/digest.h"
#include "base/map.h"
#include "manifest/build.h"
#include "manifest/canon.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/publisher_store.h"
#include "manifest/tuf_build.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_S 86400
#define TIMESTAMP_LIFE_S DAY_S
#define MANIFEST_LIFE_S (3 * DAY_S)
#define ROOT_LIFE_S (3650 * DAY_S)
#define KEEP_S (7 * DAY_S)	   /* numbered documents after their life began to end */
#define TIMESTAMP_AGE_S (DAY_S / 2) /* then it is signed anew ... */
#define TIMESTAMP_SPREAD_S (DAY_S / 4)
#define MANIFEST_AGE_S (DAY_S * 3 / 4)
#define MANIFEST_SPREAD_S (DAY_S / 2)
#define EPOCH_STEP 1000000
#define CLOCK_SLACK_MS 3600000 /* wall and monotonic clock may part by this */
#define DOC_MAX TUF_TARGETS_MAX
#define REPO_NAME 160
#define CHANGE_DOCS 160 /* of one repository at once: the index's files and roles */
#define INDEX_REPO "index"
#define ATTEST_REPO "attest" /* publishers' envelopes: no TUF repository, but served alike */

enum {
	Q_REPO_GET,
	Q_REPO_PUT,
	Q_REPO_DUE,
	Q_REPO_LIST,
	Q_DOC_PUT,
	Q_DOC_ALL,
	Q_DOC_FORGET,
	Q_FIRST_ROOT,
	Q_COUNT
};
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_REPO_GET] =
		"SELECT root, targets, snapshot, timestamp, content, resign_targets, resign_timestamp"
		" FROM repos WHERE repo = $repo",
	[Q_REPO_PUT] =
		"INSERT INTO repos (repo, channel, class, root, targets, snapshot, timestamp, content,"
		" resign_targets, resign_timestamp) VALUES ($repo, $channel, $class, $root, $targets,"
		" $snapshot, $timestamp, $content, $resign_targets, $resign_timestamp)"
		" ON CONFLICT (repo) DO UPDATE SET root = excluded.root, targets = excluded.targets,"
		" snapshot = excluded.snapshot, timestamp = excluded.timestamp,"
		" content = excluded.content, resign_targets = excluded.resign_targets,"
		" resign_timestamp = excluded.resign_timestamp",
	[Q_REPO_DUE] =
		"SELECT channel, class FROM repos WHERE resign_targets <= $now"
		" OR resign_timestamp <= $now ORDER BY resign_timestamp LIMIT $limit",
	[Q_REPO_LIST] =
		"SELECT repo, channel, class, root, targets, snapshot, timestamp, resign_targets,"
		" resign_timestamp FROM repos ORDER BY repo",
	[Q_DOC_PUT] =
		"INSERT INTO documents (repo, role, version, path, bytes, created, expires)"
		" VALUES ($repo, $role, $version, $path, $bytes, $created, $expires)"
		" ON CONFLICT (repo, role, version) DO UPDATE SET bytes = excluded.bytes,"
		" created = excluded.created, expires = excluded.expires",
	[Q_DOC_ALL] =
		"SELECT repo, role, version, path, bytes, expires FROM documents"
		" ORDER BY repo, role, version",
	[Q_DOC_FORGET] =
		"DELETE FROM documents WHERE repo = $repo AND role <> 'root' AND expires < $before",
	[Q_FIRST_ROOT] =
		"SELECT r.class, d.bytes FROM repos r JOIN documents d ON d.repo = r.repo"
		" WHERE r.channel = $channel AND d.role = 'root' AND d.version = 1",
};
/* clang-format on */
const struct sql_set publish_sql = {"publish", sql, Q_COUNT};

struct publisher {
	struct keystore keys;
	const struct clock *clock;
	int64_t wall_ms, monotonic_ms; /* when it was made: the clock guard's origin */
	void (*on_doc)(void *arg, struct doc *doc);
	void *on_doc_arg;
	int64_t last_signed; /* the ledger thread's */

	pthread_mutex_t lock; /* guards current, stats, doubt */
	struct snapshot *current;
	struct publisher_stats stats;
	char doubt[200];
	_Atomic uint64_t generation;
};

/* What a repository's row says; versions without a document are 0. */
struct repo {
	char name[REPO_NAME];
	const char *channel, *class; /* NULL: the index */
	int64_t root, targets, snapshot, timestamp;
	struct digest content;
	int64_t resign_targets, resign_timestamp;
};

/* Documents made in this transaction, on their way into the snapshot. */
struct change {
	struct publisher *publisher;
	char repo[REPO_NAME];
	int64_t now;
	struct doc *docs[CHANGE_DOCS];
	unsigned count;
};

/* One publication under way. */
struct making {
	struct publisher *p;
	struct db *db;
	struct repo repo;
	struct change *change;
	int64_t now;
	struct err *err;
};

/* ---- the clock guard ---- */

static void set_doubt(struct publisher *p, const char *text)
{
	pthread_mutex_lock(&p->lock);
	snprintf(p->doubt, sizeof(p->doubt), "%s", text);
	p->stats.refusals += text[0] != 0;
	pthread_mutex_unlock(&p->lock);
}

/* Time that jumped must not be signed: a device would believe it. */
static int check_clock(struct publisher *p, int64_t now, struct err *err)
{
	const int64_t wall = clock_wall_ms() - p->wall_ms;
	const int64_t apart = llabs(wall - (clock_monotonic_ms() - p->monotonic_ms));
	if (apart > CLOCK_SLACK_MS)
		err_set(err, ERR_CONFLICT,
			"refusing to sign: the wall clock has moved %lld s against the monotonic one;"
			" set it right and restart",
			(long long)(apart / 1000));
	else if (now < p->last_signed - CLOCK_SLACK_MS / 1000)
		err_set(err, ERR_CONFLICT,
			"refusing to sign: the clock is %lld s before the last signature; set it right",
			(long long)(p->last_signed - now));
	else {
		set_doubt(p, "");
		return 0;
	}
	set_doubt(p, err->text);
	return -1;
}

bool publisher_clock_doubt(struct publisher *p, char out[static 200])
{
	pthread_mutex_lock(&p->lock);
	memcpy(out, p->doubt, sizeof(p->doubt));
	pthread_mutex_unlock(&p->lock);
	return out[0] != 0;
}

/* ---- rows ---- */

static void repo_name(char out[static REPO_NAME], const char *channel, const char *class)
{
	if (channel)
		snprintf(out, REPO_NAME, "c/%s/%s", channel, class);
	else
		snprintf(out, REPO_NAME, INDEX_REPO);
}

static int repo_get(struct making *m, const char *channel, const char *class)
{
	struct repo *r = &m->repo;
	*r = (struct repo){.channel = channel, .class = class};
	repo_name(r->name, channel, class);
	STMT(q, m->db, &publish_sql, Q_REPO_GET);
	stmt_text(q, "$repo", r->name);
	const int got = stmt_step(q, m->err);
	if (got <= 0)
		return got;
	r->root = stmt_col_int(q, 0);
	r->targets = stmt_col_int(q, 1);
	r->snapshot = stmt_col_int(q, 2);
	r->timestamp = stmt_col_int(q, 3);
	r->resign_targets = stmt_col_int(q, 5);
	r->resign_timestamp = stmt_col_int(q, 6);
	return stmt_col_digest(q, 4, &r->content, m->err);
}

static int repo_put(struct making *m)
{
	const struct repo *r = &m->repo;
	STMT(q, m->db, &publish_sql, Q_REPO_PUT);
	stmt_text(q, "$repo", r->name);
	stmt_text(q, "$channel", r->channel);
	stmt_text(q, "$class", r->class);
	stmt_int(q, "$root", r->root);
	stmt_int(q, "$targets", r->targets);
	stmt_int(q, "$snapshot", r->snapshot);
	stmt_int(q, "$timestamp", r->timestamp);
	stmt_digest(q, "$content", &r->content);
	stmt_int(q, "$resign_targets", r->resign_targets);
	stmt_int(q, "$resign_timestamp", r->resign_timestamp);
	return stmt_run(q, m->err);
}

static int doc_put(struct making *m, const char *role, int64_t version, const char *path,
		   const void *bytes, size_t len, int64_t expires)
{
	STMT(q, m->db, &publish_sql, Q_DOC_PUT);
	stmt_text(q, "$repo", m->repo.name);
	stmt_text(q, "$role", role);
	stmt_int(q, "$version", version);
	stmt_text(q, "$path", path);
	stmt_blob(q, "$bytes", bytes, len);
	stmt_int(q, "$created", m->now);
	stmt_int(q, "$expires", expires);
	return stmt_run(q, m->err);
}

/* ---- documents ---- */

static int add_doc(struct making *m, const char *path, const void *bytes, size_t len,
		   enum doc_cache cache, int64_t expires)
{
	struct doc *doc = doc_new(path, bytes, len, cache, expires);
	if (!doc || m->change->count == CHANGE_DOCS) {
		doc_unref(doc);
		return err_nomem(m->err);
	}
	if (m->p->on_doc)
		m->p->on_doc(m->p->on_doc_arg, doc);
	m->change->docs[m->change->count++] = doc;
	return 0;
}

/* A numbered document, and what else it is reachable as. */
static int store_role(struct making *m, enum tuf_role role, int64_t version, const char *bytes,
		      size_t len, int64_t expires)
{
	char path[512], plain[512] = "";
	const char *name = tuf_role_name(role);
	if (role == TUF_TIMESTAMP)
		snprintf(path, sizeof(path), "/v1/%s/tuf/timestamp.json", m->repo.name);
	else
		snprintf(path, sizeof(path), "/v1/%s/tuf/%lld.%s.json", m->repo.name,
			 (long long)version, name);
	if (role == TUF_TARGETS && m->repo.channel)
		snprintf(plain, sizeof(plain), "/v1/%s/manifest.json", m->repo.name);
	/* Only the newest timestamp is ever served: it keeps one row. */
	const int64_t row = role == TUF_TIMESTAMP ? 1 : version;
	const int64_t forget = role == TUF_ROOT ? INT64_MAX : expires + KEEP_S;
	if (doc_put(m, name, row, path, bytes, len, role == TUF_TIMESTAMP ? expires : forget))
		return -1;
	if (plain[0] && add_doc(m, plain, bytes, len, DOC_SHORT, expires))
		return -1;
	return role == TUF_TIMESTAMP ? add_doc(m, path, bytes, len, DOC_SHORT, expires)
				     : add_doc(m, path, bytes, len, DOC_IMMUTABLE, forget);
}

static void derive(const struct making *m, enum key_role role, struct sign_key *key)
{
	/* The index's targets are top-level and offline, as its root. */
	const bool offline = role == KEY_ROOT || (role == KEY_TARGETS && !m->repo.channel);
	const struct key_use use = {m->repo.channel, m->repo.class, role, 0};
	key_derive(key, offline ? &m->p->keys.root : &m->p->keys.online, &use);
}

/* Sign body with the role's key, store it, and tell what its parent must say of it. */
static int sign_role(struct making *m, enum tuf_role role, enum key_role key_role,
		     const json_t *body, int64_t version, int64_t expires, struct tuf_meta *ret)
{
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_BUF struct buf out = BUF_INIT(DOC_MAX);
	const struct sign_key *const keys[] = {&key};
	derive(m, key_role, &key);
	if (!body || tuf_sign(body, keys, 1, &out, m->err) ||
	    buf_ok(&out, tuf_role_name(role), m->err))
		return -1;
	if (ret)
		tuf_meta_of(ret, version, out.data, out.len);
	pthread_mutex_lock(&m->p->lock);
	m->p->stats.signed_documents++;
	pthread_mutex_unlock(&m->p->lock);
	return store_role(m, role, version, out.data, out.len, expires);
}

static int make_root(struct making *m)
{
	struct sign_key keys[KEY_ROLES];
	const int64_t expires = m->now + ROOT_LIFE_S;
	struct tuf_root_spec spec = {.version = 1, .expires = expires};
	static const enum key_role of[TUF_RULES] = {KEY_ROOT, KEY_TIMESTAMP, KEY_SNAPSHOT,
						    KEY_TARGETS};
	for (unsigned i = 0; i < TUF_RULES; i++) {
		derive(m, of[i], &keys[i]);
		spec.roles[i] = (struct tuf_key_set){&keys[i].public, 1, 1};
	}
	json_auto_t *body = tuf_root_body(&spec, m->err);
	for (unsigned i = 0; i < TUF_RULES; i++)
		key_wipe(&keys[i]);
	if (!body || sign_role(m, TUF_ROOT, KEY_ROOT, body, 1, expires, NULL))
		return -1;
	m->repo.root = 1;
	return 0;
}

static int64_t next_version(const struct publisher *p, int64_t version)
{
	const int64_t least = p->keys.epoch * EPOCH_STEP + 1;
	return version + 1 > least ? version + 1 : least;
}

/* When to sign anew: spread by the name, so that a fleet of repositories is not due at once. */
static int64_t due(const struct making *m, int64_t age, int64_t spread)
{
	struct digest digest;
	digest_of(&digest, m->repo.name, strlen(m->repo.name));
	const uint32_t r = (uint32_t)digest.bytes[0] << 16 | digest.bytes[1] << 8 | digest.bytes[2];
	return m->now + age + (int64_t)r % spread;
}

static int make_timestamp(struct making *m, const struct tuf_meta *snapshot)
{
	const int64_t expires = m->now + TIMESTAMP_LIFE_S;
	m->repo.timestamp = next_version(m->p, m->repo.timestamp);
	m->repo.resign_timestamp = due(m, TIMESTAMP_AGE_S, TIMESTAMP_SPREAD_S);
	json_auto_t *body = tuf_timestamp_body(m->repo.timestamp, expires, snapshot, m->err);
	return sign_role(m, TUF_TIMESTAMP, KEY_TIMESTAMP, body, m->repo.timestamp, expires, NULL);
}

static int make_snapshot(struct making *m, const struct tuf_meta *targets,
			 const struct tuf_meta *rules)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	struct tuf_meta meta;
	m->repo.snapshot = next_version(m->p, m->repo.snapshot);
	json_auto_t *body = tuf_snapshot_body(m->repo.snapshot, expires, targets, rules, m->err);
	if (sign_role(m, TUF_SNAPSHOT, KEY_SNAPSHOT, body, m->repo.snapshot, expires, &meta))
		return -1;
	return make_timestamp(m, &meta);
}

/* content is taken over. */
static int make_targets(struct making *m, json_t *content, struct tuf_meta *ret)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	m->repo.targets = next_version(m->p, m->repo.targets);
	m->repo.resign_targets = due(m, MANIFEST_AGE_S, MANIFEST_SPREAD_S);
	json_auto_t *body = tuf_targets_body(m->repo.targets, expires, content, m->err);
	return sign_role(m, TUF_TARGETS, KEY_TARGETS, body, m->repo.targets, expires, ret);
}

/* What the current timestamp says of the snapshot, so that it can be signed anew alone. */
static int read_snapshot_meta(struct making *m, struct tuf_meta *ret)
{
	char path[512];
	struct snapshot *current = publisher_snapshot(m->p);
	snprintf(path, sizeof(path), "/v1/%s/tuf/%lld.snapshot.json", m->repo.name,
		 (long long)m->repo.snapshot);
	const struct doc *doc = snapshot_find(current, path);
	if (doc)
		tuf_meta_of(ret, m->repo.snapshot, doc->bytes, doc->len);
	snapshot_unref(current);
	return doc ? 0 : -1;
}

/* ---- into the snapshot ---- */

static void change_free(void *arg)
{
	struct change *change = arg;
	for (unsigned i = 0; i < change->count; i++)
		doc_unref(change->docs[i]);
	free(change);
}

/* After the commit: what was signed becomes visible.  Without memory the old documents stay until
 * the next change or restart; they are valid, and the rows are kept. */
static void change_apply(void *arg)
{
	struct change *change = arg;
	struct publisher *p = change->publisher;
	struct snapshot *next = snapshot_with(p->current, change->repo, change->docs,
					      change->count, change->now);
	change->count = 0;
	change_free(change);
	if (!next)
		return;
	pthread_mutex_lock(&p->lock);
	struct snapshot *old = p->current;
	p->current = next;
	p->stats.swaps++;
	pthread_mutex_unlock(&p->lock);
	atomic_fetch_add(&p->generation, 1);
	snapshot_unref(old);
}

static int change_new(struct making *m)
{
	m->change = calloc(1, sizeof(*m->change));
	if (!m->change)
		return err_nomem(m->err);
	m->change->publisher = m->p;
	m->change->now = m->now;
	memcpy(m->change->repo, m->repo.name, sizeof(m->change->repo));
	return 0;
}

static int begin(struct making *m, struct publisher *p, struct db *db, const char *channel,
		 const char *class, struct err *err)
{
	*m = (struct making){.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	return repo_get(m, channel, class) ? -1 : change_new(m);
}

static int forget_old(struct making *m)
{
	STMT(q, m->db, &publish_sql, Q_DOC_FORGET);
	stmt_text(q, "$repo", m->repo.name);
	stmt_int(q, "$before", m->now);
	return stmt_run(q, m->err);
}

static int remember_time(struct making *m)
{
	char text[32];
	m->p->last_signed = m->now;
	snprintf(text, sizeof(text), "%lld", (long long)m->now);
	return db_meta_set(m->db, "last_signed", text, m->err);
}

/* Ends begin(): bad, or the row is written and the swap arranged. */
static int finish(struct making *m, int bad)
{
	if (bad || !m->change->count || repo_put(m) || forget_old(m) || remember_time(m)) {
		const bool nothing = !bad && !m->change->count;
		change_free(m->change);
		return nothing ? 0 : -1;
	}
	return db_after_commit(m->db, change_apply, change_free, m->change, m->err);
}

/* ---- one class ---- */

/* Whether there is a root to sign under; development keys make it. */
static int need_root(struct making *m, bool *ret_pending)
{
	*ret_pending = !m->repo.root && !m->p->keys.development;
	return m->repo.root || *ret_pending ? 0 : make_root(m);
}

static int resign_timestamp(struct making *m)
{
	struct tuf_meta meta;
	if (m->repo.resign_timestamp > m->now)
		return 0;
	if (read_snapshot_meta(m, &meta))
		return err_set(m->err, ERR_CORRUPT, "%s: its snapshot document is missing",
			       m->repo.name);
	return make_timestamp(m, &meta);
}

static int make_class(struct making *m)
{
	struct digest content;
	struct tuf_meta meta;
	json_t *body;
	bool pending;
	if (need_root(m, &pending) || pending)
		return pending ? 0 : -1;
	if (build_manifest(m->db, m->repo.channel, m->repo.class, m->p->keys.development, &body,
			   m->err))
		return -1;
	if (canon_digest(body, &content, m->err)) {
		json_decref(body);
		return -1;
	}
	if (m->repo.targets && digest_eq(&content, &m->repo.content) &&
	    m->repo.resign_targets > m->now) {
		json_decref(body);
		return resign_timestamp(m);
	}
	m->repo.content = content;
	return make_targets(m, body, &meta) ? -1 : make_snapshot(m, &meta, NULL);
}

static int publish_class(struct publisher *p, struct db *db, const char *channel,
			 const char *class, struct err *err)
{
	struct making m;
	if (begin(&m, p, db, channel, class, err))
		return -1;
	return finish(&m, check_clock(p, m.now, err) || make_class(&m));
}

int publish_repo(struct publisher *p, struct db *db, const char *channel, const char *class,
		 struct err *err)
{
	return publish_class(p, db, channel, class, err);
}

/* ---- the index ---- */

/* An index target: served under its digest, as consistent snapshots want it. */
static int store_file(struct making *m, const struct build_file *file, json_t *targets)
{
	char path[512], role[200], hex[DIGEST_HEX];
	struct digest digest;
	const char *slash = strrchr(file->path, '/');
	const char *base = slash ? slash + 1 : file->path;
	digest_of(&digest, file->bytes, file->len);
	digest_hex(&digest, hex);
	snprintf(path, sizeof(path), "/v1/index/targets/%.*s%s.%s", (int)(base - file->path),
		 file->path, hex, base);
	snprintf(role, sizeof(role), "file:%s", file->path);
	const int64_t forget = m->now + MANIFEST_LIFE_S + KEEP_S;
	json_t *entry = tuf_target_json((int64_t)file->len, &digest, NULL);
	if (!entry || json_object_set_new(targets, file->path, entry))
		return err_nomem(m->err);
	if (doc_put(m, role, m->repo.targets + 1, path, file->bytes, file->len, forget))
		return -1;
	return add_doc(m, path, file->bytes, file->len, DOC_IMMUTABLE, forget);
}

static int store_files(struct making *m, json_t *targets)
{
	struct build_file files[BUILD_INDEX_FILES];
	unsigned count;
	if (build_index_files(m->db, files, &count, m->err))
		return -1;
	int bad = 0;
	for (unsigned i = 0; i < count && !bad; i++)
		bad = store_file(m, &files[i], targets);
	build_files_free(files, count);
	return bad;
}

static int make_rules(struct making *m, struct tuf_meta *ret)
{
	const int64_t version = m->repo.targets, expires = m->now + MANIFEST_LIFE_S;
	struct build_file file;
	json_t *targets = json_object(), *content = json_pack("{s:o}", "targets", targets);
	if (!content)
		return err_nomem(m->err);
	if (build_rules_file(m->db, &file, m->err)) {
		json_decref(content);
		return -1;
	}
	int bad = store_file(m, &file, targets);
	build_files_free(&file, 1);
	if (bad) {
		json_decref(content);
		return -1;
	}
	json_auto_t *body = tuf_targets_body(version, expires, content, m->err);
	return sign_role(m, TUF_RULES, KEY_RULES, body, version, expires, ret);
}

static json_t *index_content(struct making *m)
{
	AUTO_SIGN_KEY struct sign_key rules;
	derive(m, KEY_RULES, &rules);
	const struct tuf_key_set set = {&rules.public, 1, 1};
	json_t *targets = json_object(), *content = json_pack("{s:o}", "targets", targets);
	json_t *delegations = content ? tuf_delegations_json(&set, "rules.json", m->err) : NULL;
	if (delegations && !json_object_set_new(content, "delegations", delegations) &&
	    !store_files(m, targets))
		return content;
	json_decref(content);
	return NULL;
}

static int make_index(struct making *m)
{
	struct tuf_meta targets, rules;
	bool pending;
	if (need_root(m, &pending) || pending)
		return pending ? 0 : -1;
	json_t *content = index_content(m);
	if (!content || make_targets(m, content, &targets) || make_rules(m, &rules))
		return -1;
	return make_snapshot(m, &targets, &rules);
}

static int publish_index(struct publisher *p, struct db *db, struct err *err)
{
	struct making m;
	if (begin(&m, p, db, NULL, NULL, err))
		return -1;
	return finish(&m, check_clock(p, m.now, err) || make_index(&m));
}

/* ---- envelopes ---- */

static int store_envelope(void *arg, const struct digest *digest, const void *bytes, size_t len,
			  struct err *err)
{
	struct making *m = arg;
	char hex[DIGEST_HEX], path[sizeof("/v1/" ATTEST_REPO "/") + DIGEST_HEX];
	m->err = err;
	digest_hex(digest, hex);
	snprintf(path, sizeof(path), "/v1/" ATTEST_REPO "/%s", hex);
	if (doc_put(m, hex, 1, path, bytes, len, INT64_MAX))
		return -1;
	return add_doc(m, path, bytes, len, DOC_IMMUTABLE, INT64_MAX);
}

int publish_envelopes(struct publisher *p, struct db *db, const char *model, const char *release,
		      struct err *err)
{
	struct making m = {.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	snprintf(m.repo.name, sizeof(m.repo.name), "%s", ATTEST_REPO);
	if (change_new(&m))
		return -1;
	if (publisher_envelopes(db, model, release, store_envelope, &m, err)) {
		change_free(m.change);
		return -1;
	}
	return db_after_commit(db, change_apply, change_free, m.change, err);
}

/* ---- many ---- */

struct all {
	struct publisher *p;
	struct db *db;
	json_t *channels;
};

static int publish_one_class(void *arg, const char *class, struct err *err)
{
	const struct all *all = arg;
	size_t i;
	json_t *channel;
	json_array_foreach (all->channels, i, channel)
		if (publish_class(all->p, all->db,
				  json_string_value(json_object_get(channel, "name")), class, err))
			return -1;
	return 0;
}

int publish_all(struct publisher *p, struct db *db, struct err *err)
{
	json_auto_t *channels = NULL;
	if (catalog_channel_list(db, "", INT64_MAX, &channels, err))
		return -1;
	struct all all = {p, db, channels};
	if (class_each(db, clock_s(p->clock), publish_one_class, &all, err))
		return -1;
	return publish_index(p, db, err);
}

/* (channel, class) pairs that are due, as [[channel, class] ...]; null, null for the index. */
static int list_due(struct publisher *p, struct db *db, int64_t limit, json_t *list,
		    struct err *err)
{
	STMT(q, db, &publish_sql, Q_REPO_DUE);
	stmt_int(q, "$now", clock_s(p->clock));
	stmt_int(q, "$limit", limit);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_array_append_new(list, json_pack("[s?, s?]", stmt_col_text(q, 0),
							  stmt_col_text(q, 1))))
			return err_nomem(err);
	return got;
}

int publish_due(struct publisher *p, struct db *db, int64_t limit, int64_t *ret_signed,
		struct err *err)
{
	json_auto_t *list = json_array();
	size_t i;
	json_t *pair;
	if (list_due(p, db, limit, list, err))
		return -1;
	json_array_foreach (list, i, pair) {
		const char *channel = json_string_value(json_array_get(pair, 0));
		const char *class = json_string_value(json_array_get(pair, 1));
		if (channel ? publish_class(p, db, channel, class, err) : publish_index(p, db, err))
			return -1;
	}
	*ret_signed = (int64_t)json_array_size(list);
	return 0;
}

int publish_first_roots(struct db *db, const char *channel, json_t *roots, struct err *err)
{
	STMT(q, db, &publish_sql, Q_FIRST_ROOT);
	stmt_text(q, "$channel", channel);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct digest digest;
		char hex[DIGEST_HEX];
		size_t len;
		const void *bytes = stmt_col_blob(q, 1, &len);
		digest_of(&digest, bytes, len);
		digest_hex(&digest, hex);
		if (json_object_set_new(roots, stmt_col_text(q, 0), json_string(hex)))
			return err_nomem(err);
	}
	return got;
}

static json_t *repo_row(struct stmt *q)
{
	const int64_t targets = stmt_col_int(q, 7), timestamp = stmt_col_int(q, 8);
	return json_pack("{s:s, s:s?, s:s?, s:I, s:I, s:I, s:I, s:I}", "repo", stmt_col_text(q, 0),
			 "channel", stmt_col_text(q, 1), "class", stmt_col_text(q, 2), "root",
			 (json_int_t)stmt_col_int(q, 3), "targets", (json_int_t)stmt_col_int(q, 4),
			 "snapshot", (json_int_t)stmt_col_int(q, 5), "timestamp",
			 (json_int_t)stmt_col_int(q, 6), "resign_at",
			 (json_int_t)(targets < timestamp ? targets : timestamp));
}

int publish_list(struct db *db, json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &publish_sql, Q_REPO_LIST);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_array_append_new(items, repo_row(q)))
			return err_nomem(err);
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

/* ---- the publisher ---- */

int publisher_new(struct publisher **ret_publisher, const struct keystore *keys,
		  const struct clock *clock, struct err *err)
{
	struct publisher *p = calloc(1, sizeof(*p));
	if (!p)
		return err_nomem(err);
	p->current = snapshot_new();
	if (!p->current) {
		free(p);
		return err_nomem(err);
	}
	p->keys = *keys;
	p->clock = clock;
	p->wall_ms = clock_wall_ms();
	p->monotonic_ms = clock_monotonic_ms();
	pthread_mutex_init(&p->lock, NULL);
	*ret_publisher = p;
	return 0;
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	snapshot_unref(p->current);
	keystore_done(&p->keys);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void publisher_on_doc(struct publisher *p, void (*fn)(void *arg, struct doc *doc), void *arg)
{
	p->on_doc = fn;
	p->on_doc_arg = arg;
}

/* Whether a later row of the same role follows: then only its numbered name is served. */
static int load_row(struct making *m, struct stmt *q)
{
	size_t len;
	const char *path = stmt_col_text(q, 3), *role = stmt_col_text(q, 1);
	const void *bytes = stmt_col_blob(q, 4, &len);
	const int64_t expires = stmt_col_int(q, 5);
	char plain[512];
	if (!strcmp(role, "timestamp"))
		return add_doc(m, path, bytes, len, DOC_SHORT, expires);
	if (add_doc(m, path, bytes, len, DOC_IMMUTABLE, expires))
		return -1;
	if (strcmp(role, "targets") || !strcmp(m->repo.name, INDEX_REPO))
		return 0;
	/* Rows come in order of version: the last one stays under the plain name. */
	snprintf(plain, sizeof(plain), "/v1/%s/manifest.json", m->repo.name);
	for (unsigned i = 0; i < m->change->count; i++)
		if (!strcmp(m->change->docs[i]->path, plain)) {
			doc_unref(m->change->docs[i]);
			m->change->docs[i] = m->change->docs[--m->change->count];
		}
	return add_doc(m, plain, bytes, len, DOC_SHORT, expires - KEEP_S);
}

static int load_change(struct making *m, const char *repo)
{
	if (m->change)
		change_apply(m->change);
	m->change = calloc(1, sizeof(*m->change));
	if (!m->change)
		return err_nomem(m->err);
	m->change->publisher = m->p;
	snprintf(m->change->repo, sizeof(m->change->repo), "%s", repo);
	snprintf(m->repo.name, sizeof(m->repo.name), "%s", repo);
	return 0;
}

static int load_last_signed(struct publisher *p, struct db *db, struct err *err)
{
	char text[32];
	if (!db_meta_get(db, "last_signed", text, sizeof(text), err)) {
		p->last_signed = strtoll(text, NULL, 10);
		return 0;
	}
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

int publisher_load(struct publisher *p, struct db *db, struct err *err)
{
	struct making m = {.p = p, .db = db, .err = err};
	STMT(q, db, &publish_sql, Q_DOC_ALL);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		const char *repo = stmt_col_text(q, 0);
		const bool full = m.change && m.change->count + 2 > CHANGE_DOCS;
		if ((!m.change || full || strcmp(m.repo.name, repo)) && load_change(&m, repo))
			return -1;
		if (load_row(&m, q)) {
			change_free(m.change);
			return -1;
		}
	}
	if (m.change)
		change_apply(m.change);
	return got < 0 ? -1 : load_last_signed(p, db, err);
}

struct snapshot *publisher_snapshot(struct publisher *p)
{
	pthread_mutex_lock(&p->lock);
	struct snapshot *snapshot = snapshot_ref(p->current);
	pthread_mutex_unlock(&p->lock);
	return snapshot;
}

uint64_t publisher_generation(const struct publisher *p)
{
	return atomic_load(&p->generation);
}

void publisher_stats(struct publisher *p, struct publisher_stats *ret_stats)
{
	struct snapshot *snapshot = publisher_snapshot(p);
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	pthread_mutex_unlock(&p->lock);
	ret_stats->documents = snapshot_documents(snapshot);
	ret_stats->repositories = snapshot_repositories(snapshot);
	const int64_t first = snapshot_first_expiry(snapshot);
	ret_stats->first_expiry = first == INT64_MAX ? 0 : first;
	snapshot_unref(snapshot);
}

bool publisher_development(const struct publisher *p)
{
	return p->keys.development;
}
