/* Bringing one file: its recipe (signed through the manifest), the map that says where chunks lie (not
 * signed), then chunk after chunk: fetch.h.  What stands in the .part file is verified again after a
 * crash, so at most the chunk under way is fetched twice.
 * Memory: two chunk buffers, three more for a delta, the recipe, the map and a delta's table. */
#include "base/file.h"
#include "sdk/fetch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAP_PERCENT 110 /* of the signed size: more is an attack */
#define HASH_BYTES 65536

int fetch_no_memory(struct flotilla *f)
{
	return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
}

int fetch_not_written(struct flotilla *f, const struct err *err)
{
	return sdk_fail(f, err->status == ERR_FULL ? FLOTILLA_E_DISK : FLOTILLA_E_STATE, err);
}

void fetch_drop(struct flotilla *f)
{
	struct fetching *g = f->fetching;
	if (!g)
		return;
	fetch_way_done(g);
	if (g->fd >= 0)
		close(g->fd);
	recipe_free(g->recipe);
	chunkmap_free(g->map);
	map_free(g->locals);
	for (unsigned i = 0; i < g->file_count; i++)
		free(g->files[i].path);
	decoder_free(g->decoder);
	free(g->stored);
	free(g->raw);
	free(g);
	f->fetching = NULL;
}

/* ---- recipe and map ---- */

int fetch_blob(struct flotilla *f, const char *kind, const struct digest *name, struct buf *buf)
{
	char path[128], hex[DIGEST_HEX];
	struct flotilla_response response;
	digest_hex(name, hex);
	snprintf(path, sizeof(path), "/v1/%s/%s", kind, hex);
	const int status = sdk_get_buf(f, path, NULL, buf, &response);
	if (status == 200 || status < 0)
		return status < 0 ? status : FLOTILLA_OK;
	return sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d", path, status);
}

static bool is_named(const struct buf *bytes, const struct digest *name)
{
	struct digest digest;
	digest_of(&digest, bytes->data ? bytes->data : "", bytes->len);
	return digest_eq(&digest, name);
}

/* The one that an attempt before left beside the file under way, or the server's, which is left there
 * in turn.  path NULL: only the server's. */
static int recipe_bytes(struct flotilla *f, const struct manifest_file *file, const char *path,
			struct buf *bytes)
{
	char name[SDK_PATH + 8];
	struct err err;
	snprintf(name, sizeof(name), "%s" RECIPE_SUFFIX, path ? path : "");
	if (path && !file_read(name, bytes, &err) && is_named(bytes, &file->recipe))
		return FLOTILLA_OK;
	buf_reset(bytes);
	const int code = fetch_blob(f, "recipes", &file->recipe, bytes);
	if (code)
		return code;
	if (!is_named(bytes, &file->recipe))
		return sdk_say(f, FLOTILLA_E_CONTENT, "%s: the recipe is not the signed one",
			       file->name);
	if (path && file_write(name, bytes->data, bytes->len, 0600, &err))
		return fetch_not_written(f, &err);
	return FLOTILLA_OK;
}

static int get_recipe(struct flotilla *f, const struct manifest_file *file, const char *path,
		      struct recipe **ret)
{
	struct err err;
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	const int code = recipe_bytes(f, file, path, &bytes);
	if (code)
		return code;
	if (recipe_parse(ret, bytes.data, bytes.len, &err))
		return sdk_fail(f, FLOTILLA_E_CONTENT, &err);
	if ((int64_t)(*ret)->length == file->length && digest_eq(&(*ret)->sha256, &file->sha256))
		return FLOTILLA_OK;
	return sdk_say(f, FLOTILLA_E_CONTENT, "%s: the recipe is of another file", file->name);
}

static int get_map(struct flotilla *f, const struct manifest_file *file,
		   const struct recipe *recipe, struct chunkmap **ret)
{
	struct err err;
	AUTO_BUF struct buf bytes = BUF_INIT(CHUNKMAP_BYTES_MAX);
	int code = fetch_blob(f, "maps", &file->recipe, &bytes);
	if (code)
		return code;
	if (chunkmap_parse(ret, bytes.data ? bytes.data : "", bytes.len, &err) ||
	    chunkmap_fits(*ret, recipe, &file->recipe, &err))
		return sdk_fail(f, FLOTILLA_E_CONTENT, &err);
	return FLOTILLA_OK;
}

/* ---- starting ---- */

