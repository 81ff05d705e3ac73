#include "cli/published.h"

#include "base/file.h"
#include "base/grow.h"
#include "base/json.h"
#include "manifest/ceremony.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_ROOM 700
#define ROOTS_MAX ((size_t)16 << 20) /* bytes of all roots of a repository */

static int again(void *arg, struct err *err)
{
	(void)err;
	buf_reset(arg);
	return 0;
}

int published_get(struct device *device, const char *path, struct buf *bytes,
		  struct device_reply *ret_reply, struct err *err)
{
	struct device_reply reply;
	const struct device_get get = {.path = path,
				       .max = (int64_t)bytes->max,
				       .begin = again,
				       .arg = bytes,
				       .sink = sink_buf(bytes)};
	if (device_get(device, &get, &reply, err))
		return -1;
	*ret_reply = reply;
	return reply.found;
}

static void doc_done(struct published_doc *doc)
{
	free(doc->path);
	buf_done(&doc->bytes);
}

void published_done(struct published *repo)
{
	for (size_t i = 0; i < repo->count; i++)
		doc_done(&repo->docs[i]);
	free(repo->docs);
	tuf_done(&repo->trust);
	*repo = (struct published){0};
}

/* A new document at path, empty. */
static struct published_doc *doc_add(struct published *repo, const char *path, size_t max,
				     bool immutable, struct err *err)
{
	struct published_doc *grown = grow_array(repo->docs, &repo->room, repo->count, sizeof(*grown));
	if (!grown) {
		err_nomem(err);
		return NULL;
	}
	repo->docs = grown;
	struct published_doc *doc = &repo->docs[repo->count];
	*doc = (struct published_doc){
		.path = strdup(path), .bytes = BUF_INIT(max), .immutable = immutable};
	if (!doc->path) {
		err_nomem(err);
		return NULL;
	}
	repo->count++;
	return doc;
}

/* Added and fetched: 1; 0: 404, and not added; -1. */
static int doc_get(struct published *repo, struct device *device, const char *path, size_t max,
		   bool immutable, struct err *err)
{
	struct published_doc *doc = doc_add(repo, path, max, immutable, err);
	if (!doc)
		return -1;
	struct device_reply reply = {0};
	const int found = published_get(device, path, &doc->bytes, &reply, err);
	doc->sha256 = reply.sha256;
	if (!found)
		doc_done(&repo->docs[--repo->count]);
	return found;
}

static const struct published_doc *last(const struct published *repo)
{
	return &repo->docs[repo->count - 1];
}

static int missing(const char *path, struct err *err)
{
	return err_set(err, ERR_CORRUPT, "%s: the device listener does not have it", path);
}

/* ---- roots ---- */

/* The first one must be the one that is known from elsewhere: whoever answers could sign another. */
static int root_first(struct published *repo, const struct digest *first, struct err *err)
{
	struct digest have;
	const struct buf *bytes = &last(repo)->bytes;
	const char *data = bytes->data ? bytes->data : "";
	if (ceremony_root_digest(data, bytes->len, &have, err))
		return -1;
	if (!digest_eq(&have, first))
		return err_set(err, ERR_UNTRUSTED,
			       repo->index ? "not the root in --index-root FILE: another fleet's, or the "
					     "file is not the index's first root"
					   : "not the root that the index names");
	return tuf_trust_root(&repo->trust, data, bytes->len, err);
}

static int root_take(struct published *repo, int64_t version, const struct digest *first,
		     struct err *err)
{
	const struct buf *bytes = &last(repo)->bytes;
	if (version == 1)
		return root_first(repo, first, err);
	return tuf_update_root(&repo->trust, bytes->data ? bytes->data : "", bytes->len, err);
}

/* 1; 0: there is not even the first. */
static int roots_read(struct published *repo, struct device *device, const struct digest *first,
		      struct err *err)
{
	char path[PATH_ROOM];
	size_t total = 0;
	for (int64_t version = 1; version <= 1 + TUF_ROOT_STEPS && total <= ROOTS_MAX; version++) {
		snprintf(path, sizeof(path), "%s/tuf/%lld.root.json", repo->base,
			 (long long)version);
		const int found = doc_get(repo, device, path, TUF_ROOT_MAX, true, err);
		if (found < 0)
			return -1;
		if (!found)
			return version > 1;
		if (root_take(repo, version, first, err))
			return err_in(err, "%s", path);
		total += last(repo)->bytes.len;
	}
	return err_set(err, ERR_TOO_LARGE, "more roots than devices climb, or beyond %zu MiB",
		       ROOTS_MAX >> 20);
}

/* ---- what the timestamp leads to ---- */

typedef int update_fn(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		      struct err *err);

static int child_read(struct published *repo, struct device *device, enum tuf_role role,
		      update_fn *update, struct err *err)
{
	char path[PATH_ROOM];
	struct tuf_meta meta;
	if (tuf_meta_get(&repo->trust, role, &meta, err))
		return -1;
	snprintf(path, sizeof(path), "%s/tuf/%lld.%s.json", repo->base, (long long)meta.version,
		 tuf_role_name(role));
	const int found = doc_get(repo, device, path, tuf_max_bytes(role), true, err);
	if (found <= 0)
		return found < 0 ? -1 : missing(path, err);
	const struct buf *bytes = &last(repo)->bytes;
	if (update(&repo->trust, bytes->data, bytes->len, TUF_STORED, err))
		return err_in(err, "%s", path);
	return 0;
}

/* ---- the index's own targets ---- */

