#include "store/blob_internal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAPPED_FILES 4096	/* files kept mapped: the kernel allows 65,530 mappings */
#define COPY_BYTES (256 * 1024)
#define PATH_ROOM 512 /* the data directory's path is at most 400 of it */

const char *const blob_dirs[BLOB_KINDS] = {"packs", "recipes", "maps", "deltas"};

const char *blob_kind_name(enum blob_kind kind)
{
	static const char *const names[BLOB_KINDS] = {"pack", "recipe", "map", "delta"};

	return names[kind];
}

static void path_of(const struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		    char out[static PATH_ROOM])
{
	char hex[DIGEST_HEX];

	digest_hex(name, hex);
	snprintf(out, PATH_ROOM, "%s/%s/%.2s/%s", blobs->dir, blob_dirs[kind], hex, hex);
}

int blob_learn(struct blobs *blobs, enum blob_kind kind, const struct digest *name)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (entry)
		entry->stamp = ++blobs->stamps;
	return entry ? map_put(blobs->index[kind], name->bytes, DIGEST_LEN, entry) : -1;
}

/* ---- Mappings. ---- */

static void view_free(struct view *view)
{
	munmap((void *)(uintptr_t)view->blob.bytes, view->blob.len);
	free(view);
}

void blob_unmap_all(struct blobs *blobs)
{
	while (blobs->newest) {
		struct view *view = blobs->newest;
		blobs->newest = view->older;
		view_free(view);
	}
}

/* The kept_ functions are called with the lock held. */

static void kept_unlink(struct blobs *blobs, struct view *view)
{
	*(view->newer ? &view->newer->older : &blobs->newest) = view->older;
	*(view->older ? &view->older->newer : &blobs->oldest) = view->newer;
	view->newer = view->older = NULL;
}

static void kept_link(struct blobs *blobs, struct view *view)
{
	view->older = blobs->newest;
	*(view->older ? &view->older->newer : &blobs->oldest) = view;
	blobs->newest = view;
}

/* The cache gives view up; returns it when nobody else holds it. */
static struct view *kept_drop(struct blobs *blobs, struct view *view)
{
	kept_unlink(blobs, view);
	if (view->entry)
		view->entry->view = NULL;
	view->entry = NULL;
	blobs->mapped--;
	blobs->mapped_bytes -= view->blob.len;
	return --view->refs ? NULL : view;
}

/* What must go to stay in bounds, chained by older; freed by the caller without the lock. */
static struct view *kept_trim(struct blobs *blobs)
{
	struct view *freed = NULL;

	while (blobs->oldest &&
	       (blobs->mapped > MAPPED_FILES || blobs->mapped_bytes > blobs->mapped_max)) {
		struct view *view = kept_drop(blobs, blobs->oldest);
		if (view) {
			view->older = freed;
			freed = view;
		}
	}
	return freed;
}

static void views_free(struct view *view)
{
	while (view) {
		struct view *older = view->older;
		view_free(view);
		view = older;
	}
}

/* ---- Reading. ---- */

static int absent(enum blob_kind kind, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "there is no such %s", blob_kind_name(kind));
}

int blob_fd(struct blobs *blobs, enum blob_kind kind, const struct digest *name, struct err *err)
{
	char path[PATH_ROOM];

	if (!blob_exists(blobs, kind, name))
		return absent(kind, err);
	path_of(blobs, kind, name, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !blob_exists(blobs, kind, name))
		return absent(kind, err); /* collected this moment */
	return fd < 0 ? err_sys(err, "cannot open %s", path) : fd;
}

static struct view *view_new(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
			     struct err *err)
{
	AUTO_FD int fd = blob_fd(blobs, kind, name, err);
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || st.st_size == 0) {
		err_set(err, ERR_CORRUPT, "a %s is empty: verify the store", blob_kind_name(kind));
		return NULL;
	}
	struct view *view = calloc(1, sizeof(*view));
	if (!view) {
		err_nomem(err);
		return NULL;
	}
	view->blob.len = (uint64_t)st.st_size;
	view->blob.bytes = mmap(NULL, view->blob.len, PROT_READ, MAP_SHARED, fd, 0);
	if (view->blob.bytes == MAP_FAILED) {
		err_sys(err, "cannot map a %s", blob_kind_name(kind));
		free(view);
		return NULL;
	}
	view->blobs = blobs;
	view->refs = 1;
	return view;
}

/* The one kept under name, now also the caller's; NULL: none.  The lock is held. */
static struct view *kept_get(struct blobs *blobs, enum blob_kind kind, const struct digest *name)
{
	struct entry *entry = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	struct view *view = entry ? entry->view : NULL;

	if (!view)
		return NULL;
	kept_unlink(blobs, view);
	kept_link(blobs, view);
	view->refs++;
	return view;
}

/* Keep view, unless another was kept meanwhile (then that is the answer), or the name is gone or
 * names another file by now. */
static struct view *kept_put(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
			     struct view *view, uint64_t stamp)
{
	struct view *freed = NULL;

