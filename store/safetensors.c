#include "store/safetensors.h"

#include "store/le.h"

#include <string.h>

enum { EXPECT_OBJECT, /* the outermost one */
       EXPECT_KEY,
       EXPECT_KEY_OR_END,
       EXPECT_COLON,
       EXPECT_VALUE,
       EXPECT_VALUE_OR_END,
       EXPECT_COMMA,
       EXPECT_NOTHING /* but padding */ };

enum { FIELD_OTHER, FIELD_DTYPE, FIELD_SHAPE, FIELD_OFFSETS };

enum { DEPTH_NAMES = 1, DEPTH_TENSOR = 2, DEPTH_OFFSETS = 3 };

static const struct {
	const char *name;
	uint8_t type;
} dtypes[] = {
	{"BOOL", ELEMENT_BOOL}, {"U8", ELEMENT_U8},	{"I8", ELEMENT_I8},
	{"U16", ELEMENT_U16},	{"I16", ELEMENT_I16},	{"F16", ELEMENT_F16},
	{"BF16", ELEMENT_BF16}, {"U32", ELEMENT_U32},	{"I32", ELEMENT_I32},
	{"F32", ELEMENT_F32},	{"U64", ELEMENT_U64},	{"I64", ELEMENT_I64},
	{"F64", ELEMENT_F64},	{"F8_E4M3", ELEMENT_F8_E4M3}, {"F8_E5M2", ELEMENT_F8_E5M2},
};

void safetensors_init(struct safetensors *st)
{
	*st = (struct safetensors){.expect = EXPECT_OBJECT};
}

static bool text_is(const struct safetensors *st, const char *word)
{
	return st->text_len == strlen(word) && !memcmp(st->text, word, st->text_len);
}

static bool is_metadata(const struct safetensors *st)
{
	return st->name_len == strlen("__metadata__") && !memcmp(st->name, "__metadata__", 12);
}

/* ---- For who watches. ---- */

static void text_copy(const struct safetensors *st, char *out, size_t room)
{
	size_t len = st->text_len < room - 1 ? st->text_len : room - 1;

	memcpy(out, st->text, len);
	out[len] = 0;
}

static void tell_value(struct safetensors *st)
{
	struct watch_value value = {.key = st->key,
				    .kind = WATCH_TEXT,
				    .text = st->text,
				    .len = st->text_len,
				    .cut = st->text_len > FORMAT_NAME_MAX};

	if (value.cut)
		value.len = FORMAT_NAME_MAX;
	if (st->watch)
		st->watch->value(st->watch->arg, &value);
}

static void tell_tensor(struct safetensors *st, const struct segment *tensor)
{
	struct watch_tensor *told = &st->told;

	if (!st->watch)
		return;
	st->name[st->name_len] = 0;
	told->name = st->name;
	told->element = tensor->type;
	if (told->element != ELEMENT_OPAQUE)
		told->type = element_name(told->element);
	else
		told->type = st->dtype[0] ? st->dtype : "untyped";
	told->at = tensor->at;
	told->len = tensor->len;
	st->watch->tensor(st->watch->arg, told);
}

/* A number of the shape; those beyond what anybody shows are left out. */
static void add_dim(struct safetensors *st)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < st->text_len && i < 19 && st->text[i] >= '0' && st->text[i] <= '9';
	     i++)
		value = value * 10 + (uint64_t)(st->text[i] - '0');
	if (st->told.dim_count < WATCH_DIMS_MAX)
		st->told.dims[st->told.dim_count++] = value;
}

/* ---- The grammar. ---- */

static void text_add(struct safetensors *st, char c)
{
	if (st->text_len < FORMAT_NAME_MAX)
		st->text[st->text_len++] = c;
	else
		st->text_len = FORMAT_NAME_MAX + 1;
}

/* A string that stands before a colon. */
static int on_key(struct safetensors *st)
{
	st->expect = EXPECT_COLON;
	if (st->depth == DEPTH_TENSOR) {
		st->field = text_is(st, "dtype")	  ? FIELD_DTYPE
			    : text_is(st, "shape")	  ? FIELD_SHAPE
			    : text_is(st, "data_offsets") ? FIELD_OFFSETS
							  : FIELD_OTHER;
		text_copy(st, st->key, sizeof st->key);
		return 0;
	}
	if (st->depth != DEPTH_NAMES)
		return 0;
	if (st->text_len > FORMAT_NAME_MAX)
		return -1;
	memcpy(st->name, st->text, st->text_len);
	st->name_len = st->text_len;
	st->type = ELEMENT_OPAQUE;
	st->offset_count = 0;
	st->field = FIELD_OTHER;
	st->told.dim_count = 0;
	st->dtype[0] = 0;
	return 0;
}

static int on_string(struct safetensors *st)
{
	if (st->expect == EXPECT_KEY || st->expect == EXPECT_KEY_OR_END)
		return on_key(st);
	st->expect = EXPECT_COMMA;
	if (st->depth == DEPTH_NAMES)
		return -1; /* a tensor is an object */
	if (st->depth == DEPTH_TENSOR && is_metadata(st))
		tell_value(st);
	else if (st->depth == DEPTH_TENSOR && st->field == FIELD_DTYPE) {
		text_copy(st, st->dtype, sizeof st->dtype);
		for (size_t i = 0; i < COUNT_OF(dtypes); i++)
			if (text_is(st, dtypes[i].name))
				st->type = dtypes[i].type;
	}
	return 0;
}

