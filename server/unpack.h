/* unpack.h -- a stored file's raw bytes, chunk by chunk, from recipe, map and packs.
 * Every chunk is decoded and checked against the recipe before it is given.
 * Threads: a struct unpack belongs to one at a time. */
#ifndef SERVER_UNPACK_H
#define SERVER_UNPACK_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/blob.h"

#include <stdbool.h>
#include <stdint.h>

struct unpack;

/* Of the file that recipe describes.  ERR_NOT_FOUND. */
int unpack_open(struct unpack **ret_unpack, struct blobs *blobs, const struct digest *recipe,
		struct err *err) CHECKED;
void unpack_free(struct unpack *unpack); /* NULL is fine */
DEFINE_AUTO(struct unpack, unpack_free)

int64_t unpack_length(const struct unpack *unpack);			 /* raw bytes */
const struct digest *unpack_sha256(const struct unpack *unpack); /* of the raw bytes */

/* From now on give the len bytes at at. */
void unpack_seek(struct unpack *unpack, int64_t at, int64_t len);
/* Append the next bytes, at most a chunk's; none at the end. */
int unpack_next(struct unpack *unpack, struct buf *out, struct err *err) CHECKED;
/* Instead: append the next whole chunk as zstd frames (RFC 8878), whose concatenation decodes to
 * the file; chunks that are stored as such are passed on as they are. */
int unpack_next_zstd(struct unpack *unpack, struct buf *out, struct err *err) CHECKED;

#define UNPACK_PIECE ((size_t)5 * 1024 * 1024) /* bytes that one call appends at the most */

#endif
