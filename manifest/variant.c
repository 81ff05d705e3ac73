#include "manifest/variant.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

int variant_make(struct variant_ref *ref, const char *model, const char *release,
		 const char *tier, struct arena *arena, struct err *err)
{
	if (!json_name_ok(model) || !json_name_ok(release) || !json_name_ok(tier))
		return err_set(err, ERR_INVALID,
			       "\"%.64s@%.64s/%.64s\": each part must be a name of lower-case "
			       "letters, digits, '.', '_', '-'",
			       model, release, tier);
	struct variant_ref out = {
		.text = arena_printf(arena, "%s@%s/%s", model, release, tier),
		.model = arena_strdup(arena, model),
		.release = arena_strdup(arena, release),
		.tier = arena_strdup(arena, tier),
	};
	if (!out.text || !out.model || !out.release || !out.tier)
		return err_nomem(err);
	*ref = out;
	return 0;
}

int variant_parse(struct variant_ref *ref, const char *text, struct arena *arena, struct err *err)
{
	char parts[VARIANT_TEXT_MAX + 1];
	size_t len = strlen(text);
	const char *at = strchr(text, '@'), *slash = strchr(text, '/');
	if (len > VARIANT_TEXT_MAX || !at || !slash || slash < at)
		return err_set(err, ERR_INVALID,
			       "\"%.200s\": must be model@version/tier, as in "
			       "assistant@2.1.0/q4_k_m",
			       text);
	memcpy(parts, text, len + 1);
	parts[at - text] = 0;
	parts[slash - text] = 0;
	return variant_make(ref, parts, parts + (at - text) + 1, parts + (slash - text) + 1,
			    arena, err);
}

bool variant_of_model(const char *text, const char *model)
{
	const size_t len = strlen(model);
	if (!json_name_span_ok(model, len) || strncmp(text, model, len) != 0 || text[len] != '@')
		return false;
	const char *release = text + len + 1, *slash = strchr(release, '/');
	return slash && json_name_span_ok(release, (size_t)(slash - release)) &&
	       json_name_ok(slash + 1);
}

bool variant_eq(const struct variant_ref *a, const struct variant_ref *b)
{
	return strcmp(a->text, b->text) == 0;
}

