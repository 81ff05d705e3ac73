/* The store's admin side: what is missing, packs, recipes, uploads. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "manifest/journal.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "store/blob.h"
#include "store/format.h"
#include "store/ingest.h"
#include "store/inventory.h"
#include "store/recipe.h"
#include "store/scope.h"
#include "store/taken.h"
#include "store/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGESTS_MAX (1 << 20) /* in one question */
#define PIECE 32768	      /* of them at a time: 1 MiB */
#define OCTETS "application/octet-stream"

static int64_t now_of(const struct request *rq)
{
	return clock_s(&rq->app->clock);
}

static int param_digest(const char *text, const char *what, struct digest *ret_digest,
			struct err *err)
{
	if (digest_parse(ret_digest, text) == 0)
		return 0;
	return err_set(err, ERR_INVALID, "%s: 64 lower-case hex digits are wanted", what);
}

static json_t *digest_json(const struct digest *digest)
{
	char hex[DIGEST_HEX];

	digest_hex(digest, hex);
	return json_string(hex);
}

static int reply_info(struct reply *reply, const struct recipe_info *info, struct err *err)
{
	return reply_json(reply, 200,
			  json_pack("{s:o, s:o, s:I, s:I, s:s}", "recipe",
				    digest_json(&info->recipe), "sha256",
				    digest_json(&info->sha256), "length",
				    (json_int_t)info->length, "stored", (json_int_t)info->stored,
				    "format", format_id_name(info->format)),
			  err);
}

/* A token for some models must not learn what others have: what it may know of.  NULL: all. */
static const struct scope *scope_of(const struct request *rq, struct scope *room)
{
	*room = (struct scope){rq->who.models, rq->who.id};
	return rq->who.models ? room : NULL;
}

static struct taker taker_of(const struct request *rq)
{
	return (struct taker){rq->who.id, rq->who.quota_bytes, rq->who.uploads};
}

/* ---- Who did it, and what it counts for, in the same transaction. ---- */

struct deed {
	const struct request *rq;
	const char *action;
	const char *resource;
	const struct digest *pack; /* that was brought, of so many bytes; NULL: none */
	int64_t bytes;
	bool raw; /* the whole file was brought */
	struct also also;
};

/* A pack by its bytes; a raw file, now that it counts as an open upload no more, by its length; a recipe
 * of packs that are counted, by nothing.  What counts already is not asked about again. */
static int deed_count(struct db *db, const struct deed *deed, const struct recipe_info *info,
		      struct err *err)
{
	const struct taker taker = taker_of(deed->rq);
	const struct digest *what = deed->pack ? deed->pack : info ? &info->recipe : NULL;
	const int64_t bytes = deed->raw && info ? info->length : deed->bytes;
	const int64_t now = now_of(deed->rq);

	if (!what)
		return 0;
	int counted = taken_has(db, taker.token, what, err);
	if (counted < 0 ||
	    (!counted && bytes && taken_room(db, &taker, bytes, now, err) < 0))
		return -1;
	return taken_add(db, taker.token, deed->pack ? TAKEN_PACK : TAKEN_RECIPE, what, bytes, now,
			 err);
}

static int deed_write(struct db *db, void *arg, const struct recipe_info *info, struct err *err)
{
	const struct deed *deed = arg;
	json_auto_t *data = NULL;

	if (deed_count(db, deed, info, err) < 0)
		return -1;

	if (info)
		data = json_pack("{s:o, s:o, s:I}", "recipe", digest_json(&info->recipe), "sha256",
				 digest_json(&info->sha256), "length", (json_int_t)info->length);
	struct journal_entry entry = {.t = now_of(deed->rq),
				      .actor = deed->rq->who.name,
				      .action = deed->action,
				      .resource = deed->resource,
				      .request = deed->rq->id,
				      .data = data};
	return journal_audit(db, &entry, err);
}

static const struct also *deed_also(struct deed *deed, const struct request *rq,
				    const char *action, const char *resource)
{
	*deed = (struct deed){.rq = rq, .action = action, .resource = resource};
	deed->also = (struct also){.fn = deed_write, .arg = deed};
	return &deed->also;
}

