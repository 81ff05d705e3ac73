/* What is on this device already: whole files of installed variants, by their recipes, and what stands
 * of the file under way. */
#include "base/file.h"
#include "sdk/fetch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int visit(const char *dir, const char *name, fetch_each *each, void *arg)
{
	char path[2 * SDK_PATH];
	struct err err;
	struct digest digest;
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	AUTO(recipe_free) struct recipe *recipe = NULL;
	const int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (file_read(path, &bytes, &err) || recipe_parse(&recipe, bytes.data, bytes.len, &err))
		return 0;
	digest_of(&digest, bytes.data, bytes.len);
	path[len - (int)strlen(RECIPE_SUFFIX)] = 0;
	return access(path, F_OK) ? 0 : each(arg, path, recipe, &digest);
}

int fetch_recipes(const char *dir, fetch_each *each, void *arg)
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
		struct fetch_local *local = calloc(1, sizeof(*local));
		if (!local)
			return -1;
		*local = (struct fetch_local){path, c->at};
		if (map_put(g->locals, c->digest.bytes, DIGEST_LEN, local))
			return -1;
	}
	return 0;
}

int fetch_here_add(struct fetching *g, const char *path, const struct recipe *recipe,
		   const struct digest *name)
{
	char *copy = g->file_count < FETCH_FILES ? strdup(path) : NULL;
	if (!copy)
		return -1;
	g->files[g->file_count++] = (struct fetch_file_here){copy, *name, recipe->length};
	return add_chunks(g, copy, recipe);
}

static int add_file(void *arg, const char *path, const struct recipe *recipe,
		    const struct digest *name)
{
	return fetch_here_add(arg, path, recipe, name);
}

void fetch_here_find(struct flotilla *f, struct fetching *g)
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

const struct fetch_local *fetch_here(const struct fetching *g, const struct recipe_chunk *c)
{
	const struct fetch_local *local = map_get(g->locals, c->digest.bytes, DIGEST_LEN);
	return local && (local->path || local->at < c->at) ? local : NULL;
}

bool fetch_here_read(struct fetching *g, const struct recipe_chunk *c)
{
	struct digest digest;
	struct err err;
	const struct fetch_local *local = fetch_here(g, c);
	AUTO_FD int fd = local && local->path ? open(local->path, O_RDONLY | O_CLOEXEC) : -1;
	if (!local || (local->path && fd < 0) ||
	    file_pread_all(local->path ? fd : g->fd, g->raw, c->len, (int64_t)local->at, &err))
		return false;
	digest_of(&digest, g->raw, c->len);
	return digest_eq(&digest, &c->digest);
}

uint32_t fetch_here_prefix(struct fetching *g)
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
