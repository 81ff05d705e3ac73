/* The index: publishers, first roots, class rules.  And publishers' envelopes. */
#include "manifest/build.h"
#include "manifest/publish_internal.h"
#include "manifest/publisher_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the index ---- */

int making_index_file(struct making *m, const char *name, const void *bytes, size_t len,
		      int64_t forget)
{
	char path[512], role[200], hex[DIGEST_HEX];
	struct digest digest;
	const char *slash = strrchr(name, '/');
	const char *base = slash ? slash + 1 : name;
	digest_of(&digest, bytes, len);
	digest_hex(&digest, hex);
	/* As consistent snapshots want it: under its digest. */
	snprintf(path, sizeof(path), "/v1/index/targets/%.*s%s.%s", (int)(base - name), name, hex,
		 base);
	snprintf(role, sizeof(role), "file:%s", name);
	return making_keep(m, role, making_next_version(m->p, m->repo.snapshot), path, bytes, len,
			   DOC_IMMUTABLE, forget);
}

static int store_file(struct making *m, const struct build_file *file, json_t *targets)
{
	struct digest digest;
	digest_of(&digest, file->bytes, file->len);
	json_t *entry = tuf_target_json((int64_t)file->len, &digest, NULL);
	if (!entry || json_object_set_new(targets, file->path, entry))
		return err_nomem(m->err);
	return making_index_file(m, file->path, file->bytes, file->len,
				 m->now + MANIFEST_LIFE_S + KEEP_S);
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
	const int64_t version = making_next_version(m->p, m->repo.snapshot);
	const int64_t expires = m->now + MANIFEST_LIFE_S;
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
	return making_sign_targets(m, TUF_RULES, KEY_RULES, content, version, expires, ret);
}

static json_t *index_content(struct making *m)
{
	AUTO_SIGN_KEY struct sign_key rules;
	making_derive(m, KEY_RULES, &rules);
	const struct tuf_key_set set = {&rules.public, 1, 1};
	json_t *targets = json_object(), *content = json_pack("{s:o}", "targets", targets);
	json_t *delegations = content ? tuf_delegations_json(&set, "rules.json", m->err) : NULL;
	if (delegations && !json_object_set_new(content, "delegations", delegations) &&
	    !store_files(m, targets))
		return content;
	json_decref(content);
	return NULL;
}

int making_index_online(struct making *m, const struct tuf_meta *targets)
{
	struct tuf_meta rules;
	return make_rules(m, &rules) ? -1 : making_snapshot(m, targets, &rules);
}

/* With development keys the targets are made here, else they were signed offline. */
static int make_index(struct making *m)
{
	struct tuf_meta targets;
	bool pending;
	if (making_need_root(m, &pending))
		return -1;
	if (pending || (!m->p->keys.development && !m->repo.targets))
		return 0;
	if (!m->p->keys.development)
		return making_read_meta(m, TUF_TARGETS, m->repo.targets, &targets) ||
				       making_index_online(m, &targets)
			       ? -1
			       : 0;
	json_t *content = index_content(m);
	if (!content || making_targets(m, content, &targets))
		return -1;
	return making_index_online(m, &targets);
}

int publish_index(struct publisher *p, struct db *db, struct err *err)
{
	struct making m;
	if (making_begin(&m, p, db, NULL, NULL, err))
		return -1;
	return making_finish(&m, publisher_may_sign(p, m.now, err) || make_index(&m));
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
	return making_keep(m, hex, 1, path, bytes, len, DOC_IMMUTABLE, INT64_MAX);
}

int publish_envelopes(struct publisher *p, struct db *db, const char *model, const char *release,
		      struct err *err)
{
	struct making m = {.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	snprintf(m.repo.name, sizeof(m.repo.name), "%s", ATTEST_REPO);
	if (making_change_new(&m))
		return -1;
	if (publisher_envelopes(db, model, release, store_envelope, &m, err) ||
	    making_put_documents(&m)) {
		change_free(m.change);
		return -1;
	}
	return db_after_commit(db, change_apply, change_free, m.change, err);
}
