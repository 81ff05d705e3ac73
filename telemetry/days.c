#include "telemetry/days.h"

#include "telemetry/cells.h"
#include "telemetry/sketch.h"

#include <string.h>

#define BYTES_MAX (SKETCH_BUCKETS * 12) /* of a histogram */

enum {
	Q_NEXT_CELL, Q_NEXT_BUCKET, Q_SUM, Q_BUCKETS, Q_GET, Q_PUT, Q_DROP_CELLS, Q_DROP_BUCKETS,
	Q_COUNT
};

/* The next in order of time, and whether it stays: it is of a rollout under way, whose rows are read only. */
#define NEXT_OF(table)                                                                             \
	"SELECT c.at, c.series, EXISTS (SELECT 1 FROM series s JOIN rollouts r ON r.id = s.rollout"  \
	" WHERE s.id = c.series AND r.state = 'active') FROM " table " c"                          \
	" WHERE (c.at, c.series) > ($at, $series) AND c.at < $before"                              \
	" ORDER BY c.at, c.series LIMIT 1"
#define OF_DAY " WHERE series = $series AND at >= $day AND at < $end"

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_NEXT_CELL] = NEXT_OF("cells"),
	[Q_NEXT_BUCKET] = NEXT_OF("cell_buckets"),
	[Q_SUM] =
		"SELECT COALESCE(SUM(n), 0), COALESCE(SUM(k), 0), COALESCE(SUM(x), 0),"
		" COALESCE(SUM(total), 0), COALESCE(SUM(nn), 0), COALESCE(SUM(kk), 0),"
		" COALESCE(SUM(nk), 0), COALESCE(MAX(x), 0),"
		" (SELECT CASE WHEN kind = 'window' AND metric = 'window' THEN 1 ELSE 0 END"
		" FROM series WHERE id = $series) FROM cells" OF_DAY,
	[Q_BUCKETS] = "SELECT bucket, SUM(n) FROM cell_buckets" OF_DAY " GROUP BY bucket",
	[Q_GET] =
		"SELECT n, k, x, total, nn, kk, nk, buckets FROM cell_days"
		" WHERE series = $series AND at = $day",
	[Q_PUT] =
		"INSERT INTO cell_days (series, at, n, k, x, total, nn, kk, nk, buckets)"
		" VALUES ($series, $day, $n, $k, $x, $total, $nn, $kk, $nk, $buckets)"
		" ON CONFLICT (series, at) DO UPDATE SET n = excluded.n, k = excluded.k,"
		" x = excluded.x, total = excluded.total, nn = excluded.nn, kk = excluded.kk,"
		" nk = excluded.nk, buckets = excluded.buckets",
	[Q_DROP_CELLS] = "DELETE FROM cells" OF_DAY,
	[Q_DROP_BUCKETS] = "DELETE FROM cell_buckets" OF_DAY,
};
/* clang-format on */
const struct sql_set days_sql = {"days", sql, Q_COUNT};

int64_t days_fine_from(int64_t now)
{
	return now - now % REPORT_DAY_S - (int64_t)DAYS_FINE * REPORT_DAY_S;
}

/* ---- histograms ---- */

static void put_number(struct buf *out, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		buf_addc(out, (char)(128 | (v & 127)));
	buf_addc(out, (char)v);
}

void days_buckets_write(struct buf *out, const uint64_t *counts, unsigned len)
{
	unsigned last = 0;
	for (unsigned i = 0; i < len; i++) {
		if (!counts[i])
			continue;
		put_number(out, i - last);
		put_number(out, counts[i]);
		last = i;
	}
}

static bool get_number(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	uint64_t v = 0;
	for (unsigned shift = 0; *at < end && shift < 63; shift += 7) {
		const uint8_t byte = *(*at)++;
		v |= (uint64_t)(byte & 127) << shift;
		if (byte < 128) {
			*ret = v;
			return true;
		}
	}
	return false;
}

int days_buckets_read(const void *bytes, size_t size, uint64_t *counts, unsigned len,
		      struct err *err)
{
	const uint8_t *at = bytes, *end = at + size;
	uint64_t bucket = 0, step, n;
	while (at < end) {
		if (!get_number(&at, end, &step) || !get_number(&at, end, &n) || step >= len ||
		    (bucket += step) >= len)
			return err_set(err, ERR_CORRUPT, "cell_days: buckets that are no histogram");
		counts[bucket] += n;
	}
	return 0;
}

/* ---- folding ---- */

/* One series' day on its way. */
struct day {
	int64_t series, at;
	struct cell sum;
	uint64_t counts[SKETCH_BUCKETS];
	bool most; /* x is the most of a window, not a sum */
};

static struct stmt *of_day(struct db *db, unsigned id, const struct day *day)
{
	struct stmt *q = db_stmt(db, &days_sql, id);
	stmt_int(q, "$series", day->series);
	stmt_int(q, "$day", day->at);
	stmt_int(q, "$end", day->at + REPORT_DAY_S);
	return q;
}

static void read_sums(struct stmt *q, struct cell *sum)
{
	*sum = (struct cell){.n = stmt_col_int(q, 0), .k = stmt_col_int(q, 1), .x = stmt_col_int(q, 2),
			     .total = stmt_col_int(q, 3), .nn = stmt_col_int(q, 4),
			     .kk = stmt_col_int(q, 5), .nk = stmt_col_int(q, 6)};
}

