/* What the gates, the census and operators read of cells.  See cells.h. */
#include "telemetry/cells.h"

#include <string.h>

enum { Q_READ_BUCKETS, Q_LANE, Q_LANE_BUCKETS, Q_SLICES, Q_SUM, Q_COUNT };

/* A reader names its series exactly; variant NULL means all. */
#define SERIES_OF_KEY                                                                              \
	"SELECT id FROM series WHERE rollout = $rollout AND class = $class AND stage = $stage"     \
	" AND arm = $arm AND channel = $channel AND model = $model AND kind = $kind"               \
	" AND metric = $metric AND ($variant IS NULL OR variant = $variant)"

/* A lane's class, and those that share the lane with it: rollout's rows, read only. */
#define CLASSES_OF_LANE                                                                            \
	"(SELECT $class UNION SELECT class FROM lanes WHERE rollout = $rollout AND lead = $class)"

#define SUM_OF_ARMS(column)                                                                        \
	" SUM(CASE WHEN s.arm = 'candidate' THEN x." column " ELSE 0 END),"                        \
	" SUM(CASE WHEN s.arm = 'control' THEN x." column " ELSE 0 END)"

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_READ_BUCKETS] =
		"SELECT bucket, SUM(n) FROM cell_buckets WHERE series IN (" SERIES_OF_KEY ")"
		" AND at >= $from AND at < $to AND late = 0 GROUP BY bucket",
	[Q_LANE] =
		"SELECT c.at, s.stage, s.arm, s.kind, s.metric, SUM(c.n), SUM(c.k), SUM(c.x),"
		" SUM(c.total), SUM(c.nn), SUM(c.kk), SUM(c.nk)"
		" FROM series s JOIN cells c ON c.series = s.id"
		" WHERE s.rollout = $rollout AND s.class IN " CLASSES_OF_LANE
		" AND (s.kind = $kind OR s.kind = $other)"
		" AND c.at >= $from AND c.at < $to AND c.late = 0"
		" GROUP BY c.at, s.stage, s.arm, s.kind, s.metric ORDER BY c.at",
	[Q_LANE_BUCKETS] =
		"SELECT b.at, s.stage, s.arm, s.kind, s.metric, b.bucket, SUM(b.n)"
		" FROM series s JOIN cell_buckets b ON b.series = s.id"
		" WHERE s.rollout = $rollout AND s.class IN " CLASSES_OF_LANE " AND s.metric = $metric"
		" AND (s.kind = $kind OR s.kind = $other)"
		" AND b.at >= $from AND b.at < $to AND b.late = 0"
		" GROUP BY b.at, s.stage, s.arm, s.kind, s.metric, b.bucket ORDER BY b.at",
	[Q_SLICES] =
		"SELECT s.kind, s.metric, x.what, x.value," SUM_OF_ARMS("n") ","
		SUM_OF_ARMS("k") "," SUM_OF_ARMS("nn")
		" FROM series s CROSS JOIN cell_slices x ON x.series = s.id"
		" WHERE s.rollout = $rollout AND s.class IN " CLASSES_OF_LANE
		" GROUP BY s.kind, s.metric, x.what, x.value",
	/* A day keeps late ones among the others. */
	[Q_SUM] =
		"SELECT COALESCE(SUM(n), 0), COALESCE(SUM(k), 0), COALESCE(SUM(x), 0),"
		" COALESCE(SUM(total), 0), COALESCE(SUM(nn), 0), COALESCE(SUM(kk), 0),"
		" COALESCE(SUM(nk), 0) FROM"
		" (SELECT n, k, x, total, nn, kk, nk FROM cells WHERE series IN (" SERIES_OF_KEY ")"
		" AND at >= $from AND at < $to AND late <= $late UNION ALL"
		" SELECT n, k, x, total, nn, kk, nk FROM cell_days WHERE series IN (" SERIES_OF_KEY ")"
		" AND at >= $from AND at < $to AND $late = 1) AS both",
};
/* clang-format on */
const struct sql_set cells_read_sql = {"cells_read", sql, Q_COUNT};

static void bind_key(struct stmt *q, const struct cells_key *key, int64_t from, int64_t to)
{
	stmt_text(q, "$channel", key->channel);
	stmt_text(q, "$class", key->class);
	stmt_text(q, "$model", key->model);
	stmt_text(q, "$rollout", key->rollout);
	stmt_int(q, "$stage", key->stage);
	stmt_text(q, "$arm", report_arm_names[key->arm]);
	stmt_text(q, "$variant", key->variant);
	stmt_text(q, "$kind", key->kind);
	stmt_text(q, "$metric", key->metric);
	stmt_int(q, "$from", from);
	stmt_int(q, "$to", to);
}

