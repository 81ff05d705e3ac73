/* buf.h -- a growing byte buffer, bounded at birth, NUL-terminated, that remembers failure.
 * Append without checking and ask buf_ok() once at the end.
 * Invariants: data is NULL or data[len] == 0; len <= max; after a failure nothing is appended.
 * Threads: a buf belongs to one. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct buf {
	char *data;  /* owned; NULL while empty */
	size_t len;  /* bytes, without the closing NUL */
	size_t room; /* bytes allocated */
	size_t max;  /* bytes at the most */
	bool failed; /* an append was refused: too large, or no memory */
	bool full;   /* ... because of max */
};

void buf_init(struct buf *buf, size_t max);
void buf_done(struct buf *buf);			/* frees; the buf is empty and usable again */
void buf_reset(struct buf *buf);		/* len = 0, not failed; keeps the memory */

void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_addc(struct buf *buf, char c);
void buf_adds(struct buf *buf, const char *text);
void buf_addf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_add_le32(struct buf *buf, uint32_t v);
void buf_add_le64(struct buf *buf, uint64_t v);

/* Room for len more bytes, to be filled by the caller and then claimed with buf_grown().
 * NULL when refused. */
void *buf_grow(struct buf *buf, size_t len) CHECKED;
void buf_grown(struct buf *buf, size_t len);

/* 0, or -1 with ERR_TOO_LARGE (max) or ERR_SYSTEM (memory), prefixed by what. */
int buf_ok(const struct buf *buf, const char *what, struct err *err) CHECKED;

/* The bytes, now the caller's (free()); never NULL for a buf that is ok.  The buf is empty. */
char *buf_take(struct buf *buf, size_t *ret_len) CHECKED;

static inline void buf_done_scope(struct buf *buf)
{
	buf_done(buf);
}
/* AUTO_BUF struct buf b;  must be initialised with BUF_INIT(max) where declared. */
#define AUTO_BUF __attribute__((cleanup(buf_done_scope)))
#define BUF_INIT(limit)                                                                   \
	{                                                                                 \
		.max = (limit)                                                            \
	}

#endif
