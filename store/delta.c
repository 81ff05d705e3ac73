#include "store/delta.h"

#include "base/map.h"
#include "store/codec.h"
#include "store/codec_internal.h"
#include "store/cut.h"
#include "store/diff.h"
#include "store/format.h"
#include "store/le.h"
#include "store/planes.h"
#include "store/survey.h"

#include <string.h>

#define MAGIC "FLDL"
#define VERSION 1
#define HEAD 84		      /* bytes before the recipe */
#define RECORD 20	      /* bytes before a chunk's own */
#define PREFIX_MAX (1u << 20) /* of the old file, for one frame */
#define PREFIX_BEFORE (256u << 10)
#define PREFIX_LEVEL 12
#define STORED_MAX (CUT_MAX + CHUNK_STORED_EXTRA)

/* One chunk of the new file. */
struct record {
	uint8_t kind, codec;
	uint32_t stored; /* bytes that follow */
	uint64_t old_at; /* where it refers to the old file ... */
	uint32_t old_len;
};

/* ---- what lies where in the old file ---- */

struct tensors {
	struct format *format;
	const struct segment *list;
	uint32_t count;
};

struct pairing {
	struct tensors old, new;
	struct map *by_digest; /* old chunks: struct recipe_chunk, borrowed */
	uint32_t *pair;	       /* of each new tensor: the old one, or old.count */
	uint64_t old_size;     /* of the file */
};

static void pairing_done(struct pairing *p)
{
	format_free(p->old.format);
	format_free(p->new.format);
	map_free(p->by_digest);
	free(p->pair);
}

static int tensors_read(struct tensors *t, const struct source *source, struct err *err)
{
	if (format_parse(&t->format, source, err))
		return -1;
	t->list = format_segments(t->format, &t->count);
	return 0;
}

static int index_chunks(struct pairing *p, const struct recipe *old, struct err *err)
{
	p->by_digest = map_new(NULL);
	if (!p->by_digest)
		return err_nomem(err);
	for (uint32_t i = 0; i < old->count; i++)
		if (map_put(p->by_digest, old->chunks[i].digest.bytes, DIGEST_LEN, &old->chunks[i]))
			return err_nomem(err);
	return 0;
}

/* Whether a and b can be compared number by number from their starts. */
static bool alike(const struct segment *a, const struct segment *b)
{
	return a->type == b->type && planes_known(a->type);
}

static int pair_by_name(struct pairing *p, bool *taken, struct err *err)
{
	AUTO(map_free) struct map *names = map_new(NULL);
	if (!names)
		return err_nomem(err);
	for (uint32_t i = 0; i < p->old.count; i++) {
		const char *name = format_name(p->old.format, &p->old.list[i]);
		if (map_puts(names, name, (void *)(uintptr_t)&p->old.list[i]))
			return err_nomem(err);
	}
	for (uint32_t i = 0; i < p->new.count; i++) {
		const char *name = format_name(p->new.format, &p->new.list[i]);
		const struct segment *old = map_gets(names, name);
		if (!old || !alike(old, &p->new.list[i]))
			continue;
		p->pair[i] = (uint32_t)(old - p->old.list);
		taken[p->pair[i]] = true;
	}
	return 0;
}

/* Renamed ones: the first that nobody took, of the same type and length. */
static void pair_by_shape(struct pairing *p, bool *taken)
{
	for (uint32_t i = 0; i < p->new.count; i++)
		for (uint32_t k = 0; p->pair[i] == p->old.count && k < p->old.count; k++)
			if (!taken[k] && alike(&p->old.list[k], &p->new.list[i]) &&
			    p->old.list[k].len == p->new.list[i].len) {
				p->pair[i] = k;
				taken[k] = true;
			}
}

