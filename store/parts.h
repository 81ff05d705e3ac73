/* parts.h -- the parts of a delta (delta.h) as blobs.  Part n of the delta to the recipe new from the
 * recipe old is GET /v1/deltas/{new}/{old}/{n}; in the store it has the name part_name() tells, so that
 * blobs are all named alike.
 * Threads: a struct parts belongs to one. */
#ifndef STORE_PARTS_H
#define STORE_PARTS_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"
#include "store/source.h"

#include <stdbool.h>
#include <stdint.h>

/* SHA-256 of "flotilla/delta", a NUL, new, old, and n as a little-endian u32. */
void part_name(const struct digest *new, const struct digest *old, uint32_t n,
	       struct digest *ret_name);
/* Of a delta of that many bytes. */
uint32_t part_count(uint64_t bytes);
/* All parts of such a delta are there. */
bool parts_exist(struct blobs *blobs, const struct digest *new, const struct digest *old,
		 uint64_t bytes);
/* Remove the part of that name; absent is fine. */
int part_remove(struct blobs *blobs, const struct digest *name, struct err *err) CHECKED;

struct parts; /* opaque; a delta on its way into the store */

/* Of at most limit bytes.  blobs, new and old are borrowed. */
int parts_new(struct parts **ret_parts, struct blobs *blobs, const struct digest *new,
	      const struct digest *old, uint64_t limit, struct err *err) CHECKED;
/* Removes what was published, unless finished.  NULL is fine. */
void parts_free(struct parts *parts);
DEFINE_AUTO(struct parts, parts_free)

/* For delta_make(): rising offsets, but for the head's.  Each part is published when the next begins.
 * ERR_TOO_LARGE beyond the limit, ERR_FULL without room on the disk. */
struct sink_at parts_sink(struct parts *parts);
bool parts_too_large(const struct parts *parts); /* it was the limit */
/* The delta has that many bytes: publish the last part, and the first. */
int parts_finish(struct parts *parts, uint64_t bytes, struct err *err) CHECKED;

#endif
