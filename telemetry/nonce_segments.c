/* The closed nonces: rows, and filters that tell for which of them it is worth while to look. */
#include "telemetry/nonces_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROWS (NONCE_PAGES / NONCE_ROW_PAGES)
#define BLOCK_BITS 512	 /* of a cache line: a nonce has all its bits in one */
#define BLOCK_NONCES 32	 /* on average: two bytes each */
#define MARKS 8		 /* bits of a nonce */
#define DELETE_AT_ONCE 8 /* segments in one transaction */

struct block {
	uint64_t words[BLOCK_BITS / 64];
};

struct nonce_segment {
	struct nonce_segment *next;
	int64_t id, expires;
	uint64_t count;
	struct block *filter; /* mapped */
	uint64_t blocks;
};

/* ---- filters ---- */

/* A file without a name; -1: none can be had. */
static int nameless(const char *tmp, size_t len)
{
	char path[4096];
	if ((size_t)snprintf(path, sizeof(path), "%s/nonces-XXXXXX", tmp) >= sizeof(path))
		return -1;
	const int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	unlink(path);
	if (!posix_fallocate(fd, 0, (off_t)len)) /* or a full disk would be a signal */
		return fd;
	close(fd);
	return -1;
}

/* A disk that is full must not keep reports from being told apart: then it is anonymous memory. */
static int filter_map(struct nonce_segment *s, const char *tmp, struct err *err)
{
	const size_t len = s->blocks * sizeof(struct block);
	const int fd = nameless(tmp, len);
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (map == MAP_FAILED)
		return err_sys(err, "cannot map a filter");
	s->filter = map;
	return 0;
}

static const struct block *block_of(const struct nonce_segment *s, const struct nonce_hash *hash)
{
	return &s->filter[(hash->mark >> 32) * s->blocks >> 32];
}

/* The i-th bit of a nonce in its block. */
static unsigned bit_of(const struct nonce_hash *hash, unsigned i)
{
	const uint64_t low = hash->mark & UINT32_MAX;
	return (unsigned)((low >> 9) + i * (low >> 18 | 1)) % BLOCK_BITS;
}

static void filter_put(struct nonce_segment *s, const struct nonce_hash *hash)
{
	struct block *block = &s->filter[block_of(s, hash) - s->filter];
	for (unsigned i = 0; i < MARKS; i++)
		block->words[bit_of(hash, i) / 64] |= (uint64_t)1 << bit_of(hash, i) % 64;
}

static bool filter_has(const struct nonce_segment *s, const struct nonce_hash *hash)
{
	const struct block *block = block_of(s, hash);
	for (unsigned i = 0; i < MARKS; i++)
		if (!(block->words[bit_of(hash, i) / 64] >> bit_of(hash, i) % 64 & 1))
			return false;
	return true;
}

/* ---- segments ---- */

static struct nonce_segment *segment_alloc(const char *tmp, uint64_t count, struct err *err)
{
	AUTO(nonce_segment_free) struct nonce_segment *s = calloc(1, sizeof(*s));
	if (!s) {
		err_nomem(err);
		return NULL;
	}
	s->count = count;
	s->blocks = count / BLOCK_NONCES + 1;
	return filter_map(s, tmp, err) ? NULL : TAKE(s);
}

void nonce_segment_free(struct nonce_segment *s)
{
	if (s && s->filter)
		munmap(s->filter, s->blocks * sizeof(struct block));
	free(s);
}

void nonce_segments_take(struct nonce_segments *all, struct nonce_segment *segment)
{
	segment->next = all->first;
	all->first = segment;
}

void nonce_segments_free(struct nonce_segments *all)
{
	while (all->first) {
		struct nonce_segment *s = all->first;
		all->first = s->next;
		nonce_segment_free(s);
	}
}

uint64_t nonce_segments_expire(struct nonce_segments *all, int64_t now)
{
	uint64_t gone = 0;
	for (struct nonce_segment **at = &all->first; *at;) {
		struct nonce_segment *s = *at;
		if (s->expires >= now) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		gone += s->count;
		nonce_segment_free(s);
	}
	return gone;
}

/* ---- made ---- */

static int next_id(struct db *db, int64_t *ret_id, struct err *err)
{
	STMT(q, db, &nonces_sql, NQ_SEGMENT_NEXT);
	if (stmt_step(q, err) < 0)
		return -1;
	*ret_id = stmt_col_int(q, 0);
	return 0;
}

/* The nonces of some pages that follow each other, in one row. */
static int row_put(const struct nonce_segment *s, struct db *db, const struct nonce_page *pages,
		   unsigned row, struct err *err)
{
	UNINITIALIZED struct nonce list[NONCE_ROW_PAGES * NONCE_SLOTS];
	size_t count = 0;
	for (unsigned p = 0; p < NONCE_ROW_PAGES; p++)
		for (unsigned i = 0; i < NONCE_SLOTS; i++)
			if (nonce_page_has(&pages[p], i))
				list[count++] = pages[p].slots[i];
	if (!count)
		return 0;
	STMT(q, db, &nonces_sql, NQ_PAGE_PUT);
	stmt_int(q, "$segment", s->id);
	stmt_int(q, "$page", row);
	stmt_blob(q, "$nonces", list, count * sizeof(*list));
	return stmt_run(q, err);
}

