#include "manifest/offer.h"

#include "base/hex.h"

#include <sodium.h>
#include <string.h>

#define SALT_BYTES 12
#define OFFERS_MAX 100000

enum {
	Q_GET,
	Q_LIST,
	Q_LIST_OF,
	Q_PUT,
	Q_SET_CANDIDATE,
	Q_CLEAR,
	Q_COMPLETE,
	Q_UNDO,
	Q_COUNT
};
#define COLUMNS                                                                                    \
	"channel, class, model, stable, previous, stable_since, spread_s, spread_salt, rollout,"   \
	" candidate, salt, stage, state, candidate_ppm, enter_lo, enter_hi, control_lo,"           \
	" control_hi, version"
#define WHERE_ROW " WHERE channel = $channel AND class = $class AND model = $model"
#define NO_CANDIDATE                                                                               \
	"rollout = NULL, candidate = NULL, salt = NULL, stage = NULL, state = NULL,"               \
	" candidate_ppm = NULL, enter_lo = NULL, enter_hi = NULL, control_lo = NULL,"              \
	" control_hi = NULL, version = version + 1"
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_GET] = "SELECT " COLUMNS " FROM offers" WHERE_ROW,
	[Q_LIST] =
		"SELECT " COLUMNS " FROM offers ORDER BY channel, class, model",
	[Q_LIST_OF] =
		"SELECT " COLUMNS " FROM offers WHERE channel = $channel AND class = $class"
		" ORDER BY model",
	[Q_PUT] =
		"INSERT INTO offers (channel, class, model, stable, stable_since, spread_s,"
		" spread_salt, version) VALUES ($channel, $class, $model, $release, $now, 0, $salt, 1)",
	[Q_SET_CANDIDATE] =
		"UPDATE offers SET rollout = $rollout, candidate = $candidate, salt = $salt,"
		" stage = $stage, state = $state, candidate_ppm = $ppm, enter_lo = $enter_lo,"
		" enter_hi = $enter_hi, control_lo = $control_lo, control_hi = $control_hi,"
		" version = version + 1" WHERE_ROW " AND (rollout IS NULL OR rollout = $rollout)",
	[Q_CLEAR] = "UPDATE offers SET " NO_CANDIDATE WHERE_ROW " AND rollout = $rollout",
	[Q_COMPLETE] =
		"UPDATE offers SET previous = stable, stable = candidate, stable_since = $now,"
		" spread_s = $spread, spread_salt = $salt, " NO_CANDIDATE WHERE_ROW
		" AND rollout = $rollout",
	[Q_UNDO] =
		"UPDATE offers SET stable = previous, previous = stable, stable_since = $now,"
		" spread_s = $spread, spread_salt = $salt, version = version + 1" WHERE_ROW
		" AND stable = $release AND previous IS NOT NULL AND rollout IS NULL",
};
/* clang-format on */
const struct sql_set offer_sql = {"offer", sql, Q_COUNT};

static const char *keep(struct arena *arena, struct stmt *q, int col, int *bad)
{
	const char *text = stmt_col_text(q, col);
	const char *copy = text ? arena_strdup(arena, text) : NULL;
	*bad |= text && !copy;
	return copy;
}

static int read_row(struct stmt *q, struct arena *arena, struct offer *o, struct err *err)
{
	int bad = 0;
	*o = (struct offer){
		.channel = keep(arena, q, 0, &bad), .class = keep(arena, q, 1, &bad),
		.model = keep(arena, q, 2, &bad), .stable = keep(arena, q, 3, &bad),
		.previous = keep(arena, q, 4, &bad), .stable_since = stmt_col_int(q, 5),
		.spread_s = stmt_col_int(q, 6), .spread_salt = keep(arena, q, 7, &bad),
		.rollout = keep(arena, q, 8, &bad), .candidate = keep(arena, q, 9, &bad),
		.salt = keep(arena, q, 10, &bad), .stage = stmt_col_int(q, 11),
		.state = keep(arena, q, 12, &bad), .candidate_ppm = stmt_col_int(q, 13),
		.enter = {stmt_col_int(q, 14), stmt_col_int(q, 15)},
		.control = {stmt_col_int(q, 16), stmt_col_int(q, 17)},
		.version = stmt_col_int(q, 18)};
	return bad ? err_nomem(err) : 0;
}

static void bind_row(struct stmt *q, const char *channel, const char *class, const char *model)
{
	stmt_text(q, "$channel", channel);
	stmt_text(q, "$class", class);
	stmt_text(q, "$model", model);
}

int offer_get(struct db *db, const char *channel, const char *class, const char *model,
	      struct arena *arena, struct offer *offer, struct err *err)
{
	STMT(q, db, &offer_sql, Q_GET);
	bind_row(q, channel, class, model);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND,
			       "%s has no stable release in class %s of channel %s;"
			       " set the first one with release bootstrap",
			       model, class, channel);
	return read_row(q, arena, offer, err);
}

static int push(struct arena *arena, struct offer **list, unsigned *room, unsigned count,
		const struct offer *offer, struct err *err)
{
	if (count == *room) {
		*room = *room ? *room * 2 : 8;
		struct offer *more = arena_array(arena, *room, sizeof(*more));
		if (!more)
			return err_nomem(err);
		if (count)
			memcpy(more, *list, count * sizeof(*more));
		*list = more;
	}
	(*list)[count] = *offer;
	return 0;
}

