#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INT ((int64_t)1 << 53)
#define MAX_TEXT 4096
#define MAX_NAME 64
#define MAX_ELEMENTS 10000

json_t *json_parse(const char *bytes, size_t len, const char *what, struct err *err)
{
	json_error_t where;
	if (!len) {
		err_set(err, ERR_INVALID, "%s: empty; it must be JSON", what);
		return NULL;
	}
	json_t *root = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &where);
	if (root)
		return root;
	if (!where.text[0]) { /* jansson explains a refusal, but not always the lack of memory */
		err_nomem(err);
		err_in(err, "%s", what);
		return NULL;
	}
	err_set(err, ERR_INVALID, "%s: not valid JSON at line %d, column %d: %s", what, where.line,
		where.column, where.text);
	return NULL;
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool json_name_span_ok(const char *text, size_t len)
{
	if (!len || len > MAX_NAME || !name_char(text[0]))
		return false;
	for (const char *c = text; c < text + len; c++)
		if (!name_char(*c) && *c != '.' && *c != '_' && *c != '-')
			return false;
	return true;
}

bool json_name_ok(const char *text)
{
	return json_name_span_ok(text, strlen(text));
}

static int wrong_type(const struct json_field *f, const char *want, struct err *err)
{
	return err_set(err, ERR_INVALID, "%s: must be %s", f->name, want);
}

static int read_text(const struct json_field *f, const json_t *value, struct err *err)
{
	const size_t max = f->max ? (size_t)f->max : MAX_TEXT;
	const size_t len = json_string_length(value);
	if (!json_is_string(value))
		return wrong_type(f, "text", err);
	if (len < (size_t)f->min || len > max)
		return err_set(err, ERR_INVALID, "%s: must have %lld to %zu bytes, has %zu",
			       f->name, (long long)f->min, max, len);
	*(const char **)f->target = json_string_value(value);
	return 0;
}

static int read_name(const struct json_field *f, const json_t *value, struct err *err)
{
	const char *text = json_string_value(value);
	if (!text || !json_name_ok(text) || (f->max && strlen(text) > (size_t)f->max))
		return wrong_type(f,
				  "a name: lower-case letters, digits, '.', '_', '-', at most 64,"
				  " starting with a letter or digit",
				  err);
	*(const char **)f->target = text;
	return 0;
}

static int read_int(const struct json_field *f, const json_t *value, struct err *err)
{
	const int64_t max = f->max ? f->max : MAX_INT;
	if (!json_is_integer(value))
		return wrong_type(f, "a whole number", err);
	const int64_t n = json_integer_value(value);
	if (n < f->min || n > max)
		return err_set(err, ERR_INVALID, "%s: %lld is outside %lld..%lld", f->name,
			       (long long)n, (long long)f->min, (long long)max);
	*(int64_t *)f->target = n;
	return 0;
}

static int read_real(const struct json_field *f, const json_t *value, struct err *err)
{
	const double max = f->max ? (double)f->max : (double)MAX_INT;
	if (!json_is_number(value))
		return wrong_type(f, "a number", err);
	const double n = json_number_value(value);
	if (n < (double)f->min || n > max)
		return err_set(err, ERR_INVALID, "%s: %g is outside %lld..%.0f", f->name, n,
			       (long long)f->min, max);
	*(double *)f->target = n;
	return 0;
}

static int read_digest(const struct json_field *f, const json_t *value, struct err *err)
{
	const char *text = json_string_value(value);
	if (text && !strncmp(text, "sha256:", 7))
		text += 7;
	if (!text || digest_parse(f->target, text))
		return wrong_type(f, "a SHA-256: 64 lower-case hex digits", err);
	return 0;
}

static int read_array(const struct json_field *f, json_t *value, struct err *err)
{
	const size_t max = f->max ? (size_t)f->max : MAX_ELEMENTS;
	const size_t len = json_array_size(value);
	if (!json_is_array(value))
		return wrong_type(f, "a list", err);
	if (len < (size_t)f->min || len > max)
		return err_set(err, ERR_INVALID, "%s: must have %lld to %zu elements, has %zu",
			       f->name, (long long)f->min, max, len);
	*(json_t **)f->target = value;
	return 0;
}

static int read_value(const struct json_field *f, json_t *value, struct err *err)
{
	switch (f->kind) {
	case JSON_FIELD_TEXT:
		return read_text(f, value, err);
	case JSON_FIELD_NAME:
		return read_name(f, value, err);
	case JSON_FIELD_INT:
		return read_int(f, value, err);
	case JSON_FIELD_REAL:
		return read_real(f, value, err);
	case JSON_FIELD_DIGEST:
		return read_digest(f, value, err);
	case JSON_FIELD_ARRAY:
		return read_array(f, value, err);
	case JSON_FIELD_BOOL:
		if (!json_is_boolean(value))
			return wrong_type(f, "true or false", err);
		*(bool *)f->target = json_is_true(value);
		return 0;
	case JSON_FIELD_OBJECT:
		if (!json_is_object(value))
			return wrong_type(f, "an object", err);
		*(json_t **)f->target = value;
		return 0;
	}
	return err_set(err, ERR_SYSTEM, "%s: unknown kind of field", f->name);
}

static int read_field(const json_t *object, const struct json_field *f, struct err *err)
{
	json_t *value = json_object_get(object, f->name);
	const bool present = value && !json_is_null(value);
	if (f->ret_present)
		*f->ret_present = present;
	if (present)
		return read_value(f, value, err);
	if (f->optional)
		return 0;
	return err_set(err, ERR_INVALID, "%s: missing", f->name);
}

static bool known(const char *name, const struct json_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(fields[i].name, name))
			return true;
	return false;
}

int json_read_loose(const json_t *object, const struct json_field *fields, size_t count,
		    struct err *err)
{
	if (!json_is_object(object))
		return err_set(err, ERR_INVALID, "must be an object");
	for (size_t i = 0; i < count; i++)
		if (read_field(object, &fields[i], err))
			return -1;
	return 0;
}

int json_read(const json_t *object, const struct json_field *fields, size_t count,
	      struct err *err)
{
	if (json_read_loose(object, fields, count, err))
		return -1;
	json_t *visited = (json_t *)(uintptr_t)object; /* jansson's iterators take no const */
	for (void *i = json_object_iter(visited); i; i = json_object_iter_next(visited, i)) {
		const char *name = json_object_iter_key(i);
		if (!known(name, fields, count))
			return err_set(err, ERR_INVALID,
				       "%.64s: unknown member; remove it or check its spelling",
				       name);
	}
	return 0;
}

char *json_text(const json_t *value)
{
	return json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}
