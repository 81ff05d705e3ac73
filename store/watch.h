/* watch.h -- what a model file's header says beside where its tensors lie, told while it is read
 * (format.h), for who wants to show it.  Nothing here changes how a file is cut.
 * What is told is what hostile bytes say: texts may hold anything, numbers contradict each other,
 * and in the end the header may turn out to be none; only the limits hold. */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#define WATCH_DIMS_MAX 8u
#define WATCH_ITEMS_MAX 8u /* of an array are told, the first ones */
#define WATCH_TEXT_MAX 255u /* bytes of a text are told */

struct watch_tensor {
	const char *name; /* NUL-terminated */
	const char *type; /* "q4_K"; or as the file has it: "ggml 41", "F8_E8M0" */
	uint8_t element;  /* enum element */
	uint32_t dim_count;
	uint64_t dims[WATCH_DIMS_MAX]; /* in the file's order: GGUF has the fastest first */
	uint64_t at;		       /* from the start of the tensor data */
	uint64_t len;		       /* UINT64_MAX: of a type whose size is not known */
};

enum watch_kind { WATCH_NONE, WATCH_BOOL, WATCH_INT, WATCH_UINT, WATCH_REAL, WATCH_TEXT };

/* A value of the metadata; of an array each of the first items by itself. */
struct watch_value {
	const char *key; /* NUL-terminated, at most WATCH_TEXT_MAX bytes */
	enum watch_kind kind; /* WATCH_NONE: an empty array */
	int64_t i;	      /* WATCH_INT, WATCH_BOOL */
	uint64_t u;	      /* WATCH_UINT */
	double real;
	const char *text; /* WATCH_TEXT: len bytes, cut where the file's has more */
	uint32_t len;
	bool cut;
	bool array;
	uint64_t index, count; /* in the array */
};

struct watch {
	void *arg;
	void (*tensor)(void *arg, const struct watch_tensor *tensor);
	void (*value)(void *arg, const struct watch_value *value);
};

#endif
