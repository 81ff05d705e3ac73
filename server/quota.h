/* quota.h -- how much each of many may send: token buckets in a table of fixed size.
 * Whoever has a bucket may take burst at once and rate a second from then on, so in a time of T
 * seconds at most burst + rate * T: that caps what one source adds to a window.
 * The table holds QUOTA_SLOTS sources; of more, those that took least lately are forgotten and may
 * take their burst again.  Places are by a keyed hash, so that nobody chooses whose is forgotten.
 * Threads: any. */
#ifndef SERVER_QUOTA_H
#define SERVER_QUOTA_H

#include "base/cc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUOTA_SLOTS 65536 /* 1 MiB */

struct quota;

/* rate 0: no limit.  burst is at least what is taken at once.  NULL without memory. */
struct quota *quota_new(uint32_t rate, uint32_t burst) CHECKED;
void quota_free(struct quota *quota); /* NULL is fine */
DEFINE_AUTO(struct quota, quota_free)

/* Take count for the source named by the len bytes at name, at monotonic now_ms.  False: it has not
 * so many now, and nothing is taken.  No allocation. */
bool quota_take(struct quota *quota, const void *name, size_t len, uint32_t count, int64_t now_ms);

#endif
