/* Making deltas: of each chunk the shortest way from the old bytes to the new. */
#include "store/codec.h"
#include "store/codec_internal.h"
#include "store/cut.h"
#include "store/delta_internal.h"
#include "store/delta_pair.h"
#include "store/diff.h"
#include "store/le.h"
#include "store/lift.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_MAX (1u << 20) /* of the old file, for one frame */
#define PREFIX_BEFORE (256u << 10)
#define PREFIX_LEVEL 12
#define STORED_MAX (CHUNK_RAW_MAX + CHUNK_STORED_EXTRA)

/* ---- making ---- */

struct making {
	const struct delta_side *old, *new;
	const struct sink_at *out;
	uint64_t at; /* in the delta */
	struct pairing *pairing;
	struct encoder *encoder;
	struct differ *differ;
	ZSTD_CCtx *prefix;
	uint8_t *raw, *before, *frame; /* CHUNK_RAW_MAX, the same, STORED_MAX */
	uint8_t *table, *entry;	       /* owned; where the next goes */
	struct delta_stats *stats;
	struct err *err;
};

static void making_done(struct making *m)
{
	pairing_free(m->pairing);
	encoder_free(m->encoder);
	differ_free(m->differ);
	ZSTD_freeCCtx(m->prefix);
	free(m->raw);
	free(m->before);
	free(m->frame);
	free(m->table);
}

/* The next chunk, of `raw` bytes, is made as e says; its stored bytes are written. */
static int write_entry(struct making *m, const struct delta_entry *e, const void *bytes, uint32_t raw)
{
	m->entry[0] = e->kind;
	m->entry[1] = e->codec;
	m->entry[2] = e->old_type;
	le_put(m->entry + 4, e->stored, 4);
	le_put(m->entry + 8, e->old_at, 8);
	le_put(m->entry + 16, e->old_len, 4);
	m->entry += DELTA_ENTRY;
	m->stats->chunks[e->kind]++;
	m->stats->raw[e->kind] += raw;
	m->stats->stored[e->kind] += e->stored;
	const uint64_t at = delta_place(m->at, e->stored);
	m->at = at + e->stored;
	return e->stored ? m->out->write(m->out->arg, at, bytes, e->stored, m->err) : 0;
}

/* What make_chunk() has found best so far. */
struct way {
	struct delta_entry entry;
	const uint8_t *bytes;
};

/* The old numbers as bytes of the chunk's type, and zeros for those that it has more. */
static int read_before(struct making *m, const struct recipe_chunk *c, const struct counterpart *old)
{
	const struct source *source = m->old->source;
	const bool lift = old->type != c->type;
	const size_t len = lift ? (size_t)lift_len(old->type, c->type, old->len) : old->len;
	memset(m->before + len, 0, c->len - len);
	return lift ? lift_read(source, old->at, old->len, old->type, c->type, m->before, m->err)
		    : source->read(source->arg, old->at, m->before, old->len, m->err);
}

static int try_diff(struct making *m, const struct recipe_chunk *c, const struct counterpart *old,
		    struct way *best)
{
	struct coded coded;
	if (read_before(m, c, old) ||
	    diff_encode(m->differ, c->type, m->before, m->raw, c->len, &coded, m->err))
		return -1;
	if (!coded.len || coded.len >= best->entry.stored)
		return 0;
	best->bytes = coded.bytes;
	best->entry = (struct delta_entry){.old_at = old->at, .old_len = old->len, .stored = coded.len,
					   .kind = DELTA_DIFF, .codec = CODEC_DELTA};
	if (old->type != c->type) {
		best->entry.kind = DELTA_LIFT;
		best->entry.old_type = old->type;
	}
	return 0;
}

/* A frame that may refer to the old file around the same place: for headers, where offsets moved. */
static int try_prefix(struct making *m, const struct recipe_chunk *c, struct way *best)
{
	const struct source *old = m->old->source;
	const uint64_t from = c->at > PREFIX_BEFORE ? c->at - PREFIX_BEFORE : 0;
	if (from >= old->size)
		return 0;
	const uint64_t left = old->size - from;
	const uint32_t len = left < PREFIX_MAX ? (uint32_t)left : PREFIX_MAX;
	if (old->read(old->arg, from, m->before, len, m->err))
		return -1;
	/* A frame that did not fit has left its session open. */
	ZSTD_CCtx_reset(m->prefix, ZSTD_reset_session_only);
	if (ZSTD_isError(ZSTD_CCtx_refPrefix(m->prefix, m->before, len)))
		return err_nomem(m->err);
	const size_t n = ZSTD_compress2(m->prefix, m->frame, best->entry.stored, m->raw, c->len);
	if (ZSTD_isError(n) || n >= best->entry.stored) /* no room: it would not be shorter */
		return 0;
	best->bytes = m->frame;
	best->entry = (struct delta_entry){.old_at = from, .old_len = len, .stored = (uint32_t)n,
					   .kind = DELTA_PREFIX, .codec = CODEC_DICT};
	return 0;
}

