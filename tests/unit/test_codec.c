#include "store/codec.h"
#include "store/element.h"

#include "tests/support/model.h"

#include <check.h>
#include <stdlib.h>
#include <zstd.h>

#define ROOM CHUNK_RAW_MAX

static struct err err;
static struct encoder *encoder;
static struct decoder *decoder;
static uint8_t *raw, *back;

static void set_up(void)
{
	encoder = encoder_new();
	decoder = decoder_new();
	raw = malloc(ROOM + 1);
	back = malloc(ROOM + 1);
	ck_assert(encoder && decoder && raw && back);
}

static void tear_down(void)
{
	encoder_free(encoder);
	decoder_free(decoder);
	free(raw);
	free(back);
}

/* Of that type; gives the stored length. */
static size_t round_trip(uint8_t type, size_t len, uint8_t codec)
{
	struct coded coded;
	ck_assert_int_eq(codec_encode(encoder, type, raw, len, &coded, &err), 0);
	ck_assert_msg(coded.codec == codec, "%s: %s instead of %s", element_name(type),
		      codec_name(coded.codec), codec_name(codec));
	ck_assert_uint_eq(coded.type, type);
	ck_assert_uint_le(coded.len, len);
	memset(back, 0x55, len + 1);
	struct digest digest;
	digest_of(&digest, raw, len);
	ck_assert_int_eq(codec_open(decoder, &coded, &digest, back, len, &err), 0);
	ck_assert_int_eq(memcmp(raw, back, len), 0);
	ck_assert_uint_eq(back[len], 0x55);
	return coded.len;
}

static void expect_round_trip(size_t len, uint8_t codec)
{
	round_trip(ELEMENT_OPAQUE, len, codec);
}

