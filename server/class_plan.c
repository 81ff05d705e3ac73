#include "server/class_plan.h"

#include "manifest/class_store.h"
#include "manifest/classes_diff.h"
#include "telemetry/census.h"

#include <stdlib.h>
#include <string.h>

#define MILLION 1000000

/* ---- lanes ---- */

static bool touches(const struct class_moves *moves, const char *class)
{
	if (!moves->count)
		return false;
	if (!strcmp(moves->from, class))
		return true;
	for (unsigned i = 0; i < moves->count; i++)
		if (!strcmp(moves->to[i], class))
			return true;
	return false;
}

static bool touched(const struct class_plan *plan, const char *class)
{
	for (unsigned i = 0; i < plan->count; i++)
		if (touches(&plan->moves[i], class))
			return true;
	return false;
}

static int find_lanes(struct db *db, struct class_plan *plan, struct arena *arena, struct err *err)
{
	unsigned count;
	if (lane_list(db, NULL, arena, &plan->lanes, &count, err))
		return -1;
	plan->lane_count = 0;
	for (unsigned i = 0; i < count; i++)
		if (touched(plan, plan->lanes[i].class))
			plan->lanes[plan->lane_count++] = plan->lanes[i];
	return 0;
}

int class_plan(struct db *db, const json_t *document, struct arena *arena, struct class_plan *plan,
	       struct err *err)
{
	struct class_rules before, after;
	int64_t version;
	json_auto_t *current = NULL;
	return classes_lint(&after, document, arena, err) ||
			       class_rules_get(db, &current, &version, err) ||
			       classes_parse(&before, current, arena, err) ||
			       classes_diff(&before, &after, arena, &plan->moves, &plan->count, err) ||
			       find_lanes(db, plan, arena, err)
		       ? -1
		       : 0;
}

/* ---- how many ---- */

static void add(json_t *object, const char *name, json_int_t more)
{
	const json_int_t had = json_integer_value(json_object_get(object, name));
	json_object_set_new(object, name, json_integer(had + more));
}

static json_t *inner(json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);
	if (!value) {
		json_object_set_new(object, name, json_object());
		value = json_object_get(object, name);
	}
	return value;
}

/* {class: {channel: {model: devices}}} of the census. */
static int count_models(struct db *db, int64_t day, int64_t min_cohort, json_t *counts,
			struct err *err)
{
	const struct census_query query = {.from = day, .to = day + CENSUS_DAY_S, .by = CENSUS_ALL,
					   .min_cohort = min_cohort};
	json_auto_t *items = NULL;
	int64_t hidden;
	size_t i;
	json_t *row;
	if (census_count(db, &query, &items, &hidden, err))
		return -1;
	json_array_foreach (items, i, row) {
		const char *class = json_string_value(json_object_get(row, "class"));
		const char *channel = json_string_value(json_object_get(row, "channel"));
		const char *model = json_string_value(json_object_get(row, "model"));
		add(inner(inner(counts, class), channel), model,
		    json_integer_value(json_object_get(row, "devices")));
	}
	return 0;
}

/* A device that runs two models is counted with each: the larger count is the better guess. */
static json_int_t devices_of(const json_t *counts, const char *class)
{
	const char *channel, *model;
	json_t *models, *devices;
	json_int_t all = 0;
	json_object_foreach (json_object_get(counts, class), channel, models) {
		json_int_t most = 0;
		json_object_foreach (models, model, devices)
			if (json_integer_value(devices) > most)
				most = json_integer_value(devices);
		all += most;
	}
	return all;
}

static json_int_t ppm(json_int_t part, json_int_t whole)
{
	return whole ? part * MILLION / whole : 0;
}

static json_t *names(const struct class_moves *moves)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < moves->count; i++)
		json_array_append_new(list, json_string(moves->to[i]));
	return list;
}

static json_t *lanes_json(const struct class_plan *plan)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < plan->lane_count; i++)
		json_array_append_new(list, json_sprintf("%s/%s", plan->lanes[i].rollout,
							 plan->lanes[i].class));
	return list;
}

int class_plan_json(struct db *db, const struct class_plan *plan, int64_t day, int64_t min_cohort,
		    json_t **ret, struct err *err)
{
	json_auto_t *counts = json_object(), *classes = json_array();
	json_int_t all = 0, moving = 0;
	if (count_models(db, day, min_cohort, counts, err))
		return -1;
	for (unsigned i = 0; i < plan->count; i++)
		all += devices_of(counts, plan->moves[i].from);
	for (unsigned i = 0; i < plan->count; i++) {
		const struct class_moves *m = &plan->moves[i];
		const json_int_t devices = devices_of(counts, m->from);
		moving += m->count ? devices : 0;
		json_t *row = json_pack("{s:s, s:o, s:I, s:b, s:o}", "class", m->from, "devices",
					devices ? json_integer(devices) : json_null(), "share_ppm",
					ppm(devices, all), "some_stay", m->some_stay, "may_move_to",
					names(m));
		if (json_array_append_new(classes, row))
			return err_nomem(err);
	}
	*ret = json_pack("{s:O, s:I, s:I, s:I, s:o}", "classes", classes, "devices", all, "may_move",
			 moving, "may_move_ppm", ppm(moving, all), "lanes", lanes_json(plan));
	return *ret ? 0 : err_nomem(err);
}
