#include "telemetry/history.h"

#include "base/arena.h"
#include "base/clock.h"
#include "telemetry/days.h"
#include "telemetry/metric.h"
#include "telemetry/report.h"
#include "telemetry/sketch.h"

#include <math.h>
#include <string.h>

#define ARENA (16 << 20)
#define CONFIDENCE 1.96 /* standard errors: 95 % */

enum { Q_CELLS, Q_DAYS, Q_BUCKETS, Q_DAY_BUCKETS, Q_COUNT };

/* In this order: a model's series of one metric are few, the cells of a time are many. */
#define SERIES_AND(table) " FROM series s CROSS JOIN " table " c ON c.series = s.id"
#define WANTED                                                                                     \
	" WHERE s.kind = $kind AND s.metric = $metric AND s.model = $model"                        \
	" AND ($class IS NULL OR s.class = $class)"                                                \
	" AND ($channel IS NULL OR s.channel = $channel)"                                          \
	" AND ($variant IS NULL OR s.variant = $variant)"                                          \
	" AND ($rollout IS NULL OR s.rollout = $rollout) AND ($arm IS NULL OR s.arm = $arm)"       \
	" AND c.at >= $from AND c.at < $to"
#define TALLY_OF(table)                                                                            \
	"SELECT c.at / $step, SUM(c.n), SUM(c.k), SUM(c.x), SUM(c.total), MAX(c.x)"                \
	SERIES_AND(table) WANTED " GROUP BY c.at / $step"

/* clang-format off */
static const char *const sql[Q_COUNT] = {
	/* The windows of a step, and its series (stages, variants, rollouts), are the same devices again:
	 * the most of one are devices for certain. */
	[Q_CELLS] = TALLY_OF("cells"),
	[Q_DAYS] = TALLY_OF("cell_days"),
	[Q_BUCKETS] =
		"SELECT c.at / $step, c.bucket, SUM(c.n)" SERIES_AND("cell_buckets") WANTED
		" GROUP BY c.at / $step, c.bucket",
	[Q_DAY_BUCKETS] =
		"SELECT c.at / $step, c.buckets" SERIES_AND("cell_days") WANTED,
};
/* clang-format on */
const struct sql_set history_sql = {"history", sql, Q_COUNT};

struct point {
	int64_t devices, units;
	int64_t with_any, events; /* of a counter */
	uint64_t *buckets;	  /* SKETCH_BUCKETS of them; NULL: none yet */
};
struct reading {
	const struct history_query *query;
	const struct metric *metric;
	struct db *db;
	struct arena *arena;
	struct point *points;
	int64_t count;
	struct err *err;
};

static bool is_usage(const struct history_query *q)
{
	return !strcmp(q->kind, "usage");
}

/* ---- asking ---- */

static int check_step(const struct history_query *q, int64_t fine_from, struct err *err)
{
	if (q->step != HISTORY_HOUR_S)
		return 0;
	if (is_usage(q))
		return err_set(err, ERR_INVALID,
			       "step: usage is told by the day; ask for step=day, or kind=window");
	if (q->from < fine_from)
		return err_set(err, ERR_INVALID,
			       "from: hours are kept %d days; ask for step=day, or from=%lld", DAYS_FINE,
			       (long long)fine_from);
	return 0;
}

int history_check(const struct history_query *q, int64_t fine_from, struct err *err)
{
	if (!metric_find(q->metric))
		return err_set(err, ERR_INVALID, "metric: there is no %.64s; see reports' n and h",
			       q->metric);
	if (!is_usage(q) && strcmp(q->kind, "window") != 0)
		return err_set(err, ERR_INVALID, "kind: neither usage nor window");
	if (q->to <= q->from)
		return err_set(err, ERR_INVALID, "to: not after from");
	if ((q->to - q->from) / q->step > HISTORY_POINTS)
		return err_set(err, ERR_INVALID, "from: more than %d points; ask for less time",
			       HISTORY_POINTS);
	return check_step(q, fine_from, err);
}

