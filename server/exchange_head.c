/* What a request's head says, and whether it may go on. */
#include "server/exchange_internal.h"

#include "server/app.h"
#include "server/auth.h"
#include "server/host.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *exchange_header(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *exchange_query(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result keep_last(void *cls, enum MHD_ValueKind kind, const char *key,
				 const char *value)
{
	(void)kind;
	if (strcasecmp(key, "X-Forwarded-For") == 0)
		*(const char **)cls = value;
	return MHD_YES;
}

bool exchange_network(const struct exchange *x, struct network *ret_network)
{
	const struct proxies *proxies = &x->loop->app->proxies;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const char *forwarded = NULL; /* the last one: what was nearest to us wrote it */

	if (!info || !info->client_addr)
		return false;
	if (proxies->count)
		MHD_get_connection_values(x->connection, MHD_HEADER_KIND, keep_last, &forwarded);
	return client_network(proxies, info->client_addr, forwarded, ret_network);
}

/* RFC 9110 section 5.6.2: what a header's name is made of. */
static bool is_token(const char *name)
{
	const char *c = name;

	while (isalnum((unsigned char)*c) || (*c && strchr("-_!#$%&'*+.^`|~", *c)))
		c++;
	return c > name && !*c;
}

struct names {
	unsigned lengths; /* how many are Content-Length */
	bool broken;	  /* one is no token */
};

static enum MHD_Result look_at_name(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct names *names = cls;

	(void)kind;
	(void)value;
	names->lengths += strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
	names->broken |= !is_token(key);
	return MHD_YES;
}

/* What the library lets pass though a proxy may read it otherwise (RFC 9112 sections 5.1 and 6.3): a space
 * before a colon, two lengths, a length beside an encoding, another encoding than chunked.  *ret_len: -1
 * when chunked, or nobody knows where the body ends, 0 without one. */
static int length_read(struct exchange *x, int64_t *ret_len, struct err *err)
{
	const char *length = exchange_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
	const char *encoding = exchange_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	struct names names = {0};

	*ret_len = -1;
	MHD_get_connection_values(x->connection, MHD_HEADER_KIND, look_at_name, &names);
	if (names.broken)
		return err_set(err, ERR_INVALID, "a header's name has a character that none may have");
	if (encoding && strcasecmp(encoding, "chunked") != 0)
		return err_set(err, ERR_INVALID, "Transfer-Encoding: only chunked is taken");
	if (length && (encoding || names.lengths > 1 || !*length || strlen(length) > 18 ||
		       length[strspn(length, "0123456789")]))
		return err_set(err, ERR_INVALID, "send one Content-Length, or Transfer-Encoding");
	if (!encoding)
		*ret_len = length ? strtoll(length, NULL, 10) : 0;
	return 0;
}

static int body_limit(struct exchange *x, int64_t len, struct err *err)
{
	const struct route *route = x->route;

	x->max_body = route->max_body ? route->max_body : JSON_MAX;
	if (route->body == BODY_NONE)
		x->max_body = 0;
	if (len < 0 && route->body == BODY_NONE)
		return err_set(err, ERR_TOO_LARGE, "this request takes no body");
	if (len > x->max_body)
		return err_set(err, ERR_TOO_LARGE, "the body may have %lld bytes at the most",
			       (long long)x->max_body);
	return 0;
}

static int find_route(struct exchange *x, struct err *err)
{
	struct route_match match;
	char allow[ROUTE_ALLOW];

	route_find(x->loop->table, x->rq.method, x->rq.path, &x->rq, &match);
	x->route = match.route;
	if (match.route)
		return 0;
	if (match.malformed)
		return err_set(err, ERR_INVALID,
			       "the path has a broken percent escape or is not printable UTF-8");
	if (!match.allow)
		return err_set(err, ERR_NOT_FOUND, "there is nothing at this path");
	x->allow = match.allow;
	route_allow(match.allow, allow);
	return err_set(err, ERR_INVALID, "this path takes %s", allow);
}

/* What a token for some models may not do; {model} in a path is checked against them. */
static int scope_check(const struct exchange *x, struct err *err)
{
	const char *at = strstr(x->route->pattern, "{model}");
	unsigned place = 0;

	if (!x->rq.who.models)
		return 0;
	if (x->route->all_models)
		return err_set(err, ERR_DENIED,
			       "this concerns all models: ask with a token that is for all");
	if (!at)
		return 0;
	for (const char *p = x->route->pattern; p < at; p++)
		place += *p == '{';
	return request_may(&x->rq, x->rq.params[place], err);
}

static int authorize(struct exchange *x, struct err *err)
{
	if (x->route->role == ROLE_ANYONE)
		return 0;
	if (auth_check(x->loop->app->auth, exchange_header(x, MHD_HTTP_HEADER_AUTHORIZATION),
		       &x->rq.who, err) < 0)
		return -1;
	if (auth_role(&x->rq.who, x->route->role, err) < 0)
		return -1;
	return scope_check(x, err);
}

int exchange_head(struct exchange *x, int64_t *ret_len, struct err *err)
{
	if (length_read(x, ret_len, err) < 0)
		return -1;
	if (x->loop->guard_host &&
	    host_check(x->loop->app->config, exchange_header(x, MHD_HTTP_HEADER_HOST),
		       exchange_header(x, MHD_HTTP_HEADER_ORIGIN), err) < 0)
		return -1;
	if (find_route(x, err) < 0 || authorize(x, err) < 0)
		return -1;
	return body_limit(x, *ret_len, err);
}
