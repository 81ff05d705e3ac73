/* delta.h -- a file as what it takes to make it from an older one: chunk by chunk a copy, a difference
 * (diff.h), a frame against a piece of the old file, or the chunk itself.  Which tensor was made from
 * which: delta_pair.h.  Byte by byte: FORMAT.md.
 * A delta begins with a table that says where everything is, so that a device reads what it lacks, chunk
 * by chunk and in any order, and goes on where it was cut off: delta_open() verifies each against the new
 * file's recipe.  A delta is hostile input: what it says is read within limits.
 * Memory: about 30 MiB to make, 12 MiB to apply, and 200 bytes a chunk of each file.
 * Threads: any; an opener belongs to one. */
#ifndef STORE_DELTA_H
#define STORE_DELTA_H

#include "base/cc.h"
#include "base/err.h"
#include "store/recipe.h"
#include "store/source.h"

#include <stdint.h>

#define DELTA_PART (64u << 20) /* a chunk's bytes lie between two multiples of it, as the head does */
#define DELTA_HEAD 56u	       /* bytes before the table */
#define DELTA_ENTRY 20u	       /* bytes a chunk in the table, which the new file's recipe follows */

/* How a chunk is made; on the wire, never renumber. */
enum delta_kind {
	DELTA_DATA = 0,	  /* by itself: codec.h */
	DELTA_COPY = 1,	  /* the old file's bytes */
	DELTA_DIFF = 2,	  /* a difference from as many of them: diff.h */
	DELTA_PREFIX = 3, /* a zstd frame that refers to some of them */
	DELTA_LIFT = 4,	  /* a difference from what they are as another element type: lift.h */
	DELTA_KINDS
};

/* ---- making ---- */

struct delta_stats {
	uint64_t chunks[DELTA_KINDS];
	uint64_t raw[DELTA_KINDS];    /* bytes of the new file made that way */
	uint64_t stored[DELTA_KINDS]; /* bytes of the delta for them */
	uint64_t head;		      /* bytes of the delta before the first chunk */
	uint64_t bytes;		      /* of the delta; what is not in any of these fills it up to a part */
};

/* at (may be NULL) is told bytes of the new file that are made; not 0 ends it with ERR_BUSY. */
struct delta_progress {
	int (*at)(void *arg, uint64_t done);
	void *arg;
};

/* A file and its recipe, both borrowed. */
struct delta_side {
	const struct source *source;
	const struct recipe *recipe;
};

/* Write the delta from old to new, its head last. */
int delta_make(const struct delta_side *old, const struct delta_side *new, const struct sink_at *out,
	       const struct delta_progress *progress, struct delta_stats *ret_stats,
	       struct err *err) CHECKED;

/* ---- reading ---- */

struct delta_entry {
	uint64_t at;	  /* of its bytes in the delta */
	uint64_t old_at;  /* of what it refers to in the old file, at most CHUNK_RAW_MAX ... */
	uint32_t old_len; /* ... bytes; 0: nothing */
	uint32_t stored;  /* bytes */
	uint8_t kind;	  /* enum delta_kind */
	uint8_t codec;
	uint8_t old_type; /* enum element, of what is lifted; 0 otherwise */
};

struct delta_head {
	struct digest old;	  /* SHA-256 of the old file: for people, nobody relies on it */
	uint64_t old_len;	  /* bytes of it */
	uint32_t count;		  /* chunks of the new file */
	uint64_t table_len, len; /* bytes up to the recipe; up to the first chunk's */
};

struct delta_index {
	struct delta_head head;
	struct delta_entry *entries; /* owned; head.count */
	uint64_t bytes;		     /* of the whole delta */
};
void delta_index_free(struct delta_index *index); /* NULL is fine */
DEFINE_AUTO(struct delta_index, delta_index_free)

/* The first DELTA_HEAD bytes.  ERR_INVALID when they begin no delta. */
int delta_head_parse(struct delta_head *ret_head, const void *bytes, struct err *err) CHECKED;
/* The table, from the first len bytes (at least table_len) of a delta that leads to recipe.
 * ERR_INVALID for what breaks the rules. */
int delta_index_parse(struct delta_index **ret_index, const void *bytes, size_t len,
		      const struct recipe *recipe, struct err *err) CHECKED;

struct delta_opener; /* opaque; decoders, and a buffer of the longest chunk */
struct delta_opener *delta_opener_new(void) CHECKED; /* NULL without memory */
void delta_opener_free(struct delta_opener *opener); /* NULL is fine */
DEFINE_AUTO(struct delta_opener, delta_opener_free)

/* The chunk that entry makes from old and its stored bytes, to raw (chunk->len bytes), verified.
 * ERR_INVALID, or ERR_UNTRUSTED when it is not the recipe's, which is so when old is not the file that
 * the delta was made from. */
int delta_open(struct delta_opener *opener, const struct delta_entry *entry,
	       const struct recipe_chunk *chunk, const struct source *old, const void *stored, void *raw,
	       struct err *err) CHECKED;

/* Write the whole new file.  It is verified as a whole, once: what was written counts for nothing until this
 * returns 0.  Errors as delta_open(). */
int delta_apply(const struct source *old, const struct source *delta, const struct sink *out,
		const struct delta_progress *progress, struct err *err) CHECKED;

/* A delta states itself what it makes, however much that is and from wherever it came. */
struct delta_want {
	uint64_t max;		     /* bytes of the new file */
	const struct digest *sha256; /* of the new file; NULL: any */
};
/* As delta_apply(), but for another file ERR_TOO_LARGE or ERR_UNTRUSTED before a byte is written. */
int delta_apply_wanted(const struct source *old, const struct source *delta, const struct delta_want *want,
		       const struct sink *out, const struct delta_progress *progress,
		       struct err *err) CHECKED;

#endif
