#include "telemetry/census.h"

#include <stdbool.h>

enum { Q_COUNT_DAY, Q_COUNT };
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_COUNT_DAY] =
		"SELECT s.channel, s.class, s.model, s.variant, SUM(c.k)"
		" FROM cells c JOIN series s ON s.id = c.series"
		" WHERE c.at = $day AND s.kind = 'usage' AND s.metric = 'usage'"
		" AND ($channel IS NULL OR s.channel = $channel)"
		" AND ($class IS NULL OR s.class = $class) AND ($model IS NULL OR s.model = $model)"
		" GROUP BY s.channel, s.class, s.model, s.variant HAVING SUM(c.k) > 0"
		" ORDER BY s.channel, s.class, s.model, SUM(c.k) DESC, s.variant",
};
/* clang-format on */
const struct sql_set census_sql = {"census", sql, Q_COUNT};

static int64_t number(const json_t *item, const char *name)
{
	return json_integer_value(json_object_get(item, name));
}

static bool same_group(const json_t *a, const json_t *b)
{
	static const char *const names[] = {"channel", "class", "model"};
	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (!json_equal(json_object_get(a, names[i]), json_object_get(b, names[i])))
			return false;
	return true;
}

/* Shares need the sums, which are known only after all rows of a group. */
static int set_shares(json_t *items, struct err *err)
{
	size_t i, k;
	json_t *a, *b;
	json_array_foreach (items, i, a) {
		int64_t all = 0;
		json_array_foreach (items, k, b)
			all += same_group(a, b) ? number(b, "devices") : 0;
		const int64_t ppm = all > 0 ? number(a, "devices") * 1000000 / all : 0;
		if (json_object_set_new(a, "share_ppm", json_integer(ppm)))
			return err_nomem(err);
	}
	return 0;
}

static json_t *row(struct stmt *q)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "channel", stmt_col_text(q, 0), "class",
			 stmt_col_text(q, 1), "model", stmt_col_text(q, 2), "variant",
			 stmt_col_text(q, 3), "devices", (json_int_t)stmt_col_int(q, 4));
}

int census_count(struct db *db, const struct census_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err)
{
	json_auto_t *items = json_array();
	int64_t hidden = 0;
	STMT(q, db, &census_sql, Q_COUNT_DAY);
	stmt_int(q, "$day", query->day);
	stmt_text(q, "$channel", query->channel);
	stmt_text(q, "$class", query->class);
	stmt_text(q, "$model", query->model);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		if (stmt_col_int(q, 4) < query->min_cohort)
			hidden += stmt_col_int(q, 4);
		else if (json_array_append_new(items, row(q)))
			return err_nomem(err);
	}
	if (got < 0 || set_shares(items, err))
		return -1;
	*ret_items = json_incref(items);
	*ret_hidden = !hidden || hidden >= query->min_cohort ? hidden : -1;
	return 0;
}
