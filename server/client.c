#include "server/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_ROOM 64
#define MAPPED_BITS 96 /* of ::ffff:0:0 */

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const struct ip *a)
{
	return memcmp(a->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

static void of_ipv4(struct ip *ret, const void *bytes)
{
	memcpy(ret->bytes, mapped_prefix, sizeof(mapped_prefix));
	memcpy(ret->bytes + sizeof(mapped_prefix), bytes, 4);
}

/* len bytes of text: an address, perhaps with a port: "192.0.2.7:80", "[2001:db8::1]:80". */
static bool ip_parse(struct ip *ret, const char *text, size_t len)
{
	char copy[TEXT_ROOM];
	struct in_addr v4;
	char *colon;

	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	colon = strchr(copy, ':');
	if (copy[0] == '[') {
		copy[strcspn(copy, "]")] = '\0';
		return inet_pton(AF_INET6, copy + 1, ret->bytes) == 1;
	}
	if (colon && strchr(colon + 1, ':'))
		return inet_pton(AF_INET6, copy, ret->bytes) == 1;
	if (colon)
		*colon = '\0';
	if (inet_pton(AF_INET, copy, &v4) != 1)
		return false;
	of_ipv4(ret, &v4);
	return true;
}

static bool ip_of(struct ip *ret, const struct sockaddr *peer)
{
	if (peer->sa_family == AF_INET) {
		of_ipv4(ret, &((const struct sockaddr_in *)(const void *)peer)->sin_addr);
		return true;
	}
	if (peer->sa_family != AF_INET6)
		return false;
	memcpy(ret->bytes, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
	return true;
}

static void prefix_keep(struct ip *a, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		const unsigned kept = bits > 8 * i ? bits - 8 * i : 0;

		if (kept < 8)
			a->bytes[i] &= (uint8_t)(0xff00U >> kept);
	}
}

/* ---- Proxies. ---- */

static int proxy_parse(struct proxies *out, const char *text, size_t len, struct err *err)
{
	const char *slash = memchr(text, '/', len);
	const size_t address_len = slash ? (size_t)(slash - text) : len;
	char *end = NULL;
	unsigned long bits;
	struct ip *a;

	if (out->count == PROXIES_MAX)
		return err_set(err, ERR_INVALID, "proxies: more than %d", PROXIES_MAX);
	a = &out->list[out->count].address;
	if (!ip_parse(a, text, address_len))
		return err_set(err, ERR_INVALID, "proxies: \"%.*s\" is no address", (int)len, text);
	bits = is_mapped(a) ? 32 : 128;
	if (slash) {
		const unsigned long most = bits;

		bits = strtoul(slash + 1, &end, 10);
		if (end != text + len || end == slash + 1 || bits > most)
			return err_set(err, ERR_INVALID, "proxies: \"%.*s\" has no prefix length",
				       (int)len, text);
	}
	out->list[out->count].bits = (unsigned)bits + (is_mapped(a) ? MAPPED_BITS : 0);
	prefix_keep(a, out->list[out->count++].bits);
	return 0;
}

int proxies_parse(struct proxies *ret_proxies, const char *text, struct err *err)
{
	struct proxies out = {.count = 0};

	for (text += strspn(text, ", "); *text; text += strspn(text, ", ")) {
		const size_t len = strcspn(text, ", ");

		if (proxy_parse(&out, text, len, err) < 0)
			return -1;
		text += len;
	}
	*ret_proxies = out;
	return 0;
}

static bool is_proxy(const struct proxies *proxies, const struct ip *a)
{
	for (unsigned i = 0; i < proxies->count; i++) {
		struct ip copy = *a;

		prefix_keep(&copy, proxies->list[i].bits);
		if (memcmp(&copy, &proxies->list[i].address, sizeof(copy)) == 0)
			return true;
	}
	return false;
}

/* ---- Clients. ---- */

static bool is_loopback(const struct ip *a)
{
	static const struct ip one = {.bytes = {[15] = 1}};

	return is_mapped(a) ? a->bytes[12] == 127 : memcmp(a, &one, sizeof(one)) == 0;
}

/* The last address of the len bytes; *ret_left: bytes before it.  False: there is none. */
static bool last_address(const char *text, size_t len, struct ip *ret, size_t *ret_left)
{
	size_t end = len, begin;

	while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == ','))
		end--;
	begin = end;
	while (begin > 0 && text[begin - 1] != ',' && text[begin - 1] != ' ')
		begin--;
	*ret_left = begin;
	return ip_parse(ret, text + begin, end - begin);
}

bool client_network(const struct proxies *proxies, const struct sockaddr *peer,
		    const char *forwarded, struct network *ret_network)
{
	size_t left = forwarded ? strlen(forwarded) : 0;
	struct ip a, before;

	if (!ip_of(&a, peer))
		return false;
	if (is_loopback(&a) && !is_proxy(proxies, &a))
		return false;
	while (left && is_proxy(proxies, &a) && last_address(forwarded, left, &before, &left))
		a = before;
	prefix_keep(&a, is_mapped(&a) ? MAPPED_BITS + 24 : 48);
	ret_network->address = a;
	return true;
}
