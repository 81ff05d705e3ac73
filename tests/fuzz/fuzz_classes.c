/* Class rules as a device and as a server read them: what the server accepts the device reads
 * whole, and a match always exists. */
#include "manifest/classes.h"

#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void match(const struct class_rules *rules, struct arena *arena)
{
	static const char *const devices[] = {
		"{}",
		"{\"os\":\"android\",\"os_version\":[14,1],\"ram_mib\":8192,\"npu\":[\"ane\"],"
		"\"gpu\":[],\"cpu\":[\"dotprod\"],\"perf_class\":34,\"app_version\":\"3.1\"}",
	};
	for (size_t i = 0; i < COUNT_OF(devices); i++) {
		struct attrs attrs;
		struct err err;
		json_auto_t *object = json_loads(devices[i], 0, NULL);
		if (attrs_parse(&attrs, object, arena, &err) < 0 ||
		    classes_match(rules, &attrs) >= rules->count)
			abort();
		json_auto_t *explained = classes_explain(rules, &attrs, &err);
		if (!explained)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	struct class_rules device, server;
	AUTO(arena_free) struct arena *arena = arena_new(2 * CLASS_RULES_ARENA);
	if (!arena || size > CLASS_RULES_BYTES)
		return 0;
	json_auto_t *document = json_parse((const char *)data, size, "input", &err);
	if (!document)
		return 0;
	int linted = classes_lint(&server, document, arena, &err);
	if (classes_parse(&device, document, arena, &err) < 0) {
		if (linted == 0 || err.status != ERR_INVALID)
			abort();
		return 0;
	}
	match(&device, arena);
	for (unsigned i = 0; linted == 0 && i < device.count; i++)
		if (device.rules[i].skipped)
			abort();
	return 0;
}
