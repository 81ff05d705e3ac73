/* Drives a real listener on a free loopback port with a table of its own. */
#include "base/buf.h"
#include "base/file.h"
#include "server/app.h"
#include "server/config.h"
#include "server/feed.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/share.h"
#include "server/workers.h"

#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Handlers. ---- */

static int echo(struct request *rq, struct reply *reply, struct err *err)
{
	const char *q = NULL;
	int64_t limit, after;

	if (request_query_text(rq, "q", &q, err) < 0 ||
	    request_page_seq(rq, &limit, &after, err) < 0)
		return -1;
	reply_etag(reply, 7);
	return reply_json(reply, 200,
			  json_pack("{s:s?, s:s?, s:I, s:I, s:O?, s:s}", "name", rq->params[0],
				    "q", q, "limit", (json_int_t)limit, "after",
				    (json_int_t)after, "body", rq->body, "id", rq->id),
			  err);
}

static int paged(struct request *rq, struct reply *reply, struct err *err)
{
	return reply_list(reply, rq, json_pack("[i]", 1), "a b", err);
}

static int spooled(struct request *rq, struct reply *reply, struct err *err)
{
	char first[6] = {0};

	if (file_pread_all(rq->body_fd, first, 5, 0, err) < 0)
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:I, s:s}", "len", (json_int_t)rq->body_len, "first", first),
			  err);
}

static char append_path[300];

static int append_begin(struct request *rq, int *ret_fd, int64_t *max_body, struct err *err)
{
	if (request_header(rq, "X-Refuse"))
		return err_set(err, ERR_CONFLICT, "refused by the header");
	*max_body = 1000000;
	*ret_fd = open(append_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? err_sys(err, "append") : 0;
}

static int append(struct request *rq, struct reply *reply, struct err *err)
{
	char text[32];

	(void)err;
	snprintf(text, sizeof(text), "%lld", (long long)rq->body_len);
	reply_header(reply, "Upload-Offset", text);
	return reply_empty(reply, 204);
}

static int fails(struct request *rq, struct reply *reply, struct err *err)
{
	if (strcmp(rq->params[0], "late") == 0) {
		reply_header(reply, "Cache-Control", "public, max-age=31536000, immutable");
		reply_header(reply, "Content-Encoding", "zstd");
		return err_set(err, ERR_BUSY, "not now");
	}
	if (strcmp(rq->params[0], "stale") == 0)
		return err_set(err, ERR_STALE, "changed meanwhile: read it again");
	return err_set(err, ERR_CORRUPT, "secret inside");
}

static int match(struct request *rq, struct reply *reply, struct err *err)
{
	int64_t version;

	if (request_if_match(rq, &version, err) < 0)
		return -1;
	return reply_json(reply, 200, json_pack("{s:I}", "version", (json_int_t)version), err);
}

static int on_loop(struct request *rq, struct reply *reply, struct err *err)
{
	char *bytes;
	size_t len;

	exchange_body(rq->exchange, &bytes, &len);
	return reply_bytes(reply, 200, "text/plain", bytes, len, err);
}

static atomic_int begun, dropped, finished;

static void later_drop(void *arg)
{
	(void)arg;
	atomic_fetch_add(&dropped, 1);
}

static int later_then(struct request *rq, struct reply *reply, struct err *err)
{
	(void)err;
	(void)rq;
	atomic_fetch_add(&finished, 1);
	return reply_empty(reply, 202);
}

static void *later_thread(void *arg)
{
	usleep(50000);
	exchange_resume(arg);
	return NULL;
}

static int later(struct request *rq, struct reply *reply, struct err *err)
{
	pthread_t thread;

	(void)reply;
	atomic_fetch_add(&begun, 1);
	if (exchange_suspend(rq->exchange, later_then, later_drop, NULL, err) < 0)
		return -1;
	pthread_create(&thread, NULL, later_thread, rq->exchange);
	pthread_detach(thread);
	return 0;
}

static int unchanged(struct request *rq, struct reply *reply, struct err *err)
{
	(void)rq;
	(void)err;
	reply_etag(reply, 3);
	return reply_empty(reply, 304);
}

static int file(struct request *rq, struct reply *reply, struct err *err)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)rq;
	(void)err;
	reply_file(reply, 200, "application/octet-stream", fd, 1, 3);
	return 0;
}

