/* err.h -- one error object, fixed size, so that reporting never allocates.
 * The deepest layer chooses the status and says what is wrong and what to do; upper layers only
 * prepend where it happened.  Callers pass a real struct err, never NULL.
 * Threads: a struct err belongs to one. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/cc.h"

enum status {
	ERR_NONE = 0,
	ERR_INVALID,	  /* the caller's input is wrong; text names the field and the remedy */
	ERR_UNAUTHORIZED, /* no or bad credentials */
	ERR_DENIED,	  /* known, but not allowed */
	ERR_NOT_FOUND,
	ERR_CONFLICT,	/* the state does not allow it */
	ERR_STALE,	/* If-Match or version does not match */
	ERR_MISSING_PRECONDITION, /* If-Match is required and absent */
	ERR_TOO_LARGE,	/* a stated limit is exceeded */
	ERR_RANGE,	/* an unsatisfiable byte range or offset */
	ERR_QUOTA,	/* too many for now: retry later */
	ERR_BUSY,	/* a bounded queue is full, or shutting down: retry later */
	ERR_FULL,	/* no disk space left for this */
	ERR_NETWORK,	/* the peer cannot be reached, or broke off */
	ERR_UNTRUSTED,	/* a signature, hash, version or expiry check refused it */
	ERR_CORRUPT,	/* stored or received bytes contradict their own description */
	ERR_SYSTEM,	/* the operating system or memory failed us */
	ERR_STATUSES
};

struct err {
	enum status status;
	unsigned retry_s; /* ERR_QUOTA, ERR_BUSY: when to try again, in seconds; 0: soon.  Set it
			     after err_set(), which makes it 0 */
	char text[400]; /* one sentence, printable UTF-8; other bytes become '?' */
};

static inline int err_minus_one(void)
{
	return -1;
}

/* Fill err.  All of these are -1, so that callers can `return err_set(...)`; that they are is seen by
 * compiler and analyzers, because the macros below say it. */
void err_set_text(struct err *err, enum status status, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define err_set(...) (err_set_text(__VA_ARGS__), err_minus_one())

/* As err_set(), for a failed system call: appends ": " and the text of errno.  Status is
 * ERR_FULL for ENOSPC and EDQUOT, ERR_NOT_FOUND for ENOENT, else ERR_SYSTEM. */
void err_sys_text(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define err_sys(...) (err_sys_text(__VA_ARGS__), err_minus_one())

/* Out of memory: ERR_SYSTEM. */
#define err_nomem(err) err_set((err), ERR_SYSTEM, "out of memory")

/* Prepend "context: " and keep the status.  Cuts the tail when the text is full. */
void err_in_text(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define err_in(...) (err_in_text(__VA_ARGS__), err_minus_one())

/* A stable lower-case name, e.g. "not-found": the last segment of a problem type. */
const char *err_name(enum status status);

#endif
