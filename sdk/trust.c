/* What may be believed: the TUF client workflow (specification section 5) from the embedded index
 * root to the manifest of this device's class. */
#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/classes.h"
#include "sdk/internal.h"

#include <stdio.h>
#include <string.h>

#define ROLE_PATH 512
#define CLOCK_TRUST_S 86400 /* "newest signed" never exceeds our clock by more */

/* One TUF repository as a device follows it. */
struct following {
	struct flotilla *f;
	struct tuf_trust *trust;
	const char *base; /* "/v1/index" or "/v1/c/stable/android-8g" */
	const char *name; /* of the stored documents: "index" or "class" */
	char *etag;	  /* of timestamp.json, [80] */
	bool rules;	  /* it has the delegated role */
	int (*accept)(struct flotilla *f); /* the last word on new documents; NULL: none */
	struct buf fresh[TUF_ROLES]; /* documents of this refresh, to be stored together */
};

static int code_of(enum tuf_refusal refusal)
{
	switch (refusal) {
	case TUF_UNSIGNED:
	case TUF_KEY_ID:
		return FLOTILLA_E_SIGNATURE;
	case TUF_THRESHOLD:
		return FLOTILLA_E_THRESHOLD;
	case TUF_ROLLBACK:
	case TUF_VERSION_JUMP:
		return FLOTILLA_E_ROLLBACK;
	case TUF_EXPIRED:
		return FLOTILLA_E_EXPIRED;
	case TUF_LENGTH:
		return FLOTILLA_E_LENGTH;
	case TUF_HASH:
		return FLOTILLA_E_HASH;
	case TUF_VERSION:
	case TUF_ORDER:
	case TUF_NOT_LISTED:
		return FLOTILLA_E_MIX;
	default:
		return FLOTILLA_E_MALFORMED;
	}
}

static int refused(struct following *w, const struct err *err)
{
	return sdk_fail(w->f, code_of(w->trust->refusal), err);
}

/* Our clock may be wrong, but never behind what a signature has already proved. */
static int64_t trusted_now(const struct flotilla *f)
{
	const int64_t now = sdk_now(f);
	return f->newest_signed > now ? f->newest_signed : now;
}

static void note_signed(struct flotilla *f)
{
	const int64_t now = sdk_now(f) + f->clock_offset;
	const int64_t most = sdk_now(f) + CLOCK_TRUST_S;
	/* A timestamp that is accepted was signed before now by the server's clock. */
	const int64_t proved = now < most ? now : most;
	if (proved > f->newest_signed)
		f->newest_signed = proved;
}

/* ---- fetching roles ---- */

static int get_role(struct following *w, enum tuf_role role, int64_t version, const char *etag,
		    struct flotilla_response *response)
{
	char path[ROLE_PATH];
	if (role == TUF_TIMESTAMP)
		snprintf(path, sizeof(path), "%s/tuf/timestamp.json", w->base);
	else
		snprintf(path, sizeof(path), "%s/tuf/%lld.%s.json", w->base, (long long)version,
			 tuf_role_name(role));
	buf_done(&w->fresh[role]);
	buf_init(&w->fresh[role], tuf_max_bytes(role));
	return sdk_get_buf(w->f, path, etag, &w->fresh[role], response);
}

static int unexpected(struct following *w, enum tuf_role role, int status)
{
	if (status < 0)
		return status;
	return sdk_say(w->f, FLOTILLA_E_NETWORK, "%s/%s: the server answered %d", w->base,
		       tuf_role_name(role), status);
}

static void store_role(struct following *w, enum tuf_role role)
{
	char name[64];
	const struct buf *doc = &w->fresh[role];
	snprintf(name, sizeof(name), "%s.%s.json", w->name, tuf_role_name(role));
	if (doc->len)
		state_write(w->f, name, doc->data, doc->len);
}