/* Three pieces of 100,000 bytes, the last of them broken when the path says so. */
struct pieces {
	int given;
	bool broken;
};

static int pieces_fill(void *cls, struct db *db, struct buf *piece, struct err *err)
{
	struct pieces *pieces = cls;
	char *bytes;

	(void)db;
	if (pieces->given == 3)
		return 0;
	if (pieces->given == 2 && pieces->broken)
		return err_set(err, ERR_CORRUPT, "broken on purpose");
	bytes = buf_grow(piece, 100000);
	if (!bytes)
		return err_nomem(err);
	memset(bytes, 'a' + pieces->given++, 100000);
	buf_grown(piece, 100000);
	return 0;
}

static int fed(struct request *rq, struct reply *reply, struct err *err)
{
	struct pieces *pieces = calloc(1, sizeof(*pieces));
	const struct feed_source source = {
		.cls = pieces,
		.fill = pieces_fill,
		.free = free,
		.piece_max = 100000,
		.length = strcmp(rq->params[0], "chunked") == 0 ? -1 : 300000};

	pieces->broken = strcmp(rq->params[0], "broken") == 0;
	return feed_reply(reply, rq, 200, "application/octet-stream", &source, err);
}

#define ROW(m, p, h, ...) {m, p, ROLE_ANYONE, h, __VA_ARGS__ __VA_OPT__(,) .summary = "x"}

static const struct route rows[] = {
	ROW(GET, "/echo/{name}", echo),
	ROW(POST, "/echo/{name}", echo, BODY_MAYBE, 1000),
	ROW(PUT, "/json", echo, BODY_JSON, 1000),
	ROW(GET, "/paged", paged),
	ROW(PUT, "/spool", spooled, BODY_SPOOL, 300000),
	ROW(PATCH, "/append", append, BODY_APPEND, 1 << 30, append_begin),
	ROW(GET, "/fails/{how}", fails),
	ROW(GET, "/match", match),
	ROW(POST, "/loop", on_loop, BODY_MEMORY, 64, .where = ON_LOOP),
	ROW(GET, "/later", later, .where = ON_LOOP),
	ROW(GET, "/file", file),
	ROW(GET, "/fed/{how}", fed),
	ROW(GET, "/unchanged", unchanged),
	{GET, "/guarded", ROLE_VIEWER, echo, .summary = "x"},
};

/* ---- The listener. ---- */

