/* What is published: files with their recipes, maps, packs and deltas, as the real server makes them. */
#include "base/digest.h"
#include "base/map.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/delta.h"
#include "store/pack.h"
#include "store/recipe.h"
#include "store/survey.h"
#include "tests/support/between.h"
#include "tests/support/fake_server.h"
#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOC_MAX (64 << 20)

void fake_must(bool well, const char *what, const struct err *err)
{
	if (well)
		return;
	fprintf(stderr, "fake server: %s: %s\n", what, err->text);
	abort();
}

static const char *named(const char *kind, const struct digest *name)
{
	static char path[128];
	char hex[DIGEST_HEX];
	digest_hex(name, hex);
	snprintf(path, sizeof(path), "/v1/%s/%s", kind, hex);
	return path;
}

void fake_put_named(struct fake_server *s, const char *kind, const struct digest *name,
		    const struct buf *bytes)
{
	fake_put(s, named(kind, name), bytes->data, bytes->len);
}

const struct fake_doc *fake_get_named(const struct fake_server *s, const char *kind,
				      const struct digest *name)
{
	const struct fake_doc *doc = fake_get(s, named(kind, name));
	fake_must(doc != NULL, "absent", &(struct err){.text = "nothing of that name"});
	return doc;
}

/* ---- packs and maps ---- */

/* A file on its way into packs. */
struct packing {
	struct fake_server *s;
	struct encoder *encoder;
	struct pack_writer *writer; /* NULL: no pack is open */
	struct buf bytes;	    /* of the open pack */
	struct chunkmap *map;
	unsigned in_pack;
	struct map *places; /* of each chunk that is packed: struct chunkmap_chunk */
};

static void close_pack(struct packing *p)
{
	struct digest name;
	uint32_t len, index;
	struct err err = {0};
	if (!p->writer)
		return;
	fake_must(!pack_writer_finish(p->writer, &name, &len, &err) &&
			  !chunkmap_add_pack(p->map, &name, len, &index, &err),
		  "pack", &err);
	fake_put_named(p->s, "packs", &name, &p->bytes);
	pack_writer_free(p->writer);
	p->writer = NULL;
	p->in_pack = 0;
	buf_reset(&p->bytes);
}

static void pack_chunk(struct packing *p, const struct recipe_chunk *c, const uint8_t *raw)
{
	struct coded coded;
	struct err err = {0};
	struct chunkmap_chunk *place = map_get(p->places, c->digest.bytes, DIGEST_LEN);
	if (place)
		return;
	if (p->in_pack == FAKE_PACK_PIECES)
		close_pack(p);
	if (!p->writer)
		p->writer = pack_writer_new(sink_buf(&p->bytes));
	place = calloc(1, sizeof(*place));
	fake_must(p->writer && place &&
			  !codec_encode(p->encoder, c->type, raw, c->len, &coded, &err) &&
			  !pack_writer_add(p->writer, &c->digest, c->len, &coded, &place->at, &err) &&
			  !map_put(p->places, c->digest.bytes, DIGEST_LEN, place),
		  "chunk", &err);
	place->stored = coded.len;
	place->codec = coded.codec;
	place->pack = p->map->pack_count; /* the index that it will get */
	p->in_pack++;
}

static void put_map(struct fake_server *s, struct chunkmap *map)
{
	AUTO_BUF struct buf bytes = BUF_INIT(DOC_MAX);
	struct err err = {0};
	fake_must(!chunkmap_encode(map, &bytes, &err), "map", &err);
	fake_put_named(s, "maps", &map->recipe, &bytes);
}

