#include "manifest/signing.h"

#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/catalog.h"
#include "manifest/ceremony.h"
#include "manifest/class_store.h"
#include "manifest/publish_internal.h"
#include "manifest/publisher_store.h"

#include <string.h>

#define YEAR_S (365 * DAY_S)
#define INDEX_LIFE_S YEAR_S
#define INDEX_SOON_S (120 * DAY_S)
#define LEAST_LIFE_S (30 * DAY_S)

/* ---- going through the repositories ---- */

struct walk {
	struct publisher *p;
	struct db *db;
	json_t *channels;
	int (*fn)(struct walk *walk, struct making *m);
	void *arg;
	struct err *err;
};

static int visit(struct walk *w, const char *channel, const char *class)
{
	struct making m;
	if (making_begin(&m, w->p, w->db, channel, class, w->err))
		return -1;
	const int bad = w->fn(w, &m);
	change_free(m.change);
	return bad;
}

static int visit_class(void *arg, const char *class, struct err *err)
{
	struct walk *w = arg;
	size_t i;
	json_t *channel;
	w->err = err;
	json_array_foreach (w->channels, i, channel)
		if (visit(w, json_string_value(json_object_get(channel, "name")), class))
			return -1;
	return 0;
}

/* The index first, then every class of every channel, those that only wait for a root too. */
static int walk_all(struct walk *w)
{
	if (catalog_channel_list(w->db, "", INT64_MAX, &w->channels, w->err))
		return -1;
	int bad = visit(w, NULL, NULL) ||
		  class_each(w->db, clock_s(w->p->clock), visit_class, w, w->err) ||
		  class_each_pending(w->db, visit_class, w, w->err);
	json_decref(w->channels);
	return bad ? -1 : 0;
}

/* ---- what is there ---- */

/* The root in force, parsed; NULL with *err when it cannot be. */
static json_t *current_root(struct making *m)
{
	AUTO_BUF struct buf bytes = BUF_INIT(TUF_ROOT_MAX);
	if (publish_doc_get(m->db, m->repo.name, TUF_ROOT, m->repo.root, &bytes, m->err))
		return NULL;
	return json_parse(bytes.data, bytes.len, "root", m->err);
}

static const json_t *role_of(const json_t *root, const char *role)
{
	return json_object_get(json_object_get(json_object_get(root, "signed"), "roles"), role);
}

/* The keys of a root's role, as objects. */
static json_t *role_keys(const json_t *root, const char *role)
{
	size_t i;
	json_t *id, *keys = json_array();
	const json_t *table = json_object_get(json_object_get(root, "signed"), "keys");
	json_array_foreach (json_object_get(role_of(root, role), "keyids"), i, id)
		json_array_append(keys, json_object_get(table, json_string_value(id)));
	return keys;
}

static int64_t root_expires(const json_t *root)
{
	int64_t t;
	const char *text =
		json_string_value(json_object_get(json_object_get(root, "signed"), "expires"));
	return text && clock_parse(&t, text) == 0 ? t : 0;
}

static const char *state_of(const struct making *m)
{
	if (!m->repo.root)
		return "pending";
	if (digest_eq(&m->repo.seed, making_newest_seed(m)))
		return "signed";
	return digest_eq(&m->repo.seed, &m->p->online_id) ? "rotating" : "stranded";
}

/* ---- asking ---- */

struct asking {
	const struct signing_options *options;
	json_t *repos;
	json_t *signers; /* of the index's targets, unless its root is asked for */
	bool index_root;
	int64_t targets; /* version of the index's targets now */
	json_t *rules;	 /* the key of rules under the newest seed */
};

static json_t *online_key(const struct making *m, enum key_role role)
{
	AUTO_SIGN_KEY struct sign_key key;
	const struct key_use use = {m->repo.channel, m->repo.class, role, 0};
	key_derive(&key, keystore_newest(&m->p->keys), &use);
	return key_json(&key.public);
}

