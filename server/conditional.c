#include "server/conditional.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool etag_listed(const char *list, const char *etag)
{
	size_t len = strlen(etag);

	if (!list)
		return false;
	if (strcmp(list, etag) == 0 || strcmp(list, "*") == 0)
		return true;
	for (const char *at = list; *at;) {
		const char *end;

		at += strspn(at, ", \t");
		if (strncmp(at, "W/", 2) == 0)
			at += 2;
		if (*at != '"' || !(end = strchr(at + 1, '"')))
			return false;
		if ((size_t)(end + 1 - at) == len && memcmp(at, etag, len) == 0)
			return true;
		at = end + 1;
	}
	return false;
}

/* Digits at *at into *ret_value, at most 18 of them; *ret_value -1 when there are none. */
static bool number(const char **at, int64_t *ret_value)
{
	size_t digits = strspn(*at, "0123456789");

	if (digits > 18)
		return false;
	*ret_value = digits ? strtoll(*at, NULL, 10) : -1;
	*at += digits;
	return true;
}

enum range_answer range_parse(const char *range, const char *if_range, const char *etag,
			      int64_t length, struct span *ret_span)
{
	int64_t first, last;

	if (!range || strncasecmp(range, "bytes=", 6) != 0 || length == 0)
		return RANGE_WHOLE;
	if (if_range && strcmp(if_range, etag) != 0)
		return RANGE_WHOLE;
	range += 6;
	if (!number(&range, &first) || *range++ != '-' || !number(&range, &last) || *range)
		return RANGE_WHOLE;
	if ((first < 0 && last < 0) || (first >= 0 && last >= 0 && last < first))
		return RANGE_WHOLE;
	if (first < 0) { /* the last so many bytes */
		if (last == 0)
			return RANGE_IMPOSSIBLE;
		first = last < length ? length - last : 0;
		last = length - 1;
	}
	if (first >= length)
		return RANGE_IMPOSSIBLE;
	if (last < 0 || last >= length)
		last = length - 1;
	*ret_span = (struct span){.at = first, .len = last - first + 1};
	return RANGE_PART;
}