static int climb_roots(struct following *w)
{
	struct err err;
	for (unsigned step = 0; step < TUF_ROOT_STEPS; step++) {
		struct flotilla_response response;
		const int64_t next = w->trust->version[TUF_ROOT] + 1;
		const int status = get_role(w, TUF_ROOT, next, NULL, &response);
		if (status == 404 || status == 403)
			return FLOTILLA_OK;
		if (status != 200)
			return unexpected(w, TUF_ROOT, status);
		const struct buf *doc = &w->fresh[TUF_ROOT];
		if (tuf_update_root(w->trust, doc->data, doc->len, &err))
			return refused(w, &err);
		store_role(w, TUF_ROOT);
		w->etag[0] = 0; /* what the old keys signed is asked for again */
		w->f->newest_signed = 0; /* the clock's memory starts anew with the keys */
	}
	return FLOTILLA_OK;
}

typedef int update_fn(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		      struct err *err);

static int get_child(struct following *w, enum tuf_role role, update_fn *update)
{
	struct err err;
	struct tuf_meta meta;
	struct flotilla_response response;
	if (tuf_meta_get(w->trust, role, &meta, &err))
		return refused(w, &err);
	if (w->trust->body[role] && w->trust->version[role] == meta.version)
		return FLOTILLA_OK;
	const int status = get_role(w, role, meta.version, NULL, &response);
	if (status != 200)
		return unexpected(w, role, status);
	const struct buf *doc = &w->fresh[role];
	if (update(w->trust, doc->data, doc->len, trusted_now(w->f), &err))
		return refused(w, &err);
	return FLOTILLA_OK;
}

/* The whole of a refresh after the timestamp has changed. */
static int follow_children(struct following *w)
{
	int code = get_child(w, TUF_SNAPSHOT, tuf_update_snapshot);
	if (!code)
		code = get_child(w, TUF_TARGETS, tuf_update_targets);
	if (!code && w->rules)
		code = get_child(w, TUF_RULES, tuf_update_rules);
	return code;
}

static bool complete(const struct following *w)
{
	return w->trust->body[TUF_TARGETS] && tuf_expires(w->trust) > INT64_MIN;
}

/* OK and *ret_changed, or an error; what was trusted stays on error. */
static int refresh(struct following *w, bool *ret_changed)
{
	struct err err;
	struct flotilla_response response;
	const char *etag = complete(w) && w->etag[0] ? w->etag : NULL;
	*ret_changed = false;
	w->f->stats.polls++;
	int status = get_role(w, TUF_TIMESTAMP, 0, etag, &response);
	if (status == 304) {
		w->f->stats.unchanged++;
		return trusted_now(w->f) < tuf_expires(w->trust)
			       ? FLOTILLA_OK
			       : sdk_say(w->f, FLOTILLA_E_EXPIRED,
					 "%s: what the server has is too old", w->base);
	}
	if (status != 200)
		return unexpected(w, TUF_TIMESTAMP, status);
	/* The timestamp waits: its keys may have changed with a new root. */
	struct buf timestamp = w->fresh[TUF_TIMESTAMP];
	buf_init(&w->fresh[TUF_TIMESTAMP], tuf_max_bytes(TUF_TIMESTAMP));
	int code = climb_roots(w);
	buf_done(&w->fresh[TUF_TIMESTAMP]);
	w->fresh[TUF_TIMESTAMP] = timestamp;
	if (code)
		return code;
	if (tuf_update_timestamp(w->trust, timestamp.data, timestamp.len, trusted_now(w->f), &err))
		return refused(w, &err);
	code = follow_children(w);
	if (!code && w->accept)
		code = w->accept(w->f);
	if (code) {
		w->etag[0] = 0; /* the same documents are refused again, not taken for unchanged */
		return code;
	}
	note_signed(w->f);
	snprintf(w->etag, 80, "%s", response.etag);
	for (enum tuf_role role = TUF_TIMESTAMP; role < TUF_ROLES; role++)
		store_role(w, role);
	*ret_changed = true;
	return FLOTILLA_OK;
}

static void following_done(struct following *w)
{
	for (unsigned r = 0; r < TUF_ROLES; r++)
		buf_done(&w->fresh[r]);
}

static struct following follow_index(struct flotilla *f)
{
	return (struct following){.f = f, .trust = &f->index, .base = "/v1/index", .name = "index",
				  .etag = f->index_etag, .rules = true};
}

static struct following follow_class(struct flotilla *f, const char *base)
{
	return (struct following){.f = f, .trust = &f->repo, .base = base, .name = "class",
				  .etag = f->repo_etag, .accept = trust_manifest};
}

/* ---- index targets ---- */

