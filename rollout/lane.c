#include "rollout/lane.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#define LANES_MAX 16384 /* lanes read at once */
#define CHANGES "lanes" /* in meta: counts what is written of lanes, but their watermarks */

const char *const lane_state_names[LANE_STATES] = {
	[LANE_RUNNING] = "running",	    [LANE_HOLDING] = "holding",
	[LANE_COMPLETE] = "complete",	    [LANE_ROLLED_BACK] = "rolled_back",
	[LANE_ABORTED] = "aborted",	    [LANE_SKIPPED] = "skipped",
};

enum {
	Q_ROLLOUT_GET,
	Q_ROLLOUT_LIST,
	Q_ROLLOUT_PUT,
	Q_ROLLOUT_STATE,
	Q_LANE_GET,
	Q_LANE_OF,
	Q_LANE_ACTIVE,
	Q_LANE_GROUP,
	Q_LANE_ANY,
	Q_LANE_PUT,
	Q_LANE_BUSY,
	Q_LANE_WAS,
	Q_LANE_LAST,
	Q_LANE_SET,
	Q_LANE_CLOSE,
	Q_COUNT
};

#define ROLLOUT_COLUMNS "id, model, release, channel, state, actor, spec, created, version"
#define LANE_COLUMNS                                                                               \
	"rollout, class, channel, model, release, state, stage, since, started, reason, stable,"   \
	" salt, baseline, class_settings, closed_slot, closed_window, closed_summary,"             \
	" closed_missing, version, lead"

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_ROLLOUT_GET] = "SELECT " ROLLOUT_COLUMNS " FROM rollouts WHERE id = $id",
	[Q_ROLLOUT_LIST] =
		"SELECT " ROLLOUT_COLUMNS " FROM rollouts WHERE $state IS NULL OR state = $state"
		" ORDER BY created DESC, length(id) DESC, id DESC LIMIT 1000",
	[Q_ROLLOUT_PUT] =
		"INSERT INTO rollouts (" ROLLOUT_COLUMNS ") VALUES ($id, $model, $release, $channel,"
		" $state, $actor, $spec, $created, 1)",
	[Q_ROLLOUT_STATE] =
		"UPDATE rollouts SET state = $state, version = version + 1 WHERE id = $id",
	[Q_LANE_GET] =
		"SELECT " LANE_COLUMNS " FROM lanes WHERE rollout = $rollout AND class = $class",
	[Q_LANE_OF] =
		"SELECT " LANE_COLUMNS " FROM lanes WHERE rollout = $rollout ORDER BY class",
	[Q_LANE_ACTIVE] =
		"SELECT " LANE_COLUMNS " FROM lanes WHERE state IN ('running', 'holding')"
		" ORDER BY rollout, class",
	[Q_LANE_GROUP] =
		"SELECT " LANE_COLUMNS " FROM lanes WHERE rollout = $rollout AND lead = $lead"
		" ORDER BY class",
	[Q_LANE_ANY] =
		/* Plus: or SQLite goes through the lanes of that state of all rollouts there were. */
		"SELECT EXISTS (SELECT 1 FROM lanes WHERE rollout = $rollout"
		" AND +state IN ('running', 'holding')),"
		" EXISTS (SELECT 1 FROM lanes WHERE rollout = $rollout AND +state = 'complete')",
	[Q_LANE_PUT] =
		"INSERT INTO lanes (" LANE_COLUMNS ") VALUES ($rollout, $class, $channel, $model,"
		" $release, $state, $stage, $since, $started, $reason, $stable, $salt, $baseline,"
		" $settings, $slot, $window, $summary, $missing, 1, $lead)",
	[Q_LANE_BUSY] =
		"SELECT rollout FROM lanes WHERE state IN ('running', 'holding')"
		" AND channel = $channel AND class = $class AND model = $model",
	[Q_LANE_WAS] =
		"SELECT 1 FROM lanes WHERE state = 'rolled_back' AND channel = $channel"
		" AND class = $class AND model = $model AND release = $release LIMIT 1",
	[Q_LANE_LAST] =
		"SELECT state FROM lanes WHERE channel = $channel AND class = $class"
		" AND model = $model AND release = $release AND state <> 'skipped'"
		" ORDER BY started DESC, length(rollout) DESC, rollout DESC LIMIT 1",
	[Q_LANE_SET] =
		"UPDATE lanes SET state = $state, stage = $stage, since = $since, reason = $reason,"
		" version = version + 1"
		" WHERE rollout = $rollout AND class = $class AND version = $version",
	[Q_LANE_CLOSE] =
		"UPDATE lanes SET closed_slot = $slot, closed_window = $window,"
		" closed_summary = $summary, closed_missing = $missing"
		" WHERE rollout = $rollout AND class = $class AND state IN ('running', 'holding')",
};
/* clang-format on */
const struct sql_set lane_sql = {"lane", sql, Q_COUNT};

