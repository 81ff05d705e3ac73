/* version.h -- versions as short rows of integers; a missing part counts as 0, so 11 equals 11.0.
 * Threads: pure. */
#ifndef MANIFEST_VERSION_H
#define MANIFEST_VERSION_H

#include "base/cc.h"
#include "base/err.h"

#include <jansson.h>
#include <stdint.h>

#define VERSION_PARTS 6
#define VERSION_PART_MAX 2147483647
#define VERSION_TEXT 72 /* the longest, and a NUL */

struct version {
	unsigned count; /* 1 .. VERSION_PARTS; 0: none */
	uint32_t part[VERSION_PARTS];
};

/* "15", "4.19.0": decimal parts joined by dots, nothing else.  -1 otherwise, *version untouched. */
int version_parse(struct version *version, const char *text) CHECKED;
/* A text as above or an array of integers, [4,19,0].  ERR_INVALID; the caller adds the path. */
int version_read(struct version *version, const json_t *value, struct err *err) CHECKED;

int version_cmp(const struct version *a, const struct version *b); /* <0, 0, >0 */
void version_text(const struct version *version, char out[static VERSION_TEXT]);
json_t *version_json(const struct version *version) CHECKED; /* as an array; NULL: no memory */

#endif
