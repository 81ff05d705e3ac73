/* Bringing one file: its recipe (signed through the manifest), the map that says where chunks lie
 * (not signed), and ranges of packs.  Every chunk is verified against the recipe before it is
 * written to its place; chunks that any installed variant has are copied.  What stands in the .part
 * file is verified again after a crash, so at most the chunk under way is fetched twice.
 * Memory: two chunk buffers, the recipe and the map. */
#include "base/file.h"
#include "base/map.h"
#include "sdk/internal.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/recipe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GAP_MAX (256 * 1024)  /* bytes fetched in vain rather than asking twice */
#define CAP_PERCENT 110	      /* of the signed size: more is an attack */
#define HASH_BYTES 65536
#define RECIPE_SUFFIX ".recipe"

#define LOCAL_FILES 64 /* that chunks are copied from */

/* Where a chunk lies on this device, or will when its turn has come. */
struct local {
	const char *path; /* NULL: in the file under way */
	uint64_t at;
};

struct fetching {
	struct digest sha256; /* of the file */
	char path[SDK_PATH], part[SDK_PATH + 8];
	int fd;
	struct recipe *recipe;
	struct chunkmap *map;
	struct map *locals; /* chunk digest -> struct local * */
	char *files[LOCAL_FILES]; /* owned: their paths */
	unsigned file_count;
	struct decoder *decoder;
	uint8_t *stored, *raw; /* CHUNK_STORED_MAX, CHUNK_RAW_MAX */
	uint32_t next;	       /* first chunk that is not in the file */
	int64_t received, cap; /* bytes of packs */
	uint64_t reused;
};