bool lane_active(enum lane_state state)
{
	return state == LANE_RUNNING || state == LANE_HOLDING;
}

static const char *keep(struct arena *arena, struct stmt *q, int col)
{
	const char *text = stmt_col_text(q, col);
	return arena_strdup(arena, text ? text : "");
}

/* ---- rollouts ---- */

static int rollout_row(struct stmt *q, struct arena *arena, struct rollout *r, struct err *err)
{
	const char *const text = stmt_col_text(q, 6);
	*r = (struct rollout){
		.id = keep(arena, q, 0), .model = keep(arena, q, 1), .release = keep(arena, q, 2),
		.channel = keep(arena, q, 3), .state = keep(arena, q, 4),
		.actor = keep(arena, q, 5), .created = stmt_col_int(q, 7),
		.version = stmt_col_int(q, 8)};
	if (!r->id || !r->model || !r->release || !r->channel || !r->state || !r->actor)
		return err_nomem(err);
	json_auto_t *spec = json_parse(text ? text : "", text ? strlen(text) : 0, "spec", err);
	if (!spec || policy_read(&r->policy, spec, err)) {
		err->status = ERR_CORRUPT;
		return err_in(err, "rollout %s", r->id);
	}
	return 0;
}

int rollout_get(struct db *db, const char *id, struct arena *arena, struct rollout *rollout,
		struct err *err)
{
	STMT(q, db, &lane_sql, Q_ROLLOUT_GET);
	stmt_text(q, "$id", id);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "rollout %s does not exist", id);
	return rollout_row(q, arena, rollout, err);
}

int rollout_each(struct db *db, const char *state, struct arena *arena,
		 int (*fn)(void *arg, const struct rollout *rollout, struct err *err), void *arg,
		 struct err *err)
{
	STMT(q, db, &lane_sql, Q_ROLLOUT_LIST);
	stmt_text(q, "$state", state);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct rollout rollout;
		if (rollout_row(q, arena, &rollout, err) || fn(arg, &rollout, err))
			return -1;
	}
	return got;
}

int rollout_insert(struct db *db, const struct rollout *r, struct err *err)
{
	json_auto_t *spec = policy_json(&r->policy);
	char *text = spec ? json_text(spec) : NULL;
	if (!text)
		return err_nomem(err);
	STMT(q, db, &lane_sql, Q_ROLLOUT_PUT);
	stmt_text(q, "$id", r->id);
	stmt_text(q, "$model", r->model);
	stmt_text(q, "$release", r->release);
	stmt_text(q, "$channel", r->channel);
	stmt_text(q, "$state", r->state);
	stmt_text(q, "$actor", r->actor);
	stmt_text(q, "$spec", text);
	stmt_int(q, "$created", r->created);
	free(text);
	return stmt_run(q, err);
}

int rollout_set_state(struct db *db, const char *id, const char *state, struct err *err)
{
	STMT(q, db, &lane_sql, Q_ROLLOUT_STATE);
	stmt_text(q, "$id", id);
	stmt_text(q, "$state", state);
	return stmt_run(q, err);
}

/* ---- lanes ---- */

json_t *clockwork_json(const struct clockwork *c)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "window_s", (json_int_t)c->window_s,
			 "windows", (json_int_t)c->windows, "jitter_s", (json_int_t)c->jitter_s,
			 "outcome_deadline_s", (json_int_t)c->outcome_deadline_s, "report_grace_s",
			 (json_int_t)c->report_grace_s, "devices", (json_int_t)c->devices);
}

static int clockwork_read(struct clockwork *c, const char *text, struct err *err)
{
	json_auto_t *object = json_parse(text ? text : "", text ? strlen(text) : 0, "clock", err);
	const struct json_field fields[] = {
		FIELD_INT("window_s", &c->window_s, .min = 1),
		FIELD_INT("windows", &c->windows, .min = 1),
		FIELD_INT("jitter_s", &c->jitter_s),
		FIELD_INT("outcome_deadline_s", &c->outcome_deadline_s),
		FIELD_INT("report_grace_s", &c->report_grace_s),
		FIELD_INT("devices", &c->devices),
	};
	if (object && !json_read(object, fields, COUNT_OF(fields), err))
		return 0;
	err->status = ERR_CORRUPT;
	return -1;
}

static int state_of(const char *name)
{
	for (int i = 0; name && i < LANE_STATES; i++)
		if (!strcmp(lane_state_names[i], name))
			return i;
	return -1;
}

