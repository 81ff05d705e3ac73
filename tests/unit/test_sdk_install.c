/* Having what should run: downloads whole, broken off, lying and too large. */
#include "store/chunkmap.h"
#include "tests/support/sdk_fixture.h"

#include <fcntl.h>

#define NEW_FRESH 2 /* chunks of NEW_PIECES that OLD_PIECES has not */

/* ---- whole ---- */

START_TEST(test_sdk_install_whole)
{
	FIXTURE(t);
	holds(&t, "model.gguf", OLD_PIECES);
	ck_assert_str_eq(t.model.file, "model.gguf");
	ck_assert_int_eq(t.model.candidate, 0);
	ck_assert(!exists(&t, "1.0.0/q8_0/model.gguf.part"));
	ck_assert_uint_eq(stats_of(&t).full_downloads, 1);
	ck_assert_uint_eq(stats_of(&t).chunks, 10);
	runs(&t, t.old); /* again: nothing to do */
	ck_assert_uint_eq(t.s->hit_count, 0);
}
END_TEST

START_TEST(test_sdk_install_in_slices)
{
	FIXTURE(t);
	t.options.slice_bytes = FAKE_PIECE;
	reopens(&t);
	const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
	unsigned calls = 0;
	int code;
	while ((code = flotilla_want(t.device, FAKE_MODEL, &t.model)) == FLOTILLA_AGAIN) {
		ck_assert_str_eq(t.model.variant, t.old->ref.text); /* meanwhile */
		calls++;
	}
	ck_assert_int_eq(code, FLOTILLA_OK);
	ck_assert_uint_ge(calls, 9);
	ck_assert_str_eq(t.model.variant, v->ref.text);
	holds(&t, "model.gguf", "klmnopqrst");
	ck_assert_uint_eq(fake_sent(t.s, "/v1/packs/"), v->files[0].stored_cap);
}
END_TEST

START_TEST(test_sdk_install_several_files)
{
	FIXTURE(t);
	const struct manifest_variant *v = fake_variant(t.s, "assistant@3.0.0/f16", "abk");
	fake_variant_file(t.s, "tokenizer.json", "Cl");
	fake_variant_file(t.s, "vision.gguf", "mnopq");
	publish(&t, v, NULL);
	runs(&t, v);
	holds(&t, "model.gguf", "abk");
	holds(&t, "tokenizer.json", "Cl");
	holds(&t, "vision.gguf", "mnopq");
	fake_forget(t.s);
	const struct manifest_variant *next = fake_variant(t.s, "assistant@3.0.1/f16", "abr");
	fake_variant_file(t.s, "vision.gguf", "mnopq"); /* all of it is here already */
	publish(&t, next, NULL);
	runs(&t, next);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 1);
	holds(&t, "vision.gguf", "mnopq");
}
END_TEST

/* A chunk that comes often is fetched once, as the signed cap counts it. */
START_TEST(test_sdk_install_repeated_chunks)
{
	FIXTURE(t);
	char pieces[301] = "";
	for (unsigned i = 0; i < 300; i++)
		pieces[i] = "kl"[i % 2];
	const struct manifest_variant *v = publish_foreign(&t, pieces);
	runs(&t, v);
	holds(&t, "model.gguf", pieces);
	ck_assert_uint_eq(fake_sent(t.s, "/v1/packs/"), 2 * FAKE_PIECE);
}
END_TEST

START_TEST(test_sdk_install_copies_unchanged_chunks)
{
	FIXTURE(t);
	publish(&t, t.new, NULL);
	runs(&t, t.new);
	holds(&t, "model.gguf", NEW_PIECES);
	ck_assert_uint_eq(fake_sent(t.s, "/v1/packs/"), NEW_FRESH * FAKE_PIECE);
	ck_assert_uint_eq(stats_of(&t).chunks_reused, 10 - NEW_FRESH);
	ck_assert(!exists(&t, "1.0.0")); /* the old one is gone, and its directory */
}
END_TEST

START_TEST(test_sdk_install_does_not_trust_what_lies_here)
{
	FIXTURE(t);
	char path[600];
	struct err err;
	snprintf(path, sizeof(path), "%s/%s", t.model.path, t.model.file);
	AUTO_FD int fd = open(path, O_WRONLY);
	ck_assert(!file_pwrite_all(fd, "bad", 3, 3 * FAKE_PIECE + 100, &err));
	publish(&t, t.new, NULL);
	runs(&t, t.new);
	holds(&t, "model.gguf", NEW_PIECES);
	ck_assert_uint_eq(fake_sent(t.s, "/v1/packs/"), (NEW_FRESH + 1) * FAKE_PIECE);
}
END_TEST

