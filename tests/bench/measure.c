/* bench_measure COMMAND...: runs it, its output thrown away, and prints its CPU seconds (user and system,
 * all threads), its peak memory in KiB and its wall seconds.  Exits as it does.
 * bench_measure --sha FILE: prints the CPU seconds of the file's SHA-256 through base/digest, by which all
 * others are told; the least of three. */
#include "base/digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 127;
}

static double clock_s(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int sha(const char *path)
{
	struct stat st;
	struct digest digest;
	double least = 0;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		return fail(path);
	const size_t len = (size_t)st.st_size;
	const void *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		return fail(path);
	for (int i = 0; i < 3; i++) {
		const double begun = clock_s(CLOCK_PROCESS_CPUTIME_ID);
		digest_of(&digest, bytes, len);
		const double took = clock_s(CLOCK_PROCESS_CPUTIME_ID) - begun;
		if (!i || took < least)
			least = took;
	}
	printf("%.4f\n", least);
	return 0;
}

static void become(char **command)
{
	const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execvp(command[0], command);
	_exit(127);
}

static int run(char **command)
{
	struct rusage used;
	int status;
	const double begun = clock_s(CLOCK_MONOTONIC);
	const pid_t child = fork();
	if (child < 0)
		return fail("fork");
	if (!child)
		become(command);
	if (wait4(child, &status, 0, &used) != child)
		return fail("wait4");
	printf("%.4f %ld %.3f\n", seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss,
	       clock_s(CLOCK_MONOTONIC) - begun);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--sha"))
		return sha(argv[2]);
	if (argc < 2) {
		fputs("usage: bench_measure COMMAND... | --sha FILE\n", stderr);
		return 2;
	}
	return run(argv + 1);
}
