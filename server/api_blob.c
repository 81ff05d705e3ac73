/* Bytes for devices: packs, recipes, maps, deltas as they lie in the store, and whole raw files
 * unpacked.  Everything but a map never changes under its name.  They run on workers, because
 * bytes that are not in memory yet must be read from the disk by someone. */
#include "server/api.h"
#include "server/app.h"
#include "server/conditional.h"
#include "server/feed.h"
#include "server/unpack.h"
#include "store/blob.h"
#include "store/inventory.h"
#include "store/parts.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOREVER "public, max-age=31536000, immutable"
#define AN_HOUR "public, max-age=3600"
#define OCTETS "application/octet-stream"
#define ETAG_MAX (DIGEST_HEX + 8)
#define READ_NOW ((int64_t)2 * 1024 * 1024)
/* From here on the kernel sends the file itself; below, one call sends head and body together. */
#define SENDFILE_MIN ((int64_t)1024 * 1024)

/* ---- Conditions and ranges, alike for all. ---- */

struct answer {
	const char *etag, *cache; /* quoted and strong; Cache-Control */
	int64_t length;
	unsigned code;	  /* out: 200, 206, 304 or 416 */
	struct span span; /* out: what of the body is asked for */
};

/* What is an answer for as long as cache says; a 416 is none. */
static void lasting(struct reply *reply, const char *etag, const char *cache)
{
	reply_header(reply, "ETag", etag);
	reply_header(reply, "Cache-Control", cache);
}

/* Decide the code and add the headers; 304 and 416 are answered entirely. */
static void answer_decide(struct answer *answer, const struct request *rq, struct reply *reply)
{
	char text[80];

	answer->span = (struct span){.at = 0, .len = answer->length};
	answer->code = 200;
	reply_header(reply, "Accept-Ranges", "bytes");
	if (etag_listed(request_header(rq, "If-None-Match"), answer->etag)) {
		answer->code = 304;
		lasting(reply, answer->etag, answer->cache);
		reply_empty(reply, 304);
		return;
	}
	switch (range_parse(request_header(rq, "Range"), request_header(rq, "If-Range"),
			    answer->etag, answer->length, &answer->span)) {
	case RANGE_WHOLE:
		lasting(reply, answer->etag, answer->cache);
		return;
	case RANGE_PART:
		lasting(reply, answer->etag, answer->cache);
		answer->code = 206;
		snprintf(text, sizeof(text), "bytes %lld-%lld/%lld", (long long)answer->span.at,
			 (long long)(answer->span.at + answer->span.len - 1),
			 (long long)answer->length);
		break;
	case RANGE_IMPOSSIBLE:
		answer->code = 416;
		reply_header(reply, "Cache-Control", "no-store");
		reply_empty(reply, 416);
		snprintf(text, sizeof(text), "bytes */%lld", (long long)answer->length);
		break;
	}
	reply_header(reply, "Content-Range", text);
}

/* ---- Blobs as they lie in the store. ---- */

static void give_back(void *cls)
{
	blob_unref(cls);
}

/* Have what will be sent in memory: its beginning now, the rest on its way, so that the loop
 * which sends it does not wait for the disk.  Advice only: a failure costs time, nothing else. */
static void fetch_ahead(const void *bytes, const struct span *span)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)bytes + (uintptr_t)span->at) & ~(page - 1);
	uintptr_t to = (uintptr_t)bytes + (uintptr_t)(span->at + span->len);
	size_t now = to - from;

	madvise((void *)from, to - from, MADV_WILLNEED);
	if (now > (size_t)READ_NOW)
		now = (size_t)READ_NOW;
	madvise((void *)from, now, MADV_POPULATE_READ);
}

/* A blob on its way into a reply. */
struct found {
	enum blob_kind kind;
	struct digest name;
	struct blob *blob;
	char etag[ETAG_MAX + 24];
};

static int name_parse(const char *text, struct digest *name, struct err *err)
{
	if (digest_parse(name, text) < 0)
		return err_set(err, ERR_NOT_FOUND,
			       "the name must be a SHA-256: 64 lower-case hex digits");
	return 0;
}

/* Sent by the kernel from the page cache: half the processor time of copying from the mapping.
 * NULL where that cannot be, as when the name stands for another file since it was mapped. */
static struct MHD_Response *response_of_file(const struct request *rq, const struct found *found,
					     const struct span *span)
{
	struct err err;
	struct stat st;
	struct MHD_Response *response = NULL;
	const int fd = blob_fd(rq->app->blobs, found->kind, &found->name, &err);

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && (uint64_t)st.st_size == found->blob->len)
		response = MHD_create_response_from_fd_at_offset64((uint64_t)span->len, fd,
								   (uint64_t)span->at);
	if (!response) /* else the descriptor is the library's */
		close(fd);
	return response;
}

