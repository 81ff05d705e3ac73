#include "cli/export.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/grow.h"
#include "base/map.h"
#include "cli/device.h"
#include "cli/export_delta.h"
#include "cli/published.h"
#include "cli/tree.h"
#include "manifest/doc.h"
#include "manifest/dsse.h"
#include "store/chunkmap.h"
#include "store/delta.h"
#include "store/parts.h"
#include "store/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_ROOM 800
#define DESCRIPTION_MAX ((size_t)4 << 20)
#define OCTETS "application/octet-stream"
#define JSON "application/json"
#define FOREVER "public, max-age=31536000, immutable"

/* What a bucket will say of them: nothing of it is the listener's word. */
enum kind { KIND_BYTES, KIND_DELTA, KIND_MAP, KIND_NUMBERED, KIND_LATEST };
static const struct {
	const char *type, *cache;
	bool immutable;
} kinds[] = {
	[KIND_BYTES] = {OCTETS, FOREVER, true},
	[KIND_DELTA] = {OCTETS, FOREVER, false}, /* one that was lost and made again may be longer */
	[KIND_MAP] = {OCTETS, "public, max-age=3600", false},
	[KIND_NUMBERED] = {JSON, FOREVER, true},
	[KIND_LATEST] = {JSON, "public, max-age=60", false},
};

/* A map, kept until all that it names is there. */
struct kept_map {
	struct digest recipe;
	struct buf bytes;
	struct digest sha256;
};

/* Something to be copied. */
struct wanted {
	char *path; /* owned */
	int64_t len;
	enum { WANT_NAMED, WANT_HEAD, WANT_PART } how; /* by digest; a delta's first part; another */
	struct digest digest; /* NAMED: of the bytes; HEAD: of the recipe that the delta leads to */
	uint64_t delta;	      /* HEAD: bytes of all parts */
};

struct exporting {
	struct cli *cli;
	struct device *device;
	struct tree *tree;
	const struct export_options *options;
	struct published *repos; /* the index, then classes' */
	char **bases;		 /* of them */
	size_t repo_count;
	struct map *seen;      /* paths that are wanted or done; the values are the map itself */
	struct wanted *wanted;
	uint32_t wanted_count, wanted_room;
	struct kept_map *maps;
	uint32_t map_count, map_room;
	struct progress bar;
	int64_t done; /* bytes, for the bar */
	struct export_report report;
};

static void exporting_done(struct exporting *x)
{
	for (size_t i = 0; i < x->repo_count; i++)
		published_done(&x->repos[i]);
	for (size_t i = 0; i < x->repo_count; i++)
		free(x->bases[i]);
	for (size_t i = 0; i < x->wanted_count; i++)
		free(x->wanted[i].path);
	for (size_t i = 0; i < x->map_count; i++)
		buf_done(&x->maps[i].bytes);
	free(x->repos);
	free(x->bases);
	free(x->wanted);
	free(x->maps);
	map_free(x->seen);
	device_close(x->device);
	tree_close(x->tree);
}

/* ---- putting ---- */

static struct tree_item item_of(const char *path, enum kind kind, int64_t len,
				const struct digest *sha256)
{
	return (struct tree_item){.key = path + 1,
				  .type = kinds[kind].type,
				  .cache = kinds[kind].cache,
				  .immutable = kinds[kind].immutable,
				  .len = len,
				  .sha256 = *sha256};
}

/* Bytes at hand.  What may change is put also when the tree has as many already. */
static int put_bytes(struct exporting *x, const char *path, const struct buf *bytes,
		     const struct digest *sha256, enum kind kind, struct err *err)
{
	int64_t there = -1;
	const struct tree_item item = item_of(path, kind, (int64_t)bytes->len, sha256);
	x->report.keys++;
	if (item.immutable && tree_length(x->tree, item.key, &there, err))
		return -1;
	if (item.immutable && there == item.len)
		return 0;
	if (tree_file(x->tree, err) ||
	    file_pwrite_all(x->tree->fd, bytes->data ? bytes->data : "", bytes->len, 0, err) ||
	    tree_put(x->tree, &item, err))
		return -1;
	x->report.written++;
	x->report.bytes += item.len;
	return 0;
}