static void make_packs(struct fake_server *s, const uint8_t *raw, const struct recipe *recipe,
		       struct manifest_file *file)
{
	struct packing p = {.s = s, .encoder = encoder_new(), .map = chunkmap_new(&file->recipe),
			    .places = map_new(free)};
	struct err err = {0};
	buf_init(&p.bytes, DOC_MAX);
	for (uint32_t i = 0; i < recipe->count; i++)
		pack_chunk(&p, &recipe->chunks[i], raw + recipe->chunks[i].at);
	close_pack(&p);
	for (uint32_t i = 0; i < recipe->count; i++) {
		const uint8_t *key = recipe->chunks[i].digest.bytes;
		fake_must(!chunkmap_add(p.map, map_get(p.places, key, DIGEST_LEN), &err), "map", &err);
	}
	put_map(s, p.map);
	file->stored_cap = (int64_t)p.map->stored;
	chunkmap_free(p.map);
	map_free(p.places);
	encoder_free(p.encoder);
	buf_done(&p.bytes);
}

/* ---- files and variants ---- */

static void make_file(struct fake_server *s, struct manifest_file *file, const char *name,
		      const struct buf *raw, const struct recipe *recipe)
{
	AUTO_BUF struct buf bytes = BUF_INIT(DOC_MAX);
	struct err err = {0};
	fake_must(!recipe_encode(recipe, &bytes, &file->recipe, &err), "recipe", &err);
	file->name = arena_strdup(s->arena, name);
	file->length = (int64_t)raw->len;
	file->sha256 = recipe->sha256;
	fake_put_named(s, "recipes", &file->recipe, &bytes);
	fake_put_named(s, "../kept", &file->recipe, raw); /* for fake_delta() and fake_raw() */
	make_packs(s, (const uint8_t *)raw->data, recipe, file);
}

static struct manifest_variant *add_variant(struct fake_server *s, const char *ref)
{
	struct manifest_variant *v = &s->variants[s->variant_count++];
	struct err err = {0};
	fake_must(!variant_parse(&v->ref, ref, s->arena, &err), ref, &err);
	v->format = "gguf";
	v->files = arena_array(s->arena, FAKE_FILES, sizeof(*v->files));
	return v;
}

const struct manifest_variant *fake_variant(struct fake_server *s, const char *ref,
					    const char *pieces)
{
	const struct manifest_variant *v = add_variant(s, ref);
	fake_variant_file(s, "model.gguf", pieces);
	return v;
}

void fake_variant_file(struct fake_server *s, const char *name, const char *pieces)
{
	struct manifest_variant *v = &s->variants[s->variant_count - 1];
	const size_t len = strlen(pieces) * FAKE_PIECE;
	AUTO_BUF struct buf raw = BUF_INIT(DOC_MAX);
	AUTO(recipe_free) struct recipe *recipe = recipe_new();
	struct err err = {0};
	fake_content(pieces, buf_grow(&raw, len));
	buf_grown(&raw, len);
	for (size_t at = 0; at < len; at += FAKE_PIECE) {
		struct digest digest;
		digest_of(&digest, raw.data + at, FAKE_PIECE);
		fake_must(!recipe_add(recipe, &digest, FAKE_PIECE, 0, &err), "recipe", &err);
	}
	digest_of(&recipe->sha256, raw.data, raw.len);
	make_file(s, &v->files[v->file_count++], name, &raw, recipe);
}

const struct manifest_variant *fake_variant_bytes(struct fake_server *s, const char *ref,
						  const struct buf *bytes)
{
	struct manifest_variant *v = add_variant(s, ref);
	AUTO(recipe_free) struct recipe *recipe = NULL;
	struct err err = {0};
	struct memory slot;
	const struct source source = source_memory(&slot, bytes->data, bytes->len);
	fake_must(!survey_source(&source, NULL, NULL, &recipe, &err), "survey", &err);
	make_file(s, &v->files[v->file_count++], "model.gguf", bytes, recipe);
	return v;
}

void fake_raw(struct fake_server *s, const struct manifest_variant *v)
{
	char path[128], hex[DIGEST_HEX];
	const struct fake_doc *doc = fake_get_named(s, "../kept", &v->files[0].recipe);
	digest_hex(&v->files[0].sha256, hex);
	snprintf(path, sizeof(path), "/v1/blobs/sha256:%s", hex);
	fake_put(s, path, doc->bytes, doc->len);
}

/* ---- deltas ---- */

