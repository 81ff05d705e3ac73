/* nonces_internal.h -- the parts of a set of nonces: nonces.c keeps the open ones, nonce_segments.c the
 * closed ones. */
#ifndef TELEMETRY_NONCES_INTERNAL_H
#define TELEMETRY_NONCES_INTERNAL_H

#include "telemetry/nonces.h"

#include <sodium.h>
#include <stddef.h>

#define NONCE_PAGES 2048     /* of the open table */
#define NONCE_SLOTS 254	     /* with the head: 4 KiB */
#define NONCE_ROW_PAGES 4    /* pages of a segment's row: about 10 KiB */

enum nonces_statement {
	NQ_ROW_PUT,
	NQ_ROWS_AFTER,
	NQ_ROWS_DELETE,
	NQ_SEGMENT_PUT,
	NQ_SEGMENTS,
	NQ_SEGMENT_NEXT,
	NQ_SEGMENT_OLD,
	NQ_SEGMENT_DELETE,
	NQ_PAGE_PUT,
	NQ_PAGE_GET,
	NQ_PAGES_DELETE,
	NQ_COUNT
};

struct nonce {
	uint8_t bytes[REPORT_NONCE_LEN];
};
/* Nonces whose hashes begin alike. */
struct nonce_page {
	uint64_t used[4]; /* a bit a slot */
	struct nonce slots[NONCE_SLOTS];
};
/* The page is chosen by the highest bits of place, the slot by its lowest ones, a filter's bits by mark. */
struct nonce_hash {
	uint64_t place, mark;
};
/* What is told of the open ones. */
struct nonce_open {
	uint8_t hash_key[crypto_shorthash_siphashx24_KEYBYTES];
	uint64_t count;
	int64_t expires; /* the last of them */
};

static inline struct nonce_hash nonce_hash_of(const struct nonce *nonce, const uint8_t *hash_key)
{
	struct nonce_hash hash;
	crypto_shorthash_siphashx24((unsigned char *)&hash, nonce->bytes, sizeof(nonce->bytes),
				    hash_key);
	return hash;
}

static inline unsigned nonce_page_of(const struct nonce_hash *hash)
{
	return (unsigned)((hash->place >> 32) * NONCE_PAGES >> 32);
}

static inline bool nonce_page_has(const struct nonce_page *page, unsigned slot)
{
	return page->used[slot / 64] >> slot % 64 & 1;
}

/* ---- nonce_segments.c ---- */

struct nonce_segment;

/* The segments, newest first. */
struct nonce_segments {
	struct nonce_segment *first;
	char *tmp; /* owned by struct nonces */
};

/* Make a segment of the open pages, in rows and in memory. */
int nonce_segment_new(struct nonce_segment **ret_segment, const struct nonce_segments *all,
		      struct db *db, const struct nonce_page *pages, const struct nonce_open *open,
		      struct err *err) CHECKED;
void nonce_segment_free(struct nonce_segment *segment); /* NULL is fine */
DEFINE_AUTO(struct nonce_segment, nonce_segment_free)
void nonce_segments_take(struct nonce_segments *all, struct nonce_segment *segment);
void nonce_segments_free(struct nonce_segments *all);
/* *ret_count: nonces of all of them. */
int nonce_segments_load(struct nonce_segments *all, struct db *db, uint64_t *ret_count,
			struct err *err) CHECKED;
/* 1: one of them has it; 0: none; -1. */
int nonce_segments_find(const struct nonce_segments *all, struct db *db, const struct nonce *nonce,
			const struct nonce_hash *hash, struct err *err) CHECKED;
/* How many nonces are gone with those that expired before now. */
uint64_t nonce_segments_expire(struct nonce_segments *all, int64_t now);

#endif