	pthread_mutex_lock(&blobs->lock);
	struct view *other = kept_get(blobs, kind, name);
	struct entry *entry = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	if (!other && entry && entry->stamp == stamp) {
		view->entry = entry;
		entry->view = view;
		view->refs++;
		blobs->mapped++;
		blobs->mapped_bytes += view->blob.len;
		kept_link(blobs, view);
		freed = kept_trim(blobs);
	}
	pthread_mutex_unlock(&blobs->lock);
	views_free(freed);
	if (!other)
		return view;
	view_free(view);
	return other;
}

struct blob *blob_get(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		      struct err *err)
{
	pthread_mutex_lock(&blobs->lock);
	struct view *view = kept_get(blobs, kind, name);
	const struct entry *entry = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	const uint64_t stamp = entry ? entry->stamp : 0;
	pthread_mutex_unlock(&blobs->lock);
	if (view)
		return &view->blob;
	view = view_new(blobs, kind, name, err);
	return view ? &kept_put(blobs, kind, name, view, stamp)->blob : NULL;
}

static struct view *view_of(struct blob *blob)
{
	return (struct view *)blob;
}

struct blob *blob_ref(struct blob *blob)
{
	struct view *view = view_of(blob);

	pthread_mutex_lock(&view->blobs->lock);
	view->refs++;
	pthread_mutex_unlock(&view->blobs->lock);
	return blob;
}

void blob_unref(struct blob *blob)
{
	if (!blob)
		return;
	struct view *view = view_of(blob);
	pthread_mutex_lock(&view->blobs->lock);
	unsigned left = --view->refs;
	pthread_mutex_unlock(&view->blobs->lock);
	if (!left)
		view_free(view);
}

bool blob_exists(struct blobs *blobs, enum blob_kind kind, const struct digest *name)
{
	pthread_mutex_lock(&blobs->lock);
	bool exists = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	pthread_mutex_unlock(&blobs->lock);
	return exists;
}

/* ---- Writing. ---- */

static void file_name(struct blobs *blobs, struct blob_file *file)
{
	pthread_mutex_lock(&blobs->lock);
	unsigned long long n = ++blobs->sequence;
	pthread_mutex_unlock(&blobs->lock);
	snprintf(file->path, sizeof(file->path), "%s/blob-%ld-%llu", blobs->tmp, (long)getpid(), n);
}

int blob_file_new(struct blobs *blobs, struct blob_file *ret_file, struct err *err)
{
	struct blob_file file = {.fd = -1};

	file_name(blobs, &file);
	file.fd = open(file.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file.fd < 0)
		return err_sys(err, "cannot create %s", file.path);
	*ret_file = file;
	return 0;
}

static int copy(int from, uint64_t len, int to, struct err *err)
{
	char *bytes = malloc(COPY_BYTES);
	int result = bytes ? 0 : err_nomem(err);

	for (uint64_t at = 0; !result && at < len;) {
		size_t n = len - at < COPY_BYTES ? (size_t)(len - at) : COPY_BYTES;
		result = file_pread_all(from, bytes, n, (int64_t)at, err);
		if (!result)
			result = file_write_all(to, bytes, n, err);
		at += n;
	}
	free(bytes);
	return result;
}

int blob_file_adopt(struct blobs *blobs, int fd, uint64_t len, struct blob_file *ret_file,
		    struct err *err)
{
	char link[64];
	struct blob_file file = {.fd = -1};
	struct stat st;

	file_name(blobs, &file);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && st.st_nlink == 0 && (uint64_t)st.st_size == len &&
	    linkat(AT_FDCWD, link, AT_FDCWD, file.path, AT_SYMLINK_FOLLOW) == 0) {
		file.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (file.fd < 0) {
			unlink(file.path);
			return err_sys(err, "cannot duplicate a descriptor");
		}
		*ret_file = file;
		return 0;
	}
	if (blob_file_new(blobs, &file, err) < 0)
		return -1;
	if (copy(fd, len, file.fd, err) < 0) {
		blob_file_done(&file);
		return -1;
	}
	*ret_file = file;
	return 0;
}

void blob_file_done(struct blob_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->path[0])
		unlink(file->path);
	file->fd = -1;
	file->path[0] = 0;
}

/* The name exists from now on; a mapping of what it named before is given up.  *ret_new: its stamp when
 * it named nothing before, else 0. */
static int name_publish(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
			uint64_t *ret_new)
{
	struct view *freed = NULL;
	int result = 0;

	pthread_mutex_lock(&blobs->lock);
	struct entry *entry = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	if (!entry)
		result = blob_learn(blobs, kind, name);
	else if (entry->view)
		freed = kept_drop(blobs, entry->view);
	if (entry)
		entry->stamp = ++blobs->stamps;
	*ret_new = entry ? 0 : blobs->stamps;
	pthread_mutex_unlock(&blobs->lock);
	views_free(freed);
	return result;
}

