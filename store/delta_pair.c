/* Pairing: which old tensor each new one was made from.  Whoever renames, re-orders and trains tensors
 * leaves one thing as it was, their numbers, nearly; so chunks that are the same decide first, then a name
 * that the numbers do not speak against, then the numbers, then the name alone, and what is left goes by
 * type and length in order.  Each step is linear in the tensors but for sorting: headers are hostile. */
#include "store/delta_pair.h"

#include "base/map.h"
#include "store/codec.h"
#include "store/element.h"
#include "store/format.h"
#include "store/lift.h"
#include "store/likeness.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

#define SAME_BAND_MAX 4 /* old tensors that are looked at for one band */

struct tensors {
	struct format *format; /* owned */
	const struct segment *list;
	uint32_t count;
	struct likeness *like; /* owned; of those ... */
	bool *has_like;	       /* owned; ... that have one */
};

struct pairing {
	struct tensors old, new;
	const struct recipe *old_recipe; /* borrowed */
	struct map *by_digest;		 /* old chunks: struct recipe_chunk, borrowed; of the same the first */
	bool *repeated;			 /* whether the old chunk is in the file again */
	uint32_t *pair;			 /* of each new tensor: the old one, or old.count */
	uint32_t *named;		 /* likewise: the one of the same name */
	uint64_t old_size;		 /* of the file */
};

static void tensors_done(struct tensors *t)
{
	format_free(t->format);
	free(t->like);
	free(t->has_like);
}

void pairing_free(struct pairing *p)
{
	if (!p)
		return;
	tensors_done(&p->old);
	tensors_done(&p->new);
	map_free(p->by_digest);
	free(p->repeated);
	free(p->pair);
	free(p->named);
	free(p);
}

/* ---- what there is ---- */

/* A header may promise tensors that the file does not have. */
static int read_likeness(struct tensors *t, uint32_t i, const struct source *source, struct err *err)
{
	uint8_t bytes[LIKENESS_BYTES_MAX];
	const struct segment *s = &t->list[i];
	const uint32_t needs = likeness_needs(s->type);
	if (!needs || needs > s->len || s->at > source->size || needs > source->size - s->at)
		return 0;
	if (source->read(source->arg, s->at, bytes, needs, err))
		return -1;
	t->has_like[i] = likeness_of(&t->like[i], s->type, bytes);
	return 0;
}

static int tensors_read(struct tensors *t, const struct source *source, struct err *err)
{
	if (format_parse(&t->format, source, err))
		return -1;
	t->list = format_segments(t->format, &t->count);
	t->like = calloc(t->count + 1, sizeof(*t->like));
	t->has_like = calloc(t->count + 1, sizeof(*t->has_like));
	if (!t->like || !t->has_like)
		return err_nomem(err);
	for (uint32_t i = 0; i < t->count; i++)
		if (read_likeness(t, i, source, err))
			return -1;
	return 0;
}

static int index_chunks(struct pairing *p, struct err *err)
{
	const struct recipe *old = p->old_recipe;
	p->by_digest = map_new(NULL);
	p->repeated = calloc(old->count + 1, sizeof(*p->repeated));
	if (!p->by_digest || !p->repeated)
		return err_nomem(err);
	for (uint32_t i = 0; i < old->count; i++) {
		const uint8_t *digest = old->chunks[i].digest.bytes;
		const struct recipe_chunk *first = map_get(p->by_digest, digest, DIGEST_LEN);
		if (first)
			p->repeated[first - old->chunks] = true;
		else if (map_put(p->by_digest, digest, DIGEST_LEN, &old->chunks[i]))
			return err_nomem(err);
	}
	return 0;
}

/* Where the byte at `at` of the file lies: a tensor, or count. */
static uint32_t tensor_at(const struct tensors *t, uint64_t at)
{
	uint32_t low = 0, high = t->count;
	while (low < high) {
		const uint32_t mid = low + (high - low) / 2;
		if (t->list[mid].at + t->list[mid].len <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->count && t->list[low].at <= at ? low : t->count;
}

/* Whether the two can be compared number by number from their starts. */
static bool alike(const struct pairing *p, uint32_t old, uint32_t new)
{
	const uint8_t type = p->new.list[new].type;
	return old < p->old.count && p->old.list[old].type == type && planes_known(type);
}

static bool unpaired(const struct pairing *p, uint32_t new)
{
	return p->pair[new] == p->old.count;
}

/* ---- by chunks that are the same ---- */

/* One that the old file has once, at the same place of a tensor.  (Zeros are everywhere.) */
static void pair_by_digest(struct pairing *p, const struct recipe *new)
{
	for (uint32_t i = 0; i < new->count; i++) {
		const struct recipe_chunk *c = &new->chunks[i], *same = pairing_same(p, c);
		const uint32_t tensor = tensor_at(&p->new, c->at);
		if (!same || tensor == p->new.count || !unpaired(p, tensor) ||
		    p->repeated[same - p->old_recipe->chunks])
			continue;
		const uint32_t old = tensor_at(&p->old, same->at);
		if (alike(p, old, tensor) &&
		    same->at - p->old.list[old].at == c->at - p->new.list[tensor].at)
			p->pair[tensor] = old;
	}
}

/* ---- by names ---- */

static int find_names(struct pairing *p, struct err *err)
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
		p->named[i] = old ? (uint32_t)(old - p->old.list) : p->old.count;
	}
	return 0;
}

