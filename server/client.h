/* client.h -- whose request it is, as far as that can be known: the peer's address, or, where a
 * configured proxy says so, the one it forwards for.  Only the network is taken: /24 of IPv4, /48 of
 * IPv6, since that is what one household, carrier or host has.
 * Threads: pure; a struct proxies is const once parsed. */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXIES_MAX 32

/* An IPv6 address; IPv4 as ::ffff:a.b.c.d. */
struct ip {
	uint8_t bytes[16];
};
struct proxies {
	struct {
		struct ip address;
		unsigned bits; /* of the prefix */
	} list[PROXIES_MAX];
	unsigned count;
};
struct network {
	struct ip address; /* what is beyond the prefix is zero */
};

/* "10.0.0.0/8, ::1, 192.0.2.7"; empty: none.  ERR_INVALID names what cannot be read. */
int proxies_parse(struct proxies *ret_proxies, const char *text, struct err *err) CHECKED;

/* forwarded: X-Forwarded-For, or NULL.  From its right end on, addresses of proxies are passed over;
 * what a proxy did not write is never believed.  False: there is nobody to tell apart, the peer is
 * this machine and no proxy. */
bool client_network(const struct proxies *proxies, const struct sockaddr *peer,
		    const char *forwarded, struct network *ret_network);

#endif
