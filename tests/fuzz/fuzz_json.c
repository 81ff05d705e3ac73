/* JSON at the door: whatever is taken keeps its bounds and is the same when written and read
 * again; whatever is refused is explained in printable UTF-8. */
#include "base/json.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_refusal(const struct err *err)
{
	const size_t len = strlen(err->text);
	must(err->status == ERR_INVALID && len > 0);
	for (size_t i = 0, step; i < len; i += step) {
		step = utf8_step(err->text + i, len - i);
		must(step > 0 && (unsigned char)err->text[i] >= 0x20);
	}
}

static void check_fields(const json_t *root)
{
	static const char as_it_was[] = "";
	const char *text = as_it_was, *name = as_it_was;
	int64_t number = 3;
	bool flag, number_there;
	struct digest digest;
	json_t *object = NULL, *array = NULL;
	struct err err;
	const struct json_field fields[] = {
		FIELD_TEXT("text", &text, .min = 1, .max = 8, .optional = true),
		FIELD_NAME("name", &name, .max = 8, .optional = true),
		FIELD_INT("n", &number, .min = -5, .max = 5, .optional = true,
			  .ret_present = &number_there),
		FIELD_BOOL("flag", &flag, .optional = true),
		FIELD_DIGEST("digest", &digest, .optional = true),
		FIELD_OBJECT("object", &object, .optional = true),
		FIELD_ARRAY("array", &array, .max = 2, .optional = true),
	};
	if (json_read(root, fields, COUNT_OF(fields), &err)) {
		check_refusal(&err);
		return;
	}
	must(text == as_it_was || (strlen(text) >= 1 && strlen(text) <= 8));
	must(name == as_it_was || (json_name_ok(name) && strlen(name) <= 8));
	must(number >= -5 && number <= 5 && (number_there || number == 3));
	must(!object || json_is_object(object));
	must(!array || (json_is_array(array) && json_array_size(array) <= 2));
	must(!json_read_loose(root, fields, COUNT_OF(fields), &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	json_auto_t *root = json_parse((const char *)data, size, "input", &err);
	if (!root) {
		check_refusal(&err);
		return 0;
	}
	check_fields(root);
	char *text = json_text(root);
	must(text != NULL);
	json_auto_t *again = json_parse(text, strlen(text), "again", &err);
	must(json_equal(root, again));
	free(text);
	return 0;
}
