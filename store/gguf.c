#include "store/gguf.h"

#include "store/le.h"

#include <stdio.h>
#include <string.h>

/* Each step runs when the bytes it asked for are there, and asks for those of the next: the file's
 * grammar as a chain of functions, so that it can stop between any two bytes. */

#define GGUF_PAIRS_MAX 65536u
#define GGUF_KEY_MAX 65535u
#define GGUF_ALIGN_DEFAULT 32u

enum {
	KIND_U8,
	KIND_I8,
	KIND_U16,
	KIND_I16,
	KIND_U32,
	KIND_I32,
	KIND_F32,
	KIND_BOOL,
	KIND_STRING,
	KIND_ARRAY,
	KIND_U64,
	KIND_I64,
	KIND_F64,
	KINDS
};

static const uint8_t kind_bytes[KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* By ggml's number (enum ggml_type); the rest, retired or new, are opaque. */
static const uint8_t ggml_elements[] = {
	[0] = ELEMENT_F32,	[1] = ELEMENT_F16,     [2] = ELEMENT_Q4_0,     [3] = ELEMENT_Q4_1,
	[6] = ELEMENT_Q5_0,	[7] = ELEMENT_Q5_1,    [8] = ELEMENT_Q8_0,     [9] = ELEMENT_Q8_1,
	[10] = ELEMENT_Q2_K,	[11] = ELEMENT_Q3_K,   [12] = ELEMENT_Q4_K,    [13] = ELEMENT_Q5_K,
	[14] = ELEMENT_Q6_K,	[15] = ELEMENT_Q8_K,   [16] = ELEMENT_IQ2_XXS, [17] = ELEMENT_IQ2_XS,
	[18] = ELEMENT_IQ3_XXS, [19] = ELEMENT_IQ1_S,  [20] = ELEMENT_IQ4_NL,  [21] = ELEMENT_IQ3_S,
	[22] = ELEMENT_IQ2_S,	[23] = ELEMENT_IQ4_XS, [24] = ELEMENT_I8,      [25] = ELEMENT_I16,
	[26] = ELEMENT_I32,	[27] = ELEMENT_I64,    [28] = ELEMENT_F64,     [29] = ELEMENT_IQ1_M,
	[30] = ELEMENT_BF16,	[34] = ELEMENT_TQ1_0,  [35] = ELEMENT_TQ2_0,   [39] = ELEMENT_MXFP4,
};

/* The steps that come before what they lead to. */
static gguf_step on_magic, on_head, next_pair, on_key_len, on_key, after_key, on_kind, on_scalar,
	on_align, on_string_len, on_string, on_array, on_items, next_string, on_item_len, on_item,
	next_tensor, on_name_len, on_name, on_dims, on_dim, on_type, on_offset, finish;

static enum format_state want(struct gguf *gguf, uint32_t len, gguf_step *step)
{
	gguf->want = len;
	gguf->step = step;
	return FORMAT_READING;
}

static enum format_state skip(struct gguf *gguf, uint64_t len, gguf_step *step)
{
	if (len > FORMAT_HEADER_MAX)
		return FORMAT_UNKNOWN;
	gguf->skip = len;
	return want(gguf, 0, step);
}

/* A text of len bytes, of which as many as anybody wants to see are copied for the next step, and
 * kept_rest() passes over the others. */
static enum format_state want_text(struct gguf *gguf, uint64_t len, gguf_step *step)
{
	if (len > FORMAT_HEADER_MAX || gguf->at + len > FORMAT_HEADER_MAX)
		return FORMAT_UNKNOWN;
	gguf->full = len;
	return want(gguf, len < WATCH_TEXT_MAX ? (uint32_t)len : WATCH_TEXT_MAX, step);
}

static enum format_state kept_rest(struct gguf *gguf, gguf_step *step)
{
	return skip(gguf, gguf->full - gguf->have, step);
}

/* ---- For who watches. ---- */

static void tell(struct gguf *gguf, struct watch_value *value)
{
	value->key = gguf->key;
	if (gguf->watch)
		gguf->watch->value(gguf->watch->arg, value);
}

static double real_of(const uint8_t *p, bool wide)
{
	double d;
	float f;
	uint64_t bits = wide ? le_u64(p) : 0;
	uint32_t half = le_u32(p);

	memcpy(&d, &bits, sizeof d);
	memcpy(&f, &half, sizeof f);
	return wide ? d : (double)f;
}

/* kind_bytes[kind] bytes at p, which has room for 8. */
static struct watch_value number_of(uint32_t kind, const uint8_t *p)
{
	const uint32_t low = le_u32(p);

	switch (kind) {
	case KIND_I8:
		return (struct watch_value){.kind = WATCH_INT, .i = (int8_t)p[0]};
	case KIND_U16:
		return (struct watch_value){.kind = WATCH_UINT, .u = low & 0xffff};
	case KIND_I16:
		return (struct watch_value){.kind = WATCH_INT, .i = (int16_t)(low & 0xffff)};
	case KIND_U32:
		return (struct watch_value){.kind = WATCH_UINT, .u = low};
	case KIND_I32:
		return (struct watch_value){.kind = WATCH_INT, .i = (int32_t)low};
	case KIND_F32:
	case KIND_F64:
		return (struct watch_value){.kind = WATCH_REAL,
					    .real = real_of(p, kind == KIND_F64)};
	case KIND_BOOL:
		return (struct watch_value){.kind = WATCH_BOOL, .i = p[0] != 0};
	case KIND_U64:
		return (struct watch_value){.kind = WATCH_UINT, .u = le_u64(p)};
	case KIND_I64:
		return (struct watch_value){.kind = WATCH_INT, .i = (int64_t)le_u64(p)};
	default:
		return (struct watch_value){.kind = WATCH_UINT, .u = p[0]};
	}
}

static struct watch_value text_of(const struct gguf *gguf)
{
	return (struct watch_value){.kind = WATCH_TEXT,
				    .text = (const char *)gguf->text,
				    .len = gguf->have,
				    .cut = gguf->full > gguf->have};
}

static void tell_tensor(struct gguf *gguf)
{
	char number[24];
	struct watch_tensor *told = &gguf->told;

	if (!gguf->watch)
		return;
	snprintf(number, sizeof number, "ggml %u", gguf->type);
	gguf->name[gguf->name_len] = 0;
	told->name = gguf->name;
	told->element = gguf->tensor.type;
	told->type = told->element == ELEMENT_OPAQUE ? number : element_name(told->element);
	told->at = gguf->tensor.at;
	told->len = gguf->tensor.len;
	gguf->watch->tensor(gguf->watch->arg, told);
}

/* ---- The steps. ---- */

void gguf_init(struct gguf *gguf)
{
	*gguf = (struct gguf){.align = GGUF_ALIGN_DEFAULT};
	want(gguf, 8, on_magic);
}

static enum format_state on_magic(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	uint32_t version = le_u32(gguf->text + 4);
	if (memcmp(gguf->text, "GGUF", 4) || version < 2 || version > 3)
		return FORMAT_UNKNOWN;
	return want(gguf, 16, on_head);
}

static enum format_state on_head(struct gguf *gguf, struct segments *segments)
{
	gguf->tensors = le_u64(gguf->text);
	gguf->pairs = le_u64(gguf->text + 8);
	if (gguf->tensors > FORMAT_SEGMENTS_MAX || gguf->pairs > GGUF_PAIRS_MAX)
		return FORMAT_UNKNOWN;
	return next_pair(gguf, segments);
}

static enum format_state next_pair(struct gguf *gguf, struct segments *segments)
{
	if (!gguf->pairs)
		return next_tensor(gguf, segments);
	gguf->pairs--;
	return want(gguf, 8, on_key_len);
}

static enum format_state on_key_len(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	uint64_t len = le_u64(gguf->text);
	if (len > GGUF_KEY_MAX)
		return FORMAT_UNKNOWN;
	return want_text(gguf, len, on_key);
}

static enum format_state on_key(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	memcpy(gguf->key, gguf->text, gguf->have);
	gguf->key[gguf->have] = 0;
	gguf->is_align = gguf->full == strlen("general.alignment") &&
			 !memcmp(gguf->key, "general.alignment", gguf->have);
	return kept_rest(gguf, after_key);
}

static enum format_state after_key(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	return want(gguf, 4, on_kind);
}

static enum format_state on_kind(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	gguf->kind = le_u32(gguf->text);
	if (gguf->kind >= KINDS || (gguf->is_align && gguf->kind != KIND_U32))
		return FORMAT_UNKNOWN;
	if (gguf->is_align)
		return want(gguf, 4, on_align);
	if (gguf->kind == KIND_STRING)
		return want(gguf, 8, on_string_len);
	if (gguf->kind == KIND_ARRAY)
		return want(gguf, 12, on_array);
	return want(gguf, kind_bytes[gguf->kind], on_scalar);
}

static enum format_state on_scalar(struct gguf *gguf, struct segments *segments)
{
	struct watch_value value = number_of(gguf->kind, gguf->text);

	tell(gguf, &value);
	return next_pair(gguf, segments);
}

static enum format_state on_align(struct gguf *gguf, struct segments *segments)
{
	uint32_t align = le_u32(gguf->text);
	if (!align || (align & (align - 1)) || align > FORMAT_ALIGN_MAX)
		return FORMAT_UNKNOWN;
	gguf->align = align;
	return on_scalar(gguf, segments);
}

static enum format_state on_string_len(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	return want_text(gguf, le_u64(gguf->text), on_string);
}

static enum format_state on_string(struct gguf *gguf, struct segments *segments)
{
	struct watch_value value = text_of(gguf);

	(void)segments;
	tell(gguf, &value);
	return kept_rest(gguf, next_pair);
}

/* Arrays of arrays are in the specification, but ggml neither writes nor reads them. */
static enum format_state on_array(struct gguf *gguf, struct segments *segments)
{
	gguf->kind = le_u32(gguf->text);
	gguf->items = le_u64(gguf->text + 4);
	if (gguf->kind >= KINDS || gguf->kind == KIND_ARRAY || gguf->items > FORMAT_HEADER_MAX)
		return FORMAT_UNKNOWN;
	if (!gguf->items)
		tell(gguf, &(struct watch_value){.kind = WATCH_NONE, .array = true});
	if (gguf->kind == KIND_STRING) {
		gguf->strings = gguf->items;
		return next_string(gguf, segments);
	}
	const uint64_t told = gguf->items < WATCH_ITEMS_MAX ? gguf->items : WATCH_ITEMS_MAX;
	gguf->full = gguf->items * kind_bytes[gguf->kind];
	if (gguf->at + gguf->full > FORMAT_HEADER_MAX)
		return FORMAT_UNKNOWN;
	return want(gguf, (uint32_t)told * kind_bytes[gguf->kind], on_items);
}

static enum format_state on_items(struct gguf *gguf, struct segments *segments)
{
	const uint32_t bytes = kind_bytes[gguf->kind];

	(void)segments;
	for (uint32_t at = 0; at < gguf->have; at += bytes) {
		uint8_t item[8] = {0};
		memcpy(item, gguf->text + at, bytes);
		struct watch_value value = number_of(gguf->kind, item);
		value.array = true;
		value.index = at / bytes;
		value.count = gguf->items;
		tell(gguf, &value);
	}
	return kept_rest(gguf, next_pair);
}

static enum format_state next_string(struct gguf *gguf, struct segments *segments)
{
	if (!gguf->strings)
		return next_pair(gguf, segments);
	gguf->strings--;
	return want(gguf, 8, on_item_len);
}

static enum format_state on_item_len(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	if (gguf->items - gguf->strings > WATCH_ITEMS_MAX)
		return skip(gguf, le_u64(gguf->text), next_string);
	return want_text(gguf, le_u64(gguf->text), on_item);
}

static enum format_state on_item(struct gguf *gguf, struct segments *segments)
{
	struct watch_value value = text_of(gguf);

	(void)segments;
	value.array = true;
	value.index = gguf->items - gguf->strings - 1;
	value.count = gguf->items;
	tell(gguf, &value);
	return kept_rest(gguf, next_string);
}

static enum format_state next_tensor(struct gguf *gguf, struct segments *segments)
{
	if (!gguf->tensors)
		return finish(gguf, segments);
	gguf->tensors--;
	return want(gguf, 8, on_name_len);
}

static enum format_state on_name_len(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	uint64_t len = le_u64(gguf->text);
	if (len > FORMAT_NAME_MAX)
		return FORMAT_UNKNOWN;
	gguf->name_len = (uint32_t)len;
	return want(gguf, gguf->name_len, on_name);
}

static enum format_state on_name(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	memcpy(gguf->name, gguf->text, gguf->name_len);
	return want(gguf, 4, on_dims);
}

static enum format_state on_dims(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	gguf->dims = le_u32(gguf->text);
	gguf->values = 1;
	if (gguf->dims > WATCH_DIMS_MAX)
		return FORMAT_UNKNOWN;
	gguf->told = (struct watch_tensor){.dim_count = gguf->dims};
	return gguf->dims ? want(gguf, 8, on_dim) : want(gguf, 4, on_type);
}

static enum format_state on_dim(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	gguf->told.dims[gguf->told.dim_count - gguf->dims] = le_u64(gguf->text);
	if (__builtin_mul_overflow(gguf->values, le_u64(gguf->text), &gguf->values))
		return FORMAT_UNKNOWN;
	return --gguf->dims ? want(gguf, 8, on_dim) : want(gguf, 4, on_type);
}

/* An unknown type has no known size; its tensor reaches up to the next. */
static enum format_state on_type(struct gguf *gguf, struct segments *segments)
{
	(void)segments;
	uint32_t number = le_u32(gguf->text);
	uint8_t type = number < COUNT_OF(ggml_elements) ? ggml_elements[number] : ELEMENT_OPAQUE;
	uint64_t len = SEGMENT_OPEN;
	if (type != ELEMENT_OPAQUE && (gguf->values % element_values(type) ||
				       __builtin_mul_overflow(gguf->values / element_values(type),
							      element_block(type), &len)))
		return FORMAT_UNKNOWN;
	if (!gguf->values)
		len = 0;
	gguf->type = number;
	gguf->tensor = (struct segment){.type = type, .len = len};
	return want(gguf, 8, on_offset);
}

static enum format_state on_offset(struct gguf *gguf, struct segments *segments)
{
	gguf->tensor.at = le_u64(gguf->text);
	tell_tensor(gguf);
	if (gguf->tensor.at % gguf->align ||
	    segments_add(segments, &gguf->tensor, gguf->name, gguf->name_len))
		return FORMAT_UNKNOWN;
	return next_tensor(gguf, segments);
}

static enum format_state finish(struct gguf *gguf, struct segments *segments)
{
	gguf->data_at = (gguf->at + gguf->align - 1) / gguf->align * gguf->align;
	return segments_settle(segments, gguf->data_at, gguf->align) ? FORMAT_UNKNOWN
								     : FORMAT_KNOWN;
}

/* Pass over or copy what the next step wants; false when bytes run out first. */
static bool gguf_gather(struct gguf *gguf, const uint8_t *bytes, size_t len, size_t *used)
{
	size_t left = len - *used;
	size_t n = gguf->skip < left ? (size_t)gguf->skip : left;
	gguf->skip -= n;
	*used += n;
	left -= n;
	gguf->at += n;
	if (gguf->skip)
		return false;
	n = gguf->want - gguf->have < left ? gguf->want - gguf->have : left;
	if (n)
		memcpy(gguf->text + gguf->have, bytes + *used, n);
	gguf->have += (uint32_t)n;
	*used += n;
	gguf->at += n;
	return gguf->have == gguf->want;
}

enum format_state gguf_feed(struct gguf *gguf, struct segments *segments, const uint8_t *bytes,
			    size_t len)
{
	size_t used = 0;

	while (gguf_gather(gguf, bytes, len, &used)) {
		enum format_state state = gguf->step(gguf, segments);
		if (state != FORMAT_READING)
			return state;
		if (gguf->at + gguf->skip > FORMAT_HEADER_MAX)
			return FORMAT_UNKNOWN;
		gguf->have = 0;
	}
	return FORMAT_READING;
}
