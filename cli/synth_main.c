/* flotilla-synth -- a synthetic checkpoint, and fine-tunes of it, as real GGUF v3 files.
 * Writes NAME-f16.gguf, NAME-q8_0.gguf and NAME-q4_0.gguf, on request bf16, in the layouts that llama.cpp
 * reads (ggml block formats: 32 values a block, f16 scale).  Weights are Gaussian with a scale of its
 * own per row, as trained weights have; a fine-tune adds a small Gaussian step to every weight.
 * The same seed gives the same bytes. */
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGNMENT 32
#define BLOCK 32
#define OUT_BYTES (1 << 20)
#define NAME_BYTES 64

enum tier { TIER_F16, TIER_Q8_0, TIER_Q4_0, TIER_BF16, TIERS };
#define TIERS_UNASKED TIER_BF16 /* those before it are written when none is named */
enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_BF16 = 30 };
enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_ARRAY = 9 };

static const char *const tier_names[TIERS] = {"f16", "q8_0", "q4_0", "bf16"};
static const uint32_t tier_types[TIERS] = {GGML_F16, GGML_Q8_0, GGML_Q4_0, GGML_BF16};
static const uint32_t tier_file_types[TIERS] = {1, 7, 2, 32}; /* llama.cpp's general.file_type */

/* What fine-tunes touch: everything; attention, as a merged LoRA does; the last two blocks; norms and
 * the head. */
enum part { PART_ALL, PART_ATTENTION, PART_LAST, PART_HEAD, PARTS };
static const char *const part_names[PARTS] = {"all", "attention", "last", "head"};

struct shape {
	unsigned embd, layers, ff, vocab, heads;
};
struct tensor {
	char name[NAME_BYTES];
	unsigned cols, rows; /* rows 1: a norm, always f32 */
};
struct job {
	uint64_t seed;
	double step;	 /* of the fine-tune, in units of each row's sigma; 0: the checkpoint */
	uint64_t tuning; /* seed of the fine-tune */
	enum part part;	 /* which tensors it moves */
	struct shape shape;
	const char *dir, *name;
};

/* ---- numbers ---- */

/* splitmix64 (Steele, Lea, Flood 2014): small, seedable anywhere. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Nearly Gaussian: the sum of four 16-bit uniforms, scaled to unit variance. */
static float gaussian(uint64_t *state)
{
	const uint64_t r = next_random(state);
	const int sum = (int)(r & 0xffff) + (int)(r >> 16 & 0xffff) + (int)(r >> 32 & 0xffff) +
			(int)(r >> 48);
	return (float)(sum - 2 * 65535) * (1.0f / 37837.0f);
}

/* IEEE 754 binary16, ties to even; weights are far from its largest. */
static uint16_t half_of(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	const uint32_t sign = bits >> 16 & 0x8000;
	const int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
	const uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
	if (exponent >= 31)
		return (uint16_t)(sign | 0x7c00);
	if (exponent < -10)
		return (uint16_t)sign;
	/* Below the least normal number the hidden bit becomes one of the mantissa's. */
	const unsigned drop = exponent > 0 ? 13 : (unsigned)(14 - exponent);
	const uint32_t kept = mantissa >> drop, rest = mantissa & ((1u << drop) - 1);
	const uint32_t half = 1u << (drop - 1);
	const uint32_t round = rest > half || (rest == half && (kept & 1));
	const uint32_t base = exponent > 0 ? (uint32_t)(exponent - 1) << 10 : 0;
	return (uint16_t)(sign | (base + kept + round));
}

static float float_of_half(uint16_t bits)
{
	const float mantissa = (float)(bits & 0x3ff) / 1024;
	const int exponent = bits >> 10 & 0x1f;
	const float value = exponent ? ldexpf(1 + mantissa, exponent - 15) : ldexpf(mantissa, -14);
	return bits & 0x8000 ? -value : value;
}

static bool touched(const struct job *job, const struct tensor *t)
{
	int layer = -1;
	sscanf(t->name, "blk.%d.", &layer);
	switch (job->part) {
	case PART_ATTENTION:
		return strstr(t->name, "attn_") && t->rows > 1;
	case PART_LAST:
		return layer + 2 >= (int)job->shape.layers;
	case PART_HEAD:
		return t->rows == 1 || !strcmp(t->name, "output.weight");
	default:
		return true;
	}
}