/* ---- reading ---- */

static struct stmt *ask(const struct reading *r, unsigned id, const char *metric)
{
	const struct history_query *q = r->query;
	struct stmt *stmt = db_stmt(r->db, &history_sql, id);
	stmt_text(stmt, "$kind", q->kind);
	stmt_text(stmt, "$metric", metric);
	stmt_text(stmt, "$model", q->model);
	stmt_text(stmt, "$class", q->class);
	stmt_text(stmt, "$channel", q->channel);
	stmt_text(stmt, "$variant", q->variant);
	stmt_text(stmt, "$rollout", q->rollout);
	stmt_text(stmt, "$arm", q->arm);
	stmt_int(stmt, "$from", q->from);
	stmt_int(stmt, "$to", q->to);
	stmt_int(stmt, "$step", q->step);
	return stmt;
}

static struct point *point_of(const struct reading *r, struct stmt *q)
{
	const int64_t i = stmt_col_int(q, 0) - r->query->from / r->query->step;
	return i >= 0 && i < r->count ? &r->points[i] : NULL;
}

static void add_units(const struct reading *r, struct point *p, struct stmt *q)
{
	const int64_t most = stmt_col_int(q, 5);
	p->units += stmt_col_int(q, 1);
	if (is_usage(r->query))
		p->devices += stmt_col_int(q, 2);
	else if (p->devices < most)
		p->devices = most;
}

/* Units, or the counter, of one table. */
static int read_cells(struct reading *r, unsigned id, const char *metric, bool units)
{
	AUTO(stmt_reset) struct stmt *q = ask(r, id, metric);
	int got;
	while ((got = stmt_step(q, r->err)) > 0) {
		struct point *p = point_of(r, q);
		if (!p)
			continue;
		if (units) {
			add_units(r, p, q);
		} else {
			p->with_any += stmt_col_int(q, is_usage(r->query) ? 3 : 2);
			p->events += stmt_col_int(q, 4);
		}
	}
	return got;
}

static uint64_t *buckets_of(const struct reading *r, struct point *p)
{
	if (!p->buckets)
		p->buckets = arena_array(r->arena, SKETCH_BUCKETS, sizeof(*p->buckets));
	if (!p->buckets)
		err_nomem(r->err);
	return p->buckets;
}

static int read_buckets(struct reading *r)
{
	AUTO(stmt_reset) struct stmt *q = ask(r, Q_BUCKETS, r->metric->name);
	int got;
	while ((got = stmt_step(q, r->err)) > 0) {
		const int64_t bucket = stmt_col_int(q, 1);
		struct point *p = point_of(r, q);
		uint64_t *buckets = p ? buckets_of(r, p) : NULL;
		if (p && !buckets)
			return -1;
		if (p && bucket >= 0 && bucket < SKETCH_BUCKETS)
			buckets[bucket] += (uint64_t)stmt_col_int(q, 2);
	}
	return got;
}

static int read_day_buckets(struct reading *r)
{
	AUTO(stmt_reset) struct stmt *q = ask(r, Q_DAY_BUCKETS, r->metric->name);
	int got;
	while ((got = stmt_step(q, r->err)) > 0) {
		size_t size;
		struct point *p = point_of(r, q);
		uint64_t *buckets = p ? buckets_of(r, p) : NULL;
		const void *bytes = stmt_col_blob(q, 1, &size);
		if (p && (!buckets ||
			  days_buckets_read(bytes, size, buckets, SKETCH_BUCKETS, r->err)))
			return -1;
	}
	return got;
}

static int read_all(struct reading *r)
{
	const char *kind = r->query->kind;
	if (read_cells(r, Q_CELLS, kind, true) || read_cells(r, Q_DAYS, kind, true))
		return -1;
	if (r->metric->kind == METRIC_HISTOGRAM)
		return read_buckets(r) || read_day_buckets(r) ? -1 : 0;
	return read_cells(r, Q_CELLS, r->metric->name, false) ||
			       read_cells(r, Q_DAYS, r->metric->name, false)
		       ? -1
		       : 0;
}

