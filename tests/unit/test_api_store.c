#include "manifest/journal.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "server/housekeeping.h"
#include "store/delta_job.h"
#include "tests/support/shop.h"

#include <jansson.h>

enum { ADD_FILE, COUNT_AUDITS, SQL_COUNT };
static const char *const statements[] = {
	[ADD_FILE] = "INSERT INTO files (model, release, tier, name, length, sha256, recipe, stored)"
		     " VALUES ($model, '1', 'q8_0', 'w', 1, $recipe, $recipe, 1)",
	[COUNT_AUDITS] = "SELECT count(*) FROM audit WHERE action = $action",
};
static const struct sql_set test_sql = {"test", statements, SQL_COUNT};
static const struct sql_set *const sets[] = {&inventory_sql, &upload_sql,  &taken_sql,
					     &delta_job_sql, &journal_sql, &test_sql};

static struct shop shop;
static struct goods goods;
static struct config config = {.max_file_bytes = 1 << 30};
static struct app app;
static struct request rq;
static struct reply reply;
static struct err err;

static void begin(void)
{
	char path[300];
	struct db *db = NULL;

	shop_dir(&shop);
	snprintf(path, sizeof(path), "%s/flotilla.db", shop.dir);
	SHOP_OK(db_open(&db, path, DB_WRITE, sets, COUNT_OF(sets), &err));
	SHOP_OK(ledger_new(&shop.ledger, db, 100, &err));
	SHOP_OK(db_open(&shop.db, path, DB_READ, sets, COUNT_OF(sets), &err));
	struct blobs_options options = {.dir = shop.dir, .ledger = shop.ledger};
	SHOP_OK(blobs_open(&shop.blobs, &options, &err));
	goods_make(&goods, 5, 3000, "api");
	memset(&app, 0, sizeof(app));
	app.config = &config;
	app.blobs = shop.blobs;
	app.ledger = shop.ledger;
	clock_real(&app.clock);
	struct db *dbs[2];
	SHOP_OK(db_open(&dbs[0], path, DB_READ, sets, COUNT_OF(sets), &err));
	SHOP_OK(db_open(&dbs[1], path, DB_READ, sets, COUNT_OF(sets), &err));
	SHOP_OK(housekeeping_new(&app.housekeeping, shop.blobs, dbs, &app.clock, &err));
	memset(&rq, 0, sizeof(rq));
	rq.app = &app;
	rq.db = shop.db;
	rq.body_fd = -1;
	rq.arena = arena_new(1 << 20);
	strcpy(rq.who.id, "t1");
	strcpy(rq.who.name, "ci");
	rq.who.role = ROLE_PUBLISHER;
	reply_init(&reply);
}

static void end(void)
{
	reply_done(&reply);
	arena_free(rq.arena);
	goods_done(&goods);
	housekeeping_free(app.housekeeping);
	shop_stop(&shop);
	shop_remove(&shop);
}

/* Ask with a spooled body; the reply's code, or -1. */
static int ask(route_handler *handler, const char *param, const void *bytes, size_t len)
{
	rq.params[0] = param;
	rq.body_fd = bytes ? shop_spool(&shop, bytes, len) : -1;
	rq.body_len = (int64_t)len;
	reply_done(&reply);
	int result = handler(&rq, &reply, &err);
	if (bytes)
		close(rq.body_fd);
	return result < 0 ? -1 : (int)reply.code;
}

static json_t *answer(void)
{
	json_error_t why;
	json_t *value = json_loadb(reply.bytes, (size_t)reply.len, 0, &why);

	ck_assert_ptr_nonnull(value);
	return value;
}

static void push(void)
{
	char hex[DIGEST_HEX];

	digest_hex(&goods.pack_name, hex);
	ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), 200);
}

static int add_file(struct db *db, void *arg, struct err *why)
{
	STMT(q, db, &test_sql, ADD_FILE);

	stmt_text(q, "$model", arg);
	stmt_digest(q, "$recipe", &goods.recipe_name);
	return stmt_run(q, why);
}

