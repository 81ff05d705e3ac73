#include "base/map.h"
#include "tests/support/suite.h"

#include <stdint.h>
#include <string.h>

#define MANY 5000

static int freed;

static void count_free(void *value)
{
	freed++;
	free(value);
}

static void put_number(struct map *map, int i)
{
	int *value = malloc(sizeof(*value));
	ck_assert_ptr_nonnull(value);
	*value = i;
	ck_assert_int_eq(map_put(map, &i, sizeof(i), value), 0);
}

START_TEST(test_map_keeps_many_through_growth)
{
	AUTO(map_free) struct map *map = map_new(count_free);
	for (int i = 0; i < MANY; i++)
		put_number(map, i);
	ck_assert_uint_eq(map_count(map), MANY);
	for (int i = 0; i < MANY; i++) {
		const int *value = map_get(map, &i, sizeof(i));
		ck_assert_ptr_nonnull(value);
		ck_assert_int_eq(*value, i);
	}
	const int absent = MANY;
	ck_assert_ptr_null(map_get(map, &absent, sizeof(absent)));
}
END_TEST

START_TEST(test_map_finds_all_that_remain_after_removals)
{
	AUTO(map_free) struct map *map = map_new(count_free);
	freed = 0;
	for (int i = 0; i < MANY; i++)
		put_number(map, i);
	for (int i = 0; i < MANY; i += 3)
		ck_assert(map_remove(map, &i, sizeof(i)));
	ck_assert_int_eq(freed, (MANY + 2) / 3);
	for (int i = 0; i < MANY; i++) {
		const int *value = map_get(map, &i, sizeof(i));
		ck_assert_int_eq(value != NULL, i % 3 != 0);
		ck_assert(!value || *value == i);
		if (i % 3 == 0)
			ck_assert(!map_remove(map, &i, sizeof(i)));
	}
	ck_assert_uint_eq(map_count(map), MANY - (MANY + 2) / 3);
}
END_TEST

START_TEST(test_map_put_replaces_and_frees_the_old_value)
{
	struct map *map = map_new(count_free);
	char *first = strdup("first"), *second = strdup("second");
	freed = 0;
	ck_assert_int_eq(map_puts(map, "key", first), 0);
	ck_assert_int_eq(map_puts(map, "key", second), 0);
	ck_assert_int_eq(freed, 1);
	ck_assert_int_eq(map_puts(map, "key", second), 0);
	ck_assert_int_eq(freed, 1);
	ck_assert_uint_eq(map_count(map), 1);
	ck_assert_str_eq(map_gets(map, "key"), "second");
	map_free(map);
	ck_assert_int_eq(freed, 2);
	map_free(NULL);
}
END_TEST

START_TEST(test_map_compares_whole_keys)
{
	AUTO(map_free) struct map *map = map_new(NULL);
	static char a[] = "a", ab[] = "ab", abz[] = "ab\0z", none[] = "none";
	ck_assert_int_eq(map_put(map, "a", 1, a), 0);
	ck_assert_int_eq(map_put(map, "ab", 2, ab), 0);
	ck_assert_int_eq(map_put(map, "ab\0z", 4, abz), 0);
	ck_assert_int_eq(map_put(map, NULL, 0, none), 0);
	ck_assert_ptr_eq(map_get(map, "abc", 1), a);
	ck_assert_ptr_eq(map_get(map, "abc", 2), ab);
	ck_assert_ptr_eq(map_get(map, "ab\0z", 4), abz);
	ck_assert_ptr_eq(map_get(map, "", 0), none);
	ck_assert_ptr_null(map_get(map, "ab\0", 3));
}
END_TEST

START_TEST(test_map_visits_each_once)
{
	AUTO(map_free) struct map *map = map_new(count_free);
	char seen[MANY] = {0};
	size_t at = 0, len, visits = 0;
	const void *key;
	void *value;
	ck_assert(!map_next(map, &at, NULL, NULL, &value));
	for (int i = 0; i < MANY; i++)
		put_number(map, i);
	for (at = 0; map_next(map, &at, &key, &len, &value); visits++) {
		int i;
		ck_assert_uint_eq(len, sizeof(i));
		memcpy(&i, key, sizeof(i));
		ck_assert_int_eq(i, *(int *)value);
		ck_assert_int_eq(seen[i]++, 0);
	}
	ck_assert_uint_eq(visits, MANY);
}
END_TEST

START_TEST(test_map_clear_empties_and_is_usable_again)
{
	AUTO(map_free) struct map *map = map_new(count_free);
	freed = 0;
	for (int i = 0; i < 100; i++)
		put_number(map, i);
	map_clear(map);
	ck_assert_int_eq(freed, 100);
	ck_assert_uint_eq(map_count(map), 0);
	const int i = 5;
	ck_assert_ptr_null(map_get(map, &i, sizeof(i)));
	put_number(map, 5);
	ck_assert_uint_eq(map_count(map), 1);
	ck_assert_ptr_nonnull(map_get(map, &i, sizeof(i)));
}
END_TEST

START_TEST(test_map_survives_random_puts_and_removals)
{
	AUTO(map_free) struct map *map = map_new(NULL);
	static int values[64];
	char there[64] = {0};
	uint32_t random = 1;
	for (int round = 0; round < 20000; round++) {
		random = random * 1664525 + 1013904223;
		const unsigned i = random >> 26;
		if (random & 1 << 20) {
			ck_assert_int_eq(map_put(map, &i, sizeof(i), &values[i]), 0);
			there[i] = 1;
		} else {
			ck_assert_int_eq(map_remove(map, &i, sizeof(i)), there[i]);
			there[i] = 0;
		}
		for (unsigned k = round % 16; k < 64; k += 16)
			ck_assert_ptr_eq(map_get(map, &k, sizeof(k)),
					 there[k] ? &values[k] : NULL);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_map_keeps_many_through_growth,
		test_map_finds_all_that_remain_after_removals,
		test_map_put_replaces_and_frees_the_old_value,
		test_map_compares_whole_keys,
		test_map_visits_each_once,
		test_map_clear_empties_and_is_usable_again,
		test_map_survives_random_puts_and_removals,
	};
	return suite_run("map", tests, COUNT_OF(tests));
}
