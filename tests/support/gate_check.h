/* gate_check.h -- compares telemetry/gate.h with reference values in schema/vectors/gates.json.
 * Threads: one. */
#ifndef TESTS_SUPPORT_GATE_CHECK_H
#define TESTS_SUPPORT_GATE_CHECK_H

#include <jansson.h>

#define GATE_CHECK_TOLERANCE 1e-9
#define GATE_CHECK_GROUPS 9

struct gate_check_group {
	const char *name;
	unsigned numbers;  /* compared */
	double worst;	   /* largest |a-b| / max(1,|b|); infinite when something did not match at all */
};

/* Check every group of the document; 0, or -1 when one is missing, empty or unknown. */
int gate_check(json_t *document, struct gate_check_group groups[GATE_CHECK_GROUPS]);

#endif