/* A number, true, false or null.  Only the two offsets are looked at: at most 18 digits. */
static int on_scalar(struct safetensors *st)
{
	st->expect = EXPECT_COMMA;
	if (st->depth == DEPTH_NAMES)
		return -1;
	if (st->depth == DEPTH_OFFSETS && st->field == FIELD_SHAPE)
		add_dim(st);
	if (st->depth != DEPTH_OFFSETS || st->field != FIELD_OFFSETS)
		return 0;
	if (st->offset_count == 2 || st->text_len > 18)
		return -1;
	uint64_t value = 0;
	for (uint32_t i = 0; i < st->text_len; i++) {
		if (st->text[i] < '0' || st->text[i] > '9')
			return -1;
		value = value * 10 + (uint64_t)(st->text[i] - '0');
	}
	st->offsets[st->offset_count++] = value;
	return 0;
}

static int on_tensor(struct safetensors *st, struct segments *segments)
{
	if (is_metadata(st))
		return 0;
	if (st->offset_count != 2 || st->offsets[0] > st->offsets[1])
		return -1;
	struct segment tensor = {.at = st->offsets[0],
				 .len = st->offsets[1] - st->offsets[0],
				 .type = st->type};
	if (tensor.len % element_block(tensor.type))
		return -1;
	tell_tensor(st, &tensor);
	return segments_add(segments, &tensor, st->name, st->name_len);
}

static int on_open(struct safetensors *st, bool object)
{
	bool first = st->expect == EXPECT_OBJECT;

	if (!first && st->expect != EXPECT_VALUE && st->expect != EXPECT_VALUE_OR_END)
		return -1;
	if ((first || st->depth == DEPTH_NAMES) && !object)
		return -1;
	if (st->depth == SAFETENSORS_DEPTH_MAX)
		return -1;
	st->is_object[st->depth++] = object;
	st->expect = object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
	return 0;
}

static int on_close(struct safetensors *st, struct segments *segments, bool object)
{
	if (!st->depth || st->is_object[st->depth - 1] != object)
		return -1;
	if (st->expect != EXPECT_COMMA &&
	    st->expect != (object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END))
		return -1;
	if (st->depth == DEPTH_TENSOR && on_tensor(st, segments))
		return -1;
	st->depth--;
	st->expect = st->depth ? EXPECT_COMMA : EXPECT_NOTHING;
	return 0;
}

static int on_comma(struct safetensors *st)
{
	if (st->expect != EXPECT_COMMA)
		return -1;
	st->expect = st->is_object[st->depth - 1] ? EXPECT_KEY : EXPECT_VALUE;
	return 0;
}

static int on_colon(struct safetensors *st)
{
	if (st->expect != EXPECT_COLON)
		return -1;
	st->expect = EXPECT_VALUE;
	return 0;
}

/* The first byte of a string or scalar. */
static int on_start(struct safetensors *st, char c)
{
	bool value = st->expect == EXPECT_VALUE || st->expect == EXPECT_VALUE_OR_END;
	bool key = st->expect == EXPECT_KEY || st->expect == EXPECT_KEY_OR_END;

	st->text_len = 0;
	if (c == '"') {
		st->in_text = true;
		return value || key ? 0 : -1;
	}
	if (!value || !((c >= '0' && c <= '9') || c == '-' || (c >= 'a' && c <= 'z')))
		return -1;
	st->in_scalar = true;
	text_add(st, c);
	return 0;
}

static int on_punctuation(struct safetensors *st, struct segments *segments, char c)
{
	switch (c) {
	case ' ':
	case '\t':
	case '\n':
	case '\r':
		return st->expect == EXPECT_OBJECT ? -1 : 0; /* '{' must be the first */
	case '{':
	case '[':
		return on_open(st, c == '{');
	case '}':
	case ']':
		return on_close(st, segments, c == '}');
	case ',':
		return on_comma(st);
	case ':':
		return on_colon(st);
	default:
		return on_start(st, c);
	}
}

/* Escapes are kept as written: names are only compared with each other. */
static int on_text_byte(struct safetensors *st, char c)
{
	if ((unsigned char)c < ' ')
		return -1;
	if (c == '"' && !st->escaped) {
		st->in_text = false;
		return on_string(st);
	}
	st->escaped = c == '\\' && !st->escaped;
	text_add(st, c);
	return 0;
}

static int on_byte(struct safetensors *st, struct segments *segments, char c)
{
	if (st->in_text)
		return on_text_byte(st, c);
	if (st->in_scalar) {
		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '.' ||
		    c == '-' || c == '+') {
			text_add(st, c);
			return 0;
		}
		st->in_scalar = false;
		if (on_scalar(st))
			return -1;
	}
	return on_punctuation(st, segments, c);
}

static int on_head_byte(struct safetensors *st, uint8_t byte)
{
	st->head[st->at - 1] = byte;
	if (st->at < sizeof st->head)
		return 0;
	st->size = le_u64(st->head);
	return st->size >= 2 && st->size <= FORMAT_HEADER_MAX - sizeof st->head ? 0 : -1;
}

enum format_state safetensors_feed(struct safetensors *st, struct segments *segments,
				   const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		st->at++;
		if (st->at <= sizeof st->head) {
			if (on_head_byte(st, bytes[i]))
				return FORMAT_UNKNOWN;
			continue;
		}
		if (on_byte(st, segments, (char)bytes[i]))
			return FORMAT_UNKNOWN;
		if (st->at < sizeof st->head + st->size)
			continue;
		st->data_at = st->at;
		return st->expect == EXPECT_NOTHING && !segments_settle(segments, st->data_at, 1)
			       ? FORMAT_KNOWN
			       : FORMAT_UNKNOWN;
	}
	return FORMAT_READING;
}
