#include "telemetry/census.h"

#include "base/clock.h"
#include "base/json.h"
#include "telemetry/slices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATE 11		/* "YYYY-MM-DD" and a NUL */
#define MILLION 1000000

enum { Q_TALLY, Q_TALLY_SLICES, Q_COUNT };
#define COLUMNS "c.at, s.channel, s.class, s.model, s.variant"
#define USAGE                                                                                      \
	" s.kind = 'usage' AND s.metric = 'usage' AND c.series = s.id"                             \
	" AND c.at >= $from AND c.at < $to"                                                        \
	" AND ($channel IS NULL OR s.channel = $channel)"                                          \
	" AND ($class IS NULL OR s.class = $class) AND ($model IS NULL OR s.model = $model)"
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_TALLY] =
		"SELECT " COLUMNS ", SUM(c.k), ''"
		/* In this order: the days' cells of all other kinds are far more than usage's. */
		" FROM series s CROSS JOIN cells c WHERE" USAGE
		" GROUP BY " COLUMNS " HAVING SUM(c.k) > 0"
		" UNION ALL SELECT " COLUMNS ", c.k, ''" /* a month ago and before */
		" FROM series s CROSS JOIN cell_days c WHERE" USAGE " AND c.k > 0",
	[Q_TALLY_SLICES] =
		"SELECT " COLUMNS ", SUM(c.k), c.value"
		" FROM series s CROSS JOIN cell_slices c WHERE c.what = $what AND" USAGE
		" GROUP BY " COLUMNS ", c.value HAVING SUM(c.k) > 0",
};
/* clang-format on */
const struct sql_set census_sql = {"census", sql, Q_COUNT};

int64_t census_last_day(int64_t now)
{
	return (now - CENSUS_LATE_S) / CENSUS_DAY_S - 1;
}

int census_by(const char *text, unsigned *ret_by, struct err *err)
{
	static const char *const names[] = {"channel", "class", "release", "tier", "os", "runtime"};
	unsigned by = 0;
	while (*text) {
		const size_t len = strcspn(text, ",");
		unsigned i = 0;
		while (i < COUNT_OF(names) &&
		       (strlen(names[i]) != len || strncmp(names[i], text, len) != 0))
			i++;
		if (i == COUNT_OF(names))
			return err_set(err, ERR_INVALID,
				       "by: %.*s: there are channel, class, release, tier, os, runtime",
				       (int)(len < 64 ? len : 64), text);
		by |= 1U << i;
		text += len + (text[len] == ',');
	}
	if (by & CENSUS_OS && by & CENSUS_RUNTIME)
		return err_set(err, ERR_INVALID,
			       "by: os and runtime are counted apart: ask for one of them");
	*ret_by = by;
	return 0;
}

/* ---- the tally ---- */

static int compare(const struct census_row *a, const struct census_row *b)
{
	if (a->day != b->day)
		return a->day < b->day ? -1 : 1;
	int d = strcmp(a->channel, b->channel);
	d = d ? d : strcmp(a->class, b->class);
	d = d ? d : strcmp(a->model, b->model);
	d = d ? d : strcmp(a->release, b->release);
	d = d ? d : strcmp(a->tier, b->tier);
	return d ? d : strcmp(a->slice, b->slice);
}

static int in_order(const void *a, const void *b)
{
	return compare(a, b);
}

/* "model@release/tier"; what has another form is its own release. */
static int split(struct census_row *row, const char *variant, unsigned by, struct arena *arena)
{
	const char *at = strchr(variant, '@'), *slash = at ? strchr(at, '/') : NULL;
	const char *release = at ? at + 1 : variant;
	const size_t len = slash ? (size_t)(slash - release) : strlen(release);
	row->release = by & CENSUS_RELEASE ? arena_dup(arena, release, len) : "";
	row->tier = by & CENSUS_TIER && slash ? arena_strdup(arena, slash + 1) : "";
	return row->release && row->tier ? 0 : -1;
}