static char dir[256];
static struct app app;
static struct config config;
static struct listener *listener;
static struct err err;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	struct listener_spec spec = {.address = "127.0.0.1:0",
				     .key = "device_listen",
				     .listener = LISTENER_ADMIN,
				     .rows = rows,
				     .row_count = COUNT_OF(rows),
				     .loops = 2,
				     .max_connections = 64,
				     .memory = 16384,
				     .head_ms = 700,
				     .spool_dir = dir};

	curl_global_init(CURL_GLOBAL_ALL);
	snprintf(dir, sizeof(dir), "%s/test_request.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(append_path, sizeof(append_path), "%s/append", dir);
	config.admin_hosts = strdup("");
	clock_real(&app.clock);
	app.config = &config;
	app.metrics = metrics_new(2);
	app.feeds = shares_new(FEEDS_MAX);
	ck_assert(app.metrics && app.feeds);
	const struct workers_options pool = {.count = 2, .max_queued = 16};
	ck_assert_int_eq(workers_new(&app.workers, &pool, &err), 0);
	spec.workers = app.workers;
	ck_assert_msg(listener_new(&listener, &app, &spec, &err) == 0, "%s", err.text);
	ck_assert_msg(listener_start(listener, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	listener_drain(listener, 2000);
	listener_free(listener);
	workers_free(app.workers);
	metrics_free(app.metrics);
	shares_free(app.feeds);
	free(config.admin_hosts);
	unlink(append_path);
	rmdir(dir);
	curl_global_cleanup();
}

/* ---- A client. ---- */

static struct buf head, body;

static size_t keep(char *bytes, size_t size, size_t n, void *to)
{
	buf_add(to, bytes, size * n);
	return size * n;
}

/* "METHOD path", a body or NULL, a header or NULL -> the code; head and body are kept. */
static long ask(const char *method, const char *path, const char *bytes, size_t len,
		const char *header)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *list = NULL;
	char url[2048];
	long code = 0;

	if (header)
		list = curl_slist_append(list, header);
	if (!header || strncmp(header, "Expect:", 7) != 0)
		list = curl_slist_append(list, "Expect:"); /* do not ask first */
	buf_done(&head);
	buf_done(&body);
	buf_init(&head, 65536);
	buf_init(&body, 1 << 20);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", listener_port(listener), path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (bytes) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, bytes);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)len);
	}
	curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_cleanup(curl);
	curl_slist_free_all(list);
	return code;
}

static void forget(void)
{
	buf_done(&head);
	buf_done(&body);
}

static json_t *answer(void)
{
	json_t *value = json_loadb(body.data ? body.data : "", body.len, 0, NULL);

	ck_assert_msg(value != NULL, "%s", body.data);
	return value;
}

/* A connection of its own that has sent a text as it is. */
static int raw_send(const char *text, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)listener_port(listener)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 3};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ck_assert_int_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
	return fd;
}

/* What comes over it until the other side closes, or 3 s; closes it. */
static const char *raw_rest(int fd)
{
	static char got[8192];
	size_t n = 0;
	ssize_t more;

	while (n < sizeof(got) - 1 && (more = recv(fd, got + n, sizeof(got) - 1 - n, 0)) > 0)
		n += (size_t)more;
	got[n] = '\0';
	close(fd);
	return got;
}

static const char *raw(const char *text, size_t len)
{
	return raw_rest(raw_send(text, len));
}
#define RAW(text) raw(text, strlen(text))

/* ---- Tests. ---- */

START_TEST(test_request_params_and_query)
{
	ck_assert_int_eq(ask("GET", "/echo/a%20b?q=x%2Fy%26z&limit=5&after=9", NULL, 0, NULL), 200);
	json_auto_t *got = answer();

	ck_assert_str_eq(json_string_value(json_object_get(got, "name")), "a b");
	ck_assert_str_eq(json_string_value(json_object_get(got, "q")), "x/y&z");
	ck_assert_int_eq(json_integer_value(json_object_get(got, "limit")), 5);
	ck_assert_int_eq(json_integer_value(json_object_get(got, "after")), 9);
	ck_assert_ptr_nonnull(strcasestr(head.data, "ETag: \"v7\""));
	ck_assert_ptr_nonnull(
		strcasestr(head.data, json_string_value(json_object_get(got, "id"))));
	ck_assert_int_eq(ask("GET", "/echo/a?limit=0", NULL, 0, NULL), 400);
	ck_assert_int_eq(ask("GET", "/echo/a?limit=1x", NULL, 0, NULL), 400);
	ck_assert_int_eq(ask("GET", "/echo/a?q=%zz", NULL, 0, NULL), 400);
	ck_assert_int_eq(ask("GET", "/echo/a%2Fb", NULL, 0, NULL), 400);
	ck_assert_int_eq(ask("GET", "/echo/a%00", NULL, 0, NULL), 400);
	ck_assert_int_eq(ask("HEAD", "/echo/a", NULL, 0, NULL), 200);
	forget();
}
END_TEST

