#include "cli/local.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *what_is(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	default:
		return "a device";
	}
}

int local_open(const char *path, int *ret_fd, uint64_t *ret_bytes, struct err *err)
{
	struct stat st;
	AUTO_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	/* What cannot be opened may still say what it is: a socket. */
	if (fd >= 0 ? fstat(fd, &st) : errno != ENXIO || stat(path, &st))
		return err_sys(err, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is %s; name a regular file", path,
			       what_is(st.st_mode));
	*ret_fd = file_take(&fd);
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

int local_may_write(const char *option, const char *path, const int *fds, unsigned count,
		    struct err *err)
{
	struct stat out, in;
	if (stat(path, &out))
		return errno == ENOENT ? 0 : err_sys(err, "%s %s", option, path);
	if (!S_ISREG(out.st_mode))
		return err_set(err, ERR_INVALID, "%s %s: it is %s; name a regular file, or one that is not there",
			       option, path, what_is(out.st_mode));
	for (unsigned i = 0; i < count; i++) {
		if (fstat(fds[i], &in))
			return err_sys(err, "cannot look at what is read");
		if (in.st_dev == out.st_dev && in.st_ino == out.st_ino)
			return err_set(err, ERR_INVALID, "%s %s: it is one of the files that are read; name "
				       "another", option, path);
	}
	return 0;
}