/* Whether the numbers of two that are alike say that they have nothing to do with each other. */
static bool strangers(const struct pairing *p, uint32_t old, uint32_t new)
{
	return p->old.has_like[old] && p->new.has_like[new] &&
	       !likeness_close(&p->old.like[old], &p->new.like[new]);
}

static void pair_by_name(struct pairing *p, bool even_strangers)
{
	for (uint32_t i = 0; i < p->new.count; i++)
		if (unpaired(p, i) && alike(p, p->named[i], i) &&
		    (even_strangers || !strangers(p, p->named[i], i)))
			p->pair[i] = p->named[i];
}

/* The same tensor of another tier. */
static bool lifted(const struct segment *old, const struct segment *new)
{
	return lift_possible(old->type, new->type) && old->len % element_block(old->type) == 0 &&
	       lift_len(old->type, new->type, old->len) == new->len;
}

static void pair_tiers(struct pairing *p)
{
	for (uint32_t i = 0; i < p->new.count; i++)
		if (unpaired(p, i) && p->named[i] < p->old.count &&
		    lifted(&p->old.list[p->named[i]], &p->new.list[i]))
			p->pair[i] = p->named[i];
}

/* ---- by numbers ---- */

/* A tensor under one of its bands.  Two that are close share one in sixteen, or nearly always do. */
static uint64_t band_key(const struct tensors *t, uint32_t i, unsigned band)
{
	return (uint64_t)t->list[i].type << 52 | (uint64_t)band << 48 |
	       (uint64_t)t->like[i].bands[band] << 32;
}

