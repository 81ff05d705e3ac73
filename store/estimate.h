/* estimate.h -- what a file would take in the store, from encoding a sample of its chunks.  The same
 * file gives the same answer.
 * Memory: about 8 MiB.  Time: that of encoding ESTIMATE_SAMPLE bytes.  Threads: any. */
#ifndef STORE_ESTIMATE_H
#define STORE_ESTIMATE_H

#include "base/cc.h"
#include "base/err.h"
#include "store/source.h"

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_SAMPLE (64u << 20) /* raw bytes encoded at the most, and one chunk */

struct estimate {
	uint64_t sampled; /* raw bytes encoded */
	uint64_t stored;  /* bytes of all chunks as stored */
	uint64_t chunks;
	uint64_t overhead; /* bytes of recipe, map, and the packs' footers */
	bool whole;	   /* all was encoded: stored is no guess (equal chunks apart) */
};

int estimate_source(const struct source *source, struct estimate *ret_estimate,
		    struct err *err) CHECKED;

#endif
