#include "store/cut.h"
#include "store/estimate.h"
#include "store/inspect.h"

#include "tests/support/model.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct err err;

enum { F32 = 0, F16 = 1, Q8_0 = 8, Q4_K = 12, Q6_K = 14, Q5_0 = 6, NO_SUCH = 41 };

static struct inspect *inspected(const struct buf *buf)
{
	struct memory memory;
	struct source source = source_memory(&memory, buf->data, buf->len);
	struct inspect *in = NULL;

	ck_assert_msg(!inspect_source(&in, &source, &err), "%s", err.text);
	return in;
}

/* A model with 10 layers of a type, an embedding of another, and a norm. */
static struct inspect *model(const char *type, uint32_t file_type, uint32_t layers, uint32_t embed)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 22);
	uint64_t at = 0;
	char name[40];

	gguf_begin(&buf, 3, 12, 9);
	gguf_pair_text(&buf, "general.architecture", "llama");
	gguf_pair_text(&buf, "general.name", "Tiny \xff\x1b[31m");
	gguf_pair_text(&buf, "general.type", type);
	gguf_pair_u32(&buf, "general.file_type", file_type);
	gguf_pair_u32(&buf, "llama.context_length", 4096);
	gguf_pair_u32(&buf, "llama.block_count", 10);
	gguf_pair_u32(&buf, "llama.attention.head_count", 8);
	gguf_pair_u32(&buf, "gemma.context_length", 7);
	gguf_pair_words(&buf, "tokenizer.ggml.tokens", 20);
	gguf_tensor(&buf, "token_embd.weight", 25600, embed, 0);
	at += 65536;
	for (int i = 0; i < 10; i++, at += 8192) {
		snprintf(name, sizeof name, "blk.%d.ffn_up.weight", i);
		gguf_tensor(&buf, name, 2560, layers, at);
	}
	gguf_tensor(&buf, "output_norm.weight", 10, F32, at);
	model_pad(&buf, 32);
	return inspected(&buf);
}

static const char *value_of(const struct inspect *in, const char *key)
{
	for (uint32_t i = 0; i < in->pair_count; i++)
		if (!strcmp(in->pairs[i].key, key))
			return in->pairs[i].value;
	return "absent";
}

START_TEST(test_inspect_tells_what_a_gguf_is)
{
	AUTO(inspect_free) struct inspect *in = model("model", 15, Q4_K, Q6_K);

	ck_assert_int_eq(in->format, FORMAT_GGUF);
	ck_assert_uint_eq(in->version, 3);
	ck_assert_str_eq(in->architecture, "llama");
	ck_assert_uint_eq(in->context_length, 4096);
	ck_assert_uint_eq(in->layers, 10);
	ck_assert_uint_eq(in->heads, 8);
	ck_assert_uint_eq(in->parameters, 25600 + 10 * 2560 + 10);
	ck_assert_uint_eq(in->tensor_count, 12);
	ck_assert_str_eq(in->tensors[1].name, "blk.0.ffn_up.weight");
	ck_assert_str_eq(in->tensors[1].type, "q4_K");
	ck_assert_uint_eq(in->tensors[1].at, in->header + 65536);
	ck_assert_uint_eq(in->tensors[1].len, 1440);
	ck_assert_uint_eq(in->type_count, 3);
	ck_assert_str_eq(in->types[0].name, "q6_K");
	ck_assert_uint_eq(in->types[0].bytes, 21000);
	ck_assert_uint_eq(in->types[1].tensors, 10);
	ck_assert(in->truncated); /* the header stands alone */
	ck_assert_str_eq(inspect_quantization(in), "Q4_K_M");
	ck_assert_uint_eq(in->pairs_all, 9);
	ck_assert_str_eq(value_of(in, "general.file_type"), "15");
	const char *words = value_of(in, "tokenizer.ggml.tokens");
	ck_assert_int_eq(words[0], '[');
	ck_assert_str_eq(words + strlen(words) - strlen(", ... of 20]"), ", ... of 20]");
}
END_TEST

