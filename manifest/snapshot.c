#include "manifest/snapshot.h"

#include "base/digest.h"
#include "base/hex.h"

#include <stdlib.h>
#include <string.h>

#define SHARDS 256 /* a change copies one shard's list and this many pointers */
#define ETAG_BYTES 16
#define PREFIX "/v1/"

/* A repository's documents, sorted by path. */
struct repo_docs {
	atomic_uint refs;
	char *name; /* "index" or "c/stable/android-8g" */
	unsigned count;
	struct doc *docs[];
};

/* Repositories whose names share a hash, sorted by name. */
struct shard {
	atomic_uint refs;
	unsigned count;
	struct repo_docs *repos[];
};

struct snapshot {
	atomic_uint refs;
	struct shard *shards[SHARDS]; /* NULL: empty */
};

/* ---- documents ---- */

static void doc_free(struct doc *doc)
{
	if (doc->reply)
		doc->reply_free(doc->reply);
	free(doc->path);
	free(doc->bytes);
	free(doc);
}

struct doc *doc_new(const char *path, const void *bytes, size_t len, enum doc_cache cache,
		    int64_t expires)
{
	struct digest digest;
	struct doc *doc = calloc(1, sizeof(*doc));
	if (!doc)
		return NULL;
	atomic_init(&doc->refs, 1);
	doc->cache = cache;
	doc->expires = expires;
	doc->len = len;
	doc->path = strdup(path);
	doc->bytes = malloc(len ? len : 1);
	if (!doc->path || !doc->bytes) {
		doc_free(doc);
		return NULL;
	}
	memcpy(doc->bytes, bytes, len);
	digest_of(&digest, bytes, len);
	doc->etag[0] = '"';
	hex_encode(doc->etag + 1, digest.bytes, ETAG_BYTES);
	strcat(doc->etag, "\"");
	return doc;
}

static struct doc *doc_ref(struct doc *doc)
{
	atomic_fetch_add(&doc->refs, 1);
	return doc;
}

void doc_unref(struct doc *doc)
{
	if (doc && atomic_fetch_sub(&doc->refs, 1) == 1)
		doc_free(doc);
}

/* ---- repositories and shards ---- */

static void repo_unref(struct repo_docs *repo)
{
	if (!repo || atomic_fetch_sub(&repo->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < repo->count; i++)
		doc_unref(repo->docs[i]);
	free(repo->name);
	free(repo);
}

static void shard_unref(struct shard *shard)
{
	if (!shard || atomic_fetch_sub(&shard->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < shard->count; i++)
		repo_unref(shard->repos[i]);
	free(shard);
}

/* FNV-1a: only spreads our own names. */
static unsigned shard_of(const char *name, size_t len)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)name[i]) * 16777619u;
	return (hash ^ (hash >> 16)) % SHARDS;
}

static int compare_name(const char *name, size_t len, const char *with)
{
	const int order = strncmp(name, with, len);
	return order ? order : -(with[len] != 0);
}