static const char *keep(struct arena *arena, struct stmt *q, int col, bool wanted)
{
	const char *text = wanted ? stmt_col_text(q, col) : NULL;
	return arena_strdup(arena, text ? text : "");
}

static int take(struct stmt *q, const struct census_query *query, struct arena *arena,
		struct census_row *row, struct err *err)
{
	const char *variant = stmt_col_text(q, 4);
	*row = (struct census_row){.day = stmt_col_int(q, 0),
				   .channel = keep(arena, q, 1, query->by & CENSUS_CHANNEL),
				   .class = keep(arena, q, 2, query->by & CENSUS_CLASS),
				   .model = keep(arena, q, 3, true),
				   .slice = keep(arena, q, 6, true),
				   .devices = stmt_col_int(q, 5)};
	return row->channel && row->class && row->model && row->slice &&
			       !split(row, variant ? variant : "", query->by, arena)
		       ? 0
		       : err_nomem(err);
}

/* Rows that are equal in what is told apart become one. */
static unsigned merge(struct census_row *rows, unsigned count)
{
	unsigned kept = 0;
	if (count)
		qsort(rows, count, sizeof(*rows), in_order);
	for (unsigned i = 0; i < count; i++)
		if (kept && !compare(&rows[kept - 1], &rows[i]))
			rows[kept - 1].devices += rows[i].devices;
		else
			rows[kept++] = rows[i];
	return kept;
}

/* Doubles inside the arena: what is left behind dies with it. */
static int grow(struct arena *arena, struct census_row **rows, unsigned count, unsigned *room,
		struct err *err)
{
	if (count < *room)
		return 0;
	*room = *room ? *room * 2 : 64;
	struct census_row *more = arena_array(arena, *room, sizeof(*more));
	if (!more)
		return err_set(err, ERR_TOO_LARGE, "the census is too large: ask for fewer days");
	if (count)
		memcpy(more, *rows, count * sizeof(*more));
	*rows = more;
	return 0;
}

int census_tally(struct db *db, const struct census_query *query, struct arena *arena,
		 struct census_row **ret_rows, unsigned *ret_count, struct err *err)
{
	struct census_row *rows = NULL;
	unsigned count = 0, room = 0;
	const bool sliced = query->by & (CENSUS_OS | CENSUS_RUNTIME);
	STMT(q, db, &census_sql, sliced ? Q_TALLY_SLICES : Q_TALLY);
	if (sliced)
		stmt_int(q, "$what", query->by & CENSUS_OS ? SLICE_OS : SLICE_RUNTIME);
	stmt_int(q, "$from", query->from);
	stmt_int(q, "$to", query->to);
	stmt_text(q, "$channel", query->channel);
	stmt_text(q, "$class", query->class);
	stmt_text(q, "$model", query->model);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		if (grow(arena, &rows, count, &room, err) || take(q, query, arena, &rows[count], err))
			return -1;
		count++;
	}
	if (got < 0)
		return -1;
	*ret_count = merge(rows, count);
	*ret_rows = rows;
	return 0;
}

/* ---- counting ---- */

static void date_of(int64_t day, char out[static DATE])
{
	char text[CLOCK_TEXT];
	clock_text(day, text);
	memcpy(out, text, DATE - 1);
	out[DATE - 1] = 0;
}

/* Whether rows belong to one whole of which shares are taken. */
static bool same_whole(const struct census_row *a, const struct census_row *b)
{
	return a->day == b->day && !strcmp(a->channel, b->channel) && !strcmp(a->class, b->class) &&
	       !strcmp(a->model, b->model);
}

