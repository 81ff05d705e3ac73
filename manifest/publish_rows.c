/* Rows of repositories and documents; from begin to commit. */
#include "manifest/ceremony.h"
#include "manifest/publish_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPO_COLUMNS \
	"root, targets, snapshot, timestamp, content, resign_targets, resign_timestamp, seed, first_root"

/* clang-format off */
static const char *const sql[PQ_COUNT] = {
	[PQ_REPO_GET] =
		"SELECT " REPO_COLUMNS " FROM repos WHERE repo = $repo",
	[PQ_REPO_PUT] =
		"INSERT INTO repos (repo, channel, class, root, targets, snapshot, timestamp, content,"
		" resign_targets, resign_timestamp, seed, first_root) VALUES ($repo, $channel, $class,"
		" $root, $targets, $snapshot, $timestamp, $content, $resign_targets,"
		" $resign_timestamp, $seed, $first_root)"
		" ON CONFLICT (repo) DO UPDATE SET root = excluded.root, targets = excluded.targets,"
		" snapshot = excluded.snapshot, timestamp = excluded.timestamp,"
		" content = excluded.content, resign_targets = excluded.resign_targets,"
		" resign_timestamp = excluded.resign_timestamp, seed = excluded.seed,"
		" first_root = excluded.first_root",
	[PQ_REPO_DUE] =
		/* By name: rows and documents lie in that order. */
		"SELECT " REPO_COLUMNS ", channel, class FROM repos WHERE repo IN (SELECT repo"
		" FROM repos WHERE resign_targets <= $now OR resign_timestamp <= $now"
		" ORDER BY resign_timestamp LIMIT $limit) ORDER BY repo",
	[PQ_REPO_LIST] =
		"SELECT repo, channel, class, root, targets, snapshot, timestamp, resign_targets,"
		" resign_timestamp FROM repos ORDER BY repo",
	[PQ_DOC_PUT] =
		"INSERT INTO documents (repo, role, version, path, bytes, created, expires)"
		" VALUES ($repo, $role, $version, $path, $bytes, $created, $expires)"
		" ON CONFLICT (repo, role, version) DO UPDATE SET bytes = excluded.bytes,"
		" created = excluded.created, expires = excluded.expires",
	[PQ_DOC_ALL] =
		"SELECT repo, role, version, path, bytes, expires FROM documents"
		" ORDER BY repo, role, version",
	[PQ_DOC_FORGET] =
		"DELETE FROM documents WHERE repo = $repo AND role <> 'root' AND expires < $before",
	[PQ_FIRST_ROOT] =
		"SELECT class, repo, first_root FROM repos WHERE channel = $channel AND root > 0",
	[PQ_DOC_GET] =
		"SELECT bytes FROM documents WHERE repo = $repo AND role = $role AND version = $version",
	[PQ_STRANDED] =
		"SELECT count(*) FROM repos WHERE seed IS NOT NULL AND seed <> $online"
		" AND seed <> $next",
	[PQ_REPO_ANEW] = "UPDATE repos SET content = $content, resign_targets = 0, resign_timestamp = 0",
	[PQ_SEED_USED] = "SELECT 1 FROM repos WHERE seed IS NULL OR seed <> $seed LIMIT 1",
};
/* clang-format on */
const struct sql_set publish_sql = {"publish", sql, PQ_COUNT};

/* ---- rows ---- */

static void repo_name(char out[static REPO_NAME], const char *channel, const char *class)
{
	if (channel)
		snprintf(out, REPO_NAME, "c/%s/%s", channel, class);
	else
		snprintf(out, REPO_NAME, INDEX_REPO);
}

int publish_doc_get(struct db *db, const char *repo, enum tuf_role role, int64_t version,
		    struct buf *out, struct err *err)
{
	size_t len;
	STMT(q, db, &publish_sql, PQ_DOC_GET);
	stmt_text(q, "$repo", repo);
	stmt_text(q, "$role", tuf_role_name(role));
	stmt_int(q, "$version", version);
	const int got = stmt_step(q, err);
	if (got <= 0)
		return got < 0 ? -1
			       : err_set(err, ERR_CORRUPT, "%s: its %s %lld is missing", repo,
					 tuf_role_name(role), (long long)version);
	const void *bytes = stmt_col_blob(q, 0, &len);
	buf_add(out, bytes, len);
	return buf_ok(out, repo, err);
}

