/* How a chunk is had: which way is cheapest, where its bytes lie there, and what comes after a way that
 * failed. */
#include "sdk/fetch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAY_FAILURES 3 /* of chunks, until a way is left for good */

enum way fetch_way(const struct fetching *g, uint32_t i)
{
	enum way way = i == g->next ? g->here : g->way;
	if (way == WAY_DELTA && !fetch_inplace_has(g, i))
		way = WAY_CHUNKS;
	if (way == WAY_CHUNKS && !codec_known(g->map->chunks[i].codec))
		way = WAY_RAW;
	return way;
}

struct fetch_place fetch_place(const struct fetching *g, uint32_t i)
{
	const struct recipe_chunk *c = &g->recipe->chunks[i];
	switch (fetch_way(g, i)) {
	case WAY_DELTA: {
		const struct delta_entry *e = &g->delta->entries[i];
		return (struct fetch_place){(uint32_t)(e->at / DELTA_PART),
					    (int64_t)(e->at % DELTA_PART), e->stored};
	}
	case WAY_CHUNKS: {
		const struct chunkmap_chunk *p = &g->map->chunks[i];
		return (struct fetch_place){p->pack, p->at, p->stored};
	}
	default:
		return (struct fetch_place){0, (int64_t)c->at, c->len};
	}
}

static void part_path(const struct fetching *g, uint32_t part, char path[static SDK_PATH])
{
	char new[DIGEST_HEX], old[DIGEST_HEX];
	digest_hex(&g->name, new);
	digest_hex(&g->from, old);
	snprintf(path, SDK_PATH, "/v1/deltas/%s/%s/%u", new, old, part);
}

int64_t fetch_object(const struct fetching *g, char path[static SDK_PATH])
{
	char hex[DIGEST_HEX];
	const struct fetch_place place = fetch_place(g, g->next);
	switch (fetch_way(g, g->next)) {
	case WAY_DELTA: {
		const uint64_t before = (uint64_t)place.object * DELTA_PART;
		const uint64_t left = g->delta->bytes - before;
		part_path(g, place.object, path);
		return left < DELTA_PART ? (int64_t)left : (int64_t)DELTA_PART;
	}
	case WAY_CHUNKS: {
		const struct chunkmap_pack *pack = &g->map->packs[place.object];
		digest_hex(&pack->digest, hex);
		snprintf(path, SDK_PATH, "/v1/packs/%s", hex);
		return pack->bytes;
	}
	default:
		digest_hex(&g->sha256, hex);
		snprintf(path, SDK_PATH, "/v1/blobs/sha256:%s", hex);
		return (int64_t)g->recipe->length;
	}
}

static int open_raw(struct fetching *g, const struct recipe_chunk *c, struct err *err)
{
	const struct coded coded = {g->stored, c->len, CODEC_STORED, c->type};
	return codec_open(g->decoder, &coded, &c->digest, g->raw, c->len, err);
}

int fetch_way_open(struct fetching *g, struct err *err)
{
	const struct recipe_chunk *c = &g->recipe->chunks[g->next];
	switch (fetch_way(g, g->next)) {
	case WAY_DELTA:
		return delta_open(g->opener, &g->delta->entries[g->next], c, &g->old, g->stored,
				  g->raw, err);
	case WAY_CHUNKS: {
		const struct chunkmap_chunk *p = &g->map->chunks[g->next];
		const struct coded coded = {g->stored, p->stored, p->codec, c->type};
		return codec_open(g->decoder, &coded, &c->digest, g->raw, c->len, err);
	}
	default:
		return open_raw(g, c, err);
	}
}

/* ---- deltas ---- */

void fetch_way_done(struct fetching *g)
{
	delta_index_free(TAKE(g->delta));
	delta_opener_free(TAKE(g->opener));
	fetch_inplace_done(g);
	if (g->old_fd >= 0)
		close(g->old_fd);
	g->old_fd = -1;
}

/* Bytes that packs would cost.  Not less because some are had already: what is cheapest at the start is
 * so after a death as well. */
static uint64_t missing(const struct fetching *g)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < g->recipe->count; i++)
		if (!fetch_here(g, &g->recipe->chunks[i]))
			sum += g->map->chunks[i].stored;
	return sum;
}

static const struct fetch_file_here *file_here(const struct fetching *g, const struct digest *recipe)
{
	for (unsigned i = 0; i < g->file_count; i++)
		if (digest_eq(&g->files[i].recipe, recipe))
			return &g->files[i];
	return NULL;
}