static int lane_row(struct stmt *q, struct arena *arena, struct lane *lane, struct err *err)
{
	const int state = state_of(stmt_col_text(q, 5));
	*lane = (struct lane){
		.rollout = keep(arena, q, 0), .class = keep(arena, q, 1),
		.channel = keep(arena, q, 2), .model = keep(arena, q, 3),
		.release = keep(arena, q, 4), .state = (enum lane_state)state,
		.stage = (unsigned)stmt_col_int(q, 6), .since = stmt_col_int(q, 7),
		.started = stmt_col_int(q, 8), .reason = keep(arena, q, 9),
		.stable = keep(arena, q, 10), .salt = keep(arena, q, 11),
		.baseline = keep(arena, q, 12), .lead = keep(arena, q, 19),
		.closed = {[CELLS_SLOT] = stmt_col_int(q, 14),
			   [CELLS_WINDOW] = stmt_col_int(q, 15),
			   [CELLS_SUMMARY] = stmt_col_int(q, 16),
			   [CELLS_MISSING] = stmt_col_int(q, 17)},
		.version = stmt_col_int(q, 18)};
	if (!lane->rollout || !lane->class || !lane->channel || !lane->model || !lane->release ||
	    !lane->reason || !lane->stable || !lane->salt || !lane->baseline || !lane->lead)
		return err_nomem(err);
	if (state < 0)
		return err_set(err, ERR_CORRUPT, "lane %s/%s: unknown state", lane->rollout,
			       lane->class);
	if (clockwork_read(&lane->clock, stmt_col_text(q, 13), err))
		return err_in(err, "lane %s/%s", lane->rollout, lane->class);
	return 0;
}

int lane_get(struct db *db, const char *rollout, const char *class, struct arena *arena,
	     struct lane *lane, struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_GET);
	stmt_text(q, "$rollout", rollout);
	stmt_text(q, "$class", class);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "rollout %s has no lane %s", rollout, class);
	return lane_row(q, arena, lane, err);
}

/* Grow by doubling inside the arena: what is left behind dies with it. */
static struct lane *lanes_grow(struct arena *arena, struct lane *lanes, unsigned count,
			       unsigned *room)
{
	if (count < *room)
		return lanes;
	*room = *room ? *room * 2 : 16;
	struct lane *more = arena_array(arena, *room, sizeof(*more));
	if (more && count)
		memcpy(more, lanes, count * sizeof(*lanes));
	return more;
}

static int lane_rows(struct stmt *q, struct arena *arena, struct lane **ret_lanes,
		     unsigned *ret_count, struct err *err)
{
	struct lane *lanes = NULL;
	unsigned count = 0, room = 0;
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		lanes = lanes_grow(arena, lanes, count, &room);
		if (!lanes || count == LANES_MAX)
			return err_nomem(err);
		if (lane_row(q, arena, &lanes[count], err))
			return -1;
		count++;
	}
	if (got < 0)
		return -1;
	*ret_lanes = lanes;
	*ret_count = count;
	return 0;
}

int lane_list(struct db *db, const char *rollout, struct arena *arena, struct lane **ret_lanes,
	      unsigned *ret_count, struct err *err)
{
	STMT(q, db, &lane_sql, rollout ? Q_LANE_OF : Q_LANE_ACTIVE);
	if (rollout)
		stmt_text(q, "$rollout", rollout);
	return lane_rows(q, arena, ret_lanes, ret_count, err);
}

int lane_changes(struct db *db, int64_t *ret_changes, struct err *err)
{
	char text[32];
	if (db_meta_get(db, CHANGES, text, sizeof(text), err)) {
		if (err->status != ERR_NOT_FOUND)
			return -1;
		strcpy(text, "0");
	}
	*ret_changes = strtoll(text, NULL, 10);
	return 0;
}

static int count_change(struct db *db, struct err *err)
{
	int64_t number;
	return db_meta_next(db, CHANGES, &number, err);
}

int lane_group(struct db *db, const char *rollout, const char *lead, struct arena *arena,
	       struct lane **ret_lanes, unsigned *ret_count, struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_GROUP);
	stmt_text(q, "$rollout", rollout);
	stmt_text(q, "$lead", lead);
	return lane_rows(q, arena, ret_lanes, ret_count, err);
}

int lane_any(struct db *db, const char *rollout, bool *ret_active, bool *ret_complete,
	     struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_ANY);
	stmt_text(q, "$rollout", rollout);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_active = stmt_col_int(q, 0) != 0;
	*ret_complete = stmt_col_int(q, 1) != 0;
	return 0;
}

static bool grouped(const struct lane *lane)
{
	return lane->lead && *lane->lead;
}

bool lane_leads(const struct lane *lane)
{
	return !grouped(lane) || !strcmp(lane->lead, lane->class);
}

