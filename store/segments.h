/* segments.h -- the list of tensors a header names, while it is being read.  Bounded by
 * FORMAT_SEGMENTS_MAX and FORMAT_NAMES_MAX.
 * Threads: a struct segments belongs to one. */
#ifndef STORE_SEGMENTS_H
#define STORE_SEGMENTS_H

#include "base/cc.h"
#include "store/format.h"

#include <stdint.h>

#define SEGMENT_OPEN UINT64_MAX /* length unknown: up to the next tensor */

struct segments {
	struct segment *items; /* owned */
	uint32_t count, room;
	char *names; /* owned; each with its NUL */
	uint32_t names_len, names_room;
};

/* Append a tensor at offset at of the data section.  Empty ones are left out.  name need not end in
 * a NUL.  -1 when a limit or the memory is exhausted. */
int segments_add(struct segments *segments, const struct segment *segment, const char *name,
		 uint32_t name_len) CHECKED;
/* All are there: make offsets absolute, sort, close the open ones (the last is dropped), count the
 * bytes up to the next multiple of align as padding.  -1 if they overlap or end too far out. */
int segments_settle(struct segments *segments, uint64_t data_at, uint32_t align) CHECKED;
void segments_done(struct segments *segments); /* frees; empty and usable again */

#endif