/* ---- What is there. ---- */

/* The newest recipe of the file that the scope knows; another may be newer and somebody else's. */
static int file_in_scope(struct request *rq, const struct scope *scope,
			 const struct digest *sha256, struct recipe_info *ret_info, struct err *err)
{
	AUTO_LIST struct inventory_list list = {0};
	const struct digest none = {{0}};
	bool known = false;

	if (inventory_file_recipes(rq->db, sha256, inventory_gather, &list, err) < 0)
		return -1;
	/* Asked of what is not there too: it takes as long. */
	if (!list.count && scope_knows(rq->db, scope, &none, &known, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		if (scope_knows(rq->db, scope, &list.items[i].name, &known, err) < 0)
			return -1;
		if (known)
			return inventory_recipe(rq->db, &list.items[i].name, ret_info, err);
	}
	return err_set(err, ERR_NOT_FOUND, "nothing that it knows");
}

int api_store_file(struct request *rq, struct reply *reply, struct err *err)
{
	struct digest sha256;
	struct recipe_info info;
	struct scope room;
	const struct scope *scope = scope_of(rq, &room);

	if (param_digest(rq->params[0], "sha256", &sha256, err) < 0)
		return -1;
	int result = scope ? file_in_scope(rq, scope, &sha256, &info, err)
			   : inventory_file(rq->db, &sha256, &info, err);
	if (result < 0)
		return err->status != ERR_NOT_FOUND
			       ? -1
			       : err_set(err, ERR_NOT_FOUND, "there is no such file in the store");
	return reply_info(reply, &info, err);
}

static int missing_piece(struct request *rq, const struct digest *digests, size_t count,
			 uint8_t *bitmap, struct err *err)
{
	AUTO(map_free) struct map *places = NULL;
	struct scope room;
	const struct scope *scope = scope_of(rq, &room);

	if (scope &&
	    scope_places(rq->app->blobs, rq->db, scope, digests, count, &places, err) < 0)
		return -1;
	return ingest_missing(rq->app->blobs, rq->db, digests, count, places, now_of(rq), bitmap,
			      err);
}

static int missing_fill(struct request *rq, size_t count, uint8_t *bitmap, struct err *err)
{
	struct digest *digests = malloc(PIECE * sizeof(*digests));
	int result = digests ? 0 : err_nomem(err);

	for (size_t at = 0; !result && at < count; at += PIECE) {
		size_t n = count - at < PIECE ? count - at : PIECE;
		result = file_pread_all(rq->body_fd, digests, n * DIGEST_LEN,
					(int64_t)(at * DIGEST_LEN), err);
		if (!result)
			result = missing_piece(rq, digests, n, bitmap + at / 8, err);
	}
	free(digests);
	return result;
}

int api_store_missing(struct request *rq, struct reply *reply, struct err *err)
{
	size_t count = (size_t)rq->body_len / DIGEST_LEN, bytes = (count + 7) / 8;

	if (rq->body_len % DIGEST_LEN || !count || count > DIGESTS_MAX)
		return err_set(err, ERR_INVALID,
			       "the body: 1 to %d digests of 32 bytes, one after the other",
			       DIGESTS_MAX);
	uint8_t *bitmap = calloc(bytes, 1);
	if (!bitmap)
		return err_nomem(err);
	for (size_t i = 0; i < count; i++)
		bitmap[i / 8] |= (uint8_t)(1u << i % 8);
	if (missing_fill(rq, count, bitmap, err) < 0) {
		free(bitmap);
		return -1;
	}
	reply_take(reply, 200, OCTETS, (char *)bitmap, bytes);
	return 0;
}

/* ---- Packs and recipes. ---- */

int api_pack_put(struct request *rq, struct reply *reply, struct err *err)
{
	const struct taker taker = taker_of(rq);
	struct digest name;
	struct ingest_result result;
	struct deed deed;

	if (param_digest(rq->params[0], "sha256", &name, err) < 0)
		return -1;
	/* What need not be counted again; to who must not learn of others, only its own is known.  The
	 * transaction asks for room too: asked here, what will be refused leaves nothing on the disk. */
	int known = rq->who.models ? taken_has(rq->db, taker.token, &name, err)
				   : inventory_pack(rq->db, &name, err);
	if (known < 0 ||
	    (!known && taken_room(rq->db, &taker, rq->body_len, now_of(rq), err) < 0))
		return -1;
	const struct also *also = deed_also(&deed, rq, "pack.store", rq->params[0]);
	deed.pack = &name;
	deed.bytes = rq->body_len;
	deed.also.blind = rq->who.models && !known;
	if (ingest_pack(rq->app->blobs, rq->db, &name, rq->body_fd, (uint64_t)rq->body_len,
			now_of(rq), also, &result, err) < 0)
		return -1;
	return reply_json(reply, 200,
			  json_pack("{s:o, s:I, s:I, s:b}", "pack", digest_json(&name), "bytes",
				    (json_int_t)rq->body_len, "chunks", (json_int_t)result.chunks,
				    "known", result.known),
			  err);
}

/* The chunks that a recipe from this asker may consist of; *ret_places stays NULL where that is all,
 * or where the recipe is the asker's already. */
static int recipe_places(struct request *rq, const char *bytes, size_t len,
			 const struct digest *name, struct map **ret_places, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	struct scope room;
	const struct scope *scope = scope_of(rq, &room);
	bool known = true;

	if (scope && scope_knows(rq->db, scope, name, &known, err) < 0)
		return -1;
	if (known)
		return 0;
	if (recipe_parse(&recipe, bytes, len, err) < 0)
		return -1;
	return scope_recipe_places(rq->app->blobs, rq->db, scope, recipe, ret_places, err);
}

static int recipe_store(struct request *rq, const char *bytes, size_t len,
			struct recipe_info *ret_info, struct err *err)
{
	AUTO(map_free) struct map *places = NULL;
	struct digest name;
	char hex[DIGEST_HEX];
	struct deed deed;

	digest_of(&name, bytes, len);
	digest_hex(&name, hex);
	if (recipe_places(rq, bytes, len, &name, &places, err) < 0)
		return -1;
	return ingest_recipe(rq->app->blobs, rq->db, bytes, len, places, now_of(rq),
			     deed_also(&deed, rq, "recipe.store", hex), ret_info, err);
}

int api_recipe_post(struct request *rq, struct reply *reply, struct err *err)
{
	size_t len = (size_t)rq->body_len;
	struct recipe_info info;

	if (!len || len > RECIPE_BYTES_MAX)
		return err_set(err, ERR_INVALID, "the body: a recipe of at most %u bytes",
			       RECIPE_BYTES_MAX);
	char *bytes = malloc(len);
	if (!bytes)
		return err_nomem(err);
	int result = file_pread_all(rq->body_fd, bytes, len, 0, err);
	if (!result)
		result = recipe_store(rq, bytes, len, &info, err);
	free(bytes);
	return result ? -1 : reply_info(reply, &info, err);
}

/* ---- Uploads. ---- */

static int64_t length_max(const struct request *rq)
{
	int64_t max = rq->app->config->max_file_bytes;

	return max < (int64_t)RECIPE_FILE_MAX ? max : (int64_t)RECIPE_FILE_MAX;
}

static json_t *upload_json(const struct upload *upload)
{
	json_t *length = upload->length < 0 ? json_null() : json_integer(upload->length);

	return json_pack("{s:s, s:s?, s:s, s:I, s:o, s:o?, s:o?, s:I}", "id", upload->id, "name",
			 upload->name[0] ? upload->name : NULL, "state",
			 upload->finished ? "finished" : "open", "offset",
			 (json_int_t)upload->offset, "length", length, "sha256",
			 upload->has_sha256 ? digest_json(&upload->sha256) : NULL, "recipe",
			 upload->finished ? digest_json(&upload->recipe) : NULL, "expires",
			 (json_int_t)upload->expires);
}

static int reply_offset(struct reply *reply, int64_t offset, struct err *err)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)offset);
	return reply_header(reply, "Upload-Offset", text) < 0 ? err_nomem(err) : 0;
}

