/* Reading deltas: the table, a chunk, a whole file. */
#include "store/delta.h"

#include "store/codec.h"
#include "store/codec_internal.h"
#include "store/delta_internal.h"
#include "store/diff.h"
#include "store/element.h"
#include "store/le.h"
#include "store/lift.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

void delta_index_free(struct delta_index *index)
{
	if (!index)
		return;
	free(index->entries);
	free(index);
}

uint64_t delta_place(uint64_t at, uint32_t stored)
{
	const uint64_t left = DELTA_PART - at % DELTA_PART;
	return stored > left ? at + left : at;
}

int delta_head_parse(struct delta_head *ret_head, const void *bytes, struct err *err)
{
	const uint8_t *b = bytes;
	struct delta_head head = {.old_len = le_u64(b + 40), .count = le_u32(b + 48)};
	if (memcmp(b, DELTA_MAGIC, 4) || b[4] != DELTA_VERSION)
		return err_set(err, ERR_INVALID,
			       "delta: not one, or of a later version than this program knows");
	if (b[5] || b[6] || b[7] || le_u32(b + 52))
		return err_set(err, ERR_INVALID, "delta: its head is damaged");
	memcpy(head.old.bytes, b + 8, DIGEST_LEN);
	head.table_len = DELTA_HEAD + (uint64_t)head.count * DELTA_ENTRY;
	head.len = head.table_len + RECIPE_HEAD + (uint64_t)head.count * RECIPE_ENTRY;
	if (head.count > RECIPE_CHUNKS_MAX || head.len > DELTA_PART)
		return err_set(err, ERR_INVALID, "delta: its head has %llu bytes, more than %u",
			       (unsigned long long)head.len, DELTA_PART);
	*ret_head = head;
	return 0;
}

/* Whether each field is what it must be for that kind. */
static bool entry_fits(const struct delta_entry *e, const struct recipe_chunk *c, uint64_t old_len)
{
	if (e->stored > c->len + CHUNK_STORED_EXTRA || e->old_len > CHUNK_RAW_MAX ||
	    e->old_at > old_len || e->old_len > old_len - e->old_at || (e->old_at && !e->old_len) ||
	    (e->old_type && e->kind != DELTA_LIFT))
		return false;
	switch ((enum delta_kind)e->kind) {
	case DELTA_DATA:
		return e->stored && !e->old_len;
	case DELTA_COPY:
		return !e->stored && !e->codec && e->old_len == c->len;
	case DELTA_DIFF:
		return e->stored && e->codec == CODEC_DELTA && e->old_len && e->old_len <= c->len;
	case DELTA_PREFIX:
		return e->stored && e->codec == CODEC_DICT && e->old_len;
	case DELTA_LIFT:
		return e->stored && e->codec == CODEC_DELTA && e->old_len &&
		       e->old_len % element_block(e->old_type) == 0;
	default:
		return false;
	}
}

static int entries_parse(struct delta_index *index, const uint8_t *bytes, const struct recipe *recipe,
			 struct err *err)
{
	uint64_t at = index->head.len;
	for (uint32_t i = 0; i < recipe->count; i++, bytes += DELTA_ENTRY) {
		struct delta_entry *e = &index->entries[i];
		*e = (struct delta_entry){.kind = bytes[0], .codec = bytes[1], .old_type = bytes[2],
					  .stored = le_u32(bytes + 4), .old_at = le_u64(bytes + 8),
					  .old_len = le_u32(bytes + 16)};
		if (e->kind >= DELTA_KINDS || bytes[3])
			return err_set(err, ERR_INVALID,
				       "delta: chunk %u is made in a way not known to this version", i);
		if (!entry_fits(e, &recipe->chunks[i], index->head.old_len))
			return err_set(err, ERR_INVALID, "delta: the lengths of chunk %u do not fit", i);
		e->at = delta_place(at, e->stored);
		at = e->at + e->stored;
	}
	index->bytes = at;
	return 0;
}

int delta_index_parse(struct delta_index **ret_index, const void *bytes, size_t len,
		      const struct recipe *recipe, struct err *err)
{
	AUTO(delta_index_free) struct delta_index *index = calloc(1, sizeof(*index));
	if (!index)
		return err_nomem(err);
	if (len < DELTA_HEAD)
		return err_set(err, ERR_INVALID, "delta: ends early, after %zu bytes", len);
	if (delta_head_parse(&index->head, bytes, err))
		return -1;
	if (index->head.count != recipe->count || len < index->head.table_len)
		return err_set(err, ERR_INVALID, "delta: its table is not the recipe's");
	index->entries = calloc(recipe->count + 1, sizeof(*index->entries));
	if (!index->entries)
		return err_nomem(err);
	if (entries_parse(index, (const uint8_t *)bytes + DELTA_HEAD, recipe, err))
		return -1;
	*ret_index = TAKE(index);
	return 0;
}