START_TEST(test_api_store_push_is_answered_and_audited)
{
	json_t *rows = NULL;

	push();
	json_auto_t *info = answer();
	char hex[DIGEST_HEX];
	digest_hex(&goods.sha256, hex);
	ck_assert_str_eq(json_string_value(json_object_get(info, "sha256")), hex);
	ck_assert_int_eq(json_integer_value(json_object_get(info, "length")), 15000);
	SHOP_OK(journal_audits(shop.db, 0, 10, &rows, &err));
	ck_assert_uint_eq(json_array_size(rows), 2);
	const json_t *row = json_array_get(rows, 1);
	ck_assert_str_eq(json_string_value(json_object_get(row, "action")), "recipe.store");
	ck_assert_str_eq(json_string_value(json_object_get(row, "actor")), "ci");
	json_decref(rows);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), 200);
}
END_TEST

START_TEST(test_api_store_missing_is_a_bitmap)
{
	struct digest asked[9] = {{{1}}};

	memcpy(asked + 4, goods.chunks, 5 * sizeof(asked[0]));
	push();
	ck_assert_int_eq(ask(api_store_missing, NULL, asked, sizeof(asked)), 200);
	ck_assert_int_eq(reply.len, 2);
	ck_assert_uint_eq((uint8_t)reply.bytes[0], 0x0f);
	ck_assert_uint_eq((uint8_t)reply.bytes[1], 0x00);
	ck_assert_int_eq(ask(api_store_missing, NULL, asked, 33), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_int_eq(ask(api_store_missing, NULL, asked, 0), -1);
}
END_TEST

static int audits(const char *action)
{
	STMT(q, shop.db, &test_sql, COUNT_AUDITS);

	stmt_text(q, "$action", action);
	ck_assert_int_eq(stmt_step(q, &err), 1);
	return (int)stmt_col_int(q, 0);
}

static void become(const char *id, const char *models)
{
	strcpy(rq.who.id, id);
	rq.who.models = models;
}

static unsigned missing(void)
{
	ck_assert_int_eq(ask(api_store_missing, NULL, goods.chunks, 5 * DIGEST_LEN), 200);
	return (uint8_t)reply.bytes[0];
}

/* A token for some models is told of its models' chunks and files only. */
START_TEST(test_api_store_scoped_token_learns_nothing_of_others)
{
	char mine[] = "mine", hex[DIGEST_HEX];

	push();
	digest_hex(&goods.sha256, hex);
	become("t2", "\nmine\nours\n");
	ck_assert_uint_eq(missing(), 0x1f);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	struct err there = err;
	digest_hex(&goods.pack_name, hex);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
	ck_assert_str_eq(err.text, there.text); /* as of what is nowhere */
	digest_hex(&goods.sha256, hex);
	SHOP_OK(ledger_run(shop.ledger, add_file, mine, &err));
	ck_assert_uint_eq(missing(), 0x00);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), 200);
	become("t2", "\nmin\n");
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
	ck_assert_int_eq(ask(api_store_stat, NULL, NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_DENIED);
	ck_assert_int_eq(ask(api_audit_list, NULL, NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_DENIED);
}
END_TEST

/* Another recipe of the same file, as of another cutter. */
static int add_newer(struct db *db, void *arg, struct err *why)
{
	const struct recipe_info newer = {.recipe = {{9}}, .sha256 = goods.sha256, .length = 15000};

	(void)arg;
	return inventory_recipe_add(db, &newer, INT64_MAX, why);
}

/* The stored map is another one, which takes more bytes. */
static int store_more(struct db *db, void *arg, struct err *why)
{
	struct recipe_info info;

	(void)arg;
	if (inventory_recipe(db, &goods.recipe_name, &info, why) < 0)
		return -1;
	info.stored += 999;
	return inventory_recipe_add(db, &info, 1, why);
}

/* Knowing digests opens nothing: what others brought is answered as if it were not there. */
START_TEST(test_api_store_scoped_token_mounts_nothing_of_others)
{
	become("t2", "\nmine\n");
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), -1);
	struct err nowhere = err;
	ck_assert_int_eq(nowhere.status, ERR_CONFLICT);
	become("t1", NULL);
	push();
	become("t2", "\nmine\n");
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert_str_eq(err.text, nowhere.text);
	json_auto_t *body = json_pack("{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "w",
				      "recipe", "");
	json_t *file = json_array_get(json_object_get(body, "files"), 0);
	char hex[DIGEST_HEX + 7] = "sha256:";
	for (int prefix = 0; prefix < 2; prefix++) {
		digest_hex(&goods.recipe_name, hex + 7);
		json_object_set_new(file, "recipe", json_string(prefix ? hex : hex + 7));
		rq.body = body;
		ck_assert_int_eq(ask(api_variant_put, "mine", NULL, 0), -1);
		ck_assert_int_eq(err.status, ERR_NOT_FOUND);
		ck_assert_ptr_nonnull(strstr(err.text, "no such recipe"));
		rq.body = NULL;
	}
}
END_TEST

