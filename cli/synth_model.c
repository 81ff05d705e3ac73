/* A decoder's tensors and its GGUF v3 file (ggml/docs/gguf.md). */
#include "base/buf.h"
#include "base/file.h"
#include "cli/synth.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define ALIGNMENT 32
#define STRIP_ROWS 512 /* made at a time, half of them by each thread */
#define HEADER_MAX (16 << 20)

enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_Q4_K = 12, GGML_BF16 = 30 };
enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_ARRAY = 9 };

const char *const tier_names[TIERS] = {
	[TIER_F16] = "f16",   [TIER_Q8_0] = "q8_0", [TIER_Q4_0] = "q4_0",
	[TIER_BF16] = "bf16", [TIER_Q4_K] = "q4_K",
};
static const uint32_t tier_types[TIERS] = {
	[TIER_F16] = GGML_F16,	 [TIER_Q8_0] = GGML_Q8_0, [TIER_Q4_0] = GGML_Q4_0,
	[TIER_BF16] = GGML_BF16, [TIER_Q4_K] = GGML_Q4_K,
};
/* llama.cpp's general.file_type */
static const uint32_t tier_file_types[TIERS] = {
	[TIER_F16] = 1, [TIER_Q8_0] = 7, [TIER_Q4_0] = 2, [TIER_BF16] = 32, [TIER_Q4_K] = 14,
};

/* ---- the tensors ---- */

/* What a block's tensors are called, and in other files. */
static const struct {
	const char *name, *renamed;
	bool attention;
} kinds[] = {
	{"attn_norm", "input_layernorm", false},	  {"attn_q", "self_attn.q_proj", true},
	{"attn_k", "self_attn.k_proj", true},		  {"attn_v", "self_attn.v_proj", true},
	{"attn_output", "self_attn.o_proj", true},	  {"ffn_norm", "post_attention_layernorm", false},
	{"ffn_gate", "mlp.gate_proj", false},		  {"ffn_up", "mlp.up_proj", false},
	{"ffn_down", "mlp.down_proj", false},
};
enum { KIND_GATE = 6, KIND_UP, KIND_DOWN };

static bool touched(const struct synth *synth, const struct tensor *t, unsigned layer, bool attention,
		    bool head)
{
	if (!(synth->step > 0))
		return false;
	switch (synth->part) {
	case PART_LORA:
		return attention;
	case PART_LAST:
		return layer + 2 >= synth->shape.layers;
	case PART_HEAD:
		return t->rows == 1 || head;
	default:
		return true;
	}
}

static void set_block_tensor(const struct synth *synth, struct tensor *t, unsigned layer, unsigned kind)
{
	const struct shape *s = &synth->shape;
	snprintf(t->name, sizeof(t->name), synth->renamed ? "layers.%u.%s.weight" : "blk.%u.%s.weight",
		 layer, synth->renamed ? kinds[kind].renamed : kinds[kind].name);
	t->cols = kind == KIND_DOWN ? s->ff : s->embd;
	t->rows = kind == KIND_GATE || kind == KIND_UP ? s->ff : s->embd;
	if (kind == 0 || kind == 5)
		t->rows = 1;
	t->touched = touched(synth, t, layer, kinds[kind].attention, false);
	t->lora = synth->part == PART_LORA;
}

static void set_outer_tensor(const struct synth *synth, struct tensor *t, const char *name, unsigned rows)
{
	snprintf(t->name, sizeof(t->name), "%s%s.weight", synth->renamed ? "lm." : "", name);
	t->cols = synth->shape.embd;
	t->rows = rows;
	/* Part of no block, least of all of the last ones. */
	t->touched = synth->part != PART_LAST && touched(synth, t, 0, false, !strcmp(name, "output"));
}

