#include "store/taken.h"

enum { SUM, OLDEST, ADD, FORGET, HAS, EACH, SQL_COUNT };

static const char *const sql[] = {
	[SUM] = "SELECT (SELECT coalesce(sum(bytes), 0) FROM taken WHERE token = $token"
		" AND at > $since), (SELECT coalesce(sum(CASE WHEN length > received THEN length"
		" ELSE received END), 0) FROM uploads WHERE token = $token AND state = 'open')",
	[OLDEST] = "SELECT bytes, at FROM taken WHERE token = $token AND at > $since ORDER BY at",
	[ADD] = "INSERT INTO taken (token, digest, what, bytes, at)"
		" VALUES ($token, $digest, $what, $bytes, $now)"
		" ON CONFLICT (token, digest) DO NOTHING",
	[FORGET] = "DELETE FROM taken WHERE at < $than",
	[HAS] = "SELECT 1 FROM taken WHERE token = $token AND digest = $digest",
	[EACH] = "SELECT digest, bytes FROM taken WHERE token = $token AND what = $what ORDER BY 1",
};
const struct sql_set taken_sql = {"taken", sql, SQL_COUNT};

int taken_left(struct db *db, const struct taker *taker, int64_t now, int64_t *ret_left,
	       struct err *err)
{
	if (!taker->quota_bytes) {
		*ret_left = INT64_MAX;
		return 0;
	}
	STMT(q, db, &taken_sql, SUM);
	stmt_text(q, "$token", taker->token);
	stmt_int(q, "$since", now - TAKEN_DAY_S);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_left = taker->quota_bytes - stmt_col_int(q, 0) - stmt_col_int(q, 1);
	return 0;
}

/* Seconds until what was brought first, as much as wanted, is a day old. */
static int wait_for(struct db *db, const struct taker *taker, int64_t wanted, int64_t now,
		    int64_t *ret_wait, struct err *err)
{
	int64_t wait = TAKEN_DAY_S, freed = 0;
	int row;
	STMT(q, db, &taken_sql, OLDEST);

	stmt_text(q, "$token", taker->token);
	stmt_int(q, "$since", now - TAKEN_DAY_S);
	while (freed < wanted && (row = stmt_step(q, err)) != 0) {
		if (row < 0)
			return -1;
		freed += stmt_col_int(q, 0);
		wait = stmt_col_int(q, 1) + TAKEN_DAY_S - now;
	}
	*ret_wait = freed < wanted ? TAKEN_DAY_S : wait < 1 ? 1 : wait;
	return 0;
}

int taken_room(struct db *db, const struct taker *taker, int64_t bytes, int64_t now,
	       struct err *err)
{
	int64_t left, wait;

	if (taken_left(db, taker, now, &left, err) < 0)
		return -1;
	if (bytes <= left)
		return 0;
	if (wait_for(db, taker, bytes - left, now, &wait, err) < 0)
		return -1;
	err_set_text(err, ERR_QUOTA,
		     "quota_bytes: this token may bring %lld bytes a day, has %lld left, and this"
		     " needs %lld: wait %lld minutes, or have an admin make a token with a larger"
		     " quota",
		     (long long)taker->quota_bytes, (long long)(left > 0 ? left : 0),
		     (long long)bytes, (long long)((wait + 59) / 60));
	err->retry_s = (unsigned)wait;
	return -1;
}

int taken_add(struct db *db, const char *token, enum taken_what what, const struct digest *digest,
	      int64_t bytes, int64_t now, struct err *err)
{
	STMT(old, db, &taken_sql, FORGET);
	STMT(q, db, &taken_sql, ADD);

	stmt_int(old, "$than", now - TAKEN_KEPT_S);
	if (stmt_run(old, err) < 0)
		return -1;
	stmt_text(q, "$token", token);
	stmt_digest(q, "$digest", digest);
	stmt_int(q, "$what", what);
	stmt_int(q, "$bytes", bytes);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

int taken_has(struct db *db, const char *token, const struct digest *digest, struct err *err)
{
	STMT(q, db, &taken_sql, HAS);

	stmt_text(q, "$token", token);
	stmt_digest(q, "$digest", digest);
	return stmt_step(q, err);
}

int taken_each(struct db *db, const char *token, enum taken_what what, inventory_each *each,
	       void *arg, struct err *err)
{
	STMT(q, db, &taken_sql, EACH);
	struct digest digest;
	int row;

	stmt_text(q, "$token", token);
	stmt_int(q, "$what", what);
	while ((row = stmt_step(q, err)) == 1)
		if (stmt_col_digest(q, 0, &digest, err) < 0 ||
		    each(arg, &digest, stmt_col_int(q, 1), err) < 0)
			return -1;
	return row;
}