/* One row of one tensor; the same for every tier. */
static void make_row(const struct job *job, const struct tensor *t, unsigned tensor, unsigned row,
		     float *out, unsigned cols)
{
	const bool moved = job->step > 0 && touched(job, t);
	uint64_t state = job->seed ^ ((uint64_t)tensor << 40) ^ ((uint64_t)row << 8);
	next_random(&state);
	const float sigma = 0.02f * expf(0.35f * gaussian(&state));
	uint64_t tuned = job->tuning ^ ((uint64_t)tensor << 40) ^ ((uint64_t)row << 8);
	next_random(&tuned);
	for (unsigned i = 0; i < cols; i++) {
		out[i] = sigma * gaussian(&state);
		if (moved)
			out[i] += (float)job->step * sigma * gaussian(&tuned);
	}
}

/* ---- block formats ---- */

static void put_f16(struct buf *out, const float *row, unsigned cols)
{
	for (unsigned i = 0; i < cols; i++) {
		const uint16_t bits = half_of(row[i]);
		buf_add(out, &bits, sizeof(bits));
	}
}

/* The upper half of a float, ties to even. */
static void put_bf16(struct buf *out, const float *row, unsigned cols)
{
	for (unsigned i = 0; i < cols; i++) {
		uint32_t bits;
		memcpy(&bits, &row[i], sizeof(bits));
		const uint16_t upper = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
		buf_add(out, &upper, sizeof(upper));
	}
}

/* q8_0: f16 scale d = max|x| / 127, then 32 signed bytes round(x / d). */
static void put_q8_0(struct buf *out, const float *row, unsigned cols)
{
	for (unsigned at = 0; at < cols; at += BLOCK) {
		float max = 0;
		int8_t quants[BLOCK];
		for (unsigned i = 0; i < BLOCK; i++)
			max = fmaxf(max, fabsf(row[at + i]));
		const uint16_t scale = half_of(max / 127.0f);
		const float d = max / 127.0f;
		for (unsigned i = 0; i < BLOCK; i++)
			quants[i] = (int8_t)lrintf(d > 0 ? row[at + i] / d : 0);
		buf_add(out, &scale, sizeof(scale));
		buf_add(out, quants, sizeof(quants));
	}
}

static uint8_t nibble(float value, float d)
{
	const long q = d != 0.0f ? lrintf(value / d + 8.0f) : 8;
	return (uint8_t)(q < 0 ? 0 : q > 15 ? 15 : q);
}

/* q4_0: f16 scale d = (the value of largest magnitude) / -8, then 16 bytes: value i in the low,
 * value i + 16 in the high nibble, offset by 8. */
static void put_q4_0(struct buf *out, const float *row, unsigned cols)
{
	for (unsigned at = 0; at < cols; at += BLOCK) {
		float far = 0;
		uint8_t quants[BLOCK / 2];
		for (unsigned i = 0; i < BLOCK; i++)
			if (fabsf(row[at + i]) > fabsf(far))
				far = row[at + i];
		const uint16_t scale = half_of(far / -8.0f);
		const float d = float_of_half(scale);
		for (unsigned i = 0; i < BLOCK / 2; i++)
			quants[i] = (uint8_t)(nibble(row[at + i], d) |
					      nibble(row[at + BLOCK / 2 + i], d) << 4);
		buf_add(out, &scale, sizeof(scale));
		buf_add(out, quants, sizeof(quants));
	}
}

static void put_row(struct buf *out, enum tier tier, const float *row, unsigned cols)
{
	if (tier == TIER_F16)
		put_f16(out, row, cols);
	else if (tier == TIER_BF16)
		put_bf16(out, row, cols);
	else if (tier == TIER_Q8_0)
		put_q8_0(out, row, cols);
	else
		put_q4_0(out, row, cols);
}

