/* synth.h -- what flotilla-synth is made of: synthetic checkpoints of a llama-like decoder, fine-tunes of
 * them, and both as GGUF files.
 *
 * The distribution.  A weight is 0.02 x r x c x g: g is Gaussian; r, one a row, and c, one a column, are
 * log-normal, ln r ~ N(0, SYNTH_ROW_SPREAD), ln c ~ N(0, SYNTH_COLUMN_SPREAD): output channels differ in
 * scale, and input channels have outliers, which makes the tails within a row, and so within a block,
 * heavier than a Gaussian's.  The checkpoint is bf16, as trainers write it; every other tier is made from
 * its bf16 numbers.  The two spreads are chosen such that plain zstd -3 leaves of the tiers about what it
 * left of the models on which the store's goals were set (bf16 78.4, f16 77.0, q8_0 95.7, q4_0 94.0, q4_K
 * 97.0 %; here, 168 M, 78.4, 77.2, 95.9, 94.3, 96.9); nothing else was looked at.
 *
 * The same options give the same bytes.  Threads: as said. */
#ifndef CLI_SYNTH_H
#define CLI_SYNTH_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYNTH_ROW_SPREAD 0.37
#define SYNTH_COLUMN_SPREAD 0.10

enum tier { TIER_F16, TIER_Q8_0, TIER_Q4_0, TIER_BF16, TIER_Q4_K, TIERS };
/* What a fine-tune moves: everything; attention, by a merged LoRA; the last two blocks; norms and head. */
enum part { PART_ALL, PART_LORA, PART_LAST, PART_HEAD, PARTS };

struct shape {
	unsigned embd, layers, ff, vocab, heads;
};

struct synth {
	uint64_t seed;	 /* of the checkpoint */
	double step;	 /* of the fine-tune, in units of a tensor's sigma; 0: the checkpoint */
	uint64_t tuning; /* seed of the fine-tune */
	enum part part;
	struct shape shape;
	bool renamed;	  /* tensors have other names ... */
	bool sorted;	  /* ... or another order: that of the names */
	const char *note; /* more metadata, or NULL */
	const char *dir, *name;
};

struct tensor {
	char name[64];
	unsigned id;	     /* whatever it is called and wherever it lies */
	unsigned cols, rows; /* rows 1: a norm, always f32 */
	bool touched;	     /* by the fine-tune */
	bool lora;	     /* ... as a product of two narrow matrices */
};

/* ---- numbers (synth_weights.c) ---- */

struct weights; /* what all rows of a tensor need */
/* NULL without memory.  weights_row() may then be called by many threads. */
struct weights *weights_new(const struct synth *synth, const struct tensor *tensor) CHECKED;
void weights_free(struct weights *weights); /* NULL is fine */
DEFINE_AUTO(struct weights, weights_free)
/* The row's numbers, each of which is one of bf16. */
void weights_row(const struct weights *weights, unsigned row, float *out);

/* ---- their formats (synth_blocks.c) ---- */

/* Bytes of a row of so many; 0: the tier cannot hold that many. */
size_t blocks_bytes(enum tier tier, unsigned cols);
/* As ggml's reference quantizers do it.  Threads: pure. */
void blocks_put(enum tier tier, const float *row, unsigned cols, uint8_t *out);

/* ---- files (synth_model.c) ---- */

extern const char *const tier_names[TIERS];
/* DIR/NAME-TIER.gguf, on two threads. */
int synth_write(const struct synth *synth, enum tier tier, struct err *err) CHECKED;

#endif