/* Of one moment: between two statements a day might be folded, and be in both. */
static int read_moment(struct reading *r)
{
	if (db_begin(r->db, r->err))
		return -1;
	const int bad = read_all(r);
	db_rollback(r->db);
	return bad;
}

/* ---- telling ---- */

/* The quantile, and the quantiles two standard errors of its rank beside it. */
static json_t *quantile_json(const uint64_t *buckets, double n, double share)
{
	const double error = CONFIDENCE * sqrt(share * (1 - share) / n);
	unsigned at = 0, low = 0, high = 0;
	if (sketch_quantile(buckets, 0, SKETCH_BUCKETS, share, &at) ||
	    sketch_quantile(buckets, 0, SKETCH_BUCKETS, fmax(share - error, 0.5 / n), &low) ||
	    sketch_quantile(buckets, 0, SKETCH_BUCKETS, fmin(share + error, 1), &high))
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "value", sketch_middle(at), "low",
			 exp2((double)low / SKETCH_PER_DOUBLING), "high",
			 exp2((double)(high + 1) / SKETCH_PER_DOUBLING));
}

static void set_histogram(json_t *item, const struct point *p)
{
	static const struct {
		const char *name;
		double share;
	} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}};
	double n = 0, sum = 0;
	for (unsigned b = 0; p->buckets && b < SKETCH_BUCKETS; b++)
		if (p->buckets[b]) {
			n += (double)p->buckets[b];
			sum += (double)p->buckets[b] * sketch_middle(b);
		}
	json_object_set_new(item, "n", json_integer((json_int_t)n));
	json_object_set_new(item, "mean", n > 0 ? json_real(sum / n) : json_null());
	for (unsigned i = 0; i < COUNT_OF(quantiles); i++)
		json_object_set_new(item, quantiles[i].name,
				    n > 0 ? quantile_json(p->buckets, n, quantiles[i].share)
					  : json_null());
}

static void set_counter(json_t *item, const struct point *p)
{
	const double units = (double)p->units;
	json_object_set_new(item, "events", json_integer(p->events));
	json_object_set_new(item, "rate", units > 0 ? json_real((double)p->with_any / units) : json_null());
	json_object_set_new(item, "mean", units > 0 ? json_real((double)p->events / units) : json_null());
}

static json_t *point_json(const struct reading *r, int64_t index)
{
	const struct point *p = &r->points[index];
	const int64_t at = r->query->from + index * r->query->step;
	char text[CLOCK_TEXT];
	clock_text(at, text);
	json_t *item = json_pack("{s:I, s:s, s:I, s:I}", "at", (json_int_t)at, "time", text, "devices",
				 (json_int_t)p->devices, "units", (json_int_t)p->units);
	if (r->metric->kind == METRIC_HISTOGRAM)
		set_histogram(item, p);
	else
		set_counter(item, p);
	return item;
}

int history_read(struct db *db, const struct history_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err)
{
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	json_auto_t *items = json_array();
	struct reading r = {.query = query, .metric = metric_find(query->metric), .db = db,
			    .arena = arena, .count = (query->to - query->from) / query->step, .err = err};
	int64_t hidden = 0;
	if (!arena || !items)
		return err_nomem(err);
	r.points = arena_array(arena, (size_t)r.count + 1, sizeof(*r.points));
	if (!r.points)
		return err_nomem(err);
	if (read_moment(&r))
		return -1;
	for (int64_t i = 0; i < r.count; i++) {
		const struct point *p = &r.points[i];
		const bool shown = p->devices >= query->min_cohort;
		hidden += !shown && p->units > 0;
		if (shown && json_array_append_new(items, point_json(&r, i)))
			return err_nomem(err);
	}
	*ret_items = json_incref(items);
	*ret_hidden = hidden;
	return 0;
}