START_TEST(test_request_json_body)
{
	ck_assert_int_eq(ask("POST", "/echo/a", "{\"x\":1}", 7, NULL), 200);
	json_auto_t *got = answer();

	ck_assert_int_eq(
		json_integer_value(json_object_get(json_object_get(got, "body"), "x")), 1);
	ck_assert_int_eq(ask("POST", "/echo/a", NULL, 0, NULL), 200);
	ck_assert_int_eq(ask("PUT", "/json", "", 0, NULL), 400);
	ck_assert_int_eq(ask("PUT", "/json", "[1]", 3, NULL), 400);
	ck_assert_int_eq(ask("PUT", "/json", "{\"a\":1,\"a\":2}", 13, NULL), 400);
	ck_assert_ptr_nonnull(strcasestr(head.data, "application/problem+json"));
	forget();
}
END_TEST

START_TEST(test_request_body_limits)
{
	static char big[4000];

	memset(big, ' ', sizeof(big));
	ck_assert_int_eq(ask("PUT", "/json", big, sizeof(big), NULL), 413);
	ck_assert_int_eq(ask("PUT", "/json", big, sizeof(big), "Transfer-Encoding: chunked"), 413);
	ck_assert_int_eq(ask("GET", "/echo/a", "x", 1, NULL), 413);
	ck_assert_int_eq(ask("POST", "/loop", big, 64, NULL), 200);
	ck_assert_uint_eq(body.len, 64);
	ck_assert_int_eq(ask("POST", "/loop", big, 65, NULL), 413);
	forget();
}
END_TEST

START_TEST(test_request_spooled_body)
{
	char *big = malloc(300001);

	memset(big, 'z', 300001);
	memcpy(big, "first", 5);
	ck_assert_int_eq(ask("PUT", "/spool", big, 300000, NULL), 200);
	json_auto_t *got = answer();
	ck_assert_int_eq(json_integer_value(json_object_get(got, "len")), 300000);
	ck_assert_str_eq(json_string_value(json_object_get(got, "first")), "first");
	ck_assert_int_eq(ask("PUT", "/spool", big, 300000, "Transfer-Encoding: chunked"), 200);
	/* Asked first: who sends regardless may see the connection end before the answer. */
	ck_assert_int_eq(ask("PUT", "/spool", big, 300001, "Expect: 100-continue"), 413);
	free(big);
	forget();
}
END_TEST

static int64_t appended(void)
{
	struct stat st;

	return stat(append_path, &st) < 0 ? -1 : st.st_size;
}

START_TEST(test_request_appended_body_stays_when_the_client_breaks_off)
{
	ck_assert_int_eq(ask("PATCH", "/append", "12345", 5, NULL), 204);
	ck_assert_ptr_nonnull(strcasestr(head.data, "Upload-Offset: 5"));
	ck_assert_int_eq(appended(), 5);
	ck_assert_int_eq(ask("PATCH", "/append", "67", 2, "X-Refuse: yes"), 409);
	ck_assert_int_eq(appended(), 5);
	/* Says 100, sends 3, and hangs up. */
	const char *text = "PATCH /append HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
	int fd = raw_send(text, strlen(text));

	for (int i = 0; i < 200 && appended() < 8; i++)
		usleep(10000);
	close(fd);
	ck_assert_int_eq(appended(), 8);
	ck_assert_int_eq(ask("PATCH", "/append", "d", 1, NULL), 204);
	ck_assert_int_eq(appended(), 9);
	forget();
}
END_TEST