START_TEST(test_sdk_install_nothing_is_offered)
{
	FIXTURE(t);
	struct flotilla_model model;
	ck_assert_int_eq(flotilla_want(t.device, "translator", &model), FLOTILLA_NOTHING);
	ck_assert_ptr_null(model.path);
	ck_assert_int_eq(flotilla_want(t.device, "No Name", &model), FLOTILLA_E_ARGUMENT);
}
END_TEST

/* Systems move apps' storage when they update them. */
START_TEST(test_sdk_install_storage_moves)
{
	FIXTURE(t);
	char before[200];
	flotilla_close(t.device);
	memcpy(before, t.dir.dir, sizeof(before));
	strcat(t.dir.dir, "-moved");
	ck_assert_int_eq(rename(before, t.dir.dir), 0);
	opens(&t);
	fake_break(t.s, (struct fake_fault){.match = "/", .silent = true});
	runs(&t, t.old);
	holds(&t, "model.gguf", OLD_PIECES);
}
END_TEST

/* ... and empty their caches. */
START_TEST(test_sdk_install_files_vanish)
{
	FIXTURE(t);
	char path[600];
	snprintf(path, sizeof(path), "%s/%s", t.model.path, t.model.file);
	ck_assert_int_eq(unlink(path), 0);
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .silent = true});
	shows(&t, FLOTILLA_E_NETWORK, NULL);
	fake_mend(t.s);
	runs(&t, t.old);
	holds(&t, "model.gguf", OLD_PIECES);
}
END_TEST

/* ---- broken off ---- */

START_TEST(test_sdk_install_resumes_after_a_cut)
{
	for (int64_t cut = 1; cut < 6 * FAKE_PIECE; cut += 12345) {
		FIXTURE(t);
		const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
		fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .times = 1, .cut = cut});
		const int code = wants(&t);
		ck_assert_int_eq(code, cut < FAKE_PIECE ? FLOTILLA_E_NETWORK : FLOTILLA_OK);
		if (cut % 2)
			dies(&t);
		runs(&t, v);
		holds(&t, "model.gguf", "klmnopqrst");
		ck_assert_uint_le(fake_sent(t.s, "/v1/packs/"),
				  v->files[0].stored_cap + FAKE_PIECE);
	}
}
END_TEST

START_TEST(test_sdk_install_goes_on_though_every_request_is_cut)
{
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .cut = 2 * FAKE_PIECE - 1});
	for (unsigned i = 0; i < 10 && wants(&t) != FLOTILLA_OK; i++)
		ck_assert_int_eq(wants(&t), FLOTILLA_E_NETWORK);
	fake_mend(t.s);
	runs(&t, v);
	holds(&t, "model.gguf", "klmnopqrst");
}
END_TEST

START_TEST(test_sdk_install_offline_keeps_the_old)
{
	static const char *const kinds[] = {"/v1/recipes/", "/v1/maps/", "/v1/packs/"};
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "klmno");
	for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
		fake_break(t.s, (struct fake_fault){.match = kinds[i], .silent = true});
		shows(&t, FLOTILLA_E_NETWORK, t.old);
		fake_break(t.s, (struct fake_fault){.match = kinds[i], .status = 404});
		shows(&t, FLOTILLA_E_NETWORK, t.old);
		fake_break(t.s, (struct fake_fault){.match = kinds[i], .cut = 10});
		shows(&t, FLOTILLA_E_NETWORK, t.old);
	}
	holds(&t, "model.gguf", OLD_PIECES);
	fake_mend(t.s);
	runs(&t, v);
}
END_TEST

/* A proxy that knows no Range. */
START_TEST(test_sdk_install_takes_whole_packs)
{
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .whole = true});
	runs(&t, v);
	holds(&t, "model.gguf", "klmnopqrst");
}
END_TEST

/* ---- lies ---- */

START_TEST(test_sdk_install_refuses_wrong_chunk)
{
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .flip = true,
					    .flip_at = 3 * FAKE_PIECE});
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	dies(&t);
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	fake_mend(t.s);
	fake_forget(t.s);
	runs(&t, v);
	holds(&t, "model.gguf", "klmnopqrst");
	/* The two chunks before the wrong one were kept. */
	ck_assert_uint_eq(fake_sent(t.s, "/v1/packs/"), 8 * FAKE_PIECE);
}
END_TEST

