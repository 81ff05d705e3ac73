#include "cli/tree.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM 4096

int tree_file(struct tree *tree, struct err *err)
{
	if (tree->fd >= 0)
		close(tree->fd);
	tree->fd = -1;
	return tree->kind->file(tree, err);
}

/* Keys are made of what a server said. */
static int key_check(const char *key, struct err *err)
{
	return file_path_below(key) ? 0
				    : err_set(err, ERR_UNTRUSTED,
					      "the device listener names something outside the tree");
}

int tree_length(struct tree *tree, const char *key, int64_t *ret_len, struct err *err)
{
	return key_check(key, err) ? -1 : tree->kind->length(tree, key, ret_len, err);
}

int tree_put(struct tree *tree, const struct tree_item *item, struct err *err)
{
	return key_check(item->key, err) ? -1 : tree->kind->put(tree, item, err);
}

void tree_close(struct tree *tree)
{
	if (!tree)
		return;
	if (tree->fd >= 0)
		close(tree->fd);
	tree->kind->close(tree);
}

/* ---- a directory ---- */

/* The file under way is DIR/.part, and DIR/.lock keeps a second export away from it. */
struct directory {
	struct tree tree;
	char *dir;
	int lock;
};

static int path_in(const struct directory *d, const char *name, char out[static PATH_ROOM],
		   struct err *err)
{
	const int len = snprintf(out, PATH_ROOM, "%s/%s", d->dir, name);
	return len < PATH_ROOM ? 0 : err_set(err, ERR_INVALID, "%s/%s: too long", d->dir, name);
}

static int dir_file(struct tree *tree, struct err *err)
{
	char path[PATH_ROOM];
	if (path_in((struct directory *)tree, ".part", path, err))
		return -1;
	unlink(path); /* of a run that was killed; what else has this name, or is linked to, is not written */
	tree->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return tree->fd < 0 ? err_sys(err, "cannot write %s", path) : 0;
}

static int dir_length(struct tree *tree, const char *key, int64_t *ret_len, struct err *err)
{
	char path[PATH_ROOM];
	struct stat st;
	if (path_in((struct directory *)tree, key, path, err))
		return -1;
	if (stat(path, &st) == 0)
		*ret_len = st.st_size;
	else if (errno == ENOENT)
		*ret_len = -1;
	else
		return err_sys(err, "cannot look at %s", path);
	return 0;
}

static int dir_put(struct tree *tree, const struct tree_item *item, struct err *err)
{
	char part[PATH_ROOM], path[PATH_ROOM];
	struct directory *d = (struct directory *)tree;
	if (path_in(d, ".part", part, err) || path_in(d, item->key, path, err))
		return -1;
	char *slash = strrchr(path, '/');
	*slash = 0;
	if (file_mkdirs(path, 0755, err))
		return -1;
	*slash = '/';
	const int bad = file_commit(tree->fd, part, path, err);
	close(tree->fd);
	tree->fd = -1;
	return bad;
}

static void dir_close(struct tree *tree)
{
	char part[PATH_ROOM];
	struct err err;
	struct directory *d = (struct directory *)tree;
	if (d->lock >= 0 && path_in(d, ".part", part, &err) == 0)
		unlink(part);
	if (d->lock >= 0)
		close(d->lock);
	free(d->dir);
	free(d);
}

static const struct tree_kind dir_kind = {dir_file, dir_length, dir_put, dir_close};

static int dir_lock(struct directory *d, struct err *err)
{
	char path[PATH_ROOM];
	if (path_in(d, ".lock", path, err))
		return -1;
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(err, "cannot write %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return err_set(err, ERR_BUSY, "another export writes to %s", d->dir);
	}
	d->lock = fd;
	return 0;
}

int tree_open(struct tree **ret_tree, const char *where, bool verbose, struct err *err)
{
	if (!strncmp(where, "s3://", 5))
		return tree_s3_open(ret_tree, where, verbose, err);
	struct directory *d = calloc(1, sizeof(*d));
	if (!d)
		return err_nomem(err);
	AUTO(tree_close) struct tree *tree = &d->tree;
	d->tree = (struct tree){&dir_kind, -1};
	d->lock = -1;
	d->dir = strdup(where);
	if (!d->dir)
		return err_nomem(err);
	if (file_mkdirs(where, 0755, err) || dir_lock(d, err))
		return -1;
	*ret_tree = TAKE(tree);
	return 0;
}
