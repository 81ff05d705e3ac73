/* conditional.h -- If-None-Match, If-Range and single byte ranges (RFC 9110 sections 13 and 14).
 * Threads: pure. */
#ifndef SERVER_CONDITIONAL_H
#define SERVER_CONDITIONAL_H

#include "base/cc.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether an If-None-Match list (NULL: absent) names etag, which is strong and quoted; "*" names
 * everything, weak tags compare by their opaque part. */
bool etag_listed(const char *list, const char *etag);

struct span {
	int64_t at, len;
};

enum range_answer {
	RANGE_WHOLE,	 /* 200: no range, one we do not serve (several, other units, broken), or
			    If-Range does not name etag */
	RANGE_PART,	 /* 206: *ret_span */
	RANGE_IMPOSSIBLE /* 416 */
};

/* What a Range header (NULL: absent) asks of length bytes.  if_range: that header or NULL; dates
 * never match, since we send none. */
enum range_answer range_parse(const char *range, const char *if_range, const char *etag,
			      int64_t length, struct span *ret_span);

#endif
