/* device.h -- ready answers of the device listener: made once, before what they say is published,
 * and queued from all loops without copying.
 * Threads: device_doc_ready() from any, each with a document of its own. */
#ifndef SERVER_DEVICE_H
#define SERVER_DEVICE_H

#include "base/cc.h"

struct doc;	       /* manifest/publish.h */
struct device_replies; /* what is the same for everyone */

/* For publisher_on_doc(): fills doc->reply with its answer; left NULL when memory is short. */
void device_doc_ready(void *arg, struct doc *doc);

struct device_replies *device_replies_new(void) CHECKED; /* NULL without memory */
void device_replies_free(struct device_replies *replies); /* NULL is fine */
DEFINE_AUTO(struct device_replies, device_replies_free)

#endif
