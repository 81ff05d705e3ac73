#include "store/delta_job.h"

#include <stdio.h>
#include <string.h>

enum {
	ADD,
	ADOPT,
	RECOVER_LAST,
	RECOVER,
	LOST,
	OLDEST,
	TAKE_IT,
	END,
	AGAIN,
	RELEASE,
	NEXT_DUE,
	LIST,
	SUMS,
	UNLIST,
	DROP,
	SQL_COUNT
};

#define COLUMNS                                                                                \
	"id, new, old, what, base, state, tries, due, reason, whole, bytes, created, changed"
#define INSERT                                                                                 \
	"INSERT INTO jobs (" COLUMNS ") VALUES ((SELECT coalesce(max(id), 0) + 1 FROM jobs),"   \
	" $new, $old, $what, $base, "
#define IS_RUNNING " WHERE id = $id AND state = 'running'"

static const char *const sql[] = {
	[ADD] = INSERT "'queued', 0, $now, '', 0, 0, $now, $now)"
		" ON CONFLICT (new, old) DO UPDATE SET state = 'queued', tries = 0, due = $now,"
		" reason = '', what = excluded.what, base = excluded.base, changed = $now"
		" WHERE jobs.state IN ('failed', 'unlisted')",
	[ADOPT] = INSERT "'done', 0, $now, '', $whole, $bytes, $now, $now)"
		  " ON CONFLICT (new, old) DO NOTHING",
	[RECOVER_LAST] = "UPDATE jobs SET state = 'failed', changed = $now,"
			 " reason = 'the daemon ended each time while it was being made'"
			 " WHERE state = 'running' AND tries >= $most",
	[RECOVER] = "UPDATE jobs SET state = 'queued', due = $now, changed = $now"
		    " WHERE state = 'running'",
	[LOST] = "UPDATE jobs SET state = 'queued', tries = 0, due = $now, changed = $now"
		 " WHERE id = $id AND state = 'done'",
	[OLDEST] = "SELECT " COLUMNS " FROM jobs WHERE state = 'queued' AND due <= $now"
		   " ORDER BY id LIMIT 1",
	[TAKE_IT] = "UPDATE jobs SET state = 'running', tries = tries + 1, changed = $now"
		    " WHERE id = $id AND state = 'queued'",
	[END] = "UPDATE jobs SET state = $state, reason = $reason, whole = $whole, bytes = $bytes,"
		" changed = $now" IS_RUNNING,
	[AGAIN] = "UPDATE jobs SET state = $state, due = $due, reason = $reason, changed = $now"
		IS_RUNNING,
	[RELEASE] = "UPDATE jobs SET state = 'queued', tries = tries - 1, due = $now,"
		    " changed = $now" IS_RUNNING,
	[NEXT_DUE] = "SELECT due FROM jobs WHERE state = 'queued' ORDER BY due LIMIT 1",
	[LIST] = "SELECT " COLUMNS " FROM jobs WHERE id > $after"
		 " AND ($state = '' OR state = $state) ORDER BY id LIMIT $limit",
	[SUMS] = "SELECT state, count(*), coalesce(sum(bytes), 0) FROM jobs GROUP BY state",
	[UNLIST] = "UPDATE jobs SET state = 'unlisted', changed = $now"
		   " WHERE id = $id AND state IN ('done', 'dropped')",
	[DROP] = "DELETE FROM jobs WHERE id = $id AND state = $state AND changed < $than",
};
const struct sql_set delta_job_sql = {"delta_job", sql, SQL_COUNT};

static const char *const names[DELTA_STATES] = {
	[DELTA_QUEUED] = "queued",   [DELTA_RUNNING] = "running", [DELTA_DONE] = "done",
	[DELTA_DROPPED] = "dropped", [DELTA_FAILED] = "failed",	  [DELTA_UNLISTED] = "unlisted",
};

const char *delta_state_name(enum delta_state state)
{
	return names[state];
}

int delta_state_parse(enum delta_state *ret_state, const char *text)
{
	for (int i = 0; i < DELTA_STATES; i++)
		if (!strcmp(names[i], text)) {
			*ret_state = (enum delta_state)i;
			return 0;
		}
	return -1;
}

