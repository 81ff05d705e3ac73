#include "manifest/delta_queue.h"

#include "base/arena.h"
#include "manifest/delta_plan.h"
#include "store/delta_job.h"

#include <stdio.h>
#include <string.h>

#define FILES_ARENA (8u << 20) /* of four releases */

enum { Q_NEWEST, Q_BEFORE, Q_FILES, Q_COUNT };
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_NEWEST] =
		"SELECT model, release FROM releases r WHERE state = 'published' AND NOT EXISTS"
		" (SELECT 1 FROM releases n WHERE n.model = r.model AND n.state = 'published'"
		" AND (n.published > r.published OR (n.published = r.published"
		" AND (n.created > r.created OR (n.created = r.created AND n.release > r.release)))))",
	[Q_BEFORE] =
		"SELECT release FROM releases WHERE model = $model AND release <> $release"
		" AND state = 'published' AND published <= (SELECT published FROM releases"
		" WHERE model = $model AND release = $release)"
		" ORDER BY published DESC, created DESC, release DESC LIMIT $limit",
	[Q_FILES] =
		"SELECT f.tier, v.format, f.name, f.recipe, f.stored FROM files f JOIN variants v"
		" ON v.model = f.model AND v.release = f.release AND v.tier = f.tier"
		" WHERE f.model = $model AND f.release = $release ORDER BY f.tier, f.name",
};
/* clang-format on */
const struct sql_set delta_queue_sql = {"delta_queue", sql, Q_COUNT};

struct queueing {
	struct db *db;
	struct arena *arena;
	const char *model;
	int64_t now;
	unsigned added;
	struct err *err;
};

/* ---- a release's files ---- */

/* In a list while they are read: how many there are is not known before. */
struct link {
	struct plan_file file;
	struct link *next;
};

static int file_read(struct queueing *s, struct stmt *q, struct link **ret_link)
{
	struct link *link = arena_alloc(s->arena, sizeof(*link));
	if (!link)
		return err_nomem(s->err);
	*link = (struct link){.file = {.tier = arena_strdup(s->arena, stmt_col_text(q, 0)),
				       .format = arena_strdup(s->arena, stmt_col_text(q, 1)),
				       .name = arena_strdup(s->arena, stmt_col_text(q, 2)),
				       .stored = stmt_col_int(q, 4)}};
	if (!link->file.tier || !link->file.format || !link->file.name)
		return err_nomem(s->err);
	if (stmt_col_digest(q, 3, &link->file.recipe, s->err))
		return -1;
	*ret_link = link;
	return 0;
}

static int files_read(struct queueing *s, struct plan_release *release, struct link **ret_first)
{
	struct link **last = ret_first;
	STMT(q, s->db, &delta_queue_sql, Q_FILES);
	stmt_text(q, "$model", s->model);
	stmt_text(q, "$release", release->release);
	int got;
	while ((got = stmt_step(q, s->err)) > 0) {
		if (file_read(s, q, last))
			return -1;
		last = &(*last)->next;
		release->count++;
	}
	return got;
}

static int release_read(struct queueing *s, const char *name, struct plan_release *release)
{
	struct link *first = NULL;
	*release = (struct plan_release){.release = name};
	if (files_read(s, release, &first))
		return -1;
	struct plan_file *files = arena_alloc(s->arena, (release->count + 1) * sizeof(*files));
	if (!files)
		return err_nomem(s->err);
	release->files = files;
	for (; first; first = first->next)
		*files++ = first->file;
	return 0;
}

/* ---- queueing ---- */

static int queue_pair(void *arg, const struct plan_pair *pair, struct err *err)
{
	struct queueing *s = arg;
	struct delta_job job = {.new = pair->new->recipe, .old = pair->old->recipe};
	bool added;
	snprintf(job.what, sizeof(job.what), "%s@%s/%s/%s", s->model, pair->new_release->release,
		 pair->new->tier, pair->new->name);
	snprintf(job.base, sizeof(job.base), "%s@%s/%s/%s", s->model, pair->old_release->release,
		 pair->old->tier, pair->old->name);
	if (delta_job_add(s->db, &job, s->now, &added, err))
		return -1;
	s->added += added;
	return 0;
}

/* The names of those before it behind names[0]. */
static int releases_before(struct queueing *s, const char *names[static DELTA_RELEASES + 1],
			   unsigned *ret_count)
{
	unsigned count = 1;
	STMT(q, s->db, &delta_queue_sql, Q_BEFORE);
	stmt_text(q, "$model", s->model);
	stmt_text(q, "$release", names[0]);
	stmt_int(q, "$limit", DELTA_RELEASES);
	int got;
	while ((got = stmt_step(q, s->err)) > 0 && count <= DELTA_RELEASES) {
		names[count] = arena_strdup(s->arena, stmt_col_text(q, 0));
		if (!names[count++])
			return err_nomem(s->err);
	}
	*ret_count = count;
	return got < 0 ? -1 : 0;
}

static int queue_release(struct queueing *s, const char *release)
{
	const char *names[DELTA_RELEASES + 1] = {release};
	struct plan_release releases[DELTA_RELEASES + 1];
	unsigned count;
	if (releases_before(s, names, &count))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (release_read(s, names[i], &releases[i]))
			return -1;
	return delta_plan(releases, count, queue_pair, s, s->err);
}

int delta_queue_release(struct db *db, const char *model, const char *release, int64_t now,
			unsigned *ret_added, struct err *err)
{
	AUTO(arena_free) struct arena *arena = arena_new(FILES_ARENA);
	struct queueing s = {.db = db, .arena = arena, .model = model, .now = now, .err = err};
	if (!arena)
		return err_nomem(err);
	if (queue_release(&s, release))
		return -1;
	if (ret_added)
		*ret_added = s.added;
	return 0;
}

int delta_queue_missing(struct db *db, int64_t now, unsigned *ret_added, struct err *err)
{
	unsigned added, sum = 0;
	STMT(q, db, &delta_queue_sql, Q_NEWEST);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		if (delta_queue_release(db, stmt_col_text(q, 0), stmt_col_text(q, 1), now, &added, err))
			return -1;
		sum += added;
	}
	if (got < 0)
		return -1;
	if (ret_added)
		*ret_added = sum;
	return 0;
}
