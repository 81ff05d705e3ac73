/* pack.h -- many chunks in one immutable file of at most 64 MiB, named by the SHA-256 of all its
 * bytes, with a footer that lists them, so that a lost index can be rebuilt.  Encoding: FORMAT.md.
 * Errors: ERR_INVALID for bytes that break the rules, ERR_TOO_LARGE beyond a limit; whatever the
 * sink or source reports.
 * Threads: a writer belongs to one; a struct pack_index to any once parsed. */
#ifndef STORE_PACK_H
#define STORE_PACK_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/codec.h"
#include "store/source.h"

#include <stdbool.h>
#include <stdint.h>

#define PACK_VERSION 1
#define PACK_MAX (64u << 20)	/* bytes of a whole pack, footer included */
#define PACK_CHUNKS_MAX 65536u
#define PACK_HEAD 8		/* bytes before the first chunk */
#define PACK_ENTRY 46		/* bytes of a footer entry */
#define PACK_TAIL 8		/* bytes after the last footer entry */

struct pack_chunk {
	struct digest digest; /* of the raw bytes */
	uint32_t at;	      /* offset of the stored bytes in the pack */
	uint32_t stored;      /* bytes there, 1..raw + CHUNK_STORED_EXTRA */
	uint32_t raw;	      /* bytes decoded, 1..CHUNK_RAW_MAX */
	uint8_t codec;	      /* enum codec */
	uint8_t type;	      /* enum element */
};

struct pack_writer; /* opaque */

/* Writes nothing before the first chunk; NULL without memory. */
struct pack_writer *pack_writer_new(struct sink sink) CHECKED;
void pack_writer_free(struct pack_writer *writer); /* NULL is fine; the sink's bytes remain */
DEFINE_AUTO(struct pack_writer, pack_writer_free)

/* Whether a chunk of that many stored bytes still has room. */
bool pack_writer_fits(const struct pack_writer *writer, uint32_t stored);
/* Append a chunk; *ret_at (may be NULL) is its offset.  ERR_TOO_LARGE unless it fits.  After an
 * error of the sink the writer is of no more use. */
int pack_writer_add(struct pack_writer *writer, const struct digest *digest, uint32_t raw,
		    const struct coded *coded, uint32_t *ret_at, struct err *err) CHECKED;
uint32_t pack_writer_count(const struct pack_writer *writer); /* chunks so far */
uint32_t pack_writer_bytes(const struct pack_writer *writer); /* the pack's size if finished now */
/* Write the footer (at least one chunk); tells the pack's name and size.  Only
 * pack_writer_free() may follow. */
int pack_writer_finish(struct pack_writer *writer, struct digest *ret_name, uint32_t *ret_bytes,
		       struct err *err) CHECKED;

struct pack_index {
	uint32_t count; /* 1..PACK_CHUNKS_MAX */
	struct pack_chunk *chunks; /* owned; in the order of their offsets */
};

/* Read head and footer.  Everything must add up: the chunks lie back to back from PACK_HEAD to the
 * footer.  Neither the pack's name nor the chunks' bytes are looked at: hash the pack, and
 * codec_open() each chunk. */
int pack_index_parse(struct pack_index **ret_index, const struct source *source,
		     struct err *err) CHECKED;
void pack_index_free(struct pack_index *index); /* NULL is fine */
DEFINE_AUTO(struct pack_index, pack_index_free)

#endif
