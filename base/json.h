/* json.h -- JSON at the door: jansson with duplicates refused, read field by field into types.
 * Unknown members are refused; every message names the path of the field and the remedy.
 * Threads: pure. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum json_kind {
	JSON_FIELD_TEXT,   /* const char *: borrowed from the json_t */
	JSON_FIELD_NAME,   /* const char *: [a-z0-9][a-z0-9._-]*, 1..64 bytes unless max says less */
	JSON_FIELD_INT,	   /* int64_t */
	JSON_FIELD_REAL,   /* double: any number */
	JSON_FIELD_BOOL,   /* bool */
	JSON_FIELD_DIGEST, /* struct digest: 64 lower-case hex digits, "sha256:" before them allowed */
	JSON_FIELD_OBJECT, /* json_t *: borrowed */
	JSON_FIELD_ARRAY   /* json_t *: borrowed */
};

struct json_field {
	const char *name;
	enum json_kind kind;
	bool optional;	/* absent or null leaves the target as it was */
	int64_t min, max; /* INT, REAL: the value; TEXT: bytes; ARRAY: elements; max 0 = 2^53 for
			     numbers, 4,096 bytes for TEXT, 10,000 elements for ARRAY */
	void *target;
	bool *ret_present; /* may be NULL */
};

/* The compound literals make the compiler check each target's type. */
#define FIELD_TEXT(n, t, ...)                                                             \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_TEXT, .target = (1 ? (t) : (const char **)0), \
		__VA_ARGS__                                                               \
	}
#define FIELD_NAME(n, t, ...)                                                             \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_NAME, .target = (1 ? (t) : (const char **)0), \
		__VA_ARGS__                                                               \
	}
#define FIELD_INT(n, t, ...)                                                              \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_INT, .target = (1 ? (t) : (int64_t *)0),  \
		__VA_ARGS__                                                               \
	}
#define FIELD_REAL(n, t, ...)                                                             \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_REAL, .target = (1 ? (t) : (double *)0), \
		__VA_ARGS__                                                               \
	}
#define FIELD_BOOL(n, t, ...)                                                             \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_BOOL, .target = (1 ? (t) : (bool *)0), __VA_ARGS__ \
	}
#define FIELD_DIGEST(n, t, ...)                                                           \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_DIGEST,                                   \
		.target = (1 ? (t) : (struct digest *)0), __VA_ARGS__                     \
	}
#define FIELD_OBJECT(n, t, ...)                                                           \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_OBJECT, .target = (1 ? (t) : (json_t **)0), \
		__VA_ARGS__                                                               \
	}
#define FIELD_ARRAY(n, t, ...)                                                            \
	{                                                                                 \
		.name = (n), .kind = JSON_FIELD_ARRAY, .target = (1 ? (t) : (json_t **)0), \
		__VA_ARGS__                                                               \
	}

/* Parse len bytes of UTF-8 JSON.  Refuses duplicate members, nesting beyond jansson's 2,048,
 * NUL in strings, trailing bytes.  what names the document in errors (ERR_INVALID with line and
 * column; ERR_SYSTEM for want of memory, where jansson can tell).  The result is the caller's
 * (json_decref); hold it with json_auto_t. */
json_t *json_parse(const char *bytes, size_t len, const char *what, struct err *err) CHECKED;

/* Read object's members into the fields' targets.  Targets of absent optional fields keep their
 * value.  0, or -1 with ERR_INVALID; some targets may then be set. */
int json_read(const json_t *object, const struct json_field *fields, size_t count,
	      struct err *err) CHECKED;

/* As json_read(), ignoring unknown members (documents from newer peers). */
int json_read_loose(const json_t *object, const struct json_field *fields, size_t count,
		    struct err *err) CHECKED;

/* Whether text is [a-z0-9][a-z0-9._-]{0,63} -- names of models, channels, classes, tiers. */
bool json_name_ok(const char *text);
bool json_name_span_ok(const char *text, size_t len); /* the same of len bytes */

/* Compact JSON text with sorted keys, the caller's (free()); NULL without memory. */
char *json_text(const json_t *value) CHECKED;

#endif
