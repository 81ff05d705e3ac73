/* The store as a whole: opening, room on the disk, what is wanted, looking over. */
#include "store/blob_internal.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAPPED_MAX (1ull << 30) /* bytes kept mapped, unless the options say */
#define PATH_ROOM 512
#define DIR_MAX 400 /* bytes of the data directory's path; blob.c adds to it */

struct ledger *blobs_ledger(const struct blobs *blobs)
{
	return blobs->ledger;
}

const char *blobs_tmp(const struct blobs *blobs)
{
	return blobs->tmp;
}

/* ---- Opening. ---- */

/* One directory of 256: what is not a digest with the right beginning is none of ours. */
static int dir_learn(struct blobs *blobs, enum blob_kind kind, unsigned first, struct err *err)
{
	char path[PATH_ROOM];
	struct digest name;
	struct dirent *item;
	int result = 0;

	snprintf(path, sizeof(path), "%s/%s/%02x", blobs->dir, blob_dirs[kind], first);
	DIR *dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, "cannot read directory %s", path);
	blobs->made[kind][first] = true;
	while (!result && (item = readdir(dir)))
		if (digest_parse(&name, item->d_name) == 0 && name.bytes[0] == first)
			result = blob_learn(blobs, kind, &name) < 0 ? err_nomem(err) : 0;
	closedir(dir);
	return result;
}

static int kind_learn(struct blobs *blobs, enum blob_kind kind, struct err *err)
{
	char path[PATH_ROOM];

	snprintf(path, sizeof(path), "%s/%s", blobs->dir, blob_dirs[kind]);
	blobs->index[kind] = map_new(free);
	if (!blobs->index[kind])
		return err_nomem(err);
	if (file_mkdirs(path, 0700, err) < 0)
		return -1;
	for (unsigned first = 0; first < 256; first++)
		if (dir_learn(blobs, kind, first, err) < 0)
			return -1;
	return file_sync_dir(path, err);
}

/* Nobody can finish what an earlier run left in tmp/, but for uploads. */
static int tmp_clear(struct blobs *blobs, struct err *err)
{
	struct dirent *item;

	if (file_mkdirs(blobs->tmp, 0700, err) < 0)
		return -1;
	DIR *dir = opendir(blobs->tmp);
	if (!dir)
		return err_sys(err, "cannot read directory %s", blobs->tmp);
	while ((item = readdir(dir)))
		if (!strncmp(item->d_name, "blob-", 5))
			unlinkat(dirfd(dir), item->d_name, 0);
	closedir(dir);
	return 0;
}

int blobs_open(struct blobs **ret_blobs, const struct blobs_options *options, struct err *err)
{
	AUTO(blobs_free) struct blobs *blobs = calloc(1, sizeof(*blobs));

	if (!blobs)
		return err_nomem(err);
	pthread_mutex_init(&blobs->lock, NULL);
	pthread_mutex_init(&blobs->maps, NULL);
	pthread_mutex_init(&blobs->naming, NULL);
	blobs->ledger = options->ledger;
	blobs->reserve = options->reserve;
	blobs->mapped_max = options->mapped_max ? options->mapped_max : MAPPED_MAX;
	if (strlen(options->dir) > DIR_MAX)
		return err_set(err, ERR_INVALID, "the data directory's path is longer than %d bytes",
			       DIR_MAX);
	blobs->dir = strdup(options->dir);
	if (!blobs->dir || asprintf(&blobs->tmp, "%s/tmp", options->dir) < 0) {
		blobs->tmp = NULL;
		return err_nomem(err);
	}
	if (tmp_clear(blobs, err) < 0)
		return -1;
	for (int kind = 0; kind < BLOB_KINDS; kind++)
		if (kind_learn(blobs, kind, err) < 0)
			return -1;
	if (file_sync_dir(blobs->dir, err) < 0)
		return -1;
	*ret_blobs = TAKE(blobs);
	return 0;
}

void blobs_free(struct blobs *blobs)
{
	if (!blobs)
		return;
	blob_unmap_all(blobs);
	for (int kind = 0; kind < BLOB_KINDS; kind++)
		map_free(blobs->index[kind]);
	pthread_mutex_destroy(&blobs->maps);
	pthread_mutex_destroy(&blobs->naming);
	pthread_mutex_destroy(&blobs->lock);
	free(blobs->tmp);
	free(blobs->dir);
	free(blobs);
}

/* ---- Room, and what is wanted. ---- */

int blobs_room(const struct blobs *blobs, uint64_t bytes, struct err *err)
{
	struct statvfs st;

	if (statvfs(blobs->dir, &st) < 0)
		return err_sys(err, "cannot look at the disk of %s", blobs->dir);
	uint64_t available = (uint64_t)st.f_bavail * st.f_frsize;
	if (available >= blobs->reserve && available - blobs->reserve >= bytes)
		return 0;
	return err_set(err, ERR_FULL,
		       "the disk has %llu MiB left, of which %llu are reserved: make room and try"
		       " again",
		       (unsigned long long)(available >> 20),
		       (unsigned long long)(blobs->reserve >> 20));
}

int64_t blobs_wanted(const struct blobs *blobs, int64_t now)
{
	return now > blobs->wanted_least ? now : blobs->wanted_least;
}

void blobs_collecting(struct blobs *blobs, int64_t than)
{
	blobs->wanted_least = blobs_wanted(blobs, than);
}

/* ---- Looking over. ---- */

int blobs_list(struct blobs *blobs, enum blob_kind kind, struct digest **ret_names,
	       size_t *ret_count, struct err *err)
{
	const void *key;
	void *entry;
	size_t at = 0, n = 0;

	pthread_mutex_lock(&blobs->lock);
	size_t count = map_count(blobs->index[kind]);
	struct digest *names = calloc(count + 1, sizeof(*names));
	while (names && n < count && map_next(blobs->index[kind], &at, &key, NULL, &entry))
		memcpy(names[n++].bytes, key, DIGEST_LEN);
	pthread_mutex_unlock(&blobs->lock);
	if (!names)
		return err_nomem(err);
	*ret_names = names;
	*ret_count = n;
	return 0;
}

void blobs_stats(struct blobs *blobs, struct blobs_stats *ret_stats)
{
	struct blobs_stats stats = {.disk_reserve = blobs->reserve};
	struct statvfs st;

	if (statvfs(blobs->dir, &st) == 0)
		stats.disk_free = (uint64_t)st.f_bavail * st.f_frsize;
	pthread_mutex_lock(&blobs->lock);
	for (int kind = 0; kind < BLOB_KINDS; kind++)
		stats.count[kind] = map_count(blobs->index[kind]);
	stats.mapped = blobs->mapped;
	stats.mapped_bytes = blobs->mapped_bytes;
	pthread_mutex_unlock(&blobs->lock);
	*ret_stats = stats;
}
