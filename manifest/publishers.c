#include "manifest/publishers.h"

#include "base/json.h"

#include <string.h>

#define EVERY_MODEL "*"

static int models_read(struct publisher_entry *entry, const json_t *models, struct arena *arena,
		       struct err *err)
{
	const size_t count = json_array_size(models);
	entry->models = arena_array(arena, count + 1, sizeof entry->models[0]);
	if (!entry->models)
		return err_nomem(err);
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(models, i));
		if (!name || (!json_name_ok(name) && strcmp(name, EVERY_MODEL) != 0))
			return err_set(err, ERR_INVALID,
				       "models[%zu]: must be the name of a model, or \"*\"", i);
		entry->models[entry->model_count] = arena_strdup(arena, name);
		if (!entry->models[entry->model_count++])
			return err_nomem(err);
	}
	return 0;
}

static int entry_read(struct publisher_entry *entry, const json_t *object, struct arena *arena,
		      struct err *err)
{
	const char *name = NULL;
	json_t *key = NULL, *models = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("name", &name),
		FIELD_OBJECT("key", &key),
		FIELD_ARRAY("models", &models, .min = 1, .max = PUBLISHER_MODELS),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (key_parse(&entry->key, key, err) < 0)
		return err_in(err, "key");
	entry->name = arena_strdup(arena, name);
	return entry->name ? models_read(entry, models, arena, err) : err_nomem(err);
}

static int floors_read(struct publisher_list *list, const json_t *floors, struct arena *arena,
		       struct err *err)
{
	const char *model;
	json_t *value;
	list->floors = arena_array(arena, json_object_size(floors) + 1, sizeof list->floors[0]);
	if (!list->floors)
		return err_nomem(err);
	json_object_foreach((json_t *)(uintptr_t)floors, model, value) {
		struct publisher_floor *floor = &list->floors[list->floor_count];
		floor->counter = json_integer_value(value);
		if (!json_name_ok(model) || !json_is_integer(value) || floor->counter < 0)
			return err_set(err, ERR_INVALID,
				       "floors: %.64s: must be a counter, an integer from 0", model);
		floor->model = arena_strdup(arena, model);
		if (!floor->model)
			return err_nomem(err);
		list->floor_count++;
	}
	return 0;
}

int publishers_parse(struct publisher_list *list, const json_t *document, struct arena *arena,
		     struct err *err)
{
	struct publisher_list out = {0};
	json_t *entries = NULL, *floors = NULL;
	int64_t schema = 0;
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1),
		FIELD_BOOL("required", &out.required, .optional = true),
		FIELD_ARRAY("publishers", &entries, .max = PUBLISHERS),
		FIELD_OBJECT("floors", &floors, .optional = true),
	};
	if (json_read_loose(document, fields, COUNT_OF(fields), err) < 0)
		return -1;
	out.entries = arena_array(arena, json_array_size(entries) + 1, sizeof out.entries[0]);
	if (!out.entries)
		return err_nomem(err);
	for (; out.count < json_array_size(entries); out.count++)
		if (entry_read(&out.entries[out.count], json_array_get(entries, out.count), arena,
			       err) < 0)
			return err_in(err, "publishers[%u]", out.count);
	if (floors_read(&out, floors, arena, err) < 0)
		return -1;
	*list = out;
	return 0;
}

static json_t *entry_json(const struct publisher_entry *entry)
{
	json_auto_t *models = json_array();
	for (unsigned i = 0; i < entry->model_count; i++)
		if (json_array_append_new(models, json_string(entry->models[i])) < 0)
			return NULL;
	return json_pack("{s:s, s:o, s:O}", "name", entry->name, "key", key_json(&entry->key),
			 "models", models);
}

json_t *publishers_json(const struct publisher_list *list, struct err *err)
{
	json_auto_t *entries = json_array(), *floors = json_object();
	int failed = !entries || !floors;
	for (unsigned i = 0; i < list->count && !failed; i++)
		failed = json_array_append_new(entries, entry_json(&list->entries[i])) < 0;
	for (unsigned i = 0; i < list->floor_count && !failed; i++)
		failed = json_object_set_new(floors, list->floors[i].model,
					     json_integer(list->floors[i].counter)) < 0;
	json_t *out = failed ? NULL
			     : json_pack("{s:i, s:b, s:O, s:O}", "schema", 1, "required",
					 (int)list->required, "publishers", entries, "floors", floors);
	if (!out)
		err_nomem(err);
	return out;
}

static bool may_publish(const struct publisher_entry *entry, const char *model)
{
	for (unsigned i = 0; i < entry->model_count; i++)
		if (!strcmp(entry->models[i], model) || !strcmp(entry->models[i], EVERY_MODEL))
			return true;
	return false;
}

bool publishers_needed(const struct publisher_list *list, const char *model)
{
	if (list->required)
		return true;
	for (unsigned i = 0; i < list->count; i++)
		if (may_publish(&list->entries[i], model))
			return true;
	return false;
}

int64_t publishers_floor(const struct publisher_list *list, const char *model)
{
	for (unsigned i = 0; i < list->floor_count; i++)
		if (!strcmp(list->floors[i].model, model))
			return list->floors[i].counter;
	return 0;
}

static bool among(const struct digest *id, const struct digest *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (digest_eq(id, &list[i]))
			return true;
	return false;
}

const struct publisher_entry *publishers_signer(const struct publisher_list *list,
						const struct dsse *dsse, const char *model,
						const struct digest *revoked,
						unsigned revoked_count, struct err *err)
{
	err_set_text(err, ERR_UNTRUSTED, "no publisher that the index names has signed it");
	for (unsigned i = 0; i < list->count; i++) {
		const struct publisher_entry *entry = &list->entries[i];
		if (!dsse_signed_by(dsse, &entry->key))
			continue;
		if (among(&entry->key.id, revoked, revoked_count))
			err_set_text(err, ERR_UNTRUSTED, "the key of publisher %s is revoked",
				     entry->name);
		else if (!may_publish(entry, model))
			err_set_text(err, ERR_UNTRUSTED, "publisher %s may not publish model %s",
				     entry->name, model);
		else
			return entry;
	}
	return NULL;
}