static int take_cells(struct db *db, struct day *day, struct err *err)
{
	AUTO(stmt_reset) struct stmt *q = of_day(db, Q_SUM, day);
	const int got = stmt_step(q, err);
	if (got <= 0)
		return got;
	read_sums(q, &day->sum);
	day->most = stmt_col_int(q, 8) != 0;
	if (day->most)
		day->sum.x = stmt_col_int(q, 7);
	return 0;
}

static int take_buckets(struct db *db, struct day *day, struct err *err)
{
	AUTO(stmt_reset) struct stmt *q = of_day(db, Q_BUCKETS, day);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		const int64_t bucket = stmt_col_int(q, 0);
		if (bucket >= 0 && bucket < SKETCH_BUCKETS)
			day->counts[bucket] += (uint64_t)stmt_col_int(q, 1);
	}
	return got;
}

/* What was folded before, when a cell of that day came after it. */
static int add_before(struct db *db, struct day *day, struct err *err)
{
	struct cell before;
	size_t size;
	STMT(q, db, &days_sql, Q_GET);
	stmt_int(q, "$series", day->series);
	stmt_int(q, "$day", day->at);
	const int got = stmt_step(q, err);
	if (got <= 0)
		return got;
	read_sums(q, &before);
	day->sum.n += before.n;
	day->sum.k += before.k;
	day->sum.x = !day->most		     ? day->sum.x + before.x
		     : before.x > day->sum.x ? before.x
					     : day->sum.x;
	day->sum.total += before.total;
	day->sum.nn += before.nn;
	day->sum.kk += before.kk;
	day->sum.nk += before.nk;
	const void *bytes = stmt_col_blob(q, 7, &size);
	return days_buckets_read(bytes, size, day->counts, SKETCH_BUCKETS, err);
}

static int put(struct db *db, const struct day *day, struct err *err)
{
	AUTO_BUF struct buf bytes = BUF_INIT(BYTES_MAX);
	days_buckets_write(&bytes, day->counts, SKETCH_BUCKETS);
	if (buf_ok(&bytes, "buckets", err))
		return -1;
	STMT(q, db, &days_sql, Q_PUT);
	stmt_int(q, "$series", day->series);
	stmt_int(q, "$day", day->at);
	stmt_int(q, "$n", day->sum.n);
	stmt_int(q, "$k", day->sum.k);
	stmt_int(q, "$x", day->sum.x);
	stmt_int(q, "$total", day->sum.total);
	stmt_int(q, "$nn", day->sum.nn);
	stmt_int(q, "$kk", day->sum.kk);
	stmt_int(q, "$nk", day->sum.nk);
	stmt_blob(q, "$buckets", bytes.data ? bytes.data : "", bytes.len);
	return stmt_run(q, err);
}

static int drop(struct db *db, unsigned id, const struct day *day, struct err *err)
{
	AUTO(stmt_reset) struct stmt *q = of_day(db, id, day);
	return stmt_run(q, err);
}

static int fold(struct db *db, struct day *day, struct err *err)
{
	return take_cells(db, day, err) || take_buckets(db, day, err) || add_before(db, day, err) ||
			       put(db, day, err) || drop(db, Q_DROP_CELLS, day, err) ||
			       drop(db, Q_DROP_BUCKETS, day, err)
		       ? -1
		       : 0;
}

/* ---- the walk ---- */

struct walking {
	struct db *db;
	int64_t before;
	unsigned limit, folded;
	struct err *err;
};

/* The next series' day of a table, and whether it stays as it is; 0: there is none. */
static int next(const struct walking *w, unsigned id, struct days_place *place, struct day *day,
		bool *ret_stays)
{
	STMT(q, w->db, &days_sql, id);
	stmt_int(q, "$at", place->at);
	stmt_int(q, "$series", place->series);
	stmt_int(q, "$before", w->before);
	const int got = stmt_step(q, w->err);
	if (got > 0) {
		place->at = stmt_col_int(q, 0);
		place->series = stmt_col_int(q, 1);
		*day = (struct day){.at = place->at - place->at % REPORT_DAY_S, .series = place->series};
		*ret_stays = stmt_col_int(q, 2) != 0;
	}
	return got;
}

static int walk_table(struct walking *w, unsigned id, struct days_place *place)
{
	if (place->done == w->before)
		return 0;
	if (place->done)
		*place = (struct days_place){.done = 0};
	for (unsigned rows = 0; rows < DAYS_ROWS && w->folded < w->limit; rows++) {
		struct day day;
		bool stays = true;
		const int got = next(w, id, place, &day, &stays);
		if (got < 0 || (!stays && fold(w->db, &day, w->err)))
			return -1;
		if (!got) {
			place->done = w->before;
			break;
		}
		w->folded += !stays;
	}
	return 0;
}

int days_fold(struct db *db, struct days_walk *walk, int64_t before, unsigned limit,
	      unsigned *ret_folded, struct err *err)
{
	struct days_walk on = *walk;
	struct walking w = {.db = db, .before = before, .limit = limit, .err = err};
	if (walk_table(&w, Q_NEXT_CELL, &on.cells) || walk_table(&w, Q_NEXT_BUCKET, &on.buckets))
		return -1;
	*walk = on;
	*ret_folded = w.folded;
	return 0;
}
