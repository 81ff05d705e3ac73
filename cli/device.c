#include "cli/device.h"

#include "base/clock.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TRIES 4
#define RETRY_MAX_S 30
#define PROBLEM_MAX ((int64_t)64 << 10) /* bytes of another answer than 200 */

struct device {
	CURL *curl;
	char *url;
	bool verbose;
};

int device_open(struct device **ret_device, const char *url, bool verbose, struct err *err)
{
	if (strncmp(url, "http://", 7) && strncmp(url, "https://", 8))
		return err_set(err, ERR_INVALID, "%s does not start with http:// or https://", url);
	AUTO(device_close) struct device *device = calloc(1, sizeof(*device));
	if (!device)
		return err_nomem(err);
	device->curl = curl_easy_init();
	device->url = strdup(url);
	device->verbose = verbose;
	if (!device->curl || !device->url)
		return err_nomem(err);
	for (size_t len = strlen(device->url); len && device->url[len - 1] == '/'; len--)
		device->url[len - 1] = 0;
	*ret_device = TAKE(device);
	return 0;
}

void device_close(struct device *device)
{
	if (!device)
		return;
	if (device->curl)
		curl_easy_cleanup(device->curl);
	free(device->url);
	free(device);
}

/* ---- one transfer ---- */

struct transfer {
	CURL *curl;
	const struct device_get *get;
	struct digest_ctx *digest;
	struct device_reply reply;
	long code;
	int64_t retry_after, problem; /* problem: bytes of its text */
	bool refused; /* by sink or max, with err */
	struct err *err;
};

/* A problem's text, which nobody reads, has an end. */
static size_t on_problem(struct transfer *t, size_t len)
{
	t->problem += (int64_t)len;
	if (t->problem <= PROBLEM_MAX)
		return len;
	err_set(t->err, ERR_TOO_LARGE, "%s: %ld with more than %lld bytes", t->get->path, t->code,
		(long long)PROBLEM_MAX);
	t->refused = true;
	return 0;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	const size_t len = size * count;
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->code);
	if (t->code != 200)
		return on_problem(t, len);
	t->reply.len += (int64_t)len;
	if (t->reply.len > t->get->max) {
		err_set(t->err, ERR_TOO_LARGE, "%s: more than %lld bytes", t->get->path,
			(long long)t->get->max);
		t->refused = true;
	} else if (t->get->sink.write(t->get->sink.arg, bytes, len, t->err) < 0) {
		t->refused = true;
	}
	if (t->refused)
		return 0;
	digest_add(t->digest, bytes, len);
	if (t->get->progress)
		t->get->progress(t->get->progress_arg, t->reply.len);
	return len;
}

static void take(char *out, size_t room, const char *line, size_t len, const char *name)
{
	const size_t skip = strlen(name);
	if (len <= skip || strncasecmp(line, name, skip))
		return;
	size_t from = skip;
	while (from < len && line[from] == ' ')
		from++;
	while (len > from && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	snprintf(out, room, "%.*s", (int)(len - from), line + from);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	char retry[24] = "";
	take(retry, sizeof(retry), line, size * count, "Retry-After:");
	if (retry[0])
		t->retry_after = strtoll(retry, NULL, 10);
	return size * count;
}

static void prepare(struct device *device, struct transfer *t, const char *url)
{
	CURL *curl = device->curl;
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	/* It may take long, but not stand still. */
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
}

/* 0 with a code, or -1 with err; t->refused: trying again is of no use. */
static int transfer_once(struct device *device, struct transfer *t, const char *url,
			 struct err *err)
{
	t->reply = (struct device_reply){0};
	t->retry_after = 0;
	t->problem = 0;
	digest_again(t->digest);
	if (t->get->begin && t->get->begin(t->get->arg, err)) {
		t->refused = true;
		return -1;
	}
	prepare(device, t, url);
	const CURLcode code = curl_easy_perform(device->curl);
	if (t->refused)
		return -1;
	if (code != CURLE_OK)
		return err_set(err, ERR_NETWORK, "%s: %s", url, curl_easy_strerror(code));
	curl_easy_getinfo(device->curl, CURLINFO_RESPONSE_CODE, &t->code);
	if (device->verbose)
		fprintf(stderr, "GET %s -> %ld\n", t->get->path, t->code);
	return 0;
}

static int transfer_all(struct device *device, struct transfer *t, const char *url,
			struct err *err)
{
	for (unsigned i = 1;; i++) {
		const int bad = transfer_once(device, t, url, err);
		const bool again = bad ? !t->refused : t->code == 429 || t->code >= 500;
		if (!again || i == TRIES)
			return bad;
		const int64_t wait = t->retry_after > 0 ? t->retry_after : (int64_t)1 << (i - 1);
		clock_sleep_ms(1000 * (wait < RETRY_MAX_S ? wait : RETRY_MAX_S));
	}
}

int device_get(struct device *device, const struct device_get *get, struct device_reply *ret_reply,
	       struct err *err)
{
	AUTO(digest_free) struct digest_ctx *digest = digest_begin();
	struct transfer t = {
		.curl = device->curl, .get = get, .digest = digest, .err = err};
	char *url;
	if (!digest || asprintf(&url, "%s%s", device->url, get->path) < 0)
		return err_nomem(err);
	const int bad = transfer_all(device, &t, url, err);
	free(url);
	if (bad)
		return -1;
	if (t.code != 200 && t.code != 404)
		return err_set(err, t.code >= 500 ? ERR_NETWORK : ERR_CORRUPT,
			       "%s: the device listener answered %ld", get->path, t.code);
	t.reply.found = t.code == 200;
	digest_end(digest, &t.reply.sha256);
	*ret_reply = t.reply;
	return 0;
}
