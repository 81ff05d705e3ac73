/* sums.h -- what one commit adds to cells and their buckets, merged by key before any row is
 * touched: however many reports wait, each row is written once.
 * The room that was needed once is kept; whoever adds looks at sums_count() and writes in time.
 * Threads: a struct sums belongs to one. */
#ifndef TELEMETRY_SUMS_H
#define TELEMETRY_SUMS_H

#include "base/cc.h"
#include "telemetry/cells.h"

#include <stdint.h>

#define SUM_NO_BUCKET (-1)
#define SUM_SLICE(number) (-2 - (int32_t)(number)) /* of slices.h; and back: */
#define SUM_SLICE_NUMBER(bucket) ((uint32_t)(-2 - (bucket)))

struct sum_key {
	int64_t at, series;
	int32_t late;
	int32_t bucket; /* SUM_NO_BUCKET: the cell itself; below: SUM_SLICE() of it */
};
struct sum {
	struct sum_key key;
	struct cell cell; /* of a bucket: only n; of a slice: n, k, nn; at is not used */
};

struct sums;

struct sums *sums_new(void) CHECKED; /* NULL without memory */
void sums_free(struct sums *sums);   /* NULL is fine */
DEFINE_AUTO(struct sums, sums_free)

/* The sums of a key, zero at first; valid until the next call.  NULL without memory. */
struct cell *sums_at(struct sums *sums, const struct sum_key *key) CHECKED;
size_t sums_count(const struct sums *sums);
/* All of them in order of their keys, which is the order of the rows; then only sums_clear(). */
const struct sum *sums_sorted(struct sums *sums);
void sums_clear(struct sums *sums);

#endif
