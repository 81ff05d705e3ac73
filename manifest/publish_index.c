/* The index: publishers, first roots, class rules.  And publishers' envelopes. */
#include "manifest/build.h"
#include "manifest/publish_internal.h"
#include "manifest/publisher_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	if (making_doc_put(m, role, m->repo.targets + 1, path, file->bytes, file->len, forget))
		return -1;
	return making_add_doc(m, path, file->bytes, file->len, DOC_IMMUTABLE, forget);
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
	return making_sign(m, TUF_RULES, KEY_RULES, body, version, expires, ret);
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

static int make_index(struct making *m)
{
	struct tuf_meta targets, rules;
	bool pending;
	if (making_need_root(m, &pending) || pending)
		return pending ? 0 : -1;
	json_t *content = index_content(m);
	if (!content || making_targets(m, content, &targets) || make_rules(m, &rules))
		return -1;
	return making_snapshot(m, &targets, &rules);
}

int publish_index(struct publisher *p, struct db *db, struct err *err)
{
	struct making m;
	if (making_begin(&m, p, db, NULL, NULL, err))
		return -1;
	return making_finish(&m, publisher_check_clock(p, m.now, err) || make_index(&m));
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
	if (making_doc_put(m, hex, 1, path, bytes, len, INT64_MAX))
		return -1;
	return making_add_doc(m, path, bytes, len, DOC_IMMUTABLE, INT64_MAX);
}

int publish_envelopes(struct publisher *p, struct db *db, const char *model, const char *release,
		      struct err *err)
{
	struct making m = {.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	snprintf(m.repo.name, sizeof(m.repo.name), "%s", ATTEST_REPO);
	if (making_change_new(&m))
		return -1;
	if (publisher_envelopes(db, model, release, store_envelope, &m, err)) {
		change_free(m.change);
		return -1;
	}
	return db_after_commit(db, change_apply, change_free, m.change, err);
}