static int runtimes_read(struct requires *out, const json_t *object, struct arena *arena,
			 struct err *err)
{
	const char *name;
	json_t *value;
	size_t count = json_object_size(object);
	if (count > VARIANT_RUNTIMES)
		return err_set(err, ERR_INVALID, "runtime: at most %d runtimes",
			       VARIANT_RUNTIMES);
	if (!(out->runtimes = arena_array(arena, count + 1, sizeof out->runtimes[0])))
		return err_nomem(err);
	/* jansson iterates through a pointer that is not const, but changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		struct runtime *runtime = &out->runtimes[out->runtime_count];
		if (!json_name_ok(name))
			return err_set(err, ERR_INVALID, "runtime: \"%.64s\" is not a name", name);
		if (version_read(&runtime->version, value, err) < 0)
			return err_in(err, "runtime: %s", name);
		if (!(runtime->name = arena_strdup(arena, name)))
			return err_nomem(err);
		out->runtime_count++;
	}
	return 0;
}

static int os_read(struct requires *out, const json_t *object, struct arena *arena,
		   struct err *err)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		struct version *end = strcmp(name, "ge") == 0 ? &out->os_ge
				      : strcmp(name, "le") == 0 ? &out->os_le
								: NULL;
		if (end && version_read(end, value, err) < 0)
			return err_in(err, "os_version: %s", name);
		if (!end && !(out->unknown = arena_printf(arena, "os_version.%.64s", name)))
			return err_nomem(err);
	}
	return 0;
}

int requires_parse(struct requires *requires, const json_t *object, struct arena *arena,
		   struct err *err)
{
	struct requires out = {0};
	json_t *runtime = NULL, *os_version = NULL;
	const struct json_field fields[] = {
		FIELD_OBJECT("runtime", &runtime, .optional = true),
		FIELD_OBJECT("os_version", &os_version, .optional = true),
		FIELD_INT("disk_free_mib", &out.disk_free_mib, .optional = true),
		FIELD_INT("ram_mib", &out.ram_mib, .optional = true),
	};
	const char *name;
	json_t *value;
	if (object && json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		size_t i = 0;
		while (i < COUNT_OF(fields) && strcmp(fields[i].name, name) != 0)
			i++;
		if (i == COUNT_OF(fields) &&
		    !(out.unknown = arena_printf(arena, "%.64s", name)))
			return err_nomem(err);
	}
	if (runtimes_read(&out, runtime, arena, err) < 0 ||
	    os_read(&out, os_version, arena, err) < 0)
		return -1;
	*requires = out;
	return 0;
}

int requires_parse_strict(struct requires *requires, const json_t *object, struct arena *arena,
			  struct err *err)
{
	struct requires out;
	if (requires_parse(&out, object, arena, err) < 0)
		return -1;
	if (out.unknown)
		return err_set(err, ERR_INVALID,
			       "%s: unknown requirement; use runtime, os_version.ge, "
			       "os_version.le, disk_free_mib, ram_mib",
			       out.unknown);
	*requires = out;
	return 0;
}

static json_t *version_text_json(const struct version *version)
{
	char text[VERSION_TEXT];
	version_text(version, text);
	return json_string(text);
}

static json_t *runtimes_json(const struct requires *requires)
{
	json_t *object = json_object();
	for (unsigned i = 0; object && i < requires->runtime_count; i++)
		if (json_object_set_new(object, requires->runtimes[i].name,
					version_text_json(&requires->runtimes[i].version)) < 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static json_t *os_json(const struct requires *requires)
{
	json_t *object = json_object();
	int failed = !object;
	if (requires->os_ge.count > 0)
		failed |= json_object_set_new(object, "ge", version_text_json(&requires->os_ge));
	if (requires->os_le.count > 0)
		failed |= json_object_set_new(object, "le", version_text_json(&requires->os_le));
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

json_t *requires_json(const struct requires *requires)
{
	json_t *object = json_object();
	int failed = !object;
	if (requires->runtime_count > 0)
		failed |= json_object_set_new(object, "runtime", runtimes_json(requires));
	if (requires->os_ge.count > 0 || requires->os_le.count > 0)
		failed |= json_object_set_new(object, "os_version", os_json(requires));
	if (requires->disk_free_mib > 0)
		failed |= json_object_set_new(object, "disk_free_mib",
					      json_integer(requires->disk_free_mib));
	if (requires->ram_mib > 0)
		failed |= json_object_set_new(object, "ram_mib", json_integer(requires->ram_mib));
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static int unmet(struct err *why, const char *what, const char *bound,
		 const struct version *need, const struct version *have)
{
	char need_text[VERSION_TEXT], have_text[VERSION_TEXT] = "unknown";
	version_text(need, need_text);
	if (have)
		version_text(have, have_text);
	return err_set(why, ERR_INVALID, "needs %.64s %s %s, but it is %s", what, bound, need_text,
		       have_text);
}

static int runtime_check(const struct runtime *need, const struct facts *facts, struct err *why)
{
	const struct version *have = NULL;
	for (unsigned i = 0; i < facts->runtime_count && !have; i++)
		if (strcmp(facts->runtimes[i].name, need->name) == 0)
			have = &facts->runtimes[i].version;
	if (!have || version_cmp(have, &need->version) < 0)
		return unmet(why, need->name, "of at least", &need->version, have);
	return 0;
}

static int os_check(const struct requires *requires, const struct attr_value *os, struct err *why)
{
	const struct version *have = os->present ? &os->version : NULL;
	const struct version *ge = &requires->os_ge, *le = &requires->os_le;
	if (ge->count > 0 && (!have || version_cmp(have, ge) < 0))
		return unmet(why, "os_version", "of at least", ge, have);
	if (le->count > 0 && (!have || version_cmp(have, le) > 0))
		return unmet(why, "os_version", "of at most", le, have);
	return 0;
}

static int amount_check(const char *what, int64_t need, int64_t have, struct err *why)
{
	if (need <= 0 || have >= need)
		return 0;
	if (have < 0)
		return err_set(why, ERR_INVALID, "needs %lld MiB of %s, which is not known",
			       (long long)need, what);
	return err_set(why, ERR_INVALID, "needs %lld MiB of %s, but there are %lld",
		       (long long)need, what, (long long)have);
}

bool requires_met(const struct requires *requires, const struct attrs *attrs,
		  const struct facts *facts, struct err *why)
{
	const struct attr_value *ram = &attrs->value[ATTR_RAM_MIB];
	int64_t ram_mib = facts->ram_mib >= 0 ? facts->ram_mib
			  : ram->present      ? ram->number
					      : -1;
	if (requires->unknown) {
		err_set(why, ERR_INVALID, "needs \"%s\", which this version does not know",
			requires->unknown);
		return false;
	}
	for (unsigned i = 0; i < requires->runtime_count; i++)
		if (runtime_check(&requires->runtimes[i], facts, why) < 0)
			return false;
	return os_check(requires, &attrs->value[ATTR_OS_VERSION], why) == 0 &&
	       amount_check("free disk", requires->disk_free_mib, facts->disk_free_mib, why) ==
		       0 &&
	       amount_check("memory", requires->ram_mib, ram_mib, why) == 0;
}

int variant_choose(const struct requires *const *ordered, unsigned count,
		   const struct attrs *attrs, const struct facts *facts, struct err *why)
{
	err_set(why, ERR_INVALID, "there is no variant to choose from");
	for (unsigned i = 0; i < count; i++)
		if (requires_met(ordered[i], attrs, facts, why))
			return (int)i;
	return -1;
}