/* coded must be refused as len raw bytes, and the decoder be as good as before. */
static void expect_refused(const void *bytes, size_t n, uint8_t codec, size_t len,
			   const char *word)
{
	struct coded coded = {bytes, (uint32_t)n, codec, 0};
	ck_assert_int_eq(codec_decode(decoder, &coded, back, len, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_msg(strstr(err.text, word) != NULL, "%s", err.text);
	memset(raw, 7, 1000);
	expect_round_trip(1000, CODEC_ZSTD);
}

START_TEST(test_codec_brings_back_what_was_encoded)
{
	static const size_t lens[] = {200, 1000, 131072, 1 << 20, CHUNK_RAW_MAX};
	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		memset(raw, (int)i, lens[i]);
		expect_round_trip(lens[i], CODEC_ZSTD);
		model_stream(raw, lens[i], "noise");
		expect_round_trip(lens[i], CODEC_STORED);
	}
	for (size_t len = 1; len < 20; len++)
		expect_round_trip(len, CODEC_STORED);
}
END_TEST

/* Numbers around zero, as weights are: the sum of a few even ones. */
static float weight(uint64_t *state)
{
	float sum = 0;
	for (unsigned i = 0; i < 4; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		sum += (float)(*state >> 40) / (1 << 24) - 0.5f;
	}
	return sum / 30;
}

static void fill_bf16(size_t len)
{
	uint64_t state = 7;
	for (size_t i = 0; i + 1 < len; i += 2) {
		const float w = weight(&state);
		uint32_t bits;
		memcpy(&bits, &w, sizeof bits);
		raw[i] = (uint8_t)(bits >> 16);
		raw[i + 1] = (uint8_t)(bits >> 24);
	}
}

START_TEST(test_codec_finds_what_is_in_weights)
{
	const size_t len = 1 << 20;
	fill_bf16(len);
	const size_t planes = round_trip(ELEMENT_BF16, len, CODEC_NUMBERS);
	const size_t plain = round_trip(ELEMENT_OPAQUE, len, CODEC_ZSTD);
	ck_assert_msg(planes * 100 < plain * 90, "%zu is hardly less than %zu", planes, plain);
	ck_assert_msg(planes * 100 < len * 72, "%zu of %zu bytes", planes, len);
	/* Any number of them, and with half a number at the end. */
	for (size_t part = 3000; part < 3010; part++)
		round_trip(ELEMENT_BF16, part, CODEC_PLANES);
}
END_TEST

START_TEST(test_codec_takes_repetition_where_there_is_some)
{
	/* Short noise over and over, which planes tear apart. */
	model_stream(raw, 6, "word");
	for (size_t at = 6; at < 1 << 20; at++)
		raw[at] = raw[at - 6] ^ (at % 4096 ? 0 : (uint8_t)(at >> 12));
	struct coded coded;
	ck_assert_int_eq(codec_encode(encoder, ELEMENT_Q4_K, raw, 1 << 20, &coded, &err), 0);
	ck_assert_uint_lt(coded.len, 16384);
	model_stream(raw, 1 << 20, "noise");
	round_trip(ELEMENT_Q4_0, 1 << 20, CODEC_STORED);
}
END_TEST

START_TEST(test_codec_every_type_comes_back)
{
	for (unsigned type = 0; type < 256; type++)
		for (size_t len = 1; len < 3000; len += len < 40 ? 1 : 997) {
			struct coded coded;
			model_stream(raw, len, "noise");
			for (size_t i = 0; i < len; i++)
				raw[i] &= 0x1f; /* so that there is something to save */
			ck_assert_int_eq(codec_encode(encoder, (uint8_t)type, raw, len, &coded, &err),
					 0);
			memset(back, 0x55, len + 1);
			ck_assert_msg(!codec_decode(decoder, &coded, back, len, &err), "%u %zu: %s",
				      type, len, err.text);
			ck_assert_int_eq(memcmp(raw, back, len), 0);
			ck_assert_uint_eq(back[len], 0x55);
		}
}
END_TEST

START_TEST(test_codec_refuses_planes_that_are_none)
{
	struct coded coded;
	uint8_t copy[4096];
	fill_bf16(4096);
	ck_assert_int_eq(codec_encode(encoder, ELEMENT_BF16, raw, 4096, &coded, &err), 0);
	ck_assert_uint_eq(coded.codec, CODEC_PLANES);
	const size_t n = coded.len;
	memcpy(copy, coded.bytes, n);
	expect_refused(copy, 1, CODEC_PLANES, 4096, "not a zstd frame");
	expect_refused(copy, n - 1, CODEC_PLANES, 4096, "frame");
	expect_refused(copy, n, CODEC_PLANES, 4095, "content");
	copy[0] = ELEMENT_OPAQUE;
	expect_refused(copy, n, CODEC_PLANES, 4096, "not known");
	copy[0] = 255;
	expect_refused(copy, n, CODEC_PLANES, 4096, "not known");
}
END_TEST

START_TEST(test_codec_stores_what_saves_less_than_one_percent)
{
	const size_t len = 4 * 131072; /* four of zstd's blocks, the first compressible */
	model_stream(raw, len, "noise");
	memset(raw, 0, 4500);
	expect_round_trip(len, CODEC_STORED);
	memset(raw, 0, 6500);
	expect_round_trip(len, CODEC_ZSTD);
}
END_TEST

START_TEST(test_codec_does_not_encode_what_is_too_long)
{
	struct coded coded = {.len = 77};
	ck_assert_int_eq(codec_encode(encoder, 0, raw, 0, &coded, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_int_eq(codec_encode(encoder, 0, raw, CHUNK_RAW_MAX + 1, &coded, &err), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_uint_eq(coded.len, 77);
}
END_TEST

START_TEST(test_codec_refuses_codecs_it_does_not_know)
{
	for (unsigned codec = 0; codec < 256; codec++) {
		if (codec_known((uint8_t)codec))
			continue;
		ck_assert_str_eq(codec_name((uint8_t)codec), "unknown");
		expect_refused("x", 1, (uint8_t)codec, 1, "not known");
	}
	ck_assert(codec_known(CODEC_STORED) && codec_known(CODEC_ZSTD));
}
END_TEST

START_TEST(test_codec_refuses_lengths_that_do_not_fit)
{
	expect_refused("four", 4, CODEC_STORED, 3, "stored");
	expect_refused("four", 4, CODEC_STORED, 5, "stored");
	expect_refused("four", 0, CODEC_STORED, 4, "stored");
	expect_refused("four", 4, CODEC_STORED, 0, "raw length");
	expect_refused("four", 4, CODEC_STORED, (size_t)CHUNK_RAW_MAX + 1, "raw length");
	uint8_t frame[2000] = {0};
	expect_refused(frame, 1 + CHUNK_STORED_EXTRA + 1, CODEC_ZSTD, 1, "stored bytes for");
}
END_TEST

/* A frame made by zstd, of 1,000 sevens; returns its length. */
static size_t frame_of(uint8_t *out, size_t room, int checksum, int size_stated)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, checksum);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, size_stated);
	memset(raw, 7, 1000);
	size_t n = ZSTD_compress2(zstd, out, room, raw, 1000);
	ck_assert(!ZSTD_isError(n));
	ZSTD_freeCCtx(zstd);
	return n;
}

START_TEST(test_codec_takes_exactly_one_frame)
{
	uint8_t frame[300] = {0};
	size_t n = frame_of(frame, 200, 1, 1);
	struct coded coded = {frame, (uint32_t)n, CODEC_ZSTD, 0};
	ck_assert_int_eq(codec_decode(decoder, &coded, back, 1000, &err), 0);
	expect_refused(frame, n + 1, CODEC_ZSTD, 1000, "one whole");
	for (size_t len = 1; len < n; len++)
		expect_refused(frame, len, CODEC_ZSTD, 1000, "zstd");
	expect_refused(frame, n, CODEC_ZSTD, 999, "content");
	expect_refused(frame, n, CODEC_ZSTD, 1001, "content");
	memcpy(frame + n, frame, n); /* twice 500 would also make 1,000 */
	expect_refused(frame, 2 * n, CODEC_ZSTD, 2000, "content");
	expect_refused(frame, 2 * n, CODEC_ZSTD, 1000, "one whole");
	frame[n - 1] ^= 1;
	expect_refused(frame, n, CODEC_ZSTD, 1000, "hecksum");
	n = frame_of(frame, 200, 0, 0);
	expect_refused(frame, n, CODEC_ZSTD, 1000, "content");
}
END_TEST

/* Frames by hand: header, then one raw block with "abc". */
#define BLOCK_ABC 0x19, 0, 0, 'a', 'b', 'c'

START_TEST(test_codec_minds_frame_headers)
{
	static const uint8_t good[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80, 12 << 3, 3, 0, 0, 0, BLOCK_ABC};
	struct coded coded = {good, sizeof good, CODEC_ZSTD, 0};
	ck_assert_int_eq(codec_decode(decoder, &coded, back, 3, &err), 0);
	ck_assert_int_eq(memcmp(back, "abc", 3), 0);
	static const uint8_t window[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80, 12 << 3 | 1,
					 3,    0,    0,	   0,	 BLOCK_ABC};
	expect_refused(window, sizeof window, CODEC_ZSTD, 3, "window");
	static const uint8_t dictionary[] = {0x28, 0xb5, 0x2f, 0xfd, 0x81, 0, 9, 3,
					     0,	   0,	 0,    BLOCK_ABC};
	expect_refused(dictionary, sizeof dictionary, CODEC_ZSTD, 3, "dictionary");
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'};
	expect_refused(skippable, sizeof skippable, CODEC_ZSTD, 3, "not a zstd frame");
	static const uint8_t reserved[] = {0x28, 0xb5, 0x2f, 0xfd, 0x88, 12 << 3,
					   3,	 0,    0,    0,	   BLOCK_ABC};
	expect_refused(reserved, sizeof reserved, CODEC_ZSTD, 3, "content");
	static const uint8_t old[] = {0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0};
	expect_refused(old, sizeof old, CODEC_ZSTD, 3, "not a zstd frame");
}
END_TEST

START_TEST(test_codec_open_compares_digests)
{
	struct coded coded;
	struct digest digest;
	memset(raw, 1, 5000);
	ck_assert_int_eq(codec_encode(encoder, 0, raw, 5000, &coded, &err), 0);
	digest_of(&digest, raw, 4999);
	ck_assert_int_eq(codec_open(decoder, &coded, &digest, back, 5000, &err), -1);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec");
	TCase *tc = tcase_create("codec");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, test_codec_brings_back_what_was_encoded);
	tcase_add_test(tc, test_codec_finds_what_is_in_weights);
	tcase_add_test(tc, test_codec_takes_repetition_where_there_is_some);
	tcase_add_test(tc, test_codec_every_type_comes_back);
	tcase_add_test(tc, test_codec_refuses_planes_that_are_none);
	tcase_add_test(tc, test_codec_stores_what_saves_less_than_one_percent);
	tcase_add_test(tc, test_codec_does_not_encode_what_is_too_long);
	tcase_add_test(tc, test_codec_refuses_codecs_it_does_not_know);
	tcase_add_test(tc, test_codec_refuses_lengths_that_do_not_fit);
	tcase_add_test(tc, test_codec_takes_exactly_one_frame);
	tcase_add_test(tc, test_codec_minds_frame_headers);
	tcase_add_test(tc, test_codec_open_compares_digests);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