/* ---- a chunk ---- */

struct delta_opener {
	struct decoder *decoder;
	struct differ *differ;
	ZSTD_DCtx *zstd;
	uint8_t *before; /* CHUNK_RAW_MAX */
};

void delta_opener_free(struct delta_opener *o)
{
	if (!o)
		return;
	decoder_free(o->decoder);
	differ_free(o->differ);
	ZSTD_freeDCtx(o->zstd);
	free(o->before);
	free(o);
}

struct delta_opener *delta_opener_new(void)
{
	AUTO(delta_opener_free) struct delta_opener *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->decoder = decoder_new();
	o->differ = differ_new();
	o->zstd = ZSTD_createDCtx();
	o->before = malloc(CHUNK_RAW_MAX);
	return o->decoder && o->differ && o->zstd && o->before ? TAKE(o) : NULL;
}

static int open_prefix(struct delta_opener *o, const struct delta_entry *e,
		       const struct coded *coded, void *raw, uint32_t len, struct err *err)
{
	ZSTD_DCtx_reset(o->zstd, ZSTD_reset_session_only);
	if (ZSTD_isError(ZSTD_DCtx_setParameter(o->zstd, ZSTD_d_windowLogMax, CODEC_WINDOW_LOG_MAX)) ||
	    ZSTD_isError(ZSTD_DCtx_refPrefix(o->zstd, o->before, e->old_len)))
		return err_nomem(err);
	const size_t n = ZSTD_decompressDCtx(o->zstd, raw, len, coded->bytes, coded->len);
	if (ZSTD_isError(n) || n != len)
		return err_set(err, ERR_INVALID, "delta: a chunk's frame is damaged");
	return 0;
}

static int open_kind(struct delta_opener *o, const struct delta_entry *e,
		     const struct recipe_chunk *c, const void *stored, void *raw, struct err *err)
{
	const struct coded coded = {stored, e->stored, e->codec, c->type};
	switch ((enum delta_kind)e->kind) {
	case DELTA_DATA:
		return codec_decode(o->decoder, &coded, raw, c->len, err);
	case DELTA_COPY:
		memcpy(raw, o->before, c->len);
		return 0;
	case DELTA_DIFF:
	case DELTA_LIFT:
		return diff_decode(o->differ, &coded, o->before, raw, c->len, err);
	default:
		return open_prefix(o, e, &coded, raw, c->len, err);
	}
}

/* What a chunk of the type that its difference is in would be, had the old file that type. */
static int read_lifted(struct delta_opener *o, const struct delta_entry *e, const struct recipe_chunk *c,
		       const struct source *old, const uint8_t *stored, struct err *err)
{
	const uint8_t to = stored[0];
	if (!lift_possible(e->old_type, to) || lift_len(e->old_type, to, e->old_len) > c->len)
		return err_set(err, ERR_INVALID, "delta: element type %u is not made from %u, or not so much",
			       to, e->old_type);
	const size_t len = (size_t)lift_len(e->old_type, to, e->old_len);
	memset(o->before + len, 0, c->len - len);
	return lift_read(old, e->old_at, e->old_len, e->old_type, to, o->before, err);
}

static int read_before(struct delta_opener *o, const struct delta_entry *e, const struct recipe_chunk *c,
		       const struct source *old, const void *stored, struct err *err)
{
	if (e->kind == DELTA_LIFT)
		return read_lifted(o, e, c, old, stored, err);
	if (e->kind == DELTA_DIFF)
		memset(o->before + e->old_len, 0, c->len - e->old_len);
	return e->old_len ? old->read(old->arg, e->old_at, o->before, e->old_len, err) : 0;
}

/* Without looking whether it is the recipe's. */
static int open_unverified(struct delta_opener *o, const struct delta_entry *e,
			   const struct recipe_chunk *c, const struct source *old, const void *stored,
			   void *raw, struct err *err)
{
	if (read_before(o, e, c, old, stored, err))
		return -1;
	return open_kind(o, e, c, stored, raw, err);
}

#define NOT_THE_ONE \
	"the old file is not the one that the delta was made from, or one of them is damaged"

int delta_open(struct delta_opener *opener, const struct delta_entry *entry,
	       const struct recipe_chunk *chunk, const struct source *old, const void *stored, void *raw,
	       struct err *err)
{
	struct digest digest;
	if (open_unverified(opener, entry, chunk, old, stored, raw, err))
		return -1;
	digest_of(&digest, raw, chunk->len);
	if (digest_eq(&digest, &chunk->digest))
		return 0;
	return err_set(err, ERR_UNTRUSTED,
		       "delta: the bytes at %llu are not those of the new file: " NOT_THE_ONE,
		       (unsigned long long)chunk->at);
}

/* ---- a whole file ---- */

