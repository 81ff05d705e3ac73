/* decode.h -- a body's Content-Encoding undone: zstd (RFC 8878), gzip (RFC 1952), or none.
 * What comes out is bounded by the buffer it goes to, and a zstd frame's window by 16 MiB: a small
 * body cannot become a large one unseen.
 * Threads: pure. */
#ifndef SERVER_DECODE_H
#define SERVER_DECODE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"

/* Append what the len bytes mean to out.  encoding: the header's value, NULL for none.
 * ERR_INVALID names what is not understood, broken or cut short; ERR_TOO_LARGE beyond out's bound. */
int decode_body(const char *encoding, const void *bytes, size_t len, struct buf *out,
		struct err *err) CHECKED;

#endif
