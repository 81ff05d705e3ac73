/* The default transport: libcurl, one kept-alive connection. */
#include "sdk/flotilla.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CONNECT_MS 15000L
#define SLOW_BYTES_S 64L /* slower than this for SLOW_S is standing still */
#define SLOW_S 60L

struct transfer {
	const struct flotilla_request *request;
	struct flotilla_response *response;
	int64_t received;
	int stopped; /* by the receiver or by max_bytes */
};

void *flotilla_curl_new(void)
{
	return curl_easy_init();
}

void flotilla_curl_free(void *curl)
{
	if (curl)
		curl_easy_cleanup(curl);
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	const size_t len = size * count;
	const int64_t left = t->request->max_bytes - t->received;
	const size_t part = (int64_t)len < left ? len : (size_t)left;
	t->received += (int64_t)part;
	if ((part && t->request->on_body && t->request->on_body(t->request->arg, bytes, part)) ||
	    part < len) {
		t->stopped = 1;
		return 0;
	}
	return len;
}

/* The value when line is the header name, else NULL. */
static const char *value_of(const char *line, size_t len, const char *name)
{
	const size_t skip = strlen(name);
	if (len <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
		return NULL;
	line += skip + 1;
	while (*line == ' ')
		line++;
	return line;
}

static void take_etag(struct flotilla_response *r, const char *value)
{
	size_t len = strcspn(value, "\r\n");
	if (len < sizeof(r->etag)) {
		memcpy(r->etag, value, len);
		r->etag[len] = 0;
	}
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct flotilla_response *r = t->response;
	char text[512];
	const size_t len = size * count;
	const size_t part = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
	const char *value;
	memcpy(text, line, part);
	text[part] = 0;
	if (!strncmp(text, "HTTP/", 5)) /* bodies of errors are told from those of answers */
		r->status = (int)strtol(text + strcspn(text, " "), NULL, 10);
	else if ((value = value_of(text, part, "ETag")))
		take_etag(r, value);
	else if ((value = value_of(text, part, "Content-Range")))
		r->range_from = strncmp(value, "bytes ", 6) ? -1 : strtoll(value + 6, NULL, 10);
	else if ((value = value_of(text, part, "Date")))
		r->date = (int64_t)curl_getdate(value, NULL);
	else if ((value = value_of(text, part, "Age")))
		r->age = strtoll(value, NULL, 10);
	else if ((value = value_of(text, part, "Retry-After")))
		r->retry_after = strtoll(value, NULL, 10);
	return len;
}

static struct curl_slist *header(struct curl_slist *list, const char *name, const char *value)
{
	char line[640];
	snprintf(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *more = curl_slist_append(list, line);
	return more ? more : list;
}

static struct curl_slist *headers_of(const struct flotilla_request *q)
{
	char bearer[512];
	struct curl_slist *list = header(NULL, "Accept-Encoding", "identity");
	if (q->etag)
		list = header(list, "If-None-Match", q->etag);
	if (q->bearer) {
		snprintf(bearer, sizeof(bearer), "Bearer %s", q->bearer);
		list = header(list, "Authorization", bearer);
	}
	if (q->post)
		list = header(list, "Content-Type", "application/json");
	return header(list, "Expect", "");
}

static void prepare(CURL *curl, const struct flotilla_request *q, struct transfer *t)
{
	char range[64];
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, q->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_S);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOW_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
	if (q->to >= 0) {
		snprintf(range, sizeof(range), "%lld-%lld", (long long)q->from, (long long)q->to);
		curl_easy_setopt(curl, CURLOPT_RANGE, range);
	}
	if (q->post) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->post);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->post_len);
	}
}

int flotilla_transport_curl(void *arg, const struct flotilla_request *request,
			    struct flotilla_response *response)
{
	CURL *curl = arg;
	struct transfer t = {request, response, 0, 0};
	long status = 0;
	struct curl_slist *headers = headers_of(request);
	prepare(curl, request, &t);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	const CURLcode code = curl_easy_perform(curl);
	curl_slist_free_all(headers);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	response->status = (int)status;
	/* A receiver that had enough is an answer: it knows why. */
	if (code == CURLE_OK || (t.stopped && status))
		return 0;
	snprintf(response->error, sizeof(response->error), "%s", curl_easy_strerror(code));
	return -1;
}