/* A pack that is there already is taken from it as if it were new: same answer, same work, same rows
 * of its own; from then on its chunks are its own. */
START_TEST(test_api_store_scoped_token_brings_what_is_there)
{
	char hex[DIGEST_HEX];

	push();
	become("t2", "\nmine\n");
	digest_hex(&goods.pack_name, hex);
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
		json_auto_t *told = answer();
		ck_assert_int_eq(json_is_true(json_object_get(told, "known")), again);
		ck_assert_int_eq(audits("pack.store"), 2);
		ck_assert_uint_eq(missing(), 0x00);
	}
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), 200);
	ck_assert_int_eq(audits("recipe.store"), 2);
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), 200);
	ck_assert_int_eq(audits("recipe.store"), 2); /* it is its own now */
	digest_hex(&goods.sha256, hex);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), 200);
	become("t3", "\nmine\n");
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
	shop_sound(&shop);
}
END_TEST

/* The asker's own recipe of a file is found behind a newer one of somebody else's, and the answer to a
 * recipe is about the asker's packs, not about the map that is there. */
START_TEST(test_api_store_scoped_token_sees_its_own_of_many)
{
	struct goods both;
	char hex[DIGEST_HEX];

	goods_make(&both, 6, 3000, "api");
	push();
	json_auto_t *before = answer();
	SHOP_OK(ledger_run(shop.ledger, store_more, NULL, &err));
	become("t2", "\nmine\n");
	digest_hex(&both.pack_name, hex);
	ck_assert_int_eq(ask(api_pack_put, hex, both.pack.data, both.pack.len), 200);
	ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len), 200);
	json_auto_t *mine = answer();
	ck_assert_int_eq(json_integer_value(json_object_get(mine, "stored")),
			 json_integer_value(json_object_get(before, "stored")));
	SHOP_OK(ledger_run(shop.ledger, add_newer, NULL, &err));
	digest_hex(&goods.sha256, hex);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), 200);
	json_auto_t *found = answer();
	digest_hex(&goods.recipe_name, hex);
	ck_assert_str_eq(json_string_value(json_object_get(found, "recipe")), hex);
	goods_done(&both);
}
END_TEST

/* What counts already is taken again although the quota is used up. */
START_TEST(test_api_store_quota_lets_a_retry_pass)
{
	char hex[DIGEST_HEX];

	push(); /* t1's own quota */
	digest_hex(&goods.pack_name, hex);
	become("t2", "\nmine\n");
	rq.who.quota_bytes = (int64_t)goods.pack.len;
	ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
	SHOP_OK(blob_remove(shop.blobs, BLOB_PACK, &goods.pack_name, &err)); /* mended by a push */
	ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
	ck_assert(blob_exists(shop.blobs, BLOB_PACK, &goods.pack_name));
}
END_TEST

/* One chunk in common with somebody's unpublished file must not lead to the pack that holds the
 * rest of it: maps are public. */