int api_upload_create(struct request *rq, struct reply *reply, struct err *err)
{
	struct digest sha256 = {{0}};
	struct upload_spec spec = {
		.taker = taker_of(rq), .length = -1, .max_length = length_max(rq)};
	bool stated = false;
	const struct json_field fields[] = {
		FIELD_INT("length", &spec.length, .optional = true, .min = 0),
		FIELD_TEXT("name", &spec.name, .optional = true, .min = 1, .max = UPLOAD_NAME - 1),
		FIELD_DIGEST("sha256", &sha256, .optional = true, .ret_present = &stated),
	};
	struct upload upload;
	struct deed deed;

	if (rq->body && json_read(rq->body, fields, COUNT_OF(fields), err) < 0)
		return -1;
	spec.sha256 = stated ? &sha256 : NULL;
	if (upload_create(rq->app->blobs, rq->db, &spec, now_of(rq),
			  deed_also(&deed, rq, "upload.create", spec.name ? spec.name : ""),
			  &upload, err) < 0 ||
	    reply_offset(reply, upload.offset, err) < 0)
		return -1;
	return reply_json(reply, upload.resumed ? 200 : 201, upload_json(&upload), err);
}

int api_upload_get(struct request *rq, struct reply *reply, struct err *err)
{
	struct upload upload;

	if (upload_get(rq->app->blobs, rq->db, rq->params[0], rq->who.id, &upload, err) < 0 ||
	    reply_offset(reply, upload.offset, err) < 0)
		return -1;
	return reply_json(reply, 200, upload_json(&upload), err);
}