/* A map of the same length may have been put in its place meanwhile; and TLS reads a file by pages. */
static bool may_send_file(const struct app *app, const struct found *found)
{
	return found->kind != BLOB_MAP && !app->tls_cert.len;
}

/* From the mapping, which lives as long as the response. */
static struct MHD_Response *response_of_mapping(const struct found *found, const struct span *span)
{
	char *bytes = __extension__(char *)(uintptr_t)found->blob->bytes;
	struct blob *held = blob_ref(found->blob);
	struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
		(size_t)span->len, bytes + span->at, give_back, held);

	if (!response)
		blob_unref(held);
	return response;
}

static int found_answer(struct request *rq, struct reply *reply, const struct found *found,
			const char *cache, struct err *err)
{
	struct answer answer = {.etag = found->etag,
				.cache = cache,
				.length = (int64_t)found->blob->len};

	answer_decide(&answer, rq, reply);
	if (answer.code == 304 || answer.code == 416)
		return 0;
	fetch_ahead(found->blob->bytes, &answer.span);
	if (may_send_file(rq->app, found) && answer.span.len >= SENDFILE_MIN)
		reply->own = response_of_file(rq, found, &answer.span);
	if (!reply->own)
		reply->own = response_of_mapping(found, &answer.span);
	if (!reply->own)
		return err_nomem(err);
	reply->code = answer.code;
	reply->len = answer.span.len;
	reply->type = OCTETS;
	return 0;
}

/* The blob as the answer, under the etag that tag() gives it. */
static int found_reply(struct request *rq, struct reply *reply, struct found *found,
		       void (*tag)(struct found *found), const char *cache, struct err *err)
{
	AUTO(blob_unref) struct blob *blob =
		blob_get(rq->app->blobs, found->kind, &found->name, err);

	if (!blob)
		return -1;
	found->blob = blob;
	tag(found);
	return found_answer(rq, reply, found, cache, err);
}

/* What never changes under its name is tagged with it. */
static void tag_name(struct found *found)
{
	char hex[DIGEST_HEX];

	digest_hex(&found->name, hex);
	snprintf(found->etag, sizeof(found->etag), "\"%s\"", hex);
}

/* Maps may be replaced, so their tag is of their bytes. */
static void tag_content(struct found *found)
{
	char hex[DIGEST_HEX];
	struct digest content;

	digest_of(&content, found->blob->bytes, found->blob->len);
	digest_hex(&content, hex);
	snprintf(found->etag, sizeof(found->etag), "\"%s\"", hex);
}

/* A part is made once for all; should it be lost and made again, it may have another length. */
static void tag_length(struct found *found)
{
	char hex[DIGEST_HEX];

	digest_hex(&found->name, hex);
	snprintf(found->etag, sizeof(found->etag), "\"%s-%llu\"", hex,
		 (unsigned long long)found->blob->len);
}

int api_pack(struct request *rq, struct reply *reply, struct err *err)
{
	struct found found = {.kind = BLOB_PACK};

	if (name_parse(rq->params[0], &found.name, err) < 0)
		return -1;
	return found_reply(rq, reply, &found, tag_name, FOREVER, err);
}

int api_recipe(struct request *rq, struct reply *reply, struct err *err)
{
	struct found found = {.kind = BLOB_RECIPE};

	if (name_parse(rq->params[0], &found.name, err) < 0)
		return -1;
	return found_reply(rq, reply, &found, tag_name, FOREVER, err);
}

int api_map(struct request *rq, struct reply *reply, struct err *err)
{
	struct found found = {.kind = BLOB_MAP};

	if (name_parse(rq->params[0], &found.name, err) < 0)
		return -1;
	return found_reply(rq, reply, &found, tag_content, AN_HOUR, err);
}

/* The number of a part, as it is written: no sign, no leading zero. */
static int part_parse(const char *text, uint32_t *ret_n, struct err *err)
{
	size_t len = strspn(text, "0123456789");

	if (!len || text[len] || len > 4 || (len > 1 && text[0] == '0'))
		return err_set(err, ERR_NOT_FOUND, "parts are numbered 0, 1, 2 ...");
	*ret_n = (uint32_t)strtoul(text, NULL, 10);
	return 0;
}

int api_delta(struct request *rq, struct reply *reply, struct err *err)
{
	struct found found = {.kind = BLOB_DELTA};
	struct digest new, old;
	uint32_t n;

	if (name_parse(rq->params[0], &new, err) < 0 || name_parse(rq->params[1], &old, err) < 0 ||
	    part_parse(rq->params[2], &n, err) < 0)
		return -1;
	part_name(&new, &old, n, &found.name);
	return found_reply(rq, reply, &found, tag_length, FOREVER, err);
}

/* ---- Whole raw files. ---- */

static int fill_raw(void *cls, struct db *db, struct buf *piece, struct err *err)
{
	(void)db;
	return unpack_next(cls, piece, err);
}

