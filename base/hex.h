/* hex.h -- lower-case hex.  Threads: pure. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include "base/cc.h"

#include <stdint.h>

/* 2 * len digits and a NUL into out. */
void hex_encode(char *out, const uint8_t *bytes, size_t len);
/* Exactly 2 * len lower-case digits from text (need not end there); -1 otherwise. */
int hex_decode(uint8_t *out, size_t len, const char *text) CHECKED;

#endif