/* ---- what is wanted ---- */

/* 1: path was met before. */
static int met(struct exporting *x, const char *path, struct err *err)
{
	if (map_gets(x->seen, path))
		return 1;
	return map_puts(x->seen, path, x->seen) ? err_nomem(err) : 0;
}

/* w.path is copied. */
static int want(struct exporting *x, struct wanted w, struct err *err)
{
	const int before = met(x, w.path, err);
	if (before)
		return before < 0 ? -1 : 0;
	struct wanted *grown = grow_array(x->wanted, &x->wanted_room, x->wanted_count, sizeof(*grown));
	if (!grown)
		return err_nomem(err);
	x->wanted = grown;
	w.path = strdup(w.path);
	if (!w.path)
		return err_nomem(err);
	x->wanted[x->wanted_count++] = w;
	return 0;
}

static int want_packs(struct exporting *x, const struct chunkmap *map, struct err *err)
{
	char path[PATH_ROOM], hex[DIGEST_HEX];
	for (uint32_t i = 0; i < map->pack_count; i++) {
		digest_hex(&map->packs[i].digest, hex);
		snprintf(path, sizeof(path), "/v1/packs/%s", hex);
		const struct wanted w = {.path = path, .len = map->packs[i].bytes,
					 .digest = map->packs[i].digest};
		if (want(x, w, err))
			return -1;
	}
	return 0;
}

/* Every part has its length, by which a delta that was made again is told from the one before. */
static int want_parts(struct exporting *x, const struct chunkmap *map,
		      const struct chunkmap_delta *delta, struct err *err)
{
	char path[PATH_ROOM], new[DIGEST_HEX], old[DIGEST_HEX];
	digest_hex(&map->recipe, new);
	digest_hex(&delta->from, old);
	if (delta->parts != part_count(delta->bytes))
		return err_set(err, ERR_CORRUPT, "/v1/maps/%s: the parts of a delta do not fit its bytes",
			       new);
	for (uint32_t n = 0; n < delta->parts; n++) {
		const uint64_t left = delta->bytes - (uint64_t)n * DELTA_PART;
		snprintf(path, sizeof(path), "/v1/deltas/%s/%s/%u", new, old, n);
		const struct wanted w = {.path = path,
					 .len = left < DELTA_PART ? (int64_t)left : (int64_t)DELTA_PART,
					 .how = n ? WANT_PART : WANT_HEAD,
					 .digest = map->recipe,
					 .delta = delta->bytes};
		if (want(x, w, err))
			return -1;
	}
	return 0;
}

static int want_deltas(struct exporting *x, const struct chunkmap *map, struct err *err)
{
	for (uint32_t i = 0; i < map->delta_count; i++)
		if (want_parts(x, map, &map->deltas[i], err))
			return -1;
	return 0;
}

/* ---- a file of a variant ---- */

static int listed_get(struct exporting *x, const char *path, struct buf *bytes,
		      struct device_reply *reply, struct err *err)
{
	const int found = published_get(x->device, path, bytes, reply, err);
	if (found > 0)
		return 0;
	return found < 0 ? -1
			 : err_set(err, ERR_CORRUPT, "%s: the device listener does not have it",
				   path);
}

static struct kept_map *map_slot(struct exporting *x, struct err *err)
{
	struct kept_map *grown = grow_array(x->maps, &x->map_room, x->map_count, sizeof(*grown));
	if (!grown) {
		err_nomem(err);
		return NULL;
	}
	x->maps = grown;
	struct kept_map *slot = &x->maps[x->map_count++];
	*slot = (struct kept_map){.bytes = BUF_INIT(CHUNKMAP_BYTES_MAX)};
	return slot;
}