/* A file that the index names, verified: its length is the bound of the download. */
int trust_target(struct flotilla *f, const char *target, int64_t max, struct buf *buf)
{
	struct err err;
	struct tuf_target found;
	struct flotilla_response response;
	struct digest digest;
	char path[ROLE_PATH + 200], hex[DIGEST_HEX];
	if (tuf_target_find(&f->index, target, &found, &err))
		return sdk_fail(f, FLOTILLA_E_MIX, &err);
	if (found.length > max)
		return sdk_say(f, FLOTILLA_E_TOO_MUCH, "%s: more than %lld bytes", target,
			       (long long)max);
	const char *slash = strrchr(target, '/');
	const int dir = slash ? (int)(slash + 1 - target) : 0;
	digest_hex(&found.sha256, hex);
	snprintf(path, sizeof(path), "/v1/index/targets/%.*s%s.%s", dir, target, hex,
		 target + dir);
	buf_init(buf, (size_t)found.length);
	const int status = sdk_get_buf(f, path, NULL, buf, &response);
	if (status != 200)
		return status < 0 ? status
				  : sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d",
					    path, status);
	digest_of(&digest, buf->data ? buf->data : "", buf->len);
	if (!digest_eq(&digest, &found.sha256))
		return sdk_say(f, FLOTILLA_E_HASH, "%s: not the bytes that were signed", target);
	return FLOTILLA_OK;
}

static int match_class(struct flotilla *f, const char *text, size_t len, char class[SDK_NAME])
{
	struct err err;
	struct class_rules rules;
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	json_auto_t *document = json_parse(text, len, "rules.json", &err);
	if (!arena || !document || classes_parse(&rules, document, arena, &err))
		return sdk_fail(f, FLOTILLA_E_MALFORMED, &err);
	const unsigned rule = classes_match(&rules, &f->attrs);
	snprintf(class, SDK_NAME, "%s", rules.rules[rule].class);
	f->index_version = rules.version;
	return FLOTILLA_OK;
}

static int choose_class(struct flotilla *f, char class[SDK_NAME])
{
	struct buf rules = BUF_INIT(0);
	int code = trust_target(f, "rules.json", CLASS_RULES_BYTES, &rules);
	if (!code)
		code = match_class(f, rules.data ? rules.data : "", rules.len, class);
	buf_done(&rules);
	return code;
}

/* The digest of a class's first root, as the offline-signed index tells it. */
static int root_digest(struct flotilla *f, const char *class, struct digest *ret)
{
	char target[128];
	struct buf text = BUF_INIT(0);
	struct err err;
	snprintf(target, sizeof(target), "roots/%s.json", f->channel);
	int code = trust_target(f, target, TUF_TARGETS_MAX, &text);
	if (!code) {
		json_auto_t *document = json_parse(text.data ? text.data : "", text.len, target,
						   &err);
		const char *hex = json_string_value(
			json_object_get(json_object_get(document, "roots"), class));
		if (!document)
			code = sdk_fail(f, FLOTILLA_E_MALFORMED, &err);
		else if (!hex || digest_parse(ret, hex))
			code = sdk_say(f, FLOTILLA_E_CLASS,
				       "class %s has no signed root on channel %s yet", class,
				       f->channel);
	}
	buf_done(&text);
	return code;
}

/* Begin to follow a class: its first root, checked against the index. */
static int adopt_root(struct flotilla *f, const char *base, const char *class)
{
	struct digest want, have;
	struct flotilla_response response;
	struct err err;
	char path[ROLE_PATH];
	int code = root_digest(f, class, &want);
	if (code)
		return code;
	snprintf(path, sizeof(path), "%s/tuf/1.root.json", base);
	AUTO_BUF struct buf root = BUF_INIT(TUF_ROOT_MAX);
	const int status = sdk_get_buf(f, path, NULL, &root, &response);
	if (status != 200)
		return status < 0 ? status
				  : sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d",
					    path, status);
	if (tuf_trust_root(&f->repo, root.data ? root.data : "", root.len, &err))
		return sdk_fail(f, code_of(f->repo.refusal), &err);
	if (canon_digest(f->repo.body[TUF_ROOT], &have, &err) || !digest_eq(&want, &have)) {
		tuf_done(&f->repo);
		return sdk_say(f, FLOTILLA_E_SIGNATURE,
			       "class %s: its root is not the one that the index names", class);
	}
	state_write(f, "class.root.json", root.data, root.len);
	f->repo_etag[0] = 0;
	return FLOTILLA_OK;
}

