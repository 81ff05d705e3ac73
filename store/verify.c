#include "store/verify.h"

#include "base/file.h"
#include "base/map.h"
#include "store/chunkmap.h"
#include "store/inventory.h"
#include "store/ledger.h"
#include "store/recipe.h"
#include "store/verify_delta.h"

#include <errno.h>
#include <stdlib.h>

#define READ_BYTES (256 * 1024)

struct verify {
	struct blobs *blobs;
	struct db *db;
	const struct verify_options *options;
	struct map *bad; /* packs; a set */
	struct verify_report report;
};

void verify_damaged(const struct verify_options *options, struct verify_report *report,
		    enum blob_kind kind, const struct digest *name, struct err *why)
{
	const struct verify_damage damage = {kind, *name, why};
	char hex[DIGEST_HEX];

	digest_hex(name, hex);
	err_in(why, "%s %s", blob_kind_name(kind), hex);
	if (!report->damaged++)
		report->first = *why;
	if (options->damaged)
		options->damaged(options->arg, &damage);
}

static void damage(struct verify *verify, enum blob_kind kind, const struct digest *name,
		   struct err *why)
{
	verify_damaged(verify->options, &verify->report, kind, name, why);
}

static int hash_check(int fd, const struct inventory_item *item, struct err *err)
{
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	struct digest found;
	uint8_t *bytes = malloc(READ_BYTES);
	int result = ctx && bytes ? 0 : err_nomem(err);

	for (int64_t at = 0; !result && at < item->bytes;) {
		size_t n = item->bytes - at < READ_BYTES ? (size_t)(item->bytes - at) : READ_BYTES;
		result = file_pread_all(fd, bytes, n, at, err);
		/* What is open and cannot be read is damaged as much as what reads wrong. */
		if (result && errno != ENOMEM)
			err->status = ERR_CORRUPT;
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

static int pack_check(struct verify *verify, const struct inventory_item *item, struct err *err)
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

struct setting_aside {
	struct blobs *blobs;
	struct digest pack;
};

static int rows_forget(struct db *db, void *arg, struct err *err)
{
	const struct setting_aside *aside = arg;
	bool removed;

	return inventory_pack_drop(db, &aside->pack, INT64_MAX, &removed, err);
}

/* Unless it was pushed again since its rows went: then it is a good one. */
static int file_set_aside(struct db *db, void *arg, struct err *err)
{
	const struct setting_aside *aside = arg;
	int there = inventory_pack(db, &aside->pack, err);

	if (there)
		return there < 0 ? -1 : 0;
	return blob_quarantine(aside->blobs, BLOB_PACK, &aside->pack, err);
}

static int pack_damaged(struct verify *verify, const struct digest *name, struct err *why,
			struct err *err)
{
	struct setting_aside aside = {verify->blobs, *name};
	struct ledger *ledger = blobs_ledger(verify->blobs);

	if (inventory_pack(verify->db, name, err) == 0)
		return 0; /* collected meanwhile */
	damage(verify, BLOB_PACK, name, why);
	if (map_put(verify->bad, name->bytes, DIGEST_LEN, verify->bad))
		return err_nomem(err);
	if (!verify->options->mend || why->status == ERR_SYSTEM)
		return 0;
	if (ledger_run(ledger, rows_forget, &aside, err) < 0)
		return -1;
	return ledger_run(ledger, file_set_aside, &aside, err);
}

static int packs_check(struct verify *verify, const struct inventory_list *items, struct err *err)
{
	const struct verify_options *options = verify->options;
	struct err why;

	for (size_t i = 0; i < items->count && !verify->report.ended; i++) {
		const struct inventory_item *item = &items->items[i];
		verify->report.packs++;
		if (pack_check(verify, item, &why) < 0 &&
		    pack_damaged(verify, &item->name, &why, err) < 0)
			return -1;
		if (options->go_on && !options->go_on(options->arg, (uint64_t)item->bytes))
			verify->report.ended = true;
	}
	return 0;
}

/* One without a row was not looked at, and is not what a push may rely on. */
static int pack_of_map_check(struct verify *verify, const struct digest *pack, struct err *err)
{
	if (!blob_exists(verify->blobs, BLOB_PACK, pack))
		return err_set(err, ERR_CORRUPT, "a pack of its map is not there");
	if (map_get(verify->bad, pack->bytes, DIGEST_LEN))
		return err_set(err, ERR_CORRUPT, "a pack of its map is damaged");
	int row = inventory_pack(verify->db, pack, err);
	return row ? (row < 0 ? -1 : 0) : err_set(err, ERR_CORRUPT, "a pack of its map has no row");
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
		if (pack_of_map_check(verify, &map->packs[i].digest, err) < 0)
			return -1;
	verify->report.bytes += blob->len + places->len;
	return 0;
}

static void recipes_check(struct verify *verify, const struct inventory_list *items)
{
	struct recipe_info info;
	struct err why, gone;

	for (size_t i = 0; i < items->count; i++) {
		const struct digest *name = &items->items[i].name;
		verify->report.recipes++;
		if (recipe_check(verify, name, &why) == 0 ||
		    inventory_recipe(verify->db, name, &info, &gone) < 0)
			continue;
		damage(verify, BLOB_RECIPE, name, &why);
	}
}

int verify_store(struct blobs *blobs, struct db *db, const struct verify_options *options,
		 struct verify_report *ret_report, struct err *err)
{
	AUTO(map_free) struct map *bad = map_new(NULL);
	struct verify verify = {.blobs = blobs, .db = db, .options = options, .bad = bad};
	AUTO_LIST struct inventory_list packs = {0};
	AUTO_LIST struct inventory_list recipes = {0};
	int result = bad ? inventory_packs(db, inventory_gather, &packs, err) : err_nomem(err);

	if (!result)
		result = inventory_recipes(db, inventory_gather, &recipes, err);
	if (!result)
		result = packs_check(&verify, &packs, err);
	if (!result && !verify.report.ended)
		recipes_check(&verify, &recipes);
	if (!result && !verify.report.ended)
		result = verify_deltas(blobs, db, options, &verify.report, err);
	if (!result)
		*ret_report = verify.report;
	return result;
}
