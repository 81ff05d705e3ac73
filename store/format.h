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
#include "store/element.h"
#include "store/source.h"
#include "store/watch.h"

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

/* Before the first byte: tell watch (borrowed) what the header says, as it is read. */
void format_watch(struct format *format, const struct watch *watch);

/* The file's next bytes, from its first byte on, in portions of any size.  Once the state is not
 * FORMAT_READING, further bytes are ignored. */
enum format_state format_feed(struct format *format, const void *bytes, size_t len);
/* The same by reading from source as much as needed, at the most FORMAT_HEADER_MAX.  A file that
 * ends within its header becomes FORMAT_UNKNOWN.  -1 only if source fails, or without memory. */
int format_parse(struct format **ret_format, const struct source *source,
		 struct err *err) CHECKED;
/* As format_parse(), telling watch. */
int format_parse_watched(struct format **ret_format, const struct source *source,
			 const struct watch *watch, struct err *err) CHECKED;

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