static int key_cmp(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

struct bands {
	uint64_t *keys; /* band_key() and the tensor below it, sorted */
	size_t count;
};

/* The first that is not less than key. */
static size_t bands_find(const struct bands *bands, uint64_t key)
{
	size_t low = 0, high = bands->count;
	while (low < high) {
		const size_t mid = low + (high - low) / 2;
		if (bands->keys[mid] < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The closest old tensor that is close, or old.count. */
static uint32_t closest(const struct pairing *p, const struct bands *bands, uint32_t new)
{
	uint32_t best = p->old.count;
	unsigned least = LIKENESS_BITS;
	for (unsigned b = 0; b < LIKENESS_BANDS; b++) {
		const uint64_t key = band_key(&p->new, new, b);
		const size_t first = bands_find(bands, key);
		for (size_t k = first; k < bands->count && k < first + SAME_BAND_MAX &&
				       bands->keys[k] >> 32 == key >> 32;
		     k++) {
			const uint32_t old = (uint32_t)bands->keys[k];
			const unsigned far = likeness_distance(&p->old.like[old], &p->new.like[new]);
			if (far >= least || strangers(p, old, new))
				continue;
			best = old;
			least = far;
		}
	}
	return best;
}

static int pair_by_likeness(struct pairing *p, struct err *err)
{
	AUTO_FREE uint64_t *keys =
		malloc(((size_t)p->old.count + 1) * LIKENESS_BANDS * sizeof(*keys));
	if (!keys)
		return err_nomem(err);
	struct bands bands = {keys, 0};
	for (uint32_t i = 0; i < p->old.count; i++)
		for (unsigned b = 0; p->old.has_like[i] && b < LIKENESS_BANDS; b++)
			keys[bands.count++] = band_key(&p->old, i, b) | i;
	qsort(keys, bands.count, sizeof(*keys), key_cmp);
	for (uint32_t i = 0; i < p->new.count; i++)
		if (unpaired(p, i) && p->new.has_like[i])
			p->pair[i] = closest(p, &bands, i);
	return 0;
}

/* ---- by order ---- */

struct look {
	uint64_t len;
	uint32_t tensor;
	uint8_t type;
};

/* Less, equal or more, as type and length have it. */
static int look_differs(const struct look *a, const struct look *b)
{
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	return a->len < b->len ? -1 : a->len > b->len;
}

static int look_cmp(const void *a, const void *b)
{
	const struct look *x = a, *y = b;
	const int differs = look_differs(x, y);
	return differs ? differs : x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Those that are not done, like ones in the file's order. */
static struct look *looks_new(const struct tensors *t, const bool *done, uint32_t *ret_count)
{
	struct look *looks = malloc(((size_t)t->count + 1) * sizeof(*looks));
	uint32_t count = 0;
	for (uint32_t i = 0; looks && i < t->count; i++)
		if (!done[i])
			looks[count++] = (struct look){t->list[i].len, i, t->list[i].type};
	if (looks)
		qsort(looks, count, sizeof(*looks), look_cmp);
	*ret_count = count;
	return looks;
}

/* Of those that nobody took the first of a look belongs to the first, and so on. */
static int pair_by_order(struct pairing *p, struct err *err)
{
	AUTO_FREE bool *taken = calloc((size_t)p->old.count + 1, sizeof(*taken));
	AUTO_FREE bool *paired = calloc((size_t)p->new.count + 1, sizeof(*paired));
	if (!taken || !paired)
		return err_nomem(err);
	for (uint32_t i = 0; i < p->new.count; i++) {
		taken[p->pair[i]] = true;
		paired[i] = !unpaired(p, i);
	}
	uint32_t olds, news;
	AUTO_FREE struct look *old = looks_new(&p->old, taken, &olds);
	AUTO_FREE struct look *new = looks_new(&p->new, paired, &news);
	if (!old || !new)
		return err_nomem(err);
	for (uint32_t k = 0, i = 0; k < olds && i < news;) {
		const int differs = look_differs(&old[k], &new[i]);
		if (!differs && alike(p, old[k].tensor, new[i].tensor))
			p->pair[new[i].tensor] = old[k].tensor;
		k += differs <= 0;
		i += differs >= 0;
	}
	return 0;
}

/* ---- all of it ---- */

int pairing_new(struct pairing **ret_pairing, const struct delta_side *old,
		const struct delta_side *new, struct err *err)
{
	AUTO(pairing_free) struct pairing *p = calloc(1, sizeof(*p));
	if (!p)
		return err_nomem(err);
	p->old_size = old->source->size;
	p->old_recipe = old->recipe;
	if (tensors_read(&p->old, old->source, err) || tensors_read(&p->new, new->source, err) ||
	    index_chunks(p, err))
		return -1;
	p->pair = malloc(((size_t)p->new.count + 1) * sizeof(*p->pair));
	p->named = malloc(((size_t)p->new.count + 1) * sizeof(*p->named));
	if (!p->pair || !p->named)
		return err_nomem(err);
	for (uint32_t i = 0; i < p->new.count; i++)
		p->pair[i] = p->old.count;
	pair_by_digest(p, new->recipe);
	if (find_names(p, err))
		return -1;
	pair_by_name(p, false);
	if (pair_by_likeness(p, err))
		return -1;
	pair_by_name(p, true);
	pair_tiers(p);
	if (pair_by_order(p, err))
		return -1;
	*ret_pairing = TAKE(p);
	return 0;
}

const struct recipe_chunk *pairing_same(const struct pairing *p, const struct recipe_chunk *chunk)
{
	const struct recipe_chunk *old = map_get(p->by_digest, chunk->digest.bytes, DIGEST_LEN);
	return old && old->len == chunk->len ? old : NULL;
}

/* `into` bytes of a chunk of type new into its tensor: where that is in one of type old. */
static bool lifted_from(const struct segment *old, const struct segment *new, uint64_t into, uint64_t len,
			struct counterpart *ret_old)
{
	const uint64_t values = into / element_block(new->type) * element_values(new->type);
	const uint64_t count = len / element_block(new->type) * element_values(new->type);
	const uint32_t block = element_block(old->type), each = element_values(old->type);
	const uint64_t from = values / each * block, bytes = (count + each - 1) / each * block;
	if (values % each || count % each || bytes > CHUNK_RAW_MAX)
		return false;
	*ret_old = (struct counterpart){old->at + from, (uint32_t)bytes, old->type};
	return true;
}

bool pairing_counterpart(const struct pairing *p, const struct recipe_chunk *chunk,
			 struct counterpart *ret_old)
{
	const uint32_t tensor = tensor_at(&p->new, chunk->at);
	if (tensor == p->new.count || unpaired(p, tensor))
		return false;
	const struct segment *new = &p->new.list[tensor], *old = &p->old.list[p->pair[tensor]];
	const uint64_t into = chunk->at - new->at;
	struct counterpart c = {old->at + into, chunk->len, old->type};
	/* Bytes behind the tensor's last are no numbers of another type. */
	const uint64_t left = into < new->len ? new->len - into : 0;
	if (old->type != new->type &&
	    !lifted_from(old, new, into, left < chunk->len ? left : chunk->len, &c))
		return false;
	/* A header may promise tensors that the file does not have. */
	uint64_t end = old->at + old->len + (old->type == new->type ? old->pad : 0);
	if (end > p->old_size)
		end = p->old_size;
	if (c.at - old->at >= old->len || c.at >= end)
		return false;
	if (end - c.at < c.len)
		c.len = (uint32_t)(end - c.at);
	if (old->type != new->type)
		c.len -= c.len % element_block(old->type);
	*ret_old = c;
	return c.len > 0;
}