static int target_path(const struct published *repo, const char *target, struct tuf_target *ret_found,
		       char path[static PATH_ROOM], struct err *err)
{
	char hex[DIGEST_HEX];
	if (!file_path_below(target))
		return err_set(err, ERR_UNTRUSTED, "a target's path leads elsewhere");
	if (tuf_target_find(&repo->trust, target, ret_found, err))
		return -1;
	const char *slash = strrchr(target, '/');
	const int dir = slash ? (int)(slash + 1 - target) : 0;
	digest_hex(&ret_found->sha256, hex);
	const int len = snprintf(path, PATH_ROOM, "%s/targets/%.*s%s.%s", repo->base, dir, target, hex,
				 target + dir);
	return len < PATH_ROOM ? 0 : err_set(err, ERR_UNTRUSTED, "a target's path is too long");
}

static int target_read(struct published *repo, struct device *device, const char *target,
		       struct err *err)
{
	char path[PATH_ROOM];
	struct tuf_target found;
	if (target_path(repo, target, &found, path, err))
		return -1;
	const int there = doc_get(repo, device, path, (size_t)found.length, true, err);
	if (there <= 0)
		return there < 0 ? -1 : missing(path, err);
	if (digest_eq(&last(repo)->sha256, &found.sha256))
		return 0;
	return err_set(err, ERR_UNTRUSTED, "%s: not the bytes that were signed", path);
}

static int targets_read(struct published *repo, struct device *device, struct err *err)
{
	static const enum tuf_role roles[] = {TUF_TARGETS, TUF_RULES};
	for (unsigned i = 0; i < COUNT_OF(roles); i++) {
		const char *name;
		json_t *value, *all = json_object_get(repo->trust.body[roles[i]], "targets");
		json_object_foreach (all, name, value)
			if (target_read(repo, device, name, err))
				return -1;
	}
	return 0;
}

/* The document that target_read() verified; NULL: there is none. */
static const struct buf *target_bytes(const struct published *repo, const char *target)
{
	char path[PATH_ROOM];
	struct tuf_target found;
	struct err err;
	if (target_path(repo, target, &found, path, &err))
		return NULL;
	for (size_t i = 0; i < repo->count; i++)
		if (!strcmp(repo->docs[i].path, path))
			return &repo->docs[i].bytes;
	return NULL;
}

int published_class_root(const struct published *index, const char *channel, const char *class,
			 struct digest *ret_first, struct err *err)
{
	char target[PATH_ROOM];
	snprintf(target, sizeof(target), "roots/%s.json", channel);
	const struct buf *bytes = target_bytes(index, target);
	if (!bytes)
		return 0;
	json_auto_t *doc = json_parse(bytes->data ? bytes->data : "", bytes->len, target, err);
	if (!doc)
		return -1;
	const char *root = json_string_value(json_object_get(json_object_get(doc, "roots"), class));
	return root && !digest_parse(ret_first, root);
}

/* ---- the whole ---- */

/* For thin clients: the targets under a name that does not change. */
static int manifest_add(struct published *repo, struct err *err)
{
	char path[PATH_ROOM];
	snprintf(path, sizeof(path), "%s/manifest.json", repo->base);
	struct published_doc *doc = doc_add(repo, path, TUF_TARGETS_MAX, false, err);
	if (!doc)
		return -1;
	const struct buf *targets = &repo->docs[repo->count - 3].bytes;
	buf_add(&doc->bytes, targets->data, targets->len);
	digest_of(&doc->sha256, targets->data, targets->len);
	return buf_ok(&doc->bytes, path, err);
}

/* timestamp: fetched first, so that the others are at least as new; added last. */
static int rest_read(struct published *repo, struct device *device, const struct buf *timestamp,
		     struct err *err)
{
	if (tuf_update_timestamp(&repo->trust, timestamp->data, timestamp->len, TUF_STORED, err) ||
	    child_read(repo, device, TUF_SNAPSHOT, tuf_update_snapshot, err))
		return -1;
	if (!repo->index)
		return child_read(repo, device, TUF_TARGETS, tuf_update_targets, err);
	if (child_read(repo, device, TUF_TARGETS, tuf_update_targets, err) ||
	    child_read(repo, device, TUF_RULES, tuf_update_rules, err))
		return -1;
	return targets_read(repo, device, err);
}

static int timestamp_add(struct published *repo, const char *path, const struct buf *bytes,
			 const struct device_reply *reply, struct err *err)
{
	struct published_doc *doc = doc_add(repo, path, TUF_TIMESTAMP_MAX, false, err);
	if (!doc)
		return -1;
	buf_add(&doc->bytes, bytes->data, bytes->len);
	doc->sha256 = reply->sha256;
	if (buf_ok(&doc->bytes, path, err))
		return -1;
	return repo->index ? 0 : manifest_add(repo, err);
}

int published_read(struct published *repo, struct device *device, const char *base,
		   const struct digest *first, struct err *err)
{
	AUTO_BUF struct buf timestamp = BUF_INIT(TUF_TIMESTAMP_MAX);
	struct device_reply reply;
	char path[PATH_ROOM];
	*repo = (struct published){.base = base, .index = !strcmp(base, PUBLISHED_INDEX)};
	tuf_init(&repo->trust);
	snprintf(path, sizeof(path), "%s/tuf/timestamp.json", base);
	int found = published_get(device, path, &timestamp, &reply, err);
	if (found > 0)
		found = roots_read(repo, device, first, err);
	if (found <= 0)
		return found;
	if (rest_read(repo, device, &timestamp, err) ||
	    timestamp_add(repo, path, &timestamp, &reply, err))
		return -1;
	return 1;
}