static int name_cmp(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static struct tensor *tensors_new(const struct synth *synth, unsigned *ret_count)
{
	const struct shape *s = &synth->shape;
	const unsigned count = 3 + (unsigned)COUNT_OF(kinds) * s->layers;
	struct tensor *list = calloc(count, sizeof(*list)), *next = list;
	if (!list)
		return NULL;
	set_outer_tensor(synth, next++, "token_embd", s->vocab);
	for (unsigned layer = 0; layer < s->layers; layer++)
		for (unsigned kind = 0; kind < COUNT_OF(kinds); kind++)
			set_block_tensor(synth, next++, layer, kind);
	set_outer_tensor(synth, next++, "output_norm", 1);
	set_outer_tensor(synth, next++, "output", s->vocab);
	for (unsigned i = 0; i < count; i++)
		list[i].id = i;
	if (synth->sorted)
		qsort(list, count, sizeof(*list), name_cmp);
	*ret_count = count;
	return list;
}

static size_t row_bytes(const struct tensor *t, enum tier tier)
{
	return t->rows == 1 ? t->cols * sizeof(float) : blocks_bytes(tier, t->cols);
}

/* ---- the header ---- */

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

#define TOKENIZER_COUNT 4
static void put_tokenizer(struct buf *out, unsigned vocab)
{
	put_text(out, "tokenizer.ggml.model", "llama");
	put_array(out, "tokenizer.ggml.tokens", GGUF_STRING, vocab);
	for (unsigned i = 0; i < vocab; i++) {
		char token[16];
		snprintf(token, sizeof(token), "<%05x>", i);
		put_string(out, token);
	}
	put_array(out, "tokenizer.ggml.scores", GGUF_F32, vocab);
	for (unsigned i = 0; i < vocab; i++)
		put_f32_bits(out, -(float)i);
	put_array(out, "tokenizer.ggml.token_type", GGUF_I32, vocab);
	for (unsigned i = 0; i < vocab; i++)
		buf_add_le32(out, 1);
}

#define METADATA_COUNT 12
static void put_metadata(struct buf *out, const struct synth *synth, enum tier tier)
{
	const struct shape *s = &synth->shape;
	put_text(out, "general.architecture", "llama");
	put_text(out, "general.name", synth->name);
	if (synth->note)
		put_text(out, "general.description", synth->note);
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
	put_tokenizer(out, s->vocab);
}

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_tensor(struct buf *out, const struct tensor *t, enum tier tier, uint64_t at)
{
	const bool norm = t->rows == 1;
	put_string(out, t->name);
	buf_add_le32(out, norm ? 1 : 2);
	buf_add_le64(out, t->cols);
	if (!norm)
		buf_add_le64(out, t->rows);
	buf_add_le32(out, norm ? GGML_F32 : tier_types[tier]);
	buf_add_le64(out, at);
}

static int write_header(int fd, const struct synth *synth, enum tier tier, const struct tensor *list,
			unsigned count, struct err *err)
{
	AUTO_BUF struct buf out = BUF_INIT(HEADER_MAX);
	uint64_t at = 0;
	buf_adds(&out, "GGUF");
	buf_add_le32(&out, 3);
	buf_add_le64(&out, count);
	buf_add_le64(&out, METADATA_COUNT + TOKENIZER_COUNT + (synth->note != NULL));
	put_metadata(&out, synth, tier);
	for (unsigned i = 0; i < count; i++) {
		put_tensor(&out, &list[i], tier, at);
		at += aligned(row_bytes(&list[i], tier) * list[i].rows);
	}
	while (out.len % ALIGNMENT)
		buf_addc(&out, 0);
	return buf_ok(&out, "header", err) || file_write_all(fd, out.data, out.len, err) ? -1 : 0;
}

/* ---- the numbers ---- */

/* Rows that one thread makes. */
struct strip {
	const struct weights *weights;
	const struct tensor *tensor;
	enum tier tier;
	unsigned first, count;
	float *row;   /* one */
	uint8_t *out; /* all */
};

static void *make_strip(void *arg)
{
	const struct strip *s = arg;
	const size_t bytes = row_bytes(s->tensor, s->tier);
	for (unsigned i = 0; i < s->count; i++) {
		weights_row(s->weights, s->first + i, s->row);
		if (s->tensor->rows == 1)
			memcpy(s->out, s->row, bytes);
		else
			blocks_put(s->tier, s->row, s->tensor->cols, s->out + i * bytes);
	}
	return NULL;
}

/* The strip in two halves, each with a row of its own. */
static void make_in_two(struct strip *s, float *other_row)
{
	struct strip other = *s;
	pthread_t thread;
	s->count /= 2;
	other.first += s->count;
	other.count -= s->count;
	other.row = other_row;
	other.out += s->count * row_bytes(s->tensor, s->tier);
	const bool helped = !pthread_create(&thread, NULL, make_strip, &other);
	make_strip(s);
	if (helped)
		pthread_join(thread, NULL);
	else
		make_strip(&other);
}

static int write_rows(int fd, const struct weights *weights, const struct tensor *t, enum tier tier,
		      struct err *err)
{
	const size_t bytes = row_bytes(t, tier);
	AUTO_FREE float *rows = malloc(2 * (size_t)t->cols * sizeof(*rows));
	AUTO_FREE uint8_t *out = malloc(bytes * STRIP_ROWS + ALIGNMENT);
	if (!rows || !out)
		return err_nomem(err);
	for (unsigned at = 0; at < t->rows; at += STRIP_ROWS) {
		const unsigned count = t->rows - at < STRIP_ROWS ? t->rows - at : STRIP_ROWS;
		struct strip strip = {weights, t, tier, at, count, rows, out};
		make_in_two(&strip, rows + t->cols);
		if (file_write_all(fd, out, bytes * count, err))
			return -1;
	}
	const uint64_t len = bytes * t->rows;
	memset(out, 0, ALIGNMENT);
	return file_write_all(fd, out, aligned(len) - len, err);
}

static int write_tensor(int fd, const struct synth *synth, const struct tensor *t, enum tier tier,
			struct err *err)
{
	AUTO(weights_free) struct weights *weights = weights_new(synth, t);
	return weights ? write_rows(fd, weights, t, tier, err) : err_nomem(err);
}

int synth_write(const struct synth *synth, enum tier tier, struct err *err)
{
	char path[4096];
	unsigned count;
	if (!blocks_bytes(tier, synth->shape.embd) || !blocks_bytes(tier, synth->shape.ff))
		return err_set(err, ERR_INVALID, "%s: rows of this --size are no whole blocks of it",
			       tier_names[tier]);
	AUTO_FREE struct tensor *list = tensors_new(synth, &count);
	if (!list)
		return err_nomem(err);
	snprintf(path, sizeof(path), "%s/%s-%s.gguf", synth->dir, synth->name, tier_names[tier]);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(err, "cannot create %s", path);
	if (write_header(fd, synth, tier, list, count, err))
		return err_in(err, "%s", path);
	for (unsigned i = 0; i < count; i++)
		if (write_tensor(fd, synth, &list[i], tier, err))
			return err_in(err, "%s", path);
	printf("%s\n", path);
	return 0;
}
