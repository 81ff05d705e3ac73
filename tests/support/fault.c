#include "tests/support/fault.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int armed;  /* enum fault */
static atomic_int left;	  /* calls until it fails */
static atomic_bool fired;

void fault_arm(enum fault fault, int nth)
{
	atomic_store(&armed, FAULT_NONE);
	atomic_store(&fired, false);
	atomic_store(&left, nth);
	atomic_store(&armed, (int)fault);
}

bool fault_fired(void)
{
	atomic_store(&armed, FAULT_NONE);
	return atomic_load(&fired);
}

/* Whether this call is the one that fails; errno is then code. */
static bool fails(enum fault fault, int code)
{
	if (atomic_load(&armed) != (int)fault || atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_store(&fired, true);
	errno = code;
	return true;
}

static bool no_memory(void)
{
	return fails(FAULT_MEMORY, ENOMEM);
}

/* The names are the linker's: --wrap=f sends calls of f to __wrap_f, and __real_f to f. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t at);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_rename(const char *from, const char *to);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_asprintf(char **ret, const char *fmt, ...) PRINTF_LIKE(2, 3);
int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...) PRINTF_LIKE(3, 4);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);

void *__wrap_malloc(size_t size)
{
	return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return no_memory() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return no_memory() ? NULL : __real_reallocarray(old, count, size);
}

char *__wrap_strdup(const char *text)
{
	return no_memory() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return no_memory() ? NULL : __real_strndup(text, len);
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
	if (no_memory())
		return -1;
	va_list args;
	va_start(args, fmt);
	const int len = vasprintf(ret, fmt, args);
	va_end(args);
	return len;
}

/* What asprintf() is under _FORTIFY_SOURCE. */
int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
{
	(void)flag;
	if (no_memory())
		return -1;
	va_list args;
	va_start(args, fmt);
	const int len = vasprintf(ret, fmt, args);
	va_end(args);
	return len;
}

/* How much of len is really written; -1 when the call fails. */
static ssize_t allowed(size_t len)
{
	if (fails(FAULT_WRITE, ENOSPC) || fails(FAULT_INTERRUPT, EINTR))
		return -1;
	return (ssize_t)(len > 1 && fails(FAULT_SHORT, 0) ? len / 2 : len);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	const ssize_t part = allowed(len);
	return part < 0 ? -1 : __real_write(fd, bytes, (size_t)part);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	const ssize_t part = allowed(len);
	return part < 0 ? -1 : __real_pwrite(fd, bytes, (size_t)part, at);
}

int __wrap_fsync(int fd)
{
	return fails(FAULT_SYNC, EIO) ? -1 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
	return fails(FAULT_SYNC, EIO) ? -1 : __real_fdatasync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
	return fails(FAULT_RENAME, EIO) ? -1 : __real_rename(from, to);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return fails(FAULT_THREAD, EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

void fault_in_jansson(void)
{
	json_set_alloc_funcs(__wrap_malloc, free);
}