static int segment_put(const struct nonce_segment *s, struct db *db, struct err *err)
{
	STMT(q, db, &nonces_sql, NQ_SEGMENT_PUT);
	stmt_int(q, "$id", s->id);
	stmt_int(q, "$expires", s->expires);
	stmt_int(q, "$count", (int64_t)s->count);
	stmt_blob(q, "$filter", s->filter, s->blocks * sizeof(struct block));
	return stmt_run(q, err);
}

int nonce_segment_new(struct nonce_segment **ret_segment, const struct nonce_segments *all,
		      struct db *db, const struct nonce_page *pages, const struct nonce_open *open,
		      struct err *err)
{
	AUTO(nonce_segment_free) struct nonce_segment *s =
		segment_alloc(all->tmp, open->count, err);
	if (!s || next_id(db, &s->id, err))
		return -1;
	s->expires = open->expires;
	for (unsigned p = 0; p < NONCE_PAGES; p++)
		for (unsigned i = 0; i < NONCE_SLOTS; i++)
			if (nonce_page_has(&pages[p], i)) {
				const struct nonce_hash hash =
					nonce_hash_of(&pages[p].slots[i], open->hash_key);
				filter_put(s, &hash);
			}
	for (unsigned row = 0; row < ROWS; row++)
		if (row_put(s, db, &pages[(size_t)row * NONCE_ROW_PAGES], row, err))
			return -1;
	if (segment_put(s, db, err))
		return -1;
	*ret_segment = TAKE(s);
	return 0;
}

/* ---- read ---- */

static int load_one(struct nonce_segments *all, struct stmt *q, struct err *err)
{
	size_t len;
	const int64_t id = stmt_col_int(q, 0), count = stmt_col_int(q, 2);
	const void *filter = stmt_col_blob(q, 3, &len);
	AUTO(nonce_segment_free) struct nonce_segment *s =
		segment_alloc(all->tmp, (uint64_t)count, err);
	if (!s)
		return -1;
	if (len != s->blocks * sizeof(struct block))
		return err_set(err, ERR_CORRUPT, "nonce_segments: the filter of %lld has %zu bytes",
			       (long long)id, len);
	memcpy(s->filter, filter, len);
	s->id = id;
	s->expires = stmt_col_int(q, 1);
	nonce_segments_take(all, TAKE(s));
	return 0;
}

int nonce_segments_load(struct nonce_segments *all, struct db *db, uint64_t *ret_count,
			struct err *err)
{
	int got;
	*ret_count = 0;
	STMT(q, db, &nonces_sql, NQ_SEGMENTS);
	while ((got = stmt_step(q, err)) > 0) {
		if (load_one(all, q, err))
			return -1;
		*ret_count += all->first->count;
	}
	return got;
}

/* No row: its pages were empty, or the segment has expired and is forgotten here a little later. */
static int row_has(const struct nonce_segment *s, struct db *db, unsigned row,
		   const struct nonce *nonce, struct err *err)
{
	size_t len;
	STMT(q, db, &nonces_sql, NQ_PAGE_GET);
	stmt_int(q, "$segment", s->id);
	stmt_int(q, "$page", row);
	const int got = stmt_step(q, err);
	if (got <= 0)
		return got;
	const uint8_t *list = stmt_col_blob(q, 0, &len);
	for (size_t at = 0; at + sizeof(*nonce) <= len; at += sizeof(*nonce))
		if (!memcmp(list + at, nonce, sizeof(*nonce)))
			return 1;
	return 0;
}

int nonce_segments_find(const struct nonce_segments *all, struct db *db, const struct nonce *nonce,
			const struct nonce_hash *hash, struct err *err)
{
	const unsigned row = nonce_page_of(hash) / NONCE_ROW_PAGES;
	for (const struct nonce_segment *s = all->first; s; s = s->next) {
		const int found = filter_has(s, hash) ? row_has(s, db, row, nonce, err) : 0;
		if (found)
			return found;
	}
	return 0;
}

/* ---- deleted ---- */

static int delete_one(struct db *db, unsigned statement, int64_t id, struct err *err)
{
	STMT(q, db, &nonces_sql, statement);
	stmt_int(q, "$id", id);
	return stmt_run(q, err);
}

/* 1: it has expired. */
static int oldest_expired(struct db *db, int64_t now, int64_t *ret_id, struct err *err)
{
	STMT(q, db, &nonces_sql, NQ_SEGMENT_OLD);
	stmt_int(q, "$now", now);
	const int got = stmt_step(q, err);
	if (got > 0)
		*ret_id = stmt_col_int(q, 0);
	return got;
}

int nonces_delete(struct db *db, int64_t now, struct err *err)
{
	for (unsigned i = 0; i < DELETE_AT_ONCE; i++) {
		int64_t id;
		const int got = oldest_expired(db, now, &id, err);
		if (got <= 0)
			return got;
		if (delete_one(db, NQ_PAGES_DELETE, id, err) ||
		    delete_one(db, NQ_SEGMENT_DELETE, id, err))
			return -1;
	}
	return 0;
}
