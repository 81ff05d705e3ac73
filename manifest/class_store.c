#include "manifest/class_store.h"

#include "base/json.h"
#include "manifest/classes.h"

#include <stdlib.h>
#include <string.h>

enum {
	Q_RULES_GET,
	Q_RULES_VERSION,
	Q_RULES_PUT,
	Q_GET,
	Q_ADD,
	Q_SET,
	Q_REMOVE_ALL,
	Q_ACTIVE,
	Q_LIST,
	Q_SERVED,
	Q_PREPARE,
	Q_PENDING,
	Q_COUNT
};
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_RULES_GET] = "SELECT version, doc FROM class_rules ORDER BY version DESC LIMIT 1",
	[Q_RULES_VERSION] = "SELECT COALESCE(MAX(version), 0) FROM class_rules",
	[Q_RULES_PUT] =
		"INSERT INTO class_rules (version, doc, actor, created)"
		" VALUES ($version, $doc, $actor, $now)",
	[Q_GET] = "SELECT settings, version FROM classes WHERE name = $name",
	[Q_ADD] =
		"INSERT INTO classes (name, settings, version, created) VALUES ($name, $settings, 1, $now)"
		" ON CONFLICT (name) DO UPDATE SET removed = NULL",
	[Q_SET] =
		"UPDATE classes SET settings = $settings, version = version + 1"
		" WHERE name = $name AND ($version < 0 OR version = $version)",
	[Q_REMOVE_ALL] = "UPDATE classes SET removed = $now WHERE removed IS NULL",
	[Q_ACTIVE] = "SELECT 1 FROM classes WHERE name = $name AND removed IS NULL",
	[Q_LIST] = "SELECT name, settings, version, removed FROM classes ORDER BY name",
	[Q_SERVED] =
		"SELECT name FROM classes WHERE removed IS NULL OR removed > $since ORDER BY name",
	/* removed at 0: it has never been there. */
	[Q_PREPARE] =
		"INSERT INTO classes (name, settings, version, created, removed)"
		" VALUES ($name, $settings, 1, $now, 0)",
	[Q_PENDING] = "SELECT name FROM classes WHERE removed = 0 ORDER BY name",
};
/* clang-format on */
const struct sql_set class_sql = {"class", sql, Q_COUNT};

#define DAY_S 86400

/* ---- settings ---- */

static void settings_default(struct class_settings *s)
{
	*s = (struct class_settings){.poll_s = 3600,
				     .candidate_poll_s = 600,
				     .window_s = 3600,
				     .windows = 24,
				     .jitter_s = 300,
				     .outcome_deadline_s = DAY_S,
				     .report_grace_s = 1800,
				     .devices = 10000,
				     .spread_s = 7200};
}

static int read_tiers(struct class_settings *s, const json_t *list, struct err *err)
{
	size_t i;
	const json_t *item;
	s->tier_count = 0;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);
		if (!text || !json_name_ok(text))
			return err_set(err, ERR_INVALID, "tiers[%zu]: must be a tier's name", i);
		for (unsigned k = 0; k < s->tier_count; k++)
			if (!strcmp(s->tiers[k], text))
				return err_set(err, ERR_INVALID, "tiers[%zu]: %s stands twice", i,
					       text);
		s->tiers[s->tier_count++] = text;
	}
	return 0;
}

int class_settings_read(struct class_settings *s, const json_t *object, struct err *err)
{
	json_t *tiers = NULL;
	settings_default(s);
	const struct json_field fields[] = {
		FIELD_ARRAY("tiers", &tiers, .optional = true, .max = CLASS_TIERS),
		FIELD_INT("poll_s", &s->poll_s, .optional = true, .min = 60, .max = DAY_S),
		FIELD_INT("candidate_poll_s", &s->candidate_poll_s, .optional = true, .min = 60,
			  .max = DAY_S),
		FIELD_INT("window_s", &s->window_s, .optional = true, .min = 600, .max = DAY_S),
		FIELD_INT("windows", &s->windows, .optional = true, .min = 1, .max = 168),
		FIELD_INT("jitter_s", &s->jitter_s, .optional = true, .max = 6 * 3600),
		FIELD_INT("outcome_deadline_s", &s->outcome_deadline_s, .optional = true,
			  .min = 600, .max = 7 * DAY_S),
		FIELD_INT("report_grace_s", &s->report_grace_s, .optional = true, .min = 600,
			  .max = DAY_S),
		FIELD_INT("devices", &s->devices, .optional = true, .min = 1,
			  .max = 100000000000),
		FIELD_INT("spread_s", &s->spread_s, .optional = true, .max = 7 * DAY_S),
		FIELD_INT("ram_mib", &s->ram_mib, .optional = true, .max = 1 << 24),
		FIELD_INT("disk_mib", &s->disk_mib, .optional = true, .max = 1 << 30),
	};
	if (json_read(object, fields, COUNT_OF(fields), err))
		return -1;
	if (s->window_s % 600)
		return err_set(err, ERR_INVALID, "window_s: must be a multiple of 600");
	return tiers ? read_tiers(s, tiers, err) : 0;
}