static json_t *online_keys(const struct making *m)
{
	json_t *keys = json_pack("{s:o, s:o}", "timestamp", online_key(m, KEY_TIMESTAMP),
				 "snapshot", online_key(m, KEY_SNAPSHOT));
	if (m->repo.channel)
		json_object_set_new(keys, "targets", online_key(m, KEY_TARGETS));
	return keys;
}

/* Who signs: those who did, or those who are asked to join. */
static int ask_holders(const struct asking *a, const struct making *m, json_t *repo,
		       const json_t *root)
{
	json_t *offline = json_object();
	int64_t holders = a->options->holders, threshold = a->options->threshold;
	if (root && !a->options->all) {
		json_t *keys = role_keys(root, "root");
		holders = (int64_t)json_array_size(keys);
		threshold = json_integer_value(json_object_get(role_of(root, "root"), "threshold"));
		json_object_set_new(offline, "root", keys);
		if (!m->repo.channel)
			json_object_set_new(offline, "targets", role_keys(root, "targets"));
	}
	return json_object_set_new(repo, "offline", offline) ||
	       json_object_set_new(repo, "holders", json_integer(holders)) ||
	       json_object_set_new(repo, "threshold", json_integer(threshold));
}

static int ask_root(struct asking *a, struct making *m, json_t *root)
{
	const json_int_t expires = m->now + ROOT_LIFE_S;
	json_t *repo = json_pack("{s:I, s:I, s:o}", "version", (json_int_t)m->repo.root + 1,
				 "expires", expires, "online",
				 online_keys(m));
	if (!repo || json_array_append_new(a->repos, repo))
		return err_nomem(m->err);
	int bad = ask_holders(a, m, repo, root);
	if (root)
		bad |= json_object_set(repo, "previous", root);
	if (m->repo.channel)
		bad |= json_object_set_new(repo, "channel", json_string(m->repo.channel)) ||
		       json_object_set_new(repo, "class", json_string(m->repo.class));
	return bad ? err_nomem(m->err) : 0;
}

static int ask_repo(struct walk *w, struct making *m)
{
	struct asking *a = w->arg;
	json_auto_t *root = NULL;
	if (m->repo.root && !(root = current_root(m)))
		return -1;
	const bool wanted = a->options->all || strcmp(state_of(m), "signed") != 0 ||
			    root_expires(root) < m->now + YEAR_S;
	if (!m->repo.channel) {
		a->targets = m->repo.targets;
		a->index_root = wanted;
		a->rules = online_key(m, KEY_RULES);
		if (!wanted)
			a->signers = json_pack("{s:o, s:O}", "keys", role_keys(root, "targets"),
					       "threshold",
					       json_object_get(role_of(root, "targets"), "threshold"));
	}
	return wanted ? ask_root(a, m, root) : 0;
}

/* {channel: {class: digest}} of the roots that are there. */
static json_t *first_roots(struct db *db, struct err *err)
{
	size_t i;
	json_t *channel;
	json_auto_t *list = NULL, *out = json_object();
	if (catalog_channel_list(db, "", INT64_MAX, &list, err))
		return NULL;
	json_array_foreach (list, i, channel) {
		const char *name = json_string_value(json_object_get(channel, "name"));
		json_t *roots = json_object();
		if (json_object_set_new(out, name, roots)) {
			err_nomem(err);
			return NULL;
		}
		if (publish_first_roots(db, name, roots, err))
			return NULL;
	}
	return TAKE(out);
}

static json_t *published_list(struct db *db, struct err *err)
{
	struct publisher_list list;
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	if (!arena) {
		err_nomem(err);
		return NULL;
	}
	return publisher_published(db, arena, &list, err) ? NULL : publishers_json(&list, err);
}

