#include "cli/api.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/args.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TOKEN_MAX 512
#define TRIES 5
#define RETRY_MAX_S 60

struct api {
	CURL *curl;
	char *server;
	char *auth; /* "Authorization: Bearer ..." or NULL */
	int64_t timeout_s;
	bool verbose;
};

/* ---- opening ---- */

/* The first line of the file, which only its owner should be able to read. */
static int read_token(struct api *api, const char *path, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(TOKEN_MAX);
	if (file_read(path, &text, err))
		return err_in(err, "token file");
	text.data = text.data ? text.data : calloc(1, 1);
	if (!text.data)
		return err_nomem(err);
	text.data[strcspn(text.data, "\r\n")] = 0;
	if (!text.data[0])
		return err_set(err, ERR_INVALID, "token file %s is empty", path);
	if (asprintf(&api->auth, "Authorization: Bearer %s", text.data) < 0) {
		api->auth = NULL;
		return err_nomem(err);
	}
	sodium_memzero(text.data, strlen(text.data));
	return 0;
}

static char *without_slash(const char *server)
{
	char *copy = strdup(server);
	for (size_t len = copy ? strlen(copy) : 0; len && copy[len - 1] == '/'; len--)
		copy[len - 1] = 0;
	return copy;
}

int api_open(struct api **ret_api, const struct api_options *options, struct err *err)
{
	if (strncmp(options->server, "http://", 7) && strncmp(options->server, "https://", 8))
		return err_set(err, ERR_INVALID,
			       "server: %s does not start with http:// or https://",
			       options->server);
	AUTO(api_close) struct api *api = calloc(1, sizeof(*api));
	if (!api)
		return err_nomem(err);
	api->timeout_s = options->timeout_s ? options->timeout_s : 30;
	api->verbose = options->verbose;
	api->server = without_slash(options->server);
	api->curl = curl_easy_init();
	if (!api->server || !api->curl)
		return err_nomem(err);
	if (options->token_file && read_token(api, options->token_file, err))
		return -1;
	*ret_api = TAKE(api);
	return 0;
}

void api_close(struct api *api)
{
	if (!api)
		return;
	if (api->auth)
		sodium_memzero(api->auth, strlen(api->auth));
	free(api->auth);
	free(api->server);
	if (api->curl)
		curl_easy_cleanup(api->curl);
	free(api);
}

/* ---- one exchange ---- */

struct exchange {
	const struct api_request *request;
	struct api_reply *reply;
	size_t sent; /* of request->bytes */
	int64_t retry_after;
};

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	buf_add(&x->reply->body, bytes, size * count);
	return x->reply->body.failed ? 0 : size * count;
}

static void copy_header(char *out, size_t room, const char *line, size_t len, const char *name)
{
	const size_t skip = strlen(name);
	if (len <= skip || strncasecmp(line, name, skip))
		return;
	while (len > skip && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	size_t from = skip;
	while (from < len && line[from] == ' ')
		from++;
	snprintf(out, room, "%.*s", (int)(len - from), line + from);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	char retry[32] = "";
	copy_header(x->reply->etag, sizeof(x->reply->etag), line, size * count, "ETag:");
	copy_header(x->reply->offset, sizeof(x->reply->offset), line, size * count,
		    "Upload-Offset:");
	copy_header(retry, sizeof(retry), line, size * count, "Retry-After:");
	if (retry[0])
		x->retry_after = strtoll(retry, NULL, 10);
	return size * count;
}

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	const struct api_request *q = x->request;
	size_t want = size * count;
	if (q->file)
		return fread(out, 1, want, q->file);
	if (want > q->len - x->sent)
		want = q->len - x->sent;
	memcpy(out, (const char *)q->bytes + x->sent, want);
	x->sent += want;
	return want;
}

static int on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
		       curl_off_t ulnow)
{
	const struct exchange *x = arg;
	(void)dltotal;
	(void)dlnow;
	(void)ultotal;
	x->request->progress(x->request->progress_arg, ulnow);
	return 0;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *line)
{
	struct curl_slist *more = line ? curl_slist_append(list, line) : NULL;
	return more ? more : list;
}

static struct curl_slist *request_headers(const struct api *api, const struct api_request *q)
{
	char key[128];
	struct curl_slist *list = add_header(NULL, api->auth);
	for (unsigned i = 0; i < COUNT_OF(q->headers) && q->headers[i]; i++)
		list = add_header(list, q->headers[i]);
	if (q->json)
		list = add_header(list, "Content-Type: application/json");
	else if (q->bytes || q->file)
		list = add_header(list, "Content-Type: application/octet-stream");
	if (q->idempotency) {
		snprintf(key, sizeof(key), "Idempotency-Key: %s", q->idempotency);
		list = add_header(list, key);
	}
	return add_header(list, "Expect:"); /* no 100-continue round trip */
}

static void set_body(CURL *curl, const struct api_request *q)
{
	if (q->bytes || q->file) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
				 (curl_off_t)(q->file ? q->file_len : (int64_t)q->len));
	} else if (!strcmp(q->method, "POST")) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
}

