/* Deltas of plain files, without a server. */
#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "store/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is read, or one that is written under another name until it is whole. */
struct file {
	const char *path;
	char temporary[4096];
	int fd;
	uint64_t size;
	struct source source;
};

static int file_open(struct file *f, const char *path, struct err *err)
{
	struct stat st;
	f->path = path;
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st))
		return err_sys(err, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s: not a file", path);
	f->size = (uint64_t)st.st_size;
	f->source = source_fd(&f->fd, f->size);
	return 0;
}

static int file_create(struct file *f, const char *path, struct err *err)
{
	f->path = path;
	snprintf(f->temporary, sizeof(f->temporary), "%s.part", path);
	f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return f->fd < 0 ? err_sys(err, "cannot write %s", f->temporary) : 0;
}

/* Whole, or gone. */
static int file_end(struct file *f, int bad, struct err *err)
{
	if (!bad)
		bad = file_commit(f->fd, f->temporary, f->path, err);
	if (bad)
		unlink(f->temporary);
	return bad;
}

static void file_done(struct file *f)
{
	if (f->fd >= 0)
		close(f->fd);
}
#define AUTO_FILE __attribute__((cleanup(file_done)))

static void told(void *arg, uint64_t done)
{
	progress_set(arg, (int64_t)done);
}

static int delta_of(struct cli *cli, const struct args *args, const struct sink *out,
		    struct delta_stats *stats, struct err *err)
{
	AUTO_FILE struct file old = {.fd = -1};
	AUTO_FILE struct file new = {.fd = -1};
	struct progress bar;
	const struct delta_progress progress = {told, &bar};
	if (file_open(&old, args->positional[0], err) || file_open(&new, args->positional[1], err))
		return -1;
	progress_start(&bar, cli, "comparing", (int64_t)(old.size + 2 * new.size));
	const int bad = delta_make(&old.source, &new.source, out, &progress, stats, err);
	progress_end(&bar);
	return bad;
}

static uint64_t delta_bytes(const struct delta_stats *s)
{
	uint64_t all = s->head;
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		all += s->stored[k];
	return all;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static int delta_make_command(struct cli *cli, const struct args *args)
{
	struct err err;
	struct delta_stats stats;
	AUTO_FILE struct file out = {.fd = -1};
	const char *path = args_text(args, "out");
	char size[24];
	if (!path)
		return cli_usage("--out FILE: where to write the delta is required");
	if (file_create(&out, path, &err))
		return cli_fail(&err);
	const struct sink sink = sink_fd(&out.fd);
	if (file_end(&out, delta_of(cli, args, &sink, &stats, &err), &err))
		return cli_fail(&err);
	out_bytes((int64_t)delta_bytes(&stats), size);
	cli_say(cli, "%s: %s, %.2f %% of the new file; flotilla delta apply %s %s --out NEW", path, size,
		percent(delta_bytes(&stats), stats.new_len), args->positional[0], path);
	return EXIT_DONE;
}

static int delta_apply_command(struct cli *cli, const struct args *args)
{
	struct err err;
	AUTO_FILE struct file old = {.fd = -1};
	AUTO_FILE struct file delta = {.fd = -1};
	AUTO_FILE struct file out = {.fd = -1};
	const char *path = args_text(args, "out");
	if (!path)
		return cli_usage("--out FILE: where to write the new file is required");
	if (file_open(&old, args->positional[0], &err) ||
	    file_open(&delta, args->positional[1], &err) || file_create(&out, path, &err))
		return cli_fail(&err);
	const struct sink sink = sink_fd(&out.fd);
	struct progress bar;
	const struct delta_progress progress = {told, &bar};
	progress_start(&bar, cli, "applying", (int64_t)old.size);
	int bad = delta_apply(&old.source, &delta.source, &sink, &progress, &err);
	progress_end(&bar);
	if (file_end(&out, bad, &err))
		return cli_fail(&err);
	cli_say(cli, "%s: verified", path);
	return EXIT_DONE;
}

/* ---- stat ---- */

static int nowhere(void *arg, const void *bytes, size_t len, struct err *err)
{
	(void)arg;
	(void)bytes;
	(void)len;
	(void)err;
	return 0;
}

static json_t *stat_rows(const struct delta_stats *s)
{
	static const char *const names[] = {
		[DELTA_DATA] = "sent whole", [DELTA_COPY] = "copied",
		[DELTA_DIFF] = "differences", [DELTA_PREFIX] = "against the old header"};
	json_t *rows = json_array();
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		json_array_append_new(
			rows, json_pack("{s:s, s:I, s:I, s:I}", "chunks_are", names[k], "chunks",
					(json_int_t)s->chunks[k], "raw", (json_int_t)s->raw[k], "delta",
					(json_int_t)s->stored[k]));
	return rows;
}

static int delta_stat_command(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"CHUNKS", "chunks_are", COL_TEXT},
						{"COUNT", "chunks", COL_INT},
						{"OF THE NEW FILE", "raw", COL_BYTES},
						{"IN THE DELTA", "delta", COL_BYTES}};
	struct err err;
	struct delta_stats stats;
	const struct sink sink = {nowhere, NULL};
	if (delta_of(cli, args, &sink, &stats, &err))
		return cli_fail(&err);
	json_auto_t *rows = stat_rows(&stats);
	if (cli->output == OUTPUT_JSON) {
		json_auto_t *doc = json_pack("{s:I, s:I, s:I, s:O}", "old", (json_int_t)stats.old_len,
					     "new", (json_int_t)stats.new_len, "delta",
					     (json_int_t)delta_bytes(&stats), "kinds", rows);
		out_json(doc);
		return EXIT_DONE;
	}
	out_table(rows, columns, COUNT_OF(columns));
	char size[24];
	out_bytes((int64_t)delta_bytes(&stats), size);
	printf("delta: %s, %.2f %% of the new file\n", size,
	       percent(delta_bytes(&stats), stats.new_len));
	return EXIT_DONE;
}

static const struct cli_option out_options[] = {
	{"out", "FILE", "write it here", false},
};

/* clang-format off */
const struct command delta_commands[DELTA_COMMANDS] = {
	{"delta", "make", "OLD NEW", 2, 2, "Write what it takes to make one file from another",
	 "For GGUF and safetensors files numbers are compared in their own arithmetic; any others by\n"
	 "their chunks.  No server is needed.", out_options, COUNT_OF(out_options),
	 delta_make_command},
	{"delta", "apply", "OLD DELTA", 2, 2, "Make the new file, and verify it", NULL, out_options,
	 COUNT_OF(out_options), delta_apply_command},
	{"delta", "stat", "OLD NEW", 2, 2, "Tell how large a delta would be, and why", NULL, NULL, 0,
	 delta_stat_command},
};
