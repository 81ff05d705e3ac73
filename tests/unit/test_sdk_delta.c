/* Updates by delta: cheaper than packs, verified like them, and left for them when they fail. */
#include "store/chunkmap.h"
#include "store/delta.h"
#include "tests/support/sdk_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>

#define TENSORS 24

/* A device that has one model, and another one that is a little different, with a delta. */
struct update {
	struct fixture t;
	struct buf old, new;
	const struct manifest_variant *from, *to;
	uint64_t delta; /* bytes */
};

static void ends(struct update *u)
{
	buf_done(&u->old);
	buf_done(&u->new);
	end(&u->t);
}

static void begins(struct update *u, unsigned note)
{
	begin(&u->t);
	buf_init(&u->old, 16 << 20);
	buf_init(&u->new, 16 << 20);
	fake_model(&u->old, TENSORS, 1, 0, 10);
	fake_model(&u->new, TENSORS, 1, 40, note);
	u->from = fake_variant_bytes(u->t.s, "assistant@5.0.0/f16", &u->old);
	u->to = fake_variant_bytes(u->t.s, "assistant@5.1.0/f16", &u->new);
	publish(&u->t, u->from, NULL);
	runs(&u->t, u->from);
	u->delta = fake_delta(u->t.s, u->from, u->to);
	fake_forget(u->t.s);
}
#define UPDATE_NOTE(u, note)                                                              \
	__attribute__((cleanup(ends))) struct update u;                                   \
	begins(&u, note)
#define UPDATE(u) UPDATE_NOTE(u, 10)

static void is_new(struct update *u)
{
	char path[600];
	struct err err;
	AUTO_BUF struct buf have = BUF_INIT(16 << 20);
	snprintf(path, sizeof(path), "%s/model.gguf", u->t.model.path);
	ck_assert_msg(!file_read(path, &have, &err), "%s", err.text);
	ck_assert_uint_eq(have.len, u->new.len);
	ck_assert_mem_eq(have.data, u->new.data, have.len);
}

static void updates(struct update *u)
{
	publish(&u->t, u->to, NULL);
	runs(&u->t, u->to);
	is_new(u);
}

/* ---- whole ---- */

START_TEST(test_sdk_delta_is_taken)
{
	UPDATE(u);
	const struct flotilla_stats before = stats_of(&u.t);
	updates(&u);
	ck_assert_uint_eq(fake_count(u.t.s, "/v1/packs/"), 0);
	ck_assert_uint_le(fake_sent(u.t.s, "/v1/deltas/"), u.delta);
	ck_assert_uint_lt(u.delta, u.new.len / 2);
	ck_assert_uint_ge(stats_of(&u.t).chunks_delta - before.chunks_delta, TENSORS);
}
END_TEST

START_TEST(test_sdk_delta_is_told_in_the_outcome)
{
	UPDATE(u);
	settles(&u.t);
	publish(&u.t, u.from, u.to);
	runs(&u.t, u.to);
	loads(&u.t);
	ck_assert_int_eq(flotilla_flush(u.t.device), FLOTILLA_OK);
	bool told = false;
	for (unsigned i = 0; i < u.t.s->post_count; i++)
		told |= strstr(u.t.s->posts[i], "\"via\":\"delta\"") != NULL;
	ck_assert(told);
}
END_TEST

START_TEST(test_sdk_delta_in_slices)
{
	UPDATE(u);
	unsigned calls = 0;
	u.t.options.slice_bytes = FAKE_PIECE;
	reopens(&u.t);
	publish(&u.t, u.to, NULL);
	while (flotilla_want(u.t.device, FAKE_MODEL, &u.t.model) == FLOTILLA_AGAIN)
		calls++;
	ck_assert_uint_ge(calls, 2);
	is_new(&u);
	ck_assert_uint_le(fake_sent(u.t.s, "/v1/deltas/"), u.delta);
}
END_TEST

/* Of a file that is here twice in part, only what neither has is fetched. */
START_TEST(test_sdk_delta_is_not_taken_when_packs_are_cheaper)
{
	FIXTURE(t);
	const struct manifest_variant *v = fake_variant(t.s, "assistant@3.0.0/q8_0", "klmno");
	fake_delta(t.s, t.old, v);
	publish(&t, v, NULL);
	runs(&t, v);
	ck_assert_uint_eq(fake_count(t.s, "/v1/deltas/"), 0);
	holds(&t, "model.gguf", "klmno");
}
END_TEST

START_TEST(test_sdk_delta_of_a_file_that_is_not_here)
{
	UPDATE(u);
	publish(&u.t, u.t.old, NULL);
	runs(&u.t, u.t.old);
	fake_forget(u.t.s);
	updates(&u);
	ck_assert_uint_eq(fake_count(u.t.s, "/v1/deltas/"), 0);
}
END_TEST

