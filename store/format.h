/* format.h -- where the tensors lie in a model file.  Knows GGUF versions 2 and 3 (little-endian;
 * ggml/docs/gguf.md) and safetensors (github.com/huggingface/safetensors, "Format").
 * The answer only chooses where to cut: digests cover raw bytes, so a wrong answer costs savings,
 * never correctness.  Hence anything odd -- malformed, truncated, beyond a limit, overlapping
 * tensors -- simply makes the file opaque; no bytes are ever refused.
 * The answer depends on the header's bytes alone, not on the file's length nor on how the bytes
 * were dealt out, so a stream and a local file get the same one.
 * Memory: at most 4 MiB, however large the header (which may have 64 MiB).
 * Threads: a struct format belongs to one. */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include "base/cc.h"
#include "base/err.h"
#include "store/source.h"

#include <stdbool.h>
#include <stdint.h>

#define FORMAT_HEADER_MAX (64u << 20) /* bytes before the first tensor */
#define FORMAT_SEGMENTS_MAX 32768u    /* tensors */
#define FORMAT_NAMES_MAX (1536u << 10) /* bytes of all names, each with its NUL */
#define FORMAT_NAME_MAX 255u	      /* bytes of one name */
#define FORMAT_ALIGN_MAX (64u << 10)  /* GGUF's general.alignment: a power of two up to this */
#define FORMAT_FILE_MAX (64ull << 30) /* bytes; no tensor may end beyond */

/* On disk and on the wire (recipes): never renumber. */
enum format_id { FORMAT_OPAQUE = 0, FORMAT_GGUF = 1, FORMAT_SAFETENSORS = 2 };

/* Element types, on disk and on the wire: never renumber; append.  Readers treat numbers they do
 * not know as ELEMENT_OPAQUE. */
enum element {
	ELEMENT_OPAQUE = 0, /* no tensor, or of a type we do not know */
	ELEMENT_F32 = 1,
	ELEMENT_F16 = 2,
	ELEMENT_BF16 = 3,
	ELEMENT_Q8_0 = 4,
	ELEMENT_Q4_0 = 5,
	ELEMENT_Q4_K = 6,
	ELEMENT_Q4_1 = 7,
	ELEMENT_Q5_0 = 8,
	ELEMENT_Q5_1 = 9,
	ELEMENT_Q8_1 = 10,
	ELEMENT_Q2_K = 11,
	ELEMENT_Q3_K = 12,
	ELEMENT_Q5_K = 13,
	ELEMENT_Q6_K = 14,
	ELEMENT_Q8_K = 15,
	ELEMENT_IQ2_XXS = 16,
	ELEMENT_IQ2_XS = 17,
	ELEMENT_IQ3_XXS = 18,
	ELEMENT_IQ1_S = 19,
	ELEMENT_IQ4_NL = 20,
	ELEMENT_IQ3_S = 21,
	ELEMENT_IQ2_S = 22,
	ELEMENT_IQ4_XS = 23,
	ELEMENT_IQ1_M = 24,
	ELEMENT_TQ1_0 = 25,
	ELEMENT_TQ2_0 = 26,
	ELEMENT_MXFP4 = 27,
	ELEMENT_I8 = 32,
	ELEMENT_I16 = 33,
	ELEMENT_I32 = 34,
	ELEMENT_I64 = 35,
	ELEMENT_U8 = 36,
	ELEMENT_U16 = 37,
	ELEMENT_U32 = 38,
	ELEMENT_U64 = 39,
	ELEMENT_F64 = 40,
	ELEMENT_F8_E4M3 = 41,
	ELEMENT_F8_E5M2 = 42,
	ELEMENT_BOOL = 43
};

/* Bytes of the smallest group that stands for itself (a q8_0 block: 34; an f16: 2); 1 for unknown
 * types. */
uint32_t element_block(uint8_t type);
/* Values in such a block (q8_0: 32; f16: 1). */
uint32_t element_values(uint8_t type);
/* "f16", "q4_K", ...; "opaque" for unknown types. */
const char *element_name(uint8_t type);
/* "gguf", "safetensors"; "opaque" for anything else. */
const char *format_id_name(uint8_t id);
/* The reverse: -1 and untouched for a word that is none of the three. */
int format_id_parse(uint8_t *ret_id, const char *word) CHECKED;

/* One tensor.  Segments are sorted by at, not empty, and do not overlap (len + pad included). */
struct segment {
	uint64_t at;   /* from the start of the file */
	uint64_t len;  /* the tensor's own bytes */
	uint32_t pad;  /* bytes behind it that only align the next one (< FORMAT_ALIGN_MAX) */
	uint32_t name; /* for format_name() */
	uint8_t type;  /* enum element */
};

enum format_state {
	FORMAT_READING, /* wants more bytes */
	FORMAT_KNOWN,	/* the header is complete; the segments are there */
	FORMAT_UNKNOWN	/* not one of ours: opaque */
};

struct format; /* opaque */

struct format *format_new(void) CHECKED; /* NULL without memory */
void format_free(struct format *format); /* NULL is fine */
DEFINE_AUTO(struct format, format_free)

/* The file's next bytes, from its first byte on, in portions of any size.  Once the state is not
 * FORMAT_READING, further bytes are ignored. */
enum format_state format_feed(struct format *format, const void *bytes, size_t len);
/* The same by reading from source as much as needed, at the most FORMAT_HEADER_MAX.  A file that
 * ends within its header becomes FORMAT_UNKNOWN.  -1 only if source fails, or without memory. */
int format_parse(struct format **ret_format, const struct source *source,
		 struct err *err) CHECKED;

enum format_state format_state(const struct format *format);
enum format_id format_id(const struct format *format); /* FORMAT_OPAQUE unless FORMAT_KNOWN */
/* FORMAT_UNKNOWN: how many bytes it took to tell. */
uint64_t format_failed_at(const struct format *format);
/* FORMAT_KNOWN: the offset at which the header ends and tensor data may begin. */
uint64_t format_data_at(const struct format *format);
/* FORMAT_KNOWN: the tensors, owned by format; else none. */
const struct segment *format_segments(const struct format *format, uint32_t *ret_count);
const char *format_name(const struct format *format, const struct segment *segment);

#endif
