#include "manifest/journal.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/json.h"
#include "manifest/canon.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_MAX (1 << 20)
#define KEPT_MAX ((size_t)32768) /* bytes of what was sent; a page of the log is read whole */

enum {
	Q_EVENT_PUT, Q_EVENT_LIST, Q_EVENT_COUNT, Q_EVENT_EVIDENCE, Q_AUDIT_PUT, Q_AUDIT_LIST, Q_AUDIT_LAST,
	Q_COUNT
};

#define AUDIT_COLUMNS "seq, t, actor, action, resource, request, data, prev, hash"
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_EVENT_PUT] =
		"INSERT INTO events (seq, t, kind, rollout, class, actor, data)"
		" VALUES ($seq, $t, $kind, $rollout, $class, $actor, $data)",
	[Q_EVENT_LIST] =
		"SELECT seq, t, kind, rollout, class, actor, data FROM events"
		" WHERE seq > $after AND ($rollout IS NULL OR rollout = $rollout)"
		" ORDER BY seq LIMIT $limit",
	[Q_EVENT_COUNT] =
		"SELECT COUNT(*) FROM events WHERE rollout = $rollout AND kind = $kind"
		" AND ($class IS NULL OR class = $class)",
	[Q_EVENT_EVIDENCE] =
		"SELECT t, data FROM events WHERE rollout = $rollout AND class = $class"
		" AND data LIKE '%\"evidence\":{%' ORDER BY seq DESC LIMIT 1",
	[Q_AUDIT_PUT] =
		"INSERT INTO audit (" AUDIT_COLUMNS ") VALUES ($seq, $t, $actor, $action, $resource,"
		" $request, $data, $prev, $hash)",
	[Q_AUDIT_LIST] =
		"SELECT " AUDIT_COLUMNS " FROM audit WHERE seq > $after ORDER BY seq LIMIT $limit",
	[Q_AUDIT_LAST] = "SELECT hash FROM audit ORDER BY seq DESC LIMIT 1",
};
/* clang-format on */
const struct sql_set journal_sql = {"journal", sql, Q_COUNT};

/* The object as JSON text, the caller's; {} for NULL. */
static char *data_text(const json_t *data)
{
	return data ? json_text(data) : strdup("{}");
}

/* ---- events ---- */

int journal_event(struct db *db, const struct journal_event *event, struct err *err)
{
	int64_t seq;
	if (db_meta_next(db, "event", &seq, err))
		return -1;
	char *data = data_text(event->data);
	if (!data)
		return err_nomem(err);
	STMT(q, db, &journal_sql, Q_EVENT_PUT);
	stmt_int(q, "$seq", seq);
	stmt_int(q, "$t", event->t);
	stmt_text(q, "$kind", event->kind);
	stmt_text(q, "$rollout", event->rollout);
	stmt_text(q, "$class", event->class);
	stmt_text(q, "$actor", event->actor);
	stmt_text(q, "$data", data);
	free(data);
	return stmt_run(q, err);
}

int journal_count(struct db *db, const char *rollout, const char *class, const char *kind,
		  int64_t *ret_count, struct err *err)
{
	STMT(q, db, &journal_sql, Q_EVENT_COUNT);
	stmt_text(q, "$rollout", rollout);
	stmt_text(q, "$class", class);
	stmt_text(q, "$kind", kind);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_count = stmt_col_int(q, 0);
	return 0;
}

static json_t *parse_data(struct stmt *q, int col, struct err *err)
{
	const char *text = stmt_col_text(q, col);
	return json_parse(text ? text : "", text ? strlen(text) : 0, "journal", err);
}

static int append_event(struct stmt *q, json_t *items, struct err *err)
{
	json_t *data = parse_data(q, 6, err);
	if (!data)
		return -1;
	json_t *item = json_pack(
		"{s:I, s:I, s:s, s:s?, s:s?, s:s, s:o}", "seq", (json_int_t)stmt_col_int(q, 0), "t",
		(json_int_t)stmt_col_int(q, 1), "kind", stmt_col_text(q, 2), "rollout",
		stmt_col_text(q, 3), "class", stmt_col_text(q, 4), "actor", stmt_col_text(q, 5),
		"data", data);
	return json_array_append_new(items, item) ? err_nomem(err) : 0;
}

int journal_events(struct db *db, const char *rollout, int64_t after, int64_t limit,
		   json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &journal_sql, Q_EVENT_LIST);
	stmt_int(q, "$after", after);
	stmt_text(q, "$rollout", rollout);
	stmt_int(q, "$limit", limit);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (append_event(q, items, err))
			return -1;
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

int journal_last_evidence(struct db *db, const char *rollout, const char *class,
			  json_t **ret_evidence, struct err *err)
{
	STMT(q, db, &journal_sql, Q_EVENT_EVIDENCE);
	stmt_text(q, "$rollout", rollout);
	stmt_text(q, "$class", class);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_evidence = NULL;
	if (!got)
		return 0;
	const char *text = stmt_col_text(q, 1);
	json_auto_t *data = json_parse(text ? text : "", text ? strlen(text) : 0, "event", err);
	if (!data)
		return -1;
	json_t *evidence = json_object_get(data, "evidence");
	json_object_set_new(evidence, "as_of", json_integer(stmt_col_int(q, 0)));
	*ret_evidence = json_incref(evidence);
	return 0;
}