/* When the index's targets end; 0: there are none. */
static int64_t index_ends(struct publisher *p, int64_t version)
{
	struct snapshot *current = publisher_snapshot(p);
	char path[128];
	snprintf(path, sizeof(path), "/v1/" INDEX_REPO "/tuf/%lld.targets.json", (long long)version);
	const struct doc *doc = snapshot_find(current, path);
	struct err ignored;
	json_auto_t *document = doc ? json_parse(doc->bytes, doc->len, path, &ignored) : NULL;
	const int64_t ends = document ? root_expires(document) : 0;
	snapshot_unref(current);
	return ends;
}

/* Whether the index's targets are of an epoch before: then devices may have seen newer ones, which the
 * restored backup has forgotten, and take these for old until they are signed again. */
static bool of_an_older_epoch(const struct publisher *p, int64_t targets)
{
	return targets && making_next_version(p, targets) > targets + 1;
}

static int ask_index(struct asking *a, struct publisher *p, struct db *db, json_t *file,
		     struct err *err)
{
	const int64_t now = clock_s(p->clock);
	const json_int_t expires = now + INDEX_LIFE_S;
	json_auto_t *wanted = NULL, *channels = first_roots(db, err),
		    *known = published_list(db, err);
	if (!channels || !known || publisher_wanted(db, &wanted, err))
		return -1;
	if (!json_array_size(a->repos) && json_equal(wanted, known) &&
	    !of_an_older_epoch(p, a->targets) && index_ends(p, a->targets) > now + INDEX_SOON_S)
		return 0;
	json_t *index = json_pack("{s:I, s:I, s:O, s:O, s:O, s:O}", "version",
				  (json_int_t)making_next_version(p, a->targets), "expires",
				  expires, "rules", a->rules, "publishers",
				  wanted, "published", known, "channels", channels);
	if (!index || json_object_set_new(file, "index", index) ||
	    (a->signers && json_object_set(index, "signers", a->signers)))
		return err_nomem(err);
	return 0;
}

static int check_options(const struct publisher *p, const struct signing_options *o,
			 struct err *err)
{
	if (p->keys.development)
		return err_set(err, ERR_CONFLICT,
			       "development keys sign at once; nothing awaits a signature");
	if (o->holders < 1 || o->holders > CEREMONY_HOLDERS)
		return err_set(err, ERR_INVALID, "holders: from 1 to %d", CEREMONY_HOLDERS);
	if (o->threshold < 1 || o->threshold > o->holders)
		return err_set(err, ERR_INVALID, "threshold: from 1 to the %lld holders",
			       (long long)o->holders);
	return 0;
}

int signing_request(struct publisher *p, struct db *db, const struct signing_options *options,
		    json_t **ret_file, struct err *err)
{
	struct asking a = {.options = options, .repos = json_array()};
	struct walk w = {.p = p, .db = db, .fn = ask_repo, .arg = &a, .err = err};
	json_auto_t *file = json_pack("{s:i, s:s, s:o}", "schema", 1, "kind", CEREMONY_KIND, "repos",
				      a.repos);
	if (!file)
		return err_nomem(err);
	const int bad = check_options(p, options, err) || walk_all(&w) ||
			ask_index(&a, p, db, file, err);
	json_decref(a.signers);
	json_decref(a.rules);
	if (bad)
		return -1;
	if (!json_array_size(a.repos) && !json_object_get(file, "index"))
		return err_set(err, ERR_NOT_FOUND, "nothing awaits a signature");
	*ret_file = TAKE(file);
	return 0;
}

/* ---- taking back ---- */

static int same_key(const struct making *m, enum key_role role, const struct public_key *key)
{
	AUTO_SIGN_KEY struct sign_key own;
	const struct key_use use = {m->repo.channel, m->repo.class, role, 0};
	key_derive(&own, keystore_newest(&m->p->keys), &use);
	return digest_eq(&own.public.id, &key->id);
}

static int stale(struct making *m, const char *why)
{
	return err_set(m->err, ERR_STALE, "%s: %s; export the file again", m->repo.name, why);
}

