/* utf8.h -- well-formed UTF-8 (RFC 3629; Unicode 15, table 3-7): no overlong forms, surrogates
 * or values beyond U+10FFFF.  Threads: pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/cc.h"

/* Bytes of the sequence at the front of the len bytes at text (1..4), 0 when there is none.
 * A NUL is a sequence of one byte. */
size_t utf8_step(const char *text, size_t len) CHECKED;

#endif
