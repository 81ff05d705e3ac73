#include "server/route.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENTS 12 /* of a pattern */

struct segment {
	const char *text; /* literal; unused for braces */
	size_t len;
	enum { LITERAL, BRACES, REST } kind;
};

struct row {
	const struct route *route;
	unsigned count;
	struct segment segments[SEGMENTS];
};

struct route_table {
	unsigned count;
	struct row rows[];
};

static int row_bad(const struct route *route, const char *what, struct err *err)
{
	return err_set(err, ERR_INVALID, "route %s %s: %s",
		       method_name(route->method), route->pattern ? route->pattern : "?", what);
}

/* One segment of a pattern, from text up to len. */
static int segment_read(struct segment *segment, const char *text, size_t len)
{
	*segment = (struct segment){.text = text, .len = len, .kind = LITERAL};
	if (len == 0)
		return -1;
	if (text[0] != '{')
		return memchr(text, '{', len) || memchr(text, '}', len) ? -1 : 0;
	if (len < 3 || text[len - 1] != '}')
		return -1;
	segment->kind = text[len - 2] == '*' ? REST : BRACES;
	return 0;
}

static int row_read(struct row *row, const struct route *route, struct err *err)
{
	unsigned braces = 0;
	const char *at = route->pattern;

	row->route = route;
	if (!at || at[0] != '/')
		return row_bad(route, "the pattern must begin with a slash", err);
	if (route->role == ROLE_UNSET)
		return row_bad(route, "it has no role", err);
	if (!route->handler || !route->summary)
		return row_bad(route, "it has no handler or no summary", err);
	if (route->body == BODY_APPEND && !route->begin)
		return row_bad(route, "BODY_APPEND needs .begin", err);
	while (*at) {
		size_t len = strcspn(++at, "/");
		struct segment *segment = &row->segments[row->count];

		if (row->count == SEGMENTS || segment_read(segment, at, len) < 0)
			return row_bad(route, "a segment is empty, broken or one too many", err);
		row->count++;
		braces += segment->kind != LITERAL;
		at += len;
		if (segment->kind == REST && *at)
			return row_bad(route, "{name*} must be the last segment", err);
	}
	if (braces > REQUEST_PARAMS)
		return row_bad(route, "too many braces", err);
	return 0;
}

/* Whether every path that fits one pattern fits the other. */
static bool rows_equal(const struct row *a, const struct row *b)
{
	if (a->route->method != b->route->method || a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		const struct segment *x = &a->segments[i], *y = &b->segments[i];

		if (x->kind != y->kind)
			return false;
		if (x->kind == LITERAL && (x->len != y->len || memcmp(x->text, y->text, x->len)))
			return false;
	}
	return true;
}

static int rows_distinct(const struct route_table *table, struct err *err)
{
	for (unsigned i = 0; i < table->count; i++)
		for (unsigned j = 0; j < i; j++)
			if (rows_equal(&table->rows[i], &table->rows[j]))
				return row_bad(table->rows[i].route, "it is there twice", err);
	return 0;
}

int route_table_new(struct route_table **ret_table, const struct route *rows, unsigned count,
		    unsigned listener, struct err *err)
{
	AUTO(route_table_free) struct route_table *table = NULL;

	table = calloc(1, sizeof(*table) + count * sizeof(struct row));
	if (!table)
		return err_nomem(err);
	for (unsigned i = 0; i < count; i++) {
		unsigned on = rows[i].listeners ? rows[i].listeners : LISTENER_ADMIN;

		if (!(on & listener))
			continue;
		if (row_read(&table->rows[table->count], &rows[i], err) < 0)
			return -1;
		table->count++;
	}
	if (rows_distinct(table, err) < 0)
		return -1;
	*ret_table = TAKE(table);
	return 0;
}

void route_table_free(struct route_table *table)
{
	free(table);
}

/* A path cut at its slashes; pointers into the raw path. */
struct cut {
	unsigned count;
	struct {
		const char *text;
		size_t len;
	} segments[SEGMENTS + 1];
};

/* Cuts at most SEGMENTS + 1 segments; the last then holds all the rest. */
static void path_cut(struct cut *cut, const char *path)
{
	const char *at = path;

	cut->count = 0;
	while (*at == '/' && cut->count <= SEGMENTS) {
		const char *end = strchrnul(++at, '/');

		cut->segments[cut->count].text = at;
		cut->segments[cut->count++].len = (size_t)(end - at);
		at = end;
	}
}

static bool row_fits(const struct row *row, const struct cut *cut)
{
	if (cut->count < row->count)
		return false;
	for (unsigned i = 0; i < row->count; i++) {
		const struct segment *segment = &row->segments[i];

		if (cut->segments[i].len == 0)
			return false;
		if (segment->kind == REST)
			return true;
		if (segment->kind == LITERAL &&
		    (segment->len != cut->segments[i].len ||
		     memcmp(segment->text, cut->segments[i].text, segment->len) != 0))
			return false;
	}
	return cut->count == row->count;
}

/* Whether a beats b: the first segment in which they differ is literal in a. */
static bool row_beats(const struct row *a, const struct row *b)
{
	for (unsigned i = 0; i < a->count && i < b->count; i++)
		if (a->segments[i].kind != b->segments[i].kind)
			return a->segments[i].kind < b->segments[i].kind;
	return false;
}

/* Decode the segments that fall into braces; each lands in rq->text, which is as large as the
 * longest path, because decoding never makes text longer. */
static int params_fill(const struct row *row, const struct cut *cut, struct request *rq)
{
	char *out = rq->text;
	unsigned n = 0;

	for (unsigned i = 0; i < row->count; i++) {
		const char *text = cut->segments[i].text;
		size_t len = cut->segments[i].len;

		if (row->segments[i].kind == LITERAL)
			continue;
		if (row->segments[i].kind == REST)
			len = strlen(text);
		if (percent_decode(out, text, len) < 0)
			return -1;
		if (row->segments[i].kind == BRACES && strchr(out, '/'))
			return -1;
		rq->params[n++] = out;
		out += strlen(out) + 1;
	}
	return 0;
}

void route_find(const struct route_table *table, enum method method, const char *path,
		struct request *rq, struct route_match *match)
{
	enum method wanted = method == HEAD ? GET : method;
	const struct row *best = NULL;
	struct cut cut;

	*match = (struct route_match){0};
	if (strnlen(path, REQUEST_PATH) == REQUEST_PATH)
		return;
	path_cut(&cut, path);
	for (unsigned i = 0; i < table->count; i++) {
		const struct row *row = &table->rows[i];

		if (!row_fits(row, &cut))
			continue;
		match->allow |= 1u << row->route->method;
		if (row->route->method == wanted && (!best || row_beats(row, best)))
			best = row;
	}
	if (match->allow & 1u << GET)
		match->allow |= 1u << HEAD;
	if (!best)
		return;
	if (params_fill(best, &cut, rq) < 0)
		match->malformed = true;
	else
		match->route = best->route;
}

void route_allow(unsigned allow, char out[static ROUTE_ALLOW])
{
	size_t len = 0;

	out[0] = '\0';
	for (enum method m = GET; m < METHOD_OTHER; m++) {
		const char *name = method_name(m);

		if (!(allow & 1u << m))
			continue;
		if (len) {
			memcpy(out + len, ", ", 3);
			len += 2;
		}
		memcpy(out + len, name, strlen(name) + 1);
		len += strlen(name);
	}
}
