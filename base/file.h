/* file.h -- files that are either whole and durable or not there.
 * The order is always: write to a temporary file, fdatasync, rename, fsync the directory.
 * Threads: pure calls; callers keep two writers off one path. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

int file_mkdirs(const char *path, mode_t mode, struct err *err) CHECKED; /* with parents, durably */
/* Whole file into buf (bounded by buf->max; ERR_TOO_LARGE beyond; ERR_NOT_FOUND if absent). */
int file_read(const char *path, struct buf *buf, struct err *err) CHECKED;
/* Replace path atomically and durably by len bytes. */
int file_write(const char *path, const void *bytes, size_t len, mode_t mode,
	       struct err *err) CHECKED;
/* All len bytes, through EINTR and short writes. */
int file_write_all(int fd, const void *bytes, size_t len, struct err *err) CHECKED;
int file_pwrite_all(int fd, const void *bytes, size_t len, int64_t at,
		    struct err *err) CHECKED;
/* Exactly len bytes at offset; ERR_CORRUPT when the file ends earlier. */
int file_pread_all(int fd, void *bytes, size_t len, int64_t at, struct err *err) CHECKED;
/* fdatasync fd, rename from to to, fsync to's directory.  fd may be -1 (already synced). */
int file_commit(int fd, const char *from, const char *to, struct err *err) CHECKED;
/* Whether path, of somebody else, stays below what it is joined to: segments between single slashes, none
 * of them ".", ".." or empty, without control characters and backslashes. */
bool file_path_below(const char *path) CHECKED;
int file_sync_dir(const char *dir, struct err *err) CHECKED;

/* int fd AUTO_FD = -1; closes at scope exit. */
void file_close_scope(int *fd);
/* The descriptor, now the caller's to close; *fd is -1 afterwards. */
static inline int file_take(int *fd)
{
	const int taken = *fd;
	*fd = -1;
	return taken;
}
#define AUTO_FD __attribute__((cleanup(file_close_scope)))

#endif
