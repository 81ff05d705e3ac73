/* variant.h -- references to variants, what a variant requires of a device, and the choice.
 * Threads: pure. */
#ifndef MANIFEST_VARIANT_H
#define MANIFEST_VARIANT_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/attrs.h"
#include "manifest/version.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define VARIANT_RUNTIMES 16
#define VARIANT_TEXT_MAX 194 /* three names of 64 bytes, '@' and '/' */

/* "assistant@2.1.0/q4_k_m".  Each part is a name as json_name_ok() has it. */
struct variant_ref {
	const char *text; /* the whole */
	const char *model, *release, *tier;
};

/* Texts are copied into the arena.  ERR_INVALID. */
int variant_parse(struct variant_ref *ref, const char *text, struct arena *arena,
		  struct err *err) CHECKED;
/* Make one of its parts.  ERR_INVALID when a part is not a name. */
int variant_make(struct variant_ref *ref, const char *model, const char *release,
		 const char *tier, struct arena *arena, struct err *err) CHECKED;
/* Whether text is one, and of that model; nothing is copied. */
bool variant_of_model(const char *text, const char *model);
bool variant_eq(const struct variant_ref *a, const struct variant_ref *b);

struct runtime {
	const char *name; /* "llama.cpp" */
	struct version version;
};

/* {"runtime":{"llama.cpp":"4000"},"os_version":{"ge":"14","le":"15.9"},"disk_free_mib":3000,
 *  "ram_mib":2700}.  Every member may be absent; all that are there must be met. */
struct requires {
	struct runtime *runtimes; /* each at least in this version */
	unsigned runtime_count;
	struct version os_ge, os_le; /* count 0: no bound */
	int64_t disk_free_mib;	     /* 0: none */
	int64_t ram_mib;	     /* peak need; 0: none */
	const char *unknown;	     /* a member not known here; it cannot be met.  NULL: none */
};

/* What a device finds when it wants to install. */
struct facts {
	const struct runtime *runtimes; /* that the app has */
	unsigned runtime_count;
	int64_t disk_free_mib; /* -1: not known, meets no requirement */
	int64_t ram_mib;       /* that a model may take; -1: not known, attrs' ram_mib counts */
};

/* Read requirements as a device does: an unknown member is kept in ->unknown.  object may be NULL:
 * no requirements.  Copied into the arena.  ERR_INVALID with the member's path. */
int requires_parse(struct requires *requires, const json_t *object, struct arena *arena,
		   struct err *err) CHECKED;
/* As a server does: an unknown member is refused. */
int requires_parse_strict(struct requires *requires, const json_t *object, struct arena *arena,
			  struct err *err) CHECKED;
/* The object again; {} for none.  The caller's; NULL without memory. */
json_t *requires_json(const struct requires *requires) CHECKED;

/* Whether the device meets them.  If not, why->text says which and what it has (ERR_INVALID). */
bool requires_met(const struct requires *requires, const struct attrs *attrs,
		  const struct facts *facts, struct err *why);

/* The index of the first of count, in order of preference, that the device meets; -1 if none,
 * why then speaks of the last. */
int variant_choose(const struct requires *const *ordered, unsigned count,
		   const struct attrs *attrs, const struct facts *facts, struct err *why) CHECKED;

#endif
