/* Places that one network cannot take all of. */
#include "server/share.h"

#include "tests/support/suite.h"

#define PLACES 64

static struct network network(uint8_t n)
{
	return (struct network){{{n}}};
}

/* How many a network gets until it is refused, and with what. */
static unsigned take_all(struct shares *shares, const struct network *who, int *ret_refusal)
{
	for (unsigned n = 0;; n++) {
		ck_assert_uint_le(n, PLACES);
		const int place = shares_take(shares, who);
		if (place < 0) {
			*ret_refusal = place;
			return n;
		}
	}
}

START_TEST(test_share_leaves_some_for_others)
{
	AUTO(shares_free) struct shares *shares = shares_new(PLACES);
	static const unsigned gets[] = {24, 12, 6, 3, 2, 1};
	int refusal;
	unsigned taken = 0;
	for (uint8_t n = 0; n < COUNT_OF(gets); n++) {
		const struct network who = network(n);
		ck_assert_uint_eq(take_all(shares, &who, &refusal), gets[n]);
		ck_assert_int_eq(refusal, -2);
		taken += gets[n];
	}
	ck_assert_uint_eq(shares_taken(shares), taken);
	for (uint8_t n = 100; taken < PLACES; n++, taken++) { /* the last quarter: a place each */
		const struct network who = network(n);
		ck_assert_uint_eq(take_all(shares, &who, &refusal), 1);
		ck_assert_int_eq(refusal, taken + 1 < PLACES ? -2 : -1);
	}
}
END_TEST

START_TEST(test_share_comes_back)
{
	AUTO(shares_free) struct shares *shares = shares_new(4);
	const struct network one = network(1), other = network(2);
	const int first = shares_take(shares, &one), second = shares_take(shares, &one);
	ck_assert_int_ge(first, 0);
	ck_assert_int_ge(second, 0);
	ck_assert_int_ne(first, second);
	ck_assert_int_eq(shares_take(shares, &one), -2);
	shares_give(shares, first);
	ck_assert_int_ge(shares_take(shares, &one), 0);
	ck_assert_int_ge(shares_take(shares, &other), 0);
	ck_assert_int_eq(shares_take(shares, &other), -2);
}
END_TEST

/* Without a network there is no share, but an end. */
START_TEST(test_share_of_nobody_is_all)
{
	AUTO(shares_free) struct shares *shares = shares_new(PLACES);
	const struct network who = network(1);
	int refusal;
	ck_assert_uint_eq(take_all(shares, NULL, &refusal), PLACES);
	ck_assert_int_eq(refusal, -1);
	ck_assert_int_eq(shares_take(shares, &who), -1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_share_leaves_some_for_others,
		test_share_comes_back,
		test_share_of_nobody_is_all,
	};
	return suite_run("share", tests, COUNT_OF(tests));
}
