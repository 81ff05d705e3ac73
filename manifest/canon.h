/* canon.h -- canonical JSON: the one byte string that stands for a JSON value, which is what gets
 * signed.  OLPC form, as TUF clients expect it (TUF specification 1.0, section 4.1; wiki.laptop.org
 * "Canonical JSON"): no white space, members sorted by the bytes of their names, integers in
 * decimal, only the quote and the backslash escaped.
 *
 * Clients verify by writing again what they parsed, each with its own library.  What two libraries
 * could write differently is therefore refused with ERR_INVALID and the path of the place: reals,
 * integers of 2^53 and beyond, control characters, member names outside ASCII, invalid UTF-8,
 * nesting deeper than CANON_DEPTH.  Since control characters are refused, the canonical form is
 * itself valid JSON.  Text is not normalised: keep it in NFC.
 * Threads: pure. */
#ifndef MANIFEST_CANON_H
#define MANIFEST_CANON_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

#define CANON_DEPTH 32 /* arrays and objects inside one another */

/* Append value's canonical form to out.  ERR_INVALID as said above, ERR_TOO_LARGE when out is
 * full; out may then hold a part of it. */
int canon_write(const json_t *value, struct buf *out, struct err *err) CHECKED;

/* A part of a text; borrowed from it. */
struct canon_span {
	const char *text;
	size_t len;
};
/* Where the value of an object's own member lies, text being the object's canonical form and name
 * free of what that form escapes.  False: there is none, or text is no such object; the values are
 * not looked into. */
bool canon_member(const char *text, size_t len, const char *name, struct canon_span *ret);

/* SHA-256 of value's canonical form. */
int canon_digest(const json_t *value, struct digest *ret_digest, struct err *err) CHECKED;

#endif