static uint64_t tensor_bytes(const struct tensor *t, enum tier tier)
{
	static const unsigned block_bytes[TIERS] = {2 * BLOCK, 2 + BLOCK, 2 + BLOCK / 2,
						    2 * BLOCK};
	if (t->rows == 1)
		return (uint64_t)t->cols * sizeof(float);
	return (uint64_t)t->rows * t->cols / BLOCK * block_bytes[tier];
}

/* ---- the model ---- */

static void add_tensor(struct tensor *list, unsigned *count, const char *name, int layer,
		       unsigned cols, unsigned rows)
{
	struct tensor *t = &list[(*count)++];
	if (layer < 0)
		snprintf(t->name, sizeof(t->name), "%s.weight", name);
	else
		snprintf(t->name, sizeof(t->name), "blk.%d.%s.weight", layer, name);
	t->cols = cols;
	t->rows = rows;
}

/* The tensors of a llama-like decoder, in file order. */
static unsigned list_tensors(const struct shape *s, struct tensor *list)
{
	unsigned n = 0;
	add_tensor(list, &n, "token_embd", -1, s->embd, s->vocab);
	for (int i = 0; i < (int)s->layers; i++) {
		add_tensor(list, &n, "attn_norm", i, s->embd, 1);
		add_tensor(list, &n, "attn_q", i, s->embd, s->embd);
		add_tensor(list, &n, "attn_k", i, s->embd, s->embd);
		add_tensor(list, &n, "attn_v", i, s->embd, s->embd);
		add_tensor(list, &n, "attn_output", i, s->embd, s->embd);
		add_tensor(list, &n, "ffn_norm", i, s->embd, 1);
		add_tensor(list, &n, "ffn_gate", i, s->embd, s->ff);
		add_tensor(list, &n, "ffn_up", i, s->embd, s->ff);
		add_tensor(list, &n, "ffn_down", i, s->ff, s->embd);
	}
	add_tensor(list, &n, "output_norm", -1, s->embd, 1);
	add_tensor(list, &n, "output", -1, s->embd, s->vocab);
	return n;
}

/* ---- GGUF v3 header (ggml/docs/gguf.md) ---- */

static void put_string(struct buf *out, const char *text)
{
	buf_add_le64(out, strlen(text));
	buf_adds(out, text);
}

static void put_key(struct buf *out, const char *key, uint32_t type)
{
	put_string(out, key);
	buf_add_le32(out, type);
}

static void put_u32(struct buf *out, const char *key, uint32_t value)
{
	put_key(out, key, GGUF_U32);
	buf_add_le32(out, value);
}

static void put_f32_bits(struct buf *out, float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	buf_add_le32(out, bits);
}

static void put_text(struct buf *out, const char *key, const char *value)
{
	put_key(out, key, GGUF_STRING);
	put_string(out, value);
}

static void put_array(struct buf *out, const char *key, uint32_t type, unsigned count)
{
	put_key(out, key, GGUF_ARRAY);
	buf_add_le32(out, type);
	buf_add_le64(out, count);
}

#define METADATA_COUNT 16
static void put_metadata(struct buf *out, const struct job *job, enum tier tier)
{
	const struct shape *s = &job->shape;
	put_text(out, "general.architecture", "llama");
	put_text(out, "general.name", job->name);
	put_u32(out, "general.alignment", ALIGNMENT);
	put_u32(out, "general.quantization_version", 2);
	put_u32(out, "general.file_type", tier_file_types[tier]);
	put_u32(out, "llama.context_length", 2048);
	put_u32(out, "llama.embedding_length", s->embd);
	put_u32(out, "llama.block_count", s->layers);
	put_u32(out, "llama.feed_forward_length", s->ff);
	put_u32(out, "llama.attention.head_count", s->heads);
	put_u32(out, "llama.attention.head_count_kv", s->heads);
	put_key(out, "llama.attention.layer_norm_rms_epsilon", GGUF_F32);
	put_f32_bits(out, 1e-5f);
	put_text(out, "tokenizer.ggml.model", "llama");
	put_array(out, "tokenizer.ggml.tokens", GGUF_STRING, s->vocab);
	for (unsigned i = 0; i < s->vocab; i++) {
		char token[16];
		snprintf(token, sizeof(token), "<%05x>", i);
		put_string(out, token);
	}
	put_array(out, "tokenizer.ggml.scores", GGUF_F32, s->vocab);
	for (unsigned i = 0; i < s->vocab; i++)
		put_f32_bits(out, -(float)i);
	put_array(out, "tokenizer.ggml.token_type", GGUF_I32, s->vocab);
	for (unsigned i = 0; i < s->vocab; i++)
		buf_add_le32(out, 1);
}