static int perform(struct api *api, struct exchange *x, const char *url, struct err *err)
{
	const struct api_request *q = x->request;
	CURL *curl = api->curl;
	struct curl_slist *headers = request_headers(api, q);
	const bool large = q->file || q->len > (1 << 20);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, x);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	/* A large body may take long, but not stand still. */
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, large ? 0L : (long)api->timeout_s);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, large ? 1L : 0L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 120L);
	if (q->progress) {
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
	}
	set_body(curl, q);
	const CURLcode code = curl_easy_perform(curl);
	curl_slist_free_all(headers);
	if (code != CURLE_OK)
		return err_set(err, ERR_NETWORK, "%s %s: %s; is flotillad running there?", q->method,
			       url, curl_easy_strerror(code));
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &x->reply->code);
	if (api->verbose)
		fprintf(stderr, "%s %s -> %ld\n", q->method, q->path, x->reply->code);
	return 0;
}

/* ---- problems ---- */

static enum status status_of_code(long code)
{
	static const struct {
		long code;
		enum status status;
	} table[] = {{400, ERR_INVALID},  {401, ERR_UNAUTHORIZED}, {403, ERR_DENIED},
		     {404, ERR_NOT_FOUND}, {409, ERR_CONFLICT},	   {412, ERR_STALE},
		     {413, ERR_TOO_LARGE}, {416, ERR_RANGE},	   {422, ERR_UNTRUSTED},
		     {428, ERR_MISSING_PRECONDITION},		   {429, ERR_QUOTA},
		     {503, ERR_BUSY},	   {507, ERR_FULL}};
	for (unsigned i = 0; i < COUNT_OF(table); i++)
		if (table[i].code == code)
			return table[i].status;
	return ERR_SYSTEM;
}

static int problem(const struct api_request *q, const struct api_reply *reply, struct err *err)
{
	struct err ignored;
	const char *detail = NULL, *id = NULL;
	json_auto_t *doc = json_parse(reply->body.data ? reply->body.data : "", reply->body.len,
				      "problem", &ignored);
	if (doc) {
		detail = json_string_value(json_object_get(doc, "detail"));
		id = json_string_value(json_object_get(doc, "request_id"));
	}
	const enum status status = status_of_code(reply->code);
	if (detail && status != ERR_SYSTEM)
		return err_set(err, status, "%s", detail);
	return err_set(err, status, "%s %s answered %ld%s%s%s%s", q->method, q->path, reply->code,
		       detail ? ": " : "", detail ? detail : "", id ? "; request " : "",
		       id ? id : "");
}

void api_reply_done(struct api_reply *reply)
{
	buf_done(&reply->body);
}

static bool retriable(const struct api_request *q, long code)
{
	return (code == 503 || code == 429) && !q->file;
}

int api_call(struct api *api, const struct api_request *request, struct api_reply *ret_reply,
	     struct err *err)
{
	char *url, *json = NULL;
	struct api_request q = *request;
	if (q.json) {
		q.bytes = json = json_text(q.json);
		q.len = json ? strlen(json) : 0;
	}
	if ((q.json && !json) || asprintf(&url, "%s%s", api->server, q.path) < 0) {
		free(json);
		return err_nomem(err);
	}
	struct api_reply reply = {.body = BUF_INIT(API_BODY_MAX)};
	struct exchange x = {.request = &q, .reply = &reply};
	int bad = perform(api, &x, url, err);
	for (unsigned i = 1; !bad && retriable(&q, reply.code) && i < TRIES; i++) {
		const int64_t wait = x.retry_after > 0 ? x.retry_after : (int64_t)1 << (i - 1);
		clock_sleep_ms(1000 * (wait < RETRY_MAX_S ? wait : RETRY_MAX_S));
		buf_reset(&reply.body);
		x = (struct exchange){.request = &q, .reply = &reply};
		bad = perform(api, &x, url, err);
	}
	if (!bad && reply.code >= 400)
		bad = problem(&q, &reply, err);
	free(url);
	free(json);
	if (bad)
		api_reply_done(&reply);
	else
		*ret_reply = reply;
	return bad;
}

static int take_json(struct api_reply *reply, json_t **ret, struct err *err)
{
	json_t *doc = NULL;
	int bad = 0;
	if (ret && reply->body.len) {
		doc = json_parse(reply->body.data, reply->body.len, "the daemon's reply", err);
		bad = doc ? 0 : -1;
	}
	api_reply_done(reply);
	if (!bad && ret)
		*ret = doc;
	return bad;
}

int api_get(struct api *api, const char *path, json_t **ret, struct err *err)
{
	return api_send(api, "GET", path, NULL, ret, err);
}

int api_send(struct api *api, const char *method, const char *path, const json_t *body,
	     json_t **ret, struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {.method = method, .path = path, .json = body};
	return api_call(api, &q, &reply, err) ? -1 : take_json(&reply, ret, err);
}

char *api_escape(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";
	char *out = malloc(3 * strlen(text) + 1), *at = out;
	for (; out && *text; text++) {
		if (strchr(plain, *text))
			*at++ = *text;
		else
			at += sprintf(at, "%%%02X", (unsigned char)*text);
	}
	if (out)
		*at = 0;
	return out;
}

int api_exit(const struct err *err)
{
	switch (err->status) {
	case ERR_UNAUTHORIZED:
	case ERR_DENIED:
		return EXIT_AUTH;
	case ERR_NOT_FOUND:
		return EXIT_NOT_FOUND;
	case ERR_CONFLICT:
	case ERR_STALE:
	case ERR_MISSING_PRECONDITION:
		return EXIT_CONFLICT;
	case ERR_NETWORK:
		return EXIT_UNREACHABLE;
	default:
		return EXIT_FAILED;
	}
}
