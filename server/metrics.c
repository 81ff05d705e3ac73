#include "server/metrics.h"

#include "server/route.h"

#include <stdlib.h>

struct metrics {
	unsigned loops;
	struct loop_counters *blocks;
};

struct metrics *metrics_new(unsigned loops)
{
	AUTO(metrics_free) struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (!metrics)
		return NULL;
	metrics->loops = loops;
	metrics->blocks = calloc(loops, sizeof(*metrics->blocks));
	return metrics->blocks ? TAKE(metrics) : NULL;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	free(metrics->blocks);
	free(metrics);
}

struct loop_counters *metrics_loop(struct metrics *metrics, unsigned loop)
{
	return &metrics->blocks[loop];
}

/* Sum over the blocks of what lies at the same place as counter in the first. */
static uint64_t sum(const struct metrics *metrics, const uint64_t *counter)
{
	size_t at = (size_t)(counter - (const uint64_t *)(const void *)metrics->blocks);
	uint64_t total = 0;

	for (unsigned i = 0; i < metrics->loops; i++) {
		const uint64_t *block = (const uint64_t *)(const void *)&metrics->blocks[i];

		total += __atomic_load_n(block + at, __ATOMIC_RELAXED);
	}
	return total;
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void answers_add(struct buf *out, const struct metrics *metrics, const struct route *rows,
			unsigned count)
{
	head(out, "flotilla_http_answers_total", "counter",
	     "Requests by route and class of answer; 0xx: closed without one");
	for (unsigned r = 0; r <= count && r < METRIC_ROUTES; r++) {
		for (unsigned c = 0; c < METRIC_CODES; c++) {
			uint64_t n = sum(metrics, &metrics->blocks[0].answers[r][c]);

			if (!n)
				continue;
			buf_addf(out,
				 "flotilla_http_answers_total{method=\"%s\",route=\"%s\","
				 "code=\"%uxx\"} %llu\n",
				 r ? method_name(rows[r - 1].method) : "",
				 r ? rows[r - 1].pattern : "", c, (unsigned long long)n);
		}
	}
}

void metrics_value(struct buf *out, const char *name, const char *type, const char *help,
		   double value)
{
	head(out, name, type, help);
	buf_addf(out, "%s %.15g\n", name, value);
}

void metrics_text(struct metrics *metrics, const struct route *rows, unsigned count,
		  struct buf *out)
{
	const struct loop_counters *first = &metrics->blocks[0];

	answers_add(out, metrics, rows, count);
	metrics_value(out, "flotilla_http_connections_total", "counter", "Connections opened",
		      (double)sum(metrics, &first->connections));
	metrics_value(out, "flotilla_http_body_in_bytes_total", "counter",
		      "Bytes of request bodies", (double)sum(metrics, &first->body_in));
	metrics_value(out, "flotilla_http_body_out_bytes_total", "counter",
		      "Bytes of answers' bodies", (double)sum(metrics, &first->body_out));
}