/* The cheapest delta from a file that is here, when it costs less than limit; NULL: none does. */
static const struct chunkmap_delta *cheapest(const struct fetching *g, uint64_t limit,
					     const struct fetch_file_here **ret_file)
{
	const struct chunkmap_delta *best = NULL;
	for (uint32_t i = 0; i < g->map->delta_count; i++) {
		const struct chunkmap_delta *d = &g->map->deltas[i];
		const struct fetch_file_here *file = file_here(g, &d->from);
		if (d->bytes >= limit || !file)
			continue;
		limit = d->bytes;
		best = d;
		*ret_file = file;
	}
	return best;
}

static int open_old(struct fetching *g, const struct fetch_file_here *file)
{
	struct stat st;
	g->old_fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (g->old_fd < 0 || fstat(g->old_fd, &st) || (uint64_t)st.st_size != file->length)
		return -1;
	g->old = source_fd(&g->old_fd, file->length);
	g->old_path = file->path;
	return 0;
}

/* What the map said of the delta holds it to that. */
static int read_table(struct flotilla *f, struct fetching *g, const struct chunkmap_delta *d)
{
	const size_t len = DELTA_HEAD + (size_t)g->recipe->count * DELTA_ENTRY;
	char path[SDK_PATH];
	struct err err;
	AUTO_FREE uint8_t *bytes = malloc(len);
	g->opener = delta_opener_new();
	if (!bytes || !g->opener)
		return fetch_no_memory(f);
	part_path(g, 0, path);
	const int code = fetch_head(f, g, path, bytes, len);
	if (code)
		return code;
	if (delta_index_parse(&g->delta, bytes, len, g->recipe, &err))
		return sdk_fail(f, FLOTILLA_E_CONTENT, &err);
	if (g->delta->head.old_len == g->old.size && g->delta->bytes <= d->bytes)
		return FLOTILLA_OK;
	return sdk_say(f, FLOTILLA_E_CONTENT, "a delta is not what its map said");
}

int fetch_way_choose(struct flotilla *f, struct fetching *g)
{
	const struct fetch_file_here *file = NULL;
	const struct chunkmap_delta *d = cheapest(g, missing(g), &file);
	g->way = g->here = WAY_CHUNKS;
	if (!d || !file || open_old(g, file))
		return FLOTILLA_OK;
	g->from = d->from;
	const int code = read_table(f, g, d);
	if (!code) {
		g->way = g->here = WAY_DELTA;
		return FLOTILLA_OK;
	}
	fetch_way_done(g);
	if (code == FLOTILLA_E_MEMORY || (code == FLOTILLA_E_NETWORK && g->trouble == TROUBLE_RETRY))
		return code;
	sdk_log(f, flotilla_error(f));
	return FLOTILLA_OK;
}

/* ---- when a way fails ---- */

/* The first reason is what people should hear. */
static int give_up(struct flotilla *f, const struct fetching *g, enum way way, int code)
{
	const uint8_t codec = g->map->chunks[g->next].codec;
	char text[200];
	if (way != WAY_RAW)
		return code;
	if (g->why)
		return sdk_say(f, g->why, "%s", g->why_text);
	if (codec_known(codec))
		return code;
	snprintf(text, sizeof(text), "%s", flotilla_error(f));
	return sdk_say(f, FLOTILLA_E_CONTENT,
		       "codec %u of the server's packs is not known to this version, and the file cannot "
		       "be had as it is: %s",
		       codec, text);
}

int fetch_way_fall_back(struct flotilla *f, struct fetching *g, int code)
{
	const enum way way = fetch_way(g, g->next);
	if (code == FLOTILLA_E_CONTENT)
		g->trouble = g->trouble == TROUBLE_GONE ? TROUBLE_GONE : TROUBLE_CHUNK;
	else if (code != FLOTILLA_E_NETWORK || g->trouble == TROUBLE_RETRY)
		return give_up(f, g, way, code);
	if (way == WAY_RAW)
		return give_up(f, g, way, code);
	if (way == WAY_CHUNKS && !g->why) {
		g->why = code;
		snprintf(g->why_text, sizeof(g->why_text), "%.190s", flotilla_error(f));
	}
	sdk_log(f, flotilla_error(f));
	if (way == g->way && (g->trouble == TROUBLE_GONE || ++g->failures == WAY_FAILURES)) {
		g->way = way + 1;
		g->failures = 0;
	}
	g->here = way + 1;
	return FLOTILLA_OK;
}