static char *path_of(const char *kind, const struct digest *name)
{
	static char path[128];
	char hex[DIGEST_HEX];
	digest_hex(name, hex);
	snprintf(path, sizeof(path), "/v1/%s/%s", kind, hex);
	return path;
}

START_TEST(test_sdk_install_refuses_wrong_recipe)
{
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "klmno");
	fake_break(t.s, (struct fake_fault){.match = "/v1/recipes/", .flip = true, .flip_at = 60});
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	const struct fake_doc *other =
		fake_get(t.s, path_of("recipes", &t.new->files[0].recipe));
	fake_break(t.s, (struct fake_fault){.match = "/v1/recipes/", .bytes = other->bytes,
					    .len = other->len});
	shows(&t, FLOTILLA_E_CONTENT, t.old);
	fake_mend(t.s);
	runs(&t, v);
}
END_TEST

/* Signed, but of another file: who made the manifest erred. */
START_TEST(test_sdk_install_refuses_recipe_of_another_file)
{
	FIXTURE(t);
	const struct manifest_variant *v = fake_variant(t.s, "assistant@3.0.0/q8_0", "klmno");
	v->files[0].recipe = t.new->files[0].recipe;
	publish(&t, v, NULL);
	shows(&t, FLOTILLA_E_CONTENT, t.old);
}
END_TEST

/* A map with one place changed by tell(), under the name of v's recipe. */
static void lies(struct fixture *t, const struct manifest_variant *v,
		 void (*tell)(struct chunkmap *map))
{
	struct err err;
	struct chunkmap *map;
	AUTO_BUF struct buf bytes = BUF_INIT(CHUNKMAP_BYTES_MAX);
	const char *path = path_of("maps", &v->files[0].recipe);
	const struct fake_doc *doc = fake_get(t->s, path);
	ck_assert(!chunkmap_parse(&map, doc->bytes, doc->len, &err));
	tell(map);
	ck_assert_msg(!chunkmap_encode(map, &bytes, &err), "%s", err.text);
	fake_put(t->s, path, bytes.data, bytes.len);
	chunkmap_free(map);
}

static void tell_next_place(struct chunkmap *map)
{
	map->chunks[0] = map->chunks[1];
}

static void tell_unknown_codec(struct chunkmap *map)
{
	map->chunks[2].codec = 77;
}

static void tell_wrong_codec(struct chunkmap *map)
{
	map->chunks[0].codec ^= 1;
}

static void tell_shorter(struct chunkmap *map)
{
	map->chunks[0].stored--;
}

static void tell_larger(struct chunkmap *map)
{
	map->packs[1].bytes += 100000; /* and the last chunk lies in what is not there */
	map->chunks[map->count - 1].at += 90000;
}

static void tell_other_pack(struct chunkmap *map)
{
	map->packs[1].digest = map->packs[0].digest;
	map->packs[0].digest.bytes[0] ^= 1; /* one that there is not */
}

START_TEST(test_sdk_install_refuses_lying_map)
{
	static const struct {
		void (*tell)(struct chunkmap *map);
		int code;
	} cases[] = {
		{tell_next_place, FLOTILLA_E_CONTENT},	{tell_unknown_codec, FLOTILLA_E_CONTENT},
		{tell_wrong_codec, FLOTILLA_E_CONTENT}, {tell_shorter, FLOTILLA_E_CONTENT},
		{tell_larger, FLOTILLA_E_NETWORK},	{tell_other_pack, FLOTILLA_E_NETWORK},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		FIXTURE(t);
		const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
		const char *path = path_of("maps", &v->files[0].recipe);
		const struct fake_doc *doc = fake_get(t.s, path);
		AUTO_BUF struct buf honest = BUF_INIT(CHUNKMAP_BYTES_MAX);
		buf_add(&honest, doc->bytes, doc->len);
		lies(&t, v, cases[i].tell);
		shows(&t, cases[i].code, t.old);
		fake_put(t.s, path_of("maps", &v->files[0].recipe), honest.data, honest.len);
		runs(&t, v);
		holds(&t, "model.gguf", "klmnopqrst");
	}
}
END_TEST