static json_t *row_json(const struct census_row *r, unsigned by, int64_t whole)
{
	char date[DATE];
	date_of(r->day, date);
	json_t *item = json_pack("{s:I, s:s, s:s, s:I, s:I}", "day", (json_int_t)(r->day / CENSUS_DAY_S),
				 "date", date, "model", r->model, "devices", (json_int_t)r->devices,
				 "share_ppm", (json_int_t)(whole ? r->devices * MILLION / whole : 0));
	const struct {
		unsigned bit;
		const char *name, *value;
	} apart[] = {{CENSUS_CHANNEL, "channel", r->channel},
		     {CENSUS_CLASS, "class", r->class},
		     {CENSUS_RELEASE, "release", r->release},
		     {CENSUS_TIER, "tier", r->tier},
		     {CENSUS_OS, "os", r->slice},
		     {CENSUS_RUNTIME, "runtime", r->slice}};
	for (unsigned i = 0; i < COUNT_OF(apart); i++)
		if (by & apart[i].bit)
			json_object_set_new(item, apart[i].name, json_string(apart[i].value));
	if ((by & CENSUS_RELEASE) && (by & CENSUS_TIER))
		json_object_set_new(item, "variant",
				    json_sprintf("%s@%s/%s", r->model, r->release, r->tier));
	return item;
}

static int by_devices(const void *a, const void *b)
{
	const struct census_row *x = a, *y = b;
	return x->devices != y->devices ? (x->devices < y->devices ? 1 : -1) : compare(x, y);
}

/* The rows of one whole: those that are large enough, largest first. */
static int tell_whole(struct census_row *rows, unsigned count, const struct census_query *query,
		      json_t *items, int64_t *hidden, struct err *err)
{
	int64_t whole = 0;
	for (unsigned i = 0; i < count; i++) {
		const bool shown = rows[i].devices >= query->min_cohort;
		whole += shown ? rows[i].devices : 0;
		*hidden += shown ? 0 : rows[i].devices;
	}
	qsort(rows, count, sizeof(*rows), by_devices);
	for (unsigned i = 0; i < count && rows[i].devices >= query->min_cohort; i++)
		if (json_array_append_new(items, row_json(&rows[i], query->by, whole)))
			return err_nomem(err);
	return 0;
}

int census_count(struct db *db, const struct census_query *query, json_t **ret_items,
		 int64_t *ret_hidden, struct err *err)
{
	struct census_row *rows;
	unsigned count, end;
	int64_t hidden = 0;
	json_auto_t *items = json_array();
	AUTO(arena_free) struct arena *arena = arena_new(CENSUS_ARENA);
	if (!arena)
		return err_nomem(err);
	if (census_tally(db, query, arena, &rows, &count, err))
		return -1;
	for (unsigned i = 0; i < count; i = end) {
		for (end = i + 1; end < count && same_whole(&rows[i], &rows[end]);)
			end++;
		if (tell_whole(rows + i, end - i, query, items, &hidden, err))
			return -1;
	}
	*ret_items = json_incref(items);
	*ret_hidden = !hidden || hidden >= query->min_cohort ? hidden : -1;
	return 0;
}

/* ---- adoption ---- */

static const int thresholds[] = {50, 90, 99}; /* per cent */
#define THRESHOLDS 3

struct adoption {
	struct census_row last;	    /* the newest day's */
	int64_t first, reached[THRESHOLDS]; /* days, seconds; -1: not yet */
	int64_t whole;			    /* of last's day */
};

/* By release before day, so that one release's days stand together. */
static int by_release(const void *a, const void *b)
{
	struct census_row x = *(const struct census_row *)a, y = *(const struct census_row *)b;
	const int64_t dx = x.day, dy = y.day;
	x.day = y.day = 0;
	const int d = compare(&x, &y);
	return d ? d : (dx > dy) - (dx < dy);
}

/* Devices of all releases that are shown on the row's day. */
static int64_t whole_of(const struct census_row *totals, unsigned count,
			const struct census_row *row)
{
	struct census_row key = *row;
	key.release = key.tier = key.slice = "";
	const struct census_row *found = bsearch(&key, totals, count, sizeof(key), in_order);
	return found ? found->devices : row->devices;
}

