/* A bucket that speaks S3: single PUTs signed by libcurl (AWS Signature Version 4).  The body's SHA-256
 * is signed too, so that what arrives is what was verified.  What never changes is put with
 * If-None-Match: *, so that nobody's object is replaced. */
#include "base/clock.h"
#include "base/digest.h"
#include "cli/tree.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 4
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define PUT_MAX ((int64_t)5 * 1000 * 1000 * 1000) /* bytes of an object in one PUT */
#define HEADER_ROOM 2600 /* session tokens are long */
#define TELL 300	 /* bytes kept of an error's document */

struct bucket {
	struct tree tree;
	CURL *curl;
	char *base;   /* URL of the bucket with the prefix, without a slash behind */
	char *sigv4;  /* "aws:amz:eu-central-1:s3" */
	const char *id, *secret, *token; /* of the environment; token may be NULL */
	bool verbose;
};

/* ---- opening ---- */

static const char *env(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

static const char *region(void)
{
	const char *name = env("AWS_REGION");
	name = name ? name : env("AWS_DEFAULT_REGION");
	return name ? name : "us-east-1";
}

/* Letters that a key or a bucket's name may have: those that need no encoding, so that what is signed
 * and what is sent cannot differ. */
static bool plain(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") ==
	       strlen(text);
}

/* With an endpoint, or a name with dots, which no certificate covers, the bucket stands in the path. */
static int base_url(struct bucket *b, const char *where, struct err *err)
{
	const char *rest = where + strlen("s3://"), *slash = strchr(rest, '/');
	const int name = slash ? (int)(slash - rest) : (int)strlen(rest);
	const char *endpoint = env("AWS_ENDPOINT_URL_S3");
	endpoint = endpoint ? endpoint : env("AWS_ENDPOINT_URL");
	const char *prefix = slash ? slash : "";
	int len;
	if (!name || !plain(rest))
		return err_set(err, ERR_INVALID,
			       "%s: not s3://BUCKET/PREFIX of letters, digits and -._~", where);
	if (endpoint)
		len = asprintf(&b->base, "%.*s/%.*s%s", (int)strcspn(endpoint, "?#"), endpoint, name,
			       rest, prefix);
	else if (memchr(rest, '.', (size_t)name))
		len = asprintf(&b->base, "https://s3.%s.amazonaws.com/%.*s%s", region(), name, rest,
			       prefix);
	else
		len = asprintf(&b->base, "https://%.*s.s3.%s.amazonaws.com%s", name, rest, region(),
			       prefix);
	if (len < 0) {
		b->base = NULL;
		return err_nomem(err);
	}
	for (; len && b->base[len - 1] == '/'; len--)
		b->base[len - 1] = 0;
	return 0;
}

static int credentials(struct bucket *b, struct err *err)
{
	b->token = env("AWS_SESSION_TOKEN");
	b->id = env("AWS_ACCESS_KEY_ID");
	b->secret = env("AWS_SECRET_ACCESS_KEY");
	if (!b->id || !b->secret)
		return err_set(err, ERR_UNAUTHORIZED,
			       "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment");
	if (asprintf(&b->sigv4, "aws:amz:%s:s3", region()) < 0) {
		b->sigv4 = NULL;
		return err_nomem(err);
	}
	return 0;
}

/* ---- one request ---- */

struct put {
	struct bucket *bucket;
	const struct tree_item *item; /* NULL: HEAD */
	int64_t sent;
	size_t told;
	char tell[TELL];
};

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
	struct put *p = arg;
	const int64_t left = p->item->len - p->sent;
	const size_t want = (int64_t)(size * count) < left ? size * count : (size_t)left;
	const ssize_t n = pread(p->bucket->tree.fd, out, want, p->sent);
	if (n < 0)
		return CURL_READFUNC_ABORT;
	p->sent += n;
	return (size_t)n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct put *p = arg;
	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	p->sent = offset;
	return CURL_SEEKFUNC_OK;
}

static size_t on_answer(char *bytes, size_t size, size_t count, void *arg)
{
	struct put *p = arg;
	for (size_t i = 0; i < size * count && p->told + 1 < sizeof(p->tell); i++)
		p->tell[p->told++] = bytes[i];
	p->tell[p->told] = 0;
	return size * count;
}

static struct curl_slist *add(struct curl_slist *list, const char *name, const char *value)
{
	char line[HEADER_ROOM];
	snprintf(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *more = curl_slist_append(list, line);
	return more ? more : list;
}

static struct curl_slist *headers(const struct put *p)
{
	char hex[DIGEST_HEX] = EMPTY_SHA256;
	const struct tree_item *item = p->item;
	if (item)
		digest_hex(&item->sha256, hex);
	struct curl_slist *list = add(NULL, "x-amz-content-sha256", hex);
	if (p->bucket->token)
		list = add(list, "x-amz-security-token", p->bucket->token);
	if (item && item->type[0])
		list = add(list, "Content-Type", item->type);
	if (item && item->cache[0])
		list = add(list, "Cache-Control", item->cache);
	if (item && item->immutable)
		list = add(list, "If-None-Match", "*");
	struct curl_slist *more = curl_slist_append(list, "Expect:"); /* no 100-continue */
	return more ? more : list;
}

static void prepare(struct put *p, const char *url)
{
	CURL *curl = p->bucket->curl;
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, p->bucket->sigv4);
	curl_easy_setopt(curl, CURLOPT_USERNAME, p->bucket->id);
	curl_easy_setopt(curl, CURLOPT_PASSWORD, p->bucket->secret);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, p);
	if (!p->item) {
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
		return;
	}
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)p->item->len);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, p);
	curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(curl, CURLOPT_SEEKDATA, p);
}

