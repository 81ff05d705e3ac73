/* The older file becomes the new one, where there is no room for both.  Beside the .part lies the older
 * file's recipe as .base: whoever goes on knows by it what the rest of the .part still is. */
#include "base/file.h"
#include "sdk/fetch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE_SUFFIX ".base"
#define KEPT (4u << 20) /* bytes before the chunk under way that are not in the file any more */

struct inplace {
	const struct fetching *g;
	uint64_t lost;	     /* of the older file everything before this is, but for what is kept */
	uint8_t bytes[KEPT]; /* byte i of the older file at i % KEPT */
};

static void base_path(const struct fetching *g, char path[static SDK_PATH + 8])
{
	snprintf(path, SDK_PATH + 8, "%s" BASE_SUFFIX, g->path);
}

/* Where the chunk under way begins: what is before it is in the file no more. */
static uint64_t frontier(const struct fetching *g)
{
	return g->next < g->recipe->count ? g->recipe->chunks[g->next].at : g->recipe->length;
}

/* The older file's bytes, as long as they are anywhere: fetch_inplace_has(). */
static int read_old(void *arg, uint64_t at, void *bytes, size_t len, struct err *err)
{
	const struct inplace *in = arg;
	const uint64_t file = frontier(in->g);
	uint8_t *out = bytes;
	for (; len && at < file; at++, len--)
		*out++ = in->bytes[at % KEPT];
	return len ? file_pread_all(in->g->fd, out, len, (int64_t)at, err) : 0;
}

bool fetch_inplace_has(const struct fetching *g, uint32_t i)
{
	const struct inplace *in = g->inplace;
	const struct delta_entry *e = &g->delta->entries[i];
	const uint64_t at = g->recipe->chunks[i].at;
	if (!in || !e->old_len)
		return true;
	return e->old_at >= in->lost && (at < KEPT || e->old_at >= at - KEPT);
}

int fetch_inplace_keep(struct fetching *g, struct err *err)
{
	struct inplace *in = g->inplace;
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	if (!in)
		return 0;
	uint64_t at = c->at;
	const uint64_t end = at + c->len < g->old.size ? at + c->len : g->old.size;
	while (at < end) {
		const uint64_t room = KEPT - at % KEPT, left = end - at;
		const size_t n = left < room ? left : room;
		if (file_pread_all(g->fd, in->bytes + at % KEPT, n, (int64_t)at, err))
			return -1;
		at += n;
	}
	return 0;
}

/* lost: bytes at the beginning that may be overwritten already. */
static int start(struct flotilla *f, struct fetching *g, uint64_t lost)
{
	g->inplace = malloc(sizeof(*g->inplace));
	if (!g->inplace)
		return fetch_no_memory(f);
	g->inplace->g = g;
	g->inplace->lost = lost;
	g->old = (struct source){read_old, g->inplace, g->old.size};
	return FLOTILLA_OK;
}

void fetch_inplace_done(struct fetching *g)
{
	free(TAKE(g->inplace));
}

static int sync_dir_of(const char *path, struct err *err)
{
	char dir[SDK_PATH + 8];
	snprintf(dir, sizeof(dir), "%s", path);
	char *slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
	return file_sync_dir(slash ? dir : ".", err);
}

/* The older file's recipe is beside the .part before that is the older file; and that the older one has
 * not its name any more is durable before a byte of it is overwritten: after a power loss nobody may take
 * half of each for a whole file. */
static int take_over(struct fetching *g, const char *path, struct err *err)
{
	char base[SDK_PATH + 8], recipe[SDK_PATH + 8];
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	base_path(g, base);
	snprintf(recipe, sizeof(recipe), "%s" RECIPE_SUFFIX, path);
	if (file_read(recipe, &bytes, err) || file_write(base, bytes.data, bytes.len, 0600, err))
		return -1;
	if (rename(path, g->part))
		return err_sys(err, "%s", g->part);
	if (sync_dir_of(g->part, err) || sync_dir_of(path, err))
		return -1;
	unlink(recipe);
	const int fd = open(g->part, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "%s", g->part);
	close(g->fd);
	g->fd = fd;
	return 0;
}

int fetch_inplace_begin(struct flotilla *f, struct fetching *g, const char *path)
{
	struct err err;
	if (g->inplace)
		return FLOTILLA_OK;
	if (g->way != WAY_DELTA || strcmp(g->old_path, path) != 0)
		return sdk_say(f, FLOTILLA_E_DISK,
			       "no room beside the old file, and no delta to turn it into the new one");
	if (take_over(g, path, &err))
		return sdk_fail(f, FLOTILLA_E_STATE, &err);
	g->next = 0;
	g->here = g->way;
	return start(f, g, 0);
}

bool fetch_inplace_begun(const char *path)
{
	char base[SDK_PATH + 8];
	snprintf(base, sizeof(base), "%s" BASE_SUFFIX, path);
	return !access(base, F_OK);
}

void fetch_inplace_find(struct fetching *g)
{
	char base[SDK_PATH + 8];
	struct err err;
	struct digest name;
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(recipe_free) struct recipe *recipe = NULL;
	base_path(g, base);
	if (file_read(base, &bytes, &err) || recipe_parse(&recipe, bytes.data, bytes.len, &err))
		return;
	digest_of(&name, bytes.data, bytes.len);
	if (fetch_here_add(g, g->part, recipe, &name))
		return; /* its chunks are fetched */
}

int fetch_inplace_resume(struct flotilla *f, struct fetching *g)
{
	if (g->way != WAY_DELTA || strcmp(g->old_path, g->part) != 0)
		return FLOTILLA_OK;
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	return start(f, g, g->next < g->recipe->count ? c->at + c->len : g->recipe->length);
}

void fetch_inplace_forget(const struct fetching *g)
{
	char base[SDK_PATH + 8];
	base_path(g, base);
	unlink(base);
}
