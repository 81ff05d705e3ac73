/* attrs.h -- what a device knows about itself that chooses its class.  Evaluated on the device
 * only; the server meets attributes when an operator asks "which class is this device?".
 *
 *   text      os arch soc form_factor app           "android", "qualcomm:sm8650"
 *   integer   ram_mib perf_class
 *   set       cpu gpu npu                           ["dotprod","i8mm"]; a single text is a set of 1
 *   version   os_version app_version                [14,1] or "14.1"
 *
 * Texts are printable ASCII of 1..64 bytes, sets have at most ATTR_SET members.
 * Threads: pure; a filled struct attrs may be read by any. */
#ifndef MANIFEST_ATTRS_H
#define MANIFEST_ATTRS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/version.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTR_SET 32
#define ATTR_TEXT_MAX 64

enum attr {
	ATTR_OS,
	ATTR_OS_VERSION,
	ATTR_ARCH,
	ATTR_CPU,
	ATTR_RAM_MIB,
	ATTR_SOC,
	ATTR_GPU,
	ATTR_NPU,
	ATTR_PERF_CLASS,
	ATTR_FORM_FACTOR,
	ATTR_APP,
	ATTR_APP_VERSION,
	ATTR_COUNT
};

enum attr_type { ATTR_TEXT, ATTR_INT, ATTR_VERSION, ATTR_SETS };

struct attr_value {
	bool present;
	int64_t number;		/* ATTR_INT */
	const char *text;	/* ATTR_TEXT */
	struct version version; /* ATTR_VERSION */
	const char **set;	/* ATTR_SETS */
	unsigned set_count;
};

struct attrs {
	struct attr_value value[ATTR_COUNT];
};

const char *attr_name(enum attr attr);
enum attr_type attr_type(enum attr attr);
/* One value of a type from JSON; copied into the arena.  ERR_INVALID; the caller adds the path. */
int attr_value_read(struct attr_value *ret_value, enum attr_type type, const json_t *value,
		    struct arena *arena, struct err *err) CHECKED;
/* For people: 4096, android, 14.1, {dotprod i8mm}, missing. */
void attr_value_text(const struct attr_value *value, enum attr_type type, struct buf *out);
int attr_find(enum attr *ret_attr, const char *name) CHECKED; /* -1: no such attribute */

/* Fill *attrs from an object.  Texts are copied into the arena.  ERR_INVALID for an attribute that
 * does not exist or has the wrong type, with its name. */
int attrs_parse(struct attrs *attrs, const json_t *object, struct arena *arena,
		struct err *err) CHECKED;

#endif
