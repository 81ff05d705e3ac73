/* gguf.h -- the header of a GGUF file, read as its bytes come in (ggml/docs/gguf.md, versions 2 and
 * 3, little-endian).  Only format.c uses it.
 * Threads: a struct gguf belongs to one. */
#ifndef STORE_GGUF_H
#define STORE_GGUF_H

#include "store/segments.h"
#include "store/watch.h"

#include <stdbool.h>
#include <stdint.h>

struct gguf;
typedef enum format_state gguf_step(struct gguf *gguf, struct segments *segments);

struct gguf {
	gguf_step *step; /* runs once skip bytes were passed over and want bytes are in text */
	uint64_t skip;
	uint32_t want, have;
	uint64_t at; /* bytes taken */
	uint64_t tensors, pairs, strings, values; /* still to come; values: product of dims */
	uint64_t full, items; /* of the current text, the current array: as the file has it */
	uint32_t kind, dims, align;
	bool is_align; /* the current key is general.alignment */
	uint32_t key_len, name_len;
	struct segment tensor;
	const struct watch *watch; /* borrowed; NULL: nobody wants to know */
	uint32_t type;		   /* of the current tensor: enum ggml_type */
	struct watch_tensor told;
	uint64_t data_at; /* once FORMAT_KNOWN */
	uint8_t text[FORMAT_NAME_MAX + 1];
	char name[FORMAT_NAME_MAX + 1], key[WATCH_TEXT_MAX + 1];
};

void gguf_init(struct gguf *gguf);
/* Take what is needed of len bytes.  Stops at the byte that decides; gguf->at counts those taken.
 * FORMAT_KNOWN: segments are settled. */
enum format_state gguf_feed(struct gguf *gguf, struct segments *segments, const uint8_t *bytes,
			    size_t len);

#endif