json_t *class_settings_json(const struct class_settings *s)
{
	json_t *tiers = json_array();
	for (unsigned i = 0; i < s->tier_count; i++)
		json_array_append_new(tiers, json_string(s->tiers[i]));
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "tiers",
			 tiers, "poll_s", (json_int_t)s->poll_s, "candidate_poll_s",
			 (json_int_t)s->candidate_poll_s, "window_s", (json_int_t)s->window_s,
			 "windows", (json_int_t)s->windows, "jitter_s", (json_int_t)s->jitter_s,
			 "outcome_deadline_s", (json_int_t)s->outcome_deadline_s, "report_grace_s",
			 (json_int_t)s->report_grace_s, "devices", (json_int_t)s->devices,
			 "spread_s", (json_int_t)s->spread_s, "ram_mib", (json_int_t)s->ram_mib,
			 "disk_mib", (json_int_t)s->disk_mib);
}

/* ---- one class ---- */

static json_t *parse_column(struct stmt *q, int col, struct err *err)
{
	const char *text = stmt_col_text(q, col);
	return json_parse(text ? text : "", text ? strlen(text) : 0, "database", err);
}

int class_get(struct db *db, const char *name, struct class_settings *settings,
	      json_t **ret_object, int64_t *ret_version, struct err *err)
{
	STMT(q, db, &class_sql, Q_GET);
	stmt_text(q, "$name", name);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND,
			       "class %s does not exist; classes are made by the class rules", name);
	json_auto_t *object = parse_column(q, 0, err);
	if (!object || class_settings_read(settings, object, err))
		return err_in(err, "class %s", name);
	*ret_object = json_incref(object);
	*ret_version = stmt_col_int(q, 1);
	return 0;
}

int class_known(struct db *db, const char *name, bool *ret_known, struct err *err)
{
	STMT(q, db, &class_sql, Q_GET);
	stmt_text(q, "$name", name);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_known = got;
	return 0;
}

int class_active(struct db *db, const char *name, bool *ret_active, struct err *err)
{
	STMT(q, db, &class_sql, Q_ACTIVE);
	stmt_text(q, "$name", name);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_active = got;
	return 0;
}

int class_put(struct db *db, const char *name, const json_t *object, int64_t if_version,
	      struct err *err)
{
	struct class_settings settings;
	int64_t changed;
	bool known;
	if (class_settings_read(&settings, object, err) || class_known(db, name, &known, err))
		return -1;
	if (!known)
		return err_set(err, ERR_NOT_FOUND,
			       "class %s does not exist; classes are made by the class rules", name);
	json_auto_t *whole = class_settings_json(&settings);
	char *text = whole ? json_text(whole) : NULL;
	if (!text)
		return err_nomem(err);
	STMT(q, db, &class_sql, Q_SET);
	stmt_text(q, "$name", name);
	stmt_text(q, "$settings", text);
	stmt_int(q, "$version", if_version);
	free(text);
	if (stmt_changes(q, &changed, err))
		return -1;
	return changed ? 0
		       : err_set(err, ERR_STALE, "class %s was changed since; read it again", name);
}

static int append_class(struct stmt *q, json_t *items, struct err *err)
{
	json_t *settings = parse_column(q, 1, err);
	if (!settings)
		return -1;
	json_t *item = json_pack("{s:s, s:o, s:I, s:s}", "name", stmt_col_text(q, 0), "settings",
				 settings, "version", (json_int_t)stmt_col_int(q, 2), "state",
				 stmt_col_null(q, 3)	? "active"
				 : stmt_col_int(q, 3) ? "removed"
						      : "pending");
	return json_array_append_new(items, item) ? err_nomem(err) : 0;
}

int class_list(struct db *db, json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &class_sql, Q_LIST);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (append_class(q, items, err))
			return -1;
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

/* fn may ask for classes itself: the statement is free again by then. */
static int each_name(struct stmt *q, int (*fn)(void *arg, const char *name, struct err *err),
		     void *arg, struct err *err)
{
	json_auto_t *names = json_array();
	size_t i;
	json_t *name;
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_array_append_new(names, json_string(stmt_col_text(q, 0))))
			return err_nomem(err);
	stmt_reset(q);
	json_array_foreach (names, i, name)
		if (!got && fn(arg, json_string_value(name), err))
			return -1;
	return got;
}