static int pairing_make(struct pairing *p, const struct source *old, const struct source *new,
			const struct recipe *old_recipe, struct err *err)
{
	p->old_size = old->size;
	if (tensors_read(&p->old, old, err) || tensors_read(&p->new, new, err) ||
	    index_chunks(p, old_recipe, err))
		return -1;
	AUTO_FREE bool *taken = calloc(p->old.count + 1, sizeof(*taken));
	p->pair = malloc((p->new.count + 1) * sizeof(*p->pair));
	if (!taken || !p->pair)
		return err_nomem(err);
	for (uint32_t i = 0; i < p->new.count; i++)
		p->pair[i] = p->old.count;
	if (pair_by_name(p, taken, err))
		return -1;
	pair_by_shape(p, taken);
	return 0;
}

/* Where the old numbers of the chunk at `at` lie, in a tensor that is followed by *tensor, which only
 * moves on.  False: nowhere. */
static bool counterpart(const struct pairing *p, const struct recipe_chunk *chunk, uint32_t *tensor,
			uint64_t *ret_at, uint32_t *ret_len)
{
	while (*tensor < p->new.count &&
	       p->new.list[*tensor].at + p->new.list[*tensor].len <= chunk->at)
		++*tensor;
	if (*tensor == p->new.count || chunk->at < p->new.list[*tensor].at ||
	    p->pair[*tensor] == p->old.count)
		return false;
	const struct segment *old = &p->old.list[p->pair[*tensor]];
	const uint64_t into = chunk->at - p->new.list[*tensor].at;
	/* A header may promise tensors that the file does not have. */
	uint64_t end = old->at + old->len + old->pad;
	if (end > p->old_size)
		end = p->old_size;
	*ret_at = old->at + into;
	if (into >= old->len || *ret_at >= end)
		return false;
	/* Of a tensor that has grown the new part has none: that is taken as it is. */
	*ret_len = end - *ret_at < chunk->len ? (uint32_t)(end - *ret_at) : chunk->len;
	return true;
}

/* ---- making ---- */

struct making {
	const struct source *old, *new;
	const struct sink *out;
	const struct recipe *recipe;
	struct pairing pairing;
	struct encoder *encoder;
	struct differ *differ;
	ZSTD_CCtx *prefix;
	uint8_t *raw, *before, *frame; /* CUT_MAX; the greater of that and PREFIX_MAX; STORED_MAX */
	struct delta_stats *stats;
	struct err *err;
};

static void making_done(struct making *m)
{
	pairing_done(&m->pairing);
	encoder_free(m->encoder);
	differ_free(m->differ);
	ZSTD_freeCCtx(m->prefix);
	free(m->raw);
	free(m->before);
	free(m->frame);
}