static int once(struct put *p, const char *url, long *ret_code, struct err *err)
{
	struct curl_slist *list = headers(p);
	p->sent = 0;
	p->told = 0;
	prepare(p, url);
	curl_easy_setopt(p->bucket->curl, CURLOPT_HTTPHEADER, list);
	const CURLcode code = curl_easy_perform(p->bucket->curl);
	curl_slist_free_all(list);
	if (code != CURLE_OK)
		return err_set(err, ERR_NETWORK, "%s: %s", url, curl_easy_strerror(code));
	curl_easy_getinfo(p->bucket->curl, CURLINFO_RESPONSE_CODE, ret_code);
	if (p->bucket->verbose)
		fprintf(stderr, "%s %s -> %ld\n", p->item ? "PUT" : "HEAD", url, *ret_code);
	return 0;
}

static int ask(struct put *p, const char *key, long *ret_code, struct err *err)
{
	char *url;
	if (!plain(key))
		return err_set(err, ERR_INVALID, "%s: a key with other letters than A-Za-z0-9-._~",
			       key);
	if (asprintf(&url, "%s/%s", p->bucket->base, key) < 0)
		return err_nomem(err);
	int bad;
	for (unsigned i = 1;; i++) {
		bad = once(p, url, ret_code, err);
		if ((!bad && *ret_code < 500 && *ret_code != 429) || i == TRIES)
			break;
		clock_sleep_ms((int64_t)1000 << (i - 1));
	}
	free(url);
	return bad;
}

static int refused(const struct put *p, const char *key, long code, struct err *err)
{
	const enum status status = code == 401 || code == 403 ? ERR_DENIED
				   : code == 404	      ? ERR_NOT_FOUND
							      : ERR_NETWORK;
	return err_set(err, status, "%s: the bucket answered %ld%s%s", key, code,
		       p->told ? ": " : "", p->tell);
}

/* ---- what a tree does ---- */

static int s3_file(struct tree *tree, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	char path[4096];
	snprintf(path, sizeof(path), "%s/flotilla-export-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	tree->fd = mkostemp(path, O_CLOEXEC);
	if (tree->fd < 0)
		return err_sys(err, "temporary file %s", path);
	unlink(path);
	return 0;
}

static int s3_length(struct tree *tree, const char *key, int64_t *ret_len, struct err *err)
{
	struct put p = {.bucket = (struct bucket *)tree};
	curl_off_t len = -1;
	long code;
	if (ask(&p, key, &code, err))
		return -1;
	if (code != 200 && code != 404)
		return refused(&p, key, code, err);
	if (code == 200)
		curl_easy_getinfo(p.bucket->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
	*ret_len = len;
	return 0;
}

/* 412: somebody was faster, or a try of ours arrived after all. */
static int taken(struct tree *tree, const struct tree_item *item, struct err *err)
{
	int64_t len;
	if (s3_length(tree, item->key, &len, err))
		return -1;
	if (len == item->len)
		return 0;
	return err_set(err, ERR_CONFLICT,
		       "%s: the bucket has %lld bytes under this key instead of %lld: remove it there",
		       item->key, (long long)len, (long long)item->len);
}

static int s3_put(struct tree *tree, const struct tree_item *item, struct err *err)
{
	struct put p = {.bucket = (struct bucket *)tree, .item = item};
	long code;
	if (item->len > PUT_MAX)
		return err_set(err, ERR_TOO_LARGE, "%s: more than the 5 GB of one PUT", item->key);
	if (ask(&p, item->key, &code, err))
		return -1;
	if (item->immutable && (code == 412 || code == 409))
		return taken(tree, item, err);
	return code / 100 == 2 ? 0 : refused(&p, item->key, code, err);
}

static void s3_close(struct tree *tree)
{
	struct bucket *b = (struct bucket *)tree;
	if (b->curl)
		curl_easy_cleanup(b->curl);
	free(b->base);
	free(b->sigv4);
	free(b);
}

static const struct tree_kind s3_kind = {s3_file, s3_length, s3_put, s3_close};

int tree_s3_open(struct tree **ret_tree, const char *where, bool verbose, struct err *err)
{
	struct bucket *b = calloc(1, sizeof(*b));
	if (!b)
		return err_nomem(err);
	AUTO(tree_close) struct tree *tree = &b->tree;
	b->tree = (struct tree){&s3_kind, -1};
	b->verbose = verbose;
	b->curl = curl_easy_init();
	if (!b->curl)
		return err_nomem(err);
	if (base_url(b, where, err) || credentials(b, err))
		return -1;
	*ret_tree = TAKE(tree);
	return 0;
}
