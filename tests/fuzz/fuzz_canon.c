/* The canonical form of any JSON is JSON with the same value and the same canonical form; each member is
 * found in it, and looking for one in anything else stays within it. */
#include "manifest/canon.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names that the canonical form would escape are not looked for. */
static void members_are_found(const json_t *value, const struct buf *text)
{
	const char *name;
	json_t *member;
	json_object_foreach ((json_t *)(uintptr_t)value, name, member) {
		struct canon_span span;
		struct err err;
		AUTO_BUF struct buf own = BUF_INIT((size_t)1 << 20);
		if (strpbrk(name, "\"\\"))
			continue;
		if (!canon_member(text->data, text->len, name, &span) ||
		    canon_write(member, &own, &err) || own.len != span.len ||
		    memcmp(own.data ? own.data : "", span.text, span.len) != 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct canon_span span;
	struct err err;
	(void)canon_member((const char *)data, size, "version", &span);
	AUTO_BUF struct buf once = BUF_INIT((size_t)1 << 20);
	AUTO_BUF struct buf twice = BUF_INIT((size_t)1 << 20);
	json_auto_t *value = json_parse((const char *)data, size, "input", &err);
	if (!value || canon_write(value, &once, &err) < 0)
		return 0;
	json_auto_t *again = json_parse(once.data, once.len, "canonical form", &err);
	if (!again || !json_equal(value, again) || canon_write(again, &twice, &err) < 0 ||
	    once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
		abort();
	if (json_is_object(value))
		members_are_found(value, &once);
	return 0;
}