static int open_part(struct flotilla *f, struct fetching *g, const char *path)
{
	snprintf(g->path, sizeof(g->path), "%s", path);
	snprintf(g->part, sizeof(g->part), "%s.part", path);
	g->fd = open(g->part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (g->fd < 0) {
		struct err err;
		err_sys(&err, "%s", g->part);
		return sdk_fail(f, FLOTILLA_E_STATE, &err);
	}
	return FLOTILLA_OK;
}

/* f->fetching, with recipe and map of file.  path as for recipe_bytes(). */
static int begin_any(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	struct fetching *g = calloc(1, sizeof(*g));
	if (!g)
		return fetch_no_memory(f);
	f->fetching = g;
	g->fd = g->old_fd = -1;
	g->sha256 = file->sha256;
	g->name = file->recipe;
	g->way = g->here = WAY_CHUNKS;
	g->cap = file->stored_cap / 100 * CAP_PERCENT + CHUNK_STORED_MAX;
	g->decoder = decoder_new();
	g->stored = malloc(CHUNK_STORED_MAX);
	g->raw = malloc(CHUNK_RAW_MAX);
	g->locals = map_new(free);
	if (!g->decoder || !g->stored || !g->raw || !g->locals)
		return fetch_no_memory(f);
	const int code = get_recipe(f, file, path, &g->recipe);
	return code ? code : get_map(f, file, g->recipe, &g->map);
}

static int begin(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	int code = begin_any(f, file, path);
	if (!code)
		code = open_part(f, f->fetching, path);
	if (code)
		return code;
	fetch_here_find(f, f->fetching);
	fetch_inplace_find(f->fetching);
	f->fetching->next = fetch_here_prefix(f->fetching);
	code = fetch_way_choose(f, f->fetching);
	return code ? code : fetch_inplace_resume(f, f->fetching);
}

/* ---- the whole file ---- */

int fetch_write(struct flotilla *f, struct fetching *g)
{
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	struct err err;
	if (fetch_inplace_keep(g, &err) ||
	    file_pwrite_all(g->fd, g->raw, c->len, (int64_t)c->at, &err))
		return fetch_not_written(f, &err);
	g->next++;
	g->here = g->way;
	return FLOTILLA_OK;
}

int fetch_copy_on(struct flotilla *f, struct fetching *g, uint64_t bytes)
{
	while (g->next < g->recipe->count && g->reused < bytes) {
		const struct recipe_chunk *c = &g->recipe->chunks[g->next];
		if (!fetch_here_read(g, c))
			break;
		const int code = fetch_write(f, g);
		if (code)
			return code;
		f->stats.chunks_reused++;
		g->reused += c->len;
	}
	return FLOTILLA_OK;
}

static int check_whole(struct flotilla *f, struct fetching *g)
{
	struct digest digest;
	struct err err;
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	if (!ctx)
		return fetch_no_memory(f);
	for (uint64_t at = 0; at < g->recipe->length;) {
		const uint64_t left = g->recipe->length - at;
		const size_t len = left < HASH_BYTES ? (size_t)left : HASH_BYTES;
		if (file_pread_all(g->fd, g->raw, len, (int64_t)at, &err))
			return sdk_fail(f, FLOTILLA_E_STATE, &err);
		digest_add(ctx, g->raw, len);
		at += len;
	}
	digest_end(ctx, &digest);
	return digest_eq(&digest, &g->sha256)
		       ? FLOTILLA_OK
		       : sdk_say(f, FLOTILLA_E_CONTENT, "the whole file is not what was signed");
}

static int finish(struct flotilla *f, struct fetching *g, const char *path)
{
	struct err err;
	if (ftruncate(g->fd, (off_t)g->recipe->length)) {
		err_sys(&err, "%s", g->part);
		return sdk_fail(f, FLOTILLA_E_STATE, &err);
	}
	const int code = check_whole(f, g);
	if (code) {
		unlink(g->part);
		return code;
	}
	fetch_inplace_forget(g);
	if (file_commit(g->fd, g->part, path, &err))
		return fetch_not_written(f, &err);
	return FLOTILLA_OK;
}

/* A chunk for which the delta has no bytes: a copy of what was elsewhere. */
static int make_here(struct flotilla *f, struct fetching *g)
{
	struct err err;
	if (fetch_way_open(g, &err))
		return sdk_fail(f, FLOTILLA_E_CONTENT, &err);
	f->stats.chunks_reused++;
	g->reused += g->recipe->chunks[g->next].len;
	return fetch_write(f, g);
}

/* The next chunk, from elsewhere; and what follows it there. */
static int fetch_on(struct flotilla *f, struct fetching *g)
{
	const int code = fetch_place(g, g->next).stored ? fetch_range(f, g) : make_here(f, g);
	return code ? fetch_way_fall_back(f, g, code) : FLOTILLA_OK;
}

/* One slice: OK when all chunks are there, AGAIN, or an error. */
static int work(struct flotilla *f, struct fetching *g)
{
	const int64_t stop = g->received + g->received_raw + f->o.slice_bytes;
	const uint64_t stop_reused = g->reused + FETCH_SPAN * (uint64_t)f->o.slice_bytes;
	while (g->next < g->recipe->count) {
		int code = fetch_copy_on(f, g, stop_reused);
		if (!code && g->next < g->recipe->count && g->reused < stop_reused)
			code = fetch_on(f, g);
		if (code)
			return code;
		if ((g->received + g->received_raw >= stop || g->reused >= stop_reused) &&
		    g->next < g->recipe->count)
			return FLOTILLA_AGAIN;
	}
	return FLOTILLA_OK;
}

/* As begun before, or anew. */
static int begin_or_go_on(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	if (f->fetching && (!digest_eq(&f->fetching->sha256, &file->sha256) ||
			    strcmp(f->fetching->path, path) != 0))
		fetch_drop(f);
	return f->fetching ? FLOTILLA_OK : begin(f, file, path);
}

int fetch_file(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	int code = begin_or_go_on(f, file, path);
	if (!code)
		code = work(f, f->fetching);
	if (!code)
		code = finish(f, f->fetching, path);
	if (code != FLOTILLA_AGAIN)
		fetch_drop(f);
	return code;
}

int fetch_over(struct flotilla *f, const struct manifest_file *file, const char *path,
	       const char *old_path)
{
	int code = begin_or_go_on(f, file, path);
	if (!code)
		code = fetch_inplace_begin(f, f->fetching, old_path);
	if (code) {
		fetch_drop(f);
		return code;
	}
	return fetch_file(f, file, path);
}

int fetch_probe(struct flotilla *f, const struct manifest_file *file)
{
	int code = begin_any(f, file, NULL);
	struct fetching *g = f->fetching;
	/* One chunk in the middle, chosen by the device's secret: together they touch all packs. */
	if (!code && g->recipe->count) {
		g->next = (uint32_t)(f->secret[0] << 8 | f->secret[1]) % g->recipe->count;
		code = fetch_range_probe(f, g);
	}
	fetch_drop(f);
	return code;
}