START_TEST(test_api_store_scoped_maps_name_own_packs)
{
	struct goods both;
	char hex[DIGEST_HEX];
	AUTO(chunkmap_free) struct chunkmap *map = NULL;

	push();
	goods_make(&both, 6, 3000, "api"); /* the same chunks, and one more, in another pack */
	become("t2", "\nmine\n");
	digest_hex(&both.pack_name, hex);
	ck_assert_int_eq(ask(api_pack_put, hex, both.pack.data, both.pack.len), 200);
	ck_assert_int_eq(ask(api_recipe_post, NULL, both.recipe.data, both.recipe.len), 200);
	AUTO(blob_unref) struct blob *blob =
		blob_get(shop.blobs, BLOB_MAP, &both.recipe_name, &err);
	ck_assert_ptr_nonnull(blob);
	SHOP_OK(chunkmap_parse(&map, blob->bytes, blob->len, &err));
	ck_assert_uint_eq(map->pack_count, 1);
	ck_assert(digest_eq(&map->packs[0].digest, &both.pack_name));
	shop_expect(&shop, &both.recipe_name, &both.raw);
	shop_sound(&shop);
	goods_done(&both);
}
END_TEST

/* Packs and files count once, by their bytes; the answer says which quota, and when. */
START_TEST(test_api_store_quota_is_kept)
{
	struct goods more;
	char hex[DIGEST_HEX];

	goods_make(&more, 5, 3000, "more");
	for (int scoped = 0; scoped < 2; scoped++) {
		become(scoped ? "t3" : "t2", scoped ? "\nmine\n" : NULL);
		rq.who.quota_bytes = (int64_t)goods.pack.len + 100;
		digest_hex(&goods.pack_name, hex);
		ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
		ck_assert_int_eq(ask(api_pack_put, hex, goods.pack.data, goods.pack.len), 200);
		ck_assert_int_eq(ask(api_recipe_post, NULL, goods.recipe.data, goods.recipe.len),
				 200);
		digest_hex(&more.pack_name, hex);
		ck_assert_int_eq(ask(api_pack_put, hex, more.pack.data, more.pack.len), -1);
		ck_assert_int_eq(err.status, ERR_QUOTA);
		ck_assert_ptr_nonnull(strstr(err.text, "quota_bytes"));
		ck_assert_int_eq(inventory_pack(shop.db, &more.pack_name, &err), 0);
		ck_assert(!blob_exists(shop.blobs, BLOB_PACK, &more.pack_name));
	}
	err_set_text(&err, ERR_QUOTA, "quota_bytes: ...");
	err.retry_s = 4321;
	reply_done(&reply);
	reply_problem(&reply, &err, "r1");
	ck_assert_int_eq(reply.code, 429);
	ck_assert_str_eq(reply.headers[0].name, "Retry-After");
	ck_assert_str_eq(reply.headers[0].value, "4321");
	goods_done(&more);
}
END_TEST