/* Every kind of value as text; keys and texts without end are cut. */
START_TEST(test_inspect_shows_every_kind_of_value)
{
	static const struct {
		uint32_t kind;
		uint64_t bits;
		unsigned bytes;
		const char *text;
	} kinds[] = {
		{0, 200, 1, "200"},	    {1, 0xff, 1, "-1"},
		{2, 65535, 2, "65535"},	    {3, 0xfffe, 2, "-2"},
		{4, 4000000000, 4, "4000000000"}, {5, 0xfffffffd, 4, "-3"},
		{6, 0x3fc00000, 4, "1.5"},  {7, 1, 1, "true"},
		{10, UINT64_MAX, 8, "18446744073709551615"}, {11, (uint64_t)-4, 8, "-4"},
		{12, 0xc004000000000000, 8, "-2.5"},
	};
	AUTO_BUF struct buf buf = BUF_INIT(1 << 22);
	char key[300], text[3000];

	gguf_begin(&buf, 2, 0, COUNT_OF(kinds) + 4);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		snprintf(key, sizeof key, "k%zu", i);
		gguf_text(&buf, key);
		buf_add_le32(&buf, kinds[i].kind);
		buf_add(&buf, &kinds[i].bits, kinds[i].bytes);
	}
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	memset(key, 'y', sizeof key - 1);
	key[sizeof key - 1] = 0;
	gguf_pair_text(&buf, key, text);
	for (int count = 0; count < 3; count++) {
		snprintf(key, sizeof key, "array%d", count);
		gguf_text(&buf, key);
		buf_add_le32(&buf, 9);
		buf_add_le32(&buf, count == 2 ? 8 : 3);
		buf_add_le64(&buf, (uint64_t)count);
		for (int i = 0; i < count; i++) {
			if (count == 2)
				gguf_text(&buf, "word");
			else
				buf_add(&buf, "\xf0\xff", 2);
		}
	}
	AUTO(inspect_free) struct inspect *in = inspected(&buf);
	ck_assert_int_eq(in->format, FORMAT_GGUF);
	ck_assert_uint_eq(in->version, 2);
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		ck_assert_str_eq(in->pairs[i].value, kinds[i].text);
	ck_assert_uint_eq(strlen(in->pairs[COUNT_OF(kinds)].key), WATCH_TEXT_MAX);
	ck_assert_uint_eq(strlen(in->pairs[COUNT_OF(kinds)].value), WATCH_TEXT_MAX + 3);
	ck_assert_str_eq(value_of(in, "array0"), "[]");
	ck_assert_str_eq(value_of(in, "array1"), "[-16]");
	ck_assert_str_eq(value_of(in, "array2"), "[word, word]");
}
END_TEST

START_TEST(test_inspect_tells_what_a_safetensors_is)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);
	const char *json = "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"a \\\"b\\\"\"},"
			   "\"b\":{\"dtype\":\"BF16\",\"shape\":[3,4],\"data_offsets\":[8,32]},"
			   "\"a\":{\"dtype\":\"F4\",\"shape\":[16],\"data_offsets\":[0,8]}}";

	buf_add_le64(&buf, strlen(json));
	buf_adds(&buf, json);
	buf_add(&buf, "0123456789abcdef0123456789abcdef", 32);
	AUTO(inspect_free) struct inspect *in = inspected(&buf);
	ck_assert_int_eq(in->format, FORMAT_SAFETENSORS);
	ck_assert_uint_eq(in->version, 0);
	ck_assert(!in->truncated);
	ck_assert_uint_eq(in->parameters, 28);
	ck_assert_uint_eq(in->tensor_count, 2);
	ck_assert_str_eq(in->tensors[0].name, "a");
	ck_assert_str_eq(in->tensors[0].type, "F4");
	ck_assert_uint_eq(in->tensors[0].len, 8);
	ck_assert_str_eq(in->tensors[1].type, "bf16");
	ck_assert_uint_eq(in->tensors[1].dim_count, 2);
	ck_assert_uint_eq(in->tensors[1].dims[1], 4);
	ck_assert_str_eq(value_of(in, "format"), "pt");
	ck_assert_str_eq(value_of(in, "note"), "a \\\"b\\\"");
	ck_assert(inspect_tier_fits(in, "bf16", &err));
	ck_assert(!inspect_tier_fits(in, "f16", &err));
	ck_assert(!inspect_tier_fits(in, "q4_k_m", &err));
}
END_TEST

/* A type that nobody knows reaches up to the next tensor. */
START_TEST(test_inspect_measures_unknown_types)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);

	gguf_begin(&buf, 3, 2, 0);
	gguf_tensor(&buf, "odd", 640, NO_SUCH, 0);
	gguf_tensor(&buf, "even", 64, F16, 320);
	model_pad(&buf, 32);
	AUTO(inspect_free) struct inspect *in = inspected(&buf);
	ck_assert_str_eq(in->tensors[0].type, "ggml 41");
	ck_assert_uint_eq(in->tensors[0].len, 320);
	ck_assert_str_eq(in->types[0].name, "ggml 41");
	ck_assert_uint_eq(in->types[0].bytes, 320);
}
END_TEST

/* Whatever was told before the header broke off is forgotten. */
START_TEST(test_inspect_calls_the_rest_opaque)
{
	AUTO_BUF struct buf buf = BUF_INIT(1 << 20);

	gguf_begin(&buf, 3, 1, 2);
	gguf_pair_text(&buf, "general.architecture", "llama");
	gguf_pair_u32(&buf, "general.alignment", 3);
	AUTO(inspect_free) struct inspect *in = inspected(&buf);
	ck_assert_int_eq(in->format, FORMAT_OPAQUE);
	ck_assert_str_eq(in->architecture, "");
	ck_assert_uint_eq(in->pair_count + in->tensor_count + in->pairs_all, 0);
	ck_assert_str_eq(inspect_quantization(in), "");
	ck_assert(inspect_tier_fits(in, "q4_k_m", &err));
}
END_TEST

