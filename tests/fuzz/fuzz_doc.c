/* The typed manifest: what is read can be written, and reads back the same. */
#include "manifest/doc.h"

#include "base/json.h"
#include "manifest/canon.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read body and write it again; NULL when it is refused. */
static json_t *rewritten(const json_t *body)
{
	struct err err;
	struct manifest manifest;
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	if (!arena)
		return NULL;
	if (manifest_parse(&manifest, body, arena, &err) < 0) {
		if (err.status != ERR_INVALID && err.status != ERR_TOO_LARGE)
			abort(); /* MANIFEST_ARENA suffices */
		return NULL;
	}
	json_t *written = manifest_json(&manifest, &err);
	if (!written)
		abort();
	return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	json_auto_t *body = json_parse((const char *)data, size, "input", &err);
	if (!body)
		return 0;
	json_auto_t *once = rewritten(body);
	if (!once)
		return 0;
	json_auto_t *twice = rewritten(once);
	if (!json_equal(once, twice))
		abort();
	return 0;
}
