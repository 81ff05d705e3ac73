/* device.h -- the device listener as whoever copies it asks: GET, by path.
 * Threads: a struct device belongs to one. */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "store/source.h"

#include <stdbool.h>
#include <stdint.h>

struct device;

/* url: "http://127.0.0.1:8080".  ERR_INVALID. */
int device_open(struct device **ret_device, const char *url, bool verbose, struct err *err) CHECKED;
void device_close(struct device *device); /* NULL is fine */
DEFINE_AUTO(struct device, device_close)

struct device_reply {
	bool found; /* 200; else 404 */
	int64_t len;
	struct digest sha256;
};

/* What is asked for, and where it goes. */
struct device_get {
	const char *path; /* from "/", percent-encoded where needed */
	int64_t max;	  /* bytes; ERR_TOO_LARGE beyond */
	/* Begin anew: what was given to sink before is of a transfer that broke off. */
	int (*begin)(void *arg, struct err *err);
	void *arg;
	struct sink sink;
	void (*progress)(void *arg, int64_t len); /* bytes so far; may be NULL */
	void *progress_arg;
};

/* One GET; a broken transfer, 429 and 5xx are tried again three times.  -1: ERR_NETWORK; ERR_CORRUPT
 * for another answer than 200 and 404; what sink says. */
int device_get(struct device *device, const struct device_get *get, struct device_reply *ret_reply,
	       struct err *err) CHECKED;

#endif