static void put_le(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

static int write_record(struct making *m, const struct record *r, const void *bytes, uint32_t raw)
{
	uint8_t head[RECORD] = {r->kind, r->codec};
	put_le(head + 4, r->stored, 4);
	put_le(head + 8, r->old_at, 8);
	put_le(head + 16, r->old_len, 4);
	m->stats->chunks[r->kind]++;
	m->stats->raw[r->kind] += raw;
	m->stats->stored[r->kind] += RECORD + r->stored;
	if (m->out->write(m->out->arg, head, RECORD, m->err))
		return -1;
	return r->stored ? m->out->write(m->out->arg, bytes, r->stored, m->err) : 0;
}

/* A frame that may refer to the old file around the same place: for headers, where offsets moved. */
static size_t encode_prefix(struct making *m, const struct recipe_chunk *c, struct record *r,
			    size_t room)
{
	const uint64_t from = c->at > PREFIX_BEFORE ? c->at - PREFIX_BEFORE : 0;
	if (from >= m->old->size)
		return 0;
	const uint64_t left = m->old->size - from;
	r->old_at = from;
	r->old_len = left < PREFIX_MAX ? (uint32_t)left : PREFIX_MAX;
	if (m->old->read(m->old->arg, from, m->before, r->old_len, m->err))
		return 0;
	ZSTD_CCtx *zstd = m->prefix;
	if (ZSTD_isError(ZSTD_CCtx_refPrefix(zstd, m->before, r->old_len)))
		return 0;
	const size_t n = ZSTD_compress2(zstd, m->frame, room, m->raw, c->len);
	return ZSTD_isError(n) ? 0 : n;
}

/* The chunk, which is in m->raw, by whichever way is shortest. */
static int make_chunk(struct making *m, const struct recipe_chunk *c, uint32_t *tensor)
{
	const struct recipe_chunk *same =
		map_get(m->pairing.by_digest, c->digest.bytes, DIGEST_LEN);
	uint64_t old_at;
	uint32_t old_len;
	struct coded coded, best;
	if (same && same->len == c->len)
		return write_record(m, &(struct record){DELTA_COPY, 0, 0, same->at, c->len}, NULL,
				    c->len);
	if (codec_encode(m->encoder, c->type, m->raw, c->len, &best, m->err))
		return -1;
	struct record r = {DELTA_DATA, best.codec, best.len, 0, 0};
	if (counterpart(&m->pairing, c, tensor, &old_at, &old_len) && planes_known(c->type)) {
		memset(m->before + old_len, 0, c->len - old_len);
		if (m->old->read(m->old->arg, old_at, m->before, old_len, m->err) ||
		    diff_encode(m->differ, c->type, m->before, m->raw, c->len, &coded, m->err))
			return -1;
		if (coded.len && coded.len < best.len) {
			best = coded;
			r = (struct record){DELTA_DIFF, CODEC_DELTA, coded.len, old_at, old_len};
		}
	} else if (!planes_known(c->type)) {
		struct record p = {DELTA_PREFIX, CODEC_DICT, 0, 0, 0};
		m->err->status = ERR_NONE;
		p.stored = (uint32_t)encode_prefix(m, c, &p, best.len);
		if (!p.stored && m->err->status)
			return -1;
		if (p.stored && p.stored < best.len) {
			best.bytes = m->frame;
			r = p;
		}
	}
	return write_record(m, &r, best.bytes, c->len);
}

static int write_head(struct making *m, const struct recipe *old)
{
	uint8_t head[HEAD] = MAGIC;
	struct digest name;
	AUTO_BUF struct buf recipe = BUF_INIT(RECIPE_BYTES_MAX);
	if (recipe_encode(m->recipe, &recipe, &name, m->err) || buf_ok(&recipe, "recipe", m->err))
		return -1;
	head[4] = VERSION;
	memcpy(head + 8, old->sha256.bytes, DIGEST_LEN);
	memcpy(head + 40, name.bytes, DIGEST_LEN);
	put_le(head + 72, m->old->size, 8);
	put_le(head + 80, recipe.len, 4);
	m->stats->head = HEAD + recipe.len;
	return m->out->write(m->out->arg, head, HEAD, m->err) ||
			       m->out->write(m->out->arg, recipe.data, recipe.len, m->err)
		       ? -1
		       : 0;
}

static int making_start(struct making *m)
{
	m->encoder = encoder_new();
	m->differ = differ_new();
	m->prefix = ZSTD_createCCtx();
	m->raw = malloc(CUT_MAX);
	m->before = malloc(CUT_MAX > PREFIX_MAX ? CUT_MAX : PREFIX_MAX);
	m->frame = malloc(STORED_MAX);
	if (!m->encoder || !m->differ || !m->prefix || !m->raw || !m->before || !m->frame)
		return err_nomem(m->err);
	if (ZSTD_isError(ZSTD_CCtx_setParameter(m->prefix, ZSTD_c_compressionLevel, PREFIX_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(m->prefix, ZSTD_c_windowLog, CODEC_WINDOW_LOG_MAX)))
		return err_nomem(m->err);
	return 0;
}

/* One file after the other: each is told from where the one before ended. */
struct told {
	const struct delta_progress *progress;
	uint64_t before;
};

static void tell(void *arg, uint64_t done)
{
	const struct told *told = arg;
	if (told->progress && told->progress->at)
		told->progress->at(told->progress->arg, told->before + done);
}

static int make_all(struct making *m, struct told *told)
{
	uint32_t tensor = 0;
	for (uint32_t i = 0; i < m->recipe->count; i++) {
		const struct recipe_chunk *c = &m->recipe->chunks[i];
		if (m->new->read(m->new->arg, c->at, m->raw, c->len, m->err) ||
		    make_chunk(m, c, &tensor))
			return -1;
		tell(told, c->at + c->len);
	}
	return 0;
}

int delta_make(const struct source *old, const struct source *new, const struct sink *out,
	       const struct delta_progress *progress, struct delta_stats *ret_stats,
	       struct err *err)
{
	AUTO(recipe_free) struct recipe *before = NULL;
	AUTO(recipe_free) struct recipe *after = NULL;
	struct told told = {progress, 0};
	*ret_stats = (struct delta_stats){.old_len = old->size, .new_len = new->size};
	if (survey_source(old, tell, &told, &before, err))
		return -1;
	told.before = old->size;
	if (survey_source(new, tell, &told, &after, err))
		return -1;
	told.before += new->size;
	struct making m = {.old = old, .new = new, .out = out, .recipe = after, .stats = ret_stats,
			   .err = err};
	const int bad = making_start(&m) || pairing_make(&m.pairing, old, new, before, err) ||
			write_head(&m, before) || make_all(&m, &told);
	making_done(&m);
	return bad ? -1 : 0;
}

/* ---- applying ---- */

struct applying {
	const struct source *old, *delta;
	const struct sink *out;
	struct recipe *recipe;
	uint64_t at; /* in the delta */
	struct decoder *decoder;
	struct differ *differ;
	ZSTD_DCtx *zstd;
	uint8_t *raw, *before, *stored;
	struct digest_ctx *whole;
	struct err *err;
};

static void applying_done(struct applying *a)
{
	recipe_free(a->recipe);
	decoder_free(a->decoder);
	differ_free(a->differ);
	ZSTD_freeDCtx(a->zstd);
	free(a->raw);
	free(a->before);
	free(a->stored);
	digest_free(a->whole);
}

/* The delta's next bytes. */
static int take(struct applying *a, void *bytes, size_t len)
{
	if (len > a->delta->size - a->at)
		return err_set(a->err, ERR_INVALID, "delta: ends early, after %llu bytes",
			       (unsigned long long)a->delta->size);
	if (len && a->delta->read(a->delta->arg, a->at, bytes, len, a->err))
		return -1;
	a->at += len;
	return 0;
}

static int read_head(struct applying *a)
{
	uint8_t head[HEAD];
	if (take(a, head, HEAD))
		return -1;
	if (memcmp(head, MAGIC, 4) || head[4] != VERSION)
		return err_set(a->err, ERR_INVALID,
			       "delta: not one, or of a later version than this program knows");
	if (le_u64(head + 72) != a->old->size)
		return err_set(a->err, ERR_UNTRUSTED,
			       "delta: made from a file of %llu bytes, and the old one has %llu",
			       (unsigned long long)le_u64(head + 72),
			       (unsigned long long)a->old->size);
	const uint32_t len = le_u32(head + 80);
	if (len > RECIPE_BYTES_MAX)
		return err_set(a->err, ERR_INVALID, "delta: its recipe has %u bytes", len);
	AUTO_FREE uint8_t *bytes = malloc(len + 1);
	if (!bytes)
		return err_nomem(a->err);
	return take(a, bytes, len) || recipe_parse(&a->recipe, bytes, len, a->err) ? -1 : 0;
}

static int read_record(struct applying *a, const struct recipe_chunk *c, struct record *r)
{
	uint8_t head[RECORD];
	if (take(a, head, RECORD))
		return -1;
	*r = (struct record){head[0], head[1], le_u32(head + 4), le_u64(head + 8),
			     le_u32(head + 16)};
	const bool fits = r->kind == DELTA_COPY	  ? r->old_len == c->len
			  : r->kind == DELTA_DIFF ? r->old_len <= c->len
						  : true;
	if (r->kind >= DELTA_KINDS || head[2] || head[3])
		return err_set(a->err, ERR_INVALID,
			       "delta: a chunk made in a way not known to this version; update it");
	if (r->stored > c->len + CHUNK_STORED_EXTRA || r->old_len > CHUNK_RAW_MAX ||
	    (r->kind == DELTA_COPY) != !r->stored || !fits ||
	    r->old_at > a->old->size || r->old_len > a->old->size - r->old_at)
		return err_set(a->err, ERR_INVALID, "delta: a chunk's lengths do not fit");
	return 0;
}

static int apply_prefix(struct applying *a, const struct record *r, const struct recipe_chunk *c)
{
	if (ZSTD_isError(ZSTD_DCtx_setParameter(a->zstd, ZSTD_d_windowLogMax, CODEC_WINDOW_LOG_MAX)) ||
	    ZSTD_isError(ZSTD_DCtx_refPrefix(a->zstd, a->before, r->old_len)))
		return err_nomem(a->err);
	const size_t n = ZSTD_decompressDCtx(a->zstd, a->raw, c->len, a->stored, r->stored);
	if (ZSTD_isError(n) || n != c->len)
		return err_set(a->err, ERR_INVALID, "delta: a chunk's frame is damaged");
	return 0;
}

static int apply_record(struct applying *a, const struct record *r, const struct recipe_chunk *c)
{
	const struct coded coded = {a->stored, r->stored, r->codec, c->type};
	switch ((enum delta_kind)r->kind) {
	case DELTA_DATA:
		return codec_decode(a->decoder, &coded, a->raw, c->len, a->err);
	case DELTA_COPY:
		memcpy(a->raw, a->before, c->len);
		return 0;
	case DELTA_DIFF:
		memset(a->before + r->old_len, 0, c->len - r->old_len);
		return diff_decode(a->differ, &coded, a->before, a->raw, c->len, a->err);
	default:
		return apply_prefix(a, r, c);
	}
}

static int apply_chunk(struct applying *a, const struct recipe_chunk *c)
{
	struct record r;
	struct digest digest;
	if (read_record(a, c, &r) || take(a, a->stored, r.stored))
		return -1;
	if (r.old_len && a->old->read(a->old->arg, r.old_at, a->before, r.old_len, a->err))
		return -1;
	if (apply_record(a, &r, c))
		return -1;
	digest_of(&digest, a->raw, c->len);
	if (!digest_eq(&digest, &c->digest))
		return err_set(a->err, ERR_UNTRUSTED,
			       "delta: the bytes at %llu are not those of the new file: the old file is "
			       "not the one that the delta was made from, or one of them is damaged",
			       (unsigned long long)c->at);
	digest_add(a->whole, a->raw, c->len);
	return a->out->write(a->out->arg, a->raw, c->len, a->err);
}

static int applying_start(struct applying *a)
{
	a->decoder = decoder_new();
	a->differ = differ_new();
	a->zstd = ZSTD_createDCtx();
	a->whole = digest_begin();
	a->raw = malloc(CHUNK_RAW_MAX);
	a->before = malloc(CHUNK_RAW_MAX);
	a->stored = malloc(CHUNK_STORED_MAX);
	return a->decoder && a->differ && a->zstd && a->whole && a->raw && a->before && a->stored
		       ? 0
		       : err_nomem(a->err);
}

static int apply_all(struct applying *a, const struct delta_progress *progress)
{
	struct told told = {progress, 0};
	struct digest digest;
	if (applying_start(a) || read_head(a))
		return -1;
	for (uint32_t i = 0; i < a->recipe->count; i++) {
		if (apply_chunk(a, &a->recipe->chunks[i]))
			return -1;
		tell(&told, a->recipe->chunks[i].at + a->recipe->chunks[i].len);
	}
	if (a->at != a->delta->size)
		return err_set(a->err, ERR_INVALID, "delta: bytes behind its last chunk");
	digest_end(a->whole, &digest);
	return digest_eq(&digest, &a->recipe->sha256)
		       ? 0
		       : err_set(a->err, ERR_UNTRUSTED, "delta: the new file is not its recipe's");
}

int delta_apply(const struct source *old, const struct source *delta, const struct sink *out,
		const struct delta_progress *progress, struct err *err)
{
	struct applying a = {.old = old, .delta = delta, .out = out, .err = err};
	const int bad = apply_all(&a, progress);
	applying_done(&a);
	return bad ? -1 : 0;
}