static int map_take(struct exporting *x, const struct digest *name, const struct recipe *recipe,
		    struct err *err)
{
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	char path[PATH_ROOM], hex[DIGEST_HEX];
	struct kept_map *kept = map_slot(x, err);
	if (!kept)
		return -1;
	kept->recipe = *name;
	digest_hex(name, hex);
	snprintf(path, sizeof(path), "/v1/maps/%s", hex);
	struct device_reply reply;
	if (listed_get(x, path, &kept->bytes, &reply, err))
		return -1;
	kept->sha256 = reply.sha256;
	if (chunkmap_parse(&map, kept->bytes.data, kept->bytes.len, err) ||
	    chunkmap_fits(map, recipe, name, err))
		return err_in(err, "%s", path);
	return want_packs(x, map, err) ? -1 : want_deltas(x, map, err);
}

static int recipe_take(struct exporting *x, const struct manifest_file *file, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	struct device_reply reply;
	char path[PATH_ROOM], hex[DIGEST_HEX];
	digest_hex(&file->recipe, hex);
	snprintf(path, sizeof(path), "/v1/recipes/%s", hex);
	const int before = met(x, path, err);
	if (before)
		return before < 0 ? -1 : 0;
	x->report.files++;
	if (listed_get(x, path, &bytes, &reply, err))
		return -1;
	if (!digest_eq(&reply.sha256, &file->recipe))
		return err_set(err, ERR_UNTRUSTED, "%s: not the bytes of its name", path);
	if (recipe_parse(&recipe, bytes.data, bytes.len, err))
		return err_in(err, "%s", path);
	if (map_take(x, &file->recipe, recipe, err))
		return -1;
	return put_bytes(x, path, &bytes, &reply.sha256, KIND_BYTES, err);
}

static int envelope_take(struct exporting *x, const struct digest *attest, struct err *err)
{
	AUTO_BUF struct buf bytes = BUF_INIT(DSSE_MAX);
	struct device_reply reply;
	char path[PATH_ROOM], hex[DIGEST_HEX];
	digest_hex(attest, hex);
	snprintf(path, sizeof(path), "/v1/attest/%s", hex);
	const int before = met(x, path, err);
	if (before)
		return before < 0 ? -1 : 0;
	if (listed_get(x, path, &bytes, &reply, err))
		return -1;
	if (!digest_eq(&reply.sha256, attest))
		return err_set(err, ERR_UNTRUSTED, "%s: not the bytes of its name", path);
	return put_bytes(x, path, &bytes, &reply.sha256, KIND_NUMBERED, err);
}

static int target_want(struct exporting *x, const char *base, const struct manifest_variant *v,
		       const struct manifest_file *file, struct err *err)
{
	char path[PATH_ROOM], hex[DIGEST_HEX];
	digest_hex(&file->sha256, hex);
	snprintf(path, sizeof(path), "%s/targets/%s/%s/%s/%s.%s", base, v->ref.model,
		 v->ref.release, v->ref.tier, hex, file->name);
	const struct wanted w = {.path = path, .len = file->length, .digest = file->sha256};
	return want(x, w, err);
}

static int variant_take(struct exporting *x, const char *base, const struct manifest_variant *v,
			struct err *err)
{
	for (unsigned i = 0; i < v->file_count; i++)
		if (recipe_take(x, &v->files[i], err) ||
		    (x->options->targets && target_want(x, base, v, &v->files[i], err)))
			return -1;
	return v->has_attest ? envelope_take(x, &v->attest, err) : 0;
}

/* ---- repositories ---- */

static int manifest_take(struct exporting *x, const struct published *repo, struct err *err)
{
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	struct manifest manifest;
	if (!arena)
		return err_nomem(err);
	if (manifest_parse(&manifest, repo->trust.body[TUF_TARGETS], arena, err))
		return err_in(err, "%s", repo->base);
	x->report.classes++;
	for (unsigned i = 0; i < manifest.variant_count; i++)
		if (variant_take(x, repo->base, &manifest.variants[i], err))
			return -1;
	return 0;
}

