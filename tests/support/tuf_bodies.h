/* tuf_bodies.h -- the bodies of timestamps and snapshots as JSON, for tests that change them. */
#ifndef TESTS_SUPPORT_TUF_BODIES_H
#define TESTS_SUPPORT_TUF_BODIES_H

#include "base/buf.h"
#include "base/json.h"
#include "manifest/tuf_build.h"

/* NULL: *err says why. */
static inline json_t *timestamp_body(int64_t version, int64_t expires,
				     const struct tuf_meta *snapshot, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	if (tuf_timestamp_text(version, expires, snapshot, &text, err))
		return NULL;
	return json_parse(text.data, text.len, "timestamp", err);
}

static inline json_t *snapshot_body(int64_t version, int64_t expires,
				    const struct tuf_meta *targets, const struct tuf_meta *rules,
				    struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	if (tuf_snapshot_text(version, expires, targets, rules, &text, err))
		return NULL;
	return json_parse(text.data, text.len, "snapshot", err);
}

#endif
