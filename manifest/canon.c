#include "manifest/canon.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFE_INTEGER 9007199254740992 /* 2^53: the first that a double cannot tell apart */
#define FEW_MEMBERS 32		      /* sorted on the stack */

/* Where we are; lives on the stack of the descent and becomes text only for an error. */
struct place {
	const struct place *above; /* NULL: the value itself */
	const char *name;	   /* NULL: array element */
	size_t index;
	unsigned depth;
};

struct member {
	const char *name;
	size_t len;
	const json_t *value;
};

static int write_value(const json_t *value, const struct place *place, struct buf *out,
		       struct err *err);

static size_t place_text(const struct place *place, char *text, size_t room)
{
	size_t len = place->above ? place_text(place->above, text, room) : 0;
	int more = 0;
	if (len >= room)
		return len;
	if (place->name)
		more = snprintf(text + len, room - len, "%s%s", len ? "." : "", place->name);
	else if (place->above)
		more = snprintf(text + len, room - len, "[%zu]", place->index);
	return more < 0 ? len : len + (size_t)more;
}

static int refuse(const struct place *place, const char *why, struct err *err)
{
	char where[160] = "";
	place_text(place, where, sizeof where);
	return err_set(err, ERR_INVALID, "%s%s%s", where, where[0] ? ": " : "", why);
}

/* Length of the UTF-8 sequence at text (Unicode 15, table 3-7), 0 when it is not one. */
static size_t utf8_len(const unsigned char *text, size_t len)
{
	unsigned char lead = text[0];
	size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	if (lead < 0xc2 || lead > 0xf4 || len < want)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (lead == 0xe0 && text[1] < 0xa0) || (lead == 0xf0 && text[1] < 0x90);
	bool surrogate = lead == 0xed && text[1] > 0x9f;
	bool beyond = lead == 0xf4 && text[1] > 0x8f;
	return overlong || surrogate || beyond ? 0 : want;
}

static int write_text(const char *text, size_t len, const struct place *place, struct buf *out,
		      struct err *err)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t from = 0;
	buf_addc(out, '"');
	for (size_t i = 0; i < len;) {
		if (bytes[i] < 0x20 || bytes[i] == 0x7f)
			return refuse(place, "a control character in a text; remove it", err);
		if (bytes[i] == '"' || bytes[i] == '\\') {
			buf_add(out, text + from, i - from);
			buf_addc(out, '\\');
			from = i; /* the character itself goes out with what follows */
		}
		size_t step = bytes[i] < 0x80 ? 1 : utf8_len(bytes + i, len - i);
		if (step == 0)
			return refuse(place, "a text that is not UTF-8", err);
		i += step;
	}
	buf_add(out, text + from, len - from);
	buf_addc(out, '"');
	return 0;
}

static int write_integer(json_int_t n, const struct place *place, struct buf *out,
			 struct err *err)
{
	if (n >= SAFE_INTEGER || n <= -SAFE_INTEGER)
		return refuse(place, "an integer of 2^53 or beyond; clients would round it", err);
	buf_addf(out, "%" JSON_INTEGER_FORMAT, n);
	return 0;
}

static int write_array(const json_t *array, const struct place *place, struct buf *out,
		       struct err *err)
{
	size_t count = json_array_size(array);
	buf_addc(out, '[');
	for (size_t i = 0; i < count; i++) {
		struct place inner = {.above = place, .index = i, .depth = place->depth + 1};
		if (i > 0)
			buf_addc(out, ',');
		if (write_value(json_array_get(array, i), &inner, out, err) < 0)
			return -1;
	}
	buf_addc(out, ']');
	return 0;
}

static int member_cmp(const void *left, const void *right)
{
	const struct member *a = left, *b = right;
	int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);
	return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static int name_check(const char *name, const struct place *place, struct err *err)
{
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c >= 0x80)
			return refuse(place, "a member's name outside ASCII", err);
	return 0;
}

