/* A TUF document of any role: the first byte chooses the role, the rest is the document.  What
 * cannot be signed with the keys trusted here must never be accepted after the first root. */
#include "manifest/tuf_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	AUTO_TUF struct tuf_trust trust;
	tuf_init(&trust);
	if (size < 1)
		return 0;
	AUTO_TUF_DOC struct tuf_doc doc = {.role = (enum tuf_role)(data[0] % TUF_ROLES)};
	const char *bytes = (const char *)data + 1;
	if (tuf_doc_read(&trust, &doc, bytes, size - 1, &err) < 0)
		return 0;
	if (doc.role == TUF_ROOT && tuf_trust_root(&trust, bytes, size - 1, &err) == 0) {
		if (tuf_update_root(&trust, bytes, size - 1, &err) == 0)
			abort(); /* the same version again */
		if (tuf_update_timestamp(&trust, bytes, size - 1, TUF_STORED, &err) == 0)
			abort(); /* a root is no timestamp */
	}
	return 0;
}