int publish_first_root(struct db *db, const char *repo, struct stmt *q, int column,
		       struct digest *ret, struct err *err)
{
	if (!stmt_col_null(q, column))
		return stmt_col_digest(q, column, ret, err);
	AUTO_BUF struct buf root = BUF_INIT(TUF_ROOT_MAX);
	return publish_doc_get(db, repo, TUF_ROOT, 1, &root, err) ||
			       ceremony_root_digest(root.data, root.len, ret, err)
		       ? -1
		       : 0;
}

/* The current row's REPO_COLUMNS. */
static int repo_read(struct making *m, struct stmt *q)
{
	struct repo *r = &m->repo;
	r->root = stmt_col_int(q, 0);
	r->targets = stmt_col_int(q, 1);
	r->snapshot = stmt_col_int(q, 2);
	r->timestamp = stmt_col_int(q, 3);
	r->resign_targets = stmt_col_int(q, 5);
	r->resign_timestamp = stmt_col_int(q, 6);
	r->seed = m->p->online_id;
	if ((!stmt_col_null(q, 7) && stmt_col_digest(q, 7, &r->seed, m->err)) ||
	    (r->root && publish_first_root(m->db, r->name, q, 8, &r->first_root, m->err)))
		return -1;
	return stmt_col_digest(q, 4, &r->content, m->err);
}

static void repo_init(struct making *m, const char *channel, const char *class)
{
	m->repo = (struct repo){.channel = channel, .class = class};
	repo_name(m->repo.name, channel, class);
}

static int repo_get(struct making *m)
{
	STMT(q, m->db, &publish_sql, PQ_REPO_GET);
	stmt_text(q, "$repo", m->repo.name);
	const int got = stmt_step(q, m->err);
	return got > 0 ? repo_read(m, q) : got;
}

static int repo_put(struct making *m)
{
	const struct repo *r = &m->repo;
	STMT(q, m->db, &publish_sql, PQ_REPO_PUT);
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
	stmt_digest(q, "$seed", &r->seed);
	stmt_digest(q, "$first_root", &r->first_root);
	return stmt_run(q, m->err);
}

static int put_document(struct making *m, const struct made *made)
{
	STMT(q, m->db, &publish_sql, PQ_DOC_PUT);
	stmt_text(q, "$repo", m->repo.name);
	stmt_text(q, "$role", made->role);
	stmt_int(q, "$version", made->row);
	stmt_text(q, "$path", made->doc->path);
	stmt_blob(q, "$bytes", made->doc->bytes, made->doc->len);
	stmt_int(q, "$created", m->now);
	stmt_int(q, "$expires", made->expires);
	return stmt_run(q, m->err);
}

int making_put_documents(struct making *m)
{
	const struct change *change = m->change;
	for (unsigned i = 0; i < change->count; i++)
		if (change->made[i].role && put_document(m, &change->made[i]))
			return -1;
	return 0;
}

int making_begin(struct making *m, struct publisher *p, struct db *db, const char *channel,
		 const char *class, struct err *err)
{
	*m = (struct making){.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	repo_init(m, channel, class);
	return repo_get(m) ? -1 : making_change_new(m);
}

int making_begin_due(struct making *m, struct publisher *p, struct db *db, struct stmt *due,
		     struct err *err)
{
	*m = (struct making){.p = p, .db = db, .now = clock_s(p->clock), .err = err};
	repo_init(m, stmt_col_text(due, 9), stmt_col_text(due, 10));
	return repo_read(m, due) ? -1 : making_change_new(m);
}

static int forget_old(struct making *m)
{
	STMT(q, m->db, &publish_sql, PQ_DOC_FORGET);
	stmt_text(q, "$repo", m->repo.name);
	stmt_int(q, "$before", m->now);
	return stmt_run(q, m->err);
}

int publish_remember(struct publisher *p, struct db *db, int64_t now, int64_t *ret_publication,
		     struct err *err)
{
	char text[32];
	p->last_signed = now;
	snprintf(text, sizeof(text), "%lld", (long long)now);
	return db_meta_set(db, "last_signed", text, err) ||
			       publisher_next_publication(p, db, ret_publication, err)
		       ? -1
		       : 0;
}

int making_store(struct making *m, int bad)
{
	if (bad || !m->change->count || making_put_documents(m) || repo_put(m) ||
	    forget_old(m)) {
		const bool nothing = !bad && !m->change->count;
		change_free(m->change);
		return nothing ? 0 : -1;
	}
	return db_after_commit(m->db, change_apply, change_free, m->change, m->err);
}

int making_finish(struct making *m, int bad)
{
	const bool changed = !bad && m->change->count;
	return making_store(m, bad || (changed && publish_remember(m->p, m->db, m->now,
								     &m->change->publication,
								     m->err)));
}