/* ---- audit ---- */

struct row {
	int64_t seq, t;
	const char *actor, *action, *resource, *request, *data;
	struct digest prev, hash;
};

static int row_hash(const struct row *row, struct digest *ret, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(ENTRY_MAX);
	buf_add(&text, row->prev.bytes, DIGEST_LEN);
	json_auto_t *body = json_pack(
		"{s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "seq", (json_int_t)row->seq, "t",
		(json_int_t)row->t, "actor", row->actor, "action", row->action, "resource",
		row->resource, "request", row->request, "data", row->data);
	if (!body)
		return err_nomem(err);
	if (canon_write(body, &text, err) || buf_ok(&text, "audit entry", err))
		return -1;
	digest_of(ret, text.data, text.len);
	return 0;
}

static int last_hash(struct db *db, struct digest *ret, struct err *err)
{
	STMT(q, db, &journal_sql, Q_AUDIT_LAST);
	const int got = stmt_step(q, err);
	*ret = (struct digest){{0}};
	return got > 0 ? stmt_col_digest(q, 0, ret, err) : got;
}

static int insert_row(struct db *db, const struct row *row, struct err *err)
{
	STMT(q, db, &journal_sql, Q_AUDIT_PUT);
	stmt_int(q, "$seq", row->seq);
	stmt_int(q, "$t", row->t);
	stmt_text(q, "$actor", row->actor);
	stmt_text(q, "$action", row->action);
	stmt_text(q, "$resource", row->resource);
	stmt_text(q, "$request", row->request);
	stmt_text(q, "$data", row->data);
	stmt_digest(q, "$prev", &row->prev);
	stmt_digest(q, "$hash", &row->hash);
	return stmt_run(q, err);
}

/* What an entry keeps of its data: all of it, or of what is long how long it is, and its digest. */
static char *kept_text(const json_t *data)
{
	struct digest digest;
	char *text = data_text(data), hex[DIGEST_HEX];
	if (!text || strlen(text) <= KEPT_MAX)
		return text;
	digest_of(&digest, text, strlen(text));
	digest_hex(&digest, hex);
	json_auto_t *instead = json_pack("{s:I, s:s}", "bytes", (json_int_t)strlen(text), "sha256", hex);
	free(text);
	return instead ? data_text(instead) : NULL;
}

int journal_audit(struct db *db, const struct journal_entry *entry, struct err *err)
{
	struct row row = {.t = entry->t, .actor = entry->actor, .action = entry->action,
			  .resource = entry->resource, .request = entry->request};
	char *data = kept_text(entry->data);
	if (!data)
		return err_nomem(err);
	row.data = data;
	int bad = db_meta_next(db, "audit", &row.seq, err) || last_hash(db, &row.prev, err) ||
		  row_hash(&row, &row.hash, err) || insert_row(db, &row, err);
	free(data);
	return bad ? -1 : 0;
}

static int read_row(struct stmt *q, struct row *row, struct err *err)
{
	*row = (struct row){.seq = stmt_col_int(q, 0), .t = stmt_col_int(q, 1),
			    .actor = stmt_col_text(q, 2), .action = stmt_col_text(q, 3),
			    .resource = stmt_col_text(q, 4), .request = stmt_col_text(q, 5),
			    .data = stmt_col_text(q, 6)};
	return stmt_col_digest(q, 7, &row->prev, err) || stmt_col_digest(q, 8, &row->hash, err)
		       ? -1
		       : 0;
}

static int append_row(struct stmt *q, json_t *items, struct err *err)
{
	struct row row;
	char hash[DIGEST_HEX];
	if (read_row(q, &row, err))
		return -1;
	json_t *data = parse_data(q, 6, err);
	if (!data)
		return -1;
	digest_hex(&row.hash, hash);
	json_t *item = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:o, s:s}", "seq",
				 (json_int_t)row.seq, "t", (json_int_t)row.t, "actor", row.actor,
				 "action", row.action, "resource", row.resource, "request",
				 row.request, "data", data, "hash", hash);
	return json_array_append_new(items, item) ? err_nomem(err) : 0;
}

int journal_audits(struct db *db, int64_t after, int64_t limit, json_t **ret_items,
		   struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &journal_sql, Q_AUDIT_LIST);
	stmt_int(q, "$after", after);
	stmt_int(q, "$limit", limit);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (append_row(q, items, err))
			return -1;
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

int journal_verify(struct db *db, int64_t *ret_rows, struct err *err)
{
	struct digest prev = {{0}};
	int64_t rows = 0;
	STMT(q, db, &journal_sql, Q_AUDIT_LIST);
	stmt_int(q, "$after", 0);
	stmt_int(q, "$limit", INT64_MAX);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct row row;
		struct digest hash;
		if (read_row(q, &row, err) || row_hash(&row, &hash, err))
			return -1;
		if (row.seq != rows + 1 || !digest_eq(&row.prev, &prev) ||
		    !digest_eq(&row.hash, &hash))
			return err_set(err, ERR_CORRUPT,
				       "the audit chain breaks at row %lld: it was changed or removed",
				       (long long)rows + 1);
		prev = hash;
		rows++;
	}
	if (got < 0)
		return -1;
	*ret_rows = rows;
	return 0;
}
