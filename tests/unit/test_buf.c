#include "base/buf.h"
#include "tests/support/suite.h"

#include <string.h>

START_TEST(test_buf_appends_every_kind)
{
	AUTO_BUF struct buf buf = BUF_INIT(1000);
	struct err err;
	buf_add(&buf, "a\0b", 3);
	buf_addc(&buf, '-');
	buf_adds(&buf, "text");
	buf_addf(&buf, "%d%s", 12, "!");
	buf_add_le32(&buf, 0x04030201);
	buf_add_le64(&buf, 0x0c0b0a0908070605);
	ck_assert_int_eq(buf_ok(&buf, "it", &err), 0);
	ck_assert_uint_eq(buf.len, 23);
	ck_assert_mem_eq(buf.data, "a\0b-text12!\1\2\3\4\5\6\7\10\11\12\13\14", 24);
}
END_TEST

START_TEST(test_buf_takes_up_to_max_and_not_a_byte_more)
{
	AUTO_BUF struct buf buf = BUF_INIT(5);
	struct err err;
	buf_adds(&buf, "12345");
	ck_assert_int_eq(buf_ok(&buf, "it", &err), 0);
	buf_addc(&buf, '6');
	ck_assert(buf.failed && buf.full);
	ck_assert_str_eq(buf.data, "12345");
	ck_assert_int_eq(buf_ok(&buf, "the body", &err), -1);
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
	ck_assert_str_eq(err.text, "the body: more than 5 bytes");
}
END_TEST

START_TEST(test_buf_appends_nothing_after_a_failure)
{
	AUTO_BUF struct buf buf = BUF_INIT(5);
	buf_adds(&buf, "123");
	buf_addf(&buf, "%d", 456);
	buf_addc(&buf, '4'); /* would fit */
	ck_assert(buf.failed);
	ck_assert_str_eq(buf.data, "123");
	buf_reset(&buf);
	ck_assert(!buf.failed && !buf.full && !buf.len);
	buf_adds(&buf, "98765");
	ck_assert(!buf.failed);
	ck_assert_str_eq(buf.data, "98765");
}
END_TEST

START_TEST(test_buf_grows_by_doubling)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	size_t moves = 0, room = 0;
	for (int i = 0; i < 1 << 20; i++) {
		buf_addc(&buf, (char)('a' + i % 26));
		moves += buf.room != room;
		room = buf.room;
	}
	ck_assert(!buf.failed);
	ck_assert_uint_le(moves, 20);
	ck_assert_uint_le(buf.room, buf.max + 1);
	for (int i = 0; i < 1 << 20; i++)
		ck_assert_int_eq(buf.data[i], 'a' + i % 26);
}
END_TEST

START_TEST(test_buf_grow_gives_room_that_is_claimed_later)
{
	AUTO_BUF struct buf buf = BUF_INIT(200);
	char *room = buf_grow(&buf, 100);
	ck_assert_ptr_nonnull(room);
	ck_assert_uint_eq(buf.len, 0);
	memcpy(room, "read", 4);
	buf_grown(&buf, 4);
	ck_assert_str_eq(buf.data, "read");
	ck_assert_ptr_null(buf_grow(&buf, 197));
	ck_assert(buf.full);
}
END_TEST

START_TEST(test_buf_refuses_lengths_beyond_memory)
{
	AUTO_BUF struct buf buf = BUF_INIT(SIZE_MAX);
	struct err err;
	buf_addc(&buf, 'x');
	ck_assert(!buf.failed);
	ck_assert_ptr_null(buf_grow(&buf, SIZE_MAX - 1));
	ck_assert_int_eq(buf_ok(&buf, "it", &err), -1);
	ck_assert_str_eq(buf.data, "x");
}
END_TEST

START_TEST(test_buf_take_hands_over_and_empties)
{
	struct buf buf;
	size_t len = 99;
	buf_init(&buf, 10);
	char *empty = buf_take(&buf, &len);
	ck_assert_str_eq(empty, "");
	ck_assert_uint_eq(len, 0);
	free(empty);
	buf_adds(&buf, "bytes");
	char *bytes = buf_take(&buf, NULL);
	ck_assert_str_eq(bytes, "bytes");
	free(bytes);
	ck_assert_ptr_null(buf.data);
	ck_assert_uint_eq(buf.len, 0);
	ck_assert_uint_eq(buf.max, 10);
	buf_adds(&buf, "again");
	ck_assert_str_eq(buf.data, "again");
	buf_done(&buf);
	ck_assert_ptr_null(buf.data);
}
END_TEST

START_TEST(test_buf_of_nothing_appended_is_nothing)
{
	AUTO_BUF struct buf buf = BUF_INIT(0);
	buf_add(&buf, NULL, 0);
	buf_adds(&buf, "");
	ck_assert(!buf.failed);
	buf_addc(&buf, 'x');
	ck_assert(buf.full);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_buf_appends_every_kind,
		test_buf_takes_up_to_max_and_not_a_byte_more,
		test_buf_appends_nothing_after_a_failure,
		test_buf_grows_by_doubling,
		test_buf_grow_gives_room_that_is_claimed_later,
		test_buf_refuses_lengths_beyond_memory,
		test_buf_take_hands_over_and_empties,
		test_buf_of_nothing_appended_is_nothing,
	};
	return suite_run("buf", tests, COUNT_OF(tests));
}
