/* The roles' documents, signed. */
#include "manifest/canon.h"
#include "manifest/ceremony.h"
#include "manifest/publish_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMESTAMP_AGE_S (DAY_S / 2) /* then it is signed anew ... */
#define TIMESTAMP_SPREAD_S (DAY_S / 4)
#define MANIFEST_AGE_S (DAY_S * 3 / 4)
#define MANIFEST_SPREAD_S (DAY_S / 2)
#define EPOCH_STEP 1000000
#define SMALL_MAX 4096 /* a timestamp's or snapshot's body */

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
	if (role == TUF_TIMESTAMP)
		return making_keep(m, name, 1, path, bytes, len, DOC_SHORT, expires);
	const int64_t forget = role == TUF_ROOT ? INT64_MAX : expires + KEEP_S;
	if (plain[0] && making_serve(m, plain, bytes, len, DOC_SHORT, expires))
		return -1;
	return making_keep(m, name, version, path, bytes, len, DOC_IMMUTABLE, forget);
}

/* The seed that the repository's root names; NULL: it is gone, and a new root must be signed. */
static const struct key_seed *seed_of(const struct making *m)
{
	const struct publisher *p = m->p;
	if (p->keys.rotating && digest_eq(&m->repo.seed, &p->next_id))
		return &p->keys.next;
	return digest_eq(&m->repo.seed, &p->online_id) ? &p->keys.online : NULL;
}

const struct digest *making_newest_seed(const struct making *m)
{
	return m->p->keys.rotating ? &m->p->next_id : &m->p->online_id;
}

/* An online key that was derived before: that costs as much as a signature. */
struct derived {
	struct digest seed; /* the id of its seed */
	struct sign_key key;
};

void publish_derived_free(void *arg)
{
	struct derived *derived = arg;
	key_wipe(&derived->key);
	free(derived);
}

/* The name of a key among the derived. */
static size_t key_name(const struct making *m, enum key_role role, char out[static REPO_NAME + 16])
{
	return (size_t)snprintf(out, REPO_NAME + 16, "%s %s", m->repo.name, key_role_name(role));
}

static bool recall(const struct making *m, enum key_role role, struct sign_key *key)
{
	char name[REPO_NAME + 16];
	const size_t len = key_name(m, role, name);
	pthread_mutex_lock(&m->p->lock);
	const struct derived *known = map_get(m->p->derived, name, len);
	const bool found = known && digest_eq(&known->seed, &m->repo.seed);
	if (found)
		*key = known->key;
	pthread_mutex_unlock(&m->p->lock);
	return found;
}

/* Without memory it is derived anew the next time. */
static void remember(const struct making *m, enum key_role role, const struct sign_key *key)
{
	char name[REPO_NAME + 16];
	const size_t len = key_name(m, role, name);
	struct derived *derived = malloc(sizeof(*derived));
	if (!derived)
		return;
	*derived = (struct derived){m->repo.seed, *key};
	pthread_mutex_lock(&m->p->lock);
	(void)!map_put(m->p->derived, name, len, derived);
	pthread_mutex_unlock(&m->p->lock);
}

void making_derive(const struct making *m, enum key_role role, struct sign_key *key)
{
	const struct key_use use = {m->repo.channel, m->repo.class, role, 0};
	/* The index's targets are top-level and offline, as its root. */
	if (role == KEY_ROOT || (role == KEY_TARGETS && !m->repo.channel)) {
		key_derive(key, &m->p->keys.root, &use);
		return;
	}
	if (recall(m, role, key))
		return;
	key_derive(key, seed_of(m), &use);
	remember(m, role, key);
}

/* Sign body with the role's key, store it, and tell what its parent must say of it. */
int making_sign(struct making *m, enum tuf_role role, enum key_role key_role,
		const struct buf *body, int64_t version, int64_t expires, struct tuf_meta *ret)
{
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_BUF struct buf out = BUF_INIT(DOC_MAX);
	const struct sign_key *const keys[] = {&key};
	making_derive(m, key_role, &key);
	if (tuf_sign_text(body, keys, 1, &out, m->err))
		return -1;
	if (ret)
		tuf_meta_of(ret, version, out.data, out.len);
	pthread_mutex_lock(&m->p->lock);
	m->p->stats.signed_documents++;
	pthread_mutex_unlock(&m->p->lock);
	return store_role(m, role, version, out.data, out.len, expires);
}

int making_sign_targets(struct making *m, enum tuf_role role, enum key_role key_role,
			json_t *content, int64_t version, int64_t expires, struct tuf_meta *ret)
{
	AUTO_BUF struct buf text = BUF_INIT(DOC_MAX);
	json_auto_t *body = tuf_targets_body(version, expires, content, m->err);
	if (!body || canon_write(body, &text, m->err) || buf_ok(&text, tuf_role_name(role), m->err))
		return -1;
	return making_sign(m, role, key_role, &text, version, expires, ret);
}

