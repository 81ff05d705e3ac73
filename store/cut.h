/* cut.h -- where a file's chunks end.  Tensors are cut from their own start into pieces of 1 MiB
 * (rounded down to whole blocks of the element type); what lies before the first tensor by FastCDC
 * around 64 KiB, everything else -- gaps, tails, files of unknown format -- by FastCDC around
 * 256 KiB (Xia et al., USENIX ATC 2016; parameters and table in FORMAT.md).
 * Streaming: bytes go in as they come and are not kept; the ends depend on the bytes alone, not on
 * how they were dealt out, so the server and the CLI cut alike.
 * Memory: below 4 MiB.  Threads: a struct cutter belongs to one. */
#ifndef STORE_CUT_H
#define STORE_CUT_H

#include "base/cc.h"
#include "store/format.h"

#include <stdbool.h>
#include <stdint.h>

#define CUT_PIECE (1u << 20)			  /* a tensor's pieces, before rounding */
#define CUT_MAX (CUT_PIECE + FORMAT_ALIGN_MAX)	  /* no chunk is longer: room for callers */

struct cut {
	uint32_t len;  /* bytes of the chunk that ended, 1..CUT_MAX */
	uint8_t type;  /* enum element: what is in it */
};

struct cutter; /* opaque */

struct cutter *cutter_new(void) CHECKED; /* NULL without memory */
void cutter_free(struct cutter *cutter); /* NULL is fine */
DEFINE_AUTO(struct cutter, cutter_free)

/* Take some of the file's next len bytes (len > 0); returns how many were taken, at least 1.  They
 * belong to the current chunk, and *ret_ended tells whether it ended with the last of them; then
 * *ret_cut describes it.  Call again with the rest:
 *
 *	for (; len; p += n, len -= n) {
 *		n = cutter_take(cutter, p, len, &ended, &cut);
 *		memcpy(chunk + have, p, n), have += n;		(chunk has room for CUT_MAX)
 *		if (ended)
 *			... chunk is whole, cut.len == have; have = 0;
 *	}
 */
size_t cutter_take(struct cutter *cutter, const void *bytes, size_t len, bool *ret_ended,
		   struct cut *ret_cut) CHECKED;
/* The file is over: true, with *ret_cut, when a last chunk was open.  No cutter_take() after. */
bool cutter_end(struct cutter *cutter, struct cut *ret_cut) CHECKED;

/* What the file turned out to be; final after cutter_end(). */
enum format_id cutter_format(const struct cutter *cutter);
/* Bytes taken so far. */
uint64_t cutter_at(const struct cutter *cutter);

#endif
