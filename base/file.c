#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536

void file_close_scope(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

int file_sync_dir(const char *dir, struct err *err)
{
	AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot open directory %s", dir);
	return fsync(fd) ? err_sys(err, "cannot sync directory %s", dir) : 0;
}

static int sync_parent(const char *path, struct err *err)
{
	char *dir = strdup(path);
	if (!dir)
		return err_nomem(err);
	char *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	const int bad = file_sync_dir(slash ? dir : ".", err);
	free(dir);
	return bad;
}

/* A new directory's name must last as long as the files that are synced into it. */
static int make_dir(const char *path, mode_t mode, struct err *err)
{
	if (!mkdir(path, mode))
		return sync_parent(path, err);
	return errno == EEXIST ? 0 : err_sys(err, "cannot make directory %s", path);
}

static int make_parents(char *path, mode_t mode, struct err *err)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		const int bad = make_dir(path, mode, err);
		*slash = '/';
		if (bad)
			return -1;
	}
	return 0;
}

int file_mkdirs(const char *path, mode_t mode, struct err *err)
{
	struct stat st;
	if (!path[0])
		return err_set(err, ERR_INVALID, "the path of a directory is empty; name one");
	char *copy = strdup(path);
	if (!copy)
		return err_nomem(err);
	const int bad = make_parents(copy, mode, err);
	free(copy);
	if (bad || make_dir(path, mode, err))
		return -1;
	if (stat(path, &st))
		return err_sys(err, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID, "%s exists and is not a directory", path);
	return 0;
}

int file_read(const char *path, struct buf *buf, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot open %s", path);
	for (;;) {
		char bytes[READ_BYTES];
		const ssize_t got = read(fd, bytes, sizeof(bytes));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(err, "cannot read %s", path);
		if (!got)
			return buf_ok(buf, path, err);
		buf_add(buf, bytes, (size_t)got);
		if (buf->failed)
			return buf_ok(buf, path, err);
	}
}

int file_write_all(int fd, const void *bytes, size_t len, struct err *err)
{
	const char *at = bytes;
	while (len) {
		const ssize_t put = write(fd, at, len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_sys(err, "cannot write");
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

int file_pwrite_all(int fd, const void *bytes, size_t len, int64_t at, struct err *err)
{
	const char *from = bytes;
	while (len) {
		const ssize_t put = pwrite(fd, from, len, at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_sys(err, "cannot write");
		from += put;
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

int file_pread_all(int fd, void *bytes, size_t len, int64_t at, struct err *err)
{
	char *to = bytes;
	while (len) {
		const ssize_t got = pread(fd, to, len, at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(err, "cannot read");
		if (!got)
			return err_set(err, ERR_CORRUPT, "the file ends at byte %lld, too early",
				       (long long)at);
		to += got;
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

int file_commit(int fd, const char *from, const char *to, struct err *err)
{
	if (fd >= 0 && fdatasync(fd))
		return err_sys(err, "cannot sync %s", from);
	if (rename(from, to))
		return err_sys(err, "cannot rename %s to %s", from, to);
	return sync_parent(to, err);
}

static int write_tmp(const char *tmp, const char *path, const void *bytes, size_t len,
		     mode_t mode, struct err *err)
{
	unlink(tmp); /* left by a crash; made anew, so that it has the mode asked for */
	AUTO_FD int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return err_sys(err, "cannot create %s", tmp);
	if (file_write_all(fd, bytes, len, err))
		return err_in(err, "%s", tmp);
	return file_commit(fd, tmp, path, err);
}

int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct err *err)
{
	char *tmp;
	if (asprintf(&tmp, "%s.tmp", path) < 0)
		return err_nomem(err);
	int bad = write_tmp(tmp, path, bytes, len, mode, err);
	if (bad)
		unlink(tmp);
	free(tmp);
	return bad;
}

bool file_path_below(const char *path)
{
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '\\')
			return false;
	for (const char *segment = path;; segment++) {
		const size_t len = strcspn(segment, "/");
		if (!len || (len <= 2 && !strncmp(segment, "..", len)))
			return false;
		segment += len;
		if (!*segment)
			return true;
	}
}
