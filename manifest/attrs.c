#include "manifest/attrs.h"

#include <string.h>

static const struct {
	const char *name;
	enum attr_type type;
} vocabulary[ATTR_COUNT] = {
	[ATTR_OS] = {"os", ATTR_TEXT},
	[ATTR_OS_VERSION] = {"os_version", ATTR_VERSION},
	[ATTR_ARCH] = {"arch", ATTR_TEXT},
	[ATTR_CPU] = {"cpu", ATTR_SETS},
	[ATTR_RAM_MIB] = {"ram_mib", ATTR_INT},
	[ATTR_SOC] = {"soc", ATTR_TEXT},
	[ATTR_GPU] = {"gpu", ATTR_SETS},
	[ATTR_NPU] = {"npu", ATTR_SETS},
	[ATTR_PERF_CLASS] = {"perf_class", ATTR_INT},
	[ATTR_FORM_FACTOR] = {"form_factor", ATTR_TEXT},
	[ATTR_APP] = {"app", ATTR_TEXT},
	[ATTR_APP_VERSION] = {"app_version", ATTR_VERSION},
};

const char *attr_name(enum attr attr)
{
	return vocabulary[attr].name;
}

enum attr_type attr_type(enum attr attr)
{
	return vocabulary[attr].type;
}

int attr_find(enum attr *ret_attr, const char *name)
{
	for (unsigned i = 0; i < ATTR_COUNT; i++)
		if (strcmp(vocabulary[i].name, name) == 0) {
			*ret_attr = (enum attr)i;
			return 0;
		}
	return -1;
}

static bool text_ok(const char *text)
{
	size_t len = strlen(text);
	if (len < 1 || len > ATTR_TEXT_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

static int text_read(const char **ret_text, const json_t *value, struct arena *arena,
		     struct err *err)
{
	const char *text = json_string_value(value);
	if (!text || !text_ok(text))
		return err_set(err, ERR_INVALID, "must be a text of 1 to %d ASCII characters",
			       ATTR_TEXT_MAX);
	if (!(*ret_text = arena_strdup(arena, text)))
		return err_nomem(err);
	return 0;
}

static int set_read(struct attr_value *out, const json_t *value, struct arena *arena,
		    struct err *err)
{
	unsigned count = json_is_array(value) ? (unsigned)json_array_size(value) : 1;
	if (count > ATTR_SET)
		return err_set(err, ERR_INVALID, "a set has at most %d members", ATTR_SET);
	if (!(out->set = arena_array(arena, count + 1, sizeof out->set[0])))
		return err_nomem(err);
	for (; out->set_count < count; out->set_count++) {
		const json_t *member =
			json_is_array(value) ? json_array_get(value, out->set_count) : value;
		if (text_read(&out->set[out->set_count], member, arena, err) < 0)
			return -1;
	}
	return 0;
}

int attr_value_read(struct attr_value *ret_value, enum attr_type type, const json_t *value,
		    struct arena *arena, struct err *err)
{
	struct attr_value out = {.present = true};
	int result = 0;
	if (type == ATTR_TEXT)
		result = text_read(&out.text, value, arena, err);
	else if (type == ATTR_VERSION)
		result = version_read(&out.version, value, err);
	else if (type == ATTR_SETS)
		result = set_read(&out, value, arena, err);
	else if (json_is_integer(value))
		out.number = json_integer_value(value);
	else
		result = err_set(err, ERR_INVALID, "must be an integer");
	if (result == 0)
		*ret_value = out;
	return result;
}

void attr_value_text(const struct attr_value *value, enum attr_type type, struct buf *out)
{
	char version[VERSION_TEXT];
	if (!value->present) {
		buf_adds(out, "missing");
	} else if (type == ATTR_TEXT) {
		buf_adds(out, value->text);
	} else if (type == ATTR_INT) {
		buf_addf(out, "%lld", (long long)value->number);
	} else if (type == ATTR_VERSION) {
		version_text(&value->version, version);
		buf_adds(out, version);
	} else {
		buf_addc(out, '{');
		for (unsigned i = 0; i < value->set_count; i++)
			buf_addf(out, "%s%s", i ? " " : "", value->set[i]);
		buf_addc(out, '}');
	}
}

int attrs_parse(struct attrs *attrs, const json_t *object, struct arena *arena, struct err *err)
{
	struct attrs out = {0};
	const char *name;
	json_t *value;
	if (!json_is_object(object))
		return err_set(err, ERR_INVALID, "attributes: must be an object");
	/* jansson iterates through a pointer that is not const, but changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		enum attr attr;
		if (attr_find(&attr, name) < 0)
			return err_set(err, ERR_INVALID,
				       "attributes: no attribute is called \"%.64s\"", name);
		if (attr_value_read(&out.value[attr], attr_type(attr), value, arena, err) < 0)
			return err_in(err, "attributes: %s", name);
	}
	*attrs = out;
	return 0;
}
