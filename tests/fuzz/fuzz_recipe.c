/* What is accepted as a recipe is exactly what would be written for it, and adds up. */
#include "store/recipe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO_BUF struct buf again = BUF_INIT(RECIPE_BYTES_MAX);
	struct digest name;

	if (recipe_parse(&recipe, data, size, &err))
		return 0;
	if (recipe_encode(recipe, &again, &name, &err) || again.len != size ||
	    memcmp(again.data, data, size) != 0)
		abort();
	for (uint32_t i = 0; i < recipe->count; i++)
		if (recipe_find(recipe, recipe->chunks[i].at) != i)
			abort();
	return 0;
}
