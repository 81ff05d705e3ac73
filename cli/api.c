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
#define RETRY_MAX_S 60 /* who says to come later than that is not waited for */
#define BACK_OFF_S 16
#define STILL_MS 2000 /* without a byte either way: worth telling */
#define STALLED_S 120 /* then a large body is given up */

struct api {
	CURL *curl;
	char *server;
	char *auth; /* "Authorization: Bearer ..." or NULL */
	int64_t timeout_s;
	bool verbose, refused;
	void (*waits)(void *arg, const char *text);
	void *waits_arg;
};

/* ---- opening ---- */

/* The first line of the file, which only its owner should be able to read. */
static int read_token(struct api *api, const char *path, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(TOKEN_MAX);
	if (file_read(path, &text, err)) {
		err->status = err->status == ERR_NOT_FOUND ? ERR_UNAUTHORIZED : err->status;
		return err_in(err, "token file");
	}
	text.data = text.data ? text.data : calloc(1, 1);
	if (!text.data)
		return err_nomem(err);
	text.data[strcspn(text.data, "\r\n")] = 0;
	if (!text.data[0])
		return err_set(err, ERR_UNAUTHORIZED, "token file %s is empty", path);
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
	api->waits = options->waits;
	api->waits_arg = options->waits_arg;
	api->server = without_slash(options->server);
	api->curl = curl_easy_init();
	if (!api->server || !api->curl)
		return err_nomem(err);
	if (options->token_file && read_token(api, options->token_file, err))
		return -1;
	*ret_api = TAKE(api);
	return 0;
}

int api_clone(struct api **ret_api, const struct api *like, struct err *err)
{
	AUTO(api_close) struct api *api = calloc(1, sizeof(*api));
	if (!api)
		return err_nomem(err);
	api->timeout_s = like->timeout_s;
	api->verbose = like->verbose;
	api->waits = like->waits;
	api->waits_arg = like->waits_arg;
	api->server = strdup(like->server);
	api->auth = like->auth ? strdup(like->auth) : NULL;
	api->curl = curl_easy_init();
	if (!api->server || !api->curl || (like->auth && !api->auth))
		return err_nomem(err);
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
	const struct api *api;
	const struct api_request *request;
	struct api_reply *reply;
	const char *url;
	size_t sent; /* of the body */
	int64_t retry_after;
	int64_t moved, moved_ms; /* bytes either way, and when there were that many */
	bool told; /* that it waits */
};

/* why it is that we wait, and for how long at the most; once. */
static void tell(struct exchange *x, const char *why, int64_t most_s)
{
	char text[600];
	if (x->told || !x->api->waits)
		return;
	x->told = true;
	snprintf(text, sizeof(text), "%s; waiting up to %lld s%s", why, (long long)most_s,
		 x->request->patience_s ? "; once interrupted, the same command goes on where it was" : "");
	x->api->waits(x->api->waits_arg, text);
}

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

/* curl takes no more than was announced, though it asks for more. */
static size_t read_file(struct exchange *x, char *out, size_t want)
{
	const size_t left = (size_t)x->request->file_len - x->sent;
	const size_t got = fread(out, 1, want < left ? want : left, x->request->file);
	x->sent += got;
	return ferror(x->request->file) ? CURL_READFUNC_ABORT : got;
}

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	const struct api_request *q = x->request;
	size_t want = size * count;
	if (q->file)
		return read_file(x, out, want);
	if (want > q->len - x->sent)
		want = q->len - x->sent;
	memcpy(out, (const char *)q->bytes + x->sent, want);
	x->sent += want;
	return want;
}

/* Of the whole exchange; 0: a large body may take long, but not stand still. */
static int64_t limit_s(const struct api *api, const struct api_request *q)
{
	if (q->file || q->len > (1 << 20))
		return 0;
	return q->timeout_s ? q->timeout_s : api->timeout_s;
}

static int on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
		       curl_off_t ulnow)
{
	struct exchange *x = arg;
	const int64_t now = clock_monotonic_ms();
	char why[400];
	(void)dltotal;
	(void)ultotal;
	if (x->request->progress)
		x->request->progress(x->request->progress_arg, ulnow);
	if (x->moved != ulnow + dlnow) {
		x->moved = ulnow + dlnow;
		x->moved_ms = now;
	} else if (now - x->moved_ms >= STILL_MS) {
		const int64_t most = limit_s(x->api, x->request);
		snprintf(why, sizeof(why), "%s %s: no answer yet", x->request->method, x->url);
		tell(x, why, x->request->patience_s > most ? x->request->patience_s : most ? most : STALLED_S);
	}
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

static void set_callbacks(CURL *curl, struct exchange *x)
{
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, x);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
}

static int perform(struct api *api, struct exchange *x, struct err *err)
{
	const struct api_request *q = x->request;
	CURL *curl = api->curl;
	struct curl_slist *headers = request_headers(api, q);
	const int64_t limit = limit_s(api, q);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, x->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)limit);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, limit ? 0L : 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALLED_S);
	set_callbacks(curl, x);
	set_body(curl, q);
	x->moved = 0;
	x->moved_ms = clock_monotonic_ms();
	const CURLcode code = curl_easy_perform(curl);
	curl_slist_free_all(headers);
	if (code != CURLE_OK)
		return err_set(err, ERR_NETWORK, "%s %s: %s; is flotillad running there?", q->method,
			       x->url, curl_easy_strerror(code));
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

/* What came of it may come out better next time. */
static bool retriable(const struct api_request *q, bool broken, long code)
{
	if (!q->patience_s)
		return !broken && (code == 503 || code == 429) && !q->file;
	return broken || code == 429 || (code >= 502 && code <= 504);
}

/* Wait before the next try, of which broken says whether there was an answer; false when there is none. */
static bool wait_again(struct exchange *x, unsigned tries, int64_t started_ms, bool broken,
		       const struct err *err)
{
	char why[400];
	const int64_t patience = x->request->patience_s;
	const int64_t back_off = tries < 5 ? (int64_t)1 << (tries - 1) : BACK_OFF_S;
	const int64_t wait = x->retry_after > 0 ? x->retry_after : back_off;
	if (wait > RETRY_MAX_S)
		return false;
	if (patience ? clock_monotonic_ms() + 1000 * wait > started_ms + 1000 * patience
		     : tries >= TRIES)
		return false;
	if (broken)
		snprintf(why, sizeof(why), "%s", err->text);
	else
		snprintf(why, sizeof(why), "%s %s: the daemon is busy (%ld)", x->request->method, x->url,
			 x->reply->code);
	tell(x, why, patience ? patience : wait);
	clock_sleep_ms(1000 * wait);
	return true;
}

static int perform_patiently(struct api *api, struct exchange *x, struct err *err)
{
	const struct api_request *q = x->request;
	const int64_t started = clock_monotonic_ms();
	for (unsigned tries = 1;; tries++) {
		if (q->file && fseeko(q->file, (off_t)q->file_at, SEEK_SET))
			return err_sys(err, "cannot read what is sent");
		buf_reset(&x->reply->body);
		x->sent = 0;
		x->retry_after = 0;
		const int bad = perform(api, x, err);
		if (!retriable(q, bad, x->reply->code) || !wait_again(x, tries, started, bad, err))
			return bad;
	}
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
	struct exchange x = {.api = api, .request = &q, .reply = &reply, .url = url};
	int bad = perform_patiently(api, &x, err);
	api->refused = !bad && (reply.code == 401 || reply.code == 403);
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

bool api_refused(const struct api *api)
{
	return api->refused;
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