/* base is taken over. */
static int repo_take(struct exporting *x, char *base, const struct digest *first, struct err *err)
{
	struct published *repo = &x->repos[x->repo_count];
	if (!base)
		return err_nomem(err);
	x->bases[x->repo_count++] = base;
	const int found = published_read(repo, x->device, base, first, err);
	if (found < 0)
		return err_in(err, "%s", base);
	if (!found && !repo->index)
		cli_say(x->cli, "%s: not published yet; left out", base);
	return found && !repo->index ? manifest_take(x, repo, err) : 0;
}

static int class_take(struct exporting *x, const json_t *item, struct err *err)
{
	char *base;
	struct digest first;
	const char *channel = json_string_value(json_object_get(item, "channel"));
	const char *class = json_string_value(json_object_get(item, "class"));
	if (!channel || !class)
		return 0;
	const int known = published_class_root(&x->repos[0], channel, class, &first, err);
	if (known < 0)
		return -1;
	if (!known) {
		cli_say(x->cli, "%s/%s: no device is led to it yet; left out", channel, class);
		return 0;
	}
	return repo_take(x, asprintf(&base, "/v1/c/%s/%s", channel, class) < 0 ? NULL : base, &first,
			 err);
}

/* Without an index there is nothing to copy.  Who asks where people look finds its description instead. */
static int no_index(struct exporting *x, struct err *err)
{
	AUTO_BUF struct buf described = BUF_INIT(DESCRIPTION_MAX);
	struct device_reply reply;
	struct err ignored;
	const char *url = x->options->device_url;
	if (published_get(x->device, "/openapi.yaml", &described, &reply, &ignored) > 0)
		return err_set(err, ERR_INVALID, "%s is the admin listener, which serves no devices: name the "
			       "daemon's device_listen with --device-url (port 8080 unless it was told another)",
			       url);
	return err_set(err, ERR_NOT_FOUND, "%s has no index to copy: either it is no device listener (name one with "
		       "--device-url), or nothing is published yet: sign the roots that wait (flotilla keys "
		       "export)", url);
}

/* The index first: it says who signs for classes, and what it leads to is there. */
static int repos_take(struct exporting *x, struct api *api, struct err *err)
{
	size_t i;
	json_t *item;
	json_auto_t *list = NULL;
	if (api_get(api, "/admin/v1/manifests", &list, err))
		return -1;
	const json_t *items = json_object_get(list, "items");
	x->repos = calloc(json_array_size(items) + 1, sizeof(*x->repos));
	x->bases = calloc(json_array_size(items) + 1, sizeof(*x->bases));
	if (!x->repos || !x->bases)
		return err_nomem(err);
	if (repo_take(x, strdup(PUBLISHED_INDEX), &x->options->root, err))
		return -1;
	if (!x->repos[0].count)
		return no_index(x, err);
	json_array_foreach (items, i, item)
		if (class_take(x, item, err))
			return -1;
	return 0;
}

/* ---- copying ---- */

static int begin_file(void *arg, struct err *err)
{
	struct exporting *x = arg;
	return tree_file(x->tree, err);
}

static int write_file(void *arg, const void *bytes, size_t len, struct err *err)
{
	const struct exporting *x = arg;
	return file_write_all(x->tree->fd, bytes, len, err);
}

static void have_copied(void *arg, int64_t len)
{
	struct exporting *x = arg;
	progress_set(&x->bar, x->done + len);
}

/* What was fetched is what is wanted. */
static int judge(const struct exporting *x, const struct wanted *w, const struct device_reply *reply,
		 struct err *err)
{
	if (reply->len != w->len || (w->how == WANT_NAMED && !digest_eq(&reply->sha256, &w->digest)))
		return err_set(err, ERR_UNTRUSTED, "%s: not the bytes that were announced", w->path);
	if (w->how == WANT_HEAD &&
	    export_delta_check(x->tree->fd, reply->len, &w->digest, w->delta, err))
		return err_in(err, "%s", w->path);
	return 0;
}