/* Whether this root may follow what is here. */
static int check_root(struct making *m, const struct ceremony_root *root)
{
	json_auto_t *current = NULL;
	if (root->version != m->repo.root + 1)
		return stale(m, "another root came in between");
	if (m->repo.root && !(current = current_root(m)))
		return -1;
	if (current && !json_equal(current, root->previous))
		return stale(m, "the root before it is not the one that is in force");
	if (!same_key(m, KEY_TIMESTAMP, &root->timestamp) ||
	    !same_key(m, KEY_SNAPSHOT, &root->snapshot) ||
	    (root->channel && !same_key(m, KEY_TARGETS, &root->targets)))
		return stale(m, "it names the keys of another online seed");
	if (root->expires < m->now + LEAST_LIFE_S)
		return stale(m, "it ends within a month");
	return 0;
}

static int known_class(struct db *db, const char *class, struct err *err)
{
	bool known;
	if (class_known(db, class, &known, err))
		return -1;
	return known ? 0 : err_set(err, ERR_STALE, "class %s does not exist", class);
}

static int adopt_class(struct publisher *p, struct db *db, const struct ceremony_root *root,
		       struct err *err)
{
	struct making m;
	if (known_class(db, root->class, err) ||
	    making_begin(&m, p, db, root->channel, root->class, err))
		return -1;
	return making_finish(&m, check_root(&m, root) ||
					 making_store_root(&m, root->version, root->document.data,
							   root->document.len, root->expires));
}

static int adopt_targets(struct making *m, const struct ceremony_index *index)
{
	struct tuf_meta meta;
	if (index->version <= m->repo.targets)
		return stale(m, "newer targets came in between");
	if (!same_key(m, KEY_RULES, &index->rules))
		return stale(m, "it names the rules key of another online seed");
	if (index->expires < m->now + LEAST_LIFE_S)
		return stale(m, "its targets end within a month");
	for (unsigned i = 0; i < index->file_count; i++)
		if (making_index_file(m, index->files[i].path, index->files[i].bytes.data,
				      index->files[i].bytes.len, index->expires + KEEP_S))
			return -1;
	return making_store_targets(m, index->version, index->document.data, index->document.len,
				    index->expires, &meta) ||
			       making_index_online(m, &meta)
		       ? -1
		       : 0;
}

/* The index's root, if it is in the file, and then its targets under the root in force. */
static int adopt_index_parts(struct making *m, const json_t *file, const struct ceremony_root *root)
{
	AUTO_CEREMONY_INDEX struct ceremony_index index = {0};
	json_auto_t *current = NULL;
	if (root && (check_root(m, root) ||
		     making_store_root(m, root->version, root->document.data, root->document.len,
				       root->expires)))
		return -1;
	if (!m->repo.root)
		return stale(m, "it has no root, and the file brings none");
	current = root ? json_parse(root->document.data, root->document.len, "root", m->err)
		       : current_root(m);
	if (!current ||
	    ceremony_index(file, json_object_get(current, "signed"), &index, m->err))
		return -1;
	return adopt_targets(m, &index);
}

static int adopt_index(struct publisher *p, struct db *db, const json_t *file,
		       const struct ceremony_root *root, struct err *err)
{
	struct making m;
	if (!json_object_get(file, "index"))
		return root ? err_set(err, ERR_INVALID,
				      "index: missing; a new root of the index needs new targets")
			    : 0;
	if (making_begin(&m, p, db, NULL, NULL, err))
		return -1;
	return making_finish(&m, publisher_may_sign(p, m.now, err) ||
					 adopt_index_parts(&m, file, root));
}