/* ---- Rows. ---- */

static void text_copy(char *to, size_t room, const char *text)
{
	snprintf(to, room, "%s", text ? text : "");
}

static int job_read(struct stmt *q, struct delta_job *ret_job, struct err *err)
{
	struct delta_job job = {.id = stmt_col_int(q, 0),
				.tries = stmt_col_int(q, 6),
				.due = stmt_col_int(q, 7),
				.whole = stmt_col_int(q, 9),
				.bytes = stmt_col_int(q, 10),
				.created = stmt_col_int(q, 11),
				.changed = stmt_col_int(q, 12)};
	const char *state = stmt_col_text(q, 5);

	if (stmt_col_digest(q, 1, &job.new, err) < 0 || stmt_col_digest(q, 2, &job.old, err) < 0)
		return -1;
	if (!state || delta_state_parse(&job.state, state) < 0)
		return err_set(err, ERR_CORRUPT, "jobs: unknown state in a row");
	text_copy(job.what, sizeof(job.what), stmt_col_text(q, 3));
	text_copy(job.base, sizeof(job.base), stmt_col_text(q, 4));
	text_copy(job.reason, sizeof(job.reason), stmt_col_text(q, 8));
	*ret_job = job;
	return 0;
}

static void bind_pair(struct stmt *q, const struct delta_job *job, int64_t now)
{
	stmt_digest(q, "$new", &job->new);
	stmt_digest(q, "$old", &job->old);
	stmt_text(q, "$what", job->what);
	stmt_text(q, "$base", job->base);
	stmt_int(q, "$now", now);
}

int delta_job_add(struct db *db, const struct delta_job *job, int64_t now, bool *ret_added,
		  struct err *err)
{
	STMT(q, db, &delta_job_sql, ADD);
	int64_t changed;

	bind_pair(q, job, now);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	if (ret_added)
		*ret_added = changed > 0;
	return 0;
}

int delta_job_adopt(struct db *db, const struct delta_job *job, int64_t now, struct err *err)
{
	STMT(q, db, &delta_job_sql, ADOPT);

	bind_pair(q, job, now);
	stmt_int(q, "$whole", job->whole);
	stmt_int(q, "$bytes", job->bytes);
	return stmt_run(q, err);
}

/* ---- Working through the queue. ---- */

int delta_job_recover(struct db *db, int64_t now, struct err *err)
{
	STMT(last, db, &delta_job_sql, RECOVER_LAST);
	STMT(rest, db, &delta_job_sql, RECOVER);

	stmt_int(last, "$now", now);
	stmt_int(last, "$most", DELTA_TRIES);
	stmt_int(rest, "$now", now);
	return stmt_run(last, err) < 0 || stmt_run(rest, err) < 0 ? -1 : 0;
}

