/* classes_internal.h -- what classes.c and classes_lint.c share.  Threads: pure. */
#ifndef MANIFEST_CLASSES_INTERNAL_H
#define MANIFEST_CLASSES_INTERNAL_H

#include "manifest/classes.h"

#include <stdbool.h>

/* As classes_parse(), refusing what it would skip or ignore. */
int classes_parse_strict(struct class_rules *rules, const json_t *document, struct arena *arena,
			 struct err *err) CHECKED;

/* Whether every device that a matches is matched by b; whether none is.  Exact, but for "not disjoint"
 * of sets of versions and texts that only exclude. */
bool classes_within(const struct class_alternative *a, const struct class_alternative *b);
bool classes_disjoint(const struct class_alternative *a, const struct class_alternative *b);

/* The order of two values that are present, of a type that has one (not sets). */
int classes_order(enum attr_type type, const struct attr_value *a, const struct attr_value *b);

#endif
