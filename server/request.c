#include "server/request.h"

#include "base/cc.h"
#include "base/utf8.h"
#include "server/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const method_names[] = {
	[GET] = "GET",	   [HEAD] = "HEAD",	[POST] = "POST",	 [PUT] = "PUT",
	[PATCH] = "PATCH", [DELETE] = "DELETE", [METHOD_OTHER] = "OTHER",
};

const char *method_name(enum method method)
{
	return method_names[method];
}

enum method method_parse(const char *text)
{
	for (enum method m = GET; m < METHOD_OTHER; m++)
		if (strcmp(text, method_names[m]) == 0)
			return m;
	return METHOD_OTHER;
}

static const char *const role_names[] = {
	[ROLE_UNSET] = "unset",		[ROLE_ANYONE] = "anyone",     [ROLE_VIEWER] = "viewer",
	[ROLE_PUBLISHER] = "publisher", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin",
	[ROLE_RELAY] = "relay",
};

const char *role_name(enum role role)
{
	return role_names[role];
}

int role_parse(enum role *ret_role, const char *text)
{
	for (enum role r = ROLE_VIEWER; r <= ROLE_RELAY; r++) {
		if (strcmp(text, role_names[r]) != 0)
			continue;
		*ret_role = r;
		return 0;
	}
	return -1;
}

static const char *list_find(const char *const *list, const char *name, bool any_case)
{
	for (; list && list[0] && list[1]; list += 2)
		if ((any_case ? strcasecmp : strcmp)(list[0], name) == 0)
			return list[1];
	return NULL;
}

const char *request_header(const struct request *rq, const char *name)
{
	if (rq->exchange)
		return exchange_header(rq->exchange, name);
	return list_find(rq->test_headers, name, true);
}

int request_query_text(struct request *rq, const char *name, const char **ret_value,
		       struct err *err)
{
	const char *raw = rq->exchange ? exchange_query(rq->exchange, name)
				       : list_find(rq->test_query, name, false);
	char *out;

	if (!raw)
		return 0;
	if (strlen(raw) >= REQUEST_PATH)
		return err_set(err, ERR_INVALID, "query: %s: longer than %d bytes", name,
			       REQUEST_PATH - 1);
	out = arena_alloc(rq->arena, strlen(raw) + 1);
	if (!out)
		return err_nomem(err);
	if (percent_decode(out, raw, strlen(raw)) < 0)
		return err_set(err, ERR_INVALID,
			       "query: %s: a broken percent escape, or not printable UTF-8", name);
	*ret_value = out;
	return 0;
}

const char *request_query(struct request *rq, const char *name)
{
	const char *value = NULL;
	struct err ignored;

	return request_query_text(rq, name, &value, &ignored) < 0 ? NULL : value;
}

/* A whole decimal integer; -1 otherwise. */
static int integer_parse(const char *text, int64_t *ret_value)
{
	char *end = NULL;
	long long value;

	if (strspn(text, "-0123456789") != strlen(text) || !*text)
		return -1;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || *end)
		return -1;
	*ret_value = value;
	return 0;
}

int request_query_int(struct request *rq, const char *name, int64_t fallback, int64_t min,
		      int64_t max, int64_t *ret_value, struct err *err)
{
	const char *text = NULL;
	int64_t value = fallback;

	if (request_query_text(rq, name, &text, err) < 0)
		return -1;
	if (text && (integer_parse(text, &value) < 0 || value < min || value > max))
		return err_set(err, ERR_INVALID,
			       "query: %s: give a whole number from %lld to %lld", name,
			       (long long)min, (long long)max);
	*ret_value = value;
	return 0;
}

int request_page(struct request *rq, int64_t *ret_limit, const char **ret_after, struct err *err)
{
	const char *after = NULL;

	if (request_query_text(rq, "after", &after, err) < 0 ||
	    request_query_int(rq, "limit", 100, 1, 1000, ret_limit, err) < 0)
		return -1;
	*ret_after = after;
	return 0;
}

int request_page_seq(struct request *rq, int64_t *ret_limit, int64_t *ret_after, struct err *err)
{
	int64_t after;

	if (request_query_int(rq, "after", 0, 0, INT64_MAX, &after, err) < 0 ||
	    request_query_int(rq, "limit", 100, 1, 1000, ret_limit, err) < 0)
		return -1;
	*ret_after = after;
	return 0;
}

int request_if_match(struct request *rq, int64_t *ret_version, struct err *err)
{
	const char *text = request_header(rq, "If-Match");
	char digits[24];
	size_t len = text ? strlen(text) : 0;
	int64_t version;

	if (!text)
		return err_set(err, ERR_MISSING_PRECONDITION,
			       "If-Match is required: send the ETag that reading this gave");
	if (strcmp(text, "*") == 0) {
		*ret_version = -1;
		return 0;
	}
	if (len < 4 || len > sizeof(digits) || strncmp(text, "\"v", 2) != 0 ||
	    text[len - 1] != '"')
		return err_set(err, ERR_INVALID,
			       "If-Match: send one ETag as it was given, e.g. \"v12\"");
	memcpy(digits, text + 2, len - 3);
	digits[len - 3] = '\0';
	if (digits[0] == '-' || integer_parse(digits, &version) < 0)
		return err_set(err, ERR_INVALID,
			       "If-Match: send one ETag as it was given, e.g. \"v12\"");
	*ret_version = version;
	return 0;
}

int request_may(const struct request *rq, const char *model, struct err *err)
{
	const char *at = rq->who.models;
	size_t len = strlen(model);

	if (!at)
		return 0;
	while (len && (at = strstr(at, model)) != NULL) {
		if (at[-1] == '\n' && at[len] == '\n')
			return 0;
		at++;
	}
	return err_set(err, ERR_DENIED, "model %s: this token is not for it", model);
}

int request_body(const struct request *rq, json_t **ret_body, struct err *err)
{
	if (!rq->body)
		return err_set(err, ERR_INVALID, "the request needs a JSON object as its body");
	*ret_body = rq->body;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Well-formed UTF-8 without control characters. */
static int text_ok(const char *text, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t step = utf8_step(text + at, len - at);

		if (step == 0 || (unsigned char)text[at] < 0x20 || text[at] == 0x7f)
			return -1;
		at += step;
	}
	return 0;
}

int percent_decode(char *out, const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int high, low;

		if (text[i] != '%') {
			out[n++] = text[i];
			continue;
		}
		if (len - i < 3)
			return -1;
		high = hex_digit(text[i + 1]);
		low = hex_digit(text[i + 2]);
		if (high < 0 || low < 0 || (high | low) == 0)
			return -1;
		out[n++] = (char)(high << 4 | low);
		i += 2;
	}
	out[n] = '\0';
	return text_ok(out, n);
}
