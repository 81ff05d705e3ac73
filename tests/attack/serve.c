/* attack_serve DIR: serves DIR's files by path on a free loopback port, which it prints; ends with its
 * standard input.  DIR may be a symbolic link that changes between requests.  The first line of
 * DIR/../hostile, if there is one, makes timestamp.json hostile: "endless" never ends, "slow" comes
 * a byte a second. */
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t endless(void *arg, uint64_t at, char *out, size_t room)
{
	(void)arg;
	(void)at;
	memset(out, ' ', room);
	return (ssize_t)room;
}

static ssize_t slow(void *arg, uint64_t at, char *out, size_t room)
{
	(void)arg;
	(void)at;
	(void)room;
	sleep(1);
	out[0] = ' ';
	return 1;
}

static struct MHD_Response *hostile(const char *dir, const char *url)
{
	char path[1200], word[16] = "";
	if (!strstr(url, "timestamp.json"))
		return NULL;
	snprintf(path, sizeof path, "%s/../hostile", dir);
	FILE *file = fopen(path, "r");
	if (!file)
		return NULL;
	if (!fgets(word, sizeof word, file))
		word[0] = 0;
	fclose(file);
	if (!strncmp(word, "endless", 7))
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 65536, endless, NULL, NULL);
	if (!strncmp(word, "slow", 4))
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, slow, NULL, NULL);
	return NULL;
}

static struct MHD_Response *open_file(const char *dir, const char *url)
{
	char path[1200];
	struct stat st;
	snprintf(path, sizeof path, "%s%s", dir, url);
	const int fd = strstr(url, "..") ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	return MHD_create_response_from_fd64((uint64_t)st.st_size, fd);
}

static enum MHD_Result answer(void *dir, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data, size_t *len,
			      void **state)
{
	(void)method;
	(void)version;
	(void)data;
	(void)len;
	(void)state;
	unsigned status = MHD_HTTP_OK;
	struct MHD_Response *response = hostile(dir, url);
	if (!response)
		response = open_file(dir, url);
	if (!response) {
		status = MHD_HTTP_NOT_FOUND;
		response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	}
	const enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

int main(int argc, char **argv)
{
	struct sockaddr_in any = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (argc != 2)
		return 2;
	struct MHD_Daemon *daemon = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL,
		NULL, answer, argv[1], MHD_OPTION_SOCK_ADDR, &any, MHD_OPTION_END);
	if (!daemon) {
		perror("attack_serve");
		return 1;
	}
	printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (getchar() != EOF)
		;
	_exit(0); /* a slow answer under way is not waited for */
}
