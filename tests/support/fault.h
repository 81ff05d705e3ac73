/* fault.h -- for tests: let the nth call of a kind fail, once.
 * The program is linked with tests/support/fault.c and the options in tests/fault/wrap.options
 * (as @file), which send the calls of our own objects, not those inside shared libraries, through
 * here.  The pattern ends when there are no more calls that could fail:
 *
 *	for (int nth = 1;; nth++) {
 *		fault_arm(FAULT_MEMORY, nth);
 *		int rc = thing_do(&err);
 *		if (!fault_fired())
 *			break;
 *		... rc must be -1, err filled, nothing leaked, nothing half done
 *	}
 *
 * Check allocates when it asserts: assert only after fault_fired().
 * Threads: calls are counted over all threads; one test arms at a time. */
#ifndef TESTS_SUPPORT_FAULT_H
#define TESTS_SUPPORT_FAULT_H

#include "base/cc.h"

#include <stdbool.h>

enum fault {
	FAULT_NONE,
	FAULT_MEMORY,	 /* malloc calloc realloc reallocarray strdup strndup asprintf: ENOMEM */
	FAULT_WRITE,	 /* write pwrite: ENOSPC */
	FAULT_SHORT,	 /* write pwrite: only half is written; correct code does not notice */
	FAULT_INTERRUPT, /* write pwrite: EINTR; correct code does not notice */
	FAULT_SYNC,	 /* fsync fdatasync: EIO */
	FAULT_RENAME,	 /* rename: EIO */
	FAULT_THREAD,	 /* pthread_create: EAGAIN */
};

/* The nth (1 is the next) call of that kind fails. */
void fault_arm(enum fault fault, int nth);
/* Whether it came to that; disarms. */
bool fault_fired(void) CHECKED;

/* Make jansson, a shared library, allocate through the wrapped functions too. */
void fault_in_jansson(void);

#endif
