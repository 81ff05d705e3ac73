/* A path through the route table, and the conditional headers: first line the path, second an
 * If-None-Match, third a Range. */
#include "server/conditional.h"
#include "server/route.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nothing(struct request *rq, struct reply *reply, struct err *err)
{
	(void)rq;
	(void)reply;
	return err_set(err, ERR_NOT_FOUND, "nothing");
}

#define ROW(p) {GET, p, ROLE_ANYONE, nothing, .summary = "x"}

static const struct route rows[] = {
	ROW("/v1/c/{channel}/{class}/tuf/{file}"), ROW("/v1/c/{channel}/{class}/targets/{path*}"),
	ROW("/v1/deltas/{new}/{old}/{n}"),	   ROW("/{a}/{b}/{c}/{d}"),
	ROW("/{a*}"),				   ROW("/healthz"),
};

static void route(const char *path)
{
	static struct route_table *table;
	static struct request rq;
	struct route_match match;
	struct err err;

	if (!table && route_table_new(&table, rows, COUNT_OF(rows), LISTENER_ADMIN, &err) < 0)
		abort();
	memset(&rq, 0, sizeof(rq));
	route_find(table, GET, path, &rq, &match);
	if (match.route && match.malformed)
		abort();
	for (unsigned i = 0; match.route && i < REQUEST_PARAMS; i++)
		if (rq.params[i] && (rq.params[i] < rq.text ||
				     rq.params[i] + strlen(rq.params[i]) >=
					     rq.text + sizeof(rq.text)))
			abort();
}

static void conditions(const char *list, const char *range)
{
	struct span span = {0};

	etag_listed(list, "\"0123456789abcdef\"");
	if (range_parse(range, NULL, "\"x\"", 1000, &span) == RANGE_PART &&
	    (span.at < 0 || span.len < 1 || span.at + span.len > 1000))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *at = text;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	route(strsep(&at, "\n"));
	if (at) {
		const char *list = strsep(&at, "\n");

		conditions(list, at);
	}
	free(text);
	return 0;
}
