#include "rollout/group.h"

#include "base/json.h"

#include <string.h>

static bool holds(const json_t *list, const char *class)
{
	size_t i;
	const json_t *item;
	json_array_foreach (list, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), class))
			return true;
	return false;
}

int group_of(const json_t *groups, const char *class)
{
	size_t i;
	const json_t *group;
	json_array_foreach (groups, i, group)
		if (holds(group, class))
			return (int)i;
	return GROUP_NONE;
}

static int check_one(const json_t *groups, size_t index, const json_t *group, struct err *err)
{
	size_t i, k;
	const json_t *item, *other;
	if (!json_is_array(group) || json_array_size(group) < 2)
		return err_set(err, ERR_INVALID, "groups[%zu]: must be two classes or more", index);
	json_array_foreach (group, i, item) {
		const char *class = json_string_value(item);
		if (!class)
			return err_set(err, ERR_INVALID, "groups[%zu][%zu]: must be a class's name",
				       index, i);
		bool twice = group_of(groups, class) != (int)index;
		json_array_foreach (group, k, other)
			twice |= k < i && json_equal(item, other);
		if (twice)
			return err_set(err, ERR_INVALID, "groups[%zu][%zu]: %.64s is named twice",
				       index, i, class);
	}
	return 0;
}

int group_check(const json_t *groups, struct err *err)
{
	size_t i;
	const json_t *group;
	json_array_foreach (groups, i, group)
		if (check_one(groups, i, group, err))
			return -1;
	return 0;
}

bool group_same_clock(const struct clockwork *a, const struct clockwork *b)
{
	return a->window_s == b->window_s && a->windows == b->windows &&
	       a->jitter_s == b->jitter_s && a->outcome_deadline_s == b->outcome_deadline_s &&
	       a->report_grace_s == b->report_grace_s;
}

static int join_number(json_t *to, const char *name, const json_t *old, const json_t *more)
{
	if (!strcmp(name, "phi"))
		return json_number_value(more) > json_number_value(old)
			       ? json_object_set_new(to, name, json_real(json_number_value(more)))
			       : 0;
	if (strcmp(name, "n") != 0 && strcmp(name, "k") != 0)
		return 0;
	return json_object_set_new(
		to, name, json_integer(json_integer_value(old) + json_integer_value(more)));
}

int group_join_baseline(json_t *to, json_t *more, struct err *err)
{
	const char *name;
	json_t *value;
	json_object_foreach (more, name, value) {
		json_t *old = json_object_get(to, name);
		int bad = 0;
		if (!old)
			bad = json_object_set(to, name, value);
		else if (json_is_object(old) && json_is_object(value))
			bad = group_join_baseline(old, value, err);
		else if (json_is_number(old) && json_is_number(value))
			bad = join_number(to, name, old, value);
		if (bad)
			return err_nomem(err);
	}
	return 0;
}
