/* Runs a fuzz target once over every file named, and over truncations of each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FILE_MAX (16 << 20)

int main(int argc, char **argv)
{
	uint8_t *bytes = malloc(FILE_MAX);
	if (!bytes || argc < 2) {
		fputs("usage: replay FILE...\n", stderr);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		if (!file) {
			perror(argv[i]);
			return 2;
		}
		const size_t len = fread(bytes, 1, FILE_MAX, file);
		fclose(file);
		for (unsigned part = 0; part <= 16; part++) {
			/* A copy of the exact size, so that reading past its end is seen. */
			const size_t cut = len * part / 16;
			uint8_t *exact = malloc(cut ? cut : 1);
			for (size_t b = 0; exact && b < cut; b++)
				exact[b] = bytes[b];
			if (exact)
				LLVMFuzzerTestOneInput(exact, cut);
			free(exact);
		}
	}
	free(bytes);
	printf("%d inputs\n", argc - 1);
	return 0;
}
