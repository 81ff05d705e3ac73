#include "base/digest.h"
#include "tests/support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* FIPS 180-4 examples */
static const struct {
	const char *text, *hex;
} vectors[] = {
	{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

START_TEST(test_digest_of_standard_vectors)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++) {
		struct digest digest;
		char hex[DIGEST_HEX];
		digest_of(&digest, vectors[i].text, strlen(vectors[i].text));
		digest_hex(&digest, hex);
		ck_assert_str_eq(hex, vectors[i].hex);
	}
}
END_TEST

START_TEST(test_digest_of_a_stream_in_any_pieces)
{
	uint8_t bytes[1000];
	struct digest whole, pieces;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * i);
	digest_of(&whole, bytes, sizeof(bytes));
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	ck_assert_ptr_nonnull(ctx);
	for (size_t step = 1; step < 200; step += 37) {
		for (size_t at = 0; at < sizeof(bytes); at += step)
			digest_add(ctx, bytes + at,
				   sizeof(bytes) - at < step ? sizeof(bytes) - at : step);
		digest_end(ctx, &pieces);
		ck_assert(digest_eq(&whole, &pieces));
		digest_again(ctx);
	}
}
END_TEST

START_TEST(test_digest_again_forgets_what_was_added)
{
	struct digest empty, again;
	digest_of(&empty, "", 0);
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	ck_assert_ptr_nonnull(ctx);
	digest_add(ctx, "abandoned", 9);
	digest_again(ctx);
	digest_end(ctx, &again);
	ck_assert(digest_eq(&empty, &again));
	digest_free(NULL);
}
END_TEST

START_TEST(test_digest_parses_its_text_only)
{
	struct digest digest, parsed, untouched;
	char hex[DIGEST_HEX], longer[DIGEST_HEX + 1];
	digest_of(&digest, "abc", 3);
	digest_hex(&digest, hex);
	ck_assert_int_eq(digest_parse(&parsed, hex), 0);
	ck_assert(digest_eq(&digest, &parsed));

	untouched = parsed;
	snprintf(longer, sizeof(longer), "%s0", hex);
	ck_assert_int_eq(digest_parse(&parsed, longer), -1);
	ck_assert_int_eq(digest_parse_n(&parsed, longer, 65), 0);
	ck_assert_int_eq(digest_parse_n(&parsed, longer, 63), -1);
	ck_assert_int_eq(digest_parse(&parsed, ""), -1);
	ck_assert_int_eq(digest_parse(&parsed, hex + 1), -1);
	hex[63] = 'F';
	ck_assert_int_eq(digest_parse(&parsed, hex), -1);
	ck_assert(digest_eq(&parsed, &untouched));
}
END_TEST

START_TEST(test_digest_orders_by_bytes)
{
	struct digest a = {{0}}, b = {{0}};
	ck_assert(digest_zero(&a));
	ck_assert_int_eq(digest_cmp(&a, &b), 0);
	b.bytes[DIGEST_LEN - 1] = 1;
	ck_assert(!digest_zero(&b) && !digest_eq(&a, &b));
	ck_assert_int_lt(digest_cmp(&a, &b), 0);
	a.bytes[0] = 0x80; /* bytes are not signed */
	ck_assert_int_gt(digest_cmp(&a, &b), 0);
}
END_TEST

static void *hash_often(void *want)
{
	for (int i = 0; i < 200; i++) {
		struct digest digest;
		digest_of(&digest, "abc", 3);
		if (!digest_eq(&digest, want))
			return want;
	}
	return NULL;
}

START_TEST(test_digest_of_from_many_threads)
{
	struct digest want;
	pthread_t threads[4];
	void *wrong;
	ck_assert_int_eq(digest_parse(&want, vectors[1].hex), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hash_often, &want), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_null(wrong);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_digest_of_standard_vectors,
		test_digest_of_a_stream_in_any_pieces,
		test_digest_again_forgets_what_was_added,
		test_digest_parses_its_text_only,
		test_digest_orders_by_bytes,
		test_digest_of_from_many_threads,
	};
	return suite_run("digest", tests, COUNT_OF(tests));
}
