#include "store/verify.h"

#include "base/file.h"
#include "store/chunkmap.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/recipe.h"

#include <stdlib.h>

#define READ_BYTES (256 * 1024)

struct item {
	struct digest name;
	int64_t bytes;
};

/* Names are collected first: a statement left open for hours would keep the log from shrinking. */
struct items {
	struct item *items; /* owned */
	size_t count, room;
};

static int items_add(void *arg, const struct digest *name, int64_t bytes, struct err *err)
{
	struct items *items = arg;

	if (items->count == items->room) {
		size_t room = items->room ? 2 * items->room : 256;
		struct item *grown = reallocarray(items->items, room, sizeof(*grown));
		if (!grown)
			return err_nomem(err);
		items->items = grown;
		items->room = room;
	}
	items->items[items->count++] = (struct item){*name, bytes};
	return 0;
}

struct verify {
	struct blobs *blobs;
	struct db *db;
	const struct verify_options *options;
	struct verify_report report;
};

static void damage(struct verify *verify, const struct err *err)
{
	if (!verify->report.damaged++)
		verify->report.first = *err;
}

static int hash_check(int fd, const struct item *item, struct err *err)
{
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	struct digest found;
	uint8_t *bytes = malloc(READ_BYTES);
	int result = ctx && bytes ? 0 : err_nomem(err);

	for (int64_t at = 0; !result && at < item->bytes;) {
		size_t n = item->bytes - at < READ_BYTES ? (size_t)(item->bytes - at) : READ_BYTES;
		result = file_pread_all(fd, bytes, n, at, err);
		if (!result)
			digest_add(ctx, bytes, n);
		at += (int64_t)n;
	}
	free(bytes);
	if (result)
		return -1;
	digest_end(ctx, &found);
	return digest_eq(&found, &item->name)
		       ? 0
		       : err_set(err, ERR_CORRUPT, "its bytes are not those of its name");
}

static int pack_check(struct verify *verify, const struct item *item, struct err *err)
{
	AUTO_FD int fd = blob_fd(verify->blobs, BLOB_PACK, &item->name, err);
	uint64_t len;

	if (fd < 0 || blob_stat(verify->blobs, BLOB_PACK, &item->name, &len, NULL, err) < 0)
		return -1;
	if (len != (uint64_t)item->bytes)
		return err_set(err, ERR_CORRUPT, "it has %llu bytes instead of %lld",
			       (unsigned long long)len, (long long)item->bytes);
	verify->report.bytes += len;
	return verify->options->deep ? hash_check(fd, item, err) : 0;
}

static int rows_forget(struct db *db, void *arg, struct err *err)
{
	bool removed;

	return inventory_pack_drop(db, arg, INT64_MAX, &removed, err);
}

static int pack_damaged(struct verify *verify, const struct digest *name, struct err *why,
			struct err *err)
{
	struct digest gone = *name;
	char hex[DIGEST_HEX];

	if (inventory_pack(verify->db, name, err) == 0)
		return 0; /* collected meanwhile */
	digest_hex(name, hex);
	err_in(why, "pack %s", hex);
	damage(verify, why);
	if (!verify->options->mend || why->status == ERR_SYSTEM)
		return 0;
	if (ledger_run(blobs_ledger(verify->blobs), rows_forget, &gone, err) < 0)
		return -1;
	return blob_quarantine(verify->blobs, BLOB_PACK, name, err);
}

static int packs_check(struct verify *verify, const struct items *items, struct err *err)
{
	const struct verify_options *options = verify->options;
	struct err why;

	for (size_t i = 0; i < items->count && !verify->report.ended; i++) {
		const struct item *item = &items->items[i];
		verify->report.packs++;
		if (pack_check(verify, item, &why) < 0 &&
		    pack_damaged(verify, &item->name, &why, err) < 0)
			return -1;
		if (options->go_on && !options->go_on(options->arg, (uint64_t)item->bytes))
			verify->report.ended = true;
	}
	return 0;
}

static int recipe_check(struct verify *verify, const struct digest *name, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(blob_unref) struct blob *blob = blob_get(verify->blobs, BLOB_RECIPE, name, err);
	struct digest found;

	if (!blob)
		return -1;
	digest_of(&found, blob->bytes, blob->len);
	if (!digest_eq(&found, name))
		return err_set(err, ERR_CORRUPT, "its bytes are not those of its name");
	AUTO(blob_unref) struct blob *places = blob_get(verify->blobs, BLOB_MAP, name, err);
	if (!places || recipe_parse(&recipe, blob->bytes, blob->len, err) < 0 ||
	    chunkmap_parse(&map, places->bytes, places->len, err) < 0 ||
	    chunkmap_fits(map, recipe, name, err) < 0)
		return -1;
	for (uint32_t i = 0; i < map->pack_count; i++)
		if (!blob_exists(verify->blobs, BLOB_PACK, &map->packs[i].digest))
			return err_set(err, ERR_CORRUPT, "a pack of its map is not there");
	verify->report.bytes += blob->len + places->len;
	return 0;
}

static void recipes_check(struct verify *verify, const struct items *items)
{
	struct recipe_info info;
	char hex[DIGEST_HEX];
	struct err why, gone;

	for (size_t i = 0; i < items->count; i++) {
		const struct digest *name = &items->items[i].name;
		verify->report.recipes++;
		if (recipe_check(verify, name, &why) == 0 ||
		    inventory_recipe(verify->db, name, &info, &gone) < 0)
			continue;
		digest_hex(name, hex);
		err_in(&why, "recipe %s", hex);
		damage(verify, &why);
	}
}

int verify_store(struct blobs *blobs, struct db *db, const struct verify_options *options,
		 struct verify_report *ret_report, struct err *err)
{
	struct verify verify = {.blobs = blobs, .db = db, .options = options};
	struct items packs = {0}, recipes = {0};
	int result = inventory_packs(db, items_add, &packs, err);

	if (!result)
		result = inventory_recipes(db, items_add, &recipes, err);
	if (!result)
		result = packs_check(&verify, &packs, err);
	if (!result && !verify.report.ended)
		recipes_check(&verify, &recipes);
	free(packs.items);
	free(recipes.items);
	if (!result)
		*ret_report = verify.report;
	return result;
}
