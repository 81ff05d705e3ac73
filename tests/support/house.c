#include "tests/support/house.h"

#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/offer.h"
#include "manifest/snapshot.h"
#include "server/app.h"
#include "store/db_internal.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const house_classes[HOUSE_CLASSES] = {"flagship", "mid", "budget"};

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){1000, 900, *recipe};
	return 0;
}

static int add_release(struct db *db, const char *release, int64_t now, struct err *err)
{
	const struct release_spec spec = {.model = "assistant", .release = release};
	json_auto_t *body = json_pack(
		"{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "model.gguf", "recipe",
		"00000000000000000000000000000000000000000000000000000000000000aa");
	return catalog_release_add(db, &spec, now, err) ||
			       catalog_variant_put(db, "assistant", release, "q4_0", body, lookup,
						   NULL, now, err) ||
			       catalog_release_publish(db, "assistant", release, now, err)
		       ? -1
		       : 0;
}

static json_t *rules(void)
{
	return json_pack("{s:i, s:[{s:s, s:[{s:[{s:s, s:s, s:i}]}]}, {s:s, s:[{s:[{s:s, s:s, s:i}]}]},"
			 " {s:s}]}",
			 "schema", 1, "rules", "class", house_classes[0], "any", "all", "attr", "ram_mib",
			 "op", "ge", "value", 10000, "class", house_classes[1], "any", "all", "attr",
			 "ram_mib", "op", "ge", "value", 6000, "class", house_classes[2]);
}

static int fill(struct db *db, void *arg, struct err *err)
{
	struct house *h = arg;
	const int64_t now = clock_s(&h->clock);
	int64_t version;
	json_auto_t *document = rules();
	json_auto_t *settings = json_pack("{s:i}", "devices", HOUSE_DEVICES);
	if (class_init(db, now, err) || catalog_channel_add(db, "stable", now, err) ||
	    class_rules_put(db, document, -1, "test", now, &version, err) ||
	    catalog_model_add(db, "assistant", now, err) || add_release(db, "1.0.0", now, err) ||
	    add_release(db, "2.0.0", now, err))
		return -1;
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		if (class_put(db, house_classes[i], settings, 1, err) ||
		    offer_bootstrap(db, "stable", house_classes[i], "assistant", "1.0.0", now, err))
			return -1;
	return publish_all(h->publisher, db, err);
}

/* ---- the house ---- */

void house_run(struct house *h, int (*fn)(struct db *db, void *arg, struct err *err), void *arg)
{
	struct err err;
	ck_assert_msg(!ledger_run(h->ledger, fn, arg, &err), "%s", err.text);
}

static void start(struct house *h)
{
	struct err err;
	struct db *db;
	const char *dir = h->scratch.dir;
	ck_assert_msg(!keystore_load(&h->keys, dir, NULL, &err) && !app_db_open(&db, dir, true, &err),
		      "%s", err.text);
	ck_assert_msg(!publisher_new(&h->publisher, &h->keys, &h->clock, &err) &&
			      !publisher_load(h->publisher, db, &err) &&
			      !ledger_new(&h->ledger, db, 1024, &err) &&
			      !app_db_open(&h->db, dir, false, &err),
		      "%s", err.text);
	h->cells = cells_new();
	ck_assert_ptr_nonnull(h->cells);
}

static void stop(struct house *h)
{
	ledger_free(h->ledger);
	publisher_free(h->publisher);
	cells_free(h->cells);
	db_close(h->db);
	keystore_done(&h->keys);
}

void house_open(struct house *h, int64_t speed)
{
	struct err err;
	*h = (struct house){.ledger = NULL};
	scratch_make(&h->scratch);
	clock_fast(&h->clock, clock_wall_ms(), speed);
	ck_assert_msg(!keystore_init(h->scratch.dir, true, &err), "%s", err.text);
	start(h);
	house_run(h, fill, h);
}

void house_restart(struct house *h)
{
	stop(h);
	start(h);
}

void house_close(struct house *h)
{
	stop(h);
	scratch_remove(&h->scratch);
}

char *house_document(struct house *h, const char *path)
{
	struct snapshot *snapshot = publisher_snapshot(h->publisher);
	const struct doc *doc = snapshot_find(snapshot, path);
	char *text = doc ? strndup(doc->bytes, doc->len) : NULL;
	snapshot_unref(snapshot);
	return text;
}

bool house_published(struct house *h, const char *class, const char *text)
{
	char path[200];
	snprintf(path, sizeof(path), "/v1/c/stable/%s/manifest.json", class);
	char *manifest = house_document(h, path);
	ck_assert_ptr_nonnull(manifest);
	const bool found = strstr(manifest, text) != NULL;
	free(manifest);
	return found;
}

static void check_plan(struct house *house, const char *sql, bool sorted)
{
	char text[2000];
	sqlite3_stmt *q;
	snprintf(text, sizeof(text), "EXPLAIN QUERY PLAN %s", sql);
	ck_assert_msg(sqlite3_prepare_v2(house->db->handle, text, -1, &q, NULL) == SQLITE_OK, "%s",
		      text);
	while (sqlite3_step(q) == SQLITE_ROW) {
		const char *plan = (const char *)sqlite3_column_text(q, 3);
		ck_assert_msg(strncmp(plan, "SCAN", 4) != 0, "%s: %s", sql, plan);
		ck_assert_msg(!sorted || !strstr(plan, "ORDER BY"), "%s: %s", sql, plan);
	}
	sqlite3_finalize(q);
}

void house_never_scans(struct house *house, const struct sql_set *set, bool sorted)
{
	for (unsigned i = 0; i < set->count; i++)
		if (strstr(set->sql[i], "WHERE"))
			check_plan(house, set->sql[i], sorted);
}
