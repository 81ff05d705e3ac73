#include "base/arena.h"
#include "tests/support/suite.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

START_TEST(test_arena_gives_zeroed_aligned_separate_memory)
{
	AUTO(arena_free) struct arena *arena = arena_new(1 << 20);
	unsigned char *pieces[300];
	for (size_t i = 0; i < COUNT_OF(pieces); i++) {
		const size_t size = 1 + i * 5;
		pieces[i] = arena_alloc(arena, size);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
		for (size_t k = 0; k < size; k++)
			ck_assert_uint_eq(pieces[i][k], 0);
		memset(pieces[i], (int)(i & 255), size);
	}
	for (size_t i = 0; i < COUNT_OF(pieces); i++)
		for (size_t k = 0; k < 1 + i * 5; k++)
			ck_assert_uint_eq(pieces[i][k], i & 255);
}
END_TEST

START_TEST(test_arena_refuses_beyond_max)
{
	AUTO(arena_free) struct arena *arena = arena_new(100);
	ck_assert_ptr_null(arena_alloc(arena, 101));
	ck_assert_ptr_nonnull(arena_alloc(arena, 100));
	ck_assert_ptr_null(arena_alloc(arena, 1));
}
END_TEST

START_TEST(test_arena_counts_small_pieces_by_the_room_they_take)
{
	AUTO(arena_free) struct arena *arena = arena_new(1600);
	int given = 0;
	while (arena_alloc(arena, 1))
		given++;
	ck_assert_int_eq(given, 100);
}
END_TEST

START_TEST(test_arena_refuses_sizes_that_overflow)
{
	AUTO(arena_free) struct arena *arena = arena_new(SIZE_MAX);
	ck_assert_ptr_null(arena_alloc(arena, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(arena, SIZE_MAX - 40));
	ck_assert_ptr_null(arena_array(arena, SIZE_MAX / 2, 3));
	ck_assert_ptr_nonnull(arena_array(arena, 10, 3));
}
END_TEST

START_TEST(test_arena_copies_text)
{
	AUTO(arena_free) struct arena *arena = arena_new(10000);
	const char text[] = {'a', 'b', 'c', 'd'};
	char *copy = arena_dup(arena, text, sizeof(text));
	ck_assert_str_eq(copy, "abcd");
	ck_assert_str_eq(arena_strdup(arena, "whole"), "whole");
	ck_assert_str_eq(arena_dup(arena, NULL, 0), "");
	ck_assert_str_eq(arena_printf(arena, "%s-%03d", "x", 7), "x-007");
	ck_assert_uint_eq(strlen(arena_printf(arena, "%5000d", 1)), 5000);
	ck_assert_str_eq(copy, "abcd");
	ck_assert_ptr_null(arena_printf(arena, "%5000d", 1));
	ck_assert_ptr_null(arena_dup(arena, text, SIZE_MAX));
}
END_TEST

START_TEST(test_arena_of_nothing_gives_nothing)
{
	AUTO(arena_free) struct arena *arena = arena_new(0);
	ck_assert_ptr_null(arena_alloc(arena, 1));
	ck_assert_ptr_null(arena_strdup(arena, ""));
	arena_free(NULL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_arena_gives_zeroed_aligned_separate_memory,
		test_arena_refuses_beyond_max,
		test_arena_counts_small_pieces_by_the_room_they_take,
		test_arena_refuses_sizes_that_overflow,
		test_arena_copies_text,
		test_arena_of_nothing_gives_nothing,
	};
	return suite_run("arena", tests, COUNT_OF(tests));
}
