/* shop.h -- a store in a directory of its own, and what a client would push into it, for tests. */
#ifndef TESTS_SUPPORT_SHOP_H
#define TESTS_SUPPORT_SHOP_H

#include "store/blob.h"
#include "store/chunkmap.h"
#include "store/codec.h"
#include "store/delta_job.h"
#include "store/element.h"
#include "store/ingest.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/recipe.h"
#include "store/source.h"
#include "store/upload.h"
#include "store/verify.h"
#include "tests/support/model.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOP_NOW 1800000000

struct shop {
	char dir[256];
	struct ledger *ledger;
	struct db *db; /* reading */
	struct blobs *blobs;
	uint64_t reserve, mapped_max;
};

#define SHOP_OK(call)                                                                         \
	do {                                                                                  \
		if ((call) < 0)                                                               \
			ck_abort_msg("%s: %s", #call, err.text);                              \
	} while (0)

/* As after a restart. */
UNUSED static void shop_start(struct shop *shop)
{
	static const struct sql_set *const sets[] = {&inventory_sql, &upload_sql, &taken_sql,
						     &delta_job_sql};
	char path[300];
	struct db *db = NULL;
	struct err err;

	snprintf(path, sizeof(path), "%s/flotilla.db", shop->dir);
	SHOP_OK(db_open(&db, path, DB_WRITE, sets, COUNT_OF(sets), &err));
	SHOP_OK(ledger_new(&shop->ledger, db, 1024, &err));
	SHOP_OK(db_open(&shop->db, path, DB_READ, sets, COUNT_OF(sets), &err));
	struct blobs_options options = {.dir = shop->dir,
					.reserve = shop->reserve,
					.mapped_max = shop->mapped_max,
					.ledger = shop->ledger};
	SHOP_OK(blobs_open(&shop->blobs, &options, &err));
}

UNUSED static void shop_stop(struct shop *shop)
{
	blobs_free(TAKE(shop->blobs));
	db_close(TAKE(shop->db));
	ledger_free(TAKE(shop->ledger));
}

UNUSED static void shop_dir(struct shop *shop)
{
	const char *tmp = getenv("TMPDIR");

	memset(shop, 0, sizeof(*shop));
	snprintf(shop->dir, sizeof(shop->dir), "%s/flotilla-shop-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(shop->dir));
}

UNUSED static void shop_remove(struct shop *shop)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s'", shop->dir);
	ck_assert_int_eq(system(command), 0);
}

/* Pack and recipe of one file, as a client makes them. */
struct goods {
	struct buf raw, pack, recipe; /* raw: the file */
	struct digest pack_name, recipe_name, sha256;
	unsigned count; /* chunks */
	struct digest *chunks;
};

/* count chunks of len bytes, all different. */
UNUSED static void goods_make(struct goods *goods, unsigned count, size_t len, const char *seed)
{
	struct err err;
	struct encoder *encoder = encoder_new();
	struct recipe *recipe = recipe_new();

	buf_init(&goods->raw, 64u << 20);
	buf_init(&goods->pack, PACK_MAX);
	buf_init(&goods->recipe, 1u << 20);
	goods->count = count;
	goods->chunks = calloc(count, sizeof(*goods->chunks));
	struct pack_writer *writer = pack_writer_new(sink_buf(&goods->pack));
	for (unsigned i = 0; i < count; i++) {
		char name[60];
		struct coded coded;
		uint8_t *raw = buf_grow(&goods->raw, len);
		snprintf(name, sizeof(name), "%s.%u", seed, i);
		model_stream(raw, len, name);
		buf_grown(&goods->raw, len);
		digest_of(&goods->chunks[i], raw, len);
		SHOP_OK(codec_encode(encoder, ELEMENT_OPAQUE, raw, len, &coded, &err));
		SHOP_OK(pack_writer_add(writer, &goods->chunks[i], (uint32_t)len, &coded, NULL,
					&err));
		SHOP_OK(recipe_add(recipe, &goods->chunks[i], (uint32_t)len, ELEMENT_OPAQUE, &err));
	}
	uint32_t bytes;
	SHOP_OK(pack_writer_finish(writer, &goods->pack_name, &bytes, &err));
	digest_of(&goods->sha256, goods->raw.data, goods->raw.len);
	recipe->sha256 = goods->sha256;
	SHOP_OK(recipe_encode(recipe, &goods->recipe, &goods->recipe_name, &err));
	pack_writer_free(writer);
	recipe_free(recipe);
	encoder_free(encoder);
}

UNUSED static void goods_done(struct goods *goods)
{
	buf_done(&goods->raw);
	buf_done(&goods->pack);
	buf_done(&goods->recipe);
	free(goods->chunks);
}

/* A spooled body: an unlinked file in tmp/. */
UNUSED static int shop_spool(struct shop *shop, const void *bytes, size_t len)
{
	int fd = open(blobs_tmp(shop->blobs), O_TMPFILE | O_RDWR, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	return fd;
}

UNUSED static int shop_put_pack(struct shop *shop, const struct digest *name, const void *bytes,
				size_t len, struct err *err)
{
	struct ingest_result result;
	int fd = shop_spool(shop, bytes, len);
	int failed = ingest_pack(shop->blobs, shop->db, name, fd, len, SHOP_NOW, NULL, &result,
				 err);

	close(fd);
	return failed;
}

UNUSED static int shop_push(struct shop *shop, const struct goods *goods,
			    struct recipe_info *ret_info, struct err *err)
{
	if (shop_put_pack(shop, &goods->pack_name, goods->pack.data, goods->pack.len, err) < 0)
		return -1;
	return ingest_recipe(shop->blobs, shop->db, goods->recipe.data, goods->recipe.len,
			     NULL, SHOP_NOW, NULL, ret_info, err);
}

/* Append the file that recipe describes, read through map and packs, to out. */
UNUSED static int shop_read(struct shop *shop, const struct digest *name, struct buf *out,
			    struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	AUTO(blob_unref) struct blob *a = blob_get(shop->blobs, BLOB_RECIPE, name, err);
	AUTO(blob_unref) struct blob *b = a ? blob_get(shop->blobs, BLOB_MAP, name, err) : NULL;

	if (!b || recipe_parse(&recipe, a->bytes, a->len, err) < 0 ||
	    chunkmap_parse(&map, b->bytes, b->len, err) < 0 ||
	    chunkmap_fits(map, recipe, name, err) < 0)
		return -1;
	for (uint32_t i = 0; i < recipe->count; i++) {
		const struct chunkmap_chunk *at = &map->chunks[i];
		AUTO(blob_unref) struct blob *pack =
			blob_get(shop->blobs, BLOB_PACK, &map->packs[at->pack].digest, err);
		if (!pack)
			return -1;
		struct coded coded = {(const uint8_t *)pack->bytes + at->at, at->stored, at->codec,
				      recipe->chunks[i].type};
		void *raw = buf_grow(out, recipe->chunks[i].len);
		ck_assert_ptr_nonnull(raw);
		if (codec_open(decoder, &coded, &recipe->chunks[i].digest, raw,
			       recipe->chunks[i].len, err) < 0)
			return -1;
		buf_grown(out, recipe->chunks[i].len);
	}
	return 0;
}

/* recipe describes exactly these bytes. */
UNUSED static void shop_expect(struct shop *shop, const struct digest *recipe,
			       const struct buf *raw)
{
	AUTO_BUF struct buf found = BUF_INIT(raw->len + 1);
	struct err err;

	SHOP_OK(shop_read(shop, recipe, &found, &err));
	ck_assert_uint_eq(found.len, raw->len);
	ck_assert(!raw->len || !memcmp(found.data, raw->data, raw->len));
}

/* Files in tmp/. */
UNUSED static unsigned shop_tmp_count(struct shop *shop)
{
	DIR *dir = opendir(blobs_tmp(shop->blobs));
	struct dirent *item;
	unsigned count = 0;

	while ((item = readdir(dir)))
		count += item->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* Everything the rows name is there and right. */
UNUSED static void shop_sound(struct shop *shop)
{
	const struct verify_options options = {.deep = true};
	struct verify_report report;
	struct err err;

	SHOP_OK(verify_store(shop->blobs, shop->db, &options, &report, &err));
	ck_assert_msg(!report.damaged, "%s", report.first.text);
}

#endif