/* ---- the manifest ---- */

void trust_forget_manifest(struct flotilla *f)
{
	if (f->manifest_users && !--*f->manifest_users)
		arena_free(f->manifest_arena);
	f->manifest_arena = NULL;
	f->manifest_users = NULL;
	f->has_manifest = false;
}

/* What the other verified last, instead of a poll. */
static int believe(struct flotilla *f)
{
	const struct flotilla *v = f->o.verified_by;
	if (!v->has_manifest)
		return sdk_say(f, FLOTILLA_E_NETWORK, "nothing has been verified for this device yet");
	if (f->manifest_arena != v->manifest_arena) {
		trust_forget_manifest(f);
		f->manifest_arena = v->manifest_arena;
		f->manifest_users = v->manifest_users;
		++*f->manifest_users;
		f->manifest = v->manifest;
		f->has_manifest = true;
	} else {
		f->stats.unchanged++;
	}
	memcpy(f->class, v->class, sizeof(f->class));
	f->index_version = v->index_version;
	f->newest_signed = v->newest_signed;
	f->clock_offset = v->clock_offset;
	f->answered = true;
	f->stats.polls++;
	return FLOTILLA_OK;
}

int trust_manifest(struct flotilla *f)
{
	struct err err;
	struct manifest manifest;
	struct arena *arena = arena_new(MANIFEST_ARENA);
	if (!arena)
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	if (manifest_parse(&manifest, f->repo.body[TUF_TARGETS], arena, &err)) {
		arena_free(arena);
		return sdk_fail(f, FLOTILLA_E_MALFORMED, &err);
	}
	if (strcmp(manifest.channel, f->channel) != 0 || strcmp(manifest.class, f->class) != 0) {
		sdk_say(f, FLOTILLA_E_CLASS, "a manifest of %s/%s where %s/%s was asked for",
			manifest.channel, manifest.class, f->channel, f->class);
		arena_free(arena);
		return FLOTILLA_E_CLASS;
	}
	if (manifest.development && !f->o.allow_development) {
		arena_free(arena);
		return sdk_say(f, FLOTILLA_E_DEVELOPMENT,
			       "signed with development keys, which this build refuses");
	}
	unsigned *users = arena_alloc(arena, sizeof(*users));
	if (!users) {
		arena_free(arena);
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	}
	*users = 1;
	trust_forget_manifest(f);
	f->manifest_arena = arena;
	f->manifest_users = users;
	f->manifest = manifest;
	f->has_manifest = true;
	return FLOTILLA_OK;
}

static void forget_stored(struct flotilla *f, const char *name)
{
	for (enum tuf_role role = TUF_ROOT; role < TUF_ROLES; role++) {
		char file[64];
		snprintf(file, sizeof(file), "%s.%s.json", name, tuf_role_name(role));
		state_remove(f, file);
	}
}

/* Everything of a class's repository is forgotten; what is installed stays. */
static void leave_class(struct flotilla *f)
{
	tuf_done(&f->repo);
	forget_stored(f, "class");
	f->has_manifest = false;
	f->repo_etag[0] = 0;
	f->dirty = true;
}

static int poll_index(struct flotilla *f)
{
	char class[SDK_NAME] = "";
	bool changed;
	struct following w = follow_index(f);
	int code = refresh(&w, &changed);
	following_done(&w);
	if (!code)
		code = vouch_update(f);
	if (!code && !changed && f->class[0])
		return FLOTILLA_OK;
	if (!code)
		code = choose_class(f, class);
	if (code)
		f->index_etag[0] = 0; /* its files are still to be read */
	if (code || !strcmp(class, f->class))
		return code;
	leave_class(f);
	snprintf(f->class, sizeof(f->class), "%s", class);
	return FLOTILLA_OK;
}

static int poll_class(struct flotilla *f)
{
	char base[256];
	bool changed;
	snprintf(base, sizeof(base), "/v1/c/%s/%s", f->channel, f->class);
	int code = f->repo.body[TUF_ROOT] ? FLOTILLA_OK : adopt_root(f, base, f->class);
	if (code)
		return code;
	struct following w = follow_class(f, base);
	code = refresh(&w, &changed);
	following_done(&w);
	return code;
}

