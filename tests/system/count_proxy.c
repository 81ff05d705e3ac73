/* count_proxy PORT_FILE COUNT_FILE: forwards what comes to a port of its own, which it prints, to
 * the port of 127.0.0.1 that PORT_FILE holds at that moment, so that a daemon may come back
 * elsewhere; and keeps in COUNT_FILE how many bytes clients have sent. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

static const char *port_file;
static _Atomic uint64_t count;

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connect_daemon(void)
{
	unsigned port = 0;
	FILE *file = fopen(port_file, "r");
	if (!file)
		return -1;
	const int read = fscanf(file, "%u", &port);
	fclose(file);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in to = loopback(port);
	if (read == 1 && !connect(fd, (const struct sockaddr *)&to, sizeof(to)))
		return fd;
	close(fd);
	return -1;
}

static int pass(int from, int to, _Atomic uint64_t *counted)
{
	char bytes[CHUNK];
	const ssize_t got = read(from, bytes, sizeof(bytes));
	if (got <= 0)
		return -1;
	if (counted)
		atomic_fetch_add(counted, (uint64_t)got);
	for (ssize_t done = 0; done < got;) {
		const ssize_t n = send(to, bytes + done, (size_t)(got - done), MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		done += n;
	}
	return 0;
}

static void *serve(void *arg)
{
	const int client = (int)(intptr_t)arg, server = connect_daemon();
	struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
	while (server >= 0 && poll(fds, 2, -1) > 0) {
		if (fds[0].revents && pass(client, server, &count))
			break;
		if (fds[1].revents && pass(server, client, NULL))
			break;
	}
	close(client);
	if (server >= 0)
		close(server);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = loopback(0);
	socklen_t len = sizeof(at);
	if (argc != 3) {
		fputs("usage: count_proxy PORT_FILE COUNT_FILE\n", stderr);
		return 2;
	}
	port_file = argv[1];

	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (const struct sockaddr *)&at, sizeof(at)) || listen(listener, 64) ||
	    getsockname(listener, (struct sockaddr *)&at, &len)) {
		perror("count_proxy");
		return 1;
	}
	const int counts = open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (counts < 0) {
		perror(argv[2]);
		return 1;
	}
	printf("%u\n", ntohs(at.sin_port));
	fclose(stdout);
	for (;;) {
		struct pollfd fd = {.fd = listener, .events = POLLIN};
		pthread_t thread;
		if (poll(&fd, 1, 20) > 0) {
			const int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (client >= 0 &&
			    pthread_create(&thread, NULL, serve, (void *)(intptr_t)client))
				return 1;
			if (client >= 0)
				pthread_detach(thread);
		}
		char line[24];
		snprintf(line, sizeof(line), "%20llu\n", (unsigned long long)atomic_load(&count));
		if (pwrite(counts, line, 21, 0) != 21)
			return 1;
	}
}
