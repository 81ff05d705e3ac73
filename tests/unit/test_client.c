#include "server/client.h"

#include "server/quota.h"
#include "tests/support/suite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static struct sockaddr_storage peer_of(const char *text)
{
	struct sockaddr_storage out = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};
	void *at = out.ss_family == AF_INET
			   ? (void *)&((struct sockaddr_in *)&out)->sin_addr
			   : (void *)&((struct sockaddr_in6 *)&out)->sin6_addr;
	ck_assert_int_eq(inet_pton(out.ss_family, text, at), 1);
	return out;
}

/* The network of a request, as text; "" when there is nobody to tell apart. */
static const char *network(const char *proxies_text, const char *peer, const char *forwarded)
{
	static char text[INET6_ADDRSTRLEN];
	const struct sockaddr_storage from = peer_of(peer);
	struct proxies proxies;
	struct network n;
	struct err err;
	ck_assert_msg(!proxies_parse(&proxies, proxies_text, &err), "%s", err.text);
	text[0] = 0;
	if (client_network(&proxies, (const struct sockaddr *)&from, forwarded, &n))
		ck_assert_ptr_nonnull(
			inet_ntop(AF_INET6, n.address.bytes, text, sizeof(text)));
	return text;
}

START_TEST(test_client_networks_of_peers)
{
	ck_assert_str_eq(network("", "192.0.2.77", NULL), "::ffff:192.0.2.0");
	ck_assert_str_eq(network("", "2001:db8:1:2::3", NULL), "2001:db8:1::");
	ck_assert_str_eq(network("", "127.0.0.1", NULL), "");
	ck_assert_str_eq(network("", "::1", NULL), "");
	ck_assert_str_eq(network("", "::ffff:127.0.0.9", NULL), "");
}
END_TEST

START_TEST(test_client_believes_proxies_only)
{
	const char *const chain = "203.0.113.9, 198.51.100.7, 10.1.2.3";
	ck_assert_str_eq(network("", "192.0.2.77", chain), "::ffff:192.0.2.0");
	ck_assert_str_eq(network("192.0.2.77", "192.0.2.77", chain), "::ffff:10.1.2.0");
	ck_assert_str_eq(network("192.0.2.0/24, 10.0.0.0/8", "192.0.2.77", chain),
			 "::ffff:198.51.100.0");
	ck_assert_str_eq(network("127.0.0.1", "127.0.0.1", "2001:db8:9::1"), "2001:db8:9::");
	ck_assert_str_eq(network("127.0.0.1", "127.0.0.1", "[2001:db8:9::1]:443"), "2001:db8:9::");
	ck_assert_str_eq(network("127.0.0.1", "127.0.0.1", "192.0.2.4:443"), "::ffff:192.0.2.0");
	ck_assert_str_eq(network("127.0.0.1", "127.0.0.1", "unknown"), "::ffff:127.0.0.0");
	ck_assert_str_eq(network("127.0.0.1", "127.0.0.1", NULL), "::ffff:127.0.0.0");
	ck_assert_str_eq(network("::/0", "192.0.2.77", " ,, "), "::ffff:192.0.2.0");
}
END_TEST

START_TEST(test_client_refuses_what_is_no_proxy)
{
	static const char *const bad[] = {"10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/", "::/129",
					  "10.0.0.0/8x", "1.2.3.4/-1"};
	struct proxies proxies = {.count = 0};
	struct err err;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		ck_assert_msg(proxies_parse(&proxies, bad[i], &err) == -1, "%s", bad[i]);
		ck_assert_ptr_nonnull(strstr(err.text, "proxies"));
	}
}
END_TEST

START_TEST(test_quota_burst_and_rate)
{
	AUTO(quota_free) struct quota *quota = quota_new(10, 100);
	ck_assert(quota_take(quota, "a", 1, 100, 5000));
	ck_assert(!quota_take(quota, "a", 1, 1, 5000));
	ck_assert(quota_take(quota, "b", 1, 100, 5000)); /* another's is its own */
	ck_assert(!quota_take(quota, "a", 1, 2, 5150));
	ck_assert(quota_take(quota, "a", 1, 1, 5150)); /* 1.5 came back: the half is not lost */
	ck_assert(quota_take(quota, "a", 1, 1, 5200));
	ck_assert(!quota_take(quota, "a", 1, 1, 5200));
	ck_assert(!quota_take(quota, "a", 1, 101, 900000)); /* never more than the burst */
	ck_assert(quota_take(quota, "a", 1, 100, 900000));
	/* In T seconds at most burst + rate * T. */
	unsigned taken = 0;
	for (int64_t ms = 1000000; ms < 1060000; ms += 7)
		taken += quota_take(quota, "c", 1, 1, ms);
	ck_assert_uint_ge(taken, 695);
	ck_assert_uint_le(taken, 700);
}
END_TEST

START_TEST(test_quota_none_and_many)
{
	AUTO(quota_free) struct quota *none = quota_new(0, 1);
	AUTO(quota_free) struct quota *quota = quota_new(1, 2);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert(quota_take(none, "a", 1, 1000, 0));
	/* More sources than places: each may take its burst, the table does not grow. */
	for (uint32_t i = 0; i < 3 * QUOTA_SLOTS; i++)
		ck_assert(quota_take(quota, &i, sizeof(i), 2, 1000));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_client_networks_of_peers,
		test_client_believes_proxies_only,
		test_client_refuses_what_is_no_proxy,
		test_quota_burst_and_rate,
		test_quota_none_and_many,
	};
	return suite_run("client", tests, COUNT_OF(tests));
}
