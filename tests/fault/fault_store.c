/* Every allocation fails once of what looks into a model file, and of what serves a token for some
 * models: an error is reported, nothing leaks (the asan variant counts), the next try succeeds. */
#include "base/file.h"
#include "store/estimate.h"
#include "store/inspect.h"
#include "store/scope.h"
#include "store/taken.h"
#include "tests/support/fault.h"
#include "tests/support/shop.h"
#include "tests/support/suite.h"

typedef int body_fn(void *arg, struct err *err);

/* How many allocations there were, each of which failed once. */
static int fail_each(body_fn *body, void *arg)
{
	for (int nth = 1;; nth++) {
		struct err err = {0};
		ck_assert_int_lt(nth, 10000);
		fault_arm(FAULT_MEMORY, nth);
		const int rc = body(arg, &err);
		if (!fault_fired()) {
			ck_assert_msg(rc == 0, "without a fault: %s", err.text);
			return nth - 1;
		}
		ck_assert_msg(rc == -1, "allocation %d was not noticed", nth);
		ck_assert_msg(err.status == ERR_SYSTEM, "%d: %s", nth, err.text);
	}
}

/* ---- Looking into a file. ---- */

static void model_make(struct buf *buf)
{
	gguf_begin(buf, 3, 2, 2);
	gguf_pair_text(buf, "general.architecture", "llama");
	gguf_pair_words(buf, "tokenizer.ggml.tokens", 20);
	gguf_tensor(buf, "a", 320, 8, 0);
	gguf_tensor(buf, "b", 16, 0, 352);
	model_pad(buf, 32);
	model_data(buf, 416, "data");
}

static int inspect_body(void *arg, struct err *err)
{
	AUTO(inspect_free) struct inspect *in = NULL;

	if (inspect_source(&in, arg, err) < 0)
		return -1;
	/* Without memory for its segments a file is opaque: format.h. */
	return in->format == FORMAT_OPAQUE ? err_nomem(err) : 0;
}

static int estimate_body(void *arg, struct err *err)
{
	struct estimate estimate;

	if (estimate_source(arg, &estimate, err) < 0)
		return -1;
	return estimate.chunks != 3 ? err_nomem(err) : 0; /* likewise */
}

START_TEST(test_fault_inspect_reports_want_of_memory)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	struct memory memory;

	model_make(&buf);
	struct source source = source_memory(&memory, buf.data, buf.len);
	ck_assert_int_gt(fail_each(inspect_body, &source), 8);
	ck_assert_int_gt(fail_each(estimate_body, &source), 6);
}
END_TEST

/* ---- A token for some models. ---- */

static struct shop shop;
static struct goods goods;
static const struct scope scope = {"\nmine\n", "t2"};

static int brought(struct db *db, void *arg, const struct recipe_info *made, struct err *err)
{
	(void)arg;
	return made ? taken_add(db, "t2", TAKEN_RECIPE, &made->recipe, 0, SHOP_NOW, err)
		    : taken_add(db, "t2", TAKEN_PACK, &goods.pack_name, (int64_t)goods.pack.len,
				SHOP_NOW, err);
}

static int places_body(void *arg, struct err *err)
{
	AUTO(map_free) struct map *places = NULL;

	if (scope_places(shop.blobs, shop.db, &scope, goods.chunks, goods.count, &places, err) < 0)
		return -1;
	*(size_t *)arg = map_count(places);
	return 0;
}

static int recipe_body(void *arg, struct err *err)
{
	const struct also also = {.fn = brought, .blind = true};
	AUTO(map_free) struct map *places = NULL;

	if (scope_places(shop.blobs, shop.db, &scope, goods.chunks, goods.count, &places, err) < 0)
		return -1;
	return ingest_recipe(shop.blobs, shop.db, goods.recipe.data, goods.recipe.len, places,
			     SHOP_NOW, &also, arg, err);
}

static int knows_body(void *arg, struct err *err)
{
	return scope_knows(shop.db, &scope, &goods.recipe_name, arg, err);
}

START_TEST(test_fault_scope_reports_want_of_memory)
{
	const struct also also = {.fn = brought, .blind = true};
	struct ingest_result result;
	struct recipe_info info;
	struct err err;
	size_t count = 0;
	bool known = false;

	shop_dir(&shop);
	shop_start(&shop);
	goods_make(&goods, 5, 3000, "scope");
	AUTO_FD int fd = shop_spool(&shop, goods.pack.data, goods.pack.len);
	SHOP_OK(ingest_pack(shop.blobs, shop.db, &goods.pack_name, fd, goods.pack.len, SHOP_NOW,
			    &also, &result, &err));
	ck_assert_int_gt(fail_each(places_body, &count), 10);
	ck_assert_uint_eq(count, goods.count);
	ck_assert_int_gt(fail_each(recipe_body, &info), 20);
	shop_expect(&shop, &info.recipe, &goods.raw);
	ck_assert_int_eq(fail_each(knows_body, &known), 0); /* the row of the token says it */
	ck_assert(known);
	shop_sound(&shop);
	goods_done(&goods);
	shop_stop(&shop);
	shop_remove(&shop);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_fault_inspect_reports_want_of_memory,
		test_fault_scope_reports_want_of_memory,
	};
	return suite_run("fault_store", tests, COUNT_OF(tests));
}