/* A decimal header; absent and not wanted: *ret_value stays. */
static int header_int(const struct request *rq, const char *name, bool wanted, int64_t *ret_value,
		      struct err *err)
{
	const char *text = request_header(rq, name);

	if (!text && !wanted)
		return 0;
	if (!text || !*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)
		return err_set(err, ERR_INVALID, "%s: a header with a decimal number is wanted",
			       name);
	*ret_value = strtoll(text, NULL, 10);
	return 0;
}

int api_upload_begin(struct request *rq, int *ret_fd, int64_t *max_body, struct err *err)
{
	const struct taker taker = taker_of(rq);
	struct upload_part part = {.len = -1, .max_length = length_max(rq)};
	int64_t max;

	if (header_int(rq, "Upload-Offset", true, &part.offset, err) < 0 ||
	    header_int(rq, "Content-Length", false, &part.len, err) < 0 ||
	    upload_append(rq->app->blobs, rq->db, rq->params[0], &taker, &part, now_of(rq), ret_fd,
			  &max, err) < 0)
		return -1;
	if (max < *max_body)
		*max_body = max;
	return 0;
}

int api_upload_patch(struct request *rq, struct reply *reply, struct err *err)
{
	int64_t offset;

	if (upload_appended(rq->app->blobs, rq->params[0], rq->body_fd, now_of(rq), &offset, err) <
		    0 ||
	    reply_offset(reply, offset, err) < 0)
		return -1;
	return reply_empty(reply, 204);
}

int api_upload_finish(struct request *rq, struct reply *reply, struct err *err)
{
	struct digest sha256 = {{0}};
	bool stated = false;
	const struct json_field fields[] = {
		FIELD_DIGEST("sha256", &sha256, .optional = true, .ret_present = &stated),
	};
	struct scope room;
	struct recipe_info info;
	struct deed deed;

	if (rq->body && json_read(rq->body, fields, COUNT_OF(fields), err) < 0)
		return -1;
	const struct also *also = deed_also(&deed, rq, "upload.finish", rq->params[0]);
	deed.raw = true;
	if (upload_finish(rq->app->blobs, rq->db, rq->params[0], rq->who.id, scope_of(rq, &room),
			  stated ? &sha256 : NULL, now_of(rq), also, &info, err) < 0)
		return -1;
	return reply_info(reply, &info, err);
}

int api_upload_delete(struct request *rq, struct reply *reply, struct err *err)
{
	struct deed deed;

	if (upload_drop(rq->app->blobs, rq->db, rq->params[0], rq->who.id,
			deed_also(&deed, rq, "upload.delete", rq->params[0]), err) < 0)
		return -1;
	return reply_empty(reply, 204);
}
