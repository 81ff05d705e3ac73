/* Whether a tier's name and a file's tensors agree: the file types that llama.cpp writes. */
#include "store/inspect.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* By llama.cpp's number (enum llama_ftype): the type that most bytes of such a file's layers have,
 * and the one that takes its place where rows are not whole blocks of 256. */
static const struct {
	const char *name;
	uint8_t main, other, instead; /* enum element; other: as likely; 0: none */
} file_types[] = {
	[0] = {"F32", ELEMENT_F32, 0, 0},
	[1] = {"F16", ELEMENT_F16, 0, 0},
	[2] = {"Q4_0", ELEMENT_Q4_0, 0, 0},
	[3] = {"Q4_1", ELEMENT_Q4_1, 0, 0},
	[7] = {"Q8_0", ELEMENT_Q8_0, 0, 0},
	[8] = {"Q5_0", ELEMENT_Q5_0, 0, 0},
	[9] = {"Q5_1", ELEMENT_Q5_1, 0, 0},
	[10] = {"Q2_K", ELEMENT_Q2_K, ELEMENT_Q3_K, ELEMENT_IQ4_NL},
	[11] = {"Q3_K_S", ELEMENT_Q3_K, 0, ELEMENT_IQ4_NL},
	[12] = {"Q3_K_M", ELEMENT_Q3_K, 0, ELEMENT_IQ4_NL},
	[13] = {"Q3_K_L", ELEMENT_Q3_K, ELEMENT_Q5_K, ELEMENT_IQ4_NL},
	[14] = {"Q4_K_S", ELEMENT_Q4_K, 0, ELEMENT_Q5_0},
	[15] = {"Q4_K_M", ELEMENT_Q4_K, 0, ELEMENT_Q5_0},
	[16] = {"Q5_K_S", ELEMENT_Q5_K, 0, ELEMENT_Q5_1},
	[17] = {"Q5_K_M", ELEMENT_Q5_K, 0, ELEMENT_Q5_1},
	[18] = {"Q6_K", ELEMENT_Q6_K, 0, ELEMENT_Q8_0},
	[19] = {"IQ2_XXS", ELEMENT_IQ2_XXS, 0, ELEMENT_IQ4_NL},
	[20] = {"IQ2_XS", ELEMENT_IQ2_XS, 0, ELEMENT_IQ4_NL},
	[21] = {"Q2_K_S", ELEMENT_Q2_K, 0, ELEMENT_IQ4_NL},
	[22] = {"IQ3_XS", ELEMENT_IQ3_S, ELEMENT_IQ3_XXS, ELEMENT_IQ4_NL},
	[23] = {"IQ3_XXS", ELEMENT_IQ3_XXS, 0, ELEMENT_IQ4_NL},
	[24] = {"IQ1_S", ELEMENT_IQ1_S, 0, ELEMENT_IQ4_NL},
	[25] = {"IQ4_NL", ELEMENT_IQ4_NL, 0, 0},
	[26] = {"IQ3_S", ELEMENT_IQ3_S, 0, ELEMENT_IQ4_NL},
	[27] = {"IQ3_M", ELEMENT_IQ3_S, 0, ELEMENT_IQ4_NL},
	[28] = {"IQ2_S", ELEMENT_IQ2_XS, ELEMENT_IQ2_S, ELEMENT_IQ4_NL},
	[29] = {"IQ2_M", ELEMENT_IQ2_S, 0, ELEMENT_IQ4_NL},
	[30] = {"IQ4_XS", ELEMENT_IQ4_XS, 0, ELEMENT_IQ4_NL},
	[31] = {"IQ1_M", ELEMENT_IQ1_M, 0, ELEMENT_IQ4_NL},
	[32] = {"BF16", ELEMENT_BF16, 0, 0},
	[36] = {"TQ1_0", ELEMENT_TQ1_0, 0, 0},
	[37] = {"TQ2_0", ELEMENT_TQ2_0, 0, 0},
	[38] = {"MXFP4_MOE", ELEMENT_MXFP4, 0, 0},
};

static bool file_type_known(int type)
{
	return type >= 0 && (size_t)type < COUNT_OF(file_types) && file_types[type].name;
}

const char *inspect_file_type(int file_type)
{
	return file_type_known(file_type) ? file_types[file_type].name : NULL;
}

/* The number of the file type that tier names, in any case and with '-' for '_'; -1: none. */
static int tier_parse(const char *tier)
{
	char name[16];
	size_t i;

	for (i = 0; tier[i] && i + 1 < sizeof name; i++)
		name[i] = tier[i] == '-' ? '_' : tier[i];
	name[i] = 0;
	for (int type = 0; (size_t)type < COUNT_OF(file_types) && !tier[i]; type++)
		if (file_type_known(type) && !strcasecmp(file_types[type].name, name))
			return type;
	return -1;
}

/* Embeddings and the head are often kept finer, and in small models outweigh the layers. */
static bool in_layers(const struct inspect_tensor *t)
{
	return !strstr(t->name, "embd") && !strstr(t->name, "embed") &&
	       strcmp(t->name, "output.weight") && strcmp(t->name, "lm_head.weight");
}

/* The element type with the most bytes in the layers, and its share in percent; ELEMENT_OPAQUE when
 * there are none. */
static uint8_t dominant(const struct inspect *in, unsigned *ret_percent)
{
	uint64_t bytes[256] = {0}, all = 0;
	uint8_t most = ELEMENT_OPAQUE;

	for (int whole = 0; whole < 2 && !all; whole++)
		for (uint32_t i = 0; i < in->tensor_count; i++) {
			const struct inspect_tensor *t = &in->tensors[i];
			if (!whole && !in_layers(t))
				continue;
			bytes[t->element] += t->len;
			all += t->len;
			if (bytes[t->element] > bytes[most])
				most = t->element;
		}
	*ret_percent = all ? (unsigned)((long double)bytes[most] * 100 / (long double)all) : 0;
	return most;
}

static bool agrees(const struct inspect *in, int type, uint8_t most)
{
	return most == file_types[type].main ||
	       (file_types[type].other && most == file_types[type].other) ||
	       (in->file_type == type && file_types[type].instead &&
		most == file_types[type].instead);
}

const char *inspect_quantization(const struct inspect *in)
{
	unsigned percent;
	const uint8_t most = dominant(in, &percent);

	if (file_type_known(in->file_type) && agrees(in, in->file_type, most))
		return file_types[in->file_type].name;
	return in->type_count ? in->types[0].name : "";
}

bool inspect_tier_fits(const struct inspect *in, const char *tier, struct err *why)
{
	const int type = tier_parse(tier);
	unsigned percent;
	const uint8_t most = dominant(in, &percent);

	if (type < 0 || in->adapter || most == ELEMENT_OPAQUE || agrees(in, type, most))
		return true;
	/* Files of other tools pack their quantized weights into integers. */
	if (in->format == FORMAT_SAFETENSORS && most != ELEMENT_F32 && most != ELEMENT_F16 &&
	    most != ELEMENT_BF16)
		return true;
	const char *said = inspect_file_type(in->file_type);
	err_set_text(why, ERR_INVALID,
		     "tier %s does not match the file: its layers are %u %% %s, where %s is"
		     " expected%s%s",
		     tier, percent, element_name(most), element_name(file_types[type].main),
		     said ? "; its header says " : "", said ? said : "");
	return false;
}
