#include "store/inspect.h"

#include "base/buf.h"
#include "base/grow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MAX (24u << 20) /* of all names, keys and values kept: more than the limits let in */
#define VALUE_MAX 2200u	      /* one of them: WATCH_ITEMS_MAX texts */

struct reading {
	struct inspect *in;
	uint32_t tensor_room, pair_room;
	struct buf value; /* as text, of the array that is being told */
	bool failed;	  /* no memory */
};

/* "" without memory, which is then remembered. */
static const char *text_keep(struct reading *r, const char *text)
{
	const char *kept = arena_strdup(r->in->texts, text);

	r->failed |= !kept;
	return kept ? kept : "";
}

/* ---- Tensors. ---- */

static uint64_t values_of(const struct watch_tensor *t)
{
	uint64_t values = 1;

	for (uint32_t i = 0; i < t->dim_count; i++)
		if (__builtin_mul_overflow(values, t->dims[i], &values))
			return 0;
	return values;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return __builtin_add_overflow(a, b, &a) ? UINT64_MAX : a;
}

static struct inspect_type *type_find(struct inspect *in, const char *name)
{
	for (uint32_t i = 0; i < in->type_count; i++)
		if (!strcmp(in->types[i].name, name))
			return &in->types[i];
	if (in->type_count == INSPECT_TYPES_MAX)
		return &in->types[INSPECT_TYPES_MAX - 1];
	struct inspect_type *type = &in->types[in->type_count++];
	snprintf(type->name, sizeof type->name, "%s", name);
	return type;
}

static void on_tensor(void *arg, const struct watch_tensor *t)
{
	struct reading *r = arg;
	struct inspect *in = r->in;

	if (in->tensor_count == FORMAT_SEGMENTS_MAX)
		return; /* empty ones, which format.h does not count */
	struct inspect_type *type = type_find(in, t->type);
	type->tensors++;
	type->values = sum(type->values, values_of(t));
	in->parameters = sum(in->parameters, values_of(t));
	struct inspect_tensor *grown =
		grow_array(in->tensors, &r->tensor_room, in->tensor_count, sizeof *grown);
	if (!grown) {
		r->failed = true;
		return;
	}
	in->tensors = grown;
	struct inspect_tensor *tensor = &grown[in->tensor_count++];
	*tensor = (struct inspect_tensor){.name = text_keep(r, t->name),
					  .type = text_keep(r, type->name),
					  .element = t->element,
					  .dim_count = t->dim_count,
					  .at = t->at,
					  .len = t->len};
	memcpy(tensor->dims, t->dims, sizeof tensor->dims);
}

static int tensor_cmp(const void *a, const void *b)
{
	const struct inspect_tensor *x = a, *y = b;

	return x->at != y->at ? (x->at < y->at ? -1 : 1) : strcmp(x->name, y->name);
}

static int type_cmp(const void *a, const void *b)
{
	const struct inspect_type *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes > y->bytes ? -1 : 1) : strcmp(x->name, y->name);
}

/* Where they lie, and how long those are whose type does not tell: format.h knows. */
static void tensors_settle(struct inspect *in, const struct format *format)
{
	uint32_t count, next = 0;
	const struct segment *segments = format_segments(format, &count);

	for (uint32_t i = 0; i < in->tensor_count; i++)
		in->tensors[i].at += format_data_at(format);
	if (in->tensor_count)
		qsort(in->tensors, in->tensor_count, sizeof *in->tensors, tensor_cmp);
	for (uint32_t i = 0; i < in->tensor_count; i++) {
		struct inspect_tensor *t = &in->tensors[i];
		while (next < count && segments[next].at < t->at)
			next++;
		if (t->len == UINT64_MAX)
			t->len = next < count && segments[next].at == t->at ? segments[next].len : 0;
		in->truncated |= t->len && t->at + t->len > in->bytes;
		type_find(in, t->type)->bytes += t->len;
	}
	qsort(in->types, in->type_count, sizeof *in->types, type_cmp);
}

/* ---- Metadata. ---- */

static bool key_is(const char *key, const char *architecture, const char *rest)
{
	const size_t len = strlen(architecture);

	return len && !strncmp(key, architecture, len) && key[len] == '.' &&
	       !strcmp(key + len + 1, rest);
}

static void copy(char *out, size_t room, const struct watch_value *v)
{
	snprintf(out, room, "%.*s", (int)v->len, v->text);
}

