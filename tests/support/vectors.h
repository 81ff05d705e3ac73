/* vectors.h -- for unit tests: published vectors, and JSON written in the test itself.
 * Tests run from the repository's root. */
#ifndef TESTS_SUPPORT_VECTORS_H
#define TESTS_SUPPORT_VECTORS_H

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

#include <check.h>
#include <string.h>

/* schema/vectors/<name>; the caller's. */
static inline json_t *vectors_load(const char *name)
{
	struct err err;
	char path[128];
	struct buf text = BUF_INIT(8 * 1024 * 1024);
	snprintf(path, sizeof path, "schema/vectors/%s", name);
	ck_assert_msg(file_read(path, &text, &err) == 0, "%s", err.text);
	json_t *value = json_parse(text.data, text.len, path, &err);
	ck_assert_msg(value != NULL, "%s", err.text);
	buf_done(&text);
	return value;
}

/* JSON with ' for ", which reads better in C; also scalars.  The caller's. */
static inline json_t *json_of(const char *text)
{
	char copy[16384];
	json_error_t where;
	ck_assert(strlen(text) < sizeof copy);
	strcpy(copy, text);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_t *value = json_loads(copy, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
	ck_assert_msg(value != NULL, "%s in %s", where.text, copy);
	return value;
}

static inline const char *text_in(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static inline json_int_t int_in(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

#endif
