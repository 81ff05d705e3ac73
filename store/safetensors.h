/* safetensors.h -- the header of a safetensors file, read as its bytes come in: the length of a
 * JSON object (u64), then the object {name: {"dtype", "shape", "data_offsets": [begin, end]}} with
 * an optional "__metadata__".  Only format.c uses it.
 * Lenient where it does not matter (what a skipped value looks like inside), since the answer only
 * chooses cuts.
 * Threads: a struct safetensors belongs to one. */
#ifndef STORE_SAFETENSORS_H
#define STORE_SAFETENSORS_H

#include "store/segments.h"
#include "store/watch.h"

#include <stdbool.h>
#include <stdint.h>

#define SAFETENSORS_DEPTH_MAX 8u

struct safetensors {
	uint64_t at;   /* bytes taken */
	uint64_t size; /* of the JSON text */
	uint8_t head[8];
	int expect; /* what may come next: see safetensors.c */
	bool in_text, escaped, in_scalar;
	uint8_t depth;
	bool is_object[SAFETENSORS_DEPTH_MAX];
	uint32_t text_len; /* of the string or scalar being read; FORMAT_NAME_MAX + 1: too long */
	char text[FORMAT_NAME_MAX + 1];
	uint32_t name_len;
	char name[FORMAT_NAME_MAX + 1];
	int field; /* the tensor's member being read */
	const struct watch *watch; /* borrowed; NULL: nobody wants to know */
	struct watch_tensor told;
	char key[FORMAT_NAME_MAX + 1], dtype[32]; /* for who watches */
	uint8_t type;
	uint32_t offset_count;
	uint64_t offsets[2];
	uint64_t data_at; /* once FORMAT_KNOWN */
};

void safetensors_init(struct safetensors *st);
/* Take what is needed of len bytes.  Stops at the byte that decides; st->at counts those taken.
 * FORMAT_KNOWN: segments are settled. */
enum format_state safetensors_feed(struct safetensors *st, struct segments *segments,
				   const uint8_t *bytes, size_t len);

#endif