/* The keys that GGUF's specification names (ggml/docs/gguf.md). */
static void notice(struct inspect *in, const struct watch_value *v)
{
	const uint64_t number = v->kind == WATCH_UINT		  ? v->u
				: v->kind == WATCH_INT && v->i > 0 ? (uint64_t)v->i
								   : 0;
	const char *arch = in->architecture;

	if (v->kind == WATCH_TEXT && !strcmp(v->key, "general.architecture"))
		copy(in->architecture, sizeof in->architecture, v);
	else if (v->kind == WATCH_TEXT && !strcmp(v->key, "general.name"))
		copy(in->name, sizeof in->name, v);
	else if (v->kind == WATCH_TEXT && !strcmp(v->key, "general.type"))
		in->adapter = v->len == 7 && !memcmp(v->text, "adapter", 7);
	else if (!strcmp(v->key, "general.file_type") && v->kind == WATCH_UINT && v->u < 1 << 16)
		in->file_type = (int)v->u;
	else if (key_is(v->key, arch, "context_length"))
		in->context_length = number;
	else if (key_is(v->key, arch, "block_count"))
		in->layers = number;
	else if (key_is(v->key, arch, "attention.head_count"))
		in->heads = number;
}

static void value_text(struct buf *out, const struct watch_value *v)
{
	switch (v->kind) {
	case WATCH_NONE:
		break;
	case WATCH_BOOL:
		buf_adds(out, v->i ? "true" : "false");
		break;
	case WATCH_INT:
		buf_addf(out, "%" PRId64, v->i);
		break;
	case WATCH_UINT:
		buf_addf(out, "%" PRIu64, v->u);
		break;
	case WATCH_REAL:
		buf_addf(out, "%.7g", v->real);
		break;
	case WATCH_TEXT:
		buf_add(out, v->text, strnlen(v->text, v->len));
		buf_adds(out, v->cut ? "..." : "");
		break;
	}
}

static void pair_add(struct reading *r, const char *key)
{
	struct inspect *in = r->in;

	in->pairs_all++;
	r->failed |= r->value.failed && !r->value.full;
	if (in->pair_count == INSPECT_PAIRS_MAX || r->value.failed) {
		buf_reset(&r->value);
		return;
	}
	struct inspect_pair *grown =
		grow_array(in->pairs, &r->pair_room, in->pair_count, sizeof *grown);
	if (!grown) {
		r->failed = true;
		return;
	}
	in->pairs = grown;
	grown[in->pair_count++] = (struct inspect_pair){
		text_keep(r, key), text_keep(r, r->value.data ? r->value.data : "")};
	buf_reset(&r->value);
}

static void on_value(void *arg, const struct watch_value *v)
{
	struct reading *r = arg;
	const uint64_t told = v->count < WATCH_ITEMS_MAX ? v->count : WATCH_ITEMS_MAX;

	if (!v->array) {
		notice(r->in, v);
		value_text(&r->value, v);
		pair_add(r, v->key);
		return;
	}
	buf_adds(&r->value, v->index ? ", " : "[");
	value_text(&r->value, v);
	if (v->index + 1 < told)
		return;
	if (v->count > told)
		buf_addf(&r->value, ", ... of %" PRIu64, v->count);
	buf_addc(&r->value, ']');
	pair_add(r, v->key);
}

/* ---- The whole. ---- */

/* A header that turned out to be none told nothing. */
static void forget(struct inspect *in)
{
	free(in->tensors);
	free(in->pairs);
	*in = (struct inspect){.file_type = -1, .bytes = in->bytes, .texts = in->texts};
}

static int header_read(struct reading *r, const struct source *source, struct err *err)
{
	const struct watch watch = {r, on_tensor, on_value};
	AUTO(format_free) struct format *format = NULL;
	struct inspect *in = r->in;
	uint8_t head[8];

	if (format_parse_watched(&format, source, &watch, err) < 0)
		return -1;
	if (format_state(format) != FORMAT_KNOWN) {
		forget(in);
		return 0;
	}
	if (r->failed)
		return err_nomem(err);
	in->format = format_id(format);
	in->header = format_data_at(format);
	if (in->format == FORMAT_GGUF && source->read(source->arg, 0, head, sizeof head, err) < 0)
		return -1;
	in->version = in->format == FORMAT_GGUF ? head[4] : 0;
	tensors_settle(in, format);
	return 0;
}

int inspect_source(struct inspect **ret_inspect, const struct source *source, struct err *err)
{
	AUTO(inspect_free) struct inspect *in = calloc(1, sizeof *in);
	struct reading r = {.in = in, .value = BUF_INIT(VALUE_MAX)};

	if (!in || !(in->texts = arena_new(TEXTS_MAX)))
		return err_nomem(err);
	in->file_type = -1;
	in->bytes = source->size;
	const int failed = header_read(&r, source, err);
	buf_done(&r.value);
	if (failed)
		return err_in(err, "header");
	*ret_inspect = TAKE(in);
	return 0;
}

void inspect_free(struct inspect *inspect)
{
	if (!inspect)
		return;
	free(inspect->tensors);
	free(inspect->pairs);
	arena_free(inspect->texts);
	free(inspect);
}