/* A delta that is listed may have been dropped meanwhile: devices then take chunks. */
static int copy(struct exporting *x, const struct wanted *w, struct err *err)
{
	const struct device_get get = {.path = w->path,
				       .max = w->len,
				       .begin = begin_file,
				       .arg = x,
				       .sink = {write_file, x},
				       .progress = have_copied,
				       .progress_arg = x};
	struct device_reply reply;
	if (device_get(x->device, &get, &reply, err))
		return -1;
	if (!reply.found && w->how != WANT_NAMED)
		return 0;
	if (!reply.found)
		return err_set(err, ERR_CORRUPT, "%s: the device listener does not have it",
			       w->path);
	if (judge(x, w, &reply, err))
		return -1;
	const struct tree_item item = item_of(w->path, w->how == WANT_NAMED ? KIND_BYTES : KIND_DELTA,
					      reply.len, &reply.sha256);
	if (tree_put(x->tree, &item, err))
		return -1;
	x->report.written++;
	x->report.bytes += reply.len;
	x->done += reply.len;
	return 0;
}

/* Those that the tree has already are taken off the list. */
static int skip_present(struct exporting *x, int64_t *ret_bytes, struct err *err)
{
	uint32_t left = 0;
	*ret_bytes = 0;
	x->report.keys += (int64_t)x->wanted_count;
	for (size_t i = 0; i < x->wanted_count; i++) {
		struct wanted *w = &x->wanted[i];
		int64_t len;
		if (tree_length(x->tree, w->path + 1, &len, err))
			return -1;
		if (len == w->len) {
			free(TAKE(w->path));
			continue;
		}
		*ret_bytes += w->len;
		const struct wanted kept = *w;
		w->path = NULL;
		x->wanted[left++] = kept;
	}
	x->wanted_count = left;
	return 0;
}

static int copy_all(struct exporting *x, struct err *err)
{
	int64_t total;
	int bad = skip_present(x, &total, err);
	if (bad)
		return -1;
	progress_start(&x->bar, x->cli, "copying", total);
	for (size_t i = 0; !bad && i < x->wanted_count; i++)
		bad = copy(x, &x->wanted[i], err);
	progress_end(&x->bar);
	return bad;
}

static int put_maps(struct exporting *x, struct err *err)
{
	char path[PATH_ROOM], hex[DIGEST_HEX];
	for (size_t i = 0; i < x->map_count; i++) {
		digest_hex(&x->maps[i].recipe, hex);
		snprintf(path, sizeof(path), "/v1/maps/%s", hex);
		if (put_bytes(x, path, &x->maps[i].bytes, &x->maps[i].sha256, KIND_MAP,
			      err))
			return -1;
	}
	return 0;
}

/* Numbered ones of all repositories before the timestamps of any; the index's, which leads to the others,
 * last. */
static int put_documents(struct exporting *x, bool immutable, struct err *err)
{
	for (size_t i = x->repo_count; i-- > 0;)
		for (size_t k = 0; k < x->repos[i].count; k++) {
			const struct published_doc *doc = &x->repos[i].docs[k];
			if (doc->immutable == immutable &&
			    put_bytes(x, doc->path, &doc->bytes, &doc->sha256,
				      immutable ? KIND_NUMBERED : KIND_LATEST, err))
				return -1;
		}
	return 0;
}

static int export_steps(struct exporting *x, struct api *api, struct err *err)
{
	x->seen = map_new(NULL);
	if (!x->seen)
		return err_nomem(err);
	if (device_open(&x->device, x->options->device_url, x->cli->verbose, err) ||
	    tree_open(&x->tree, x->options->where, x->cli->verbose, err))
		return -1;
	return repos_take(x, api, err) || copy_all(x, err) || put_maps(x, err) ||
			       put_documents(x, true, err) || put_documents(x, false, err)
		       ? -1
		       : 0;
}

int export_run(struct cli *cli, struct api *api, const struct export_options *options,
	       struct export_report *ret_report, struct err *err)
{
	struct exporting x = {.cli = cli, .options = options};
	const int bad = export_steps(&x, api, err);
	if (!bad)
		*ret_report = x.report;
	exporting_done(&x);
	return bad;
}
