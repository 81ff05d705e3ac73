/* source.h -- where bytes come from and where they go: a file, a mapping, a remote object.  The
 * pure part of the store reads and writes through these only, so that it links into the device SDK.
 * Threads: those of whoever made them. */
#ifndef STORE_SOURCE_H
#define STORE_SOURCE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"

#include <stdint.h>

struct source {
	/* Exactly len bytes from offset at; at + len <= size always holds.  0, or -1 with err. */
	int (*read)(void *arg, uint64_t at, void *bytes, size_t len, struct err *err);
	void *arg;
	uint64_t size; /* bytes */
};

/* A range of memory; borrows slot and bytes, which must outlive the source. */
struct memory {
	const uint8_t *bytes;
};
struct source source_memory(struct memory *slot, const void *bytes, size_t len);
/* An open file of size bytes (borrows fd, which must outlive the source). */
struct source source_fd(int *fd, uint64_t size);

struct sink {
	/* All len bytes, behind those written before.  0, or -1 with err. */
	int (*write)(void *arg, const void *bytes, size_t len, struct err *err);
	void *arg;
};

/* Likewise, in any order. */
struct sink_at {
	int (*write)(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err);
	void *arg;
};

struct sink_at sink_at_fd(int *fd); /* borrows fd */
struct sink sink_buf(struct buf *buf); /* appends; borrows buf */
struct sink sink_fd(int *fd);	       /* at the file's position; borrows fd */

#endif