static void read_recipe(const struct fake_server *s, const struct digest *name,
			struct recipe **ret_recipe)
{
	const struct fake_doc *doc = fake_get_named(s, "recipes", name);
	struct err err = {0};
	fake_must(!recipe_parse(ret_recipe, doc->bytes, doc->len, &err), "recipe", &err);
}

static void name_delta(struct fake_server *s, const struct digest *new, const struct digest *old,
		       uint64_t bytes)
{
	const struct fake_doc *doc = fake_get_named(s, "maps", new);
	const struct chunkmap_delta delta = {.from = *old, .parts = 1, .bytes = bytes};
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	struct err err = {0};
	fake_must(!chunkmap_parse(&map, doc->bytes, doc->len, &err) &&
			  !chunkmap_add_delta(map, &delta, &err),
		  "delta", &err);
	put_map(s, map);
}

uint64_t fake_delta(struct fake_server *s, const struct manifest_variant *old,
		    const struct manifest_variant *v)
{
	const struct digest *from = &old->files[0].recipe, *to = &v->files[0].recipe;
	const struct fake_doc *a = fake_get_named(s, "../kept", from);
	const struct fake_doc *b = fake_get_named(s, "../kept", to);
	AUTO(recipe_free) struct recipe *before = NULL;
	AUTO(recipe_free) struct recipe *after = NULL;
	AUTO_BUF struct buf delta = BUF_INIT(DOC_MAX);
	char path[256], hex[DIGEST_HEX];
	struct memory slot_a, slot_b;
	const struct source from_a = source_memory(&slot_a, a->bytes, a->len);
	const struct source to_b = source_memory(&slot_b, b->bytes, b->len);
	const struct sink_at out = {between_write, &delta};
	struct delta_stats stats;
	struct err err = {0};
	read_recipe(s, from, &before);
	read_recipe(s, to, &after);
	fake_must(!delta_make(&(struct delta_side){&from_a, before}, &(struct delta_side){&to_b, after},
			      &out, NULL, &stats, &err),
		  "delta", &err);
	digest_hex(from, hex);
	snprintf(path, sizeof(path), "%s/%s/0", named("deltas", to), hex);
	fake_put(s, path, delta.data, delta.len);
	name_delta(s, to, from, stats.bytes);
	return stats.bytes;
}

/* ---- content ---- */

static void piece_bytes(char letter, uint8_t *out)
{
	char name[16];
	snprintf(name, sizeof(name), "piece-%c", letter);
	if (letter >= 'A' && letter <= 'Z')
		memset(out, letter, FAKE_PIECE);
	else
		model_stream(out, FAKE_PIECE, name);
}

void fake_content(const char *pieces, uint8_t *out)
{
	for (size_t i = 0; pieces[i]; i++)
		piece_bytes(pieces[i], out + i * FAKE_PIECE);
}

void fake_model(struct buf *out, unsigned tensors, unsigned seed, unsigned step, unsigned note)
{
	char text[4000] = "";
	memset(text, 'n', note < sizeof(text) ? note : sizeof(text) - 1);
	gguf_begin(out, 3, tensors, 1);
	gguf_pair_text(out, "note", text);
	for (unsigned i = 0; i < tensors; i++) {
		char name[32];
		snprintf(name, sizeof(name), "blk.%u.weight", i);
		gguf_tensor(out, name, FAKE_PIECE / 2, 1, (uint64_t)i * FAKE_PIECE);
	}
	model_pad(out, 32);
	for (unsigned i = 0; i < tensors; i++) {
		char name[32];
		uint8_t noise[FAKE_PIECE], *at = buf_grow(out, FAKE_PIECE);
		snprintf(name, sizeof(name), "model-%u-%u", seed, i);
		model_stream(at, FAKE_PIECE, name);
		snprintf(name, sizeof(name), "step-%u-%u", step, i);
		model_stream(noise, FAKE_PIECE, name);
		for (unsigned k = 0; step && k < FAKE_PIECE; k += 2)
			at[k] = (uint8_t)(at[k] + noise[k] % (step + 1));
		buf_grown(out, FAKE_PIECE);
	}
}
