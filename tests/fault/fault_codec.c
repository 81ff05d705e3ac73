/* Every allocation of a chunk's encoding and decoding fails once: there is an error, nothing leaks, and the
 * encoder and decoder are as good as before. */
#include "store/codec.h"
#include "store/element.h"
#include "tests/support/fault.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <string.h>

#define LEN 90000

static uint8_t raw[LEN], back[LEN], stored[LEN];

/* Scales are noise, and quants hardly: planes are what finds that. */
static void fill(uint8_t type)
{
	const size_t block = element_block(type);
	model_stream(raw, LEN, "quants");
	for (size_t i = 0; i < LEN; i++)
		if (i % block % 2 || i % block > 4)
			raw[i] &= 0x11;
}

struct codecs {
	struct encoder *encoder;
	struct decoder *decoder;
	uint8_t codec; /* that was chosen */
};

/* 0, or -1 with err; what is missing in c is made. */
static int round_trip(struct codecs *c, uint8_t type, struct err *err)
{
	struct coded coded;
	if (!c->encoder && !(c->encoder = encoder_new()))
		return err_nomem(err);
	if (!c->decoder && !(c->decoder = decoder_new()))
		return err_nomem(err);
	if (codec_encode(c->encoder, type, raw, LEN, &coded, err))
		return -1;
	memcpy(stored, coded.bytes, coded.len);
	coded.bytes = stored;
	c->codec = coded.codec;
	return codec_decode(c->decoder, &coded, back, LEN, err);
}

static int fails(uint8_t type, int nth, struct err *err)
{
	struct codecs c = {0};
	fault_arm(FAULT_MEMORY, nth);
	const int rc = round_trip(&c, type, err);
	const bool fired = fault_fired();
	ck_assert_msg(rc == (fired ? -1 : 0), "call %d", nth);
	ck_assert(!fired || err->status == ERR_SYSTEM);
	memset(back, 0, LEN);
	ck_assert_msg(!round_trip(&c, type, err) && !memcmp(back, raw, LEN), "after call %d", nth);
	ck_assert_msg(c.codec == CODEC_NUMBERS, "%s: %s", element_name(type), codec_name(c.codec));
	encoder_free(c.encoder);
	decoder_free(c.decoder);
	return fired;
}

START_TEST(test_fault_codec_without_memory)
{
	static const uint8_t types[] = {ELEMENT_BF16, ELEMENT_Q8_0, ELEMENT_Q4_0};
	struct err err;
	for (size_t t = 0; t < COUNT_OF(types); t++) {
		int nth = 1;
		fill(types[t]);
		while (fails(types[t], nth, &err))
			nth++;
		ck_assert_int_gt(nth, 9);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {test_fault_codec_without_memory};
	return suite_run("fault_codec", tests, COUNT_OF(tests));
}
