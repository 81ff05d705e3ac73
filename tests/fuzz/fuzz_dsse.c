/* An envelope, the statement in it, and the list of who may have signed it: whatever the bytes are,
 * nobody but the key's holder signed them.  What can be read as a statement can be written and read
 * again with the same meaning. */
#include "base/json.h"
#include "manifest/attest.h"
#include "manifest/publishers.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_statement(const struct dsse *dsse)
{
	struct err err;
	struct attest attest, again;
	AUTO(arena_free) struct arena *arena = arena_new(2 * ATTEST_ARENA);
	AUTO_BUF struct buf text = BUF_INIT(DSSE_MAX * 2);
	AUTO_DSSE struct dsse second = {0};
	AUTO_SIGN_KEY struct sign_key key;
	if (!arena || attest_parse(&attest, dsse, arena, &err))
		return;
	key_from_seed(&key, &(struct key_seed){{9}});
	if (attest_sign(&attest, &key, &text, &err) || text.len > DSSE_MAX)
		return; /* written, it may be longer than what was read */
	if (dsse_open(&second, text.data, text.len, &err) || !dsse_signed_by(&second, &key.public) ||
	    attest_parse(&again, &second, arena, &err))
		abort();
	if (strcmp(attest.model, again.model) != 0 || strcmp(attest.release, again.release) != 0 ||
	    strcmp(attest.tier, again.tier) != 0 || attest.counter != again.counter ||
	    attest.floor != again.floor || attest.file_count != again.file_count)
		abort();
}

static void read_list(const char *bytes, size_t size, const struct dsse *dsse)
{
	struct err err;
	struct publisher_list list;
	json_auto_t *document = json_parse(bytes, size, "publishers", &err);
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	if (!document || !arena || publishers_parse(&list, document, arena, &err))
		return;
	json_auto_t *again = publishers_json(&list, &err);
	if (!again || (dsse->envelope && publishers_signer(&list, dsse, "assistant", NULL, 0, &err)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	struct public_key key;
	static const uint8_t nobody[KEY_PUBLIC_LEN] = {0x58, 0x66, 0x66};
	const char *bytes = (const char *)data;
	AUTO_DSSE struct dsse dsse = {0};
	const bool opened = dsse_open(&dsse, bytes, size, &err) == 0;
	key_public(&key, nobody);
	if (opened && dsse_signed_by(&dsse, &key))
		abort();
	if (opened)
		read_statement(&dsse);
	read_list(bytes, size, &dsse);
	return 0;
}
