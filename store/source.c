#include "store/source.h"

#include "base/file.h"

#include <string.h>

static int memory_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *err)
{
	const struct memory *memory = arg;

	(void)err;
	if (len)
		memcpy(bytes, memory->bytes + at, len);
	return 0;
}

struct source source_memory(struct memory *slot, const void *bytes, size_t len)
{
	slot->bytes = bytes;
	return (struct source){.read = memory_read, .arg = slot, .size = len};
}

static int fd_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *err)
{
	const int *fd = arg;

	return file_pread_all(*fd, bytes, len, (int64_t)at, err);
}

struct source source_fd(int *fd, uint64_t size)
{
	return (struct source){.read = fd_read, .arg = fd, .size = size};
}

static int buf_write(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct buf *buf = arg;

	buf_add(buf, bytes, len);
	return buf_ok(buf, "the bytes in memory", err);
}

struct sink sink_buf(struct buf *buf)
{
	return (struct sink){.write = buf_write, .arg = buf};
}

static int fd_write(void *arg, const void *bytes, size_t len, struct err *err)
{
	const int *fd = arg;

	return file_write_all(*fd, bytes, len, err);
}

struct sink sink_fd(int *fd)
{
	return (struct sink){.write = fd_write, .arg = fd};
}

static int fd_write_at(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err)
{
	const int *fd = arg;

	return file_pwrite_all(*fd, bytes, len, (int64_t)at, err);
}

struct sink_at sink_at_fd(int *fd)
{
	return (struct sink_at){.write = fd_write_at, .arg = fd};
}
