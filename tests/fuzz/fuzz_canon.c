/* The canonical form of any JSON is JSON with the same value and the same canonical form. */
#include "manifest/canon.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	AUTO_BUF struct buf once = BUF_INIT((size_t)1 << 20);
	AUTO_BUF struct buf twice = BUF_INIT((size_t)1 << 20);
	json_auto_t *value = json_parse((const char *)data, size, "input", &err);
	if (!value || canon_write(value, &once, &err) < 0)
		return 0;
	json_auto_t *again = json_parse(once.data, once.len, "canonical form", &err);
	if (!again || !json_equal(value, again) || canon_write(again, &twice, &err) < 0 ||
	    once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
		abort();
	return 0;
}
