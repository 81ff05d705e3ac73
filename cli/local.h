/* local.h -- files that a command is given by name: which it reads, which it writes.
 * Threads: the main thread. */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include "base/cc.h"
#include "base/err.h"

#include <stdint.h>

/* Open path for reading; the descriptor is the caller's, *ret_bytes the file's length.  ERR_INVALID, which
 * says what it is, for anything but a regular file; nobody is waited for, as a pipe's other end would be. */
int local_open(const char *path, int *ret_fd, uint64_t *ret_bytes, struct err *err) CHECKED;

/* Whether path may be written anew: nothing is there, or a regular file that is none of the count that are
 * read, by whatever name or link it is reached.  ERR_INVALID names the option and the remedy. */
int local_may_write(const char *option, const char *path, const int *fds, unsigned count,
		    struct err *err) CHECKED;

#endif
