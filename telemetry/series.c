#include "telemetry/series.h"

#include "base/map.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "telemetry/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_ROOM 640
#define NAME_ROOM 40 /* of a series' metric */

enum { Q_GET, Q_PUT, Q_COUNT };
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_GET] =
		"SELECT id FROM series WHERE rollout = $rollout AND class = $class"
		" AND stage = $stage AND arm = $arm AND channel = $channel AND model = $model"
		" AND variant = $variant AND kind = $kind AND metric = $metric",
	[Q_PUT] =
		"INSERT INTO series (id, channel, class, model, rollout, stage, arm, variant, kind,"
		" metric) VALUES ($id, $channel, $class, $model, $rollout, $stage, $arm, $variant,"
		" $kind, $metric)",
};
/* clang-format on */
const struct sql_set series_sql = {"series", sql, Q_COUNT};

struct group {
	int64_t ids[SLOTS]; /* 0: not known yet */
};
struct series {
	struct map *groups; /* group_key() -> struct group * */
};

struct series *series_new(void)
{
	struct series *series = calloc(1, sizeof(*series));
	if (!series)
		return NULL;
	series->groups = map_new(free);
	if (series->groups)
		return series;
	free(series);
	return NULL;
}

void series_free(struct series *series)
{
	if (!series)
		return;
	map_free(series->groups);
	free(series);
}

void series_forget(struct series *series)
{
	map_clear(series->groups);
}

/* ---- groups ---- */

/* Names hold no NUL, so that no two groups make the same key.  Each has at most 64 bytes, a variant
 * three such and two marks. */
static size_t group_key(char out[static KEY_ROOM], const struct series_ref *ref)
{
	const char *const names[] = {ref->report->channel, ref->report->class, ref->entry->model,
				     ref->entry->rollout, ref->entry->variant};
	char *at = out;
	for (unsigned i = 0; i < COUNT_OF(names); i++)
		at = stpcpy(at, names[i]) + 1;
	*at++ = (char)ref->entry->stage;
	*at++ = (char)ref->entry->arm;
	*at++ = (char)ref->kind;
	return (size_t)(at - out);
}

/* Strangers must not make series of names that nobody gave. */
static int names_known(struct db *db, const struct series_ref *ref, bool *ret_known,
		       struct err *err)
{
	const struct {
		int (*query)(struct db *db, const char *name, bool *ret_known, struct err *err);
		const char *name;
	} names[] = {{catalog_channel_known, ref->report->channel},
		     {class_known, ref->report->class},
		     {catalog_model_known, ref->entry->model},
		     {catalog_variant_known, ref->entry->variant}};
	bool known = true;
	for (unsigned i = 0; i < COUNT_OF(names) && known; i++)
		if (names[i].name[0] && names[i].query(db, names[i].name, &known, err))
			return -1;
	*ret_known = known;
	return 0;
}

int series_group(struct series *series, struct db *db, const struct series_ref *ref,
		 struct group **ret_group, struct err *err)
{
	char key[KEY_ROOM];
	bool known;
	const size_t len = group_key(key, ref);
	*ret_group = map_get(series->groups, key, len);
	if (*ret_group)
		return 0;
	if (names_known(db, ref, &known, err))
		return -1;
	if (!known)
		return 0;
	struct group *group = calloc(1, sizeof(*group));
	if (!group || map_put(series->groups, key, len, group))
		return err_nomem(err);
	*ret_group = group;
	return 0;
}

/* ---- ids ---- */

static const char *kind_name(unsigned kind)
{
	return kind == KIND_ARRIVED ? "arrived" : report_kind_names[kind];
}

static void slot_name(char out[static NAME_ROOM], unsigned kind, unsigned slot)
{
	if (slot < SLOT_P95)
		snprintf(out, NAME_ROOM, "%s", metric_at(slot)->name);
	else if (slot < SLOT_UNITS)
		snprintf(out, NAME_ROOM, "%s.p95", metric_at(slot - SLOT_P95)->name);
	else if (slot == SLOT_UNITS)
		snprintf(out, NAME_ROOM, "%s",
			 report_kind_names[kind == KIND_ARRIVED ? REPORT_OUTCOME : kind]);
	else if (slot < SLOT_PROBE)
		snprintf(out, NAME_ROOM, "result.%s", report_result_names[slot - SLOT_RESULT]);
	else
		snprintf(out, NAME_ROOM, "probe");
}

static void bind(struct stmt *q, const struct series_ref *ref, const char *metric)
{
	stmt_text(q, "$channel", ref->report->channel);
	stmt_text(q, "$class", ref->report->class);
	stmt_text(q, "$model", ref->entry->model);
	stmt_text(q, "$rollout", ref->entry->rollout);
	stmt_int(q, "$stage", ref->entry->stage);
	stmt_text(q, "$arm", report_arm_names[ref->entry->arm]);
	stmt_text(q, "$variant", ref->entry->variant);
	stmt_text(q, "$kind", kind_name(ref->kind));
	stmt_text(q, "$metric", metric);
}

static int insert(struct db *db, const struct series_ref *ref, const char *metric,
		  int64_t *ret_id, struct err *err)
{
	int64_t id;
	if (db_meta_next(db, "series", &id, err))
		return -1;
	STMT(q, db, &series_sql, Q_PUT);
	bind(q, ref, metric);
	stmt_int(q, "$id", id);
	if (stmt_run(q, err))
		return -1;
	*ret_id = id;
	return 0;
}

static void keep(void *arg)
{
	(void)arg;
}

static void drop(void *arg)
{
	series_forget(arg);
}

static int load(struct series *series, struct db *db, const struct series_ref *ref,
		const char *metric, int64_t *ret_id, struct err *err)
{
	STMT(q, db, &series_sql, Q_GET);
	bind(q, ref, metric);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (got) {
		*ret_id = stmt_col_int(q, 0);
		return 0;
	}
	if (insert(db, ref, metric, ret_id, err))
		return -1;
	return db_after_commit(db, keep, drop, series, err);
}

int series_id(struct series *series, struct db *db, const struct series_ref *ref,
	      struct group *group, unsigned slot, int64_t *ret_id, struct err *err)
{
	char metric[NAME_ROOM];
	if (!group->ids[slot]) {
		slot_name(metric, ref->kind, slot);
		if (load(series, db, ref, metric, &group->ids[slot], err))
			return -1;
	}
	*ret_id = group->ids[slot];
	return 0;
}