bool trust_fresh(const struct flotilla *f)
{
	return tuf_expires(&trust_verifier(f)->repo) > trusted_now(f);
}

/* The index is asked only when it must be: first, when it is about to expire, or when the manifest
 * was made with newer rules than ours. */
static bool needs_index(const struct flotilla *f)
{
	/* After a failure too: the class may have been removed. */
	if (!f->class[0] || !f->index.body[TUF_TARGETS] || !f->vouching.known ||
	    f->failures)
		return true;
	if (tuf_expires(&f->index) <= trusted_now(f))
		return true;
	return f->has_manifest && f->manifest.index_version > f->index_version;
}

int trust_poll(struct flotilla *f)
{
	if (f->o.verified_by)
		return believe(f);
	int code = needs_index(f) ? poll_index(f) : FLOTILLA_OK;
	if (!code)
		code = poll_class(f);
	/* Rules newer than ours: once more, now that the manifest told us. */
	if (!code && f->manifest.index_version > f->index_version) {
		code = poll_index(f);
		if (!code && !f->has_manifest)
			code = poll_class(f);
	}
	return code;
}

/* ---- after a restart ---- */

static int load_role(struct flotilla *f, struct tuf_trust *trust, const char *name,
		     enum tuf_role role, update_fn *update)
{
	char file[64];
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(tuf_max_bytes(role));
	snprintf(file, sizeof(file), "%s.%s.json", name, tuf_role_name(role));
	if (state_read(f, file, &text, &err))
		return -1;
	if (role == TUF_ROOT)
		return tuf_trust_root(trust, text.data, text.len, &err);
	return update(trust, text.data, text.len, TUF_STORED, &err);
}

/* What fits is kept; the rest is fetched again. */
static void load_repo(struct flotilla *f, struct tuf_trust *trust, const char *name)
{
	if (load_role(f, trust, name, TUF_TIMESTAMP, tuf_update_timestamp) ||
	    load_role(f, trust, name, TUF_SNAPSHOT, tuf_update_snapshot) ||
	    load_role(f, trust, name, TUF_TARGETS, tuf_update_targets))
		return;
	if (load_role(f, trust, name, TUF_RULES, tuf_update_rules))
		return; /* a class's repository has none */
}

/* What was stored was reached from the embedded root.  Another embedded root than then: it is to be
 * reached from there anew. */
static void check_embedded(struct flotilla *f)
{
	struct digest digest;
	char hex[DIGEST_HEX];
	digest_of(&digest, f->o.index_root, f->o.index_root_len);
	digest_hex(&digest, hex);
	if (!strcmp(hex, f->embedded))
		return;
	leave_class(f);
	forget_stored(f, "index");
	f->class[0] = f->index_etag[0] = 0;
	memcpy(f->embedded, hex, sizeof(hex));
}

static void load_index(struct flotilla *f)
{
	struct tuf_trust stored;
	tuf_init(&stored);
	if (!load_role(f, &stored, "index", TUF_ROOT, NULL) &&
	    stored.version[TUF_ROOT] >= f->index.version[TUF_ROOT]) {
		tuf_done(&f->index);
		f->index = stored;
	} else {
		tuf_done(&stored);
	}
	load_repo(f, &f->index, "index");
	vouch_load(f);
}

int trust_open(struct flotilla *f)
{
	struct err err;
	if (tuf_trust_root(&f->index, f->o.index_root, f->o.index_root_len, &err))
		return sdk_fail(f, FLOTILLA_E_ARGUMENT, &err);
	if (!f->state_dir)
		return FLOTILLA_OK;
	check_embedded(f);
	load_index(f);
	if (!f->class[0] || load_role(f, &f->repo, "class", TUF_ROOT, NULL))
		return FLOTILLA_OK;
	load_repo(f, &f->repo, "class");
	/* What is installed must stay usable: a manifest that this build refuses is no reason not to
	 * open. */
	if (f->repo.body[TUF_TARGETS] && trust_manifest(f))
		leave_class(f);
	return FLOTILLA_OK;
}
