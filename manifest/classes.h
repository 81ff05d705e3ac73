/* classes.h -- device classes: ordered rules over attributes, first match wins.
 *
 *   {"schema":1,"version":7,"rules":[
 *     {"class":"android-8g","needs":["cond/1"],"any":[
 *       {"all":[{"attr":"ram_mib","op":"ge","value":7168},
 *               {"attr":"npu","op":"has","value":"hexagon_v75"}]}]},
 *     {"class":"other"}]}
 *
 * Operators: eq ne in not_in ge le for integers and versions; eq ne in not_in for texts; has lacks
 * for sets.  in and not_in take an array.  Versions are arrays of integers.
 * A missing attribute makes every condition on it false, ne and lacks included.
 * A device skips a rule it cannot read (an unmet need, an unknown operator, a value of another
 * type), so that older devices survive newer rules; a server refuses to publish such a rule.
 * The last rule has neither needs nor any, so a match always exists.
 * Vectors: schema/vectors/classes.json.
 * Threads: pure; parsed rules may be read by any. */
#ifndef MANIFEST_CLASSES_H
#define MANIFEST_CLASSES_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/attrs.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CLASS_RULES 1024
#define CLASS_ALTERNATIVES 5
#define CLASS_CONDITIONS 8
#define CLASS_VALUES 32		      /* members of the array of in and not_in */
#define CLASS_RULES_BYTES (1024 * 1024) /* of the document; who fetches or takes it enforces this */
#define CLASS_RULES_ARENA ((size_t)64 * 1024 * 1024) /* enough for any document within the limits */

enum class_op { OP_EQ, OP_NE, OP_IN, OP_NOT_IN, OP_GE, OP_LE, OP_HAS, OP_LACKS, OP_COUNT };

struct class_condition {
	bool known; /* the attribute exists; if not, the condition is false */
	enum attr attr;
	enum class_op op;
	unsigned count;		   /* values: 1, or as many as the array has */
	struct attr_value *values; /* the member that fits the attribute's type; sets: .text */
	const char *text;	   /* for people: ram_mib ge 7168 */
};

struct class_alternative {
	unsigned count;
	struct class_condition *all;
};

struct class_rule {
	const char *class;
	const char *skipped; /* NULL, or why this rule cannot be read here */
	bool always;	     /* no "any": matches everything */
	unsigned count;
	struct class_alternative *any;
};

struct class_rules {
	int64_t version; /* 0 when absent */
	unsigned count;
	struct class_rule *rules;
};

/* Read rules as a device does.  Everything is copied into the arena.  ERR_INVALID for another
 * schema, a form that is not as above, a limit exceeded, or a last rule that is not
 * unconditional. */
int classes_parse(struct class_rules *rules, const json_t *document, struct arena *arena,
		  struct err *err) CHECKED;

/* Read rules as a server does before publishing: what a device would skip or ignore is refused,
 * and so is a rule that no device can reach: after an unconditional one; contradicting itself; or
 * with each of its alternatives covered by one alternative of an earlier rule.  (A rule covered
 * only by several alternatives together is not found out.)  ERR_INVALID with the path, as in
 * rules[3]: any[0]: all[1]: op: ...
 * Takes time quadratic in the rules: about a second for the largest document. */
int classes_lint(struct class_rules *rules, const json_t *document, struct arena *arena,
		 struct err *err) CHECKED;

/* Whether a condition holds for a value of its attribute; false for one that is not present. */
bool classes_holds(const struct class_condition *condition, const struct attr_value *value);

/* The index of the first rule that matches; there always is one. */
unsigned classes_match(const struct class_rules *rules, const struct attrs *attrs);

/* Which rule matches, and why each one before it does not:
 *   {"class":"other","rule":1,"version":7,"rules":[
 *     {"class":"android-8g","matched":false,"reasons":["any[0]: ram_mib ge 7168: it is 4096"]},
 *     {"class":"other","matched":true,"reasons":[]}]}
 * One reason for each alternative: its first condition that fails.  The caller's. */
json_t *classes_explain(const struct class_rules *rules, const struct attrs *attrs,
			struct err *err) CHECKED;

#endif
