/* The open nonces: a table of pages of a fixed number, in the order of their hashes. */
#include "telemetry/nonces_internal.h"

#include "base/hex.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define HASH_KEY "nonces.key" /* in meta: segments are found by it as long as they live */
#define PAGE_FULL 240	      /* no page takes more: chains of slots stay short */
/* When it is time to close: a page has 160 on average then, and in one of a million times one is full. */
#define OPEN_MOST (NONCE_PAGES * 160)

/* clang-format off */
static const char *const sql[NQ_COUNT] = {
	[NQ_ROW_PUT] =
		"INSERT INTO nonce_rows (seq, expires, nonces) VALUES ($seq, $expires, $nonces)",
	[NQ_ROWS_AFTER] =
		"SELECT seq, expires, nonces FROM nonce_rows WHERE seq >= $seq ORDER BY seq",
	[NQ_ROWS_DELETE] =
		"DELETE FROM nonce_rows WHERE seq < $seq",
	[NQ_SEGMENT_PUT] =
		"INSERT INTO nonce_segments VALUES ($id, $expires, $count, $filter)",
	[NQ_SEGMENTS] =
		"SELECT id, expires, count, filter FROM nonce_segments ORDER BY id",
	[NQ_SEGMENT_NEXT] =
		"SELECT COALESCE(MAX(id), 0) + 1 FROM nonce_segments",
	[NQ_SEGMENT_OLD] =
		"SELECT id FROM nonce_segments WHERE expires < $now ORDER BY id LIMIT 1",
	[NQ_SEGMENT_DELETE] =
		"DELETE FROM nonce_segments WHERE id = $id",
	[NQ_PAGE_PUT] =
		"INSERT INTO nonce_pages (segment, page, nonces) VALUES ($segment, $page, $nonces)",
	[NQ_PAGE_GET] =
		"SELECT nonces FROM nonce_pages WHERE segment = $segment AND page = $page",
	[NQ_PAGES_DELETE] =
		"DELETE FROM nonce_pages WHERE segment = $id",
};
/* clang-format on */
const struct sql_set nonces_sql = {"nonces", sql, NQ_COUNT};

struct nonces {
	uint64_t count;		  /* of all; written by the ledger's thread, read by any */
	struct nonce_page *pages; /* NONCE_PAGES, open */
	struct nonce_open open;
	uint64_t open_most, close_at;
	bool crowded; /* a page had no place */
	int64_t next_seq;
	struct nonce_segment *closing; /* made of the open ones, not yet durable */
	struct nonce_segments segments;
};

int nonces_new(struct nonces **ret_nonces, const char *tmp, uint64_t open_most, struct err *err)
{
	AUTO(nonces_free) struct nonces *nonces = calloc(1, sizeof(*nonces));
	if (!nonces)
		return err_nomem(err);
	nonces->next_seq = 1;
	nonces->open_most = open_most < OPEN_MOST ? open_most : OPEN_MOST;
	nonces->close_at = nonces->open_most;
	nonces->segments.tmp = strdup(tmp);
	nonces->pages = calloc(NONCE_PAGES, sizeof(*nonces->pages));
	if (!nonces->segments.tmp || !nonces->pages)
		return err_nomem(err);
	*ret_nonces = TAKE(nonces);
	return 0;
}

void nonces_free(struct nonces *nonces)
{
	if (!nonces)
		return;
	nonce_segment_free(nonces->closing);
	nonce_segments_free(&nonces->segments);
	free(nonces->segments.tmp);
	free(nonces->pages);
	free(nonces);
}

uint64_t nonces_count(const struct nonces *nonces)
{
	return __atomic_load_n(&nonces->count, __ATOMIC_RELAXED);
}

static void count_change(struct nonces *nonces, int64_t by)
{
	__atomic_fetch_add(&nonces->count, (uint64_t)by, __ATOMIC_RELAXED);
}

bool nonces_full(const struct nonces *nonces)
{
	return nonces->open.count >= nonces->close_at || nonces->crowded;
}

/* ---- pages ---- */

static struct nonce_hash hash_of(const struct nonces *nonces, const struct nonce *nonce)
{
	return nonce_hash_of(nonce, nonces->open.hash_key);
}

