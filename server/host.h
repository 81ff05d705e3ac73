/* host.h -- the admin listener's defence against a browser made to speak for someone else: DNS
 * rebinding (Host) and cross-site requests (Origin).
 * Threads: pure. */
#ifndef SERVER_HOST_H
#define SERVER_HOST_H

#include "base/cc.h"
#include "base/err.h"

struct config;

/* host: an IP address, "localhost", or one of config's admin_hosts, with any port.  origin: absent,
 * or of the same host and port.  ERR_DENIED otherwise; ERR_INVALID without a Host. */
int host_check(const struct config *config, const char *host, const char *origin,
	       struct err *err) CHECKED;

#endif
