/* export_delta.h -- whether a delta's first part is what a map says of it, before devices are given it.
 * Threads: pure. */
#ifndef CLI_EXPORT_DELTA_H
#define CLI_EXPORT_DELTA_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdint.h>

/* fd, of len bytes, begins a delta that leads to the recipe of that name and has bytes in all.  Its table is
 * read, its chunks are not: devices verify each.  ERR_UNTRUSTED; ERR_INVALID. */
int export_delta_check(int fd, int64_t len, const struct digest *recipe, uint64_t bytes,
		       struct err *err) CHECKED;

#endif