static unsigned page_count(const struct nonce_page *page)
{
	unsigned count = 0;
	for (unsigned i = 0; i < COUNT_OF(page->used); i++)
		count += (unsigned)__builtin_popcountll(page->used[i]);
	return count;
}

/* Where the nonce is in the page, or would be; a page is never full. */
static unsigned slot_find(const struct nonce_page *page, const struct nonce_hash *hash,
			  const struct nonce *nonce)
{
	unsigned i = (unsigned)((hash->place & UINT32_MAX) * NONCE_SLOTS >> 32);
	while (nonce_page_has(page, i) && memcmp(&page->slots[i], nonce, sizeof(*nonce)) != 0)
		i = i + 1 < NONCE_SLOTS ? i + 1 : 0;
	return i;
}

static void slot_put(struct nonce_page *page, unsigned slot, const struct nonce *nonce)
{
	page->slots[slot] = *nonce;
	page->used[slot / 64] |= (uint64_t)1 << slot % 64;
}

/* 1: added; 0: it was there; -1: its page has no place. */
static int open_add(struct nonces *nonces, const struct nonce *nonce,
		    const struct nonce_hash *hash)
{
	struct nonce_page *page = &nonces->pages[nonce_page_of(hash)];
	const unsigned slot = slot_find(page, hash, nonce);
	if (nonce_page_has(page, slot))
		return 0;
	if (page_count(page) >= PAGE_FULL) {
		nonces->crowded = true;
		return -1;
	}
	slot_put(page, slot, nonce);
	nonces->open.count++;
	count_change(nonces, 1);
	return 1;
}

/* A hole would cut chains of slots: the page is filled anew. */
void nonces_remove(struct nonces *nonces, const uint8_t bytes[static REPORT_NONCE_LEN])
{
	struct nonce nonce;
	memcpy(&nonce, bytes, sizeof(nonce));
	const struct nonce_hash hash = hash_of(nonces, &nonce);
	struct nonce_page *page = &nonces->pages[nonce_page_of(&hash)];
	if (!nonce_page_has(page, slot_find(page, &hash, &nonce)))
		return;
	const struct nonce_page before = *page;
	memset(page->used, 0, sizeof(page->used));
	for (unsigned i = 0; i < NONCE_SLOTS; i++) {
		const struct nonce *other = &before.slots[i];
		if (!nonce_page_has(&before, i) || !memcmp(other, &nonce, sizeof(nonce)))
			continue;
		const struct nonce_hash of_other = hash_of(nonces, other);
		slot_put(page, slot_find(page, &of_other, other), other);
	}
	nonces->open.count--;
	count_change(nonces, -1);
}

/* ---- nonces ---- */

int nonces_add(struct nonces *nonces, struct db *db, const uint8_t bytes[static REPORT_NONCE_LEN],
	       struct err *err)
{
	struct nonce nonce;
	memcpy(&nonce, bytes, sizeof(nonce));
	const struct nonce_hash hash = hash_of(nonces, &nonce);
	const int added = open_add(nonces, &nonce, &hash);
	if (added < 0)
		return err_set(err, ERR_BUSY,
			       "reports that are remembered are being put in order; send it again");
	if (!added)
		return 0;
	const int found = nonce_segments_find(&nonces->segments, db, &nonce, &hash, err);
	if (found)
		nonces_remove(nonces, bytes);
	return found < 0 ? -1 : !found;
}

int nonces_keep(struct nonces *nonces, struct db *db, const uint8_t *list, unsigned count,
		int64_t expires, struct err *err)
{
	if (expires > nonces->open.expires)
		nonces->open.expires = expires;
	STMT(q, db, &nonces_sql, NQ_ROW_PUT);
	stmt_int(q, "$seq", nonces->next_seq++);
	stmt_int(q, "$expires", expires);
	stmt_blob(q, "$nonces", list, (size_t)count * REPORT_NONCE_LEN);
	return stmt_run(q, err);
}

void nonces_expire(struct nonces *nonces, int64_t now)
{
	count_change(nonces, -(int64_t)nonce_segments_expire(&nonces->segments, now));
}

