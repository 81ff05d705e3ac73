/* source.h -- bytes somewhere: a file, a mapping, a remote object.  The pure part of the store reads
 * through this only, so that it links into the device SDK without any I/O of its own.
 * Threads: those of whoever made the source. */
#ifndef STORE_SOURCE_H
#define STORE_SOURCE_H

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

#endif