int delta_job_lost(struct db *db, int64_t id, int64_t now, struct err *err)
{
	STMT(q, db, &delta_job_sql, LOST);

	stmt_int(q, "$id", id);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

static int oldest(struct db *db, int64_t now, struct delta_job *ret_job, struct err *err)
{
	STMT(q, db, &delta_job_sql, OLDEST);

	stmt_int(q, "$now", now);
	int row = stmt_step(q, err);
	if (row == 1 && job_read(q, ret_job, err) < 0)
		return -1;
	return row;
}

int delta_job_take(struct db *db, int64_t now, struct delta_job *ret_job, struct err *err)
{
	struct delta_job job;
	int row = oldest(db, now, &job, err);

	if (row != 1)
		return row;
	STMT(q, db, &delta_job_sql, TAKE_IT);
	stmt_int(q, "$id", job.id);
	stmt_int(q, "$now", now);
	if (stmt_run(q, err) < 0)
		return -1;
	job.state = DELTA_RUNNING;
	job.tries++;
	job.changed = now;
	*ret_job = job;
	return 1;
}

static int change_one(struct stmt *q, const struct delta_job *job, int64_t now, struct err *err)
{
	int64_t changed;

	stmt_int(q, "$id", job->id);
	stmt_int(q, "$now", now);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? 0
		       : err_set(err, ERR_CONFLICT, "job %lld is not running", (long long)job->id);
}

static int end(struct db *db, const struct delta_job *job, enum delta_state state, int64_t now,
	       struct err *err)
{
	STMT(q, db, &delta_job_sql, END);

	stmt_text(q, "$state", names[state]);
	stmt_text(q, "$reason", job->reason);
	stmt_int(q, "$whole", job->whole);
	stmt_int(q, "$bytes", job->bytes);
	return change_one(q, job, now, err);
}

int delta_job_done(struct db *db, const struct delta_job *job, int64_t now, struct err *err)
{
	return end(db, job, DELTA_DONE, now, err);
}

int delta_job_dropped(struct db *db, const struct delta_job *job, int64_t now, struct err *err)
{
	return end(db, job, DELTA_DROPPED, now, err);
}

int delta_job_again(struct db *db, const struct delta_job *job, int64_t now, bool *ret_failed,
		    struct err *err)
{
	STMT(q, db, &delta_job_sql, AGAIN);
	const bool failed = job->tries >= DELTA_TRIES;
	int64_t wait = DELTA_RETRY_S;

	for (int64_t i = 1; i < job->tries && i < DELTA_TRIES; i++)
		wait *= 4;
	stmt_text(q, "$state", names[failed ? DELTA_FAILED : DELTA_QUEUED]);
	stmt_text(q, "$reason", job->reason);
	stmt_int(q, "$due", now + wait);
	if (change_one(q, job, now, err) < 0)
		return -1;
	*ret_failed = failed;
	return 0;
}

int delta_job_release(struct db *db, const struct delta_job *job, int64_t now, struct err *err)
{
	STMT(q, db, &delta_job_sql, RELEASE);

	return change_one(q, job, now, err);
}

/* ---- Looking over. ---- */

int delta_job_due(struct db *db, int64_t *ret_due, struct err *err)
{
	STMT(q, db, &delta_job_sql, NEXT_DUE);

	int row = stmt_step(q, err);
	if (row == 1)
		*ret_due = stmt_col_int(q, 0);
	return row;
}

int delta_job_list(struct db *db, const struct delta_job_query *query, delta_job_each *each,
		   void *arg, struct err *err)
{
	struct delta_job job;
	int row;
	STMT(q, db, &delta_job_sql, LIST);

	stmt_text(q, "$state", query->state == DELTA_STATES ? "" : names[query->state]);
	stmt_int(q, "$after", query->after);
	stmt_int(q, "$limit", query->limit);
	while ((row = stmt_step(q, err)) == 1)
		if (job_read(q, &job, err) < 0 || each(arg, &job, err) < 0)
			return -1;
	return row;
}

int delta_job_sum(struct db *db, struct delta_job_sums *ret_sums, struct err *err)
{
	struct delta_job_sums sums = {0};
	enum delta_state state;
	int row;
	STMT(q, db, &delta_job_sql, SUMS);

	while ((row = stmt_step(q, err)) == 1) {
		const char *name = stmt_col_text(q, 0);
		if (!name || delta_state_parse(&state, name) < 0)
			return err_set(err, ERR_CORRUPT, "jobs: unknown state in a row");
		sums.count[state] = stmt_col_int(q, 1);
		if (state == DELTA_DONE)
			sums.bytes = stmt_col_int(q, 2);
	}
	if (row < 0)
		return -1;
	*ret_sums = sums;
	return 0;
}

/* ---- For gc.h. ---- */

int delta_job_unlist(struct db *db, int64_t id, int64_t now, struct err *err)
{
	STMT(q, db, &delta_job_sql, UNLIST);

	stmt_int(q, "$id", id);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int delta_job_drop(struct db *db, const struct delta_job *job, int64_t than, bool *ret_removed,
		   struct err *err)
{
	int64_t changed;
	STMT(q, db, &delta_job_sql, DROP);

	stmt_int(q, "$id", job->id);
	stmt_text(q, "$state", names[job->state]);
	stmt_int(q, "$than", than);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	*ret_removed = changed > 0;
	return 0;
}