static void pad(struct buf *out)
{
	while (out->len % ALIGNMENT)
		buf_addc(out, 0);
}

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_header(struct buf *out, const struct job *job, enum tier tier,
		       const struct tensor *list, unsigned count)
{
	uint64_t at = 0;
	buf_adds(out, "GGUF");
	buf_add_le32(out, 3);
	buf_add_le64(out, count);
	buf_add_le64(out, METADATA_COUNT);
	put_metadata(out, job, tier);
	for (unsigned i = 0; i < count; i++) {
		const bool norm = list[i].rows == 1;
		put_string(out, list[i].name);
		buf_add_le32(out, norm ? 1 : 2);
		buf_add_le64(out, list[i].cols);
		if (!norm)
			buf_add_le64(out, list[i].rows);
		buf_add_le32(out, norm ? GGML_F32 : tier_types[tier]);
		buf_add_le64(out, at);
		at += aligned(tensor_bytes(&list[i], tier));
	}
	pad(out);
}

/* ---- writing ---- */

static int drain(int fd, struct buf *out, struct err *err)
{
	if (buf_ok(out, "output", err) || file_write_all(fd, out->data, out->len, err))
		return -1;
	buf_reset(out);
	return 0;
}

static int write_tensor(int fd, struct buf *out, const struct job *job, enum tier tier,
			const struct tensor *t, unsigned index, struct err *err)
{
	float *row = malloc(t->cols * sizeof(*row));
	int bad = row ? 0 : err_nomem(err);
	for (unsigned r = 0; !bad && r < t->rows; r++) {
		make_row(job, t, index, r, row, t->cols);
		if (t->rows == 1) {
			for (unsigned i = 0; i < t->cols; i++)
				put_f32_bits(out, 1.0f + row[i]);
		} else {
			put_row(out, tier, row, t->cols);
		}
		if (out->len > OUT_BYTES)
			bad = drain(fd, out, err);
	}
	free(row);
	for (uint64_t rest = tensor_bytes(t, tier); rest % ALIGNMENT; rest++)
		buf_addc(out, 0);
	return bad;
}

static int write_tier(const struct job *job, enum tier tier, struct err *err)
{
	char path[4096];
	AUTO_BUF struct buf out = BUF_INIT(16 << 20);
	const size_t room = 2 + 9 * (size_t)job->shape.layers + 2;
	struct tensor *list = calloc(room, sizeof(*list));
	if (!list)
		return err_nomem(err);
	const unsigned count = list_tensors(&job->shape, list);
	snprintf(path, sizeof(path), "%s/%s-%s.gguf", job->dir, job->name, tier_names[tier]);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int bad = fd < 0 ? err_sys(err, "cannot create %s", path) : 0;
	if (!bad)
		put_header(&out, job, tier, list, count);
	for (unsigned i = 0; !bad && i < count; i++)
		bad = write_tensor(fd, &out, job, tier, &list[i], i, err);
	free(list);
	if (bad || drain(fd, &out, err))
		return -1;
	printf("%s\n", path);
	return 0;
}

/* ---- command line ---- */

static const struct {
	const char *name;
	struct shape shape;
} sizes[] = {
	{"tiny", {64, 2, 192, 512, 4}},		/* about 0.2 M parameters: tests */
	{"demo", {512, 6, 1408, 8192, 8}},	/* about 28 M: 100 MB in three tiers */
	{"large", {1024, 12, 2816, 16384, 16}}, /* about 186 M */
};