int making_store_root(struct making *m, int64_t version, const void *bytes, size_t len,
		      int64_t expires)
{
	if (version == 1 && ceremony_root_digest(bytes, len, &m->repo.first_root, m->err))
		return -1;
	m->repo.root = version;
	m->repo.seed = *making_newest_seed(m);
	m->repo.content = (struct digest){0};
	m->repo.resign_targets = m->repo.resign_timestamp = 0;
	return store_role(m, TUF_ROOT, version, bytes, len, expires);
}

int making_store_targets(struct making *m, int64_t version, const void *bytes, size_t len,
			 int64_t expires, struct tuf_meta *ret)
{
	m->repo.targets = version;
	tuf_meta_of(ret, version, bytes, len);
	return store_role(m, TUF_TARGETS, version, bytes, len, expires);
}

/* With development keys roots are signed at once. */
static int make_root(struct making *m)
{
	struct sign_key keys[TUF_RULES];
	const int64_t version = m->repo.root + 1, expires = m->now + ROOT_LIFE_S;
	struct tuf_root_spec spec = {.version = version, .expires = expires};
	static const enum key_role of[TUF_RULES] = {KEY_ROOT, KEY_TIMESTAMP, KEY_SNAPSHOT,
						    KEY_TARGETS};
	AUTO_BUF struct buf out = BUF_INIT(TUF_ROOT_MAX);
	m->repo.seed = *making_newest_seed(m);
	for (unsigned i = 0; i < TUF_RULES; i++) {
		making_derive(m, of[i], &keys[i]);
		spec.roles[i] = (struct tuf_key_set){&keys[i].public, 1, 1};
	}
	json_auto_t *body = tuf_root_body(&spec, m->err);
	const struct sign_key *const signer[] = {&keys[0]};
	const int bad = !body || tuf_sign(body, signer, 1, &out, m->err) ||
			buf_ok(&out, "root", m->err);
	for (unsigned i = 0; i < TUF_RULES; i++)
		key_wipe(&keys[i]);
	return bad ? -1 : making_store_root(m, version, out.data, out.len, expires);
}

int64_t making_next_version(const struct publisher *p, int64_t version)
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

int making_timestamp(struct making *m, const struct tuf_meta *snapshot)
{
	const int64_t expires = m->now + TIMESTAMP_LIFE_S;
	m->repo.timestamp = making_next_version(m->p, m->repo.timestamp);
	m->repo.resign_timestamp = due(m, TIMESTAMP_AGE_S, TIMESTAMP_SPREAD_S);
	AUTO_BUF struct buf body = BUF_INIT(SMALL_MAX);
	if (tuf_timestamp_text(m->repo.timestamp, expires, snapshot, &body, m->err))
		return -1;
	return making_sign(m, TUF_TIMESTAMP, KEY_TIMESTAMP, &body, m->repo.timestamp, expires, NULL);
}

int making_snapshot(struct making *m, const struct tuf_meta *targets,
			 const struct tuf_meta *rules)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	struct tuf_meta meta;
	m->repo.snapshot = making_next_version(m->p, m->repo.snapshot);
	/* Snapshot, targets and rules grow old together; an index's targets live longer. */
	m->repo.resign_targets = due(m, MANIFEST_AGE_S, MANIFEST_SPREAD_S);
	AUTO_BUF struct buf body = BUF_INIT(SMALL_MAX);
	if (tuf_snapshot_text(m->repo.snapshot, expires, targets, rules, &body, m->err) ||
	    making_sign(m, TUF_SNAPSHOT, KEY_SNAPSHOT, &body, m->repo.snapshot, expires, &meta))
		return -1;
	return making_timestamp(m, &meta);
}

/* content is taken over. */
int making_targets(struct making *m, json_t *content, struct tuf_meta *ret)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	m->repo.targets = making_next_version(m->p, m->repo.targets);
	return making_sign_targets(m, TUF_TARGETS, KEY_TARGETS, content, m->repo.targets, expires,
				   ret);
}

int making_read_meta(struct making *m, enum tuf_role role, int64_t version, struct tuf_meta *ret)
{
	AUTO_BUF struct buf bytes = BUF_INIT(DOC_MAX);
	if (publish_doc_get(m->db, m->repo.name, role, version, &bytes, m->err))
		return -1;
	tuf_meta_of(ret, version, bytes.data, bytes.len);
	return 0;
}

int making_need_root(struct making *m, bool *ret_pending)
{
	*ret_pending = false;
	if (m->p->keys.development)
		return m->repo.root && digest_eq(&m->repo.seed, making_newest_seed(m))
			       ? 0
			       : make_root(m);
	*ret_pending = !m->repo.root || !seed_of(m);
	return 0;
}

bool making_has_seed(const struct making *m)
{
	return m->p->keys.development ? digest_eq(&m->repo.seed, making_newest_seed(m))
				      : seed_of(m) != NULL;
}

int making_resign_timestamp(struct making *m)
{
	struct tuf_meta meta;
	if (m->repo.resign_timestamp > m->now)
		return 0;
	if (making_read_meta(m, TUF_SNAPSHOT, m->repo.snapshot, &meta))
		return -1;
	return making_timestamp(m, &meta);
}
