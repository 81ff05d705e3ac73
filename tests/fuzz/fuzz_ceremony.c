/* A ceremony's file from anywhere: reading, counting, describing and signing it never break, and
 * what is in it without a signature of ours never counts as signed by us. */
#include "base/json.h"
#include "manifest/ceremony.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	unsigned added;
	struct ceremony_count count;
	const struct key_seed holder = {{5}};
	AUTO_BUF struct buf text = BUF_INIT((size_t)1 << 20);
	json_auto_t *file = json_parse((const char *)data, size, "file", &err);
	if (!file || ceremony_check(file, &err))
		return 0;
	if (ceremony_describe(file, &text, &err) || ceremony_count(file, &count, &err) ||
	    ceremony_derive(file, &holder, &added, &err) ||
	    ceremony_sign(file, &holder, &count, &err))
		return 0;
	for (size_t i = 0; i < json_array_size(json_object_get(file, "repos")); i++) {
		AUTO_CEREMONY_ROOT struct ceremony_root root = {.version = 0};
		if (ceremony_root(file, i, &root, &err) == 0 && count.complete == 0)
			abort();
	}
	return 0;
}
