/* The store's library on plain files: what an update would cost, and that it comes to the same file.
 *   cc example.c $(pkg-config --cflags --libs flotilla) && ./a.out OLD NEW */
#include "store/delta.h"
#include "store/survey.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file, what it is made of, and where it is read from. */
struct file {
	int fd;
	struct source source;
	struct recipe *recipe;
};

static int file_open(struct file *f, const char *path, struct err *err)
{
	struct stat st;
	f->fd = open(path, O_RDONLY);
	if (f->fd < 0 || fstat(f->fd, &st))
		return err_sys(err, "%s", path);
	f->source = source_fd(&f->fd, (uint64_t)st.st_size);
	return survey_source(&f->source, NULL, NULL, &f->recipe, err);
}

static void file_done(struct file *f)
{
	recipe_free(f->recipe);
	if (f->fd >= 0)
		close(f->fd);
}

static int compare(struct file *old, struct file *new, struct err *err)
{
	char name[] = "/tmp/flotilla-example-XXXXXX";
	int fd = mkstemp(name), made = open("/dev/null", O_WRONLY);
	const struct sink_at delta = sink_at_fd(&fd);
	const struct sink out = sink_fd(&made);
	struct delta_stats stats;
	int failed = fd < 0 || made < 0 ? err_sys(err, "%s", name) : 0;
	if (!failed)
		failed = delta_make(&(struct delta_side){&old->source, old->recipe},
				    &(struct delta_side){&new->source, new->recipe}, &delta, NULL,
				    &stats, err);
	if (!failed) {
		const struct source written = source_fd(&fd, stats.bytes);
		failed = delta_apply(&old->source, &written, &out, NULL, err);
	}
	if (!failed)
		printf("%llu bytes become %llu by a delta of %llu\n",
		       (unsigned long long)old->source.size, (unsigned long long)new->source.size,
		       (unsigned long long)stats.bytes);
	close(made);
	close(fd);
	unlink(name);
	return failed;
}

int main(int argc, char **argv)
{
	struct file old = {.fd = -1}, new = {.fd = -1};
	struct err err;
	if (argc != 3) {
		fprintf(stderr, "usage: %s OLD NEW\n", argv[0]);
		return 2;
	}
	const int failed = file_open(&old, argv[1], &err) || file_open(&new, argv[2], &err) ||
			   compare(&old, &new, &err);
	if (failed)
		fprintf(stderr, "%s\n", err.text);
	file_done(&old);
	file_done(&new);
	return failed;
}