START_TEST(test_request_problems)
{
	ck_assert_int_eq(ask("GET", "/nothing", NULL, 0, NULL), 404);
	ck_assert_int_eq(ask("DELETE", "/echo/a", NULL, 0, NULL), 405);
	ck_assert_ptr_nonnull(strcasestr(head.data, "Allow: GET, HEAD, POST"));
	ck_assert_int_eq(ask("BREW", "/json", NULL, 0, NULL), 405);
	ck_assert_int_eq(ask("GET", "/fails/stale", NULL, 0, NULL), 412);
	json_auto_t *stale = answer();
	ck_assert_str_eq(json_string_value(json_object_get(stale, "type")),
			 "https://flotilla.dev/problems/stale");
	ck_assert_str_eq(json_string_value(json_object_get(stale, "detail")),
			 "changed meanwhile: read it again");
	ck_assert_ptr_nonnull(json_object_get(stale, "request_id"));
	ck_assert_int_eq(ask("GET", "/fails/corrupt", NULL, 0, NULL), 500);
	ck_assert_ptr_null(strstr(body.data, "secret"));
	ck_assert_int_eq(ask("GET", "/guarded", NULL, 0, NULL), 401);
	ck_assert_ptr_nonnull(strcasestr(head.data, "WWW-Authenticate: Bearer"));
	ck_assert_int_eq(ask("GET", "/guarded", NULL, 0, "Authorization: Bearer flt_x"), 401);
	forget();
}
END_TEST

/* What a cache would keep for a year. */
START_TEST(test_request_problems_keep_no_header_of_another_answer)
{
	ck_assert_int_eq(ask("GET", "/fails/late", NULL, 0, NULL), 503);
	ck_assert(!strcasestr(head.data, "Cache-Control") && !strcasestr(head.data, "Content-Encoding"));
	ck_assert_ptr_nonnull(strcasestr(head.data, "Retry-After"));
	forget();
}
END_TEST

START_TEST(test_request_if_match)
{
	ck_assert_int_eq(ask("GET", "/match", NULL, 0, NULL), 428);
	ck_assert_int_eq(ask("GET", "/match", NULL, 0, "If-Match: \"v12\""), 200);
	ck_assert_ptr_nonnull(strstr(body.data, "12"));
	ck_assert_int_eq(ask("GET", "/match", NULL, 0, "If-Match: \"v-1\""), 400);
	ck_assert_int_eq(ask("GET", "/match", NULL, 0, "If-Match: W/\"v1\""), 400);
	ck_assert_int_eq(ask("GET", "/match", NULL, 0, "If-Match: *"), 200);
	forget();
}
END_TEST

START_TEST(test_request_pages_link_to_the_next)
{
	ck_assert_int_eq(ask("GET", "/paged?limit=1&state=running", NULL, 0, NULL), 200);
	ck_assert_ptr_nonnull(strstr(
		head.data, "</paged?after=a%20b&limit=1&state=running>; rel=\"next\""));
	json_auto_t *got = answer();
	ck_assert_str_eq(json_string_value(json_object_get(got, "next")), "a b");
	forget();
}
END_TEST

START_TEST(test_request_suspended_on_the_loop)
{
	ck_assert_int_eq(ask("GET", "/later", NULL, 0, NULL), 202);
	forget();
}
END_TEST