/* Every byte of a map, wrong: an error or the right bytes, never another file. */
START_TEST(test_sdk_install_survives_any_map)
{
	FIXTURE(t);
	const struct manifest_variant *v = publish_foreign(&t, "kl");
	const size_t len = fake_get(t.s, path_of("maps", &v->files[0].recipe))->len;
	for (size_t at = 0; at < len; at++) {
		fake_break(t.s, (struct fake_fault){.match = "/v1/maps/", .flip = true,
						    .flip_at = (int64_t)at});
		const int code = wants(&t);
		if (code == FLOTILLA_OK) {
			holds(&t, "model.gguf", "kl");
			fake_mend(t.s);
			publish(&t, t.old, NULL);
			runs(&t, t.old);
			publish(&t, v, NULL);
			continue;
		}
		ck_assert_msg(code == FLOTILLA_E_CONTENT || code == FLOTILLA_E_NETWORK,
			      "byte %zu: %d: %s", at, code, flotilla_error(t.device));
		ck_assert_str_eq(t.model.variant, t.old->ref.text);
		fake_forget(t.s);
	}
}
END_TEST

/* The map calls for more than the manifest allowed. */
START_TEST(test_sdk_install_stops_at_the_signed_cap)
{
	FIXTURE(t);
	const struct manifest_variant *v = fake_variant(t.s, "assistant@3.0.0/q8_0", "klmno");
	const int64_t before = v->files[0].stored_cap;
	publish(&t, v, NULL);
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .extra = 64 << 20});
	runs(&t, v); /* what is beyond is not read */
	holds(&t, "model.gguf", "klmno");
	ck_assert_uint_le(fake_sent(t.s, "/v1/packs/"), before + FAKE_PIECE);
}
END_TEST

START_TEST(test_sdk_install_limits_recipe_and_map)
{
	FIXTURE(t);
	publish_foreign(&t, "klmno");
	fake_break(t.s, (struct fake_fault){.match = "/v1/recipes/", .extra = 80 << 20});
	shows(&t, FLOTILLA_E_TOO_MUCH, t.old);
	fake_break(t.s, (struct fake_fault){.match = "/v1/maps/", .extra = 80 << 20});
	shows(&t, FLOTILLA_E_TOO_MUCH, t.old);
}
END_TEST

/* ---- simulated fleets ---- */

START_TEST(test_sdk_install_shares_a_cache)
{
	FIXTURE(t);
	SCRATCH(cache);
	const struct manifest_variant *v = publish_foreign(&t, "klmnopqrst");
	uint64_t first = 0;
	for (unsigned i = 0; i < 3; i++) {
		SCRATCH(dir);
		struct flotilla *device;
		struct flotilla_model model;
		struct flotilla_options o = t.options;
		o.state_dir = dir.dir;
		o.shared_cache_dir = cache.dir;
		fake_forget(t.s);
		ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
		ck_assert_int_eq(flotilla_poll(device), FLOTILLA_OK);
		ck_assert_int_eq(flotilla_want(device, FAKE_MODEL, &model), FLOTILLA_OK);
		ck_assert_str_eq(model.variant, v->ref.text);
		const uint64_t sent = fake_sent(t.s, "/v1/packs/");
		if (!i)
			ck_assert_uint_eq(first = sent, v->files[0].stored_cap);
		else
			ck_assert_uint_eq(sent, FAKE_PIECE); /* a probe */
		flotilla_close(device);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_install_whole,
		test_sdk_install_in_slices,
		test_sdk_install_several_files,
		test_sdk_install_repeated_chunks,
		test_sdk_install_copies_unchanged_chunks,
		test_sdk_install_does_not_trust_what_lies_here,
		test_sdk_install_nothing_is_offered,
		test_sdk_install_storage_moves,
		test_sdk_install_files_vanish,
		test_sdk_install_resumes_after_a_cut,
		test_sdk_install_goes_on_though_every_request_is_cut,
		test_sdk_install_offline_keeps_the_old,
		test_sdk_install_takes_whole_packs,
		test_sdk_install_refuses_wrong_chunk,
		test_sdk_install_refuses_wrong_recipe,
		test_sdk_install_refuses_recipe_of_another_file,
		test_sdk_install_refuses_lying_map,
		test_sdk_install_survives_any_map,
		test_sdk_install_stops_at_the_signed_cap,
		test_sdk_install_limits_recipe_and_map,
		test_sdk_install_shares_a_cache,
	};
	return suite_run("sdk_install", tests, COUNT_OF(tests));
}
