/* flotilla inspect: what a model file is, and what it would take in the store. */
#include "base/file.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/inspect.h"
#include "cli/local.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_ROOM 4096
#define DIMS_ROOM 192
#define JSON_EXACT ((uint64_t)1 << 53) /* larger numbers are not worth telling */

/* Controls, also those of 8 bits (U+0080 to U+009F), and what changes the direction of writing (U+202A to
 * U+202E, U+2066 to U+2069): at a sequence of step bytes. */
static bool commands_terminal(const char *text, size_t step)
{
	const unsigned char *c = (const unsigned char *)text;
	if (step == 1)
		return c[0] < 0x20 || c[0] == 0x7f;
	if (step == 2)
		return c[0] == 0xc2 && c[1] < 0xa0;
	if (step != 3 || c[0] != 0xe2)
		return false;
	return (c[1] == 0x80 && c[2] >= 0xaa && c[2] <= 0xae) ||
	       (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);
}

/* What a file says may hold anything; a terminal and JSON get printable UTF-8 only. */
static const char *printable(const char *text, char out[static TEXT_ROOM])
{
	size_t len = strnlen(text, TEXT_ROOM - 1);
	for (size_t i = 0, step; i < len; i += step) {
		step = utf8_step(text + i, len - i);
		if (step && !commands_terminal(text + i, step)) {
			memcpy(out + i, text + i, step);
			continue;
		}
		step = step ? step : 1;
		memset(out + i, '?', step);
	}
	out[len] = 0;
	return out;
}

static json_t *text_json(const char *text)
{
	char clean[TEXT_ROOM];
	return json_string(printable(text, clean));
}

static void dims_text(const struct inspect_tensor *t, char out[static DIMS_ROOM])
{
	size_t len = 0;
	out[0] = 0;
	for (uint32_t i = 0; i < t->dim_count; i++)
		len += (size_t)snprintf(out + len, DIMS_ROOM - len, "%s%llu", i ? " x " : "",
					(unsigned long long)t->dims[i]);
}

/* "8.03 billion" */
static void count_text(uint64_t n, char out[static TEXT_ROOM])
{
	static const struct {
		double from;
		const char *word;
	} words[] = {{1e12, "trillion"}, {1e9, "billion"}, {1e6, "million"}};
	for (unsigned i = 0; i < COUNT_OF(words); i++)
		if ((double)n >= words[i].from) {
			snprintf(out, TEXT_ROOM, "%.3g %s", (double)n / words[i].from,
				 words[i].word);
			return;
		}
	snprintf(out, TEXT_ROOM, "%llu", (unsigned long long)n);
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static uint64_t tensor_bytes(const struct inspect *in)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < in->type_count; i++)
		bytes += in->types[i].bytes;
	return bytes;
}

/* ---- as JSON ---- */

static json_t *types_json(const struct inspect *in)
{
	json_t *types = json_array();
	for (uint32_t i = 0; i < in->type_count; i++)
		json_array_append_new(
			types, json_pack("{s:o, s:I, s:I, s:I}", "type", text_json(in->types[i].name),
					 "tensors", (json_int_t)in->types[i].tensors, "bytes",
					 (json_int_t)in->types[i].bytes, "values",
					 (json_int_t)in->types[i].values));
	return types;
}

static json_t *tensors_json(const struct inspect *in)
{
	json_t *tensors = json_array();
	for (uint32_t i = 0; i < in->tensor_count; i++) {
		const struct inspect_tensor *t = &in->tensors[i];
		json_t *shape = json_array();
		for (uint32_t k = 0; k < t->dim_count; k++)
			json_array_append_new(shape, json_integer((json_int_t)t->dims[k]));
		json_array_append_new(tensors,
				      json_pack("{s:o, s:o, s:o, s:I, s:I}", "name",
						text_json(t->name), "type", text_json(t->type),
						"shape", shape, "at", (json_int_t)t->at, "bytes",
						(json_int_t)t->len));
	}
	return tensors;
}

