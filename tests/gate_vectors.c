/* gate_vectors FILE -- check the gates against reference values in the format of
 * schema/vectors/gates.json; prints the worst relative error of each group and fails above 1e-9. */
#include "tests/support/gate_check.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	struct gate_check_group groups[GATE_CHECK_GROUPS];
	json_error_t where;
	if (argc != 2) {
		fputs("usage: gate_vectors FILE\n", stderr);
		return 2;
	}
	json_t *document = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &where);
	if (!document) {
		fprintf(stderr, "%s: line %d: %s\n", argv[1], where.line, where.text);
		return 2;
	}
	int bad = gate_check(document, groups);
	for (unsigned i = 0; i < GATE_CHECK_GROUPS; i++) {
		const int over = !(groups[i].worst <= GATE_CHECK_TOLERANCE) || !groups[i].numbers;
		printf("%-16s %6u numbers  worst %.3g  %s\n", groups[i].name, groups[i].numbers,
		       groups[i].worst, over ? "FAIL" : "ok");
		bad |= over;
	}
	json_decref(document);
	return bad ? 1 : 0;
}
