/* between.h -- a delta between two files in memory, for tests and fuzz targets. */
#ifndef TESTS_SUPPORT_BETWEEN_H
#define TESTS_SUPPORT_BETWEEN_H

#include "store/delta.h"
#include "store/survey.h"

#include <string.h>

static inline int between_write(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err)
{
	struct buf *buf = arg;
	if (at + len > buf->len && !buf_grow(buf, at + len - buf->len))
		return buf_ok(buf, "the delta", err);
	if (at > buf->len)
		memset(buf->data + buf->len, 0, at - buf->len);
	memcpy(buf->data + at, bytes, len);
	if (at + len > buf->len)
		buf_grown(buf, at + len - buf->len);
	return 0;
}

/* Through out, which need not be one that keeps anything. */
static inline int between_to(const struct source *old, const struct source *new,
			     const struct sink_at *out, struct delta_stats *stats, struct err *err)
{
	AUTO(recipe_free) struct recipe *before = NULL;
	AUTO(recipe_free) struct recipe *after = NULL;
	if (survey_source(old, NULL, NULL, &before, err) || survey_source(new, NULL, NULL, &after, err))
		return -1;
	const struct delta_side from = {old, before}, to = {new, after};
	return delta_make(&from, &to, out, NULL, stats, err);
}

static inline int between(const struct source *old, const struct source *new, struct buf *delta,
			  struct delta_stats *stats, struct err *err)
{
	const struct sink_at out = {between_write, delta};
	return between_to(old, new, &out, stats, err);
}

#endif