START_TEST(test_api_store_refuses_what_is_no_digest)
{
	ck_assert_int_eq(ask(api_store_file, "xyz", NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_int_eq(ask(api_pack_put, "../../x", "x", 1), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_int_eq(ask(api_recipe_post, NULL, "x", 1), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

static int append(const char *id, const char *offset, const char *length, const char *bytes)
{
	const char *const headers[] = {"Upload-Offset", offset, "Content-Length", length, NULL};
	const char *const bare[] = {NULL};
	int64_t max = 1ll << 50;

	rq.test_headers = offset ? headers : bare;
	rq.params[0] = id;
	rq.body_fd = -1;
	if (api_upload_begin(&rq, &rq.body_fd, &max, &err) < 0)
		return -1;
	ck_assert_int_eq(write(rq.body_fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
	reply_done(&reply);
	int result = api_upload_patch(&rq, &reply, &err);
	close(rq.body_fd);
	return result < 0 ? -1 : (int)reply.code;
}

START_TEST(test_api_store_upload_from_begin_to_finish)
{
	json_auto_t *spec = json_pack("{s:i, s:s}", "length", 10, "name", "a.gguf");

	rq.body = spec;
	ck_assert_int_eq(ask(api_upload_create, NULL, NULL, 0), 201);
	json_auto_t *made = answer();
	const char *id = json_string_value(json_object_get(made, "id"));
	ck_assert_int_eq(append(id, NULL, NULL, "x"), -1);
	ck_assert_int_eq(append(id, "-1", "1", "x"), -1);
	ck_assert_int_eq(append(id, "0", "11", "x"), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	ck_assert_int_eq(append(id, "0", "6", "012345"), 204);
	ck_assert_str_eq(reply.headers[0].value, "6");
	rq.body = NULL;
	ck_assert_int_eq(ask(api_upload_finish, id, NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	ck_assert_int_eq(append(id, "6", "4", "6789"), 204);
	ck_assert_int_eq(ask(api_upload_finish, id, NULL, 0), 200);
	ck_assert_int_eq(ask(api_upload_get, id, NULL, 0), 200);
	json_auto_t *upload = answer();
	ck_assert_str_eq(json_string_value(json_object_get(upload, "state")), "finished");
	strcpy(rq.who.id, "t2");
	ck_assert_int_eq(ask(api_upload_get, id, NULL, 0), -1);
	ck_assert_int_eq(ask(api_upload_delete, id, NULL, 0), -1);
	strcpy(rq.who.id, "t1");
	ck_assert_int_eq(ask(api_upload_delete, id, NULL, 0), 204);
	ck_assert_int_eq(ask(api_store_stat, NULL, NULL, 0), 200);
}
END_TEST

/* Asked for, it is done soon; GET tells what it found once its number is there. */
START_TEST(test_api_store_chores_are_done_when_asked)
{
	push();
	SHOP_OK(ledger_run(shop.ledger, add_file, (void *)(uintptr_t)"assistant", &err));
	SHOP_OK(blob_remove(shop.blobs, BLOB_PACK, &goods.pack_name, &err));
	rq.body = json_pack("{s:s}", "task", "verify");
	ck_assert_int_eq(ask(api_care_post, NULL, NULL, 0), 202);
	json_decref(rq.body);
	rq.body = NULL;
	json_auto_t *begun = answer();
	const json_int_t run = json_integer_value(json_object_get(begun, "run"));
	ck_assert_int_eq(run, 1);
	for (json_int_t done = 0; done < run; clock_sleep_ms(10)) {
		ck_assert_int_eq(ask(api_care_get, NULL, NULL, 0), 200);
		json_auto_t *care = answer();
		const json_t *last = json_object_get(json_object_get(care, "verify"), "last");
		done = json_integer_value(json_object_get(last, "run"));
		if (done < run)
			continue;
		ck_assert_int_eq(json_integer_value(json_object_get(last, "damaged")), 2);
		const json_t *again = json_array_get(json_object_get(last, "push_again"), 0);
		ck_assert_str_eq(json_string_value(json_object_get(again, "model")), "assistant");
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api_store");
	TCase *tc = tcase_create("api_store");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_api_store_push_is_answered_and_audited);
	tcase_add_test(tc, test_api_store_missing_is_a_bitmap);
	tcase_add_test(tc, test_api_store_scoped_token_learns_nothing_of_others);
	tcase_add_test(tc, test_api_store_scoped_token_mounts_nothing_of_others);
	tcase_add_test(tc, test_api_store_scoped_token_brings_what_is_there);
	tcase_add_test(tc, test_api_store_scoped_maps_name_own_packs);
	tcase_add_test(tc, test_api_store_scoped_token_sees_its_own_of_many);
	tcase_add_test(tc, test_api_store_quota_is_kept);
	tcase_add_test(tc, test_api_store_quota_lets_a_retry_pass);
	tcase_add_test(tc, test_api_store_refuses_what_is_no_digest);
	tcase_add_test(tc, test_api_store_upload_from_begin_to_finish);
	tcase_add_test(tc, test_api_store_chores_are_done_when_asked);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