/* The chunk, which is in m->raw, by whichever way is shortest. */
static int make_chunk(struct making *m, const struct recipe_chunk *c)
{
	const struct recipe_chunk *same = pairing_same(m->pairing, c);
	const struct delta_entry copy = {.old_at = same ? same->at : 0, .old_len = c->len,
					 .kind = DELTA_COPY};
	struct counterpart old;
	struct coded coded;
	if (same)
		return write_entry(m, &copy, NULL, c->len);
	if (codec_encode(m->encoder, c->type, m->raw, c->len, &coded, m->err))
		return -1;
	struct way best = {{.kind = DELTA_DATA, .codec = coded.codec, .stored = coded.len}, coded.bytes};
	if (!planes_known(c->type)) {
		if (try_prefix(m, c, &best))
			return -1;
	} else if (pairing_counterpart(m->pairing, c, &old) && try_diff(m, c, &old, &best)) {
		return -1;
	}
	return write_entry(m, &best.entry, best.bytes, c->len);
}

/* Room for the table, whose size is known, behind a head that is not written yet. */
static int table_start(struct making *m)
{
	const uint32_t count = m->new->recipe->count;
	const uint64_t table = DELTA_HEAD + (uint64_t)count * DELTA_ENTRY;
	AUTO_BUF struct buf recipe = BUF_INIT(RECIPE_BYTES_MAX);
	struct digest name;
	if (recipe_encode(m->new->recipe, &recipe, &name, m->err) || buf_ok(&recipe, "recipe", m->err))
		return -1;
	m->at = table + recipe.len;
	if (m->at > DELTA_PART)
		return err_set(m->err, ERR_TOO_LARGE, "delta: %u chunks are more than its head can name",
			       count);
	m->table = calloc(1, m->at);
	if (!m->table)
		return err_nomem(m->err);
	memcpy(m->table, DELTA_MAGIC, 4);
	m->table[4] = DELTA_VERSION;
	memcpy(m->table + 8, m->old->recipe->sha256.bytes, DIGEST_LEN);
	le_put(m->table + 40, m->old->source->size, 8);
	le_put(m->table + 48, count, 4);
	m->entry = m->table + DELTA_HEAD;
	memcpy(m->table + table, recipe.data, recipe.len);
	m->stats->head = m->at;
	return 0;
}

static int making_start(struct making *m)
{
	m->encoder = encoder_new();
	m->differ = differ_new();
	m->prefix = ZSTD_createCCtx();
	m->raw = malloc(CHUNK_RAW_MAX);
	m->before = malloc(CHUNK_RAW_MAX);
	m->frame = malloc(STORED_MAX);
	if (!m->encoder || !m->differ || !m->prefix || !m->raw || !m->before || !m->frame)
		return err_nomem(m->err);
	if (ZSTD_isError(ZSTD_CCtx_setParameter(m->prefix, ZSTD_c_compressionLevel, PREFIX_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(m->prefix, ZSTD_c_windowLog, CODEC_WINDOW_LOG_MAX)))
		return err_nomem(m->err);
	return 0;
}

static int make_all(struct making *m, const struct delta_progress *progress)
{
	const struct source *new = m->new->source;
	for (uint32_t i = 0; i < m->new->recipe->count; i++) {
		const struct recipe_chunk *c = &m->new->recipe->chunks[i];
		if (new->read(new->arg, c->at, m->raw, c->len, m->err) || make_chunk(m, c) ||
		    delta_tell(progress, c, m->err))
			return -1;
	}
	m->stats->bytes = m->at;
	return m->out->write(m->out->arg, 0, m->table, m->stats->head, m->err);
}

int delta_make(const struct delta_side *old, const struct delta_side *new, const struct sink_at *out,
	       const struct delta_progress *progress, struct delta_stats *ret_stats, struct err *err)
{
	struct making m = {.old = old, .new = new, .out = out, .stats = ret_stats, .err = err};
	*ret_stats = (struct delta_stats){0};
	const int bad = making_start(&m) || pairing_new(&m.pairing, old, new, err) ||
			table_start(&m) || make_all(&m, progress);
	making_done(&m);
	return bad ? -1 : 0;
}
