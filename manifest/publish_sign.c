/* The roles' documents, signed. */
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
#define DOC_MAX TUF_TARGETS_MAX

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
	if (making_doc_put(m, name, row, path, bytes, len, role == TUF_TIMESTAMP ? expires : forget))
		return -1;
	if (plain[0] && making_add_doc(m, plain, bytes, len, DOC_SHORT, expires))
		return -1;
	return role == TUF_TIMESTAMP ? making_add_doc(m, path, bytes, len, DOC_SHORT, expires)
				     : making_add_doc(m, path, bytes, len, DOC_IMMUTABLE, forget);
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

void making_derive(const struct making *m, enum key_role role, struct sign_key *key)
{
	/* The index's targets are top-level and offline, as its root. */
	const bool offline = role == KEY_ROOT || (role == KEY_TARGETS && !m->repo.channel);
	const struct key_use use = {m->repo.channel, m->repo.class, role, 0};
	key_derive(key, offline ? &m->p->keys.root : seed_of(m), &use);
}

/* Sign body with the role's key, store it, and tell what its parent must say of it. */
int making_sign(struct making *m, enum tuf_role role, enum key_role key_role,
		     const json_t *body, int64_t version, int64_t expires, struct tuf_meta *ret)
{
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_BUF struct buf out = BUF_INIT(DOC_MAX);
	const struct sign_key *const keys[] = {&key};
	making_derive(m, key_role, &key);
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
	json_auto_t *body = tuf_timestamp_body(m->repo.timestamp, expires, snapshot, m->err);
	return making_sign(m, TUF_TIMESTAMP, KEY_TIMESTAMP, body, m->repo.timestamp, expires, NULL);
}

int making_snapshot(struct making *m, const struct tuf_meta *targets,
			 const struct tuf_meta *rules)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	struct tuf_meta meta;
	m->repo.snapshot = making_next_version(m->p, m->repo.snapshot);
	/* Snapshot, targets and rules grow old together; an index's targets live longer. */
	m->repo.resign_targets = due(m, MANIFEST_AGE_S, MANIFEST_SPREAD_S);
	json_auto_t *body = tuf_snapshot_body(m->repo.snapshot, expires, targets, rules, m->err);
	if (making_sign(m, TUF_SNAPSHOT, KEY_SNAPSHOT, body, m->repo.snapshot, expires, &meta))
		return -1;
	return making_timestamp(m, &meta);
}

/* content is taken over. */
int making_targets(struct making *m, json_t *content, struct tuf_meta *ret)
{
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	m->repo.targets = making_next_version(m->p, m->repo.targets);
	json_auto_t *body = tuf_targets_body(m->repo.targets, expires, content, m->err);
	return making_sign(m, TUF_TARGETS, KEY_TARGETS, body, m->repo.targets, expires, ret);
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

int making_resign_timestamp(struct making *m)
{
	struct tuf_meta meta;
	if (m->repo.resign_timestamp > m->now)
		return 0;
	if (making_read_meta(m, TUF_SNAPSHOT, m->repo.snapshot, &meta))
		return -1;
	return making_timestamp(m, &meta);
}