static void read_sums(struct stmt *q, int first, struct cell *cell)
{
	cell->n = stmt_col_int(q, first);
	cell->k = stmt_col_int(q, first + 1);
	cell->x = stmt_col_int(q, first + 2);
	cell->total = stmt_col_int(q, first + 3);
	cell->nn = stmt_col_int(q, first + 4);
	cell->kk = stmt_col_int(q, first + 5);
	cell->nk = stmt_col_int(q, first + 6);
}

int cells_read_buckets(struct db *db, const struct cells_key *key, int64_t from, int64_t to,
		       uint64_t *counts, unsigned len, struct err *err)
{
	STMT(q, db, &cells_read_sql, Q_READ_BUCKETS);
	bind_key(q, key, from, to);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		const int64_t bucket = stmt_col_int(q, 0);
		if (bucket >= 0 && bucket < (int64_t)len)
			counts[bucket] += (uint64_t)stmt_col_int(q, 1);
	}
	return got;
}

enum report_arm cells_arm(const char *name)
{
	for (unsigned i = 1; name && i < COUNT_OF(report_arm_names); i++)
		if (!strcmp(report_arm_names[i], name))
			return (enum report_arm)i;
	return REPORT_ARM_NONE;
}

static void bind_lane(struct stmt *q, const struct cells_lane *lane, int64_t from, int64_t to)
{
	stmt_text(q, "$rollout", lane->rollout);
	stmt_text(q, "$class", lane->class);
	stmt_text(q, "$kind", lane->kind);
	stmt_text(q, "$other", lane->other);
	stmt_int(q, "$from", from);
	stmt_int(q, "$to", to);
}

static void read_row(struct stmt *q, struct cells_row *row)
{
	*row = (struct cells_row){.at = stmt_col_int(q, 0),
				  .stage = (unsigned)stmt_col_int(q, 1),
				  .arm = cells_arm(stmt_col_text(q, 2)),
				  .kind = stmt_col_text(q, 3),
				  .metric = stmt_col_text(q, 4)};
}

int cells_read_lane(struct db *db, const struct cells_lane *lane, int64_t from, int64_t to,
		    int (*fn)(void *arg, const struct cells_row *row, struct err *err), void *arg,
		    struct err *err)
{
	STMT(q, db, &cells_read_sql, Q_LANE);
	bind_lane(q, lane, from, to);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct cells_row row;
		read_row(q, &row);
		read_sums(q, 5, &row.cell);
		if (fn(arg, &row, err))
			return -1;
	}
	return got;
}

int cells_read_lane_buckets(struct db *db, const struct cells_lane *lane, const char *metric,
			    int64_t from, int64_t to,
			    int (*fn)(void *arg, const struct cells_row *row, struct err *err),
			    void *arg, struct err *err)
{
	STMT(q, db, &cells_read_sql, Q_LANE_BUCKETS);
	bind_lane(q, lane, from, to);
	stmt_text(q, "$metric", metric);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct cells_row row;
		read_row(q, &row);
		row.bucket = (unsigned)stmt_col_int(q, 5);
		row.cell.n = stmt_col_int(q, 6);
		if (fn(arg, &row, err))
			return -1;
	}
	return got;
}

int cells_read_slices(struct db *db, const char *rollout, const char *class,
		      int (*fn)(void *arg, const struct cells_slice *slice, struct err *err), void *arg,
		      struct err *err)
{
	STMT(q, db, &cells_read_sql, Q_SLICES);
	stmt_text(q, "$rollout", rollout);
	stmt_text(q, "$class", class);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct cells_slice slice = {.kind = stmt_col_text(q, 0), .metric = stmt_col_text(q, 1),
					    .what = stmt_col_int(q, 2), .value = stmt_col_text(q, 3)};
		for (int arm = 0; arm < 2; arm++) {
			slice.n[arm] = stmt_col_int(q, 4 + arm);
			slice.k[arm] = stmt_col_int(q, 6 + arm);
			slice.nn[arm] = stmt_col_int(q, 8 + arm);
		}
		if (fn(arg, &slice, err))
			return -1;
	}
	return got;
}

int cells_sum(struct db *db, const struct cells_key *key, int64_t from, int64_t to, bool with_late,
	      struct cell *ret_sum, struct err *err)
{
	STMT(q, db, &cells_read_sql, Q_SUM);
	bind_key(q, key, from, to);
	stmt_int(q, "$late", with_late);
	int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	struct cell sum = {.at = from};
	if (got)
		read_sums(q, 0, &sum);
	*ret_sum = sum;
	return 0;
}