static int usage(FILE *out, int code)
{
	fputs("usage: flotilla-synth [--size tiny|demo|large] [--seed N] [--step X [--tuning N]]"
	      " [--part P] [--rows N] [--tier T] DIR NAME\n\n"
	      "Writes DIR/NAME-f16.gguf, NAME-q8_0.gguf and NAME-q4_0.gguf: a synthetic checkpoint\n"
	      "in the layouts llama.cpp reads.  The same seed gives the same bytes.\n\n"
	      "  --size   tiny (0.5 MB), demo (100 MB, the default) or large (700 MB), all tiers\n"
	      "  --seed   of the checkpoint (1)\n"
	      "  --step   make a fine-tune: every weight moves by X sigma, e.g. 0.01\n"
	      "  --tuning seed of the fine-tune (1)\n"
	      "  --part   it moves only: attention, last (two blocks), head (and norms); or all (the default)\n"
	      "  --rows   after --size: add N rows to the vocabulary\n"
	      "  --tier   write only this tier: f16, q8_0, q4_0, bf16\n",
	      out);
	return code;
}

static int set_size(struct job *job, const char *name)
{
	for (unsigned i = 0; i < COUNT_OF(sizes); i++)
		if (!strcmp(sizes[i].name, name)) {
			job->shape = sizes[i].shape;
			return 0;
		}
	return -1;
}

static int tier_of(const char *name)
{
	for (int i = 0; i < TIERS; i++)
		if (!strcmp(tier_names[i], name))
			return i;
	return -1;
}

/* A whole number; -1 and a message otherwise. */
static int number(const char *option, const char *text, uint64_t *ret)
{
	char *end;
	errno = 0;
	const unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-') {
		fprintf(stderr, "flotilla-synth: --%s: %s is not a whole number\n", option, text);
		return -1;
	}
	*ret = n;
	return 0;
}

static int step_of(const char *text, double *ret)
{
	char *end;
	const double x = strtod(text, &end);
	if (*end || end == text || !(x > 0 && x <= 10)) {
		fprintf(stderr, "flotilla-synth: --step: must be above 0 and at most 10\n");
		return -1;
	}
	*ret = x;
	return 0;
}

static int part_of(struct job *job, const char *name)
{
	for (int i = 0; i < PARTS; i++)
		if (!strcmp(part_names[i], name)) {
			job->part = (enum part)i;
			return 0;
		}
	return -1;
}

static int parse(struct job *job, int *only, int argc, char **argv)
{
	static const struct option options[] = {
		{"size", required_argument, NULL, 's'},	  {"seed", required_argument, NULL, 'n'},
		{"step", required_argument, NULL, 'x'},	  {"tuning", required_argument, NULL, 't'},
		{"tier", required_argument, NULL, 'T'},	  {"help", no_argument, NULL, 'h'},
		{"part", required_argument, NULL, 'p'},	  {"rows", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	uint64_t rows;
	int c;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int bad = c == '?';
		if (c == 'h')
			exit(usage(stdout, 0));
		else if (c == 's')
			bad = set_size(job, optarg);
		else if (c == 'n')
			bad = number("seed", optarg, &job->seed);
		else if (c == 't')
			bad = number("tuning", optarg, &job->tuning);
		else if (c == 'x')
			bad = step_of(optarg, &job->step);
		else if (c == 'p')
			bad = part_of(job, optarg);
		else if (c == 'r' && !(bad = number("rows", optarg, &rows) || rows > 4096))
			job->shape.vocab += (unsigned)rows;
		else if (c == 'T')
			bad = (*only = tier_of(optarg)) < 0;
		if (bad)
			return -1;
	}
	return argc - optind == 2 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct job job = {.seed = 1, .tuning = 1};
	struct err err;
	int only = -1;
	set_size(&job, "demo");
	if (parse(&job, &only, argc, argv))
		return usage(stderr, 2);
	job.dir = argv[optind];
	job.name = argv[optind + 1];
	job.seed *= 0x9e3779b97f4a7c15u;
	job.tuning *= 0xd1342543de82ef95u;
	int bad = file_mkdirs(job.dir, 0755, &err);
	for (int tier = 0; !bad && tier < TIERS; tier++)
		if (only < 0 ? tier < TIERS_UNASKED : only == tier)
			bad = write_tier(&job, (enum tier)tier, &err);
	if (bad)
		fprintf(stderr, "flotilla-synth: %s\n", err.text);
	return bad ? 1 : 0;
}