static json_t *pairs_json(const struct inspect *in)
{
	json_t *pairs = json_object();
	char key[TEXT_ROOM];
	for (uint32_t i = 0; i < in->pair_count; i++)
		json_object_set_new(pairs, printable(in->pairs[i].key, key),
				    text_json(in->pairs[i].value));
	return pairs;
}

static json_t *estimate_json(const struct estimate *e)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:b}", "stored", (json_int_t)e->stored, "chunks",
			 (json_int_t)e->chunks, "overhead", (json_int_t)e->overhead, "sampled",
			 (json_int_t)e->sampled, "estimated", !e->whole);
}

static void set_known(json_t *doc, const char *name, uint64_t value)
{
	if (value && value <= JSON_EXACT)
		json_object_set_new(doc, name, json_integer((json_int_t)value));
}

json_t *inspect_meta(const struct inspect *in)
{
	json_t *meta = json_object();
	char text[TEXT_ROOM];
	if (in->architecture[0])
		json_object_set_new(meta, "architecture",
				    json_string(printable(in->architecture, text)));
	if (in->name[0])
		json_object_set_new(meta, "name", json_string(printable(in->name, text)));
	if (in->type_count)
		json_object_set_new(meta, "quantization",
				    json_string(printable(inspect_quantization(in), text)));
	set_known(meta, "parameters", in->parameters);
	set_known(meta, "tensors", in->tensor_count);
	set_known(meta, "context_length", in->context_length);
	set_known(meta, "layers", in->layers);
	set_known(meta, "heads", in->heads);
	return meta;
}

static void show_json(const struct args *args, const struct inspect *in, const struct estimate *e)
{
	const char *file_type = inspect_file_type(in->file_type);
	json_auto_t *doc = json_pack(
		"{s:I, s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:I}", "bytes", (json_int_t)in->bytes,
		"format", format_id_name((uint8_t)in->format), "version", (json_int_t)in->version,
		"header", (json_int_t)in->header, "truncated", in->truncated, "meta",
		inspect_meta(in), "types", types_json(in), "store", estimate_json(e),
		"metadata_keys", (json_int_t)in->pairs_all);
	if (file_type)
		json_object_set_new(doc, "file_type", json_string(file_type));
	if (args_flag(args, "tensors"))
		json_object_set_new(doc, "tensors", tensors_json(in));
	if (args_flag(args, "metadata"))
		json_object_set_new(doc, "metadata", pairs_json(in));
	out_json(doc);
}

/* ---- for people ---- */

static void show_model(const struct inspect *in)
{
	char text[TEXT_ROOM], name[TEXT_ROOM];
	if (in->architecture[0] || in->name[0])
		printf("model         %s%s%s\n", printable(in->architecture, text),
		       in->architecture[0] && in->name[0] ? ", " : "", printable(in->name, name));
	printf("quantization  %s\n", printable(inspect_quantization(in), text));
	for (uint32_t i = 0; i < in->type_count; i++)
		printf("              %5.1f %% %s, %llu tensors\n",
		       share(in->types[i].bytes, tensor_bytes(in)),
		       printable(in->types[i].name, text),
		       (unsigned long long)in->types[i].tensors);
	count_text(in->parameters, text);
	printf("parameters    %s in %u tensors\n", text, in->tensor_count);
	if (in->context_length)
		printf("context       %llu tokens\n", (unsigned long long)in->context_length);
	if (in->layers || in->heads)
		printf("layers        %llu, attention heads %llu\n", (unsigned long long)in->layers,
		       (unsigned long long)in->heads);
	printf("metadata      %llu keys\n", (unsigned long long)in->pairs_all);
	if (in->truncated)
		puts("              cut short: tensors end beyond the file");
}