/* ---- in place ---- */

static void has_no_room(struct update *u)
{
	u->t.options.in_place = 1;
	u->t.options.disk_free_mib = 64; /* what an install leaves free */
	reopens(&u->t);
}

/* The notes move all tensors: back, not at all, forth, by more than a chunk. */
START_TEST(test_sdk_delta_in_place)
{
	static const unsigned notes[] = {0, 10, 200, 3900};
	for (unsigned i = 0; i < COUNT_OF(notes); i++) {
		UPDATE_NOTE(u, notes[i]);
		has_no_room(&u);
		updates(&u);
		ck_assert_uint_eq(fake_count(u.t.s, "/v1/packs/"), 0);
		ck_assert(!exists(&u.t, "5.0.0") && !exists(&u.t, "5.1.0/f16/model.gguf.base"));
	}
}
END_TEST

START_TEST(test_sdk_delta_in_place_only_when_asked)
{
	UPDATE(u);
	u.t.options.disk_free_mib = 64;
	reopens(&u.t);
	publish(&u.t, u.to, NULL);
	shows(&u.t, FLOTILLA_E_DISK, u.from);
	u.t.options.in_place = 1;
	reopens(&u.t);
	publish(&u.t, u.t.new, NULL); /* no delta leads there */
	shows(&u.t, FLOTILLA_E_DISK, u.from);
	settles(&u.t);
	publish(&u.t, u.from, u.to); /* a candidate needs the way back */
	shows(&u.t, FLOTILLA_E_DISK, u.from);
}
END_TEST

START_TEST(test_sdk_delta_in_place_goes_on)
{
	for (int64_t cut = 1; cut < 60000; cut += 9973) {
		UPDATE_NOTE(u, 200);
		has_no_room(&u);
		publish(&u.t, u.to, NULL);
		fake_break(u.t.s, (struct fake_fault){.match = "/v1/deltas/", .skip = 1, .cut = cut});
		if (wants(&u.t) == FLOTILLA_E_NETWORK)
			ck_assert_ptr_null(u.t.model.path); /* neither */
		dies(&u.t);
		fake_mend(u.t.s);
		runs(&u.t, u.to);
		is_new(&u);
		ck_assert_uint_le(fake_sent(u.t.s, "/v1/packs/"), FAKE_PIECE + 1024);
	}
}
END_TEST

/* ---- broken off ---- */

START_TEST(test_sdk_delta_resumes)
{
	for (int64_t cut = 1; cut < 60000; cut += 7919) {
		UPDATE(u);
		publish(&u.t, u.to, NULL);
		fake_break(u.t.s, (struct fake_fault){.match = "/v1/deltas/", .skip = 1, .times = 1,
						      .cut = cut});
		const int code = wants(&u.t);
		ck_assert(code == FLOTILLA_OK || code == FLOTILLA_E_NETWORK);
		if (cut % 2)
			dies(&u.t);
		runs(&u.t, u.to);
		is_new(&u);
		const uint64_t head = DELTA_HEAD + (TENSORS + 1) * DELTA_ENTRY;
		ck_assert_uint_le(fake_sent(u.t.s, "/v1/deltas/"), u.delta + head + FAKE_PIECE + 1024);
		ck_assert_uint_eq(fake_count(u.t.s, "/v1/packs/"), 0);
	}
}
END_TEST

START_TEST(test_sdk_delta_waits_for_the_network)
{
	UPDATE(u);
	publish(&u.t, u.to, NULL);
	fake_break(u.t.s, (struct fake_fault){.match = "/v1/deltas/", .silent = true});
	shows(&u.t, FLOTILLA_E_NETWORK, u.from);
	ck_assert_uint_eq(fake_count(u.t.s, "/v1/packs/"), 0);
	fake_mend(u.t.s);
	runs(&u.t, u.to);
	is_new(&u);
}
END_TEST

/* ---- left for packs, and those for the raw file ---- */

START_TEST(test_sdk_delta_gone)
{
	static const struct fake_fault faults[] = {
		{.match = "/v1/deltas/", .status = 404},
		{.match = "/v1/deltas/", .status = 500},
		{.match = "/v1/deltas/", .skip = 1, .status = 404},
		{.match = "/v1/deltas/", .bytes = "FLDL", .len = 4},
		{.match = "/v1/deltas/", .flip = true, .flip_at = 4},  /* version */
		{.match = "/v1/deltas/", .flip = true, .flip_at = 44}, /* length of the old file */
		{.match = "/v1/deltas/", .flip = true, .flip_at = 60}, /* stored bytes of a chunk */
	};
	for (unsigned i = 0; i < COUNT_OF(faults); i++) {
		UPDATE(u);
		fake_break(u.t.s, faults[i]);
		updates(&u);
		ck_assert_uint_ge(fake_count(u.t.s, "/v1/packs/"), 1);
	}
}
END_TEST