START_TEST(test_inspect_compares_tiers)
{
	static const struct {
		const char *type;
		uint32_t file_type, layers, embed;
		const char *tier;
		bool fits;
	} cases[] = {
		{"model", 15, Q4_K, Q6_K, "q4_k_m", true}, /* though most bytes are q6_K */
		{"model", 15, Q4_K, Q6_K, "Q4-K-M", true},
		{"model", 14, Q4_K, Q6_K, "q4_k_m", true}, /* its tensors cannot tell */
		{"model", 7, Q8_0, Q8_0, "q4_k_m", false},
		{"model", 15, Q8_0, Q8_0, "q4_k_m", false}, /* whatever the header says */
		{"model", 15, Q5_0, Q8_0, "q4_k_m", true},  /* rows that are no whole blocks */
		{"model", 8, Q5_0, Q8_0, "q4_k_m", false},
		{"model", 18, Q8_0, Q8_0, "q6_k", true},
		{"model", 1, F16, F16, "f16", true},
		{"model", 1, F16, F16, "q8_0", false},
		{"model", 1, F16, F16, "premium", true},
		{"model", 1, F16, F16, "q4_k_m_but_longer_than_any", true},
		{"adapter", 1, F16, F16, "q8_0", true},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(inspect_free) struct inspect *in = model(
			cases[i].type, cases[i].file_type, cases[i].layers, cases[i].embed);
		ck_assert_msg(inspect_tier_fits(in, cases[i].tier, &err) == cases[i].fits, "%zu: %s",
			      i, err.text);
	}
	AUTO(inspect_free) struct inspect *in = model("model", 7, Q8_0, Q8_0);
	ck_assert(!inspect_tier_fits(in, "q4_k_m", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "% q8_0, where q4_K is expected"));
}
END_TEST

static int broken_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *why)
{
	(void)arg;
	(void)at;
	(void)bytes;
	(void)len;
	return err_set(why, ERR_SYSTEM, "the disk is gone");
}

START_TEST(test_inspect_tells_that_reading_failed)
{
	const struct source source = {.read = broken_read, .size = 1000};
	struct inspect *in = NULL;
	struct estimate estimate;

	ck_assert_int_eq(inspect_source(&in, &source, &err), -1);
	ck_assert_ptr_null(in);
	ck_assert_ptr_nonnull(strstr(err.text, "the disk is gone"));
	ck_assert_int_eq(estimate_source(&source, &estimate, &err), -1);
}
END_TEST

/* Zeros with noise in every second megabyte, without a file of that length. */
static int striped_read(void *arg, uint64_t at, void *bytes, size_t len, struct err *why)
{
	uint8_t *p = bytes;

	(void)arg;
	(void)why;
	for (size_t i = 0; i < len; i++) {
		const uint64_t x = (at + i) * 0x9e3779b97f4a7c15;
		p[i] = (at + i) >> 20 & 1 ? (uint8_t)((x ^ x >> 29) * 0xbf58476d1ce4e5b9 >> 56) : 0;
	}
	return 0;
}

START_TEST(test_inspect_estimates_from_a_sample)
{
	const struct source source = {.read = striped_read, .size = 400u << 20};
	struct estimate a, b;

	ck_assert_int_eq(estimate_source(&source, &a, &err), 0);
	ck_assert_int_eq(estimate_source(&source, &b, &err), 0);
	ck_assert_mem_eq(&a, &b, sizeof a);
	ck_assert(!a.whole);
	ck_assert_uint_le(a.sampled, ESTIMATE_SAMPLE + CUT_PIECE);
	ck_assert_uint_ge(a.sampled, ESTIMATE_SAMPLE / 2);
	/* Half of it, within a tenth. */
	ck_assert_uint_ge(a.stored, 180u << 20);
	ck_assert_uint_le(a.stored, 220u << 20);
	ck_assert_uint_eq(a.chunks, 1600);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inspect");
	TCase *tc = tcase_create("inspect");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_inspect_tells_what_a_gguf_is);
	tcase_add_test(tc, test_inspect_shows_every_kind_of_value);
	tcase_add_test(tc, test_inspect_tells_what_a_safetensors_is);
	tcase_add_test(tc, test_inspect_measures_unknown_types);
	tcase_add_test(tc, test_inspect_calls_the_rest_opaque);
	tcase_add_test(tc, test_inspect_compares_tiers);
	tcase_add_test(tc, test_inspect_tells_that_reading_failed);
	tcase_add_test(tc, test_inspect_estimates_from_a_sample);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