static void show_estimate(const struct inspect *in, const struct estimate *e)
{
	char stored[24], overhead[24], sampled[24];
	out_bytes((int64_t)e->stored, stored);
	out_bytes((int64_t)e->overhead, overhead);
	out_bytes((int64_t)e->sampled, sampled);
	printf("in the store  %s, %.1f %% of the file", stored, share(e->stored, in->bytes));
	if (e->whole)
		printf("\n");
	else
		printf(": an estimate from %s of it\n", sampled);
	printf("              %s%llu chunks; recipe and maps take %s more\n",
	       e->whole && in->format != FORMAT_OPAQUE ? "" : "about ",
	       (unsigned long long)e->chunks, overhead);
}

static void show_pairs(const struct inspect *in)
{
	char key[TEXT_ROOM], value[TEXT_ROOM];
	puts("");
	for (uint32_t i = 0; i < in->pair_count; i++)
		printf("%s = %s\n", printable(in->pairs[i].key, key),
		       printable(in->pairs[i].value, value));
}

static void show_tensors(const struct inspect *in)
{
	static const struct column columns[] = {{"TENSOR", "name", COL_TEXT},
						{"TYPE", "type", COL_TEXT},
						{"SHAPE", "shape", COL_TEXT},
						{"BYTES", "bytes", COL_INT}};
	json_auto_t *rows = json_array();
	char dims[DIMS_ROOM];
	puts("");
	for (uint32_t i = 0; i < in->tensor_count; i++) {
		const struct inspect_tensor *t = &in->tensors[i];
		dims_text(t, dims);
		json_array_append_new(rows, json_pack("{s:o, s:o, s:s, s:I}", "name",
						      text_json(t->name), "type", text_json(t->type),
						      "shape", dims, "bytes", (json_int_t)t->len));
	}
	out_table(rows, columns, COUNT_OF(columns));
}

static void show(const struct args *args, const struct inspect *in, const struct estimate *e)
{
	char bytes[24], header[24];
	out_bytes((int64_t)in->bytes, bytes);
	out_bytes((int64_t)in->header, header);
	if (in->format == FORMAT_OPAQUE)
		printf("format        opaque, %s: no format known here, cut by content (FastCDC)\n",
		       bytes);
	else if (in->version)
		printf("format        GGUF %u, %s, header %s\n", in->version, bytes, header);
	else
		printf("format        safetensors, %s, header %s\n", bytes, header);
	if (in->format != FORMAT_OPAQUE)
		show_model(in);
	show_estimate(in, e);
	if (args_flag(args, "metadata"))
		show_pairs(in);
	if (args_flag(args, "tensors"))
		show_tensors(in);
}

int inspect_file(const char *path, struct inspect **ret_inspect, struct estimate *ret_estimate,
		 struct err *err)
{
	uint64_t bytes;
	AUTO_FD int fd = -1;
	if (local_open(path, &fd, &bytes, err))
		return -1;
	const struct source source = source_fd(&fd, bytes);
	if (inspect_source(ret_inspect, &source, err) ||
	    (ret_estimate && estimate_source(&source, ret_estimate, err)))
		return err_in(err, "%s", path);
	return 0;
}

static int inspect_command(struct cli *cli, const struct args *args)
{
	struct err err;
	struct estimate estimate;
	AUTO(inspect_free) struct inspect *in = NULL;
	if (inspect_file(args->positional[0], &in, &estimate, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		show_json(args, in, &estimate);
	else
		show(args, in, &estimate);
	return EXIT_DONE;
}

static const struct cli_option options[] = {
	{"tensors", NULL, "list the tensors: name, type, shape (in the file's order), bytes", false},
	{"metadata", NULL, "list all metadata; long arrays are abbreviated", false},
};

/* clang-format off */
const struct command inspect_commands[INSPECT_COMMANDS] = {
	{"inspect", NULL, "FILE", 1, 1, "Show what a model file is, and what it takes in the store",
	 "GGUF and safetensors are read; anything else is opaque.  Sizes in the store come from\n"
	 "encoding up to 64 MiB of the file, spread over it.  No server is needed.",
	 options, COUNT_OF(options), inspect_command},
};