static void adopt(struct adoption *a, const struct census_row *row, int64_t whole)
{
	if (a->first < 0)
		a->first = row->day;
	for (unsigned t = 0; t < THRESHOLDS; t++)
		if (a->reached[t] < 0 && row->devices * 100 >= thresholds[t] * whole)
			a->reached[t] = row->day;
	a->last = *row;
	a->whole = whole;
}

static json_t *days_between(int64_t from, int64_t to)
{
	return to < 0 ? json_null() : json_integer((to - from) / CENSUS_DAY_S);
}

static json_t *adoption_json(const struct adoption *a, unsigned by)
{
	char first[DATE], last[DATE];
	const struct census_row *r = &a->last;
	date_of(a->first, first);
	date_of(r->day, last);
	json_t *item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o}", "channel",
				 r->channel, "model", r->model, "release", r->release, "first", first,
				 "date", last, "devices", (json_int_t)r->devices, "share_ppm",
				 (json_int_t)(a->whole ? r->devices * MILLION / a->whole : 0), "days_to_50",
				 days_between(a->first, a->reached[0]), "days_to_90",
				 days_between(a->first, a->reached[1]), "days_to_99",
				 days_between(a->first, a->reached[2]));
	if (by & CENSUS_CLASS)
		json_object_set_new(item, "class", json_string(r->class));
	return item;
}

static bool same_release(const struct census_row *a, const struct census_row *b)
{
	return !strcmp(a->channel, b->channel) && !strcmp(a->class, b->class) &&
	       !strcmp(a->model, b->model) && !strcmp(a->release, b->release);
}

/* The days of one release. */
static int tell_release(const struct census_row *rows, unsigned count,
			const struct census_row *totals, unsigned total_count, unsigned by,
			json_t *items, struct err *err)
{
	struct adoption a = {.first = -1, .reached = {-1, -1, -1}};
	for (unsigned i = 0; i < count; i++)
		adopt(&a, &rows[i], whole_of(totals, total_count, &rows[i]));
	return json_array_append_new(items, adoption_json(&a, by)) ? err_nomem(err) : 0;
}

/* Leave out what too few ran on a day, and sum up the rest: nothing can be told from the difference. */
static int keep_shown(struct census_row *rows, unsigned *count, int64_t min_cohort,
		      struct arena *arena, struct census_row **ret_totals, unsigned *ret_count,
		      struct err *err)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < *count; i++)
		if (rows[i].devices >= min_cohort)
			rows[kept++] = rows[i];
	struct census_row *totals = arena_array(arena, kept + 1, sizeof(*totals));
	if (!totals)
		return err_nomem(err);
	for (unsigned i = 0; i < kept; i++) {
		totals[i] = rows[i];
		totals[i].release = "";
	}
	*count = kept;
	*ret_totals = totals;
	*ret_count = merge(totals, kept);
	return 0;
}

int census_adoption(struct db *db, const struct census_query *query, json_t **ret_items,
		    struct err *err)
{
	struct census_query ask = *query;
	struct census_row *rows, *totals;
	unsigned count, total_count, end;
	json_auto_t *items = json_array();
	AUTO(arena_free) struct arena *arena = arena_new(CENSUS_ARENA);
	if (!arena)
		return err_nomem(err);
	ask.by = CENSUS_CHANNEL | CENSUS_RELEASE | (query->by & CENSUS_CLASS);
	if (census_tally(db, &ask, arena, &rows, &count, err) ||
	    keep_shown(rows, &count, query->min_cohort, arena, &totals, &total_count, err))
		return -1;
	if (count)
		qsort(rows, count, sizeof(*rows), by_release);
	for (unsigned i = 0; i < count; i = end) {
		for (end = i + 1; end < count && same_release(&rows[i], &rows[end]);)
			end++;
		if (tell_release(rows + i, end - i, totals, total_count, ask.by, items, err))
			return -1;
	}
	*ret_items = json_incref(items);
	return 0;
}
