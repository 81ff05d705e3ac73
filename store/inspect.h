/* inspect.h -- what a model file is, told by its header: architecture, quantization, tensors,
 * metadata.  Reads the header only; anything odd is opaque, as in format.h.  What it tells is for
 * people: nothing is decided by it.
 * Texts come from the file and may hold any bytes but NUL, cut at WATCH_TEXT_MAX.
 * Memory: at most 32 MiB, however hostile the header.  Threads: any. */
#ifndef STORE_INSPECT_H
#define STORE_INSPECT_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/format.h"
#include "store/source.h"
#include "store/watch.h"

#include <stdbool.h>
#include <stdint.h>

#define INSPECT_TYPES_MAX 48u	/* kinds of tensors; further ones count as the last */
#define INSPECT_PAIRS_MAX 4096u /* of metadata; further ones are counted, not kept */

struct inspect_type {
	char name[32]; /* "q4_K" */
	uint64_t tensors, bytes, values;
};
struct inspect_tensor {
	const char *name, *type;
	uint8_t element; /* enum element */
	uint32_t dim_count;
	uint64_t dims[WATCH_DIMS_MAX]; /* in the file's order */
	uint64_t at, len;	       /* from the start of the file */
};
struct inspect_pair {
	const char *key, *value; /* value as text: arrays as "[1, 2, ... of 32000]" */
};

struct inspect {
	enum format_id format;
	uint32_t version; /* of GGUF; 0: none */
	uint64_t bytes, header; /* of the file, of its header (0: opaque) */
	bool truncated;	  /* tensors end beyond the file */
	bool adapter;	  /* general.type is "adapter" */
	char architecture[64], name[128];
	int file_type;	  /* general.file_type, llama.cpp's; -1: not said */
	uint64_t parameters; /* values in all tensors */
	uint64_t context_length, layers, heads; /* 0: not said */
	uint32_t type_count, tensor_count, pair_count;
	struct inspect_type types[INSPECT_TYPES_MAX]; /* most bytes first */
	struct inspect_tensor *tensors; /* owned; in the file's order of bytes */
	struct inspect_pair *pairs;	/* owned; in the header's order */
	uint64_t pairs_all;		/* those beyond INSPECT_PAIRS_MAX included */
	struct arena *texts;		/* owned; what the pointers lead to */
};

/* -1 only if source fails, or without memory.  The caller's. */
int inspect_source(struct inspect **ret_inspect, const struct source *source,
		   struct err *err) CHECKED;
void inspect_free(struct inspect *inspect); /* NULL is fine */
DEFINE_AUTO(struct inspect, inspect_free)

/* "Q4_K_M" of a llama.cpp file type; NULL: not known. */
const char *inspect_file_type(int file_type);
/* How the tensors are quantized, in a word: the file type where the tensors agree with it, else the
 * type with the most bytes; "" of an opaque file. */
const char *inspect_quantization(const struct inspect *inspect);

/* Whether tier names what the tensors are: true too when nothing can be said (a name that is no file
 * type, an adapter, an opaque file).  Else why->text says what they are (ERR_INVALID). */
bool inspect_tier_fits(const struct inspect *inspect, const char *tier, struct err *why);

#endif
