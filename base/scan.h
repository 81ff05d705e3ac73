/* scan.h -- JSON text read once, in place: no tree, no allocation, for the one path where a tree is
 * most of the work.  Everything else goes through json.h.
 * It takes and refuses the same texts as json_parse(), with two bounds more: SCAN_MEMBERS in an
 * object and SCAN_DEPTH of nesting, so that time and stack are bounded by the length of the text
 * (members that repeat are found by comparing).
 * Texts are unescaped where they stand and end with a NUL that takes the place of their closing
 * quote; skipping changes nothing, so what was skipped may be read later.
 * Threads: a struct scan belongs to one. */
#ifndef BASE_SCAN_H
#define BASE_SCAN_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SCAN_MEMBERS 64
#define SCAN_DEPTH 16

struct scan {
	char *at, *end;	   /* what is not read yet */
	const char *begin; /* for places in errors */
	unsigned depth;	   /* objects and arrays that are open */
	struct err *err;
};

/* Read the len bytes at bytes, which change; what is read points into them. */
void scan_init(struct scan *scan, char *bytes, size_t len, struct err *err);

/* A member's name as it stands between its quotes, escapes and all. */
struct scan_name {
	const char *at;
	size_t len;
	bool escaped; /* has any */
};
bool scan_name_is(const struct scan_name *name, const char *text);

/* An object that is being read; its names, to find repeated ones. */
struct scan_object {
	struct scan_name names[SCAN_MEMBERS];
	unsigned count;
};

/* The next byte that is no space, which tells what value comes; 0 at the end. */
char scan_peek(struct scan *scan);

/* All below: -1 with *err (ERR_INVALID; ERR_TOO_LARGE beyond the two bounds). */

/* Enter an object; then take its members: 1 with the next one's name, whose value must be read or
 * skipped before the next call; 0 at its end. */
int scan_object(struct scan *scan, struct scan_object *object) CHECKED;
int scan_member(struct scan *scan, struct scan_object *object, struct scan_name *ret_name) CHECKED;

/* The same for an array: taken is how many elements were. */
int scan_array(struct scan *scan) CHECKED;
int scan_element(struct scan *scan, size_t taken) CHECKED;

int scan_text(struct scan *scan, const char **ret_text, size_t *ret_len) CHECKED;
int scan_int(struct scan *scan, int64_t *ret_value) CHECKED; /* a number with no '.' and no 'e' */
int scan_bool(struct scan *scan, bool *ret_value) CHECKED;
int scan_null(struct scan *scan) CHECKED; /* 1: taken; 0: it is something else, nothing taken */
int scan_skip(struct scan *scan) CHECKED; /* any value */
int scan_end(struct scan *scan) CHECKED;  /* nothing but space is left */

/* Members by table, as json_read(). */
enum scan_kind {
	SCAN_TEXT, /* const char *: at most max bytes */
	SCAN_NAME, /* const char *: json_name_ok() */
	SCAN_INT,  /* int64_t: min..max, max 0 = 2^53 */
	SCAN_BOOL, /* bool */
	SCAN_OWN   /* own() reads the value, given the whole target, and names itself in errors */
};
struct scan_field {
	const char *name;
	enum scan_kind kind;
	bool optional; /* absent or null leaves the target as it was */
	int64_t min, max;
	size_t at; /* offset in the target */
	int (*own)(void *target, struct scan *scan);
};
/* Read an object's members into target.  strict: unknown ones are refused, else skipped. */
int scan_fields(struct scan *scan, const struct scan_field *fields, unsigned count, bool strict,
		void *target) CHECKED;

#endif
