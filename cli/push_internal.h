/* push_internal.h -- what the two ways to push share (push.c, push_raw.c). */
#ifndef CLI_PUSH_INTERNAL_H
#define CLI_PUSH_INTERNAL_H

#include "cli/push.h"

/* The daemon reads all of a file before it answers for it: how long that may take. */
#define PUSH_CHECK_S(length) (120 + (length) / 10000000)

struct push_file {
	const char *path;
	int fd;
	int64_t length;
};

/* ERR_INVALID for what is no regular file, or empty. */
int push_open(struct push_file *file, const char *path, struct err *err) CHECKED;
void push_close(struct push_file *file);

/* The daemon's answer to a recipe or a finished upload. */
int push_read_result(struct push_result *result, const char *bytes, size_t len,
		     struct err *err) CHECKED;

#endif
