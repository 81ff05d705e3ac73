/* A file that begins with the input and goes on with noise is cut alike however its bytes are dealt
 * out, into chunks of the stated lengths. */
#include "store/cut.h"

#include <stdlib.h>
#include <string.h>

#define NOISE ((size_t)200 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* The sum of all ends, each weighted by its number: alike only if all are. */
static uint64_t cut_print(const uint8_t *data, size_t size, size_t step)
{
	AUTO(cutter_free) struct cutter *cutter = cutter_new();
	if (!cutter)
		return 0;
	uint64_t print = 0, number = 1, have = 0;
	struct cut cut;
	for (size_t at = 0, n; at < size; at += n) {
		bool ended = false;
		n = cutter_take(cutter, data + at, size - at < step ? size - at : step, &ended, &cut);
		have += n;
		must(n && have <= CUT_MAX);
		if (!ended && (at + n < size || !cutter_end(cutter, &cut)))
			continue;
		must(cut.len == have);
		print += number++ * (at + n) * 257 + cut.type;
		have = 0;
	}
	return print * 4 + cutter_format(cutter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *file = malloc(size + NOISE);
	if (!file)
		return 0;
	if (size)
		memcpy(file, data, size);
	uint64_t noise = 1;
	for (size_t i = size; i < size + NOISE; i++) {
		noise = noise * 6364136223846793005 + 1442695040888963407;
		file[i] = (uint8_t)(noise >> 56);
	}
	uint64_t print = cut_print(file, size + NOISE, size + NOISE);
	must(print == cut_print(file, size + NOISE, 1000));
	must(print == cut_print(file, size + NOISE, 16385));
	free(file);
	return 0;
}