void fetch_drop(struct flotilla *f)
{
	struct fetching *g = f->fetching;
	if (!g)
		return;
	if (g->fd >= 0)
		close(g->fd);
	recipe_free(g->recipe);
	chunkmap_free(g->map);
	map_free(g->locals);
	for (unsigned i = 0; i < g->file_count; i++)
		free(g->files[i]);
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

static int get_recipe(struct flotilla *f, const struct manifest_file *file, struct recipe **ret,
		      struct buf *bytes)
{
	struct digest digest;
	struct err err;
	int code = fetch_blob(f, "recipes", &file->recipe, bytes);
	if (code)
		return code;
	digest_of(&digest, bytes->data ? bytes->data : "", bytes->len);
	if (!digest_eq(&digest, &file->recipe))
		return sdk_say(f, FLOTILLA_E_CONTENT, "%s: the recipe is not the signed one",
			       file->name);
	if (recipe_parse(ret, bytes->data, bytes->len, &err))
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

/* ---- what is here already ---- */

static int visit(const char *dir, const char *name,
		 int (*each)(void *arg, const char *path, const struct recipe *recipe), void *arg)
{
	char path[2 * SDK_PATH];
	struct err err;
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(recipe_free) struct recipe *recipe = NULL;
	const int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (file_read(path, &bytes, &err) || recipe_parse(&recipe, bytes.data, bytes.len, &err))
		return 0;
	path[len - (int)strlen(RECIPE_SUFFIX)] = 0;
	return access(path, F_OK) ? 0 : each(arg, path, recipe);
}

int fetch_recipes(const char *dir,
		  int (*each)(void *arg, const char *path, const struct recipe *recipe), void *arg)
{
	DIR *list = opendir(dir);
	const struct dirent *entry;
	int rc = 0;
	while (list && !rc && (entry = readdir(list))) {
		const size_t len = strlen(entry->d_name), tail = strlen(RECIPE_SUFFIX);
		if (len > tail && !strcmp(entry->d_name + len - tail, RECIPE_SUFFIX))
			rc = visit(dir, entry->d_name, each, arg);
	}
	if (list)
		closedir(list);
	return rc;
}

static int add_chunks(struct fetching *g, const char *path, const struct recipe *recipe)
{
	for (uint32_t i = 0; i < recipe->count; i++) {
		const struct recipe_chunk *c = &recipe->chunks[i];
		if (map_get(g->locals, c->digest.bytes, DIGEST_LEN))
			continue;
		struct local *local = calloc(1, sizeof(*local));
		if (!local)
			return -1;
		*local = (struct local){path, c->at};
		if (map_put(g->locals, c->digest.bytes, DIGEST_LEN, local))
			return -1;
	}
	return 0;
}

static int add_file(void *arg, const char *path, const struct recipe *recipe)
{
	struct fetching *g = arg;
	if (g->file_count == LOCAL_FILES || !(g->files[g->file_count] = strdup(path)))
		return -1;
	return add_chunks(g, g->files[g->file_count++], recipe);
}

/* What cannot be remembered is fetched. */
static void find_locals(struct flotilla *f, struct fetching *g)
{
	for (unsigned i = 0; i < f->model_count; i++) {
		const struct installed *both[] = {&f->models[i].stable, &f->models[i].candidate};
		for (unsigned k = 0; k < COUNT_OF(both); k++)
			if (both[k]->variant[0] && fetch_recipes(both[k]->dir, add_file, g))
				return;
	}
	if (add_chunks(g, NULL, g->recipe))
		return;
}

/* Where the chunk can be copied from; NULL: nowhere. */
static const struct local *local_of(const struct fetching *g, const struct recipe_chunk *c)
{
	const struct local *local = map_get(g->locals, c->digest.bytes, DIGEST_LEN);
	return local && (local->path || local->at < c->at) ? local : NULL;
}

/* The chunk's raw bytes in g->raw, from this device; false when they are not what they were. */
static bool read_local(struct fetching *g, const struct recipe_chunk *c)
{
	struct digest digest;
	struct err err;
	const struct local *local = local_of(g, c);
	AUTO_FD int fd = local && local->path ? open(local->path, O_RDONLY | O_CLOEXEC) : -1;
	if (!local || (local->path && fd < 0) ||
	    file_pread_all(local->path ? fd : g->fd, g->raw, c->len, (int64_t)local->at, &err))
		return false;
	digest_of(&digest, g->raw, c->len);
	return digest_eq(&digest, &c->digest);
}

/* Chunks that stand whole in the .part file, from the first on. */
static uint32_t verified_prefix(struct fetching *g)
{
	struct stat st;
	struct err err;
	uint32_t i = 0;
	if (fstat(g->fd, &st))
		return 0;
	for (; i < g->recipe->count; i++) {
		const struct recipe_chunk *c = &g->recipe->chunks[i];
		struct digest digest;
		if (c->at + c->len > (uint64_t)st.st_size ||
		    file_pread_all(g->fd, g->raw, c->len, (int64_t)c->at, &err))
			break;
		digest_of(&digest, g->raw, c->len);
		if (!digest_eq(&digest, &c->digest))
			break;
	}
	return i;
}

/* ---- starting ---- */

static int no_memory(struct flotilla *f)
{
	return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
}

static int not_written(struct flotilla *f, const struct err *err)
{
	return sdk_fail(f, err->status == ERR_FULL ? FLOTILLA_E_DISK : FLOTILLA_E_STATE, err);
}

static int save_recipe(struct flotilla *f, const char *path, const struct buf *bytes)
{
	char name[SDK_PATH + 8];
	struct err err;
	snprintf(name, sizeof(name), "%s" RECIPE_SUFFIX, path);
	return file_write(name, bytes->data, bytes->len, 0600, &err) ? not_written(f, &err)
								     : FLOTILLA_OK;
}

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

static int begin(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	struct fetching *g = calloc(1, sizeof(*g));
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	if (!g)
		return no_memory(f);
	f->fetching = g;
	g->fd = -1;
	g->sha256 = file->sha256;
	g->cap = file->stored_cap / 100 * CAP_PERCENT + CHUNK_STORED_MAX;
	g->decoder = decoder_new();
	g->stored = malloc(CHUNK_STORED_MAX);
	g->raw = malloc(CHUNK_RAW_MAX);
	g->locals = map_new(free);
	if (!g->decoder || !g->stored || !g->raw || !g->locals)
		return no_memory(f);
	int code = get_recipe(f, file, &g->recipe, &bytes);
	if (!code)
		code = get_map(f, file, g->recipe, &g->map);
	if (!code)
		code = open_part(f, g, path);
	if (!code)
		code = save_recipe(f, path, &bytes);
	if (code)
		return code;
	find_locals(f, g);
	g->next = verified_prefix(g);
	return FLOTILLA_OK;
}

/* ---- one range of one pack ---- */

/* Bytes of a pack as they arrive, and the chunk that they complete next. */
struct stream {
	struct flotilla *f;
	struct fetching *g;
	const struct flotilla_response *response;
	uint32_t pack;
	int64_t from;	 /* what was asked for */
	int64_t at;	 /* position in the pack of the next byte; -1: not known yet */
	uint32_t filled; /* of the current chunk */
	bool probe;	 /* verify one chunk, write nothing */
	bool enough;	 /* nothing further in this stream is wanted */
	int code;
};

static int write_chunk(struct stream *s, const struct recipe_chunk *c)
{
	struct err err;
	if (s->probe)
		return FLOTILLA_OK;
	return file_pwrite_all(s->g->fd, s->g->raw, c->len, (int64_t)c->at, &err)
		       ? not_written(s->f, &err)
		       : FLOTILLA_OK;
}

static int finish_chunk(struct stream *s)
{
	struct fetching *g = s->g;
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	const struct chunkmap_chunk *p = &g->map->chunks[g->next];
	const struct coded coded = {g->stored, p->stored, p->codec, c->type};
	struct err err;
	if (codec_open(g->decoder, &coded, &c->digest, g->raw, c->len, &err))
		return sdk_fail(s->f, FLOTILLA_E_CONTENT, &err);
	const int code = write_chunk(s, c);
	if (code)
		return code;
	s->f->stats.chunks++;
	s->filled = 0;
	g->next++;
	const struct chunkmap_chunk *n =
		g->next < g->recipe->count ? &g->map->chunks[g->next] : NULL;
	s->enough = s->probe || !n || n->pack != s->pack || (int64_t)n->at < s->at;
	return FLOTILLA_OK;
}

static int take(struct stream *s, const uint8_t *bytes, size_t len)
{
	while (len && !s->enough) {
		const struct chunkmap_chunk *p = &s->g->map->chunks[s->g->next];
		const int64_t want = (int64_t)p->at + s->filled;
		if (want > s->at) { /* a gap, or the head of a pack that came whole */
			const size_t skip = (int64_t)len < want - s->at ? len : (size_t)(want - s->at);
			bytes += skip;
			len -= skip;
			s->at += (int64_t)skip;
			continue;
		}
		const size_t part = len < p->stored - s->filled ? len : p->stored - s->filled;
		memcpy(s->g->stored + s->filled, bytes, part);
		s->filled += (uint32_t)part;
		bytes += part;
		len -= part;
		s->at += (int64_t)part;
		if (s->filled == p->stored) {
			const int code = finish_chunk(s);
			if (code)
				return code;
		}
	}
	return FLOTILLA_OK;
}

static int on_pack(void *arg, const void *bytes, size_t len)
{
	struct stream *s = arg;
	s->g->received += (int64_t)len;
	s->f->stats.bytes += len;
	if (s->at < 0) /* without Content-Range it is the whole pack */
		s->at = s->response->range_from >= 0 ? s->response->range_from : 0;
	if (s->g->received > s->g->cap)
		s->code = sdk_say(s->f, FLOTILLA_E_TOO_MUCH,
				  "the server sent more than was signed for");
	else if (s->at > s->from && s->filled == 0 && s->response->range_from > s->from)
		s->code = sdk_say(s->f, FLOTILLA_E_NETWORK, "another range than was asked for");
	else
		s->code = take(s, bytes, len);
	return s->code || s->enough;
}

/* How far one request goes: chunks in the order of the file while they lie onwards in one pack. */
static int64_t range_end(const struct flotilla *f, const struct fetching *g)
{
	const struct chunkmap_chunk *first = &g->map->chunks[g->next];
	int64_t end = (int64_t)first->at + first->stored;
	for (uint32_t i = g->next + 1; i < g->recipe->count; i++) {
		const struct chunkmap_chunk *c = &g->map->chunks[i];
		if (c->pack != first->pack || (int64_t)c->at < end || (int64_t)c->at - end > GAP_MAX ||
		    (int64_t)c->at + c->stored - (int64_t)first->at > f->o.slice_bytes ||
		    (g->locals && local_of(g, &g->recipe->chunks[i])))
			break;
		end = (int64_t)c->at + c->stored;
	}
	return end - 1;
}

static int fetch_range(struct flotilla *f, struct fetching *g, bool probe)
{
	char url[SDK_PATH], hex[DIGEST_HEX];
	const struct chunkmap_chunk *first = &g->map->chunks[g->next];
	const struct chunkmap_pack *pack = &g->map->packs[first->pack];
	struct flotilla_response response;
	struct stream s = {.f = f, .g = g, .response = &response, .pack = first->pack,
			   .from = first->at, .at = -1, .probe = probe};
	const uint32_t before = g->next;
	digest_hex(&pack->digest, hex);
	snprintf(url, sizeof(url), "%s/v1/packs/%s", f->url, hex);
	const struct flotilla_request request = {
		.url = url, .from = first->at,
		.to = probe ? (int64_t)first->at + first->stored - 1 : range_end(f, g),
		.max_bytes = pack->bytes, .on_body = on_pack, .arg = &s};
	const int status = sdk_get(f, &request, &response);
	if (s.code)
		return status < 0 || status == 206 || status == 200
			       ? s.code
			       : sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d", url,
					 status);
	if (status < 0)
		return g->next > before ? FLOTILLA_OK : status; /* cut off: what came is kept */
	if (status != 200 && status != 206)
		return sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d", url, status);
	return g->next > before ? FLOTILLA_OK
				: sdk_say(f, FLOTILLA_E_NETWORK, "%s: fewer bytes than asked for",
					  url);
}

/* ---- the whole file ---- */

static int copy_local(struct flotilla *f, struct fetching *g)
{
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	struct err err;
	if (file_pwrite_all(g->fd, g->raw, c->len, (int64_t)c->at, &err))
		return not_written(f, &err);
	f->stats.chunks_reused++;
	g->next++;
	g->reused += c->len;
	return FLOTILLA_OK;
}

static int check_whole(struct flotilla *f, struct fetching *g)
{
	struct digest digest;
	struct err err;
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	if (!ctx)
		return no_memory(f);
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
	if (file_commit(g->fd, g->part, path, &err))
		return not_written(f, &err);
	return FLOTILLA_OK;
}

/* One slice: OK when all chunks are there, AGAIN, or an error. */
static int work(struct flotilla *f, struct fetching *g)
{
	const int64_t stop = g->received + f->o.slice_bytes;
	const uint64_t stop_reused = g->reused + (uint64_t)f->o.slice_bytes * 4;
	while (g->next < g->recipe->count) {
		const int code = read_local(g, &g->recipe->chunks[g->next])
					 ? copy_local(f, g)
					 : fetch_range(f, g, false);
		if (code)
			return code;
		if ((g->received >= stop || g->reused >= stop_reused) &&
		    g->next < g->recipe->count)
			return FLOTILLA_AGAIN;
	}
	return FLOTILLA_OK;
}

int fetch_file(struct flotilla *f, const struct manifest_file *file, const char *path)
{
	if (f->fetching && (!digest_eq(&f->fetching->sha256, &file->sha256) ||
			    strcmp(f->fetching->path, path) != 0))
		fetch_drop(f);
	int code = f->fetching ? FLOTILLA_OK : begin(f, file, path);
	if (!code)
		code = work(f, f->fetching);
	if (!code)
		code = finish(f, f->fetching, path);
	if (code != FLOTILLA_AGAIN)
		fetch_drop(f);
	return code;
}

int fetch_probe(struct flotilla *f, const struct manifest_file *file)
{
	struct fetching *g = calloc(1, sizeof(*g));
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	if (!g)
		return no_memory(f);
	f->fetching = g;
	g->fd = -1;
	g->cap = file->stored_cap + CHUNK_STORED_MAX;
	g->decoder = decoder_new();
	g->stored = malloc(CHUNK_STORED_MAX);
	g->raw = malloc(CHUNK_RAW_MAX);
	int code = g->decoder && g->stored && g->raw ? get_recipe(f, file, &g->recipe, &bytes)
						     : no_memory(f);
	if (!code)
		code = get_map(f, file, g->recipe, &g->map);
	/* One chunk in the middle, chosen by the device's secret: together they touch all packs. */
	if (!code && g->recipe->count) {
		g->next = (uint32_t)(f->secret[0] << 8 | f->secret[1]) % g->recipe->count;
		code = fetch_range(f, g, true);
	}
	fetch_drop(f);
	return code;
}