static int write_members(struct member *members, size_t count, const struct place *place,
			 struct buf *out, struct err *err)
{
	qsort(members, count, sizeof members[0], member_cmp);
	buf_addc(out, '{');
	for (size_t i = 0; i < count; i++) {
		const struct member *m = &members[i];
		struct place inner = {.above = place, .name = m->name, .depth = place->depth + 1};
		if (i > 0)
			buf_addc(out, ',');
		if (name_check(m->name, place, err) < 0 ||
		    write_text(m->name, m->len, place, out, err) < 0)
			return -1;
		buf_addc(out, ':');
		if (write_value(m->value, &inner, out, err) < 0)
			return -1;
	}
	buf_addc(out, '}');
	return 0;
}

static int write_object(const json_t *object, const struct place *place, struct buf *out,
			struct err *err)
{
	struct member few[FEW_MEMBERS], *members = few;
	size_t count = json_object_size(object), i = 0;
	if (count > FEW_MEMBERS && !(members = calloc(count, sizeof members[0])))
		return err_nomem(err);
	/* jansson iterates through a pointer that is not const, but changes nothing. */
	json_t *iterable = (json_t *)(uintptr_t)object;
	for (void *at = json_object_iter(iterable); at;
	     at = json_object_iter_next(iterable, at), i++)
		members[i] = (struct member){
			.name = json_object_iter_key(at),
			.len = json_object_iter_key_len(at),
			.value = json_object_iter_value(at),
		};
	int result = write_members(members, count, place, out, err);
	if (members != few)
		free(members);
	return result;
}

static int write_value(const json_t *value, const struct place *place, struct buf *out,
		       struct err *err)
{
	bool nests = json_is_object(value) || json_is_array(value);
	if (nests && place->depth >= CANON_DEPTH)
		return refuse(place, "nested too deep", err);
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return write_object(value, place, out, err);
	case JSON_ARRAY:
		return write_array(value, place, out, err);
	case JSON_STRING:
		return write_text(json_string_value(value), json_string_length(value), place, out,
				  err);
	case JSON_INTEGER:
		return write_integer(json_integer_value(value), place, out, err);
	case JSON_REAL:
		return refuse(place, "a number with a fraction or exponent; use an integer", err);
	case JSON_TRUE:
		buf_adds(out, "true");
		return 0;
	case JSON_FALSE:
		buf_adds(out, "false");
		return 0;
	case JSON_NULL:
		buf_adds(out, "null");
		return 0;
	}
	return refuse(place, "no JSON value", err);
}

int canon_write(const json_t *value, struct buf *out, struct err *err)
{
	struct place top = {.depth = 0};
	if (write_value(value, &top, out, err) < 0)
		return -1;
	return buf_ok(out, "canonical JSON", err);
}

int canon_digest(const json_t *value, struct digest *ret_digest, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT((size_t)64 * 1024 * 1024);
	if (canon_write(value, &text, err) < 0)
		return -1;
	digest_of(ret_digest, text.data, text.len);
	return 0;
}

/* ---- finding a member in the written form ---- */

/* Past the string that begins at `at`; NULL: it does not end. */
static const char *past_string(const char *at, const char *end)
{
	for (at++; at < end; at++)
		if (*at == '\\')
			at++;
		else if (*at == '"')
			return at + 1;
	return NULL;
}

/* Past the value that begins at `at`: to the comma or bracket that follows it; NULL: it does not
 * end. */
static const char *past_value(const char *at, const char *end)
{
	unsigned depth = 0;
	while (at && at < end) {
		const char c = *at;
		if (!depth && (c == ',' || c == '}' || c == ']'))
			return at;
		if (c == '"') {
			at = past_string(at, end);
			continue;
		}
		depth += c == '{' || c == '[';
		depth -= c == '}' || c == ']';
		at++;
	}
	return NULL;
}

bool canon_member(const char *text, size_t len, const char *name, struct canon_span *ret)
{
	const char *end = text + len, *at = text;
	const size_t name_len = strlen(name);
	if (!len || *at != '{')
		return false;
	while (++at < end && *at == '"') {
		const char *key = at + 1, *colon = past_string(at, end);
		const char *value = colon && colon < end && *colon == ':' ? colon + 1 : NULL;
		at = past_value(value, end);
		if (!at)
			return false;
		if ((size_t)(colon - 1 - key) == name_len && !memcmp(key, name, name_len)) {
			*ret = (struct canon_span){value, (size_t)(at - value)};
			return true;
		}
		if (*at != ',')
			return false;
	}
	return false;
}