/* Each suspended request is finished or dropped, never both, never neither. */
START_TEST(test_request_suspended_ends_once_when_the_client_leaves)
{
	const char *text = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
	const struct linger reset = {.l_onoff = 1};

	for (int i = 0; i < 20; i++) {
		int fd = raw_send(text, strlen(text));

		for (int ms = 0; ms < 10000 && atomic_load(&begun) <= i; ms++)
			usleep(1000);
		if (i % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
	for (int i = 0; i < 1000 && atomic_load(&dropped) + atomic_load(&finished) < 20; i++)
		usleep(10000);
	ck_assert_int_eq(atomic_load(&dropped) + atomic_load(&finished), 20);
	ck_assert_int_eq(ask("GET", "/later", NULL, 0, NULL), 202);
	forget();
}
END_TEST

/* Of requests that are under way at the same time too: who reads a log looks for one of them. */
START_TEST(test_request_ids_differ)
{
	static const char *const texts[] = {
		"GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /fails/boom HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"};
	enum { MANY = 16 };
	char ids[MANY][32];
	int fds[MANY];

	for (int i = 0; i < MANY; i++)
		fds[i] = raw_send(texts[i % 2], strlen(texts[i % 2]));
	for (int i = 0; i < MANY; i++) {
		const char *id = strcasestr(raw_rest(fds[i]), "X-Request-Id: ");

		ck_assert(id && sscanf(id + 14, "%31[0-9a-f]", ids[i]) == 1);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(ids[i], ids[j]);
	}
}
END_TEST

START_TEST(test_request_file_answer)
{
	ck_assert_int_eq(ask("GET", "/file", NULL, 0, NULL), 200);
	ck_assert_uint_eq(body.len, 3);
	ck_assert_int_eq(memcmp(body.data, "ELF", 3), 0);
	forget();
}
END_TEST

START_TEST(test_request_not_modified_has_no_body)
{
	const char *got;

	ck_assert_int_eq(ask("GET", "/unchanged", NULL, 0, NULL), 304);
	ck_assert_ptr_nonnull(strcasestr(head.data, "ETag: \"v3\""));
	got = RAW("GET /unchanged HTTP/1.1\r\nHost: x\r\n\r\n"
		  "GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	ck_assert_msg(strstr(got, "\r\n\r\nHTTP/1.1 202") != NULL, "%s", got);
	forget();
}
END_TEST

START_TEST(test_request_fed_answer)
{
	ck_assert_int_eq(ask("GET", "/fed/whole", NULL, 0, NULL), 200);
	ck_assert_uint_eq(body.len, 300000);
	ck_assert(body.data[0] == 'a' && body.data[299999] == 'c');
	ck_assert_int_eq(ask("GET", "/fed/chunked", NULL, 0, NULL), 200);
	ck_assert_uint_eq(body.len, 300000);
	ck_assert_int_eq(ask("HEAD", "/fed/whole", NULL, 0, NULL), 200);
	ask("GET", "/fed/broken", NULL, 0, NULL);
	ck_assert_uint_eq(body.len, 200000);
	ck_assert_uint_eq(shares_taken(app.feeds), 0);
	forget();
}
END_TEST

/* Refused, the connection closed: what a proxy may take for a body is not taken for a request. */
static void nothing_hidden(const char *header)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "POST /loop HTTP/1.1\r\nHost: x\r\n%s\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n"
		 "Connection: close\r\n\r\n",
		 header);
	const char *got = RAW(text);
	ck_assert_msg(strncmp(got, "HTTP/1.1 400", 12) == 0 && !strstr(got + 12, "HTTP/1.1"),
		      "%s: %s", header, got);
}

START_TEST(test_request_nothing_hides_behind_a_refusal)
{
	nothing_hidden("Content-Length: 0\r\nContent-Length: 60");
	nothing_hidden("Content-Length : 60");
	nothing_hidden("Transfer-Encoding : chunked");
	nothing_hidden("Transfer-Encoding: xchunked");
	nothing_hidden("Transfer-Encoding: identity");
	nothing_hidden("A b: c");
}
END_TEST

START_TEST(test_request_ambiguous_lengths_are_refused)
{
	const char *got = RAW("POST /loop HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
			      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");

	ck_assert_msg(strncmp(got, "HTTP/1.1 400", 12) == 0, "%s", got);
	got = RAW("POST /loop HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
		  "Content-Length: 3\r\n\r\nabc");
	ck_assert_msg(strncmp(got, "HTTP/1.1 400", 12) == 0, "%s", got);
	got = RAW("GET /later HTTP/1.1\r\nConnection: close\r\n\r\n");
	ck_assert_msg(strncmp(got, "HTTP/1.1 400", 12) == 0, "%s", got);
}
END_TEST

START_TEST(test_request_connection_is_kept)
{
	const char *got = RAW("GET /match HTTP/1.1\r\nHost: x\r\n\r\n"
			      "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
			      "POST /loop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
			      "GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

	ck_assert_msg(strstr(got, "HTTP/1.1 428") && strstr(got, "HTTP/1.1 404") &&
			      strstr(got, "HTTP/1.1 200") && strstr(got, "HTTP/1.1 202"),
		      "%s", got);
}
END_TEST

/* A header every 100 ms keeps the connection busy, so only the sweeper can end it. */
START_TEST(test_request_slow_heads_are_swept)
{
	const char *text = "GET /match HTTP/1.1\r\nHost: x\r\n";
	int fd = raw_send(text, strlen(text)), sent = 0;
	char byte;

	while (sent < 50 && send(fd, "A: b\r\n", 6, MSG_NOSIGNAL) == 6) {
		sent++;
		usleep(100000);
		if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
			break;
	}
	close(fd);
	ck_assert_int_lt(sent, 40);
	ck_assert_uint_eq(listener_swept(listener), 1);
	ck_assert_int_eq(ask("GET", "/later", NULL, 0, NULL), 202);
	forget();
}
END_TEST

START_TEST(test_request_port_in_use_names_the_remedy)
{
	char address[32];
	struct listener_spec spec = {.address = address,
				     .key = "device_listen",
				     .listener = LISTENER_DEVICE,
				     .rows = rows,
				     .row_count = COUNT_OF(rows),
				     .loops = 1,
				     .max_connections = 64,
				     .memory = 16384};
	struct listener *second = NULL;

	snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(listener));
	ck_assert_int_eq(listener_new(&second, &app, &spec, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, address));
	ck_assert_ptr_nonnull(strstr(err.text, "--device-listen"));
	spec.address = "localhost:80";
	ck_assert_int_eq(listener_new(&second, &app, &spec, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

START_TEST(test_request_loopback_addresses)
{
	ck_assert_int_eq(listen_is_loopback("127.0.0.1:1", "k", &err), 1);
	ck_assert_int_eq(listen_is_loopback("[::1]:1", "k", &err), 1);
	ck_assert_int_eq(listen_is_loopback(":1", "k", &err), 0);
	ck_assert_int_eq(listen_is_loopback("10.0.0.1:1", "k", &err), 0);
	ck_assert_int_eq(listen_is_loopback("nonsense", "k", &err), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tcase = tcase_create("request");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_request_params_and_query);
	tcase_add_test(tcase, test_request_json_body);
	tcase_add_test(tcase, test_request_body_limits);
	tcase_add_test(tcase, test_request_spooled_body);
	tcase_add_test(tcase, test_request_appended_body_stays_when_the_client_breaks_off);
	tcase_add_test(tcase, test_request_problems);
	tcase_add_test(tcase, test_request_if_match);
	tcase_add_test(tcase, test_request_pages_link_to_the_next);
	tcase_add_test(tcase, test_request_suspended_on_the_loop);
	tcase_add_test(tcase, test_request_suspended_ends_once_when_the_client_leaves);
	tcase_add_test(tcase, test_request_ids_differ);
	tcase_add_test(tcase, test_request_file_answer);
	tcase_add_test(tcase, test_request_not_modified_has_no_body);
	tcase_add_test(tcase, test_request_fed_answer);
	tcase_add_test(tcase, test_request_ambiguous_lengths_are_refused);
	tcase_add_test(tcase, test_request_nothing_hides_behind_a_refusal);
	tcase_add_test(tcase, test_request_problems_keep_no_header_of_another_answer);
	tcase_add_test(tcase, test_request_connection_is_kept);
	tcase_add_test(tcase, test_request_slow_heads_are_swept);
	tcase_add_test(tcase, test_request_port_in_use_names_the_remedy);
	tcase_add_test(tcase, test_request_loopback_addresses);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