/* ---- closing ---- */

int nonces_close(struct nonces *nonces, struct db *db, struct err *err)
{
	nonce_segment_free(TAKE(nonces->closing));
	STMT(q, db, &nonces_sql, NQ_ROWS_DELETE);
	stmt_int(q, "$seq", nonces->next_seq);
	return stmt_run(q, err) ||
			       nonce_segment_new(&nonces->closing, &nonces->segments, db,
						 nonces->pages, &nonces->open, err)
		       ? -1
		       : 0;
}

void nonces_closed(struct nonces *nonces, bool durable)
{
	if (!durable) { /* not at once again: it is much to write */
		nonce_segment_free(TAKE(nonces->closing));
		nonces->close_at = nonces->open.count + NONCE_PAGES;
		return;
	}
	nonce_segments_take(&nonces->segments, TAKE(nonces->closing));
	for (unsigned i = 0; i < NONCE_PAGES; i++)
		memset(nonces->pages[i].used, 0, sizeof(nonces->pages[i].used));
	nonces->open.count = 0;
	nonces->open.expires = 0;
	nonces->close_at = nonces->open_most;
	nonces->crowded = false;
}

/* ---- loading ---- */

static int load_key(struct nonces *nonces, struct db *db, struct err *err)
{
	char hex[2 * sizeof(nonces->open.hash_key) + 1];
	if (!db_meta_get(db, HASH_KEY, hex, sizeof(hex), err)) {
		if (hex_decode(nonces->open.hash_key, sizeof(nonces->open.hash_key), hex))
			return err_set(err, ERR_CORRUPT, "meta: %s is damaged", HASH_KEY);
		return 0;
	}
	if (err->status != ERR_NOT_FOUND)
		return -1;
	randombytes_buf(nonces->open.hash_key, sizeof(nonces->open.hash_key));
	hex_encode(hex, nonces->open.hash_key, sizeof(nonces->open.hash_key));
	return db_meta_set(db, HASH_KEY, hex, err);
}

static int load_row(struct nonces *nonces, struct stmt *q, struct err *err)
{
	size_t len;
	const uint8_t *bytes = stmt_col_blob(q, 2, &len);
	if (len % REPORT_NONCE_LEN)
		return err_set(err, ERR_CORRUPT, "nonce_rows: a row of %zu bytes", len);
	for (size_t at = 0; at < len; at += REPORT_NONCE_LEN) {
		struct nonce nonce;
		memcpy(&nonce, bytes + at, sizeof(nonce));
		const struct nonce_hash hash = hash_of(nonces, &nonce);
		if (open_add(nonces, &nonce, &hash) < 0)
			return err_set(err, ERR_CORRUPT, "nonce_rows: one hash has too many");
	}
	nonces->next_seq = stmt_col_int(q, 0) + 1;
	if (stmt_col_int(q, 1) > nonces->open.expires)
		nonces->open.expires = stmt_col_int(q, 1);
	return 0;
}

/* Rows until the open ones are full; *ret_more: so they are. */
static int load_rows(struct nonces *nonces, struct db *db, bool *ret_more, struct err *err)
{
	int got;
	STMT(q, db, &nonces_sql, NQ_ROWS_AFTER);
	stmt_int(q, "$seq", nonces->next_seq);
	while ((got = stmt_step(q, err)) > 0 && !nonces_full(nonces))
		if (load_row(nonces, q, err))
			return -1;
	*ret_more = got > 0;
	return got < 0 ? -1 : 0;
}

/* What comes from a version before segments may be more than fits: it is closed at once. */
int nonces_load(struct nonces *nonces, struct db *db, struct err *err)
{
	uint64_t closed;
	bool more;
	if (load_key(nonces, db, err) ||
	    nonce_segments_load(&nonces->segments, db, &closed, err) ||
	    load_rows(nonces, db, &more, err))
		return -1;
	count_change(nonces, (int64_t)closed);
	while (more) {
		if (nonces_close(nonces, db, err))
			return -1;
		nonces_closed(nonces, true);
		if (load_rows(nonces, db, &more, err))
			return -1;
	}
	return 0;
}
