/* failing_calls.h -- for unit tests: writing calls that fail when told to.  They take the place of libc's
 * in the program that includes this, shared libraries included; one file of a program may. */
#ifndef TESTS_SUPPORT_FAILING_CALLS_H
#define TESTS_SUPPORT_FAILING_CALLS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int countdown; /* the call that makes it 0 fails; below 1: none will */
static atomic_int failures;  /* that happened */
static atomic_int error_number;
static atomic_bool sticky; /* all later calls fail too */

static bool fails(void)
{
	bool hit = atomic_load(&sticky) && atomic_load(&failures);

	if (!hit && (atomic_load(&countdown) < 1 || atomic_fetch_sub(&countdown, 1) != 1))
		return false;
	atomic_fetch_add(&failures, 1);
	errno = atomic_load(&error_number);
	return true;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	return fd > 2 && fails() ? -1 : syscall(SYS_write, fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	return fails() ? -1 : syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
	return fails() ? -1 : syscall(SYS_pwrite64, fd, bytes, len, at);
}

int fdatasync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
	return fails() ? -1 : (int)syscall(SYS_rename, from, to);
}

int ftruncate(int fd, off_t len)
{
	return fails() ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
	return fails() ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return fails() ? -1 : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

#endif
