#include "manifest/journal.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "tests/support/shop.h"

#include <jansson.h>

enum { ADD_FILE, SQL_COUNT };
static const char *const statements[] = {
	[ADD_FILE] = "INSERT INTO files (model, release, tier, name, length, sha256, recipe, stored)"
		     " VALUES ($model, '1', 'q8_0', 'w', 1, $recipe, $recipe, 1)",
};
static const struct sql_set test_sql = {"test", statements, SQL_COUNT};
static const struct sql_set *const sets[] = {&inventory_sql, &upload_sql, &journal_sql, &test_sql};

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

/* A token for some models is told of its models' chunks and files only. */
START_TEST(test_api_store_scoped_token_learns_nothing_of_others)
{
	char mine[] = "mine", hex[DIGEST_HEX];

	push();
	digest_hex(&goods.sha256, hex);
	rq.who.models = "\nmine\nours\n";
	ck_assert_int_eq(ask(api_store_missing, NULL, goods.chunks, 5 * DIGEST_LEN), 200);
	ck_assert_uint_eq((uint8_t)reply.bytes[0], 0x1f);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
	SHOP_OK(ledger_run(shop.ledger, add_file, mine, &err));
	ck_assert_int_eq(ask(api_store_missing, NULL, goods.chunks, 5 * DIGEST_LEN), 200);
	ck_assert_uint_eq((uint8_t)reply.bytes[0], 0x00);
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), 200);
	rq.who.models = "\nmin\n";
	ck_assert_int_eq(ask(api_store_file, hex, NULL, 0), -1);
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

int main(void)
{
	Suite *suite = suite_create("api_store");
	TCase *tc = tcase_create("api_store");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_api_store_push_is_answered_and_audited);
	tcase_add_test(tc, test_api_store_missing_is_a_bitmap);
	tcase_add_test(tc, test_api_store_scoped_token_learns_nothing_of_others);
	tcase_add_test(tc, test_api_store_refuses_what_is_no_digest);
	tcase_add_test(tc, test_api_store_upload_from_begin_to_finish);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
