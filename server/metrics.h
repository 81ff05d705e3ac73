/* metrics.h -- counters of the loops and the Prometheus text (exposition format 0.0.4).
 * Each loop writes its own block with plain relaxed stores; a scrape adds the blocks up.
 * Threads: a block has one writer; metrics_text() from any. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "base/buf.h"
#include "base/cc.h"

#include <stdint.h>

struct metrics;
struct route;

#define METRIC_ROUTES 128
#define METRIC_CODES 6 /* by hundreds; 0: closed without an answer */

struct loop_counters {
	uint64_t answers[METRIC_ROUTES][METRIC_CODES]; /* [0]: no route */
	uint64_t body_in, body_out;		       /* bytes */
	uint64_t connections;			       /* opened */
};

/* Blocks for loops; NULL without memory. */
struct metrics *metrics_new(unsigned loops) CHECKED;
void metrics_free(struct metrics *metrics); /* NULL is fine */
DEFINE_AUTO(struct metrics, metrics_free)
struct loop_counters *metrics_loop(struct metrics *metrics, unsigned loop);

/* By the block's one writer. */
static inline void metrics_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The loops' counters as text, appended to out.  rows: what the blocks' first index minus one
 * means. */
void metrics_text(struct metrics *metrics, const struct route *rows, unsigned count,
		  struct buf *out);
/* One more metric without labels; type is "counter" or "gauge". */
void metrics_value(struct buf *out, const char *name, const char *type, const char *help,
		   double value);

#endif