static int fill_zstd(void *cls, struct db *db, struct buf *piece, struct err *err)
{
	(void)db;
	return unpack_next_zstd(cls, piece, err);
}

static void feed_over(void *cls)
{
	unpack_free(cls);
}

/* The weight of a coding's parameters, ";q=0.5"; 1 without one. */
static double weight_of(const char *params, const char *end)
{
	for (const char *at = params; at < end; at++) {
		at += strspn(at, "; ");
		if (strncasecmp(at, "q=", 2) == 0)
			return strtod(at + 2, NULL);
		at += strcspn(at, ";,");
	}
	return 1;
}

/* Whether Accept-Encoding takes zstd: it is listed, and its weight is not 0. */
static bool takes_zstd(const char *accepted)
{
	for (const char *at = accepted; at && *at; at += *at == ',') {
		at += strspn(at, " \t");
		const size_t name = strcspn(at, " \t;,"), all = strcspn(at, ",");
		if (name == 4 && strncasecmp(at, "zstd", 4) == 0)
			return weight_of(at + name, at + all) > 0;
		at += all;
	}
	return false;
}

static int zstd_reply(struct request *rq, struct reply *reply, struct unpack *unpack,
		      const char *hex, struct err *err)
{
	const struct feed_source source = {.cls = unpack,
					   .fill = fill_zstd,
					   .free = feed_over,
					   .piece_max = UNPACK_PIECE,
					   .length = -1};
	char etag[ETAG_MAX];

	snprintf(etag, sizeof(etag), "\"%s-zstd\"", hex);
	lasting(reply, etag, FOREVER);
	reply_header(reply, "Vary", "Accept-Encoding");
	if (etag_listed(request_header(rq, "If-None-Match"), etag)) {
		unpack_free(unpack);
		return reply_empty(reply, 304);
	}
	reply_header(reply, "Content-Encoding", "zstd");
	return feed_reply(reply, rq, 200, OCTETS, &source, err);
}

static int raw_reply(struct request *rq, struct reply *reply, struct unpack *unpack,
		     const char *hex, struct err *err)
{
	char etag[ETAG_MAX];
	struct answer answer = {.etag = etag, .cache = FOREVER, .length = unpack_length(unpack)};
	struct feed_source source = {.cls = unpack,
				     .fill = fill_raw,
				     .free = feed_over,
				     .piece_max = UNPACK_PIECE};

	snprintf(etag, sizeof(etag), "\"%s\"", hex);
	answer_decide(&answer, rq, reply);
	if (answer.code == 304 || answer.code == 416) {
		unpack_free(unpack);
		return 0;
	}
	unpack_seek(unpack, answer.span.at, answer.span.len);
	source.length = answer.span.len;
	return feed_reply(reply, rq, answer.code, OCTETS, &source, err);
}

/* The raw file with that SHA-256; zstd: encoded, when the client takes it. */
static int file_reply(struct request *rq, struct reply *reply, const struct digest *sha256,
		      bool zstd, struct err *err)
{
	struct unpack *unpack = NULL;
	struct recipe_info file;
	char hex[DIGEST_HEX];

	if (inventory_file(rq->db, sha256, &file, err) < 0 ||
	    unpack_open(&unpack, rq->app->blobs, &file.recipe, err) < 0)
		return -1;
	digest_hex(sha256, hex);
	if (zstd && !request_header(rq, "Range") &&
	    takes_zstd(request_header(rq, "Accept-Encoding")))
		return zstd_reply(rq, reply, unpack, hex, err);
	if (zstd)
		reply_header(reply, "Vary", "Accept-Encoding");
	return raw_reply(rq, reply, unpack, hex, err);
}

int api_blob(struct request *rq, struct reply *reply, struct err *err)
{
	struct digest sha256;

	if (strncmp(rq->params[0], "sha256:", 7) != 0)
		return err_set(err, ERR_NOT_FOUND, "name the blob as sha256:<64 hex digits>");
	if (name_parse(rq->params[0] + 7, &sha256, err) < 0)
		return -1;
	return file_reply(rq, reply, &sha256, true, err);
}

/* TUF's consistent-snapshot name: directories, then "<sha256>.<name>".  Only the digest decides; no
 * Content-Encoding, which TUF clients would not undo. */
int api_target(struct request *rq, struct reply *reply, struct err *err)
{
	const char *slash = strrchr(rq->params[2], '/');
	const char *name = slash ? slash + 1 : rq->params[2];
	struct digest sha256;

	if (strlen(name) <= 65 || name[64] != '.' || digest_parse_n(&sha256, name, 65) < 0)
		return err_set(err, ERR_NOT_FOUND,
			       "a target's last segment is <sha256>.<file name>");
	return file_reply(rq, reply, &sha256, false, err);
}
