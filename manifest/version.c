#include "manifest/version.h"

#include <stdio.h>
#include <string.h>

int version_parse(struct version *version, const char *text)
{
	struct version out = {0};
	for (const char *c = text;; c++) {
		uint64_t part = 0;
		const char *from = c;
		for (; *c >= '0' && *c <= '9' && part <= VERSION_PART_MAX; c++)
			part = part * 10 + (uint64_t)(*c - '0');
		if (c == from || part > VERSION_PART_MAX || out.count == VERSION_PARTS)
			return -1;
		out.part[out.count++] = (uint32_t)part;
		if (*c == 0)
			break;
		if (*c != '.')
			return -1;
	}
	*version = out;
	return 0;
}

static int array_read(struct version *version, const json_t *array, struct err *err)
{
	struct version out = {0};
	size_t count = json_array_size(array);
	if (count < 1 || count > VERSION_PARTS)
		return err_set(err, ERR_INVALID, "a version has 1 to %d parts", VERSION_PARTS);
	for (; out.count < count; out.count++) {
		const json_t *part = json_array_get(array, out.count);
		json_int_t n = json_integer_value(part);
		if (!json_is_integer(part) || n < 0 || n > VERSION_PART_MAX)
			return err_set(err, ERR_INVALID,
				       "a version's parts are integers from 0 to %d",
				       VERSION_PART_MAX);
		out.part[out.count] = (uint32_t)n;
	}
	*version = out;
	return 0;
}

int version_read(struct version *version, const json_t *value, struct err *err)
{
	if (json_is_array(value))
		return array_read(version, value, err);
	if (json_is_string(value) && version_parse(version, json_string_value(value)) == 0)
		return 0;
	return err_set(err, ERR_INVALID, "must be a version such as \"4.19\" or [4,19]");
}

int version_cmp(const struct version *a, const struct version *b)
{
	for (unsigned i = 0; i < VERSION_PARTS; i++) {
		uint32_t left = i < a->count ? a->part[i] : 0;
		uint32_t right = i < b->count ? b->part[i] : 0;
		if (left != right)
			return left < right ? -1 : 1;
	}
	return 0;
}

void version_text(const struct version *version, char out[static VERSION_TEXT])
{
	size_t len = 0;
	out[0] = 0;
	for (unsigned i = 0; i < version->count; i++)
		len += (size_t)snprintf(out + len, VERSION_TEXT - len, "%s%u", i ? "." : "",
					version->part[i]);
}

json_t *version_json(const struct version *version)
{
	json_t *array = json_array();
	for (unsigned i = 0; array && i < version->count; i++)
		if (json_array_append_new(array, json_integer(version->part[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}