/* stamp: only if it still has the file that came with it; 0: whatever it has. */
static void name_forget(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
			uint64_t stamp)
{
	struct view *freed = NULL;

	pthread_mutex_lock(&blobs->lock);
	struct entry *entry = map_get(blobs->index[kind], name->bytes, DIGEST_LEN);
	if (entry && (!stamp || entry->stamp == stamp)) {
		if (entry->view)
			freed = kept_drop(blobs, entry->view);
		map_remove(blobs->index[kind], name->bytes, DIGEST_LEN);
	}
	pthread_mutex_unlock(&blobs->lock);
	views_free(freed);
}

/* The directory for names that begin with first is there, durably. */
static int dir_make(struct blobs *blobs, enum blob_kind kind, unsigned first, struct err *err)
{
	char path[PATH_ROOM];

	pthread_mutex_lock(&blobs->lock);
	bool made = blobs->made[kind][first];
	pthread_mutex_unlock(&blobs->lock);
	if (made)
		return 0;
	snprintf(path, sizeof(path), "%s/%s/%02x", blobs->dir, blob_dirs[kind], first);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, "cannot make directory %s", path);
	*strrchr(path, '/') = 0;
	if (file_sync_dir(path, err) < 0)
		return -1;
	pthread_mutex_lock(&blobs->lock);
	blobs->made[kind][first] = true;
	pthread_mutex_unlock(&blobs->lock);
	return 0;
}

/* With the naming lock. */
static int name_give(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		     struct blob_file *file, const char *path, uint64_t *ret_new, struct err *err)
{
	if (rename(file->path, path) < 0)
		return err_sys(err, "cannot rename %s to %s", file->path, path);
	file->path[0] = 0; /* it is the blob's now */
	return name_publish(blobs, kind, name, ret_new) < 0 ? err_nomem(err) : 0;
}

int blob_publish(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		 struct blob_file *file, struct err *err)
{
	char path[PATH_ROOM];
	uint64_t new = 0;

	path_of(blobs, kind, name, path);
	if (dir_make(blobs, kind, name->bytes[0], err) < 0)
		return -1;
	if (fdatasync(file->fd) < 0)
		return err_sys(err, "cannot sync %s", file->path);
	pthread_mutex_lock(&blobs->naming);
	int result = name_give(blobs, kind, name, file, path, &new, err);
	pthread_mutex_unlock(&blobs->naming);
	*strrchr(path, '/') = 0;
	if (result < 0)
		return -1;
	result = file_sync_dir(path, err);
	if (result < 0 && new)
		name_forget(blobs, kind, name, new); /* what a crash may take nobody relies on */
	return result;
}

int blob_put(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
	     const void *bytes, size_t len, struct err *err)
{
	struct blob_file file;

	if (blob_file_new(blobs, &file, err) < 0)
		return -1;
	int result = file_write_all(file.fd, bytes, len, err);
	if (!result)
		result = blob_publish(blobs, kind, name, &file, err);
	blob_file_done(&file);
	return result;
}

/* Forget the name and move its file to to.  1; 0: there was no file; -1: error. */
static int name_take(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		     const char *path, const char *to, struct err *err)
{
	pthread_mutex_lock(&blobs->naming);
	name_forget(blobs, kind, name, 0);
	int failed = rename(path, to) < 0 ? errno : 0;
	pthread_mutex_unlock(&blobs->naming);
	errno = failed;
	if (failed && failed != ENOENT)
		return err_sys(err, "cannot move %s away", path);
	return !failed;
}

int blob_retire(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		struct blob_file *ret_file, struct err *err)
{
	char path[PATH_ROOM];
	struct blob_file file = {.fd = -1};

	path_of(blobs, kind, name, path);
	file_name(blobs, &file);
	int moved = name_take(blobs, kind, name, path, file.path, err);
	if (moved < 0)
		return -1;
	if (!moved)
		file.path[0] = 0;
	*ret_file = file;
	return 0;
}

int blob_remove(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		struct err *err)
{
	struct blob_file file;

	if (blob_retire(blobs, kind, name, &file, err) < 0)
		return -1;
	blob_file_done(&file);
	return 0;
}

int blob_quarantine(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		    struct err *err)
{
	char path[PATH_ROOM], to[PATH_ROOM], hex[DIGEST_HEX];

	snprintf(to, sizeof(to), "%s/quarantine", blobs->dir);
	if (file_mkdirs(to, 0700, err) < 0)
		return -1;
	path_of(blobs, kind, name, path);
	digest_hex(name, hex);
	snprintf(to, sizeof(to), "%s/quarantine/%s-%s", blobs->dir, blob_kind_name(kind), hex);
	return name_take(blobs, kind, name, path, to, err) < 0 ? -1 : 0;
}

/* ---- Looking over. ---- */

int blob_stat(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
	      uint64_t *ret_len, int64_t *ret_changed, struct err *err)
{
	char path[PATH_ROOM];
	struct stat st;

	path_of(blobs, kind, name, path);
	if (stat(path, &st) < 0)
		return err_sys(err, "cannot look at %s", path);
	if (ret_len)
		*ret_len = (uint64_t)st.st_size;
	if (ret_changed)
		*ret_changed = st.st_mtime;
	return 0;
}