unsigned lane_leaders(const struct lane *lanes, unsigned count)
{
	unsigned leaders = 0;
	for (unsigned i = 0; i < count; i++)
		leaders += lane_leads(&lanes[i]);
	return leaders;
}

bool lane_same_group(const struct lane *a, const struct lane *b)
{
	return grouped(a) && grouped(b) && !strcmp(a->rollout, b->rollout) &&
	       !strcmp(a->lead, b->lead);
}

bool lane_repeats(const struct lane *lanes, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (lane_same_group(&lanes[i], &lanes[index]))
			return true;
	return false;
}

static void bind_closed(struct stmt *q, const struct lane *lane)
{
	stmt_int(q, "$slot", lane->closed[CELLS_SLOT]);
	stmt_int(q, "$window", lane->closed[CELLS_WINDOW]);
	stmt_int(q, "$summary", lane->closed[CELLS_SUMMARY]);
	stmt_int(q, "$missing", lane->closed[CELLS_MISSING]);
}

static void bind_state(struct stmt *q, const struct lane *lane)
{
	stmt_text(q, "$rollout", lane->rollout);
	stmt_text(q, "$class", lane->class);
	stmt_text(q, "$state", lane_state_names[lane->state]);
	stmt_int(q, "$stage", lane->stage);
	stmt_int(q, "$since", lane->since);
	stmt_text(q, "$reason", lane->reason);
}

int lane_insert(struct db *db, const struct lane *lane, struct err *err)
{
	json_auto_t *clock = clockwork_json(&lane->clock);
	char *text = clock ? json_text(clock) : NULL;
	if (!text)
		return err_nomem(err);
	STMT(q, db, &lane_sql, Q_LANE_PUT);
	bind_state(q, lane);
	bind_closed(q, lane);
	stmt_text(q, "$channel", lane->channel);
	stmt_text(q, "$model", lane->model);
	stmt_text(q, "$release", lane->release);
	stmt_int(q, "$started", lane->started);
	stmt_text(q, "$stable", lane->stable);
	stmt_text(q, "$salt", lane->salt);
	stmt_text(q, "$baseline", lane->baseline);
	stmt_text(q, "$lead", lane->lead ? lane->lead : "");
	stmt_text(q, "$settings", text);
	free(text);
	return stmt_run(q, err) || count_change(db, err) ? -1 : 0;
}

int lane_busy(struct db *db, const char *channel, const char *class, const char *model,
	      bool *ret_busy, char id[65], struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_BUSY);
	stmt_text(q, "$channel", channel);
	stmt_text(q, "$class", class);
	stmt_text(q, "$model", model);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (got) {
		const char *text = stmt_col_text(q, 0);
		strncpy(id, text ? text : "", 64);
		id[64] = 0;
	}
	*ret_busy = got;
	return 0;
}

int lane_was_rolled_back(struct db *db, const char *channel, const char *class, const char *model,
			 const char *release, bool *ret_was, struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_WAS);
	stmt_text(q, "$channel", channel);
	stmt_text(q, "$class", class);
	stmt_text(q, "$model", model);
	stmt_text(q, "$release", release);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_was = got;
	return 0;
}

int lane_last(struct db *db, const char *channel, const char *class, const char *model,
	      const char *release, bool *ret_was, enum lane_state *ret_state, struct err *err)
{
	STMT(q, db, &lane_sql, Q_LANE_LAST);
	stmt_text(q, "$channel", channel);
	stmt_text(q, "$class", class);
	stmt_text(q, "$model", model);
	stmt_text(q, "$release", release);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	const int state = got ? state_of(stmt_col_text(q, 0)) : LANE_SKIPPED;
	if (state < 0)
		return err_set(err, ERR_CORRUPT, "a lane of class %s: unknown state", class);
	*ret_was = got;
	*ret_state = (enum lane_state)state;
	return 0;
}

int lane_update(struct db *db, struct lane *lane, struct err *err)
{
	int64_t changed;
	STMT(q, db, &lane_sql, Q_LANE_SET);
	bind_state(q, lane);
	stmt_int(q, "$version", lane->version);
	if (stmt_changes(q, &changed, err))
		return -1;
	if (!changed)
		return err_set(err, ERR_CONFLICT,
			       "lane %s/%s has just been changed by somebody else; look again",
			       lane->rollout, lane->class);
	lane->version++;
	return count_change(db, err);
}

int lane_close(struct db *db, const struct lane *lane, bool *ret_active, struct err *err)
{
	int64_t changed;
	STMT(q, db, &lane_sql, Q_LANE_CLOSE);
	stmt_text(q, "$rollout", lane->rollout);
	stmt_text(q, "$class", lane->class);
	bind_closed(q, lane);
	if (stmt_changes(q, &changed, err))
		return -1;
	*ret_active = changed;
	return 0;
}