struct applying {
	const struct source *old, *delta;
	const struct sink *out;
	const struct delta_want *want;
	struct recipe *recipe;
	struct delta_index *index;
	struct delta_opener *opener;
	uint8_t *raw, *stored;
	struct digest_ctx *whole;
	struct err *err;
};

static void applying_done(struct applying *a)
{
	recipe_free(a->recipe);
	delta_index_free(a->index);
	delta_opener_free(a->opener);
	free(a->raw);
	free(a->stored);
	digest_free(a->whole);
}

static int applying_start(struct applying *a)
{
	a->opener = delta_opener_new();
	a->whole = digest_begin();
	a->raw = malloc(CHUNK_RAW_MAX);
	a->stored = malloc(CHUNK_STORED_MAX);
	return a->opener && a->whole && a->raw && a->stored ? 0 : err_nomem(a->err);
}

static int delta_read(const struct applying *a, uint64_t at, void *bytes, uint64_t len)
{
	if (at > a->delta->size || len > a->delta->size - at)
		return err_set(a->err, ERR_INVALID, "delta: ends early, after %llu bytes",
			       (unsigned long long)a->delta->size);
	return len ? a->delta->read(a->delta->arg, at, bytes, len, a->err) : 0;
}

static int read_index(struct applying *a)
{
	uint8_t first[DELTA_HEAD];
	struct delta_head head;
	if (delta_read(a, 0, first, DELTA_HEAD) || delta_head_parse(&head, first, a->err))
		return -1;
	AUTO_FREE uint8_t *bytes = malloc(head.len);
	if (!bytes)
		return err_nomem(a->err);
	if (delta_read(a, 0, bytes, head.len) ||
	    recipe_parse(&a->recipe, bytes + head.table_len, head.len - head.table_len, a->err) ||
	    delta_index_parse(&a->index, bytes, head.len, a->recipe, a->err))
		return -1;
	if (head.old_len != a->old->size)
		return err_set(a->err, ERR_UNTRUSTED,
			       "delta: made from a file of %llu bytes, and the old one has %llu",
			       (unsigned long long)head.old_len, (unsigned long long)a->old->size);
	if (a->delta->size > a->index->bytes)
		return err_set(a->err, ERR_INVALID, "delta: bytes behind its last chunk");
	return 0;
}

static int apply_chunk(struct applying *a, uint32_t i)
{
	const struct delta_entry *e = &a->index->entries[i];
	const struct recipe_chunk *c = &a->recipe->chunks[i];
	if (delta_read(a, e->at, a->stored, e->stored) ||
	    open_unverified(a->opener, e, c, a->old, a->stored, a->raw, a->err))
		return -1;
	digest_add(a->whole, a->raw, c->len);
	return a->out->write(a->out->arg, a->raw, c->len, a->err);
}

static int wanted(const struct applying *a)
{
	if (a->recipe->length > a->want->max)
		return err_set(a->err, ERR_TOO_LARGE,
			       "delta: makes a file of %llu bytes, more than the %llu that --max-bytes allows",
			       (unsigned long long)a->recipe->length, (unsigned long long)a->want->max);
	if (a->want->sha256 && !digest_eq(a->want->sha256, &a->recipe->sha256))
		return err_set(a->err, ERR_UNTRUSTED, "delta: makes a file of another SHA-256");
	return 0;
}

static int apply_all(struct applying *a, const struct delta_progress *progress)
{
	struct digest digest;
	if (applying_start(a) || read_index(a) || wanted(a))
		return -1;
	for (uint32_t i = 0; i < a->recipe->count; i++)
		if (apply_chunk(a, i) || delta_tell(progress, &a->recipe->chunks[i], a->err))
			return -1;
	digest_end(a->whole, &digest);
	return digest_eq(&digest, &a->recipe->sha256)
		       ? 0
		       : err_set(a->err, ERR_UNTRUSTED, "delta: the new file is not its recipe's: " NOT_THE_ONE);
}

int delta_tell(const struct delta_progress *progress, const struct recipe_chunk *c, struct err *err)
{
	if (!progress || !progress->at || !progress->at(progress->arg, c->at + c->len))
		return 0;
	return err_set(err, ERR_BUSY, "delta: ended early, as asked");
}

int delta_apply_wanted(const struct source *old, const struct source *delta, const struct delta_want *want,
		       const struct sink *out, const struct delta_progress *progress, struct err *err)
{
	struct applying a = {.old = old, .delta = delta, .out = out, .want = want, .err = err};
	const int bad = apply_all(&a, progress);
	applying_done(&a);
	return bad ? -1 : 0;
}

int delta_apply(const struct source *old, const struct source *delta, const struct sink *out,
		const struct delta_progress *progress, struct err *err)
{
	const struct delta_want any = {.max = UINT64_MAX};
	return delta_apply_wanted(old, delta, &any, out, progress, err);
}