static struct repo_docs *shard_find(const struct shard *shard, const char *name, size_t len)
{
	unsigned low = 0, high = shard ? shard->count : 0;
	while (low < high) {
		const unsigned middle = (low + high) / 2;
		const int order = compare_name(name, len, shard->repos[middle]->name);
		if (!order)
			return shard->repos[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* shard with repo in it, which is taken over. */
static struct shard *shard_with(const struct shard *old, struct repo_docs *repo)
{
	const unsigned count = old ? old->count : 0;
	struct shard *shard = malloc(sizeof(*shard) + (count + 1) * sizeof(shard->repos[0]));
	if (!shard)
		return NULL;
	atomic_init(&shard->refs, 1);
	shard->count = 0;
	bool placed = false;
	for (unsigned i = 0; i < count; i++) {
		const int order = strcmp(repo->name, old->repos[i]->name);
		if (!placed && order <= 0) {
			shard->repos[shard->count++] = repo;
			placed = true;
		}
		if (!order)
			continue;
		atomic_fetch_add(&old->repos[i]->refs, 1);
		shard->repos[shard->count++] = old->repos[i];
	}
	if (!placed)
		shard->repos[shard->count++] = repo;
	return shard;
}

/* ---- snapshots ---- */

struct snapshot *snapshot_new(void)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	if (snapshot)
		atomic_init(&snapshot->refs, 1);
	return snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
	atomic_fetch_add(&snapshot->refs, 1);
	return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
	if (!snapshot || atomic_fetch_sub(&snapshot->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < SHARDS; i++)
		shard_unref(snapshot->shards[i]);
	free(snapshot);
}

/* The part of the path that names its repository; 0: none. */
static size_t repo_of_path(const char *path, const char **ret_name)
{
	if (strncmp(path, PREFIX, sizeof(PREFIX) - 1))
		return 0;
	const char *name = path + sizeof(PREFIX) - 1;
	*ret_name = name;
	if (!strncmp(name, "index/", 6))
		return 5;
	if (!strncmp(name, "attest/", 7))
		return 6;
	if (strncmp(name, "c/", 2))
		return 0;
	const char *class = strchr(name + 2, '/');
	const char *end = class ? strchr(class + 1, '/') : NULL;
	return end ? (size_t)(end - name) : 0;
}

const struct doc *snapshot_find(const struct snapshot *snapshot, const char *path)
{
	const char *name;
	const size_t len = repo_of_path(path, &name);
	const struct repo_docs *repo =
		len ? shard_find(snapshot->shards[shard_of(name, len)], name, len) : NULL;
	unsigned low = 0, high = repo ? repo->count : 0;
	while (low < high) {
		const unsigned middle = (low + high) / 2;
		const int order = strcmp(path, repo->docs[middle]->path);
		if (!order)
			return repo->docs[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* ---- making the next one ---- */

static int by_path(const void *a, const void *b)
{
	return strcmp((*(struct doc *const *)a)->path, (*(struct doc *const *)b)->path);
}

static bool forgotten(const struct doc *doc, int64_t now)
{
	return doc->cache == DOC_IMMUTABLE && doc->expires < now;
}

static bool replaced(const struct doc *doc, struct doc *const *docs, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(docs[i]->path, doc->path))
			return true;
	return false;
}

static struct repo_docs *repo_with(const struct repo_docs *old, const char *name,
				   struct doc **docs, unsigned count, int64_t now)
{
	const unsigned kept = old ? old->count : 0;
	struct repo_docs *repo = malloc(sizeof(*repo) + (kept + count) * sizeof(repo->docs[0]));
	char *copy = strdup(name);
	if (!repo || !copy) {
		free(repo);
		free(copy);
		return NULL;
	}
	atomic_init(&repo->refs, 1);
	repo->name = copy;
	repo->count = 0;
	for (unsigned i = 0; i < kept; i++)
		if (!forgotten(old->docs[i], now) && !replaced(old->docs[i], docs, count))
			repo->docs[repo->count++] = doc_ref(old->docs[i]);
	for (unsigned i = 0; i < count; i++)
		repo->docs[repo->count++] = doc_ref(docs[i]);
	qsort(repo->docs, repo->count, sizeof(repo->docs[0]), by_path);
	return repo;
}

static struct snapshot *copy_with_shard(const struct snapshot *old, unsigned at,
					struct shard *shard)
{
	struct snapshot *snapshot = shard ? snapshot_new() : NULL;
	if (!snapshot) {
		shard_unref(shard);
		return NULL;
	}
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *same = old->shards[i];
		if (i == at || !same)
			continue;
		atomic_fetch_add(&same->refs, 1);
		snapshot->shards[i] = same;
	}
	snapshot->shards[at] = shard;
	return snapshot;
}

struct snapshot *snapshot_with(const struct snapshot *old, const char *name, struct doc **docs,
			       unsigned count, int64_t now)
{
	const size_t len = strlen(name);
	const unsigned at = shard_of(name, len);
	const struct shard *shard = old->shards[at];
	struct repo_docs *repo = repo_with(shard_find(shard, name, len), name, docs, count, now);
	for (unsigned i = 0; i < count; i++)
		doc_unref(docs[i]);
	struct shard *next = repo ? shard_with(shard, repo) : NULL;
	if (!next)
		repo_unref(repo);
	return copy_with_shard(old, at, next);
}

/* ---- figures ---- */

unsigned snapshot_repositories(const struct snapshot *snapshot)
{
	unsigned count = 0;
	for (unsigned i = 0; i < SHARDS; i++)
		count += snapshot->shards[i] ? snapshot->shards[i]->count : 0;
	return count;
}

unsigned snapshot_documents(const struct snapshot *snapshot)
{
	unsigned count = 0;
	for (unsigned i = 0; i < SHARDS; i++)
		for (unsigned r = 0; snapshot->shards[i] && r < snapshot->shards[i]->count; r++)
			count += snapshot->shards[i]->repos[r]->count;
	return count;
}

int64_t snapshot_first_expiry(const struct snapshot *snapshot)
{
	int64_t first = INT64_MAX;
	for (unsigned i = 0; i < SHARDS; i++)
		for (unsigned r = 0; snapshot->shards[i] && r < snapshot->shards[i]->count; r++) {
			const struct repo_docs *repo = snapshot->shards[i]->repos[r];
			for (unsigned d = 0; d < repo->count; d++)
				if (repo->docs[d]->cache == DOC_SHORT &&
				    repo->docs[d]->expires < first)
					first = repo->docs[d]->expires;
		}
	return first;
}