int offer_list(struct db *db, const char *channel, const char *class, struct arena *arena,
	       struct offer **ret_offers, unsigned *ret_count, struct err *err)
{
	struct offer *list = NULL;
	unsigned room = 0, count = 0;
	STMT(q, db, &offer_sql, channel ? Q_LIST_OF : Q_LIST);
	if (channel) {
		stmt_text(q, "$channel", channel);
		stmt_text(q, "$class", class);
	}
	int got;
	while ((got = stmt_step(q, err)) > 0 && count < OFFERS_MAX) {
		struct offer offer;
		if (read_row(q, arena, &offer, err) ||
		    push(arena, &list, &room, count, &offer, err))
			return -1;
		count++;
	}
	if (got < 0)
		return -1;
	*ret_offers = list;
	*ret_count = count;
	return 0;
}

json_t *offer_json(const struct offer *o)
{
	return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:I, s:s?, s:s?, s:s?, s:I, s:I}", "channel",
			 o->channel, "class", o->class, "model", o->model, "stable", o->stable,
			 "previous", o->previous, "stable_since", (json_int_t)o->stable_since,
			 "rollout", o->rollout, "candidate", o->candidate, "state", o->state,
			 "stage", (json_int_t)o->stage, "candidate_ppm",
			 (json_int_t)o->candidate_ppm);
}

/* ---- writing ---- */

static void fresh_salt(char out[static 2 * SALT_BYTES + 1])
{
	uint8_t bytes[SALT_BYTES];
	randombytes_buf(bytes, sizeof(bytes));
	hex_encode(out, bytes, sizeof(bytes));
}

/* Exactly one row must have changed. */
static int changed_one(struct stmt *q, enum status status, const char *why, struct err *err)
{
	int64_t changed;
	if (stmt_changes(q, &changed, err))
		return -1;
	return changed ? 0 : err_set(err, status, "%s", why);
}

int offer_bootstrap(struct db *db, const char *channel, const char *class, const char *model,
		    const char *release, int64_t now, struct err *err)
{
	char salt[2 * SALT_BYTES + 1];
	fresh_salt(salt);
	STMT(q, db, &offer_sql, Q_PUT);
	bind_row(q, channel, class, model);
	stmt_text(q, "$release", release);
	stmt_int(q, "$now", now);
	stmt_text(q, "$salt", salt);
	if (!stmt_run(q, err))
		return 0;
	if (err->status == ERR_CONFLICT)
		err_set(err, ERR_CONFLICT,
			"%s has a stable release in class %s of channel %s already; later ones go"
			" out by a rollout",
			model, class, channel);
	return -1;
}

int offer_set_candidate(struct db *db, const struct offer *o, struct err *err)
{
	STMT(q, db, &offer_sql, Q_SET_CANDIDATE);
	bind_row(q, o->channel, o->class, o->model);
	stmt_text(q, "$rollout", o->rollout);
	stmt_text(q, "$candidate", o->candidate);
	stmt_text(q, "$salt", o->salt);
	stmt_int(q, "$stage", o->stage);
	stmt_text(q, "$state", o->state);
	stmt_int(q, "$ppm", o->candidate_ppm);
	stmt_int(q, "$enter_lo", o->enter.lo);
	stmt_int(q, "$enter_hi", o->enter.hi);
	stmt_int(q, "$control_lo", o->control.lo);
	stmt_int(q, "$control_hi", o->control.hi);
	return changed_one(q, ERR_CONFLICT,
			   "there is no stable release here, or another rollout's candidate", err);
}

int offer_clear_candidate(struct db *db, const char *channel, const char *class, const char *model,
			  const char *rollout, struct err *err)
{
	STMT(q, db, &offer_sql, Q_CLEAR);
	bind_row(q, channel, class, model);
	stmt_text(q, "$rollout", rollout);
	return changed_one(q, ERR_NOT_FOUND, "this rollout has no candidate here", err);
}

int offer_complete(struct db *db, const char *channel, const char *class, const char *model,
		   const char *rollout, int64_t spread_s, int64_t now, struct err *err)
{
	char salt[2 * SALT_BYTES + 1];
	fresh_salt(salt);
	STMT(q, db, &offer_sql, Q_COMPLETE);
	bind_row(q, channel, class, model);
	stmt_text(q, "$rollout", rollout);
	stmt_int(q, "$spread", spread_s);
	stmt_text(q, "$salt", salt);
	stmt_int(q, "$now", now);
	return changed_one(q, ERR_NOT_FOUND, "this rollout has no candidate here", err);
}

int offer_undo(struct db *db, const char *channel, const char *class, const char *model,
	       const char *release, int64_t spread_s, int64_t now, struct err *err)
{
	char salt[2 * SALT_BYTES + 1];
	fresh_salt(salt);
	STMT(q, db, &offer_sql, Q_UNDO);
	bind_row(q, channel, class, model);
	stmt_text(q, "$release", release);
	stmt_int(q, "$spread", spread_s);
	stmt_text(q, "$salt", salt);
	stmt_int(q, "$now", now);
	return changed_one(q, ERR_CONFLICT,
			   "this release is not what runs here, nothing came before it, or a rollout"
			   " is under way",
			   err);
}