int class_each(struct db *db, int64_t now, int (*fn)(void *arg, const char *name, struct err *err),
	       void *arg, struct err *err)
{
	STMT(q, db, &class_sql, Q_SERVED);
	stmt_int(q, "$since", now - CLASS_REMOVED_S);
	return each_name(q, fn, arg, err);
}

int class_each_pending(struct db *db, int (*fn)(void *arg, const char *name, struct err *err),
		       void *arg, struct err *err)
{
	STMT(q, db, &class_sql, Q_PENDING);
	return each_name(q, fn, arg, err);
}

/* ---- rules ---- */

int class_rules_get(struct db *db, json_t **ret_document, int64_t *ret_version, struct err *err)
{
	STMT(q, db, &class_sql, Q_RULES_GET);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "there are no class rules yet");
	json_t *document = parse_column(q, 1, err);
	if (!document)
		return -1;
	*ret_version = stmt_col_int(q, 0);
	*ret_document = document;
	return 0;
}

int class_rules_version(struct db *db, int64_t *ret_version, struct err *err)
{
	STMT(q, db, &class_sql, Q_RULES_VERSION);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_version = stmt_col_int(q, 0);
	return 0;
}

static int insert_class(struct db *db, int statement, const char *name, int64_t now,
			struct err *err)
{
	struct class_settings settings;
	settings_default(&settings);
	json_auto_t *object = class_settings_json(&settings);
	char *text = object ? json_text(object) : NULL;
	if (!text)
		return err_nomem(err);
	STMT(q, db, &class_sql, statement);
	stmt_text(q, "$name", name);
	stmt_text(q, "$settings", text);
	stmt_int(q, "$now", now);
	free(text);
	return stmt_run(q, err);
}

int class_prepare(struct db *db, const char *name, int64_t now, struct err *err)
{
	bool known;
	if (!json_name_ok(name))
		return err_set(err, ERR_INVALID, "name: must be lower-case letters, digits, '.', '_', "
						 "'-', at most 64");
	if (class_known(db, name, &known, err))
		return -1;
	if (known)
		return err_set(err, ERR_CONFLICT, "class %s exists already", name);
	return insert_class(db, Q_PREPARE, name, now, err);
}

/* Exactly the classes that the rules name are active. */
static int set_classes(struct db *db, const struct class_rules *rules, int64_t now,
		       struct err *err)
{
	STMT(q, db, &class_sql, Q_REMOVE_ALL);
	stmt_int(q, "$now", now);
	if (stmt_run(q, err))
		return -1;
	for (unsigned i = 0; i < rules->count; i++)
		if (insert_class(db, Q_ADD, rules->rules[i].class, now, err))
			return -1;
	return 0;
}

static int put_document(struct db *db, json_t *document, int64_t version, const char *actor,
			int64_t now, struct err *err)
{
	if (json_object_set_new(document, "version", json_integer(version)))
		return err_nomem(err);
	char *text = json_text(document);
	if (!text)
		return err_nomem(err);
	STMT(q, db, &class_sql, Q_RULES_PUT);
	stmt_int(q, "$version", version);
	stmt_text(q, "$doc", text);
	stmt_text(q, "$actor", actor);
	stmt_int(q, "$now", now);
	free(text);
	return stmt_run(q, err);
}

int class_rules_put(struct db *db, json_t *document, int64_t if_version, const char *actor,
		    int64_t now, int64_t *ret_version, struct err *err)
{
	struct class_rules rules;
	int64_t current;
	AUTO(arena_free) struct arena *arena = arena_new(CLASS_RULES_ARENA);
	if (!arena)
		return err_nomem(err);
	if (classes_lint(&rules, document, arena, err) || class_rules_version(db, &current, err))
		return -1;
	if (if_version >= 0 && if_version != current)
		return err_set(err, ERR_STALE,
			       "the class rules were changed since: version %lld is current; read them"
			       " again",
			       (long long)current);
	if (put_document(db, document, current + 1, actor, now, err) ||
	    set_classes(db, &rules, now, err))
		return -1;
	*ret_version = current + 1;
	return 0;
}

int class_rules_touch(struct db *db, const char *actor, int64_t now, struct err *err)
{
	int64_t version;
	json_auto_t *document = NULL;
	if (class_rules_get(db, &document, &version, err))
		return -1;
	return put_document(db, document, version + 1, actor, now, err);
}

int class_init(struct db *db, int64_t now, struct err *err)
{
	int64_t version;
	json_auto_t *document =
		json_pack("{s:i, s:[{s:s}]}", "schema", 1, "rules", "class", "default");
	return document ? class_rules_put(db, document, 0, "init", now, &version, err)
			: err_nomem(err);
}
