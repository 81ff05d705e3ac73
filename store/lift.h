/* lift.h -- numbers of one element type as those of another: what a tensor would be at another tier.  A
 * device that goes from one tier of a model to another is sent only what this guesses wrong.
 * Quantized as ggml's reference functions do it, in IEEE arithmetic of single precision, each operation
 * rounded by itself: the same on every machine.  Byte by byte: FORMAT.md.
 * Threads: pure. */
#ifndef STORE_LIFT_H
#define STORE_LIFT_H

#include "base/cc.h"
#include "base/err.h"
#include "store/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether it can be done.  Not from a type to itself. */
bool lift_possible(uint8_t from, uint8_t to);
/* Bytes that len bytes become: whole blocks made from whole blocks. */
uint64_t lift_len(uint8_t from, uint8_t to, uint64_t len);
/* Read len bytes at `at` of the source and write lift_len() bytes to out.  The types are possible ones.
 * Errors are the source's. */
int lift_read(const struct source *source, uint64_t at, uint64_t len, uint8_t from, uint8_t to,
	      uint8_t *out, struct err *err) CHECKED;

#endif
