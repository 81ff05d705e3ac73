#include "manifest/publish_internal.h"

#include "manifest/build.h"
#include "manifest/canon.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"

#include <string.h>

/* ---- one class ---- */

static int make_class(struct making *m)
{
	struct digest content;
	struct tuf_meta meta;
	json_t *body;
	bool pending;
	if (making_need_root(m, &pending) || pending)
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
		return making_resign_timestamp(m);
	}
	m->repo.content = content;
	return making_targets(m, body, &meta) ? -1 : making_snapshot(m, &meta, NULL);
}

static int publish_class(struct publisher *p, struct db *db, const char *channel,
			 const char *class, struct err *err)
{
	struct making m;
	if (making_begin(&m, p, db, channel, class, err))
		return -1;
	return making_finish(&m, publisher_may_sign(p, m.now, err) || make_class(&m));
}

int publish_repo(struct publisher *p, struct db *db, const char *channel, const char *class,
		 struct err *err)
{
	return publish_class(p, db, channel, class, err);
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

int publish_first_roots(struct db *db, const char *channel, json_t *roots, struct err *err)
{
	STMT(q, db, &publish_sql, PQ_FIRST_ROOT);
	stmt_text(q, "$channel", channel);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct digest digest;
		char hex[DIGEST_HEX];
		if (publish_first_root(db, stmt_col_text(q, 1), q, 2, &digest, err))
			return -1;
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
	STMT(q, db, &publish_sql, PQ_REPO_LIST);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_array_append_new(items, repo_row(q)))
			return err_nomem(err);
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}