/* Only the chunk that is wrong comes from a pack. */
START_TEST(test_sdk_delta_one_chunk_wrong)
{
	UPDATE(u);
	fake_break(u.t.s, (struct fake_fault){.match = "/v1/deltas/", .skip = 1, .flip = true,
					      .flip_at = (int64_t)u.delta / 2});
	updates(&u);
	ck_assert_uint_le(fake_count(u.t.s, "/v1/packs/"), 1);
	ck_assert_uint_le(fake_sent(u.t.s, "/v1/packs/"), FAKE_PIECE + 1024);
}
END_TEST

START_TEST(test_sdk_delta_old_file_damaged)
{
	UPDATE(u);
	char path[600];
	struct err err;
	snprintf(path, sizeof(path), "%s/%s", u.t.model.path, u.t.model.file);
	AUTO_FD int fd = open(path, O_WRONLY);
	ck_assert(!file_pwrite_all(fd, "damage", 6, (int64_t)u.old.len / 2, &err));
	updates(&u);
	ck_assert_uint_eq(fake_count(u.t.s, "/v1/packs/"), 1);
}
END_TEST

static void map_without(struct update *u, uint8_t codec)
{
	struct err err;
	const struct fake_doc *doc = fake_get_named(u->t.s, "maps", &u->to->files[0].recipe);
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO_BUF struct buf bytes = BUF_INIT(CHUNKMAP_BYTES_MAX);
	ck_assert(!chunkmap_parse(&map, doc->bytes, doc->len, &err));
	map->delta_count = 0;
	for (uint32_t i = 0; i < map->count; i++)
		map->chunks[i].codec = codec;
	ck_assert_msg(!chunkmap_encode(map, &bytes, &err), "%s", err.text);
	fake_put_named(u->t.s, "maps", &u->to->files[0].recipe, &bytes);
}

/* A server of a later version: its codecs are not known here, the file as it is comes to the same. */
START_TEST(test_sdk_delta_nor_packs)
{
	UPDATE(u);
	map_without(&u, 99);
	publish(&u.t, u.to, NULL);
	shows(&u.t, FLOTILLA_E_CONTENT, u.from);
	ck_assert_ptr_nonnull(strstr(flotilla_error(u.t.device), "codec"));
	fake_raw(u.t.s, u.to);
	runs(&u.t, u.to);
	is_new(&u);
	ck_assert_uint_le(fake_sent(u.t.s, "/v1/blobs/"), u.new.len);
}
END_TEST

START_TEST(test_sdk_delta_raw_file_swollen)
{
	UPDATE(u);
	map_without(&u, 99);
	fake_raw(u.t.s, u.to);
	fake_break(u.t.s, (struct fake_fault){.match = "/v1/blobs/", .extra = 1 << 30});
	updates(&u);
	ck_assert_uint_le(fake_sent(u.t.s, "/v1/blobs/"), u.new.len);
}
END_TEST

/* Every bit of the table and what is behind it: the right file, whatever comes. */
START_TEST(test_sdk_delta_survives_any)
{
	const size_t head = DELTA_HEAD + (TENSORS + 1) * DELTA_ENTRY;
	UPDATE(u);
	for (size_t at = 0; at < head + 4000; at += at < head ? 8 : 97) {
		fake_break(u.t.s, (struct fake_fault){.match = "/v1/deltas/", .flip = true,
						      .flip_at = (int64_t)at});
		updates(&u);
		fake_mend(u.t.s);
		publish(&u.t, u.from, NULL);
		runs(&u.t, u.from);
		fake_forget(u.t.s);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_delta_is_taken,
		test_sdk_delta_is_told_in_the_outcome,
		test_sdk_delta_in_slices,
		test_sdk_delta_is_not_taken_when_packs_are_cheaper,
		test_sdk_delta_of_a_file_that_is_not_here,
		test_sdk_delta_in_place,
		test_sdk_delta_in_place_only_when_asked,
		test_sdk_delta_in_place_goes_on,
		test_sdk_delta_resumes,
		test_sdk_delta_waits_for_the_network,
		test_sdk_delta_gone,
		test_sdk_delta_one_chunk_wrong,
		test_sdk_delta_old_file_damaged,
		test_sdk_delta_nor_packs,
		test_sdk_delta_raw_file_swollen,
		test_sdk_delta_survives_any,
	};
	return suite_run("sdk_delta", tests, COUNT_OF(tests));
}