int signing_adopt(struct publisher *p, struct db *db, const json_t *file, json_t **ret_done,
		  struct err *err)
{
	AUTO_CEREMONY_ROOT struct ceremony_root index_root = {.version = 0};
	const size_t count = json_array_size(json_object_get(file, "repos"));
	if (p->keys.development)
		return err_set(err, ERR_CONFLICT, "development keys sign at once; there is nothing to "
						  "take in");
	if (ceremony_check(file, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		AUTO_CEREMONY_ROOT struct ceremony_root root = {.version = 0};
		if (ceremony_root(file, i, &root, err))
			return -1;
		if (root.channel && adopt_class(p, db, &root, err))
			return -1;
		if (!root.channel) {
			ceremony_root_done(&index_root);
			index_root = root;
			root.document = (struct buf)BUF_INIT(0);
		}
	}
	if (adopt_index(p, db, file, index_root.version ? &index_root : NULL, err) ||
	    publish_all(p, db, err) || publisher_settle_seed(p, db, err) ||
	    publisher_count_stranded(p, db, err))
		return -1;
	*ret_done = json_pack("{s:I, s:b}", "roots", (json_int_t)count, "index",
			      json_object_get(file, "index") != NULL);
	return *ret_done ? 0 : err_nomem(err);
}

/* ---- before rules are published ---- */

static int check_ready(struct walk *w, struct making *m)
{
	bool active;
	if (!m->repo.channel || m->repo.root)
		return 0;
	if (class_active(m->db, m->repo.class, &active, w->err))
		return -1;
	return active ? err_set(w->err, ERR_CONFLICT,
				"class %s has no signed root on channel %s: `flotilla class prepare %s`, "
				"then `flotilla keys export`",
				m->repo.class, m->repo.channel, m->repo.class)
		      : 0;
}

int signing_ready(struct publisher *p, struct db *db, struct err *err)
{
	struct walk w = {.p = p, .db = db, .fn = check_ready, .err = err};
	return p->keys.development ? 0 : walk_all(&w);
}

/* ---- rotating ---- */

int signing_rotate(struct publisher *p, struct db *db, struct err *err)
{
	if (keystore_rotate(&p->keys, err))
		return -1;
	publisher_name_seeds(p);
	if (!p->keys.development)
		return 0;
	return publish_all(p, db, err) || publisher_settle_seed(p, db, err) ? -1 : 0;
}

/* ---- telling ---- */

struct listing {
	json_t *repos;
	int64_t targets; /* the index's */
};

static int list_repo(struct walk *w, struct making *m)
{
	struct listing *listing = w->arg;
	json_auto_t *root = NULL;
	if (!m->repo.channel)
		listing->targets = m->repo.targets;
	if (m->repo.root && !(root = current_root(m)))
		return -1;
	const json_t *role = root ? role_of(root, "root") : NULL;
	json_t *row = json_pack(
		"{s:s, s:s?, s:s?, s:I, s:I, s:I, s:I, s:s}", "repo", m->repo.name, "channel",
		m->repo.channel, "class", m->repo.class, "root", (json_int_t)m->repo.root, "expires",
		(json_int_t)(root ? root_expires(root) : 0), "holders",
		(json_int_t)json_array_size(json_object_get(role, "keyids")), "threshold",
		(json_int_t)json_integer_value(json_object_get(role, "threshold")), "state",
		state_of(m));
	return json_array_append_new(listing->repos, row) ? err_nomem(m->err) : 0;
}

int signing_list(struct publisher *p, struct db *db, json_t **ret_list, struct err *err)
{
	char seed[DIGEST_HEX];
	json_auto_t *repos = json_array(), *wanted = NULL, *known = published_list(db, err);
	struct listing listing = {repos, 0};
	struct walk w = {.p = p, .db = db, .fn = list_repo, .arg = &listing, .err = err};
	if (!known || publisher_wanted(db, &wanted, err) || walk_all(&w))
		return -1;
	digest_hex(p->keys.rotating ? &p->next_id : &p->online_id, seed);
	*ret_list = json_pack("{s:b, s:b, s:b, s:s, s:b, s:O}", "development",
			      (int)p->keys.development, "rotating", (int)p->keys.rotating,
			      "seed_elsewhere", (int)p->keys.elsewhere, "seed", seed, "index_pending",
			      !json_equal(wanted, known) || of_an_older_epoch(p, listing.targets),
			      "repos", repos);
	return *ret_list ? 0 : err_nomem(err);
}
