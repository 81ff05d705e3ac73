#include "server/host.h"

#include "server/config.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 254

/* The name of "name:port" or "[v6]:port" into out; -1 when it is too long or empty. */
static int host_name(char out[static HOST_MAX], const char *host)
{
	bool bracket = *host == '[';
	size_t len = bracket ? strcspn(++host, "]") : strcspn(host, ":");

	if (len == 0 || len >= HOST_MAX)
		return -1;
	memcpy(out, host, len);
	out[len] = '\0';
	return 0;
}

static bool is_address(const char *name)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Whether name is one of the comma-separated list. */
static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; *at; at += strspn(at, ", ")) {
		size_t n = strcspn(at, ", ");

		if (n == len && strncasecmp(at, name, len) == 0)
			return true;
		at += n;
	}
	return false;
}

int host_check(const struct config *config, const char *host, const char *origin,
	       struct err *err)
{
	char name[HOST_MAX];
	const char *from;

	if (!host || host_name(name, host) < 0)
		return err_set(err, ERR_INVALID, "Host: name the server");
	if (!is_address(name) && strcasecmp(name, "localhost") != 0 &&
	    !is_listed(config->admin_hosts, name))
		return err_set(err, ERR_DENIED,
			       "Host: %s is not a name of this server; add it to admin_hosts",
			       name);
	if (!origin)
		return 0;
	from = strstr(origin, "://");
	if (!from || strcasecmp(from + 3, host) != 0)
		return err_set(err, ERR_DENIED,
			       "Origin: requests from other sites' pages are refused");
	return 0;
}
