/* Bytes for devices: packs, recipes, maps as they lie in the store, and whole raw files unpacked.
 * Everything but a map is named by its digest and so never changes.  They run on workers, because
 * bytes that are not in memory yet must be read from the disk by someone. */
#include "base/file.h"
#include "server/api.h"
#include "server/app.h"
#include "server/conditional.h"
#include "server/feed.h"
#include "server/unpack.h"
#include "store/blob.h"
#include "store/inventory.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#define FOREVER "public, max-age=31536000, immutable"
#define AN_HOUR "public, max-age=3600"
#define OCTETS "application/octet-stream"
#define ETAG_MAX (DIGEST_HEX + 8)
#define READ_NOW ((int64_t)2 * 1024 * 1024)

/* ---- Conditions and ranges, alike for all. ---- */

struct answer {
	const char *etag, *cache; /* quoted and strong; Cache-Control */
	int64_t length;
	unsigned code;	  /* out: 200, 206, 304 or 416 */
	struct span span; /* out: what of the body is asked for */
};

/* Decide the code and add the headers; 304 and 416 are answered entirely. */
static void answer_decide(struct answer *answer, const struct request *rq, struct reply *reply)
{
	char text[80];

	reply_header(reply, "ETag", answer->etag);
	reply_header(reply, "Cache-Control", answer->cache);
	answer->span = (struct span){.at = 0, .len = answer->length};
	answer->code = 200;
	if (etag_listed(request_header(rq, "If-None-Match"), answer->etag)) {
		answer->code = 304;
		reply_empty(reply, 304);
		return;
	}
	reply_header(reply, "Accept-Ranges", "bytes");
	switch (range_parse(request_header(rq, "Range"), request_header(rq, "If-Range"),
			    answer->etag, answer->length, &answer->span)) {
	case RANGE_WHOLE:
		return;
	case RANGE_PART:
		answer->code = 206;
		snprintf(text, sizeof(text), "bytes %lld-%lld/%lld", (long long)answer->span.at,
			 (long long)(answer->span.at + answer->span.len - 1),
			 (long long)answer->length);
		break;
	case RANGE_IMPOSSIBLE:
		answer->code = 416;
		reply_empty(reply, 416);
		snprintf(text, sizeof(text), "bytes */%lld", (long long)answer->length);
		break;
	}
	reply_header(reply, "Content-Range", text);
}

/* ---- Mapped blobs. ---- */

static void give_back(void *cls)
{
	blob_unref(cls);
}

/* Have what will be sent in memory: its beginning now, the rest on its way, so that the loop
 * which sends it does not wait for the disk.  Advice only: a failure costs time, nothing else. */
static void fetch_ahead(const char *bytes, const struct span *span)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = (uintptr_t)(bytes + span->at) & ~(page - 1);
	uintptr_t to = (uintptr_t)(bytes + span->at + span->len);
	size_t now = to - from;

	madvise((void *)from, to - from, MADV_WILLNEED);
	if (now > (size_t)READ_NOW)
		now = (size_t)READ_NOW;
	madvise((void *)from, now, MADV_POPULATE_READ);
}

/* The blob (taken over) as the answer; its mapping lives as long as the response. */
static int mapped_reply(struct request *rq, struct reply *reply, struct blob *taken,
			const char *etag, const char *cache, struct err *err)
{
	AUTO(blob_unref) struct blob *blob = taken;
	struct answer answer = {.etag = etag, .cache = cache, .length = (int64_t)blob->len};
	char *bytes = __extension__(char *)(uintptr_t)blob->bytes;
	struct MHD_Response *response;

	answer_decide(&answer, rq, reply);
	if (answer.code == 304 || answer.code == 416)
		return 0;
	fetch_ahead(bytes, &answer.span);
	response = MHD_create_response_from_buffer_with_free_callback_cls(
		(size_t)answer.span.len, bytes + answer.span.at, give_back, blob);
	if (!response)
		return err_nomem(err);
	(void)TAKE(blob);
	reply->own = response;
	reply->code = answer.code;
	reply->len = answer.span.len;
	reply->type = OCTETS;
	return 0;
}

static int name_parse(const char *text, struct digest *name, struct err *err)
{
	if (digest_parse(name, text) < 0)
		return err_set(err, ERR_NOT_FOUND,
			       "the name must be a SHA-256: 64 lower-case hex digits");
	return 0;
}

/* A blob named by params[0], which never changes. */
static int immutable_reply(struct request *rq, struct reply *reply, enum blob_kind kind,
			   struct err *err)
{
	char etag[ETAG_MAX];
	struct digest name;
	struct blob *blob;

	if (name_parse(rq->params[0], &name, err) < 0)
		return -1;
	blob = blob_get(rq->app->blobs, kind, &name, err);
	if (!blob)
		return -1;
	snprintf(etag, sizeof(etag), "\"%s\"", rq->params[0]);
	return mapped_reply(rq, reply, blob, etag, FOREVER, err);
}

int api_pack(struct request *rq, struct reply *reply, struct err *err)
{
	return immutable_reply(rq, reply, BLOB_PACK, err);
}

int api_recipe(struct request *rq, struct reply *reply, struct err *err)
{
	return immutable_reply(rq, reply, BLOB_RECIPE, err);
}

/* Maps may be replaced, so their tag is of their bytes. */
int api_map(struct request *rq, struct reply *reply, struct err *err)
{
	char hex[DIGEST_HEX], etag[ETAG_MAX];
	struct digest name, content;
	struct blob *blob;

	if (name_parse(rq->params[0], &name, err) < 0)
		return -1;
	blob = blob_get(rq->app->blobs, BLOB_MAP, &name, err);
	if (!blob)
		return -1;
	digest_of(&content, blob->bytes, blob->len);
	digest_hex(&content, hex);
	snprintf(etag, sizeof(etag), "\"%s\"", hex);
	return mapped_reply(rq, reply, blob, etag, AN_HOUR, err);
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

/* Whether Accept-Encoding takes zstd: named without q=0. */
static bool takes_zstd(const char *accepted)
{
	const char *at = accepted ? strcasestr(accepted, "zstd") : NULL;

	if (!at)
		return false;
	at += 4 + strspn(at + 4, " ");
	if (*at != ';')
		return *at == '\0' || *at == ',';
	at += 1 + strspn(at + 1, " ");
	return strncasecmp(at, "q=0", 3) != 0 || strtod(at + 2, NULL) > 0;
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
	reply_header(reply, "ETag", etag);
	reply_header(reply, "Cache-Control", FOREVER);
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
