#include "base/scan.h"

#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void scan_init(struct scan *scan, char *bytes, size_t len, struct err *err)
{
	*scan = (struct scan){bytes, bytes + len, bytes, 0, err};
}

static int broken(const struct scan *s, const char *what)
{
	return err_set(s->err, ERR_INVALID, "not valid JSON at byte %zu: %s",
		       (size_t)(s->at - s->begin) + 1, what);
}

char scan_peek(struct scan *s)
{
	while (s->at < s->end &&
	       (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
		s->at++;
	return s->at < s->end ? *s->at : 0;
}

static bool digit(const struct scan *s)
{
	return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

int scan_end(struct scan *s)
{
	scan_peek(s);
	return s->at == s->end ? 0 : broken(s, "something follows the value");
}

/* ---- texts ---- */

/* What a byte inside quotes is: 0 itself, else one of these. */
enum { PLAIN, QUOTE, ESCAPE, CONTROL, WIDE };

static const uint8_t classes[256] = {
	[0x00 ... 0x1f] = CONTROL,
	['"'] = QUOTE,
	['\\'] = ESCAPE,
	[0x80 ... 0xff] = WIDE,
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits of the len bytes at text; -1 otherwise. */
static int32_t hex_unit(const char *text, size_t len)
{
	int32_t unit = 0;
	if (len < 4)
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		const int value = hex_value(text[i]);
		if (value < 0)
			return -1;
		unit = unit << 4 | value;
	}
	return unit;
}

/* The code point of an escape, text being behind its backslash; *ret_len: bytes of it.  -1: none
 * that JSON knows, half a pair of surrogates, or U+0000, which C texts cannot hold. */
static int32_t escape_value(const char *text, size_t len, size_t *ret_len)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name = len && text[0] ? strchr(names, text[0]) : NULL;
	if (name) {
		*ret_len = 1;
		return values[name - names];
	}
	const int32_t high = len && text[0] == 'u' ? hex_unit(text + 1, len - 1) : -1;
	*ret_len = 5;
	if (high < 0xd800 || high > 0xdfff)
		return high > 0 ? high : -1;
	const int32_t low = len >= 11 && text[5] == '\\' && text[6] == 'u' ? hex_unit(text + 7, 4) : -1;
	*ret_len = 11;
	if (high > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return -1;
	return 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
}

static size_t utf8_put(char *out, int32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	const unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
	for (unsigned i = more; i; i--) {
		out[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (char)(leads[more] | c);
	return more + 1;
}

/* Check what stands between quotes, from the byte after the first; s->at is then behind the last. */
static int string_check(struct scan *s, struct scan_name *ret)
{
	char *at = s->at;
	bool escaped = false;
	for (;;) {
		size_t step = 1;
		while (at < s->end && classes[(uint8_t)*at] == PLAIN)
			at++;
		const unsigned class = at < s->end ? classes[(uint8_t)*at] : CONTROL;
		if (class == QUOTE)
			break;
		if (class == WIDE)
			step = utf8_step(at, (size_t)(s->end - at));
		if (class == CONTROL || !step) {
			s->at = at;
			return broken(s, class == WIDE ? "no UTF-8" : "a control character or the end in a text");
		}
		if (class == ESCAPE) {
			escaped = true;
			if (escape_value(at + 1, (size_t)(s->end - at) - 1, &step) < 0) {
				s->at = at;
				return broken(s, "an escape that means nothing");
			}
			step++;
		}
		at += step;
	}
	*ret = (struct scan_name){s->at, (size_t)(at - s->at), escaped};
	s->at = at + 1;
	return 0;
}

/* Unescape checked text in place; its new length. */
static size_t unescape(char *text, size_t len)
{
	size_t from = 0, to = 0;
	while (from < len) {
		size_t step;
		if (text[from] != '\\') {
			text[to++] = text[from++];
			continue;
		}
		const int32_t c = escape_value(text + from + 1, len - from - 1, &step);
		from += step + 1;
		to += utf8_put(text + to, c);
	}
	return to;
}

int scan_text(struct scan *s, const char **ret_text, size_t *ret_len)
{
	struct scan_name raw;
	if (scan_peek(s) != '"')
		return err_set(s->err, ERR_INVALID, "must be text");
	char *text = ++s->at;
	if (string_check(s, &raw))
		return -1;
	const size_t len = raw.escaped ? unescape(text, raw.len) : raw.len;
	text[len] = 0;
	*ret_text = text;
	*ret_len = len;
	return 0;
}

/* ---- names ---- */

/* A name's bytes once unescaped, one by one. */
struct spelling {
	const char *at, *end;
	char bytes[4]; /* of an escape */
	size_t len, used;
};

static int spelling_next(struct spelling *p)
{
	size_t step = 0;
	if (p->used < p->len)
		return (uint8_t)p->bytes[p->used++];
	if (p->at == p->end)
		return -1;
	if (*p->at != '\\')
		return (uint8_t)*p->at++;
	const int32_t c = escape_value(p->at + 1, (size_t)(p->end - p->at) - 1, &step);
	p->at += step + 1;
	p->len = utf8_put(p->bytes, c);
	p->used = 1;
	return (uint8_t)p->bytes[0];
}

static bool spelled_alike(const struct scan_name *a, const struct scan_name *b)
{
	struct spelling x = {.at = a->at, .end = a->at + a->len};
	struct spelling y = {.at = b->at, .end = b->at + b->len};
	int of_x, of_y;
	do {
		of_x = spelling_next(&x);
		of_y = spelling_next(&y);
	} while (of_x == of_y && of_x >= 0);
	return of_x == of_y;
}

static bool name_eq(const struct scan_name *a, const struct scan_name *b)
{
	if (a->len == b->len && !memcmp(a->at, b->at, a->len))
		return true;
	return (a->escaped || b->escaped) && spelled_alike(a, b);
}

bool scan_name_is(const struct scan_name *name, const char *text)
{
	if (name->escaped) {
		const struct scan_name other = {text, strlen(text), false};
		return spelled_alike(name, &other);
	}
	return name->len && name->at[0] == text[0] && !strncmp(name->at, text, name->len) &&
	       !text[name->len];
}

/* ---- objects and arrays ---- */

/* Behind the bracket that was seen. */
static int enter(struct scan *s)
{
	if (s->depth == SCAN_DEPTH)
		return err_set(s->err, ERR_TOO_LARGE, "nested deeper than %d", SCAN_DEPTH);
	s->depth++;
	s->at++;
	return 0;
}

static int leave(struct scan *s)
{
	s->depth--;
	s->at++;
	return 0;
}

int scan_object(struct scan *s, struct scan_object *object)
{
	if (scan_peek(s) != '{')
		return err_set(s->err, ERR_INVALID, "must be an object");
	object->count = 0;
	return enter(s);
}

static int name_note(struct scan *s, struct scan_object *object, const struct scan_name *name)
{
	if (object->count == SCAN_MEMBERS)
		return err_set(s->err, ERR_TOO_LARGE, "more than %d members in one object",
			       SCAN_MEMBERS);
	for (unsigned i = 0; i < object->count; i++)
		if (name_eq(&object->names[i], name))
			return broken(s, "a duplicate member");
	object->names[object->count++] = *name;
	return 0;
}

int scan_member(struct scan *s, struct scan_object *object, struct scan_name *ret_name)
{
	const char next = scan_peek(s);
	if (next == '}')
		return leave(s);
	if (object->count) {
		if (next != ',')
			return broken(s, "',' or '}' is expected");
		s->at++;
	}
	if (scan_peek(s) != '"')
		return broken(s, "a member's name is expected");
	s->at++;
	if (string_check(s, ret_name) || name_note(s, object, ret_name))
		return -1;
	if (scan_peek(s) != ':')
		return broken(s, "':' is expected");
	s->at++;
	return 1;
}

int scan_array(struct scan *s)
{
	if (scan_peek(s) != '[')
		return err_set(s->err, ERR_INVALID, "must be a list");
	return enter(s);
}

int scan_element(struct scan *s, size_t taken)
{
	const char next = scan_peek(s);
	if (next == ']')
		return leave(s);
	if (!taken)
		return 1;
	if (next != ',')
		return broken(s, "',' or ']' is expected");
	s->at++;
	return 1;
}

/* ---- numbers and words ---- */

/* The digits of a number without its sign, at least one and no zero before others.  -1 when they
 * are more than fit. */
static int digits_take(struct scan *s, uint64_t *ret)
{
	uint64_t value = 0;
	const char *first = s->at;
	if (!digit(s))
		return broken(s, "a digit is expected");
	for (; digit(s); s->at++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*s->at - '0'), &value))
			return broken(s, "too large a number");
	if (*first == '0' && s->at - first > 1)
		return broken(s, "a number begins with 0");
	*ret = value;
	return 0;
}

int scan_int(struct scan *s, int64_t *ret_value)
{
	uint64_t value;
	const bool minus = scan_peek(s) == '-';
	if (minus)
		s->at++;
	else if (!digit(s))
		return err_set(s->err, ERR_INVALID, "must be a whole number");
	if (digits_take(s, &value))
		return -1;
	if (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E'))
		return err_set(s->err, ERR_INVALID, "must be a whole number");
	if (value > (uint64_t)INT64_MAX + minus)
		return broken(s, "too large a number");
	*ret_value = minus ? (int64_t)(0 - value) : (int64_t)value;
	return 0;
}

static int digits_skip(struct scan *s)
{
	if (!digit(s))
		return broken(s, "a digit is expected");
	while (digit(s))
		s->at++;
	return 0;
}

/* The tail of a number that begins at begin: its fraction and exponent, within a double's range.
 * The byte behind it is there and no part of a number, or the document does not end. */
static int real_skip(struct scan *s, const char *begin)
{
	if (*s->at == '.') {
		s->at++;
		if (digits_skip(s))
			return -1;
	}
	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (digits_skip(s))
			return -1;
	}
	if (s->at == s->end)
		return broken(s, "the number does not end");
	return isinf(strtod(begin, NULL)) ? broken(s, "too large a number") : 0;
}

static int number_skip(struct scan *s)
{
	const char *begin = s->at;
	const bool minus = *begin == '-';
	char *digits = s->at + minus;
	uint64_t value;
	s->at = digits;
	if (digits_skip(s))
		return -1;
	if (*digits == '0' && s->at - digits > 1)
		return broken(s, "a number begins with 0");
	if (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E'))
		return real_skip(s, begin);
	s->at = digits;
	if (digits_take(s, &value))
		return -1;
	return value > (uint64_t)INT64_MAX + minus ? broken(s, "too large a number") : 0;
}

static bool word_take(struct scan *s, const char *word)
{
	const size_t len = strlen(word);
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return false;
	s->at += len;
	return true;
}

int scan_bool(struct scan *s, bool *ret_value)
{
	const char next = scan_peek(s);
	if (next == 't' && word_take(s, "true"))
		*ret_value = true;
	else if (next == 'f' && word_take(s, "false"))
		*ret_value = false;
	else
		return err_set(s->err, ERR_INVALID, "must be true or false");
	return 0;
}

int scan_null(struct scan *s)
{
	if (scan_peek(s) != 'n')
		return 0;
	return word_take(s, "null") ? 1 : broken(s, "neither a value nor null");
}

/* ---- what is not wanted ---- */

static int object_skip(struct scan *s)
{
	UNINITIALIZED struct scan_object object;
	struct scan_name name;
	int got;
	if (scan_object(s, &object))
		return -1;
	while ((got = scan_member(s, &object, &name)) > 0)
		if (scan_skip(s))
			return -1;
	return got;
}

static int array_skip(struct scan *s)
{
	int got;
	if (scan_array(s))
		return -1;
	for (size_t taken = 0; (got = scan_element(s, taken)) > 0; taken++)
		if (scan_skip(s))
			return -1;
	return got;
}

static int string_skip(struct scan *s)
{
	struct scan_name text;
	s->at++;
	return string_check(s, &text);
}

/* Calls itself through arrays and objects, SCAN_DEPTH deep. */
int scan_skip(struct scan *s)
{
	bool ignored;
	const char next = scan_peek(s);
	switch (next) {
	case '{':
		return object_skip(s);
	case '[':
		return array_skip(s);
	case '"':
		return string_skip(s);
	case 't':
	case 'f':
		return scan_bool(s, &ignored);
	case 'n':
		return scan_null(s) < 0 ? -1 : 0;
	default:
		return next == '-' || digit(s) ? number_skip(s) : broken(s, "a value is expected");
	}
}
